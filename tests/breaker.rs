//! When an endpoint is called and when not: every way a breaker opens and closes, over real sockets.

use std::net::SocketAddr;
use std::time::Duration;

use testkit::child::{self, Child, until};
use testkit::load::{Got, Wire};
use testkit::upstream::Then;
use testkit::{Client, End, Proxy, Reply, Response, Upstream, eventually};
use tokio::time::Instant;

/// A route `api` for `api.test` to one upstream that is asked once, with further lines.
fn api(addr: SocketAddr, lines: &[&str]) -> String {
    let route = format!("routes:\n  - name: api\n    match: api.test\n    to: http://{addr}\n    retry: false\n");
    lines.iter().fold(route, |yaml, line| format!("{yaml}    {line}\n"))
}

async fn set(proxy: &Proxy, id: &str, action: &str) -> Response {
    let path = format!("/api/v1/breakers/{id}/{action}");
    Client::connect(proxy.admin_addr()).await.call("POST", &path, &["host: localhost", "x-attache: 1"], "").await
}

async fn state(proxy: &Proxy) -> f64 {
    proxy.metrics().await.sum("attache_breaker_state", &[])
}

// --- how it opens

#[tokio::test]
async fn cut_bodies_are_failures_in_a_row() {
    let cut = || Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").then(Then::Close);
    let upstream = Upstream::http(move |seen| if seen.index == 2 { Reply::ok("good") } else { cut() }).await;
    let proxy = Proxy::start(&api(upstream.addr(), &["breaker: 3"]));

    for end in [End::Cut, End::Cut, End::Whole, End::Cut, End::Cut, End::Cut] {
        assert_eq!(proxy.get("http://api.test/").await.end, end);
    }

    let fast = proxy.get("http://api.test/").await;
    assert_eq!((fast.status, fast.reason().as_str(), upstream.count()), (503, "breaker_open", 6));
}

#[tokio::test]
async fn grpc_statuses_in_trailers_are_failures_in_a_row() {
    let upstream = Upstream::h2c(|_| Reply::ok("\0\0\0\0\0").trailer("grpc-status", "14")).await;
    let proxy = Proxy::start(&api(upstream.addr(), &["breaker: 3"]).replace("to: http:", "to: h2c:"));
    let mut client = proxy.h2().await;
    let fields = [("content-type", "application/grpc"), ("te", "trailers")];

    for _ in 0..3 {
        assert_eq!(client.post("http://api.test/s.S/C", &fields, b"\0\0\0\0\0").await.trailers.len(), 1);
    }

    let fast = client.post("http://api.test/s.S/C", &fields, b"\0\0\0\0\0").await;
    assert_eq!(upstream.count(), 3, "{fast:?}");
}

#[tokio::test]
async fn slow_answers_open_it_by_their_share() {
    let upstream = Upstream::http(|_| Reply::ok("late").delay(Duration::from_millis(60))).await;
    let lines = ["breaker: { slow: { over: 20ms, rate: 80% }, min_requests: 5 }"];
    let proxy = Proxy::start(&api(upstream.addr(), &lines));

    for _ in 0..5 {
        assert_eq!(proxy.get("http://api.test/").await.text(), "late");
    }

    let fast = proxy.get("http://api.test/").await;
    assert_eq!((fast.status, fast.reason().as_str(), upstream.count()), (503, "breaker_open", 5));
}

#[tokio::test]
async fn a_refusal_says_when_to_come_back() {
    let upstream = Upstream::http(|_| Reply::status(500)).await;
    let proxy = Proxy::start(&api(upstream.addr(), &["breaker: { failures: 1, open: 40s, max_open: 40s }"]));
    proxy.get("http://api.test/").await;

    let fast = proxy.get("http://api.test/").await;

    let seconds: u64 = fast.header("retry-after").and_then(|text| text.parse().ok()).expect("seconds");
    assert!((30..=48).contains(&seconds), "40 s and up to a fifth more: {seconds}");
}

// --- how it finds back

#[tokio::test]
async fn the_probe_is_a_request_that_may_be_repeated_while_there_are_any() {
    let upstream = Upstream::http(|seen| if seen.index == 0 { Reply::status(500) } else { Reply::ok("good") }).await;
    let proxy = Proxy::start(&api(upstream.addr(), &["breaker: { failures: 1, open: 400ms }"]));
    proxy.get("http://api.test/").await;
    let asked = Instant::now();
    assert_eq!(proxy.get("http://api.test/").await.status, 503);

    // The open time ends meanwhile, and one that may be repeated was around within the last second.
    while Instant::now() - asked < Duration::from_millis(700) {
        let status = proxy.call("POST", "http://api.test/", &[], "x").await.status;
        assert!(status == 503 || Instant::now() - asked >= Duration::from_secs(1), "a POST was the probe: {status}");
    }

    assert_eq!(proxy.get("http://api.test/").await.text(), "good");
}

#[tokio::test]
async fn each_failed_probe_doubles_the_open_time_up_to_its_bound() {
    let upstream = Upstream::http(|_| Reply::status(500)).await;
    for (max_open, reached) in [("60s", 0.35..0.5), ("100ms", 0.0..0.121)] {
        let lines = [&*format!("breaker: {{ failures: 1, open: 100ms, max_open: {max_open} }}")];
        let proxy = Proxy::start(&api(upstream.addr(), &lines));
        let (proxied, before, upstreamed) = (&proxy, upstream.count(), &upstream);

        // The call that opens it, and two probes.
        eventually("two probes", || async move {
            proxied.get("http://api.test/").await;
            (upstreamed.count() - before == 3).then_some(())
        })
        .await;

        let listed = proxy.admin("/api/v1/breakers").await.json();
        let left = listed["breakers"][0]["open_for_s"].as_f64().expect("a number");
        assert!(left < reached.end, "{max_open}: {left}");
        // What is left is looked at a moment later.
        assert!(left > reached.start - 0.15, "{max_open}: {left}");
    }
}

#[tokio::test]
async fn a_request_that_may_not_be_repeated_is_the_probe_when_there_is_no_other() {
    let upstream = Upstream::http(|seen| if seen.index == 0 { Reply::status(500) } else { Reply::ok("good") }).await;
    let proxy = Proxy::start(&api(upstream.addr(), &["breaker: { failures: 1, open: 100ms }"]));
    assert_eq!(proxy.call("POST", "http://api.test/", &[], "x").await.status, 500);
    // One was around, and is not any more: it is waited for no longer than a second.
    proxy.get("http://api.test/").await;
    let proxied = &proxy;

    eventually("a probe", || async move {
        (proxied.call("POST", "http://api.test/", &[], "x").await.status == 200).then_some(())
    })
    .await;
}

// --- by hand

#[tokio::test]
async fn an_operator_opens_closes_and_resets_a_breaker() {
    let upstream = Upstream::http(|seen| Reply::status(if seen.target == "/bad" { 500 } else { 200 })).await;
    let proxy = Proxy::start(&api(upstream.addr(), &["breaker: 2"]));
    let id = format!("{0}@{0}", upstream.addr());
    assert_eq!(proxy.get("http://api.test/").await.status, 200);

    let opened = set(&proxy, &id, "open").await;
    assert_eq!((opened.status, opened.json()["breakers"][0]["forced"].as_bool()), (200, Some(true)), "{opened:?}");
    let fast = proxy.get("http://api.test/").await;
    assert_eq!((fast.status, fast.reason().as_str(), upstream.count()), (503, "breaker_open", 1));
    assert!(fast.header("retry-after").is_some());
    let status = proxy.admin("/api/v1/status").await.json();
    assert_eq!(status["breakers_not_closed"][0], format!("{} open (forced)", upstream.addr()), "{status}");
    assert_eq!(state(&proxy).await, 2.0);

    set(&proxy, &id, "close").await;
    for _ in 0..5 {
        assert_eq!(proxy.get("http://api.test/bad").await.status, 500);
    }

    set(&proxy, &id, "reset").await;
    for _ in 0..2 {
        assert_eq!(proxy.get("http://api.test/bad").await.status, 500);
    }
    assert_eq!(proxy.get("http://api.test/bad").await.status, 503, "counts again");
}

#[tokio::test]
async fn only_known_breakers_and_actions_and_only_on_purpose() {
    let upstream = Upstream::fixed("good").await;
    let proxy = Proxy::start(&api(upstream.addr(), &[]));
    proxy.get("http://api.test/").await;
    let id = format!("{0}@{0}", upstream.addr());

    assert_eq!(set(&proxy, "nobody@127.0.0.1:1", "open").await.status, 404);
    assert_eq!(set(&proxy, &id, "explode").await.status, 404);
    let path = format!("/api/v1/breakers/{id}/open");
    let mut client = Client::connect(proxy.admin_addr()).await;
    assert_eq!(client.call("POST", &path, &["host: localhost"], "").await.status, 403);
    assert_eq!(proxy.get("http://api.test/").await.status, 200);
    let listed = proxy.admin("/api/v1/breakers").await.json();
    assert_eq!((&listed["breakers"][0]["id"], &listed["breakers"][0]["state"]), (&id.into(), &"closed".into()));
}

#[tokio::test]
async fn a_host_that_no_route_names_has_a_breaker_that_can_be_set() {
    let (one, other) = (Upstream::fixed("one").await, Upstream::fixed("other").await);
    let proxy = Proxy::start("default: { retry: false }\n");
    let url = |upstream: &Upstream| format!("http://{}/", upstream.addr());
    assert_eq!(proxy.get(&url(&one)).await.status, 200);

    set(&proxy, &format!("_default@{}", one.addr()), "open").await;

    assert_eq!(proxy.get(&url(&one)).await.status, 503);
    assert_eq!(proxy.get(&url(&other)).await.status, 200);
}

#[tokio::test]
async fn a_force_survives_a_reload_of_other_numbers() {
    let upstream = Upstream::fixed("good").await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("attache.yaml");
    let text = |failures: u32| {
        format!("log: {{ access: false }}\n{}", api(upstream.addr(), &[&format!("breaker: {failures}")]))
    };
    std::fs::write(&file, text(3)).expect("written");
    let proxy = Child::start(&child::program(env!("CARGO_BIN_EXE_attache")), &file).await;
    let status = || async {
        match Wire::connect(proxy.listen).await.expect("a connection").get("http://api.test/").await {
            Got::Whole { status, .. } => status,
            other => unreachable!("{other:?}"),
        }
    };
    let admin = || async { Client::connect(proxy.admin).await };
    let path = format!("/api/v1/breakers/{0}@{0}/open", upstream.addr());
    let forced = admin().await.call("POST", &path, &["host: localhost", "x-attache: 1"], "").await;
    assert_eq!((forced.status, status().await), (200, 503));

    std::fs::write(&file, text(4)).expect("written");
    proxy.command(&["reload"]).await;
    until("the new configuration", Duration::from_secs(10), || async {
        proxy.metric("attache_config_generation").await.is_some_and(|generation| generation >= 2.0)
    })
    .await;

    assert_eq!(status().await, 503);
    let shown = String::from_utf8(proxy.command(&["status"]).await.stdout).expect("text");
    assert!(shown.contains("open (forced)"), "{shown}");
}
