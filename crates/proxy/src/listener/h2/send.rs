//! Sends an answer's body, and gives up a client that takes nothing of it.
//!
//! A piece is asked for only when the last was taken, and h2 is given no more of it than the stream has room for. So what a
//! client that does not read costs is one piece, and the time without a byte taken is known to the byte. While the
//! upstream is what is waited for there is no such time. Other streams live on.
//!
//! Room is reserved only for a piece that is there: what an idle stream had reserved would be missing to others.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use exchange::{Body, ErrorKind, clock};
use h2::{Reason, SendStream};
use http_body::Body as _;
use policy::Tick;
use tokio::time::Sleep;

/// See the module.
pub(super) struct Sending {
    body: Body,
    out: SendStream<Bytes>,
    /// What is left of a piece, and whether it is the last.
    piece: Option<(Bytes, bool)>,
    patience: Patience,
}

/// It is over, one way or another.
struct Over;

impl Sending {
    /// Sends `body` to a client that may take nothing for so long.
    pub(super) fn new(body: Body, out: SendStream<Bytes>, patience: Duration) -> Self {
        Self { body, out, piece: None, patience: Patience { limit: patience, since: None, timer: None } }
    }

    /// Ready once the last of it was handed to h2, or the stream has ended otherwise.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let step = match &self.piece {
                Some(_) => ready!(self.poll_send(cx)),
                None => ready!(self.poll_body(cx)),
            };
            if let Err(Over) = step {
                return Poll::Ready(());
            }
        }
    }

    /// Sends what there is room for.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Over>> {
        let Some((piece, last)) = &mut self.piece else { return Poll::Ready(Ok(())) };
        let mut room = self.out.capacity();
        while room == 0 {
            match self.out.poll_capacity(cx) {
                Poll::Ready(Some(Ok(more))) => room = more,
                // It was reset, or its connection has ended.
                Poll::Ready(_) => return Poll::Ready(Err(Over)),
                Poll::Pending => {
                    ready!(self.patience.poll(cx));
                    self.body.give_up(ErrorKind::ClientTimeout);
                    self.out.send_reset(Reason::CANCEL);
                    return Poll::Ready(Err(Over));
                }
            }
        }
        self.patience.since = None;
        let now = piece.split_to(piece.len().min(room));
        let ends = *last && piece.is_empty();
        let sent = self.out.send_data(now, ends);
        if piece.is_empty() {
            self.piece = None;
        }
        Poll::Ready(if sent.is_err() || ends { Err(Over) } else { Ok(()) })
    }

    /// Asks for the next piece.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Over>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            return self.out.poll_reset(cx).map(|_| Err(Over));
        };
        let frame = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                tracing::debug!(%error, "client stream: the answer was cut");
                self.out.send_reset(Reason::INTERNAL_ERROR);
                return Poll::Ready(Err(Over));
            }
            None => return self.end(),
        };
        match frame.into_data() {
            Ok(data) if data.is_empty() && self.body.is_end_stream() => self.end(),
            Ok(data) if data.is_empty() => Poll::Ready(Ok(())),
            Ok(data) => {
                self.out.reserve_capacity(data.len());
                self.piece = Some((data, self.body.is_end_stream()));
                Poll::Ready(Ok(()))
            }
            Err(frame) => {
                // There is no third kind of frame.
                let Ok(trailers) = frame.into_trailers() else { return Poll::Ready(Ok(())) };
                if self.out.send_trailers(trailers).is_err() {
                    self.out.send_reset(Reason::INTERNAL_ERROR);
                }
                Poll::Ready(Err(Over))
            }
        }
    }

    fn end(&mut self) -> Poll<Result<(), Over>> {
        // It fails for a stream that is gone.
        let _ = self.out.send_data(Bytes::new(), true);
        Poll::Ready(Err(Over))
    }
}

/// With a client that takes nothing.
struct Patience {
    limit: Duration,
    /// Since when.
    since: Option<Tick>,
    /// Made at the first wait: most answers never wait.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Ready once it is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let due = *self.since.get_or_insert_with(clock::now) + self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(clock::instant(due))));
        loop {
            ready!(timer.as_mut().poll(cx));
            if due <= clock::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(clock::instant(due));
        }
    }
}
