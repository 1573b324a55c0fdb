//! What tests need twice: the proxy in this process, scripted upstreams, strict clients, certificates.
//!
//! Nothing here sleeps in order to wait. Whoever waits, waits for an event under [`PATIENCE`], and says what there
//! was instead when it is over. Every port is the system's choice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

pub mod certs;
pub mod child;
pub mod client;
pub mod flaky;
pub mod inside;
pub mod issuer;
pub mod load;
pub mod metrics;
pub mod nowhere;
pub mod oracle;
pub mod origin;
pub mod port;
pub mod proxy;
pub mod upstream;
pub mod wait;
pub mod websocket;
pub mod wire;

pub use certs::Certs;
pub use client::{Client, End, H2, Response};
pub use inside::Inside;
pub use metrics::Metrics;
pub use nowhere::Nowhere;
pub use port::{BlackHole, Port};
pub use proxy::Proxy;
pub use upstream::{Reply, Seen, Upstream};
pub use wait::{Gate, PATIENCE, eventually, within};
pub use websocket::proof as websocket_proof;
