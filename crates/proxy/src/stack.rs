//! The house's wiring, on one screen and in request order: which layer a request meets, and why it is there.

use std::sync::Arc;
use std::time::Duration;

use exchange::identity::Caller;
use exchange::{ArcService, Authority, Client, Exchange, Load, Random};
use middleware::credentials::{placeholder, sigv4};
use middleware::observe::Watch;
use middleware::{
    allow, authenticate, authorize, browser, compress, concurrency, credentials, deadline, decompress, fallback, fault,
    headers, hedge, mirror, pacing, rate_limit, redirect, respond, retry, target,
};
use telemetry::Observer;
use tower::Layer;
use upstream::set::Set;
use upstream::{Params, Upstream};

use crate::intercept::Opening;
use crate::params;
use crate::route::Table;
use crate::snapshot::{Aside, Credential, End, Plan, Snapshot, Target};
use crate::worker::Worker;

/// One route's layers, instantiated for one worker.
pub struct Stack {
    /// The metric label.
    pub name: Arc<str>,
    /// The layers really built, in request order.
    pub layers: Vec<&'static str>,
    /// The outermost of them.
    pub service: ArcService,
    /// Without a byte in either direction of an upgraded connection or a tunnel.
    pub tunnel_idle: Duration,
    /// Without a byte in either direction of a body.
    pub idle: Duration,
    observer: Arc<Observer>,
}

impl Stack {
    /// Observation: begins here, ends with the response's body.
    pub fn watch(&self, exchange: Arc<Exchange>) -> Watch {
        Watch::start(exchange, Arc::clone(&self.observer))
    }
}

/// Builds one route's stack, from the outside in.
pub fn build(plan: &Plan, snapshot: &Snapshot, worker: &Arc<Worker>) -> Stack {
    let policy = &plan.policy;
    let random = worker.context().random.clone();
    let mut route = Layers::default();
    route.note("observe", true); // counts and logs at the body's end; held by the edge, so it needs no box
    let deadline = route.push("deadline", Some(deadline::layer(params::deadline(policy)))); // the total time, over all below
    let browser = route.push("browser", params::browser(plan).map(browser::layer)); // a web page may not borrow a credential
    let placeholder = route.push("placeholder", params::placeholders(plan, snapshot).map(placeholder::guard)); // the word for another route's secret goes nowhere
    let authenticate = route.push("authenticate", plan.gate.clone().map(authenticate::layer)); // who is asking, before anything is decided by it
    let allow = route.push("allow", params::allow(plan).map(allow::layer)); // who may; everybody else is refused
    let authorize = route.push(
        "authorize", // whether somebody else says so too
        params::authorize(plan, worker, |to| {
            let upstream = Arc::new(bottom(to, params::decider(), worker));
            let load: Arc<dyn Load> = Arc::clone(&upstream) as _;
            target::service(params::alone(to, ArcService::shared(upstream), load), random.clone())
        })
        .map(|(params, state)| authorize::layer(params, state)),
    );
    let rate =
        route.push("rate_limit", params::rate_limit(plan).map(|(params, meters)| rate_limit::layer(params, meters))); // no more than so many in a time
    let fallback = route.push(
        "fallback", // who answers when nothing below does, or not well
        params::fallback(plan, |aside| beside(aside, plan, snapshot, worker)).map(fallback::layer),
    );
    let fault = route.push("fault", params::fault(plan).map(|params| fault::layer(params, random.clone()))); // broken on purpose; off by default
    let concurrency =
        route.push("concurrency", params::concurrency(plan).map(|(params, scope)| concurrency::layer(params, scope))); // a place, or a bounded wait for one
    let mirror = route.push(
        "mirror", // a copy for somebody else, of what is really sent
        params::mirror(plan, worker, |aside| beside(aside, plan, snapshot, worker))
            .map(|(params, state)| mirror::layer(params, state)),
    );
    let compress = route.push("compress", params::compress(policy).map(compress::layer)); // towards the client, as it accepts
    let decompress = route.push("decompress", params::decompress(policy).map(decompress::layer)); // asked of the upstream for a client that did not
    let retry = route.push("retry", params::retry(plan, worker).map(|(params, state)| retry::layer(params, state))); // attempts, under a budget
    let hedge = route.push("hedge", params::hedge(plan).map(|(params, hedges)| hedge::layer(params, hedges))); // a second try beside a late first
    let end = match &plan.end {
        End::Redirect { status, location } => {
            route.end("redirect", redirect::service(params::redirect(*status, location)))
        }
        End::Respond { status, headers, body } => {
            route.end("respond", respond::service(params::respond(*status, headers, body)))
        }
        End::Hosts(hosts) => {
            let upstream =
                Arc::new(Upstream::of_hosts(hosts.clone(), params::upstream(policy), Arc::clone(worker.upstream())));
            let mut layers = Layers::default();
            let pacing = paced(&mut layers, plan, None, &random);
            let service = pacing(aimed(&mut layers, plan, snapshot, ArcService::shared(Arc::clone(&upstream))));
            let rewritten = params::rewritten(plan, service.clone(), upstream);
            route.note("target", rewritten.is_some()); // the path and host it is asked for, where they change
            route.names.append(&mut layers.names);
            rewritten.map_or(service, |params| target::service(params, random))
        }
        End::Targets { targets, .. } => {
            let mut candidates = Vec::new();
            for one in targets {
                let mut layers = Layers::default();
                let upstream = Arc::new(bottom(one, params::upstream(policy), worker));
                let load: Arc<dyn Load> = Arc::clone(&upstream) as _;
                let pacing = paced(&mut layers, plan, Some(one), &random);
                let service = pacing(aimed(&mut layers, plan, snapshot, ArcService::shared(upstream)));
                candidates.push((one, service, load, layers));
            }
            route.note("target", true); // which URL this attempt goes to
            route.names.extend(candidates.first().into_iter().flat_map(|(.., layers)| layers.names.iter().copied()));
            target::service(
                params::target(plan, candidates.into_iter().map(|(one, service, load, _)| (one, service, load))),
                random,
            )
        }
    };
    let service = [
        deadline,
        browser,
        placeholder,
        authenticate,
        allow,
        authorize,
        rate,
        fallback,
        fault,
        concurrency,
        mirror,
        compress,
        decompress,
        retry,
        hedge,
    ]
    .into_iter()
    .rev()
    .flatten()
    .fold(end, |inner, wrap| wrap(inner));
    let observer = Arc::new(worker.observer(&plan.name));
    let config::model::Timeout { tunnel_idle, idle, .. } = policy.timeout;
    Stack { name: Arc::clone(&plan.name), layers: route.names, service, tunnel_idle, idle, observer }
}

/// Waits for what the target announced, per attempt; before a token is put on that might expire meanwhile.
fn paced(layers: &mut Layers, plan: &Plan, target: Option<&Target>, random: &Random) -> Wrap {
    let scope = params::pacing(plan, target);
    let pacing = layers.push("pacing", scope.map(|scope| pacing::layer(scope, random.clone())));
    pacing.unwrap_or_else(|| Box::new(|inner| inner))
}

/// What is done per attempt, once its target is fixed.
fn aimed(layers: &mut Layers, plan: &Plan, snapshot: &Snapshot, upstream: ArcService) -> ArcService {
    let headers = layers.push("headers", Some(headers::layer(params::headers(plan, snapshot)))); // set, add, remove; Via
    let credentials = layers.push(
        "credentials", // for exactly this target
        plan.credential.as_ref().cloned().map(Put),
    );
    layers.note("upstream", true); // endpoint, breaker, pool, attempt
    [headers, credentials].into_iter().rev().flatten().fold(upstream, |inner, wrap| wrap(inner))
}

/// What goes to a target beside the route's own: once, and without the route's credential.
fn beside(aside: &Aside, plan: &Plan, snapshot: &Snapshot, worker: &Arc<Worker>) -> ArcService {
    let upstream = Arc::new(bottom(&aside.target, params::upstream(&plan.policy), worker));
    let load: Arc<dyn Load> = Arc::clone(&upstream) as _;
    let mut layers = Layers::default();
    let headers = layers.push("headers", Some(headers::layer(params::headers_beside(plan, snapshot))));
    let credentials = layers.push("credentials", aside.credential.as_ref().cloned().map(Put));
    let service = [headers, credentials]
        .into_iter()
        .rev()
        .flatten()
        .fold(ArcService::shared(upstream), |inner, wrap| wrap(inner));
    target::service(params::target_beside(plan, &aside.target, service, load), worker.context().random.clone())
}

/// Puts a credential on, whatever kind it is.
struct Put(Credential);

impl Layer<ArcService> for Put {
    type Service = ArcService;

    fn layer(&self, inner: ArcService) -> ArcService {
        match &self.0 {
            Credential::Header { header, secret } => {
                credentials::layer(credentials::Params { header: header.clone() }, secret.clone()).layer(inner)
            }
            Credential::Placeholder { params, secret } => {
                placeholder::layer(params.clone(), secret.clone()).layer(inner)
            }
            Credential::SigV4 { params, keys } => sigv4::layer(params.clone(), keys.clone()).layer(inner),
        }
    }
}

fn bottom(target: &Target, params: Arc<Params>, worker: &Arc<Worker>) -> Upstream {
    let endpoints = target.endpoints.iter().map(|key| worker.upstream().named(key)).collect();
    Upstream::of_set(Set::new(endpoints, target.rules.clone()), params, Arc::clone(worker.upstream()))
}

type Wrap = Box<dyn FnOnce(ArcService) -> ArcService>;

/// The layers pushed so far; `None` pushes nothing, so a feature that is not configured costs nothing.
#[derive(Default)]
struct Layers {
    names: Vec<&'static str>,
}

impl Layers {
    fn push<L>(&mut self, name: &'static str, layer: Option<L>) -> Option<Wrap>
    where
        L: Layer<ArcService, Service = ArcService> + 'static,
    {
        self.note(name, layer.is_some());
        layer.map(|layer| Box::new(move |inner| layer.layer(inner)) as Wrap)
    }

    fn note(&mut self, name: &'static str, is_there: bool) {
        if is_there {
            self.names.push(name);
        }
    }

    fn end(&mut self, name: &'static str, service: ArcService) -> ArcService {
        self.names.push(name);
        service
    }
}

/// A snapshot, instantiated for one worker.
pub struct Site {
    snapshot: Arc<Snapshot>,
    stacks: Vec<Arc<Stack>>,
    default: Arc<Stack>,
}

impl Site {
    /// Cannot fail: whatever could has, in `build`.
    pub fn new(snapshot: Arc<Snapshot>, worker: &Arc<Worker>) -> Self {
        let stacks = snapshot.routes.iter().map(|plan| Arc::new(build(plan, &snapshot, worker))).collect();
        let default = Arc::new(build(&snapshot.default, &snapshot, worker));
        Self { snapshot, stacks, default }
    }

    /// What it was made from.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// By route index.
    pub fn stacks(&self) -> &[Arc<Stack>] {
        &self.stacks
    }

    /// For hosts that no route names, and for tunnels.
    pub fn default_stack(&self) -> &Arc<Stack> {
        &self.default
    }

    /// Finds routes.
    pub fn table(&self) -> &Table {
        &self.snapshot.table
    }

    /// Hosts that no route names are served.
    pub fn passes(&self) -> bool {
        self.snapshot.model.default.pass
    }

    /// Ports that CONNECT may go to.
    pub fn connect_ports(&self) -> &[(u16, u16)] {
        &self.snapshot.model.destinations.connect_ports
    }

    /// How a tunnel of this client to `authority` is opened, if it is.
    pub(crate) fn opening(&self, authority: &Authority, client: &Client) -> Option<Opening> {
        let Snapshot { authority: signs, table, routes, default, .. } = &*self.snapshot;
        let signs = signs.as_ref()?;
        let (says, plan) = match table.intercepts(authority, &Caller::at(client)) {
            Some((index, says)) => (says, &routes[index]),
            None => (default.policy.intercept == Some(true), default),
        };
        says.then(|| Opening { authority: Arc::clone(signs), route: Arc::clone(&plan.name) })
    }

    /// Ours in `Via`.
    pub fn pseudonym(&self) -> &str {
        &self.snapshot.pseudonym
    }

    /// Our own address, as a client would write it.
    pub fn own(&self) -> &Authority {
        &self.snapshot.own_authority
    }

    /// The client means us: a name of this machine, or an address we listen on.
    pub fn is_own(&self, authority: &Authority, tls: bool) -> bool {
        if authority.host().is_local() {
            return true;
        }
        let exchange::Host::Ip(ip) = authority.host() else { return false };
        let port = authority.port_or(if tls { 443 } else { 80 });
        self.snapshot.own.iter().any(|own| own.port() == port && (own.ip() == *ip || own.ip().is_unspecified()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use exchange::{Authority, Body, Client, Door, Error, ErrorKind, Exchange, Head, Host, clock};
    use http::{Method, Request, Version};
    use upstream::connect::Destination;
    use upstream::endpoint::{Key, Protocol};
    use upstream::net::TokioNet;

    use crate::offline::Offline;
    use crate::params::CEILING;

    /// What a GET to the first route ends in.
    fn outcome(offline: &Offline) -> Error {
        let head = Head {
            id: 1,
            started: clock::now(),
            door: Door::Forward,
            client: Client { addr: None, local: true, peer: None },
            version: Version::HTTP_11,
            method: Method::GET,
            tls: false,
            authority: Authority::parse("api.test").expect("an authority"),
            path: "/".parse().expect("a path"),
            upgrade: false,
            grpc: false,
        };
        let mut request = Request::new(Body::empty().with_record(Arc::new(Exchange::new(head, None))));
        *request.uri_mut() = "http://api.test/".parse().expect("a uri");
        let service = offline.site().stacks()[0].service.clone();
        offline.runtime().block_on(async { service.call(request).await.expect_err("nobody listens") })
    }

    #[test]
    fn without_a_limit_an_endpoint_takes_a_thousand_and_with_one_the_route_decides() {
        // Port 1 refuses.
        for (limit, at_the_ceiling) in [("", ErrorKind::Overloaded), (", limit: 2000", ErrorKind::ConnectRefused)] {
            let text = format!("routes: [{{ match: api.test, to: 'http://127.0.0.1:1', retry: false{limit} }}]");
            let model = config::parse(&text, "test", config::Format::Yaml).expect("a model").model;
            let offline = Offline::over(&model, Arc::new(TokioNet)).expect("built");
            let host = Host::parse("127.0.0.1").expect("a host");
            let destination = Destination { host, port: 1, tls: None, parent: None };
            let key = Key { upstream: "127.0.0.1:1".into(), destination, protocol: Protocol::Http1 };
            let state = offline.worker().upstream().named(&key).state;
            for _ in 1..CEILING {
                assert!(state.inflight.acquire(CEILING));
            }

            assert_eq!(outcome(&offline).kind, ErrorKind::ConnectRefused, "the last place is taken");
            assert_eq!(state.inflight.get(), CEILING - 1, "and given back");
            assert!(state.inflight.acquire(CEILING));
            assert_eq!(outcome(&offline).kind, at_the_ceiling);
            assert_eq!(state.inflight.get(), CEILING, "{limit}");
        }
    }

    #[test]
    fn our_own_address_without_a_port_has_the_port_of_what_is_spoken() {
        let text = "listen: [{ address: '10.0.0.5:443', clients: 10.0.0.0/8 }, { address: '10.0.0.6:80', clients: 10.0.0.0/8 }]";
        let model = config::parse(text, "test", config::Format::Yaml).expect("a model").model;
        let offline = Offline::over(&model, Arc::new(TokioNet)).expect("built");
        let is_own = |text, tls| offline.site().is_own(&Authority::parse(text).expect("an authority"), tls);

        assert!(is_own("10.0.0.5", true) && is_own("10.0.0.6", false) && is_own("10.0.0.5:443", false));
        assert!(!is_own("10.0.0.5", false) && !is_own("10.0.0.6", true));
    }
}
