//! An attempt on a connection that was idle: the way nearly all requests go, as a future of a few words.
//!
//! Written out by hand, because an `async` block keeps a place for everything that is alive across its awaits and
//! is copied with all of it whenever it moves.

use std::pin::Pin;
use std::task::{Context, Poll};

use exchange::service::Outcome;
use exchange::{Body, ResponseFuture};
use http::Request;
use pin_project_lite::pin_project;

use super::{Landing, Limit, Unsent, bounded, dial, received};
use crate::pool::{Received, Want};

pin_project! {
    /// A request on its way; `F` is hyper's future of the answer, in here so that both are one allocation.
    struct Riding<F> {
        #[pin]
        sending: Option<F>,
        // Gone once there is an outcome, or the slow way took over.
        landing: Option<Box<Landing>>,
        want: Want,
        limit: Limit,
        slow: Option<ResponseFuture>,
    }
}

/// The attempt of a request that was handed over, until its answer.
pub(super) fn go<F>(sending: F, landing: Box<Landing>, want: Want) -> ResponseFuture
where
    F: Future<Output = Received> + Send + 'static,
{
    let limit = Limit::of(&landing.flight);
    ResponseFuture::new(Riding { sending: Some(sending), landing: Some(landing), want, limit, slow: None })
}

impl<F: Future<Output = Received>> Future for Riding<F> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut this = self.project();
        if let Some(slow) = this.slow {
            return Pin::new(slow).poll(cx);
        }
        let (Some(sending), Some(landing)) = (this.sending.as_mut().as_pin_mut(), &*this.landing) else {
            return Poll::Pending;
        };
        let received = match sending.poll(cx) {
            Poll::Ready(answer) => Ok(answer),
            Poll::Pending => Err(std::task::ready!(this.limit.poll(cx, landing.flight.exchange()))),
        };
        // One that is given up is cancelled here.
        this.sending.set(None);
        this.limit.end();
        let Some(mut landing) = this.landing.take() else { return Poll::Pending };
        match received {
            Err(over) => {
                // An HTTP/2 connection that went silent takes no further request.
                if let Some(lease) = &landing.lease {
                    lease.retire();
                }
                let error = landing.flight.overdue(over);
                landing.flight.failed(&error);
                Poll::Ready(Err(error))
            }
            Ok(answer) => match self::received(answer, &mut landing) {
                Ok((mut response, now)) => {
                    landing.answered(&mut response, now);
                    Poll::Ready(Ok(response))
                }
                Err(Unsent::Failed(error)) => {
                    landing.flight.failed(&error);
                    Poll::Ready(Err(error))
                }
                Err(Unsent::Stale(request)) => {
                    let slow = this.slow.insert(again(landing, *this.want, *request));
                    Pin::new(slow).poll(cx)
                }
            },
        }
    }
}

/// The connection was stale: the slow way.
fn again(landing: Box<Landing>, want: Want, request: Request<Body>) -> ResponseFuture {
    let attempt = async move |landing: &mut Landing| -> Result<super::Answer, exchange::Error> {
        dial(landing, want, request, 1).await
    };
    ResponseFuture::new(bounded(landing, attempt))
}
