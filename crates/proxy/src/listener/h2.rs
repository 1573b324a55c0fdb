//! A client's HTTP/2 connection (RFC 9113), on h2 itself.
//!
//! hyper's server stands on the same crate, but hides what a proxy owes: it has no interim responses, ends a stream that
//! was taken over with END_STREAM whatever happened to its other side, and does not say how much of an answer was taken.
//!
//! A request is a task of its own: `stream` sees to it, `reply` is what its exchange knows of it, `body` what it
//! reads, `send` what writes the answer, `tunnel` what it becomes after a CONNECT. The connection's own task only
//! accepts and drives what h2 has to do; it is large, so it lives in a box beside the task. `wire` is what h2 reads and
//! writes, and `ear` listens there for what h2 lets pass.

mod body;
mod ear;
mod fields;
mod reply;
mod send;
mod stream;
mod tunnel;
mod wire;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use exchange::{Body, Io};
use h2::server::{Builder, Connection, Handshake, SendResponse};
use h2::{Reason, RecvStream};
use http::{Method, Request};
use tokio::sync::oneshot;

use self::ear::Ear;
use self::reply::Reply;
use self::stream::Stream;
use self::tunnel::Handover;
use self::wire::{Ledger, Wire};
use super::pulse::Pulse;
use super::takeover::Takeover;
use crate::edge::Edge;

/// RFC 9113 section 5.1.2, which wants no fewer: each may hold 40 KiB before its first byte, and a connection 5 MiB.
const STREAMS: u32 = 100;
/// RFC 9113 section 6.9.2: ours.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 3 * 1024 * 1024;
/// A frame that is written and one that waits; whatever is beyond them waits in the upstream's socket. With one alone a large
/// body costs a tenth more.
const SEND_BUFFER: usize = 32 * 1024;
/// Streams reset by the peer before we took them, and by us for its errors.
const RESETS: usize = 32;

/// An extension of a request: its `:path` had a fragment, which is no longer there.
#[derive(Clone, Copy, Debug)]
pub struct Fragment;

/// One connection.
pub(super) struct Served {
    state: State,
    edge: Edge,
    pulse: Arc<Pulse>,
    ledger: Arc<Ledger>,
    finishing: bool,
}

enum State {
    Opening(Handshake<Wire, Bytes>),
    Open(Connection<Wire, Bytes>),
}

impl Served {
    /// A connection whose preface is still to be read.
    pub(super) fn new(io: Io, edge: Edge, pulse: Arc<Pulse>, max_header_bytes: usize) -> Self {
        let ledger = Arc::<Ledger>::default();
        let mut builder = Builder::new();
        builder
            .max_concurrent_streams(STREAMS)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER)
            .max_header_list_size(u32::try_from(max_header_bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(RESETS)
            .max_local_error_reset_streams(Some(RESETS))
            .enable_connect_protocol();
        let opening = builder.handshake(Wire::new(io, Ear::new(max_header_bytes), Arc::clone(&ledger)));
        Self { state: State::Opening(opening), edge, pulse, ledger, finishing: false }
    }

    /// Drives it to its end.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        loop {
            match &mut self.state {
                State::Opening(opening) => {
                    let mut connection = ready!(Pin::new(opening).poll(cx))?;
                    if self.finishing {
                        connection.graceful_shutdown();
                    }
                    self.state = State::Open(connection);
                }
                State::Open(connection) => match ready!(connection.poll_accept(cx)) {
                    Some(accepted) => {
                        let (request, reply) = accepted?;
                        self.begin(request, reply);
                    }
                    None => return Poll::Ready(Ok(())),
                },
            }
        }
    }

    /// Ends it after what runs (RFC 9113 section 6.8).
    pub(super) fn finish(&mut self) {
        self.finishing = true;
        if let State::Open(connection) = &mut self.state {
            connection.graceful_shutdown();
        }
    }

    /// One request.
    fn begin(&self, request: Request<RecvStream>, reply: SendResponse<Bytes>) {
        let (mut parts, incoming) = request.into_parts();
        if self.ledger.is_condemned(reply.stream_id().as_u32()) {
            parts.extensions.insert(Fragment);
        }
        let (mut takeover, mut handover) = (None, None);
        let body = if parts.method == Method::CONNECT {
            let (give, given) = oneshot::channel();
            // RFC 9113 section 8.5, and RFC 8441 section 5 for a WebSocket.
            let extended = parts.extensions.get::<h2::ext::Protocol>().is_some();
            let cut = if extended { Reason::CANCEL } else { Reason::CONNECT_ERROR };
            handover = Some(Handover::new(incoming, cut, give));
            takeover = Some(Takeover::Http2(given));
            Body::empty()
        } else {
            body::of(incoming, &parts.headers, &self.ledger)
        };
        let reply = Arc::new(Reply::new(reply, Arc::clone(&self.pulse), Arc::clone(&self.ledger)));
        let (passage, patience) = self.edge.pass(parts, body, takeover, Arc::clone(&reply) as _);
        tokio::spawn(Stream::new(reply, passage, handover, patience));
    }
}
