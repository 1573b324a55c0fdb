//! Picks an endpoint and performs one attempt: from a request with a fixed target to a response, or an error
//! that says how much of the request may have been acted on.

mod attempt;
pub mod connect;
pub mod endpoint;
pub mod fetch;
pub mod health;
pub mod net;
pub mod pool;
pub mod registry;
pub mod set;
pub mod timers;
pub mod upstream;
pub mod worker;

pub use connect::Connector;
pub use endpoint::{Context, Endpoint, Protocol};
pub use pool::Pool;
pub use upstream::{Params, Upstream};
