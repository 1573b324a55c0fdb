//! A request's body whose bytes are copied as they pass.
//!
//! The reader decides when it is read, so the copy slows nothing down. It is complete only if the body was read to its
//! end; in every other case nothing is sent.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use exchange::{Body, Error};
use http_body::{Body as HttpBody, Frame, SizeHint};
use telemetry::metrics::Mirrored;

use super::Copy;

/// See the module.
pub(super) struct Tee {
    body: Body,
    copy: Option<(Copy, Vec<u8>)>,
    limit: usize,
}

impl Tee {
    /// The same body; once it was read to its end `copy` is sent with the same bytes, if these are no more than `limit`.
    pub(super) fn of(body: Body, copy: Copy, limit: usize) -> Body {
        let record = body.record().cloned();
        let tee = Body::boxed(Self { body, copy: Some((copy, Vec::new())), limit });
        match record {
            Some(record) => tee.with_record(record),
            None => tee,
        }
    }

    fn passed(&mut self, data: &[u8]) {
        let Some((copy, bytes)) = &mut self.copy else { return };
        if bytes.len() + data.len() > self.limit {
            copy.end = Mirrored::TooLarge;
            self.copy = None;
        } else {
            // A piece of what was read from a socket would keep the whole buffer alive.
            bytes.extend_from_slice(data);
        }
    }

    fn ended(&mut self) {
        if let Some((copy, bytes)) = self.copy.take() {
            copy.send(bytes.into());
        }
    }
}

impl HttpBody for Tee {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.passed(data);
                }
                // hyper does not ask again of a body that said it has ended.
                if self.body.is_end_stream() {
                    self.ended();
                }
            }
            Some(Err(_)) => self.copy = None,
            None => self.ended(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
