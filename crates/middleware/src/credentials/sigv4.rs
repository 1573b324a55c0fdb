//! Signs each attempt with AWS Signature Version 4, for exactly the target, path and fields that are sent.
//!
//! Per attempt, since the date is in the signature. Signed are `host`, `content-type` and every `x-amz-` field: all that a
//! service asks for, and nothing that something on the way may change. What the client sent for the same purpose is replaced.
//!
//! S3 over TLS takes `UNSIGNED-PAYLOAD`, so that bodies stream. For anything else a body is read first, up to a limit, and
//! its hash signed. A body that the client itself signed in chunks (`STREAMING-...`) cannot be signed for it again.

mod canonical;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use exchange::{ArcService, Body, Error, ErrorKind, Exchange, ResponseFuture, clock};
use http::header::{self, HeaderName, HeaderValue};
use http::uri::Scheme;
use http::{HeaderMap, Request};
use http_body::Body as _;
use http_body_util::{BodyExt, Limited};
use policy::Tick;
use telemetry::stamp::Stamp;
use tower::Layer;
use zeroize::Zeroizing;

use self::canonical::{Scope, Subject, hash};
use super::Cell;

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const PAYLOAD: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// What is signed for.
#[derive(Clone, Debug)]
pub struct Params {
    pub region: String,
    pub service: String,
    /// Bytes of a body that is read to be signed.
    pub body_limit: usize,
}

/// Access keys.
#[derive(PartialEq, Eq)]
pub struct Keys {
    pub id: String,
    pub secret: Zeroizing<String>,
    /// Of temporary ones.
    pub session: Option<HeaderValue>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

/// Where keys lie while requests run.
pub type KeyCell = Cell<Arc<Keys>>;

/// Signs with what `keys` holds.
pub fn layer(params: Params, keys: KeyCell) -> impl Layer<ArcService, Service = ArcService> {
    let params = Arc::new(params);
    tower::layer::layer_fn(move |inner| {
        ArcService::new(SigV4 { inner, params: Arc::clone(&params), keys: keys.clone() })
    })
}

struct SigV4 {
    inner: ArcService,
    params: Arc<Params>,
    keys: KeyCell,
}

impl SigV4 {
    fn handle(&self, request: Request<Body>) -> ResponseFuture {
        if let Err(error) = signable(request.headers()) {
            return ResponseFuture::refuse(error);
        }
        let unsigned = self.params.is_s3() && request.uri().scheme() == Some(&Scheme::HTTPS);
        let exchange = Exchange::of(&request);
        let keys = self.keys.get(|| exchange.now());
        if let (Some((keys, number)), true) = (&keys, unsigned || request.body().is_end_stream()) {
            exchange.carried.set(*number);
            let now = exchange.now();
            return match self.params.signed(request, keys, unsigned.then_some(UNSIGNED), now) {
                Ok(request) => self.inner.call(request),
                Err(error) => ResponseFuture::refuse(error),
            };
        }
        let (inner, params, cell) = (self.inner.clone(), Arc::clone(&self.params), self.keys.clone());
        ResponseFuture::new(async move {
            let request = Box::pin(ready(&params, &cell, request, unsigned)).await?;
            inner.call(request).await
        })
    }
}

exchange::by_reference!(SigV4);

/// A request that is signed once its body is there and there are keys.
async fn ready(
    params: &Params,
    cell: &KeyCell,
    mut request: Request<Body>,
    unsigned: bool,
) -> Result<Request<Body>, Error> {
    let record = Arc::clone(Exchange::of(&request));
    record.wait();
    let mut payload = unsigned.then(|| UNSIGNED.to_owned());
    if !unsigned && !request.body().is_end_stream() {
        let bytes = whole(std::mem::take(request.body_mut()), params.body_limit).await?;
        payload = Some(hash(&bytes));
        *request.body_mut() = Body::full(bytes).with_record(Arc::clone(&record));
    }
    let (keys, number) = cell
        .wait()
        .await
        .map_err(|why| Error::new(ErrorKind::Credential).with_detail(format!("no keys to sign with: {why}")))?;
    record.carried.set(number);
    params.signed(request, &keys, payload.as_deref(), clock::now())
}

async fn whole(body: Body, limit: usize) -> Result<Bytes, Error> {
    let too_large = || {
        let detail = format!("a body of more than {limit} bytes cannot be signed; raise `sigv4: body_limit`");
        Error::new(ErrorKind::TooLarge).with_detail(detail)
    };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let collected = Limited::new(body, limit).collect().await.map_err(|error| match error.downcast::<Error>() {
        Ok(error) => *error,
        Err(_) => too_large(),
    })?;
    if collected.trailers().is_some() {
        return Err(Error::new(ErrorKind::BadRequest).with_detail("trailers cannot be signed"));
    }
    Ok(collected.to_bytes())
}

fn signable(headers: &HeaderMap) -> Result<(), Error> {
    let chunked = headers.get(PAYLOAD).is_some_and(|value| value.as_bytes().starts_with(b"STREAMING-"));
    if !chunked {
        return Ok(());
    }
    let detail = "the client signs its body in chunks, which nobody can do for it: turn that off \
                  (`payload_signing_enabled`, `request_checksum_calculation = when_required`)";
    Err(Error::new(ErrorKind::BadRequest).with_detail(detail))
}

impl Params {
    fn is_s3(&self) -> bool {
        self.service == "s3" || self.service.starts_with("s3-") || self.service == "s3express"
    }

    /// The request with its signature; `payload`: absent for an empty body.
    fn signed(
        &self,
        mut request: Request<Body>,
        keys: &Keys,
        payload: Option<&str>,
        now: Tick,
    ) -> Result<Request<Body>, Error> {
        let stamp = stamp(now);
        let empty = hash(b"");
        let payload = payload.unwrap_or(&empty);
        let host = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
        let headers = request.headers_mut();
        headers.remove(header::AUTHORIZATION);
        headers.remove(TOKEN);
        headers.insert(DATE, value(&stamp)?);
        headers.insert(PAYLOAD, value(payload)?);
        if let Some(session) = &keys.session {
            headers.insert(TOKEN, session.clone());
        }
        if let (None, Some(host)) = (headers.get(header::HOST), host) {
            headers.insert(header::HOST, host);
        }
        let scope =
            Scope { id: &keys.id, secret: &keys.secret, region: &self.region, service: &self.service, stamp: &stamp };
        let fields = request.headers().iter().filter(|(name, _)| is_signed(name));
        let fields =
            fields.map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        let authorization = scope.authorization(Subject {
            method: request.method().as_str(),
            path: request.uri().path(),
            query: request.uri().query().unwrap_or_default(),
            fields: fields.collect(),
            payload,
            key: self.is_s3(),
            normal: true,
        });
        let mut authorization = value(&authorization)?;
        authorization.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, authorization);
        Ok(request)
    }
}

/// A trace identifier is anybody's to change.
fn is_signed(name: &HeaderName) -> bool {
    *name == header::HOST || *name == header::CONTENT_TYPE || name.as_str().starts_with("x-amz-")
}

fn value(text: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(text).map_err(|cause| Error::new(ErrorKind::Credential).with_source(cause))
}

/// `20150830T123600Z`
fn stamp(now: Tick) -> String {
    let stamp = Stamp::new(clock::wall(now));
    let digits: String = stamp.as_str()[..19].chars().filter(|c| !matches!(c, '-' | ':')).collect();
    digits + "Z"
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::testing::{Bottom, record, request, status};

    fn params(service: &str) -> Params {
        Params { region: "eu-central-1".into(), service: service.into(), body_limit: 8 }
    }

    fn keys() -> Arc<Keys> {
        let session = Some(HeaderValue::from_static("session"));
        Arc::new(Keys { id: "AKID".into(), secret: Zeroizing::new("hunter2".into()), session })
    }

    fn with_body(uri: &str, body: &'static str) -> Request<Body> {
        let mut request = request(Method::PUT, uri);
        *request.body_mut() = Body::full(body);
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        request.headers_mut().insert(header::AUTHORIZATION, HeaderValue::from_static("the client's own"));
        request.headers_mut().insert("x-amz-meta-a", HeaderValue::from_static("b"));
        request.headers_mut().insert("x-other", HeaderValue::from_static("c"));
        request
    }

    fn setting(service: &str) -> (Bottom, ArcService) {
        let (bottom, cell) = (Bottom::default(), KeyCell::fetched());
        cell.put(keys(), None);
        let service = bottom.under(layer(params(service), cell));
        (bottom, service)
    }

    #[tokio::test]
    async fn an_object_goes_to_s3_over_tls_without_being_read() {
        let (bottom, service) = setting("s3");

        assert_eq!(status(service.call(with_body("https://b.s3.test/k", "more than eight bytes"))).await, 200);

        let seen = bottom.seen().remove(0);
        assert_eq!(seen.headers[PAYLOAD], UNSIGNED);
        assert_eq!(seen.body, "more than eight bytes");
        let authorization = seen.headers[header::AUTHORIZATION].to_str().expect("text");
        let signed =
            "SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date;x-amz-meta-a;x-amz-security-token,";
        assert!(authorization.contains(signed), "{authorization}");
        assert!(authorization.contains("/eu-central-1/s3/aws4_request, "), "{authorization}");
        assert!(seen.headers[header::AUTHORIZATION].is_sensitive() && !authorization.contains("client"));
    }

    #[tokio::test]
    async fn elsewhere_a_body_is_read_and_its_hash_signed() {
        for uri in ["http://b.s3.test/k", "https://sqs.test/q"] {
            let (bottom, service) = setting(if uri.contains("sqs") { "sqs" } else { "s3" });

            assert_eq!(status(service.call(with_body(uri, "8 bytes!"))).await, 200);

            let seen = bottom.seen().remove(0);
            assert_eq!(seen.headers[PAYLOAD], hash(b"8 bytes!"));
            assert_eq!(seen.body, "8 bytes!");
        }
    }

    #[tokio::test]
    async fn a_body_past_the_limit_is_too_large() {
        let (bottom, service) = setting("sqs");

        let error = service.call(with_body("https://sqs.test/q", "9 bytes!!")).await.expect_err("too large");

        assert_eq!((error.kind, bottom.calls()), (ErrorKind::TooLarge, 0));
    }

    #[tokio::test]
    async fn what_the_client_signed_in_chunks_is_refused() {
        let (bottom, service) = setting("s3");
        let mut request = with_body("https://b.s3.test/k", "x");
        request.headers_mut().insert(PAYLOAD, HeaderValue::from_static("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"));

        let error = service.call(request).await.expect_err("refused");

        assert_eq!((error.kind, bottom.calls()), (ErrorKind::BadRequest, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_waited_for() {
        let (bottom, cell) = (Bottom::default(), KeyCell::fetched());
        let service = bottom.under(layer(params("sqs"), cell.clone()));
        let request = with_body("https://sqs.test/q", "x");
        let record = record(&request);
        let waiting = tokio::spawn(service.call(request));
        tokio::task::yield_now().await;
        assert_eq!(bottom.calls(), 0);

        cell.put(keys(), None);

        assert_eq!(waiting.await.expect("no panic").expect("a response").status(), 200);
        assert_eq!(record.carried.get(), Some(1));
        assert!(!format!("{:?} {cell:?}", keys()).contains("hunter2"));
    }

    #[test]
    fn the_date_is_as_aws_writes_it() {
        let text = stamp(clock::now());

        assert!(text.len() == 16 && text.starts_with("20") && &text[8..9] == "T" && text.ends_with('Z'), "{text}");
    }
}
