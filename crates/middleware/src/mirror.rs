//! A copy of a share of the requests for another upstream, whose answer nobody gets.
//!
//! The request itself never waits for its copy and never fails with it. A body is copied while the upstream's side
//! reads it, and the copy goes out once it is whole: what is larger than the cap, or not read to its end, is not
//! mirrored, and what finds no place among the copies under way is not either. A copy is tried once, within a time of
//! its own, in a task that a draining worker ends. It is made of the client's request, before the route's credential is
//! put on, and leaves behind what carries the client's own (`Params::withheld`), `Expect`, and trailers. Path, query and
//! body go along as they are.
//!
//! Cost: none without the layer; with it a draw, and for a copy its head, its body's bytes, a task and a few boxes.

mod tasks;
mod tee;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use exchange::{ArcService, Body, Error, ErrorKind, Exchange, Random, ResponseFuture, clock};
use http::{HeaderMap, Method, Request, Uri, Version, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use policy::inflight::Inflight;
use telemetry::metrics::{Mirrored, RouteStats};
use tower::Layer;

pub use self::tasks::Tasks;
use self::tee::Tee;

/// Read of an answer, so that its connection may serve again.
const MOST_READ: usize = 1 << 20;

/// Which requests are copied, and how.
#[derive(Clone, Debug)]
pub struct Params {
    /// Of all requests.
    pub share: f64,
    /// Bytes of a body that is copied.
    pub body_limit: usize,
    /// For all of a copy, its answer's body included.
    pub timeout: Duration,
    /// Copies under way.
    pub concurrency: u32,
    /// Tells by its name whether a field is left behind.
    pub withheld: fn(&str) -> bool,
}

/// What copies go through, and what they are counted by.
#[derive(Clone, Debug)]
pub struct State {
    /// The way to the other upstream.
    pub service: ArcService,
    /// Of the worker.
    pub random: Random,
    /// Of the worker.
    pub tasks: Tasks,
    /// Of the route.
    pub places: Arc<Inflight>,
    /// Of the route.
    pub stats: Arc<RouteStats>,
}

/// Copies requests by `params`.
pub fn layer(params: Params, state: State) -> impl Layer<ArcService, Service = ArcService> {
    let aside = Arc::new(Aside { params, state });
    tower::layer::layer_fn(move |inner| ArcService::new(Mirror { inner, aside: Arc::clone(&aside) }))
}

struct Mirror {
    inner: ArcService,
    aside: Arc<Aside>,
}

impl Mirror {
    fn handle(&self, mut request: Request<Body>) -> ResponseFuture {
        let Aside { params, state } = &*self.aside;
        let head = &Exchange::of(&request).head;
        let is_drawn = params.share >= 1.0 || state.random.with(|rng| rng.f64()) < params.share;
        if !is_drawn || head.upgrade || request.method() == Method::CONNECT {
            return self.inner.call(request);
        }
        if request.body().size_hint().lower() > params.body_limit as u64 {
            state.stats.mirrored(Mirrored::TooLarge);
        } else if state.places.acquire(params.concurrency) {
            let copy = Copy::of(&request, &self.aside);
            if request.body().is_end_stream() {
                copy.send(Bytes::new());
            } else {
                let body = std::mem::take(request.body_mut());
                *request.body_mut() = Tee::of(body, copy, params.body_limit);
            }
        } else {
            state.stats.mirrored(Mirrored::Busy);
        }
        self.inner.call(request)
    }
}

exchange::by_reference!(Mirror);

struct Aside {
    params: Params,
    state: State,
}

/// A copy that is not yet on its way. Dropped, it gives its place back, and is counted by how far it came.
struct Copy {
    aside: Arc<Aside>,
    exchange: Arc<Exchange>,
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    /// How it ends if nothing else is said.
    end: Mirrored,
}

impl Copy {
    fn of(request: &Request<Body>, aside: &Arc<Aside>) -> Self {
        let withheld = aside.params.withheld;
        let fields = request.headers().iter().filter(|(name, _)| !withheld(name.as_str()));
        let mut headers: HeaderMap = fields.map(|(name, value)| (name.clone(), value.clone())).collect();
        headers.remove(header::EXPECT);
        headers.remove(header::TRAILER);
        // A record of its own: its attempts are none of the request's, and nobody waits at the other end.
        let exchange = Exchange::new(Exchange::of(request).head.clone(), None);
        exchange.wait();
        Self {
            aside: Arc::clone(aside),
            exchange: Arc::new(exchange),
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers,
            end: Mirrored::Incomplete,
        }
    }

    /// Sends it off.
    fn send(mut self, body: Bytes) {
        self.end = Mirrored::Cancelled;
        let tasks = self.aside.state.tasks.clone();
        tasks.spawn(self.perform(body));
    }

    async fn perform(mut self, body: Bytes) {
        let timeout = self.aside.params.timeout;
        self.exchange.shorten_deadline(clock::now() + timeout);
        let body = if body.is_empty() { Body::empty() } else { Body::full(body) };
        let mut request = Request::new(body.with_record(Arc::clone(&self.exchange)));
        *request.method_mut() = std::mem::take(&mut self.method);
        *request.uri_mut() = std::mem::take(&mut self.uri);
        *request.version_mut() = self.version;
        *request.headers_mut() = std::mem::take(&mut self.headers);
        let answering = read(self.aside.state.service.call(request));
        self.end = match tokio::time::timeout(timeout, answering).await {
            Ok(Ok(())) => Mirrored::Answered,
            Ok(Err(error)) if matches!(error.kind, ErrorKind::Deadline | ErrorKind::AttemptTimeout) => {
                Mirrored::Timeout
            }
            Ok(Err(_)) => Mirrored::Failed,
            Err(_) => Mirrored::Timeout,
        };
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.aside.state.places.release();
        self.aside.state.stats.mirrored(self.end);
    }
}

/// Reads an answer into nothing, up to where its connection is no longer worth it.
async fn read(answering: ResponseFuture) -> Result<(), Error> {
    let mut body = answering.await?.into_body();
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        read += frame?.data_ref().map_or(0, Bytes::len);
        if read > MOST_READ {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
