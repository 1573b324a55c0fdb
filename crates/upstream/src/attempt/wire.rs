//! The last touch before a request goes onto a connection, and the first after a response came off it: what
//! differs between HTTP/1.1 and HTTP/2.

use exchange::body::OpenEnded;
use exchange::headers::{self, Seen};
use exchange::{Body, Error, ErrorKind, Sent};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, Uri, Version, header};
use http_body::Body as _;

use crate::connect::{Destination, Parent};

/// Gives the request the form of the connection: origin-form and `Host`, or `:scheme`, `:authority` and no `Host`.
///
/// The target layer left an absolute URI and a matching `Host`. Calling it again for another connection is fine.
pub(super) fn dress(request: &mut Request<Body>, h2: bool, tls: bool) {
    if h2 { dress_h2(request, tls) } else { dress_h1(request) }
}

#[inline(always)]
fn dress_h1(request: &mut Request<Body>) {
    *request.version_mut() = Version::HTTP_11;
    // Without the field hyper drops a body of unknown length, since these rarely have one.
    if matches!(*request.method(), Method::GET | Method::HEAD)
        && !request.body().is_end_stream()
        && request.body().size_hint().exact().is_none()
    {
        request.headers_mut().insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if request.uri().scheme().is_none() {
        return;
    }
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    if !request.headers().contains_key(header::HOST)
        && let Some(host) = parts.authority.as_ref().and_then(|a| HeaderValue::from_str(a.as_str()).ok())
    {
        request.headers_mut().insert(header::HOST, host);
    }
    // What says `/` may be empty (the target was an authority and a fragment, which hyper drops) and be written so.
    let path = parts.path_and_query.take().filter(|path| path.as_str() != "/");
    let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
}

/// Whether the whole target that a parent is told leads to `dest`, and says all that the request says: not another
/// `Host`, which a proxy replaces (RFC 9112 section 3.2.2), and not `*`, which would need an empty path.
pub(super) fn names(request: &Request<Body>, dest: &Destination) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri().authority().map(Authority::as_str));
    let asked = host.and_then(|host| exchange::Authority::parse(host).ok());
    asked.is_some_and(|asked| *asked.host() == dest.host && asked.port_or(80) == dest.port)
        && request.uri().path() != "*"
}

/// Gives the request the form of a connection to a parent: the whole target, and what it wants to see of us. Only for
/// one that [`names`] its destination.
pub(crate) fn dress_whole(request: &mut Request<Body>, parent: &Parent) {
    let host = request.headers().get(header::HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let host = host.or_else(|| request.uri().authority().cloned());
    dress_h1(request);
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.authority = host;
    parts.scheme = Some(Scheme::HTTP);
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    // Without one that it wants the parent answers 407.
    if let Ok(Some(value)) = parent.authorization() {
        request.headers_mut().insert(header::PROXY_AUTHORIZATION, value);
    }
}

fn dress_h2(request: &mut Request<Body>, tls: bool) {
    *request.version_mut() = Version::HTTP_2;
    let host = request.headers_mut().remove(header::HOST);
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    // They differ where a route rewrites the host.
    let fits = host.as_ref().is_none_or(|host| authority == Some(host.as_bytes()));
    if request.method() == Method::CONNECT || (request.uri().scheme().is_some() && fits) {
        return;
    }
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok()).or(parts.authority);
    parts.scheme = Some(if tls { Scheme::HTTPS } else { Scheme::HTTP });
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
}

/// RFC 9110 section 8.6: one length is said once, and none with a 204; a list of the same one is not passed on.
fn length(response: &mut Response<Body>, seen: Seen) -> Result<(), Error> {
    if response.status() == http::StatusCode::NO_CONTENT {
        response.headers_mut().remove(header::CONTENT_LENGTH);
        return Ok(());
    }
    let headers = response.headers();
    if seen.has_plain_lengths() && headers.len() == headers.keys_len() {
        return Ok(());
    }
    let is_number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let said = headers.get_all(header::CONTENT_LENGTH);
    let mut said = said.iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let first = said.next().unwrap_or_default();
    if !is_number(first) || said.any(|other| other != first) {
        return Err(bad("the upstream's answer has more than one Content-Length"));
    }
    let first = HeaderValue::from_bytes(first).map_err(|_| bad("the upstream's Content-Length is no number"))?;
    response.headers_mut().insert(header::CONTENT_LENGTH, first);
    Ok(())
}

fn bad(why: &'static str) -> Error {
    Error::new(ErrorKind::Protocol).with_sent(Sent::Complete).with_detail(why)
}

/// Takes the connection's own fields off a response. A relayed 101 keeps what makes it one.
///
/// # Errors
/// A transfer coding we cannot take off: its bytes would pass as the content.
pub(super) fn undress(response: &mut Response<Body>) -> Result<(), Error> {
    let upgrade = match response.status() {
        http::StatusCode::SWITCHING_PROTOCOLS => response.headers().get(header::UPGRADE).cloned(),
        _ => None,
    };
    let seen = Seen::of(response.headers());
    if seen.transfer_encoding() {
        let mut codings = response.headers().get_all(header::TRANSFER_ENCODING).iter();
        let first = codings.next().map(HeaderValue::as_bytes).unwrap_or_default();
        if codings.next().is_some() || !first.eq_ignore_ascii_case(b"chunked") {
            return Err(bad("the upstream's Transfer-Encoding is not exactly `chunked`"));
        }
        if seen.content_length() && !response.body().is_end_stream() {
            // RFC 9112 section 6.3: one of the two is a lie, and whoever reads the answer next believes the other.
            return Err(bad("the upstream's answer has a Content-Length and a Transfer-Encoding"));
        }
    }
    if seen.content_length() {
        length(response, seen)?;
    } else if !seen.transfer_encoding() && response.version() != Version::HTTP_2 && !response.body().is_end_stream() {
        response.extensions_mut().insert(OpenEnded);
    }
    headers::strip(response.headers_mut(), seen);
    if let Some(upgrade) = upgrade {
        response.headers_mut().insert(header::UPGRADE, upgrade);
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_never_empty() {
        for (asked, sent) in [("http://a.test:80#@b.test/", "/"), ("http://a.test", "/"), ("http://a.test?q", "/?q")] {
            let mut request = Request::new(Body::empty());
            *request.uri_mut() = asked.parse().expect("a target");

            dress_h1(&mut request);

            assert_eq!(request.uri().to_string(), sent, "{asked}");
        }
    }
}
