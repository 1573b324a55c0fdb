//! Asks somebody else whether a request may be made: a decision over HTTP in the shape of OPA's data API.
//!
//! What is asked is the request's head and its caller, never a credential and never the body. What does not come in time,
//! or not readably, is a refusal (or, by choice, a pass that is counted). The question goes through an upstream of its own,
//! with its pool and breaker, so a decider that is down is not waited for by each request. Fields that it sets have a
//! prefix of their own; what a client sends under that prefix is taken off, whatever is decided.
//!
//! Cost: a request to the decider for each request, unless its answer is kept: then a look-up of the whole question. The
//! layer boxes a future and writes the question.

mod ask;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use exchange::detour::Denied;
use exchange::{ArcService, Body, Error, ErrorKind, Exchange, ResponseFuture, clock};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::BodyExt;
use policy::Tick;
use policy::inflight::Inflight;
use quick_cache::sync::Cache;
use telemetry::metrics::{Authorized, RouteStats};
use tower::Layer;

use self::ask::Answer;

/// Of an answer.
const MOST_READ: usize = 64 << 10;
/// A longer question's answer is not kept.
const MOST_KEPT: usize = 4 << 10;
/// Answers that are kept, of one route.
const KEPT: usize = 1024;
/// A longer reason is cut.
const MOST_REASON: usize = 200;

/// How it is asked.
#[derive(Clone, Debug)]
pub struct Params {
    /// Where, with its path.
    pub url: Uri,
    /// For an answer, its body included.
    pub timeout: Duration,
    /// Whoever gets no answer passes.
    pub fail_open: bool,
    /// How long an answer is kept; zero: it is not.
    pub cache: Duration,
    /// Fields of the request that are told.
    pub headers: Vec<HeaderName>,
    /// With what the names of fields begin that an answer may set; `None`: it may not.
    pub sets: Option<String>,
    /// Questions under way; a request beyond them gets no answer.
    pub concurrency: u32,
}

/// What it is asked through, and what is counted.
#[derive(Clone, Debug)]
pub struct State {
    /// The way to whoever decides.
    pub service: ArcService,
    /// Of the route.
    pub stats: Arc<RouteStats>,
}

/// Asks before each request.
pub fn layer(params: Params, state: State) -> impl Layer<ArcService, Service = ArcService> {
    let asking = Arc::new(Asking { params, state, places: Inflight::default(), kept: Cache::new(KEPT) });
    tower::layer::layer_fn(move |inner| ArcService::new(Authorize { inner, asking: Arc::clone(&asking) }))
}

struct Authorize {
    inner: ArcService,
    asking: Arc<Asking>,
}

impl Authorize {
    fn handle(&self, mut request: Request<Body>) -> ResponseFuture {
        let (inner, asking) = (self.inner.clone(), Arc::clone(&self.asking));
        ResponseFuture::new(async move {
            let exchange = Arc::clone(Exchange::of(&request));
            if let Some(prefix) = &asking.params.sets {
                strip(request.headers_mut(), prefix);
            }
            let question = ask::question(&exchange, request.headers(), &asking.params.headers);
            let answer = match asking.kept(&question) {
                Some(answer) => answer,
                None => {
                    exchange.wait();
                    asking.decide(question).await?
                }
            };
            if !answer.allow {
                exchange.detour.deny(Denied::Decision);
                return Err(refusal(&answer));
            }
            for (name, value) in answer.headers {
                request.headers_mut().insert(name, value);
            }
            inner.call(request).await
        })
    }
}

exchange::by_reference!(Authorize);

struct Asking {
    params: Params,
    state: State,
    places: Inflight,
    kept: Cache<Bytes, (Tick, Answer)>,
}

impl Asking {
    fn kept(&self, question: &Bytes) -> Option<Answer> {
        let (until, answer) = self.kept.get(question).filter(|_| !self.params.cache.is_zero())?;
        let answer = (clock::now() < until).then_some(answer)?;
        self.state.stats.authorized(Authorized::Kept, None);
        Some(answer)
    }

    /// The answer; or, if there is none, what stands for it.
    async fn decide(&self, question: Bytes) -> Result<Answer, Error> {
        let began = clock::now();
        let asked = match Place::of(&self.places, self.params.concurrency) {
            Some(_place) => tokio::time::timeout(self.params.timeout, self.ask(question.clone(), began))
                .await
                .unwrap_or_else(|_| Err(format!("no answer in {:?}", self.params.timeout))),
            None => Err("too many decisions are under way".into()),
        };
        let now = clock::now();
        let took = now.since(began);
        match asked {
            Ok(answer) => {
                let result = if answer.allow { Authorized::Allowed } else { Authorized::Denied };
                self.state.stats.authorized(result, Some(took));
                if !self.params.cache.is_zero() && question.len() <= MOST_KEPT {
                    self.kept.insert(question, (now + self.params.cache, answer.clone()));
                }
                Ok(answer)
            }
            Err(why) if self.params.fail_open => {
                tracing::warn!(route = %self.state.stats.name(), why, "authorize: no decision; the request passes");
                self.state.stats.authorized(Authorized::FailedOpen, Some(took));
                Ok(Answer { allow: true, ..Answer::default() })
            }
            Err(why) => {
                tracing::debug!(route = %self.state.stats.name(), why, "authorize: no decision");
                self.state.stats.authorized(Authorized::FailedClosed, Some(took));
                Err(Error::new(ErrorKind::Forbidden).with_detail(format!("authorize: no decision: {why}")))
            }
        }
    }

    async fn ask(&self, question: Bytes, now: Tick) -> Result<Answer, String> {
        let response = self.state.service.call(self.request(question, now)).await.map_err(|error| error.to_string())?;
        if !response.status().is_success() {
            return Err(format!("it answered {}", response.status().as_u16()));
        }
        let mut body = response.into_body();
        let mut read = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| error.to_string())?;
            let data = frame.data_ref().map_or(&[][..], |data| data);
            if read.len() + data.len() > MOST_READ {
                return Err(format!("its answer is larger than {MOST_READ} bytes"));
            }
            read.extend_from_slice(data);
        }
        ask::answer(&read, self.params.sets.as_deref()).ok_or_else(|| "its answer is not readable".to_owned())
    }

    /// With a record of its own: its attempts are none of the client's request.
    fn request(&self, question: Bytes, now: Tick) -> Request<Body> {
        let exchange = Exchange::new(ask::head(&self.params.url, now), None);
        exchange.wait();
        exchange.shorten_deadline(now + self.params.timeout);
        let mut request = Request::new(Body::full(question).with_record(Arc::new(exchange)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.params.url.clone();
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::CONTENT_TYPE, json.clone());
        request.headers_mut().insert(header::ACCEPT, json);
        request
    }
}

/// A question under way.
struct Place<'a>(&'a Inflight);

impl<'a> Place<'a> {
    fn of(places: &'a Inflight, most: u32) -> Option<Self> {
        places.acquire(most).then(|| Self(places))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

fn strip(headers: &mut HeaderMap, prefix: &str) {
    let ours: Vec<_> = headers.keys().filter(|name| name.as_str().starts_with(prefix)).cloned().collect();
    ours.iter().for_each(|name| {
        headers.remove(name);
    });
}

fn refusal(answer: &Answer) -> Error {
    let detail = match &answer.reason {
        Some(reason) => format!("authorize: {}", &reason[..reason.floor_char_boundary(MOST_REASON)]),
        None => "authorize: it was decided so".into(),
    };
    Error::new(ErrorKind::Forbidden).with_detail(detail)
}

#[cfg(test)]
mod tests;
