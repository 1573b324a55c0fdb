//! Decisions as pure state machines: no clock, no randomness, no socket of their own.

pub mod tick;

pub use tick::Tick;
