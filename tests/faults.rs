//! Faults that are injected on purpose.

use std::time::Duration;

use testkit::{End, Proxy, Upstream};

/// A route `api` for `api.test` to one upstream, with further lines.
fn api(upstream: &Upstream, lines: &[&str]) -> String {
    let route = format!("routes:\n  - name: api\n    match: api.test\n    to: http://{}\n", upstream.addr());
    lines.iter().fold(route, |yaml, line| format!("{yaml}    {line}\n"))
}

async fn injected(proxy: &Proxy, kind: &str) -> f64 {
    proxy.metrics().await.sum("attache_faults_total", &[("route", "api"), ("kind", kind)])
}

fn get() -> http::Request<http_body_util::Full<bytes::Bytes>> {
    http::Request::get("http://api.test/").body(Default::default()).expect("a request")
}

#[tokio::test]
async fn an_abort_has_the_status_that_was_asked_for_and_nothing_is_sent() {
    let upstream = Upstream::fixed("good").await;
    let proxy = Proxy::start(&api(&upstream, &["fault: { abort: 418 }"]));

    let response = proxy.get("http://api.test/").await;

    assert_eq!((response.status, response.reason().as_str()), (418, "fault"));
    assert!(response.header("proxy-status").is_some_and(|status| status.contains("proxy_internal_response")));
    let over_h2 = proxy.h2().await.send(get()).await;
    assert_eq!(over_h2.status, 418);
    assert_eq!((upstream.count(), injected(&proxy, "abort").await), (0, 2.0));
    let line = proxy.finish().remove(0);
    assert_eq!((&line["status"], &line["reason"], &line["fault"]), (&418.into(), &"fault".into(), &"abort".into()));
}

#[tokio::test]
async fn a_grpc_client_hears_the_grpc_status() {
    let upstream = Upstream::fixed("good").await;
    let proxy = Proxy::start(&api(&upstream, &["fault: { abort: { grpc: resource_exhausted } }"]));
    let fields = [("content-type", "application/grpc"), ("te", "trailers")];

    let called = proxy.h2().await.post("http://api.test/svc/Do", &fields, b"").await;
    let plain = proxy.get("http://api.test/").await;

    assert_eq!((called.status, called.header("grpc-status")), (200, Some("8")));
    assert_eq!(plain.status, 503);
}

#[tokio::test]
async fn a_reset_ends_the_connection_of_http_1_and_the_stream_of_http_2() {
    let upstream = Upstream::fixed("good").await;
    let proxy = Proxy::start(&api(&upstream, &["fault: { reset: 100%, headers: { x-chaos: '*' } }"]));
    let mut client = proxy.client().await;
    assert_eq!(client.get("http://api.test/").await.text(), "good");

    client.send("GET http://api.test/ HTTP/1.1\r\nhost: api.test\r\nx-chaos: 1\r\n\r\n").await;
    assert_eq!(client.rest().await, b"", "not a byte of an answer");
    let mut h2 = proxy.h2().await;
    let mut chaos = get();
    chaos.headers_mut().insert("x-chaos", http::HeaderValue::from_static("1"));
    let reset = h2.try_send(chaos).await.expect_err("a reset");
    assert_eq!(h2.send(get()).await.text(), "good", "only the stream: {reset}");

    assert_eq!((upstream.count(), injected(&proxy, "reset").await), (2, 2.0));
    let lines = proxy.finish();
    let cut: Vec<_> = lines.iter().filter(|line| line["reason"] == "fault").collect();
    assert_eq!(cut.len(), 2, "{lines:?}");
    assert!(cut.iter().all(|line| line["fault"] == "reset" && line["status"].is_null()), "{cut:?}");
}

#[tokio::test]
async fn a_reset_is_one_on_the_wire() {
    let upstream = Upstream::fixed("good").await;
    let proxy = Proxy::start(&api(&upstream, &["fault: { reset: 100% }"]));
    let mut client = proxy.client().await;
    client.send("GET http://api.test/ HTTP/1.1\r\nhost: api.test\r\n\r\n").await;

    let mut wire = client.into_wire();
    let error = wire.rest(&mut Vec::new()).await.expect_err("a reset, not an end");

    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_delay_makes_it_late_and_never_later_than_the_deadline() {
    let upstream = Upstream::fixed("good").await;
    let proxy = Proxy::start(&api(&upstream, &["fault: { delay: 300ms }"]));
    let start = tokio::time::Instant::now();
    let response = proxy.get("http://api.test/").await;
    assert_eq!(response.text(), "good");
    assert!(tokio::time::Instant::now() - start >= Duration::from_millis(300));
    assert_eq!(injected(&proxy, "delay").await, 1.0);

    let short = ["fault: { delay: 10s }", "timeout: { attempt: 100ms, total: 100ms }"];
    let proxy = Proxy::start(&api(&upstream, &short));
    let response = proxy.get("http://api.test/").await;

    assert_eq!((response.status, response.reason().as_str()), (504, "deadline"));
    assert_eq!((upstream.count(), response.end), (1, End::Whole));
}

#[tokio::test]
async fn a_share_is_drawn_the_same_way_for_the_same_seed() {
    let upstream = Upstream::fixed("good").await;
    let mut runs = Vec::new();
    for _ in 0..2 {
        let proxy = Proxy::start(&api(&upstream, &["fault: { abort: { status: 500, share: 30% } }"]));
        let mut client = proxy.client().await;
        let mut run = Vec::new();
        for _ in 0..60 {
            run.push(client.get("http://api.test/").await.status);
        }
        runs.push(run);
    }

    let aborted = runs[0].iter().filter(|status| **status == 500).count();
    assert!((8..=30).contains(&aborted), "{aborted}");
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test]
async fn a_fallback_can_be_tried_out_with_a_fault() {
    let upstream = Upstream::fixed("good").await;
    let lines = ["fault: { abort: 503 }", "fallback: [{ on: fault, respond: { body: instead } }]"];
    let proxy = Proxy::start(&api(&upstream, &lines));

    assert_eq!(proxy.get("http://api.test/").await.text(), "instead");

    assert_eq!((upstream.count(), injected(&proxy, "abort").await), (0, 1.0));
}

#[test]
fn explain_says_loudly_that_it_is_on() {
    let yaml = "routes:\n  - match: api.test\n    to: https://api.test\n    fault: { delay: { time: 1s, share: 5% }, abort: 503 }\n";
    let model = config::parse(yaml, "test.yaml", config::Format::Yaml).expect("a model").model;

    let explained = proxy::explain(&model, "GET", "http://api.test/", &[]).expect("explained").to_string();

    let expected = "FAULTS ARE INJECTED ON PURPOSE: 5% wait 1s, 100% get 503";
    assert!(explained.contains(expected), "{explained}");

    let yaml = "default: { action: pass, fault: { reset: 2% } }\n";
    let model = config::parse(yaml, "test.yaml", config::Format::Yaml).expect("a model").model;
    for url in ["http://any.test/", "https://any.test/"] {
        let explained = proxy::explain(&model, "GET", url, &[]).expect("explained").to_string();
        assert!(explained.contains("FAULTS ARE INJECTED ON PURPOSE: 2% are reset"), "{explained}");
    }
}
