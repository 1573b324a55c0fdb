//! Decisions as pure state machines: no clock, no randomness, no socket of their own.
//!
//! A state here is nothing but counters, `Send + Sync` and free of locks, shared between workers through an
//! `Arc` that somebody else owns. The numbers that steer it are passed in on each call, so that a reload
//! changes thresholds without forgetting what was measured.

pub mod adaptive;
mod atomic;
pub mod backoff;
pub mod breaker;
pub mod budget;
pub mod health;
pub mod hedge;
pub mod inflight;
#[cfg(all(test, loom))]
mod interleavings;
pub mod latency;
pub mod outlier;
mod pad;
pub mod pick;
pub mod quantile;
#[cfg(test)]
mod race;
pub mod tick;

pub use tick::Tick;
