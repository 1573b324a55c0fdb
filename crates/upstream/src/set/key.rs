//! What a request is hashed on, so that equal ones meet the same endpoint.

use exchange::{Body, Exchange};
use http::header::COOKIE;
use http::{HeaderName, Request};
use policy::pick;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashOn {
    /// A header's first value.
    Header(HeaderName),
    /// A cookie's value.
    Cookie(String),
    /// The client's address; all clients of a unix socket are one.
    Peer,
}

impl HashOn {
    /// The hash of a request; `None` for one without the header or cookie.
    pub(crate) fn of(&self, request: &Request<Body>) -> Option<u64> {
        match self {
            Self::Header(name) => request.headers().get(name).map(|value| pick::hash(value.as_bytes())),
            Self::Cookie(name) => {
                let fields = request.headers().get_all(COOKIE).into_iter();
                let mut pairs = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
                pairs.find_map(|pair| value(pair.trim_ascii(), name.as_bytes())).map(pick::hash)
            }
            Self::Peer => {
                let ip = Exchange::of(request).head.client.addr.map(|addr| addr.ip().to_canonical());
                Some(ip.map_or(0, |ip| pick::hash(ip.to_string().as_bytes())))
            }
        }
    }
}

fn value<'a>(pair: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    pair.strip_prefix(name)?.strip_prefix(b"=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        assert_eq!(value(b"id=7", b"id"), Some(&b"7"[..]));
        assert_eq!(value(b"id2=7", b"id"), None);
        assert_eq!(value(b"id", b"id"), None);
    }
}
