//! What is repeated and what is not, what is broken off, and who gets the next request.

use std::net::SocketAddr;
use std::time::Duration;

use testkit::upstream::Then;
use testkit::wire::Wire;
use testkit::{BlackHole, End, Gate, Port, Proxy, Reply, Response, Seen, Upstream, eventually};
use tokio::time::Instant;

/// A route `api` for `api.test` to one upstream, with further lines; backoff is short.
fn api(addr: SocketAddr, lines: &[&str]) -> String {
    let route = format!("routes:\n  - name: api\n    match: api.test\n    to: http://{addr}\n");
    lines.iter().fold(route, |yaml, line| format!("{yaml}    {line}\n"))
}

/// A route `api` for `api.test` to a named upstream of several endpoints.
fn shared(endpoints: &[SocketAddr], balance: &str, lines: &[&str]) -> String {
    let urls: Vec<String> = endpoints.iter().map(|addr| format!("\"http://{addr}\"")).collect();
    let yaml = format!(
        "upstreams:\n  - {{ name: pool, balance: {balance}, endpoints: [{}] }}\n\
         routes:\n  - name: api\n    match: api.test\n    to: upstream:pool\n",
        urls.join(", ")
    );
    lines.iter().fold(yaml, |yaml, line| format!("{yaml}    {line}\n"))
}

/// The first request fails, the others are answered.
async fn first(bad: Reply) -> Upstream {
    Upstream::http(move |seen| if seen.index == 0 { bad.clone() } else { Reply::ok("good") }).await
}

async fn post(proxy: &Proxy, fields: &[&str]) -> Response {
    proxy.call("POST", "http://api.test/pay", fields, "amount=1").await
}

const NO_RETRY: &str = "retry: false";

// --- what is repeated

#[tokio::test]
async fn a_503_is_repeated_for_get() {
    let upstream = first(Reply::status(503)).await;
    let proxy = Proxy::start(&api(upstream.addr(), &[]));

    let response = proxy.get("http://api.test/").await;

    assert_eq!((response.status, response.text().as_str(), upstream.count()), (200, "good", 2));
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("attache_retries_total", &[("route", "api")]), 1.0);
    assert_eq!(metrics.sum("attache_attempts_total", &[("route", "api")]), 2.0);
}

#[tokio::test]
async fn a_503_is_handed_back_for_post() {
    let upstream = first(Reply::status(503).body("busy")).await;
    let proxy = Proxy::start(&api(upstream.addr(), &[]));

    let response = post(&proxy, &[]).await;

    assert_eq!((response.status, response.text().as_str(), upstream.count()), (503, "busy", 1));
    let denied = [("route", "api"), ("reason", "not_idempotent")];
    assert_eq!(proxy.metrics().await.sum("attache_retry_denied_total", &denied), 1.0);
}

#[tokio::test]
async fn a_post_with_an_idempotency_key_is_repeated_with_its_body() {
    let upstream = first(Reply::status(503)).await;
    let proxy = Proxy::start(&api(upstream.addr(), &[]));

    let response = post(&proxy, &["Idempotency-Key: 1"]).await;

    assert_eq!((response.status, upstream.count()), (200, 2));
    assert!(upstream.requests().iter().all(|seen| seen.body == b"amount=1"));
}

#[tokio::test]
async fn other_statuses_are_nobodys_business() {
    let upstream = Upstream::http(|seen| {
        let status = seen.target[1..].parse().expect("a status");
        Reply::status(status)
    })
    .await;
    let proxy = Proxy::start(&api(upstream.addr(), &[]));

    for (made, status) in [400, 401, 404, 429, 500, 501].into_iter().enumerate() {
        assert_eq!(proxy.get(&format!("http://api.test/{status}")).await.status, status);
        assert_eq!(upstream.count(), made + 1, "{status}");
    }
}

/// Whether a GET whose first answer is this is repeated under a route's `retry`.
async fn repeats(retry: &str, bad: Reply) -> bool {
    let upstream = first(bad).await;
    let proxy = Proxy::start(&api(upstream.addr(), &[retry]));
    proxy.get("http://api.test/").await;
    upstream.count() == 2
}

#[tokio::test]
async fn each_condition_brings_its_failures_and_statuses() {
    let answers = [409, 500, 502, 503, 504].map(|status| (status, Reply::status(status)));
    for (condition, statuses, reset) in [
        ("5xx", &[500, 502, 503, 504][..], true),
        ("gateway-error", &[502, 503, 504], true),
        ("reset", &[], true),
        ("connect-failure", &[], false),
        ("refused-stream", &[], false),
        ("timeout", &[], false),
        ("retriable-4xx", &[409], false),
    ] {
        let retry = format!("retry: {{ statuses: [], conditions: {condition} }}");

        for (status, answer) in &answers {
            assert_eq!(repeats(&retry, answer.clone()).await, statuses.contains(status), "{condition} {status}");
        }
        assert_eq!(repeats(&retry, Reply::reset()).await, reset, "{condition}: a reset");
    }
}

#[tokio::test]
async fn a_refused_connect_and_a_hanging_attempt_are_conditions_of_their_own() {
    for (condition, connect, hang) in
        [("connect-failure", true, false), ("timeout", false, true), ("reset", false, false), ("5xx", true, true)]
    {
        let retry = format!("retry: {{ statuses: [], conditions: {condition} }}");
        let (refused, good) = (Port::refused(), Upstream::fixed("good").await);
        let proxy = Proxy::start(&shared(&[refused.addr(), good.addr()], "round_robin", &[&retry]));
        assert_eq!(proxy.get("http://api.test/").await.status == 200, connect, "{condition}");

        let upstream = first(Reply::hang()).await;
        let proxy = Proxy::start(&api(upstream.addr(), &[&retry, "timeout: { attempt: 150ms }"]));
        assert_eq!(proxy.get("http://api.test/").await.status == 200, hang, "{condition}");
    }
}

#[tokio::test]
async fn statuses_are_single_or_ranges_and_methods_are_the_listed_ones() {
    let retry = "retry: { statuses: [418, 520-522], methods: [GET, REPORT] }";
    for (status, repeated) in [(418, true), (419, false), (519, false), (520, true), (522, true), (523, false)] {
        assert_eq!(repeats(retry, Reply::status(status)).await, repeated, "{status}");
    }
    for (method, calls) in [("REPORT", 2), ("PUT", 1)] {
        let upstream = first(Reply::status(418)).await;
        let proxy = Proxy::start(&api(upstream.addr(), &[retry]));
        proxy.call(method, "http://api.test/", &[], "").await;
        assert_eq!(upstream.count(), calls, "{method}");
    }
}

#[tokio::test]
async fn a_listed_response_header_asks_for_a_repeat() {
    let retry = "retry: { headers: { x-should-retry: 'true', x-busy: '*', x-code: '~5[0-9]' } }";
    for (name, value, repeated) in [
        ("X-Should-Retry", "true", true),
        ("X-Should-Retry", "false", false),
        ("X-Busy", "", true),
        ("X-Code", "57", true),
        ("X-Code", "570", false),
    ] {
        assert_eq!(repeats(retry, Reply::status(409).header(name, value)).await, repeated, "{name}: {value}");
    }
    let upstream = first(Reply::status(409).header("X-Busy", "1")).await;
    let proxy = Proxy::start(&api(upstream.addr(), &[retry]));
    assert_eq!((post(&proxy, &[]).await.status, upstream.count()), (409, 1), "a POST may have been acted on");
}

#[tokio::test]
async fn a_client_sets_its_attempts_only_where_the_route_reads_them() {
    for (line, value, status, calls) in [
        ("retry: { attempts: 2, attempts_header: X-Attempts }", "4", 503, 4),
        ("retry: { attempts: 2, attempts_header: X-Attempts }", "1", 503, 1),
        ("retry: { attempts: 1, attempts_header: X-Attempts }", "2", 503, 2),
        ("retry: { attempts: 2, attempts_header: X-Attempts }", "all", 400, 0),
        ("retry: 2", "4", 503, 2),
    ] {
        let upstream = Upstream::http(|_| Reply::status(503)).await;
        let proxy = Proxy::start(&api(upstream.addr(), &[line]));

        let response = proxy.call("GET", "http://api.test/", &[&format!("X-Attempts: {value}")], "").await;

        assert_eq!((response.status, upstream.count()), (status, calls), "{line} {value}");
        let passed = upstream.requests().iter().filter(|seen| seen.header("x-attempts").is_some()).count();
        assert_eq!(passed, if line == "retry: 2" { calls } else { 0 }, "{line}");
    }
}

#[tokio::test]
async fn a_reset_before_the_head_is_repeated_for_get() {
    for bad in [Reply::reset(), Reply::close(), Reply::raw("HTTP/1.1 200 OK\r\nCont").then(Then::Close)] {
        let upstream = first(bad.clone()).await;
        let proxy = Proxy::start(&api(upstream.addr(), &[]));

        let response = proxy.get("http://api.test/").await;

        assert_eq!((response.status, upstream.count()), (200, 2), "{bad:?}");
    }
}

#[tokio::test]
async fn a_post_that_may_have_been_acted_on_is_never_sent_twice() {
    for bad in [
        Reply::reset(),
        Reply::close(),
        Reply::raw("HTTP/1.1 200 OK\r\nCont").then(Then::Close),
        Reply::raw("garbage garbage garbage\r\n\r\n").then(Then::Close),
    ] {
        let upstream = first(bad.clone()).await;
        let proxy = Proxy::start(&api(upstream.addr(), &[]));

        let response = post(&proxy, &[]).await;

        assert_eq!((response.status, upstream.count()), (502, 1), "{bad:?}: {response:?}");
    }
}

#[tokio::test]
async fn a_post_on_a_reused_connection_is_never_sent_twice() {
    // The connection is good at first, and resets once the second request was read.
    let upstream = Upstream::http(|seen| if seen.index == 1 { Reply::reset() } else { Reply::ok("good") }).await;
    let proxy = Proxy::start(&api(upstream.addr(), &[]));
    assert_eq!(proxy.get("http://api.test/").await.status, 200);

    let response = post(&proxy, &[]).await;

    assert_eq!((response.status, upstream.count(), upstream.connections()), (502, 2, 1), "{response:?}");
}

#[tokio::test]
async fn a_post_whose_connect_was_refused_goes_to_another_endpoint() {
    let (refused, good) = (Port::refused(), Upstream::fixed("good").await);
    let proxy = Proxy::start(&shared(&[refused.addr(), good.addr()], "round_robin", &[]));

    for _ in 0..4 {
        assert_eq!(post(&proxy, &[]).await.text(), "good");
    }

    assert_eq!(good.count(), 4);
}

#[tokio::test]
async fn a_retry_prefers_an_endpoint_not_tried_yet() {
    let bad = Upstream::http(|_| Reply::status(503)).await;
    let good = Upstream::fixed("good").await;
    let proxy = Proxy::start(&shared(&[bad.addr(), good.addr()], "round_robin", &["breaker: false"]));

    for _ in 0..10 {
        assert_eq!(proxy.get("http://api.test/").await.status, 200);
    }

    assert_eq!((bad.count(), good.count()), (bad.count().min(10), 10));
    assert!(bad.count() >= 4, "in turn: {}", bad.count());
}

#[tokio::test]
async fn attempts_are_bounded_and_the_last_real_answer_is_handed_back() {
    let upstream = Upstream::http(|seen| Reply::status(503).body(seen.index.to_string())).await;
    let proxy = Proxy::start(&api(upstream.addr(), &["retry: 4"]));

    let response = proxy.get("http://api.test/").await;

    assert_eq!((response.status, response.text().as_str(), upstream.count()), (503, "3", 4));
    assert_eq!(response.header("proxy-status"), None, "it is the upstream's answer, not ours");
}

#[tokio::test]
async fn a_refused_http2_stream_is_repeated_even_for_post() {
    let upstream = Upstream::h2c(|seen| match seen.index {
        0 => Reply::status(200).then(Then::Refuse),
        _ => Reply::ok("good"),
    })
    .await;
    let proxy = Proxy::start(&api(upstream.addr(), &[]).replace("to: http:", "to: h2c:"));

    let response = post(&proxy, &[]).await;

    assert_eq!((response.text().as_str(), upstream.count()), ("good", 2));
}

#[tokio::test]
async fn a_reset_http2_stream_is_not_repeated_for_post() {
    let upstream = Upstream::h2c(|_| Reply::reset()).await;
    let proxy = Proxy::start(&api(upstream.addr(), &[]).replace("to: http:", "to: h2c:"));

    let response = post(&proxy, &[]).await;

    assert_eq!((response.status, upstream.count()), (502, 1), "{response:?}");
}

/// HTTP/2 by hand: the first connection says GOAWAY to its first request, the others answer 200.
async fn going_away(number: usize, mut wire: Wire) {
    let mut bytes = Vec::new();
    wire.exact(24, &mut bytes).await.expect("a preface");
    wire.send(b"\0\0\0\x04\0\0\0\0\0").await.expect("settings");
    loop {
        bytes.clear();
        if wire.exact(9, &mut bytes).await.is_err() {
            return;
        }
        let frame = bytes.clone();
        let length = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]) as usize;
        if wire.exact(length, &mut bytes).await.is_err() {
            return;
        }
        if frame[3] == 1 && number == 0 {
            // Last stream 0, NO_ERROR.
            let _ = wire.send(b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0").await;
            return wire.closed().await;
        }
        if frame[3] == 1 {
            // HEADERS with END_STREAM and END_HEADERS on the same stream; 0x88 is `:status: 200`.
            let answer = [&[0, 0, 1, 1, 5][..], &frame[5..9], &[0x88]].concat();
            let _ = wire.send(answer).await;
        }
    }
}

#[tokio::test]
async fn a_stream_above_goaways_last_one_is_repeated_even_for_post() {
    let upstream = Upstream::raw(going_away).await;
    let proxy = Proxy::start(&api(upstream.addr(), &[]).replace("to: http:", "to: h2c:"));

    assert_eq!(post(&proxy, &[]).await.status, 200);
    assert_eq!(upstream.connections(), 2);
}

// --- connections that are not what they seemed

#[tokio::test]
async fn a_keep_alive_connection_that_went_stale_is_no_error() {
    let upstream = Upstream::http(|_| Reply::ok("once").then(Then::Close)).await;
    let proxy = Proxy::start(&api(upstream.addr(), &[]));
    let mut client = proxy.client().await;

    for _ in 0..100 {
        assert_eq!(client.get("http://api.test/").await.text(), "once");
    }
    upstream.until("all connections end", |record| record.open == 0).await;
    assert_eq!(client.call("POST", "http://api.test/", &[], "x").await.text(), "once");
}

/// Good once a connection, then what an idle one says when its time is over, as if it had crossed the request.
async fn timed_out() -> Upstream {
    Upstream::raw(|number, mut wire| async move {
        let mut answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";
        while let Ok(Some(_)) = wire.head().await {
            if wire.send(answer).await.is_err() || number > 0 {
                break;
            }
            answer = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        }
        wire.closed().await;
    })
    .await
}

#[tokio::test]
async fn a_408_that_crossed_the_request_is_repeated_for_get() {
    let upstream = timed_out().await;
    let proxy = Proxy::start(&api(upstream.addr(), &[]));

    for _ in 0..2 {
        assert_eq!(proxy.get("http://api.test/").await.text(), "good");
    }

    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn a_408_is_handed_back_for_post_and_on_a_new_connection() {
    let upstream = timed_out().await;
    let proxy = Proxy::start(&api(upstream.addr(), &[]));
    assert_eq!(proxy.get("http://api.test/").await.status, 200);

    assert_eq!(post(&proxy, &[]).await.status, 408);
    assert_eq!(upstream.connections(), 1);

    let upstream = Upstream::http(|_| Reply::status(408)).await;
    let proxy = Proxy::start(&api(upstream.addr(), &[]));
    assert_eq!(proxy.get("http://api.test/").await.status, 408);
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn bytes_after_a_response_are_never_the_next_answer() {
    let upstream = Upstream::http(|_| {
        Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nevil")
    })
    .await;
    let proxy = Proxy::start(&api(upstream.addr(), &[]));
    let mut client = proxy.client().await;

    for made in 1..=10 {
        assert_eq!(client.get("http://api.test/").await.text(), "ok");
        assert_eq!(upstream.connections(), made);
    }
}

#[tokio::test]
async fn a_response_of_known_length_that_ends_early_is_cut_for_the_client_too() {
    let upstream = first(Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").then(Then::Close)).await;
    let proxy = Proxy::start(&api(upstream.addr(), &[]));

    let cut = proxy.get("http://api.test/").await;
    let next = proxy.get("http://api.test/").await;

    assert_eq!((cut.end, cut.body.len() < 10), (End::Cut, true), "{cut:?}");
    assert_eq!((next.text().as_str(), upstream.connections()), ("good", 2), "the connection is not reused");
    let log = proxy.finish();
    assert_eq!(log[0]["reason"], "truncated", "{log:?}");
}

#[tokio::test]
async fn a_chunked_response_without_its_end_is_cut_for_the_client_too() {
    for bad in [
        Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").then(Then::Close),
        Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc").then(Then::Close),
        Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-A: 1\r\n")
            .then(Then::Close),
        Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").then(Then::Reset),
    ] {
        let upstream = first(bad.clone()).await;
        let proxy = Proxy::start(&api(upstream.addr(), &[]));

        let cut = proxy.get("http://api.test/").await;
        let next = proxy.get("http://api.test/").await;

        assert_eq!((cut.end, next.status, upstream.connections()), (End::Cut, 200, 2), "{bad:?}");
    }
}

#[tokio::test]
async fn a_cut_response_is_a_cut_stream_for_an_http2_client() {
    let upstream =
        Upstream::http(|_| Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").then(Then::Close)).await;
    let proxy = Proxy::start(&api(upstream.addr(), &[]));

    let cut = proxy.h2().await.get("http://api.test/").await;

    assert_eq!((cut.status, cut.end), (200, End::Cut), "{cut:?}");
}

#[tokio::test]
async fn an_answer_before_the_upload_ended_arrives_and_the_connection_is_not_reused() {
    let upstream = Upstream::early(|_| Reply::status(413).body("too much")).await;
    let proxy = Proxy::start(&api(upstream.addr(), &[]));
    let mut client = proxy.client().await;

    client.send("POST http://api.test/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nsome").await;
    let early = client.response("POST").await;
    let next = proxy.get("http://api.test/").await;

    assert_eq!((early.status, early.text().as_str()), (413, "too much"));
    assert_eq!((next.status, upstream.connections()), (413, 2));
}

// --- time

#[tokio::test]
async fn an_attempt_that_hangs_is_given_up_and_repeated_for_get() {
    let upstream = first(Reply::hang()).await;
    let proxy = Proxy::start(&api(upstream.addr(), &["timeout: { attempt: 200ms, total: 10s }"]));

    let response = proxy.get("http://api.test/").await;

    assert_eq!((response.status, upstream.count()), (200, 2));
    upstream.until("the hanging connection is closed", |record| record.open == 1).await;
}

#[tokio::test]
async fn an_attempt_that_hangs_is_504_for_post() {
    let upstream = first(Reply::hang()).await;
    let proxy = Proxy::start(&api(upstream.addr(), &["timeout: { attempt: 200ms, total: 10s }"]));

    let response = post(&proxy, &[]).await;

    assert_eq!((response.status, response.reason().as_str(), upstream.count()), (504, "attempt_timeout", 1));
    assert!(response.header("proxy-status").is_some_and(|value| value.contains("error=http_response_timeout")));
}

#[tokio::test]
async fn a_slow_upload_is_not_the_upstreams_fault() {
    let upstream = Upstream::fixed("stored").await;
    let lines = ["timeout: { attempt: 200ms, total: 20s }", "breaker: 1", NO_RETRY];
    let proxy = Proxy::start(&api(upstream.addr(), &lines));
    let mut client = proxy.client().await;

    client.send("POST http://api.test/ HTTP/1.1\r\nHost: api.test\r\nContent-Length: 4\r\n\r\nab").await;
    let early = tokio::time::timeout(Duration::from_millis(700), client.bytes(1)).await;
    client.send("cd").await;
    let response = client.response("POST").await;

    assert!(early.is_err(), "the attempt was given up while the client still sent: {early:?}");
    assert_eq!((response.status, response.text().as_str()), (200, "stored"));
    assert_eq!(proxy.get("http://api.test/").await.status, 200, "the breaker is closed");
}

#[tokio::test]
async fn a_transfer_coding_that_cannot_be_taken_off_is_a_protocol_error() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let upstream = Upstream::http(move |_| Reply::raw(answer)).await;
    let proxy = Proxy::start(&api(upstream.addr(), &[NO_RETRY]));

    let response = proxy.get("http://api.test/").await;

    assert_eq!((response.status, response.reason().as_str()), (502, "protocol"));
}

#[tokio::test]
async fn the_total_time_bounds_all_attempts_and_waits() {
    let upstream = Upstream::http(|seen| if seen.index < 2 { Reply::status(503) } else { Reply::hang() }).await;
    let retry = "retry: { attempts: 10, backoff: 20ms }";
    let proxy = Proxy::start(&api(upstream.addr(), &["timeout: { attempt: 10s, total: 600ms }", retry]));
    let started = Instant::now();

    let response = proxy.get("http://api.test/").await;

    let took = Instant::now() - started;
    assert_eq!((response.status, response.reason().as_str(), upstream.count()), (504, "deadline", 3));
    assert!((Duration::from_millis(550)..Duration::from_secs(3)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_connect_that_is_not_answered_is_504_within_its_time() {
    let hole = BlackHole::new().await;
    let proxy = Proxy::start(&api(hole.addr(), &[NO_RETRY, "timeout: { connect: 300ms }"]));
    let started = Instant::now();

    let response = proxy.get("http://api.test/").await;

    let took = Instant::now() - started;
    assert_eq!((response.status, response.reason().as_str()), (504, "connect_timeout"));
    assert!(took < Duration::from_millis(1500), "{took:?}");
}

#[tokio::test]
async fn a_body_that_stalls_ends_after_the_idle_time() {
    let upstream = Upstream::raw(|_, mut wire| async move {
        let _ = wire.head().await;
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").await.expect("sent");
        wire.closed().await;
    })
    .await;
    let proxy = Proxy::start(&api(upstream.addr(), &["timeout: { idle: 300ms }"]));

    let response = proxy.get("http://api.test/").await;

    assert_eq!((response.status, response.end), (200, End::Cut));
    upstream.until("the stalled connection is closed", |record| record.open == 0).await;
}

#[tokio::test]
async fn retry_after_is_obeyed() {
    for status in [429, 503] {
        let upstream = first(Reply::status(status).header("Retry-After", "1")).await;
        let proxy = Proxy::start(&api(upstream.addr(), &[]));
        let started = Instant::now();

        let response = proxy.get("http://api.test/").await;

        let took = Instant::now() - started;
        assert_eq!((response.status, upstream.count()), (200, 2), "{status}");
        assert!((Duration::from_millis(990)..Duration::from_secs(4)).contains(&took), "{took:?}");
    }
}

#[tokio::test]
async fn retry_after_may_be_a_date() {
    for (date, status, calls) in [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 200, 2),
        ("Sun Nov  6 08:49:37 1994", 200, 2),
        ("Fri, 06 Nov 2395 08:49:37 GMT", 429, 1),
        ("the day after", 429, 1),
    ] {
        let upstream = first(Reply::status(429).header("Retry-After", date)).await;
        let proxy = Proxy::start(&api(upstream.addr(), &["timeout: { total: 20s }"]));

        let response = proxy.get("http://api.test/").await;

        assert_eq!((response.status, upstream.count()), (status, calls), "{date}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_during_a_wait_is_not_retried_for() {
    let upstream = first(Reply::status(503).header("Retry-After", "1")).await;
    let proxy = Proxy::start(&api(upstream.addr(), &[]));
    let mut client = proxy.client().await;
    client.send("GET http://api.test/ HTTP/1.1\r\nHost: x\r\n\r\n").await;
    upstream.until("the first attempt", |record| record.requests.len() == 1).await;

    drop(client);
    let again = upstream.until("a second attempt", |record| record.requests.len() == 2);
    let again = tokio::time::timeout(Duration::from_millis(1500), again).await;

    assert!(again.is_err(), "nobody waits for it");
    assert_eq!(proxy.finish()[0]["reason"], "client_gone");
}

#[tokio::test]
async fn a_retry_after_that_outlasts_the_deadline_is_handed_back_at_once() {
    let upstream = first(Reply::status(503).header("Retry-After", "60").body("later")).await;
    let proxy = Proxy::start(&api(upstream.addr(), &["timeout: { total: 20s }"]));
    let started = Instant::now();

    let response = proxy.get("http://api.test/").await;

    let took = Instant::now() - started;
    assert_eq!((response.status, response.header("retry-after"), upstream.count()), (503, Some("60"), 1));
    assert_eq!(response.text(), "later");
    assert!(took < Duration::from_secs(5), "{took:?}");
    let denied = [("route", "api"), ("reason", "retry_after")];
    assert_eq!(proxy.metrics().await.sum("attache_retry_denied_total", &denied), 1.0);
}

// --- what retries may cost

#[tokio::test]
async fn without_budget_nothing_is_repeated() {
    let upstream = Upstream::http(|_| Reply::status(503)).await;
    let budget = "retry: { attempts: 3, budget: { ratio: 0%, per_second: 0 } }";
    let proxy = Proxy::start(&api(upstream.addr(), &[budget, "breaker: false"]));

    for _ in 0..5 {
        assert_eq!(proxy.get("http://api.test/").await.status, 503);
    }

    assert_eq!(upstream.count(), 5);
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("attache_retry_denied_total", &[("route", "api"), ("reason", "budget")]), 5.0);
    assert_eq!(metrics.sum("attache_retries_total", &[]), 0.0);
}

#[tokio::test]
async fn retries_stay_within_their_share_when_everything_fails() {
    let upstream = Upstream::http(|_| Reply::status(503)).await;
    let retry = "retry: { attempts: 3, backoff: 1ms, budget: { ratio: 20%, per_second: 0 } }";
    let proxy = Proxy::start(&api(upstream.addr(), &[retry, "breaker: false"]));
    let mut client = proxy.client().await;

    for _ in 0..100 {
        assert_eq!(client.get("http://api.test/").await.status, 503);
    }

    assert!((110..=120).contains(&upstream.count()), "{}", upstream.count());
}

#[tokio::test]
async fn a_body_is_repeated_up_to_the_limit_and_sent_once_beyond_it() {
    for (size, calls) in [(1023, 2), (1024, 2), (1025, 1)] {
        let upstream = first(Reply::status(503)).await;
        let proxy = Proxy::start(&api(upstream.addr(), &["retry: { body_limit: 1KiB }"]));
        let body = "x".repeat(size);

        let response = proxy.call("PUT", "http://api.test/", &[], &body).await;

        assert_eq!(upstream.count(), calls, "{size}");
        assert_eq!(response.status, if calls == 2 { 200 } else { 503 }, "{size}");
        assert!(upstream.requests().iter().all(|seen| seen.body == body.as_bytes()), "{size}");
        let denied = proxy.metrics().await.sum("attache_retry_denied_total", &[("reason", "body_too_large")]);
        assert_eq!(denied, if calls == 2 { 0.0 } else { 1.0 });
    }
}

#[tokio::test]
async fn a_retry_before_the_body_was_read_duplicates_no_byte() {
    let body: String = (0..4096).map(|index| char::from(b'a' + (index % 26) as u8)).collect();
    let upstream = Upstream::raw(|number, mut wire| async move {
        let _ = wire.head().await;
        if number == 0 {
            let _ = wire.send("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
            return wire.closed().await;
        }
        let mut body = Vec::new();
        wire.chunks(&mut body).await.expect("a whole body");
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let _ = wire.send([head.into_bytes(), body].concat()).await;
    })
    .await;
    let proxy = Proxy::start(&api(upstream.addr(), &[]));
    let mut client = proxy.client().await;

    let (begin, end) = body.split_at(1000);
    client.send("PUT http://api.test/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    client.send(format!("{:x}\r\n{begin}\r\n", begin.len())).await;
    upstream.until("the retry", |record| record.connections == 2).await;
    client.send(format!("{:x}\r\n{end}\r\n0\r\n\r\n", end.len())).await;

    assert_eq!(client.response("PUT").await.text(), body);
}

// --- the breaker

#[tokio::test]
async fn five_refused_connects_open_the_breaker_and_the_next_request_fails_fast() {
    let refused = Port::refused();
    let proxy = Proxy::start(&api(refused.addr(), &[NO_RETRY, "breaker: { open: 30s }"]));

    for _ in 0..5 {
        let response = proxy.get("http://api.test/").await;
        assert_eq!((response.status, response.reason().as_str()), (502, "connect_refused"));
    }
    let fast = proxy.get("http://api.test/").await;

    assert_eq!((fast.status, fast.reason().as_str()), (503, "breaker_open"));
    let after: u64 = fast.header("retry-after").expect("Retry-After").parse().expect("seconds");
    assert!((1..=36).contains(&after), "{after}");
    let metrics = proxy.metrics().await;
    let endpoint = refused.addr().to_string();
    assert_eq!(metrics.sum("attache_breaker_state", &[("endpoint", &endpoint)]), 2.0);
    assert_eq!(metrics.sum("attache_breaker_transitions_total", &[("endpoint", &endpoint), ("to", "open")]), 1.0);
    assert_eq!(metrics.sum("attache_rejected_total", &[("route", "api"), ("reason", "breaker_open")]), 1.0);
}

#[tokio::test]
async fn an_upstream_that_returns_is_found_within_a_second_without_spending_a_request() {
    let port = Port::refused();
    let proxy = Proxy::start(&api(port.addr(), &[NO_RETRY, "breaker: { open: 60s }"]));
    for _ in 0..5 {
        assert_eq!(proxy.get("http://api.test/").await.status, 502);
    }
    assert_eq!(proxy.get("http://api.test/").await.status, 503);

    let upstream = Upstream::at(port, |_| Reply::ok("back"));
    let returned = Instant::now();
    upstream.until("a dial of the proxy's own", |record| record.connections == 1).await;
    let (proxied, upstreamed) = (&proxy, &upstream);
    let answer = eventually("an answer", || async move {
        let response = proxied.get("http://api.test/").await;
        (response.status == 200).then_some((response, upstreamed.count()))
    })
    .await;

    let took = Instant::now() - returned;
    assert_eq!((answer.0.text().as_str(), answer.1), ("back", 1));
    assert!(took < Duration::from_millis(1500), "{took:?}");
    for _ in 0..5 {
        assert_eq!(proxy.get("http://api.test/").await.status, 200);
    }
    assert_eq!(proxy.metrics().await.sum("attache_breaker_state", &[("upstream", &upstream.addr().to_string())]), 0.0);
}

#[tokio::test]
async fn an_explicit_number_counts_every_failure_in_a_row() {
    let upstream = Upstream::http(|_| Reply::status(500)).await;
    let proxy = Proxy::start(&api(upstream.addr(), &["breaker: 3"]));

    for _ in 0..3 {
        assert_eq!(proxy.get("http://api.test/").await.status, 500);
    }

    assert_eq!(proxy.get("http://api.test/").await.reason(), "breaker_open");
    assert_eq!(upstream.count(), 3);
}

#[tokio::test]
async fn half_of_twenty_calls_failing_opens_the_breaker() {
    let upstream = Upstream::http(|seen| Reply::status(if seen.index % 2 == 0 { 200 } else { 500 })).await;
    let proxy = Proxy::start(&api(upstream.addr(), &[]));
    let mut client = proxy.client().await;

    for index in 0..20 {
        assert_eq!(client.get("http://api.test/").await.status, if index % 2 == 0 { 200 } else { 500 });
    }

    assert_eq!(client.get("http://api.test/").await.reason(), "breaker_open");
    assert_eq!(upstream.count(), 20);
}

#[tokio::test]
async fn an_open_endpoint_is_passed_over() {
    let (refused, good) = (Port::refused(), Upstream::fixed("good").await);
    let proxy = Proxy::start(&shared(&[refused.addr(), good.addr()], "round_robin", &["retry: 2"]));

    for _ in 0..30 {
        assert_eq!(post(&proxy, &[]).await.status, 200);
    }

    let metrics = proxy.metrics().await;
    let failures = metrics.sum("attache_attempts_total", &[("result", "connect_refused")]);
    assert_eq!(failures, 5.0, "after five the endpoint is not asked any more");
}

#[tokio::test]
async fn hosts_that_no_route_names_have_a_breaker_each() {
    let (refused, good) = (Port::refused(), Upstream::fixed("good").await);
    let proxy = Proxy::start("default: { action: pass, retry: false }\n");

    for _ in 0..5 {
        assert_eq!(proxy.get(&format!("http://{}/", refused.addr())).await.status, 502);
    }

    assert_eq!(proxy.get(&format!("http://{}/", refused.addr())).await.reason(), "breaker_open");
    assert_eq!(proxy.get(&good.url("/")).await.text(), "good");
}

// --- who gets the next request

#[tokio::test]
async fn round_robin_goes_in_turn() {
    let all = [Upstream::fixed("").await, Upstream::fixed("").await, Upstream::fixed("").await];
    let addrs: Vec<_> = all.iter().map(Upstream::addr).collect();
    let proxy = Proxy::start(&shared(&addrs, "round_robin", &[]));

    for _ in 0..9 {
        assert_eq!(proxy.get("http://api.test/").await.status, 200);
    }

    assert_eq!(all.each_ref().map(Upstream::count), [3, 3, 3]);
}

/// Two endpoints, one of which is busy with a request that does not end: where do ten more go?
async fn beside_a_busy_one(balance: &str) -> (usize, usize) {
    let gate = Gate::default();
    let slow = |gate: &Gate| {
        let gate = gate.clone();
        move |seen: &Seen| if seen.target == "/slow" { Reply::ok("").after(&gate) } else { Reply::ok("") }
    };
    let all = [Upstream::http(slow(&gate)).await, Upstream::http(slow(&gate)).await];
    let addrs: Vec<_> = all.iter().map(Upstream::addr).collect();
    let proxy = Proxy::start(&shared(&addrs, balance, &[]));
    let mut stuck = proxy.client().await;
    stuck.send("GET http://api.test/slow HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let (one, two) = (&all[0], &all[1]);
    eventually("the slow request arrives", || async move { (one.count() + two.count() == 1).then_some(()) }).await;
    let busy = usize::from(all[1].count() == 1);

    for _ in 0..10 {
        assert_eq!(proxy.get("http://api.test/").await.status, 200);
    }

    gate.open();
    assert_eq!(stuck.response("GET").await.status, 200);
    (all[busy].count() - 1, all[1 - busy].count())
}

#[tokio::test]
async fn least_request_leaves_a_busy_endpoint_alone() {
    assert_eq!(beside_a_busy_one("least_request").await, (0, 10));
}

#[tokio::test]
async fn p2c_leaves_a_busy_endpoint_alone() {
    assert_eq!(beside_a_busy_one("p2c").await, (0, 10));
}

// --- the rest

#[tokio::test]
async fn a_name_that_does_not_exist_is_a_dns_error() {
    let proxy = Proxy::start("");

    let response = proxy.get("http://nobody.invalid/").await;

    assert_eq!((response.status, response.reason().as_str()), (502, "dns"));
    assert!(response.header("proxy-status").is_some_and(|value| value.contains("error=dns_error")), "{response:?}");
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_attempt_with_it_and_counts_against_nobody() {
    let upstream = first(Reply::hang()).await;
    let proxy = Proxy::start(&api(upstream.addr(), &["breaker: 1"]));
    let mut client = proxy.client().await;

    client.send("GET http://api.test/ HTTP/1.1\r\nHost: x\r\n\r\n").await;
    upstream.until("the request arrives", |record| record.requests.len() == 1).await;
    drop(client);
    upstream.until("its connection is closed", |record| record.open == 0).await;

    assert_eq!(proxy.get("http://api.test/").await.status, 200, "the breaker of one failure is closed");
    let log = proxy.finish();
    assert_eq!((&log[0]["status"], &log[0]["reason"]), (&499.into(), &"client_gone".into()));
}

#[tokio::test]
async fn a_client_that_leaves_or_half_closes_after_its_upload_takes_its_attempt_with_it() {
    for half in [false, true] {
        let upstream = Upstream::early(|_| Reply::hang()).await;
        let proxy = Proxy::start(&api(upstream.addr(), &[NO_RETRY]));
        let mut client = proxy.client().await;

        let chunked = "POST http://api.test/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.send(format!("{chunked}8\r\namount=1\r\n")).await;
        upstream.until("the request arrives", |record| record.requests.len() == 1).await;
        // The end alone: nothing but its being seen makes the proxy look again.
        client.send("0\r\n\r\n").await;
        let kept = if half {
            client.half_close().await;
            Some(client)
        } else {
            drop(client);
            None
        };

        upstream.until("its connection is closed", |record| record.open == 0).await;
        drop(kept);
    }
}

#[tokio::test]
async fn a_client_that_sends_its_next_request_early_is_answered_both_in_turn() {
    let upstream = Upstream::http(|seen| Reply::ok(seen.target.clone()).delay(Duration::from_millis(20))).await;
    let proxy = Proxy::start(&api(upstream.addr(), &[NO_RETRY]));
    let mut client = proxy.client().await;
    let request = |path: usize| format!("GET http://api.test/{path} HTTP/1.1\r\nHost: x\r\n\r\n");

    client.send(request(1)).await;
    upstream.until("the first arrives", |record| record.requests.len() == 1).await;
    // More than is kept of what comes early.
    let early: String = (2..60).map(request).collect();
    client.send(early).await;

    for path in 1..60 {
        let response = client.response("GET").await;
        assert_eq!((response.status, response.text()), (200, format!("/{path}")));
    }
}

#[tokio::test]
async fn a_client_that_leaves_during_the_body_takes_the_upstream_connection_with_it() {
    let upstream = Upstream::raw(|_, mut wire| async move {
        let _ = wire.head().await;
        let _ = wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc").await;
        wire.closed().await;
    })
    .await;
    let proxy = Proxy::start(&api(upstream.addr(), &["breaker: 1"]));
    let mut client = proxy.client().await;

    client.send("GET http://api.test/ HTTP/1.1\r\nHost: x\r\n\r\n").await;
    client.bytes(20).await;
    client.reset();

    upstream.until("its connection is closed", |record| record.connections == 1 && record.open == 0).await;
    assert_eq!(proxy.metrics().await.sum("attache_breaker_state", &[]), 0.0);
}

#[tokio::test]
async fn a_reset_stream_of_an_http2_client_cancels_the_attempt() {
    let upstream = first(Reply::hang()).await;
    let proxy = Proxy::start(&api(upstream.addr(), &["breaker: 1"]));
    let client = proxy.h2().await;

    let mut leaving = client.clone();
    let request = tokio::spawn(async move { leaving.get("http://api.test/").await });
    upstream.until("the request arrives", |record| record.requests.len() == 1).await;
    request.abort();

    upstream.until("its connection is closed", |record| record.open == 0).await;
    assert_eq!(client.clone().get("http://api.test/").await.status, 200);
}

#[tokio::test]
async fn an_upstream_that_answers_nonsense_is_a_protocol_error() {
    let bad_length = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc";
    for bad in ["garbage\r\n\r\n", "HTTP/1.1 abc OK\r\n\r\n", bad_length] {
        let upstream = Upstream::http(move |_| Reply::raw(bad).then(Then::Close)).await;
        let proxy = Proxy::start(&api(upstream.addr(), &[NO_RETRY]));

        let response = proxy.get("http://api.test/").await;

        assert_eq!((response.status, response.reason().as_str()), (502, "protocol"), "{bad:?}");
    }
}

#[tokio::test]
async fn an_http2_upstream_that_resets_mid_body_is_a_cut_for_the_client() {
    let upstream = Upstream::raw(|_, mut wire| async move {
        let mut bytes = Vec::new();
        wire.exact(24, &mut bytes).await.expect("a preface");
        wire.send(b"\0\0\0\x04\0\0\0\0\0").await.expect("settings");
        loop {
            bytes.clear();
            if wire.exact(9, &mut bytes).await.is_err() {
                return;
            }
            let (length, stream) = (u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]), bytes[5..9].to_vec());
            let is_head = bytes[3] == 1;
            if wire.exact(length as usize, &mut bytes).await.is_err() {
                return;
            }
            if is_head {
                // HEADERS, DATA `abc`, RST_STREAM with NO_ERROR: it did not end all the same.
                let head = [&b"\0\0\x01\x01\x04"[..], &stream, b"\x88"].concat();
                let data = [&b"\0\0\x03\0\0"[..], &stream, b"abc"].concat();
                let reset = [&b"\0\0\x04\x03\0"[..], &stream, b"\0\0\0\0"].concat();
                let _ = wire.send([head, data, reset].concat()).await;
            }
        }
    })
    .await;
    let proxy = Proxy::start(&api(upstream.addr(), &[]).replace("to: http:", "to: h2c:"));

    let h1 = proxy.client().await.try_get("http://api.test/").await;
    let request = http::Request::get("http://api.test/").body(Default::default()).expect("a request");
    let h2 = proxy.h2().await.try_send(request).await;

    assert!(h1.as_ref().is_none_or(|response| response.end == End::Cut), "{h1:?}");
    assert!(h2.as_ref().map_or(true, |response| response.end == End::Cut), "{h2:?}");
}

/// Calls whose end is bad trip by their share: their good head has ended the row of failures.
const SHARE: usize = 20;

#[tokio::test]
async fn a_grpc_status_in_the_trailers_counts_for_the_breaker() {
    let upstream = Upstream::h2c(|_| {
        Reply::ok("\0\0\0\0\0").header("content-type", "application/grpc").trailer("grpc-status", "14")
    })
    .await;
    let proxy = Proxy::start(&api(upstream.addr(), &[]).replace("to: http:", "to: h2c:"));
    let mut client = proxy.h2().await;
    let fields = [("content-type", "application/grpc"), ("te", "trailers")];

    for _ in 0..SHARE {
        assert_eq!(client.post("http://api.test/s.S/C", &fields, b"\0\0\0\0\0").await.trailers.len(), 1);
    }
    let fast = client.post("http://api.test/s.S/C", &fields, b"\0\0\0\0\0").await;

    assert_eq!(
        (fast.header("grpc-message").map(|text| text.starts_with("breaker_open")), upstream.count()),
        (Some(true), SHARE),
        "{fast:?}"
    );
}

#[tokio::test]
async fn a_cut_body_counts_for_the_breaker() {
    let upstream =
        Upstream::http(|_| Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").then(Then::Close)).await;
    let proxy = Proxy::start(&api(upstream.addr(), &[]));

    for _ in 0..SHARE {
        assert_eq!(proxy.get("http://api.test/").await.end, End::Cut);
    }

    assert_eq!(proxy.get("http://api.test/").await.status, 503);
}

#[tokio::test]
async fn half_open_admits_one_probe_and_three_successes_close_it() {
    let gate = Gate::default();
    let held = gate.clone();
    let upstream = Upstream::http(move |seen| match seen.index {
        0..2 => Reply::status(500),
        2 => Reply::ok("probe").after(&held),
        _ => Reply::ok("good"),
    })
    .await;
    let proxy = Proxy::start(&api(upstream.addr(), &["breaker: { failures: 2, open: 300ms }"]));
    for _ in 0..2 {
        assert_eq!(proxy.get("http://api.test/").await.status, 500);
    }
    let (proxied, upstreamed) = (&proxy, &upstream);

    let probe = async {
        eventually("the probe", || async move {
            let response = proxied.get("http://api.test/").await;
            (response.status == 200).then_some(response)
        })
        .await
    };
    let beside = async {
        upstreamed.until("the probe is there", |record| record.requests.len() == 3).await;
        let refused = proxied.get("http://api.test/").await;
        gate.open();
        refused
    };
    let (probe, beside) = tokio::join!(probe, beside);

    assert_eq!((probe.text().as_str(), beside.status, beside.reason().as_str()), ("probe", 503, "breaker_open"));
    let state = |metrics: testkit::Metrics| metrics.sum("attache_breaker_state", &[]);
    assert_eq!(state(proxy.metrics().await), 1.0, "half-open after one success");
    for _ in 0..2 {
        assert_eq!(proxy.get("http://api.test/").await.text(), "good");
    }
    assert_eq!(state(proxy.metrics().await), 0.0);
}

#[tokio::test]
async fn a_probe_whose_client_leaves_is_released() {
    let upstream = Upstream::http(|seen| match seen.index {
        0 => Reply::status(500),
        1 => Reply::hang(),
        _ => Reply::ok("good"),
    })
    .await;
    let proxy = Proxy::start(&api(upstream.addr(), &["breaker: { failures: 1, open: 200ms }"]));
    assert_eq!(proxy.get("http://api.test/").await.status, 500);

    // Each client sends once and leaves if it is the probe.
    let (proxied, upstreamed) = (&proxy, &upstream);
    eventually("the probe hangs", || async move {
        let mut client = proxied.client().await;
        client.send("GET http://api.test/ HTTP/1.1\r\nHost: x\r\n\r\n").await;
        tokio::select! {
            response = client.response("GET") => { assert_eq!(response.status, 503); None }
            _ = upstreamed.until("the probe", |record| record.requests.len() == 2) => Some(()),
        }
    })
    .await;
    upstream.until("the probe is gone", |record| record.open == 0 || record.requests.len() > 2).await;

    eventually("the next probe", || async move { (proxied.get("http://api.test/").await.status == 200).then_some(()) })
        .await;
}
