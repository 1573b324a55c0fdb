//! The `Proxy-Status` field (RFC 9209) of responses that this proxy made itself.

use http::HeaderValue;

use crate::Error;
use crate::detour::Fallback;

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

/// Of an answer that a fallback gave: what it stands in for, and for those who may see it by whom.
pub fn fallback(fallback: &Fallback, details: bool) -> HeaderValue {
    let cause = match fallback.cause {
        Ok(status) => format!("received-status={status}"),
        Err(kind) => format!("error={}", kind.proxy_status()),
    };
    let by = if details { format!("; details=\"fallback: {}\"", fallback.by.label()) } else { String::new() };
    HeaderValue::try_from(format!("attache; {cause}{by}")).unwrap_or_else(|_| HeaderValue::from_static("attache"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::detour::By;

    #[test]
    fn a_fallback_says_what_it_stands_in_for() {
        let failed = Fallback { by: By::Stale, cause: Err(ErrorKind::ConnectRefused), attempts: 1 };
        let answered = Fallback { by: By::Upstream, cause: Ok(503), attempts: 1 };

        assert_eq!(fallback(&failed, true), "attache; error=connection_refused; details=\"fallback: stale\"");
        assert_eq!(fallback(&answered, false), "attache; received-status=503");
    }

    #[test]
    fn details_are_quoted_and_kept_from_strangers() {
        let error = Error::new(ErrorKind::Dns).with_detail("no \"such\"\nname");

        assert_eq!(value(&error, true), "attache; error=dns_error; details=\"no \\\"such\\\"?name\"");
        assert_eq!(value(&error, false), "attache; error=dns_error");
    }
}
