//! Keeps web pages away from routes that add credentials.
//!
//! Any page in any browser on this machine can send requests to a port on localhost and, where the browser was told to
//! use this proxy, to any host. A browser says so itself: by `Origin`, or by `Sec-Fetch-Site` where it sends no `Origin`
//! (images, navigations). To a plain-http name it says neither of such a request; then all that is left of it is the
//! `User-Agent`, which a page cannot change without being asked about by an `Origin`. A program that calls itself a browser
//! is refused with it: whoever wants that lists `*`.
//!
//! A page may use its own host through a proxy, as it would without one. A door that is reached by address is no such
//! host: its name may have been bound to this address by whoever made the page.
//!
//! Cost: three header lookups.

use std::sync::Arc;

use exchange::{ArcService, Authority, Body, Door, Error, ErrorKind, Exchange, Head, ResponseFuture};
use http::header::{HeaderMap, HeaderName, ORIGIN, USER_AGENT};
use http::{HeaderValue, Request};
use tower::Layer;

/// Every page, and every program that looks like a browser.
const ANY: &str = "*";
/// How the `User-Agent` of every browser begins.
const BROWSER: &[u8] = b"Mozilla/";
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Who may.
#[derive(Clone, Debug, Default)]
pub struct Params {
    /// Lower-case origins, `https://app.example.com`, or `*`.
    pub origins: Vec<String>,
    /// The route answers for every host: a page could call it under its own name, bound to our address.
    pub any_host: bool,
}

/// Refuses requests that a web page sent, unless its origin is listed.
pub fn layer(params: Params) -> impl Layer<ArcService, Service = ArcService> {
    let Params { origins, any_host } = params;
    let origins: Arc<[String]> = origins.into();
    tower::layer::layer_fn(move |inner| ArcService::new(Browser { inner, origins: Arc::clone(&origins), any_host }))
}

struct Browser {
    inner: ArcService,
    origins: Arc<[String]>,
    any_host: bool,
}

impl Browser {
    fn handle(&self, request: Request<Body>) -> ResponseFuture {
        let head = &Exchange::of(&request).head;
        if self.any_host
            && head.door == Door::Reverse
            && head.authority.host().name().is_some()
            && !head.authority.host().is_local()
        {
            let detail =
                "a route with auth and without a host in its match answers only for localhost and addresses here";
            return ResponseFuture::refuse(Error::new(ErrorKind::Forbidden).with_detail(detail));
        }
        if let Err(why) = self.admits(head, request.headers()) {
            return ResponseFuture::refuse(Error::new(ErrorKind::Forbidden).with_detail(why));
        }
        self.inner.call(request)
    }

    fn admits(&self, head: &Head, headers: &HeaderMap) -> Result<(), &'static str> {
        if self.origins.iter().any(|listed| listed == ANY) {
            return Ok(());
        }
        let mut origins = headers.get_all(ORIGIN).iter().peekable();
        if origins.peek().is_some() {
            let may = origins.all(|origin| self.lists(origin) || (head.door.is_proxy() && is_target(head, origin)));
            return if may { Ok(()) } else { Err("a web page of an origin that is not in `browser_origins`") };
        }
        let mut sites = headers.get_all(SEC_FETCH_SITE).iter().peekable();
        if sites.peek().is_some() {
            let may = sites.all(|site| site == "none" || site == "same-origin");
            return if may { Ok(()) } else { Err("a web page of another site, and it does not say of which") };
        }
        if headers.get_all(USER_AGENT).iter().any(|agent| agent.as_bytes().starts_with(BROWSER)) {
            return Err("a browser that does not say which page asks; a program needs another User-Agent, or \
                        `browser_origins: \"*\"` in the route");
        }
        Ok(())
    }

    fn lists(&self, origin: &HeaderValue) -> bool {
        self.origins.iter().any(|listed| listed.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
    }
}

/// The page is of the very host that is asked for.
fn is_target(head: &Head, origin: &HeaderValue) -> bool {
    let Some((scheme, authority)) = origin.to_str().ok().and_then(|origin| origin.split_once("://")) else {
        return false;
    };
    let port = if head.tls { 443 } else { 80 };
    scheme == (if head.tls { "https" } else { "http" })
        && Authority::parse(authority).is_ok_and(|from| {
            from.host() == head.authority.host() && from.port_or(port) == head.authority.port_or(port)
        })
}

exchange::by_reference!(Browser);

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::testing::{Bottom, request_with};

    async fn admitted(door: Door, fields: &[(&'static str, &'static str)]) -> bool {
        let bottom = Bottom::default();
        let service = bottom.under(layer(Params { origins: vec!["https://app.test".into()], any_host: false }));
        let mut request = request_with(Method::GET, "http://api.test/", |head| head.door = door);
        for (name, value) in fields {
            request.headers_mut().append(*name, HeaderValue::from_static(value));
        }

        let outcome = service.call(request).await;

        match outcome {
            Ok(_) => assert_eq!(bottom.calls(), 1),
            Err(error) => assert_eq!((error.kind, bottom.calls()), (ErrorKind::Forbidden, 0)),
        }
        bottom.calls() == 1
    }

    #[tokio::test]
    async fn a_program_is_admitted() {
        assert!(admitted(Door::Reverse, &[]).await);
        assert!(admitted(Door::Prefix, &[("accept", "*/*")]).await);
    }

    #[tokio::test]
    async fn a_page_is_refused_at_every_door() {
        for door in [Door::Reverse, Door::Prefix, Door::Forward, Door::Tunnel] {
            assert!(!admitted(door, &[("origin", "https://evil.test")]).await);
            assert!(!admitted(door, &[("origin", "null")]).await);
            assert!(!admitted(door, &[("sec-fetch-site", "cross-site")]).await);
            assert!(!admitted(door, &[("sec-fetch-site", "same-site")]).await);
            assert!(!admitted(door, &[("sec-fetch-site", "")]).await);
        }
    }

    #[tokio::test]
    async fn a_browser_that_does_not_say_where_from_is_refused_and_a_program_is_not() {
        for door in [Door::Reverse, Door::Prefix, Door::Forward, Door::Tunnel] {
            assert!(!admitted(door, &[("user-agent", "Mozilla/5.0 (X11; Linux x86_64)")]).await);
            assert!(admitted(door, &[("user-agent", "curl/7.88.1")]).await);
            assert!(admitted(door, &[("user-agent", "node"), ("sec-fetch-mode", "cors")]).await);
        }
    }

    #[tokio::test]
    async fn a_page_uses_its_own_host_through_a_proxy_only() {
        // The target is http://api.test/.
        for door in [Door::Forward, Door::Tunnel] {
            assert!(admitted(door, &[("origin", "http://api.test")]).await);
            assert!(admitted(door, &[("origin", "http://api.test:80")]).await);
            for other in
                ["https://api.test", "http://api.test:8080", "http://x.api.test", "api.test", "http://api.test/"]
            {
                assert!(!admitted(door, &[("origin", other)]).await, "{other}");
            }
        }
        assert!(!admitted(Door::Reverse, &[("origin", "http://api.test")]).await, "it may have been bound anew");
    }

    #[tokio::test]
    async fn a_star_admits_every_page() {
        let bottom = Bottom::default();
        let service = bottom.under(layer(Params { origins: vec![ANY.to_owned()], any_host: false }));
        let mut request = request_with(Method::GET, "http://api.test/", |head| head.door = Door::Prefix);
        request.headers_mut().append("origin", HeaderValue::from_static("https://evil.test"));

        assert!(service.call(request).await.is_ok());
    }

    #[tokio::test]
    async fn a_listed_origin_is_admitted_whatever_its_site() {
        assert!(admitted(Door::Reverse, &[("origin", "https://APP.test"), ("sec-fetch-site", "cross-site")]).await);
        assert!(!admitted(Door::Reverse, &[("origin", "https://app.test"), ("origin", "https://evil.test")]).await);
        assert!(!admitted(Door::Reverse, &[("origin", "https://app.test.evil.test")]).await);
    }

    #[tokio::test]
    async fn what_the_user_typed_or_the_page_itself_fetched_is_admitted() {
        assert!(admitted(Door::Reverse, &[("sec-fetch-site", "none")]).await);
        assert!(admitted(Door::Reverse, &[("sec-fetch-site", "same-origin")]).await);
        assert!(!admitted(Door::Reverse, &[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")]).await);
    }

    #[tokio::test]
    async fn a_name_that_is_not_local_reaches_no_route_for_all_hosts() {
        let bottom = Bottom::default();
        let service = bottom.under(layer(Params { origins: Vec::new(), any_host: true }));
        let call = |host: &'static str, door| {
            let authority = Authority::parse(host).expect("a host");
            let request = request_with(Method::GET, "http://api.test/", |head| {
                head.door = door;
                head.authority = authority;
            });
            service.call(request)
        };

        let error = call("evil.example:4780", Door::Reverse).await.expect_err("a refusal");

        assert_eq!((error.kind, bottom.calls()), (ErrorKind::Forbidden, 0));
        for (host, door) in [("localhost:4780", Door::Reverse), ("10.0.0.5", Door::Reverse), ("a.test", Door::Forward)]
        {
            assert!(call(host, door).await.is_ok(), "{host}");
        }
    }
}
