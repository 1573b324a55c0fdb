//! A request that may have to be made again, elsewhere.

use std::sync::Arc;

use exchange::body::Replay;
use exchange::{Body, Exchange};
use http::{Extensions, HeaderMap, Method, Request, Uri, Version};
use http_body::Body as _;

/// Its head as it came from above, and its body as far as that is kept.
pub(super) struct Kept {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    uri: Uri,
    version: Version,
    exchange: Arc<Exchange>,
    /// Mostly nothing.
    extensions: Option<Box<Extensions>>,
    /// Absent for an empty body.
    replay: Option<Replay>,
}

impl Kept {
    /// Keeps `request`, whose body is read through what is kept from now on.
    pub(super) fn of(request: &mut Request<Body>, cap: usize) -> Self {
        let exchange = Arc::clone(Exchange::of(request));
        let replay = (!request.body().is_end_stream()).then(|| Replay::new(std::mem::take(request.body_mut()), cap));
        if let Some(body) = replay.as_ref().and_then(Replay::body) {
            *request.body_mut() = body.with_record(Arc::clone(&exchange));
        }
        let extensions = request.extensions();
        Self {
            method: request.method().clone(),
            headers: request.headers().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            extensions: (!extensions.is_empty()).then(|| Box::new(extensions.clone())),
            exchange,
            replay,
        }
    }

    /// The same request from its first byte; `None` once more of its body than the cap was read.
    pub(super) fn request(&self) -> Option<Request<Body>> {
        let body = match &self.replay {
            Some(replay) => replay.body()?,
            None => Body::empty(),
        };
        let mut request = Request::new(body.with_record(Arc::clone(&self.exchange)));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers.clone();
        if let Some(extensions) = &self.extensions {
            *request.extensions_mut() = Extensions::clone(extensions);
        }
        Some(request)
    }
}
