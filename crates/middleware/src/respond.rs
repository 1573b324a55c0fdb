//! A route's end that answers with a fixed response.

use bytes::Bytes;
use exchange::{ArcService, Body, ResponseFuture};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};

/// The answer.
#[derive(Clone, Debug)]
pub struct Params {
    /// Any final status.
    pub status: StatusCode,
    /// As configured; `content-type` is plain text unless it is among them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// As configured; may be empty.
    pub body: Bytes,
}

/// Answers every request with the same response; the request's body is not read.
pub fn service(params: Params) -> ArcService {
    let bodiless =
        matches!(params.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::RESET_CONTENT);
    let body = if bodiless { Bytes::new() } else { params.body };
    let mut headers: HeaderMap = HeaderMap::with_capacity(params.headers.len() + 2);
    for (name, value) in params.headers {
        headers.append(name, value);
    }
    if !body.is_empty() && !headers.contains_key(header::CONTENT_TYPE) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    }
    headers.remove(header::CONTENT_LENGTH);
    if !bodiless {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    ArcService::new(Respond { status: params.status, headers, body })
}

struct Respond {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Respond {
    fn handle(&self, request: Request<Body>) -> ResponseFuture {
        let bare = request.method() == Method::HEAD || self.body.is_empty();
        let mut response = Response::new(if bare { Body::empty() } else { Body::full(self.body.clone()) });
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        ResponseFuture::ready(Ok(response))
    }
}

exchange::by_reference!(Respond);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{get, request, text};

    fn teapot() -> ArcService {
        service(Params {
            status: StatusCode::IM_A_TEAPOT,
            headers: vec![(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))],
            body: Bytes::from_static(b"short and stout"),
        })
    }

    #[tokio::test]
    async fn answers_as_configured() {
        let response = teapot().call(get("http://a.test/")).await.expect("a response");

        assert_eq!(response.status(), 418);
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/plain; charset=utf-8");
        assert_eq!(text(response).await, "short and stout");
    }

    #[tokio::test]
    async fn head_has_the_length_and_no_body() {
        let response = teapot().call(request(Method::HEAD, "http://a.test/")).await.expect("a response");

        assert_eq!(response.headers()[header::CONTENT_LENGTH], "15");
        assert_eq!(text(response).await, "");
    }

    #[tokio::test]
    async fn no_content_has_neither() {
        let service =
            service(Params { status: StatusCode::NO_CONTENT, headers: Vec::new(), body: Bytes::from_static(b"x") });

        let response = service.call(get("http://a.test/")).await.expect("a response");

        assert!(response.headers().is_empty());
        assert_eq!(text(response).await, "");
    }
}
