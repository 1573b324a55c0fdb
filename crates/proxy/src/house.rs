//! What the whole process shares, and how a worker is furnished from it.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use config::Model;
use config::model::{AccessFormat, AccessSink, Destination as Rule, HostMatch, Log};
use exchange::Random;
use policy::inflight::Inflight;
use telemetry::access_log::{Format, Sink};
use telemetry::metrics::Shard;
use telemetry::{AccessLog, Metrics};
use tokio::runtime::Handle;
use upstream::connect::dns::{Override, Overrides, Resolver};
use upstream::connect::guard::{self, Guard};
use upstream::connect::{Connector, Timings};
use upstream::endpoint::Context;
use upstream::health::Tools;
use upstream::net::{Net, TokioNet};
use upstream::pool::Limits;
use upstream::worker::Worker as Pools;

use crate::build::{self, Ground};
use crate::listener::drain::Drain;
use crate::refused::Refused;
use crate::snapshot::Snapshot;
use crate::state::State;
use crate::worker::{Endpoints, Parts, Worker};
use crate::wrong::Wrong;

/// The process's own parts, shared by all workers and all configurations.
pub struct House {
    pub state: Arc<State>,
    pub metrics: Arc<Metrics>,
    pub resolver: Arc<Resolver>,
    pub guard: Arc<Guard>,
    pub net: Arc<dyn Net>,
    pub log: Option<AccessLog>,
    pub refused: Arc<Refused>,
    idle: Arc<Inflight>,
    redials: Arc<Inflight>,
    seed: Random,
}

impl House {
    /// Furnished for `model`; background name look-ups run on `handle`.
    pub fn new(model: &Model, handle: Handle, seed: u64, net: Option<Arc<dyn Net>>, colour: bool) -> io::Result<Self> {
        let state = Arc::new(State::default());
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
        metrics.set_endpoints(Arc::new(Endpoints(Arc::clone(&state.registry))));
        metrics.events().identities().keep(model.metrics.identities);
        Ok(Self {
            resolver: Arc::new(Resolver::new(overrides(model), handle)),
            guard: Arc::new(Guard::new(rules(model))),
            net: net.unwrap_or_else(|| Arc::new(TokioNet)),
            log: access_log(&model.log, &metrics, colour)?,
            idle: Arc::new(Inflight::new()),
            redials: Arc::new(Inflight::new()),
            refused: Arc::default(),
            seed: Random::seeded(seed),
            state,
            metrics,
        })
    }

    /// Builds a snapshot of `model` on this house's memory.
    pub fn build(
        &self,
        model: Model,
        generation: u64,
        own: &[SocketAddr],
        pseudonym: &Arc<str>,
    ) -> Result<Snapshot, Vec<Wrong>> {
        build::snapshot(model, generation, &Ground { state: &self.state, own, pseudonym })
    }

    /// Puts what is process-wide of a new configuration in place.
    pub fn adopt(&self, snapshot: &Snapshot) {
        self.resolver.set_overrides(overrides(&snapshot.model));
        let guard::Params { deny, allow, .. } = rules(&snapshot.model);
        self.guard.set_rules(deny, allow);
        self.metrics.events().identities().keep(snapshot.model.metrics.identities);
        self.state.sweep(&build::secrets(&snapshot.model), &build::keys(&snapshot.model).collect::<Vec<_>>());
        for plan in snapshot.routes.iter().chain([&snapshot.default]).filter(|plan| plan.policy.fault.is_some()) {
            tracing::warn!(route = %plan.name, "faults are injected on purpose: the route has a `fault`");
        }
    }

    /// A generator of its own for whoever asks.
    pub fn random(&self) -> Random {
        Random::seeded(self.seed.with(|rng| rng.u64(..)))
    }

    /// What active health checks need; their connections are not counted among those of requests.
    pub fn tools(&self) -> Tools {
        let connector = self.connector(Arc::new(()));
        Tools { connector, events: Arc::clone(self.metrics.events()), random: self.random() }
    }

    /// A way out that is not a worker's.
    pub(crate) fn connector(&self, timings: Arc<dyn Timings>) -> Connector {
        Connector {
            net: Arc::clone(&self.net),
            resolver: Arc::clone(&self.resolver),
            guard: Arc::clone(&self.guard),
            timings,
            ways: self.state.ways.clone(),
        }
    }

    /// A worker of this house.
    pub fn worker(&self, snapshot: Arc<Snapshot>, drain: Drain, connections: Arc<AtomicUsize>) -> Arc<Worker> {
        let stats = self.metrics.shard();
        let connector = self.connector(Arc::new(Timed(Arc::clone(&stats))));
        let context = Arc::new(Context {
            random: self.random(),
            stats: Arc::clone(&stats),
            timers: Arc::default(),
            connector: Arc::new(connector),
            idle: Arc::clone(&self.idle),
            redials: Arc::clone(&self.redials),
        });
        let pools = Arc::new(Pools::new(context, Arc::clone(&self.state.registry), Limits::default()));
        let log = self.log.as_ref().and_then(AccessLog::writer);
        Worker::new(Parts { pools, stats, log, drain, connections, refused: Arc::clone(&self.refused) }, snapshot)
    }
}

/// Builds the whole of a model without binding anything.
pub fn check(model: &Model) -> Result<(), Vec<Wrong>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| vec![format!("the runtime does not start: {error}").into()])?;
    let mut model = model.clone();
    model.log.access.sink = AccessSink::Off;
    let house =
        House::new(&model, runtime.handle().clone(), 0, None, false).map_err(|error| vec![error.to_string().into()])?;
    house.build(model, 1, &[], &"attache".into()).map(drop)
}

pub(crate) fn overrides(model: &Model) -> Overrides {
    let read =
        |(host, to): (&String, &config::model::Resolve)| (host.as_str().into(), Override { ip: to.ip, port: to.port });
    model.resolve.iter().map(read).collect()
}

/// An entry of a list of destinations, as the guard reads it.
pub(crate) fn rule(from: &Rule) -> guard::Rule {
    match from {
        Rule::Net(net) => guard::Rule { pattern: guard::Pattern::Net(*net), port: None },
        Rule::Host(HostMatch::Any) => guard::Rule { pattern: guard::Pattern::Any, port: None },
        Rule::Host(HostMatch::Exact { host, port }) => {
            guard::Rule { pattern: guard::Pattern::Exact(host.as_str().into()), port: *port }
        }
        Rule::Host(HostMatch::Suffix { suffix, port }) => {
            guard::Rule { pattern: guard::Pattern::Suffix(suffix.as_str().into()), port: *port }
        }
    }
}

pub(crate) fn rules(model: &Model) -> guard::Params {
    let destinations = &model.destinations;
    guard::Params {
        deny: destinations.deny.iter().map(rule).collect(),
        allow: destinations.allow.iter().map(rule).collect(),
        own: Vec::new(),
    }
}

fn access_log(log: &Log, metrics: &Arc<Metrics>, colour: bool) -> io::Result<Option<AccessLog>> {
    let sink = match &log.access.sink {
        AccessSink::Off => return Ok(None),
        AccessSink::Stdout => Sink::Stdout,
        AccessSink::File(path) => Sink::File(path.clone()),
    };
    let terminal = sink == Sink::Stdout && io::stdout().is_terminal();
    let format = match log.access.format {
        AccessFormat::Json => Format::Json,
        AccessFormat::Text => Format::Text { colour: false },
        AccessFormat::Auto if terminal => Format::Text { colour },
        AccessFormat::Auto => Format::Json,
    };
    AccessLog::new(sink, format, log.access.sample, Arc::clone(metrics.events())).map(Some)
}

/// A worker's counters as the connector feeds them.
struct Timed(Arc<Shard>);

impl Timings for Timed {
    fn dns(&self, took: std::time::Duration) {
        self.0.resolved(took);
    }

    fn connect(&self, took: std::time::Duration) {
        self.0.connected(took);
    }

    fn tls(&self, took: std::time::Duration) {
        self.0.handshaken(took);
    }
}
