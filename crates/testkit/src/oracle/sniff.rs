//! What the first bytes say does not depend on how they arrive, and no byte is lost by looking.
//!
//! The first byte of an input seeds the lengths of the pieces; the rest is what the client sends.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use exchange::Io;
use proxy::listener::sniff::{self, Spoken};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// See the module.
pub fn check(input: &[u8]) {
    let Some((seed, sent)) = input.split_first() else { return };
    // By bytes each looks at all before it: what is long comes in pieces that are not so many.
    let least = 1 + sent.len() / 64;
    let ways = [usize::MAX, least, least + 1 + usize::from(*seed)];
    let [whole, small, large] = ways.map(|longest| look(sent, longest, u64::from(*seed)));
    assert_eq!(whole, small, "in small pieces");
    assert_eq!(whole, large, "in large pieces");
    let [whole, small, large] = ways.map(|longest| peek(sent, longest, u64::from(*seed)));
    assert_eq!(whole, small, "in small pieces, inside a tunnel");
    assert_eq!(whole, large, "in large pieces, inside a tunnel");
    if let Some(spoken) = look(sent, usize::MAX, 0) {
        believable(spoken, sent);
        // A tunnel is only stricter about what it takes for HTTP/1.
        assert!(spoken == Spoken::Http1 || whole == Some(spoken), "{spoken:?} became {whole:?} inside a tunnel");
    } else {
        assert!(whole.is_none());
    }
}

fn believable(spoken: Spoken, sent: &[u8]) {
    assert_eq!(spoken == Spoken::Tls, sent[0] == 0x16);
    assert!(spoken != Spoken::Http2 || sent.starts_with(PREFACE));
    assert!(spoken != Spoken::Http1 || !sent.starts_with(PREFACE));
    if spoken == Spoken::Http1 {
        let blank = sent.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let method = sent[blank..].split(|byte| *byte == b' ').next().unwrap_or_default();
        assert!(!method.is_empty() && method.len() < sent.len() - blank, "no method before a space");
        assert!(method.iter().all(|byte| byte.is_ascii_graphic()), "{method:?} is no method");
    }
}

fn look(sent: &[u8], longest: usize, seed: u64) -> Option<Spoken> {
    drive(async {
        let (spoken, mut io) = sniff::sniff(Io::other(Pieces::new(sent, longest, seed))).await.expect("no failure")?;
        let mut all = Vec::new();
        io.read_to_end(&mut all).await.expect("no failure");
        assert_eq!(all, sent, "bytes were lost");
        Some(spoken)
    })
}

fn peek(sent: &[u8], longest: usize, seed: u64) -> Option<Spoken> {
    drive(async {
        let mut io = Io::other(Pieces::new(sent, longest, seed));
        let mut early = BytesMut::new();
        let spoken = sniff::peek(&mut io, &mut early).await.expect("no failure");
        let mut all = Vec::new();
        sniff::rewound(io, early.freeze()).read_to_end(&mut all).await.expect("no failure");
        assert_eq!(all, sent, "bytes were lost");
        spoken
    })
}

/// Polls until it is done: whatever pends here can go on at once.
fn drive<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut cx) {
            return value;
        }
    }
}

/// A client that sends in pieces, and makes its reader wait between some of them.
struct Pieces {
    left: VecDeque<u8>,
    longest: usize,
    random: fastrand::Rng,
    waits: bool,
}

impl Pieces {
    fn new(sent: &[u8], longest: usize, seed: u64) -> Self {
        Self { left: sent.iter().copied().collect(), longest, random: fastrand::Rng::with_seed(seed), waits: false }
    }
}

impl AsyncRead for Pieces {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.waits = !self.waits && self.longest != usize::MAX && self.random.bool();
        if self.waits {
            return Poll::Pending;
        }
        let longest = self.longest;
        let piece = if longest == usize::MAX { longest } else { self.random.usize(1 + longest / 2..=longest) };
        let piece = piece.min(self.left.len()).min(buf.remaining());
        let piece: Vec<u8> = self.left.drain(..piece).collect();
        buf.put_slice(&piece);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
