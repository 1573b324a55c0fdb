//! A finished exchange for tests.

use std::sync::Arc;
use std::time::Duration;

use exchange::{Attempt, Authority, Client, Door, ErrorKind, Exchange, Head};
use http::uri::PathAndQuery;
use http::{Method, Version};
use policy::Tick;

/// When exchanges of tests begin.
pub(crate) const START: Tick = Tick::from_nanos(100_000_000_000_000);

/// A GET of `path` at `https://api.test` from `10.0.0.9:4711`.
pub(crate) fn exchange(path: &'static str) -> Exchange {
    Exchange::new(head(Method::GET, path), None)
}

/// Its head, for tests that need another.
pub(crate) fn head(method: Method, path: &'static str) -> Head {
    Head {
        id: 0x00ab_cdef_0123_4567,
        started: START,
        door: Door::Forward,
        client: Client { addr: Some(([10, 0, 0, 9], 4711).into()), local: false, peer: None },
        version: Version::HTTP_11,
        method,
        tls: true,
        authority: Authority::parse("api.test").expect("valid"),
        path: PathAndQuery::from_static(path),
        upgrade: false,
        grpc: false,
    }
}

/// An attempt from `at` to `at + took`, both in milliseconds after the start.
pub(crate) fn attempt(at: u64, took: u64, result: Result<u16, ErrorKind>) -> Attempt {
    Attempt {
        endpoint: Arc::from("192.0.2.1:443"),
        started: after(at),
        took: Duration::from_millis(took),
        result,
        reused: true,
        hedge: false,
    }
}

/// So many milliseconds after the start.
pub(crate) fn after(millis: u64) -> Tick {
    START + Duration::from_millis(millis)
}
