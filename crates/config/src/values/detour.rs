//! What a fallback stands in for.

use super::http::statuses;
use super::{Flaw, flaw};
use crate::model::{On, REASONS};
use crate::table::nearest;

/// Failures that no fallback ever sees, and why.
const NEVER: &[(&[&str], &str)] = &[
    (&["truncated"], "the answer has begun by then"),
    (&["client_gone"], "nobody waits for an answer"),
    (&["destination_blocked", "forbidden", "unauthenticated", "misdirected"], "what is not allowed stays refused"),
    (&["no_route", "loop", "draining", "internal", "parent_proxy"], "it does not come from an upstream"),
    (
        &["bad_request", "header_too_large", "uri_too_long", "client_timeout", "expectation", "upgrade_refused"],
        "it is the client's",
    ),
    (&["too_large", "unsupported"], "it is the client's"),
];

/// A reason of the failure table, or a status as `retry` takes them.
pub(crate) fn on(text: &str) -> Result<On, Flaw> {
    if let Some(reason) = REASONS.iter().find(|reason| **reason == text) {
        return Ok(On::Reason(reason));
    }
    if let Ok((first, last)) = statuses(text) {
        return Ok(On::Statuses(first, last));
    }
    if let Some((_, why)) = NEVER.iter().find(|(words, _)| words.contains(&text)) {
        return flaw(format!("`{text}` never has a fallback: {why}"), "remove it");
    }
    let help = match nearest(&text.replace('-', "_"), REASONS.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("write a status such as `503` or `5xx`, or one of {}", REASONS.join(", ")),
    };
    flaw(format!("`{text}` is no failure and no status"), help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_and_statuses_are_told_apart() {
        assert_eq!(on("connect_refused").ok(), Some(On::Reason("connect_refused")));
        assert_eq!(on("5xx").ok(), Some(On::Statuses(500, 599)));
        assert_eq!(on("404").ok(), Some(On::Statuses(404, 404)));
        let help = |text| on(text).err().map(|flaw| flaw.help).unwrap_or_default();
        assert_eq!(help("conect_refused"), "did you mean `connect_refused`?");
        assert_eq!(help("breaker-open"), "did you mean `breaker_open`?");
        assert_eq!(help("truncated"), "remove it");
        assert!(help("anything at all").starts_with("write a status"));
    }
}
