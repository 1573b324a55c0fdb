//! Tries again where that is safe, wanted and affordable.
//!
//! Whether a result may be repeated is decided in `rules`; what is left here is whether there is another try, a
//! body to send, time to wait and budget, in that order, so that a retry refused for anything else costs no
//! budget. Each refusal has a word, which the metrics count. Whatever stops the retries, the client gets the last real
//! result, never a report about retrying.
//! A response that is given up is dropped before the wait: its connection must not idle through a backoff.
//!
//! A body is read for the first attempt as the client sends it and kept up to a cap meanwhile; once it outgrew
//! the cap, there is no further attempt. `Retry-After` (429, 503) is obeyed, plus the backoff's jitter, since
//! everybody was told the same moment. If it outlasts the deadline, or `PATIENCE` where there is none, the
//! client gets the response at once and can wait better than we can.
//!
//! A 401 to a credential of ours is one condition more, whatever `retry` says: the request was not acted on, so that a POST
//! may be made again too, once, if there is a newer credential. It is no retry in the sense of the above: it takes none of
//! the attempts and nothing from the budget, since as many as there are new credentials is few.
//!
//! Cost: a deposit for every request. For those that may be repeated, one box and a copy of the head, the
//! header map above all: an attempt consumes its request, so the copy must be made before it is known to be
//! needed. With a body, one shared buffer.

mod rules;

use std::sync::Arc;
use std::time::Duration;

use exchange::body::Replay;
use exchange::exchange::Upload;
use exchange::service::Outcome;
use exchange::{ArcService, Body, Error, ErrorKind, Exchange, Random, Renew, Repeat, ResponseFuture, clock};
use http::{HeaderName, Method, Request, StatusCode};
use http_body::Body as _;
use policy::budget::Budget;
use tower::Layer;

use self::rules::Verdict;
pub use self::rules::{Conditions, Params, Wanted};
use crate::original::Original;
use crate::retry_after;

/// How long a `Retry-After` is waited for without a total deadline.
const PATIENCE: Duration = Duration::from_secs(10);
/// Attempts that a request may ask for.
const MOST: u32 = 100;

/// What retries of several routes and workers share.
#[derive(Clone)]
pub struct State {
    /// Of the destination.
    pub budgets: Budgets,
    /// Of the worker.
    pub random: Random,
    /// Where a newer credential may come from, if the route has one.
    pub renew: Option<Arc<dyn Renew>>,
}

/// Finds the budget of a request's destination.
pub type Find = Arc<dyn Fn(&Exchange) -> Arc<Budget> + Send + Sync>;

/// Whose budget a retry is paid from.
#[derive(Clone)]
pub enum Budgets {
    /// All requests of the route go to one upstream.
    One(Arc<Budget>),
    /// Each request's destination has its own.
    Of(Find),
}

impl Budgets {
    fn of(&self, exchange: &Exchange) -> Arc<Budget> {
        match self {
            Self::One(budget) => Arc::clone(budget),
            Self::Of(find) => find(exchange),
        }
    }
}

impl std::fmt::Debug for Budgets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::One(_) => "Budgets::One",
            Self::Of(_) => "Budgets::Of",
        })
    }
}

/// Repeats attempts by `params`.
pub fn layer(params: Params, state: State) -> impl Layer<ArcService, Service = ArcService> {
    let policy = Arc::new(Policy { params, state });
    tower::layer::layer_fn(move |inner| ArcService::new(Retry { inner, policy: Arc::clone(&policy) }))
}

struct Retry {
    inner: ArcService,
    policy: Arc<Policy>,
}

impl Retry {
    fn handle(&self, mut request: Request<Body>) -> ResponseFuture {
        let Policy { params, state } = &*self.policy;
        let attempts = match params.attempts_header.as_ref().and_then(|name| own(name, &mut request)) {
            None => params.attempts,
            Some(Ok(attempts)) => attempts,
            Some(Err(error)) => return ResponseFuture::refuse(error),
        };
        let exchange = Exchange::of(&request);
        let budget = state.budgets.of(exchange);
        budget.deposit(&params.budget, exchange.head.started);
        let safe = params.is_safe(request.method(), request.headers());
        let tunnel = exchange.head.upgrade || request.method() == Method::CONNECT;
        let empty = request.body().is_end_stream();
        let repeats = attempts > 1 && params.may_repeat(safe, exchange.head.grpc);
        if !(repeats || state.renew.is_some()) || (tunnel && !empty) {
            return self.inner.call(request);
        }

        let original = Original::of(&request);
        let replay = (!empty).then(|| Replay::new(std::mem::take(request.body_mut()), params.body_limit));
        if let Some(body) = replay.as_ref().and_then(Replay::body) {
            *request.body_mut() = body.with_record(Arc::clone(&original.exchange));
        }
        let (inner, policy) = (self.inner.clone(), Arc::clone(&self.policy));
        let repeat = Run { inner, policy, budget, original, replay, safe, attempts };
        ResponseFuture::new(repeat.run(self.inner.call(request)))
    }
}

exchange::by_reference!(Retry);

/// The attempts that a request asks for itself; the field goes no further.
fn own(name: &HeaderName, request: &mut Request<Body>) -> Option<Result<u32, Error>> {
    let value = request.headers_mut().remove(name)?;
    let text = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let attempts = text.and_then(|text| text.parse().ok()).filter(|attempts| (1..=MOST).contains(attempts));
    Some(attempts.ok_or_else(|| {
        Error::new(ErrorKind::BadRequest).with_detail(format!("`{name}` is no number of attempts from 1 to {MOST}"))
    }))
}

struct Policy {
    params: Params,
    state: State,
}

/// A request that may have to be made again.
struct Run {
    inner: ArcService,
    policy: Arc<Policy>,
    budget: Arc<Budget>,
    original: Original,
    /// Absent for an empty body.
    replay: Option<Replay>,
    safe: bool,
    attempts: u32,
}

impl Run {
    async fn run(self, first: ResponseFuture) -> Outcome {
        let mut outcome = first.await;
        let mut cause: Option<Error> = None;
        let mut made = 1;
        let mut renewed = false;
        loop {
            if !renewed && self.is_refused(&outcome) {
                renewed = true;
                if let Some(request) = self.renewed().await {
                    self.original.exchange.wait();
                    outcome = self.inner.call(request).await;
                    continue;
                }
            }
            let again = self.wait(&outcome, made).and_then(|wait| Some((wait, self.request()?)));
            let Some((wait, request)) = again else { return real(outcome, cause) };
            // Drops a response, and with it its connection.
            cause = outcome.err();
            self.original.exchange.wait();
            if !wait.is_zero() {
                Box::pin(tokio::time::sleep(wait)).await;
            }
            outcome = self.inner.call(request).await;
            made += 1;
        }
    }

    /// The upstream did not take a credential of ours.
    fn is_refused(&self, outcome: &Outcome) -> bool {
        self.policy.state.renew.is_some()
            && self.original.exchange.carried.get().is_some()
            && outcome.as_ref().is_ok_and(|response| response.status() == StatusCode::UNAUTHORIZED)
    }

    /// The request for a newer credential, if there is one and the body can be sent again.
    async fn renewed(&self) -> Option<Request<Body>> {
        let exchange = &self.original.exchange;
        let whole = || self.replay.as_ref().is_none_or(Replay::is_whole);
        if exchange.upload() == Upload::Broken || !whole() {
            return None;
        }
        let renewed = self.policy.state.renew.as_ref()?.renewed(exchange).await;
        (renewed && whole()).then(|| self.request())?
    }

    /// How long to wait for the next attempt; `None` for none, noting why if it was wanted.
    fn wait(&self, outcome: &Outcome, made: u32) -> Option<Duration> {
        let Policy { params, state } = &*self.policy;
        let exchange = &self.original.exchange;
        let now = clock::now();
        let after = outcome.as_ref().ok().and_then(|response| retry_after::asked(response, clock::wall(now)));
        match params.verdict(outcome, after, self.safe, exchange.head.grpc) {
            Verdict::Final => return None,
            Verdict::Unsafe => return self.denied("not_idempotent"),
            Verdict::Repeat => {}
        }
        if exchange.upload() == Upload::Broken {
            return self.denied("upload_broken");
        }
        if made >= self.attempts {
            return self.denied("attempts");
        }
        if self.replay.as_ref().is_some_and(|replay| !replay.is_whole()) {
            return self.denied("body_too_large");
        }
        let delay = state.random.with(|rng| params.backoff.delay(made - 1, rng));
        let wait = after.unwrap_or_default() + delay;
        let left = exchange.remaining(now);
        if after.is_some_and(|after| left.map_or(after > PATIENCE, |left| wait >= left)) {
            return self.denied("retry_after");
        }
        if left.is_some_and(|left| wait >= left) {
            return self.denied("deadline");
        }
        if !self.budget.withdraw(&params.budget, now) {
            return self.denied("budget");
        }
        Some(wait)
    }

    fn denied(&self, why: &'static str) -> Option<Duration> {
        self.original.exchange.set_retry_denied(why);
        None
    }

    fn request(&self) -> Option<Request<Body>> {
        let body = match &self.replay {
            Some(replay) => replay.body()?,
            None => Body::empty(),
        };
        Some(self.original.request(body))
    }
}

/// What failed for real, rather than that there was nobody left to ask again.
fn real(outcome: Outcome, cause: Option<Error>) -> Outcome {
    match (outcome, cause) {
        (Err(error), Some(cause)) if error.kind.repeat() == Repeat::Elsewhere => Err(cause),
        (outcome, _) => outcome,
    }
}

#[cfg(test)]
mod tests;
