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
use pin_project_lite::pin_project;

use super::{Answer, Flight, Limit, Unsent, bounded, dial, received};
use crate::pool::{Lease, Received, Want};

pin_project! {
    /// A request on its way; `F` is hyper's future of the answer, in here so that both are one allocation.
    struct Riding<F> {
        #[pin]
        sending: Option<F>,
        // Gone once there is an outcome, or the slow way took over.
        on: Option<On>,
        slow: Option<ResponseFuture>,
    }
}

struct On {
    flight: Flight,
    lease: Lease,
    uploaded: Option<Arc<AtomicBool>>,
    want: Want,
    limit: Limit,
}

/// The attempt of a request that was handed over, until its answer.
pub(super) fn go<F>(
    sending: F,
    flight: Flight,
    lease: Lease,
    uploaded: Option<Arc<AtomicBool>>,
    want: Want,
) -> ResponseFuture
where
    F: Future<Output = Received> + Send + 'static,
{
    let limit = Limit::of(&flight);
    ResponseFuture::new(Riding {
        sending: Some(sending),
        on: Some(On { flight, lease, uploaded, want, limit }),
        slow: None,
    })
}

impl<F: Future<Output = Received>> Future for Riding<F> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut this = self.project();
        if let Some(slow) = this.slow {
            return Pin::new(slow).poll(cx);
        }
        let (Some(sending), Some(on)) = (this.sending.as_mut().as_pin_mut(), &mut *this.on) else {
            return Poll::Pending;
        };
        let received = match sending.poll(cx) {
            Poll::Ready(answer) => Ok(answer),
            Poll::Pending => Err(std::task::ready!(on.limit.poll(cx, on.flight.exchange()))),
        };
        // One that is given up is cancelled here.
        this.sending.set(None);
        let Some(On { flight, lease, uploaded, want, .. }) = this.on.take() else { return Poll::Pending };
        match received {
            Err(over) => {
                // An HTTP/2 connection that went silent takes no further request.
                lease.retire();
                let error = flight.overdue(over);
                flight.failed(&error);
                Poll::Ready(Err(error))
            }
            Ok(answer) => match self::received(answer, lease, &flight, uploaded.clone()) {
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
