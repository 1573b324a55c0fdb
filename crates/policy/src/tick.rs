//! A point on the process's monotonic clock, as plain data.
//!
//! Policies never read a clock: they are handed a `Tick`, so that every decision can be replayed in a
//! test. Whoever reads the clock reads it once per event and passes the value down.

use std::ops::Add;
use std::time::Duration;

/// Nanoseconds on a monotonic clock with an arbitrary origin. Good for 584 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(u64);

impl Tick {
    /// The origin of the clock.
    pub const ZERO: Self = Self(0);

    /// A tick this many nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to here; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Tick {
    type Output = Self;

    fn add(self, after: Duration) -> Self {
        let nanos = after.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(after.subsec_nanos()));
        Self(self.0.saturating_add(nanos))
    }
}
