//! An upstream connection that is listened to for interim responses (RFC 9110 section 15.2).
//!
//! hyper skips them unless a request carries a callback, and a callback costs every request four allocations, for what
//! most never see. Here the same bytes are looked at on their way to hyper: the first ten of a response tell, so a request
//! whose answer is final pays for one comparison. Nothing is kept from hyper or changed for it: it judges the framing
//! alone, and whatever this one misreads is an interim response lost or one too many, bounded, never a body.
//!
//! HTTP/2 has no such place: hyper's client drops interim responses of a stream.

use std::io;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use exchange::{Exchange, Interim, Io};
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Interim responses to one request; an upstream that sends more is cut off.
const MAX_INTERIM: u32 = 64;
/// What is read at once for a client of HTTP/2, by all its streams and by each. hyper holds up to three reads of an answer
/// whose client takes nothing.
const AHEAD: usize = 256 * 1024;
const LEAST: usize = 4 * 1024;
/// Of a status line: `HTTP/1.1 1`.
const TELLS: usize = 10;
/// Header fields that are read of one; hyper's own limit.
const MAX_FIELDS: usize = 100;
/// Bytes of an unfinished one that are kept: no more than hyper reads.
const MAX_BYTES: usize = super::h1::MAX_HEADER_BYTES;

/// Whose answer comes next on a connection.
#[derive(Debug, Default)]
pub(crate) struct Ear {
    listening: AtomicBool,
    /// The client shares what may be read ahead among its streams.
    shared: AtomicBool,
    exchange: Mutex<Weak<Exchange>>,
}

impl Ear {
    /// The next response is the answer to this exchange.
    pub(crate) fn listen(&self, exchange: &Arc<Exchange>) {
        *self.exchange.lock() = Arc::downgrade(exchange);
        self.shared.store(exchange.head.version == Version::HTTP_2, Relaxed);
        self.listening.store(true, Release);
    }

    /// Bytes that hyper may be given at once.
    fn portion(&self) -> usize {
        if !self.shared.load(Relaxed) {
            return usize::MAX;
        }
        match self.exchange.lock().upgrade() {
            Some(exchange) => exchange.share(AHEAD, LEAST),
            // Its answer is over, and what hyper would read now is none: bounding it would mean clearing 4 KiB a request.
            None => usize::MAX,
        }
    }
}

/// The connection; see the module.
pub(super) struct Heard {
    io: Io,
    ear: Arc<Ear>,
    /// A head that is not there yet to its end; empty for nearly all.
    kept: Vec<u8>,
    /// To the request that is answered now.
    count: u32,
}

impl Heard {
    pub(super) fn new(io: Io, ear: Arc<Ear>) -> Self {
        Self { io, ear, kept: Vec::new(), count: 0 }
    }

    /// The connection alone.
    pub(super) fn into_inner(self) -> Io {
        self.io
    }

    /// Looks at what was just read.
    #[cold]
    fn hear(&mut self, read: &[u8]) -> io::Result<()> {
        let mut kept = std::mem::take(&mut self.kept);
        let seen = kept.len();
        kept.extend_from_slice(read);
        let mut rest = kept.as_slice();
        let mut looked = seen;
        loop {
            match look(rest, looked) {
                Look::Final => {
                    self.count = 0;
                    self.ear.listening.store(false, Release);
                    return Ok(());
                }
                Look::More if rest.len() > MAX_BYTES => {
                    self.ear.listening.store(false, Release);
                    return Ok(());
                }
                Look::More => {
                    self.kept = rest.to_vec();
                    return Ok(());
                }
                Look::Interim { length, interim } => {
                    self.count += 1;
                    if self.count > MAX_INTERIM {
                        return Err(io::Error::new(io::ErrorKind::InvalidData, "too many interim responses"));
                    }
                    if let Some(exchange) = self.ear.exchange.lock().upgrade() {
                        exchange.interim(interim);
                    }
                    rest = &rest[length..];
                    looked = 0;
                }
            }
        }
    }
}

/// What a connection says next.
#[derive(Debug)]
enum Look {
    /// The final response, or what is none: for hyper alone.
    Final,
    /// Not there to its end.
    More,
    /// So many bytes.
    Interim { length: usize, interim: Interim },
}

/// The final response begins here: true for nearly every read.
fn is_final(bytes: &[u8]) -> bool {
    bytes.len() >= TELLS && bytes.starts_with(b"HTTP/1.") && bytes[TELLS - 1] != b'1'
}

/// `looked` bytes have no end of a head in them.
fn look(bytes: &[u8], looked: usize) -> Look {
    // hyper's parser takes empty lines before a status line.
    let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let head = &bytes[blank..];
    let begins = |wanted: &[u8]| head[..head.len().min(wanted.len())] == wanted[..head.len().min(wanted.len())];
    if !begins(b"HTTP/1.1 1") && !begins(b"HTTP/1.0 1") {
        return Look::Final;
    }
    if !has_end(head, looked.saturating_sub(blank + 3)) {
        return Look::More;
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let (Ok(httparse::Status::Complete(length)), Some(code)) = (response.parse(head), response.code) else {
        return Look::Final;
    };
    match Interim::new(code, map(response.headers)) {
        Some(interim) => Look::Interim { length: blank + length, interim },
        None => Look::Final,
    }
}

/// An empty line, begun at `from` or later.
fn has_end(bytes: &[u8], from: usize) -> bool {
    let tail = &bytes[from..];
    tail.windows(2).any(|pair| pair == b"\n\n") || tail.windows(3).any(|three| three == b"\n\r\n")
}

fn map(fields: &[httparse::Header<'_>]) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(field.value)) {
            map.append(name, value);
        }
    }
    map
}

impl AsyncRead for Heard {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let portion = this.ear.portion();
        if portion < buf.remaining() {
            let mut part = ReadBuf::new(buf.initialize_unfilled_to(portion));
            ready!(Pin::new(&mut this.io).poll_read(cx, &mut part))?;
            let count = part.filled().len();
            buf.advance(count);
        } else {
            ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        }
        let read = &buf.filled()[before..];
        if this.ear.listening.load(Acquire) && !read.is_empty() {
            if this.kept.is_empty() && this.count == 0 && is_final(read) {
                this.ear.listening.store(false, Release);
            } else {
                this.hear(read)?;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Heard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HINT: &[u8] = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";

    /// Its length and whether it says to go on.
    fn is_interim(bytes: &[u8]) -> Option<(usize, bool)> {
        match look(bytes, 0) {
            Look::Interim { length, interim } => Some((length, interim.is_continue())),
            _ => None,
        }
    }

    #[test]
    fn an_interim_response_is_read_whole_and_not_a_byte_further() {
        let more = [HINT, b"HTTP/1.1 200 OK\r\n\r\n"].concat();

        assert_eq!(is_interim(&more), Some((HINT.len(), false)));
        for end in 0..HINT.len() {
            assert!(matches!(look(&HINT[..end], 0), Look::More), "{end}");
            assert!(matches!(look(HINT, end), Look::Interim { .. }), "{end}");
        }
    }

    #[test]
    fn what_hyper_would_not_skip_is_left_to_it() {
        for bytes in [
            &b"HTTP/1.1 200 OK\r\n\r\n"[..],
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
            b"HTTP/1.1 1x3 No\r\n\r\n",
            b"HTTP/1.1 103 \r\nno field\r\n\r\n",
            b"HTTP/2.0 103 x\r\n\r\n",
            b"garbage",
        ] {
            assert!(matches!(look(bytes, 0), Look::Final), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn empty_lines_before_it_and_bare_line_feeds_are_read_as_hyper_reads_them() {
        assert_eq!(is_interim(b"\r\n\nHTTP/1.1 100 Continue\r\n\r\n"), Some((28, true)));
        assert_eq!(is_interim(b"HTTP/1.0 102 Processing\nA: b\n\nHTTP"), Some((30, false)));
    }

    #[test]
    fn a_final_response_is_told_by_ten_bytes() {
        assert!(is_final(b"HTTP/1.1 2"));
        assert!(!is_final(b"HTTP/1.1 1") && !is_final(b"HTTP/1.1 ") && !is_final(b"\r\nHTTP/1.1 200 OK"));
    }
}
