//! The egress guard: where this proxy never connects to, whoever asks.
//!
//! A proxy on a trusted machine is a way around its firewall, so it decides by address, after resolution, on
//! every answer at once: a name with one bad answer is refused whole, since the next dial could take that one.
//! The connection then goes to a checked address and the name is not resolved again.
//!
//! In order: our own listeners (always a loop); addresses in `allow`; addresses nobody may reach (metadata
//! services, link-local, unspecified, multicast); names in `allow`; `deny`; private ranges, for remote clients.
//! A name in `allow` lifts `deny` and the private rule but not the third one: whoever controls a name's
//! records must not thereby reach a metadata service. Name the network in `allow` for that.
//!
//! An IPv6 address that carries an IPv4 one is judged as both (see `forms`). A translator with a prefix of
//! its own (RFC 6052) cannot be recognised: deny that prefix.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use exchange::{Error, ErrorKind, Host};
use ipnet::IpNet;
use parking_lot::RwLock;

mod ranges;

/// One entry of `allow` or `deny`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it is about.
    pub pattern: Pattern,
    /// Only this port; all when absent.
    pub port: Option<u16>,
}

/// What a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Every destination.
    Any,
    /// The addresses of a network.
    Net(IpNet),
    /// One name, lower case.
    Exact(Box<str>),
    /// Every name below this one, never itself: `example.com` for `*.example.com`.
    Suffix(Box<str>),
}

/// What the operator decided.
#[derive(Clone, Debug, Default)]
pub struct Params {
    /// Refused.
    pub deny: Vec<Rule>,
    /// Exceptions to `deny` and to the built-in rules; not a closed list.
    pub allow: Vec<Rule>,
    /// Our own listeners and admin; see [`Guard::set_own`].
    pub own: Vec<SocketAddr>,
}

/// The rules, ready to be asked.
pub struct Guard {
    rules: RwLock<Arc<Rules>>,
    own: RwLock<Arc<[SocketAddr]>>,
    is_here: fn(IpAddr) -> bool,
}

struct Rules {
    deny: Vec<Rule>,
    allow: Vec<Rule>,
}

impl Rules {
    fn settled(deny: Vec<Rule>, allow: Vec<Rule>) -> Self {
        let settled = |rules: Vec<Rule>| rules.into_iter().map(Rule::settled).collect();
        Self { deny: settled(deny), allow: settled(allow) }
    }
}

impl Guard {
    /// A guard with these rules.
    pub fn new(params: Params) -> Self {
        let Params { deny, allow, own } = params;
        Self { rules: RwLock::new(Arc::new(Rules::settled(deny, allow))), own: RwLock::new(own.into()), is_here }
    }

    /// Replaces what the operator decided; the next connection is judged by it.
    pub fn set_rules(&self, deny: Vec<Rule>, allow: Vec<Rule>) {
        *self.rules.write() = Arc::new(Rules::settled(deny, allow));
    }

    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read())
    }

    /// Replaces the list of our own listeners, once they are bound.
    pub fn set_own(&self, own: Vec<SocketAddr>) {
        *self.own.write() = own.into();
    }

    /// Whether a client may reach this name at all, before it is resolved.
    pub fn check_host(&self, host: &Host, port: u16) -> Result<(), Error> {
        let Some(name) = host.name() else { return Ok(()) };
        let name = name.trim_end_matches('.');
        if self.rules().allow.iter().any(|rule| rule.names(name, port)) {
            return Ok(());
        }
        if ranges::METADATA_NAMES.contains(&name) {
            return Err(blocked(format!("{name} is a metadata service, list it in destinations.allow to reach it")));
        }
        match self.rules().deny.iter().find(|rule| rule.names(name, port)) {
            Some(rule) => Err(blocked(format!("{name} is refused by destinations.deny: {rule}"))),
            None => Ok(()),
        }
    }

    /// Whether a client may reach this host at **all** of these addresses.
    ///
    /// `client_local`: the client is on this machine, or the operator wrote the address.
    pub fn check(&self, host: &Host, addrs: &[SocketAddr], client_local: bool) -> Result<(), Error> {
        if let Some(first) = addrs.first() {
            self.check_host(host, first.port())?;
        }
        let own = Arc::clone(&self.own.read());
        for addr in addrs {
            let given = addr.ip().to_canonical();
            for form in ranges::forms(given) {
                self.check_loop(host, *addr, form, &own)?;
                if let Some(rule) = self.refusal(host, form, addr.port(), client_local) {
                    return Err(blocked(Refusal { host, given, form, rule }.to_string()));
                }
            }
        }
        Ok(())
    }

    fn check_loop(&self, host: &Host, addr: SocketAddr, form: IpAddr, own: &[SocketAddr]) -> Result<(), Error> {
        let is_own = |own: &SocketAddr| {
            let ip = own.ip().to_canonical();
            let covers = if ip.is_unspecified() { (self.is_here)(form) } else { ip == form };
            // To connect to the unspecified address is to connect to loopback.
            covers || (form.is_unspecified() && ip.is_loopback())
        };
        if own.iter().filter(|own| own.port() == addr.port()).any(is_own) {
            let detail = format!("{host} leads to {addr}, a listener of this proxy");
            return Err(Error::new(ErrorKind::Loop).with_detail(detail));
        }
        Ok(())
    }

    fn refusal(&self, host: &Host, ip: IpAddr, port: u16, client_local: bool) -> Option<Cow<'static, str>> {
        let rules = self.rules();
        let listed = |rule: &Rule| matches!(rule.pattern, Pattern::Net(_)) && rule.holds(ip, port);
        if rules.allow.iter().any(listed) {
            return None;
        }
        if let Some(reserved) = ranges::reserved(ip) {
            return Some(reserved.into());
        }
        let name = host.name().unwrap_or_default().trim_end_matches('.');
        if rules.allow.iter().any(|rule| rule.names(name, port)) {
            return None;
        }
        if let Some(rule) = rules.deny.iter().find(|rule| rule.holds(ip, port)) {
            return Some(format!("destinations.deny: {rule}").into());
        }
        let private = ranges::private(ip).filter(|_| !client_local)?;
        Some(format!("{private}, which only clients on this machine may reach").into())
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = Arc::clone(&self.own.read());
        let rules = self.rules();
        f.debug_struct("Guard").field("deny", &rules.deny).field("allow", &rules.allow).field("own", &own).finish()
    }
}

impl Rule {
    /// A rule for every port.
    pub const fn new(pattern: Pattern) -> Self {
        Self { pattern, port: None }
    }

    /// Whether it is about this destination, as far as its name or address tells.
    pub(super) fn is_about(&self, host: &Host, port: u16) -> bool {
        match host {
            Host::Name(name) => self.names(name.trim_end_matches('.'), port),
            Host::Ip(ip) => self.holds(ip.to_canonical(), port),
        }
    }

    /// An exact "name" that is an address is a network of one.
    pub(super) fn settled(self) -> Self {
        let Pattern::Exact(text) = &self.pattern else { return self };
        match text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(ip) => Self { pattern: Pattern::Net(ip.into()), port: self.port },
            Err(_) => self,
        }
    }

    fn names(&self, name: &str, port: u16) -> bool {
        self.port.is_none_or(|only| only == port)
            && match &self.pattern {
                Pattern::Exact(exact) => **exact == *name,
                Pattern::Suffix(suffix) => name.strip_suffix(&**suffix).is_some_and(|head| head.ends_with('.')),
                Pattern::Any => true,
                Pattern::Net(_) => false,
            }
    }

    fn holds(&self, ip: IpAddr, port: u16) -> bool {
        self.port.is_none_or(|only| only == port)
            && match &self.pattern {
                Pattern::Any => true,
                Pattern::Net(net) => net.contains(&ip),
                Pattern::Exact(_) | Pattern::Suffix(_) => false,
            }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pattern {
            Pattern::Any => f.write_str("*")?,
            Pattern::Net(net) => net.fmt(f)?,
            Pattern::Exact(name) => f.write_str(name)?,
            Pattern::Suffix(suffix) => write!(f, "*.{suffix}")?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// `name leads to address (a form of v4): rule`, without repeating what is the same.
struct Refusal<'a> {
    host: &'a Host,
    given: IpAddr,
    form: IpAddr,
    rule: Cow<'static, str>,
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, given, form, rule } = self;
        match host {
            Host::Name(name) => write!(f, "{name} leads to {given}")?,
            Host::Ip(_) => write!(f, "{given}")?,
        }
        if form != given {
            write!(f, ", a form of {form}")?;
        }
        write!(f, ": {rule}")
    }
}

fn blocked(detail: String) -> Error {
    Error::new(ErrorKind::DestinationBlocked).with_detail(detail)
}

/// Whether this machine has the address. Routing tells: to one of its own addresses, the kernel takes that
/// same address as the source. Connecting a datagram socket sends nothing. Only asked about the port of a
/// wildcard listener of ours.
fn is_here(ip: IpAddr) -> bool {
    let any: SocketAddr = if ip.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let source = || {
        let socket = UdpSocket::bind(any)?;
        socket.connect((ip, 9))?;
        socket.local_addr()
    };
    ip.is_loopback() || ip.is_unspecified() || source().is_ok_and(|source| source.ip() == ip)
}

#[cfg(test)]
mod tests;
