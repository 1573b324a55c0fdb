//! Asks the upstream for compressed responses and decodes them for clients that did not ask, by tower-http's coders.
//!
//! What a client says in `Accept-Encoding` goes on as it is, and a response in a coding it accepts stays encoded. Only
//! one coding is taken off, and only of a whole content that may be transformed. A small answer can decode to any size:
//! past `max_size` the body is cut as an error (`too_large`), never ended cleanly. What ends early within the coding is
//! `truncated`; bytes after its end are an error too, since a decoder that stops there would make a part look whole
//! (gzip of several members among them: a known limit).
//!
//! Cost: a box for the future unless the client accepts all; for a decoded response a box for the body and the coder's
//! window, which never grows beyond what was decoded, and so beyond `max_size`.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use exchange::service::Outcome;
use exchange::{ArcService, Body, Error, ErrorKind, Exchange, ResponseFuture};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body::{Body as HttpBody, Frame};
use tower::Layer;
use tower_http::decompression::{DecompressionBody, DecompressionLayer};

use crate::coding::{self, Algorithms};

/// What is decoded.
#[derive(Clone, Copy, Debug)]
pub struct Params {
    /// Codings.
    pub algorithms: Algorithms,
    /// Decoded bytes of one response, at most.
    pub max_size: u64,
}

/// Decodes what a client did not ask for encoded.
pub fn layer(params: Params) -> impl Layer<ArcService, Service = ArcService> {
    let mut wanted = Vec::new();
    let Algorithms { gzip, br, zstd } = params.algorithms;
    for (name, is_used) in [("zstd", zstd), ("br", br), ("gzip", gzip)] {
        wanted.extend(is_used.then_some(name));
    }
    let wanted = HeaderValue::from_str(&wanted.join(", ")).unwrap_or_else(|_| HeaderValue::from_static("identity"));
    tower::layer::layer_fn(move |inner| ArcService::new(Decompress { inner, params, wanted: wanted.clone() }))
}

struct Decompress {
    inner: ArcService,
    params: Params,
    wanted: HeaderValue,
}

impl Decompress {
    fn handle(&self, mut request: Request<Body>) -> ResponseFuture {
        let headers = request.headers();
        let decoded = self.params.algorithms.without(self.params.algorithms.asked_for(headers));
        if decoded.is_empty() || !coding::is_open(Exchange::of(&request), headers) {
            return self.inner.call(request);
        }
        let held = coding::held(headers);
        let head = request.method() == Method::HEAD;
        // A range of an encoded content is nothing that could be decoded.
        if !headers.contains_key(header::ACCEPT_ENCODING) && !headers.contains_key(header::RANGE) {
            request.headers_mut().insert(header::ACCEPT_ENCODING, self.wanted.clone());
        }
        let answering = self.inner.call(request);
        ResponseFuture::new(answer(answering, head, held, Params { algorithms: decoded, ..self.params }))
    }
}

exchange::by_reference!(Decompress);

async fn answer(answering: ResponseFuture, head: bool, held: Vec<HeaderValue>, params: Params) -> Outcome {
    let mut response = answering.await?;
    if response.status() == StatusCode::NOT_MODIFIED {
        coding::weaken_revalidated(response.headers_mut(), &held);
        return Ok(response);
    }
    let coding = params.algorithms.of(response.headers());
    let Some(coding) = coding.filter(|_| coding::is_whole(response.status(), response.headers())) else {
        return Ok(response);
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
    coding::unseal(headers);
    coding::weaken(headers);
    coding::vary(headers);
    let left = Arc::new(AtomicU64::new(0));
    let given = response.map(|body| Given { body, left: Arc::clone(&left) });
    let decoded = coding::through(DecompressionLayer::new(), HeaderMap::new(), given).await;
    Ok(decoded.map(|body| match head {
        true => body.into_inner().body,
        false => Body::boxed(Decoded { body: Some(body), left, room: params.max_size }),
    }))
}

/// The encoded body, which counts what the decoder has not taken of it.
struct Given {
    body: Body,
    left: Arc<AtomicU64>,
}

/// A chunk that counts.
struct Chunk {
    bytes: Bytes,
    left: Arc<AtomicU64>,
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.left.fetch_sub(count as u64, Relaxed);
    }
}

impl HttpBody for Given {
    type Data = Chunk;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Chunk>, Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        let count = |bytes: Bytes| {
            self.left.fetch_add(bytes.len() as u64, Relaxed);
            Chunk { bytes, left: Arc::clone(&self.left) }
        };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(count))))
    }
}

/// A decoded body; gone once it failed or ended.
struct Decoded {
    body: Option<DecompressionBody<Given>>,
    left: Arc<AtomicU64>,
    /// Bytes that may still come out.
    room: u64,
}

impl Decoded {
    fn checked(&mut self, frame: Option<Result<Frame<Bytes>, Error>>) -> Option<Result<Frame<Bytes>, Error>> {
        match frame {
            Some(Ok(frame)) => {
                let size = frame.data_ref().map_or(0, |data| data.len() as u64);
                match self.room.checked_sub(size) {
                    Some(room) => self.room = room,
                    None => return Some(Err(ErrorKind::TooLarge.into())),
                }
                Some(Ok(frame))
            }
            None if self.left.load(Relaxed) > 0 => {
                Some(Err(Error::new(ErrorKind::Protocol).with_detail("bytes after the end of the content coding")))
            }
            other => other,
        }
    }
}

impl HttpBody for Decoded {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
        let frame = frame.map(|frame| frame.map_err(|error| coding::failed(error, malformed)));
        let frame = self.checked(frame);
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }
}

fn malformed(error: Box<dyn std::error::Error + Send + Sync>) -> Error {
    let io = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    let kind = if io == Some(std::io::ErrorKind::UnexpectedEof) { ErrorKind::Truncated } else { ErrorKind::Protocol };
    Error::new(kind).with_source(error)
}
