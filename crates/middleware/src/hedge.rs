//! Sends a second try while the first is late, and takes the answer that comes first.
//!
//! Only what changes nothing is sent twice on purpose: GET, HEAD and OPTIONS, and the first attempt of a request, so that
//! it has one extra try and no more. The second goes to another endpoint or nowhere: where one copy is slow, it is mostly
//! that copy. A breaker's probe is not hedged, nor does a hedge become one. It counts at its endpoint as any attempt does
//! and costs no retry budget; it has an allowance of its own.
//!
//! An error never beats a success: who fails (a failure, 429, 5xx) waits for the other, and if both fail the retry above
//! judges what the first brought, or the second if that is a response and the first is none. The loser is dropped, with
//! its connection or its stream, and counts for nobody.
//!
//! A body is sent twice only where somebody above keeps it for a repeat; else the request is not hedged.
//!
//! Cost: a box and a timer for each request that may be hedged, and a copy of its head.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use exchange::body::Replay;
use exchange::classify::{self, Verdict};
use exchange::exchange::Upload;
use exchange::race::{Race, Rival};
use exchange::service::Outcome;
use exchange::{ArcService, Body, Exchange, ResponseFuture, clock};
use http::{Method, Request};
use http_body::Body as _;
use policy::Tick;
use policy::hedge::{After, Hedges, Params};
use tower::Layer;

use crate::original::Original;

/// Hedges by `params` what goes to the destination that `hedges` is about.
pub fn layer(params: Params, hedges: Arc<Hedges>) -> impl Layer<ArcService, Service = ArcService> {
    tower::layer::layer_fn(move |inner| ArcService::new(Hedge { inner, params, hedges: Arc::clone(&hedges) }))
}

struct Hedge {
    inner: ArcService,
    params: Params,
    hedges: Arc<Hedges>,
}

impl Hedge {
    fn handle(&self, request: Request<Body>) -> ResponseFuture {
        let exchange = Exchange::of(&request);
        let replay = request.body().replay();
        let kept = request.body().is_end_stream() || replay.is_some();
        let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        if !safe || !kept || exchange.head.upgrade || !exchange.is_untried() {
            return self.inner.call(request);
        }
        let now = exchange.now();
        let wait = self.hedges.begin(&self.params, now);
        let learns = matches!(self.params.after, After::Quantile(_)).then(|| (Arc::clone(&self.hedges), now));
        let Some(wait) = wait else {
            return ResponseFuture::new(listen(learns, self.inner.call(request)));
        };
        exchange.begin_race();
        let original = Original::of(&request);
        let run = Run { inner: self.inner.clone(), hedges: Arc::clone(&self.hedges), original, replay, wait, learns };
        ResponseFuture::new(run.run(self.inner.call(request)))
    }
}

exchange::by_reference!(Hedge);

/// Where latencies are counted, and when the first try began.
type Learns = Option<(Arc<Hedges>, Tick)>;

async fn listen(learns: Learns, first: ResponseFuture) -> Outcome {
    let outcome = first.await;
    learn(&learns, is_good(&outcome));
    outcome
}

/// Counts how long the first try took, if that says anything: failures are quick, and would shorten the wait.
fn learn(learns: &Learns, says: bool) {
    if let (Some((hedges, begun)), true) = (learns, says) {
        let now = clock::now();
        hedges.answered(now.since(*begun), now);
    }
}

/// An answer that ends the race.
fn is_good(outcome: &Outcome) -> bool {
    match outcome {
        Ok(response) => response.status().as_u16() != 429 && classify::status(response.status()) == Verdict::Good,
        Err(_) => false,
    }
}

/// A request that may be hedged.
struct Run {
    inner: ArcService,
    hedges: Arc<Hedges>,
    original: Original,
    /// Absent for an empty body.
    replay: Option<Replay>,
    wait: Duration,
    learns: Learns,
}

impl Run {
    async fn run(self, mut first: ResponseFuture) -> Outcome {
        if let Ok(outcome) = tokio::time::timeout(self.wait, &mut first).await {
            learn(&self.learns, is_good(&outcome));
            return outcome;
        }
        let exchange = &self.original.exchange;
        let race = exchange.begin_race();
        let second = match self.second(race) {
            Ok(request) => {
                exchange.wait();
                self.inner.call(request)
            }
            Err(why) => {
                race.deny(why);
                return listen(self.learns, first).await;
            }
        };

        let mut tries = Tries { first: Try::Running(first), second: Try::Running(second) };
        poll_fn(|cx| tries.poll(cx)).await;

        let Tries { first, second } = tries;
        if !race.is_made() {
            race.deny("no_endpoint");
            self.hedges.give_back();
        }
        // Had the second been slower, so would the first have been.
        learn(&self.learns, first.is_good() || second.is_good());
        let (winner, loser) = if takes_second(&first, &second) {
            race.win();
            (second, first)
        } else {
            (first, second)
        };
        race.outrun(loser);
        exchange.head_at(clock::now());
        winner.outcome().await
    }

    /// The request of the second try, or why there is none. What it costs is taken last.
    fn second(&self, race: &Race) -> Result<Request<Body>, &'static str> {
        if race.is_probing() {
            return Err("probe");
        }
        if race.is_waiting() {
            return Err("not_sent");
        }
        if self.original.exchange.upload() == Upload::Broken {
            return Err("upload_broken");
        }
        let body = match &self.replay {
            Some(replay) => replay.body().ok_or("body_too_large")?,
            None => Body::empty(),
        };
        if !self.hedges.withdraw() {
            return Err("budget");
        }
        let mut request = self.original.request(body);
        request.extensions_mut().insert(Rival);
        Ok(request)
    }
}

fn takes_second(first: &Try, second: &Try) -> bool {
    match (first, second) {
        _ if first.is_good() => false,
        _ if second.is_good() => true,
        (Try::Done(Err(_)), Try::Done(Ok(_))) => true,
        _ => false,
    }
}

/// One of the two.
enum Try {
    Running(ResponseFuture),
    Done(Outcome),
}

impl Try {
    /// Whether it is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        if let Self::Running(future) = self
            && let Poll::Ready(outcome) = Pin::new(future).poll(cx)
        {
            *self = Self::Done(outcome);
        }
        matches!(self, Self::Done(_))
    }

    fn is_good(&self) -> bool {
        matches!(self, Self::Done(outcome) if is_good(outcome))
    }

    async fn outcome(self) -> Outcome {
        match self {
            Self::Running(future) => future.await,
            Self::Done(outcome) => outcome,
        }
    }
}

struct Tries {
    first: Try,
    second: Try,
}

impl Tries {
    /// Ready with the first good answer, or once both have failed.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let first = self.first.poll(cx);
        if self.first.is_good() {
            return Poll::Ready(());
        }
        let second = self.second.poll(cx);
        if self.second.is_good() || (first && second) { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests;
