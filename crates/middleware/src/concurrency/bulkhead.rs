//! Places, and the line of those who wait for one.
//!
//! Who leaves hands the place to the first in line without freeing it in between, so nobody who comes later can take
//! it. The limit comes with each request: lowered by a reload, it is reached as places become free. One lock covers the
//! line and each step between it and the count, so no wake-up is lost.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use policy::inflight::Inflight;
use tokio::sync::oneshot;

/// See the module.
#[derive(Debug, Default)]
pub struct Bulkhead {
    inflight: Inflight,
    line: Mutex<VecDeque<Waiter>>,
}

#[derive(Debug)]
struct Waiter {
    limit: u32,
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

    /// Takes one of `limit` places, or one of `queue` in line.
    pub(super) fn enter(self: &Arc<Self>, limit: u32, queue: usize) -> Entry {
        let mut line = self.line.lock();
        if line.is_empty() && self.inflight.acquire(limit) {
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
        Entry::Later(Turn { _bulkhead: Arc::clone(self), mine })
    }

    fn leave(self: &Arc<Self>) {
        let mut line = self.line.lock();
        while line.front().is_some_and(|next| self.inflight.get() <= next.limit)
            && let Some(next) = line.pop_front()
        {
            match next.hand.send(Place(Some(Arc::clone(self)))) {
                Ok(()) => return,
                Err(mut unwanted) => unwanted.0 = None,
            }
        }
        self.inflight.release();
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
    /// Who waits keeps it, whatever a reload does.
    _bulkhead: Arc<Bulkhead>,
    mine: oneshot::Receiver<Place>,
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
