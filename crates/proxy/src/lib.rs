//! Wires the crates together and keeps them running.

pub mod admin;
mod bridge;
pub mod build;
mod certificates;
mod checks;
pub mod control;
mod edge;
pub mod explain;
mod house;
mod identities;
pub mod intercept;
mod keeper;
pub mod listener;
pub mod messages;
pub mod offline;
mod params;
mod permit;
mod places;
pub mod reach;
pub mod refused;
pub mod reload;
mod renewal;
pub mod route;
mod secrets;
pub mod snapshot;
pub mod solo;
pub mod stack;
pub mod state;
mod watch;
pub mod worker;
mod wrong;

/// How connections are made: the command line checks upstreams by the same rules.
pub use ::upstream::connect;
pub use control::{Bound, Ended, Running, Settings, StartError, start};
pub use explain::{Explanation, Question, answer, explain};
pub use house::check;
pub use intercept::Authority;
pub use keeper::probe::{Probed, probe};
/// An API key that did not exist before, and its SHA-256.
pub use middleware::authenticate::keys::fresh as fresh_key;
pub use wrong::Wrong;
