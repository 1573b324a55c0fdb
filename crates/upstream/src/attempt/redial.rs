//! Looks for an endpoint whose breaker opened because nothing could connect to it.
//!
//! One dial an endpoint every half second, a bounded number in all, and no request is spent: a restarted
//! upstream is found within a second, not after the open time.

use std::sync::Arc;
use std::time::Duration;

use exchange::clock;
use policy::breaker::{Params, State};

use super::flight::announce;
use crate::connect::Flavour;
use crate::endpoint::{self, Endpoint};

/// Between two dials; drawn between 80 % and 120 % of it.
const EVERY: Duration = Duration::from_millis(500);
/// Endpoints dialed in the background, in the process.
const MAX_REDIALS: u32 = 64;

/// Starts to dial if the breaker is open for connect failures and nobody dials yet.
pub(super) fn watch(endpoint: &Endpoint, params: Params, within: Duration) {
    let breaker = &endpoint.state.breaker;
    if breaker.state() != State::Open || !breaker.opened_by_connect() || !endpoint.state.start_redial() {
        return;
    }
    let dials = Arc::clone(&endpoint.pool.context().redials);
    if !dials.acquire(MAX_REDIALS) {
        endpoint.state.end_redial();
        return;
    }
    let turn = Turn { state: Arc::clone(&endpoint.state), dials };
    let endpoint = Endpoint { state: Arc::clone(&endpoint.state), pool: Arc::clone(&endpoint.pool) };
    tokio::spawn(async move {
        let _turn = turn;
        redial(&endpoint, &params, within).await;
    });
}

async fn redial(endpoint: &Endpoint, params: &Params, within: Duration) {
    let context = Arc::clone(endpoint.pool.context());
    // Both the pool's owners and this task hold it: when only this task does, nobody wants the endpoint any more.
    while endpoint.state.breaker.state() == State::Open && Arc::strong_count(&endpoint.pool) > 1 {
        let jitter = context.random.with(|rng| 0.8 + 0.4 * rng.f64());
        tokio::time::sleep(EVERY.mul_f64(jitter)).await;
        let dialed = endpoint.pool.connect(Flavour::Auto, within).await;
        if dialed.is_ok() {
            if let Some(transition) = endpoint.state.breaker.reachable(params, clock::now()) {
                announce(endpoint, transition);
            }
            return;
        }
    }
}

/// The right to dial this endpoint.
struct Turn {
    state: Arc<endpoint::State>,
    dials: Arc<policy::inflight::Inflight>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.state.end_redial();
        self.dials.release();
    }
}
