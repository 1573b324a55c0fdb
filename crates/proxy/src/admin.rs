//! The admin API, on the control thread: what the proxy is doing, and the few things that may be asked of it.
//!
//! Any web page can reach a port on localhost, so the Host header must be a local name (DNS rebinding) and whatever
//! changes something needs a header that a page cannot send across origins (CSRF). Over a unix socket only root, our own
//! user and those of `admin: users` change things and see the configuration. Secrets never get here: the model does not
//! hold them.

mod breakers;
mod door;
mod interception;
mod view;

use std::sync::Arc;

use axum::extract::{Query, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use exchange::{Authority, clock};
use serde::Deserialize;
use serde_json::json;
use telemetry::expose;

use self::door::Viewer;
use crate::control::Control;
use crate::explain::explain;
use crate::listener::accept::Listening;
use crate::listener::drain::Mode;
use crate::offline::Offline;

/// What shows more than everybody's business: whose credential is where, and who may use it.
const OF_ALL: [&str; 4] = ["/api/v1/config", "/api/v1/explain", "/api/v1/upstreams", "/api/v1/breakers"];
/// Sent with whatever changes something.
const INTENT: &str = "x-attache";

/// Serves admin on a bound socket until the process ends; `only_metrics`: what may be scraped from off the host.
pub(crate) async fn serve(listening: Listening, control: Arc<Control>, only_metrics: bool) {
    let routes =
        Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).route("/metrics", get(metrics));
    let routes = if only_metrics {
        routes
    } else {
        routes
            .route("/", get(index))
            .route("/api/v1/status", get(status))
            .route("/api/v1/routes", get(routes_view))
            .route("/api/v1/upstreams", get(upstreams))
            .route("/api/v1/refused", get(refused_view))
            .route("/api/v1/breakers", get(breakers::list))
            .route("/api/v1/breakers/{id}/{action}", post(breakers::force))
            .route("/api/v1/config", get(config_view))
            .route("/api/v1/explain", get(explain_view))
            .route("/api/v1/reload", post(reload))
            .route("/api/v1/drain", post(drain))
            .layer(from_fn_with_state(Arc::clone(&control), guard))
    };
    let app = routes.with_state(control);
    if let Err(error) = door::serve(listening, app).await {
        tracing::error!(%error, "admin stopped");
    }
}

/// Refuses what did not come from this machine's own tools.
async fn guard(State(control): State<Arc<Control>>, request: Request, next: Next) -> Response {
    let viewer = request.extensions().get().copied().unwrap_or(Viewer::Unknown);
    if !may_all(viewer, &control) && (!request.method().is_safe() || OF_ALL.contains(&request.uri().path())) {
        return refused("only root, the user that attache runs as, and those in `admin: users` may do this");
    }
    if viewer == Viewer::Anyone && !is_local(request.headers()) {
        return refused("the Host header is not a local name; use 127.0.0.1 or localhost");
    }
    if !request.method().is_safe() && request.headers().get(INTENT).is_none_or(|value| value != "1") {
        return refused("what changes something needs the header `x-attache: 1`");
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; form-action 'none'",
        ),
    );
    response
}

/// Whether this viewer may change things and see everybody's.
fn may_all(viewer: Viewer, control: &Control) -> bool {
    match viewer {
        Viewer::Anyone => true,
        Viewer::User(uid) => {
            uid == 0
                || uid == rustix::process::geteuid().as_raw()
                || control.users.is_among(uid, &control.reloader.current().model.admin_users)
        }
        Viewer::Unknown => false,
    }
}

fn is_local(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    host.and_then(|host| Authority::parse(host).ok()).is_some_and(|authority| authority.host().is_local())
}

fn refused(why: &'static str) -> Response {
    (StatusCode::FORBIDDEN, Json(json!({ "version": 1, "error": why }))).into_response()
}

async fn index() -> impl IntoResponse {
    let page = "<!doctype html><meta charset=utf-8><title>Attaché</title><style>body{font:16px/1.6 system-ui,sans-serif;\
        max-width:40em;margin:4em auto;padding:0 1em;color-scheme:light dark}</style><h1>Attaché</h1><p>Admin of this proxy.\
        <ul><li><a href=/api/v1/status>status</a><li><a href=/api/v1/routes>routes</a><li><a href=/api/v1/upstreams>upstreams</a>\
        <li><a href=/api/v1/breakers>breakers</a><li><a href=/api/v1/refused>refused</a>\
        <li><a href=/api/v1/config>configuration</a><li><a href=/metrics>metrics</a></ul>";
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page)
}

async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(control): State<Arc<Control>>, RawQuery(query): RawQuery) -> impl IntoResponse {
    let (status, word) = readiness(control.switch.mode(), control.workers.ended());
    let more = query.is_some_and(|query| query.split('&').any(|one| one == "verbose" || one.starts_with("verbose=")));
    let more = if more { view::told(&control, clock::now()) } else { String::new() };
    (status, format!("{word}{more}"))
}

/// Of a process with so many workers gone: the others serve on, but nothing brings these back short of a restart.
const fn readiness(mode: Mode, gone: usize) -> (StatusCode, &'static str) {
    match (mode, gone) {
        (Mode::Running, 0) => (StatusCode::OK, "ready\n"),
        (Mode::Running, _) => (StatusCode::SERVICE_UNAVAILABLE, "a worker has ended: restart\n"),
        (Mode::Draining | Mode::Stopping, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    }
}

/// Who calls how often is no business of the other users of a machine.
async fn metrics(State(control): State<Arc<Control>>, Extension(viewer): Extension<Viewer>) -> impl IntoResponse {
    let render = if may_all(viewer, &control) { expose::render } else { expose::render_nameless };
    let text = render(&control.house.metrics);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

async fn status(State(control): State<Arc<Control>>, Extension(viewer): Extension<Viewer>) -> impl IntoResponse {
    Json(view::status(&control, may_all(viewer, &control), clock::now()))
}

async fn routes_view(State(control): State<Arc<Control>>) -> Response {
    let snapshot = control.reloader.current();
    match apart(move || Offline::new(&snapshot.model).map(|offline| view::routes(&offline))).await {
        Ok(view) => Json(view).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "version": 1, "error": error }))).into_response()
        }
    }
}

/// Off this runtime: what is built for a look has a runtime of its own, which may not end inside another.
async fn apart<T: Send + 'static>(look: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(look).await.unwrap_or_else(|error| Err(error.to_string()))
}

async fn upstreams(State(control): State<Arc<Control>>) -> impl IntoResponse {
    Json(view::upstreams(&control, clock::now()))
}

/// A user sees what was refused to them.
async fn refused_view(State(control): State<Arc<Control>>, Extension(viewer): Extension<Viewer>) -> impl IntoResponse {
    let to = match viewer {
        _ if may_all(viewer, &control) => None,
        Viewer::User(uid) => Some(uid),
        // A uid that no process has.
        Viewer::Anyone | Viewer::Unknown => Some(u32::MAX),
    };
    let ports = control.reloader.current().model.destinations.connect_ports.clone();
    let (refused, forgotten) = control.house.refused.lines(&ports, to);
    Json(json!({ "version": 1, "refused": refused, "refused_forgotten": forgotten }))
}

async fn config_view(State(control): State<Arc<Control>>) -> impl IntoResponse {
    Json(json!({ "version": 1, "config": control.reloader.loaded().origins.json() }))
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default = "get_method")]
    method: String,
    url: String,
}

fn get_method() -> String {
    "GET".into()
}

async fn explain_view(State(control): State<Arc<Control>>, Query(asked): Query<Asked>) -> Response {
    let snapshot = control.reloader.current();
    match apart(move || explain(&snapshot.model, &asked.method, &asked.url, &[])).await {
        Ok(explanation) => Json(explanation).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, Json(json!({ "version": 1, "error": error }))).into_response(),
    }
}

async fn reload(State(control): State<Arc<Control>>) -> Response {
    match control.reloader.reload(clock::now()) {
        Ok(generation) => Json(json!({ "version": 1, "generation": generation })).into_response(),
        Err(wrong) => {
            let errors: Vec<String> = wrong.iter().map(ToString::to_string).collect();
            (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "version": 1, "errors": errors }))).into_response()
        }
    }
}

async fn drain(State(control): State<Arc<Control>>) -> impl IntoResponse {
    control.switch.set(Mode::Draining);
    Json(json!({ "version": 1, "draining": true }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_drains_or_lost_a_worker_is_not_ready() {
        for (mode, gone, status) in
            [(Mode::Running, 0, 200), (Mode::Running, 1, 503), (Mode::Draining, 0, 503), (Mode::Stopping, 2, 503)]
        {
            assert_eq!(readiness(mode, gone).0, status, "{gone}");
        }
    }
}
