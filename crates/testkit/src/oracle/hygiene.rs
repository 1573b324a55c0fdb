//! Header hygiene against a plain second reading of RFC 9110 section 7.6.1.
//!
//! An input is lines of `name: value`; what is no field is left out.

use exchange::headers::{self, Look, Seen, Stripped, Via};
use http::{HeaderMap, HeaderName, HeaderValue, Version};

/// Never pass on, whether named or not.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];
/// Carry the message itself: `Connection` cannot take them out.
const KEPT: [&str; 6] = ["host", "content-length", "content-type", "authorization", "cookie", "via"];
const PSEUDONYM: &str = "attache-1";

/// See the module.
pub fn check(input: &[u8]) {
    let mut map = fields(input);
    let before = map.clone();
    let mut seen = Seen::of(&map);
    assert_eq!(Look::at(&map).seen, seen, "two looks, two answers");

    let credential = headers::credential(&mut map, &mut seen);
    let said = headers::strip(&mut map, seen);

    let (expected, expected_said) = stripped(&before);
    assert_eq!(credential.as_deref(), shown(&before).as_ref(), "of {before:?}");
    assert_eq!(map, expected, "of {before:?}");
    assert_eq!(said, expected_said, "of {before:?}");
    let mut again = map.clone();
    let seen = Seen::of(&again);
    headers::strip(&mut again, seen);
    assert_eq!(again, map, "the second time took more out");
    assert_eq!(headers::has_passed(&before, PSEUDONYM), has_passed(&before), "of {before:?}");
    Via::new(PSEUDONYM).expect("a name").append(&mut map, Version::HTTP_11);
    assert!(headers::has_passed(&map, PSEUDONYM), "own Via is not found");
}

fn fields(input: &[u8]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n').take(64) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) =
            (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(line[colon + 1..].trim_ascii()));
        if let (Ok(name), Ok(value)) = (name, value) {
            map.append(name, value);
        }
    }
    map
}

/// What was shown to a proxy; empty if more than once.
fn shown(before: &HeaderMap) -> Option<HeaderValue> {
    let all: Vec<_> = before.get_all("proxy-authorization").iter().collect();
    match all.as_slice() {
        [] => None,
        [only] => Some((*only).clone()),
        _ => Some(HeaderValue::from_static("")),
    }
}

/// The members of a list field, by bytes, in lower case.
fn members(map: &HeaderMap, name: &str) -> Vec<Vec<u8>> {
    let values = map.get_all(name).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    values.map(|member| member.trim_ascii().to_ascii_lowercase()).filter(|member| !member.is_empty()).collect()
}

fn stripped(before: &HeaderMap) -> (HeaderMap, Stripped) {
    let named = members(before, "connection");
    let goes = |name: &HeaderName| {
        HOP_BY_HOP.contains(&name.as_str())
            || (named.iter().any(|member| member == name.as_str().as_bytes()) && !KEPT.contains(&name.as_str()))
    };
    let mut left = HeaderMap::new();
    for (name, value) in before.iter().filter(|(name, _)| !goes(name)) {
        left.append(name, value.clone());
    }
    let text = |value: &&HeaderValue| value.to_str().is_ok();
    let listed = |name: &'static str| {
        let values = before.get_all(name).iter().filter(text).flat_map(|value| value.as_bytes().split(|b| *b == b','));
        values.map(|member| member.trim_ascii().to_ascii_lowercase()).filter(|m| !m.is_empty()).collect::<Vec<_>>()
    };
    if listed("te").iter().any(|member| member == b"trailers") {
        left.insert("te", HeaderValue::from_static("trailers"));
    }
    let upgrade = before.contains_key("upgrade");
    let only = listed("upgrade") == [b"websocket".to_vec()];
    let websocket = upgrade && only && named.iter().any(|member| member == b"upgrade");
    (left, Stripped { websocket, upgrade })
}

fn has_passed(map: &HeaderMap) -> bool {
    map.get_all("via").iter().any(|value| {
        let hops = value.as_bytes().split(|byte| *byte == b',');
        hops.map(<[u8]>::trim_ascii).any(|hop| {
            let mut words = hop.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            words.nth(1) == Some(PSEUDONYM.as_bytes())
        })
    })
}
