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
    let urls = format!("[\"http://{}\", \"http://{}\"]", good.addr(), bad.addr());
    let proxy = Proxy::start(&format!(
        "upstreams:\n  - {{ name: off, endpoints: {urls}, {TURNS}, outlier: false }}\n  \
         - {{ name: pool, endpoints: {urls}, {TURNS}, outlier: 20% }}\n\
         routes:\n  - {{ match: off.test, to: upstream:off, {ONCE} }}\n  - {{ match: on.test, to: upstream:pool, {ONCE} }}\n"
    ));
    let mut client = proxy.client().await;
    for _ in 0..60 {
        client.get("http://off.test/").await;
        client.get("http://on.test/").await;
    }

    // The one with the comparison shows that it was made.
    let proxied = &proxy;
    eventually("a look", || async move { (gauge(proxied, "attache_breaker_state").await == 2.0).then_some(()) }).await;

    assert_eq!(proxy.metrics().await.sum("attache_breaker_state", &[("upstream", "off")]), 0.0);
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

    // What it failed before is forgotten: it is the faster of the two.
    let before = backed.count();
    for _ in 0..4 {
        assert_eq!(proxied.get("http://api.test/").await.text(), "back");
    }
    assert_eq!(backed.count(), before + 4);
}

// --- who is asked first

/// A named upstream `pool` written as `upstream`, and a route to it.
fn written(upstream: &str, route: &str) -> String {
    format!("upstreams:\n  - name: pool\n{upstream}routes:\n  - match: api.test\n    to: upstream:pool\n    {route}\n")
}

#[tokio::test]
async fn lower_priorities_take_over_when_too_many_are_out_and_give_back() {
    let (one, two, far) = (Upstream::fixed("one").await, Upstream::fixed("two").await, Upstream::fixed("far").await);
    let text = format!(
        "    endpoints: [\"http://{}\", \"http://{}\", {{ url: \"http://{}\", priority: 1 }}]\n    {TURNS}\n",
        one.addr(),
        two.addr(),
        far.addr()
    );
    let proxy = Proxy::start(&written(&text, ONCE));
    let proxied = &proxy;
    let four = || async move {
        let mut texts = Vec::new();
        for _ in 0..4 {
            texts.push(proxied.get("http://api.test/").await.text());
        }
        texts.sort();
        texts
    };

    assert_eq!(four().await, ["one", "one", "two", "two"]);
    // Half of them may be out.
    breaker(&proxy, one.addr(), "open").await;
    assert_eq!(four().await, ["two", "two", "two", "two"]);
    breaker(&proxy, two.addr(), "open").await;
    assert_eq!(four().await, ["far", "far", "far", "far"]);
    breaker(&proxy, one.addr(), "reset").await;
    assert_eq!(four().await, ["one", "one", "one", "one"]);
}

#[tokio::test]
async fn failures_move_requests_to_the_next_priority_and_so_does_a_repeat() {
    let near = Upstream::http(|_| Reply::status(503)).await;
    let far = Upstream::fixed("far").await;
    let text =
        format!("    endpoints: [\"http://{}\", {{ url: \"http://{}\", priority: 7 }}]\n", near.addr(), far.addr());
    let proxy = Proxy::start(&written(&text, "breaker: { failures: 3, open: 60s, max_open: 60s }"));

    for _ in 0..8 {
        assert_eq!(proxy.get("http://api.test/").await.text(), "far");
    }

    assert_eq!((near.count(), far.count()), (3, 8));
}

#[tokio::test]
async fn a_ring_keeps_equal_requests_together_and_moves_only_those_of_one_that_is_out() {
    let names = ["one", "two", "three"];
    let all = [Upstream::fixed("one").await, Upstream::fixed("two").await, Upstream::fixed("three").await];
    let urls: Vec<String> = all.iter().map(|upstream| format!("\"http://{}\"", upstream.addr())).collect();
    for (hash_on, field) in [("header:X-User", "x-user: "), ("cookie:session", "cookie: a=1; session=")] {
        let text =
            format!("    endpoints: [{}]\n    balance: {{ policy: ring, hash_on: '{hash_on}' }}\n", urls.join(", "));
        let proxy = Proxy::start(&written(&text, ONCE));
        let proxied = &proxy;
        let homes = || async move {
            let mut homes = Vec::new();
            for user in 0..24 {
                let fields = [&*format!("{field}u{user}")];
                homes.push(proxied.call("GET", "http://api.test/", &fields, "").await.text());
            }
            homes
        };

        let before = homes().await;
        assert!(names.iter().all(|name| before.iter().any(|home| home == name)), "{before:?}");
        assert_eq!(homes().await, before);
        breaker(&proxy, all[1].addr(), "open").await;
        for (before, after) in before.iter().zip(homes().await) {
            assert!(after != "two" && (before == "two" || *before == after), "{before} -> {after}");
        }
        breaker(&proxy, all[1].addr(), "reset").await;
        assert_eq!(homes().await, before);
    }
}

#[tokio::test]
async fn a_ring_by_peer_keeps_a_client_at_one_endpoint_whatever_its_port() {
    let all = [Upstream::fixed("one").await, Upstream::fixed("two").await, Upstream::fixed("three").await];
    let urls: Vec<String> = all.iter().map(|upstream| format!("\"http://{}\"", upstream.addr())).collect();
    let text = format!("    endpoints: [{}]\n    balance: {{ policy: ring, hash_on: peer }}\n", urls.join(", "));
    let proxy = Proxy::start(&written(&text, ONCE));

    let home = proxy.get("http://api.test/").await.text();
    for _ in 0..15 {
        // Each on a connection of its own.
        assert_eq!(proxy.get("http://api.test/").await.text(), home);
    }
}

#[tokio::test]
async fn an_endpoint_that_comes_back_grows_into_its_share() {
    for (slow_start, share) in [("", 12..=18), ("    slow_start: 1s\n", 0..=8)] {
        let steady = Upstream::fixed("steady").await;
        let back = Upstream::http(|seen| Reply::status(if seen.index == 0 { 500 } else { 200 })).await;
        let text = format!(
            "    endpoints: [\"http://{}\", \"http://{}\"]\n    {TURNS}\n{slow_start}",
            steady.addr(),
            back.addr()
        );
        // When it is back the other is old enough for its whole share.
        let proxy = Proxy::start(&written(&text, "breaker: { failures: 1, open: 1200ms, probes: 1 }"));
        let proxied = &proxy;
        let backed = &back;
        eventually("it failed and is back", || async move {
            proxied.get("http://api.test/").await;
            (backed.count() >= 2 && gauge(proxied, "attache_breaker_state").await == 0.0).then_some(())
        })
        .await;
        let before = back.count();

        let mut client = proxy.client().await;
        for _ in 0..30 {
            assert_eq!(client.get("http://api.test/").await.status, 200);
        }

        let taken = back.count() - before;
        assert!(share.contains(&taken), "{taken} of 30, {share:?} with {slow_start:?}");
    }
}
