//! The eligible one with the lowest score, ties broken at random.
//!
//! Right for counts that the pick itself moves (requests in flight); with a measured score it herds.

/// The eligible index with the lowest score; each of several lowest is equally likely.
pub fn least(
    n: usize,
    rng: &mut fastrand::Rng,
    eligible: impl Fn(usize) -> bool,
    score: impl Fn(usize) -> u64,
) -> Option<usize> {
    let mut best = None;
    let mut ties = 0usize;
    for index in (0..n).filter(|&index| eligible(index)) {
        let score = score(index);
        match best {
            Some((_, lowest)) if score > lowest => {}
            Some((_, lowest)) if score == lowest => {
                // The k-th of k equals replaces the one held with probability 1/k: each ends up equally likely.
                ties += 1;
                if rng.usize(..ties) == 0 {
                    best = Some((index, score));
                }
            }
            _ => {
                ties = 1;
                best = Some((index, score));
            }
        }
    }
    best.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowest_eligible_wins() {
        let scores = [1, 5, 3, 4];
        let mut rng = fastrand::Rng::with_seed(1);

        assert_eq!(least(4, &mut rng, |_| true, |index| scores[index]), Some(0));
        assert_eq!(least(4, &mut rng, |index| index != 0, |index| scores[index]), Some(2));
    }

    #[test]
    fn ties_are_broken_evenly() {
        let scores = [2, 1, 1, 9, 1];
        let mut rng = fastrand::Rng::with_seed(1);
        let mut picks = [0; 5];

        for _ in 0..9000 {
            picks[least(5, &mut rng, |_| true, |index| scores[index]).expect("all are eligible")] += 1;
        }

        assert_eq!((picks[0], picks[3]), (0, 0));
        assert!([1, 2, 4].iter().all(|&index| (2_800..3_200).contains(&picks[index])), "{picks:?}");
    }
}
