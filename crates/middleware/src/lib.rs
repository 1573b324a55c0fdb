//! One layer a file: what is decided about a request between the edge and its upstream.
//!
//! No layer names another. They meet in the stack, and through what the `Exchange` records.

pub mod allow;
pub mod authenticate;
pub mod authorize;
pub mod browser;
pub mod compress;
pub mod concurrency;
pub mod credentials;
pub mod deadline;
pub mod decompress;
pub mod fallback;
pub mod fault;
pub mod headers;
pub mod hedge;
pub mod mirror;
pub mod observe;
pub mod pacing;
pub mod rate_limit;
pub mod redirect;
pub mod respond;
pub mod retry;
pub mod target;

mod coding;
mod grpc_timeout;
mod original;
mod request_timeout;
mod retry_after;
#[cfg(test)]
mod testing;

pub use coding::Algorithms;
