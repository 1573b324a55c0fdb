//! The vocabulary of one request and its response: what every layer, from the edge to the socket, speaks.

pub mod authority;
pub mod body;
pub mod classify;
pub mod clock;
pub mod detour;
pub mod error;
pub mod exchange;
pub mod headers;
pub mod hush;
pub mod identity;
pub mod interim;
pub mod io;
pub mod load;
pub mod problem;
pub mod proxy_status;
pub mod race;
pub mod random;
pub mod rate;
pub mod renew;
pub mod service;

pub use authority::{Authority, Host};
pub use body::{Body, End, Finish};
pub use error::{Error, ErrorKind, Repeat, Sent};
pub use exchange::{Attempt, Client, Door, Exchange, Head};
pub use identity::{Peer, Principal};
pub use interim::Interim;
pub use io::Io;
pub use load::Load;
pub use random::Random;
pub use rate::Rate;
pub use renew::Renew;
pub use service::{ArcService, ResponseFuture};
