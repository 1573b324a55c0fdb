//! Several endpoints of one upstream: who is left out, and what happens when too many are.

use std::net::SocketAddr;
use std::time::Duration;

use testkit::{Client, Port, Proxy, Reply, Seen, Upstream, eventually};

/// A route `api` for `api.test` to a named upstream `pool`; `upstream` and `route` are further lines.
fn pool(endpoints: &[SocketAddr], upstream: &[&str], route: &[&str]) -> String {
    let urls: Vec<String> = endpoints.iter().map(|addr| format!("\"http://{addr}\"")).collect();
    let yaml = format!("upstreams:\n  - name: pool\n    endpoints: [{}]\n", urls.join(", "));
    let yaml = upstream.iter().fold(yaml, |yaml, line| format!("{yaml}    {line}\n"));
    let yaml = format!("{yaml}routes:\n  - name: api\n    match: api.test\n    to: upstream:pool\n");
    route.iter().fold(yaml, |yaml, line| format!("{yaml}    {line}\n"))
}

const TURNS: &str = "balance: round_robin";
const ONCE: &str = "retry: false";

/// Opens the breaker of `upstream` by hand.
async fn breaker(proxy: &Proxy, addr: SocketAddr, action: &str) {
    let path = format!("/api/v1/breakers/pool@{addr}/{action}");
    let fields = ["host: localhost", "x-attache: 1"];
    assert_eq!(Client::connect(proxy.admin_addr()).await.call("POST", &path, &fields, "").await.status, 200);
}

async fn gauge(proxy: &Proxy, name: &str) -> f64 {
    proxy.metrics().await.sum(name, &[("upstream", "pool")])
}

/// Fails every third request.
fn third(seen: &Seen) -> Reply {
    if seen.index % 3 == 2 { Reply::status(500) } else { Reply::ok("mostly") }
}

#[tokio::test]
async fn an_endpoint_that_fails_more_than_the_others_is_left_out() {
    let (good, other) = (Upstream::fixed("good").await, Upstream::fixed("good").await);
    let bad = Upstream::http(third).await;
    let proxy = Proxy::start(&pool(&[good.addr(), bad.addr(), other.addr()], &[TURNS, "outlier: 20%"], &[ONCE]));
    let mut client = proxy.client().await;
    for _ in 0..90 {
        client.get("http://api.test/").await;
    }

    let proxied = &proxy;
    eventually("it is out", || async move { (gauge(proxied, "attache_breaker_state").await == 2.0).then_some(()) })
        .await;
    let asked = bad.count();
    for _ in 0..20 {
        assert_eq!(client.get("http://api.test/").await.text(), "good");
    }

    assert_eq!(bad.count(), asked);
    let opened = [("endpoint", &*bad.addr().to_string()), ("to", "open")];
    assert_eq!(proxy.metrics().await.sum("attache_breaker_transitions_total", &opened), 1.0);
}

#[tokio::test]
async fn without_outlier_it_stays() {
    let (good, bad) = (Upstream::fixed("good").await, Upstream::http(third).await);
    let proxy = Proxy::start(&pool(&[good.addr(), bad.addr()], &[TURNS, "outlier: false"], &[ONCE]));
    let mut client = proxy.client().await;
    for _ in 0..60 {
        client.get("http://api.test/").await;
    }

    // Two looks of whoever compares.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    client.get("http://api.test/").await;
    client.get("http://api.test/").await;

    assert_eq!(bad.count(), 31);
}

#[tokio::test]
async fn requests_go_to_all_endpoints_once_most_of_them_are_out() {
    let bad = || Upstream::http(|seen| Reply::status(if seen.target == "/bad" { 500 } else { 200 }));
    let (one, two, three) = (bad().await, bad().await, bad().await);
    let lines = [ONCE, "breaker: { failures: 1, open: 60s, max_open: 60s }"];
    let proxy = Proxy::start(&pool(&[one.addr(), two.addr(), three.addr()], &[TURNS], &lines));
    let mut client = proxy.client().await;

    // One of three out: the others take it.
    assert_eq!(client.get("http://api.test/bad").await.status, 500);
    assert_eq!(gauge(&proxy, "attache_upstream_panic").await, 0.0);
    for _ in 0..4 {
        assert_eq!(client.get("http://api.test/").await.status, 200);
    }
    let counts = [one.count(), two.count(), three.count()];
    assert!(counts.contains(&1) && counts.iter().sum::<usize>() == 5, "one takes no more: {counts:?}");

    // Two of three, then all of them out: nobody is refused.
    for _ in 0..6 {
        assert_eq!(client.get("http://api.test/bad").await.status, 500);
    }
    for _ in 0..6 {
        assert_eq!(client.get("http://api.test/").await.status, 200);
    }
    assert!([&one, &two, &three].iter().all(|upstream| upstream.count() >= 4), "all of them are asked");
    let proxied = &proxy;
    eventually("panic", || async move { (gauge(proxied, "attache_upstream_panic").await == 1.0).then_some(()) }).await;
}

#[tokio::test]
async fn without_a_limit_there_is_no_panic() {
    let (one, two) = (Port::refused(), Port::refused());
    let lines = [ONCE, "breaker: { failures: 1, open: 60s, max_open: 60s }"];
    let proxy = Proxy::start(&pool(&[one.addr(), two.addr()], &[TURNS, "max_ejected: 100%"], &lines));
    for _ in 0..2 {
        assert_eq!(proxy.get("http://api.test/").await.status, 502);
    }

    let fast = proxy.get("http://api.test/").await;

    assert_eq!((fast.status, fast.reason().as_str()), (503, "breaker_open"));
}

#[tokio::test]
async fn what_an_operator_shut_takes_nothing_even_in_panic() {
    let (shut, open) = (Upstream::fixed("shut").await, Upstream::http(|_| Reply::status(500)).await);
    let lines = [ONCE, "breaker: { failures: 1, open: 60s, max_open: 60s }"];
    let proxy = Proxy::start(&pool(&[shut.addr(), open.addr()], &[TURNS], &lines));
    breaker(&proxy, shut.addr(), "open").await;

    for _ in 0..6 {
        let response = proxy.get("http://api.test/").await;
        assert!(response.text() != "shut", "{response:?}");
    }

    assert_eq!(shut.count(), 0);
}

#[tokio::test]
async fn an_endpoint_whose_time_is_over_is_found_by_the_next_request_that_may_be_repeated() {
    // Slower than what is assumed of one that was never asked.
    let good = Upstream::http(|_| Reply::ok("good").delay(Duration::from_millis(60))).await;
    let back = Upstream::http(|seen| if seen.index == 0 { Reply::status(503) } else { Reply::ok("back") }).await;
    let lines = ["breaker: { failures: 1, open: 300ms }"];
    let proxy = Proxy::start(&pool(&[good.addr(), back.addr()], &["balance: p2c"], &lines));
    let (proxied, backed) = (&proxy, &back);
    // From the first failure on its latency keeps p2c away from it.
    eventually("the first failure", || async move {
        proxied.get("http://api.test/").await;
        (backed.count() == 1).then_some(())
    })
    .await;

    eventually("three probes", || async move {
        assert_eq!(proxied.get("http://api.test/").await.status, 200);
        (backed.count() >= 4 && gauge(proxied, "attache_breaker_state").await == 0.0).then_some(())
    })
    .await;
}
