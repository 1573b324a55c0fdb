//! Whether active checks say that an endpoint is well.
//!
//! It counts as well until the first check, whose result is believed at once: what cannot be reached at the start should
//! not be found out by requests. Later it takes several results in a row, so that one lost packet moves nothing. All is
//! one word; one checker writes it, requests read it with one load.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How many results in a row change the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Params {
    /// Good ones that make it well again.
    pub healthy: u32,
    /// Bad ones that make it ill.
    pub unhealthy: u32,
}

const CHECKED: u64 = 1 << 33;
const ILL: u64 = 1 << 32;
const ROW: u64 = u32::MAX as u64;

/// The verdict on one endpoint; see the module.
#[derive(Debug, Default)]
pub struct Health(AtomicU64);

impl Health {
    /// Requests may go there.
    pub fn is_well(&self) -> bool {
        self.0.load(Relaxed) & ILL == 0
    }

    /// Counts a result; `Some(well)` when the verdict changed.
    pub fn record(&self, good: bool, params: &Params) -> Option<bool> {
        let mut word = self.0.load(Relaxed);
        loop {
            let well = word & ILL == 0;
            let first = word & CHECKED == 0;
            let row = if good == well { 0 } else { (word & ROW) + 1 };
            let needed = if first {
                1
            } else if well {
                params.unhealthy
            } else {
                params.healthy
            };
            let turns = good != well && row >= u64::from(needed);
            let ill = if turns != well { 0 } else { ILL };
            let next = CHECKED | ill | if turns { 0 } else { row.min(ROW) };
            match self.0.compare_exchange_weak(word, next, Relaxed, Relaxed) {
                Ok(_) => return turns.then_some(good),
                Err(seen) => word = seen,
            }
        }
    }

    /// Nobody checks any more: it counts as well again.
    pub fn forget(&self) {
        self.0.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PARAMS: Params = Params { healthy: 2, unhealthy: 3 };

    #[test]
    fn well_until_the_first_check_which_is_believed() {
        let health = Health::default();
        assert!(health.is_well());

        assert_eq!(health.record(false, &PARAMS), Some(false));
        assert!(!health.is_well());

        let other = Health::default();
        assert_eq!(other.record(true, &PARAMS), None);
        assert_eq!(other.record(false, &PARAMS), None);
        assert!(other.is_well());
    }

    #[test]
    fn later_it_takes_a_row() {
        let health = Health::default();
        let record = |results: &[bool]| results.iter().map(|good| health.record(*good, &PARAMS)).collect::<Vec<_>>();

        assert_eq!(record(&[true, false, false, true]), [None; 4]);
        assert_eq!(record(&[false, false, false]), [None, None, Some(false)]);
        assert_eq!(record(&[true, false, true, true]), [None, None, None, Some(true)]);
    }

    #[test]
    fn forgotten_is_as_new() {
        let health = Health::default();
        health.record(false, &PARAMS);

        health.forget();

        assert!(health.is_well());
        assert_eq!(health.record(false, &PARAMS), Some(false));
    }

    proptest! {
        #[test]
        fn the_verdict_is_that_of_the_last_row_long_enough(
            results in prop::collection::vec(any::<bool>(), 1..200), healthy in 1u32..5, unhealthy in 1u32..5
        ) {
            let params = Params { healthy, unhealthy };
            let health = Health::default();
            let (mut well, mut row) = (true, 0);

            for (index, good) in results.into_iter().enumerate() {
                row = if good == well { 0 } else { row + 1 };
                let needed = if index == 0 { 1 } else if well { unhealthy } else { healthy };
                let turns = good != well && row >= needed;
                if turns {
                    (well, row) = (good, 0);
                }

                prop_assert_eq!(health.record(good, &params), turns.then_some(good));
                prop_assert_eq!(health.is_well(), well);
            }
        }
    }
}
