//! One configuration, built: everything that can fail has succeeded, nothing belongs to a worker yet.

use std::sync::Arc;

use config::Model;
use config::model::{Match, Policy};
use exchange::Renew;
use exchange::headers::Via;
use http::{HeaderName, header, uri};
use middleware::authenticate::Gate;
use middleware::concurrency::Scope;
use middleware::credentials::Secret;
use middleware::credentials::placeholder;
use middleware::credentials::sigv4::{self, KeyCell};
use middleware::fallback::Store;
use middleware::pacing::Paces;
use middleware::rate_limit::Meters;
use policy::budget::Budget;
use policy::hedge::Hedges;
use policy::inflight::Inflight;
use policy::{breaker, outlier};
use upstream::endpoint::Key;
use upstream::health::Check;
use upstream::set::Rules;
use upstream::upstream::Hosts;

use crate::intercept::Authority;
use crate::listener::tls::Front;
use crate::permit::Rule;
use crate::route::{Field, Table};

/// A numbered configuration, ready to be instantiated by each worker, infallibly.
pub struct Snapshot {
    /// Counts up from 1.
    pub generation: u64,
    /// What it was built from.
    pub model: Model,
    /// Host, path and the rest to an index into `routes`.
    pub table: Table,
    /// In the order of the configuration.
    pub routes: Vec<Plan>,
    /// For hosts that no route names.
    pub default: Plan,
    /// Named upstreams that routes use, for whoever watches them.
    pub groups: Vec<Group>,
    /// How each listener of the model speaks TLS, if it does.
    pub fronts: Vec<Option<Arc<Front>>>,
    /// Who signs for the tunnels that are opened, if any are.
    pub authority: Option<Arc<Authority>>,
    /// Where we listen.
    pub own: Vec<std::net::SocketAddr>,
    /// The first of them as a client would write it.
    pub own_authority: exchange::Authority,
    /// Ours in `Via`.
    pub pseudonym: Arc<str>,
    /// The member of `Via` with it.
    pub via: Arc<Via>,
}

impl Snapshot {
    /// Who may show themselves to make a tunnel to `to`: to any route that may serve what is inside, by an identity of any
    /// of those that ask. What no route of the host is certain to take is the default's.
    pub fn tunnel_gate(&self, to: &exchange::Authority) -> Option<Arc<Gate>> {
        match self.tunnel_gates(to).as_slice() {
            [] => None,
            [only] => Some(Arc::clone(only)),
            several => Some(Arc::new(Gate::any_of(several))),
        }
    }

    /// What each of them asks for.
    pub fn tunnel_gates(&self, to: &exchange::Authority) -> Vec<&Arc<Gate>> {
        let mut gates: Vec<&Arc<Gate>> = Vec::new();
        let mut all_taken = false;
        for index in self.table.of_host(to) {
            gates.extend(&self.routes[index].gate);
            let matcher = &self.model.routes[index].matcher;
            // Whatever else a match may ask.
            all_taken = *matcher == Match { host: matcher.host.clone(), ..Match::default() };
            if all_taken {
                break;
            }
        }
        if !all_taken && self.model.default.pass {
            gates.extend(&self.default.gate);
        }
        gates
    }
}

/// One route, built.
pub struct Plan {
    /// The metric label.
    pub name: Arc<str>,
    /// The numbers of its layers.
    pub policy: Policy,
    /// What is at the end.
    pub end: End,
    /// Who may; none: everyone.
    pub allow: Arc<[Arc<Rule>]>,
    /// Whoever else decides.
    pub decider: Option<Target>,
    /// Its match names no host.
    pub any_host: bool,
    /// The credential, if it has one.
    pub credential: Option<Credential>,
    /// Who may show themselves, if it asks.
    pub gate: Option<Arc<Gate>>,
    /// Whose places its requests take, if it has a limit of its own.
    pub places: Option<Scope>,
    /// What is known of its upstream, if it hedges.
    pub hedges: Option<Arc<Hedges>>,
    /// What counts its requests in time, if it has a rate.
    pub meters: Option<Arc<Meters>>,
    /// What its upstreams announced, if it waits for that.
    pub paces: Option<Arc<Paces>>,
    /// The prefix that `rewrite: prefix` replaces.
    pub prefix: Option<String>,
    /// The places of its copies, if it makes any.
    pub mirrors: Option<Arc<Inflight>>,
    /// Which requests a fault is meant for; `None`: all.
    pub faulty: Option<Arc<[Field]>>,
    /// What was kept of its answers, if any is.
    pub stale: Option<Arc<Store>>,
    /// The targets beside its own, in the order of `Policy::asides`.
    pub asides: Vec<Aside>,
}

/// A target beside a route's own.
pub struct Aside {
    /// The same as the configuration's.
    pub target: Target,
    /// Its own; never the route's.
    pub credential: Option<Credential>,
}

/// The end of a route's path.
pub enum End {
    /// The request's own target.
    Hosts(Hosts),
    /// Fixed targets, and the retries their upstream affords.
    Targets { targets: Vec<Target>, budget: Arc<Budget> },
    /// A redirect.
    Redirect { status: u16, location: String },
    /// A fixed answer.
    Respond { status: u16, headers: Vec<(String, String)>, body: String },
}

/// One target of a route.
pub struct Target {
    pub weight: Option<u32>,
    pub scheme: uri::Scheme,
    /// `None`: the client's own authority stays.
    pub authority: Option<uri::Authority>,
    pub base: String,
    pub endpoints: Vec<Key>,
    /// How one of them is picked.
    pub rules: Rules,
}

/// The endpoints of a named upstream that a route uses, and how they are watched.
pub struct Group {
    pub name: Arc<str>,
    pub endpoints: Vec<Key>,
    pub rules: Rules,
    /// What an outlier is, and what its breaker is steered by: that of the first route that has one.
    pub outlier: Option<(outlier::Params, breaker::Params)>,
    /// How its endpoints are checked.
    pub check: Option<Check>,
}

/// What is put on an attempt.
#[derive(Clone)]
pub enum Credential {
    /// The value of a header.
    Header { header: HeaderName, secret: Secret },
    /// The same where the client sends a word for it.
    Placeholder { params: placeholder::Params, secret: Secret },
    /// A signature.
    SigV4 { params: sigv4::Params, keys: KeyCell },
}

impl Credential {
    /// The fields that are its own.
    pub fn headers(&self) -> Vec<HeaderName> {
        match self {
            Self::Header { header, .. } => vec![header.clone()],
            Self::Placeholder { params, .. } => params.headers.clone(),
            Self::SigV4 { .. } => vec![header::AUTHORIZATION, HeaderName::from_static("x-amz-security-token")],
        }
    }

    /// Another may be had for the asking, if this one is refused.
    pub fn is_fetched(&self) -> bool {
        matches!(self, Self::Header { secret, .. } | Self::Placeholder { secret, .. } if secret.is_fetched())
    }

    /// For whoever hears that it was refused; a signature that is refused is so with a 403.
    pub fn renew(&self) -> Option<Arc<dyn Renew>> {
        match self {
            Self::Header { secret, .. } | Self::Placeholder { secret, .. } => Some(Arc::new(secret.clone())),
            Self::SigV4 { .. } => None,
        }
    }
}
