//! Where a credential lies while requests run: the control thread puts it in, workers take copies without a lock.
//!
//! One that ends is not given out any more from a moment before its end. Where somebody fetches it, a request that finds
//! none waits a bounded time rather than fail: the issuer may be restarting. It does not wait where the issuer said no.
//!
//! A value that an upstream refused is asked for anew, once for all who were refused it and at most every `AGAIN`: a route
//! whose client simply may not do something is refused all day, and must not ask its issuer each time.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use exchange::clock;
use exchange::renew::Renewed;
use exchange::{Exchange, Renew};
use parking_lot::Mutex;
use policy::Tick;
use policy::inflight::Inflight;
use tokio::sync::Notify;
use tokio::time::timeout;

/// How long a request waits for a credential, within its deadline.
const WAIT: Duration = Duration::from_secs(10);
/// Requests that wait for one credential.
const MOST: u32 = 1024;
/// Between two refusals that lead to a new fetch.
const AGAIN: Duration = Duration::from_secs(3);

/// A shared place for a value that may be replaced, end or be lost.
pub struct Cell<T>(Arc<Inner<T>>);

struct Inner<T> {
    held: ArcSwapOption<Held<T>>,
    trouble: ArcSwapOption<Trouble>,
    /// Of the last value; they count up from 1.
    numbers: AtomicU64,
    /// Somebody fetches it, so that it is worth waiting for.
    fetched: bool,
    /// Rings for whoever fetches or reads it.
    bell: Arc<Notify>,
    asked: Mutex<Asked>,
    /// Something was put in, or went wrong.
    news: Notify,
    waiting: Inflight,
}

struct Held<T> {
    value: T,
    number: u64,
    until: Option<Tick>,
}

/// Why there is no value, or no newer one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// For people; nothing of the secret.
    pub detail: String,
    /// Whoever was asked said no: it is no use to wait.
    pub settled: bool,
}

/// When the last refusal led to a fetch, and whether that is under way.
#[derive(Default)]
struct Asked {
    at: Option<Tick>,
    pending: bool,
}

impl Asked {
    /// Whether there is something to wait for; `true` in the second place for who has to ring.
    fn refused(&mut self, now: Tick) -> (bool, bool) {
        if self.pending {
            return (true, false);
        }
        if self.at.is_some_and(|at| now.since(at) < AGAIN) {
            return (false, false);
        }
        *self = Self { at: Some(now), pending: true };
        (true, true)
    }
}

impl<T> Cell<T> {
    fn new(fetched: bool, bell: Arc<Notify>) -> Self {
        Self(Arc::new(Inner {
            held: ArcSwapOption::empty(),
            trouble: ArcSwapOption::empty(),
            numbers: AtomicU64::new(0),
            fetched,
            bell,
            asked: Mutex::default(),
            news: Notify::new(),
            waiting: Inflight::new(),
        }))
    }

    /// For what is fetched by a task of its own.
    pub fn fetched() -> Self {
        Self::new(true, Arc::default())
    }

    /// For what is read now and then by whoever listens to `bell`.
    pub fn watched(bell: &Arc<Notify>) -> Self {
        Self::new(false, Arc::clone(bell))
    }

    /// It is fetched, and may have to be waited for.
    pub fn is_fetched(&self) -> bool {
        self.0.fetched
    }

    /// Replaces the value, which is good until then; the same one is no newer. Whether it is another.
    pub fn put(&self, value: T, until: Option<Tick>) -> bool
    where
        T: PartialEq,
    {
        let same = self.0.held.load().as_ref().filter(|held| held.value == value).map(|held| held.number);
        let number = same.unwrap_or_else(|| self.0.numbers.fetch_add(1, Relaxed) + 1);
        self.0.trouble.store(None);
        self.0.held.store(Some(Arc::new(Held { value, number, until })));
        self.looked();
        same.is_none()
    }

    /// There was no newer value; the one that is there stays, up to its end.
    pub fn fail(&self, trouble: Trouble) {
        self.0.trouble.store(Some(Arc::new(trouble)));
        self.looked();
    }

    /// Somebody has looked for a newer value, whatever came of it.
    pub fn looked(&self) {
        self.0.asked.lock().pending = false;
        self.0.news.notify_waiters();
    }

    /// Takes the value away.
    pub fn clear(&self) {
        self.0.held.store(None);
    }

    /// When the value ends, if there is one that does.
    pub fn until(&self) -> Option<Tick> {
        self.0.held.load().as_ref().and_then(|held| held.until)
    }

    /// Until an upstream has refused the value and a newer one is wanted.
    pub async fn asked(&self) {
        self.0.bell.notified().await;
    }

    fn has_newer(&self, than: u64) -> bool {
        self.0.held.load().as_ref().is_some_and(|held| held.number > than)
    }
}

impl<T: Clone> Cell<T> {
    /// The value and its number; `now` is asked only where it may have ended.
    pub fn get(&self, now: impl FnOnce() -> Tick) -> Option<(T, u64)> {
        let held = self.0.held.load();
        let held = held.as_ref()?;
        let good = held.until.is_none_or(|until| now() < until);
        good.then(|| (held.value.clone(), held.number))
    }

    /// The same, or what keeps it from coming; waits where that may help. Cancel-safe.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn wait(&self) -> Result<(T, u64), String> {
        if !self.0.waiting.acquire(MOST) {
            return Err(format!("{MOST} requests wait for it already"));
        }
        let _place = Place(&self.0.waiting);
        let came = self.until_news(|| match self.get(clock::now) {
            Some(value) => Some(Ok(value)),
            None => self.0.trouble.load().as_ref().filter(|trouble| trouble.settled).map(|one| Err(one.detail.clone())),
        });
        timeout(WAIT, came).await.unwrap_or_else(|_| Err(self.why()))
    }

    async fn until_news<R>(&self, look: impl Fn() -> Option<R>) -> R {
        loop {
            let mut news = std::pin::pin!(self.0.news.notified());
            // Registered before the look, so that nothing is missed between the two.
            news.as_mut().enable();
            if let Some(found) = look() {
                return found;
            }
            news.await;
        }
    }

    fn why(&self) -> String {
        let trouble = self.0.trouble.load();
        trouble.as_ref().map_or_else(|| format!("it did not come within {WAIT:?}"), |trouble| trouble.detail.clone())
    }

    async fn newer(&self, than: u64) -> bool {
        if self.has_newer(than) {
            return true;
        }
        let (worth, ring) = self.0.asked.lock().refused(clock::now());
        if ring {
            self.0.bell.notify_one();
        }
        if !worth || !self.0.waiting.acquire(MOST) {
            return false;
        }
        let _place = Place(&self.0.waiting);
        let came = self.until_news(|| match self.has_newer(than) {
            true => Some(true),
            false => (!self.0.asked.lock().pending).then_some(false),
        });
        timeout(WAIT, came).await.unwrap_or(false)
    }
}

struct Place<'a>(&'a Inflight);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl<T: Clone + Send + Sync + 'static> Renew for Cell<T> {
    fn renewed<'a>(&'a self, exchange: &'a Exchange) -> Renewed<'a> {
        let carried = exchange.carried.get();
        Box::pin(async move {
            match carried {
                Some(number) => self.newer(number).await,
                None => false,
            }
        })
    }
}

impl<T> Clone for Cell<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Cell<T> {
    fn default() -> Self {
        Self::new(false, Arc::default())
    }
}

impl<T> fmt::Debug for Cell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.held.load().is_some() { "Secret(set)" } else { "Secret(missing)" })
    }
}

#[cfg(test)]
mod tests;
