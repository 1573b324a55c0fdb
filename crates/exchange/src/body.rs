//! The one body type, from hyper's socket to hyper's socket, without boxing in between.
//!
//! A body carries what must be released when it ends: leases, permits, the observer. Each is told exactly
//! once how it ended: complete, failed, or dropped. That is the only right place to release them: a permit
//! freed at the response head is freed while the answer still streams. hyper drops a body that said it ended
//! without polling it again, so a drop after `is_end_stream` is a clean end.

mod gate;
mod hold;
mod pace;
mod replay;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use policy::Tick;
use smallvec::SmallVec;
use tokio::time::Sleep;

use self::gate::Gate;
use self::hold::Held;
pub use self::hold::Hold;
use self::pace::Pace;
pub use self::replay::Replay;
use crate::hush::hush;
use crate::{Error, ErrorKind, Exchange, clock, headers};

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its end was seen.
    Complete,
    /// Its source failed.
    Failed(ErrorKind),
    /// Its reader went away first.
    Dropped,
}

/// Among the extensions of a response: its body ends with its connection, so that nobody can tell whether it is whole
/// (RFC 9112 section 8).
#[derive(Clone, Copy, Debug)]
pub struct OpenEnded;

/// What a body owes at its end.
pub trait Finish: Send {
    /// So many bytes passed.
    fn data(&mut self, _bytes: usize) {}

    /// The trailers passed.
    fn trailers(&mut self, _trailers: &HeaderMap) {}

    /// It ended, at `now`; called once.
    fn finish(self: Box<Self>, end: End, now: Tick);
}

/// A request or response body.
pub struct Body {
    kind: Kind,
    /// Of a request: an extension of its own would cost two allocations and a look-up in each layer.
    record: Option<Arc<Exchange>>,
    /// Apart, since a body moves often and is mostly empty.
    extra: Option<Box<Extra>>,
}

/// What a body owes, and what bounds it.
#[derive(Default)]
struct Extra {
    guards: SmallVec<[Box<dyn Finish>; 2]>,
    idle: Option<Idle>,
    flagged: bool,
    held: Option<Held>,
    pace: Option<Pace>,
    gate: Option<Arc<Gate>>,
    /// The time the body was made, as long as it has neither waited nor given a frame.
    fresh: Option<Tick>,
}

enum Kind {
    Empty,
    Full(Bytes),
    /// The last: from HTTP/1.
    Incoming(Incoming, Side, bool),
    Replay(replay::Cursor),
    Boxed(Pin<Box<dyn HttpBody<Data = Bytes, Error = Error> + Send>>),
    /// Not read, and so without an end.
    Unwanted,
}

/// Whose fault a failing body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A request body.
    Client,
    /// A response body.
    Upstream,
}

/// Bounds the time without a frame. The timer is made at the first wait: most bodies never wait.
struct Idle {
    after: Duration,
    side: Side,
    last: Tick,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Body {
    /// No body.
    pub const fn empty() -> Self {
        Self { kind: Kind::Empty, record: None, extra: None }
    }

    /// A body that is all there.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Kind::Full(bytes.into()).into()
    }

    /// A body from a socket that speaks `version`.
    pub fn incoming(incoming: Incoming, side: Side, version: Version) -> Self {
        if incoming.is_end_stream() {
            Self::empty()
        } else {
            Kind::Incoming(incoming, side, version != Version::HTTP_2).into()
        }
    }

    /// Any other body.
    pub fn boxed(body: impl HttpBody<Data = Bytes, Error = Error> + Send + 'static) -> Self {
        Kind::Boxed(Box::pin(body)).into()
    }

    /// A request's body carries its exchange's record; every new body of the same request is given it again.
    #[must_use]
    pub fn with_record(mut self, record: Arc<Exchange>) -> Self {
        self.record = Some(record);
        self
    }

    /// The exchange's record, if it is a request's body.
    pub fn record(&self) -> Option<&Arc<Exchange>> {
        self.record.as_ref()
    }

    /// From where it can be read again, if somebody keeps it for that.
    pub fn replay(&self) -> Option<Replay> {
        match &self.kind {
            Kind::Replay(cursor) => Some(cursor.replay()),
            _ => None,
        }
    }

    /// Adds what is to be told of its end; the one added first is told first.
    pub fn attach(&mut self, guard: Box<dyn Finish>) {
        self.extra().guards.push(guard);
    }

    /// Fails the body after this long without a frame (client: `client_timeout`, upstream: `truncated`).
    ///
    /// `now` stands for the end's time as well, if the body ends with its first frame and never waits.
    pub fn set_idle(&mut self, after: Duration, side: Side, now: Tick) {
        let extra = self.extra();
        extra.idle = Some(Idle { after, side, last: now, timer: None });
        extra.fresh = Some(now);
    }

    /// It is whole only if its stream said END_STREAM: hyper shows RST_STREAM with NO_ERROR as a clean end, which it
    /// is only for a complete answer to a request that was still being sent (RFC 9113 section 8.1).
    pub fn set_flagged(&mut self) {
        self.extra().flagged = true;
    }

    /// Not a byte of it is read before `hold` says so. If it never will be, it is dropped without an end: an end would
    /// make a whole message of it for the upstream.
    pub fn hold(&mut self, hold: Arc<Hold>) {
        self.extra().held = Some(Held::new(hold));
    }

    /// It goes to a client of HTTP/2: in small pieces.
    pub fn set_paced(&mut self) {
        self.extra().pace = Some(Pace::default());
    }

    /// Its reader gives it up for this reason: it has ended.
    pub fn give_up(&mut self, why: ErrorKind) {
        self.kind = Kind::Empty;
        self.finish(End::Failed(why));
        self.extra = None;
    }

    /// Whoever reads it holds at most about `limit` bytes of it unsent; more are read once these are dropped. An
    /// allocation a frame.
    pub fn set_gate(&mut self, limit: usize) {
        if !self.is_end_stream() {
            self.extra().gate = Some(Arc::new(Gate::new(limit)));
        }
    }

    /// Pending while too much of it is out.
    fn poll_gate(&mut self, cx: &Context<'_>) -> Poll<()> {
        let Some(extra) = &mut self.extra else { return Poll::Ready(()) };
        let Some(gate) = &extra.gate else { return Poll::Ready(()) };
        let polled = gate.poll(cx);
        if let (Poll::Pending, Some(idle)) = (polled, &mut extra.idle) {
            // It is not the source that is waited for.
            idle.timer = None;
        }
        polled
    }

    /// Pending while it is held.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(extra) = &mut self.extra else { return Poll::Ready(()) };
        let Some(held) = &mut extra.held else { return Poll::Ready(()) };
        if std::task::ready!(held.poll(cx)) {
            match &self.record {
                Some(record) => record.want(),
                None => held.release(),
            }
            extra.held = None;
        } else {
            self.finish(End::Dropped);
            self.kind = Kind::Unwanted;
            self.extra = None;
        }
        Poll::Ready(())
    }

    fn poll_kind(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.kind = Kind::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Kind::Incoming(incoming, side, h1) => match poll_incoming(incoming, *h1 && *side == Side::Upstream, cx) {
                Poll::Ready(None)
                    if self.extra.as_ref().is_some_and(|extra| extra.flagged) && !incoming.is_end_stream() =>
                {
                    Poll::Ready(Some(Err(Error::new(gone(*side)))))
                }
                Poll::Ready(Some(Ok(mut frame))) => {
                    if let Some(trailers) = frame.trailers_mut() {
                        // hyper took lines for trailers that hold no field: they were something else.
                        if *h1 && trailers.is_empty() {
                            return Poll::Ready(Some(Err(no_trailers(*side))));
                        }
                        headers::strip_trailers(trailers);
                    }
                    Poll::Ready(Some(Ok(frame)))
                }
                polled => polled.map_err(|error| failed(error, *side)),
            },
            Kind::Replay(cursor) => cursor.poll_frame(cx),
            Kind::Boxed(body) => body.as_mut().poll_frame(cx),
            Kind::Unwanted => Poll::Pending,
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.extra.as_ref().is_none_or(|extra| extra.pace.is_none()) {
            return self.poll_kind(cx);
        }
        if let Some(piece) = self.pace().and_then(Pace::next) {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let polled = self.poll_kind(cx);
        let Some(pace) = self.pace() else { return polled };
        polled.map_ok(|frame| pace.cut(frame))
    }

    fn pace(&mut self) -> Option<&mut Pace> {
        self.extra.as_mut()?.pace.as_mut()
    }

    /// Bytes that are here, but were not given out.
    fn rest(&self) -> usize {
        self.extra.as_ref().and_then(|extra| extra.pace.as_ref()).map_or(0, Pace::rest)
    }

    fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    fn finish(&mut self, end: End) {
        let Some(extra) = &mut self.extra else { return };
        if extra.guards.is_empty() {
            return;
        }
        let fresh = extra.fresh.filter(|_| end == End::Complete);
        let now = fresh.unwrap_or_else(clock::now);
        for guard in extra.guards.drain(..) {
            guard.finish(end, now);
        }
    }
}

impl Extra {
    fn passed(&mut self, frame: &Frame<Bytes>) {
        if let Some(Idle { last, timer: Some(_), .. }) = &mut self.idle {
            *last = clock::now();
        }
        for guard in &mut self.guards {
            if let Some(data) = frame.data_ref() {
                guard.data(data.len());
            } else if let Some(trailers) = frame.trailers_ref() {
                guard.trailers(trailers);
            }
        }
    }
}

impl Idle {
    /// Pending, or the time is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let timer = self.timer.get_or_insert_with(|| {
            self.last = clock::now();
            Box::pin(tokio::time::sleep_until(clock::instant(self.last + self.after)))
        });
        loop {
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let due = self.last + self.after;
            if due <= clock::now() {
                return Poll::Ready(Error::new(match self.side {
                    Side::Client => ErrorKind::ClientTimeout,
                    Side::Upstream => ErrorKind::Truncated,
                }));
            }
            timer.as_mut().reset(clock::instant(due));
        }
    }
}

type Polled = Poll<Option<Result<Frame<Bytes>, hyper::Error>>>;

/// `drowsy`: the connection is one of `hush::Drowsy`.
fn poll_incoming(incoming: &mut Incoming, drowsy: bool, cx: &mut Context<'_>) -> Polled {
    if drowsy && let Some(left) = incoming.size_hint().exact() {
        let is_last = |polled: &Polled| match polled {
            Poll::Ready(Some(Ok(frame))) => frame.data_ref().is_some_and(|data| data.len() as u64 == left),
            _ => false,
        };
        return hush(|| Pin::new(incoming).poll_frame(cx), |polled| !is_last(polled));
    }
    Pin::new(incoming).poll_frame(cx)
}

fn failed(error: hyper::Error, side: Side) -> Error {
    let kind = match side {
        // A closed or reset client is gone; what it sent wrongly (a bad chunk, a bad trailer) is its error.
        Side::Client if error.is_parse() || is_invalid_data(&error) => ErrorKind::BadRequest,
        side => gone(side),
    };
    Error::new(kind).with_source(error)
}

fn no_trailers(side: Side) -> Error {
    let kind = match side {
        Side::Client => ErrorKind::BadRequest,
        Side::Upstream => ErrorKind::Truncated,
    };
    Error::new(kind).with_detail("what follows the last chunk is not a trailer section")
}

const fn gone(side: Side) -> ErrorKind {
    match side {
        Side::Client => ErrorKind::ClientGone,
        Side::Upstream => ErrorKind::Truncated,
    }
}

fn is_invalid_data(error: &hyper::Error) -> bool {
    let io = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|io| matches!(io.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput))
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let body = &mut *self;
        std::task::ready!(body.poll_held(cx));
        std::task::ready!(body.poll_gate(cx));
        match body.poll_piece(cx) {
            Poll::Pending => {
                let Some(extra) = &mut body.extra else { return Poll::Pending };
                extra.fresh = None;
                let Some(idle) = &mut extra.idle else { return Poll::Pending };
                let Poll::Ready(error) = idle.poll(cx) else { return Poll::Pending };
                body.kind = Kind::Empty;
                body.finish(End::Failed(error.kind));
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(Some(Ok(frame))) => {
                let mut frame = frame;
                if let Some(extra) = &mut body.extra {
                    extra.passed(&frame);
                    if let Some(gate) = &extra.gate {
                        frame = frame.map_data(|data| gate.pass(data));
                    }
                }
                if body.is_end_stream() {
                    body.finish(End::Complete);
                } else if let Some(extra) = &mut body.extra {
                    extra.fresh = None;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                body.kind = Kind::Empty;
                body.finish(End::Failed(error.kind));
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => {
                body.finish(End::Complete);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            _ if self.rest() > 0 => false,
            Kind::Empty => true,
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Incoming(incoming, ..) => incoming.is_end_stream(),
            Kind::Replay(cursor) => cursor.is_end_stream(),
            Kind::Boxed(body) => body.is_end_stream(),
            Kind::Unwanted => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Incoming(incoming, ..) => incoming.size_hint(),
            Kind::Replay(cursor) => cursor.size_hint(),
            Kind::Boxed(body) => body.size_hint(),
            Kind::Unwanted => SizeHint::default(),
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if self.extra.as_ref().is_some_and(|extra| !extra.guards.is_empty()) {
            let end = if self.is_end_stream() { End::Complete } else { End::Dropped };
            self.finish(end);
        }
    }
}

impl From<Kind> for Body {
    fn from(kind: Kind) -> Self {
        Self { kind, record: None, extra: None }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.kind {
            Kind::Empty => "Body(empty)",
            Kind::Full(_) => "Body(full)",
            Kind::Incoming(..) => "Body(incoming)",
            Kind::Replay(_) => "Body(replay)",
            Kind::Boxed(_) => "Body(boxed)",
            Kind::Unwanted => "Body(unwanted)",
        })
    }
}
