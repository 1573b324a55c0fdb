//! The two clocks of the process: monotonic (`now`) and wall (`wall`).
//!
//! Both go through tokio's clock, so that paused tests and simulations control them. The wall clock is
//! the monotonic one plus an offset taken once; a step of the system's clock shows after a restart.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use policy::Tick;
use tokio::time::Instant;

/// Ticks start here rather than at zero, so that "an hour ago" is always a valid tick.
const ORIGIN: Duration = Duration::from_secs(24 * 3600);

/// The current tick.
pub fn now() -> Tick {
    tick(Instant::now())
}

/// The tick of a tokio instant.
pub fn tick(at: Instant) -> Tick {
    let epoch = epoch().0;
    let origin = Tick::ZERO + ORIGIN;
    match at.checked_duration_since(epoch) {
        Some(after) => origin + after,
        None => Tick::from_nanos(origin.as_nanos().saturating_sub(nanos(epoch.duration_since(at)))),
    }
}

/// The tokio instant of a tick, for timers.
pub fn instant(at: Tick) -> Instant {
    let origin = Tick::ZERO + ORIGIN;
    if at >= origin {
        epoch().0 + at.since(origin)
    } else {
        epoch().0.checked_sub(origin.since(at)).unwrap_or(epoch().0)
    }
}

/// Wall-clock time of a tick, since the Unix epoch.
pub fn wall(at: Tick) -> Duration {
    let origin = Tick::ZERO + ORIGIN;
    if at >= origin { epoch().1 + at.since(origin) } else { epoch().1.saturating_sub(origin.since(at)) }
}

fn nanos(of: Duration) -> u64 {
    u64::try_from(of.as_nanos()).unwrap_or(u64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
fn epoch() -> &'static (Instant, Duration) {
    static EPOCH: OnceLock<(Instant, Duration)> = OnceLock::new();
    EPOCH.get_or_init(|| {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (Instant::now(), wall)
    })
}
