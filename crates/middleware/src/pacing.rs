//! Holds calls back until an upstream that announced its limit takes them again.
//!
//! An upstream says when its quota is used up, by `Retry-After` or one of several `RateLimit` fields. What is sent
//! before it is renewed is refused there, counts against us and delays the renewal at some; so it waits here, if the
//! deadline allows, and is refused at once if not. By target, since each has a quota of its own, and by route, since
//! routes have credentials of their own. Those who waited start apart from each other.
//!
//! Cost: a box, and a few header look-ups an answer; only routes that ask for it have this layer.

mod announced;
mod pace;

use std::sync::Arc;
use std::time::Duration;

use exchange::service::Outcome;
use exchange::{ArcService, Body, Error, ErrorKind, Exchange, Random, ResponseFuture, clock};
use http::Request;
use policy::Tick;
use tower::Layer;

pub use self::pace::{Pace, Paces};

/// How long a request waits without a total deadline.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whose announcements count.
#[derive(Clone)]
pub enum Scope {
    /// Of one target.
    One(Arc<Pace>),
    /// Of each request's own host.
    Hosts(Arc<Paces>),
}

impl Scope {
    fn of(&self, exchange: &Exchange) -> Arc<Pace> {
        match self {
            Self::One(pace) => Arc::clone(pace),
            Self::Hosts(paces) => paces.host(&exchange.head),
        }
    }
}

/// Waits for what the upstream announced.
pub fn layer(scope: Scope, random: Random) -> impl Layer<ArcService, Service = ArcService> {
    tower::layer::layer_fn(move |inner| ArcService::new(Pacing { inner, scope: scope.clone(), random: random.clone() }))
}

struct Pacing {
    inner: ArcService,
    scope: Scope,
    random: Random,
}

impl Pacing {
    fn handle(&self, request: Request<Body>) -> ResponseFuture {
        let exchange = Exchange::of(&request);
        let pace = self.scope.of(exchange);
        if pace.held(exchange.now()).is_none() {
            return ResponseFuture::new(listen(pace, self.inner.call(request)));
        }
        ResponseFuture::new(hold(pace, request, self.inner.clone(), self.random.clone()))
    }
}

exchange::by_reference!(Pacing);

/// Hears what the answer announces.
async fn listen(pace: Arc<Pace>, call: ResponseFuture) -> Outcome {
    let response = call.await?;
    let now = clock::now();
    if let Some(wait) = announced::wait(response.status(), response.headers(), clock::wall(now)) {
        pace.hold(wait, now);
    }
    Ok(response)
}

/// Waits, as often as it takes, until it may go.
async fn hold(pace: Arc<Pace>, request: Request<Body>, inner: ArcService, random: Random) -> Outcome {
    let exchange = Arc::clone(Exchange::of(&request));
    let mut now = exchange.now();
    let last = exchange.deadline().unwrap_or(now + PATIENCE);
    let Some(waiting) = pace.wait() else {
        return Err(Error::new(ErrorKind::Overloaded).with_detail("too many wait for the upstream's own limit"));
    };
    exchange.wait();
    while let Some(until) = pace.held(now) {
        if until >= last {
            return Err(refusal(until.since(now)));
        }
        // Never beyond the deadline, where there would be no time to ask.
        let spread = (until.since(now) / 10).min(last.since(until) / 2);
        let until = until + spread.mul_f64(random.with(|rng| rng.f64()));
        tokio::time::sleep_until(clock::instant(until)).await;
        now = later(clock::now(), until);
    }
    drop(waiting);
    listen(pace, inner.call(request)).await
}

/// Timers are of milliseconds: one that is a little early must not wait again for nothing.
fn later(now: Tick, until: Tick) -> Tick {
    now.max(until)
}

fn refusal(left: Duration) -> Error {
    Error::new(ErrorKind::RateLimited)
        .with_detail("the upstream announced that it takes no more for now")
        .with_retry_after(left)
}

#[cfg(test)]
mod tests;
