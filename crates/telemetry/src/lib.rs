//! Makes outcomes visible: metrics, the access log, messages.
//!
//! One finished exchange goes through one [`Observer`]. Counting costs atomics in this worker's own shard, logging
//! costs bytes appended to this worker's own buffer; summing, encoding and writing happen elsewhere.

pub mod access_log;
mod caller;
pub mod expose;
#[cfg(test)]
mod fixture;
mod labels;
pub mod metrics;
pub mod observer;
mod outcome;
pub mod stamp;
pub mod trace;

pub use access_log::AccessLog;
pub use metrics::{Metrics, RouteStats, Shard};
pub use observer::Observer;
