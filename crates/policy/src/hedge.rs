//! When a second try is sent before the first has answered, and how many of them there may be.
//!
//! The wait is fixed, or a quantile of how long the destination's answers took lately: with p95 one request in twenty is
//! slower. That alone is no bound, since when all are slow all are slower than before; the bound is the allowance. Each
//! request earns a share of a hedge and each hedge costs one, so that there are never more of them than that share of
//! the requests, at any rate of them. What is saved up is capped: a calm hour must not pay for a storm.

use std::time::Duration;

use crate::Tick;
use crate::atomic::{AtomicI64, Ordering::Relaxed};
use crate::pad::Padded;
use crate::quantile::Latencies;

/// One hedge, in the unit of the allowance.
const ONE: i64 = 100_000;
/// Hedges that may be saved up: as many as retries are granted without any request. A stall makes a whole burst late.
const SAVED: i64 = 100;

/// How long the first try is left alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum After {
    /// So long.
    Fixed(Duration),
    /// As long as this share of the answers took lately, 0..=1.
    Quantile(f64),
}

/// The numbers of hedging.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// The wait before a hedge.
    pub after: After,
    /// Hedges earned by one request, 0..=1.
    pub ratio: f64,
}

/// What is known of a destination, shared by all who hedge there.
#[derive(Debug, Default)]
pub struct Hedges {
    latencies: Latencies,
    allowance: Padded<AtomicI64>,
}

impl Hedges {
    /// A request came that may be hedged: earns its share, and is told how long to wait. `None`: not yet known.
    pub fn begin(&self, params: &Params, now: Tick) -> Option<Duration> {
        let earned = (params.ratio.clamp(0.0, 1.0) * ONE as f64) as i64;
        let save = |saved: i64| Some((saved + earned).min(SAVED * ONE));
        // The closure never refuses.
        let _ = self.allowance.fetch_update(Relaxed, Relaxed, save);
        match params.after {
            After::Fixed(wait) => Some(wait),
            After::Quantile(share) => self.latencies.quantile(share, now),
        }
    }

    /// Takes one hedge out of the allowance, if it is there.
    #[must_use = "a hedge may only be made when this is true"]
    pub fn withdraw(&self) -> bool {
        self.allowance.fetch_update(Relaxed, Relaxed, |saved| (saved >= ONE).then_some(saved - ONE)).is_ok()
    }

    /// A hedge was paid for and not made.
    pub fn give_back(&self) {
        self.allowance.fetch_add(ONE, Relaxed);
    }

    /// The first try was answered after this long, or had not been when the second was: then it would have taken longer,
    /// and to leave it out would make the wait shorter and shorter.
    pub fn answered(&self, took: Duration, now: Tick) {
        self.latencies.record(took, now);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::thread;

    use proptest::prelude::*;

    use super::*;
    use crate::quantile::ENOUGH;

    const START: Tick = Tick::from_nanos(1_000_000_000_000);
    const WAIT: Duration = Duration::from_millis(50);

    fn fixed(ratio: f64) -> Params {
        Params { after: After::Fixed(WAIT), ratio }
    }

    #[test]
    fn twenty_requests_earn_one_hedge_at_five_percent() {
        let hedges = Hedges::default();
        for _ in 0..19 {
            assert_eq!(hedges.begin(&fixed(0.05), START), Some(WAIT));
            assert!(!hedges.withdraw());
        }
        hedges.begin(&fixed(0.05), START);

        assert!(hedges.withdraw());
        assert!(!hedges.withdraw());
    }

    #[test]
    fn a_calm_hour_saves_up_a_hundred() {
        let hedges = Hedges::default();
        for _ in 0..10_000 {
            hedges.begin(&fixed(0.5), START);
        }

        assert_eq!((0..1000).filter(|_| hedges.withdraw()).count(), 100);
    }

    #[test]
    fn what_was_not_made_is_given_back() {
        let hedges = Hedges::default();
        hedges.begin(&fixed(1.0), START);
        assert!(hedges.withdraw());

        hedges.give_back();

        assert!(hedges.withdraw());
    }

    #[test]
    fn nothing_allowed_is_nothing_made() {
        let hedges = Hedges::default();
        for _ in 0..1000 {
            hedges.begin(&fixed(0.0), START);
        }

        assert!(!hedges.withdraw());
    }

    #[test]
    fn a_quantile_is_waited_for_once_it_is_known_and_follows_what_is_answered() {
        let (hedges, params) = (Hedges::default(), Params { after: After::Quantile(0.95), ratio: 0.05 });
        assert_eq!(hedges.begin(&params, START), None);

        for index in 0..ENOUGH * 2 {
            hedges.answered(Duration::from_millis(if index % 50 == 0 { 900 } else { 20 }), START);
        }
        let fast = hedges.begin(&params, START).expect("known");
        for _ in 0..ENOUGH {
            hedges.answered(Duration::from_millis(900), START);
        }
        let slow = hedges.begin(&params, START).expect("known");

        assert!((20..25).contains(&fast.as_millis()) && slow.as_millis() >= 900, "{fast:?} {slow:?}");
    }

    #[test]
    fn threads_never_overspend_together() {
        let (hedges, made) = (Hedges::default(), AtomicU32::new(0));

        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        hedges.begin(&fixed(0.05), START);
                        made.fetch_add(u32::from(hedges.withdraw()), Relaxed);
                    }
                });
            }
        });

        let made = made.into_inner();
        assert!((990..=1000).contains(&made), "{made}");
    }

    proptest! {
        #[test]
        fn hedges_never_exceed_their_share_of_the_requests(
            percent in 0u32..=100, steps in proptest::collection::vec((0u32..30, 0u32..10), 1..60)
        ) {
            let (hedges, params) = (Hedges::default(), fixed(f64::from(percent) / 100.0));
            let (mut requests, mut made) = (0, 0);

            for (begun, wanted) in steps {
                for _ in 0..begun {
                    hedges.begin(&params, START);
                }
                requests += begun;
                made += (0..wanted).filter(|_| hedges.withdraw()).count() as u32;
                prop_assert!(made * 100 <= requests * percent, "{made} of {requests} at {percent}%");
            }
        }
    }
}
