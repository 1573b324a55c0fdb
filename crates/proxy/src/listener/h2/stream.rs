//! One request on its stream: waits for the answer, sends its head, then its body, or hands the stream over.
//!
//! A client that resets the stream before the answer ends all of it: the passage is dropped with the task.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, UNIX_EPOCH};

use exchange::{Body, clock};
use h2::Reason;
use http::Response;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http_body::Body as _;

use super::reply::Reply;
use super::send::Sending;
use super::tunnel::Handover;
use crate::edge::Passage;

/// RFC 9113 section 8.2.2: a connection's own, of which HTTP/2 has none.
const CONNECTION: [HeaderName; 6] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// See the module.
pub(super) struct Stream {
    reply: Arc<Reply>,
    state: State,
}

enum State {
    Asked { passage: Passage, handover: Option<Handover>, patience: Duration },
    Answered(Sending),
}

impl Stream {
    /// `handover`: of a CONNECT. `patience`: with a client that takes nothing.
    pub(super) fn new(reply: Arc<Reply>, passage: Passage, handover: Option<Handover>, patience: Duration) -> Self {
        Self { reply, state: State::Asked { passage, handover, patience } }
    }
}

impl Future for Stream {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { reply, state } = &mut *self;
        if let State::Asked { passage, handover, patience } = state {
            let Poll::Ready(answer) = Pin::new(passage).poll(cx) else { return reply.poll_gone(cx) };
            let Ok(response) = answer else {
                reply.reset(Reason::INTERNAL_ERROR);
                return Poll::Ready(());
            };
            match answered(reply, response, handover.take(), *patience) {
                Some(sending) => *state = State::Answered(sending),
                None => return Poll::Ready(()),
            }
        }
        match state {
            State::Answered(sending) => sending.poll(cx),
            State::Asked { .. } => Poll::Pending,
        }
    }
}

/// Sends the head; what is left to send, if anything is.
fn answered(
    reply: &Reply,
    response: Response<Body>,
    handover: Option<Handover>,
    patience: Duration,
) -> Option<Sending> {
    let (mut parts, body) = response.into_parts();
    dress(&mut parts.headers);
    if let Some(handover) = handover.filter(|_| parts.status.is_success()) {
        // RFC 9110 section 9.3.6.
        parts.headers.remove(header::CONTENT_LENGTH);
        let out = reply.send(Response::from_parts(parts, ()), false)?;
        handover.give(out);
        return None;
    }
    let ends = body.is_end_stream();
    if !ends && let Some(length) = body.size_hint().exact() {
        parts.headers.entry(header::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
    let out = reply.send(Response::from_parts(parts, ()), ends)?;
    (!ends).then(|| Sending::new(body, out, patience))
}

/// What HTTP/2 does not have goes, and what every answer has is added (RFC 9110 section 6.6.1).
fn dress(headers: &mut HeaderMap) {
    for name in &CONNECTION {
        headers.remove(name);
    }
    if let header::Entry::Vacant(none) = headers.entry(header::DATE) {
        let date = httpdate::fmt_http_date(UNIX_EPOCH + clock::wall(clock::now()));
        if let Ok(date) = HeaderValue::try_from(date) {
            none.insert(date);
        }
    }
}
