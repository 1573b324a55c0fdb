//! The endpoints of one upstream, and which of them is next.
//!
//! What would refuse is passed over, what was tried already is avoided. Once more of them are out than `max_ejected`
//! allows, requests go to all but those that an operator shut (panic rule): a detector that is wrong must not become the
//! outage. Requests then pass a breaker that would refuse them, and count nothing there. An upstream of one endpoint
//! knows no panic.
//!
//! An endpoint whose open time is over gets the next request that may be repeated, first attempts only: by its
//! measured latency it would wait long for its probe, and it is one request an open time.

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use exchange::{Exchange, Random};
use policy::breaker::{self, Force, State};
use policy::{Tick, pick};
use smallvec::SmallVec;

use crate::Endpoint;
use crate::endpoint;

/// How the next endpoint is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// The better of two distinct random ones, by peak EWMA.
    P2c,
    /// The one with the fewest requests under way.
    Least,
    /// One after the other.
    RoundRobin,
    /// Any.
    Random,
}

/// By what an endpoint of a set is picked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Among those that may be.
    pub balance: Balance,
    /// The share of endpoints, 0..=1, that may be left out.
    pub max_ejected: f64,
    /// Active checks have a say; so often.
    pub checked: Option<Duration>,
}

/// Where an endpoint stands for those who pick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Takes requests.
    Serving,
    /// Out, but would take one as a probe.
    Due,
    /// Left out by its breaker.
    Out,
    /// Left out by active checks.
    Ill,
    /// Shut by an operator.
    Shut,
}

impl Standing {
    /// Of an endpoint whose breaker is asked if there are `breakers`.
    pub fn of(state: &endpoint::State, breakers: bool, now: Tick) -> Self {
        let breaker = &state.breaker;
        let well = state.health.is_well();
        match breaker.state() {
            State::Open if breakers && breaker.forced() == Some(Force::Open) => Self::Shut,
            _ if !well => Self::Ill,
            State::Closed => Self::Serving,
            _ if !breakers => Self::Serving,
            _ if breaker.would_admit(now) => Self::Due,
            _ => Self::Out,
        }
    }
}

/// Whether so many are out that requests go to all; never for one endpoint.
pub fn in_panic(standings: &[Standing], max_ejected: f64) -> bool {
    let count = |standing| standings.iter().filter(|one| **one == standing).count();
    let (shut, serving) = (count(Standing::Shut), count(Standing::Serving));
    let open = standings.len() - shut;
    standings.len() > 1 && (open - serving) as f64 > max_ejected * open as f64
}

/// An endpoint picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pick {
    pub index: usize,
    /// Its breaker's refusal does not count.
    pub panic: bool,
}

/// A fixed set of endpoints; an empty one has none to pick.
pub struct Set {
    endpoints: Box<[Endpoint]>,
    rules: Rules,
    cursor: AtomicUsize,
}

impl Set {
    /// Picked by `rules`.
    pub fn new(endpoints: Vec<Endpoint>, rules: Rules) -> Self {
        Self { endpoints: endpoints.into(), rules, cursor: AtomicUsize::new(0) }
    }

    /// All of them.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// A request would not be refused at once.
    pub(crate) fn is_available(&self, breaker: Option<&breaker::Params>, now: Tick) -> bool {
        if let [only] = &*self.endpoints {
            return only.is_available(breaker, now) && !self.is_ill(only);
        }
        let standings = self.standings(breaker, now);
        standings.iter().any(|one| matches!(one, Standing::Serving | Standing::Due))
            || in_panic(&standings, self.rules.max_ejected) && standings.iter().any(|one| *one != Standing::Shut)
    }

    /// How often active checks are made, if they are.
    pub(crate) fn checked(&self) -> Option<Duration> {
        self.rules.checked
    }

    fn is_ill(&self, endpoint: &Endpoint) -> bool {
        self.rules.checked.is_some() && !endpoint.state.health.is_well()
    }

    /// The next endpoint that is not in `refused`; `None` when every one is, or is ill.
    pub(crate) fn pick(
        &self,
        exchange: &Exchange,
        breaker: Option<&breaker::Params>,
        refused: &[usize],
        now: Tick,
        random: &Random,
    ) -> Option<Pick> {
        if let [only] = &*self.endpoints {
            return (refused.is_empty() && !self.is_ill(only)).then_some(Pick { index: 0, panic: false });
        }
        let standings = self.standings(breaker, now);
        let panic = in_panic(&standings, self.rules.max_ejected);
        let fresh = |index: usize| !refused.contains(&index);
        let untried = |index: usize| !exchange.has_tried(&self.endpoints[index].state.label);
        let due = |index: usize| fresh(index) && standings[index] == Standing::Due;
        let fits = |index: usize| {
            fresh(index)
                && match standings[index] {
                    Standing::Serving => true,
                    Standing::Due | Standing::Out | Standing::Ill => panic,
                    Standing::Shut => false,
                }
        };
        let draw = |eligible: &dyn Fn(usize) -> bool| self.draw(eligible, now, random);
        let probe = || {
            let wanted = !panic && standings.contains(&Standing::Due) && exchange.head.method.is_idempotent();
            if wanted && exchange.is_untried() { draw(&due) } else { None }
        };
        let index = probe()
            .or_else(|| draw(&|index| fits(index) && untried(index)))
            .or_else(|| draw(&fits))
            .or_else(|| draw(&due))
            .or_else(|| draw(&|index| fresh(index) && standings[index] != Standing::Ill))?;
        Some(Pick { index, panic: panic && standings[index] != Standing::Shut })
    }

    fn standings(&self, breaker: Option<&breaker::Params>, now: Tick) -> SmallVec<[Standing; 16]> {
        let standing = |endpoint: &Endpoint| Standing::of(&endpoint.state, breaker.is_some(), now);
        self.endpoints.iter().map(standing).collect()
    }

    fn draw(&self, eligible: impl Fn(usize) -> bool, now: Tick, random: &Random) -> Option<usize> {
        let count = self.endpoints.len();
        match self.rules.balance {
            Balance::RoundRobin => pick::round_robin(count, &self.cursor, eligible),
            Balance::Random => random.with(|rng| pick::random(count, rng, eligible)),
            Balance::Least => {
                let score = |index: usize| u64::from(self.endpoints[index].state.inflight.get());
                random.with(|rng| pick::least(count, rng, eligible, score))
            }
            Balance::P2c => {
                let score = |index: usize| self.endpoints[index].score(now);
                random.with(|rng| pick::p2c(count, rng, eligible, score))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Standing::{Due, Ill, Out, Serving, Shut};
    use super::*;

    #[test]
    fn panic_begins_once_more_are_out_than_may_be() {
        for (standings, panic) in [
            (&[Serving, Out][..], false),
            (&[Serving, Out, Out], true),
            (&[Serving, Serving, Out, Out], false),
            (&[Serving, Due, Ill, Out], true),
            (&[Out, Out], true),
            (&[Out], false),
        ] {
            assert_eq!(in_panic(standings, 0.5), panic, "{standings:?}");
        }
        assert!(!in_panic(&[Out, Out], 1.0));
        assert!(in_panic(&[Serving, Serving, Serving, Out], 0.2));
    }

    #[test]
    fn what_an_operator_shut_is_not_held_against_the_rest() {
        assert!(!in_panic(&[Serving, Shut, Shut, Shut], 0.5));
        assert!(!in_panic(&[Shut, Shut], 0.5));
    }
}
