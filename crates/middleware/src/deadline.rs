//! The total deadline of a request, written into its `Exchange`.
//!
//! Whatever waits below reads it there: the attempt ends at it (and so counts against an endpoint that hangs), the
//! backoff is not begun if it would outlast it. A timer of this layer's own would fire at the same instant as the
//! attempt's, and cost every request a box and a thousand instructions. A route's total time ends at the response
//! head, so that slow streams are not cut. What the client gives, by `grpc-timeout` or by a header that the route names,
//! bounds the whole answer, and there this layer does keep the time, for the body as well. Neither makes the other
//! longer: the earliest holds.
//!
//! A `grpc-timeout` that is malformed is left to the server, whose protocol it is. In the route's own header it is the
//! client's error, since whoever sends one relies on it.
//!
//! Cost: nothing but a store; with a time of the client's a box for the future and one for the body.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use exchange::service::Outcome;
use exchange::{ArcService, Body, Error, ErrorKind, Exchange, ResponseFuture, Sent, clock};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use policy::Tick;
use tokio::time::Sleep;
use tower::Layer;

use crate::{grpc_timeout, request_timeout};

/// The attempt keeps the time too, in steps of so much; what it says of itself is the better record.
const GRACE: Duration = Duration::from_millis(15);

/// What a deadline is made of.
#[derive(Clone, Debug, Default)]
pub struct Params {
    /// From the complete request head to the response head; `None` leaves only what the request itself asks for.
    pub total: Option<Duration>,
    /// The field by which clients say how long they wait, besides `grpc-timeout`.
    pub header: Option<HeaderName>,
}

/// Bounds the whole of a request, however many attempts it takes.
pub fn layer(params: Params) -> impl Layer<ArcService, Service = ArcService> {
    tower::layer::layer_fn(move |inner| ArcService::new(Deadline { inner, params: params.clone() }))
}

struct Deadline {
    inner: ArcService,
    params: Params,
}

impl Deadline {
    fn handle(&self, request: Request<Body>) -> ResponseFuture {
        let exchange = Exchange::of(&request);
        let started = exchange.head.started;
        if let Some(total) = self.params.total {
            exchange.shorten_deadline(started + total);
        }
        let mut given = grpc(exchange, &request);
        if let Some(name) = &self.params.header {
            match request_timeout::given(request.headers(), name) {
                Ok(own) => given = [given, own.map(|own| own.time)].into_iter().flatten().min(),
                Err(request_timeout::Malformed) => return ResponseFuture::refuse(malformed(name)),
            }
        }
        let Some(given) = given else { return self.inner.call(request) };
        let at = started + given;
        exchange.shorten_deadline(at);
        if at <= exchange.now() {
            return ResponseFuture::refuse(ErrorKind::Deadline);
        }
        ResponseFuture::new(within(at, Arc::clone(exchange), self.inner.call(request)))
    }
}

exchange::by_reference!(Deadline);

fn grpc(exchange: &Arc<Exchange>, request: &Request<Body>) -> Option<Duration> {
    exchange.head.grpc.then(|| request.headers().get(grpc_timeout::NAME).and_then(grpc_timeout::parse)).flatten()
}

fn malformed(name: &HeaderName) -> Error {
    Error::new(ErrorKind::BadRequest)
        .with_detail(format!("`{name}` is neither a number of milliseconds nor a time such as 250ms, 1.5s or 2m"))
}

async fn within(at: Tick, exchange: Arc<Exchange>, inner: ResponseFuture) -> Outcome {
    let outcome = tokio::time::timeout_at(clock::instant(at + GRACE), inner).await.unwrap_or_else(|_| Err(expired()));
    outcome.map(|response| {
        response.map(|body| match body.is_end_stream() {
            true => body,
            false => Body::boxed(Timed { body, at, exchange, timer: None }),
        })
    })
}

fn expired() -> Error {
    Error::new(ErrorKind::Deadline).with_sent(Sent::Maybe)
}

/// A body that fails at a point in time; its timer is made at the first wait.
///
/// A client of gRPC keeps the same time, and whoever is first must tell it the same: trailers with the status, since a
/// reset stream would be an internal error. HTTP/1 sends no trailers that were not announced, so there, and without gRPC,
/// it is a cut.
struct Timed {
    body: Body,
    at: Tick,
    exchange: Arc<Exchange>,
    timer: Option<Pin<Box<Sleep>>>,
}

fn deadline_exceeded() -> HeaderMap {
    let fields = [("grpc-status", "4"), ("grpc-message", ErrorKind::Deadline.label())];
    fields.into_iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        let at = this.at;
        let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(clock::instant(at))));
        std::task::ready!(timer.as_mut().poll(cx));
        this.body = Body::empty();
        if !this.exchange.head.grpc || this.exchange.head.version != Version::HTTP_2 {
            return Poll::Ready(Some(Err(expired())));
        }
        this.exchange.set_reason(ErrorKind::Deadline);
        Poll::Ready(Some(Ok(Frame::trailers(deadline_exceeded()))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt, stream};
    use http::Method;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;
    use crate::testing::{self, Bottom, get, record, request_with, silent, status};

    const TOTAL: Params = Params { total: Some(Duration::from_secs(2)), header: None };
    const HEADER: HeaderName = HeaderName::from_static("x-timeout");

    fn call(timeout: &'static str) -> Request<Body> {
        let mut request = request_with(Method::POST, "http://a.test/x", |head| head.grpc = true);
        request.headers_mut().insert(grpc_timeout::NAME, HeaderValue::from_static(timeout));
        request
    }

    /// One chunk, then silence.
    fn stalling() -> http::Response<Body> {
        let first = stream::iter([Ok(Frame::data(Bytes::from_static(b"a")))]);
        testing::response(200).map(|_| Body::boxed(StreamBody::new(first.chain(stream::pending()))))
    }

    #[tokio::test(start_paused = true)]
    async fn the_total_time_begins_with_the_request() {
        let service = Bottom::default().under(layer(TOTAL));
        let request = get("http://a.test/");
        let exchange = record(&request);
        tokio::time::advance(Duration::from_millis(1500)).await;

        assert_eq!(status(service.call(request)).await, 200);

        assert_eq!(exchange.deadline(), Some(exchange.head.started + Duration::from_secs(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_grpc_upstream_is_given_up_at_the_clients_own_timeout() {
        let service = layer(TOTAL).layer(silent());
        let start = clock::now();

        let error = service.call(call("500m")).await.expect_err("a failure");

        assert_eq!(error.kind, ErrorKind::Deadline);
        let took = clock::now().since(start);
        assert!((500..520).contains(&took.as_millis()), "{took:?}");
    }

    fn params(total: Option<u64>) -> Params {
        Params { total: total.map(Duration::from_millis), header: Some(HEADER) }
    }

    fn asking(value: &'static str) -> Request<Body> {
        let mut request = get("http://a.test/");
        request.headers_mut().insert(HEADER, HeaderValue::from_static(value));
        request
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_of_the_routes_choice_shortens_the_total_time_and_never_lengthens_it() {
        for (total, value, expected) in
            [(None, "500", 500), (Some(2000), "0.5s", 500), (Some(2000), "1m", 2000), (Some(100), "500ms", 100)]
        {
            let service = Bottom::default().under(layer(params(total)));
            let request = asking(value);
            let exchange = record(&request);

            assert_eq!(status(service.call(request)).await, 200);

            let at = exchange.deadline().expect("a deadline").since(exchange.head.started);
            assert_eq!(at.as_millis(), expected, "{total:?} {value}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_of_header_and_grpc_timeout_holds() {
        for (grpc, own, expected) in [("1S", "300ms", 300), ("200m", "300ms", 200)] {
            let service = Bottom::default().under(layer(params(None)));
            let mut request = call(grpc);
            request.headers_mut().insert(HEADER, HeaderValue::from_static(own));
            let exchange = record(&request);

            assert_eq!(status(service.call(request)).await, 200);

            assert_eq!(exchange.deadline(), Some(exchange.head.started + Duration::from_millis(expected)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_malformed_header_is_the_clients_error_and_another_field_is_no_deadline() {
        let bottom = Bottom::default();
        let error = bottom.under(layer(params(None))).call(asking("soon")).await.expect_err("a refusal");
        assert_eq!((error.kind, bottom.calls()), (ErrorKind::BadRequest, 0));

        let request = asking("soon");
        let exchange = record(&request);
        assert_eq!(status(bottom.under(layer(TOTAL)).call(request)).await, 200);
        assert_eq!(exchange.deadline(), Some(exchange.head.started + Duration::from_secs(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_no_time_left_is_refused_before_anything_is_sent() {
        let bottom = Bottom::default();
        let service = bottom.under(layer(params(None)));
        for request in [asking("0"), call("0n")] {
            let error = service.call(request).await.expect_err("a refusal");
            assert_eq!((error.kind, error.sent), (ErrorKind::Deadline, Sent::Nothing));
        }
        assert_eq!(bottom.calls(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_covers_the_body_and_cuts_it_without_grpc_words() {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let service = Bottom::default().then(|| Ok(stalling())).under(layer(params(None)));
            let mut request = request_with(Method::GET, "http://a.test/x", |head| head.version = version);
            request.headers_mut().insert(HEADER, HeaderValue::from_static("500"));

            let mut body = service.call(request).await.expect("a response").into_body();
            body.frame().await.expect("a frame").expect("data");
            let error = body.frame().await.expect("a frame").expect_err("a failure");

            assert_eq!(error.kind, ErrorKind::Deadline, "{version:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_record_shows_the_deadline_and_the_earlier_one_stays() {
        let service = Bottom::default().under(layer(TOTAL));
        let request = get("http://a.test/");
        let exchange = record(&request);
        exchange.shorten_deadline(exchange.head.started + Duration::from_secs(1));

        assert_eq!(status(service.call(request)).await, 200);

        assert_eq!(exchange.deadline(), Some(exchange.head.started + Duration::from_secs(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_total_time_ends_at_the_response_head() {
        let service = Bottom::default().then(|| Ok(stalling())).under(layer(TOTAL));
        let mut body = service.call(get("http://a.test/")).await.expect("a response").into_body();
        body.frame().await.expect("a frame").expect("data");

        let next = tokio::time::timeout(Duration::from_secs(3600), body.frame()).await;

        assert!(next.is_err(), "the stream goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn a_grpc_timeout_covers_the_body_and_is_told_in_trailers() {
        let service = Bottom::default().then(|| Ok(stalling())).under(layer(Params::default()));
        let mut request = request_with(Method::POST, "http://a.test/x", |head| {
            head.grpc = true;
            head.version = Version::HTTP_2;
        });
        request.headers_mut().insert(grpc_timeout::NAME, HeaderValue::from_static("500m"));
        let exchange = record(&request);

        let mut body = service.call(request).await.expect("a response").into_body();
        body.frame().await.expect("a frame").expect("data");
        let trailers = body.frame().await.expect("a frame").expect("no failure").into_trailers().expect("trailers");

        assert_eq!(trailers.get("grpc-status").expect("a status"), "4");
        assert_eq!(exchange.reason(), Some(ErrorKind::Deadline));
        assert!(body.is_end_stream());
        assert!(body.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_grpc_timeout_cuts_the_body_for_a_client_that_gets_no_trailers() {
        let service = Bottom::default().then(|| Ok(stalling())).under(layer(Params::default()));
        let request = call("500m");
        let exchange = record(&request);

        let mut body = service.call(request).await.expect("a response").into_body();
        body.frame().await.expect("a frame").expect("data");
        let error = body.frame().await.expect("a frame").expect_err("a failure");

        assert_eq!(error.kind, ErrorKind::Deadline);
        assert_eq!(exchange.deadline(), Some(exchange.head.started + Duration::from_millis(500)));
        assert!(body.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_grpc_timeout_counts_only_for_grpc_and_only_if_well_formed() {
        let service = Bottom::default().under(layer(Params::default()));
        let mut plain = get("http://a.test/");
        plain.headers_mut().insert(grpc_timeout::NAME, HeaderValue::from_static("1S"));
        let malformed = call("1 second");
        let records = [record(&plain), record(&malformed)];

        for request in [plain, malformed] {
            assert_eq!(status(service.call(request)).await, 200);
        }

        assert!(records.iter().all(|exchange| exchange.deadline().is_none()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_running_is_dropped_at_the_deadline() {
        let alive = Arc::new(());
        let running = Arc::clone(&alive);
        let inner = ArcService::foreign(tower::service_fn(move |_: Request<Body>| {
            let held = Arc::clone(&running);
            async move {
                std::future::pending::<()>().await;
                drop(held);
                Err(Error::new(ErrorKind::Internal))
            }
        }));
        let mut future = layer(TOTAL).layer(inner).call(call("500m"));

        assert!((&mut future).now_or_never().is_none());
        let during = Arc::strong_count(&alive);
        future.await.expect_err("a failure");

        assert_eq!((during, Arc::strong_count(&alive)), (2, 1));
    }
}
