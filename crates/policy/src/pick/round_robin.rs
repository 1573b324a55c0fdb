//! One after the other among the eligible.
//!
//! The turn counts eligible ones, not indices: skipping forward from a fixed position would hand the whole
//! share of an ejected endpoint to its right-hand neighbour. When eligibility changes the order jumps, the
//! shares stay equal. Several workers share one cursor; its wrap is one jump in 2^64.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::Eligible;

/// The eligible index whose turn it is; moves `cursor` on by one when there is any.
pub fn round_robin(n: usize, cursor: &AtomicUsize, eligible: impl Fn(usize) -> bool) -> Option<usize> {
    let set = Eligible::of(n, eligible);
    if set.count == 0 { None } else { set.nth(cursor.fetch_add(1, Relaxed) % set.count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(times: usize, n: usize, eligible: impl Fn(usize) -> bool) -> Vec<usize> {
        let cursor = AtomicUsize::new(0);
        (0..times).filter_map(|_| round_robin(n, &cursor, &eligible)).collect()
    }

    #[test]
    fn takes_turns_in_order() {
        assert_eq!(turns(7, 3, |_| true), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn share_of_an_ejected_one_is_spread_over_all_others() {
        assert_eq!(turns(6, 4, |index| index != 1), [0, 2, 3, 0, 2, 3]);
    }

    #[test]
    fn cursor_survives_its_wrap() {
        let cursor = AtomicUsize::new(usize::MAX);

        assert!(round_robin(3, &cursor, |_| true).is_some());
        assert_eq!(round_robin(3, &cursor, |_| true), Some(0));
    }
}
