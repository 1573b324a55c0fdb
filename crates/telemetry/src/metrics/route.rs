//! What is counted of one route, in one worker.
//!
//! [`RouteStats::finished`] runs once a request: array indexing and relaxed adds, two uncontended locks (the triple
//! of the request, the list of its attempts), no text and no allocation.

use std::sync::Arc;
use std::time::Duration;

use exchange::race::Race;
use exchange::{Attempt, ErrorKind, Exchange};
use parking_lot::Mutex;
use policy::Tick;

use super::cell::{Count, DURATIONS, Histogram, OVERHEADS};
use super::detours::{Authorized, Detours, Mirrored};
use super::identities::Identities;
use super::requests::Requests;
use crate::{labels, outcome};

/// One route's numbers; aligned so that no two workers share a cache line.
#[derive(Debug)]
#[repr(align(64))]
pub struct RouteStats {
    name: Arc<str>,
    pub(super) requests: Requests,
    pub(super) durations: [Histogram; labels::CLASSES.len()],
    pub(super) overhead: Histogram,
    pub(super) attempts: [Count; labels::RESULTS],
    pub(super) attempt_duration: Histogram,
    pub(super) retries: Count,
    /// Wasted and won.
    pub(super) hedges: [Count; 2],
    pub(super) rejected: [Count; ErrorKind::ALL.len()],
    pub(super) trailers_dropped: Count,
    pub(super) detours: Detours,
    pub(super) decisions: Histogram,
    pub(super) bytes_in: Count,
    pub(super) bytes_out: Count,
    /// Few and only after failures: the words are literals of the code.
    pub(super) retry_denied: Words,
    pub(super) hedge_denied: Words,
    identities: Arc<Identities>,
}

type Words = Mutex<Vec<(&'static str, u64)>>;

impl RouteStats {
    pub(super) fn new(name: Arc<str>, identities: Arc<Identities>) -> Self {
        Self {
            name,
            requests: Requests::default(),
            durations: std::array::from_fn(|_| Histogram::new(&DURATIONS)),
            overhead: Histogram::new(&OVERHEADS),
            attempts: std::array::from_fn(|_| Count::default()),
            attempt_duration: Histogram::new(&DURATIONS),
            retries: Count::default(),
            hedges: Default::default(),
            rejected: std::array::from_fn(|_| Count::default()),
            trailers_dropped: Count::default(),
            detours: Detours::default(),
            decisions: Histogram::new(&DURATIONS),
            bytes_in: Count::default(),
            bytes_out: Count::default(),
            retry_denied: Mutex::default(),
            hedge_denied: Mutex::default(),
            identities,
        }
    }

    /// The same route's, before anything was counted.
    pub(super) fn empty(&self) -> Self {
        Self::new(self.name.clone(), self.identities.clone())
    }

    /// The `route` label.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Records a finished exchange; called once for each.
    pub fn finished(&self, exchange: &Exchange, now: Tick) {
        let status = outcome::status(exchange);
        let reason = exchange.reason();
        self.requests.add(&exchange.head.method, status, reason);
        self.durations[labels::class(status)].record(now.since(exchange.head.started));
        self.identities.count(exchange, &self.name, status);
        self.bytes_in.add(exchange.bytes_in());
        self.bytes_out.add(exchange.bytes_out());
        let (tries, retries, overhead) = exchange.with_attempts(|attempts| {
            for attempt in attempts {
                self.attempts[labels::result(attempt.result)].add(1);
                self.attempt_duration.record(attempt.took);
            }
            let tries = attempts.len() as u64;
            let retries =
                if tries > 1 { own(attempts, exchange).filter(|attempt| !attempt.hedge).count() as u64 } else { 0 };
            (tries, retries.saturating_sub(1), outcome::overhead(exchange, attempts))
        });
        if let Some(overhead) = overhead {
            self.overhead.record(overhead);
        }
        if !exchange.detour.is_none() {
            self.detours.finished(&exchange.detour);
        }
        if retries > 0 {
            self.retries.add(retries);
        }
        if let Some(race) = exchange.race() {
            self.raced(race);
        }
        if tries == 0
            && let Some(kind) = reason
            && kind != ErrorKind::ClientGone
        {
            self.rejected[kind as usize].add(1);
        }
        if exchange.are_trailers_dropped() {
            self.trailers_dropped.add(1);
        }
        if let Some(why) = exchange.retry_denied() {
            add(&self.retry_denied, why, 1);
        }
    }

    /// Counts what became of a request's copy.
    pub fn mirrored(&self, how: Mirrored) {
        self.detours.mirrored(how);
    }

    /// Counts a decision of somebody else, and what it took if it was asked for.
    pub fn authorized(&self, how: Authorized, took: Option<Duration>) {
        self.detours.authorized(how);
        if let Some(took) = took {
            self.decisions.record(took);
        }
    }

    fn raced(&self, race: &Race) {
        if race.is_made() {
            self.hedges[usize::from(race.is_won())].add(1);
        }
        if let Some(why) = race.denied() {
            add(&self.hedge_denied, why, 1);
        }
    }

    /// Adds another worker's numbers of the same route.
    pub(super) fn absorb(&self, other: &Self) {
        self.requests.absorb(&other.requests);
        for (sum, more) in self.durations.iter().zip(&other.durations) {
            sum.absorb(more);
        }
        self.overhead.absorb(&other.overhead);
        for (sum, more) in self.attempts.iter().zip(&other.attempts).chain(self.rejected.iter().zip(&other.rejected)) {
            sum.absorb(more);
        }
        self.attempt_duration.absorb(&other.attempt_duration);
        self.retries.absorb(&other.retries);
        for (sum, more) in self.hedges.iter().zip(&other.hedges) {
            sum.absorb(more);
        }
        self.trailers_dropped.absorb(&other.trailers_dropped);
        self.detours.absorb(&other.detours);
        self.decisions.absorb(&other.decisions);
        self.bytes_in.absorb(&other.bytes_in);
        self.bytes_out.absorb(&other.bytes_out);
        for (sum, more) in [(&self.retry_denied, &other.retry_denied), (&self.hedge_denied, &other.hedge_denied)] {
            let more = more.lock().clone();
            more.into_iter().for_each(|(why, count)| add(sum, why, count));
        }
    }
}

fn add(words: &Words, why: &'static str, by: u64) {
    let mut words = words.lock();
    match words.iter_mut().find(|(known, _)| *known == why) {
        Some((_, count)) => *count += by,
        None => words.push((why, by)),
    }
}

/// The attempts at the route's own upstream: those before a fallback.
fn own<'a>(attempts: &'a [Attempt], exchange: &Exchange) -> impl Iterator<Item = &'a Attempt> + use<'a> {
    let before = exchange.detour.fallback().map_or(usize::MAX, |fallback| usize::from(fallback.attempts));
    attempts.iter().take(before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use exchange::Attempt;

    use crate::fixture::{after, attempt, exchange};

    fn stats() -> RouteStats {
        RouteStats::new(Arc::from("api"), Arc::default())
    }

    #[test]
    fn attempts_beyond_the_first_are_retries() {
        let stats = stats();
        let exchange = exchange("/");
        exchange.attempted(attempt(0, 10, Err(ErrorKind::Reset)));
        exchange.attempted(attempt(20, 10, Ok(503)));
        exchange.attempted(attempt(40, 10, Ok(200)));
        exchange.answered(200, None, Some(after(51)));
        exchange.add_bytes_out(42);

        stats.finished(&exchange, after(60));

        assert_eq!(stats.retries.get(), 2);
        assert_eq!(stats.attempt_duration.count(), 3);
        for result in [Err(ErrorKind::Reset), Ok(503), Ok(200)] {
            assert_eq!(stats.attempts[labels::result(result)].get(), 1, "{result:?}");
        }
        assert_eq!((stats.durations[2].count(), stats.durations[2].seconds()), (1, 0.06));
        assert_eq!(stats.overhead.seconds(), 0.021);
        assert_eq!((stats.bytes_in.get(), stats.bytes_out.get()), (0, 42));
    }

    #[test]
    fn a_hedge_is_an_attempt_and_no_retry() {
        let stats = stats();
        for won in [true, false] {
            let exchange = exchange("/");
            let race = exchange.begin_race();
            race.took(&Arc::from("b:80"), false, true);
            if won {
                race.win();
            }
            exchange.attempted(Attempt { hedge: won, ..attempt(0, 10, Ok(200)) });
            exchange.attempted(Attempt { hedge: !won, ..attempt(0, 10, Err(ErrorKind::HedgeLost)) });
            exchange.answered(200, None, Some(after(11)));

            stats.finished(&exchange, after(12));
        }
        let denied = exchange("/");
        denied.begin_race().deny("budget");
        stats.finished(&denied, after(1));

        assert_eq!((stats.retries.get(), stats.attempt_duration.count()), (0, 4));
        assert_eq!([stats.hedges[0].get(), stats.hedges[1].get()], [1, 1]);
        assert_eq!(*stats.hedge_denied.lock(), [("budget", 1)]);
    }

    #[test]
    fn only_what_we_refused_before_any_attempt_is_rejected() {
        let stats = stats();
        for (kind, tried) in [
            (ErrorKind::RateLimited, false),
            (ErrorKind::ClientGone, false),
            (ErrorKind::Deadline, true),
            (ErrorKind::Overloaded, false),
        ] {
            let exchange = exchange("/");
            if tried {
                exchange.attempted(attempt(0, 1, Err(kind)));
            }
            exchange.answered(kind.status(exchange.head.door).as_u16(), Some(kind), Some(after(1)));
            stats.finished(&exchange, after(1));
        }

        let rejected: Vec<_> = ErrorKind::ALL.iter().filter(|kind| stats.rejected[**kind as usize].get() > 0).collect();

        assert_eq!(rejected, [&ErrorKind::RateLimited, &ErrorKind::Overloaded]);
    }

    #[test]
    fn an_exchange_without_an_answer_has_no_overhead() {
        let stats = stats();
        let exchange = exchange("/");
        exchange.set_reason(ErrorKind::ClientGone);

        stats.finished(&exchange, after(1) + Duration::from_micros(1));

        assert_eq!((stats.overhead.count(), stats.durations[4].count()), (0, 1));
    }

    #[test]
    fn absorbing_adds_everything() {
        let (sum, part) = (stats(), stats());
        let exchange = exchange("/");
        exchange.set_retry_denied("budget");
        exchange.attempted(attempt(0, 1, Ok(500)));
        exchange.answered(500, None, Some(after(2)));
        exchange.add_bytes_in(7);
        part.finished(&exchange, after(2));
        sum.finished(&exchange, after(2));

        sum.absorb(&part);

        assert_eq!(*sum.retry_denied.lock(), [("budget", 2)]);
        assert_eq!((sum.bytes_in.get(), sum.attempts[5].get(), sum.overhead.count()), (14, 2, 2));
        assert_eq!(sum.durations[5].count(), 2);
    }
}
