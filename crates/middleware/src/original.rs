//! A request's head as it came from above, to make the request again.
//!
//! An attempt consumes its request, so whoever may have to make it twice copies the head first: the header map above
//! all. The body is somebody else's affair.

use std::sync::Arc;

use exchange::{Body, Exchange};
use http::{Extensions, HeaderMap, Method, Request, Uri, Version};

/// See the module.
pub(crate) struct Original {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    pub(crate) exchange: Arc<Exchange>,
    /// Whatever else there is, an `OnUpgrade` for instance; mostly nothing.
    extensions: Option<Box<Extensions>>,
}

impl Original {
    /// Copies it.
    pub(crate) fn of(request: &Request<Body>) -> Self {
        let extensions = request.extensions();
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: request.headers().clone(),
            exchange: Arc::clone(Exchange::of(request)),
            extensions: (!extensions.is_empty()).then(|| Box::new(extensions.clone())),
        }
    }

    /// The request with `body`.
    pub(crate) fn request(&self, body: Body) -> Request<Body> {
        let mut request = Request::new(body.with_record(Arc::clone(&self.exchange)));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers.clone();
        if let Some(extensions) = &self.extensions {
            *request.extensions_mut() = Extensions::clone(extensions);
        }
        request
    }
}
