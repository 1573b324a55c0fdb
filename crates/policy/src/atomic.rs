//! The atomics that decisions of several workers meet in: the standard ones, or loom's, which try every interleaving.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --package attache-policy --lib interleavings` runs the models.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicI64, AtomicU32, AtomicU64};
pub(crate) use std::sync::atomic::Ordering;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64};
