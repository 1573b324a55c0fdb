//! Interception: the inside of a tunnel as the proxy's own to serve, for hosts whose route says so.
//!
//! Off unless asked for, by host. What makes it possible is an authority that the client was told to trust; what it
//! signs lives a day, and only for the name of the tunnel it is shown in. A host that nobody named is carried untouched.

mod authority;
mod files;
mod identity;
mod refusals;
mod serve;

use std::sync::Arc;

pub use self::authority::{Authority, Generated, generate};
pub use self::files::usual;
pub use self::identity::Identity;
pub use self::refusals::Refusal;
pub(crate) use self::serve::Opening;

/// Says in the log who signs from now on, if it is somebody else than before.
pub(crate) fn announce(now: Option<&Arc<Authority>>, before: Option<&Arc<Authority>>) {
    match (now, before) {
        (Some(now), before) if before.is_none_or(|before| !Arc::ptr_eq(now, before)) => {
            let Identity { subject, fingerprint, .. } = now.identity();
            tracing::info!(subject, sha256 = fingerprint, "tunnels are opened where `intercept` says so");
        }
        (None, Some(_)) => tracing::info!("no tunnel is opened any more"),
        _ => {}
    }
}
