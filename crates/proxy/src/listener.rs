//! The client side: accept, recognise what is spoken, serve it under limits.

pub mod accept;
pub mod conn;
pub mod drain;
mod farewell;
pub mod h2;
pub mod hello;
pub mod io;
pub mod peer;
pub mod pulse;
pub mod sniff;
pub mod takeover;
pub mod tls;
