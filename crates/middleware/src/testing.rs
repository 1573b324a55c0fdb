//! What the tests of several layers need: a request with its record, and a scripted bottom.

use std::collections::VecDeque;
use std::sync::Arc;

use exchange::{ArcService, Authority, Body, Client, Door, Error, Exchange, Head, ResponseFuture, clock};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tower::Layer;

/// A record for `method uri`, come in through the forward door over plain HTTP.
pub(crate) fn head(method: &Method, uri: &str) -> Head {
    let uri: http::Uri = uri.parse().expect("a uri");
    Head {
        id: 7,
        started: clock::now(),
        door: Door::Forward,
        client: Client { addr: None, local: true, peer: None },
        version: http::Version::HTTP_11,
        method: method.clone(),
        tls: false,
        authority: Authority::parse(uri.authority().expect("an authority").as_str()).expect("an authority"),
        path: uri.path_and_query().cloned().unwrap_or_else(|| "/".parse().expect("a path")),
        upgrade: false,
        grpc: false,
    }
}

/// A request with a record that `change` may adapt.
pub(crate) fn request_with(method: Method, uri: &str, change: impl FnOnce(&mut Head)) -> Request<Body> {
    let mut head = head(&method, uri);
    change(&mut head);
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    *request.uri_mut() = uri.parse().expect("a uri");
    // Where a foreign layer leaves it: tests put bodies of their own in.
    request.extensions_mut().insert(Arc::new(Exchange::new(head, None)));
    request
}

pub(crate) fn request(method: Method, uri: &str) -> Request<Body> {
    request_with(method, uri, |_| {})
}

pub(crate) fn get(uri: &str) -> Request<Body> {
    request(Method::GET, uri)
}

pub(crate) fn record(request: &Request<Body>) -> Arc<Exchange> {
    Arc::clone(Exchange::of(request))
}

pub(crate) fn response(status: u16) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response
}

/// A request as the bottom saw it, its body read.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) uri: String,
    pub(crate) headers: HeaderMap,
    pub(crate) extensions: usize,
    pub(crate) body: String,
}

type Answer = Box<dyn FnOnce() -> Result<Response<Body>, Error> + Send>;

/// A bottom that answers by script, then with 200, and keeps what it saw.
#[derive(Clone, Default)]
pub(crate) struct Bottom(Arc<Mutex<(VecDeque<Answer>, Vec<Seen>)>>);

impl Bottom {
    pub(crate) fn then(self, answer: impl FnOnce() -> Result<Response<Body>, Error> + Send + 'static) -> Self {
        self.0.lock().0.push_back(Box::new(answer));
        self
    }

    pub(crate) fn status(self, status: u16) -> Self {
        self.then(move || Ok(response(status)))
    }

    pub(crate) fn fails(self, error: impl FnOnce() -> Error + Send + 'static) -> Self {
        self.then(move || Err(error()))
    }

    pub(crate) fn service(&self) -> ArcService {
        let bottom = self.clone();
        ArcService::foreign(tower::service_fn(move |request: Request<Body>| {
            let bottom = bottom.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                let seen = Seen {
                    method: parts.method,
                    uri: parts.uri.to_string(),
                    headers: parts.headers,
                    extensions: parts.extensions.len(),
                    body: String::from_utf8_lossy(&body).into_owned(),
                };
                let answer = {
                    let mut script = bottom.0.lock();
                    script.1.push(seen);
                    script.0.pop_front()
                };
                answer.map_or_else(|| Ok(response(200)), |answer| answer())
            }
        }))
    }

    pub(crate) fn under(&self, layer: impl Layer<ArcService, Service = ArcService>) -> ArcService {
        layer.layer(self.service())
    }

    pub(crate) fn calls(&self) -> usize {
        self.0.lock().1.len()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.0.lock().1)
    }
}

/// A service that never answers.
pub(crate) fn silent() -> ArcService {
    ArcService::foreign(tower::service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Error>>()))
}

pub(crate) async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Drives a future to its end without a runtime's help, where it has nothing to wait for.
pub(crate) async fn status(future: ResponseFuture) -> u16 {
    future.await.expect("a response").status().as_u16()
}
