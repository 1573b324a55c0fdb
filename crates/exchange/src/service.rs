//! The one service type between layers.
//!
//! Every layer of ours implements `tower::Service` for a *reference* to itself, so a call borrows the
//! stack and clones nothing (tower's `&mut self` would force a deep clone of the stack per request). A
//! foreign tower service comes in through [`ArcService::foreign`], which clones it per call.

use std::fmt;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower::{Service, ServiceExt};

use crate::{Body, Error};

/// What a layer answers with.
pub type Outcome = Result<Response<Body>, Error>;

/// The future of a response; small, since every layer moves it.
pub struct ResponseFuture(Inner);

enum Inner {
    Ready(Box<Ready<Outcome>>),
    Boxed(Pin<Box<dyn Future<Output = Outcome> + Send>>),
}

impl ResponseFuture {
    /// Boxes a future. Each call is an allocation per request: `tests/allocations.rs` counts them.
    pub fn new(future: impl Future<Output = Outcome> + Send + 'static) -> Self {
        #[cfg(debug_assertions)]
        BOXED.set(BOXED.get() + 1);
        Self(Inner::Boxed(Box::pin(future)))
    }

    /// An answer that is already there.
    pub fn ready(outcome: Outcome) -> Self {
        Self(Inner::Ready(Box::new(ready(outcome))))
    }

    /// A refusal that is already there.
    pub fn refuse(error: impl Into<Error>) -> Self {
        Self::ready(Err(error.into()))
    }
}

#[cfg(debug_assertions)]
thread_local! {
    static BOXED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Futures that this thread has boxed so far: for tests, so only debug builds count.
#[cfg(debug_assertions)]
pub fn boxed_so_far() -> u64 {
    BOXED.get()
}

impl Future for ResponseFuture {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        match &mut self.0 {
            Inner::Ready(outcome) => Pin::new(&mut **outcome).poll(cx),
            Inner::Boxed(future) => future.as_mut().poll(cx),
        }
    }
}

trait Call: Send + Sync {
    fn call(&self, request: Request<Body>) -> ResponseFuture;
}

impl<S> Call for S
where
    S: Send + Sync,
    for<'a> &'a S: Service<Request<Body>, Response = Response<Body>, Error = Error, Future = ResponseFuture>,
{
    fn call(&self, request: Request<Body>) -> ResponseFuture {
        let mut service = self;
        Service::call(&mut service, request)
    }
}

/// A shared, always ready service.
#[derive(Clone)]
pub struct ArcService(Arc<dyn Call>);

impl ArcService {
    /// Wraps a layer's service.
    pub fn new<S>(service: S) -> Self
    where
        S: Send + Sync + 'static,
        for<'a> &'a S: Service<Request<Body>, Response = Response<Body>, Error = Error, Future = ResponseFuture>,
    {
        Self(Arc::new(service))
    }

    /// Wraps a layer's service that somebody else holds too.
    pub fn shared<S>(service: Arc<S>) -> Self
    where
        S: Send + Sync + 'static,
        for<'a> &'a S: Service<Request<Body>, Response = Response<Body>, Error = Error, Future = ResponseFuture>,
    {
        Self(service)
    }

    /// Wraps any cloneable tower service; it is cloned and driven to readiness per call.
    pub fn foreign<S>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Error> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        Self::new(Foreign(service))
    }

    /// Calls it by reference.
    pub fn call(&self, request: Request<Body>) -> ResponseFuture {
        self.0.call(request)
    }
}

impl fmt::Debug for ArcService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ArcService")
    }
}

impl Service<Request<Body>> for ArcService {
    type Response = Response<Body>;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> ResponseFuture {
        self.0.call(request)
    }
}

struct Foreign<S>(S);

impl<S> Service<Request<Body>> for &Foreign<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Error> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> ResponseFuture {
        // A foreign layer may put another body in: the record goes by the extensions as well.
        if let Some(record) = request.body().record().cloned() {
            // Nobody knows whether it waits.
            record.wait();
            request.extensions_mut().insert(record);
        }
        ResponseFuture::new(self.0.clone().oneshot(request))
    }
}

/// Implements `tower::Service<Request<Body>>` for `&$service` from its inherent `handle(&self, Request<Body>) -> ResponseFuture`.
#[macro_export]
macro_rules! by_reference {
    ($service:ty) => {
        impl ::tower::Service<::http::Request<$crate::Body>> for &$service {
            type Response = ::http::Response<$crate::Body>;
            type Error = $crate::Error;
            type Future = $crate::ResponseFuture;

            fn poll_ready(
                &mut self,
                _: &mut ::std::task::Context<'_>,
            ) -> ::std::task::Poll<::std::result::Result<(), $crate::Error>> {
                ::std::task::Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: ::http::Request<$crate::Body>) -> $crate::ResponseFuture {
                self.handle(request)
            }
        }
    };
}
