//! A request body that can be read again.
//!
//! One append-only list of chunks, read by independent cursors; the leading cursor pulls from the client, so
//! nothing is read before it is wanted and nothing twice. When a chunk would pass the cap, the list is given
//! up: the leading cursor goes on alone with the live body, cursors that lag fail, and no new one starts. The
//! exchange itself never fails for it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;

use super::Body;
use crate::{Error, ErrorKind};

/// The replayable form of a body.
#[derive(Clone)]
pub struct Replay(Arc<Mutex<Shared>>);

struct Shared {
    source: Body,
    /// Chunks from the start; only those a cursor may still need once the cap was passed.
    kept: VecDeque<Bytes>,
    /// Chunks before `kept` that are gone.
    gone: usize,
    bytes: usize,
    cap: usize,
    over: bool,
    end: Option<Result<Option<HeaderMap>, ErrorKind>>,
    waiting: Vec<Waker>,
}

/// One reader of a [`Replay`].
pub(super) struct Cursor {
    shared: Arc<Mutex<Shared>>,
    at: usize,
    trailers_given: bool,
    hint: SizeHint,
}

impl Replay {
    /// Keeps up to `cap` bytes of `source`.
    pub fn new(source: Body, cap: usize) -> Self {
        let over = source.size_hint().lower() > cap as u64;
        Self(Arc::new(Mutex::new(Shared {
            source,
            kept: VecDeque::new(),
            gone: 0,
            bytes: 0,
            cap,
            over,
            end: None,
            waiting: Vec::new(),
        })))
    }

    /// The body from its first byte; `None` once more than the cap was read.
    pub fn body(&self) -> Option<Body> {
        let shared = self.0.lock();
        if shared.gone > 0 {
            return None;
        }
        let hint = if shared.kept.is_empty() { shared.source.size_hint() } else { shared.hint() };
        drop(shared);
        Some(super::Kind::Replay(Cursor { shared: Arc::clone(&self.0), at: 0, trailers_given: false, hint }).into())
    }

    /// A further [`Replay::body`] would be whole.
    pub fn is_whole(&self) -> bool {
        self.0.lock().gone == 0
    }
}

impl Shared {
    fn hint(&self) -> SizeHint {
        let mut hint = self.source.size_hint();
        let kept = self.bytes as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + kept);
        }
        hint.set_lower(hint.lower() + kept);
        hint
    }

    /// Pulls one chunk for the leading cursor.
    fn pull(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.source).poll_frame(cx));
        for waiting in self.waiting.drain(..) {
            waiting.wake();
        }
        match frame {
            None => {
                self.end = Some(Ok(None));
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                self.end = Some(Err(error.kind));
                Poll::Ready(Some(Err(error)))
            }
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.bytes = self.bytes.saturating_add(data.len());
                    self.over |= self.bytes > self.cap;
                    if self.over {
                        self.gone += self.kept.len() + 1;
                        self.kept.clear();
                    } else {
                        self.kept.push_back(data.clone());
                    }
                } else if let Some(trailers) = frame.trailers_ref() {
                    self.end = Some(Ok(Some(trailers.clone())));
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }
}

impl Cursor {
    pub(super) fn replay(&self) -> Replay {
        Replay(Arc::clone(&self.shared))
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut shared = self.shared.lock();
        if self.at < shared.gone {
            return Poll::Ready(Some(Err(
                Error::new(ErrorKind::Internal).with_detail("the body can no longer be replayed")
            )));
        }
        if let Some(chunk) = shared.kept.get(self.at - shared.gone).cloned() {
            self.at += 1;
            self.hint = rest(&self.hint, chunk.len());
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        match &shared.end {
            Some(Ok(Some(trailers))) if !self.trailers_given => {
                let trailers = trailers.clone();
                self.trailers_given = true;
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            Some(Ok(_)) => return Poll::Ready(None),
            Some(Err(kind)) => return Poll::Ready(Some(Err(Error::new(*kind)))),
            None => {}
        }
        let frame = shared.pull(cx);
        match &frame {
            // Another cursor's poll may have left its waker in the source: remember ours as well.
            Poll::Pending if shared.waiting.iter().any(|waiting| waiting.will_wake(cx.waker())) => {}
            Poll::Pending => shared.waiting.push(cx.waker().clone()),
            Poll::Ready(Some(Ok(frame))) => match frame.data_ref() {
                Some(data) => {
                    self.at += 1;
                    self.hint = rest(&self.hint, data.len());
                }
                None => self.trailers_given = true,
            },
            Poll::Ready(_) => {}
        }
        frame
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let shared = self.shared.lock();
        self.at == shared.gone + shared.kept.len()
            && match &shared.end {
                Some(Ok(Some(_))) => self.trailers_given,
                Some(Ok(None)) => true,
                Some(Err(_)) => false,
                None => shared.source.is_end_stream(),
            }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

/// The source tells only the cursor that polled it last: if that one goes, the others ask again.
impl Drop for Cursor {
    fn drop(&mut self) {
        for waiting in self.shared.lock().waiting.drain(..) {
            waiting.wake();
        }
    }
}

fn rest(hint: &SizeHint, read: usize) -> SizeHint {
    let read = read as u64;
    let mut left = SizeHint::new();
    let lower = hint.lower().saturating_sub(read);
    if let Some(upper) = hint.upper() {
        left.set_upper(upper.saturating_sub(read).max(lower));
    }
    left.set_lower(lower);
    left
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    fn source(chunks: &[&'static str]) -> Body {
        let frames: Vec<_> = chunks.iter().map(|c| Ok(Frame::data(Bytes::from_static(c.as_bytes())))).collect();
        Body::boxed(StreamBody::new(futures_util::stream::iter(frames)))
    }

    async fn read(body: Body) -> Result<String, Error> {
        let bytes = body.collect().await?.to_bytes();
        Ok(String::from_utf8(bytes.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn every_cursor_reads_the_same_bytes() {
        let replay = Replay::new(source(&["ab", "cd", "ef"]), 6);
        let mut first = replay.body().expect("whole");

        let frame = first.frame().await.expect("a frame").expect("data");
        let second = replay.body().expect("whole");

        assert_eq!(frame.data_ref().map(|d| &d[..]), Some(&b"ab"[..]));
        assert_eq!(read(second).await.expect("read"), "abcdef");
        assert_eq!(read(first).await.expect("read"), "cdef");
    }

    #[tokio::test]
    async fn past_the_cap_the_leader_goes_on_and_nobody_else() {
        let replay = Replay::new(source(&["ab", "cd", "ef"]), 3);
        let mut leader = replay.body().expect("whole");
        let laggard = replay.body().expect("whole");

        leader.frame().await.expect("a frame").expect("data");
        assert!(replay.is_whole());
        leader.frame().await.expect("a frame").expect("data");

        assert!(!replay.is_whole());
        assert!(replay.body().is_none());
        assert_eq!(read(leader).await.expect("read"), "ef");
        assert!(read(laggard).await.is_err());
    }

    #[test]
    fn who_waits_is_told_when_the_last_to_ask_goes_away() {
        struct Bell(std::sync::atomic::AtomicBool);
        impl std::task::Wake for Bell {
            fn wake(self: Arc<Self>) {
                self.0.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let silent = Body::boxed(StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, Error>>()));
        let replay = Replay::new(silent, 8);
        let (mut first, mut last) = (replay.body().expect("whole"), replay.body().expect("whole"));
        let bell = Arc::new(Bell(false.into()));
        let waker = Waker::from(Arc::clone(&bell));
        assert!(Pin::new(&mut first).poll_frame(&mut Context::from_waker(&waker)).is_pending());
        assert!(Pin::new(&mut last).poll_frame(&mut Context::from_waker(Waker::noop())).is_pending());

        drop(last);

        assert!(bell.0.load(std::sync::atomic::Ordering::Relaxed), "nobody would ever wake it");
    }

    #[tokio::test]
    async fn a_body_of_exactly_the_cap_is_whole() {
        let replay = Replay::new(source(&["abc"]), 3);

        read(replay.body().expect("whole")).await.expect("read");

        assert_eq!(read(replay.body().expect("whole")).await.expect("read"), "abc");
    }
}
