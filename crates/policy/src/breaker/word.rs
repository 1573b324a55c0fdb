//! Everything a breaker knows about its state, in one `u64`, so that each transition is one CAS and no reader
//! ever sees a state with the deadline, the probe or the streaks of another.
//!
//! | bits | what | when |
//! |---|---|---|
//! | 44..64 | generation, one more with each transition | always |
//! | 42..44 | state; 3 is forced | always |
//! | 0 | forced closed, else open | forced |
//! | 41 | a probe is out | half-open |
//! | 40 | the trip was connect-level | open |
//! | 35..40 | how often it opened again without closing | open, half-open |
//! | 0..35 | end of the open time, in units of 2^20 ns | open |
//! | 0..10 | probes that succeeded in a row | half-open |
//! | 10..35 | when the probe went out, in units of 2^20 ns | half-open |
//! | 18..35, 0..17 | failures in a row, of any kind and connect-level | closed |
//!
//! What the packing costs: an open time ends up to 1.05 ms early and is at most three days; a result that
//! outlives exactly a multiple of 2^20 transitions passes for a current one; a breaker left open without a
//! single call for a multiple of 417 days is open again for at most three; a probe that has been out for
//! 4.9 to 9.8 hours, or for a multiple, passes for a new one; streaks stop at 131,071 and probes at 1,023.

use std::time::Duration;

use super::{Force, State};
use crate::Tick;

const GENERATION: u32 = 44;
/// Generations are this many bits wide.
pub(super) const GENERATION_BITS: u32 = 20;
const STATE: u32 = 42;
const PROBE: u64 = 1 << 41;
const CONNECT: u64 = 1 << 40;
const FORCED: u64 = 3;
const FORCED_CLOSED: u64 = 1;
const SINCE: u32 = 10;
const SINCE_MAX: u64 = (1 << 25) - 1;
/// The most successes of probes that are told apart.
pub(super) const SUCCESSES_MAX: u32 = (1 << SINCE) - 1;
const REOPENS: u32 = 35;
const REOPENS_MAX: u64 = 31;
const PAYLOAD: u64 = (1 << 35) - 1;
const STREAK: u64 = (1 << 17) - 1;
const ANY: u32 = 18;

/// Log2 of the nanoseconds in a unit of the open time.
const UNIT: u32 = 20;
/// The longest open time in units, 3.2 days.
const OPEN_MAX: u64 = 1 << 28;

/// A breaker's state as one value; zero is closed, in generation 0, without a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

/// Failures in a row, as far as the word can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Streaks {
    pub(super) any: u32,
    pub(super) connect: u32,
}

impl Streaks {
    pub(super) const MAX: u32 = STREAK as u32;

    pub(super) const NONE: Self = Self { any: 0, connect: 0 };

    /// One failure more; one that got past the connection ends a connect-level streak.
    pub(super) fn failed(self, connect: bool) -> Self {
        let connect = if connect { (self.connect + 1).min(Self::MAX) } else { 0 };
        Self { connect, ..self.failed_late() }
    }

    /// The last call did not get a connection.
    pub(super) fn unconnected(self) -> bool {
        self.connect > 0
    }

    /// A call that was connected, and may still fail: the row of any kind goes on.
    pub(super) fn connected(self) -> Self {
        Self { connect: 0, ..self }
    }

    /// One failure more of a call that was connected long ago, which says nothing about connecting now.
    pub(super) fn failed_late(self) -> Self {
        Self { any: (self.any + 1).min(Self::MAX), ..self }
    }
}

impl Word {
    pub(super) fn state(self) -> State {
        match self.0 >> STATE & 3 {
            0 => State::Closed,
            1 => State::HalfOpen,
            FORCED if self.0 & FORCED_CLOSED != 0 => State::Closed,
            _ => State::Open,
        }
    }

    /// What an operator wants of it.
    pub(super) fn forced(self) -> Option<Force> {
        match (self.0 >> STATE & 3 == FORCED, self.0 & FORCED_CLOSED != 0) {
            (true, true) => Some(Force::Closed),
            (true, false) => Some(Force::Open),
            (false, _) => None,
        }
    }

    pub(super) fn generation(self) -> u32 {
        (self.0 >> GENERATION) as u32
    }

    /// In this state and generation, by its own doing.
    pub(super) fn is(self, state: State, generation: u32) -> bool {
        self.0 >> STATE & 3 == state as u64 && self.generation() == generation
    }

    /// Open because nothing could be connected.
    pub(super) fn opened_by_connect(self) -> bool {
        self.0 >> STATE & 3 == State::Open as u64 && self.0 & CONNECT != 0
    }

    /// Half-open with its one probe out.
    pub(super) fn probing(self) -> bool {
        self.0 & PROBE != 0
    }

    /// Closed: failures in a row.
    pub(super) fn streaks(self) -> Streaks {
        Streaks { any: (self.0 >> ANY & STREAK) as u32, connect: (self.0 & STREAK) as u32 }
    }

    /// Half-open: successes in a row.
    pub(super) fn successes(self) -> u32 {
        self.0 as u32 & SUCCESSES_MAX
    }

    /// Half-open: its probe has been out for longer than `patience`.
    pub(super) fn is_overdue(self, now: Tick, patience: Duration) -> bool {
        let out = (now.as_nanos() >> UNIT).wrapping_sub(self.0 >> SINCE) & SINCE_MAX;
        // Another worker's clock may be behind: half of the range is the past.
        self.probing() && out <= SINCE_MAX / 2 && Duration::from_nanos(out << UNIT) > patience
    }

    /// Open: what is left of the open time.
    pub(super) fn left(self, now: Tick) -> Duration {
        let now = now.as_nanos();
        let units = (self.0 & PAYLOAD).wrapping_sub(now >> UNIT) & PAYLOAD;
        if units == 0 || units > OPEN_MAX {
            return Duration::ZERO;
        }
        Duration::from_nanos((units << UNIT) - (now & ((1 << UNIT) - 1)))
    }

    /// How many times the open time has to be doubled if it opened now.
    pub(super) fn doublings(self) -> u32 {
        match self.state() {
            State::Closed => 0,
            State::HalfOpen | State::Open => (self.reopens() + 1).min(REOPENS_MAX) as u32,
        }
    }

    pub(super) fn opened(self, now: Tick, lasting: Duration, connect: bool) -> Self {
        let longest = Duration::from_nanos(OPEN_MAX << UNIT);
        let end = (now + lasting.min(longest)).as_nanos() >> UNIT;
        let connect = if connect { CONNECT } else { 0 };
        self.next(State::Open as u64, connect | u64::from(self.doublings()) << REOPENS | end & PAYLOAD)
    }

    pub(super) fn half_opened(self) -> Self {
        self.next(State::HalfOpen as u64, self.reopens() << REOPENS)
    }

    /// Half-open: another probe instead of the one that is out, whose result is late from now on.
    pub(super) fn replaced(self, now: Tick) -> Self {
        self.next(State::HalfOpen as u64, self.reopens() << REOPENS | u64::from(self.successes())).reserved(now)
    }

    pub(super) fn closed(self) -> Self {
        self.next(State::Closed as u64, 0)
    }

    pub(super) fn forced_to(self, force: Force) -> Self {
        self.next(FORCED, if force == Force::Closed { FORCED_CLOSED } else { 0 })
    }

    /// Closed: the same with these streaks.
    pub(super) fn with_streaks(self, streaks: Streaks) -> Self {
        Self(self.0 & !PAYLOAD | u64::from(streaks.any) << ANY | u64::from(streaks.connect))
    }

    /// Half-open: the same with its probe out.
    pub(super) fn reserved(self, now: Tick) -> Self {
        let since = (now.as_nanos() >> UNIT & SINCE_MAX) << SINCE;
        Self(self.0 & !(SINCE_MAX << SINCE) | PROBE | since)
    }

    /// Half-open: the same with its probe back and no result.
    pub(super) fn freed(self) -> Self {
        Self(self.0 & !PROBE)
    }

    /// Half-open: the same with its probe back and one success more.
    pub(super) fn succeeded(self) -> Self {
        let successes = u64::from((self.successes() + 1).min(SUCCESSES_MAX));
        Self(self.freed().0 & !u64::from(SUCCESSES_MAX) | successes)
    }

    fn reopens(self) -> u64 {
        self.0 >> REOPENS & REOPENS_MAX
    }

    fn next(self, state: u64, rest: u64) -> Self {
        // The generation is the top field: its carry falls off the end.
        let generation = (self.0 >> GENERATION).wrapping_add(1) << GENERATION;
        Self(generation | state << STATE | rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Tick = Tick::from_nanos(77_777_777_777_777);
    const UNIT_NANOS: u128 = 1 << UNIT;

    #[test]
    fn fields_do_not_touch_each_other() {
        let full = Streaks { any: Streaks::MAX, connect: Streaks::MAX };

        let closed = Word(0).with_streaks(full);
        assert_eq!((closed.state(), closed.generation(), closed.streaks()), (State::Closed, 0, full));
        assert_eq!(closed.streaks().failed(true), full);

        let open = closed.opened(NOW, Duration::from_secs(5), true);
        assert!(open.is(State::Open, 1) && open.opened_by_connect() && !open.probing());

        let half = open.half_opened().reserved(NOW).succeeded().succeeded();
        assert!(half.is(State::HalfOpen, 2) && !half.probing() && !half.opened_by_connect());
        assert_eq!((half.successes(), half.doublings()), (2, 1));

        let again = half.reserved(NOW);
        assert!(again.probing() && again.freed() == half);
        let other = again.replaced(NOW);
        assert!(other.probing() && other.generation() == again.generation() + 1);
        assert_eq!((other.successes(), other.doublings()), (2, 1));
        assert_eq!(again.closed().streaks(), Streaks::NONE);
    }

    #[test]
    fn doublings_count_re_opens_and_stop() {
        let mut word = Word(0);
        for expected in 0..40 {
            assert_eq!(word.doublings(), expected.min(31));
            word = word.opened(NOW, Duration::ZERO, false).half_opened();
        }

        assert_eq!(word.closed().doublings(), 0);
    }

    #[test]
    fn what_is_forced_is_in_no_state_of_its_own() {
        for (force, state) in [(Force::Open, State::Open), (Force::Closed, State::Closed)] {
            let word = Word(0).opened(NOW, Duration::from_secs(5), true).forced_to(force);

            assert_eq!((word.forced(), word.state(), word.generation()), (Some(force), state, 2));
            assert!(!word.is(state, 2) && !word.opened_by_connect() && !word.probing());
            assert_eq!((word.closed().forced(), word.closed().doublings()), (None, 0));
        }
    }

    #[test]
    fn probe_is_overdue_after_its_time_also_across_the_wrap() {
        for start in [NOW, Tick::from_nanos(SINCE_MAX << UNIT)] {
            let word = Word(0).half_opened().reserved(start);

            assert!(!word.is_overdue(start + Duration::from_secs(15), Duration::from_secs(15)));
            assert!(word.is_overdue(start + Duration::from_millis(15_003), Duration::from_secs(15)));
            assert!(
                !Word(0).half_opened().reserved(start + Duration::from_millis(9)).is_overdue(start, Duration::ZERO)
            );
            assert!(!word.freed().is_overdue(start + Duration::from_secs(60), Duration::from_secs(15)));
        }
    }

    #[test]
    fn generation_wraps() {
        let last = Word(u64::MAX << GENERATION);

        assert_eq!(last.generation(), (1 << GENERATION_BITS) - 1);
        assert_eq!(last.closed(), Word(0));
    }

    #[test]
    fn open_time_ends_at_most_one_unit_early() {
        let lasting = Duration::from_millis(5000);

        let open = Word(0).opened(NOW, lasting, false);

        let early = lasting - open.left(NOW);
        assert!(early.as_nanos() < UNIT_NANOS, "{early:?}");
        assert_eq!(open.left(NOW + lasting), Duration::ZERO);
        assert_eq!(open.left(NOW + open.left(NOW)), Duration::ZERO);
        assert!(open.left(NOW + (open.left(NOW) - Duration::from_nanos(1))) > Duration::ZERO);
    }

    #[test]
    fn open_time_survives_the_wrap_of_its_field() {
        let late = Tick::from_nanos(((1 << 35) - 1) << UNIT);
        let open = Word(0).opened(late, Duration::from_secs(5), false);

        assert!(open.left(late) > Duration::from_secs(4));
        assert_eq!(open.left(late + Duration::from_secs(5)), Duration::ZERO);
        assert_eq!(open.left(late + Duration::from_secs(86_400 * 300)), Duration::ZERO);
    }

    #[test]
    fn endless_open_time_is_three_days() {
        let open = Word(0).opened(NOW, Duration::MAX, false);

        assert!(open.left(NOW) > Duration::from_secs(3 * 86_400));
        assert!(open.left(NOW) < Duration::from_secs(4 * 86_400));
    }
}
