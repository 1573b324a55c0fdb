//! The proxies that requests leave through.

use super::{Auth, Destination, Tls, Url};

/// A proxy and who goes through it; the first that a destination may take is its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Parent {
    /// `http` or `https`, without a path.
    pub url: Url,
    /// Bearer or basic, as `Proxy-Authorization`.
    pub auth: Option<Auth>,
    /// Empty: all that is not on this machine.
    pub only: Vec<Destination>,
    pub except: Vec<Destination>,
    pub tls: Tls,
}
