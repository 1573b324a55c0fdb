//! Keeps web pages away from routes that add credentials.
//!
//! Any page in any browser on this machine can send requests to a port on localhost. A browser says so itself:
//! by `Origin`, or by `Sec-Fetch-Site` where it sends no `Origin` (images, navigations). Only the doors that a
//! page can reach are guarded: absolute-form and CONNECT are sent to a proxy one has chosen to use.
//!
//! Cost: two header lookups on guarded doors, nothing on the others.

use std::sync::Arc;

use exchange::{ArcService, Body, Door, Error, ErrorKind, Exchange, ResponseFuture};
use http::header::{HeaderMap, HeaderName, ORIGIN};
use http::{HeaderValue, Request};
use tower::Layer;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Who may.
#[derive(Clone, Debug, Default)]
pub struct Params {
    /// Lower-case origins, `https://app.example.com`.
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
        let guarded = matches!(head.door, Door::Reverse | Door::Prefix);
        if guarded && !self.admits(request.headers()) {
            let error = Error::new(ErrorKind::Forbidden);
            return ResponseFuture::refuse(error.with_detail("a web page of an origin that is not in browser_origins"));
        }
        self.inner.call(request)
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(ORIGIN).iter().peekable();
        if origins.peek().is_some() {
            return origins.all(|origin| self.lists(origin));
        }
        headers.get_all(SEC_FETCH_SITE).iter().all(|site| site == "none" || site == "same-origin")
    }

    fn lists(&self, origin: &HeaderValue) -> bool {
        self.origins.iter().any(|listed| listed.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
    }
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
    async fn a_page_is_refused_on_the_doors_it_can_reach() {
        for door in [Door::Reverse, Door::Prefix] {
            assert!(!admitted(door, &[("origin", "https://evil.test")]).await);
            assert!(!admitted(door, &[("origin", "null")]).await);
            assert!(!admitted(door, &[("sec-fetch-site", "cross-site")]).await);
            assert!(!admitted(door, &[("sec-fetch-site", "same-site")]).await);
        }
        for door in [Door::Forward, Door::Connect, Door::Tunnel] {
            assert!(admitted(door, &[("origin", "https://evil.test")]).await);
        }
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
            let authority = exchange::Authority::parse(host).expect("a host");
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
