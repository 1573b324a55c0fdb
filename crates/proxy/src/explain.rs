//! Which route a request would take and what it would meet there. Nothing is sent.

mod asks;
mod callers;
mod credential;
mod detours;
mod egress;
mod limit;
mod tunnel;

use std::fmt;
use std::time::Duration;

use config::Model;
use config::model::{self, Policy};
use exchange::{Authority, Client, Door, Exchange, Head};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use serde::Serialize;

use crate::offline::Offline;
use crate::permit;
use crate::snapshot::{End, Plan};
use crate::stack::Site;

/// The answer.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    version: u32,
    request: String,
    /// How a client that uses the proxy would send it.
    door: &'static str,
    /// `None`: it is refused.
    route: Option<String>,
    origin: Option<String>,
    /// Why it is refused, or what to know.
    notes: Vec<String>,
    layers: Vec<&'static str>,
    /// Who may use it, a rule each; none: everyone who can reach the listener.
    allow: Vec<String>,
    /// Who else decides; empty for nobody.
    authorize: String,
    targets: Vec<String>,
    timeouts: Vec<(&'static str, String)>,
    /// How a client says how long it waits; empty where it has no say.
    deadline: String,
    retry: String,
    /// Empty where it is off.
    hedge: String,
    breaker: String,
    limit: String,
    /// How one of several is picked; empty where there is one, or weights decide.
    endpoints: String,
    credential: String,
    /// Whom it asks to show themselves; empty for nobody.
    authenticate: String,
    /// Who answers when the target does not, or not well; in the order in which they are asked.
    fallback: Vec<String>,
    /// Who gets copies; empty for nobody.
    mirror: String,
}

/// What is asked about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Question<'a> {
    /// The method.
    pub method: &'a str,
    /// Where the client would send it.
    pub url: &'a str,
    /// Names and values.
    pub headers: &'a [(String, String)],
    /// What is known of the caller, such as `user:alice`; nothing: somebody on this machine.
    pub caller: &'a [String],
}

/// Explains a request to `url`.
///
/// # Errors
/// What is wrong with the method, the URL or the headers.
pub fn explain(model: &Model, method: &str, url: &str, headers: &[(String, String)]) -> Result<Explanation, String> {
    answer(model, &Question { method, url, headers, caller: &[] })
}

/// Explains a request of a certain caller.
///
/// # Errors
/// What is wrong with the question.
pub fn answer(model: &Model, question: &Question<'_>) -> Result<Explanation, String> {
    let Question { method, url, headers, caller } = *question;
    let head = Head { client: callers::client(caller)?, ..head(method, url)? };
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is not a header name"))?;
        let value = HeaderValue::from_str(value).map_err(|_| format!("the value of `{name}` is not valid"))?;
        map.append(name, value);
    }
    let offline = Offline::new(model)?;
    let site = offline.site();
    let request = format!("{} {url}", head.method);
    let target = Authority::new(head.authority.host().clone(), Some(head.authority.port_or(443)));
    let opening = site.opening(&target, &head.client).filter(|_| head.tls && tunnel::connects(site, &target));
    if head.tls && opening.is_none() {
        return Ok(tunnel::explained(site, head, request, !caller.is_empty()));
    }
    let door = if opening.is_some() { "https (CONNECT, opened)" } else { "http (absolute-form)" };
    let (plan, stack, origin) = match site.table().find(&head, &map) {
        Some(index) => {
            let snapshot = site.snapshot();
            (&snapshot.routes[index], &site.stacks()[index], Some(snapshot.model.routes[index].origin.clone()))
        }
        None if site.table().keeps(&head, None) => {
            return Ok(refused(
                request,
                door,
                "the routes of this host are for other callers (`match: who`): 403; ask with --as",
            ));
        }
        None if site.passes() => (&site.snapshot().default, site.default_stack(), None),
        None => {
            return Ok(refused(request, door, "no route names this host and the default is deny: 403"));
        }
    };
    let port = head.authority.port_or(if head.tls { 443 } else { 80 });
    let leaves = matches!(plan.end, End::Hosts(_));
    if let Some(why) = egress::refusal(site, head.authority.host(), port).filter(|_| leaves) {
        return Ok(refused(request, door, &format!("{why}: 403")));
    }
    let mut explanation = of_plan(plan, request, door);
    explanation.notes.extend(opening.map(|opening| {
        format!(
            "intercepted, as `{}` says: the client sees a certificate of ours for {}, and must trust its authority",
            opening.route,
            target.host()
        )
    }));
    if leaves {
        explanation.targets =
            vec![format!("the same host and scheme{}", egress::way_to(plan, head.authority.host(), port))];
    }
    match origin.as_ref().and_then(|_| action(site, plan)) {
        Some(model::Action::Upstream(name)) => {
            let upstream = site.snapshot().model.upstreams.iter().find(|upstream| upstream.name == *name);
            explanation.endpoints = upstream.map(endpoints).unwrap_or_default();
        }
        // Weights decide where there are any.
        Some(model::Action::Targets(all)) if all.len() > 1 && all.iter().all(|one| one.weight.is_none()) => {
            explanation.endpoints = balance(plan.policy.balance).to_owned();
        }
        _ => {}
    }
    explanation.origin = origin;
    explanation.layers.clone_from(&stack.layers);
    if !caller.is_empty() {
        let exchange = Exchange::new(head, None);
        explanation.notes.push(verdict(permit::request(plan, &exchange)));
    }
    Ok(explanation)
}

/// What `allow` says of the caller that was asked about.
fn verdict(outcome: Result<(), exchange::Error>) -> String {
    match outcome {
        Ok(()) => "this caller may".into(),
        Err(error) => format!("403: {}", error.detail().unwrap_or_default()),
    }
}

fn who_may(plan: &Plan) -> Vec<String> {
    plan.policy.allow.iter().map(callers::rule).collect()
}

fn refused(request: String, door: &'static str, why: &str) -> Explanation {
    Explanation {
        version: 1,
        request,
        door,
        route: None,
        origin: None,
        notes: vec![why.to_owned()],
        layers: Vec::new(),
        allow: Vec::new(),
        authorize: String::new(),
        targets: Vec::new(),
        timeouts: Vec::new(),
        deadline: String::new(),
        retry: "none".into(),
        hedge: String::new(),
        breaker: "none".into(),
        limit: "none".into(),
        endpoints: String::new(),
        credential: "none".into(),
        authenticate: String::new(),
        fallback: Vec::new(),
        mirror: String::new(),
    }
}

fn of_plan(plan: &Plan, request: String, door: &'static str) -> Explanation {
    let policy = &plan.policy;
    let targets = match &plan.end {
        End::Hosts(_) => vec!["the same host and scheme".to_owned()],
        End::Targets { targets, .. } => targets
            .iter()
            .flat_map(|target| {
                target.endpoints.iter().map(move |key| {
                    let share = target.weight.map(|weight| format!(" (weight {weight})")).unwrap_or_default();
                    let way = egress::way(key.destination.parent.as_ref());
                    format!(
                        "{}://{}:{}{}{share}{way}",
                        target.scheme, key.destination.host, key.destination.port, target.base
                    )
                })
            })
            .collect(),
        End::Redirect { status, location } => vec![format!("answered here: {status} to {location}")],
        End::Respond { status, .. } => vec![format!("answered here: {status}")],
    };
    Explanation {
        version: 1,
        request,
        door,
        route: Some(plan.name.to_string()),
        origin: None,
        notes: policy.fault.iter().map(detours::fault).collect(),
        layers: Vec::new(),
        allow: who_may(plan),
        authorize: policy.authorize.as_ref().map(callers::decider).unwrap_or_default(),
        targets,
        timeouts: timeouts(policy),
        deadline: policy.deadline.as_ref().map(deadline).unwrap_or_default(),
        retry: policy.retry.as_ref().map_or_else(|| "off".into(), retry) + renewed(plan),
        hedge: policy.hedge.as_ref().map(hedge).unwrap_or_default(),
        breaker: policy.breaker.as_ref().map_or_else(|| "off".into(), breaker),
        limit: limit::limit(plan),
        endpoints: String::new(),
        credential: policy.auth.as_ref().map_or_else(|| "none".into(), credential::credential),
        authenticate: plan.gate.as_deref().map(|gate| asks::asks(gate, door)).unwrap_or_default(),
        fallback: detours::fallbacks(policy),
        mirror: policy.mirror.as_ref().map(detours::mirror).unwrap_or_default(),
    }
}

fn timeouts(policy: &Policy) -> Vec<(&'static str, String)> {
    let timeout = &policy.timeout;
    let or_none = |limit: Option<Duration>| limit.map_or_else(|| "none".into(), shown);
    vec![
        ("connect", shown(timeout.connect)),
        ("attempt", or_none(timeout.attempt)),
        ("total", or_none(timeout.total)),
        ("idle", shown(timeout.idle)),
    ]
}

fn deadline(deadline: &model::Deadline) -> String {
    let out = match &deadline.out {
        Some(out) => format!("what is left goes on as {out}"),
        None => "not passed on".into(),
    };
    format!("the client's own by {}; {out}", deadline.header)
}

fn retry(retry: &model::Retry) -> String {
    let status = |(first, last): &(u16, u16)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    let statuses: Vec<_> = retry.statuses.iter().map(status).collect();
    let own = retry.attempts_header.as_ref().map(|name| format!(" (or as {name} says)")).unwrap_or_default();
    let fields: String = retry.headers.iter().map(|(name, _)| format!(" {name}")).collect();
    format!(
        "{} attempts{own}; on {}{fields} and failures to connect; backoff up to {}, {} at most; budget {}% + {}/s",
        retry.attempts,
        statuses.join(" "),
        shown(retry.backoff),
        shown(retry.max_backoff),
        retry.budget.ratio * 100.0,
        retry.budget.per_second,
    )
}

/// What is repeated whatever `retry` says.
fn renewed(plan: &Plan) -> &'static str {
    match &plan.credential {
        Some(credential) if credential.is_fetched() => "; once more with a new credential after a 401",
        _ => "",
    }
}

fn hedge(hedge: &model::Hedge) -> String {
    let after = match hedge.after {
        model::HedgeAfter::Fixed(wait) => shown(wait),
        model::HedgeAfter::Percentile(share) => format!("the time that {}% of the answers took lately", percent(share)),
    };
    let budget = percent(hedge.budget);
    format!("GET, HEAD and OPTIONS once more at another endpoint after {after}; {budget}% of requests at most")
}

/// With one decimal, where there is one.
fn percent(share: f64) -> f64 {
    (share * 1000.0).round() / 10.0
}

fn breaker(breaker: &model::Breaker) -> String {
    let trip = match breaker.failures {
        Some(failures) => format!("{failures} failures in a row"),
        None => "5 connect failures in a row".into(),
    };
    let slow = breaker.slow.map(|slow| format!(" failing or {}% slower than {}", slow.rate * 100.0, shown(slow.over)));
    format!(
        "opens at {trip}, or {}%{} of at least {} calls in 10s; for {}, up to {}; {} good probes close it",
        breaker.rate * 100.0,
        slow.unwrap_or_default(),
        breaker.min_requests,
        shown(breaker.open),
        shown(breaker.max_open),
        breaker.probes,
    )
}

fn action<'a>(site: &'a Site, plan: &Plan) -> Option<&'a model::Action> {
    site.snapshot().model.routes.iter().find(|route| *route.name == *plan.name).map(|route| &route.action)
}

const fn balance(balance: model::Balance) -> &'static str {
    match balance {
        model::Balance::P2c => "the better of two",
        model::Balance::LeastRequest => "the one with the fewest requests",
        model::Balance::RoundRobin => "in turn",
        model::Balance::Random => "any",
        model::Balance::Ring => "by hash, equal requests together",
    }
}

fn endpoints(upstream: &model::Upstream) -> String {
    let hash_on = match &upstream.hash_on {
        Some(model::HashOn::Peer) => " by the client's address".to_owned(),
        Some(model::HashOn::Header(name)) => format!(" by header {name}"),
        Some(model::HashOn::Cookie(name)) => format!(" by cookie {name}"),
        None => String::new(),
    };
    let hash_on = if upstream.balance == model::Balance::Ring { hash_on } else { String::new() };
    let balance = balance(upstream.balance);
    let outlier = upstream.outlier.map(|outlier| {
        let margin = outlier.margin * 100.0;
        format!("; out at {margin}% more failures than the others, with {} calls in 10s", outlier.min_requests)
    });
    let health = upstream.health.as_ref().map(|health| {
        let ask = match &health.ask {
            model::HealthAsk::Http { path, .. } => format!("GET {path}"),
            model::HealthAsk::Tcp => "tcp".into(),
            model::HealthAsk::Grpc(service) => format!("grpc health of '{service}'"),
        };
        let (bad, good) = (health.unhealthy, health.healthy);
        format!("; checked by {ask} every {}, out after {bad} bad ones and back after {good}", shown(health.every))
    });
    let health = health.unwrap_or_default();
    let max = upstream.max_ejected * 100.0;
    let slow = upstream.slow_start.map(|slow| format!("; back within {}", shown(slow))).unwrap_or_default();
    let levels = upstream.priorities.iter().any(|one| *one != upstream.priorities[0]);
    let levels = if levels { format!("; by priority {:?}", upstream.priorities) } else { String::new() };
    format!(
        "{balance}{hash_on}{levels}{slow}{health}{}; all of them once more than {max}% are out",
        outlier.unwrap_or_default()
    )
}

fn shown(duration: Duration) -> String {
    format!("{duration:?}")
}

fn head(method: &str, url: &str) -> Result<Head, String> {
    let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes())
        .map_err(|_| format!("`{method}` is not a method"))?;
    let uri: Uri = url.parse().map_err(|error| format!("`{url}` is not a URL: {error}"))?;
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(format!("`{url}` does not begin with http:// or https://")),
    };
    let authority = uri.authority().map(|authority| Authority::parse(authority.as_str()));
    let authority = authority.ok_or("there is no host")?.map_err(|error| format!("`{url}`: {error}"))?;
    Ok(Head {
        id: 0,
        started: exchange::clock::now(),
        door: Door::Forward,
        client: Client { addr: None, local: true, peer: None },
        version: Version::HTTP_11,
        method,
        tls,
        authority,
        path: uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")),
        upgrade: false,
        grpc: false,
    })
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.request)?;
        let mut row = |name: &str, value: &str| writeln!(f, "  {name:<11} {value}");
        row("comes in as", self.door)?;
        match (&self.route, &self.origin) {
            (Some(route), Some(origin)) => row("route", &format!("{route}  ({origin})"))?,
            (Some(route), None) => row("route", route)?,
            (None, _) => row("route", "refused")?,
        }
        for note in &self.notes {
            row("note", note)?;
        }
        if self.route.is_none() {
            return Ok(());
        }
        row("stack", &self.layers.join(" > "))?;
        self.allow.iter().try_for_each(|rule| row("allow", rule))?;
        if !self.authorize.is_empty() {
            row("authorize", &self.authorize)?;
        }
        for target in &self.targets {
            row("goes to", target)?;
        }
        let timeouts: Vec<_> = self.timeouts.iter().map(|(name, value)| format!("{name} {value}")).collect();
        row("timeouts", &timeouts.join(", "))?;
        if !self.deadline.is_empty() {
            row("deadline", &self.deadline)?;
        }
        row("retry", &self.retry)?;
        if !self.hedge.is_empty() {
            row("hedge", &self.hedge)?;
        }
        row("breaker", &self.breaker)?;
        row("limit", &self.limit)?;
        if !self.endpoints.is_empty() {
            row("endpoints", &self.endpoints)?;
        }
        if !self.authenticate.is_empty() {
            row("asks for", &self.authenticate)?;
        }
        row("credential", &self.credential)?;
        self.fallback.iter().try_for_each(|rule| row("fallback", rule))?;
        if self.mirror.is_empty() { Ok(()) } else { row("mirror", &self.mirror) }
    }
}

#[cfg(test)]
mod tests;
