//! How long to wait before a retry: full jitter, `random(0, min(cap, base * 2^retry))`.
//!
//! Full jitter rather than "equal" or "decorrelated": of the three it spreads a herd widest for the same
//! number of calls, and it needs no memory of the previous delay. The price is that a delay may be zero.

use std::time::Duration;

/// The two numbers of an exponential backoff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The ceiling of the first delay; doubles with each retry.
    pub base: Duration,
    /// What no ceiling exceeds.
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_millis(25), cap: Duration::from_millis(250) }
    }
}

impl Backoff {
    /// The wait before the retry with this number, 0 for the first: uniform from zero to its ceiling, both included.
    pub fn delay(&self, retry: u32, rng: &mut fastrand::Rng) -> Duration {
        let nanos = u64::try_from(self.ceiling(retry).as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(rng.u64(..=nanos))
    }

    /// The longest wait possible before this retry.
    pub fn ceiling(&self, retry: u32) -> Duration {
        let factor = 1u32.checked_shl(retry).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ceiling_doubles_up_to_the_cap() {
        let backoff = Backoff::default();

        let ceilings: Vec<_> = (0..6).map(|retry| backoff.ceiling(retry).as_millis()).collect();

        assert_eq!(ceilings, [25, 50, 100, 200, 250, 250]);
        assert_eq!(backoff.ceiling(u32::MAX), backoff.cap);
    }

    #[test]
    fn delays_spread_over_the_whole_range() {
        let backoff = Backoff::default();
        let mut rng = fastrand::Rng::with_seed(7);

        let delays: Vec<_> = (0..1000).map(|_| backoff.delay(2, &mut rng)).collect();

        assert!(delays.iter().any(|delay| *delay < Duration::from_millis(5)));
        assert!(delays.iter().any(|delay| *delay > Duration::from_millis(95)));
        let mean = delays.iter().sum::<Duration>() / 1000;
        assert!((45..55).contains(&mean.as_millis()), "mean {mean:?}");
    }

    #[test]
    fn zero_base_never_waits() {
        let backoff = Backoff { base: Duration::ZERO, cap: Duration::from_secs(1) };

        assert_eq!(backoff.delay(9, &mut fastrand::Rng::with_seed(1)), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn delay_never_exceeds_its_ceiling(base in 0u64..10_000_000_000, cap in 0u64..10_000_000_000, retry: u32, seed: u64) {
            let backoff = Backoff { base: Duration::from_nanos(base), cap: Duration::from_nanos(cap) };

            let delay = backoff.delay(retry, &mut fastrand::Rng::with_seed(seed));

            prop_assert!(delay <= backoff.ceiling(retry));
            prop_assert!(backoff.ceiling(retry) <= backoff.cap);
        }
    }
}
