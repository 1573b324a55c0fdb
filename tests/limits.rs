//! How much goes out at once, and what those hear for whom there is no place.

use std::net::SocketAddr;
use std::time::Duration;

use testkit::child::{self, Child, until};
use testkit::{Client, Gate, Proxy, Reply, Response, Upstream, eventually, within};
use tokio::task::JoinHandle;

/// A route `api` for `api.test` to one upstream, with further lines.
fn api(addr: SocketAddr, lines: &[&str]) -> String {
    let route = format!("routes:\n  - name: api\n    match: api.test\n    to: http://{addr}\n");
    lines.iter().fold(route, |yaml, line| format!("{yaml}    {line}\n"))
}

/// Answers once the gate is open.
async fn gated(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::http(move |_| Reply::ok("good").after(&gate)).await
}

/// A GET on a connection of its own, under way.
fn begin(at: SocketAddr, url: &str) -> JoinHandle<Response> {
    let url = url.to_owned();
    tokio::spawn(async move { Client::connect(at).await.get(&url).await })
}

/// An answer that does not end.
const PARTIAL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc";

/// A client whose answer has begun.
async fn streaming(proxy: &Proxy) -> Client {
    let mut client = proxy.client().await;
    client.send("GET http://api.test/ HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
    assert!(client.bytes(12).await.ends_with(b"200"));
    client
}

/// Places taken, the line, and the places there are.
async fn limits(proxy: &Proxy) -> [f64; 3] {
    let metrics = proxy.metrics().await;
    ["inflight", "waiting", "concurrency"]
        .map(|name| metrics.sum(&format!("attache_limit_{name}"), &[("route", "api")]))
}

async fn arrived(upstream: &Upstream, count: usize) {
    upstream.until("requests arrive", |record| record.requests.len() == count).await;
}

async fn end(call: JoinHandle<Response>) -> Response {
    within("the answer", call).await.expect("the client ends")
}

// --- in flight

#[tokio::test]
async fn so_many_are_in_flight_and_one_more_is_refused_at_once() {
    let gate = Gate::default();
    let upstream = gated(&gate).await;
    let proxy = Proxy::start(&api(upstream.addr(), &["limit: 2"]));
    let calls = [begin(proxy.addr(), "http://api.test/"), begin(proxy.addr(), "http://api.test/")];
    arrived(&upstream, 2).await;

    let refused = proxy.get("http://api.test/").await;

    assert_eq!((refused.status, refused.reason().as_str()), (503, "overloaded"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.header("proxy-status").is_some_and(|status| status.contains("connection_limit_reached")));
    gate.open();
    for call in calls {
        assert_eq!(end(call).await.status, 200);
    }
    assert_eq!(proxy.get("http://api.test/").await.status, 200, "there are places again");
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("attache_rejected_total", &[("route", "api"), ("reason", "overloaded")]), 1.0);
    let log = proxy.finish();
    assert_eq!(log.iter().filter(|line| line["reason"] == "overloaded").count(), 1, "{log:?}");
    assert_eq!(upstream.count(), 3);
}

#[tokio::test]
async fn a_streaming_answer_keeps_its_place_until_it_ends_or_its_client_leaves() {
    let upstream =
        Upstream::http(move |seen| if seen.index == 0 { Reply::raw(PARTIAL) } else { Reply::ok("good") }).await;
    let proxy = Proxy::start(&api(upstream.addr(), &["limit: 1"]));
    let client = streaming(&proxy).await;

    assert_eq!(proxy.get("http://api.test/").await.reason(), "overloaded");
    drop(client);

    let again = async || Some(proxy.get("http://api.test/").await).filter(|response| response.status == 200);
    assert_eq!(eventually("the place is free", again).await.text(), "good");
}

#[tokio::test]
async fn each_host_of_a_route_without_a_target_has_its_own_places() {
    let gate = Gate::default();
    let (slow, quick) = (gated(&gate).await, Upstream::fixed("quick").await);
    let proxy = Proxy::start("default: { action: pass, limit: 1 }\n");
    let call = begin(proxy.addr(), &slow.url("/"));
    arrived(&slow, 1).await;

    assert_eq!(proxy.get(&slow.url("/")).await.reason(), "overloaded");
    assert_eq!(proxy.get(&quick.url("/")).await.text(), "quick");

    gate.open();
    assert_eq!(end(call).await.status, 200);
}

// --- in line

#[tokio::test]
async fn who_waits_in_line_is_served_and_beyond_it_is_refused() {
    let gate = Gate::default();
    let upstream = gated(&gate).await;
    let proxy = Proxy::start(&api(upstream.addr(), &["limit: { concurrency: 1, queue: { size: 1, timeout: 14s } }"]));
    let first = begin(proxy.addr(), "http://api.test/");
    arrived(&upstream, 1).await;
    let mut later = [begin(proxy.addr(), "http://api.test/"), begin(proxy.addr(), "http://api.test/")];

    let [one, other] = &mut later;
    let (refused, waiting) = within("one of the two is refused", async {
        tokio::select! {
            response = one => (response, 1),
            response = other => (response, 0),
        }
    })
    .await;

    let refused = refused.expect("the client ends");
    assert_eq!((refused.status, refused.reason().as_str()), (503, "overloaded"));
    assert_eq!(upstream.count(), 1);
    gate.open();
    assert_eq!(end(first).await.status, 200);
    let [one, other] = later;
    assert_eq!(end(if waiting == 0 { one } else { other }).await.status, 200);
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn the_wait_in_line_ends_by_its_own_time() {
    let gate = Gate::default();
    let upstream = gated(&gate).await;
    let limit = "limit: { concurrency: 1, queue: { size: 1, timeout: 50ms } }";
    let proxy = Proxy::start(&api(upstream.addr(), &[limit]));
    let held = begin(proxy.addr(), "http://api.test/");
    arrived(&upstream, 1).await;

    let refused = proxy.get("http://api.test/").await;

    assert_eq!((refused.status, refused.reason().as_str()), (503, "queue_timeout"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    gate.open();
    assert_eq!(end(held).await.status, 200);
}

#[tokio::test]
async fn the_deadline_covers_the_wait_in_line() {
    let upstream = Upstream::http(|_| Reply::raw(PARTIAL)).await;
    let limit = "limit: { concurrency: 1, queue: { size: 1, timeout: 10s } }";
    let proxy = Proxy::start(&api(upstream.addr(), &[limit, "timeout: { attempt: 100ms, total: 100ms }"]));
    // Its head is there, so its own time does not end it.
    let held = streaming(&proxy).await;

    let refused = proxy.get("http://api.test/").await;

    assert_eq!((refused.status, refused.reason().as_str()), (504, "deadline"));
    assert_eq!(upstream.count(), 1);
    drop(held);
}

#[tokio::test]
async fn a_scrape_shows_the_places_taken_and_the_line() {
    let gate = Gate::default();
    let upstream = gated(&gate).await;
    let proxy = Proxy::start(&api(upstream.addr(), &["limit: { concurrency: 2, queue: 5 }"]));
    assert_eq!(limits(&proxy).await, [0.0, 0.0, 2.0]);

    let calls = [(); 3].map(|()| begin(proxy.addr(), "http://api.test/"));

    let proxied = &proxy;
    let shown =
        |wanted| eventually("the gauges", move || async move { (limits(proxied).await == wanted).then_some(()) });
    shown([2.0, 1.0, 2.0]).await;
    gate.open();
    for call in calls {
        assert_eq!(end(call).await.status, 200);
    }
    shown([0.0, 0.0, 2.0]).await;
}

#[tokio::test]
async fn an_adaptive_limit_goes_down_under_refusals_and_a_scrape_shows_it() {
    let upstream = Upstream::http(|_| Reply::status(503)).await;
    let lines = ["limit: { concurrency: 300, adaptive: true }", "retry: false", "breaker: false"];
    let proxy = Proxy::start(&api(upstream.addr(), &lines));
    assert_eq!(limits(&proxy).await[2], 20.0, "where it begins");

    let proxied = &proxy;
    eventually("a window with refusals", || async move {
        assert_eq!(proxied.get("http://api.test/").await.status, 503);
        (limits(proxied).await[2] < 20.0).then_some(())
    })
    .await;
}

// --- in time

#[tokio::test]
async fn beyond_its_rate_a_client_hears_how_much_and_when_again() {
    let upstream = Upstream::fixed("good").await;
    let proxy = Proxy::start(&api(upstream.addr(), &["limit: { rate: 2/h, per: client }"]));
    for _ in 0..2 {
        assert_eq!(proxy.get("http://api.test/").await.status, 200);
    }

    let refused = proxy.get("http://api.test/").await;

    assert_eq!((refused.status, refused.reason().as_str()), (429, "rate_limited"));
    assert_eq!(refused.header("ratelimit-policy"), Some("\"client\";q=2;w=3600"));
    let after: u64 = refused.header("retry-after").and_then(|after| after.parse().ok()).expect("seconds");
    assert!((1700..=1800).contains(&after), "{after}");
    assert_eq!(refused.header("ratelimit"), Some(format!("\"client\";r=0;t={after}").as_str()));
    assert!(refused.header("proxy-status").is_some_and(|status| status.contains("http_request_denied")));
    assert_eq!(upstream.count(), 2);
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("attache_rejected_total", &[("route", "api"), ("reason", "rate_limited")]), 1.0);
}

#[tokio::test]
async fn what_is_tried_again_counts_once_and_what_has_a_key_counts_apart() {
    let upstream = Upstream::http(|seen| Reply::status(if seen.index % 2 == 0 { 503 } else { 200 })).await;
    let proxy =
        Proxy::start(&api(upstream.addr(), &["limit: { rate: 1/h, per: 'header:x-tenant' }", "breaker: false"]));

    for (tenant, status) in [("a", 200), ("a", 429), ("b", 200), ("b", 429)] {
        let field = format!("x-tenant: {tenant}");
        assert_eq!(proxy.call("GET", "http://api.test/", &[&field], "").await.status, status, "{tenant}");
    }

    assert_eq!(upstream.count(), 4);
}

// --- what the upstream announces

#[tokio::test]
async fn an_announced_limit_holds_calls_back_until_it_is_renewed() {
    let upstream = Upstream::http(|seen| match seen.index {
        0 => Reply::ok("good").header("RateLimit", "\"default\";r=0;t=1"),
        _ => Reply::ok("good"),
    })
    .await;
    let proxy = Proxy::start(&api(upstream.addr(), &["limit: { pacing: true }"]));
    let start = tokio::time::Instant::now();
    assert_eq!(proxy.get("http://api.test/").await.status, 200);
    assert!(tokio::time::Instant::now() - start < Duration::from_millis(900));

    assert_eq!(proxy.get("http://api.test/").await.status, 200);

    assert!(tokio::time::Instant::now() - start >= Duration::from_secs(1));
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn a_limit_that_outlasts_the_deadline_spares_the_upstream() {
    let upstream = Upstream::http(|_| Reply::status(429).header("Retry-After", "60")).await;
    let lines = ["limit: { pacing: true }", "timeout: { total: 5s, attempt: 5s }"];
    let proxy = Proxy::start(&api(upstream.addr(), &lines));
    let theirs = proxy.get("http://api.test/").await;
    assert_eq!((theirs.status, theirs.header("proxy-status")), (429, None));

    let ours = proxy.get("http://api.test/").await;

    assert_eq!((ours.status, ours.reason().as_str()), (429, "rate_limited"));
    assert!(matches!(ours.header("retry-after"), Some("59" | "60")), "{ours:?}");
    assert_eq!(upstream.count(), 1);
}

// --- a reload

#[tokio::test]
async fn a_reload_keeps_who_is_there_and_applies_the_new_number() {
    let gate = Gate::default();
    let upstream = gated(&gate).await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("attache.yaml");
    let write = |limit: u32| {
        let text = format!("log: {{ access: false }}\n{}", api(upstream.addr(), &[&format!("limit: {limit}")]));
        std::fs::write(&file, text).expect("written");
    };
    write(2);
    let proxy = Child::start(&child::program(env!("CARGO_BIN_EXE_attache")), &file).await;
    let calls = [begin(proxy.listen, "http://api.test/"), begin(proxy.listen, "http://api.test/")];
    arrived(&upstream, 2).await;

    for (limit, admitted) in [(1, false), (2, false), (3, true)] {
        write(limit);
        assert!(proxy.command(&["reload"]).await.status.success());
        let generation = f64::from(limit + 1);
        until("the reload", Duration::from_secs(10), || async {
            proxy.metric("attache_config_generation").await == Some(generation)
        })
        .await;
        if admitted {
            let third = begin(proxy.listen, "http://api.test/");
            arrived(&upstream, 3).await;
            gate.open();
            assert_eq!(end(third).await.status, 200);
        } else {
            let refused = Client::connect(proxy.listen).await.get("http://api.test/").await;
            assert_eq!(refused.reason(), "overloaded", "limit {limit}, and two are there");
        }
    }

    for call in calls {
        assert_eq!(end(call).await.status, 200);
    }
}
