//! One try at one endpoint: send, time out, judge at the response head, release at the body's end.
//!
//! The breaker and the latency memory take their sample at the head: an event stream must not hold a half-open
//! breaker for hours. A body that is cut later, or a gRPC status that says the server failed, adds a failure to
//! the same sample's generation. Whatever is dropped before it has an outcome counts for nothing.

mod failure;
mod flight;
mod redial;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use exchange::body::Side;
use exchange::io::Tunnel;
use exchange::{Body, Error, Sent, clock};
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use policy::Tick;
use policy::breaker::{self, Admission};

pub(crate) use self::flight::Flight;
use crate::connect::Flavour;
use crate::endpoint::Endpoint;
use crate::pool::{Lease, Want};

/// Stale connections that may be met before a fresh one is dialed.
const MAX_STALE: usize = 2;

/// An endpoint whose breaker let a request pass.
pub(crate) struct Admitted {
    pub endpoint: Endpoint,
    admission: Option<Admission>,
}

/// Asks the breaker; the error is what is left of its open time.
pub(crate) fn admit(endpoint: Endpoint, breaker: Option<&breaker::Params>, now: Tick) -> Result<Admitted, Duration> {
    let Some(params) = breaker else { return Ok(Admitted { endpoint, admission: None }) };
    let (admission, transition) = endpoint.state.breaker.admit(params, now)?;
    if let Some(transition) = transition {
        flight::announce(&endpoint, transition);
    }
    Ok(Admitted { endpoint, admission: Some(admission) })
}

/// Performs the attempt.
///
/// Cancel-safe: dropped, it closes or resets what it had sent and releases what it held.
pub(crate) async fn perform(mut flight: Flight, request: Request<Body>) -> Result<Response<Body>, Error> {
    let (limit, over) = flight.limit();
    let outcome = match limit {
        Some(at) => match tokio::time::timeout_at(clock::instant(at), send(&mut flight, request)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::new(over).with_sent(flight.sent()).with_detail(format!(
                "{} did not answer within {} ms",
                flight.label(),
                at.since(flight.started()).as_millis()
            ))),
        },
        None => send(&mut flight, request).await,
    };
    match outcome {
        Ok(answer) => Ok(flight.answered(answer)),
        Err(error) => {
            flight.failed(&error);
            Err(error)
        }
    }
}

/// A response head, and what is owed for it.
struct Answer {
    response: Response<Body>,
    lease: Option<Lease>,
    uploaded: Option<Arc<AtomicBool>>,
}

async fn send(flight: &mut Flight, mut request: Request<Body>) -> Result<Answer, Error> {
    if request.method() == Method::CONNECT {
        return Box::pin(tunnel(flight)).await;
    }
    let head = &flight.exchange().head;
    let want = Want {
        h2: head.version == http::Version::HTTP_2,
        grpc: head.grpc,
        upgrade: head.upgrade,
        local: head.client.local,
        within: flight.connect_timeout(),
    };
    let uploaded = flight::watch_upload(request.body_mut());
    let mut stale = 0;
    loop {
        let now = if stale == 0 { flight.started() } else { clock::now() };
        let mut lease = if stale < MAX_STALE {
            flight.pool().lease(want, now).await?
        } else {
            flight.pool().lease_fresh(want, now).await?
        };
        wire::dress(&mut request, lease.is_h2(), flight.pool().destination().tls.is_some());
        flight.sending(lease.reused);
        match lease.send(request).await {
            Ok(response) => {
                let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
                let mut response = response.map(|body| Body::incoming(body, Side::Upstream));
                wire::undress(&mut response);
                if !response.body().is_end_stream() {
                    if lease.is_h2() && uploaded.as_ref().is_none_or(|done| done.load(Relaxed)) {
                        response.body_mut().set_flagged();
                    }
                    response.body_mut().set_idle(flight.idle_timeout(), Side::Upstream);
                }
                return Ok(Answer { response, lease: (!upgraded).then_some(lease), uploaded });
            }
            Err(mut error) => match error.take_message() {
                Some(unsent) if lease.reused && stale <= MAX_STALE => {
                    lease.retire();
                    request = unsent;
                    stale += 1;
                }
                Some(_) => {
                    lease.retire();
                    return Err(failure::of(error.into_error(), flight.exchange()).with_sent(Sent::Nothing));
                }
                None => return Err(failure::of(error.into_error(), flight.exchange())),
            },
        }
    }
}

/// CONNECT: a connection of its own, handed up whole.
async fn tunnel(flight: &mut Flight) -> Result<Answer, Error> {
    let local = flight.exchange().head.client.local;
    let io = flight.pool().connect(Flavour::H1, local, flight.connect_timeout()).await?.io;
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(Tunnel::new(io));
    Ok(Answer { response, lease: None, uploaded: None })
}
