//! A client connection that notes when bytes arrive, when the client takes none and when it leaves, and that writes
//! interim responses.
//!
//! A client that leaves takes its request with it. hyper would look for that as well, by reading on in the middle of an
//! exchange; its buffer is still shared with the head then, and each look allocates a new one. What is read here instead
//! comes with the next read.
//!
//! hyper's HTTP/1 server cannot send a 1xx of a service's choice, so they go past it. It asks for a flush at each turn,
//! and of this io only once all it wanted to write has been written: at that moment the client has whole messages only,
//! and an exchange that has no final answer yet waits for one. An interim head is begun nowhere else, and once begun it is
//! ended before any other byte. A final answer waits in the edge until the heads that came before it are out.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use exchange::Io;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pulse::Pulse;

/// The connection and its pulse.
pub struct Timed {
    io: Io,
    pulse: Arc<Pulse>,
    /// What is left of an interim head that was begun.
    begun: Bytes,
}

impl Timed {
    /// Watches `io`.
    pub fn new(io: Io, pulse: Arc<Pulse>) -> Self {
        Self { io, pulse, begun: Bytes::new() }
    }

    /// The connection alone.
    pub fn into_inner(self) -> Io {
        self.io
    }

    /// Ready once no interim head is cut in two.
    fn poll_begun(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.begun.is_empty() {
            let polled = Pin::new(&mut self.io).poll_write(cx, &self.begun);
            let polled = self.wrote(polled, cx);
            match ready!(polled)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.begun.advance(count),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Notes how a write went. One that waits is no reason not to look whether the client has left.
    #[inline]
    fn wrote(&mut self, polled: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.pulse.wrote(polled.is_pending());
        if polled.is_pending() {
            self.look(cx)?;
        }
        polled
    }

    /// Fails if a client that waits for an answer has left.
    #[inline]
    fn look(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.pulse.is_client_waiting()
            && let Poll::Ready(left) = self.io.poll_left(cx)
        {
            left?;
            // Whoever waited for these bytes was not woken.
            cx.waker().wake_by_ref();
        }
        Ok(())
    }

    /// Writes the interim heads that are there, then wakes the task: the final answer may wait for them.
    #[cold]
    fn poll_interims(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_begun(cx))?;
            match self.pulse.next_interim() {
                Some(head) => self.begun = head,
                None => {
                    cx.waker().wake_by_ref();
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncRead for Timed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.pulse.read();
        }
        polled
    }
}

impl AsyncWrite for Timed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_begun(cx))?;
        let polled = Pin::new(&mut self.io).poll_write(cx, data);
        self.wrote(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_begun(cx))?;
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, data);
        self.wrote(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.pulse.has_interims() {
            ready!(self.poll_interims(cx))?;
        }
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.look(cx)?;
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_begun(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use exchange::{Authority, Client, Door, Exchange, Head, Interim};
    use http::uri::PathAndQuery;
    use http::{HeaderMap, Method, Version};
    use policy::Tick;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::listener::pulse::Pulses;

    const HINT: &str = "HTTP/1.1 103 Early Hints\r\n\r\n";

    /// Our end, its pulse, and the client's end, which takes `room` bytes unread.
    fn connection(room: usize) -> (Timed, Arc<Pulse>, DuplexStream) {
        let (ours, theirs) = duplex(room);
        let pulse = Pulses::default().start();
        (Timed::new(Io::other(ours), Arc::clone(&pulse)), pulse, theirs)
    }

    fn exchange(pulse: &Arc<Pulse>, version: Version) -> Arc<Exchange> {
        let head = Head {
            id: 1,
            started: Tick::ZERO,
            door: Door::Forward,
            client: Client { addr: None, local: true, peer: None },
            version,
            method: Method::GET,
            tls: false,
            authority: Authority::parse("a.test").expect("an authority"),
            path: PathAndQuery::from_static("/"),
            upgrade: false,
            grpc: false,
        };
        Arc::new(Exchange::new(head, Some(Arc::clone(pulse) as _)))
    }

    fn hint(exchange: &Arc<Exchange>) {
        exchange.interim(Interim::new(103, HeaderMap::new()).expect("one"));
    }

    async fn rest(io: Timed, mut client: DuplexStream) -> String {
        drop(io);
        let mut text = String::new();
        client.read_to_string(&mut text).await.expect("text");
        text
    }

    #[tokio::test]
    async fn an_interim_head_goes_out_with_a_flush_and_not_with_a_write() {
        let (mut io, pulse, client) = connection(1024);
        let exchange = exchange(&pulse, Version::HTTP_11);
        hint(&exchange);

        io.write_all(b"end of the ").await.expect("written");
        let slices = [IoSlice::new(b"last "), IoSlice::new(b"answer;")];
        assert_eq!(io.write_vectored(&slices).await.expect("written"), 12);
        io.flush().await.expect("flushed");
        io.write_all(b"answer").await.expect("written");

        assert_eq!(rest(io, client).await, format!("end of the last answer;{HINT}answer"));
    }

    #[tokio::test]
    async fn a_head_that_was_begun_is_ended_before_any_other_byte() {
        for vectored in [false, true] {
            let (mut io, pulse, mut client) = connection(10);
            let exchange = exchange(&pulse, Version::HTTP_11);
            hint(&exchange);
            let flush = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut io).poll_flush(cx).is_pending()));
            assert!(flush.await, "ten bytes fit");
            exchange.answered(200, None, None);

            let written = tokio::spawn(async move {
                let count = match vectored {
                    true => io.write_vectored(&[IoSlice::new(b"answer")]).await,
                    false => io.write(b"answer").await,
                };
                count.expect("written")
            });
            let mut text = String::new();
            client.read_to_string(&mut text).await.expect("text");
            let count = written.await.expect("written");

            assert_eq!(text, format!("{HINT}{}", &"answer"[..count]), "{vectored}");
        }
    }

    #[tokio::test]
    async fn a_head_that_comes_after_the_final_answer_is_dropped() {
        let (mut io, pulse, client) = connection(1024);
        let exchange = exchange(&pulse, Version::HTTP_11);
        hint(&exchange);

        exchange.answered(200, None, None);
        hint(&exchange);
        io.flush().await.expect("flushed");

        assert!(!pulse.has_interims());
        assert_eq!(rest(io, client).await, "");
    }

    #[tokio::test]
    async fn what_a_waiting_client_sends_early_is_read_next_and_its_leaving_is_an_error() {
        let (mut io, pulse, mut client) = connection(1024);
        let exchange = exchange(&pulse, Version::HTTP_11);
        exchange.whole(false);
        io.flush().await.expect("it is silent");

        client.write_all(b"next").await.expect("written");
        drop(client);
        io.flush().await.expect("what it said comes first");
        let mut said = [0; 4];
        io.read_exact(&mut said).await.expect("four bytes");

        assert_eq!(&said, b"next");
        assert_eq!(io.flush().await.map_err(|error| error.kind()), Err(io::ErrorKind::UnexpectedEof));
    }

    #[tokio::test]
    async fn nothing_is_looked_for_during_an_upload_nor_between_two_requests() {
        let (mut io, pulse, client) = connection(1024);
        let exchange = exchange(&pulse, Version::HTTP_11);
        drop(client);

        io.flush().await.expect("hyper reads the body");
        exchange.whole(true);
        assert!(io.flush().await.is_err());
        drop(exchange);
        io.flush().await.expect("hyper reads the next head");
    }

    #[tokio::test]
    async fn an_older_client_gets_none_and_no_client_gets_more_than_fit() {
        let (mut io, pulse, client) = connection(1024 * 1024);
        hint(&exchange(&pulse, Version::HTTP_10));
        let head = Bytes::from(vec![b'x'; 8 * 1024]);
        let exchange = exchange(&pulse, Version::HTTP_11);
        for _ in 0..5 {
            pulse.queue(head.clone(), Arc::downgrade(&exchange));
        }
        pulse.queue(head, Weak::new());

        io.flush().await.expect("flushed");

        assert_eq!(rest(io, client).await.len(), 4 * 8 * 1024);
    }
}
