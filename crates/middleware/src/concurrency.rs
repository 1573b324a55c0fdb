//! The bulkhead: how many requests of a route are in flight at once, and how many wait for a place.
//!
//! A place is kept until the exchange is over, not until the response head: an answer that streams for an hour takes
//! one for an hour. It rides in the exchange's record, so it needs neither a guard on the body nor a future around the
//! answer, and no way of ending can forget it. Whoever finds no place is refused, or waits in one queue with a bounded
//! length and a bounded time, in order of arrival, here in the returned future where the deadline sees it.
//!
//! An adaptive limit is found out from the answers, by `policy::adaptive`, and kept with the places.
//!
//! Cost: one allocation and one lock; a box for who waits or is adaptive. Routes without a limit of their own do not have this layer:
//! their ceiling is the count that each endpoint keeps anyway.

mod bulkhead;
mod hosts;

use std::sync::Arc;
use std::time::Duration;

use exchange::service::Outcome;
use exchange::{ArcService, Body, Error, ErrorKind, Exchange, ResponseFuture, clock};
use http::{Request, StatusCode};
use policy::adaptive::Sample;
use tower::Layer;

pub use self::bulkhead::Bulkhead;
use self::bulkhead::{Entry, Limit, Turn};
pub use self::hosts::Hosts;

/// When to come again: nobody knows when a place is free, but not at once.
const AGAIN: Duration = Duration::from_secs(1);

/// The numbers of a bulkhead.
#[derive(Clone, Copy, Debug)]
pub struct Params {
    /// In flight at once; at most, if it is adaptive.
    pub limit: u32,
    /// How much the destination bears is found out from its answers.
    pub adaptive: bool,
    /// `None`: who finds no place is refused.
    pub queue: Option<Queue>,
}

impl Params {
    const fn places(self) -> Limit {
        Limit { most: self.limit, adaptive: self.adaptive }
    }
}

/// Where requests wait.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    /// So many.
    pub size: usize,
    /// So long.
    pub timeout: Duration,
}

/// Whose places a request takes.
#[derive(Clone, Debug)]
pub enum Scope {
    /// All requests of the route go to one destination.
    One(Arc<Bulkhead>),
    /// Each host has its own.
    Hosts(Arc<Hosts>),
}

impl Scope {
    fn of(&self, exchange: &Exchange) -> Option<Arc<Bulkhead>> {
        match self {
            Self::One(bulkhead) => Some(Arc::clone(bulkhead)),
            Self::Hosts(hosts) => hosts.of(&exchange.head),
        }
    }
}

impl Scope {
    /// Requests that have a place, and that wait for one.
    pub fn sum(&self) -> (u32, usize) {
        match self {
            Self::One(bulkhead) => (bulkhead.inflight(), bulkhead.waiting()),
            Self::Hosts(hosts) => hosts.sum(),
        }
    }

    /// How many places there are now; `None` where each host has its own.
    pub fn places(&self, params: Params) -> Option<u32> {
        match self {
            Self::One(bulkhead) => Some(bulkhead.limit(params.places())),
            Self::Hosts(_) => None,
        }
    }
}

/// Admits so many at once.
pub fn layer(params: Params, scope: Scope) -> impl Layer<ArcService, Service = ArcService> {
    tower::layer::layer_fn(move |inner| ArcService::new(Concurrency { inner, params, scope: scope.clone() }))
}

struct Concurrency {
    inner: ArcService,
    params: Params,
    scope: Scope,
}

impl Concurrency {
    fn handle(&self, request: Request<Body>) -> ResponseFuture {
        let (limit, queue) = (self.params.places(), self.params.queue);
        let exchange = Exchange::of(&request);
        let Some(bulkhead) = self.scope.of(exchange) else { return self.inner.call(request) };
        match bulkhead.enter(limit, queue.map_or(0, |queue| queue.size)) {
            Entry::Now(place) => {
                exchange.keep(Box::new(place));
                call(&bulkhead, limit, request, &self.inner)
            }
            Entry::Later(turn) => {
                let timeout = queue.map_or(Duration::ZERO, |queue| queue.timeout);
                ResponseFuture::new(wait((turn, limit), timeout, request, self.inner.clone()))
            }
            Entry::Full => {
                let waiting = queue.map(|queue| format!(", {} wait", queue.size)).unwrap_or_default();
                let detail = format!("{} requests of this route are in flight{waiting}", bulkhead.limit(limit));
                ResponseFuture::refuse(Error::new(ErrorKind::Overloaded).with_detail(detail).with_retry_after(AGAIN))
            }
        }
    }
}

exchange::by_reference!(Concurrency);

/// Calls on; of an adaptive limit, learns from the answer.
fn call(bulkhead: &Arc<Bulkhead>, limit: Limit, request: Request<Body>, inner: &ArcService) -> ResponseFuture {
    if !limit.adaptive {
        return inner.call(request);
    }
    let exchange = Arc::clone(Exchange::of(&request));
    ResponseFuture::new(learn(Arc::clone(bulkhead), limit, exchange, inner.call(request)))
}

async fn learn(bulkhead: Arc<Bulkhead>, limit: Limit, exchange: Arc<Exchange>, call: ResponseFuture) -> Outcome {
    let inflight = bulkhead.inflight();
    let outcome = call.await;
    if let Some(sample) = sample(&outcome, &exchange) {
        bulkhead.learn(sample, inflight, limit, clock::now());
    }
    outcome
}

/// What an outcome says about how much the destination bears: of an answer the last attempt's time, without backoff.
fn sample(outcome: &Outcome, exchange: &Exchange) -> Option<Sample> {
    match outcome {
        Ok(response)
            if matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) =>
        {
            Some(Sample::Overload)
        }
        Ok(_) => exchange.with_attempts(|attempts| attempts.last().map(|last| Sample::Answer(last.took))),
        Err(error) if error.kind == ErrorKind::AttemptTimeout => Some(Sample::Overload),
        Err(_) => None,
    }
}

/// Dropped while it waits, it leaves the queue, or passes on the place it was just given.
async fn wait((turn, limit): (Turn, Limit), timeout: Duration, request: Request<Body>, inner: ArcService) -> Outcome {
    let exchange = Arc::clone(Exchange::of(&request));
    let until = exchange.now() + timeout;
    exchange.wait();
    let (at, over) = match exchange.deadline() {
        Some(total) if total <= until => (total, ErrorKind::Deadline),
        _ => (until, ErrorKind::QueueTimeout),
    };
    let bulkhead = Arc::clone(turn.bulkhead());
    match tokio::time::timeout_at(clock::instant(at), turn).await {
        Ok(place) => {
            exchange.keep(Box::new(place));
            call(&bulkhead, limit, request, &inner).await
        }
        Err(_) if over == ErrorKind::Deadline => Err(Error::new(over)),
        Err(_) => {
            let detail = format!("no place became free within {timeout:?}");
            Err(Error::new(over).with_detail(detail).with_retry_after(AGAIN))
        }
    }
}

#[cfg(test)]
mod tests;
