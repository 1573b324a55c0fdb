//! Per-attempt header edits: the route's own, `Via`, and what is left of the time that the client gave.
//!
//! Request edits are made in place. The response is touched only if the route edits it, or if the scheme
//! differs between the two sides: a client that came over plain HTTP to a host we reach over TLS would be led
//! past us by `Location: https://that-host/...`, and bound to it by `Strict-Transport-Security`. Clients below
//! `/r/<route>/` are left alone: their way back is not the target's host.
//!
//! Cost: no box unless the response is touched, then one.

use std::sync::Arc;

use exchange::headers::Via;
use exchange::service::Outcome;
use exchange::{ArcService, Authority, Body, Door, Exchange, Host, ResponseFuture, clock};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::Scheme;
use http::{Request, Response};
use tower::Layer;

use crate::{grpc_timeout, request_timeout};

/// What is edited.
#[derive(Clone, Debug, Default)]
pub struct Params {
    /// On the way to the upstream.
    pub request: Edit,
    /// On the way to the client.
    pub response: Edit,
    /// Our own member of `Via`.
    pub via: Option<Arc<Via>>,
    /// The client's own deadline.
    pub deadline: Option<Deadline>,
    /// Lead redirects to the same host back to plain HTTP for clients that use that.
    pub rewrite_location: bool,
}

/// A field with what a client has left, and under which name it goes on.
#[derive(Clone, Debug)]
pub struct Deadline {
    /// Towards us.
    pub header: HeaderName,
    /// Towards the upstream; `None` keeps it to ourselves.
    pub out: Option<HeaderName>,
}

impl Deadline {
    fn pass_on(&self, request: &mut Request<Body>) {
        let Ok(Some(given)) = request_timeout::given(request.headers(), &self.header) else { return };
        let gone = clock::now().since(Exchange::of(request).head.started);
        request.headers_mut().remove(&self.header);
        if let Some(out) = &self.out {
            request.headers_mut().insert(out.clone(), given.left(gone));
        }
    }
}

/// Removals first, then replacements, then additions.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    /// Replaces all values of the name.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Adds a value to those there are.
    pub add: Vec<(HeaderName, HeaderValue)>,
    /// Removes all values of the name.
    pub remove: Vec<HeaderName>,
}

impl Edit {
    fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }

    fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name.clone(), value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name.clone(), value.clone());
        }
    }
}

/// Edits every attempt and its response.
pub fn layer(params: Params) -> impl Layer<ArcService, Service = ArcService> {
    let params = Arc::new(params);
    tower::layer::layer_fn(move |inner| ArcService::new(Headers { inner, params: Arc::clone(&params) }))
}

struct Headers {
    inner: ArcService,
    params: Arc<Params>,
}

impl Headers {
    fn handle(&self, mut request: Request<Body>) -> ResponseFuture {
        let head = &Exchange::of(&request).head;
        let (grpc, version) = (head.grpc, head.version);
        if grpc {
            pass_on_timeout(&mut request);
        }
        if let Some(deadline) = &self.params.deadline {
            deadline.pass_on(&mut request);
        }
        self.params.request.apply(request.headers_mut());
        if let Some(via) = &self.params.via {
            via.append(request.headers_mut(), version);
        }
        let downgraded = if self.params.rewrite_location { Downgraded::of(&request) } else { None };
        let future = self.inner.call(request);
        if downgraded.is_none() && self.params.response.is_empty() {
            return future;
        }
        ResponseFuture::new(amend(future, Arc::clone(&self.params), downgraded))
    }
}

exchange::by_reference!(Headers);

async fn amend(future: ResponseFuture, params: Arc<Params>, downgraded: Option<Downgraded>) -> Outcome {
    let mut response = future.await?;
    if let Some(downgraded) = downgraded {
        downgraded.apply(&mut response);
    }
    params.response.apply(response.headers_mut());
    Ok(response)
}

/// The client's `grpc-timeout`, less the time that is gone.
fn pass_on_timeout(request: &mut Request<Body>) {
    let Some(asked) = request.headers().get(grpc_timeout::NAME).and_then(grpc_timeout::parse) else { return };
    let gone = clock::now().since(Exchange::of(request).head.started);
    request.headers_mut().insert(grpc_timeout::NAME, grpc_timeout::format(asked.saturating_sub(gone)));
}

/// The client side is plain HTTP, the upstream side TLS, the host the same.
struct Downgraded {
    exchange: Arc<Exchange>,
    /// The port of the upstream side.
    port: u16,
}

impl Downgraded {
    fn of(request: &Request<Body>) -> Option<Self> {
        let exchange = Exchange::of(request);
        let head = &exchange.head;
        let uri = request.uri();
        let plain = !head.tls && matches!(head.door, Door::Forward | Door::Tunnel | Door::Reverse);
        if !plain || uri.scheme() != Some(&Scheme::HTTPS) || !is(head.authority.host(), uri.host()?) {
            return None;
        }
        Some(Self { exchange: Arc::clone(exchange), port: uri.port_u16().unwrap_or(443) })
    }

    fn apply(&self, response: &mut Response<Body>) {
        let headers = response.headers_mut();
        headers.remove(header::STRICT_TRANSPORT_SECURITY);
        if let Some(location) = headers.get_mut(header::LOCATION)
            && let Some(back) = self.back(location)
        {
            *location = back;
        }
    }

    /// `location` as the client must follow it, if it names the upstream side.
    fn back(&self, location: &HeaderValue) -> Option<HeaderValue> {
        let text = location.to_str().ok()?;
        let (scheme, rest) = text.split_at_checked("https://".len())?;
        if !scheme.eq_ignore_ascii_case("https://") {
            return None;
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let named = Authority::parse(authority).ok()?;
        let own = &self.exchange.head.authority;
        if named.host() != own.host() || named.port_or(443) != self.port {
            return None;
        }
        HeaderValue::try_from(format!("http://{own}{path}")).ok()
    }
}

/// Whether `text` is `host`; parses only addresses.
fn is(host: &Host, text: &str) -> bool {
    match host.name() {
        Some(name) => name.eq_ignore_ascii_case(text),
        None => Host::parse(text).is_ok_and(|other| other == *host),
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use http::header::{LOCATION, STRICT_TRANSPORT_SECURITY};
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Bottom, get, request_with, response, status};

    fn field(name: &'static str, value: &'static str) -> (HeaderName, HeaderValue) {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    }

    fn edit() -> Edit {
        Edit {
            set: vec![field("x-set", "new")],
            add: vec![field("x-add", "more"), field("x-gone", "back")],
            remove: vec![HeaderName::from_static("x-gone")],
        }
    }

    fn values(headers: &HeaderMap, name: &str) -> Vec<String> {
        headers.get_all(name).iter().map(|value| value.to_str().expect("text").to_owned()).collect()
    }

    fn fill(headers: &mut HeaderMap) {
        for (name, value) in [field("x-set", "a"), field("x-set", "b"), field("x-add", "one"), field("x-gone", "old")] {
            headers.append(name, value);
        }
    }

    fn check(headers: &HeaderMap) {
        assert_eq!(values(headers, "x-set"), ["new"]);
        assert_eq!(values(headers, "x-add"), ["one", "more"]);
        assert_eq!(values(headers, "x-gone"), ["back"]);
    }

    #[tokio::test]
    async fn removes_then_sets_then_adds_on_both_ways() {
        let bottom = Bottom::default().then(|| {
            let mut response = response(200);
            fill(response.headers_mut());
            Ok(response)
        });
        let via = Arc::new(Via::new("attache-1").expect("a name"));
        let service =
            bottom.under(layer(Params { request: edit(), response: edit(), via: Some(via), ..Params::default() }));
        let mut request = get("http://a.test/");
        fill(request.headers_mut());
        request.headers_mut().append(header::VIA, HeaderValue::from_static("1.0 fred"));

        let response = service.call(request).await.expect("a response");

        check(response.headers());
        let seen = bottom.seen().remove(0);
        check(&seen.headers);
        assert_eq!(values(&seen.headers, "via"), ["1.0 fred", "1.1 attache-1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_attempt_passes_on_what_is_left_of_a_grpc_timeout() {
        let bottom = Bottom::default();
        let service = bottom.under(layer(Params::default()));
        for (grpc, timeout) in [(true, "2S"), (true, "100m"), (true, "soon"), (false, "2S")] {
            let mut request = request_with(Method::POST, "http://a.test/x", |head| head.grpc = grpc);
            request.headers_mut().insert(grpc_timeout::NAME, HeaderValue::from_static(timeout));
            tokio::time::advance(std::time::Duration::from_millis(500)).await;

            assert_eq!(status(service.call(request)).await, 200);
        }

        let sent: Vec<_> = bottom.seen().iter().flat_map(|seen| values(&seen.headers, "grpc-timeout")).collect();
        assert_eq!(sent, ["1500000u", "0n", "soon", "2S"]);
    }

    #[tokio::test(start_paused = true)]
    async fn each_attempt_passes_on_what_is_left_of_the_clients_own_deadline() {
        let header = HeaderName::from_static("x-timeout");
        for (out, name) in [(Some("x-timeout"), "x-timeout"), (Some("x-left"), "x-left"), (None, "x-timeout")] {
            let bottom = Bottom::default();
            let deadline = Deadline { header: header.clone(), out: out.map(HeaderName::from_static) };
            let service = bottom.under(layer(Params { deadline: Some(deadline), ..Params::default() }));
            for value in ["2s", "2000"] {
                let mut request = get("http://a.test/x");
                request.headers_mut().insert(&header, HeaderValue::from_static(value));
                tokio::time::advance(std::time::Duration::from_millis(500)).await;

                assert_eq!(status(service.call(request)).await, 200);
            }
            assert_eq!(status(service.call(get("http://a.test/x"))).await, 200);

            let seen = bottom.seen();
            let sent: Vec<_> = seen.iter().flat_map(|seen| values(&seen.headers, name)).collect();
            assert_eq!(sent, if out.is_some() { vec!["1500ms", "1500"] } else { vec![] }, "{out:?}");
            assert!(out == Some("x-timeout") || seen.iter().all(|seen| !seen.headers.contains_key(&header)));
        }
    }

    /// The response's `Location` and whether HSTS is still there.
    async fn redirected(client: &str, upstream: &str, door: Door, location: &'static str) -> (String, bool) {
        let bottom = Bottom::default().then(move || {
            let mut response = response(302);
            response.headers_mut().insert(LOCATION, HeaderValue::from_static(location));
            response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=1"));
            Ok(response)
        });
        let service = bottom.under(layer(Params { rewrite_location: true, ..Params::default() }));
        let tls = client.starts_with("https");
        let mut request = request_with(Method::GET, client, |head| (head.door, head.tls) = (door, tls));
        *request.uri_mut() = upstream.parse().expect("a uri");

        let response = service.call(request).await.expect("a response");

        let location = values(response.headers(), "location").remove(0);
        (location, response.headers().contains_key(STRICT_TRANSPORT_SECURITY))
    }

    #[tokio::test]
    async fn a_redirect_to_the_same_host_leads_back_to_plain_http() {
        let (plain, tls) = ("http://api.test/a", "https://api.test/a");
        for (location, expected) in [
            ("https://api.test/b?c", "http://api.test/b?c"),
            ("HTTPS://API.test", "http://api.test"),
            ("https://api.test:443?x", "http://api.test?x"),
            ("https://api.test:8443/b", "https://api.test:8443/b"),
            ("https://other.test/b", "https://other.test/b"),
            ("https://api.test@other.test/b", "https://api.test@other.test/b"),
            ("https://api.test.other.test/", "https://api.test.other.test/"),
            ("/b", "/b"),
        ] {
            assert_eq!(redirected(plain, tls, Door::Forward, location).await, (expected.to_owned(), false));
        }
        let ported =
            redirected("http://api.test:8080/", "https://API.test:8443/", Door::Reverse, "https://api.test:8443/b");
        assert_eq!(ported.await, ("http://api.test:8080/b".to_owned(), false));
        let ipv6 = redirected("http://[::1]/", "https://[0::1]/", Door::Tunnel, "https://[::1]/b");
        assert_eq!(ipv6.await, ("http://[::1]/b".to_owned(), false));
    }

    #[tokio::test]
    async fn other_redirects_are_kept() {
        let location = "https://api.test/b";
        for (client, upstream, door) in [
            ("https://api.test/", "https://api.test/", Door::Forward),
            ("http://api.test/", "http://api.test/", Door::Forward),
            ("http://api.test/", "https://other.test/", Door::Forward),
            ("http://api.test/", "https://api.test/", Door::Prefix),
        ] {
            assert_eq!(redirected(client, upstream, door, location).await, (location.to_owned(), true));
        }
    }

    proptest! {
        #[test]
        fn any_location_is_read_without_a_panic(text in "(?i:https://)?.{0,40}") {
            let head = crate::testing::head(&Method::GET, "http://a.test/");
            let downgraded = Downgraded { exchange: Arc::new(Exchange::new(head, None)), port: 443 };
            if let Ok(value) = HeaderValue::try_from(text) {
                let back = downgraded.back(&value);
                prop_assert!(back.is_none_or(|back| back.as_bytes().starts_with(b"http://a.test")));
            }
        }
    }
}
