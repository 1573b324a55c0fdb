//! A request body that is kept back until the upstream asks for it: `Expect: 100-continue` (RFC 9110 section 10.1.1).
//!
//! Whoever reads the body waits here, and the client's connection is not read meanwhile: reading it is what makes
//! hyper's HTTP/1 server send its `100 Continue`, so the client hears it when the upstream said so. After
//! [`PATIENCE`] the body goes on without a word, since many upstreams never say one. The switch belongs to the
//! exchange, not to an attempt: a second attempt waits on, and the client waits no longer in all.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::time::Sleep;

/// From the first time the body is wanted.
const PATIENCE: Duration = Duration::from_secs(1);

const WAITING: u8 = 0;
const WANTED: u8 = 1;
const UNWANTED: u8 = 2;

/// Says once whether the body goes on; see the module.
#[derive(Debug, Default)]
pub struct Hold {
    said: AtomicU8,
    waker: AtomicWaker,
}

impl Hold {
    /// The upstream wants the body; false if that was said before, or the opposite.
    pub fn release(&self) -> bool {
        self.say(WANTED)
    }

    /// The final answer is there and nobody asked for the body; false if it went on before.
    pub fn forgo(&self) -> bool {
        self.say(UNWANTED)
    }

    fn say(&self, what: u8) -> bool {
        let first = self.said.compare_exchange(WAITING, what, AcqRel, Acquire).is_ok();
        if first {
            self.waker.wake();
        }
        first
    }
}

/// The body's end of it.
pub(super) struct Held {
    hold: Arc<Hold>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Held {
    pub(super) fn new(hold: Arc<Hold>) -> Self {
        Self { hold, timer: None }
    }

    /// Ready with whether the body is wanted, or its time is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.hold.waker.register(cx.waker());
        match self.hold.said.load(Acquire) {
            WANTED => return Poll::Ready(true),
            UNWANTED => return Poll::Ready(false),
            _ => {}
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(true)
    }

    /// Its time is over without a word: it goes on.
    pub(super) fn release(&self) {
        self.hold.release();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::StreamExt;
    use http_body::Frame;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;
    use crate::body::Replay;
    use crate::{Body, Error, clock};

    /// A body that counts how often it is asked for more.
    fn counted(hold: &Arc<Hold>) -> (Body, Arc<AtomicU8>) {
        let asked = Arc::new(AtomicU8::new(0));
        let count = Arc::clone(&asked);
        let frames = futures_util::stream::iter(["ab", "cd"]).map(move |text| {
            count.fetch_add(1, AcqRel);
            Ok::<_, Error>(Frame::data(Bytes::from_static(text.as_bytes())))
        });
        let mut body = Body::boxed(StreamBody::new(frames));
        body.hold(Arc::clone(hold));
        (body, asked)
    }

    async fn text(body: Body) -> String {
        String::from_utf8(body.collect().await.expect("whole").to_bytes().to_vec()).expect("text")
    }

    #[tokio::test(start_paused = true)]
    async fn a_held_body_is_not_asked_for_before_the_upstream_wants_it() {
        let hold = Arc::new(Hold::default());
        let (mut body, asked) = counted(&hold);

        let early = tokio::time::timeout(PATIENCE / 2, body.frame()).await;
        assert!(early.is_err() && asked.load(Acquire) == 0);
        hold.release();

        assert_eq!((text(body).await.as_str(), hold.forgo()), ("abcd", false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_nobody_asks_for_goes_on_after_its_time() {
        let hold = Arc::new(Hold::default());
        let began = clock::now();

        let whole = text(counted(&hold).0).await;

        assert_eq!((whole.as_str(), clock::now().since(began).as_secs(), hold.forgo()), ("abcd", 1, false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_not_wanted_never_ends() {
        let hold = Arc::new(Hold::default());
        let (mut body, asked) = counted(&hold);

        assert!(hold.forgo());

        let end = tokio::time::timeout(PATIENCE * 5, body.frame()).await;
        assert!(end.is_err() && asked.load(Acquire) == 0 && !http_body::Body::is_end_stream(&body));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_reader_waits_on_and_reads_from_the_first_byte() {
        let hold = Arc::new(Hold::default());
        let (body, asked) = counted(&hold);
        let replay = Replay::new(body, 16);
        let mut first = replay.body().expect("whole");
        assert!(tokio::time::timeout(PATIENCE / 2, first.frame()).await.is_err());
        drop(first);

        let second = replay.body().expect("whole");
        assert_eq!(asked.load(Acquire), 0);
        hold.release();

        assert_eq!(text(second).await, "abcd");
    }
}
