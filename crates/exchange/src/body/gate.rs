//! Bounds how much of a body its reader holds.
//!
//! hyper's HTTP/1 client takes from a body until its buffer is full, 128 KiB and more for each upload whose upstream does
//! not read, and for HTTP/2 every byte it takes lets the client send another. So each frame carries a count that falls when
//! the last of it is dropped, which hyper does once it is written. Cost: an allocation a frame, so only where a connection
//! has many uploads at once.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::task::AtomicWaker;

pub(super) struct Gate {
    limit: usize,
    out: AtomicUsize,
    waker: AtomicWaker,
}

impl Gate {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, out: AtomicUsize::new(0), waker: AtomicWaker::new() }
    }

    /// Ready as long as less than the limit is out: one frame may exceed it.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.out.load(Acquire) < self.limit {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        match self.out.load(Acquire) < self.limit {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// The same bytes, counted until they are dropped.
    pub(super) fn pass(self: &Arc<Self>, data: Bytes) -> Bytes {
        self.out.fetch_add(data.len(), AcqRel);
        Bytes::from_owner(Out { gate: Arc::clone(self), data })
    }
}

/// Bytes on their way.
struct Out {
    gate: Arc<Gate>,
    data: Bytes,
}

impl AsRef<[u8]> for Out {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        let before = self.gate.out.fetch_sub(self.data.len(), AcqRel);
        if before >= self.gate.limit {
            self.gate.waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn no_more_goes_out_than_the_limit_and_a_frame_until_some_is_dropped() {
        let gate = Arc::new(Gate::new(10));
        let first = gate.pass(Bytes::from_static(b"six by"));
        let mut second = gate.pass(Bytes::from_static(b"six by"));
        let begun = second.split_to(2);
        let mut room = std::pin::pin!(std::future::poll_fn(|cx| gate.poll(cx)));
        assert!(room.as_mut().now_or_never().is_none());

        drop(second);
        assert!(room.as_mut().now_or_never().is_none(), "the rest of it is held");
        let dropped = std::thread::spawn(move || drop((first, begun)));
        room.await;

        dropped.join().expect("dropped");
        assert_eq!(gate.out.load(Acquire), 0);
    }
}
