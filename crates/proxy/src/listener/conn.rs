//! Serves HTTP on one connection, whatever it came through.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use exchange::{Authority, Client, Io};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use telemetry::metrics::{Proto, Rejection, Side};
use tokio::io::AsyncWriteExt;

use super::drain::Mode;
use super::io::Timed;
use super::pulse::Phase;
use super::sniff::{self, Spoken};
use crate::edge::Edge;
use crate::worker::Worker;

/// RFC 9113 section 5.1.2, 6.9.2: ours.
const STREAMS: u32 = 256;
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
const SEND_BUFFER: usize = 128 * 1024;
/// Streams reset by the peer before we took them, and by us for its errors.
const RESETS: usize = 32;
/// For the last words to a client that is cut off.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How a connection came to be.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Who is at the other end.
    pub client: Client,
    /// Inside a CONNECT to this authority.
    pub tunnel: Option<Authority>,
}

/// Serves a connection from its first byte to its end.
pub async fn serve(io: Io, entry: Entry, worker: Arc<Worker>) {
    let limits = worker.limits();
    let mut drain = worker.drain();
    let sniffed = tokio::select! {
        biased;
        sniffed = tokio::time::timeout(limits.first_byte, sniff::sniff(io)) => sniffed,
        // Nothing was asked yet, so nothing is in flight.
        () = drain.reached(Mode::Draining) => return,
    };
    let sniffed = match sniffed {
        Err(_) => return worker.stats().connection_rejected(Rejection::SniffTimeout),
        Ok(Err(_) | Ok(None)) => return,
        Ok(Ok(Some(sniffed))) => sniffed,
    };
    match sniffed {
        (Spoken::Http1, io) => http1(io, entry, worker).await,
        (Spoken::Http2, io) => http2(io, entry, worker).await,
        (Spoken::Tls, io) => refuse(io, &worker, Rejection::Tls, TLS_HERE).await,
        (Spoken::Unknown, io) => refuse(io, &worker, Rejection::BadRequest, NOT_HTTP).await,
    }
}

/// What is inside a tunnel, if it is plain HTTP; else the io and what was read of it.
pub async fn serve_tunnel(
    mut io: Io,
    entry: Entry,
    worker: Arc<Worker>,
    within: Duration,
) -> Result<(), (Io, BytesMut)> {
    let mut early = BytesMut::new();
    let spoken = tokio::time::timeout(within, sniff::peek(&mut io, &mut early)).await;
    match spoken {
        Ok(Ok(Some(Spoken::Http1))) => http1(sniff::rewound(io, early.freeze()), entry, worker).await,
        Ok(Ok(Some(Spoken::Http2))) => http2(sniff::rewound(io, early.freeze()), entry, worker).await,
        _ => return Err((io, early)),
    }
    Ok(())
}

async fn http1(io: Io, entry: Entry, worker: Arc<Worker>) {
    let open = worker.stats().connection(Side::Client, Proto::H1);
    let limits = worker.limits();
    let pulse = worker.pulses().start();
    let edge = Edge::new(Arc::clone(&worker), entry, Arc::clone(&pulse));
    let mut connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_headers(limits.max_headers)
        .max_header_size(limits.max_header_bytes)
        .serve_connection(TokioIo::new(Timed::new(io, Arc::clone(&pulse))), edge)
        .with_upgrades();
    let mut drain = worker.drain();
    let mut next = Mode::Draining;
    loop {
        tokio::select! {
            biased;
            ended = &mut connection => {
                ended.unwrap_or_else(|error| note(&worker, &error));
                break;
            }
            phase = pulse.over() => {
                if phase == Phase::Head {
                    worker.stats().connection_rejected(Rejection::ClientTimeout);
                    if let Some(parts) = connection.into_parts() {
                        say(parts.io.into_inner().into_inner(), TOO_SLOW).await;
                    }
                }
                break;
            }
            () = drain.reached(next) => match next {
                Mode::Draining => {
                    Pin::new(&mut connection).graceful_shutdown();
                    next = Mode::Stopping;
                }
                _ => break,
            },
        }
    }
    drop(open);
}

async fn http2(io: Io, entry: Entry, worker: Arc<Worker>) {
    let open = worker.stats().connection(Side::Client, Proto::H2);
    let limits = worker.limits();
    let pulse = worker.pulses().start();
    let edge = Edge::new(Arc::clone(&worker), entry, Arc::clone(&pulse));
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .serve_connection(TokioIo::new(Timed::new(io, Arc::clone(&pulse))), edge);
    let mut connection = std::pin::pin!(connection);
    let mut drain = worker.drain();
    let mut next = Mode::Draining;
    let mut ending = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                ended.unwrap_or_else(|error| note(&worker, &error));
                break;
            }
            _ = pulse.over(), if !ending => {
                // Idle: GOAWAY, and the connection ends when the peer has seen it.
                connection.as_mut().graceful_shutdown();
                ending = true;
            }
            _ = pulse.over(), if ending => break,
            () = drain.reached(next) => match next {
                Mode::Draining => {
                    connection.as_mut().graceful_shutdown();
                    next = Mode::Stopping;
                }
                _ => break,
            },
        }
    }
    drop(open);
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

async fn refuse(io: Io, worker: &Worker, reason: Rejection, answer: &'static [u8]) {
    worker.stats().connection_rejected(reason);
    say(io, answer).await;
}

/// A complete answer written straight to a connection that has no request.
async fn say(mut io: Io, answer: &'static [u8]) {
    let written = async {
        io.write_all(answer).await?;
        io.shutdown().await
    };
    // The client may be gone, or not read: it was told what can be told.
    let _ = tokio::time::timeout(LAST_WORDS, written).await;
}

const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nproxy-status: attache; error=http_request_error\r\n\
connection: close\r\ncontent-length: 0\r\n\r\n";
const NOT_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nproxy-status: attache; error=http_request_error\r\n\
content-type: text/plain\r\nconnection: close\r\ncontent-length: 42\r\n\r\nThis is an HTTP proxy; that was not HTTP.\n";
/// A TLS alert (fatal, unrecognized_name would be a lie): handshake_failure.
const TLS_HERE: &[u8] = &[0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x28];
