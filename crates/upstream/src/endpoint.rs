//! One place requests are sent to: `host:port`, seen through one TLS identity.
//!
//! `State` is what the process learnt about it; it is shared by all workers and outlives configurations. An
//! `Endpoint` is one worker's way to it: that state, and a pool of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::AcqRel, Ordering::Relaxed};
use std::time::Duration;

use exchange::Random;
use policy::Tick;
use policy::breaker::{self, Breaker};
use policy::budget::Budget;
use policy::health::Health;
use policy::inflight::Inflight;
use policy::latency::PeakEwma;
use telemetry::metrics::Shard;

use crate::Pool;
use crate::connect::{Connector, Destination};
use crate::timers::Timers;

/// Latency assumed of an endpoint that was never asked.
const SEED: Duration = Duration::from_millis(30);

/// What an endpoint speaks without TLS; with TLS, ALPN decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1; gRPC goes by prior knowledge, since it knows nothing else.
    Http1,
    /// HTTP/2 by prior knowledge.
    H2c,
    /// Whatever the client speaks: for hosts that no route names.
    Client,
}

/// What identifies an endpoint across configurations.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The upstream's name; empty for hosts that no route names.
    pub upstream: Arc<str>,
    /// Where to, and by which TLS identity.
    pub destination: Destination,
    /// Without TLS, what it speaks.
    pub protocol: Protocol,
}

/// What is known of an endpoint, process-wide.
pub struct State {
    /// `host:port`.
    pub label: Arc<str>,
    /// The upstream's name in metrics.
    pub upstream: Arc<str>,
    /// Ejects it.
    pub breaker: Breaker,
    /// Verdict of active checks; well where there are none.
    pub health: Health,
    /// To the response head.
    pub latency: PeakEwma,
    /// Pays for retries, where the upstream has no budget of its own.
    pub budget: Arc<Budget>,
    /// Requests under way.
    pub inflight: Inflight,
    /// Connections open, idle ones included.
    pub connections: Inflight,
    /// When it began to serve (again), in nanoseconds.
    since: AtomicU64,
    redialing: AtomicBool,
}

impl State {
    /// An endpoint never asked.
    pub fn new(upstream: Arc<str>, label: Arc<str>) -> Self {
        Self {
            label,
            upstream,
            breaker: Breaker::new(),
            health: Health::default(),
            latency: PeakEwma::new(SEED),
            budget: Arc::new(Budget::new()),
            inflight: Inflight::new(),
            connections: Inflight::new(),
            since: AtomicU64::new(exchange::clock::now().as_nanos()),
            redialing: AtomicBool::new(false),
        }
    }

    /// It serves (again) from now on.
    pub(crate) fn begins(&self, now: Tick) {
        self.since.store(now.as_nanos(), Relaxed);
    }

    /// How long it has been serving.
    pub(crate) fn age(&self, now: Tick) -> Duration {
        now.since(Tick::from_nanos(self.since.load(Relaxed)))
    }

    /// Takes the right to dial it in the background; one dial an endpoint.
    pub(crate) fn start_redial(&self) -> bool {
        !self.redialing.swap(true, AcqRel)
    }

    pub(crate) fn end_redial(&self) {
        self.redialing.store(false, std::sync::atomic::Ordering::Release);
    }
}

/// What all endpoints of a worker share.
pub struct Context {
    /// The worker's generator.
    pub random: Random,
    /// The worker's counters.
    pub stats: Arc<Shard>,
    /// Its attempts' limits.
    pub timers: Arc<Timers>,
    /// Makes connections.
    pub connector: Arc<Connector>,
    /// Idle connections in the process.
    pub idle: Arc<Inflight>,
    /// Background dials in the process.
    pub redials: Arc<Inflight>,
}

/// One worker's way to an endpoint.
#[derive(Clone)]
pub struct Endpoint {
    /// Process-wide.
    pub state: Arc<State>,
    /// This worker's.
    pub pool: Arc<Pool>,
}

impl Endpoint {
    /// A request would not be refused at once.
    pub fn is_available(&self, params: Option<&breaker::Params>, now: Tick) -> bool {
        params.is_none() || self.state.breaker.would_admit(now)
    }

    /// Smaller is better.
    pub fn score(&self, now: Tick) -> u64 {
        self.state.latency.cost(self.state.inflight.get(), now)
    }
}
