//! Any eligible one, each equally likely.

use super::Eligible;

/// A uniformly drawn eligible index.
pub fn random(n: usize, rng: &mut fastrand::Rng, eligible: impl Fn(usize) -> bool) -> Option<usize> {
    let set = Eligible::of(n, eligible);
    if set.count == 0 { None } else { set.nth(rng.usize(..set.count)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eligible_ones_are_equally_likely() {
        let mut rng = fastrand::Rng::with_seed(5);
        let mut picks = [0; 4];

        for _ in 0..9000 {
            picks[random(4, &mut rng, |index| index != 1).expect("three are eligible")] += 1;
        }

        assert_eq!(picks[1], 0);
        assert!([0, 2, 3].iter().all(|&index| (2_800..3_200).contains(&picks[index])), "{picks:?}");
    }
}
