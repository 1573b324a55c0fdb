//! The one byte stream type: TCP, TLS (either side), unix, a stream of HTTP/2, simulated, each with bytes read too early.

mod bell;

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio_rustls::TlsStream;

use self::bell::Bell;

/// Up to here several buffers are joined into one: a `writev` costs the kernel more than a copy of this size (8 % of the
/// whole call for a head and 1 KiB, on loopback).
const JOINED: usize = 2048;

/// Read at most while looking whether the other end has left.
const EARLY: usize = 1024;

/// Any stream of bytes, both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// One of several on the same connection, which ends alone.
pub trait Carried: Stream {
    /// Dropping it will be a reset rather than an end.
    fn reset_on_close(&mut self);
}

/// A connection; `early` bytes are read before it.
pub struct Io {
    early: Bytes,
    kind: Kind,
    bell: Bell,
}

enum Kind {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    #[cfg(unix)]
    Unix(UnixStream),
    Carried(Box<dyn Carried>),
    Other(Box<dyn Stream>),
}

impl Io {
    /// Any other stream (simulation, tests).
    pub fn other(stream: impl Stream + 'static) -> Self {
        Kind::Other(Box::new(stream)).into()
    }

    /// A stream of a connection that carries several.
    pub fn carried(stream: impl Carried + 'static) -> Self {
        Kind::Carried(Box::new(stream)).into()
    }

    /// Puts bytes back in front of what is still to be read.
    #[must_use]
    pub fn rewound(mut self, early: Bytes) -> Self {
        self.early = match (early.is_empty(), self.early.is_empty()) {
            (true, _) => self.early,
            (false, true) => early,
            (false, false) => [early, self.early].concat().into(),
        };
        self
    }

    /// Looks whether the other end, which is not listened to now, has left: an error. What it says instead is kept for the
    /// next read, and nothing more is looked for until then. A TCP socket that is silent costs one comparison.
    pub fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            return Poll::Pending;
        }
        let mut space = [MaybeUninit::uninit(); EARLY];
        let mut said = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut *self).poll_read(cx, &mut said))?;
        if said.filled().is_empty() {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.early = Bytes::copy_from_slice(said.filled());
        Poll::Ready(Ok(()))
    }

    /// Closing it will be a reset, where what it runs on knows one.
    pub fn reset_on_close(&mut self) {
        if let Kind::Carried(stream) = &mut self.kind {
            stream.reset_on_close();
        } else if let Some(tcp) = self.tcp() {
            // A socket that is gone already needs no reset.
            let _ = tcp.set_zero_linger();
        }
    }

    /// The bare TCP socket, so that TLS can own it; anything else comes back unchanged.
    pub fn into_tcp(self) -> Result<TcpStream, Box<Self>> {
        match self {
            Self { early, kind: Kind::Tcp(tcp), .. } if early.is_empty() => Ok(tcp),
            other => Err(Box::new(other)),
        }
    }

    /// The TCP socket below, if there is one.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match &self.kind {
            Kind::Tcp(tcp) => Some(tcp),
            Kind::Tls(tls) => Some(tls.get_ref().0),
            _ => None,
        }
    }
}

impl From<Kind> for Io {
    fn from(kind: Kind) -> Self {
        Self { early: Bytes::new(), kind, bell: Bell::default() }
    }
}

impl From<TcpStream> for Io {
    fn from(tcp: TcpStream) -> Self {
        Kind::Tcp(tcp).into()
    }
}

#[cfg(unix)]
impl From<UnixStream> for Io {
    fn from(unix: UnixStream) -> Self {
        Kind::Unix(unix).into()
    }
}

impl From<TlsStream<TcpStream>> for Io {
    fn from(tls: TlsStream<TcpStream>) -> Self {
        Kind::Tls(Box::new(tls)).into()
    }
}

impl std::fmt::Debug for Io {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.kind {
            Kind::Tcp(_) => "Io(tcp)",
            Kind::Tls(_) => "Io(tls)",
            #[cfg(unix)]
            Kind::Unix(_) => "Io(unix)",
            Kind::Carried(_) => "Io(carried)",
            Kind::Other(_) => "Io(other)",
        })
    }
}

macro_rules! each {
    ($self:expr, $io:ident => $call:expr) => {
        match &mut $self.kind {
            Kind::Tcp($io) => $call,
            Kind::Tls($io) => $call,
            #[cfg(unix)]
            Kind::Unix($io) => $call,
            Kind::Carried($io) => $call,
            Kind::Other($io) => $call,
        }
    };
}

// TCP first and inlined: it is what nearly every call meets.
impl AsyncRead for Io {
    #[inline]
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { early, kind, bell } = &mut *self;
        match kind {
            Kind::Tcp(tcp) if early.is_empty() => bell.poll_read(Pin::new(tcp), cx, buf),
            _ => self.read_other(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    #[inline]
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.kind {
            Kind::Tcp(tcp) => write(Pin::new(tcp), cx, data),
            _ => each!(self, io => Pin::new(io).poll_write(cx, data)),
        }
    }

    #[inline]
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.kind {
            Kind::Tcp(tcp) => write_joined(Pin::new(tcp), cx, data),
            _ => each!(self, io => Pin::new(io).poll_write_vectored(cx, data)),
        }
    }

    #[inline]
    fn is_write_vectored(&self) -> bool {
        match &self.kind {
            Kind::Tcp(io) => io.is_write_vectored(),
            Kind::Tls(io) => io.is_write_vectored(),
            #[cfg(unix)]
            Kind::Unix(io) => io.is_write_vectored(),
            Kind::Carried(io) => io.is_write_vectored(),
            Kind::Other(io) => io.is_write_vectored(),
        }
    }

    #[inline]
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            // A TCP socket of ours holds nothing back.
            Kind::Tcp(_) => Poll::Ready(Ok(())),
            _ => each!(self, io => Pin::new(io).poll_flush(cx)),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_shutdown(cx))
    }
}

impl Io {
    fn read_other(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let count = self.early.len().min(buf.remaining());
            buf.put_slice(&self.early[..count]);
            self.early.advance(count);
            if self.early.is_empty() {
                // What is left of it keeps the whole buffer.
                self.early = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        each!(self, io => Pin::new(io).poll_read(cx, buf))
    }
}

fn write_joined(tcp: Pin<&mut TcpStream>, cx: &mut Context<'_>, data: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
    if let [only] = data {
        return write(tcp, cx, only);
    }
    let mut space = [MaybeUninit::uninit(); JOINED];
    let mut joined = ReadBuf::uninit(&mut space);
    for piece in data {
        if piece.len() > joined.remaining() {
            return tcp.poll_write_vectored(cx, data);
        }
        joined.put_slice(piece);
    }
    write(tcp, cx, joined.filled())
}

/// Nearly every socket takes what it is given: whether it can is asked only of one that did not.
fn write(tcp: Pin<&mut TcpStream>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
    match tcp.try_write(data) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => tcp.poll_write(cx, data),
        written => Poll::Ready(written),
    }
}

/// Where a dialed connection is kept for plain HTTP.
pub trait Home: Send + Sync {
    /// Keeps it for the next request over HTTP/1.1. One that cannot be kept is closed.
    fn keep(self: Arc<Self>, io: Io) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// A dialed connection on its way up to the edge, in the extensions of the answer to a CONNECT.
#[derive(Clone)]
pub struct Tunnel {
    io: Arc<Mutex<Option<Io>>>,
    home: Arc<dyn Home>,
}

impl Tunnel {
    /// Wraps the connection.
    pub fn new(io: Io, home: Arc<dyn Home>) -> Self {
        Self { io: Arc::new(Mutex::new(Some(io))), home }
    }

    /// Takes it out, once.
    pub fn take(&self) -> Option<Io> {
        self.io.lock().take()
    }

    /// The inside is plain HTTP/1: its requests find the connection where they look for one.
    pub async fn keep(&self) {
        let io = self.take();
        if let Some(io) = io {
            Arc::clone(&self.home).keep(io).await;
        }
    }
}
