//! From a destination to a stream.

pub mod dns;
pub mod guard;
pub mod tcp;
