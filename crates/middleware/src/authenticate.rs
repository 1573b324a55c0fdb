//! Who is asking: a token, an API key or a password, as the route's identities accept it.
//!
//! What is shown to us as a proxy comes by `Proxy-Authorization` and as an origin by `Authorization` or by the header of an
//! identity. The first of these with a form that an identity of the route knows is the credential; there is one a request.
//! One that no identity accepts is refused, even where none is required: whoever shows something is told that it is not
//! good. One that was accepted goes no further, unless its identity says so.
//!
//! A CONNECT is asked before it is dialed, by the edge, which owns the same [`Gate`]; what it showed holds for all that is
//! inside its tunnel. Who may do what is not decided here.
//!
//! Cost: one look-up of a header and one in a cache. Only what is not in the cache costs more: a token its signature, a
//! password its hash on a thread of its own, and a key that is not known yet a wait for the issuer, in the returned future.

pub mod basic;
pub mod jwt;
pub mod keys;

mod gate;
mod presented;

use std::sync::Arc;

use exchange::service::Outcome;
use exchange::{ArcService, Body, Door, Exchange, ResponseFuture};
use http::{HeaderName, Request};
use tower::Layer;

pub use self::gate::{Checked, Gate, Params};
use self::gate::{Known, Pending};

/// One of the configured ways to show who one is.
#[derive(Debug)]
pub struct Identity {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Where it is shown to us as an origin.
    pub header: HeaderName,
    /// It goes on to the upstream.
    pub forward: bool,
    /// By what.
    pub way: Way,
}

/// What is shown, and what it is held against.
#[derive(Debug)]
pub enum Way {
    /// A signed token.
    Jwt(Box<jwt::Jwt>),
    /// An API key.
    Keys(keys::Keys),
    /// A name and a password.
    Basic(Arc<basic::Users>),
}

/// Notes who is asking, or refuses.
pub fn layer(gate: Arc<Gate>) -> impl Layer<ArcService, Service = ArcService> {
    tower::layer::layer_fn(move |inner| ArcService::new(Authenticate { inner, gate: Arc::clone(&gate) }))
}

struct Authenticate {
    inner: ArcService,
    gate: Arc<Gate>,
}

impl Authenticate {
    fn handle(&self, mut request: Request<Body>) -> ResponseFuture {
        let exchange = Exchange::of(&request);
        if exchange.head.door == Door::Connect {
            // The edge has asked it, by the routes of its host.
            return self.inner.call(request);
        }
        match self.gate.check(exchange, request.headers()) {
            Checked::Through => self.inner.call(request),
            Checked::Known(known) => {
                admit(known, &mut request);
                self.inner.call(request)
            }
            Checked::Refused(error) => ResponseFuture::refuse(error),
            Checked::Later(pending) => {
                ResponseFuture::new(settle(pending, Arc::clone(&self.gate), request, self.inner.clone()))
            }
        }
    }
}

exchange::by_reference!(Authenticate);

async fn settle(pending: Pending, gate: Arc<Gate>, mut request: Request<Body>, inner: ArcService) -> Outcome {
    let exchange = Arc::clone(Exchange::of(&request));
    let known = gate.settle(pending, &exchange).await?;
    admit(known, &mut request);
    inner.call(request).await
}

fn admit(known: Known, request: &mut Request<Body>) {
    if let Some(header) = &known.spent {
        request.headers_mut().remove(header);
    }
    Exchange::of(request).set_principal(known.principal);
}

#[cfg(test)]
mod tests;
