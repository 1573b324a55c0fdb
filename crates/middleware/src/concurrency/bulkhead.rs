//! Places, and the line of those who wait for one.
//!
//! Who leaves hands the place to the first in line, and nobody who comes later can take it. The limit comes with each request: lowered by a reload, it is reached as places become free. One lock covers the
//! line and each step between it and the count, so no wake-up is lost.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use policy::Tick;
use policy::adaptive::{self, Adaptive, Sample};
use policy::inflight::Inflight;
use tokio::sync::oneshot;

/// Where an adaptive limit begins.
const INITIAL: u32 = 20;

/// See the module.
#[derive(Debug, Default)]
pub struct Bulkhead {
    inflight: Inflight,
    adaptive: Adaptive,
    line: Mutex<VecDeque<Waiter>>,
}

/// How many places a request knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) most: u32,
    pub(super) adaptive: bool,
}

impl Limit {
    fn params(self) -> adaptive::Params {
        adaptive::Params { initial: INITIAL, max: self.most }
    }
}

#[derive(Debug)]
struct Waiter {
    limit: Limit,
    hand: oneshot::Sender<Place>,
}

/// What became of an arrival.
pub(super) enum Entry {
    /// It has a place.
    Now(Place),
    /// It is in line.
    Later(Turn),
    /// No place, and no room in line.
    Full,
}

impl Bulkhead {
    /// How many have a place.
    pub fn inflight(&self) -> u32 {
        self.inflight.get()
    }

    /// How many wait for one.
    pub fn waiting(&self) -> usize {
        self.line.lock().iter().filter(|waiter| !waiter.hand.is_closed()).count()
    }

    /// How many places there are now, for who knows `limit`.
    pub(super) fn limit(&self, limit: Limit) -> u32 {
        if limit.adaptive { self.adaptive.limit(&limit.params()) } else { limit.most }
    }

    /// An answer said something about how many there should be.
    pub(super) fn learn(&self, sample: Sample, inflight: u32, limit: Limit, now: Tick) {
        self.adaptive.record(sample, inflight, &limit.params(), now);
    }

    /// Takes one of `limit` places, or one of `queue` in line.
    pub(super) fn enter(self: &Arc<Self>, limit: Limit, queue: usize) -> Entry {
        let mut line = self.line.lock();
        if line.is_empty() && self.inflight.acquire(self.limit(limit)) {
            return Entry::Now(Place(Some(Arc::clone(self))));
        }
        if line.len() >= queue {
            // Who left the line is still in it until somebody looks.
            line.retain(|waiter| !waiter.hand.is_closed());
        }
        if line.len() >= queue {
            return Entry::Full;
        }
        let (hand, mine) = oneshot::channel();
        line.push_back(Waiter { limit, hand });
        Entry::Later(Turn { bulkhead: Arc::clone(self), mine })
    }

    fn leave(self: &Arc<Self>) {
        let mut line = self.line.lock();
        self.inflight.release();
        // As many as there are places: a limit may have been raised since the first in line came.
        while line.front().is_some_and(|next| self.inflight.acquire(self.limit(next.limit)))
            && let Some(next) = line.pop_front()
        {
            if let Err(mut unwanted) = next.hand.send(Place(Some(Arc::clone(self)))) {
                unwanted.0 = None;
                self.inflight.release();
            }
        }
    }
}

/// A place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place(Option<Arc<Bulkhead>>);

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(bulkhead) = self.0.take() {
            bulkhead.leave();
        }
    }
}

/// A turn in line: ready with a place.
pub(super) struct Turn {
    bulkhead: Arc<Bulkhead>,
    mine: oneshot::Receiver<Place>,
}

impl Turn {
    pub(super) fn bulkhead(&self) -> &Arc<Bulkhead> {
        &self.bulkhead
    }
}

impl Future for Turn {
    type Output = Place;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Place> {
        match Pin::new(&mut self.mine).poll(cx) {
            Poll::Ready(Ok(place)) => Poll::Ready(place),
            // A waiter leaves the line only with a place or after its turn was dropped.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}
