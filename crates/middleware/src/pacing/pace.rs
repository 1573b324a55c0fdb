//! Until when a target takes nothing, and how many wait for it.

use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use exchange::Head;
use policy::Tick;
use policy::inflight::Inflight;
use quick_cache::sync::Cache;

/// Targets remembered of a route; one that is forgotten is asked again too early.
const MAX_TARGETS: usize = 1024;
/// Requests that wait for one target.
const MAX_WAITING: u32 = 1024;

/// A target's announcement.
#[derive(Debug, Default)]
pub struct Pace {
    until: AtomicU64,
    waiting: Inflight,
}

impl Pace {
    /// Until when nothing may be sent; `None` for now.
    pub(super) fn held(&self, now: Tick) -> Option<Tick> {
        let until = Tick::from_nanos(self.until.load(Relaxed));
        (until > now).then_some(until)
    }

    /// The target takes nothing for so long. The longest announcement counts: an earlier answer may arrive later.
    pub(super) fn hold(&self, wait: Duration, now: Tick) {
        let until = now + wait;
        let before = Tick::from_nanos(self.until.fetch_max(until.as_nanos(), Relaxed));
        if before <= now && until > now {
            tracing::info!(wait_ms = wait.as_millis(), "an upstream announced that its limit is reached");
        }
    }

    #[cfg(test)]
    pub(super) fn waiting_now(&self) -> u32 {
        self.waiting.get()
    }

    /// A place among those who wait.
    pub(super) fn wait(self: &Arc<Self>) -> Option<Waiting> {
        self.waiting.acquire(MAX_WAITING).then(|| Waiting(Arc::clone(self)))
    }
}

pub(super) struct Waiting(Arc<Pace>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.release();
    }
}

/// The announcements of all targets of a route.
pub struct Paces {
    all: Cache<u64, Arc<Pace>>,
    hasher: RandomState,
}

impl Default for Paces {
    fn default() -> Self {
        Self { all: Cache::new(MAX_TARGETS), hasher: RandomState::new() }
    }
}

impl Paces {
    /// Of a target that the configuration names.
    pub fn named(&self, target: &str) -> Arc<Pace> {
        self.of(self.hasher.hash_one(target))
    }

    /// Of the host that a request asks for.
    pub(super) fn host(&self, head: &Head) -> Arc<Pace> {
        let port = head.authority.port_or(if head.tls { 443 } else { 80 });
        self.of(self.hasher.hash_one((head.authority.host(), port)))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    fn of(&self, key: u64) -> Arc<Pace> {
        let Ok(pace) = self.all.get_or_insert_with(&key, || Ok::<_, Infallible>(Arc::default()));
        pace
    }
}
