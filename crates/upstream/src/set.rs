//! The endpoints of one upstream, and which of them is next.
//!
//! What would refuse is passed over, what was tried already is avoided. Once more of them are out than `max_ejected`
//! allows, requests go to all but those that an operator shut (panic rule): a detector that is wrong must not become the
//! outage. Requests then pass a breaker that would refuse them, and count nothing there. An upstream of one endpoint
//! knows no panic.
//!
//! An endpoint whose open time is over gets the next request that may be repeated, first attempts only: by its
//! measured latency it would wait long for its probe, and it is one request an open time.
//!
//! With priorities, requests go to the first level that is well enough, and a repeat to another where nobody there is
//! untried. With `slow_start` an endpoint that comes back takes a share that grows to its whole over that time.
//!
//! A second try of a request whose first is under way (a hedge) goes to an endpoint that serves and was not taken, or to
//! none: neither panic nor a probe is worth it.
//! A `ring` keeps to its keys whatever is slow or new: it knows neither latency nor slow start.

mod key;

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use exchange::{Body, Exchange, Random};
use http::Request;
use policy::breaker::{self, Force, State};
use policy::{Tick, pick};
use smallvec::SmallVec;

pub use self::key::HashOn;
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
    /// By the hash of the request; those without one as by `P2c`.
    Ring,
}

/// Of a share that grows, the least.
const LEAST_SHARE: f64 = 0.1;

/// By what an endpoint of a set is picked.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Among those that may be.
    pub balance: Balance,
    /// The share of endpoints, 0..=1, that may be left out.
    pub max_ejected: f64,
    /// Active checks have a say; so often.
    pub checked: Option<Duration>,
    /// What a ring hashes on.
    pub hash_on: Option<HashOn>,
    /// The time over which the share of an endpoint grows that comes back.
    pub slow_start: Option<Duration>,
    /// Of each endpoint, lowest first; empty when all are alike.
    pub priorities: Vec<u32>,
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

impl Rules {
    /// The priority in use, if there is one, and whether there are so many out that all of it is used.
    pub fn level(&self, standings: &[Standing]) -> (Option<u32>, bool) {
        if self.priorities.is_empty() {
            return (None, in_panic(standings, self.max_ejected));
        }
        let serving = |one: &Standing| (*one != Standing::Shut).then_some(*one == Standing::Serving);
        let serving: SmallVec<[_; 16]> = standings.iter().map(serving).collect();
        let level = pick::level(&self.priorities, &serving, self.max_ejected);
        let own = |one: &(&u32, &Standing)| level.is_none_or(|level| *one.0 == level);
        let members = self.priorities.iter().zip(standings).filter(own);
        let members: SmallVec<[_; 16]> = members.map(|(_, standing)| *standing).collect();
        (level, in_panic(&members, self.max_ejected))
    }
}

/// Whether so many are out that requests go to all; never for one endpoint.
fn in_panic(standings: &[Standing], max_ejected: f64) -> bool {
    let count = |standing| standings.iter().filter(|one| **one == standing).count();
    let (shut, serving) = (count(Standing::Shut), count(Standing::Serving));
    let open = standings.len() - shut;
    standings.len() > 1 && (open - serving) as f64 > max_ejected * open as f64
}

/// What a pick is made for.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub exchange: &'a Exchange,
    /// What a ring goes by.
    pub key: Option<u64>,
    pub now: Tick,
    /// Another try of the same request is under way.
    pub rival: bool,
}

impl Asked<'_> {
    /// A second try goes where all is well and the first did not go.
    fn may_take(&self, endpoint: &Endpoint, standing: Standing) -> bool {
        let taken = || self.exchange.race().is_some_and(|race| race.has_taken(&endpoint.state.label));
        !self.rival || standing == Standing::Serving && !taken()
    }
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
    /// Hashes of the endpoints' names.
    tags: Box<[u64]>,
    cursor: AtomicUsize,
}

impl Set {
    /// Picked by `rules`.
    pub fn new(endpoints: Vec<Endpoint>, rules: Rules) -> Self {
        let tags = endpoints.iter().map(|endpoint| pick::hash(endpoint.state.label.as_bytes())).collect();
        Self { endpoints: endpoints.into(), rules, tags, cursor: AtomicUsize::new(0) }
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
            || self.rules.level(&standings).1 && standings.iter().any(|one| *one != Standing::Shut)
    }

    /// What picks by, of a request: only a ring looks at it.
    pub(crate) fn key(&self, request: &Request<Body>) -> Option<u64> {
        self.rules.hash_on.as_ref()?.of(request)
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
        asked: Asked<'_>,
        breaker: Option<&breaker::Params>,
        refused: &[usize],
        random: &Random,
    ) -> Option<Pick> {
        let Asked { exchange, key, now, rival } = asked;
        if let [only] = &*self.endpoints {
            let fits = refused.is_empty() && !self.is_ill(only);
            let may = || asked.may_take(only, Standing::of(&only.state, breaker.is_some(), now));
            return (fits && (!rival || may())).then_some(Pick { index: 0, panic: false });
        }
        let standings = self.standings(breaker, now);
        let (level, panic) = self.rules.level(&standings);
        let own = |index: usize| level.is_none_or(|level| self.rules.priorities[index] == level);
        let fresh = |index: usize| !refused.contains(&index);
        let untried = |index: usize| !exchange.has_tried(&self.endpoints[index].state.label);
        let due = |index: usize| fresh(index) && standings[index] == Standing::Due;
        let fits = |index: usize| {
            fresh(index)
                && match standings[index] {
                    Standing::Serving => true,
                    Standing::Due | Standing::Out | Standing::Ill => panic && own(index),
                    Standing::Shut => false,
                }
        };
        let draw = |eligible: &dyn Fn(usize) -> bool| self.draw(eligible, key, now, random);
        if rival {
            let may = |index: usize| fresh(index) && asked.may_take(&self.endpoints[index], standings[index]);
            let index = draw(&|index| may(index) && own(index)).or_else(|| draw(&may))?;
            return Some(Pick { index, panic: false });
        }
        let probe = || {
            let wanted = !panic && standings.contains(&Standing::Due) && exchange.head.method.is_idempotent();
            // On a ring the probe is a request whose key leads there.
            let theirs = |index: usize| due(index) || key.is_some() && fits(index);
            let due = || draw(&theirs).filter(|index| due(*index));
            if wanted && exchange.is_untried() { due() } else { None }
        };
        let here = |index: usize| fits(index) && own(index);
        let index = probe()
            .or_else(|| draw(&|index| here(index) && untried(index)))
            .or_else(|| draw(&|index| fits(index) && untried(index)))
            .or_else(|| draw(&here))
            .or_else(|| draw(&fits))
            .or_else(|| draw(&due))
            .or_else(|| draw(&|index| fresh(index) && standings[index] != Standing::Ill))?;
        Some(Pick { index, panic: panic && standings[index] != Standing::Shut })
    }

    fn standings(&self, breaker: Option<&breaker::Params>, now: Tick) -> SmallVec<[Standing; 16]> {
        let standing = |endpoint: &Endpoint| Standing::of(&endpoint.state, breaker.is_some(), now);
        self.endpoints.iter().map(standing).collect()
    }

    fn draw(&self, eligible: impl Fn(usize) -> bool, key: Option<u64>, now: Tick, random: &Random) -> Option<usize> {
        let count = self.endpoints.len();
        let share = |index: usize| self.share(index, now);
        match self.rules.balance {
            Balance::RoundRobin | Balance::Random => {
                // Who has less than a whole share sits out its part of the draws.
                let sits = |index: usize| random.with(|rng| rng.f64()) >= share(index);
                let warm = |index: usize| eligible(index) && (self.rules.slow_start.is_none() || !sits(index));
                self.blind(count, &warm, random).or_else(|| self.blind(count, &eligible, random))
            }
            Balance::Least => {
                let taken = |index: usize| f64::from(self.endpoints[index].state.inflight.get());
                let score = |index: usize| match self.rules.slow_start {
                    // Fractions matter here, and scores are whole.
                    Some(_) => ((taken(index) + 1.0) / share(index) * 1024.0) as u64,
                    None => taken(index) as u64,
                };
                random.with(|rng| pick::least(count, rng, eligible, score))
            }
            Balance::Ring if key.is_some() => pick::ring(&self.tags, key?, eligible),
            Balance::P2c | Balance::Ring => {
                let score = |index: usize| match self.rules.slow_start {
                    Some(_) => (self.endpoints[index].score(now) as f64 / share(index)) as u64,
                    None => self.endpoints[index].score(now),
                };
                random.with(|rng| pick::p2c(count, rng, eligible, score))
            }
        }
    }

    fn blind(&self, count: usize, eligible: &impl Fn(usize) -> bool, random: &Random) -> Option<usize> {
        match self.rules.balance {
            Balance::RoundRobin => pick::round_robin(count, &self.cursor, eligible),
            _ => random.with(|rng| pick::random(count, rng, eligible)),
        }
    }

    /// How much of its share an endpoint takes while it warms up.
    fn share(&self, index: usize, now: Tick) -> f64 {
        match self.rules.slow_start {
            Some(window) => {
                let age = self.endpoints[index].state.age(now);
                (age.as_secs_f64() / window.as_secs_f64()).clamp(LEAST_SHARE, 1.0)
            }
            None => 1.0,
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
