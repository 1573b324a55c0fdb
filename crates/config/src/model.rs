//! The checked model: every value present, in its final unit, with nothing left to refuse.
//!
//! `build` turns it into the running snapshot. Nothing here knows about files, YAML or TOML.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

/// A whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    pub listen: Vec<Listener>,
    pub admin: Option<Address>,
    pub metrics: Option<SocketAddr>,
    /// `None`: min(4, cores within the quota).
    pub workers: Option<usize>,
    /// Lower-case host to an address; without a port the request's own is used.
    pub resolve: BTreeMap<String, Resolve>,
    pub default: DefaultRoute,
    pub routes: Vec<Route>,
    pub upstreams: Vec<Upstream>,
    pub server: Server,
    pub destinations: Destinations,
    pub drain: Duration,
    pub log: Log,
}

impl Default for Model {
    /// What applies without a configuration file.
    fn default() -> Self {
        let loaded = crate::parse(crate::EMBEDDED, "embedded", crate::Format::Yaml);
        loaded.expect("the embedded configuration is valid").model
    }
}

/// Where a name of `resolve:` leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolve {
    pub ip: std::net::IpAddr,
    pub port: Option<u16>,
}

/// A socket to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    pub address: Address,
    /// Who may connect; empty only for loopback and unix listeners.
    pub clients: Vec<IpNet>,
    /// `None`: plain.
    pub tls: Option<ListenerTls>,
}

/// TLS towards the clients of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// At least one; the first serves the names that none has.
    pub certificates: Vec<Certificate>,
    pub client_auth: ClientAuth,
    pub min: TlsVersion,
}

/// The files of a certificate with its chain, and of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Whether clients show a certificate, and the bundle that signs theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    Off,
    /// One that is shown must be good.
    Optional(PathBuf),
    Required(PathBuf),
}

/// The route of hosts that no route names.
#[derive(Clone, Debug, PartialEq)]
pub struct DefaultRoute {
    /// `false`: `default: deny`.
    pub pass: bool,
    pub policy: Policy,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The metric label and `/r/<name>/`; unique.
    pub name: String,
    /// `file:line` of the route, for `explain`.
    pub origin: String,
    pub matcher: Match,
    pub action: Action,
    pub policy: Policy,
}

/// What a request must look like; all parts must hold.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Match {
    pub host: HostMatch,
    pub path: PathMatch,
    /// Upper-case methods; empty = all.
    pub methods: Vec<String>,
    pub headers: Vec<(String, ValueMatch)>,
    pub query: Vec<(String, ValueMatch)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum HostMatch {
    #[default]
    Any,
    /// Lower-case, without port; with a port only requests to that port match.
    Exact { host: String, port: Option<u16> },
    /// The part after `*.`: `example.com`. Any depth below it, never the apex.
    Suffix { suffix: String, port: Option<u16> },
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum PathMatch {
    #[default]
    Any,
    Exact(String),
    /// Ends in `/`; matches itself and all below it.
    Prefix(String),
    /// A regular expression that must match the whole path.
    Regex(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueMatch {
    Present,
    Exact(String),
    Regex(String),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Sent on to the same host, scheme and port.
    Same,
    Targets(Vec<Target>),
    /// A name in `Model::upstreams`.
    Upstream(String),
    Redirect {
        status: u16,
        location: String,
    },
    Respond {
        status: u16,
        headers: Vec<(String, String)>,
        body: String,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub url: Url,
    /// `None` for all of a route's targets: balanced by `Policy::balance`; else share by weight.
    pub weight: Option<u32>,
}

/// `scheme://host[:port][/base]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub scheme: Scheme,
    /// Lower-case name, IPv4, or IPv6 without brackets.
    pub host: String,
    /// Always filled in (80 / 443 by scheme).
    pub port: u16,
    /// Begins with `/`, does not end in `/`; empty = none.
    pub base: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
    /// HTTP/2 without TLS, by prior knowledge.
    H2c,
}

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

/// Everything a route and the default share.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub rewrite: Rewrite,
    pub timeout: Timeout,
    /// `None`: `retry: false`.
    pub retry: Option<Retry>,
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
    pub tls: Tls,
    /// Rewrite `Location: https://<this route's host>` back to http, and drop HSTS, on a plain http client side.
    pub rewrite_location: bool,
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
}

/// What has a rate of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Per {
    Route,
    /// By address.
    Client,
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

#[derive(Clone, Debug, PartialEq)]
pub enum Auth {
    Bearer(Secret),
    Basic { user: String, password: Secret },
    Header { name: String, prefix: String, value: Secret },
}

/// Where a secret is read from; the secret itself is never in the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Secret {
    File(PathBuf),
    Env(String),
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Tls {
    /// PEM bundle instead of the system's roots.
    pub ca: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub sni: Option<String>,
    pub min: TlsVersion,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum TlsVersion {
    #[default]
    V12,
    V13,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub first_byte: Duration,
    pub header: Duration,
    pub idle: Duration,
    pub tls_handshake: Duration,
    pub body_idle: Duration,
    pub max_header_bytes: usize,
    pub max_headers: usize,
    pub max_connections: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destinations {
    pub deny: Vec<Destination>,
    /// Exceptions to `deny` and to the egress guard; not a closed list.
    pub allow: Vec<Destination>,
    /// Inclusive ranges.
    pub connect_ports: Vec<(u16, u16)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    Net(IpNet),
    Host(HostMatch),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    pub level: Level,
    /// For messages on stderr.
    pub json: bool,
    pub access: Access,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    pub sink: AccessSink,
    pub format: AccessFormat,
    /// Share of successful requests that are logged; failures always are.
    pub sample: f64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessSink {
    Off,
    Stdout,
    File(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessFormat {
    /// Text on a terminal, else JSON lines.
    Auto,
    Json,
    Text,
}
