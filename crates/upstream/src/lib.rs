//! Picks an endpoint of an upstream and performs one attempt on it.

pub mod connect;
pub mod net;
