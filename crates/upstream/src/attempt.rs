//! One try at one endpoint: send, time out, judge at the response head, release at the body's end.
//!
//! The breaker and the latency memory take their sample at the head: an event stream must not hold a half-open
//! breaker for hours. A body that is cut later, or a gRPC status that says the server failed, adds a failure to
//! the same sample's generation. Whatever is dropped before it has an outcome counts for nothing.

mod failure;
mod flight;
mod limit;
mod redial;
mod riding;
pub(crate) mod wire;

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use exchange::body::Side;
use exchange::io::Tunnel;
use exchange::{Body, Error, ErrorKind, ResponseFuture, Sent, clock};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use policy::Tick;
use policy::breaker::Admission;

pub(crate) use self::flight::Flight;
use self::flight::Landing;
use self::limit::Limit;
use crate::endpoint::Endpoint;
use crate::pool::{Lease, Received, Sender, Want};
use crate::upstream::Params;

/// Stale connections that may be met before a fresh one is dialed.
const MAX_STALE: usize = 2;
/// What hyper may hold of uploads over one HTTP/2 connection: of all together, and of each at least. Beyond it they stay
/// in the window of their stream.
const UPLOADS: usize = 64 * 1024;
const UPLOAD: usize = 8 * 1024;

/// An endpoint with a place for a request, whose breaker let it pass. Only a `Flight` gives the place back.
pub(crate) struct Admitted {
    pub endpoint: Endpoint,
    admission: Option<Admission>,
}

/// Why an endpoint takes no request.
pub(crate) enum Refused {
    /// Its breaker is open for so long.
    Open(Duration),
    /// It has as many as it may.
    Full,
}

/// Takes a place at the endpoint and asks its breaker. `repeatable`: see `Breaker::admit`; `panic`: its refusal does not
/// count.
pub(crate) fn admit(
    endpoint: Endpoint,
    params: &Params,
    now: Tick,
    repeatable: bool,
    panic: bool,
) -> Result<Admitted, Refused> {
    if !endpoint.state.inflight.acquire(params.concurrency) {
        return Err(Refused::Full);
    }
    let Some(params) = &params.breaker else { return Ok(Admitted { endpoint, admission: None }) };
    match endpoint.state.breaker.admit(params, now, repeatable) {
        Ok((admission, transition)) => {
            if let Some(transition) = transition {
                flight::announce(&endpoint, transition);
            }
            Ok(Admitted { endpoint, admission: Some(admission) })
        }
        Err(_) if panic => Ok(Admitted { endpoint, admission: None }),
        Err(left) => {
            endpoint.state.inflight.release();
            Err(Refused::Open(left))
        }
    }
}

/// Performs the attempt.
///
/// On an idle connection the request is handed over at once and nothing of it stays here: what a future holds is
/// copied whenever the future moves, and a request is large. A dial is rare, and its future larger still.
///
/// Cancel-safe: dropped, it closes or resets what it had sent and releases what it held.
pub(crate) fn perform(mut flight: Flight, mut request: Request<Body>) -> ResponseFuture {
    if request.method() == Method::CONNECT {
        let landing = Landing::new(flight, None, None);
        return ResponseFuture::new(bounded(landing, async |landing: &mut Landing| tunnel(&landing.flight).await));
    }
    let want = want(&flight, &request);
    let uploaded = flight::watch_upload(request.body_mut());
    match flight.pool().idle_one(want, flight.started()) {
        Some(mut lease) => {
            prepare(&mut flight, &lease, &mut request);
            match lease.sender() {
                Sender::H1(sender) => {
                    let sending = sender.try_send_request(request);
                    riding::go(sending, Landing::new(flight, Some(lease), uploaded), want)
                }
                Sender::H2(sender) => {
                    let sending = sender.try_send_request(request);
                    riding::go(sending, Landing::new(flight, Some(lease), uploaded), want)
                }
            }
        }
        None => {
            let landing = Landing::new(flight, None, uploaded);
            ResponseFuture::new(bounded(landing, async move |landing: &mut Landing| {
                dial(landing, want, request, 0).await
            }))
        }
    }
}

/// Runs an attempt under its limit and hands on what came of it.
async fn bounded(
    mut landing: Box<Landing>,
    attempt: impl AsyncFnOnce(&mut Landing) -> Result<Answer, Error>,
) -> Result<Response<Body>, Error> {
    let mut limit = Limit::of(&landing.flight);
    let outcome = {
        let exchange = Arc::clone(landing.flight.exchange());
        let mut attempt = std::pin::pin!(attempt(&mut landing));
        poll_fn(|cx| match attempt.as_mut().poll(cx) {
            Poll::Ready(outcome) => Poll::Ready(Ok(outcome)),
            Poll::Pending => limit.poll(cx, &exchange).map(Err),
        })
        .await
    };
    match outcome.unwrap_or_else(|over| Err(landing.flight.overdue(over))) {
        Ok((mut response, now)) => {
            landing.answered(&mut response, now);
            Ok(response)
        }
        Err(error) => {
            landing.flight.failed(&error);
            Err(error)
        }
    }
}

/// A response head, and when it came.
type Answer = (Response<Body>, Tick);

/// Why there is no answer.
enum Unsent {
    /// The connection was stale; the request is as it was.
    Stale(Box<Request<Body>>),
    /// For good.
    Failed(Error),
}

fn want(flight: &Flight, request: &Request<Body>) -> Want {
    let head = &flight.exchange().head;
    let absolute = flight.pool().forwards()
        && !head.upgrade
        && !(head.grpc && head.version == Version::HTTP_2)
        && wire::names(request, flight.pool().destination());
    Want {
        h2: head.version == Version::HTTP_2,
        grpc: head.grpc,
        upgrade: head.upgrade,
        absolute,
        within: flight.connect_timeout(),
    }
}

/// Gives the request the form of the connection it goes onto now.
fn prepare(flight: &mut Flight, lease: &Lease, request: &mut Request<Body>) {
    match &flight.pool().destination().parent {
        Some(parent) if lease.is_absolute() => wire::dress_whole(request, parent),
        _ => wire::dress(request, lease.is_h2(), flight.pool().destination().tls.is_some()),
    }
    flight.sending(lease.reused);
    lease.listen(flight.exchange());
    if flight.exchange().head.version == Version::HTTP_2 {
        let limit = flight.exchange().share(UPLOADS, UPLOAD);
        request.body_mut().set_gate(limit);
    }
}

/// What came back, as an answer. Without one the connection is let go.
fn received(answer: Received, landing: &mut Landing) -> Result<Answer, Unsent> {
    let Landing { flight, lease: leased, uploaded, .. } = landing;
    let Some(lease) = leased else { return Err(Unsent::Failed(ErrorKind::Internal.into())) };
    let (reused, h2) = (lease.reused, lease.is_h2());
    match answer {
        Ok(response) if uploaded.is_none() && is_stray(&response, lease, flight) => {
            *leased = None;
            let error = Error::new(ErrorKind::ClosedEarly).with_sent(Sent::Maybe);
            Err(Unsent::Failed(
                error.with_detail("the connection's idle time was over: 408 before the request was there"),
            ))
        }
        Ok(response) if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED && lease.is_absolute() => {
            *leased = None;
            let parent = flight.pool().destination().parent.clone();
            let refused = parent.map(|parent| parent.refused(format_args!("answered {}", response.status())));
            Err(Unsent::Failed(refused.unwrap_or_else(|| ErrorKind::ParentProxy.into())))
        }
        Ok(response) => {
            let now = clock::now();
            let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
            let version = response.version();
            // To such a peer hyper would speak HTTP/1.0 from now on, and drop a body of unknown length.
            lease.last = version == Version::HTTP_10;
            let mut response = response.map(|body| Body::incoming(body, Side::Upstream, version));
            if let Err(error) = wire::undress(&mut response) {
                *leased = None;
                return Err(Unsent::Failed(error));
            }
            if upgraded {
                *leased = None;
            }
            if !response.body().is_end_stream() {
                if h2 && uploaded.as_ref().is_none_or(|done| done.load(Relaxed)) {
                    response.body_mut().set_flagged();
                }
                response.body_mut().set_idle(flight.idle_timeout(), Side::Upstream, now);
            }
            Ok((response, now))
        }
        Err(mut error) => {
            let unsent = error.take_message();
            if unsent.is_some() {
                lease.retire();
            }
            *leased = None;
            match unsent {
                Some(unsent) if reused => Err(Unsent::Stale(Box::new(unsent))),
                Some(_) => {
                    let error = failure::of(error.into_error(), flight.exchange());
                    Err(Unsent::Failed(error.with_sent(Sent::Nothing)))
                }
                None => Err(Unsent::Failed(failure::of(error.into_error(), flight.exchange()))),
            }
        }
    }
}

/// A 408 for a request that was written at once answers the idle time before it: it was on its way when the request
/// was, and says that the connection closes (RFC 9110 section 15.5.9). What was acted on is not known, so it is an error
/// only where that does not matter; the answer of a request with a body is the client's.
fn is_stray(response: &Response<Incoming>, lease: &Lease, flight: &Flight) -> bool {
    response.status() == StatusCode::REQUEST_TIMEOUT
        && lease.reused
        && !lease.is_h2()
        && flight.exchange().head.method.is_idempotent()
}

/// The way without an idle connection, or after one that was stale.
async fn dial(
    landing: &mut Landing,
    want: Want,
    mut request: Request<Body>,
    mut stale: usize,
) -> Result<Answer, Error> {
    loop {
        let flight = &mut landing.flight;
        let now = if stale == 0 { flight.started() } else { clock::now() };
        let lease = if stale < MAX_STALE {
            flight.pool().lease(want, now).await?
        } else {
            flight.pool().lease_fresh(want, now).await?
        };
        let lease = landing.lease.insert(lease);
        prepare(flight, lease, &mut request);
        let answer = match lease.sender() {
            Sender::H1(sender) => sender.try_send_request(request).await,
            Sender::H2(sender) => sender.try_send_request(request).await,
        };
        match received(answer, landing) {
            Ok(answer) => return Ok(answer),
            Err(Unsent::Failed(error)) => return Err(error),
            Err(Unsent::Stale(_)) if stale > MAX_STALE => {
                let error = Error::new(ErrorKind::ClosedEarly);
                return Err(error.with_detail("every connection closed before the request was on it"));
            }
            Err(Unsent::Stale(unsent)) => {
                request = *unsent;
                stale += 1;
            }
        }
    }
}

/// CONNECT: a connection of its own, handed up whole.
async fn tunnel(flight: &Flight) -> Result<Answer, Error> {
    let io = flight.pool().tunnel(false, flight.connect_timeout()).await?;
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(Tunnel::new(io, Arc::clone(flight.pool()) as _));
    Ok((response, clock::now()))
}
