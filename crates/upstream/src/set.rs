//! The endpoints of one upstream, and which of them is next.

use std::sync::atomic::AtomicUsize;

use exchange::{Exchange, Random};
use policy::{Tick, breaker, pick};

use crate::Endpoint;

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

/// A fixed set of endpoints; an empty one has none to pick.
pub struct Set {
    endpoints: Box<[Endpoint]>,
    balance: Balance,
    cursor: AtomicUsize,
}

impl Set {
    /// Balanced by `balance`.
    pub fn new(endpoints: Vec<Endpoint>, balance: Balance) -> Self {
        Self { endpoints: endpoints.into(), balance, cursor: AtomicUsize::new(0) }
    }

    /// All of them.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The next endpoint, in the order: untried and available, available, any not in `refused`.
    /// `None` when every endpoint refused.
    pub(crate) fn pick(
        &self,
        exchange: &Exchange,
        breaker: Option<&breaker::Params>,
        refused: &[usize],
        now: Tick,
        random: &Random,
    ) -> Option<usize> {
        if let [_] = &*self.endpoints {
            return refused.is_empty().then_some(0);
        }
        let open = |index: usize| !refused.contains(&index);
        let available = |index: usize| open(index) && self.endpoints[index].is_available(breaker, now);
        let untried = |index: usize| available(index) && !exchange.has_tried(&self.endpoints[index].state.label);
        self.draw(untried, now, random)
            .or_else(|| self.draw(available, now, random))
            .or_else(|| self.draw(open, now, random))
    }

    fn draw(&self, eligible: impl Fn(usize) -> bool, now: Tick, random: &Random) -> Option<usize> {
        let count = self.endpoints.len();
        match self.balance {
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
