//! Direct limiters in a bounded cache, whose numbers come with each request.
//!
//! A limiter has its quota built in. When a request brings another one, after a reload, it is replaced by one that
//! begins with what was left, at most the new burst: a reload is no way to get a full burst again.

use std::convert::Infallible;
use std::hash::RandomState;
use std::num::NonZeroU32;
use std::ops::Add;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use exchange::clock;
use governor::clock::{Clock, Reference};
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota as Gcra, RateLimiter};
use policy::Tick;
use quick_cache::sync::Cache;

/// Keys with a rate of their own, of one route.
const MAX_KEYS: usize = 4096;

/// So many in a time, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Between two requests, in the long run.
    pub interval: Duration,
    /// At once, after a pause.
    pub burst: u32,
}

impl Quota {
    /// In which a whole burst is renewed.
    pub fn window(&self) -> Duration {
        self.interval.saturating_mul(self.burst)
    }

    fn gcra(&self) -> Gcra {
        let interval = self.interval.max(Duration::from_nanos(1));
        #[expect(clippy::expect_used, reason = "the interval is not zero")]
        let quota = Gcra::with_period(interval).expect("an interval");
        quota.allow_burst(at_least_one(self.burst))
    }
}

/// The limiters of a route.
pub struct Meters {
    one: Meter,
    keyed: Cache<u64, Arc<Meter>>,
    hasher: RandomState,
}

impl Default for Meters {
    fn default() -> Self {
        Self { one: Meter::default(), keyed: Cache::new(MAX_KEYS), hasher: RandomState::new() }
    }
}

impl Meters {
    /// Makes keys; with a secret seed, so that nobody can choose two that collide.
    pub(super) const fn hasher(&self) -> &RandomState {
        &self.hasher
    }

    /// Counts one request; the error is how long until one more may come.
    pub(super) fn check(&self, key: Option<u64>, quota: Quota) -> Result<(), Duration> {
        let Some(key) = key else { return self.one.check(quota) };
        let new = || Ok::<_, Infallible>(Arc::default());
        let Ok(meter) = self.keyed.get_or_insert_with(&key, new);
        meter.check(quota)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.keyed.len()
    }
}

/// A limiter, absent until the first request says by which numbers.
#[derive(Default)]
struct Meter(ArcSwap<Option<Limiter>>);

type Governor = RateLimiter<NotKeyed, InMemoryState, Ticks, StateInformationMiddleware>;

struct Limiter {
    quota: Quota,
    governor: Governor,
}

impl Limiter {
    fn new(quota: Quota) -> Self {
        let governor = RateLimiter::direct_with_clock(quota.gcra(), Ticks).with_middleware();
        Self { quota, governor }
    }

    /// With other numbers, and no more left than there is here.
    fn adapted(&self, quota: Quota) -> Self {
        let new = Self::new(quota);
        let left = self.governor.check().map_or(0, |state| state.remaining_burst_capacity().saturating_add(1));
        if let Some(used) = NonZeroU32::new(quota.burst.saturating_sub(left)) {
            // Nothing was taken from it yet, and this is no more than its burst.
            let _ = new.governor.check_n(used);
        }
        new
    }
}

impl Meter {
    fn check(&self, quota: Quota) -> Result<(), Duration> {
        let current = self.limiter(quota);
        let Some(limiter) = &**current else { return Ok(()) };
        match limiter.governor.check() {
            Ok(_) => Ok(()),
            Err(not_until) => Err(not_until.wait_time_from(Ticks.now())),
        }
    }

    /// The limiter of these numbers. Of threads that replace one at the same time, one wins and all use its.
    fn limiter(&self, quota: Quota) -> Guard<Arc<Option<Limiter>>> {
        let current = self.0.load();
        let new = match &**current {
            Some(limiter) if limiter.quota == quota => return current,
            Some(limiter) => limiter.adapted(quota),
            None => Limiter::new(quota),
        };
        self.0.compare_and_swap(&current, Arc::new(Some(new)));
        self.0.load()
    }
}

fn at_least_one(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN)
}

/// governor's clock, over ours.
#[derive(Clone, Copy, Debug)]
struct Ticks;

impl Clock for Ticks {
    type Instant = At;

    fn now(&self) -> At {
        At(clock::now())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct At(Tick);

impl Reference for At {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.since(earlier.0).into()
    }

    fn saturating_sub(&self, duration: Nanos) -> Self {
        // governor's own words: what would underflow is left as it is.
        Self(self.0.as_nanos().checked_sub(duration.as_u64()).map_or(self.0, Tick::from_nanos))
    }
}

impl Add<Nanos> for At {
    type Output = Self;

    fn add(self, after: Nanos) -> Self {
        Self(self.0 + Duration::from(after))
    }
}
