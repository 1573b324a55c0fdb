//! At random, in proportion to a weight.
//!
//! Random rather than smooth round robin: it needs no state to share between workers or to carry across a
//! reload, and its shares are right in the long run whatever is ejected meanwhile.

use super::Eligible;

/// An eligible index drawn in proportion to its weight; a weight of zero is never drawn.
pub fn weighted(weights: &[u32], rng: &mut fastrand::Rng, eligible: impl Fn(usize) -> bool) -> Option<usize> {
    let set = Eligible::of(weights.len(), |index| weights[index] > 0 && eligible(index));
    let total: u64 = set.indices().map(|index| u64::from(weights[index])).sum();
    if set.count < 2 {
        return set.nth(0);
    }
    let mut left = rng.u64(..total);
    set.indices().find(|&index| {
        let weight = u64::from(weights[index]);
        let hit = left < weight;
        left = left.saturating_sub(weight);
        hit
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_the_weights_of_the_eligible() {
        let mut rng = fastrand::Rng::with_seed(11);
        let mut picks = [0; 4];

        for _ in 0..10_000 {
            picks[weighted(&[90, 10, 500, 0], &mut rng, |index| index != 2).expect("two are eligible")] += 1;
        }

        assert_eq!((picks[2], picks[3]), (0, 0));
        assert!((8_850..9_150).contains(&picks[0]), "{picks:?}");
    }

    #[test]
    fn only_zero_weights_leave_nothing() {
        assert_eq!(weighted(&[0, 0], &mut fastrand::Rng::with_seed(1), |_| true), None);
        assert_eq!(weighted(&[], &mut fastrand::Rng::with_seed(1), |_| true), None);
    }

    #[test]
    fn largest_weights_do_not_overflow() {
        let weights = [u32::MAX; 70];

        assert!(weighted(&weights, &mut fastrand::Rng::with_seed(1), |_| true).is_some());
    }
}
