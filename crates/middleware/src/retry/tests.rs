use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use bytes::Bytes;
use exchange::exchange::Head;
use exchange::{End, ErrorKind, Finish, Sent};
use futures_util::stream;
use http::HeaderValue;
use http::header::RETRY_AFTER;
use http_body::Frame;
use http_body_util::StreamBody;
use policy::Tick;
use policy::backoff::Backoff;
use policy::budget;

use super::*;
use crate::testing::{Bottom, get, record, request_with, response, status};

const NO_BACKOFF: Backoff = Backoff { base: Duration::ZERO, cap: Duration::ZERO };

fn params() -> Params {
    Params { backoff: NO_BACKOFF, ..Params::default() }
}

fn service(bottom: &Bottom, params: Params) -> ArcService {
    bottom.under(layer(
        params,
        State { budgets: Budgets::One(Arc::new(Budget::new())), random: Random::seeded(1), renew: None },
    ))
}

fn post(chunks: &[&'static str], change: impl FnOnce(&mut Head)) -> Request<Body> {
    let frames: Vec<_> = chunks.iter().map(|chunk| Ok(Frame::data(Bytes::from_static(chunk.as_bytes())))).collect();
    let mut request = request_with(Method::POST, "http://a.test/x?y", change);
    *request.body_mut() = Body::boxed(StreamBody::new(stream::iter(frames)));
    request
}

fn keyed(mut request: Request<Body>) -> Request<Body> {
    request.headers_mut().insert("idempotency-key", HeaderValue::from_static("1"));
    request
}

fn refused() -> Error {
    Error::new(ErrorKind::ConnectRefused)
}

fn reset() -> Error {
    Error::new(ErrorKind::Reset).with_sent(Sent::Maybe)
}

fn later(code: u16, after: &'static str) -> impl FnOnce() -> Outcome + Send {
    move || {
        let mut response = response(code);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(after));
        Ok(response)
    }
}

#[tokio::test(start_paused = true)]
async fn a_get_survives_two_failures_of_three_attempts() {
    let bottom = Bottom::default().status(503).fails(reset);
    let request = keyed(get("http://a.test/x"));
    let exchange = record(&request);

    let code = status(service(&bottom, params()).call(request)).await;

    let seen = bottom.seen();
    assert_eq!((code, seen.len(), exchange.retry_denied()), (200, 3, None));
    for attempt in &seen {
        assert_eq!((&attempt.method, attempt.uri.as_str()), (&Method::GET, "http://a.test/x"));
        assert_eq!(attempt.headers["idempotency-key"], "1");
        assert_eq!(attempt.extensions, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_result_is_handed_back_when_attempts_are_used_up() {
    let bottom = Bottom::default().status(502).status(503).status(504).status(200);
    let request = get("http://a.test/");
    let exchange = record(&request);

    let code = status(service(&bottom, params()).call(request)).await;

    assert_eq!((code, bottom.calls(), exchange.retry_denied()), (504, 3, Some("attempts")));
}

#[tokio::test(start_paused = true)]
async fn one_attempt_is_one_attempt() {
    let bottom = Bottom::default().status(503);

    let code = status(service(&bottom, Params { attempts: 1, ..params() }).call(get("http://a.test/"))).await;

    assert_eq!((code, bottom.calls()), (503, 1));
}

/// Calls made of a request with this field, where the route reads `x-attempts` or nothing, and the status.
async fn with_own(route: u32, reads: bool, value: &'static str) -> (usize, Result<u16, ErrorKind>) {
    let bottom = (0..9).fold(Bottom::default(), |bottom, _| bottom.status(503));
    let header = HeaderName::from_static("x-attempts");
    let mut request = get("http://a.test/");
    request.headers_mut().insert(&header, HeaderValue::from_static(value));
    let params = Params { attempts: route, attempts_header: reads.then_some(header), ..params() };

    let outcome = service(&bottom, params).call(request).await;

    let sent = bottom.seen();
    assert!(
        sent.iter().all(|seen| seen.headers.contains_key("x-attempts") != reads),
        "it is ours alone, if it is ours"
    );
    (sent.len(), outcome.map(|response| response.status().as_u16()).map_err(|error| error.kind))
}

#[tokio::test(start_paused = true)]
async fn a_request_sets_its_attempts_only_where_the_route_lets_it() {
    assert_eq!(with_own(3, true, "1").await, (1, Ok(503)));
    assert_eq!(with_own(3, true, "5").await, (5, Ok(503)));
    assert_eq!(with_own(1, true, "2").await, (2, Ok(503)));
    assert_eq!(with_own(3, false, "5").await, (3, Ok(503)));
}

#[tokio::test(start_paused = true)]
async fn attempts_that_are_no_number_are_the_clients_error_and_nothing_is_sent() {
    for wrong in ["", "0", "101", "-1", "+2", "many", "1.5", "99999999999"] {
        assert_eq!(with_own(3, true, wrong).await, (0, Err(ErrorKind::BadRequest)), "{wrong}");
        assert_eq!(with_own(3, false, wrong).await, (3, Ok(503)), "{wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_that_may_have_been_acted_on_is_made_once() {
    for answer in [(|| Err(reset())) as fn() -> Outcome, || Ok(response(503))] {
        let bottom = Bottom::default().then(answer);
        let request = post(&["a", "b"], |_| {});
        let exchange = record(&request);

        let outcome = service(&bottom, params()).call(request).await;

        match outcome {
            Ok(response) => assert_eq!(response.status(), 503),
            Err(error) => assert_eq!(error.kind, ErrorKind::Reset),
        }
        assert_eq!((bottom.calls(), exchange.retry_denied()), (1, Some("not_idempotent")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_that_was_never_sent_is_repeated_with_its_body() {
    let refused_stream = || Error::new(ErrorKind::Reset).with_sent(Sent::Nothing);
    let bottom = Bottom::default().fails(refused).fails(refused_stream);

    let code = status(service(&bottom, params()).call(post(&["ab", "cd"], |_| {}))).await;

    let bodies: Vec<_> = bottom.seen().into_iter().map(|seen| seen.body).collect();
    assert_eq!((code, bodies), (200, vec!["abcd".to_owned(); 3]));
}

#[tokio::test(start_paused = true)]
async fn a_post_with_a_key_is_repeated() {
    let bottom = Bottom::default().status(503).fails(reset);

    assert_eq!(status(service(&bottom, params()).call(keyed(post(&["ab"], |_| {})))).await, 200);

    assert_eq!(bottom.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_body_is_repeated_up_to_its_limit() {
    for (limit, calls, denied) in [(3, 1, Some("body_too_large")), (4, 2, None), (5, 2, None)] {
        let bottom = Bottom::default().status(503);
        let request = keyed(post(&["ab", "cd"], |_| {}));
        let exchange = record(&request);

        let code = status(service(&bottom, Params { body_limit: limit, ..params() }).call(request)).await;

        assert_eq!(bottom.calls(), calls, "{limit}");
        assert_eq!((code == 200, exchange.retry_denied()), (calls == 2, denied));
        assert!(bottom.seen().iter().all(|seen| seen.body == "abcd"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_body_that_nobody_read_is_still_there() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let inner = ArcService::foreign(tower::service_fn(move |request: Request<Body>| {
        let first = counted.fetch_add(1, Relaxed) == 0;
        async move {
            if first {
                return Err(refused());
            }
            Ok(response(200).map(|_| request.into_body()))
        }
    }));
    let state = State { budgets: Budgets::One(Arc::new(Budget::new())), random: Random::seeded(1), renew: None };
    let service = layer(Params { body_limit: 1, ..params() }, state).layer(inner);

    let echoed = service.call(post(&["ab", "cd"], |_| {})).await.expect("a response");

    assert_eq!((crate::testing::text(echoed).await.as_str(), calls.load(Relaxed)), ("abcd", 2));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_broke_its_upload_off_is_not_retried_for() {
    let bottom = Bottom::default().status(503);
    let request = keyed(post(&["ab"], |_| {}));
    let exchange = record(&request);
    exchange.set_upload(Upload::Broken);

    assert_eq!(status(service(&bottom, params()).call(request)).await, 503);

    assert_eq!((bottom.calls(), exchange.retry_denied()), (1, Some("upload_broken")));
}

#[tokio::test(start_paused = true)]
async fn the_budget_bounds_retries_and_shows_the_cause() {
    let budget = budget::Params { ratio: 0.5, per_second: 0, ..budget::Params::default() };
    let bottom = (0..20).fold(Bottom::default(), |bottom, _| bottom.status(503));
    let service = service(&bottom, Params { budget, attempts: 2, ..params() });
    let mut denied = Vec::new();

    for _ in 0..4 {
        let request = get("http://a.test/");
        let exchange = record(&request);
        assert_eq!(status(service.call(request)).await, 503);
        denied.push(exchange.retry_denied().expect("a reason"));
    }

    assert_eq!((denied, bottom.calls()), (vec!["budget", "attempts", "budget", "attempts"], 6));
}

#[tokio::test(start_paused = true)]
async fn a_retry_refused_for_another_reason_costs_no_budget() {
    let budget = Arc::new(Budget::new());
    let params = Params { budget: budget::Params { ratio: 0.0, ..budget::Params::default() }, ..params() };
    let bottom = Bottom::default().fails(reset);
    let service = bottom.under(layer(
        params.clone(),
        State { budgets: Budgets::One(Arc::clone(&budget)), random: Random::seeded(1), renew: None },
    ));
    let before = budget.balance(&params.budget, clock::now());

    service.call(post(&["a"], |_| {})).await.expect_err("a failure");

    assert_eq!(budget.balance(&params.budget, clock::now()), before);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_waited_for_and_no_shorter() {
    for (code, after) in [(429, "2"), (503, "2")] {
        let bottom = Bottom::default().then(later(code, after));
        let start = clock::now();

        assert_eq!(status(service(&bottom, params()).call(get("http://a.test/"))).await, 200);

        let took = clock::now().since(start).as_millis();
        assert!((2000..2010).contains(&took), "{took}");
    }
}

/// Status and reason of a 503 that asks for `after`, with so much time left.
async fn asked(after: &'static str, left: Option<u64>) -> (u16, Option<&'static str>, u128) {
    let bottom = Bottom::default().then(later(503, after));
    let request = get("http://a.test/");
    let exchange = record(&request);
    let start = clock::now();
    if let Some(left) = left {
        exchange.shorten_deadline(start + Duration::from_secs(left));
    }

    let code = status(service(&bottom, params()).call(request)).await;

    (code, exchange.retry_denied(), clock::now().since(start).as_secs().into())
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_that_outlasts_the_deadline_is_handed_back_at_once() {
    assert_eq!(asked("4", Some(5)).await, (200, None, 4));
    assert_eq!(asked("5", Some(5)).await, (503, Some("retry_after"), 0));
    assert_eq!(asked("6", Some(5)).await, (503, Some("retry_after"), 0));
    assert_eq!(asked("9999", Some(301)).await, (200, None, 300));
}

#[tokio::test(start_paused = true)]
async fn without_a_deadline_patience_is_ten_seconds() {
    assert_eq!(asked("9", None).await, (200, None, 9));
    assert_eq!(asked("10", None).await, (200, None, 10));
    assert_eq!(asked("11", None).await, (503, Some("retry_after"), 0));
}

#[tokio::test(start_paused = true)]
async fn a_backoff_that_outlasts_the_deadline_is_not_begun() {
    let second = Duration::from_secs(1);
    let bottom = Bottom::default().status(503);
    let request = get("http://a.test/");
    let exchange = record(&request);
    exchange.shorten_deadline(clock::now() + Duration::from_nanos(1));
    let backoff = Backoff { base: second, cap: second };

    let code = status(service(&bottom, Params { backoff, ..params() }).call(request)).await;

    assert_eq!((code, exchange.retry_denied()), (503, Some("deadline")));
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_given_up_is_dropped_before_the_wait() {
    struct Lease(Arc<parking_lot::Mutex<Option<Tick>>>);
    impl Finish for Lease {
        fn finish(self: Box<Self>, end: End, _: Tick) {
            assert_eq!(end, End::Dropped);
            *self.0.lock() = Some(clock::now());
        }
    }
    let released = Arc::new(parking_lot::Mutex::new(None));
    let lease = Lease(Arc::clone(&released));
    let bottom = Bottom::default().then(|| {
        let mut response = later(503, "2")()?.map(|_| Body::full("later"));
        response.body_mut().attach(Box::new(lease));
        Ok(response)
    });
    let start = clock::now();

    assert_eq!(status(service(&bottom, params()).call(get("http://a.test/"))).await, 200);

    assert_eq!(*released.lock(), Some(start));
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_target_is_left_for_another_and_never_masks_the_cause() {
    let open = || Error::new(ErrorKind::BreakerOpen);
    let elsewhere = Params { elsewhere: true, ..params() };

    let bottom = Bottom::default().fails(open);
    assert_eq!(status(service(&bottom, elsewhere).call(get("http://a.test/"))).await, 200);

    let bottom = Bottom::default().fails(open);
    let error = service(&bottom, params()).call(get("http://a.test/")).await.expect_err("a failure");
    assert_eq!((error.kind, bottom.calls()), (ErrorKind::BreakerOpen, 1));

    let bottom = Bottom::default().fails(refused).fails(open);
    let error = service(&bottom, params()).call(get("http://a.test/")).await.expect_err("a failure");
    assert_eq!((error.kind, bottom.calls()), (ErrorKind::ConnectRefused, 2));
}

#[tokio::test(start_paused = true)]
async fn grpc_is_repeated_when_never_sent_or_listed() {
    let unavailable = || {
        let mut response = response(200);
        response.headers_mut().insert("grpc-status", HeaderValue::from_static("14"));
        Ok(response)
    };
    let listed = Params { grpc: vec![14], ..params() };
    for (params, calls) in [(params(), 2), (listed, 3)] {
        let bottom = Bottom::default().fails(refused).then(unavailable);
        let request = post(&["\0\0\0\0\0"], |head| head.grpc = true);

        assert_eq!(status(service(&bottom, params).call(request)).await, 200);

        assert_eq!(bottom.calls(), calls);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_is_retried_while_it_is_dialed_and_keeps_its_extensions() {
    #[derive(Clone)]
    struct Upgrade;
    let bottom = Bottom::default().fails(refused).fails(refused);
    let mut connect = request_with(Method::CONNECT, "a.test:443", |_| {});
    connect.extensions_mut().insert(Upgrade);

    assert_eq!(status(service(&bottom, params()).call(connect)).await, 200);

    let seen = bottom.seen();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|seen| seen.extensions == 2 && seen.uri == "a.test:443"));
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_with_a_body_is_tried_once() {
    let bottom = Bottom::default().fails(refused);

    let error = service(&bottom, params()).call(post(&["a"], |head| head.upgrade = true)).await.expect_err("a failure");

    assert_eq!((error.kind, bottom.calls()), (ErrorKind::ConnectRefused, 1));
}

#[tokio::test(start_paused = true)]
async fn attempts_spread_over_the_backoff() {
    let backoff = Backoff { base: Duration::from_millis(25), cap: Duration::from_millis(250) };
    let mut waits = Vec::new();
    let bottom = (0..40).fold(Bottom::default(), |bottom, n| bottom.status(if n % 2 == 0 { 503 } else { 200 }));
    let service = service(&bottom, Params { backoff, ..params() });

    for _ in 0..20 {
        let start = clock::now();
        assert_eq!(status(service.call(get("http://a.test/"))).await, 200);
        waits.push(clock::now().since(start));
    }

    assert!(waits.iter().all(|wait| *wait <= Duration::from_millis(26)), "{waits:?}");
    assert!(waits.iter().any(|wait| *wait > Duration::from_millis(15)), "{waits:?}");
    assert!(waits.iter().any(|wait| *wait < Duration::from_millis(10)), "{waits:?}");
}

/// Has one newer credential as often as it is told.
#[derive(Default)]
struct Newer {
    left: AtomicU32,
    asked: AtomicU32,
}

impl Renew for Newer {
    fn renewed<'a>(&'a self, exchange: &'a Exchange) -> exchange::renew::Renewed<'a> {
        assert!(exchange.carried.get().is_some(), "nothing of ours was refused");
        self.asked.fetch_add(1, Relaxed);
        let there_is = self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
        Box::pin(async move { there_is })
    }
}

fn renewing(bottom: &Bottom, params: Params, newer: &Arc<Newer>, budget: &Arc<Budget>) -> ArcService {
    let budgets = Budgets::One(Arc::clone(budget));
    let newer: Arc<dyn Renew> = Arc::clone(newer) as _;
    bottom.under(layer(params, State { budgets, random: Random::seeded(1), renew: Some(newer) }))
}

fn no_retries() -> Params {
    let conditions = Conditions { connect_failure: false, reset: false, refused_stream: false, timeout: false };
    Params { attempts: 1, statuses: Vec::new(), conditions, ..params() }
}

#[tokio::test(start_paused = true)]
async fn a_refused_credential_is_one_more_try_for_a_post_too_whatever_retry_says() {
    for params in [params(), no_retries()] {
        let (bottom, newer) = (Bottom::default().status(401), Arc::new(Newer { left: 9.into(), ..Newer::default() }));
        let budget = Arc::new(Budget::new());
        let request = post(&["ab", "cd"], |_| {});
        let exchange = record(&request);
        exchange.carried.set(1);
        let service = renewing(&bottom, params.clone(), &newer, &budget);
        let before = budget.balance(&params.budget, clock::now());

        assert_eq!(status(service.call(request)).await, 200);

        let bodies: Vec<_> = bottom.seen().into_iter().map(|seen| seen.body).collect();
        assert_eq!(bodies, ["abcd", "abcd"]);
        assert_eq!(exchange.retry_denied(), None);
        assert!(budget.balance(&params.budget, clock::now()) >= before, "it is not paid for");
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_refusal_is_the_clients_answer() {
    let (bottom, newer) =
        (Bottom::default().status(401).status(401), Arc::new(Newer { left: 9.into(), ..Newer::default() }));
    let request = get("http://a.test/");
    record(&request).carried.set(1);

    assert_eq!(status(renewing(&bottom, params(), &newer, &Arc::default()).call(request)).await, 401);

    assert_eq!((bottom.calls(), newer.asked.load(Relaxed)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn without_a_newer_credential_or_one_of_ours_a_401_stands() {
    for (carried, asked) in [(1, 1), (0, 0)] {
        let (bottom, newer) = (Bottom::default().status(401), Arc::new(Newer::default()));
        let request = get("http://a.test/");
        record(&request).carried.set(carried);

        assert_eq!(status(renewing(&bottom, params(), &newer, &Arc::default()).call(request)).await, 401);

        assert_eq!((bottom.calls(), newer.asked.load(Relaxed)), (1, asked));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_was_not_kept_is_not_sent_twice_for_a_credential() {
    let (bottom, newer) = (Bottom::default().status(401), Arc::new(Newer { left: 9.into(), ..Newer::default() }));
    let request = post(&["ab", "cd"], |_| {});
    record(&request).carried.set(1);
    let service = renewing(&bottom, Params { body_limit: 3, ..params() }, &newer, &Arc::default());

    assert_eq!(status(service.call(request)).await, 401);

    assert_eq!((bottom.calls(), newer.asked.load(Relaxed)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_fails_with_the_new_credential_is_retried_as_ever() {
    let (bottom, newer) =
        (Bottom::default().status(503).status(401).status(503), Arc::new(Newer { left: 9.into(), ..Newer::default() }));
    let request = get("http://a.test/");
    record(&request).carried.set(1);

    assert_eq!(status(renewing(&bottom, params(), &newer, &Arc::default()).call(request)).await, 200);

    assert_eq!((bottom.calls(), newer.asked.load(Relaxed)), (4, 1));
}
