//! An attempt on a connection that was idle: the way nearly all requests go, as a future of a few words.
//!
//! Written out by hand, because an `async` block keeps a place for everything that is alive across its awaits and
//! is copied with all of it whenever it moves.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll};

use exchange::service::Outcome;
use exchange::{Body, ResponseFuture};
use http::Request;

use super::{Answer, Flight, Limit, OnWire, Unsent, bounded, dial, received};
use crate::pool::Want;

/// A request on its way.
pub(super) struct Riding {
    /// Gone once there is an outcome, or the slow way took over.
    on: Option<On>,
    slow: Option<ResponseFuture>,
}

struct On {
    flight: Flight,
    wire: OnWire,
    uploaded: Option<Arc<AtomicBool>>,
    want: Want,
    limit: Limit,
}

impl Riding {
    pub(super) fn new(flight: Flight, wire: OnWire, uploaded: Option<Arc<AtomicBool>>, want: Want) -> Self {
        let limit = Limit::of(&flight);
        Self { on: Some(On { flight, wire, uploaded, want, limit }), slow: None }
    }
}

impl Future for Riding {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let this = &mut *self;
        if let Some(slow) = &mut this.slow {
            return Pin::new(slow).poll(cx);
        }
        let Some(on) = &mut this.on else { return Poll::Pending };
        let received = match on.wire.sending.as_mut().poll(cx) {
            Poll::Ready(answer) => Ok(answer),
            Poll::Pending => Err(std::task::ready!(on.limit.poll(cx, on.flight.exchange()))),
        };
        let Some(On { flight, wire, uploaded, want, .. }) = this.on.take() else { return Poll::Pending };
        match received {
            Err(over) => {
                // An HTTP/2 connection that went silent takes no further request.
                wire.lease.retire();
                let error = flight.overdue(over);
                flight.failed(&error);
                Poll::Ready(Err(error))
            }
            Ok(answer) => match self::received(answer, wire.lease, &flight, uploaded.clone()) {
                Ok(answer) => Poll::Ready(Ok(flight.answered(answer))),
                Err(Unsent::Failed(error)) => {
                    flight.failed(&error);
                    Poll::Ready(Err(error))
                }
                Err(Unsent::Stale(request)) => {
                    let slow = this.slow.insert(again(flight, want, *request, uploaded));
                    Pin::new(slow).poll(cx)
                }
            },
        }
    }
}

/// The connection was stale: the slow way.
fn again(flight: Flight, want: Want, request: Request<Body>, uploaded: Option<Arc<AtomicBool>>) -> ResponseFuture {
    let attempt = async move |flight: &mut Flight| -> Result<Answer, exchange::Error> {
        dial(flight, want, request, uploaded, 1).await
    };
    ResponseFuture::new(bounded(flight, attempt))
}
