//! The checked model: every value present, in its final unit, with nothing left to refuse.
//!
//! `build` turns it into the running snapshot. Nothing here knows about files, YAML or TOML.

mod auth;
mod detour;
mod identity;
mod parent;
mod policy;
mod upstream;
mod who;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

pub use self::auth::*;
pub use self::detour::*;
pub use self::identity::*;
pub use self::parent::*;
pub use self::policy::*;
pub use self::upstream::*;
pub use self::who::*;

/// A whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    pub listen: Vec<Listener>,
    pub admin: Option<Address>,
    pub admin_rights: Rights,
    /// Who may do all over a unix socket, besides root and the process's own user.
    pub admin_users: Vec<User>,
    /// Several users of the machine use it.
    pub shared: bool,
    pub metrics: Metrics,
    /// `None`: min(4, cores within the quota).
    pub workers: Option<usize>,
    /// Lower-case host to an address; without a port the request's own is used.
    pub resolve: BTreeMap<String, Resolve>,
    pub default: DefaultRoute,
    pub identities: Vec<Identity>,
    pub routes: Vec<Route>,
    pub upstreams: Vec<Upstream>,
    pub server: Server,
    pub destinations: Destinations,
    /// Of `intercept`; `None`: where `attache ca init` puts it.
    pub ca: Option<Certificate>,
    /// The first that a destination may take is its own; none: it is dialed directly.
    pub parents: Vec<Parent>,
    pub drain: Duration,
    pub log: Log,
}

impl Model {
    /// Whether tunnels to any host are opened.
    pub fn intercepts(&self) -> bool {
        let policies = self.routes.iter().map(|route| &route.policy).chain([&self.default.policy]);
        policies.into_iter().any(|policy| policy.intercept == Some(true))
    }
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

/// What the file of a unix socket lets others do; `None`: what the process gives its files.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Rights {
    pub mode: Option<u32>,
    /// By name or number.
    pub group: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    pub address: Address,
    pub rights: Rights,
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
    /// By what its connection proves; `None`: anyone.
    pub who: Option<Who>,
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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Url {
    pub scheme: Scheme,
    /// Lower-case name, IPv4, or IPv6 without brackets.
    pub host: String,
    /// Always filled in (80 / 443 by scheme).
    pub port: u16,
    /// Begins with `/`, does not end in `/`; empty = none.
    pub base: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    Http,
    Https,
    /// HTTP/2 without TLS, by prior knowledge.
    H2c,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// `None`: on the admin address only.
    pub address: Option<SocketAddr>,
    /// Callers that are counted by their names; 0: nobody is.
    pub identities: usize,
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
