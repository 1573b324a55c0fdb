//! The way out: a response or an error, and what both owe.

use std::sync::Arc;
use std::time::Duration;

use exchange::error::Injected;
use exchange::exchange::Upload;
use exchange::problem::{self, Form};
use exchange::service::Outcome;
use exchange::{Body, Door, End, Error, ErrorKind, Exchange, Finish, clock};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, header};
use http_body::Body as _;
use middleware::observe::Watch;
use policy::Tick;

use super::Edge;
use super::extended::Handshake;
use crate::bridge::Bridge;
use crate::listener::takeover::Takeover;
use crate::refused::Reason;

/// What the edge keeps while the request is below.
pub(super) struct Leave {
    pub edge: Edge,
    pub exchange: Arc<Exchange>,
    /// In which form an error is wanted.
    pub accept: Option<HeaderValue>,
    /// What a 2xx to CONNECT or a 101 hands over.
    pub takeover: Option<Takeover>,
    /// It was an extended CONNECT, for which a 2xx means that the stream is the WebSocket's.
    pub handshake: Option<Box<Handshake>>,
    /// Logs and counts the exchange once it is over; dropped with it, the client has gone.
    pub watch: Watch,
    /// Without a byte in either direction, if it becomes a tunnel.
    pub tunnel_idle: Duration,
}

impl Leave {
    /// Interim responses wait to be written: once they are, the connection's task is woken.
    pub(super) fn is_behind(&self) -> bool {
        self.edge.0.pulse.has_interims()
    }

    /// What came from below becomes what the client gets.
    pub(super) fn over(self, outcome: &mut Outcome) {
        match outcome {
            Ok(response) => self.answered(response),
            Err(_) => {
                if let Err(error) = std::mem::replace(outcome, Ok(Response::new(Body::empty()))) {
                    *outcome = self.failed(error);
                }
            }
        }
    }

    /// A response from below goes to the client.
    pub(super) fn answered(self, response: &mut Response<Body>) {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let switching = std::mem::replace(response, Response::new(Body::empty()));
            *response = self.switched(switching);
            return;
        }
        if self.handshake.is_some() && response.status().is_success() {
            let error = Error::new(ErrorKind::Protocol).with_detail("the upstream did not switch protocols");
            *response = self.refused(error);
            return;
        }
        self.exchange.answered(response.status().as_u16(), None, None);
        if self.exchange.head.door.is_proxy() {
            // RFC 9110 section 7.6.3: a proxy must, a gateway may.
            let version = response.version();
            self.edge.0.via.append(response.headers_mut(), version);
            // RFC 7838: it would lead the client of an opened tunnel past us.
            if self.exchange.head.door == Door::Tunnel && self.exchange.head.tls {
                response.headers_mut().remove(header::ALT_SVC);
            }
        }
        *response.version_mut() = Version::HTTP_11;
        // RFC 9110 section 10.1.1: the client may send the body all the same, or not. Nobody could tell it from a request.
        let forgone = self.exchange.hold().is_some_and(|hold| hold.forgo());
        if (forgone && self.exchange.head.version != Version::HTTP_2) || self.exchange.is_doubtful() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        match self.exchange.head.version {
            Version::HTTP_10 => self.edge.0.pulse.set_open_ended(),
            Version::HTTP_2 if !response.body().is_end_stream() => {
                response.body_mut().set_paced();
            }
            Version::HTTP_11
                if response.body().size_hint().exact().is_none()
                    && response.headers().contains_key(header::TRAILER) =>
            {
                self.exchange.set_trailers_announced();
            }
            _ => {}
        }
        self.watch.attach(response);
    }

    /// An error becomes a response, unless it asks for none: then hyper resets the stream, or gives up the connection.
    pub(super) fn failed(self, error: Error) -> Outcome {
        if error.injected != Some(Injected::Reset) {
            return Ok(self.refused(error));
        }
        self.exchange.set_reason(error.kind);
        // An end of the connection in order would not be what was asked for.
        self.edge.0.pulse.set_open_ended();
        self.watch.finish(End::Failed(error.kind));
        Err(error)
    }

    /// An error becomes a response: nowhere else.
    pub(super) fn refused(self, error: Error) -> Response<Body> {
        let head = &self.exchange.head;
        let mut response = problem::response(&error, head, Form::accepted(self.accept.as_ref()));
        self.exchange.answered(response.status().as_u16(), Some(error.kind), Some(clock::now()));
        if let Some(hold) = self.exchange.hold() {
            hold.forgo();
        }
        if error.kind == ErrorKind::Internal {
            tracing::error!(id = format_args!("{:016x}", head.id), %error, "internal error");
        } else {
            tracing::debug!(id = format_args!("{:016x}", head.id), reason = error.kind.label(), %error, "refused");
        }
        let worker = &self.edge.0.worker;
        if let Some(reason) = Reason::of(&error, head, || worker.site()) {
            worker.refused().note(head, reason, &error);
        }
        // RFC 9931: what follows a refused CONNECT is not a request. A body that was not read cannot be skipped.
        let closes = head.door == Door::Connect || self.exchange.upload() != Upload::Done;
        if closes && head.version != Version::HTTP_2 {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        self.watch.attach(&mut response);
        response
    }

    /// The upstream switched protocols: bridges both sides, if it was asked to.
    fn switched(mut self, mut response: Response<Body>) -> Response<Body> {
        let is_websocket =
            response.headers().get(header::UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
        let client = self.takeover.take().filter(|_| self.exchange.head.upgrade && is_websocket);
        let Some(client) = client else {
            return self.refused(
                Error::new(ErrorKind::Protocol).with_detail("the upstream switched protocols without being asked"),
            );
        };
        let mut answer = Response::new(Body::empty());
        match &self.handshake {
            None => *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS,
            Some(handshake) if handshake.undress(response.headers_mut()) => {}
            Some(_) => {
                return self.refused(
                    Error::new(ErrorKind::Protocol).with_detail("the upstream's Sec-WebSocket-Accept is not the key's"),
                );
            }
        }
        self.exchange.answered(answer.status().as_u16(), None, Some(clock::now()));
        let upstream = hyper::upgrade::on(&mut response);
        *answer.headers_mut() = std::mem::take(response.headers_mut());
        self.watch.attach(&mut response);
        let owed = response.into_body();
        let (exchange, idle) = (self.exchange, self.tunnel_idle);
        let worker = Arc::clone(&self.edge.0.worker);
        let held = worker.hold();
        tokio::spawn(async move {
            if let (Some(client), Ok(upstream)) = (client.taken().await, upstream.await)
                && let Some(upstream) = upstream::pool::taken(upstream)
            {
                let open = worker.stats().tunnel();
                let bridge = Bridge { client, upstream, exchange, open, owed, idle };
                bridge.run(worker.drain()).await;
            }
            drop(held);
        });
        answer
    }
}

/// Watches the client's body.
pub(super) struct Uploading {
    exchange: Arc<Exchange>,
    trailers: bool,
}

impl Uploading {
    pub(super) fn new(exchange: Arc<Exchange>) -> Self {
        Self { exchange, trailers: false }
    }
}

impl Finish for Uploading {
    fn data(&mut self, bytes: usize) {
        self.exchange.add_bytes_in(bytes);
    }

    fn trailers(&mut self, _: &HeaderMap) {
        self.trailers = true;
    }

    fn finish(self: Box<Self>, end: End, _: Tick) {
        match end {
            End::Complete => {
                self.exchange.set_upload(Upload::Done);
                self.exchange.whole(true);
                self.exchange.set_doubtful(self.trailers && self.exchange.is_doubtful());
            }
            End::Failed(_) => self.exchange.set_upload(Upload::Broken),
            End::Dropped => self.exchange.unread(),
        }
    }
}
