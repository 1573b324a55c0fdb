//! Interception: the inside of a tunnel as the proxy's own to serve, for hosts whose route says so.
//!
//! Off unless asked for, by host. What makes it possible is an authority that the client was told to trust; what it
//! signs lives a day, and only for the name of the tunnel it is shown in. A host that nobody named is carried untouched.

mod authority;
mod files;
mod identity;
mod refusals;
mod serve;

pub use self::authority::{Authority, Generated, generate};
pub use self::files::usual;
pub use self::identity::Identity;
pub use self::refusals::Refusal;
pub(crate) use self::serve::Opening;
