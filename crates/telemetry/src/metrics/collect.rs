//! The scrape: sums the shards and asks the sources.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use exchange::ErrorKind;
use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::catalogue::{self as f, Family};
use super::cell::{Count, DURATIONS, Histogram};
use super::connections::{Direction, Proto, Rejection, Side};
use super::endpoints::{self, EndpointSource};
use super::events::Events;
use super::intercepts::Refused;
use super::limits::LimitSource;
use super::process;
use super::route::RouteStats;
use super::samples::Samples;
use super::shard::Shard;
use crate::labels;

/// Everything that is collected from.
pub(super) struct State {
    version: String,
    pub(super) shards: Mutex<Vec<Arc<Shard>>>,
    pub(super) events: Arc<Events>,
    pub(super) endpoints: OnceLock<Arc<dyn EndpointSource>>,
    pub(super) limits: OnceLock<Arc<dyn LimitSource>>,
}

impl State {
    pub(super) fn new(version: &str) -> Self {
        Self {
            version: version.to_owned(),
            shards: Mutex::default(),
            events: Arc::default(),
            endpoints: OnceLock::new(),
            limits: OnceLock::new(),
        }
    }
}

/// The one collector of the registry.
pub(super) struct Collect {
    state: Arc<State>,
    descs: Vec<Desc>,
}

impl Collect {
    pub(super) fn new(state: Arc<State>) -> Self {
        let desc = |family: &&Family| {
            let labels = family.labels.iter().map(|label| (*label).to_owned()).collect();
            Desc::new(family.name.to_owned(), family.help.to_owned(), labels, Default::default())
        };
        #[expect(clippy::expect_used, reason = "a test builds it")]
        let descs = f::ALL.iter().map(desc).collect::<Result<_, _>>().expect("the table's names are valid");
        Self { state, descs }
    }
}

impl Collector for Collect {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let shards = self.state.shards.lock().clone();
        let mut out = Vec::with_capacity(f::ALL.len());
        routes(&sum(&shards), &mut out);
        connections(&shards, &mut out);
        events(&self.state.events, &mut out);
        if let Some(source) = self.state.endpoints.get() {
            breakers(&**source, &mut out);
        }
        if let Some(source) = self.state.limits.get() {
            limits(&**source, &mut out);
        }
        out.extend(one(&f::BUILD, |to| to.value(&[&self.state.version], 1.0)));
        processes(&mut out);
        out
    }
}

/// One family.
fn one(family: &'static Family, fill: impl FnOnce(&mut Samples)) -> Option<MetricFamily> {
    let mut samples = Samples::new(family);
    fill(&mut samples);
    samples.finish()
}

/// The routes of all shards, by name.
fn sum(shards: &[Arc<Shard>]) -> Vec<RouteStats> {
    let mut sums = BTreeMap::new();
    for shard in shards {
        let routes: Vec<_> = shard.routes.lock().values().cloned().collect();
        for stats in routes {
            sums.entry(stats.name().clone()).or_insert_with(|| stats.empty()).absorb(&stats);
        }
    }
    sums.into_values().collect()
}

fn routes(routes: &[RouteStats], out: &mut Vec<MetricFamily>) {
    let mut each = |family, fill: &dyn Fn(&mut Samples, &RouteStats, &str)| {
        out.extend(one(family, |to| routes.iter().for_each(|stats| fill(to, stats, stats.name()))));
    };
    each(&f::REQUESTS, &|to, stats, route| {
        stats.requests.each(|method, code, reason, count| to.count(&[route, method, code, reason], count));
    });
    each(&f::REQUEST_DURATION, &|to, stats, route| {
        for (class, durations) in labels::CLASSES.iter().zip(&stats.durations) {
            if durations.count() > 0 {
                to.histogram(&[route, class], durations);
            }
        }
    });
    each(&f::OVERHEAD, &|to, stats, route| to.histogram(&[route], &stats.overhead));
    each(&f::ATTEMPTS, &|to, stats, route| {
        for (result, count) in stats.attempts.iter().enumerate() {
            to.seen(&[route, labels::result_text(result)], count.get());
        }
    });
    each(&f::ATTEMPT_DURATION, &|to, stats, route| to.histogram(&[route], &stats.attempt_duration));
    each(&f::RETRIES, &|to, stats, route| to.count(&[route], stats.retries.get()));
    each(&f::RETRY_DENIED, &|to, stats, route| {
        for (why, count) in &*stats.retry_denied.lock() {
            to.count(&[route, why], *count);
        }
    });
    each(&f::HEDGES, &|to, stats, route| {
        to.seen(&[route, "wasted"], stats.hedges[0].get());
        to.seen(&[route, "won"], stats.hedges[1].get());
    });
    each(&f::HEDGE_DENIED, &|to, stats, route| {
        for (why, count) in &*stats.hedge_denied.lock() {
            to.count(&[route, why], *count);
        }
    });
    each(&f::REJECTED, &|to, stats, route| {
        for (kind, count) in ErrorKind::ALL.iter().zip(&stats.rejected) {
            to.seen(&[route, kind.label()], count.get());
        }
    });
    each(&f::FALLBACKS, &|to, stats, route| {
        stats.detours.each_fallback(|by, reason, count| to.count(&[route, by, reason], count));
    });
    each(&f::FAULTS, &|to, stats, route| {
        stats.detours.each_fault(|kind, count| to.count(&[route, kind], count));
    });
    each(&f::MIRRORED, &|to, stats, route| {
        stats.detours.each_mirrored(|result, count| to.count(&[route, result], count));
    });
    each(&f::AUTHORIZE, &|to, stats, route| {
        stats.detours.each_authorized(|result, count| to.count(&[route, result], count));
    });
    each(&f::AUTHORIZE_DURATION, &|to, stats, route| {
        if stats.decisions.count() > 0 {
            to.histogram(&[route], &stats.decisions);
        }
    });
    each(&f::TRAILERS_DROPPED, &|to, stats, route| to.count(&[route], stats.trailers_dropped.get()));
    each(&f::BYTES, &|to, stats, route| {
        to.count(&[route, "in"], stats.bytes_in.get());
        to.count(&[route, "out"], stats.bytes_out.get());
    });
}

fn connections(shards: &[Arc<Shard>], out: &mut Vec<MetricFamily>) {
    let total = |read: &dyn Fn(&Shard) -> &Count| shards.iter().map(|shard| read(shard).get()).sum();
    out.extend(one(&f::CONNECTIONS, |to| {
        for side in Side::ALL {
            for proto in Proto::ALL {
                let open: i64 = shards.iter().map(|shard| shard.open.connections(side, proto)).sum();
                to.value(&[side.label(), proto.label()], open as f64);
            }
        }
    }));
    let tunnels: i64 = shards.iter().map(|shard| shard.open.tunnels()).sum();
    out.extend(one(&f::TUNNELS, |to| to.value(&[], tunnels as f64)));
    out.extend(one(&f::TUNNEL_BYTES, |to| {
        for direction in Direction::ALL {
            to.count(&[direction.label()], total(&|shard| &shard.tunnel_bytes[direction as usize]));
        }
    }));
    out.extend(one(&f::CONNECTION_REJECTED, |to| {
        for why in Rejection::ALL {
            to.count(&[why.label()], total(&|shard| &shard.rejected[why as usize]));
        }
    }));
    let mut phase = |family, read: &dyn Fn(&Shard) -> &Histogram| {
        let sum = Histogram::new(&DURATIONS);
        shards.iter().for_each(|shard| sum.absorb(read(shard)));
        out.extend(one(family, |to| to.histogram(&[], &sum)));
    };
    phase(&f::DNS, &|shard| &shard.dns);
    phase(&f::CONNECT, &|shard| &shard.connect);
    phase(&f::HANDSHAKE, &|shard| &shard.handshake);
}

fn events(events: &Events, out: &mut Vec<MetricFamily>) {
    out.extend(one(&f::TRANSITIONS, |to| {
        events.each_transition(|upstream, endpoint, state, count| {
            to.count(&[upstream, endpoint, labels::breaker(state)], count);
        });
    }));
    out.extend(one(&f::HEALTH, |to| {
        events.each_check(|upstream, endpoint, all| to.value(&[upstream, endpoint], f64::from(u8::from(all.well))));
    }));
    out.extend(one(&f::HEALTH_CHECKS, |to| {
        events.each_check(|upstream, endpoint, all| {
            to.count(&[upstream, endpoint, "ok"], all.good);
            to.count(&[upstream, endpoint, "failed"], all.bad);
        });
    }));
    out.extend(one(&f::PANIC, |to| {
        events.each_panic(|upstream, panic| to.value(&[upstream], f64::from(u8::from(panic))));
    }));
    out.extend(one(&f::REFRESHES, |to| {
        events.each_refresh(|route, result, count| to.count(&[route, result], count));
    }));
    out.extend(one(&f::CREDENTIAL_EXPIRY, |to| {
        events.each_credential_end(|route, end| to.count(&[route], end));
    }));
    out.extend(one(&f::JWKS, |to| {
        events.each_issuer(|identity, issuer| {
            to.count(&[identity, "ok"], issuer.ok);
            to.count(&[identity, "error"], issuer.failed);
        });
    }));
    out.extend(one(&f::JWKS_READ, |to| {
        events.each_issuer(|identity, issuer| issuer.read.iter().for_each(|read| to.value(&[identity], *read)));
    }));
    out.extend(one(&f::CERTIFICATE_EXPIRY, |to| {
        events.each_certificate(|one| one.expires.iter().for_each(|end| to.count(&[&one.file], *end)));
    }));
    out.extend(one(&f::CERTIFICATE_OK, |to| {
        events.each_certificate(|one| to.count(&[&one.file], u64::from(one.ok)));
    }));
    out.extend(one(&f::IDENTITY_REQUESTS, |to| {
        for row in events.identities().rows() {
            let counts = labels::CLASSES.iter().zip(row.counts);
            counts.for_each(|(class, count)| to.seen(&[&row.identity, &row.route, class], count));
        }
    }));
    out.extend(one(&f::INTERCEPTED, |to| {
        events.intercepts().each(|route, opened, _| to.count(&[route], opened));
    }));
    out.extend(one(&f::INTERCEPT_FAILURES, |to| {
        events.intercepts().each(|route, _, refused| {
            Refused::ALL.iter().zip(refused).for_each(|(why, count)| to.seen(&[route, why.label()], *count));
        });
    }));
    out.extend(one(&f::LOG_DROPPED, |to| to.count(&[], events.log_lines_dropped())));
    if let Some(reload) = events.last_reload() {
        out.extend(one(&f::RELOAD_OK, |to| to.value(&[], f64::from(reload.ok))));
        out.extend(one(&f::GENERATION, |to| to.count(&[], reload.generation)));
        out.extend(one(&f::RELOADED_AT, |to| to.value(&[], reload.at)));
    }
}

fn breakers(source: &dyn EndpointSource, out: &mut Vec<MetricFamily>) {
    let all = endpoints::read(source);
    let (mut states, mut inflight) = (Samples::new(&f::BREAKER), Samples::new(&f::INFLIGHT));
    for ((upstream, endpoint), (state, requests)) in &all {
        states.count(&[upstream, endpoint], u64::from(*state));
        inflight.count(&[upstream, endpoint], *requests);
    }
    out.extend(states.finish());
    out.extend(inflight.finish());
    out.extend(one(&f::OVERFLOW, |to| to.count(&[], source.overflows())));
}

fn limits(source: &dyn LimitSource, out: &mut Vec<MetricFamily>) {
    let [mut inflight, mut waiting, mut places] = [&f::LIMIT_INFLIGHT, &f::LIMIT_WAITING, &f::LIMIT].map(Samples::new);
    source.each(&mut |route, limit| {
        inflight.count(&[route], u64::from(limit.inflight));
        waiting.count(&[route], limit.waiting as u64);
        if let Some(count) = limit.places {
            places.count(&[route], u64::from(count));
        }
    });
    out.extend([inflight, waiting, places].into_iter().filter_map(Samples::finish));
}

fn processes(out: &mut Vec<MetricFamily>) {
    let Some(process) = process::read() else { return };
    for (family, value) in [
        (&f::CPU, process.cpu_seconds),
        (&f::RESIDENT, process.resident_bytes),
        (&f::VIRTUAL, process.virtual_bytes),
        (&f::OPEN_FDS, process.open_fds),
        (&f::MAX_FDS, process.max_fds),
        (&f::STARTED, process.started),
        (&f::THREADS, process.threads),
    ] {
        out.extend(one(family, |to| to.value(&[], value)));
    }
}
