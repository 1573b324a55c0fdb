//! From a destination to a stream: resolve, check, dial, agree on TLS, all within one time.
//!
//! The guard sits between the name and the dial and sees every address, and the dial goes to one of them:
//! a name is never resolved twice, so it cannot change its mind in between (rebinding). Our own dialing reads no
//! `HTTP_PROXY`, which points at ourselves. Every failure here means that nothing was sent.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use exchange::{Error, ErrorKind, Host, Io, clock};
use rustls_pki_types::ServerName;
use tokio::time::{Instant, timeout_at};

use crate::net::Net;

pub mod dns;
pub mod guard;
pub mod tcp;
pub mod tls;

pub use dns::Resolver;
pub use guard::Guard;
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
        Ok(Self { host, port, tls })
    }
}

impl Connector {
    /// Connects to `dest`; everything together takes at most `within`.
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
        let until = Instant::now() + within;
        let addrs = self.addresses(dest, client_local, until, within).await?;

        let start = clock::now();
        let dialed = tcp::connect(&*self.net, &addrs, until).await;
        self.timings.connect(clock::now().since(start));
        let (io, addr) = dialed?;

        let Some((tls, name)) = &dest.tls else { return Ok(Connected { io, alpn: None, addr }) };
        let start = clock::now();
        let agreed = timeout_at(until, tls.handshake(name.clone(), flavour, io)).await;
        self.timings.tls(clock::now().since(start));
        let (io, alpn) = agreed.unwrap_or_else(|_| {
            let detail = format!("tls handshake with {} ({addr}) took longer than {within:?}", dest.host);
            Err(Error::new(ErrorKind::ConnectTimeout).with_detail(detail))
        })?;
        Ok(Connected { io, alpn: Some(alpn), addr })
    }

    /// The checked addresses of a destination, in the order they are tried.
    async fn addresses(
        &self,
        dest: &Destination,
        client_local: bool,
        until: Instant,
        within: Duration,
    ) -> Result<Vec<SocketAddr>, Error> {
        if let Some(answer) = self.overridden(&dest.host) {
            // The operator's word: as good as a client on this machine, but never a loop.
            let addrs = vec![SocketAddr::new(answer.ip, answer.port.unwrap_or(dest.port))];
            self.guard.check(&dest.host, &addrs, true)?;
            return Ok(addrs);
        }
        self.guard.check_host(&dest.host, dest.port)?;
        let addrs = match &dest.host {
            Host::Ip(ip) => vec![SocketAddr::new(*ip, dest.port)],
            Host::Name(name) => tcp::order(&self.resolve(name, until, within).await?, dest.port),
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

    async fn resolve(&self, name: &str, until: Instant, within: Duration) -> Result<Arc<[IpAddr]>, Error> {
        let start = clock::now();
        if let Some(known) = self.resolver.known(name, start) {
            return known;
        }
        let resolved = timeout_at(until, self.resolver.resolve(name, start)).await;
        self.timings.dns(clock::now().since(start));
        resolved.unwrap_or_else(|_| {
            let detail = format!("{name}: the name servers did not answer within {within:?}");
            Err(Error::new(ErrorKind::DnsTimeout).with_detail(detail))
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
