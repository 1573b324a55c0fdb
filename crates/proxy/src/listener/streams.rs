//! Runs the streams of an HTTP/2 connection, and gives up those whose client takes nothing.
//!
//! hyper waits for room in a stream for as long as the client likes, and asks its body for nothing meanwhile, so no timer
//! of the body's can end it. Here the task that hyper runs for a stream is given up instead: dropped, it resets the stream
//! and releases all that the answer holds. Other streams live on.
//!
//! hyper calls the service and starts the stream's task in one go, so what the edge said last is about the next task. A
//! timer is made only for a stream that really waits. A client that takes less than a piece (16 KiB) in that time is given
//! up as well: hyper does not say how much of one it took.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use exchange::{ErrorKind, Exchange, clock};
use hyper::rt::Executor;
use parking_lot::Mutex;
use policy::Tick;
use tokio::time::Sleep;

/// One connection's.
#[derive(Clone, Default)]
pub struct Streams(Arc<Mutex<Option<Patience>>>);

impl Streams {
    /// The next stream is this exchange's; its client may take nothing of the answer for so long.
    pub fn begin(&self, exchange: &Arc<Exchange>, limit: Duration) {
        *self.0.lock() = Some(Patience { exchange: Arc::clone(exchange), limit, last: None, timer: None });
    }
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, stream: F) {
        let Some(mut patience) = self.0.lock().take() else {
            tokio::spawn(stream);
            return;
        };
        tokio::spawn(async move {
            let mut stream = pin!(stream);
            std::future::poll_fn(|cx| match stream.as_mut().poll(cx) {
                Poll::Ready(_) => Poll::Ready(()),
                Poll::Pending => patience.poll(cx),
            })
            .await;
        });
    }
}

/// With one client, for one answer.
struct Patience {
    exchange: Arc<Exchange>,
    limit: Duration,
    /// How much of the answer had been asked for, and since when it is no more.
    last: Option<(u64, Tick)>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Ready once it is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.exchange.status() == 0 || self.exchange.is_starved() {
            self.last = None;
            return Poll::Pending;
        }
        let taken = self.exchange.bytes_out();
        let since = match self.last {
            Some((last, since)) if last == taken => since,
            _ => clock::now(),
        };
        self.last = Some((taken, since));
        let due = since + self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(clock::instant(due))));
        loop {
            ready!(timer.as_mut().poll(cx));
            if due <= clock::now() {
                self.exchange.set_reason(ErrorKind::ClientTimeout);
                return Poll::Ready(());
            }
            timer.as_mut().reset(clock::instant(due));
        }
    }
}
