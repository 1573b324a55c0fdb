//! Named upstreams: their endpoints, and how one of them is picked.

use std::time::Duration;

use super::*;

/// A named upstream, shared by routes.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    pub name: String,
    pub origin: String,
    /// All of one scheme; at least one.
    pub endpoints: Vec<Url>,
    /// Of each endpoint; the lowest number that is well enough takes the requests.
    pub priorities: Vec<u32>,
    pub balance: Balance,
    /// What a ring goes by.
    pub hash_on: Option<HashOn>,
    /// The time over which an endpoint that comes back grows into its share.
    pub slow_start: Option<Duration>,
    /// `None`: nobody asks.
    pub health: Option<Health>,
    /// `None`: `outlier: false`.
    pub outlier: Option<Outlier>,
    /// Share of the endpoints, 0..=1, that may be left out.
    pub max_ejected: f64,
    pub tls: Tls,
}

/// How endpoints are asked whether they are well.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    pub ask: HealthAsk,
    pub every: Duration,
    pub timeout: Duration,
    /// Good checks in a row that bring an endpoint back.
    pub healthy: u32,
    /// Failed checks in a row that leave it out.
    pub unhealthy: u32,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum HealthAsk {
    /// A path; statuses in these inclusive ranges are good.
    Http {
        path: String,
        host: Option<String>,
        expect: Vec<(u16, u16)>,
    },
    Tcp,
    /// A service of the gRPC health protocol; empty for all.
    Grpc(String),
}

/// When an endpoint fails so much more than the others that it is left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlier {
    /// Share of failures, 0..=1, above that of the others.
    pub margin: f64,
    pub min_requests: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Balance {
    #[default]
    P2c,
    LeastRequest,
    RoundRobin,
    Random,
    /// Named upstreams only; `Upstream::hash_on` says by what.
    Ring,
}

/// What makes requests equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashOn {
    Peer,
    /// Lower-case.
    Header(String),
    Cookie(String),
}
