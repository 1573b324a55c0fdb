//! Shared HTTP/2 connections with counted leases.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

use exchange::{Body, Error, ErrorKind, Io};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use policy::Tick;
use telemetry::metrics::{Proto, Side};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Lease, Limits, Place, Pool};

/// Connections of one worker to one endpoint.
const MAX_CONNECTIONS: usize = 4;
/// Streams on one connection, if the peer allows more.
const MAX_STREAMS: usize = 100;
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
const SEND_BUFFER: usize = 128 * 1024;
const HEADER_LIST: u32 = 64 * 1024;

/// One connection, for one request.
pub(crate) struct Stream {
    pub sender: SendRequest<Body>,
    leases: Arc<Leases>,
}

#[derive(Default)]
struct Leases {
    open: AtomicU32,
    last: AtomicU64,
    /// Streams the peer allows, as of its last SETTINGS.
    allowed: AtomicUsize,
}

impl Stream {
    /// The connection takes no new request (GOAWAY), though it still says it is ready.
    pub(crate) fn retire(&self) {
        self.leases.last.store(u64::MAX, Relaxed);
    }

    pub(super) fn used(&self, now: Tick) {
        if self.leases.last.load(Relaxed) != u64::MAX {
            self.leases.last.store(now.as_nanos(), Relaxed);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.leases.open.fetch_sub(1, Relaxed);
    }
}

struct Connection {
    sender: SendRequest<Body>,
    leases: Arc<Leases>,
    born: Tick,
}

impl Connection {
    fn lease(&self) -> Stream {
        self.leases.open.fetch_add(1, Relaxed);
        Stream { sender: self.sender.clone(), leases: Arc::clone(&self.leases) }
    }

    fn has_room(&self) -> bool {
        (self.leases.open.load(Relaxed) as usize) < self.leases.allowed.load(Relaxed).min(MAX_STREAMS)
    }

    fn is_over(&self, limits: &Limits, now: Tick) -> bool {
        let last = self.leases.last.load(Relaxed);
        let idle = self.leases.open.load(Relaxed) == 0
            && last != u64::MAX
            && now.since(Tick::from_nanos(last)) >= limits.idle_timeout;
        self.sender.is_closed() || last == u64::MAX || idle || now.since(self.born) >= limits.max_age
    }
}

/// The connections of a pool.
pub(super) struct Shared {
    connections: Mutex<Vec<Connection>>,
    dial: Semaphore,
    failures: AtomicU64,
    failure: AtomicU8,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            connections: Mutex::default(),
            dial: Semaphore::new(1),
            failures: AtomicU64::new(0),
            failure: AtomicU8::new(0),
        }
    }
}

impl Shared {
    pub(super) fn take(&self, limits: &Limits, now: Tick) -> Option<Stream> {
        let mut connections = self.connections.lock();
        // What is taken out here ends when its last stream does: the task owns the socket.
        connections.retain(|connection| !connection.is_over(limits, now));
        connections.iter().find(|connection| connection.has_room()).map(Connection::lease)
    }

    pub(super) fn is_full(&self) -> bool {
        self.connections.lock().len() >= MAX_CONNECTIONS
    }

    /// Waits until nobody else dials.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.dial.acquire().await.ok()
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    pub(super) fn fail(&self, kind: ErrorKind) {
        self.failure.store(kind as u8, Relaxed);
        self.failures.fetch_add(1, Relaxed);
    }

    /// A dial that began before ours failed while we waited for it.
    pub(super) fn failed_since(&self, failures: u64) -> Option<ErrorKind> {
        (self.failures() != failures).then(|| ErrorKind::from_index(self.failure.load(Relaxed))).flatten()
    }

    pub(super) fn sweep(&self, limits: &Limits, now: Tick) {
        self.connections.lock().retain(|connection| !connection.is_over(limits, now));
    }

    pub(super) fn len(&self) -> usize {
        self.connections.lock().len()
    }
}

pub(super) async fn handshake(pool: &Arc<Pool>, io: Io, place: Place, now: Tick) -> Result<Lease, Error> {
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(HEADER_LIST)
        .handshake(TokioIo::new(io))
        .await
        .map_err(|error| Error::new(ErrorKind::Protocol).with_source(error))?;
    let open = pool.context.stats.connection(Side::Upstream, Proto::H2);
    let leases = Arc::new(Leases {
        open: AtomicU32::new(0),
        last: AtomicU64::new(now.as_nanos()),
        allowed: AtomicUsize::new(connection.current_max_send_streams()),
    });
    let told = Arc::clone(&leases);
    let mut connection = Box::pin(connection);
    tokio::spawn(async move {
        // An error of the connection reaches every request that is on it.
        let _ = poll_fn(|cx| {
            let polled = connection.as_mut().poll(cx);
            told.allowed.store(connection.current_max_send_streams(), Relaxed);
            polled
        })
        .await;
        drop((place, open));
    });
    let connection = Connection { sender, leases, born: now };
    let stream = connection.lease();
    pool.h2.connections.lock().push(connection);
    Ok(Lease::h2(Arc::clone(pool), stream, false))
}
