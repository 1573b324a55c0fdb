//! Who called, in the words of log and metrics.

use std::fmt::Write;

use exchange::Exchange;
use exchange::identity::Process;

/// Bytes of a name at most: a token says what its issuer likes.
const LONGEST: usize = 128;

/// Whom it showed itself to be, by its request or its certificate; not more of it than fits a line.
pub(crate) fn shown(exchange: &Exchange) -> Option<&str> {
    let principal =
        exchange.principal().map(|principal| if principal.name.is_empty() { &*principal.by } else { &*principal.name });
    let certificate = || exchange.head.client.peer.as_ref()?.certificate.as_ref()?.spiffe().map(|id| &**id);
    principal.or_else(certificate).map(|name| &name[..name.floor_char_boundary(LONGEST)])
}

/// The process it came from, if that is known.
pub(crate) fn process(exchange: &Exchange) -> Option<&Process> {
    exchange.head.client.peer.as_ref()?.process.as_ref()
}

/// Writes one name for whoever it was over `out`: what it showed, else `user:NAME` or `uid:N`; whether there is one.
pub(crate) fn name(exchange: &Exchange, out: &mut String) -> bool {
    out.clear();
    match (shown(exchange), process(exchange)) {
        (Some(shown), _) => out.push_str(shown),
        (None, Some(Process { user: Some(user), .. })) => {
            out.push_str("user:");
            out.push_str(user);
        }
        // Writing to memory does not fail.
        (None, Some(process)) => _ = write!(out, "uid:{}", process.uid),
        (None, None) => return false,
    }
    out.truncate(out.floor_char_boundary(LONGEST));
    true
}
