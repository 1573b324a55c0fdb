//! What the admin API says, as plain data.

use exchange::clock;
use policy::Tick;
use serde::Serialize;

use super::breakers::shown;
use super::interception::{self, Interception};
use crate::control::Control;
use crate::identities;
use crate::listener::drain::Mode;
use crate::listener::tls::Shown;
use crate::offline::Offline;

#[derive(Serialize)]
pub(super) struct Status {
    version: u32,
    product: &'static str,
    mode: &'static str,
    uptime_s: f64,
    config: String,
    generation: u64,
    last_reload: Option<LastReload>,
    listeners: Vec<String>,
    /// Those that speak TLS.
    tls_listeners: Vec<String>,
    admin: Option<String>,
    metrics: Option<String>,
    workers: usize,
    /// That are no more, after a panic.
    workers_ended: usize,
    client_connections: usize,
    routes: usize,
    default: &'static str,
    breakers_not_closed: Vec<String>,
    /// Of listeners with TLS.
    certificates: Vec<CertificateView>,
    #[serde(flatten)]
    interception: Interception,
    /// What callers are held against.
    identities: Vec<IdentityView>,
}

#[derive(Serialize)]
struct IdentityView {
    identity: String,
    kind: &'static str,
    /// Keys or users; absent as long as nothing could be read.
    entries: Option<usize>,
    /// Of an issuer's keys.
    read_s_ago: Option<u64>,
    error: Option<String>,
}

#[derive(Serialize)]
struct CertificateView {
    file: String,
    names: String,
    /// Unix time in seconds.
    expires: Option<u64>,
    days_left: Option<u64>,
    /// Why what lies there now is not used.
    refused: Option<String>,
}

#[derive(Serialize)]
struct LastReload {
    at_unix_s: f64,
    ok: bool,
    errors: Vec<String>,
}

/// `all`: what others asked for may be seen, hosts among it.
pub(super) fn status(control: &Control, all: bool, now: Tick) -> Status {
    let snapshot = control.reloader.current();
    let open = |state: &std::sync::Arc<upstream::endpoint::State>| {
        let told = state.breaker.state() != policy::breaker::State::Closed || state.breaker.forced().is_some();
        told.then(|| format!("{} {}", state.label, shown(state)))
    };
    Status {
        version: 1,
        product: env!("CARGO_PKG_VERSION"),
        mode: match control.switch.mode() {
            Mode::Running => "running",
            Mode::Draining => "draining",
            Mode::Stopping => "stopping",
        },
        uptime_s: now.since(control.started).as_secs_f64(),
        config: control.reloader.loaded().source.to_string(),
        generation: snapshot.generation,
        last_reload: control.reloader.last().map(|last| LastReload {
            at_unix_s: clock::wall(last.at).as_secs_f64(),
            ok: last.outcome.is_ok(),
            errors: last.outcome.err().unwrap_or_default(),
        }),
        listeners: control.listeners.iter().map(ToString::to_string).collect(),
        tls_listeners: tls_listeners(control),
        certificates: certificates(control, clock::wall(now).as_secs()),
        identities: identities(control, now),
        admin: control.admin.as_ref().map(ToString::to_string),
        metrics: control.metrics.as_ref().map(ToString::to_string),
        workers: control.workers.0.len(),
        workers_ended: control.workers.ended(),
        client_connections: control.workers.connections(),
        routes: snapshot.routes.len(),
        default: if snapshot.model.default.pass { "pass" } else { "deny" },
        interception: interception::of(control, all, now),
        breakers_not_closed: control.house.state.registry.all().iter().filter(|_| all).filter_map(open).collect(),
    }
}

fn tls_listeners(control: &Control) -> Vec<String> {
    let all = control.listeners.iter().zip(&control.rules);
    all.filter(|(_, rules)| rules.read().tls.is_some()).map(|(bound, _)| bound.to_string()).collect()
}

fn certificates(control: &Control, now: u64) -> Vec<CertificateView> {
    let view = |one: Shown| CertificateView {
        file: one.path,
        names: one.names.join(" "),
        expires: one.expires,
        days_left: one.expires.map(|end| end.saturating_sub(now) / (24 * 60 * 60)),
        refused: one.flaw,
    };
    control.house.state.fronts().iter().flat_map(|front| front.shown()).map(view).collect()
}

fn identities(control: &Control, now: Tick) -> Vec<IdentityView> {
    let view = |one: identities::Shown| IdentityView {
        identity: one.name,
        kind: one.kind,
        entries: one.entries,
        read_s_ago: one.read.map(|read| now.since(read).as_secs()),
        error: one.error,
    };
    control.house.state.identities.shown().into_iter().map(view).collect()
}

/// The same in words, one line each.
pub(super) fn told(control: &Control, now: Tick) -> String {
    let line = |one: IdentityView| {
        let entries = one.entries.map_or_else(|| "nothing read yet".to_owned(), |count| format!("{count} known"));
        let read = one.read_s_ago.map(|ago| format!(", read {ago}s ago")).unwrap_or_default();
        let error = one.error.map(|error| format!(", last error: {error}")).unwrap_or_default();
        format!("identity {} ({}): {entries}{read}{error}\n", one.identity, one.kind)
    };
    identities(control, now).into_iter().map(line).collect()
}

#[derive(Serialize)]
pub(super) struct Routes {
    version: u32,
    routes: Vec<RouteView>,
}

#[derive(Serialize)]
struct RouteView {
    name: String,
    origin: String,
    layers: Vec<&'static str>,
}

pub(super) fn routes(offline: &Offline) -> Routes {
    let site = offline.site();
    let mut routes: Vec<RouteView> = site
        .snapshot()
        .model
        .routes
        .iter()
        .zip(site.stacks())
        .map(|(route, stack)| RouteView {
            name: route.name.clone(),
            origin: route.origin.clone(),
            layers: stack.layers.clone(),
        })
        .collect();
    let default = site.default_stack();
    routes.push(RouteView { name: default.name.to_string(), origin: "default".into(), layers: default.layers.clone() });
    Routes { version: 1, routes }
}

#[derive(Serialize)]
pub(super) struct Upstreams {
    version: u32,
    endpoints: Vec<EndpointView>,
}

#[derive(Serialize)]
struct EndpointView {
    upstream: String,
    endpoint: String,
    breaker: &'static str,
    /// Of active checks.
    health: &'static str,
    in_flight: u32,
    connections: u32,
    latency_ms: f64,
}

pub(super) fn upstreams(control: &Control, now: Tick) -> Upstreams {
    let view = |state: &std::sync::Arc<upstream::endpoint::State>| EndpointView {
        upstream: state.upstream.to_string(),
        endpoint: state.label.to_string(),
        breaker: shown(state),
        health: if state.health.is_well() { "well" } else { "ill" },
        in_flight: state.inflight.get(),
        connections: state.connections.get(),
        latency_ms: state.latency.get(now).as_secs_f64() * 1e3,
    };
    let mut endpoints: Vec<_> = control.house.state.registry.all().iter().map(view).collect();
    endpoints.sort_by(|a, b| (&a.upstream, &a.endpoint).cmp(&(&b.upstream, &b.endpoint)));
    Upstreams { version: 1, endpoints }
}
