//! The numbers a breaker is steered by, and the questions they answer.

use std::time::Duration;

use super::Cause;
use super::window::Counts;
use super::word::Streaks;

/// The thresholds of a breaker; passed in on each call, so new ones apply at the next sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// Failures of any kind in a row that trip it; `None`: `connect_failures` connect-level ones.
    pub failures: Option<u32>,
    /// Connect-level failures in a row that trip it, unless `failures` is set.
    pub connect_failures: u32,
    /// The share of failures, 0..=1, that trips it.
    pub rate: f64,
    /// The fewest calls in the window by which a share is judged.
    pub min_requests: u32,
    /// The share of slow calls that trips it.
    pub slow: Option<Slow>,
    /// How long it stays open at first.
    pub open: Duration,
    /// What the open time doubles up to, before jitter.
    pub max_open: Duration,
    /// The part of the open time, 0..=1, that chance may add to it.
    pub jitter: f64,
    /// Probes in a row that must succeed to close it; at most 1,023.
    pub successes: u32,
    /// A probe that is out for longer makes way for another; must outlast the caller's own time limit; from
    /// five hours on it is for ever.
    pub patience: Duration,
}

/// What is slow, and how much of it is too much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slow {
    /// Longer than this to the response head is slow.
    pub over: Duration,
    /// The share of slow calls, 0..=1, that trips.
    pub rate: f64,
}

/// How long a probe may be out where nothing else limits it.
pub const PATIENCE: Duration = Duration::from_secs(15);

impl Default for Params {
    fn default() -> Self {
        Self {
            failures: None,
            connect_failures: 5,
            rate: 0.5,
            min_requests: 20,
            slow: None,
            open: Duration::from_secs(5),
            max_open: Duration::from_secs(60),
            jitter: 0.2,
            successes: 3,
            patience: PATIENCE,
        }
    }
}

impl Params {
    pub(super) fn is_slow(&self, latency: Duration) -> bool {
        self.slow.is_some_and(|slow| latency > slow.over)
    }

    /// Whether a row of failures is long enough to trip.
    pub(super) fn row(&self, streaks: Streaks) -> bool {
        match self.failures {
            Some(failures) => streaks.any >= row_limit(failures),
            None => streaks.connect >= row_limit(self.connect_failures),
        }
    }

    /// The share that is too large, if any.
    pub(super) fn share(&self, counts: Counts) -> Option<Cause> {
        // A late failure may outlive the bucket that counted its call.
        let total = counts.total.max(counts.failed);
        if total < u64::from(self.min_requests) {
            return None;
        }
        let reaches = |part: u64, rate: f64| part > 0 && part as f64 / total as f64 >= rate;
        if reaches(counts.failed, self.rate) {
            return Some(Cause::Rate);
        }
        self.slow.filter(|slow| reaches(counts.slow, slow.rate)).map(|_| Cause::Slow)
    }

    /// How long to stay open after so many doublings: never less than configured, jitter only adds.
    pub(super) fn open_time(&self, doublings: u32, rng: &mut fastrand::Rng) -> Duration {
        let factor = 1u32.checked_shl(doublings).unwrap_or(u32::MAX);
        let time = self.open.saturating_mul(factor).min(self.max_open);
        let jitter = if self.jitter > 0.0 { self.jitter.min(1.0) * rng.f64() } else { 0.0 };
        Duration::try_from_secs_f64(time.as_secs_f64() * jitter).map_or(time, |more| time.saturating_add(more))
    }
}

/// A row of none cannot trip, and a longer one than the word can count would never.
fn row_limit(failures: u32) -> u32 {
    failures.clamp(1, Streaks::MAX)
}
