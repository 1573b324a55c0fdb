//! From a destination to a stream: resolve, check, dial, agree on TLS, all within one time.
//!
//! The guard sits between the name and the dial and sees every address, and the dial goes to one of them:
//! a name is never resolved twice, so it cannot change its mind in between (rebinding). Our own dialing reads no
//! `HTTP_PROXY`, which points at ourselves; a proxy to go through is named on purpose (`parent`). Every failure here
//! means that nothing was sent.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use exchange::{Error, ErrorKind, Host, Io, clock};
use rustls_pki_types::ServerName;
use tokio::time::{Instant, timeout_at};

use self::parent::{Early, ask};
use crate::net::Net;

pub mod dns;
pub mod guard;
pub mod parent;
pub mod tcp;
pub mod tls;

pub use dns::Resolver;
pub use guard::Guard;
pub use parent::{Parent, Parents, Ways};
pub use tls::{Alpn, Flavour, Tls};

/// Where durations go.
pub trait Timings: Send + Sync {
    /// A name was resolved by asking, well or not.
    fn dns(&self, took: Duration);
    /// A stream was dialed, well or not.
    fn connect(&self, took: Duration);
    /// TLS was agreed on, well or not.
    fn tls(&self, took: Duration);
}

/// Measures nothing.
impl Timings for () {
    fn dns(&self, _: Duration) {}
    fn connect(&self, _: Duration) {}
    fn tls(&self, _: Duration) {}
}

/// What a connection is made to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
    /// How to speak TLS, and the name to verify; none for plain text.
    pub tls: Option<(Tls, ServerName<'static>)>,
    /// The proxy to go through; none: directly.
    pub parent: Option<Parent>,
}

/// A stream, ready for HTTP.
#[derive(Debug)]
pub struct Connected {
    /// The stream.
    pub io: Io,
    /// What was agreed on; none without TLS.
    pub alpn: Option<Alpn>,
    /// The address it goes to.
    pub addr: SocketAddr,
    /// It ends at the parent, so requests name their whole target.
    pub absolute: bool,
}

/// Makes connections.
#[derive(Clone)]
pub struct Connector {
    /// Where streams come from.
    pub net: Arc<dyn Net>,
    /// Names to addresses.
    pub resolver: Arc<Resolver>,
    /// Where not to connect to.
    pub guard: Arc<Guard>,
    /// Where durations go.
    pub timings: Arc<dyn Timings>,
    /// The ways out of what is asked in our own name; endpoints bring theirs.
    pub ways: Ways,
}

impl Destination {
    /// A destination that verifies `host`, or what `tls` says instead.
    pub fn new(host: Host, port: u16, tls: Option<Tls>) -> Result<Self, Error> {
        let tls = match tls {
            Some(tls) => {
                let name = tls.server_name(&host)?;
                Some((tls, name))
            }
            None => None,
        };
        Ok(Self { host, port, tls, parent: None })
    }

    /// `host:port`, with brackets where there must be some.
    fn shown(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The same through the parent that leads there, if one does.
    #[must_use]
    pub fn through(mut self, parents: &Parents) -> Self {
        self.parent = parents.of(&self.host, self.port);
        self
    }
}

impl Connector {
    /// Connects to `dest`, for HTTP; everything together takes at most `within`.
    ///
    /// `client_local`: the client is on this machine, or the operator wrote the destination. Dropping the future
    /// drops the dials; a name being resolved goes on for whoever asks next.
    pub async fn connect(
        &self,
        dest: &Destination,
        flavour: Flavour,
        client_local: bool,
        within: Duration,
    ) -> Result<Connected, Error> {
        let time = Time::new(within);
        let (io, addr, absolute) = match &dest.parent {
            None => self.dial(dest, client_local, &time).await.map(|(io, addr)| (io, addr, false))?,
            Some(parent) => {
                let absolute = dest.tls.is_none() && flavour != Flavour::H2;
                let (io, addr) = self.reach(parent, dest, client_local, &time).await?;
                let early = if dest.tls.is_none() { Early::Kept } else { Early::Refused };
                let io = if absolute { io } else { time.within(parent, ask(parent, &dest.shown(), io, early)).await? };
                (io, addr, absolute)
            }
        };
        match &dest.tls {
            None => Ok(Connected { io, alpn: None, addr, absolute }),
            Some(tls) => {
                let (io, alpn) = self.secure(dest, tls, flavour, (io, addr), &time).await?;
                Ok(Connected { io, alpn: Some(alpn), addr, absolute })
            }
        }
    }

    /// A stream whose other end is `dest` itself, without TLS of ours, also behind a parent. `spoken_to`: it is this end
    /// that begins, so that what comes before is not from there.
    pub async fn tunnel(
        &self,
        dest: &Destination,
        client_local: bool,
        spoken_to: bool,
        within: Duration,
    ) -> Result<Io, Error> {
        let time = Time::new(within);
        let Some(parent) = &dest.parent else { return Ok(self.dial(dest, client_local, &time).await?.0) };
        let (io, _) = self.reach(parent, dest, client_local, &time).await?;
        let early = if spoken_to { Early::Refused } else { Early::Kept };
        time.within(parent, ask(parent, &dest.shown(), io, early)).await
    }

    async fn dial(&self, dest: &Destination, client_local: bool, time: &Time) -> Result<(Io, SocketAddr), Error> {
        let addrs = self.addresses(dest, client_local, time).await?;
        let start = clock::now();
        let dialed = tcp::connect(&*self.net, &addrs, time.until).await;
        self.timings.connect(clock::now().since(start));
        dialed
    }

    async fn secure(
        &self,
        dest: &Destination,
        (tls, name): &(Tls, ServerName<'static>),
        flavour: Flavour,
        (io, addr): (Io, SocketAddr),
        time: &Time,
    ) -> Result<(Io, Alpn), Error> {
        let start = clock::now();
        let agreed = timeout_at(time.until, tls.handshake(name.clone(), flavour, io)).await;
        self.timings.tls(clock::now().since(start));
        agreed.unwrap_or_else(|_| {
            let detail = format!("tls handshake with {} ({addr}) took longer than {:?}", dest.host, time.all);
            Err(Error::new(ErrorKind::ConnectTimeout).with_detail(detail))
        })
    }

    /// A stream to the parent of a destination that a client may reach, as far as its name or address tells.
    async fn reach(
        &self,
        parent: &Parent,
        dest: &Destination,
        client_local: bool,
        time: &Time,
    ) -> Result<(Io, SocketAddr), Error> {
        match &dest.host {
            Host::Ip(ip) => self.guard.check(&dest.host, &[SocketAddr::new(*ip, dest.port)], client_local)?,
            Host::Name(name) => {
                self.guard.check_host(&dest.host, dest.port)?;
                dns::check(name)?;
            }
        }
        // What it would be refused without is not even asked.
        parent.authorization()?;
        let at = parent.at();
        let reached = async {
            let (io, addr) = self.dial(at, true, time).await?;
            let Some(tls) = &at.tls else { return Ok((io, addr)) };
            let (io, _) = self.secure(at, tls, Flavour::H1, (io, addr), time).await?;
            Ok((io, addr))
        };
        reached.await.map_err(|error: Error| {
            let why = error.detail().unwrap_or_else(|| error.kind.text().into());
            Error::new(error.kind).with_detail(format!("the parent proxy {parent}: {why}"))
        })
    }

    /// The checked addresses of a destination, in the order they are tried.
    async fn addresses(&self, dest: &Destination, client_local: bool, time: &Time) -> Result<Vec<SocketAddr>, Error> {
        if let Some(answer) = self.overridden(&dest.host) {
            // The operator's word: as good as a client on this machine, but never a loop.
            let addrs = vec![SocketAddr::new(answer.ip, answer.port.unwrap_or(dest.port))];
            self.guard.check(&dest.host, &addrs, true)?;
            return Ok(addrs);
        }
        self.guard.check_host(&dest.host, dest.port)?;
        let addrs = match &dest.host {
            Host::Ip(ip) => vec![SocketAddr::new(*ip, dest.port)],
            Host::Name(name) => tcp::order(&self.resolve(name, time).await?, dest.port),
        };
        self.guard.check(&dest.host, &addrs, client_local)?;
        Ok(addrs)
    }

    fn overridden(&self, host: &Host) -> Option<dns::Override> {
        match host {
            Host::Name(name) => self.resolver.overridden(name),
            Host::Ip(ip) => self.resolver.overridden(&ip.to_string()),
        }
    }

    async fn resolve(&self, name: &str, time: &Time) -> Result<Arc<[IpAddr]>, Error> {
        let start = clock::now();
        if let Some(known) = self.resolver.known(name, start) {
            return known;
        }
        let resolved = timeout_at(time.until, self.resolver.resolve(name, start)).await;
        self.timings.dns(clock::now().since(start));
        resolved.unwrap_or_else(|_| {
            let detail = format!("{name}: the name servers did not answer within {:?}", time.all);
            Err(Error::new(ErrorKind::DnsTimeout).with_detail(detail))
        })
    }
}

/// What everything together may take.
struct Time {
    until: Instant,
    all: Duration,
}

impl Time {
    fn new(all: Duration) -> Self {
        Self { until: Instant::now() + all, all }
    }

    async fn within(&self, parent: &Parent, asked: impl Future<Output = Result<Io, Error>>) -> Result<Io, Error> {
        timeout_at(self.until, asked).await.unwrap_or_else(|_| {
            let detail = format!("the parent proxy {parent} did not answer within {:?}", self.all);
            Err(Error::new(ErrorKind::ConnectTimeout).with_detail(detail))
        })
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("guard", &self.guard).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
