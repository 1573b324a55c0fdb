//! What a route does to its requests.

use super::*;

/// Everything a route and the default share.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Who may; empty: everyone who can reach the listener.
    pub allow: Vec<Rule>,
    /// `None`: what callers show is neither read nor stripped.
    pub authenticate: Option<Authenticate>,
    /// `None`: nobody else is asked.
    pub authorize: Option<Authorize>,
    pub rewrite: Rewrite,
    pub timeout: Timeout,
    /// `None`: a client has no say, but for `grpc-timeout`.
    pub deadline: Option<Deadline>,
    /// `None`: `retry: false`.
    pub retry: Option<Retry>,
    /// `None`: off, as for the default route always: a host is one endpoint.
    pub hedge: Option<Hedge>,
    /// `None`: `breaker: false`.
    pub breaker: Option<Breaker>,
    pub limit: Limit,
    pub balance: Balance,
    pub auth: Option<Auth>,
    /// Lower-case origins, `https://app.example.com`.
    pub browser_origins: Vec<String>,
    pub headers: Headers,
    /// `None`: not a response is touched.
    pub compress: Option<Compress>,
    /// The same.
    pub decompress: Option<Decompress>,
    /// `None`: nothing is broken on purpose.
    pub fault: Option<Fault>,
    /// Only of routes.
    pub mirror: Option<Mirror>,
    /// In the order in which they are asked; only of routes.
    pub fallback: Vec<Fallback>,
    pub tls: Tls,
    /// Rewrite `Location: https://<this route's host>` back to http, and drop HSTS, on a plain http client side.
    pub rewrite_location: bool,
    /// Tunnels to the host are opened; `None`: as the default has it, and there: not.
    pub intercept: Option<bool>,
}

impl Default for Policy {
    /// That of a named route which sets nothing.
    fn default() -> Self {
        crate::check::unset(crate::check::PolicyKind::Route)
    }
}

impl Policy {
    /// That of the default route: no attempt and no total timeout.
    pub fn pass() -> Self {
        crate::check::unset(crate::check::PolicyKind::Default)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Rewrite {
    pub host: Option<String>,
    /// The whole path (the query stays).
    pub path: Option<String>,
    /// Replaces the matched prefix.
    pub prefix: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout {
    pub connect: Duration,
    pub attempt: Option<Duration>,
    pub total: Option<Duration>,
    /// Without a byte in either direction of a response or request body.
    pub idle: Duration,
    /// The same for tunnels and upgraded streams.
    pub tunnel_idle: Duration,
}

/// Header names, lower-case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadline {
    pub header: String,
    /// `None`: not passed on.
    pub out: Option<String>,
}

/// A second try while the first is late.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hedge {
    pub after: HedgeAfter,
    /// Second tries, as a share of the requests, 0..=1.
    pub budget: f64,
}

/// How late the first is then.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HedgeAfter {
    Fixed(Duration),
    /// Longer than this share of the destination's answers took lately, 0..=1.
    Percentile(f64),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Tries including the first; at least 1.
    pub attempts: u32,
    /// Inclusive ranges of statuses that are retried; 429 only with `Retry-After`.
    pub statuses: Vec<(u16, u16)>,
    pub conditions: Conditions,
    /// Methods that may be repeated after a byte was sent.
    pub methods: Vec<String>,
    /// gRPC status codes.
    pub grpc: Vec<u16>,
    /// Response headers, lower-case, any of which asks for a retry.
    pub headers: Vec<(String, ValueMatch)>,
    /// The request header, lower-case, that sets `attempts`.
    pub attempts_header: Option<String>,
    pub backoff: Duration,
    pub max_backoff: Duration,
    pub budget: Budget,
    /// Bytes of request body kept for a replay.
    pub body_limit: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    pub connect_failure: bool,
    /// Reset or closed before the response head.
    pub reset: bool,
    pub refused_stream: bool,
    pub timeout: bool,
}

/// Retries allowed: `ratio` of requests plus `per_second`, over ten seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    pub ratio: f64,
    pub per_second: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Breaker {
    /// Failures of any kind in a row; `None`: 5 connect-level failures in a row.
    pub failures: Option<u32>,
    /// Share of failures, 0..=1, that trips with at least `min_requests` in the window.
    pub rate: f64,
    pub min_requests: u32,
    pub slow: Option<Slow>,
    pub open: Duration,
    pub max_open: Duration,
    /// Successes in a row that close it again.
    pub probes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slow {
    pub over: Duration,
    pub rate: f64,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Limit {
    /// `None`: a fixed ceiling to each endpoint.
    pub concurrency: Option<u32>,
    /// `concurrency`, or the ceiling, is the most; how much really is found out.
    pub adaptive: bool,
    /// Only with `concurrency` or `adaptive`.
    pub queue: Option<Queue>,
    pub rate: Option<Rate>,
    /// Waits for limits that the upstream announced.
    pub pacing: bool,
}

/// So many in a time, in each of what it counts by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    pub count: u32,
    pub period: Duration,
    pub burst: u32,
    pub per: Per,
    /// Others for some callers, only by identity; the first that fits.
    pub special: Vec<RateFor>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateFor {
    pub who: Who,
    pub count: u32,
    pub period: Duration,
    pub burst: u32,
}

/// What has a rate of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Per {
    Route,
    /// By address.
    Client,
    /// By whom it showed itself to be, its certificate or its user; nobody known is one.
    Identity,
    /// By host and port that the client asks for.
    Destination,
    /// By the value of this header, lower-case.
    Header(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    pub size: usize,
    pub timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Headers {
    pub request: HeaderEdit,
    pub response: HeaderEdit,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct HeaderEdit {
    pub set: Vec<(String, String)>,
    pub add: Vec<(String, String)>,
    pub remove: Vec<String>,
}

/// Content codings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Algorithms {
    pub gzip: bool,
    pub br: bool,
    pub zstd: bool,
}

/// Compression of responses towards the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compress {
    pub algorithms: Algorithms,
    pub min_size: usize,
    /// Lower-case media types with one `*` at most.
    pub types: Vec<String>,
}

/// Decoding of the upstream's responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decompress {
    pub algorithms: Algorithms,
    /// Decoded bytes of one response.
    pub max_size: usize,
}
