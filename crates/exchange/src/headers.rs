//! Fields that belong to one connection only (RFC 9110 section 7.6.1), and `Via`.

use http::header::{self, Entry, HeaderName, HeaderValue};
use http::{HeaderMap, Version};
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
}

/// Which of the fields that a proxy must look at are there, found in one pass over the names: nine look-ups, mostly
/// in vain, would cost more than the rest of the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen(u16);

impl Seen {
    const CONNECTION: u16 = 1;
    const TE: u16 = 2;
    const TRANSFER_ENCODING: u16 = 4;
    const UPGRADE: u16 = 8;
    const PROXY_AUTHORIZATION: u16 = 16;
    const PROXY_AUTHENTICATE: u16 = 32;
    const KEEP_ALIVE: u16 = 64;
    const PROXY_CONNECTION: u16 = 128;
    const HTTP2_SETTINGS: u16 = 256;
    const VIA: u16 = 512;
    const EXPECT: u16 = 1024;
    const CONTENT_LENGTH: u16 = 2048;
    /// `Connection` says more than `keep-alive` or `close`.
    const NAMES: u16 = 4096;
    /// A `Content-Length` is not one number.
    const LENGTHS: u16 = 8192;

    /// These alone leave nothing to strip.
    const STAYS: u16 = Self::VIA | Self::EXPECT | Self::CONTENT_LENGTH | Self::LENGTHS;

    const HOP_BY_HOP: [(HeaderName, u16); 9] = [
        (header::CONNECTION, Self::CONNECTION),
        (header::TRANSFER_ENCODING, Self::TRANSFER_ENCODING),
        (header::TE, Self::TE),
        (header::UPGRADE, Self::UPGRADE),
        (header::PROXY_AUTHORIZATION, Self::PROXY_AUTHORIZATION),
        (header::PROXY_AUTHENTICATE, Self::PROXY_AUTHENTICATE),
        (KEEP_ALIVE, Self::KEEP_ALIVE),
        (PROXY_CONNECTION, Self::PROXY_CONNECTION),
        (HTTP2_SETTINGS, Self::HTTP2_SETTINGS),
    ];

    /// Looks.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut bits = 0;
        for (name, value) in headers {
            bits |= Self::bits(name, value);
        }
        Self(bits)
    }

    /// What a field is, and what of its value would else be looked up again.
    #[inline]
    fn bits(name: &HeaderName, value: &HeaderValue) -> u16 {
        match Self::bit(name) {
            Self::CONNECTION if !names_nothing(value) => Self::CONNECTION | Self::NAMES,
            Self::CONTENT_LENGTH if !is_number(value) => Self::CONTENT_LENGTH | Self::LENGTHS,
            bit => bit,
        }
    }

    /// A `match`, which is one jump, where comparisons would be one for each name.
    #[inline]
    fn bit(name: &HeaderName) -> u16 {
        match *name {
            header::CONNECTION => Self::CONNECTION,
            header::VIA => Self::VIA,
            header::EXPECT => Self::EXPECT,
            header::TE => Self::TE,
            header::TRANSFER_ENCODING => Self::TRANSFER_ENCODING,
            header::UPGRADE => Self::UPGRADE,
            header::PROXY_AUTHORIZATION => Self::PROXY_AUTHORIZATION,
            header::PROXY_AUTHENTICATE => Self::PROXY_AUTHENTICATE,
            header::CONTENT_LENGTH => Self::CONTENT_LENGTH,
            _ if *name == KEEP_ALIVE => Self::KEEP_ALIVE,
            _ if *name == PROXY_CONNECTION => Self::PROXY_CONNECTION,
            _ if *name == HTTP2_SETTINGS => Self::HTTP2_SETTINGS,
            _ => 0,
        }
    }

    const fn has(self, bit: u16) -> bool {
        self.0 & bit != 0
    }

    /// `Via` is there.
    pub const fn via(self) -> bool {
        self.has(Self::VIA)
    }

    /// `Expect` is there.
    pub const fn expect(self) -> bool {
        self.has(Self::EXPECT)
    }

    /// `Content-Length` is there.
    pub const fn content_length(self) -> bool {
        self.has(Self::CONTENT_LENGTH)
    }

    /// Each `Content-Length` there is one number.
    pub const fn has_plain_lengths(self) -> bool {
        !self.has(Self::LENGTHS)
    }

    /// `Transfer-Encoding` is there.
    pub const fn transfer_encoding(self) -> bool {
        self.has(Self::TRANSFER_ENCODING)
    }
}

/// What a request's head says that everybody below needs, found in the same pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look<'a> {
    /// The fields a proxy must look at.
    pub seen: Seen,
    /// The last `Host`.
    pub host: Option<&'a HeaderValue>,
    /// How many there are.
    pub hosts: usize,
    /// The first `Accept`.
    pub accept: Option<&'a HeaderValue>,
}

impl<'a> Look<'a> {
    /// Looks.
    pub fn at(headers: &'a HeaderMap) -> Self {
        let mut look = Self::default();
        for (name, value) in headers {
            match *name {
                header::HOST => {
                    look.host = Some(value);
                    look.hosts += 1;
                }
                header::ACCEPT => look.accept = look.accept.or(Some(value)),
                _ => look.seen.0 |= Seen::bits(name, value),
            }
        }
        look
    }
}

/// Takes every hop-by-hop field out, `TE: trailers` excepted.
///
/// `Connection` may not name fields that carry the message itself (RFC 9110 section 7.6.1 asks to ignore it there).
pub fn strip(headers: &mut HeaderMap, seen: Seen) -> Stripped {
    match seen.0 & !Seen::STAYS {
        0 => Stripped::default(),
        Seen::CONNECTION => {
            headers.remove(header::CONNECTION);
            Stripped::default()
        }
        _ => strip_each(headers, seen),
    }
}

/// Takes the credential for this hop (`Proxy-Authorization`) out, which is then seen no more; empty if there was more than
/// one.
#[inline]
pub fn credential(headers: &mut HeaderMap, seen: &mut Seen) -> Option<Box<HeaderValue>> {
    if !seen.has(Seen::PROXY_AUTHORIZATION) {
        return None;
    }
    seen.0 &= !Seen::PROXY_AUTHORIZATION;
    taken(headers)
}

/// Most clients show nothing: theirs is the short way.
#[inline(never)]
fn taken(headers: &mut HeaderMap) -> Option<Box<HeaderValue>> {
    match headers.entry(header::PROXY_AUTHORIZATION) {
        Entry::Vacant(_) => None,
        Entry::Occupied(all) => {
            let (mut one, mut several) = (None, false);
            for value in all.remove_entry_mult().1 {
                several = one.replace(value).is_some() || several;
            }
            if several { Some(Box::new(HeaderValue::from_static(""))) } else { one.map(Box::new) }
        }
    }
}

#[inline(never)]
fn strip_each(headers: &mut HeaderMap, seen: Seen) -> Stripped {
    let mut said = Stripped::default();
    let mut named: SmallVec<[HeaderName; 2]> = SmallVec::new();
    let mut upgrade_named = false;
    if seen.has(Seen::NAMES) {
        // By bytes: a value with a byte outside of ASCII still names what else it names.
        let members =
            headers.get_all(header::CONNECTION).iter().flat_map(|value| value.as_bytes().split(|b| *b == b','));
        for token in members.map(<[u8]>::trim_ascii) {
            upgrade_named |= token.eq_ignore_ascii_case(b"upgrade");
            if let Ok(name) = HeaderName::from_bytes(token)
                && !is_end_to_end(&name)
            {
                named.push(name);
            }
        }
    }
    if seen.has(Seen::UPGRADE) {
        said.upgrade = true;
        said.websocket = upgrade_named && is_exactly(headers, &header::UPGRADE, "websocket");
    }
    let trailers = seen.has(Seen::TE)
        && headers.get_all(header::TE).iter().flat_map(tokens).any(|token| token.eq_ignore_ascii_case("trailers"));
    for (name, bit) in &Seen::HOP_BY_HOP {
        if seen.has(*bit) {
            headers.remove(name);
        }
    }
    for name in &named {
        headers.remove(name);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    said
}

/// Takes out of a trailer section what must not come this late (RFC 9110 section 6.5.1): fields that frame or route the
/// message, that authenticate, that say what the content is, and those of the connection. Whoever merges trailers
/// into the head would believe them.
pub fn strip_trailers(trailers: &mut HeaderMap) {
    let names: SmallVec<[HeaderName; 8]> = trailers.keys().filter(|name| is_for_heads(name)).cloned().collect();
    for name in names {
        trailers.remove(name);
    }
}

fn is_for_heads(name: &HeaderName) -> bool {
    use header::*;
    Seen::bit(name) != 0
        || [HOST, TRAILER, MAX_FORWARDS].contains(name)
        || [AUTHORIZATION, WWW_AUTHENTICATE, COOKIE, SET_COOKIE].contains(name)
        || [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_RANGE, CACHE_CONTROL, AGE, RANGE, LOCATION].contains(name)
}

/// A `Connection` is the usual `keep-alive` or `close` alone.
fn names_nothing(value: &HeaderValue) -> bool {
    let value = value.as_bytes();
    // As nearly everybody writes it: two comparisons of words rather than ten of letters.
    value == b"keep-alive" || value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close")
}

fn is_number(value: &HeaderValue) -> bool {
    !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit)
}

/// Our member of `Via` (RFC 9110 section 7.6.3), which begins with the version a message came in.
#[derive(Clone, Debug)]
pub struct Via {
    http10: HeaderValue,
    http11: HeaderValue,
    http2: HeaderValue,
}

impl Via {
    /// Ours under this name.
    ///
    /// # Errors
    /// The name has a byte that no field's value may have.
    pub fn new(pseudonym: &str) -> Result<Self, header::InvalidHeaderValue> {
        let member = |version: &str| HeaderValue::try_from(format!("{version} {pseudonym}"));
        Ok(Self { http10: member("1.0")?, http11: member("1.1")?, http2: member("2.0")? })
    }

    /// Appends it to a message that came in `version`. Once for both ways: what appends is large.
    #[inline(never)]
    pub fn append(&self, headers: &mut HeaderMap, version: Version) {
        let member = match version {
            Version::HTTP_10 => &self.http10,
            Version::HTTP_2 => &self.http2,
            _ => &self.http11,
        };
        // By reference: a body of code of its own, which the compiler fits to this one name.
        headers.append(&header::VIA, member.clone());
    }
}

/// Whether `Via` already names us: the request came back. By bytes: a comment that another hop wrote outside of ASCII
/// must not hide us.
pub fn has_passed(headers: &HeaderMap, pseudonym: &str) -> bool {
    headers.get_all(header::VIA).iter().any(|value| {
        value.as_bytes().split(|byte| *byte == b',').any(|hop| {
            let mut words = hop.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            words.nth(1) == Some(pseudonym.as_bytes())
        })
    })
}

/// The comma-separated members of a value; values that are not visible ASCII have none.
pub fn tokens(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim).filter(|token| !token.is_empty())
}

fn is_exactly(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    let mut values = headers.get_all(name).iter().flat_map(tokens);
    matches!((values.next(), values.next()), (Some(only), None) if only.eq_ignore_ascii_case(wanted))
}

/// Naming these in `Connection` would let a client cut the message open.
fn is_end_to_end(name: &HeaderName) -> bool {
    [header::HOST, header::CONTENT_LENGTH, header::CONTENT_TYPE, header::AUTHORIZATION, header::COOKIE, header::VIA]
        .contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strip(headers: &mut HeaderMap) -> Stripped {
        let seen = Seen::of(headers);
        super::strip(headers, seen)
    }

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
        assert_eq!(said, Stripped { websocket: false, upgrade: true });
    }

    #[test]
    fn the_credential_for_this_hop_is_taken_out_and_of_two_neither_counts() {
        for others in [&[][..], &[("connection", "keep-alive")], &[("connection", "close, x-hop"), ("x-hop", "1")]] {
            let mut one = map(&[&[("proxy-authorization", "Basic x")], others].concat());
            let mut two = map(&[&[("proxy-authorization", "Basic x"), ("proxy-authorization", "b")], others].concat());

            for (map, taken) in [(&mut one, "Basic x"), (&mut two, "")] {
                let mut seen = Seen::of(map);
                assert_eq!(credential(map, &mut seen).as_deref(), Some(&HeaderValue::from_static(taken)));
                assert_eq!(credential(map, &mut seen), None, "once");
                super::strip(map, seen);
            }
            assert!(one.is_empty() && two.is_empty(), "{one:?} {two:?}");
        }
        let mut none = map(&[("x", "1")]);
        let mut seen = Seen::of(&none);
        assert_eq!(credential(&mut none, &mut seen), None);
    }

    #[test]
    fn a_byte_outside_of_ascii_hides_no_name() {
        let mut headers = map(&[("x-hop", "1")]);
        headers.append("connection", HeaderValue::from_bytes(b"\xff, x-hop").expect("value"));

        strip(&mut headers);

        assert!(headers.is_empty(), "{headers:?}");
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
    fn trailers_neither_frame_nor_route_nor_authenticate() {
        let mut trailers = map(&[
            ("transfer-encoding", "chunked"),
            ("content-length", "1"),
            ("host", "a"),
            ("via", "1.1 x"),
            ("authorization", "b"),
            ("proxy-authorization", "b"),
            ("set-cookie", "c=1"),
            ("set-cookie", "d=1"),
            ("content-type", "text/html"),
            ("connection", "x-sum"),
            ("x-sum", "1"),
            ("grpc-status", "0"),
        ]);

        strip_trailers(&mut trailers);

        assert_eq!(trailers, map(&[("x-sum", "1"), ("grpc-status", "0")]));
    }

    #[test]
    fn our_pseudonym_is_found_among_other_hops() {
        let headers = map(&[("via", "1.0 fred, 1.1 attache-1 (x)"), ("via", "1.1 other")]);

        assert!(has_passed(&headers, "attache-1"));
        assert!(!has_passed(&headers, "attache-2"));
    }

    #[test]
    fn a_byte_outside_of_ascii_does_not_hide_our_pseudonym() {
        let mut headers = HeaderMap::new();
        headers.append("via", HeaderValue::from_bytes(b"1.1 attache-1, 1.1 fred (caf\xe9)").expect("value"));

        assert!(has_passed(&headers, "attache-1"));
    }
}
