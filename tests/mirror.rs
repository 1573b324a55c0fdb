//! A copy of the requests for another upstream.

use std::net::SocketAddr;
use std::time::Duration;

use testkit::{Gate, Port, Proxy, Reply, Upstream, eventually};

/// A route `api` for `api.test` to one upstream without retries, with further lines.
fn api(addr: SocketAddr, lines: &[&str]) -> String {
    let route = format!("routes:\n  - name: api\n    match: api.test\n    to: http://{addr}\n    retry: false\n");
    lines.iter().fold(route, |yaml, line| format!("{yaml}    {line}\n"))
}

fn mirror(other: SocketAddr, more: &str) -> String {
    format!("mirror: {{ to: 'http://{other}/shadow'{more} }}")
}

async fn counted(proxy: &Proxy, result: &str, count: f64) {
    let labels = [("route", "api"), ("result", result)];
    eventually(result, async || (proxy.metrics().await.sum("attache_mirrored_total", &labels) == count).then_some(()))
        .await;
}

#[tokio::test]
async fn the_copy_has_the_request_and_none_of_its_secrets() {
    let (upstream, other) = (Upstream::fixed("good").await, Upstream::http(|_| Reply::status(500)).await);
    let dir = tempfile::tempdir().expect("a directory");
    let token = dir.path().join("token");
    std::fs::write(&token, "own-token").expect("written");
    let auth = format!("auth: {{ header: {{ name: x-own, value: {{ file: {} }} }} }}", token.display());
    let edits = "headers: { request: { set: { x-api-key: literal, x-kind: plain } } }";
    let proxy = Proxy::start(&api(upstream.addr(), &[&auth, edits, &mirror(other.addr(), "")]));
    let fields = [
        "authorization: Bearer client",
        "cookie: s=1",
        "x-own: client",
        "x-auth-token: t",
        "connection: x-hop",
        "x-hop: 1",
        "x-a: 1",
    ];

    for body in ["", "pay"] {
        let method = if body.is_empty() { "GET" } else { "POST" };
        let response = proxy.call(method, "http://api.test/x?y=1", &fields, body).await;
        assert_eq!((response.status, response.text().as_str()), (200, "good"));
        assert_eq!(response.header("proxy-status"), None);
    }

    counted(&proxy, "answered", 2.0).await;
    let own = upstream.requests().pop().expect("a request");
    assert_eq!((own.header("x-own"), own.header("authorization")), (Some("own-token"), Some("Bearer client")));
    for (seen, (method, body)) in other.requests().iter().zip([("GET", ""), ("POST", "pay")]) {
        assert_eq!(
            (seen.method.as_str(), seen.target.as_str(), seen.body.as_slice()),
            (method, "/shadow/x?y=1", body.as_bytes())
        );
        assert_eq!((seen.header("x-a"), seen.header("x-kind"), seen.whole), (Some("1"), Some("plain"), true));
        assert_eq!(seen.header("host"), Some(other.addr().to_string().as_str()));
        for name in ["authorization", "cookie", "x-own", "x-auth-token", "x-api-key", "x-hop", "connection"] {
            assert_eq!(seen.header(name), None, "{name}");
        }
    }
    let lines = proxy.finish();
    assert!(lines.iter().all(|line| line["attempts"].as_array().map(Vec::len) == Some(1)), "{lines:?}");
}

#[tokio::test]
async fn the_copy_has_a_credential_only_if_it_is_its_own() {
    let (upstream, other) = (Upstream::fixed("good").await, Upstream::fixed("copy").await);
    let dir = tempfile::tempdir().expect("a directory");
    let token = dir.path().join("token");
    std::fs::write(&token, "far-token").expect("written");
    let auth = format!(", auth: {{ bearer: {{ file: {} }} }}", token.display());
    let proxy = Proxy::start(&api(upstream.addr(), &[&mirror(other.addr(), &auth)]));

    proxy.call("GET", "http://api.test/", &["authorization: Bearer client"], "").await;

    counted(&proxy, "answered", 1.0).await;
    assert_eq!(other.only().header("authorization"), Some("Bearer far-token"));
}

#[tokio::test]
async fn a_slow_or_dead_mirror_costs_the_client_nothing() {
    let (upstream, other) = (Upstream::fixed("good").await, Upstream::http(|_| Reply::hang()).await);
    let proxy = Proxy::start(&api(upstream.addr(), &[&mirror(other.addr(), ", concurrency: 1, timeout: 300ms")]));

    for _ in 0..3 {
        assert_eq!(proxy.call("POST", "http://api.test/", &[], "x").await.text(), "good");
    }

    counted(&proxy, "busy", 2.0).await;
    counted(&proxy, "timeout", 1.0).await;

    let port = Port::refused();
    let proxy = Proxy::start(&api(upstream.addr(), &[&mirror(port.addr(), "")]));
    assert_eq!(proxy.get("http://api.test/").await.text(), "good");
    counted(&proxy, "failed", 1.0).await;
}

#[tokio::test]
async fn large_bodies_go_through_and_are_not_copied() {
    let (upstream, other) = (Upstream::fixed("good").await, Upstream::fixed("copy").await);
    let proxy = Proxy::start(&api(upstream.addr(), &[&mirror(other.addr(), ", body_limit: 1KiB")]));

    proxy.call("POST", "http://api.test/", &[], &"x".repeat(1025)).await;
    let mut client = proxy.client().await;
    client.send("POST http://api.test/ HTTP/1.1\r\nhost: api.test\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for size in [800, 800] {
        client.send(format!("{size:x}\r\n{}\r\n", "y".repeat(size))).await;
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.response("POST").await.text(), "good");
    proxy.call("POST", "http://api.test/", &[], &"z".repeat(1024)).await;

    counted(&proxy, "too_large", 2.0).await;
    counted(&proxy, "answered", 1.0).await;
    assert_eq!(upstream.requests().iter().map(|seen| seen.body.len()).collect::<Vec<_>>(), [1025, 1600, 1024]);
    assert_eq!(other.only().body.len(), 1024);
}

#[tokio::test]
async fn the_egress_guard_holds_for_copies() {
    let upstream = Upstream::fixed("good").await;
    let yaml = api(upstream.addr(), &["mirror: 'http://169.254.169.254'"]);
    let proxy = Proxy::start(&yaml);

    assert_eq!(proxy.get("http://api.test/").await.text(), "good");

    counted(&proxy, "failed", 1.0).await;
}

#[tokio::test]
async fn a_drain_ends_the_copies_under_way() {
    let gate = Gate::default();
    let held = gate.clone();
    let (upstream, other) =
        (Upstream::fixed("good").await, Upstream::http(move |_| Reply::ok("copy").after(&held)).await);
    let proxy = Proxy::start(&api(upstream.addr(), &[&mirror(other.addr(), ", timeout: 60s")]));
    assert_eq!(proxy.get("http://api.test/").await.text(), "good");
    other.until("the copy is there", |record| record.requests.len() == 1).await;
    let start = tokio::time::Instant::now();

    proxy.running().drain();

    other.until("it is given up", |record| record.open == 0).await;
    assert!(tokio::time::Instant::now() - start < Duration::from_secs(5));
}

#[test]
fn explain_names_the_mirror() {
    let yaml = "routes:\n  - match: api.test\n    to: https://api.test\n    mirror: { to: 'https://shadow.test', share: 5% }\n";
    let model = config::parse(yaml, "test.yaml", config::Format::Yaml).expect("a model").model;

    let explained = proxy::explain(&model, "GET", "http://api.test/", &[]).expect("explained").to_string();

    assert!(explained.contains("5% of the requests copied to https://shadow.test:443"), "{explained}");
    assert!(explained.contains("> mirror >"), "{explained}");
}
