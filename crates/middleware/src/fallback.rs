//! What answers when the route's own upstream does not, or not well: another upstream, a fixed answer, or one that was
//! kept (RFC 5861 section 4).
//!
//! The rules are asked in their order, each by the outcome as it is by then: the first that applies and can answer
//! does. Another upstream gets the request only if that is safe by the rules of retries: nothing of it was sent, or
//! doing it twice is doing it once. So a POST that may have been acted on is never sent to a fallback; for it only an
//! answer of our own is left. If the fallback fails as well the first outcome stands, and the next rule is asked.
//!
//! Above the retries and the limits: what they refuse has a fallback too, and a request is tried there once only.
//! Tunnels and upgrades pass: there is nothing to answer them with.
//!
//! Nothing that is kept is given out while the upstream answers: this is no cache, and every request is sent on first.
//!
//! Cost: a box; with another upstream among the rules a copy of the head, and the body's bytes up to the cap; where
//! answers are kept, a copy of the heads, and of the body while it passes.

mod capture;
mod kept;
mod stale;
mod store;
mod terms;

use std::ops::RangeInclusive;
use std::sync::Arc;

use exchange::detour::{By, Fallback as Record};
use exchange::exchange::Upload;
use exchange::service::Outcome;
use exchange::{ArcService, Body, ErrorKind, Exchange, ResponseFuture, Sent, clock, proxy_status};
use http::header::HeaderName;
use http::{Method, Request, Response};
use tower::Layer;

use self::kept::Kept;
pub use self::stale::Stale;
pub use self::store::{Bounds, Store};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// A route's rules.
#[derive(Debug)]
pub struct Params {
    /// In the order in which they are asked.
    pub rules: Vec<Rule>,
    /// Methods that may be repeated after a byte was sent: those of the retries.
    pub methods: Vec<Method>,
    /// Bytes of a request's body kept for another upstream.
    pub body_limit: usize,
}

/// When, and what then.
#[derive(Debug)]
pub struct Rule {
    /// When it applies.
    pub on: On,
    /// Who answers then.
    pub with: With,
}

/// Outcomes that a fallback stands in for.
#[derive(Clone, Debug, Default)]
pub struct On {
    /// Failures.
    pub kinds: Vec<ErrorKind>,
    /// Answers of the upstream.
    pub statuses: Vec<RangeInclusive<u16>>,
}

impl On {
    fn is_status(&self, status: u16) -> bool {
        self.statuses.iter().any(|range| range.contains(&status))
    }

    fn cause(&self, outcome: &Outcome) -> Option<Result<u16, ErrorKind>> {
        match outcome {
            Ok(response) => {
                let status = response.status().as_u16();
                self.is_status(status).then_some(Ok(status))
            }
            Err(error) => self.kinds.contains(&error.kind).then_some(Err(error.kind)),
        }
    }
}

/// Who answers.
#[derive(Debug)]
pub enum With {
    /// Another upstream.
    Upstream(ArcService),
    /// Whatever this answers, without having read the request's body.
    Respond(ArcService),
    /// One that was kept.
    Stale(Stale),
}

/// Answers by `params` what the layers below do not.
pub fn layer(params: Params) -> impl Layer<ArcService, Service = ArcService> {
    let params = Arc::new(params);
    tower::layer::layer_fn(move |inner| ArcService::new(Fallback { inner, params: Arc::clone(&params) }))
}

struct Fallback {
    inner: ArcService,
    params: Arc<Params>,
}

impl Fallback {
    fn handle(&self, mut request: Request<Body>) -> ResponseFuture {
        let exchange = Exchange::of(&request);
        if exchange.head.upgrade || request.method() == Method::CONNECT {
            return self.inner.call(request);
        }
        let exchange = Arc::clone(exchange);
        let sends = self.params.rules.iter().any(|rule| matches!(rule.with, With::Upstream(_)));
        let safe = self.params.methods.contains(request.method()) || request.headers().contains_key(IDEMPOTENCY_KEY);
        let kept = sends.then(|| Kept::of(&mut request, self.params.body_limit));
        let stale = self.params.rules.iter().find_map(|rule| match &rule.with {
            With::Stale(stale) => Some(stale),
            _ => None,
        });
        let asked = stale.map(|stale| stale.ask(&request));
        let run = Run { params: Arc::clone(&self.params), exchange, safe, kept, asked };
        ResponseFuture::new(run.run(self.inner.call(request)))
    }
}

exchange::by_reference!(Fallback);

/// A request that may need a fallback.
struct Run {
    params: Arc<Params>,
    exchange: Arc<Exchange>,
    /// Doing it twice is doing it once.
    safe: bool,
    /// To send it elsewhere.
    kept: Option<Kept>,
    /// To find what was kept, and to keep what comes.
    asked: Option<stale::Asked>,
}

impl Run {
    async fn run(self, first: ResponseFuture) -> Outcome {
        let mut outcome = first.await;
        if let (Ok(response), Some(asked)) = (&mut outcome, &self.asked)
            && !self.params.rules.iter().any(|rule| rule.on.is_status(response.status().as_u16()))
        {
            asked.answered(response);
            return outcome;
        }
        let attempts = self.exchange.with_attempts(|attempts| u16::try_from(attempts.len()).unwrap_or(u16::MAX));
        for rule in &self.params.rules {
            let Some(cause) = rule.on.cause(&outcome) else { continue };
            match &rule.with {
                With::Respond(service) => {
                    let mut bare = Request::new(Body::empty().with_record(Arc::clone(&self.exchange)));
                    bare.method_mut().clone_from(&self.exchange.head.method);
                    let response = service.call(bare).await?;
                    return Ok(self.marked(response, Record { by: By::Respond, cause, attempts }));
                }
                With::Stale(_) => {
                    let Some(response) = self.asked.as_ref().and_then(stale::Asked::find) else { continue };
                    return Ok(self.marked(response, Record { by: By::Stale, cause, attempts }));
                }
                With::Upstream(service) => {
                    let Some(request) = self.again(&outcome) else { continue };
                    self.exchange.wait();
                    if let Ok(response) = service.call(request).await {
                        outcome = Ok(self.marked(response, Record { by: By::Upstream, cause, attempts }));
                    }
                }
            }
        }
        outcome
    }

    /// The request for another upstream, if it may be sent there and there is still somebody who waits for the answer.
    fn again(&self, outcome: &Outcome) -> Option<Request<Body>> {
        let kept = self.kept.as_ref()?;
        let unsent = matches!(outcome, Err(error) if error.sent == Sent::Nothing);
        let late = self.exchange.remaining(clock::now()).is_some_and(|left| left.is_zero());
        if !(unsent || self.safe) || late || self.exchange.upload() == Upload::Broken {
            return None;
        }
        kept.request()
    }

    fn marked(&self, mut response: Response<Body>, record: Record) -> Response<Body> {
        let value = proxy_status::fallback(&record, self.exchange.head.client.local);
        response.headers_mut().append(PROXY_STATUS, value);
        self.exchange.detour.fell_back(record);
        response
    }
}

#[cfg(test)]
mod tests;
