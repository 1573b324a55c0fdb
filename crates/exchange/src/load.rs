//! What a balancer above may ask of an upstream below, without knowing it.

use policy::Tick;

/// The state of one target, for choosing between targets.
pub trait Load: Send + Sync {
    /// Its label: the one its attempts are recorded under, if it has a single endpoint.
    fn label(&self) -> Option<&std::sync::Arc<str>>;

    /// A request would not be refused at once.
    fn is_available(&self, now: Tick) -> bool;

    /// Smaller is better: peak EWMA of latency times what is in flight.
    fn score(&self, now: Tick) -> u64;
}
