//! Connections and tunnels that are open now, and why others were not taken.
//!
//! Gauges are counted by guards: whoever holds the socket holds the guard, and dropping it is always right.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use super::shard::Shard;

/// Which side of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// From clients.
    Client,
    /// To upstreams.
    Upstream,
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proto {
    /// HTTP/1.
    H1,
    /// HTTP/2.
    H2,
    /// Bytes.
    Tunnel,
    /// Not known yet.
    Sniff,
}

/// Which way bytes go, as seen from the client: `in` is what it sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the upstream.
    In,
    /// From the upstream to the client.
    Out,
}

/// Why a connection ended before it had a request of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Its address is not among the listener's `clients`.
    Forbidden,
    /// The connection cap is reached.
    Overloaded,
    /// Not HTTP: hyper's 400.
    BadRequest,
    /// hyper's 408, or a head that took too long.
    ClientTimeout,
    /// hyper's 414.
    UriTooLong,
    /// hyper's 431.
    HeaderTooLarge,
    /// No first bytes in time.
    SniffTimeout,
    /// The TLS handshake with the client failed, or it speaks TLS to a port that does not.
    Tls,
    /// The TLS handshake with the client took too long.
    TlsTimeout,
    /// Something else than TLS was spoken to a port with TLS.
    NotTls,
    /// The client showed no certificate where one is required, or a bad one.
    ClientCertificate,
}

impl Side {
    pub(super) const ALL: [Self; 2] = [Self::Client, Self::Upstream];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
        }
    }
}

impl Proto {
    pub(super) const ALL: [Self; 4] = [Self::H1, Self::H2, Self::Tunnel, Self::Sniff];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::H1 => "h1",
            Self::H2 => "h2",
            Self::Tunnel => "tunnel",
            Self::Sniff => "sniff",
        }
    }
}

impl Direction {
    pub(super) const ALL: [Self; 2] = [Self::In, Self::Out];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

impl Rejection {
    pub(super) const ALL: [Self; 11] = [
        Self::Forbidden,
        Self::Overloaded,
        Self::BadRequest,
        Self::ClientTimeout,
        Self::UriTooLong,
        Self::HeaderTooLarge,
        Self::SniffTimeout,
        Self::Tls,
        Self::TlsTimeout,
        Self::NotTls,
        Self::ClientCertificate,
    ];

    /// The word used in metric and message.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::Overloaded => "overloaded",
            Self::BadRequest => "bad_request",
            Self::ClientTimeout => "client_timeout",
            Self::UriTooLong => "uri_too_long",
            Self::HeaderTooLarge => "header_too_large",
            Self::SniffTimeout => "sniff_timeout",
            Self::Tls => "tls",
            Self::TlsTimeout => "tls_timeout",
            Self::NotTls => "not_tls",
            Self::ClientCertificate => "client_certificate",
        }
    }
}

/// What is open now.
#[derive(Debug, Default)]
pub(super) struct Open {
    connections: [[AtomicI64; Proto::ALL.len()]; Side::ALL.len()],
    tunnels: AtomicI64,
}

impl Open {
    pub(super) fn connections(&self, side: Side, proto: Proto) -> i64 {
        self.connections[side as usize][proto as usize].load(Relaxed)
    }

    pub(super) fn tunnels(&self) -> i64 {
        self.tunnels.load(Relaxed)
    }

    fn add(&self, side: Side, proto: Proto, by: i64) {
        self.connections[side as usize][proto as usize].fetch_add(by, Relaxed);
    }
}

/// An open connection; counted until it is dropped.
#[derive(Debug)]
pub struct Connection {
    shard: Arc<Shard>,
    side: Side,
    proto: Proto,
}

impl Connection {
    pub(super) fn new(shard: Arc<Shard>, side: Side, proto: Proto) -> Self {
        shard.open.add(side, proto, 1);
        Self { shard, side, proto }
    }

    /// It turned out to speak `proto`.
    pub fn speaks(&mut self, proto: Proto) {
        self.shard.open.add(self.side, self.proto, -1);
        self.shard.open.add(self.side, proto, 1);
        self.proto = proto;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shard.open.add(self.side, self.proto, -1);
    }
}

/// A running tunnel; counted until it is dropped.
#[derive(Debug)]
pub struct Tunnel(Arc<Shard>);

impl Tunnel {
    pub(super) fn new(shard: Arc<Shard>) -> Self {
        shard.open.tunnels.fetch_add(1, Relaxed);
        Self(shard)
    }

    /// Counts bytes that passed.
    pub fn passed(&self, direction: Direction, bytes: u64) {
        self.0.tunnel_bytes[direction as usize].add(bytes);
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.0.open.tunnels.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metrics;

    #[test]
    fn a_connection_counts_where_it_is_and_until_it_is_dropped() {
        let shard = Metrics::new("test").shard();
        let open = |proto| shard.open.connections(Side::Client, proto);

        let mut first = shard.connection(Side::Client, Proto::Sniff);
        let second = shard.connection(Side::Client, Proto::Sniff);
        assert_eq!((open(Proto::Sniff), open(Proto::H2)), (2, 0));
        first.speaks(Proto::H2);
        assert_eq!((open(Proto::Sniff), open(Proto::H2)), (1, 1));

        drop((first, second));

        assert_eq!((open(Proto::Sniff), open(Proto::H2)), (0, 0));
    }

    #[test]
    fn the_lists_are_in_the_order_of_the_discriminants() {
        assert!(Side::ALL.iter().enumerate().all(|(at, side)| at == *side as usize));
        assert!(Proto::ALL.iter().enumerate().all(|(at, proto)| at == *proto as usize));
        assert!(Direction::ALL.iter().enumerate().all(|(at, direction)| at == *direction as usize));
        assert!(Rejection::ALL.iter().enumerate().all(|(at, why)| at == *why as usize));
    }
}
