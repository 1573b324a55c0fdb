//! The same key goes to the same one, and a change of the set moves only the keys of those that came or went.
//!
//! Rendezvous hashing instead of points on a ring: each (key, member) pair has a score, and the highest eligible score
//! wins. It needs no table to build or to keep, members that are left out give their keys to all others evenly, and
//! for as many endpoints as an upstream has one pass costs less than a search on a ring would. Members are known by
//! hashes of their names, not by index, so their order means nothing and several proxies agree.

/// A hash of a name or a key that is the same in every process.
pub fn hash(bytes: &[u8]) -> u64 {
    // FNV-1a spreads; the finish mixes its weak high bits (both are public constants).
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)))
}

/// The eligible index that `key` belongs to; `members` are the hashes of all names.
pub fn ring(members: &[u64], key: u64, eligible: impl Fn(usize) -> bool) -> Option<usize> {
    let eligible = (0..members.len()).filter(|&index| eligible(index));
    eligible.max_by_key(|&index| mix(members[index] ^ key.rotate_left(32)))
}

fn mix(mut word: u64) -> u64 {
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn members(count: usize) -> Vec<u64> {
        (0..count).map(|index| hash(format!("10.0.0.{index}:80").as_bytes())).collect()
    }

    fn keys() -> impl Iterator<Item = u64> {
        (0..6_000).map(|key| hash(format!("user-{key}").as_bytes()))
    }

    #[test]
    fn keys_spread_evenly() {
        let members = members(6);
        let mut picks = [0; 6];

        for key in keys() {
            picks[ring(&members, key, |_| true).expect("all are eligible")] += 1;
        }

        assert!(picks.iter().all(|count| (850..1_150).contains(count)), "{picks:?}");
    }

    #[test]
    fn keys_of_one_that_is_left_out_go_to_all_others_and_no_other_key_moves() {
        let members = members(4);
        let mut gained = [0; 4];

        for key in keys() {
            let before = ring(&members, key, |_| true).expect("all are eligible");
            let after = ring(&members, key, |index| index != 2).expect("three are eligible");
            if before == 2 {
                gained[after] += 1;
            } else {
                assert_eq!(before, after);
            }
        }

        assert_eq!(gained[2], 0);
        assert!([0, 1, 3].iter().all(|&index| gained[index] > 380), "{gained:?}");
    }

    proptest! {
        #[test]
        fn order_means_nothing(count in 1usize..20, key: u64, by in 0usize..20) {
            let members = members(count);
            let mut turned = members.clone();
            turned.rotate_left(by % count);

            let (one, other) = (ring(&members, key, |_| true), ring(&turned, key, |_| true));

            prop_assert_eq!(one.map(|index| members[index]), other.map(|index| turned[index]));
        }
    }
}
