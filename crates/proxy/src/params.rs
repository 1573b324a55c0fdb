//! From the checked model's numbers to each layer's parameters.

mod detour;

use std::sync::Arc;
use std::time::Duration;

use config::model::{self, HeaderEdit, Policy};
use exchange::{ArcService, Load};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use middleware::credentials::placeholder;
use middleware::{
    Algorithms, allow, authorize, browser, compress, concurrency, deadline, decompress, headers, pacing, rate_limit,
    redirect, respond, retry, target,
};
use policy::backoff::Backoff;
use policy::{breaker, budget, health, hedge};
use upstream::health::{Check, Question};
use upstream::set::{Balance, HashOn, Rules};

use upstream::upstream::host_budgets;

pub use self::detour::{fallback, fault, headers_beside, mirror, target_beside};
use crate::build;
use crate::permit::{self, Rule};
use crate::route::Field;
use crate::snapshot::{Credential, End, Plan, Snapshot, Target};
use crate::worker::Worker;

/// Requests at an endpoint at once, where the route sets no limit.
pub const CEILING: u32 = 1024;

pub fn deadline(policy: &Policy) -> deadline::Params {
    let header = policy.deadline.as_ref().and_then(|from| name(&from.header));
    deadline::Params { total: policy.timeout.total, header }
}

/// Only a route that adds a credential has something a web page could borrow.
pub fn browser(plan: &Plan) -> Option<browser::Params> {
    plan.policy
        .auth
        .as_ref()
        .map(|_| browser::Params { origins: plan.policy.browser_origins.clone(), any_host: plan.any_host })
}

/// The words that stand for the secrets of other routes.
pub fn placeholders(plan: &Plan, snapshot: &Snapshot) -> Option<Vec<placeholder::Params>> {
    let own = |other: &placeholder::Params| matches!(&plan.credential, Some(Credential::Placeholder { params, .. }) if params == other);
    let mut others = build::placeholders(&snapshot.model);
    others.retain(|other| !own(other));
    (!others.is_empty()).then_some(others)
}

/// Only where there are rules.
pub fn allow(plan: &Plan) -> Option<allow::Params> {
    let rules = plan.allow.iter().map(Rule::layered).collect();
    (!plan.allow.is_empty()).then_some(allow::Params { rules })
}

/// Only where somebody else is asked; `service` is the way there.
pub fn authorize(
    plan: &Plan,
    worker: &Worker,
    service: impl FnOnce(&Target) -> ArcService,
) -> Option<(authorize::Params, authorize::State)> {
    let (from, to) = (plan.policy.authorize.as_ref()?, plan.decider.as_ref()?);
    let path = if from.url.base.is_empty() { "/" } else { &from.url.base };
    let url = Uri::builder().scheme(to.scheme.clone()).authority(to.authority.clone()?).path_and_query(path).build();
    let params = authorize::Params {
        url: url.ok()?,
        timeout: from.timeout,
        fail_open: from.fail_open,
        cache: from.cache,
        headers: from.headers.iter().filter_map(|text| name(text)).collect(),
        sets: from.sets.clone(),
        concurrency: from.concurrency,
    };
    Some((params, authorize::State { service: service(to), stats: worker.stats().route(&plan.name) }))
}

/// How whoever decides is reached: nothing of the route's own timeouts and changes.
pub fn decider() -> Arc<upstream::Params> {
    upstream(&Policy::default())
}

/// Only where something is sent, and the route says how much at once.
pub fn concurrency(plan: &Plan) -> Option<(concurrency::Params, concurrency::Scope)> {
    let limit = &plan.policy.limit;
    let queue = limit.queue.map(|queue| concurrency::Queue { size: queue.size, timeout: queue.timeout });
    if matches!(plan.end, End::Redirect { .. } | End::Respond { .. }) {
        return None;
    }
    let most = limit.concurrency.unwrap_or(CEILING);
    Some((concurrency::Params { limit: most, adaptive: limit.adaptive, queue }, plan.places.clone()?))
}

/// Only where something is sent, and the route has a rate.
pub fn rate_limit(plan: &Plan) -> Option<(rate_limit::Params, Arc<rate_limit::Meters>)> {
    let from = plan.policy.limit.rate.as_ref()?;
    if matches!(plan.end, End::Redirect { .. } | End::Respond { .. }) {
        return None;
    }
    let quota = |count: u32, period: Duration, burst| rate_limit::Quota { interval: period / count.max(1), burst };
    let special = from.special.iter();
    let special = special.map(|one| (permit::who(&one.who), quota(one.count, one.period, one.burst))).collect();
    let quota = quota(from.count, from.period, from.burst);
    let per = match &from.per {
        model::Per::Route => rate_limit::Per::Route,
        model::Per::Client => rate_limit::Per::Client,
        model::Per::Identity => rate_limit::Per::Identity,
        model::Per::Destination => rate_limit::Per::Destination,
        model::Per::Header(name) => rate_limit::Per::Header(HeaderName::from_bytes(name.as_bytes()).ok()?),
    };
    Some((rate_limit::Params { quota, per, special }, plan.meters.clone()?))
}

/// `target`: `None` for each request's own host.
pub fn pacing(plan: &Plan, target: Option<&Target>) -> Option<pacing::Scope> {
    let paces = plan.paces.as_ref()?;
    Some(match target {
        None => pacing::Scope::Hosts(Arc::clone(paces)),
        Some(target) => {
            let names: Vec<_> = target.endpoints.iter().map(|key| &*key.upstream).collect();
            pacing::Scope::One(paces.named(names.first().copied().unwrap_or_default()))
        }
    })
}

pub fn compress(policy: &Policy) -> Option<compress::Params> {
    policy.compress.as_ref().map(|from| compress::Params {
        algorithms: algorithms(from.algorithms),
        min_size: from.min_size as u64,
        types: from.types.clone(),
    })
}

pub fn decompress(policy: &Policy) -> Option<decompress::Params> {
    policy
        .decompress
        .map(|from| decompress::Params { algorithms: algorithms(from.algorithms), max_size: from.max_size as u64 })
}

fn algorithms(from: model::Algorithms) -> Algorithms {
    Algorithms { gzip: from.gzip, br: from.br, zstd: from.zstd }
}

/// Where something is repeated: what the route says, and what was refused with a credential that can be fetched anew.
pub fn retry(plan: &Plan, worker: &Arc<Worker>) -> Option<(retry::Params, retry::State)> {
    let asked = |retry: &&model::Retry| retry.attempts > 1 || retry.attempts_header.is_some();
    let from = plan.policy.retry.as_ref().filter(asked);
    if from.is_none() && !plan.credential.as_ref().is_some_and(Credential::is_fetched) {
        return None;
    }
    let (budgets, elsewhere) = match &plan.end {
        End::Targets { budget, targets } => (retry::Budgets::One(Arc::clone(budget)), targets.len() > 1),
        End::Hosts(hosts) => {
            (retry::Budgets::Of(Arc::new(host_budgets(hosts.clone(), Arc::clone(worker.upstream())))), false)
        }
        End::Redirect { .. } | End::Respond { .. } => return None,
    };
    let params = match from {
        Some(from) => repeats(from, elsewhere),
        None => retry::Params {
            conditions: retry::Conditions {
                connect_failure: false,
                reset: false,
                refused_stream: false,
                timeout: false,
            },
            attempts: 1,
            statuses: Vec::new(),
            ..retry::Params::default()
        },
    };
    let renew = plan.credential.as_ref().and_then(Credential::renew);
    Some((params, retry::State { budgets, random: worker.context().random.clone(), renew }))
}

fn repeats(from: &model::Retry, elsewhere: bool) -> retry::Params {
    retry::Params {
        attempts: from.attempts,
        statuses: from.statuses.iter().map(|(first, last)| *first..=*last).collect(),
        conditions: retry::Conditions {
            connect_failure: from.conditions.connect_failure,
            reset: from.conditions.reset,
            refused_stream: from.conditions.refused_stream,
            timeout: from.conditions.timeout,
        },
        methods: from.methods.iter().filter_map(|method| Method::from_bytes(method.as_bytes()).ok()).collect(),
        grpc: from.grpc.clone(),
        wanted: wanted(&from.headers),
        attempts_header: from.attempts_header.as_deref().and_then(name),
        backoff: Backoff { base: from.backoff, cap: from.max_backoff },
        budget: budget::Params {
            ratio: from.budget.ratio,
            per_second: from.budget.per_second,
            ..budget::Params::default()
        },
        body_limit: from.body_limit,
        elsewhere,
    }
}

fn wanted(from: &[(String, model::ValueMatch)]) -> Option<retry::Wanted> {
    let fields: Vec<_> = from.iter().filter_map(|(name, value)| Field::new(name, value).ok()).collect();
    let wanted = move |headers: &HeaderMap| fields.iter().any(|field| field.is_in(headers));
    (!from.is_empty()).then(|| retry::Wanted(Arc::new(wanted)))
}

/// Only where there is somewhere else to go.
pub fn hedge(plan: &Plan) -> Option<(hedge::Params, Arc<hedge::Hedges>)> {
    let from = plan.policy.hedge?;
    let after = match from.after {
        model::HedgeAfter::Fixed(wait) => hedge::After::Fixed(wait),
        model::HedgeAfter::Percentile(share) => hedge::After::Quantile(share),
    };
    Some((hedge::Params { after, ratio: from.budget }, plan.hedges.clone()?))
}

pub fn breaker(policy: &Policy) -> Option<breaker::Params> {
    policy.breaker.as_ref().map(|from| breaker::Params {
        failures: from.failures,
        rate: from.rate,
        min_requests: from.min_requests,
        slow: from.slow.map(|slow| breaker::Slow { over: slow.over, rate: slow.rate }),
        open: from.open,
        max_open: from.max_open,
        successes: from.probes,
        // Twice: an attempt that times out must still be there to count.
        patience: policy.timeout.attempt.map_or(breaker::PATIENCE, |attempt| attempt * 2),
        ..breaker::Params::default()
    })
}

/// How an endpoint is picked; a target of a route has only one, so that nothing matters.
pub fn rules(from: Option<&model::Upstream>) -> Rules {
    let balance = match from.map(|upstream| upstream.balance).unwrap_or_default() {
        model::Balance::P2c => Balance::P2c,
        model::Balance::LeastRequest => Balance::Least,
        model::Balance::RoundRobin => Balance::RoundRobin,
        model::Balance::Random => Balance::Random,
        model::Balance::Ring => Balance::Ring,
    };
    let hash_on = from.filter(|_| balance == Balance::Ring).and_then(|upstream| upstream.hash_on.as_ref());
    let priorities = from.map(|upstream| upstream.priorities.clone()).unwrap_or_default();
    let alike = priorities.iter().all(|one| *one == priorities[0]);
    Rules {
        balance,
        max_ejected: from.map_or(1.0, |upstream| upstream.max_ejected),
        checked: from.and_then(|upstream| upstream.health.as_ref()).map(|health| health.every),
        hash_on: hash_on.and_then(|on| match on {
            model::HashOn::Peer => Some(HashOn::Peer),
            model::HashOn::Header(name) => HeaderName::from_bytes(name.as_bytes()).ok().map(HashOn::Header),
            model::HashOn::Cookie(name) => Some(HashOn::Cookie(name.clone())),
        }),
        slow_start: from.and_then(|upstream| upstream.slow_start),
        priorities: if alike { Vec::new() } else { priorities },
    }
}

pub fn check(from: &model::Health) -> Check {
    Check {
        question: match &from.ask {
            model::HealthAsk::Http { path, host, expect } => {
                Question::Http { path: path.clone(), host: host.clone(), expect: expect.clone() }
            }
            model::HealthAsk::Tcp => Question::Tcp,
            model::HealthAsk::Grpc(service) => Question::Grpc { service: service.clone() },
        },
        every: from.every,
        timeout: from.timeout,
        rows: health::Params { healthy: from.healthy, unhealthy: from.unhealthy },
    }
}

pub fn upstream(policy: &Policy) -> Arc<upstream::Params> {
    let (timeout, breaker) = (&policy.timeout, breaker(policy));
    Arc::new(upstream::Params {
        connect: timeout.connect,
        attempt: timeout.attempt,
        idle: timeout.idle,
        breaker,
        // A limit of the route's own is kept by its bulkhead.
        concurrency: policy.limit.concurrency.map_or(CEILING, |_| u32::MAX),
    })
}

pub fn target<'a>(
    plan: &Plan,
    candidates: impl Iterator<Item = (&'a Target, ArcService, Arc<dyn Load>)>,
) -> target::Params {
    target::Params {
        candidates: candidates
            .map(|(one, service, load)| target::Candidate {
                weight: one.weight,
                scheme: Some(one.scheme.clone()),
                authority: one.authority.clone(),
                base: one.base.clone(),
                service,
                load,
            })
            .collect(),
        balance: match plan.policy.balance {
            // A ring is for the endpoints of named upstreams, and a route cannot ask for it.
            model::Balance::P2c | model::Balance::Ring => target::Balance::P2c,
            model::Balance::LeastRequest => target::Balance::Least,
            model::Balance::RoundRobin => target::Balance::RoundRobin,
            model::Balance::Random => target::Balance::Random,
        },
        rewrite: rewrite(plan),
    }
}

/// A target by itself, without anything of a route.
pub fn alone(to: &Target, service: ArcService, load: Arc<dyn Load>) -> target::Params {
    let scheme = Some(to.scheme.clone());
    let only = target::Candidate {
        weight: None,
        scheme,
        authority: to.authority.clone(),
        base: to.base.clone(),
        service,
        load,
    };
    target::Params { candidates: vec![only], ..target::Params::default() }
}

/// Where a request goes to its own host: `None` unless something is rewritten.
pub fn rewritten(plan: &Plan, service: ArcService, load: Arc<dyn Load>) -> Option<target::Params> {
    let only = || target::Candidate { weight: None, scheme: None, authority: None, base: String::new(), service, load };
    let is_set = plan.policy.rewrite != model::Rewrite::default();
    is_set.then(|| target::Params { candidates: vec![only()], rewrite: rewrite(plan), ..target::Params::default() })
}

fn rewrite(plan: &Plan) -> target::Rewrite {
    let from = &plan.policy.rewrite;
    target::Rewrite {
        host: from.host.as_deref().and_then(|host| HeaderValue::from_str(host).ok()),
        path: from.path.clone(),
        prefix: from.prefix.as_ref().map(|with| target::Prefix {
            matched: plan.prefix.clone().unwrap_or_else(|| "/".into()),
            replacement: with.clone(),
        }),
    }
}

pub fn headers(plan: &Plan, snapshot: &Snapshot) -> headers::Params {
    let policy = &plan.policy;
    headers::Params {
        request: edit(&policy.headers.request),
        response: edit(&policy.headers.response),
        via: Some(Arc::clone(&snapshot.via)),
        deadline: policy.deadline.as_ref().and_then(|from| {
            Some(headers::Deadline { header: name(&from.header)?, out: from.out.as_deref().and_then(name) })
        }),
        rewrite_location: policy.rewrite_location,
    }
}

fn edit(from: &HeaderEdit) -> headers::Edit {
    let pairs = |from: &[(String, String)]| from.iter().filter_map(|(name, value)| pair(name, value)).collect();
    headers::Edit {
        set: pairs(&from.set),
        add: pairs(&from.add),
        remove: from.remove.iter().filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect(),
    }
}

pub fn redirect(status: u16, location: &str) -> redirect::Params {
    redirect::Params {
        status: StatusCode::from_u16(status).unwrap_or(StatusCode::FOUND),
        location: HeaderValue::from_str(location).unwrap_or_else(|_| HeaderValue::from_static("/")),
    }
}

pub fn respond(status: u16, headers: &[(String, String)], body: &str) -> respond::Params {
    respond::Params {
        status: StatusCode::from_u16(status).unwrap_or(StatusCode::OK),
        headers: headers.iter().filter_map(|(name, value)| pair(name, value)).collect(),
        body: body.to_owned().into(),
    }
}

fn name(text: &str) -> Option<HeaderName> {
    HeaderName::from_bytes(text.as_bytes()).ok()
}

/// Names and values were checked; what does not convert here cannot occur.
fn pair(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
}
