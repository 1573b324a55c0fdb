//! Active checks of one endpoint: a connection of its own each time, one question, one verdict.
//!
//! A check dials anew instead of taking a pooled connection: a process that accepts nothing any more may still answer on
//! connections of old. The next one begins an interval after the last has ended, drawn between 90 % and 110 % of it, so
//! that checks never pile up and many proxies do not ask in step. Nothing of a request is spent, and the breaker is not
//! told: it knows how requests fare, this knows whether there is somebody.

mod ask;

use std::sync::Arc;
use std::time::Duration;

use exchange::{Random, clock};
use policy::health;
use telemetry::metrics::Events;

use crate::connect::Connector;
use crate::endpoint::{Key, State};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// `GET` of a path; a status in one of these ranges is good.
    Http { path: String, host: Option<String>, expect: Vec<(u16, u16)> },
    /// Only to be connected, TLS included.
    Tcp,
    /// `grpc.health.v1.Health/Check` of a service; empty for the server as a whole.
    Grpc { service: String },
}

/// How an endpoint is checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Check {
    /// What is asked.
    pub question: Question,
    /// Between two checks.
    pub every: Duration,
    /// For one check, connection included.
    pub timeout: Duration,
    /// Results in a row that change the verdict.
    pub rows: health::Params,
}

/// What checks need of the process.
#[derive(Clone)]
pub struct Tools {
    /// Makes connections.
    pub connector: Connector,
    /// Counts and verdicts.
    pub events: Arc<Events>,
    /// For the jitter.
    pub random: Random,
}

/// Checks an endpoint until dropped.
pub async fn watch(key: Key, state: Arc<State>, check: Check, tools: Tools) {
    loop {
        let asked =
            tokio::time::timeout(check.timeout, ask::ask(&key, &check.question, check.timeout, &tools.connector));
        let result = asked.await.unwrap_or_else(|_| Err(format!("no answer within {:?}", check.timeout)));
        note(&state, &result, &check, &tools.events);
        tokio::time::sleep(pause(check.every, &tools.random)).await;
    }
}

/// Until the next check.
fn pause(every: Duration, random: &Random) -> Duration {
    every.mul_f64(random.with(|rng| 0.9 + 0.2 * rng.f64()))
}

fn note(state: &State, result: &Result<(), String>, check: &Check, events: &Events) {
    let (upstream, endpoint) = (&*state.upstream, &*state.label);
    match (state.health.record(result.is_ok(), &check.rows), result) {
        (Some(_), Err(why)) => tracing::warn!(upstream, endpoint, why, "health check: left out"),
        (Some(_), Ok(())) => {
            state.begins(clock::now());
            tracing::info!(upstream, endpoint, "health check: well again");
        }
        (None, Err(why)) => tracing::debug!(upstream, endpoint, why, "health check failed"),
        (None, Ok(())) => {}
    }
    events.health_checked(&state.upstream, &state.label, result.is_ok(), state.health.is_well());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_differ_by_a_tenth_at_most() {
        let random = Random::seeded(7);
        let mut pauses: Vec<_> = (0..200).map(|_| pause(Duration::from_secs(10), &random)).collect();
        pauses.sort_unstable();
        pauses.dedup();

        assert!(pauses[0] >= Duration::from_secs(9) && pauses[pauses.len() - 1] <= Duration::from_secs(11));
        assert!(pauses.len() > 150, "in step: {pauses:?}");
    }
}
