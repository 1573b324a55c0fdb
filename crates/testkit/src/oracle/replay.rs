//! Cursors of one replayed body, polled and dropped in any order, against the bytes that went in.
//!
//! An input is a program: the cap, what the client sends (chunks, silence, an end), then steps. Each cursor reads a
//! prefix of the original or says that it cannot; who waits is woken.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use exchange::body::Replay;
use exchange::{Body, Error, ErrorKind};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

/// Cursors at once.
const MOST: usize = 6;

/// See the module.
pub fn check(input: &[u8]) {
    let mut program = input.iter().copied();
    let Some(source) = Source::read(&mut program) else { return };
    let cap = usize::from(program.next().unwrap_or(16)) * 2;
    let mut run = Run::new(source, cap);
    for step in program.take(512) {
        run.step(step);
    }
    run.finish();
}

/// What a client sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Event {
    Data(usize),
    /// Nothing yet.
    Silence,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ending {
    Clean,
    Trailers,
    Broken,
}

struct Source {
    events: Vec<Event>,
    ending: Ending,
    /// Content-Length was sent.
    sized: bool,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Events given.
    at: usize,
    /// Data chunks given, and their bytes.
    chunks: usize,
    bytes: usize,
    over: bool,
    waiting: Option<Waker>,
}

impl Source {
    fn read(program: &mut impl Iterator<Item = u8>) -> Option<Self> {
        let first = program.next()?;
        let ending = [Ending::Clean, Ending::Trailers, Ending::Broken][usize::from(first % 3)];
        let events = program.by_ref().take(usize::from(first >> 4)).map(|byte| match byte {
            0..=63 => Event::Silence,
            _ => Event::Data(usize::from(byte) - 64),
        });
        // A client that breaks off has not sent what it announced.
        let sized = first & 8 != 0 && ending == Ending::Clean;
        Some(Self { events: events.collect(), ending, sized, state: Arc::default() })
    }

    fn total(&self) -> usize {
        self.events.iter().map(|event| if let Event::Data(length) = event { *length } else { 0 }).sum()
    }
}

fn byte_at(at: usize) -> u8 {
    u8::try_from(at % 251).expect("small")
}

impl HttpBody for Source {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut state = self.state.lock().expect("one thread");
        match self.events.get(state.at) {
            Some(Event::Silence) => {
                // As hyper's: who asked last is told.
                state.waiting = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(Event::Data(length)) => {
                let data = (state.bytes..state.bytes + length).map(byte_at).collect::<Vec<_>>();
                state.at += 1;
                state.chunks += 1;
                state.bytes += length;
                Poll::Ready(Some(Ok(Frame::data(data.into()))))
            }
            None if state.over => Poll::Ready(None),
            None => {
                state.over = true;
                Poll::Ready(match self.ending {
                    Ending::Clean => None,
                    Ending::Trailers => {
                        let mut trailers = HeaderMap::new();
                        trailers.insert("x-sum", http::HeaderValue::from_static("1"));
                        Some(Ok(Frame::trailers(trailers)))
                    }
                    Ending::Broken => Some(Err(ErrorKind::ClientGone.into())),
                })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.state.lock().expect("one thread");
        state.over && self.ending != Ending::Broken
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.total() - self.state.lock().expect("one thread").bytes;
        if self.sized { SizeHint::with_exact(left as u64) } else { SizeHint::new() }
    }
}

#[derive(Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

struct Cursor {
    body: Body,
    read: usize,
    chunks: usize,
    bell: Arc<Bell>,
    waits: bool,
    trailers: bool,
    /// A size was promised for all of it.
    promised: Option<u64>,
}

struct Run {
    replay: Replay,
    state: Arc<Mutex<State>>,
    events: Vec<Event>,
    ending: Ending,
    total: usize,
    cap: usize,
    announced_over: bool,
    cursors: Vec<Cursor>,
}

impl Run {
    fn new(source: Source, cap: usize) -> Self {
        let (state, events, ending, total) =
            (Arc::clone(&source.state), source.events.clone(), source.ending, source.total());
        let announced_over = source.sized && total > cap;
        let replay = Replay::new(Body::boxed(source), cap);
        Self { replay, state, events, ending, total, cap, announced_over, cursors: Vec::new() }
    }

    fn step(&mut self, step: u8) {
        let which = usize::from(step >> 3);
        match step & 7 {
            0 => self.begin(),
            1 if !self.cursors.is_empty() => {
                self.cursors.swap_remove(which % self.cursors.len());
            }
            2 => self.speak(),
            _ if !self.cursors.is_empty() => self.poll(which % self.cursors.len()),
            _ => self.begin(),
        }
        let (bytes, chunks) = self.pulled();
        let whole = chunks == 0 || (bytes <= self.cap && !self.announced_over);
        assert_eq!(self.replay.is_whole(), whole, "{bytes} bytes in {chunks} chunks under a cap of {}", self.cap);
    }

    fn pulled(&self) -> (usize, usize) {
        let state = self.state.lock().expect("one thread");
        (state.bytes, state.chunks)
    }

    fn begin(&mut self) {
        if self.cursors.len() == MOST {
            return;
        }
        match self.replay.body() {
            Some(body) => {
                let promised = body.size_hint().exact();
                assert!(promised.is_none_or(|size| size == self.total as u64), "{promised:?} of {}", self.total);
                let bell = Arc::default();
                self.cursors.push(Cursor { body, read: 0, chunks: 0, bell, waits: false, trailers: false, promised });
            }
            None => assert!(!self.replay.is_whole()),
        }
    }

    /// The client goes on after a silence: somebody who waits must be told.
    fn speak(&mut self) {
        let mut state = self.state.lock().expect("one thread");
        if self.events.get(state.at) != Some(&Event::Silence) {
            return;
        }
        state.at += 1;
        let waiting = state.waiting.take();
        drop(state);
        if let Some(waker) = waiting {
            waker.wake();
        }
        let waits = |cursor: &&Cursor| cursor.waits;
        let told = self.cursors.iter().filter(waits).any(|cursor| cursor.bell.0.load(Relaxed));
        assert!(told || !self.cursors.iter().any(|cursor| cursor.waits), "nobody was told that the client goes on");
    }

    fn poll(&mut self, which: usize) {
        let before = self.pulled();
        let cursor = &mut self.cursors[which];
        cursor.bell.0.store(false, Relaxed);
        cursor.waits = false;
        let waker = Waker::from(Arc::clone(&cursor.bell));
        let polled = Pin::new(&mut cursor.body).poll_frame(&mut Context::from_waker(&waker));
        let pulled = self.pulled();
        let ended = match polled {
            Poll::Pending => {
                let cursor = &mut self.cursors[which];
                assert_eq!(cursor.read, pulled.0, "waits for what is there");
                cursor.waits = true;
                return;
            }
            Poll::Ready(frame) => self.frame(which, frame),
        };
        if ended {
            self.cursors.swap_remove(which);
        }
        if pulled != before {
            let deaf = self.cursors.iter().filter(|cursor| cursor.waits && !cursor.bell.0.load(Relaxed)).count();
            assert_eq!(deaf, 0, "who waited was not told of a chunk that another cursor pulled");
        }
    }

    /// Whether the cursor is at its end.
    fn frame(&mut self, which: usize, frame: Option<Result<Frame<Bytes>, Error>>) -> bool {
        let (pulled, chunks) = self.pulled();
        let cursor = &mut self.cursors[which];
        match frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    let right = data.iter().enumerate().all(|(at, byte)| *byte == byte_at(cursor.read + at));
                    assert!(right, "other bytes than were sent, from {}", cursor.read);
                    cursor.read += data.len();
                    cursor.chunks += 1;
                    assert!(cursor.read <= pulled);
                    if let Some(promised) = cursor.promised {
                        assert_eq!(cursor.body.size_hint().exact(), Some(promised - cursor.read as u64));
                    }
                } else {
                    assert!(!cursor.trailers && self.ending == Ending::Trailers && cursor.read == self.total);
                    cursor.trailers = true;
                }
                false
            }
            None => {
                assert_eq!(cursor.read, self.total, "a clean end before the end");
                assert_ne!(self.ending, Ending::Broken, "a broken body ended cleanly");
                assert_eq!(cursor.trailers, self.ending == Ending::Trailers, "trailers were lost");
                true
            }
            Some(Err(error)) if error.kind == ErrorKind::ClientGone => {
                assert_eq!((self.ending, cursor.read), (Ending::Broken, self.total));
                true
            }
            Some(Err(error)) => {
                assert_eq!(error.kind, ErrorKind::Internal);
                assert!(!self.replay.is_whole(), "given up though it is whole");
                assert!(cursor.chunks < chunks, "the one in front was given up");
                true
            }
        }
    }

    /// Everyone reads to the end; the one in front never fails for the cap.
    fn finish(&mut self) {
        if self.cursors.is_empty() {
            self.begin();
        }
        for _ in 0..self.events.len() * (MOST + 2) + 4 * MOST {
            self.speak();
            for which in (0..self.cursors.len()).rev() {
                self.poll(which);
            }
        }
        assert!(self.cursors.is_empty(), "a cursor never came to its end");
        if self.replay.is_whole() && self.pulled().0 <= self.cap {
            self.begin();
            let all = self.cursors.len();
            for _ in 0..self.events.len() + 4 {
                (0..self.cursors.len()).rev().for_each(|which| self.poll(which));
            }
            assert!(all == 1 && self.cursors.is_empty(), "what is whole cannot be read again");
        }
    }
}
