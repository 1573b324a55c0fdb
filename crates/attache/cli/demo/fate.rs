//! What happens to one attempt at the demo's service: drawn from seed, request and attempt, and from nothing else.
//!
//! So the fates of a seed do not depend on timing, and each attempt fails independently of the one before it.

use std::time::Duration;

/// Shares of the attempts, in percent.
pub(super) const UNAVAILABLE: f64 = 12.0;
pub(super) const RESET: f64 = 3.0;
pub(super) const SLOW: f64 = 4.0;

/// The end of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Answered,
    /// Answered after this long.
    Slow(Duration),
    /// 503.
    Unavailable,
    /// The connection is cut before the head.
    Reset,
}

impl Fate {
    pub(super) fn draw(seed: u64, request: u64, attempt: u64) -> Self {
        let mixed = seed ^ mix(request) ^ mix(attempt.wrapping_add(1).rotate_left(32));
        let mut rng = fastrand::Rng::with_seed(mix(mixed));
        let roll = rng.f64() * 100.0;
        match roll {
            _ if roll < UNAVAILABLE => Self::Unavailable,
            _ if roll < UNAVAILABLE + RESET => Self::Reset,
            _ if roll < UNAVAILABLE + RESET + SLOW => Self::Slow(Duration::from_millis(rng.u64(80..240))),
            _ => Self::Answered,
        }
    }

    /// Whether a client without a proxy would have got its answer.
    pub(super) const fn succeeds(self) -> bool {
        matches!(self, Self::Answered | Self::Slow(_))
    }
}

/// `SplitMix64`'s finalizer: neighbouring numbers become unrelated ones.
const fn mix(of: u64) -> u64 {
    let of = of.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let of = (of ^ (of >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let of = (of ^ (of >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    of ^ (of >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_what_is_announced() {
        let count = |wanted: fn(Fate) -> bool| {
            (0..20_000).filter(|n| wanted(Fate::draw(7, n / 2, n % 2))).count() as f64 / 200.0
        };

        assert!((count(|f| f == Fate::Unavailable) - UNAVAILABLE).abs() < 1.0);
        assert!((count(|f| f == Fate::Reset) - RESET).abs() < 0.5);
        assert!((count(|f| matches!(f, Fate::Slow(_))) - SLOW).abs() < 0.6);
    }

    #[test]
    fn a_failed_first_attempt_says_nothing_about_the_second() {
        let failed: Vec<u64> = (0..20_000).filter(|n| !Fate::draw(7, *n, 0).succeeds()).collect();
        let again = failed.iter().filter(|n| !Fate::draw(7, **n, 1).succeeds()).count();

        let share = again as f64 / failed.len() as f64 * 100.0;
        assert!((share - UNAVAILABLE - RESET).abs() < 2.0, "{share}");
    }
}
