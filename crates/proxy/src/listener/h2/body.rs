//! A request's body as it comes from a stream.
//!
//! Room is given back for each piece that is read: what bounds an upload is who reads it. Only END_STREAM is an end; a
//! reset is none, whatever its reason says (RFC 9113 section 8.1).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use exchange::{Body, Error, ErrorKind, headers};
use h2::RecvStream;
use http::{HeaderMap, header};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::wire::Ledger;

/// The body of a request with these fields.
pub(super) fn of(stream: RecvStream, fields: &HeaderMap, ledger: &Arc<Ledger>) -> Body {
    if stream.is_end_stream() {
        return Body::empty();
    }
    // h2 has compared them, if there are several, and compares what comes.
    let length = fields.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    Body::boxed(Incoming { stream, left: length, trailing: false, ledger: Arc::clone(ledger) })
}

struct Incoming {
    stream: RecvStream,
    /// Of the declared length.
    left: Option<u64>,
    trailing: bool,
    ledger: Arc<Ledger>,
}

impl HttpBody for Incoming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let body = &mut *self;
        if !body.trailing {
            match ready!(body.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // It fails for a stream that has ended meanwhile: then there is nothing to give room for.
                    let _ = body.stream.flow_control().release_capacity(data.len());
                    body.left = body.left.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(broken(error)))),
                None => body.trailing = true,
            }
        }
        match ready!(body.stream.poll_trailers(cx)) {
            Ok(None) => Poll::Ready(None),
            Ok(Some(_)) if body.ledger.is_condemned(body.stream.stream_id().as_u32()) => {
                let error = Error::new(ErrorKind::BadRequest).with_detail("trailers have no pseudo-fields");
                Poll::Ready(Some(Err(error)))
            }
            Ok(Some(mut trailers)) => {
                headers::strip_trailers(&mut trailers);
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Err(error) => Poll::Ready(Some(Err(broken(error)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A client that reset the stream or left is gone; what h2 refused was its error.
fn broken(error: h2::Error) -> Error {
    let kind = if error.is_library() { ErrorKind::BadRequest } else { ErrorKind::ClientGone };
    Error::new(kind).with_source(error)
}
