//! Power of two choices: draw two, take the better.
//!
//! The draws are distinct (tower's may coincide, which for two endpoints makes half the picks blind), and
//! only eligible ones are drawn, so an open breaker never wastes a draw. Always taking the best of all would
//! send every worker to the same endpoint at the same moment; see `least` for when that is wanted.

use super::Eligible;

/// Draws two distinct eligible indices and returns the one with the lower score; on a tie the first drawn.
pub fn p2c(
    n: usize,
    rng: &mut fastrand::Rng,
    eligible: impl Fn(usize) -> bool,
    score: impl Fn(usize) -> u64,
) -> Option<usize> {
    let set = Eligible::of(n, eligible);
    if set.count < 2 {
        return set.nth(0);
    }
    let first = rng.usize(..set.count);
    let second = rng.usize(..set.count - 1);
    let second = second + usize::from(second >= first);
    let (first, second) = (set.nth(first)?, set.nth(second)?);
    Some(if score(second) < score(first) { second } else { first })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::RefCell;

    #[test]
    fn of_two_the_better_always_wins() {
        let mut rng = fastrand::Rng::with_seed(3);

        for _ in 0..1000 {
            assert_eq!(p2c(2, &mut rng, |_| true, |index| 10 - index as u64), Some(1));
        }
    }

    #[test]
    fn the_worst_is_never_picked_and_the_best_most() {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut picks = [0; 4];

        for _ in 0..12_000 {
            picks[p2c(4, &mut rng, |_| true, |index| index as u64).expect("all are eligible")] += 1;
        }

        // Pairs of four: the best is in half of them, the next wins a third, the third a sixth.
        assert_eq!(picks[3], 0);
        assert!((5_700..6_300).contains(&picks[0]), "{picks:?}");
        assert!((3_700..4_300).contains(&picks[1]), "{picks:?}");
    }

    #[test]
    fn equal_scores_spread_evenly() {
        let mut rng = fastrand::Rng::with_seed(9);
        let mut picks = [0; 3];

        for _ in 0..9000 {
            picks[p2c(3, &mut rng, |_| true, |_| 1).expect("all are eligible")] += 1;
        }

        assert!(picks.iter().all(|count| (2_800..3_200).contains(count)), "{picks:?}");
    }

    proptest! {
        #[test]
        fn compares_two_distinct_eligible_ones(
            mask in proptest::collection::vec(any::<bool>(), 2..130), seed: u64
        ) {
            let scored = RefCell::new(Vec::new());

            p2c(mask.len(), &mut fastrand::Rng::with_seed(seed), |index| mask[index], |index| {
                scored.borrow_mut().push(index);
                0
            });

            let mut scored = scored.into_inner();
            prop_assert!(scored.iter().all(|&index| mask[index]));
            let drawn = scored.len();
            scored.sort_unstable();
            scored.dedup();
            prop_assert_eq!(scored.len(), drawn);
            prop_assert_eq!(drawn, if mask.iter().filter(|&&ok| ok).count() < 2 { 0 } else { 2 });
        }
    }
}
