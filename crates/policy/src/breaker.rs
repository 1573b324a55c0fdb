//! When to stop calling an endpoint, and when to try it again.
//!
//! Closed, it counts: connect-level failures in a row (or any failures in a row, where a number is set), and
//! over a rolling ten seconds the share of failures and of slow calls. Shares are weighed at every sample, so
//! a success may trip it too, by making the calls enough to judge. Open, it refuses for a time that doubles
//! with each re-opening until it closes. Half-open, it lets one probe out at a time; successes in a row
//! close it, one failure opens it again. A probe slower than the slow-call limit counts as failed: closing on
//! it would close onto what tripped it. A probe is a request that may be repeated, where such a one was around
//! within the last second: what fails at a probe has to fail for its client otherwise. One that neither
//! ends nor is released loses its place after a while (`Params::patience`), and its result counts no more.
//!
//! An operator may force it open or closed; until the force is taken back nothing is counted.
//!
//! An admission names the generation it was given in, and every transition starts a new one, so results that
//! come late are recognised and ignored. State, generation, probe, deadline and streaks are one word
//! (`word`); a transition is the CAS that wins, reported to exactly one caller. A success on a healthy closed
//! breaker costs three loads and one `fetch_add`.
//!
//! Not here: what counts as a failure (the caller classifies).

#[cfg(test)]
mod model;
mod params;
#[cfg(test)]
mod tests;
mod window;
mod word;

use std::time::Duration;

use crate::Tick;
use crate::atomic::{AtomicU64, Ordering::Relaxed};
use crate::outlier::Calls;
use crate::pad::Padded;
use window::{Counts, Window};
use word::{Streaks, Word};

pub use params::{PATIENCE, Params, Slow};

/// What a caller is told to wait while another's probe is out.
pub const PROBE_WAIT: Duration = Duration::from_millis(250);

/// A request that may be repeated is waited for this long after the last one asked.
const REPEATABLE_WAIT: Duration = Duration::from_secs(1);

/// Closed lets calls through, open refuses them, half-open lets one probe out at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Calls pass and are counted.
    Closed = 0,
    /// One call at a time passes, to find out.
    HalfOpen = 1,
    /// No call passes; also once the open time is over, until somebody is admitted.
    Open = 2,
}

impl State {
    /// The word for it in logs, metrics and the admin API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half-open",
            Self::Open => "open",
        }
    }
}

/// Why a breaker changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Connect-level failures in a row.
    Connect,
    /// Failures of any kind in a row.
    Row,
    /// The share of failures.
    Rate,
    /// The share of slow calls.
    Slow,
    /// A probe failed.
    Probe,
    /// The open time is over.
    Elapsed,
    /// A background dial got through.
    Reachable,
    /// It failed more than the other endpoints of its set.
    Outlier,
    /// Enough probes succeeded.
    Recovered,
    /// Somebody said so.
    Operator,
}

impl Cause {
    /// The word for it in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect failures",
            Self::Row => "failures in a row",
            Self::Rate => "failure rate",
            Self::Slow => "slow call rate",
            Self::Probe => "probe failed",
            Self::Elapsed => "open time over",
            Self::Reachable => "reachable again",
            Self::Outlier => "outlier",
            Self::Recovered => "probes succeeded",
            Self::Operator => "operator",
        }
    }
}

/// A change of state, handed to the one caller whose call made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state left.
    pub from: State,
    /// The state entered.
    pub to: State,
    /// Why.
    pub cause: Cause,
    /// How long it will stay open; zero if it did not open, or was forced to.
    pub open_for: Duration,
}

/// How an admitted attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// The endpoint answered.
    Success {
        /// Until the response head.
        latency: Duration,
        /// Nothing can fail any more. Otherwise `Breaker::completed` or `Breaker::late_failure` follows.
        whole: bool,
    },
    /// The endpoint failed.
    Failure {
        /// At connect level: nothing was sent.
        connect: bool,
        /// Until the failure.
        latency: Duration,
    },
}

/// Leave for one attempt; must come back by `Breaker::record` or `Breaker::release`, once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a probe that is neither recorded nor released keeps the breaker half-open for ever"]
pub struct Admission {
    generation: u32,
    probe: bool,
}

impl Admission {
    /// The generation it was given in, for `Breaker::late_failure`.
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// Whether it is the one probe of a half-open breaker.
    pub const fn probe(&self) -> bool {
        self.probe
    }
}

/// The breaker of one endpoint.
#[derive(Debug, Default)]
pub struct Breaker {
    word: Padded<AtomicU64>,
    /// When a request that may be repeated last asked while it was not closed, in nanoseconds.
    asked: Padded<AtomicU64>,
    window: Window,
}

/// What an operator wants of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// Refuse all calls.
    Open,
    /// Let all calls through, and count none.
    Closed,
}

impl Breaker {
    /// Closed, with nothing counted.
    pub fn new() -> Self {
        Self::default()
    }

    /// The state now.
    pub fn state(&self) -> State {
        self.load().state()
    }

    /// Whether it is open and the last failure was that nothing could be connected, so that a background dial may help.
    ///
    /// Of a row of any kind the last decides: a restart resets what is under way before it refuses.
    pub fn opened_by_connect(&self) -> bool {
        self.load().opened_by_connect()
    }

    /// Its generation and the calls of the last ten seconds, for a comparison with others; `None` unless it counts.
    pub fn calls(&self, now: Tick) -> Option<(u32, Calls)> {
        let generation = self.load().generation();
        let counts = self.window.all(generation, now);
        let closed = self.load().is(State::Closed, generation);
        closed.then_some((generation, Calls { total: counts.total, failed: counts.failed }))
    }

    /// Opens it for what a comparison of this generation's calls said.
    pub fn eject(&self, generation: u32, params: &Params, now: Tick, rng: &mut fastrand::Rng) -> Option<Transition> {
        let mut at = At { params, now, rng };
        let (from, to) = self.update(|word| word.is(State::Closed, generation).then(|| at.open(word, false)))?;
        transition(from, to, Cause::Outlier, now)
    }

    /// What an operator wants of it.
    pub fn forced(&self) -> Option<Force> {
        self.load().forced()
    }

    /// What is left of its open time; zero if it is not open, or was forced.
    pub fn left(&self, now: Tick) -> Duration {
        let word = self.load();
        if word.state() == State::Open && word.forced().is_none() { word.left(now) } else { Duration::ZERO }
    }

    /// Forces it open or closed, or takes that back: then it is closed with nothing counted.
    ///
    /// Calls under way belong to an earlier generation afterwards, so their results are ignored.
    pub fn force(&self, force: Option<Force>, now: Tick) -> Option<Transition> {
        let (from, to) = self.update(|word| match force {
            Some(force) if word.forced() == Some(force) => None,
            Some(force) => Some(word.forced_to(force)),
            None => Some(word.closed()),
        })?;
        transition(from, to, Cause::Operator, now)
    }

    /// Whether [`admit`](Self::admit) would let an attempt through, without taking anything.
    pub fn would_admit(&self, now: Tick) -> bool {
        let word = self.load();
        match word.state() {
            State::Closed => true,
            State::HalfOpen => !word.probing(),
            State::Open => word.forced().is_none() && word.left(now).is_zero(),
        }
    }

    /// Lets an attempt through, or says how long to wait. `repeatable`: were it to fail, it could be tried again.
    ///
    /// # Errors
    /// What is left of the open time, or `PROBE_WAIT` while a probe is out or another request is the better probe.
    pub fn admit(
        &self,
        params: &Params,
        now: Tick,
        repeatable: bool,
    ) -> Result<(Admission, Option<Transition>), Duration> {
        let mut wait = Duration::ZERO;
        let moved = self.update(|word| match word.state() {
            State::Closed => Some(word),
            State::HalfOpen => {
                wait = PROBE_WAIT;
                if !self.is_best_probe(repeatable, now) {
                    return None;
                }
                match word.probing() {
                    false => Some(word.reserved(now)),
                    true => word.is_overdue(now, params.patience).then(|| word.replaced(now)),
                }
            }
            State::Open if word.forced().is_some() => {
                wait = params.open;
                None
            }
            State::Open => {
                wait = word.left(now);
                let best = self.is_best_probe(repeatable, now);
                if wait.is_zero() && !best {
                    wait = PROBE_WAIT;
                    return None;
                }
                wait.is_zero().then(|| word.half_opened().reserved(now))
            }
        });
        let (from, to) = moved.ok_or(wait)?;
        let admission = Admission { generation: to.generation(), probe: to.state() == State::HalfOpen };
        Ok((admission, transition(from, to, Cause::Elapsed, now)))
    }

    /// Counts how an attempt ended, unless its generation is over.
    pub fn record(
        &self,
        admission: Admission,
        sample: Sample,
        params: &Params,
        now: Tick,
        rng: &mut fastrand::Rng,
    ) -> Option<Transition> {
        let Admission { generation, probe } = admission;
        let at = At { params, now, rng };
        let slow = params.is_slow(sample.latency());
        match sample {
            Sample::Success { .. } if probe && !slow => self.probed(generation, at),
            Sample::Success { .. } if probe => self.reopen(generation, false, at),
            Sample::Failure { connect, .. } if probe => self.reopen(generation, connect, at),
            Sample::Success { whole, .. } => {
                // Without a number for rows of any kind nobody waits for the end of the call.
                let whole = whole || at.params.failures.is_none();
                self.answered(generation, |row| if whole { Streaks::NONE } else { row.connected() })?;
                self.weigh(generation, Counts { total: 1, failed: 0, slow: u64::from(slow) }, at)
            }
            Sample::Failure { connect, .. } => {
                let sample = Counts { total: 1, failed: 1, slow: u64::from(slow) };
                self.failed(generation, |row| row.failed(connect), sample, at)
            }
        }
    }

    /// Takes an admission back without a result: counts nothing, and lets the next probe out.
    pub fn release(&self, admission: Admission) {
        if admission.probe {
            self.update(|word| word.is(State::HalfOpen, admission.generation).then(|| word.freed()));
        }
    }

    /// An attempt that was recorded as a success at its head ended well: this, not the head, ends a row of failures
    /// of any kind. Costs a load where there is no row.
    pub fn completed(&self, generation: u32) {
        self.answered(generation, |_| Streaks::NONE);
    }

    /// Adds a failure to an attempt that was recorded as a success at its head, unless its generation is over.
    ///
    /// The call itself is not counted again.
    pub fn late_failure(
        &self,
        generation: u32,
        params: &Params,
        now: Tick,
        rng: &mut fastrand::Rng,
    ) -> Option<Transition> {
        let at = At { params, now, rng };
        if self.load().is(State::HalfOpen, generation) {
            return self.reopen(generation, false, at);
        }
        self.failed(generation, Streaks::failed_late, Counts { total: 0, failed: 1, slow: 0 }, at)
    }

    /// A background dial got through: half-open at once, if it was connect-level failures that opened it.
    pub fn reachable(&self, _params: &Params, now: Tick) -> Option<Transition> {
        let (from, to) = self.update(|word| word.opened_by_connect().then(|| word.half_opened()))?;
        transition(from, to, Cause::Reachable, now)
    }

    /// An answer while closed shortens the rows of failures; `None` if it came late.
    fn answered(&self, generation: u32, shorter: impl Fn(Streaks) -> Streaks) -> Option<(Word, Word)> {
        self.update(|word| word.is(State::Closed, generation).then(|| word.with_streaks(shorter(word.streaks()))))
    }

    /// Whether no request that had better be the probe was around lately; remembers one that may be repeated.
    fn is_best_probe(&self, repeatable: bool, now: Tick) -> bool {
        if repeatable {
            self.asked.store(now.as_nanos().max(1), Relaxed);
            return true;
        }
        let asked = self.asked.load(Relaxed);
        asked == 0 || now.since(Tick::from_nanos(asked)) >= REPEATABLE_WAIT
    }

    /// A failure while closed lengthens the rows; trips if one is long enough, else goes into the window.
    fn failed(
        &self,
        generation: u32,
        longer: impl Fn(Streaks) -> Streaks,
        sample: Counts,
        mut at: At<'_>,
    ) -> Option<Transition> {
        let (from, to) = self.update(|word| {
            word.is(State::Closed, generation).then(|| {
                let row = longer(word.streaks());
                if at.params.row(row) { at.open(word, row.unconnected()) } else { word.with_streaks(row) }
            })
        })?;
        let cause = if at.params.failures.is_some() { Cause::Row } else { Cause::Connect };
        transition(from, to, cause, at.now).or_else(|| self.weigh(generation, sample, at))
    }

    /// Counts a sample in the window, and trips if a share has become too large.
    fn weigh(&self, generation: u32, sample: Counts, mut at: At<'_>) -> Option<Transition> {
        self.window.add(generation, at.now, sample);
        let cause = at.params.share(self.window.sum(generation, at.now)?)?;
        let (from, to) = self.update(|word| word.is(State::Closed, generation).then(|| at.open(word, false)))?;
        transition(from, to, cause, at.now)
    }

    /// A probe succeeded.
    fn probed(&self, generation: u32, at: At<'_>) -> Option<Transition> {
        let (from, to) = self.update(|word| {
            word.is(State::HalfOpen, generation).then(|| {
                let succeeded = word.succeeded();
                if succeeded.successes() >= at.params.successes.min(word::SUCCESSES_MAX) {
                    word.closed()
                } else {
                    succeeded
                }
            })
        })?;
        transition(from, to, Cause::Recovered, at.now)
    }

    /// A probe failed.
    fn reopen(&self, generation: u32, connect: bool, mut at: At<'_>) -> Option<Transition> {
        let (from, to) = self.update(|word| word.is(State::HalfOpen, generation).then(|| at.open(word, connect)))?;
        transition(from, to, Cause::Probe, at.now)
    }

    /// Moves the word by `step` until that sticks or `step` declines. A step to the same word writes nothing.
    ///
    /// Relaxed throughout: all that readers must see together is in the word itself.
    fn update(&self, mut step: impl FnMut(Word) -> Option<Word>) -> Option<(Word, Word)> {
        let mut from = self.load();
        loop {
            let to = step(from)?;
            if to == from {
                return Some((from, to));
            }
            match self.word.compare_exchange_weak(from.0, to.0, Relaxed, Relaxed) {
                Ok(_) => return Some((from, to)),
                Err(seen) => from = Word(seen),
            }
        }
    }

    fn load(&self) -> Word {
        Word(self.word.load(Relaxed))
    }
}

/// What every decision is handed: the numbers of the moment, the moment, and chance.
struct At<'a> {
    params: &'a Params,
    now: Tick,
    rng: &'a mut fastrand::Rng,
}

impl At<'_> {
    fn open(&mut self, word: Word, connect: bool) -> Word {
        word.opened(self.now, self.params.open_time(word.doublings(), self.rng), connect)
    }
}

impl Sample {
    fn latency(self) -> Duration {
        match self {
            Self::Success { latency, .. } | Self::Failure { latency, .. } => latency,
        }
    }
}

fn transition(from: Word, to: Word, cause: Cause, now: Tick) -> Option<Transition> {
    if from.state() == to.state() {
        return None;
    }
    let open_for = if to.state() == State::Open && to.forced().is_none() { to.left(now) } else { Duration::ZERO };
    Some(Transition { from: from.state(), to: to.state(), cause, open_for })
}
