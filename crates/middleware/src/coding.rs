//! What compressing and decompressing share: who accepts which content coding (RFC 9110 section 12.5.3), which
//! messages must be left alone, and what a change of the content does to the fields that describe it.
//!
//! tower-http's layers do the coding. They are run over a response that is already there ([`through`]) instead of
//! around the service below: their own request half answers 406 in the upstream's name where nothing is acceptable,
//! and decodes what the client asked for encoded.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use exchange::{Error, Exchange};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use tower::{Layer, Service};

/// Digests of the content as it was (RFC 1864, 3230, 9530).
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// Codings to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Algorithms {
    /// RFC 1952.
    pub gzip: bool,
    /// RFC 7932.
    pub br: bool,
    /// RFC 8878.
    pub zstd: bool,
}

impl Algorithms {
    /// What a response is encoded in, by the name tower-http knows, if it is exactly one of these.
    pub(crate) fn of(self, headers: &HeaderMap) -> Option<&'static str> {
        let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
        let (Some(coding), None) = (codings.next(), codings.next()) else { return None };
        let coding = coding.as_bytes().trim_ascii();
        let is = |name: &str| coding.eq_ignore_ascii_case(name.as_bytes());
        let is_gzip = is("gzip") || is("x-gzip");
        let known = [("gzip", self.gzip && is_gzip), ("br", self.br && is("br")), ("zstd", self.zstd && is("zstd"))];
        known.into_iter().find_map(|(name, is_it)| is_it.then_some(name))
    }

    /// Those of these that the client asks for itself; none if it says nothing.
    pub(crate) fn asked_for(self, headers: &HeaderMap) -> Self {
        Self {
            gzip: self.gzip && accepts(headers, &["gzip", "x-gzip"]),
            br: self.br && accepts(headers, &["br"]),
            zstd: self.zstd && accepts(headers, &["zstd"]),
        }
    }

    /// Those of these that are not among `others`.
    pub(crate) const fn without(self, others: Self) -> Self {
        Self { gzip: self.gzip && !others.gzip, br: self.br && !others.br, zstd: self.zstd && !others.zstd }
    }

    pub(crate) const fn is_empty(self) -> bool {
        !(self.gzip || self.br || self.zstd)
    }
}

/// Whether `Accept-Encoding` has the coding by one of its names, or all others, with a weight above 0.
fn accepts(headers: &HeaderMap, names: &[&str]) -> bool {
    let values =
        headers.get_all(header::ACCEPT_ENCODING).iter().flat_map(|value| value.as_bytes().split(|b| *b == b','));
    let mut rest = None;
    for member in values {
        let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let is_refused = parts.any(|parameter| {
            let weight = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="));
            weight.is_some_and(|weight| weight.first() == Some(&b'0') && weight[1..].iter().all(|b| b".0".contains(b)))
        });
        if names.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes())) {
            return !is_refused;
        }
        if name == b"*" {
            rest = Some(!is_refused);
        }
    }
    rest.unwrap_or(false)
}

/// A request whose answer may be coded at all: no tunnel, no upgrade, no gRPC (which codes its messages itself), and
/// nobody forbade it.
pub(crate) fn is_open(exchange: &Exchange, headers: &HeaderMap) -> bool {
    let head = &exchange.head;
    head.method != Method::CONNECT && !head.upgrade && !head.grpc && !is_fixed(headers)
}

/// `Cache-Control: no-transform` (RFC 9111 sections 5.2.1.6 and 5.2.2.6).
fn is_fixed(headers: &HeaderMap) -> bool {
    let members =
        headers.get_all(header::CACHE_CONTROL).iter().flat_map(|value| value.as_bytes().split(|b| *b == b','));
    members.map(<[u8]>::trim_ascii).any(|member| member.eq_ignore_ascii_case(b"no-transform"))
}

/// A response with a whole content that may be coded: no range of it, and nobody forbade it.
pub(crate) fn is_whole(status: StatusCode, headers: &HeaderMap) -> bool {
    let is_partial = status == StatusCode::PARTIAL_CONTENT || headers.contains_key(header::CONTENT_RANGE);
    let is_bare = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
    !is_partial && !is_bare && !is_fixed(headers)
}

/// Somebody can tell that the content is not what it was.
pub(crate) fn is_sealed(headers: &HeaderMap) -> bool {
    DIGESTS.iter().any(|name| headers.contains_key(name)) || headers.contains_key("signature")
}

/// Takes out what describes the content as it was.
pub(crate) fn unseal(headers: &mut HeaderMap) {
    for name in &DIGESTS {
        headers.remove(name);
    }
}

/// Two codings of one content are not the same bytes: what they have in common is a weak validator (RFC 9110
/// section 8.8.3.3).
pub(crate) fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(header::ETAG).filter(|tag| tag.as_bytes().starts_with(b"\"")) else { return };
    if let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()) {
        headers.insert(header::ETAG, weak);
    }
}

/// A 304 carries the tag that the 200 would have: the weakened one, if that is what the client holds.
pub(crate) fn weaken_revalidated(response: &mut HeaderMap, held: &[HeaderValue]) {
    let Some(tag) = response.get(header::ETAG).filter(|tag| tag.as_bytes().starts_with(b"\"")) else { return };
    let weak = [b"W/", tag.as_bytes()].concat();
    let holds = |value: &HeaderValue| value.as_bytes().windows(weak.len()).any(|window| window == weak);
    if held.iter().any(holds) {
        weaken(response);
    }
}

/// The validators that a client holds.
pub(crate) fn held(headers: &HeaderMap) -> Vec<HeaderValue> {
    headers.get_all(header::IF_NONE_MATCH).iter().cloned().collect()
}

/// Says that the answer depends on `Accept-Encoding` (RFC 9110 section 12.5.5).
pub(crate) fn vary(headers: &mut HeaderMap) {
    let members = headers.get_all(header::VARY).iter().flat_map(|value| value.as_bytes().split(|b| *b == b','));
    let mut members = members.map(<[u8]>::trim_ascii);
    if !members.any(|member| member == b"*" || member.eq_ignore_ascii_case(b"accept-encoding")) {
        headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// What a layer of tower-http's makes of `response`, for a request with these fields.
pub(crate) async fn through<L, B, C>(layer: L, headers: HeaderMap, response: Response<B>) -> Response<C>
where
    L: Layer<Given<B>>,
    L::Service: Service<Request<()>, Response = Response<C>, Error = Infallible>,
{
    let mut request = Request::new(());
    *request.headers_mut() = headers;
    match layer.layer(Given(Some(response))).call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// A service that has one answer, for one call.
pub(crate) struct Given<B>(Option<Response<B>>);

impl<B> Service<Request<()>> for Given<B> {
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Ready<Result<Response<B>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        #[expect(clippy::expect_used, reason = "`through` calls it once")]
        ready(Ok(self.0.take().expect("one call")))
    }
}

/// The error of the body below as it was, or what `coder` makes of one of the coder's own.
pub(crate) fn failed(
    error: Box<dyn std::error::Error + Send + Sync>,
    coder: impl FnOnce(Box<dyn std::error::Error + Send + Sync>) -> Error,
) -> Error {
    match error.downcast::<Error>() {
        Ok(below) => *below,
        Err(own) => coder(own),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Algorithms = Algorithms { gzip: true, br: true, zstd: true };

    fn map(name: &'static str, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    fn asked(values: &[&'static str]) -> (bool, bool, bool) {
        let Algorithms { gzip, br, zstd } = ALL.asked_for(&map("accept-encoding", values));
        (gzip, br, zstd)
    }

    #[test]
    fn a_client_asks_for_what_it_names_with_a_weight() {
        assert_eq!(asked(&[]), (false, false, false));
        assert_eq!(asked(&["gzip, br;q=0.5"]), (true, true, false));
        assert_eq!(asked(&["GZIP;q=1.0", "zstd;Q=0.001"]), (true, false, true));
        assert_eq!(asked(&["x-gzip"]), (true, false, false));
        assert_eq!(asked(&["gzip;q=0, *"]), (false, true, true));
        assert_eq!(asked(&["*;q=0.000, br"]), (false, true, false));
        assert_eq!(asked(&["identity"]), (false, false, false));
        assert_eq!(asked(&["gzip ; q=0.0"]), (false, false, false));
    }

    #[test]
    fn tunnels_upgrades_grpc_and_what_the_client_forbids_are_not_coded() {
        let open = |change: fn(&mut exchange::Head), headers: HeaderMap| {
            let request = crate::testing::request_with(Method::GET, "http://a.test/", change);
            is_open(Exchange::of(&request), &headers)
        };

        assert!(open(|_| {}, HeaderMap::new()));
        assert!(!open(|head| head.method = Method::CONNECT, HeaderMap::new()));
        assert!(!open(|head| head.upgrade = true, HeaderMap::new()));
        assert!(!open(|head| head.grpc = true, HeaderMap::new()));
        assert!(!open(|_| {}, map("cache-control", &["no-transform"])));
    }

    #[test]
    fn only_a_single_coding_is_one_of_ours() {
        let of = |values: &[&'static str]| ALL.of(&map("content-encoding", values));

        assert_eq!(of(&["gzip"]), Some("gzip"));
        assert_eq!(of(&["X-GZIP"]), Some("gzip"));
        assert_eq!(of(&["br"]), Some("br"));
        assert_eq!(of(&["gzip, br"]), None);
        assert_eq!(of(&["gzip", "br"]), None);
        assert_eq!(of(&["deflate"]), None);
        assert_eq!(of(&[]), None);
        assert_eq!(Algorithms { zstd: false, ..ALL }.of(&map("content-encoding", &["zstd"])), None);
    }

    #[test]
    fn parts_and_what_must_not_be_transformed_are_left_alone() {
        let none = HeaderMap::new();
        for (status, whole) in [(200, true), (404, true), (204, false), (205, false), (206, false), (304, false)] {
            assert_eq!(is_whole(StatusCode::from_u16(status).expect("a status"), &none), whole, "{status}");
        }
        assert!(!is_whole(StatusCode::OK, &map("content-range", &["bytes 0-1/2"])));
        assert!(!is_whole(StatusCode::OK, &map("cache-control", &["max-age=1, No-Transform"])));
        assert!(is_whole(StatusCode::OK, &map("cache-control", &["no-transformer"])));
    }

    #[test]
    fn a_strong_tag_becomes_weak_and_a_weak_one_stays() {
        for (before, after) in [("\"a\"", "W/\"a\""), ("W/\"a\"", "W/\"a\""), ("odd", "odd")] {
            let mut headers = map("etag", &[before]);
            weaken(&mut headers);
            assert_eq!(headers["etag"], after);
        }
        for (held, after) in
            [("W/\"a\"", "W/\"a\""), ("\"b\", W/\"a\"", "W/\"a\""), ("\"a\"", "\"a\""), ("W/\"b\"", "\"a\"")]
        {
            let mut headers = map("etag", &["\"a\""]);
            weaken_revalidated(&mut headers, &[HeaderValue::from_static(held)]);
            assert_eq!(headers["etag"], after, "{held}");
        }
    }

    #[test]
    fn vary_is_said_once() {
        for (before, lines) in [(&[][..], 1), (&["Accept-Encoding"], 1), (&["origin"], 2), (&["*"], 1)] {
            let mut headers = map("vary", before);
            vary(&mut headers);
            assert_eq!(headers.get_all("vary").iter().count(), lines, "{before:?}");
        }
    }
}
