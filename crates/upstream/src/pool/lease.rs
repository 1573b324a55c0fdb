//! The right to send one request on one connection.

use std::sync::Arc;

use exchange::{Body, Exchange};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use policy::Tick;

use super::{Pool, h1, h2};

/// A response, or the request back if provably none of it was written.
pub(crate) type Received = Result<Response<Incoming>, TrySendError<Request<Body>>>;

/// What a request is sent with, by the version of HTTP.
pub(crate) enum Sender<'a> {
    H1(&'a mut http1::SendRequest<Body>),
    H2(&'a mut http2::SendRequest<Body>),
}

/// A leased connection. Dropped, it closes (HTTP/1.1) or frees its stream (HTTP/2).
pub struct Lease {
    pool: Arc<Pool>,
    connection: Connection,
    /// It had served before.
    pub reused: bool,
    /// It serves no further request, though it may end well.
    pub last: bool,
}

enum Connection {
    H1(h1::Connection),
    H2(h2::Stream),
}

impl Lease {
    pub(super) fn h1(pool: Arc<Pool>, connection: h1::Connection, reused: bool) -> Self {
        Self { pool, connection: Connection::H1(connection), reused, last: false }
    }

    pub(super) fn h2(pool: Arc<Pool>, stream: h2::Stream, reused: bool) -> Self {
        Self { pool, connection: Connection::H2(stream), reused, last: false }
    }

    /// It speaks HTTP/2.
    pub(crate) fn is_h2(&self) -> bool {
        matches!(self.connection, Connection::H2(_))
    }

    /// It ends at a parent.
    pub(crate) fn is_absolute(&self) -> bool {
        matches!(&self.connection, Connection::H1(connection) if connection.absolute)
    }

    /// What the upstream says before its final answer is for this exchange, which comes next on the connection.
    ///
    /// hyper's HTTP/2 client drops all that comes before a final answer: nobody would hear that a body is wanted, so it
    /// goes on at once.
    pub(crate) fn listen(&self, exchange: &Arc<Exchange>) {
        match &self.connection {
            Connection::H1(connection) => connection.ear.listen(exchange),
            Connection::H2(_) => exchange.want(),
        }
    }

    /// What sends a request on it.
    pub(crate) fn sender(&mut self) -> Sender<'_> {
        match &mut self.connection {
            Connection::H1(connection) => Sender::H1(&mut connection.sender),
            Connection::H2(stream) => Sender::H2(&mut stream.sender),
        }
    }

    /// Waits until it takes a request; `false`: it has closed.
    pub(super) async fn ready(&mut self) -> bool {
        match &mut self.connection {
            Connection::H1(connection) => connection.sender.ready().await.is_ok(),
            Connection::H2(stream) => stream.sender.ready().await.is_ok(),
        }
    }

    /// No new request goes onto this connection.
    pub(crate) fn retire(&self) {
        if let Connection::H2(stream) = &self.connection {
            stream.retire();
        }
    }

    /// Closes it after an answer that came before the request was sent whole. An HTTP/2 stream ends with its bodies.
    pub(crate) fn close(self) {
        if let Connection::H1(connection) = &self.connection {
            connection.close();
        }
    }

    /// Gives it back after both bodies ended cleanly.
    pub fn give_back(self, now: Tick) {
        match self.connection {
            Connection::H1(_) if self.last => {}
            Connection::H1(connection) => h1::give_back(&self.pool, connection, now),
            Connection::H2(stream) => stream.used(now),
        }
    }
}
