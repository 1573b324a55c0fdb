//! Breakers by id, and what an operator makes of them: `POST /api/v1/breakers/{id}/{open,close,reset}`.
//!
//! An id is `upstream@endpoint` as in the metrics; what several TLS identities share under one id is forced together. A
//! force lives where the counts live, so a reload keeps it, and it lasts until `reset` or until nobody names the
//! endpoint any more. It has no effect on routes with `breaker: false`: they do not ask.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use exchange::clock;
use policy::Tick;
use policy::breaker::{Force, State as BreakerState};
use serde::Serialize;
use serde_json::json;
use upstream::endpoint;

use crate::control::Control;

#[derive(Serialize)]
struct Breakers {
    version: u32,
    breakers: Vec<View>,
}

#[derive(Serialize)]
struct View {
    id: String,
    upstream: String,
    endpoint: String,
    state: &'static str,
    forced: bool,
    /// What is left of its open time.
    open_for_s: f64,
}

pub(super) async fn list(State(control): State<Arc<Control>>) -> impl IntoResponse {
    let now = clock::now();
    let mut breakers: Vec<View> = control.house.state.registry.all().iter().map(|state| view(state, now)).collect();
    breakers.sort_by(|a, b| a.id.cmp(&b.id));
    Json(Breakers { version: 1, breakers })
}

pub(super) async fn force(
    State(control): State<Arc<Control>>,
    Path((asked, action)): Path<(String, String)>,
) -> Response {
    let force = match action.as_str() {
        "open" => Some(Force::Open),
        "close" => Some(Force::Closed),
        "reset" => None,
        _ => return unknown(format!("there is no action `{action}`; use open, close or reset")),
    };
    let mut states = control.house.state.registry.all();
    states.retain(|state| id(state) == asked);
    if states.is_empty() {
        return unknown(format!("there is no breaker `{asked}`; GET /api/v1/breakers lists them"));
    }
    let now = clock::now();
    for state in &states {
        tracing::warn!(upstream = &*state.upstream, endpoint = &*state.label, action, "an operator set a breaker");
        if let Some(transition) = state.breaker.force(force, now) {
            control.house.metrics.events().breaker_changed(&state.upstream, &state.label, transition.to as u8);
        }
    }
    let breakers = states.iter().map(|state| view(state, now)).collect();
    Json(Breakers { version: 1, breakers }).into_response()
}

fn unknown(why: String) -> Response {
    (StatusCode::NOT_FOUND, Json(json!({ "version": 1, "error": why }))).into_response()
}

fn id(state: &endpoint::State) -> String {
    format!("{}@{}", state.upstream, state.label)
}

fn view(state: &Arc<endpoint::State>, now: Tick) -> View {
    View {
        id: id(state),
        upstream: state.upstream.to_string(),
        endpoint: state.label.to_string(),
        state: state.breaker.state().as_str(),
        forced: state.breaker.forced().is_some(),
        open_for_s: state.breaker.left(now).as_secs_f64(),
    }
}

/// The state in one cell of a table.
pub(super) fn shown(state: &endpoint::State) -> &'static str {
    match (state.breaker.state(), state.breaker.forced().is_some()) {
        (BreakerState::Open, true) => "open (forced)",
        (BreakerState::Closed, true) => "closed (forced)",
        (state, _) => state.as_str(),
    }
}
