//! A checked model becomes a snapshot. This can fail; what comes after cannot.

mod credential;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use config::Model;
use config::model::{self, Action, AsideTo, Policy, Scheme, Url};
use exchange::headers::Via;
use exchange::{Authority, Host};
use http::uri;
use middleware::authenticate::Gate;
use middleware::concurrency::Scope;
use middleware::fallback::Store;
use middleware::pacing::Paces;
use middleware::rate_limit::Meters;
use policy::outlier;
use upstream::connect::{Destination, Parents, Tls};
use upstream::endpoint::{Key, Protocol};
use upstream::upstream::Hosts;

use self::credential::credential;
pub use self::credential::{keys, placeholders, secrets, signers, users};
use crate::intercept;
use crate::listener::tls::{Front, Part};
use crate::params;
use crate::permit;
use crate::route::{Field, Table};
use crate::snapshot::{Aside, End, Group, Plan, Snapshot, Target};
use crate::state::State;
use crate::wrong::Wrong;

mod parents;

/// The name of the route of hosts that no route names.
pub const DEFAULT: &str = "_default";

/// What a build needs besides the model.
pub struct Ground<'a> {
    /// The process's memory.
    pub state: &'a State,
    /// Where we listen.
    pub own: &'a [SocketAddr],
    /// Ours in `Via`.
    pub pseudonym: &'a Arc<str>,
}

/// Builds a snapshot.
///
/// # Errors
/// Everything that is wrong, with the place in the configuration.
pub fn snapshot(model: Model, generation: u64, ground: &Ground<'_>) -> Result<Snapshot, Vec<Wrong>> {
    let (fronts, mut wrong) = fronts(&model, ground.state);
    let authority = signs(&model, ground.state).map_err(|flaw| wrong.push(flaw)).ok().flatten();
    let table = Table::new(&model.routes)
        .map_err(|(index, error)| wrong.push(format!("{}: match: {error}", model.routes[index].origin).into()));
    let mut routes = Vec::with_capacity(model.routes.len());
    for route in &model.routes {
        match plan(&model, route, ground.state) {
            Ok(plan) => routes.push(plan),
            Err(error) => wrong.push(format!("{}: route `{}`: {error}", route.origin, route.name).into()),
        }
    }
    let default =
        tls(&model.default.policy, ground.state).map_err(|error| wrong.push(format!("default: {error}").into()));
    let gate = gate(&model, &model.default.policy, ground.state)
        .map_err(|error| wrong.push(format!("default: {error}").into()));
    let via = Via::new(ground.pseudonym);
    let faulty = faulty(&model.default.policy).map_err(|error| wrong.push(format!("default: {error}").into()));
    let allow = permit::rules(&model.default.policy.allow);
    let allow = allow.map_err(|error| wrong.push(format!("default: {error}").into()));
    let decider = decider(&model.default.policy, ground.state);
    let decider = decider.map_err(|error| wrong.push(format!("default: {error}").into()));
    let parents = parents::all(&model, ground.state).map_err(|error| wrong.push(error.into()));
    if let Ok(parents) = &parents {
        routes.iter_mut().for_each(|plan| parents::lead(plan, parents));
    }
    if let (Ok(parents), true) = (&parents, wrong.is_empty()) {
        ground.state.ways.set(parents.clone());
    }
    match (table, default, via, faulty, gate, (allow, decider), parents) {
        (Ok(table), Ok(tls), Ok(via), Ok(faulty), Ok(gate), (Ok(allow), Ok(decider)), Ok(parents))
            if wrong.is_empty() =>
        {
            Ok(Snapshot {
                generation,
                groups: groups(&model, &routes),
                table,
                routes,
                default: Plan {
                    name: DEFAULT.into(),
                    policy: model.default.policy.clone(),
                    end: End::Hosts(Hosts { tls, parents }),
                    allow,
                    decider,
                    any_host: true,
                    credential: None,
                    gate,
                    places: places(DEFAULT, &model.default.policy, true, ground.state),
                    paces: paces(DEFAULT, &model.default.policy, ground.state),
                    meters: meters(DEFAULT, &model.default.policy, ground.state),
                    hedges: None,
                    prefix: None,
                    mirrors: None,
                    faulty,
                    stale: None,
                    asides: Vec::new(),
                },
                fronts,
                authority,
                own: ground.own.to_vec(),
                own_authority: own_authority(ground.own),
                pseudonym: Arc::clone(ground.pseudonym),
                via: Arc::new(via),
                model,
            })
        }
        _ => Err(wrong),
    }
}

/// How each listener speaks TLS; none for one whose files cannot be used.
fn fronts(model: &Model, state: &State) -> (Vec<Option<Arc<Front>>>, Vec<Wrong>) {
    let mut wrong = Vec::new();
    let mut front = |(index, listener): (usize, &model::Listener)| match state.front(listener.tls.as_ref()?) {
        Ok(front) => Some(front),
        Err(flaws) => {
            wrong.extend(flaws.into_iter().map(|(pair, flaw)| {
                let (tls, message) = (format!("listen[{index}].tls"), flaw.to_string());
                let one = |key: &str| vec![format!("{tls}.certificates[{pair}].{key}"), format!("{tls}.{key}")];
                let keys = match flaw.part {
                    Part::Cert => one("cert"),
                    Part::Key => one("key"),
                    Part::ClientCa | Part::Authority => vec![format!("{tls}.client_ca")],
                };
                Wrong::file(keys, message, flaw.help)
            }));
            None
        }
    };
    (model.listen.iter().enumerate().map(&mut front).collect(), wrong)
}

/// Who signs for the tunnels that are opened, if any are.
fn signs(model: &Model, state: &State) -> Result<Option<Arc<intercept::Authority>>, Wrong> {
    if !model.intercepts() {
        return Ok(None);
    }
    state.authority(model.ca.as_ref()).map(Some).map_err(|flaw| {
        let key = if model.ca.as_ref().is_some_and(|ca| ca.cert == flaw.path) { "ca.cert" } else { "ca.key" };
        let asked = model.routes.iter().position(|route| route.policy.intercept == Some(true));
        let asked = asked.map(|index| format!("routes[{index}].intercept"));
        let keys = [Some(key.to_owned()), asked, Some("default.intercept".to_owned())];
        Wrong::file(keys.into_iter().flatten().collect(), flaw.to_string(), flaw.help)
    })
}

fn plan(model: &Model, route: &model::Route, state: &State) -> Result<Plan, String> {
    Ok(Plan {
        name: route.name.as_str().into(),
        policy: route.policy.clone(),
        allow: permit::rules(&route.policy.allow)?,
        decider: decider(&route.policy, state)?,
        any_host: route.matcher.host == model::HostMatch::Any,
        credential: credential(route.policy.auth.as_ref(), state)?,
        gate: gate(model, &route.policy, state)?,
        asides: route.policy.asides().map(|aside| beside(model, route, aside, state)).collect::<Result<_, _>>()?,
        places: places(&route.name, &route.policy, route.action == Action::Same, state),
        paces: paces(&route.name, &route.policy, state),
        mirrors: route.policy.mirror.as_ref().map(|_| state.mirrors(&route.name)),
        faulty: faulty(&route.policy)?,
        stale: stale(route, state),
        meters: meters(&route.name, &route.policy, state),
        hedges: route.policy.hedge.and_then(|_| Some(state.hedges(&destination(&route.action)?))),
        end: end(model, route, state)?,
        prefix: match &route.matcher.path {
            model::PathMatch::Prefix(prefix) => Some(prefix.clone()),
            _ => None,
        },
    })
}

/// Whom a route, or the default, asks to show themselves.
fn gate(model: &Model, policy: &Policy, state: &State) -> Result<Option<Arc<Gate>>, String> {
    let tls = |from: &model::Tls| state.tls(from).map_err(|error| format!("tls: {error}"));
    state.identities.gate(policy.authenticate.as_ref(), &model.identities, tls)
}

fn places(route: &str, policy: &Policy, by_host: bool, state: &State) -> Option<Scope> {
    let has_places = policy.limit.concurrency.is_some() || policy.limit.adaptive;
    has_places.then(|| state.places(route, by_host))
}

fn meters(route: &str, policy: &Policy, state: &State) -> Option<Arc<Meters>> {
    policy.limit.rate.as_ref().map(|_| state.meters(route))
}

/// Which requests a fault is meant for.
fn faulty(policy: &Policy) -> Result<Option<Arc<[Field]>>, String> {
    let fields = policy.fault.as_ref().map(|fault| fault.headers.as_slice()).filter(|headers| !headers.is_empty());
    let compiled = fields.map(|all| all.iter().map(|(name, value)| Field::new(name, value)).collect());
    compiled.transpose().map_err(|error: String| format!("fault: {error}"))
}

/// An answer stays with the route, its targets, and all that a request is given on its way there.
fn stale(route: &model::Route, state: &State) -> Option<Arc<Store>> {
    let model::Route { name, action, policy, .. } = route;
    policy.stale()?;
    let Policy { rewrite, auth, headers, tls, .. } = policy;
    Some(state.stale(format!("{name} {action:?} {rewrite:?} {auth:?} {headers:?} {tls:?}")))
}

fn paces(route: &str, policy: &Policy, state: &State) -> Option<Arc<Paces>> {
    policy.limit.pacing.then(|| state.paces(route))
}

fn end(model: &Model, route: &model::Route, state: &State) -> Result<End, String> {
    Ok(match &route.action {
        Action::Redirect { status, location } => End::Redirect { status: *status, location: location.clone() },
        Action::Respond { status, headers, body } => {
            End::Respond { status: *status, headers: headers.clone(), body: body.clone() }
        }
        Action::Same => End::Hosts(Hosts { tls: tls(&route.policy, state)?, parents: Parents::default() }),
        Action::Targets(urls) => {
            let mut targets = Vec::new();
            for target in urls {
                targets.push(Target { weight: target.weight, ..target_of(&target.url, &route.policy.tls, state)? });
            }
            End::Targets { targets, budget: state.budget(&destination(&route.action).unwrap_or_default()) }
        }
        Action::Upstream(name) => {
            End::Targets { targets: vec![named(model, name, state)?], budget: state.budget(name) }
        }
    })
}

fn target_of(url: &Url, tls: &model::Tls, state: &State) -> Result<Target, String> {
    let name: Arc<str> = shown(url).into();
    Ok(Target {
        weight: None,
        scheme: scheme(url.scheme),
        authority: Some(authority(url)?),
        base: url.base.clone(),
        endpoints: vec![endpoint(url, &name, tls, state)?],
        rules: params::rules(None),
    })
}

fn named(model: &Model, name: &str, state: &State) -> Result<Target, String> {
    let upstream = model.upstreams.iter().find(|upstream| upstream.name == *name);
    let upstream = upstream.ok_or_else(|| format!("there is no upstream `{name}`"))?;
    let first = upstream.endpoints.first().ok_or_else(|| format!("upstream `{name}` has no endpoint"))?;
    let label: Arc<str> = name.into();
    let endpoints =
        upstream.endpoints.iter().map(|url| endpoint(url, &label, &upstream.tls, state)).collect::<Result<_, _>>()?;
    Ok(Target {
        weight: None,
        scheme: scheme(first.scheme),
        authority: None,
        base: first.base.clone(),
        endpoints,
        rules: params::rules(Some(upstream)),
    })
}

/// A target beside the route's own. A client certificate is a credential too: a URL gets the route's CA, and no more.
fn beside(model: &Model, route: &model::Route, from: &model::Aside, state: &State) -> Result<Aside, String> {
    let target = match &from.to {
        AsideTo::Url(url) => target_of(url, &route.policy.tls.beside(), state)?,
        AsideTo::Upstream(name) => named(model, name, state)?,
    };
    Ok(Aside { target, credential: credential(from.auth.as_ref(), state)? })
}

/// Whoever else decides, at the root of its URL: the path is the question's.
fn decider(policy: &Policy, state: &State) -> Result<Option<Target>, String> {
    let to = policy.authorize.as_ref().map(|from| target_of(&from.url, &model::Tls::default(), state));
    let target = to.transpose().map_err(|error| format!("authorize: {error}"))?;
    Ok(target.map(|target| Target { base: String::new(), ..target }))
}

/// What a route's upstream is known by, if it has one of its own.
fn destination(action: &Action) -> Option<String> {
    match action {
        Action::Targets(urls) => Some(urls.iter().map(|target| shown(&target.url)).collect::<Vec<_>>().join(" ")),
        Action::Upstream(name) => Some(name.clone()),
        Action::Same | Action::Redirect { .. } | Action::Respond { .. } => None,
    }
}

/// The named upstreams that routes use.
fn groups(model: &Model, plans: &[Plan]) -> Vec<Group> {
    let group = |upstream: &model::Upstream| {
        let mut users = model.routes.iter().zip(plans).filter_map(|(route, plan)| {
            let own = match (&route.action, &plan.end) {
                (Action::Upstream(name), End::Targets { targets, .. }) if *name == upstream.name => targets.first(),
                _ => None,
            };
            let is_it = |from: &model::Aside| matches!(&from.to, AsideTo::Upstream(name) if *name == upstream.name);
            let beside = || route.policy.asides().zip(&plan.asides).find(|(from, _)| is_it(from));
            own.or_else(|| beside().map(|(_, aside)| &aside.target)).map(|target| (plan, target))
        });
        let (_, target) = users.clone().next()?;
        let breaker = users.find_map(|(plan, _)| params::breaker(&plan.policy));
        let outlier =
            upstream.outlier.map(|from| outlier::Params { margin: from.margin, min_requests: from.min_requests });
        Some(Group {
            name: upstream.name.as_str().into(),
            endpoints: target.endpoints.clone(),
            rules: params::rules(Some(upstream)),
            outlier: outlier.zip(breaker),
            check: upstream.health.as_ref().map(params::check),
        })
    };
    model.upstreams.iter().filter_map(group).collect()
}

fn tls(policy: &Policy, state: &State) -> Result<Tls, String> {
    state.tls(&policy.tls).map_err(|error| format!("tls: {error}"))
}

fn endpoint(url: &Url, upstream: &Arc<str>, tls: &model::Tls, state: &State) -> Result<Key, String> {
    let host = Host::parse(&bracketed(url)).map_err(|error| format!("`{}`: {error}", url.host))?;
    let tls = match url.scheme {
        Scheme::Https => Some(state.tls(tls).map_err(|error| format!("tls: {error}"))?),
        Scheme::Http | Scheme::H2c => None,
    };
    let protocol = if url.scheme == Scheme::H2c { Protocol::H2c } else { Protocol::Http1 };
    let destination = Destination::new(host, url.port, tls).map_err(|error| error.to_string())?;
    Ok(Key { upstream: Arc::clone(upstream), destination, protocol })
}

/// The proxies that a model's requests leave through.
///
/// # Errors
/// What cannot be used.
pub fn parents(model: &Model, state: &State) -> Result<Parents, String> {
    parents::all(model, state)
}

const fn default_port(scheme: Scheme) -> u16 {
    match scheme {
        Scheme::Https => 443,
        Scheme::Http | Scheme::H2c => 80,
    }
}

fn scheme(scheme: Scheme) -> uri::Scheme {
    match scheme {
        Scheme::Https => uri::Scheme::HTTPS,
        Scheme::Http | Scheme::H2c => uri::Scheme::HTTP,
    }
}

/// As it appears in `Host`: without the scheme's own port.
fn authority(url: &Url) -> Result<uri::Authority, String> {
    let host = bracketed(url);
    let text = if url.port == default_port(url.scheme) { host } else { format!("{host}:{}", url.port) };
    uri::Authority::from_maybe_shared(Bytes::from(text)).map_err(|error| format!("`{}`: {error}", url.host))
}

fn shown(url: &Url) -> String {
    format!("{}:{}", bracketed(url), url.port)
}

fn bracketed(url: &Url) -> String {
    if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() }
}

fn own_authority(own: &[SocketAddr]) -> Authority {
    match own.first() {
        Some(address) => Authority::new(Host::Ip(address.ip()), Some(address.port())),
        None => Authority::new(Host::Name("localhost".into()), None),
    }
}
