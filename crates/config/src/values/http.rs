//! Parts of requests and responses: paths, patterns, methods, statuses, headers.

use http::{HeaderName, HeaderValue, Method};
use regex_automata::meta::Regex;

use super::{Flaw, flaw};
use crate::model::{HashOn, PathMatch, ValueMatch};

/// Largest compiled form of one pattern.
const REGEX_LIMIT: usize = 1 << 20;

/// A path to send: begins with `/`.
pub(crate) fn path(text: &str) -> Result<String, Flaw> {
    if !text.starts_with('/') {
        return flaw(format!("`{text}` does not begin with `/`"), format!("write `/{text}`"));
    }
    plain_path(text)?;
    Ok(text.to_owned())
}

/// `/exact`, `/prefix/`, `~regex`.
pub(crate) fn path_match(text: &str) -> Result<PathMatch, Flaw> {
    if let Some(pattern) = text.strip_prefix('~') {
        return regex(pattern).map(PathMatch::Regex);
    }
    if text.contains('*') {
        return flaw(format!("`{text}` has a `*`"), "end in `/` for a prefix, begin with `~` for a regular expression");
    }
    path(text).map(|path| if path.ends_with('/') { PathMatch::Prefix(path) } else { PathMatch::Exact(path) })
}

/// Whether every byte may stand in a path as it is.
pub(super) fn plain_path(text: &str) -> Result<(), Flaw> {
    match text.bytes().find(|b| !b.is_ascii_graphic() || b"\"<>\\^`{|}#?".contains(b)) {
        Some(b) => flaw(format!("`{}` cannot stand in a path", b.escape_ascii()), "percent-encode it"),
        None => Ok(()),
    }
}

/// A pattern that compiles within its limit.
fn regex(pattern: &str) -> Result<String, Flaw> {
    let limits = Regex::config().nfa_size_limit(Some(REGEX_LIMIT)).onepass_size_limit(Some(REGEX_LIMIT));
    match Regex::builder().configure(limits).build(pattern) {
        Ok(_) => Ok(pattern.to_owned()),
        Err(error) => {
            let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            let cause = cause.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            flaw(format!("`{pattern}` is no regular expression: {cause}"), "escape special characters with `\\`")
        }
    }
}

/// `*` for present, `~regex`, or the exact value.
pub(crate) fn value_match(text: &str) -> Result<ValueMatch, Flaw> {
    match text.strip_prefix('~') {
        Some(pattern) => regex(pattern).map(ValueMatch::Regex),
        None if text == "*" => Ok(ValueMatch::Present),
        None => Ok(ValueMatch::Exact(text.to_owned())),
    }
}

/// A method, upper-case.
pub(crate) fn method(text: &str) -> Result<String, Flaw> {
    let upper = text.to_ascii_uppercase();
    match Method::from_bytes(upper.as_bytes()) {
        Ok(_) => Ok(upper),
        Err(_) => flaw(format!("`{text}` is no method"), "write a method such as `GET`"),
    }
}

/// `429`, `5xx`, `500-504`, as an inclusive range.
pub(crate) fn statuses(text: &str) -> Result<(u16, u16), Flaw> {
    let one = |t: &str| t.parse::<u16>().ok().filter(|s| t.len() == 3 && (200..=599).contains(s));
    let class = text.to_ascii_lowercase();
    let range = match (class.strip_suffix("xx"), text.split_once('-')) {
        (Some(digit), _) => match digit.parse::<u16>() {
            Ok(digit @ 2..=5) if class.len() == 3 => Some((digit * 100, digit * 100 + 99)),
            _ => None,
        },
        (None, Some((low, high))) => one(low).zip(one(high)).filter(|(low, high)| low <= high),
        (None, None) => one(text).map(|s| (s, s)),
    };
    range.map_or_else(|| flaw(format!("`{text}` is no status"), "write `429`, `5xx` or `500-504`"), Ok)
}

/// The names of gRPC's status codes, in the order of their numbers.
const GRPC: [&str; 17] = [
    "ok",
    "cancelled",
    "unknown",
    "invalid-argument",
    "deadline-exceeded",
    "not-found",
    "already-exists",
    "permission-denied",
    "resource-exhausted",
    "failed-precondition",
    "aborted",
    "out-of-range",
    "unimplemented",
    "internal",
    "unavailable",
    "data-loss",
    "unauthenticated",
];

/// A gRPC status by name or number, other than `ok`.
pub(crate) fn grpc(text: &str) -> Result<u16, Flaw> {
    let plain = text.to_ascii_lowercase().replace('_', "-");
    let number = GRPC.iter().position(|name| *name == plain).or_else(|| plain.parse().ok());
    match number.and_then(|n| u16::try_from(n).ok()) {
        Some(code @ 1..=16) => Ok(code),
        _ => flaw(format!("`{text}` is no gRPC status that can be retried"), "write a name such as `unavailable`"),
    }
}

/// A header name, lower-case.
pub(crate) fn header_name(text: &str) -> Result<String, Flaw> {
    match HeaderName::from_bytes(text.as_bytes()) {
        Ok(name) => Ok(name.as_str().to_owned()),
        Err(_) => flaw(format!("`{text}` is no header name"), "use letters, digits and `-`"),
    }
}

/// What a ring goes by: `peer`, `header:<name>` or `cookie:<name>`.
pub(crate) fn hash_on(text: &str) -> Result<HashOn, Flaw> {
    match text.split_once(':') {
        None if text == "peer" => Ok(HashOn::Peer),
        Some(("header", name)) => header_name(name.trim()).map(HashOn::Header),
        Some(("cookie", name)) if header_name(name.trim()).is_ok() => Ok(HashOn::Cookie(name.trim().to_owned())),
        _ => flaw(format!("`{text}` is nothing to hash on"), "write `peer`, `header:x-user` or `cookie:session`"),
    }
}

/// A header name that may be edited.
pub(crate) fn edited_header(text: &str) -> Result<String, Flaw> {
    let name = header_name(text)?;
    match name.as_str() {
        "connection"
        | "keep-alive"
        | "proxy-connection"
        | "proxy-authorization"
        | "proxy-authenticate"
        | "te"
        | "trailer"
        | "transfer-encoding"
        | "upgrade"
        | "content-length" => flaw(
            format!("`{text}` belongs to one connection or to the framing"),
            "remove it: the proxy writes it itself",
        ),
        "host" => flaw("`host` is part of the target", "use `rewrite: {host: ...}`"),
        _ => Ok(name),
    }
}

/// A header value without control characters.
pub(crate) fn header_value(text: &str) -> Result<String, Flaw> {
    match HeaderValue::from_str(text) {
        Ok(_) if text.trim() == text => Ok(text.to_owned()),
        _ => Err(Flaw {
            message: "a header value with control characters, or spaces around it".to_owned(),
            help: "keep it on one line, without tabs, line breaks and outer spaces".to_owned(),
            secret: true,
        }),
    }
}

/// A media type, lower-case; one `*` stands for anything.
pub(crate) fn media(text: &str) -> Result<String, Flaw> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"!#$&^_.+-*".contains(&b);
    let is_type = text
        .split_once('/')
        .is_some_and(|(kind, sub)| !kind.is_empty() && !sub.is_empty() && kind.bytes().chain(sub.bytes()).all(fine));
    if !is_type || text.matches('*').count() > 1 {
        return flaw(
            format!("`{text}` is no media type"),
            "write one such as `application/json`, with one `*` at most",
        );
    }
    Ok(text.to_ascii_lowercase())
}

/// A `Location` to redirect to: an absolute URL or a path.
pub(crate) fn location(text: &str) -> Result<String, Flaw> {
    let absolute = text.starts_with('/') || text.split_once("://").is_some_and(|(s, _)| s == "http" || s == "https");
    if !absolute || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return flaw(format!("`{text}` is no location"), "write a URL or a path that begins with `/`");
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flawed<T>(result: Result<T, Flaw>) -> String {
        result.err().map(|f| f.message).unwrap_or_default()
    }

    #[test]
    fn paths_tell_exact_prefix_and_pattern_apart() {
        assert_eq!(path_match("/v1"), Ok(PathMatch::Exact("/v1".to_owned())));
        assert_eq!(path_match("/v1/"), Ok(PathMatch::Prefix("/v1/".to_owned())));
        assert_eq!(path_match("~/v[0-9]+"), Ok(PathMatch::Regex("/v[0-9]+".to_owned())));
        assert!(path_match("/v1/*").is_err());
        assert!(path_match("v1").is_err());
        assert!(flawed(path_match("~(")).contains("is no regular expression"));
        assert!(path_match("~(((a{1000}){1000}){1000})").is_err());
    }

    #[test]
    fn media_types_have_two_parts_and_one_star_at_most() {
        assert_eq!(media("Application/JSON"), Ok("application/json".to_owned()));
        assert!(["text/*", "application/*+json", "*/json"].iter().all(|text| media(text).is_ok()));
        assert!(
            ["text", "/", "text/", "*/*", "text/html;x=y", "a/b/c", "a b/c"].iter().all(|text| media(text).is_err())
        );
    }

    #[test]
    fn statuses_and_grpc_codes_are_ranges_and_names() {
        assert_eq!(statuses("5xx"), Ok((500, 599)));
        assert_eq!(statuses("500-504"), Ok((500, 504)));
        assert_eq!(statuses("429"), Ok((429, 429)));
        assert!(["600", "100", "5x", "504-500", "0429", "9xx"].iter().all(|s| statuses(s).is_err()));
        assert_eq!(grpc("UNAVAILABLE"), Ok(14));
        assert_eq!(grpc("deadline_exceeded"), Ok(4));
        assert!(grpc("ok").is_err());
    }
}
