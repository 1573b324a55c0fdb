//! Any request, made normal: one target, no hop-by-hop field, `Host` equal to the target.
//!
//! Three forms of target come in (RFC 9112 section 3.2): absolute-form and CONNECT's authority-form beat `Host`;
//! origin-form is read from `Host`. Below this point the URI is absolute and nothing looks at `Host` again.

use bytes::Bytes;
use exchange::headers::{self, Look, Seen, Stripped};
use exchange::random::Random;
use exchange::{Authority, Body, Door, Error, ErrorKind, Head};
use http::header::Entry;
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Method, Uri, Version, header};
use http_body::Body as _;
use parking_lot::Mutex;
use policy::Tick;

use super::extended::Handshake;
use super::hops;
use crate::listener::conn;
use crate::listener::h2::Fragment;
use crate::snapshot::End;
use crate::stack::Site;

/// The only expectation.
const CONTINUE: &[u8] = b"100-continue";

/// What came of it.
pub(super) struct Normal {
    pub head: Head,
    /// In which form an error is wanted.
    pub accept: Option<HeaderValue>,
    /// Why it goes no further.
    pub refused: Option<Error>,
    /// The route that `/r/<name>/` named.
    pub named: Option<usize>,
    /// The client waits for a 100 before it sends its body.
    pub expects: bool,
    /// What the client showed to us as its proxy.
    pub credential: Option<Box<HeaderValue>>,
    /// It is answered here.
    pub last: bool,
    /// It was an extended CONNECT.
    pub handshake: Option<Box<Handshake>>,
}

/// Where the request came in.
pub(super) struct From<'a> {
    pub entry: &'a conn::Entry,
    pub site: &'a Site,
    pub known: &'a Known,
    pub random: &'a Random,
}

/// The authority a connection asked for last: clients that keep one open mostly ask for the same again.
#[derive(Default)]
pub(super) struct Known(Mutex<Option<(Box<str>, Authority)>>);

impl Known {
    /// Reads `text`, or remembers having read it.
    fn authority(&self, text: &str) -> Result<Authority, Error> {
        let mut known = self.0.lock();
        if let Some((last, authority)) = &*known
            && **last == *text
        {
            return Ok(authority.clone());
        }
        let authority = authority(text)?;
        *known = Some((text.into(), authority.clone()));
        Ok(authority)
    }
}

/// Reads and rewrites the head in place. Inlined, since what it returns is large.
#[inline(always)]
pub(super) fn of(parts: &mut Parts, body: &Body, from: &From<'_>, id: u64, now: Tick) -> Normal {
    let (handshake, odd) = match Handshake::begin(parts, from.random) {
        Ok(handshake) => (handshake, None),
        Err(error) => (None, Some(error)),
    };
    let mut head = Head {
        id,
        started: now,
        // What follows a CONNECT that is refused for its very target is no request either.
        door: if parts.method == Method::CONNECT { Door::Connect } else { Door::Reverse },
        client: from.entry.client.clone(),
        version: parts.version,
        method: parts.method.clone(),
        tls: false,
        authority: from.site.own().clone(),
        path: parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")),
        upgrade: false,
        grpc: is_grpc(parts),
    };
    let look = Look::at(&parts.headers);
    let (mut seen, accept) = (look.seen, look.accept.cloned());
    let (mut named, mut last, mut credential) = (None, false, None);
    let read = odd.map_or(Ok(()), Err).and_then(|()| authorities(parts, &look, from.known)).and_then(|said| {
        credential = headers::credential(&mut parts.headers, &mut seen);
        read(parts, body, said, seen, from, &mut head, &mut named)
    });
    let (expects, refused) = match read {
        Ok(expects) => (expects, hops::count(parts).map(|ends| last = ends).err()),
        Err(error) => (false, Some(error)),
    };
    if let Some(handshake) = &handshake {
        head.upgrade = true;
        handshake.dress(&mut parts.headers);
    }
    Normal { head, accept, refused, named, last, handshake, expects, credential }
}

/// The target's authority, the `Host` if it differs from it, and whether it is the very same text.
type Said = (Option<Authority>, Option<Authority>, bool);

/// Returns whether the client waits for a 100.
fn read(
    parts: &mut Parts,
    body: &Body,
    said: Said,
    seen: Seen,
    from: &From<'_>,
    head: &mut Head,
    named: &mut Option<usize>,
) -> Result<bool, Error> {
    let From { entry, site, .. } = from;
    let (written, host, fits) = said;
    target(parts, written, host, entry, site, head, named)?;
    let fits = form(parts, head)? && fits;
    // RFC 9110 section 9.3.6 gives it no meaning: taken off, the tunnel would begin somewhere else than the client thinks.
    // Over HTTP/2 a length would be h2's measure of what the tunnel may carry.
    let framed = if head.version == Version::HTTP_2 { seen.content_length() } else { !body.is_end_stream() };
    if head.door == Door::Connect && framed {
        return Err(bad("a CONNECT has no body"));
    }
    if seen.via() && headers::has_passed(&parts.headers, site.pseudonym()) {
        return Err(Error::new(ErrorKind::Loop).with_detail("the Via field already names this proxy"));
    }
    if seen.transfer_encoding() {
        framing(parts)?;
    }
    let said = headers::strip(&mut parts.headers, seen);
    let expects = seen.expect() && expectation(parts, body)?;
    if head.version == Version::HTTP_2 {
        crumbs(parts);
        // hyper's parser sees to all three for HTTP/1.
        if seen.content_length() && parts.headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some() {
            return Err(bad("there is more than one Content-Length"));
        }
        if parts.headers.keys().any(|name| name.as_str().contains('"')) {
            return Err(bad("a field's name is not a token"));
        }
        let limit = site.snapshot().model.server.max_headers;
        if parts.headers.len() > limit {
            return Err(Error::new(ErrorKind::HeaderTooLarge).with_detail(format!("more than {limit} header fields")));
        }
    }
    upgrade(parts, body, said, head)?;
    if head.door != Door::Connect {
        let fits = fits && head.door == Door::Forward;
        rewrite(parts, head, fits)?;
    }
    Ok(expects)
}

/// The authority in the target, and the one `Host`, both strictly read. HTTP/1.1 must have a `Host`; HTTP/1.0 and
/// HTTP/2 need not. Clients of a proxy send the same text in both: it is read once.
fn authorities(parts: &Parts, look: &Look<'_>, known: &Known) -> Result<Said, Error> {
    let written = parts.uri.authority().map(|written| written.as_str());
    let host = match look.host {
        Some(_) if look.hosts > 1 => return Err(bad("there is more than one Host field")),
        Some(value) => Some(value.to_str().map_err(|_| bad("the Host field is not text"))?),
        None if parts.version == Version::HTTP_11 => return Err(bad("there is no Host field")),
        None => None,
    };
    // RFC 9110 section 7.2: empty if the target has no authority; what the target says counts.
    let host = host.filter(|host| !(host.is_empty() && written.is_some()));
    let fits = host.is_some() && host == written;
    let said = written.map(|text| known.authority(text)).transpose()?;
    let host = if fits { None } else { host.map(|text| known.authority(text)).transpose()? };
    Ok((said, host, fits))
}

fn target(
    parts: &Parts,
    written: Option<Authority>,
    host: Option<Authority>,
    entry: &conn::Entry,
    site: &Site,
    head: &mut Head,
    named: &mut Option<usize>,
) -> Result<(), Error> {
    let h2 = head.version == Version::HTTP_2;
    if head.door == Door::Connect {
        // RFC 9112 section 3.2.3, RFC 9113 section 8.5.
        if parts.uri.scheme().is_some() {
            return Err(bad("the target of CONNECT is host:port, without a scheme"));
        }
        head.authority = written.ok_or_else(|| bad("CONNECT needs host:port"))?;
        if head.authority.port().is_none() {
            return Err(bad("CONNECT needs a port, as in example.com:443"));
        }
        if entry.tunnel.is_some() {
            return Err(Error::new(ErrorKind::Forbidden).with_detail("a CONNECT inside a CONNECT"));
        }
        return Ok(());
    }
    if h2
        && let (Some(host), Some(written)) = (&host, &written)
        && host != written
    {
        return Err(bad("the Host field differs from :authority"));
    }
    let absolute = parts.uri.scheme().is_some() && !h2;
    // h2 keeps no scheme without an authority: a request with `Host` alone is read as HTTP/1.1's in origin-form.
    let unsaid = h2 && written.is_none() && parts.uri.scheme().is_none();
    if absolute || (h2 && !unsaid) {
        // What is asked for as `https` never goes out in the clear, however plain the way to us was, and what a client of
        // a proxy asks for over TLS may be plain all the same (RFC 9113 section 8.3.1).
        head.tls = match parts.uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(bad("the scheme of the target is neither http nor https")),
        };
    } else if written.is_some() {
        return Err(bad("a target of host and port alone is for CONNECT"));
    }
    let said = written.or(host).ok_or_else(|| bad("there is no Host field to route by"))?;
    if let Some(outer) = &entry.tunnel {
        let inside = said.host() == outer.host() && said.port().is_none_or(|port| port == outer.port_or(80));
        if !inside {
            return Err(Error::new(ErrorKind::Misdirected)
                .with_detail(format!("{said} was asked for inside a tunnel to {outer}")));
        }
        if entry.tls && !head.tls && (absolute || (h2 && !unsaid)) {
            return Err(Error::new(ErrorKind::Misdirected).with_detail("http was asked for inside TLS"));
        }
        // What came over TLS goes on over TLS.
        head.tls |= entry.tls;
        head.door = Door::Tunnel;
        // As the client writes it, which knows of no port where it is the scheme's own.
        head.authority = match outer.port() {
            Some(443) if entry.tls => Authority::new(outer.host().clone(), None),
            _ => outer.clone(),
        };
        return Ok(());
    }
    head.door = if absolute { Door::Forward } else { Door::Reverse };
    head.authority = said;
    if (!absolute && !h2) || unsaid {
        head.tls = entry.tls;
    }
    if unsaid && !head.tls && site.table().find(head, &parts.headers).is_none() {
        return Err(bad("without an :authority nobody knows whether this may be sent in the clear"));
    }
    if head.door == Door::Reverse && site.is_own(&head.authority, head.tls) && head.path.path().starts_with("/r/") {
        prefix(head, site, named)?;
    }
    Ok(())
}

/// `/r/<name>/rest`: the route is named, and the rest is the path.
fn prefix(head: &mut Head, site: &Site, named: &mut Option<usize>) -> Result<(), Error> {
    let whole = head.path.as_str();
    let after = &whole["/r/".len()..];
    let end = after.find(['/', '?']).unwrap_or(after.len());
    let name = &after[..end];
    let Some((index, host)) = site.table().named(name) else {
        return Err(Error::new(ErrorKind::NoRoute).with_detail(format!("no route has the name `{name}`")));
    };
    // Such a route sends on to the request's own host; here that would be any local port the client writes, and the
    // route's credential with it.
    if host.is_none() && matches!(site.snapshot().routes[index].end, End::Hosts(_)) {
        return Err(Error::new(ErrorKind::NoRoute)
            .with_detail(format!("the route `{name}` has neither one host nor `to`: call it as a proxy")));
    }
    let rest = &after[end..];
    let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    head.path = PathAndQuery::from_maybe_shared(Bytes::from(rest)).map_err(|_| bad("the path is not valid"))?;
    head.door = Door::Prefix;
    if let Some(host) = host {
        head.authority = host.clone();
    }
    *named = Some(index);
    Ok(())
}

/// What of a target its path alone can tell: where it must begin (RFC 9112 section 3.2, RFC 9113 section 8.3.1), and what
/// an absolute one without a path means. `false`: the path is no longer what was written.
fn form(parts: &Parts, head: &mut Head) -> Result<bool, Error> {
    let h1 = head.version != Version::HTTP_2;
    if head.door == Door::Connect {
        return Ok(true);
    }
    if parts.extensions.get::<Fragment>().is_some() {
        return Err(bad("a target has no fragment"));
    }
    match head.path.as_str().as_bytes() {
        [b'/'] if h1 && names_no_path(&parts.uri) => {
            // The `Uri` fills in a slash only where there is nothing at all.
            if parts.uri.path_and_query().is_none_or(|path| *path != PathAndQuery::from_static("/")) {
                return Err(bad("a target has no fragment"));
            }
            if head.method == Method::OPTIONS {
                // RFC 9112 section 3.2.4: asked of the server as a whole.
                head.path = PathAndQuery::from_static("*");
                return Ok(false);
            }
            Ok(true)
        }
        [b'/', ..] => Ok(true),
        [b'*'] if head.method == Method::OPTIONS => Ok(true),
        [b'?', ..] if h1 && parts.uri.scheme().is_some() => Ok(true),
        _ => Err(bad("the target is neither a path nor the `*` of an OPTIONS")),
    }
}

/// An absolute target ends with its authority. Its `Uri` has the path `/` all the same; but one that was written stands
/// right behind the authority in the bytes that both share.
fn names_no_path(uri: &Uri) -> bool {
    let (Some(_), Some(authority), Some(path)) = (uri.scheme(), uri.authority(), uri.path_and_query()) else {
        return false;
    };
    path.as_str() == "/" && path.as_str().as_ptr() != authority.as_str().as_bytes().as_ptr_range().end
}

/// RFC 9112 section 6.1: `Transfer-Encoding` is exactly `chunked`, never from HTTP/1.0, and beats `Content-Length`.
fn framing(parts: &mut Parts) -> Result<(), Error> {
    let mut codings = parts.headers.get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next().map(HeaderValue::as_bytes).unwrap_or_default();
    if codings.next().is_some() || !coding.eq_ignore_ascii_case(b"chunked") {
        return Err(bad("Transfer-Encoding is not exactly `chunked`"));
    }
    if parts.version == Version::HTTP_10 {
        return Err(bad("HTTP/1.0 has no Transfer-Encoding"));
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    Ok(())
}

/// RFC 9110 section 10.1.1: `100-continue` is the only expectation there is. From HTTP/1.0 it is ignored, and without a
/// body there is nothing to wait for.
fn expectation(parts: &mut Parts, body: &Body) -> Result<bool, Error> {
    let Entry::Occupied(said) = parts.headers.entry(header::EXPECT) else { return Ok(false) };
    if parts.version != Version::HTTP_10 && !said.iter().all(|value| value.as_bytes().eq_ignore_ascii_case(CONTINUE)) {
        return Err(
            Error::new(ErrorKind::Expectation).with_detail("the only expectation that can be met is 100-continue")
        );
    }
    let expects = parts.version != Version::HTTP_10 && !body.is_end_stream();
    if !expects {
        said.remove_entry_mult();
    }
    Ok(expects)
}

/// RFC 9113 section 8.2.3: the fields into which HTTP/2 splits a `Cookie` are one again before anything else sees it.
fn crumbs(parts: &mut Parts) {
    let mut crumbs = parts.headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else { return };
    let mut whole = first.as_bytes().to_vec();
    for crumb in std::iter::once(second).chain(crumbs) {
        whole.extend_from_slice(b"; ");
        whole.extend_from_slice(crumb.as_bytes());
    }
    if let Ok(mut whole) = HeaderValue::from_maybe_shared(Bytes::from(whole)) {
        whole.set_sensitive(true);
        parts.headers.insert(header::COOKIE, whole);
    }
}

/// Only `websocket` is relayed, only as a request without a body; any other offer is dropped, as RFC 9110
/// section 7.8 allows.
fn upgrade(parts: &mut Parts, body: &Body, said: Stripped, head: &mut Head) -> Result<(), Error> {
    if !said.websocket || head.version != Version::HTTP_11 {
        return Ok(());
    }
    if head.method != Method::GET || !body.is_end_stream() {
        return Err(Error::new(ErrorKind::UpgradeRefused).with_detail("a websocket upgrade is a GET without a body"));
    }
    head.upgrade = true;
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    parts.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    Ok(())
}

/// An absolute URI, and `Host` from it.
///
/// `fits`: the one `Host` is the authority of an absolute-form target, letter for letter.
fn rewrite(parts: &mut Parts, head: &Head, fits: bool) -> Result<(), Error> {
    if fits {
        // An absolute target with the right `Host`: as it must be.
        return Ok(());
    }
    let uri = std::mem::take(&mut parts.uri).into_parts();
    let keeps = matches!(head.door, Door::Forward) || (head.door == Door::Reverse && uri.authority.is_some());
    let authority = match uri.authority {
        Some(authority) if keeps => authority,
        _ => {
            let text = head.authority.to_string();
            http::uri::Authority::from_maybe_shared(Bytes::from(text)).map_err(|_| bad("the host is not valid"))?
        }
    };
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| bad("the host is not valid"))?;
    parts.headers.insert(header::HOST, host);
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(if head.tls { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = Some(authority);
    uri.path_and_query = Some(head.path.clone());
    parts.uri = Uri::from_parts(uri).map_err(|_| bad("the target is not valid"))?;
    Ok(())
}

fn is_grpc(parts: &Parts) -> bool {
    parts.version == Version::HTTP_2
        && parts.method == Method::POST
        && parts.headers.get(header::CONTENT_TYPE).is_some_and(|media| names_grpc(media.as_bytes()))
}

/// `application/grpc`, with or without a codec; gRPC-Web is another protocol.
fn names_grpc(media: &[u8]) -> bool {
    media.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

fn authority(text: &str) -> Result<Authority, Error> {
    Authority::parse(text).map_err(|why| bad("").with_detail(format!("`{text}` is not host[:port]: {why}")))
}

fn bad(why: &'static str) -> Error {
    Error::new(ErrorKind::BadRequest).with_detail(why)
}
