//! Breaks requests on purpose, so that it can be seen what clients make of it: a wait, an answer, or a cut connection.
//!
//! Each is drawn for by its share; a wait and one of the others may come together. The wait is the deadline's as any
//! other: a request whose time is over in it fails with `deadline`. Below the fallbacks, so that these can be tried out,
//! and above all that sends: a request that is aborted or reset has never been sent, and counts for no breaker.
//!
//! Cost: none without the layer; with it a draw, and a box for requests that are delayed.

use std::sync::Arc;
use std::time::Duration;

use exchange::detour::Fault as Kind;
use exchange::error::Injected;
use exchange::service::Outcome;
use exchange::{ArcService, Body, Error, ErrorKind, Exchange, Random, ResponseFuture, clock};
use http::{HeaderMap, Request};
use tower::Layer;

/// What is injected, and into how many.
#[derive(Clone)]
pub struct Params {
    /// A wait before the request goes on.
    pub delay: Option<(Duration, f64)>,
    /// An answer instead of the upstream's.
    pub abort: Option<(Injected, f64)>,
    /// The end of the client's connection.
    pub reset: Option<f64>,
    /// Which requests; `None`: all.
    pub only: Option<Only>,
}

/// Tells by its header fields whether a request is meant.
pub type Only = Arc<dyn Fn(&HeaderMap) -> bool + Send + Sync>;

impl std::fmt::Debug for Params {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "fault::Params(delay {:?}, abort {:?}, reset {:?})", self.delay, self.abort, self.reset)
    }
}

/// Injects by `params`.
pub fn layer(params: Params, random: Random) -> impl Layer<ArcService, Service = ArcService> {
    tower::layer::layer_fn(move |inner| {
        ArcService::new(Fault { inner, params: params.clone(), random: random.clone() })
    })
}

struct Fault {
    inner: ArcService,
    params: Params,
    random: Random,
}

impl Fault {
    fn handle(&self, request: Request<Body>) -> ResponseFuture {
        if self.params.only.as_ref().is_some_and(|only| !only(request.headers())) {
            return self.inner.call(request);
        }
        let exchange = Exchange::of(&request);
        let end = self.end();
        let delay = self.params.delay.filter(|(_, share)| self.drawn(*share)).map(|(delay, _)| delay);
        if delay.is_some() {
            exchange.detour.injected(Kind::Delay);
        }
        match (delay, end) {
            (None, None) => self.inner.call(request),
            (None, Some(end)) => {
                exchange.detour.injected(kind(end));
                ResponseFuture::refuse(error(end))
            }
            (Some(delay), end) => ResponseFuture::new(late(delay, end, request, self.inner.clone())),
        }
    }

    /// One of the two ends, if one is drawn.
    fn end(&self) -> Option<Injected> {
        if self.params.reset.is_some_and(|share| self.drawn(share)) {
            return Some(Injected::Reset);
        }
        self.params.abort.filter(|(_, share)| self.drawn(*share)).map(|(answer, _)| answer)
    }

    fn drawn(&self, share: f64) -> bool {
        share >= 1.0 || self.random.with(|rng| rng.f64()) < share
    }
}

exchange::by_reference!(Fault);

/// Waits, as long as there is time.
async fn late(delay: Duration, end: Option<Injected>, request: Request<Body>, inner: ArcService) -> Outcome {
    let exchange = Arc::clone(Exchange::of(&request));
    let due = exchange.now() + delay;
    let last = exchange.deadline();
    exchange.wait();
    tokio::time::sleep_until(clock::instant(last.map_or(due, |last| last.min(due)))).await;
    if last.is_some_and(|last| last <= due) {
        return Err(Error::new(ErrorKind::Deadline).with_detail("an injected delay was longer than the time there was"));
    }
    match end {
        None => inner.call(request).await,
        Some(end) => {
            exchange.detour.injected(kind(end));
            Err(error(end))
        }
    }
}

const fn kind(end: Injected) -> Kind {
    match end {
        Injected::Reset => Kind::Reset,
        Injected::Answer { .. } => Kind::Abort,
    }
}

fn error(end: Injected) -> Error {
    Error::new(ErrorKind::Fault).with_injected(end)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::testing::{Bottom, get, record, status};

    const ABORT: Injected = Injected::Answer { status: Some(418), grpc: None };

    fn nothing() -> Params {
        Params { delay: None, abort: None, reset: None, only: None }
    }

    /// Of so many requests: how many were answered, aborted and reset.
    async fn ends(params: Params, count: usize) -> (usize, usize, usize) {
        let bottom = Bottom::default();
        let service = bottom.under(layer(params, Random::seeded(7)));
        let (mut aborted, mut reset) = (0, 0);
        for _ in 0..count {
            match service.call(get("http://a.test/")).await {
                Ok(_) => {}
                Err(error) if error.injected == Some(Injected::Reset) => reset += 1,
                Err(error) => {
                    assert_eq!((error.kind, error.injected), (ErrorKind::Fault, Some(ABORT)));
                    aborted += 1;
                }
            }
        }
        assert_eq!(bottom.calls(), count - aborted - reset, "what is broken is not sent");
        (count - aborted - reset, aborted, reset)
    }

    #[tokio::test]
    async fn shares_are_kept_and_the_same_seed_draws_the_same() {
        let params = || Params { abort: Some((ABORT, 0.25)), reset: Some(0.1), ..nothing() };

        let (_, aborted, reset) = ends(params(), 2000).await;

        assert!((400..=500).contains(&aborted) && (160..=240).contains(&reset), "{aborted} {reset}");
        assert_eq!(ends(params(), 2000).await, (2000 - aborted - reset, aborted, reset));
    }

    #[tokio::test]
    async fn none_is_none_and_all_are_all() {
        assert_eq!(ends(nothing(), 100).await, (100, 0, 0));
        assert_eq!(ends(Params { abort: Some((ABORT, 0.0)), reset: Some(0.0), ..nothing() }, 100).await, (100, 0, 0));
        assert_eq!(ends(Params { abort: Some((ABORT, 1.0)), ..nothing() }, 100).await, (0, 100, 0));
        assert_eq!(ends(Params { abort: Some((ABORT, 1.0)), reset: Some(1.0), ..nothing() }, 100).await, (0, 0, 100));
    }

    #[tokio::test]
    async fn only_what_is_meant_is_broken() {
        let only: Only = Arc::new(|headers| headers.contains_key("x-chaos"));
        let bottom = Bottom::default();
        let service =
            bottom.under(layer(Params { abort: Some((ABORT, 1.0)), only: Some(only), ..nothing() }, Random::seeded(7)));
        let mut meant = get("http://a.test/");
        meant.headers_mut().insert("x-chaos", HeaderValue::from_static("1"));
        let exchange = record(&meant);

        assert_eq!(status(service.call(get("http://a.test/"))).await, 200);
        assert!(service.call(meant).await.is_err());

        assert_eq!(exchange.detour.faults().collect::<Vec<_>>(), [Kind::Abort]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_delayed_request_goes_on_after_its_wait_or_ends_then() {
        for (abort, expected) in [(None, vec![Kind::Delay]), (Some((ABORT, 1.0)), vec![Kind::Delay, Kind::Abort])] {
            let bottom = Bottom::default();
            let delay = Some((Duration::from_millis(300), 1.0));
            let service = bottom.under(layer(Params { delay, abort, ..nothing() }, Random::seeded(7)));
            let request = get("http://a.test/");
            let exchange = record(&request);
            let began = clock::now();

            let outcome = service.call(request).await;

            assert_eq!(outcome.is_ok(), abort.is_none());
            assert!((300..=302).contains(&clock::now().since(began).as_millis()));
            assert_eq!(exchange.detour.faults().collect::<Vec<_>>(), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_ends_with_the_deadline() {
        for (left, kind) in [(100, Some(ErrorKind::Deadline)), (299, Some(ErrorKind::Deadline)), (400, None)] {
            let bottom = Bottom::default();
            let delay = Some((Duration::from_millis(300), 1.0));
            let service = bottom.under(layer(Params { delay, ..nothing() }, Random::seeded(7)));
            let request = get("http://a.test/");
            let began = clock::now();
            record(&request).shorten_deadline(began + Duration::from_millis(left));

            let outcome = service.call(request).await;

            assert_eq!(outcome.err().map(|error| error.kind), kind, "{left}");
            assert!(clock::now().since(began) <= Duration::from_millis(left.min(300) + 2), "{left}");
            assert_eq!(bottom.calls(), usize::from(kind.is_none()));
        }
    }
}
