//! Serves HTTP on one connection, whatever it came through.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use exchange::{Authority, Client, Io};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use telemetry::metrics::{Proto, Rejection, Side};
use tokio::io::AsyncReadExt;
use tokio::time::Sleep;

use super::drain::{Drain, Mode};
use super::farewell::say;
use super::h2::Served;
use super::io::Timed;
use super::pulse::{Order, Phase, Pulse};
use super::sniff::{self, Spoken};
use crate::edge::Edge;
use crate::worker::{Limits, Worker};

/// hyper's own limit; setting any, the same included, moves its parser's scratch space to the heap for every head.
const HYPER_HEADERS: usize = 100;
/// For each direction of an HTTP/1 connection, unless a head may be larger. hyper's own 400 KiB make a stalled stream cost
/// a MiB.
const BUFFER: usize = 128 * 1024;
/// A draining HTTP/1 connection between two requests stays this long: what the client has just sent is served, with
/// `Connection: close`, where closing at once would answer it with a reset. HTTP/2 has GOAWAY for that.
pub(crate) const QUIET: Duration = Duration::from_millis(100);
/// For the last words to a client that is cut off.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// For a client to stop an upload whose answer it has: in all, and without a byte.
const LINGER: Duration = Duration::from_secs(30);
const LINGER_SILENCE: Duration = Duration::from_secs(5);
const LINGER_BUFFER: usize = 16 * 1024;

/// How a connection came to be.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Who is at the other end.
    pub client: Client,
    /// Inside a CONNECT to this authority.
    pub tunnel: Option<Authority>,
    /// The client speaks TLS to us.
    pub tls: bool,
}

/// Plain HTTP inside a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    /// HTTP/1.x.
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
}

/// Serves a connection from its first byte to its end.
pub fn serve(io: Io, entry: Entry, worker: Arc<Worker>) -> impl Future<Output = ()> + Send {
    serve_agreed(io, None, entry, worker)
}

/// The same where it may have been agreed before what is spoken (RFC 7301): anything else is refused.
pub(crate) async fn serve_agreed(io: Io, agreed: Option<Spoken>, entry: Entry, worker: Arc<Worker>) {
    let limits = worker.limits();
    let mut drain = worker.drain();
    let sniffed = tokio::select! {
        biased;
        sniffed = tokio::time::timeout(limits.first_byte, sniff::sniff(io)) => sniffed,
        // Nothing was asked yet, so nothing is in flight.
        () = async { drain.reached(Mode::Draining).await; tokio::time::sleep(QUIET).await } => return,
    };
    let sniffed = match sniffed {
        Err(_) => return worker.stats().connection_rejected(Rejection::SniffTimeout),
        Ok(Err(_) | Ok(None)) => return,
        Ok(Ok(Some(sniffed))) => sniffed,
    };
    match sniffed {
        (spoken, io) if agreed.is_some_and(|agreed| agreed != spoken) => {
            refuse(io, &worker, Rejection::BadRequest, NOT_HTTP).await;
        }
        (Spoken::Http1, io) => http1(io, entry, worker).await,
        // Boxed: all connections would be as large as it is.
        (Spoken::Http2, io) => Box::pin(http2(io, entry, worker)).await,
        (Spoken::BadHttp2, io) => refuse(io, &worker, Rejection::BadRequest, BAD_PREFACE).await,
        (Spoken::Tls, io) => refuse(io, &worker, Rejection::Tls, TLS_HERE).await,
        (Spoken::Unknown, io) => refuse(io, &worker, Rejection::BadRequest, NOT_HTTP).await,
    }
}

/// Serves plain HTTP inside a tunnel, once its first bytes told which.
pub async fn serve_inside(spoken: Inside, io: Io, entry: Entry, worker: Arc<Worker>) {
    match spoken {
        Inside::Http1 => http1(io, entry, worker).await,
        Inside::Http2 => Box::pin(http2(io, entry, worker)).await,
    }
}

/// Tells a TLS client inside a tunnel that nobody has this name here.
pub async fn refuse_name(io: Io) {
    say(io, NO_SUCH_NAME).await;
}

/// Ends a connection on which everything was said.
pub(crate) async fn leave(io: Io) {
    say(io, b"").await;
}

async fn http1(io: Io, entry: Entry, worker: Arc<Worker>) {
    let open = worker.stats().connection(Side::Client, Proto::H1);
    let limits = worker.limits();
    let pulse = worker.pulses().start();
    let edge = Edge::new(Arc::clone(&worker), entry, Arc::clone(&pulse));
    let mut connection =
        speaker(&limits).serve_connection(TokioIo::new(Timed::new(io, Arc::clone(&pulse))), edge).with_upgrades();
    // What is rare is boxed: the future of every connection has room for the largest of its parts, idle ones too.
    match watched(&mut connection, &pulse).await {
        Watched::Ended(Ok(())) if pulse.is_unread() => {
            if let Some(io) = bare(connection) {
                Box::pin(linger(io, worker.drain())).await;
            }
        }
        Watched::Ended(Ok(())) => {}
        Watched::Ended(Err(error)) => {
            note(&worker, &error);
            if pulse.is_open_ended()
                && let Some(mut io) = bare(connection)
            {
                // RFC 9112 section 8: closed in order, what was cut would look whole.
                io.reset_on_close();
            }
        }
        Watched::Overstayed if pulse.phase() == Phase::Head => {
            worker.stats().connection_rejected(Rejection::ClientTimeout);
            if let Some(io) = bare(connection) {
                Box::pin(say(io, TOO_SLOW)).await;
            }
        }
        Watched::Overstayed | Watched::Stopped => {}
    }
    drop(open);
}

/// How HTTP/1 is spoken with clients.
fn speaker(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.header_read_timeout(None).max_header_size(limits.max_header_bytes);
    builder.max_buf_size(BUFFER.max(limits.max_header_bytes));
    // hyper does not look then whether a client that waits has left: `Timed` does, without a buffer of its own each time.
    builder.half_close(true);
    if limits.max_headers != HYPER_HEADERS {
        builder.max_headers(limits.max_headers);
    }
    builder
}

/// What the connection ran on, unless it was given to an upgrade.
fn bare(connection: http1::UpgradeableConnection<TokioIo<Timed>, Edge>) -> Option<Io> {
    connection.into_parts().map(|parts| parts.io.into_inner().into_inner())
}

async fn http2(io: Io, entry: Entry, worker: Arc<Worker>) {
    let open = worker.stats().connection(Side::Client, Proto::H2);
    let pulse = worker.pulses().start();
    let edge = Edge::new(Arc::clone(&worker), entry, Arc::clone(&pulse));
    // Bytes say nothing of a request here: a PING must not begin a head that never ends.
    let mut connection = Served::new(io, edge, Arc::clone(&pulse), worker.limits().max_header_bytes);
    match watched(&mut connection, &pulse).await {
        Watched::Ended(ended) => ended.unwrap_or_else(|error| note_frames(&worker, &error)),
        Watched::Overstayed => dismiss(&mut connection, &pulse).await,
        Watched::Stopped => {}
    }
    drop(open);
}

/// Ends an idle HTTP/2 connection: a request that crosses the GOAWAY is served, or known not to have been (RFC 9113
/// section 6.8).
async fn dismiss<C: Graceful>(connection: &mut C, pulse: &Pulse) {
    connection.finish();
    loop {
        let ended = tokio::time::timeout(LAST_WORDS, poll_fn(|cx| connection.poll_end(cx))).await;
        if ended.is_ok() || pulse.phase() != Phase::Busy {
            return;
        }
    }
}

/// How a connection came to its end.
enum Watched<E> {
    /// By itself.
    Ended(Result<(), E>),
    /// It took too long.
    Overstayed,
    /// The process stops.
    Stopped,
}

/// Drives a connection until it ends or is told to.
async fn watched<C: Graceful>(connection: &mut C, pulse: &Pulse) -> Watched<C::Error> {
    let mut known = Order::None;
    let mut quiet: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        pulse.listen(cx);
        loop {
            if let Poll::Ready(ended) = connection.poll_end(cx) {
                return Poll::Ready(Watched::Ended(ended));
            }
            if let Some(timer) = &mut quiet
                && (pulse.phase() == Phase::Busy || timer.as_mut().poll(cx).is_ready())
            {
                connection.finish();
                quiet = None;
                continue;
            }
            match pulse.poll_order(known) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Order::Overstayed) if pulse.phase() == Phase::Busy && !pulse.is_stalled() => {
                    pulse.forgive(known);
                }
                Poll::Ready(Order::Overstayed) => return Poll::Ready(Watched::Overstayed),
                Poll::Ready(Order::Stop) => return Poll::Ready(Watched::Stopped),
                Poll::Ready(order) => {
                    quiet = Some(Box::pin(tokio::time::sleep(C::QUIET)));
                    known = order;
                }
            }
        }
    })
    .await
}

/// A server connection, of either version.
trait Graceful {
    type Error;

    /// Between the order to drain and the end of a connection on which nothing runs.
    const QUIET: Duration;

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>>;

    /// Ends after what runs.
    fn finish(&mut self);
}

impl Graceful for http1::UpgradeableConnection<TokioIo<Timed>, Edge> {
    type Error = hyper::Error;

    const QUIET: Duration = QUIET;

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        Pin::new(self).poll(cx)
    }

    fn finish(&mut self) {
        Pin::new(self).graceful_shutdown();
    }
}

impl Graceful for Served {
    type Error = h2::Error;

    const QUIET: Duration = Duration::ZERO;

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        self.poll_end(cx)
    }

    fn finish(&mut self) {
        self.finish();
    }
}

/// Reads on after the last answer, into nothing, until the client has it and closes (RFC 9112 section 9.6): a socket
/// that is closed with bytes unread is reset, and the answer to an upload nobody wanted would be lost with it.
async fn linger(mut io: Io, mut drain: Drain) {
    let discarded = async {
        let mut waste = vec![0; LINGER_BUFFER];
        while let Ok(Ok(1..)) = tokio::time::timeout(LINGER_SILENCE, io.read(&mut waste)).await {}
    };
    tokio::select! {
        // A client that is still there after that long never reads.
        _ = tokio::time::timeout(LINGER, discarded) => {}
        () = drain.reached(Mode::Draining) => {}
    }
}

/// hyper answered these itself, before a request existed: counted here.
fn note(worker: &Worker, error: &hyper::Error) {
    let reason = if error.is_parse_too_large() {
        Rejection::HeaderTooLarge
    } else if error.is_parse() {
        Rejection::BadRequest
    } else if error.is_timeout() {
        Rejection::ClientTimeout
    } else {
        return;
    };
    worker.stats().connection_rejected(reason);
    tracing::debug!(?reason, %error, "client connection");
}

/// h2 ended the connection for what came on it.
fn note_frames(worker: &Worker, error: &h2::Error) {
    if error.is_go_away() && error.is_library() {
        worker.stats().connection_rejected(Rejection::BadRequest);
        tracing::debug!(%error, "client connection");
    }
}

async fn refuse(io: Io, worker: &Worker, reason: Rejection, answer: &'static [u8]) {
    worker.stats().connection_rejected(reason);
    say(io, answer).await;
}

const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nproxy-status: attache; error=http_request_error\r\n\
connection: close\r\ncontent-length: 0\r\n\r\n";
const NOT_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nproxy-status: attache; error=http_request_error\r\n\
content-type: text/plain\r\nconnection: close\r\ncontent-length: 42\r\n\r\nThis is an HTTP proxy; that was not HTTP.\n";
/// A TLS alert (fatal, unrecognized_name would be a lie): handshake_failure.
const TLS_HERE: &[u8] = &[0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x28];
/// A TLS alert: unrecognized_name (RFC 6066 section 3).
const NO_SUCH_NAME: &[u8] = &[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x70];
/// SETTINGS, and GOAWAY with PROTOCOL_ERROR (RFC 9113 section 3.4).
const BAD_PREFACE: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
