//! The record of one request: what came in, and what was done about it.
//!
//! One `Arc` in the request's body, a clone at the edge. What the edge knows at the start is plain;
//! what layers learn on the way is atomic or once-set, so that no layer waits for another.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Version};
use parking_lot::Mutex;
use policy::Tick;
use smallvec::SmallVec;

use crate::body::Hold;
use crate::detour::Detour;
use crate::identity::{Peer, Principal};
use crate::race::Race;
use crate::renew::Carried;
use crate::{Authority, Body, ErrorKind, Interim};

/// By which way a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Absolute-form: the client knows us as its proxy.
    Forward,
    /// CONNECT itself.
    Connect,
    /// Plain HTTP inside a CONNECT.
    Tunnel,
    /// Origin-form, routed by Host.
    Reverse,
    /// Origin-form below `/r/<route>/`.
    Prefix,
}

impl Door {
    /// The client speaks to us as to a proxy (407, 403) rather than as to an origin (401, 404).
    pub const fn is_proxy(self) -> bool {
        matches!(self, Self::Forward | Self::Connect | Self::Tunnel)
    }
}

/// Who is at the other end of the client side.
#[derive(Clone, Debug)]
pub struct Client {
    /// Absent for unix sockets.
    pub addr: Option<SocketAddr>,
    /// On this machine: may see details and reach private addresses.
    pub local: bool,
    /// What its connection proves of it, if anything.
    pub peer: Option<Arc<Peer>>,
}

/// The client connection an exchange runs on.
pub trait Connection: Send + Sync + std::fmt::Debug {
    /// One more exchange runs on it.
    fn begin(&self);

    /// One exchange ended.
    fn end(&self);

    /// The client's body was given up before its end: what still comes of it belongs to no request.
    fn unread(&self);

    /// Exchanges that run on it.
    fn running(&self) -> u32;

    /// The client has sent its whole request; `late`, if not with its head.
    fn whole(&self, late: bool);

    /// The body of a client that waits for a 100 is wanted.
    fn wanted(&self);

    /// Writes an interim response, if it can, and only as long as the exchange has no final one.
    fn interim(&self, interim: Interim, exchange: Weak<Exchange>);
}

/// What the edge read from the request, after it was made normal.
#[derive(Clone, Debug)]
pub struct Head {
    /// Random; shown as 16 hexadecimal digits.
    pub id: u64,
    /// When the head was complete.
    pub started: Tick,
    /// By which way it came.
    pub door: Door,
    /// From whom.
    pub client: Client,
    /// The client side's version.
    pub version: Version,
    /// The method.
    pub method: Method,
    /// The client asked for `https` (by absolute-form, by `:scheme`, or by origin-form over TLS) or `http`.
    pub tls: bool,
    /// The target: routing, allow rules and credentials look at nothing else.
    pub authority: Authority,
    /// Path and query as sent.
    pub path: PathAndQuery,
    /// A `websocket` upgrade was asked for and may be relayed.
    pub upgrade: bool,
    /// `content-type: application/grpc...`
    pub grpc: bool,
}

/// One try at one endpoint.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The endpoint's label.
    pub endpoint: Arc<str>,
    /// When it started.
    pub started: Tick,
    /// Until the response head, or the failure.
    pub took: Duration,
    /// The status, or why there is none.
    pub result: Result<u16, ErrorKind>,
    /// On a connection that had served before.
    pub reused: bool,
    /// Sent while another was under way.
    pub hedge: bool,
}

/// How far the client's body has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Upload {
    /// No body, or its end was seen.
    Done = 0,
    /// Not yet at its end.
    Running = 1,
    /// The client broke it off or sent garbage.
    Broken = 2,
}

/// Interim responses that are passed on for one request.
const MAX_INTERIM: u8 = 16;

const NONE: u8 = u8::MAX;

/// The record; see the module.
#[derive(Debug)]
pub struct Exchange {
    /// What came in.
    pub head: Head,
    /// What was done off its usual way.
    pub detour: Detour,
    /// Which credential of ours went with it.
    pub carried: Carried,
    connection: Option<Arc<dyn Connection>>,
    /// The client waits for a word before it sends its body.
    hold: OnceLock<Arc<Hold>>,
    interims: AtomicU8,
    deadline: AtomicU64,
    first_byte: AtomicU64,
    status: AtomicU16,
    reason: AtomicU8,
    upload: AtomicU8,
    retry_denied: OnceLock<&'static str>,
    breaker: AtomicU8,
    waited: AtomicBool,
    doubtful: AtomicBool,
    announced: AtomicBool,
    trailers_dropped: AtomicBool,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    attempts: Mutex<SmallVec<[Attempt; 1]>>,
    held: OnceLock<Box<dyn Any + Send + Sync>>,
    race: OnceLock<Box<Race>>,
    /// Boxed: few have one, and every record has room for it.
    credential: OnceLock<Box<HeaderValue>>,
    principal: OnceLock<Arc<Principal>>,
}

impl Exchange {
    /// A record that has just begun; its connection is told of its end when the record is dropped.
    pub fn new(head: Head, connection: Option<Arc<dyn Connection>>) -> Self {
        if let Some(connection) = &connection {
            connection.begin();
        }
        Self {
            head,
            detour: Detour::default(),
            carried: Carried::default(),
            connection,
            hold: OnceLock::new(),
            interims: AtomicU8::new(0),
            deadline: AtomicU64::new(u64::MAX),
            first_byte: AtomicU64::new(0),
            status: AtomicU16::new(0),
            reason: AtomicU8::new(NONE),
            upload: AtomicU8::new(Upload::Done as u8),
            retry_denied: OnceLock::new(),
            breaker: AtomicU8::new(NONE),
            waited: AtomicBool::new(false),
            doubtful: AtomicBool::new(false),
            announced: AtomicBool::new(false),
            trailers_dropped: AtomicBool::new(false),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            attempts: Mutex::new(SmallVec::new()),
            held: OnceLock::new(),
            race: OnceLock::new(),
            credential: OnceLock::new(),
            principal: OnceLock::new(),
        }
    }

    /// Keeps what the client showed to us as its proxy (`Proxy-Authorization`), which goes no further.
    pub fn set_credential(&self, mut value: Box<HeaderValue>) {
        value.set_sensitive(true);
        // Said once, by the edge.
        let _ = self.credential.set(value);
    }

    /// What the client showed to us as its proxy; empty if that was said more than once.
    pub fn credential(&self) -> Option<&HeaderValue> {
        self.credential.get().map(|value| &**value)
    }

    /// Notes whom the request showed itself to be; the first one stays.
    pub fn set_principal(&self, principal: Arc<Principal>) {
        let _ = self.principal.set(principal);
    }

    /// Whom the request showed itself to be: by itself or, inside a tunnel, by its CONNECT.
    pub fn principal(&self) -> Option<&Arc<Principal>> {
        self.principal.get().or_else(|| self.head.client.peer.as_ref()?.principal.as_ref())
    }

    /// It may be tried twice at once from here on.
    pub fn begin_race(&self) -> &Race {
        self.race.get_or_init(Box::default)
    }

    /// What is known of two tries at once, where there may be two.
    pub fn race(&self) -> Option<&Race> {
        self.race.get().map(|race| &**race)
    }

    /// The client expects `100-continue`: its body is to be held.
    pub fn expect(&self) {
        // Said once, by the edge.
        let _ = self.hold.set(Arc::default());
    }

    /// What keeps the client's body back, if it expects `100-continue`.
    pub fn hold(&self) -> Option<&Arc<Hold>> {
        self.hold.get()
    }

    /// The client's body is wanted: it goes on, and a client that waits for a word hears it.
    pub fn want(&self) {
        if self.hold.get().is_some_and(|hold| hold.release())
            && let Some(connection) = &self.connection
        {
            connection.wanted();
        }
    }

    /// The upstream sent an interim response. A 100 that the client asked for is said in our own words; any other goes on
    /// to a client of HTTP/1.1 or later, at most `MAX_INTERIM` of them, whatever becomes of the attempt it came from: it
    /// binds nobody (RFC 8297 section 2).
    pub fn interim(self: &Arc<Self>, interim: Interim) {
        if interim.is_continue() && self.hold.get().is_some() {
            return self.want();
        }
        let Some(connection) = self.connection.as_ref().filter(|_| self.head.version >= Version::HTTP_11) else {
            return;
        };
        if self.status() != 0 || self.interims.fetch_add(1, Relaxed) >= MAX_INTERIM {
            self.interims.fetch_min(MAX_INTERIM, Relaxed);
            return;
        }
        connection.interim(interim, Arc::downgrade(self));
    }

    /// Bytes that may be held of either body of this exchange at a time: of HTTP/2, those of a connection share `all`, of
    /// which each has at least `least`.
    pub fn share(&self, all: usize, least: usize) -> usize {
        match &self.connection {
            Some(connection) if self.head.version == Version::HTTP_2 => {
                (all / connection.running().max(1) as usize).max(least)
            }
            _ => all,
        }
    }

    /// The client's body is given up before its end.
    pub fn unread(&self) {
        if let Some(connection) = &self.connection {
            connection.unread();
        }
    }

    /// The client's request is there to its end, its body included where it has one.
    pub fn whole(&self, late: bool) {
        if let Some(connection) = &self.connection {
            connection.whole(late);
        }
    }

    /// The record of a request: its body carries it, or, on the far side of a foreign layer, an extension.
    pub fn of(request: &http::Request<Body>) -> &Arc<Self> {
        let record = request.body().record().or_else(|| request.extensions().get());
        #[expect(clippy::expect_used, reason = "the edge is the only source of requests")]
        record.expect("the edge gives each request a record")
    }

    /// The time, for a layer that is called: that of the start as long as nobody waited, since then not even a
    /// microsecond has passed. Whoever waits before calling on must say so by [`wait`](Self::wait).
    pub fn now(&self) -> Tick {
        if self.waited.load(Relaxed) { crate::clock::now() } else { self.head.started }
    }

    /// The request waits, or has already been answered once: the start's time no longer stands for now.
    pub fn wait(&self) {
        self.waited.store(true, Relaxed);
    }

    /// The total deadline, if there is one.
    pub fn deadline(&self) -> Option<Tick> {
        match self.deadline.load(Relaxed) {
            u64::MAX => None,
            nanos => Some(Tick::from_nanos(nanos)),
        }
    }

    /// Shortens the total deadline to `at`.
    pub fn shorten_deadline(&self, at: Tick) {
        self.deadline.fetch_min(at.as_nanos(), Relaxed);
    }

    /// What is left until the deadline; `None` without one.
    pub fn remaining(&self, now: Tick) -> Option<Duration> {
        self.deadline().map(|at| at.since(now))
    }

    /// Notes when the response head came, for whoever passes it on: the clock is read once per event.
    pub fn head_at(&self, now: Tick) {
        self.first_byte.store(now.as_nanos(), Relaxed);
    }

    /// Notes the response head that goes to the client; without `now`, at the time noted last.
    pub fn answered(&self, status: u16, reason: Option<ErrorKind>, now: Option<Tick>) {
        self.status.store(status, Relaxed);
        if let Some(now) = now {
            self.head_at(now);
        } else if self.first_byte.load(Relaxed) == 0 {
            self.head_at(crate::clock::now());
        }
        if let Some(kind) = reason {
            self.set_reason(kind);
        }
    }

    /// The status that went to the client; 0 before there is one.
    pub fn status(&self) -> u16 {
        self.status.load(Relaxed)
    }

    /// From the start to the response head.
    pub fn time_to_first_byte(&self) -> Option<Duration> {
        match self.first_byte.load(Relaxed) {
            0 => None,
            nanos => Some(Tick::from_nanos(nanos).since(self.head.started)),
        }
    }

    /// Notes why it failed; the last one wins.
    pub fn set_reason(&self, kind: ErrorKind) {
        self.reason.store(kind as u8, Relaxed);
    }

    /// Why it failed.
    pub fn reason(&self) -> Option<ErrorKind> {
        ErrorKind::from_index(self.reason.load(Relaxed))
    }

    /// Notes how far the client's body is.
    pub fn set_upload(&self, upload: Upload) {
        self.upload.store(upload as u8, Relaxed);
    }

    /// How far the client's body is.
    pub fn upload(&self) -> Upload {
        match self.upload.load(Relaxed) {
            0 => Upload::Done,
            1 => Upload::Running,
            _ => Upload::Broken,
        }
    }

    /// Notes whether the client's body is chunked and not (yet) known to have ended where a stricter reader sees its end:
    /// hyper takes up to an empty line for trailers whatever follows the last chunk.
    pub fn set_doubtful(&self, doubtful: bool) {
        self.doubtful.store(doubtful, Relaxed);
    }

    /// What follows the client's body may not be what it seems.
    pub fn is_doubtful(&self) -> bool {
        self.doubtful.load(Relaxed)
    }

    /// Notes that the response said in its head that trailers come: only those reach a client of HTTP/1.1, if it asked.
    pub fn set_trailers_announced(&self) {
        self.announced.store(true, Relaxed);
    }

    /// The response's trailers came; what the client's version cannot carry is lost.
    pub fn trailers_came(&self) {
        let carried = self.head.version == Version::HTTP_2 || self.announced.load(Relaxed);
        self.trailers_dropped.store(!carried, Relaxed);
    }

    /// The response had trailers that the client did not get.
    pub fn are_trailers_dropped(&self) -> bool {
        self.trailers_dropped.load(Relaxed)
    }

    /// Notes why no (further) retry was made; the first one stays.
    pub fn set_retry_denied(&self, why: &'static str) {
        let _ = self.retry_denied.set(why);
    }

    /// Why no (further) retry was made.
    pub fn retry_denied(&self) -> Option<&'static str> {
        self.retry_denied.get().copied()
    }

    /// Notes the state of the breaker that was asked last: 0 closed, 1 half-open, 2 open.
    pub fn set_breaker(&self, state: u8) {
        self.breaker.store(state, Relaxed);
    }

    /// The state of the breaker that was asked last.
    pub fn breaker(&self) -> Option<u8> {
        Some(self.breaker.load(Relaxed)).filter(|state| *state != NONE)
    }

    /// Counts body bytes from the client. One task counts at a time.
    pub fn add_bytes_in(&self, bytes: usize) {
        self.bytes_in.store(self.bytes_in.load(Relaxed) + bytes as u64, Relaxed);
    }

    /// Counts body bytes to the client. One task counts at a time.
    pub fn add_bytes_out(&self, bytes: usize) {
        self.bytes_out.store(self.bytes_out.load(Relaxed) + bytes as u64, Relaxed);
    }

    /// Body bytes from the client.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Relaxed)
    }

    /// Body bytes to the client.
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Relaxed)
    }

    /// Records an attempt that has its outcome. The list is bounded by the retry limit.
    pub fn attempted(&self, attempt: Attempt) {
        self.attempts.lock().push(attempt);
    }

    /// Reads the attempts made so far.
    pub fn with_attempts<T>(&self, read: impl FnOnce(&[Attempt]) -> T) -> T {
        read(&self.attempts.lock())
    }

    /// Keeps `permit` until the exchange is over: its answer has ended and nobody reads the client's body any more, by
    /// whichever way. One an exchange; a second one is given back at once.
    pub fn keep(&self, permit: Box<dyn Any + Send + Sync>) {
        let second = self.held.set(permit).is_err();
        debug_assert!(!second, "an exchange holds one permit");
    }

    /// No attempt has ended yet.
    pub fn is_untried(&self) -> bool {
        self.attempts.lock().is_empty()
    }

    /// An endpoint with this label was already tried.
    pub fn has_tried(&self, endpoint: &Arc<str>) -> bool {
        self.attempts.lock().iter().any(|attempt| Arc::ptr_eq(&attempt.endpoint, endpoint))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.end();
        }
    }
}
