//! One worker's connections to one endpoint.
//!
//! HTTP/1 connections are leased one request at a time and come back only after both bodies ended cleanly;
//! HTTP/2 connections are shared, with leases counted, because hyper's own queue has no bound. Until ALPN has
//! said which it is, one dial is in flight and the others wait for its answer. The lock is this worker's alone
//! and never held across an await.

mod ear;
mod h1;
mod h2;
mod lease;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

use exchange::io::Home;
use exchange::{Error, ErrorKind, Io, clock};
use policy::Tick;
use policy::inflight::Inflight;

pub use self::h1::taken;
pub use self::lease::Lease;
pub(crate) use self::lease::{Received, Sender};
use crate::connect::{Alpn, Connected, Destination, Flavour};
use crate::endpoint::{Context, Key, Protocol, State};

/// Bounds of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// An idle connection is closed after this.
    pub idle_timeout: Duration,
    /// Idle connections of this worker to this endpoint.
    pub max_idle: usize,
    /// Idle connections in the process.
    pub max_idle_process: u32,
    /// No new request on a connection older than this.
    pub max_age: Duration,
    /// Connections of the process to this endpoint.
    pub max_connections: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(90),
            max_idle: 128,
            max_idle_process: 1024,
            max_age: Duration::from_secs(3600),
            max_connections: 1024,
        }
    }
}

/// What a request needs of its connection.
#[derive(Clone, Copy, Debug)]
pub struct Want {
    /// The client spoke HTTP/2.
    pub h2: bool,
    /// gRPC: HTTP/2 or nothing.
    pub grpc: bool,
    /// An upgrade: HTTP/1.1 or nothing.
    pub upgrade: bool,
    /// It names its whole target: to a parent.
    pub absolute: bool,
    /// For the connection, if a new one is needed.
    pub within: Duration,
}

/// The connections; see the module.
pub struct Pool {
    destination: Destination,
    protocol: Protocol,
    /// For clients on this machine, or written by the operator: private addresses are as good as any.
    local: bool,
    limits: Limits,
    state: Arc<State>,
    context: Arc<Context>,
    known: AtomicU8,
    h1: h1::Idle,
    h2: h2::Shared,
}

/// What ALPN said last: 0 nothing yet, 1 HTTP/1.1, 2 HTTP/2.
const UNKNOWN: u8 = 0;
const HTTP1: u8 = 1;
const HTTP2: u8 = 2;

impl Pool {
    /// An empty pool.
    pub fn new(key: &Key, client_local: bool, limits: Limits, state: Arc<State>, context: Arc<Context>) -> Self {
        Self {
            destination: key.destination.clone(),
            protocol: key.protocol,
            local: client_local || !key.upstream.is_empty(),
            limits,
            state,
            context,
            known: AtomicU8::new(UNKNOWN),
            h1: h1::Idle::default(),
            h2: h2::Shared::default(),
        }
    }

    /// Where it leads.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Requests name their whole target to a parent, as long as that can be said so.
    pub(crate) fn forwards(&self) -> bool {
        self.destination.parent.is_some() && self.destination.tls.is_none() && self.protocol != Protocol::H2c
    }

    /// What the worker shares.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Closes what was idle too long. Called about once a second.
    pub fn sweep(&self, now: Tick) {
        self.h1.sweep(&self.limits, now);
        self.h2.sweep(&self.limits, now);
    }

    /// Idle connections, for the admin API.
    pub fn parked(&self) -> usize {
        self.h1.len() + self.h2.len()
    }

    /// A connection for one request: one that is there, or a new one.
    ///
    /// Cancel-safe: a dial given up closes its socket.
    pub async fn lease(self: &Arc<Self>, want: Want, now: Tick) -> Result<Lease, Error> {
        match self.idle_one(want, now) {
            Some(lease) => Ok(lease),
            None => self.lease_fresh(want, now).await,
        }
    }

    /// A connection that is there.
    pub fn idle_one(self: &Arc<Self>, want: Want, now: Tick) -> Option<Lease> {
        match self.flavour(want) {
            Flavour::H1 => Some(Lease::h1(Arc::clone(self), self.h1.take(&self.limits, now, want.absolute)?, true)),
            Flavour::H2 | Flavour::Auto => Some(Lease::h2(Arc::clone(self), self.h2.take(&self.limits, now)?, true)),
        }
    }

    /// A connection of its own, never an idle one: after an idle one turned out to be stale.
    pub(crate) async fn lease_fresh(self: &Arc<Self>, want: Want, now: Tick) -> Result<Lease, Error> {
        match self.flavour(want) {
            Flavour::H1 => self.dial(Flavour::H1, want, now).await,
            flavour => self.lease_shared(flavour, want, now).await,
        }
    }

    fn flavour(&self, want: Want) -> Flavour {
        if want.upgrade {
            return Flavour::H1;
        }
        if self.destination.tls.is_some() {
            return match self.known.load(Relaxed) {
                _ if want.grpc => Flavour::H2,
                HTTP1 => Flavour::H1,
                _ => Flavour::Auto,
            };
        }
        match self.protocol {
            Protocol::H2c => Flavour::H2,
            // A parent is asked in HTTP/1.1, and the others are not.
            Protocol::Client if want.h2 && !self.forwards() => Flavour::H2,
            _ if want.grpc && want.h2 => Flavour::H2,
            _ => Flavour::H1,
        }
    }

    /// HTTP/2, or not known yet: one dial at a time.
    async fn lease_shared(self: &Arc<Self>, flavour: Flavour, want: Want, now: Tick) -> Result<Lease, Error> {
        if self.h2.is_full() {
            return Err(Error::new(ErrorKind::Overloaded).with_detail("every stream to the upstream is in use"));
        }
        let failures = self.h2.failures();
        let turn = self.h2.turn().await;
        if let Some(shared) = self.h2.take(&self.limits, now) {
            return Ok(Lease::h2(Arc::clone(self), shared, true));
        }
        if self.h2.is_full() {
            return Err(Error::new(ErrorKind::Overloaded).with_detail("every stream to the upstream is in use"));
        }
        if let Some(kind) = self.h2.failed_since(failures) {
            return Err(Error::new(kind).with_detail("the connection that others also waited for failed"));
        }
        if matches!(flavour, Flavour::Auto) && self.known.load(Relaxed) == HTTP1 {
            drop(turn);
            return match self.h1.take(&self.limits, now, want.absolute) {
                Some(idle) => Ok(Lease::h1(Arc::clone(self), idle, true)),
                None => self.dial(Flavour::H1, want, now).await,
            };
        }
        let lease = self.dial(flavour, want, now).await;
        if let Err(error) = &lease {
            self.h2.fail(error.kind);
        }
        drop(turn);
        lease
    }

    /// A connection outside the pool.
    pub(crate) async fn connect(&self, flavour: Flavour, within: Duration) -> Result<Connected, Error> {
        self.context.connector.connect(&self.destination, flavour, self.local, within).await
    }

    /// A stream to the destination itself. `spoken_to`: see [`Connector::tunnel`].
    ///
    /// [`Connector::tunnel`]: crate::connect::Connector::tunnel
    pub(crate) async fn tunnel(&self, spoken_to: bool, within: Duration) -> Result<Io, Error> {
        self.context.connector.tunnel(&self.destination, self.local, spoken_to, within).await
    }

    async fn dial(self: &Arc<Self>, flavour: Flavour, want: Want, now: Tick) -> Result<Lease, Error> {
        let place = Place::take(&self.state, self.limits.max_connections)?;
        if self.forwards() && !want.absolute && flavour == Flavour::H1 {
            let io = self.tunnel(true, want.within).await?;
            return h1::handshake(self, io, false, place, now).await;
        }
        let connected = self.connect(flavour, want.within).await?;
        let alpn = match (connected.alpn, flavour) {
            (Some(alpn), _) => alpn,
            (None, Flavour::H2) => Alpn::H2,
            (None, _) => Alpn::H1,
        };
        if self.destination.tls.is_some() && matches!(flavour, Flavour::Auto) {
            self.known.store(if matches!(alpn, Alpn::H2) { HTTP2 } else { HTTP1 }, Relaxed);
        }
        match alpn {
            Alpn::H1 => h1::handshake(self, connected.io, connected.absolute, place, now).await,
            Alpn::H2 => h2::handshake(self, connected.io, place, now).await,
        }
    }
}

impl Home for Pool {
    fn keep(self: Arc<Self>, io: Io) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let Ok(place) = Place::take(&self.state, self.limits.max_connections) else { return };
            let now = clock::now();
            // hyper shows one as ready only after its task ran.
            if let Ok(mut lease) = h1::handshake(&self, io, false, place, now).await
                && lease.ready().await
            {
                lease.give_back(now);
            }
        })
    }
}

/// One of the endpoint's connections; given back when the connection's task ends.
pub(crate) struct Place(Arc<State>);

impl Place {
    fn take(state: &Arc<State>, limit: u32) -> Result<Self, Error> {
        if state.connections.acquire(limit) {
            Ok(Self(Arc::clone(state)))
        } else {
            Err(Error::new(ErrorKind::Overloaded)
                .with_detail(format!("{limit} connections to {} are open", state.label)))
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.release();
    }
}

/// One idle connection of the process.
pub(crate) struct IdlePlace(Arc<Inflight>);

impl IdlePlace {
    fn take(idle: &Arc<Inflight>, limit: u32) -> Option<Self> {
        idle.acquire(limit).then(|| Self(Arc::clone(idle)))
    }
}

impl Drop for IdlePlace {
    fn drop(&mut self) {
        self.0.release();
    }
}
