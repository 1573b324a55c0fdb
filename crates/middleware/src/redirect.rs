//! A route's end that answers with a redirect.

use exchange::{ArcService, Body, ResponseFuture};
use http::header::{self, HeaderValue};
use http::{Request, Response, StatusCode};

/// The answer.
#[derive(Clone, Debug)]
pub struct Params {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// `Location`, as configured.
    pub location: HeaderValue,
}

/// Answers every request with the same redirect; the request's body is not read.
pub fn service(params: Params) -> ArcService {
    ArcService::new(Redirect(params))
}

struct Redirect(Params);

impl Redirect {
    fn handle(&self, _: Request<Body>) -> ResponseFuture {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.0.status;
        response.headers_mut().insert(header::LOCATION, self.0.location.clone());
        ResponseFuture::ready(Ok(response))
    }
}

exchange::by_reference!(Redirect);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{get, text};

    #[tokio::test]
    async fn answers_with_status_and_location() {
        let location = HeaderValue::from_static("https://new.test/");
        let service = service(Params { status: StatusCode::PERMANENT_REDIRECT, location: location.clone() });

        let response = service.call(get("http://old.test/a")).await.expect("a response");

        assert_eq!(response.status(), 308);
        assert_eq!(response.headers()[header::LOCATION], location);
        assert_eq!(text(response).await, "");
    }
}
