//! One worker: a thread with a runtime of its own, its pools, its counters, its share of the connections.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context as Task, Poll};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use config::Model;
use exchange::{Client, Io, clock};
use middleware::mirror::Tasks;
use pin_project_lite::pin_project;
use telemetry::Observer;
use telemetry::access_log::Writer;
use telemetry::metrics::Shard;
use tokio::sync::{mpsc, watch};
use upstream::endpoint::Context;
use upstream::worker::Worker as Pools;

use crate::listener::conn::{self, Entry};
use crate::listener::drain::{Drain, Mode};
use crate::listener::pulse::{self, Order, Pulses};
use crate::listener::tls::{self, Front};
use crate::refused::Refused;
use crate::snapshot::Snapshot;
use crate::stack::Site;

/// A socket on its way from the control thread.
pub struct Arrival {
    /// The socket, not yet registered with any runtime.
    pub socket: Socket,
    /// Who it is.
    pub client: Client,
    /// How its listener speaks TLS, if it does.
    pub tls: Option<Arc<Front>>,
    /// Its place among the worker's connections.
    pub held: Held,
}

/// What was accepted.
pub enum Socket {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// A unix socket.
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixStream),
    /// What is no socket of the system's, in a simulation.
    Other(Io),
}

/// Client-side limits, from `server:`.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub first_byte: Duration,
    pub head: Duration,
    pub idle: Duration,
    pub tls_handshake: Duration,
    pub body_idle: Duration,
    /// Without the client taking a byte of an answer.
    pub stall: Duration,
    pub max_header_bytes: usize,
    pub max_headers: usize,
}

impl Limits {
    fn of(snapshot: &Snapshot) -> Self {
        let server = &snapshot.model.server;
        Self {
            first_byte: server.first_byte,
            head: server.header,
            idle: server.idle,
            tls_handshake: server.tls_handshake,
            body_idle: server.body_idle,
            stall: snapshot.model.default.policy.timeout.idle,
            max_header_bytes: server.max_header_bytes,
            max_headers: server.max_headers,
        }
    }
}

/// A short look at the snapshot in place; never empty.
pub(crate) type Glance = arc_swap::Guard<Option<Arc<Site>>>;

/// The worker; see the module.
pub struct Worker {
    pools: Arc<Pools>,
    stats: Arc<Shard>,
    log: Option<Arc<Writer>>,
    pulses: Pulses,
    mirrors: Tasks,
    drain: Drain,
    connections: Arc<AtomicUsize>,
    refused: Arc<Refused>,
    site: ArcSwapOption<Site>,
}

/// What a worker is made of.
pub struct Parts {
    pub pools: Arc<Pools>,
    pub stats: Arc<Shard>,
    pub log: Option<Arc<Writer>>,
    pub drain: Drain,
    /// Open client connections, for whoever hands out sockets.
    pub connections: Arc<AtomicUsize>,
    /// What was refused.
    pub refused: Arc<Refused>,
}

impl Worker {
    /// A worker with `snapshot` in place.
    pub fn new(parts: Parts, snapshot: Arc<Snapshot>) -> Arc<Self> {
        let Parts { pools, stats, log, drain, connections, refused } = parts;
        let worker = Arc::new(Self {
            pools,
            stats,
            log,
            pulses: Pulses::default(),
            mirrors: Tasks::default(),
            drain,
            connections,
            refused,
            site: ArcSwapOption::empty(),
        });
        worker.swap(snapshot);
        worker
    }

    /// Puts a new snapshot in place; requests in flight keep the old one.
    pub fn swap(self: &Arc<Self>, snapshot: Arc<Snapshot>) {
        let old = self.site.load();
        if old.as_ref().is_some_and(|old| leads_elsewhere(&old.snapshot().model, &snapshot.model)) {
            self.pools.forget();
        }
        self.site.store(Some(Arc::new(Site::new(snapshot, self))));
    }

    /// The snapshot in place.
    pub fn site(&self) -> Arc<Site> {
        #[expect(clippy::expect_used, reason = "`new` puts one in place before anyone has the worker")]
        self.site.load_full().expect("a site is in place")
    }

    /// The same for a look in passing: cheaper, and not to be kept.
    pub(crate) fn glance(&self) -> Glance {
        self.site.load()
    }

    /// Its pools.
    pub fn upstream(&self) -> &Arc<Pools> {
        &self.pools
    }

    /// What its endpoints share.
    pub fn context(&self) -> &Arc<Context> {
        self.pools.context()
    }

    /// Its counters.
    pub fn stats(&self) -> &Arc<Shard> {
        &self.stats
    }

    /// What the process refused.
    pub fn refused(&self) -> &Refused {
        &self.refused
    }

    /// Its connections' timer.
    pub fn pulses(&self) -> &Pulses {
        &self.pulses
    }

    /// Its copies of requests.
    pub fn mirrors(&self) -> &Tasks {
        &self.mirrors
    }

    /// The process's switch.
    pub fn drain(&self) -> Drain {
        self.drain.clone()
    }

    /// Client-side limits.
    pub fn limits(&self) -> Limits {
        Limits::of(self.site().snapshot())
    }

    /// Counts and logs for one route.
    pub fn observer(&self, route: &Arc<str>) -> Observer {
        Observer { stats: self.stats.route(route), log: self.log.clone() }
    }

    /// Counts one more thing in flight that a drain waits for: a tunnel outlives its connection's task.
    pub(crate) fn hold(&self) -> Held {
        Held::new(&self.connections)
    }

    /// Serves sockets until the process stops, or drained with nothing left.
    pub async fn run(
        self: Arc<Self>,
        mut arrivals: mpsc::Receiver<Arrival>,
        mut snapshots: watch::Receiver<Arc<Snapshot>>,
    ) {
        let mut drain = self.drain();
        let mut next = Mode::Draining;
        // Sets the coarse clock before the first connection notes the time.
        self.sweep();
        let mut sweep = tokio::time::interval(pulse::EVERY);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // What may always be ready comes last; in turns drawn by lot no run would repeat another.
            tokio::select! {
                biased;
                () = drain.reached(next) => {
                    // Nobody waits for them.
                    self.mirrors.end();
                    if drain.mode() == Mode::Stopping {
                        self.pulses.tell(Order::Stop);
                        return;
                    }
                    self.pulses.tell(Order::Drain);
                    next = Mode::Stopping;
                }
                Ok(()) = snapshots.changed() => {
                    let snapshot = Arc::clone(&snapshots.borrow_and_update());
                    self.swap(snapshot);
                }
                _ = sweep.tick() => self.sweep(),
                Some(arrival) = arrivals.recv() => self.take(arrival),
            }
        }
    }

    fn take(self: &Arc<Self>, arrival: Arrival) {
        let Arrival { socket, client, tls, held } = arrival;
        let io = match socket {
            Socket::Tcp(tcp) => tokio::net::TcpStream::from_std(tcp).map(Io::from),
            #[cfg(unix)]
            Socket::Unix(unix) => tokio::net::UnixStream::from_std(unix).map(Io::from),
            Socket::Other(io) => Ok(io),
        };
        match io {
            Ok(io) => {
                let entry = Entry { client, tunnel: None, tls: tls.is_some() };
                let worker = Arc::clone(self);
                match tls {
                    None => tokio::spawn(Kept { served: conn::serve(io, entry, worker), held }),
                    Some(front) => tokio::spawn(Kept { served: tls::serve(io, front, entry, worker), held }),
                };
            }
            Err(error) => tracing::warn!(%error, "a client socket could not be registered"),
        }
    }

    fn sweep(&self) {
        let now = clock::now();
        let limits = self.limits();
        self.pulses.sweep(&pulse::Limits { head: limits.head, idle: limits.idle, stall: limits.stall }, now);
        self.pools.sweep(now);
        if let Some(log) = &self.log {
            log.flush();
        }
    }
}

pin_project! {
    /// A connection, counted until its end. An `async` block would keep two places for the future it was given.
    struct Kept<F> {
        #[pin]
        served: F,
        held: Held,
    }
}

impl<F: Future<Output = ()>> Future for Kept<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<()> {
        self.project().served.poll(cx)
    }
}

/// A name may lead elsewhere, or an address be refused, so that an open connection may lead where a new one would not.
fn leads_elsewhere(old: &Model, new: &Model) -> bool {
    old.destinations != new.destinations || old.resolve != new.resolve || old.parents != new.parents
}

/// One open client connection or tunnel; a connection is counted from when the control thread hands it over.
pub struct Held(Arc<AtomicUsize>);

impl Held {
    /// One more of these.
    pub(crate) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// The process's metrics as the endpoints' state feeds them.
pub struct Endpoints(pub Arc<upstream::registry::Registry>);

impl telemetry::metrics::EndpointSource for Endpoints {
    fn each(&self, see: &mut dyn FnMut(&str, &str, u8, u32)) {
        for state in self.0.all() {
            see(&state.upstream, &state.label, state.breaker.state() as u8, state.inflight.get());
        }
    }

    fn overflows(&self) -> u64 {
        self.0.overflows()
    }
}
