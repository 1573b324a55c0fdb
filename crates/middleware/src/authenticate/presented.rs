//! What a client shows, read from a field's value and no further than its form (RFC 6750 section 2.1, RFC 7617 section 2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, header};

/// No token or password is longer, as it is written.
pub(super) const MAX: usize = 16 * 1024;

/// A credential, by its form.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Presented<'a> {
    /// `Bearer`, or the whole value of a header of its own.
    Bearer(&'a str),
    /// `Basic`.
    Basic { user: String, password: String },
    /// A form of ours that does not hold what it should.
    Broken(&'static str),
    /// Another scheme.
    Other,
}

/// Reads the value of an authentication field.
pub(super) fn read(value: &HeaderValue) -> Presented<'_> {
    if value.len() > MAX + "Bearer ".len() {
        return Presented::Broken("the credential is longer than 16 KiB");
    }
    let Ok(text) = value.to_str() else { return Presented::Broken("the credential is not ASCII") };
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    if scheme.eq_ignore_ascii_case("bearer") {
        // 1*SP.
        return bearer(rest.trim_start_matches(' '));
    }
    if scheme.eq_ignore_ascii_case("basic") {
        return basic(rest.trim_start_matches(' '));
    }
    Presented::Other
}

/// Reads the value of a header that holds nothing but a token or key; the word `Bearer` before it is no harm.
pub(super) fn raw(value: &HeaderValue) -> Presented<'_> {
    match read(value) {
        Presented::Other | Presented::Basic { .. } => match value.to_str() {
            Ok(text) => bearer(text),
            Err(_) => Presented::Broken("the credential is not ASCII"),
        },
        read => read,
    }
}

/// What follows the usual `Bearer ` in `field` (`None`: ours as a proxy), or all of a header of its own; unread.
pub(super) fn token<'v>(field: Option<&HeaderName>, value: &'v HeaderValue) -> Option<&'v [u8]> {
    match value.as_bytes().split_at_checked("Bearer ".len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"Bearer ") => Some(token),
        _ => field.filter(|field| **field != header::AUTHORIZATION).map(|_| value.as_bytes()),
    }
}

/// Reads what stands in `field`.
pub(super) fn of<'v>(field: &HeaderName, value: &'v HeaderValue) -> Presented<'v> {
    if *field == header::AUTHORIZATION { read(value) } else { raw(value) }
}

fn bearer(token: &str) -> Presented<'_> {
    match token {
        "" => Presented::Broken("the credential is empty"),
        token if token.len() > MAX => Presented::Broken("the credential is longer than 16 KiB"),
        token if token.bytes().any(|byte| byte.is_ascii_whitespace()) => {
            Presented::Broken("the credential has a blank in it")
        }
        token => Presented::Bearer(token),
    }
}

fn basic(encoded: &str) -> Presented<'static> {
    let Ok(bytes) = STANDARD.decode(encoded) else { return Presented::Broken("Basic is not followed by base64") };
    let Ok(text) = String::from_utf8(bytes) else { return Presented::Broken("name and password are not UTF-8") };
    let Some((user, password)) = text.split_once(':') else {
        return Presented::Broken("there is no colon between name and password");
    };
    if text.chars().any(char::is_control) {
        return Presented::Broken("name or password has a control character");
    }
    Presented::Basic { user: user.to_owned(), password: password.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(value: &str) -> bool {
        matches!(read(&HeaderValue::from_str(value).expect("a value")), Presented::Broken(_))
    }

    #[test]
    fn both_schemes_are_read_whatever_their_case() {
        let read = |value: &'static str| format!("{:?}", read(&HeaderValue::from_static(value)));

        assert_eq!(read("bearer  a.b.c"), r#"Bearer("a.b.c")"#);
        assert_eq!(read("BASIC QTpiOmM="), r#"Basic { user: "A", password: "b:c" }"#);
        assert_eq!(read("Digest username=x"), "Other");
        assert_eq!(read("a.b.c"), "Other");
        assert_eq!(format!("{:?}", raw(&HeaderValue::from_static("a.b.c"))), r#"Bearer("a.b.c")"#);
    }

    #[test]
    fn what_does_not_hold_what_its_scheme_says_is_broken() {
        for value in
            ["Bearer", "Bearer ", "Bearer a b", "Basic", "Basic ====", "Basic QQ==", "Basic QQ", "Basic QTo\u{7f}"]
        {
            assert!(HeaderValue::from_str(value).is_err() || broken(value), "{value}");
        }
        // `a:\n`, and bytes that are no text.
        assert!(broken("Basic YToK") && broken("Basic /zo="));
        assert!(!broken(&format!("Bearer {}", "a".repeat(MAX))));
        assert!(broken(&format!("Bearer {}", "a".repeat(MAX + 1))));
    }
}
