//! Fields that belong to one connection only (RFC 9110 section 7.6.1), and `Via`.

use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};
use smallvec::SmallVec;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// What was said hop-by-hop, before it was taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stripped {
    /// `Upgrade: websocket` with `Connection: upgrade`.
    pub websocket: bool,
    /// Any `Upgrade` at all.
    pub upgrade: bool,
    /// `Transfer-Encoding` was there.
    pub transfer_encoding: bool,
}

/// Takes every hop-by-hop field out, `TE: trailers` excepted, in one pass over the names.
///
/// `Connection` may not name fields that carry the message itself (RFC 9110 section 7.6.1 asks to ignore it there).
pub fn strip(headers: &mut HeaderMap) -> Stripped {
    let mut said = Stripped::default();
    let mut found: SmallVec<[HeaderName; 4]> = SmallVec::new();
    for name in headers.keys() {
        if is_hop_by_hop(name) {
            found.push(name.clone());
        }
    }
    if found.is_empty() {
        return said;
    }
    let mut named: SmallVec<[HeaderName; 2]> = SmallVec::new();
    let mut upgrade_named = false;
    for value in headers.get_all(header::CONNECTION) {
        for token in tokens(value) {
            upgrade_named |= token.eq_ignore_ascii_case("upgrade");
            if let Ok(name) = HeaderName::from_bytes(token.as_bytes())
                && !is_end_to_end(&name)
            {
                named.push(name);
            }
        }
    }
    said.upgrade = headers.contains_key(header::UPGRADE);
    said.websocket = upgrade_named && is_exactly(headers, &header::UPGRADE, "websocket");
    said.transfer_encoding = headers.contains_key(header::TRANSFER_ENCODING);
    let trailers = headers.get_all(header::TE).iter().any(|v| tokens(v).any(|t| t.eq_ignore_ascii_case("trailers")));
    for name in found.iter().chain(&named) {
        headers.remove(name);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    said
}

/// Appends our pseudonym to `Via` (RFC 9110 section 7.6.3).
pub fn append_via(headers: &mut HeaderMap, via: &HeaderValue) {
    headers.append(header::VIA, via.clone());
}

/// Whether `Via` already names us: the request came back.
pub fn has_passed(headers: &HeaderMap, pseudonym: &str) -> bool {
    headers
        .get_all(header::VIA)
        .iter()
        .any(|value| tokens(value).any(|hop| hop.split_ascii_whitespace().nth(1) == Some(pseudonym)))
}

/// The comma-separated members of a value; values that are not visible ASCII have none.
pub fn tokens(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim).filter(|token| !token.is_empty())
}

fn is_exactly(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    let mut values = headers.get_all(name).iter().flat_map(tokens);
    matches!((values.next(), values.next()), (Some(only), None) if only.eq_ignore_ascii_case(wanted))
}

/// Standard names compare as one byte; only the three own names compare text.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    match name.as_str().len() {
        2 => name == header::TE,
        7 => name == header::UPGRADE,
        10 => name == header::CONNECTION || *name == KEEP_ALIVE,
        14 => *name == HTTP2_SETTINGS,
        16 => *name == PROXY_CONNECTION,
        17 => name == header::TRANSFER_ENCODING,
        19 => name == header::PROXY_AUTHORIZATION,
        18 => name == header::PROXY_AUTHENTICATE,
        _ => false,
    }
}

/// Naming these in `Connection` would let a client cut the message open.
fn is_end_to_end(name: &HeaderName) -> bool {
    [header::HOST, header::CONTENT_LENGTH, header::CONTENT_TYPE, header::AUTHORIZATION, header::COOKIE, header::VIA]
        .contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("name");
            headers.append(name, HeaderValue::from_str(value).expect("value"));
        }
        headers
    }

    #[test]
    fn hop_by_hop_fields_and_those_connection_names_go() {
        let mut headers = map(&[
            ("connection", "keep-alive, X-Hop"),
            ("connection", "close"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("te", "gzip, trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAA"),
            ("x-hop", "1"),
            ("trailer", "x-sum"),
            ("x-keep", "1"),
        ]);

        let said = strip(&mut headers);

        assert_eq!(headers, map(&[("te", "trailers"), ("trailer", "x-sum"), ("x-keep", "1")]));
        assert_eq!(said, Stripped { websocket: false, upgrade: true, transfer_encoding: true });
    }

    #[test]
    fn connection_cannot_name_what_carries_the_message() {
        let mut headers =
            map(&[("connection", "host, content-length, authorization"), ("host", "a"), ("authorization", "b")]);

        strip(&mut headers);

        assert_eq!(headers, map(&[("host", "a"), ("authorization", "b")]));
    }

    #[test]
    fn a_websocket_upgrade_is_noted_only_when_it_is_the_only_token_and_is_named() {
        assert!(strip(&mut map(&[("connection", "Upgrade"), ("upgrade", "WebSocket")])).websocket);
        assert!(!strip(&mut map(&[("upgrade", "websocket")])).websocket);
        assert!(!strip(&mut map(&[("connection", "upgrade"), ("upgrade", "websocket, h2c")])).websocket);
    }

    #[test]
    fn our_pseudonym_is_found_among_other_hops() {
        let headers = map(&[("via", "1.0 fred, 1.1 attache-1 (x)"), ("via", "1.1 other")]);

        assert!(has_passed(&headers, "attache-1"));
        assert!(!has_passed(&headers, "attache-2"));
    }
}
