//! Choosing one of `n` by index, among those that an eligibility predicate lets pass.
//!
//! Eligibility reads live state (breaker, in flight, already tried), which may change while we look. So each
//! function asks once per index and keeps the answers in a bit set: what was counted is what is drawn from.
//! The set lives on the stack up to 256 candidates and costs one pass over `n`; sampling blindly and
//! rejecting would be cheaper for hundreds of endpoints, and wrong when few of them are eligible.

mod least;
mod level;
mod p2c;
mod random;
mod ring;
mod round_robin;
mod weighted;

use smallvec::SmallVec;

pub use least::least;
pub use level::level;
pub use p2c::p2c;
pub use random::random;
pub use ring::{hash, ring};
pub use round_robin::round_robin;
pub use weighted::weighted;

/// The indices that were eligible when asked, in order.
struct Eligible {
    words: SmallVec<[u64; 4]>,
    count: usize,
}

impl Eligible {
    fn of(n: usize, eligible: impl Fn(usize) -> bool) -> Self {
        let mut words = SmallVec::new();
        let mut count = 0;
        for first in (0..n).step_by(64) {
            let bits = (first..n.min(first + 64))
                .filter(|&index| eligible(index))
                .fold(0u64, |bits, index| bits | 1 << (index - first));
            count += bits.count_ones() as usize;
            words.push(bits);
        }
        Self { words, count }
    }

    /// The index with `skip` eligible ones before it.
    fn nth(&self, mut skip: usize) -> Option<usize> {
        for (at, &word) in self.words.iter().enumerate() {
            let ones = word.count_ones() as usize;
            if skip < ones {
                let rest = (0..skip).fold(word, |bits, _| bits & (bits - 1));
                return Some(at * 64 + rest.trailing_zeros() as usize);
            }
            skip -= ones;
        }
        None
    }

    fn indices(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(at, &word)| {
            std::iter::successors(Some(word), |bits| Some(bits & bits.wrapping_sub(1)))
                .take_while(|&bits| bits != 0)
                .map(move |bits| at * 64 + bits.trailing_zeros() as usize)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::RefCell;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn set_is_inline_up_to_256() {
        assert!(!Eligible::of(256, |_| true).words.spilled());
        assert_eq!(Eligible::of(257, |_| true).nth(256), Some(256));
    }

    #[test]
    fn word_boundaries_are_no_boundaries() {
        for n in [1, 63, 64, 65, 127, 128, 129] {
            let set = Eligible::of(n, |index| index + 1 == n);

            assert_eq!((set.count, set.nth(0), set.nth(1)), (1, Some(n - 1), None));
        }
    }

    proptest! {
        #[test]
        fn set_agrees_with_a_plain_list(mask in proptest::collection::vec(any::<bool>(), 0..300)) {
            let set = Eligible::of(mask.len(), |index| mask[index]);
            let list: Vec<_> = (0..mask.len()).filter(|&index| mask[index]).collect();

            prop_assert_eq!(set.count, list.len());
            prop_assert_eq!(set.indices().collect::<Vec<_>>(), list.clone());
            for skip in 0..=list.len() {
                prop_assert_eq!(set.nth(skip), list.get(skip).copied());
            }
        }

        #[test]
        fn every_policy_picks_an_eligible_one_or_none_at_all(
            mask in proptest::collection::vec(any::<bool>(), 0..200), seed: u64, turn: usize
        ) {
            let (n, any) = (mask.len(), mask.contains(&true));
            let mut rng = fastrand::Rng::with_seed(seed);
            let ok = |index: usize| mask[index];
            let weights = vec![1; n];

            let picks = [
                p2c(n, &mut rng, ok, |index| index as u64),
                least(n, &mut rng, ok, |index| index as u64 % 3),
                random(n, &mut rng, ok),
                round_robin(n, &AtomicUsize::new(turn), ok),
                weighted(&weights, &mut rng, ok),
                ring(&(0..n as u64).collect::<Vec<_>>(), seed, ok),
            ];

            for pick in picks {
                prop_assert_eq!(pick.is_some(), any);
                prop_assert!(pick.is_none_or(|index| mask[index]));
            }
        }

        #[test]
        fn eligibility_is_asked_once_per_index(n in 0usize..150, seed: u64) {
            let mut rng = fastrand::Rng::with_seed(seed);
            let asked = RefCell::new(vec![0; n]);
            let ok = |index: usize| { asked.borrow_mut()[index] += 1; true };

            p2c(n, &mut rng, ok, |_| 0);
            least(n, &mut rng, ok, |_| 0);
            random(n, &mut rng, ok);
            round_robin(n, &AtomicUsize::new(0), ok);
            weighted(&vec![1; n], &mut rng, ok);

            prop_assert!(asked.borrow().iter().all(|&times| times == 5));
        }
    }
}
