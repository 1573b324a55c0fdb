//! How long a client waits, said by the client itself: `grpc-timeout` and a header of the route's choice.

use std::net::SocketAddr;
use std::time::Duration;

use testkit::wire::Wire;
use testkit::{End, Proxy, Reply, Upstream};
use tokio::time::Instant;

/// A route `api` for `api.test` to one upstream, with further lines.
fn api(addr: SocketAddr, lines: &[&str]) -> String {
    let route = format!("routes:\n  - name: api\n    match: api.test\n    to: http://{addr}\n");
    lines.iter().fold(route, |yaml, line| format!("{yaml}    {line}\n"))
}

const HEADER: &str = "deadline: X-Request-Timeout";
const URL: &str = "http://api.test/";

/// What an upstream was told of the time that is left, in milliseconds.
fn left(upstream: &Upstream, name: &str) -> Vec<u64> {
    let told = |seen: &testkit::Seen| seen.header(name)?.trim_end_matches("ms").parse().ok();
    upstream.requests().iter().filter_map(told).collect()
}

#[tokio::test]
async fn each_attempt_sends_what_is_left_waits_between_them_included() {
    for (given, unit) in [("9000", ""), ("9s", "ms")] {
        let upstream = Upstream::http(|seen| match seen.index {
            0 => Reply::status(503).header("Retry-After", "1"),
            _ => Reply::ok("good"),
        })
        .await;
        let proxy = Proxy::start(&api(upstream.addr(), &[HEADER]));

        let response = proxy.call("GET", URL, &[&format!("X-Request-Timeout: {given}")], "").await;

        assert_eq!(response.text(), "good");
        let left = left(&upstream, "x-request-timeout");
        assert!((8000..=9000).contains(&left[0]) && left[1] + 1000 <= left[0], "{left:?}");
        let written = upstream.requests()[0].header("x-request-timeout").expect("what is left").to_owned();
        assert_eq!(written, format!("{}{unit}", left[0]), "in the form it came");
    }
}

#[tokio::test]
async fn it_shortens_the_total_time_and_is_recorded_as_what_ended_the_attempt() {
    let upstream = Upstream::http(|_| Reply::hang()).await;
    let proxy = Proxy::start(&api(upstream.addr(), &[HEADER, "timeout: { attempt: 10s, total: 20s }"]));
    let started = Instant::now();

    let response = proxy.call("GET", URL, &["X-Request-Timeout: 300ms"], "").await;

    let took = Instant::now() - started;
    assert_eq!((response.status, response.reason().as_str(), upstream.count()), (504, "deadline", 1));
    assert!((Duration::from_millis(290)..Duration::from_secs(3)).contains(&took), "{took:?}");
    upstream.until("its connection is closed", |record| record.open == 0).await;
    let log = proxy.finish();
    assert_eq!((&log[0]["reason"], &log[0]["attempts"][0]["reason"]), (&"deadline".into(), &"deadline".into()));
}

#[tokio::test]
async fn it_does_not_lengthen_the_total_time() {
    let upstream = Upstream::http(|_| Reply::hang()).await;
    let proxy = Proxy::start(&api(upstream.addr(), &[HEADER, "timeout: { total: 300ms, attempt: false }"]));
    let started = Instant::now();

    let response = proxy.call("GET", URL, &["X-Request-Timeout: 1m"], "").await;

    assert_eq!(response.reason(), "deadline");
    assert!(Instant::now() - started < Duration::from_secs(10));
}

#[tokio::test]
async fn it_covers_the_body_where_the_total_time_does_not() {
    for (fields, end) in [(&["X-Request-Timeout: 400"][..], End::Cut), (&[], End::Whole)] {
        let upstream = Upstream::raw(|_, mut wire| async move {
            let _ = wire.head().await;
            let _ = wire.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc").await;
            tokio::time::sleep(Duration::from_millis(1200)).await;
            let _ = wire.send("def").await;
            wire.closed().await;
        })
        .await;
        let proxy = Proxy::start(&api(upstream.addr(), &[HEADER, "timeout: { total: 400ms }"]));

        let response = proxy.call("GET", URL, fields, "").await;

        assert_eq!((response.status, response.end), (200, end), "{fields:?}");
        let log = proxy.finish();
        assert_eq!(log[0]["reason"].as_str(), (end == End::Cut).then_some("deadline"), "{log:?}");
    }
}

#[tokio::test]
async fn what_says_no_time_is_the_clients_error_and_nothing_is_sent() {
    let upstream = Upstream::fixed("good").await;
    let proxy = Proxy::start(&api(upstream.addr(), &[HEADER]));

    for wrong in ["soon", "", "-1", "1h", "1.5"] {
        let response = proxy.call("GET", URL, &[&format!("X-Request-Timeout: {wrong}")], "").await;
        assert_eq!((response.status, response.reason().as_str()), (400, "bad_request"), "{wrong}");
    }
    let response = proxy.call("GET", URL, &["X-Request-Timeout: 1s", "X-Request-Timeout: 2s"], "").await;
    assert_eq!(response.status, 400, "said twice");
    let response = proxy.call("GET", URL, &["X-Request-Timeout: 0"], "").await;
    assert_eq!((response.status, response.reason().as_str()), (504, "deadline"));

    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn without_the_key_the_field_is_a_field_like_any_other() {
    let upstream = Upstream::fixed("good").await;
    let proxy = Proxy::start(&api(upstream.addr(), &[]));

    let response = proxy.call("GET", URL, &["X-Request-Timeout: soon"], "").await;

    assert_eq!((response.status, upstream.only().header("x-request-timeout")), (200, Some("soon")));
}

#[tokio::test]
async fn what_is_left_goes_on_under_another_name_or_not_at_all() {
    for (line, left_as) in [
        ("deadline: { header: X-In, out: X-Out }", Some("x-out")),
        ("deadline: { header: X-In, out: false }", None),
        ("deadline: { header: X-In }", Some("x-in")),
    ] {
        let upstream = Upstream::fixed("good").await;
        let proxy = Proxy::start(&api(upstream.addr(), &[line]));

        assert_eq!(proxy.call("GET", URL, &["X-In: 9000"], "").await.status, 200);
        assert_eq!(proxy.get(URL).await.status, 200);

        let seen = upstream.requests();
        for name in ["x-in", "x-out"] {
            assert_eq!(seen[0].header(name).is_some(), left_as == Some(name), "{line} {name}");
            assert_eq!(seen[1].header(name), None, "nobody asked");
        }
    }
}

#[tokio::test]
async fn a_retry_after_that_outlasts_the_clients_own_deadline_is_handed_back_at_once() {
    let upstream = Upstream::http(|_| Reply::status(503).header("Retry-After", "2").body("later")).await;
    let proxy = Proxy::start(&api(upstream.addr(), &[HEADER]));
    let started = Instant::now();

    let response = proxy.call("GET", URL, &["X-Request-Timeout: 1900ms"], "").await;

    assert_eq!((response.status, response.text().as_str(), upstream.count()), (503, "later", 1));
    assert!(Instant::now() - started < Duration::from_millis(1800));
}

#[tokio::test]
async fn it_holds_for_hosts_that_no_route_names() {
    let upstream = Upstream::http(|_| Reply::hang()).await;
    let proxy = Proxy::start("default: { action: pass, deadline: X-Request-Timeout }\n");

    let response = proxy.call("GET", &upstream.url("/"), &["X-Request-Timeout: 200"], "").await;

    assert_eq!((response.status, response.reason().as_str()), (504, "deadline"));
}

const GRPC: [(&str, &str); 2] = [("content-type", "application/grpc"), ("te", "trailers")];

#[tokio::test]
async fn a_grpc_client_is_told_status_4_whichever_way_it_gave_its_time() {
    let upstream = Upstream::h2c(|_| Reply::hang()).await;
    let yaml = api(upstream.addr(), &[HEADER]).replace("to: http:", "to: h2c:");
    let proxy = Proxy::start(&yaml);
    for (field, value, sent) in [
        ("grpc-timeout", "300m", 1),
        ("x-request-timeout", "300ms", 1),
        ("grpc-timeout", "0n", 0),
        ("x-request-timeout", "0", 0),
    ] {
        let before = upstream.count();

        let fields = [GRPC[0], GRPC[1], (field, value)];
        let response = proxy.h2().await.post("http://api.test/s.S/C", &fields, b"\0\0\0\0\0").await;

        assert_eq!((response.status, response.header("grpc-status")), (200, Some("4")), "{field}: {response:?}");
        assert_eq!(upstream.count() - before, sent, "{field}: {value}");
    }
}

/// HTTP/2 by hand: a head and a message for each request, and no end.
async fn endless(mut wire: Wire) {
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
        if frame[3] == 1 {
            // HEADERS with END_HEADERS alone; 0x88 is `:status: 200`. DATA of an empty message.
            let head = [&[0, 0, 1, 1, 4][..], &frame[5..9], &[0x88]].concat();
            let data = [&[0, 0, 5, 0, 0][..], &frame[5..9], &[0; 5]].concat();
            let _ = wire.send([head, data].concat()).await;
        }
    }
}

#[tokio::test]
async fn a_grpc_stream_ends_with_status_4_in_its_trailers() {
    let upstream = Upstream::raw(|_, wire| endless(wire)).await;
    let proxy = Proxy::start(&api(upstream.addr(), &[HEADER]).replace("to: http:", "to: h2c:"));
    for field in [("grpc-timeout", "500m"), ("x-request-timeout", "500")] {
        let fields = [GRPC[0], GRPC[1], field];

        let response = proxy.h2().await.post("http://api.test/s.S/C", &fields, b"\0\0\0\0\0").await;

        let status = response.trailers.iter().find(|(name, _)| name == "grpc-status").map(|(_, value)| value.as_str());
        assert_eq!((response.status, response.body.len(), status), (200, 5, Some("4")), "{response:?}");
    }
}
