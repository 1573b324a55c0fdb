//! Label values as small numbers: counting is indexing, and the text exists only at the scrape.

use exchange::ErrorKind;
use http::Method;

/// The known methods; the last stands for all others.
const METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "OTHER"];

/// Status classes by their first digit; 0 is none of them.
pub(crate) const CLASSES: [&str; 6] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The upstream that stands for all hosts no route names.
const HOSTS: &str = "_default";

/// The endpoint of what has no series of its own.
pub(crate) const OTHER: &str = "_other";

/// The endpoint's label: clients choose the hosts that no route names, so these are one series.
pub(crate) fn endpoint<'a>(upstream: &str, endpoint: &'a str) -> &'a str {
    if upstream == HOSTS { OTHER } else { endpoint }
}

/// How many results an attempt may have: a class or a reason.
pub(crate) const RESULTS: usize = CLASSES.len() + ErrorKind::ALL.len();

/// The number of a method.
pub(crate) fn method(method: &Method) -> u8 {
    match *method {
        Method::GET => 0,
        Method::HEAD => 1,
        Method::POST => 2,
        Method::PUT => 3,
        Method::DELETE => 4,
        Method::CONNECT => 5,
        Method::OPTIONS => 6,
        Method::TRACE => 7,
        Method::PATCH => 8,
        _ => 9,
    }
}

/// The text of a method's number.
pub(crate) fn method_text(index: u8) -> &'static str {
    METHODS.get(usize::from(index)).copied().unwrap_or("OTHER")
}

/// The number of a status: itself, or 0 for what no status should be.
pub(crate) fn code(status: u16) -> u16 {
    if (100..600).contains(&status) { status } else { 0 }
}

/// The class of a status.
pub(crate) fn class(status: u16) -> usize {
    usize::from(code(status) / 100)
}

/// The number of a reason; 0 is none.
pub(crate) fn reason(kind: Option<ErrorKind>) -> u8 {
    kind.map_or(0, |kind| kind as u8 + 1)
}

/// The text of a reason's number.
pub(crate) fn reason_text(index: u8) -> &'static str {
    index.checked_sub(1).and_then(ErrorKind::from_index).map_or("", ErrorKind::label)
}

/// The number of an attempt's result.
pub(crate) fn result(result: Result<u16, ErrorKind>) -> usize {
    match result {
        Ok(status) => class(status),
        Err(kind) => CLASSES.len() + kind as usize,
    }
}

/// The text of a result's number.
pub(crate) fn result_text(index: usize) -> &'static str {
    match index.checked_sub(CLASSES.len()) {
        None => CLASSES[index],
        Some(kind) => ErrorKind::ALL.get(kind).map_or("other", |kind| kind.label()),
    }
}

/// The word for a breaker's state: 0 closed, 1 half-open, 2 open.
pub(crate) const fn breaker(state: u8) -> &'static str {
    match state {
        0 => "closed",
        1 => "half_open",
        _ => "open",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_and_result_has_its_own_text() {
        for (index, kind) in ErrorKind::ALL.iter().enumerate() {
            assert_eq!(reason_text(reason(Some(*kind))), kind.label(), "{index}");
            assert_eq!(result_text(result(Err(*kind))), kind.label(), "{index}");
        }
        assert_eq!(reason_text(reason(None)), "");
        assert_eq!(
            [99, 100, 204, 599, 600].map(|s| result_text(result(Ok(s)))),
            ["other", "1xx", "2xx", "5xx", "other"]
        );
    }

    #[test]
    fn methods_no_standard_names_are_one_value() {
        let brew = Method::from_bytes(b"BREW").expect("a token");

        assert_eq!(method_text(method(&brew)), "OTHER");
        for known in &METHODS[..9] {
            assert_eq!(method_text(method(&known.parse().expect("a token"))), *known);
        }
    }
}
