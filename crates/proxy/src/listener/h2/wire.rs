//! The connection as h2 reads and writes it, and what its streams have in common.
//!
//! h2 queues what is not DATA without a limit. What must not grow with a client that does not read is counted here until
//! h2 has written out all it had taken into its buffer.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::task::{Context, Poll, ready};

use exchange::Io;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ear::Ear;

/// Bytes of interim heads that wait for a client that does not read; more are dropped.
const MAX_INTERIMS: usize = 32 * 1024;

/// Condemned streams that nobody took up: no client that means well has one.
const MAX_CONDEMNED: usize = 256;

/// What one connection's streams owe together.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    interims: AtomicUsize,
    /// There is something in `condemned`: most connections never have it, and lock nothing.
    condemns: AtomicBool,
    condemned: Mutex<Vec<u32>>,
}

impl Ledger {
    /// Whether an interim head of so many bytes may be queued; one that may is counted.
    pub(super) fn admits(&self, bytes: usize) -> bool {
        let waiting = self.interims.load(Relaxed) + bytes;
        let fits = waiting <= MAX_INTERIMS;
        if fits {
            self.interims.store(waiting, Relaxed);
        }
        fits
    }

    /// A stream is malformed in a way that h2 does not see.
    ///
    /// # Errors
    /// There are too many.
    pub(super) fn condemn(&self, stream: u32) -> io::Result<()> {
        let mut condemned = self.condemned.lock();
        if condemned.len() == MAX_CONDEMNED {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "too many malformed streams"));
        }
        condemned.push(stream);
        self.condemns.store(true, Relaxed);
        Ok(())
    }

    /// Whether it is; said once each time.
    pub(super) fn is_condemned(&self, stream: u32) -> bool {
        if !self.condemns.load(Relaxed) {
            return false;
        }
        let mut condemned = self.condemned.lock();
        let at = condemned.iter().position(|condemned| *condemned == stream);
        at.map(|at| condemned.swap_remove(at)).is_some()
    }

    /// The client took what was written.
    fn flushed(&self) {
        if self.interims.load(Relaxed) > 0 {
            self.interims.store(0, Relaxed);
        }
    }
}

/// See the module.
pub(super) struct Wire {
    io: Io,
    ear: Ear,
    ledger: Arc<Ledger>,
}

impl Wire {
    /// Of which the preface is still to be read.
    pub(super) fn new(io: Io, ear: Ear, ledger: Arc<Ledger>) -> Self {
        Self { io, ear, ledger }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { io, ear, ledger } = &mut *self;
        let before = buf.filled().len();
        ready!(Pin::new(io).poll_read(cx, buf))?;
        Poll::Ready(ear.hear(&buf.filled()[before..], ledger))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.ledger.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn interim_heads_fit_up_to_the_limit_until_all_is_written() {
        let ledger = Arc::<Ledger>::default();
        let (ours, _theirs) = duplex(64);
        let mut wire = Wire::new(Io::other(ours), Ear::new(0), Arc::clone(&ledger));

        assert!(ledger.admits(MAX_INTERIMS - 1) && !ledger.admits(2) && ledger.admits(1) && !ledger.admits(1));
        wire.write_all(b"some").await.expect("written");
        assert!(!ledger.admits(1));
        wire.flush().await.expect("flushed");

        assert!(ledger.admits(MAX_INTERIMS));
    }
}
