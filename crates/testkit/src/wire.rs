//! Bytes of HTTP/1 as they are on the wire, read strictly: what is not exactly right is an error.

use std::io::{self, ErrorKind};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// A connection of any kind.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {
    /// Closing it will be a reset.
    fn reset_on_close(&self) {}
}

impl Stream for TcpStream {
    fn reset_on_close(&self) {
        socket2::SockRef::from(self).set_linger(Some(Duration::ZERO)).expect("linger");
    }
}

impl Stream for UnixStream {}
impl Stream for tokio::io::DuplexStream {}

impl Stream for tokio_rustls::server::TlsStream<TcpStream> {
    fn reset_on_close(&self) {
        self.get_ref().0.reset_on_close();
    }
}

impl<S: Stream> Stream for tokio_rustls::client::TlsStream<S> {}
impl Stream for Box<dyn Stream> {
    fn reset_on_close(&self) {
        (**self).reset_on_close();
    }
}

/// A list of fields in their order, with the names as they were written.
pub type Fields = Vec<(String, String)>;

/// The first value of a field.
pub fn field<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// A connection and what was read of it too early.
pub struct Wire {
    /// The connection.
    pub io: Box<dyn Stream>,
    early: BytesMut,
    /// Bytes that came in.
    pub count: usize,
}

impl Wire {
    /// Nothing read yet.
    pub fn new(io: impl Stream + 'static) -> Self {
        Self { io: Box::new(io), early: BytesMut::new(), count: 0 }
    }

    /// The bare connection; nothing may have been read too early.
    pub fn into_io(self) -> Box<dyn Stream> {
        assert!(self.early.is_empty(), "unexpected bytes: {:?}", self.early);
        self.io
    }

    /// Sends.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.io.write_all(bytes.as_ref()).await?;
        self.io.flush().await
    }

    async fn fill(&mut self) -> io::Result<usize> {
        let count = self.io.read_buf(&mut self.early).await?;
        self.count += count;
        Ok(count)
    }

    async fn more(&mut self) -> io::Result<()> {
        if self.fill().await? == 0 { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Waits for a byte or the end.
    pub async fn has_byte(&mut self) -> bool {
        !self.early.is_empty() || matches!(self.fill().await, Ok(1..))
    }

    /// Waits until the peer ends the connection, keeping what it still sends.
    pub async fn closed(&mut self) {
        while matches!(self.fill().await, Ok(1..)) {}
    }

    /// What was read and not taken.
    pub fn early(&self) -> &[u8] {
        &self.early
    }

    /// The first line and the fields; `None` if the connection ended before a byte.
    pub async fn head(&mut self) -> io::Result<Option<(String, Fields)>> {
        let end = loop {
            if let Some(at) = self.early.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if self.fill().await? == 0 {
                return if self.early.is_empty() { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
            }
        };
        let text = String::from_utf8_lossy(&self.early.split_to(end)).into_owned();
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let first = lines.next().unwrap_or_default().to_owned();
        Ok(Some((first, lines.map(parted).collect::<io::Result<_>>()?)))
    }

    /// Exactly so many bytes; on an early end `into` has what came.
    pub async fn exact(&mut self, count: usize, into: &mut Vec<u8>) -> io::Result<()> {
        let mut left = count;
        while left > 0 {
            if self.early.is_empty() {
                self.more().await?;
            }
            let part = self.early.split_to(left.min(self.early.len()));
            left -= part.len();
            into.extend_from_slice(&part);
        }
        Ok(())
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.early.windows(2).position(|window| window == b"\r\n") {
                let line = self.early.split_to(at + 2);
                return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            self.more().await?;
        }
    }

    /// A chunked body to its very end; returns the trailers.
    pub async fn chunks(&mut self, into: &mut Vec<u8>) -> io::Result<Fields> {
        loop {
            let line = self.line().await?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16)
                .map_err(|_| io::Error::new(ErrorKind::InvalidData, format!("no chunk size: {line:?}")))?;
            if size == 0 {
                break;
            }
            self.exact(size, into).await?;
            if !self.line().await?.is_empty() {
                return Err(io::Error::new(ErrorKind::InvalidData, "a chunk without its end"));
            }
        }
        let mut trailers = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(trailers);
            }
            trailers.push(parted(&line)?);
        }
    }

    /// Everything until the peer closes.
    pub async fn rest(&mut self, into: &mut Vec<u8>) -> io::Result<()> {
        loop {
            into.extend_from_slice(&self.early.split());
            if self.fill().await? == 0 {
                return Ok(());
            }
        }
    }
}

fn parted(line: &str) -> io::Result<(String, String)> {
    let (name, value) =
        line.split_once(':').ok_or_else(|| io::Error::new(ErrorKind::InvalidData, format!("not a field: {line:?}")))?;
    Ok((name.to_owned(), value.trim().to_owned()))
}
