//! A stream that carries bytes: after a CONNECT (RFC 9113 section 8.5), or as a WebSocket's connection (RFC 8441).
//!
//! What a connection's FIN and RST are is END_STREAM and RST_STREAM here, and each becomes the other at the bridge. Like a
//! socket that is closed, one that is dropped ends in order, unless it was told otherwise.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use exchange::Io;
use exchange::io::Carried;
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// The initial SETTINGS_MAX_FRAME_SIZE (RFC 9113 section 6.5.2).
const PIECE: usize = 16 * 1024;

/// What turns the stream of a CONNECT into a connection, once it was granted.
pub(super) struct Handover {
    incoming: RecvStream,
    cut: Reason,
    give: oneshot::Sender<Io>,
}

impl Handover {
    /// `cut`: what a reset of the other side is called.
    pub(super) fn new(incoming: RecvStream, cut: Reason, give: oneshot::Sender<Io>) -> Self {
        Self { incoming, cut, give }
    }

    /// The 2xx was sent.
    pub(super) fn give(self, out: SendStream<Bytes>) {
        let Self { incoming, cut, give } = self;
        // Whoever waited for it may be gone: then it ends.
        let _ = give.send(Io::carried(Tunnel { incoming, early: Bytes::new(), out, cut, end: End::Open }));
    }
}

/// See the module.
struct Tunnel {
    incoming: RecvStream,
    /// Of a piece that was read in part.
    early: Bytes,
    out: SendStream<Bytes>,
    cut: Reason,
    end: End,
}

/// How our side of it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    /// END_STREAM was sent.
    Sent,
    /// A reset comes.
    Cut,
}

impl Tunnel {
    /// Of the flow-control window, given back as it is read.
    fn read(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.early.len().min(buf.remaining());
        buf.put_slice(&self.early[..count]);
        self.early.advance(count);
        // It fails for a stream that has ended meanwhile.
        let _ = self.incoming.flow_control().release_capacity(count);
    }

    fn finish(&mut self) {
        if self.end == End::Open {
            self.end = End::Sent;
            // It fails for a stream that is gone.
            let _ = self.out.send_data(Bytes::new(), true);
        }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.early.is_empty() {
            match ready!(self.incoming.poll_data(cx)) {
                Some(Ok(data)) => self.early = data,
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        self.read(buf);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let wanted = data.len().min(PIECE);
        self.out.reserve_capacity(wanted);
        let mut room = self.out.capacity();
        while room == 0 {
            match ready!(self.out.poll_capacity(cx)) {
                Some(Ok(more)) => room = more,
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None if self.end == End::Sent => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                None => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            }
        }
        let count = wanted.min(room);
        match self.out.send_data(Bytes::copy_from_slice(&data[..count]), false) {
            Ok(()) => Poll::Ready(Ok(count)),
            Err(error) => Poll::Ready(Err(broken(error))),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}

impl Carried for Tunnel {
    fn reset_on_close(&mut self) {
        self.end = End::Cut;
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        match self.end {
            End::Cut => self.out.send_reset(self.cut),
            _ => self.finish(),
        }
    }
}

/// A stream that was reset is a connection that was.
fn broken(error: h2::Error) -> io::Error {
    match error.is_reset() {
        true => io::Error::new(io::ErrorKind::ConnectionReset, error),
        false if error.is_io() => error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionAborted.into()),
        false => io::Error::new(io::ErrorKind::ConnectionAborted, error),
    }
}
