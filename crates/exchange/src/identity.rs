//! Who calls, as far as it is proven: by the connection, and by what the request showed.
//!
//! A connection may prove a process (the kernel says so) and a certificate (the handshake did); both stand for all of its
//! requests. A request may prove a principal: a token, a key, a password that one of the configured ways accepted. What
//! is not known is absent, and nothing that is absent may ever count as a match.

use std::sync::Arc;

use serde_json::{Map, Value};

pub mod who;

pub use self::who::{Caller, Who};

/// The process at the other end of a connection on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The effective user when it connected: by the kernel, never by the client.
    pub uid: u32,
    /// The name of that user, if the system has one.
    pub user: Option<Arc<str>>,
    /// Which process; it may have ended, and another may have its number by now.
    pub pid: Option<u32>,
    /// Its systemd unit, `backup.service`.
    pub unit: Option<Arc<str>>,
    /// Its control group's path, `/system.slice/backup.service`.
    pub cgroup: Option<Arc<str>>,
    /// The identifier of its container, 64 hexadecimal digits.
    pub container: Option<Arc<str>>,
}

/// A client certificate that the handshake verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// Subject alternative names: hosts.
    pub dns: Vec<Arc<str>>,
    /// Subject alternative names: URIs, SPIFFE ids among them.
    pub uris: Vec<Arc<str>>,
}

impl Certificate {
    /// The workload's SPIFFE id: there is at most one in a certificate that is an SVID (SPIFFE X.509-SVID section 2).
    pub fn spiffe(&self) -> Option<&Arc<str>> {
        let mut ids = self.uris.iter().filter(|uri| uri.starts_with("spiffe://"));
        ids.next().filter(|_| ids.next().is_none())
    }
}

/// By which kind of proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proof {
    /// A signed token (RFC 7519).
    Jwt,
    /// An API key.
    Key,
    /// A name and a password (RFC 7617).
    Basic,
}

/// Whom a request showed itself to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Principal {
    /// How.
    pub proof: Proof,
    /// The name, in the configuration, of what accepted it.
    pub by: Arc<str>,
    /// The token's `sub`, the key's or the user's name; empty for a token without.
    pub name: Arc<str>,
    /// What a token says; empty for the others.
    pub claims: Map<String, Value>,
}

/// What a connection proves of who is at its other end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Peer {
    /// The process, on this machine.
    pub process: Option<Process>,
    /// The certificate, where the listener asks for one.
    pub certificate: Option<Certificate>,
    /// Inside a tunnel: what the CONNECT showed.
    pub principal: Option<Arc<Principal>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_with_two_spiffe_ids_has_none() {
        let certificate = |uris: &[&str]| Certificate {
            uris: uris.iter().map(|uri| Arc::from(*uri)).collect(),
            ..Certificate::default()
        };

        assert_eq!(
            certificate(&["https://a.test", "spiffe://a.test/b"]).spiffe().map(|id| &**id),
            Some("spiffe://a.test/b")
        );
        assert_eq!(certificate(&["spiffe://a.test/b", "spiffe://a.test/c"]).spiffe(), None);
        assert_eq!(certificate(&[]).spiffe(), None);
    }
}
