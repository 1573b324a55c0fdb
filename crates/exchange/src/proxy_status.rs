//! The `Proxy-Status` field (RFC 9209) of responses that this proxy made itself.

use http::HeaderValue;

use crate::Error;

/// `attache; error=...`, with `details` only for those who may see them.
pub fn value(error: &Error, details: bool) -> HeaderValue {
    let mut text = String::from("attache");
    if !error.kind.proxy_status().is_empty() {
        text.push_str("; error=");
        text.push_str(error.kind.proxy_status());
    }
    if details && let Some(detail) = error.detail() {
        text.push_str("; details=\"");
        for c in detail.chars().take(200) {
            match c {
                '"' | '\\' => text.extend(['\\', c]),
                ' '..='~' => text.push(c),
                _ => text.push('?'),
            }
        }
        text.push('"');
    }
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("attache"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn details_are_quoted_and_kept_from_strangers() {
        let error = Error::new(ErrorKind::Dns).with_detail("no \"such\"\nname");

        assert_eq!(value(&error, true), "attache; error=dns_error; details=\"no \\\"such\\\"?name\"");
        assert_eq!(value(&error, false), "attache; error=dns_error");
    }
}
