//! How many are in flight, and whether one more may join.
//!
//! One counter serves both questions: the balancer reads it as load, the bulkhead reads it as a limit. The
//! limit comes with each call, so lowering it by a reload never strands a permit: the count simply stays
//! above the limit until enough have left.

use crate::atomic::{AtomicU32, Ordering::Relaxed};
use crate::pad::Padded;

/// A counter of what is under way, bounded by the limit each caller brings.
#[derive(Debug, Default)]
pub struct Inflight(Padded<AtomicU32>);

impl Inflight {
    /// Nothing in flight.
    pub fn new() -> Self {
        Self::default()
    }

    /// Joins unless `limit` are already in flight; exact under any interleaving.
    #[must_use = "what was acquired must be released"]
    pub fn acquire(&self, limit: u32) -> bool {
        let mut count = self.0.load(Relaxed);
        while count < limit {
            match self.0.compare_exchange_weak(count, count + 1, Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(seen) => count = seen,
            }
        }
        false
    }

    /// Leaves; exactly once for each `acquire` that returned true.
    pub fn release(&self) {
        let before = self.0.fetch_sub(1, Relaxed);
        debug_assert!(before > 0, "released more often than acquired");
    }

    /// How many are in flight.
    pub fn get(&self) -> u32 {
        self.0.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    #[test]
    fn admits_up_to_the_limit_and_again_after_a_release() {
        let inflight = Inflight::new();

        assert!(inflight.acquire(2));
        assert!(inflight.acquire(2));
        assert!(!inflight.acquire(2));
        inflight.release();

        assert_eq!(inflight.get(), 1);
        assert!(inflight.acquire(2));
    }

    #[test]
    fn lowered_limit_admits_none_until_enough_have_left() {
        let inflight = Inflight::new();
        for _ in 0..3 {
            assert!(inflight.acquire(3));
        }

        assert!(!inflight.acquire(1));
        inflight.release();
        inflight.release();
        assert!(!inflight.acquire(1));
        inflight.release();

        assert!(inflight.acquire(1));
    }

    #[test]
    fn limit_zero_admits_none() {
        assert!(!Inflight::new().acquire(0));
    }

    #[test]
    fn threads_never_pass_the_limit_together() {
        let inflight = Inflight::new();
        let over = AtomicBool::new(false);

        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        if inflight.acquire(3) {
                            over.fetch_or(inflight.get() > 3, Relaxed);
                            inflight.release();
                        }
                    }
                });
            }
        });

        assert!(!over.load(Relaxed));
        assert_eq!(inflight.get(), 0);
    }
}
