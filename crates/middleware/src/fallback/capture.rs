//! A body that is kept while it passes.
//!
//! It is copied: a piece of what was read from a socket would keep the whole buffer alive. What grows too large, ends
//! early or is given up by its reader is not kept, and the reader never waits for any of it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use exchange::{Body, Error};
use http::{HeaderMap, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::store::{Answer, Asked, Bounds, Store};
use super::terms::Terms;

/// An answer of which only the body is missing.
pub(super) struct Pending {
    pub(super) store: Arc<Store>,
    pub(super) bounds: Bounds,
    pub(super) target: Arc<str>,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) request: HeaderMap,
    pub(super) asked: Asked,
    pub(super) terms: Terms,
}

/// See the module.
pub(super) struct Capture {
    body: Body,
    copy: Option<Copy>,
}

struct Copy {
    pending: Pending,
    bytes: Held,
}

/// Bytes, and the room they take.
struct Held {
    store: Arc<Store>,
    bytes: Vec<u8>,
    room: usize,
}

impl Capture {
    /// The same body, kept at its end.
    pub(super) fn of(body: Body, pending: Pending) -> Body {
        if body.size_hint().lower() > pending.bounds.body as u64 {
            pending.store.forget(&pending.target, Some(&pending.request));
            return body;
        }
        let bytes = Held { store: Arc::clone(&pending.store), bytes: Vec::new(), room: 0 };
        let copy = Copy { pending, bytes };
        if body.is_end_stream() {
            copy.keep();
            return body;
        }
        Body::boxed(Self { body, copy: Some(copy) })
    }
}

impl Copy {
    /// False if it is not to be kept any more.
    fn add(&mut self, data: &[u8]) -> bool {
        let bounds = self.pending.bounds;
        let fits = self.bytes.bytes.len() + data.len() <= bounds.body && self.bytes.add(data, bounds);
        if !fits {
            // What was kept of it before is older than what its client now has.
            self.pending.store.forget(&self.pending.target, Some(&self.pending.request));
        }
        fits
    }

    fn keep(mut self) {
        let Pending { store, bounds, target, status, headers, request, asked, terms } = self.pending;
        let body = Bytes::from(std::mem::take(&mut self.bytes.bytes).into_boxed_slice());
        drop(self.bytes);
        let length = headers.get(header::CONTENT_LENGTH).map(|length| length.to_str().ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length != Some(body.len())) {
            return;
        }
        store.put(&target, Answer { status, headers, body, terms, asked }, &request, bounds);
    }
}

impl Held {
    fn add(&mut self, data: &[u8], bounds: Bounds) -> bool {
        if !self.store.reserve(data.len(), bounds) {
            return false;
        }
        self.room += data.len();
        self.bytes.extend_from_slice(data);
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.store.release(self.room);
    }
}

impl HttpBody for Capture {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(data), Some(copy)) = (frame.data_ref(), &mut self.copy)
                    && !copy.add(data)
                {
                    self.copy = None;
                }
                // hyper does not ask again of a body that said it has ended.
                if self.body.is_end_stream()
                    && let Some(copy) = self.copy.take()
                {
                    copy.keep();
                }
            }
            Some(Err(_)) => self.copy = None,
            None => {
                if let Some(copy) = self.copy.take() {
                    copy.keep();
                }
            }
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
