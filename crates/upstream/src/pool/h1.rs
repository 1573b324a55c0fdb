//! Idle HTTP/1.1 connections: last in, first out.
//!
//! hyper's connection task closes a connection that becomes readable while idle, so a closed sender is all we
//! need to look at. A connection whose task has not yet seen the end of its last exchange is passed over.

use std::sync::Arc;

use exchange::hush::Drowsy;
use exchange::{Body, Error, ErrorKind, Io};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use policy::Tick;
use telemetry::metrics::{Proto, Side};
use tokio::task::JoinHandle;

use super::ear::{Ear, Heard};
use super::{IdlePlace, Lease, Limits, Place, Pool};

/// Largest response header section that is read.
pub(super) const MAX_HEADER_BYTES: usize = 64 * 1024;
/// For each direction: what is read ahead for a client that stopped reading.
const BUFFER: usize = 128 * 1024;

/// A connection between two requests.
pub(crate) struct Connection {
    pub sender: SendRequest<Body>,
    pub born: Tick,
    pub ear: Arc<Ear>,
    /// It ends at a parent: requests name their whole target.
    pub absolute: bool,
    task: JoinHandle<()>,
}

impl Connection {
    /// Closes it now. hyper would keep it open for a request body that is still being sent, for as long as an upstream
    /// that has answered neither reads nor closes.
    pub(super) fn close(&self) {
        self.task.abort();
    }
}

struct Parked {
    connection: Connection,
    since: Tick,
    _place: IdlePlace,
}

/// The idle ones.
#[derive(Default)]
pub(super) struct Idle(Mutex<Vec<Parked>>);

impl Idle {
    pub(super) fn take(&self, limits: &Limits, now: Tick, absolute: bool) -> Option<Connection> {
        let mut parked = self.0.lock();
        let mut index = parked.len();
        while index > 0 {
            index -= 1;
            let Parked { connection, since, .. } = &parked[index];
            if connection.sender.is_closed() || is_over(limits, connection.born, *since, now) {
                parked.remove(index);
            } else if connection.absolute == absolute && connection.sender.is_ready() {
                return Some(parked.remove(index).connection);
            }
        }
        None
    }

    fn put(&self, connection: Connection, limits: &Limits, place: IdlePlace, now: Tick) {
        let mut parked = self.0.lock();
        if parked.len() >= limits.max_idle {
            parked.remove(0);
        }
        parked.push(Parked { connection, since: now, _place: place });
    }

    pub(super) fn sweep(&self, limits: &Limits, now: Tick) {
        self.0.lock().retain(|Parked { connection, since, .. }| {
            !connection.sender.is_closed() && !is_over(limits, connection.born, *since, now)
        });
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }
}

fn is_over(limits: &Limits, born: Tick, since: Tick, now: Tick) -> bool {
    now.since(since) >= limits.idle_timeout || now.since(born) >= limits.max_age
}

/// Gives a connection back after a clean exchange.
pub(super) fn give_back(pool: &Pool, connection: Connection, now: Tick) {
    if connection.sender.is_closed() || now.since(connection.born) >= pool.limits.max_age {
        return;
    }
    if let Some(place) = IdlePlace::take(&pool.context.idle, pool.limits.max_idle_process) {
        pool.h1.put(connection, &pool.limits, place, now);
    }
}

/// What an upstream switched protocols on: its connection, without hyper.
pub fn taken(upgraded: Upgraded) -> Option<Io> {
    let parts = upgraded.downcast::<TokioIo<Heard>>().ok()?;
    Some(parts.io.into_inner().into_inner().rewound(parts.read_buf))
}

pub(super) async fn handshake(
    pool: &Arc<Pool>,
    io: Io,
    absolute: bool,
    place: Place,
    now: Tick,
) -> Result<Lease, Error> {
    let ear = Arc::<Ear>::default();
    let (sender, connection) = Builder::new()
        .max_header_size(MAX_HEADER_BYTES)
        .max_buf_size(BUFFER)
        .handshake(TokioIo::new(Heard::new(io, Arc::clone(&ear))))
        .await
        .map_err(|error| Error::new(ErrorKind::Protocol).with_source(error))?;
    let open = pool.context.stats.connection(Side::Upstream, Proto::H1);
    let task = tokio::spawn(async move {
        // An error of the connection reaches the request that is on it; an idle one just ends.
        let _ = Drowsy::new(connection.with_upgrades()).await;
        drop((place, open));
    });
    Ok(Lease::h1(Arc::clone(pool), Connection { sender, born: now, ear, absolute, task }, false))
}
