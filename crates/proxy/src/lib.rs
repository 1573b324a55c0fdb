//! Wires the crates together and keeps them running.

pub mod admin;
mod bridge;
pub mod build;
pub mod control;
mod edge;
pub mod explain;
mod house;
pub mod listener;
mod params;
pub mod reload;
pub mod route;
mod secrets;
pub mod snapshot;
pub mod stack;
pub mod state;
pub mod worker;

pub use control::{Bound, Ended, Running, Settings, StartError, start};
pub use explain::{Explanation, explain};
pub use house::check;
