//! Compresses responses for clients that accept it, by tower-http's coders.
//!
//! Left as they are: what is encoded already, parts of a content, what says `no-transform`, what carries a digest or a
//! signature, small answers, and types that gain nothing or must not wait (events, gRPC, images). What a client may get
//! in two forms says `Vary`; what is compressed has a weak validator and no length, for HEAD as for GET. A status is
//! never changed: where nothing is acceptable to a client it gets what the upstream sent.
//!
//! Cost: a box for the future; for a compressed response a box for the body and the coder's window.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use exchange::service::Outcome;
use exchange::{ArcService, Body, Error, ErrorKind, Exchange, ResponseFuture};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tower::Layer;
use tower_http::compression::predicate::{DefaultPredicate, Predicate, SizeAbove};
use tower_http::compression::{CompressionBody, CompressionLayer};

use crate::coding::{self, Algorithms};

/// What is compressed, and how.
#[derive(Clone, Debug)]
pub struct Params {
    /// Codings; a client's weights decide, and of those it likes equally zstd before br before gzip.
    pub algorithms: Algorithms,
    /// Contents of a known smaller size are left alone.
    pub min_size: u64,
    /// Media types, lower case: `type/subtype`, where one `*` stands for anything.
    pub types: Vec<String>,
}

/// Compresses what a client accepts compressed.
pub fn layer(params: Params) -> impl Layer<ArcService, Service = ArcService> {
    let params = Arc::new(params);
    tower::layer::layer_fn(move |inner| ArcService::new(Compress { inner, params: Arc::clone(&params) }))
}

struct Compress {
    inner: ArcService,
    params: Arc<Params>,
}

impl Compress {
    fn handle(&self, request: Request<Body>) -> ResponseFuture {
        if !coding::is_open(Exchange::of(&request), request.headers()) {
            return self.inner.call(request);
        }
        let asked = Asked {
            head: request.method() == Method::HEAD,
            accepted: request.headers().get_all(header::ACCEPT_ENCODING).iter().cloned().collect(),
            held: coding::held(request.headers()),
        };
        let answering = self.inner.call(request);
        ResponseFuture::new(answer(answering, asked, Arc::clone(&self.params)))
    }
}

exchange::by_reference!(Compress);

/// What the client said.
struct Asked {
    head: bool,
    accepted: Vec<HeaderValue>,
    held: Vec<HeaderValue>,
}

async fn answer(answering: ResponseFuture, asked: Asked, params: Arc<Params>) -> Outcome {
    let mut response = answering.await?;
    if response.status() == StatusCode::NOT_MODIFIED {
        coding::weaken_revalidated(response.headers_mut(), &asked.held);
        return Ok(response);
    }
    if !is_fit(&response, &params) {
        return Ok(response);
    }
    let Algorithms { gzip, br, zstd } = params.algorithms;
    let predicate = DefaultPredicate::new().and(SizeAbove::new(params.min_size));
    let layer = CompressionLayer::new().gzip(gzip).br(br).zstd(zstd).compress_when(predicate);
    let mut accepted = HeaderMap::new();
    for value in asked.accepted {
        accepted.append(header::ACCEPT_ENCODING, value);
    }
    let status = response.status();
    let (parts, body) = response.into_parts();
    let mut body = Some(body);
    // A HEAD has no body to measure: its length field speaks for it.
    let measured = if asked.head { Body::boxed(Unmeasured) } else { body.take().unwrap_or_default() };
    let (mut parts, coded) = coding::through(layer, accepted, Response::from_parts(parts, measured)).await.into_parts();
    // Its 406 speaks in the upstream's name.
    parts.status = status;
    let is_coded = parts.headers.contains_key(header::CONTENT_ENCODING);
    if is_coded {
        coding::weaken(&mut parts.headers);
    }
    let body = match body {
        Some(bare) => bare,
        None if is_coded => Body::boxed(Coded(Some(coded))),
        None => coded.into_inner(),
    };
    Ok(Response::from_parts(parts, body))
}

/// Whatever the client accepts: whether this may be compressed.
fn is_fit(response: &Response<Body>, params: &Params) -> bool {
    let headers = response.headers();
    coding::is_whole(response.status(), headers)
        && !headers.contains_key(header::CONTENT_ENCODING)
        && !coding::is_sealed(headers)
        && headers.get(header::CONTENT_TYPE).is_some_and(|media| is_listed(media, &params.types))
}

fn is_listed(media: &HeaderValue, types: &[String]) -> bool {
    let essence = media.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let essence = essence.to_ascii_lowercase();
    // tower-http looks at lower case only; an event that waits for the next one is late.
    essence != b"text/event-stream"
        && types.iter().any(|pattern| match pattern.split_once('*') {
            Some((start, end)) => {
                essence.len() >= start.len() + end.len()
                    && essence.starts_with(start.as_bytes())
                    && essence.ends_with(end.as_bytes())
            }
            None => essence == pattern.as_bytes(),
        })
}

/// Stands for the body of a HEAD's answer while it is decided on.
struct Unmeasured;

impl HttpBody for Unmeasured {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Poll::Ready(None)
    }
}

/// A compressed body; gone once it failed or ended.
struct Coded(Option<CompressionBody<Body>>);

impl HttpBody for Coded {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.0 = None;
        }
        let own = |error| Error::new(ErrorKind::Internal).with_source(error);
        Poll::Ready(frame.map(|frame| frame.map_err(|error| coding::failed(error, own))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(media: &'static str) -> bool {
        let types = ["text/*", "application/json", "application/*+json"].map(str::to_owned);
        is_listed(&HeaderValue::from_static(media), &types)
    }

    #[test]
    fn types_match_whatever_their_case_and_parameters() {
        for media in ["text/html", "TEXT/Plain; charset=utf-8", "application/json", "application/problem+json;x=y"] {
            assert!(listed(media), "{media}");
        }
        for media in ["application/jsonx", "application/octet-stream", "image/png", "", "application/+jso"] {
            assert!(!listed(media), "{media}");
        }
    }

    #[test]
    fn events_are_never_held_back() {
        for media in ["text/event-stream", "Text/Event-Stream", "text/event-stream; charset=utf-8"] {
            assert!(!listed(media), "{media}");
        }
    }
}
