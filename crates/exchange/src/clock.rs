//! The two clocks of the process: monotonic (`now`) and wall (`wall`).
//!
//! Both go through tokio's clock, so that paused tests and simulations control them. The wall clock is
//! the monotonic one plus an offset taken once; a step of the system's clock shows after a restart.
//!
//! Every thread keeps the process's epoch at hand, which is no dearer than to look it up. A simulation, which is one
//! thread, gives its own one instead: where a second begins decides which calls a breaker counts together.

use std::cell::Cell;
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
    let Epoch { start: epoch, .. } = epoch();
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
        epoch().start + at.since(origin)
    } else {
        epoch().start.checked_sub(origin.since(at)).unwrap_or(epoch().start)
    }
}

/// Wall-clock time of a tick, since the Unix epoch.
pub fn wall(at: Tick) -> Duration {
    let origin = Tick::ZERO + ORIGIN;
    let wall = epoch().wall;
    if at >= origin { wall + at.since(origin) } else { wall.saturating_sub(origin.since(at)) }
}

/// The system's own calendar, since the Unix epoch: for what others judge by theirs, as certificates. A machine that
/// slept, or whose time was set, shows in it; [`wall`] knows nothing of either.
#[expect(clippy::disallowed_methods, reason = "a clock of ours stands still while the machine sleeps")]
pub fn calendar() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Ticks of this thread begin now, as if the process had just started at `wall`; for simulations.
pub fn begin(wall: Duration) {
    EPOCH.set(Some(Epoch { start: Instant::now(), wall }));
}

/// The moment of the first tick, on both clocks.
#[derive(Clone, Copy)]
struct Epoch {
    start: Instant,
    wall: Duration,
}

thread_local! {
    static EPOCH: Cell<Option<Epoch>> = const { Cell::new(None) };
}

fn nanos(of: Duration) -> u64 {
    u64::try_from(of.as_nanos()).unwrap_or(u64::MAX)
}

#[inline]
fn epoch() -> Epoch {
    EPOCH.get().unwrap_or_else(first)
}

/// The process's, which this thread asks for once.
#[cold]
#[expect(clippy::disallowed_methods, reason = "where the offset is taken")]
fn first() -> Epoch {
    static PROCESS: OnceLock<Epoch> = OnceLock::new();
    let epoch = *PROCESS.get_or_init(|| {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Epoch { start: Instant::now(), wall }
    });
    EPOCH.set(Some(epoch));
    epoch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_simulation_begins_at_the_same_tick_whenever_it_runs() {
        for _ in 0..2 {
            begin(Duration::from_secs(1_700_000_000));
            let first = now();
            tokio::time::sleep(Duration::from_millis(1500)).await;

            assert_eq!((first, now().since(first)), (Tick::ZERO + ORIGIN, Duration::from_millis(1500)));
            assert_eq!(wall(now()), Duration::from_millis(1_700_000_001_500));
            assert_eq!(tick(instant(now())), now());
        }
    }
}
