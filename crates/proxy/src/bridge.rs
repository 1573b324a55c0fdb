//! Carries bytes both ways between an upgraded client and its upstream until both directions ended.
//!
//! Half-close passes through, and so does a reset: whoever reads until the end must not take a cut for one. A bridge
//! in which no byte moved for the idle time ends. What the exchange owes (leases, permits, the log line) rides along
//! in the body and is released at the end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use exchange::{Body, Exchange, Io};
use telemetry::metrics::{Direction, Tunnel};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::listener::drain::{Drain, Mode};

/// For each direction.
const BUFFER: usize = 64 * 1024;

/// One bridge.
pub struct Bridge {
    /// The client's side.
    pub client: Io,
    /// The upstream's side.
    pub upstream: Io,
    /// Counts the bytes of this exchange.
    pub exchange: Arc<Exchange>,
    /// Counts the bytes of all tunnels.
    pub open: Tunnel,
    /// Owes what is owed at the end.
    pub owed: Body,
    /// Without a byte in either direction.
    pub idle: Duration,
}

impl Bridge {
    /// Runs until both directions ended, one failed, it idled out, or the process stops.
    pub async fn run(self, mut drain: Drain) {
        let Self { mut client, upstream, exchange, open, owed, idle } = self;
        let mut upstream = Counted { io: upstream, exchange: Arc::clone(&exchange), open };
        tokio::select! {
            ended = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER) => {
                // TLS that ends without saying so is no reset: most servers do.
                if ended.is_err_and(|error| error.kind() != io::ErrorKind::UnexpectedEof) {
                    client.reset_on_close();
                    upstream.io.reset_on_close();
                }
            }
            () = idled(&exchange, idle) => tracing::debug!(id = exchange.head.id, "tunnel idle"),
            () = drain.reached(Mode::Stopping) => {}
        }
        drop(owed);
    }
}

/// Waits until no byte was counted for `idle`, give or take a quarter.
async fn idled(exchange: &Exchange, idle: Duration) {
    let step = (idle / 4).max(Duration::from_millis(10));
    let mut seen = (0, 0);
    let mut still = Duration::ZERO;
    while still < idle {
        tokio::time::sleep(step).await;
        let now = (exchange.bytes_in(), exchange.bytes_out());
        still = if now == seen { still + step } else { Duration::ZERO };
        seen = now;
    }
}

/// The upstream side, counting what it takes and gives.
struct Counted {
    io: Io,
    exchange: Arc<Exchange>,
    open: Tunnel,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        let count = buf.filled().len() - before;
        self.exchange.add_bytes_out(count);
        self.open.passed(Direction::Out, count as u64);
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, data);
        if let Poll::Ready(Ok(count)) = &polled {
            self.exchange.add_bytes_in(*count);
            self.open.passed(Direction::In, *count as u64);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
