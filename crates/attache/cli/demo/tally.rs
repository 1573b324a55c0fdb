//! What was measured, on both sides of the proxy: each attempt as the service saw it, each answer as the client did.
//!
//! A first attempt that succeeded is what a client without a proxy would have got; everything else follows from that.

use std::time::Duration;

use super::fate::Fate;

/// One request of the client.
#[derive(Clone, Debug, Default)]
struct Record {
    attempts: Vec<Fate>,
    answer: Option<Answer>,
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    success: bool,
    took: Duration,
}

/// How a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Waiting,
    AtOnce,
    /// The first attempt failed, the client got its answer.
    Saved,
    Failed,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Tally(Vec<Record>);

/// The numbers of the answered requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sums {
    pub(super) requests: usize,
    pub(super) succeeded: usize,
    /// Requests whose first attempt succeeded.
    pub(super) first: usize,
    pub(super) saved: usize,
    pub(super) attempts: usize,
    pub(super) unavailable: usize,
    pub(super) reset: usize,
    pub(super) slow: usize,
    pub(super) median: Duration,
    pub(super) p99: Duration,
}

impl Sums {
    /// Attempts beyond the first of each request.
    pub(super) const fn retries(&self) -> usize {
        self.attempts.saturating_sub(self.requests)
    }
}

/// `part` of `whole` in percent; 0 of nothing.
pub(super) fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

impl Tally {
    pub(super) fn new(requests: usize) -> Self {
        Self(vec![Record::default(); requests])
    }

    /// The service saw an attempt; its number, from 0. `None` for a request that is not the demo's own.
    pub(super) fn attempt(&mut self, request: u64, fate: impl FnOnce(u64) -> Fate) -> Option<Fate> {
        let record = self.0.get_mut(usize::try_from(request).ok()?)?;
        let fate = fate(record.attempts.len() as u64);
        record.attempts.push(fate);
        Some(fate)
    }

    /// The client got an answer, or gave up.
    pub(super) fn answered(&mut self, request: usize, success: bool, took: Duration) {
        if let Some(record) = self.0.get_mut(request) {
            record.answer = Some(Answer { success, took });
        }
    }

    pub(super) fn standings(&self) -> impl Iterator<Item = Standing> {
        self.0.iter().map(|record| match record.answer {
            None => Standing::Waiting,
            Some(Answer { success: false, .. }) => Standing::Failed,
            Some(_) if record.attempts.first().is_some_and(|fate| fate.succeeds()) => Standing::AtOnce,
            Some(_) => Standing::Saved,
        })
    }

    pub(super) fn sums(&self) -> Sums {
        let answered: Vec<&Record> = self.0.iter().filter(|record| record.answer.is_some()).collect();
        let fates = || answered.iter().flat_map(|record| &record.attempts);
        let count = |wanted: fn(&Fate) -> bool| fates().filter(|fate| wanted(fate)).count();
        let standing = |wanted| self.standings().filter(|s| *s == wanted).count();
        let mut took: Vec<Duration> = answered.iter().filter_map(|r| r.answer).map(|answer| answer.took).collect();
        took.sort_unstable();
        Sums {
            requests: answered.len(),
            succeeded: standing(Standing::AtOnce) + standing(Standing::Saved),
            first: answered.iter().filter(|r| r.attempts.first().is_some_and(|fate| fate.succeeds())).count(),
            saved: standing(Standing::Saved),
            attempts: fates().count(),
            unavailable: count(|fate| *fate == Fate::Unavailable),
            reset: count(|fate| *fate == Fate::Reset),
            slow: count(|fate| matches!(fate, Fate::Slow(_))),
            median: quantile(&took, 50),
            p99: quantile(&took, 99),
        }
    }
}

/// The smallest value that `percent` of them do not exceed.
fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_request_saved_by_a_retry_counts_for_the_proxy_and_against_the_service() {
        let mut tally = Tally::new(3);
        tally.attempt(0, |_| Fate::Answered);
        tally.answered(0, true, ms(1));
        tally.attempt(1, |_| Fate::Unavailable);
        tally.attempt(1, |n| if n == 1 { Fate::Slow(ms(9)) } else { Fate::Reset });
        tally.answered(1, true, ms(10));
        tally.attempt(2, |_| Fate::Reset);

        let sums = tally.sums();

        let standings: Vec<_> = tally.standings().collect();
        assert_eq!(standings, [Standing::AtOnce, Standing::Saved, Standing::Waiting]);
        assert_eq!((sums.requests, sums.succeeded, sums.first, sums.saved), (2, 2, 1, 1));
        assert_eq!((sums.attempts, sums.retries(), sums.unavailable, sums.reset, sums.slow), (3, 1, 1, 0, 1));
        assert_eq!((sums.median, sums.p99), (ms(1), ms(10)));
    }

    #[test]
    fn a_foreign_request_is_not_counted() {
        assert_eq!(Tally::new(1).attempt(1, |_| Fate::Answered), None);
    }

    #[test]
    fn nothing_measured_is_nothing_claimed() {
        assert_eq!(Tally::new(5).sums(), Sums::default());
        assert!(percent(0, 0).abs() < f64::EPSILON);
    }
}
