//! One seeded generator a worker.

use std::sync::Arc;

use parking_lot::Mutex;

/// A shared handle on a worker's generator; the lock is never contended.
#[derive(Clone, Debug)]
pub struct Random(Arc<Mutex<fastrand::Rng>>);

impl Random {
    /// A generator that repeats for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    /// Draws; `draw` must not call back into anything that draws.
    pub fn with<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.0.lock())
    }
}
