//! Answers that are kept for a time when there are none (RFC 5861 section 4).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use testkit::child::{self, Child, until};
use testkit::{Client, Gate, Proxy, Reply, Response, Seen, Upstream, eventually};

/// A route `api` for `api.test` to one upstream without retries and breaker, that gives stale answers for an hour.
fn api(addr: SocketAddr, stale: &str) -> String {
    format!(
        "routes:\n  - name: api\n    match: api.test\n    to: http://{addr}\n    retry: false\n    breaker: false\n    \
         fallback: [{{ on: [5xx, closed_early, connect_refused, protocol], stale: {stale} }}]\n"
    )
}

/// Answers well until it is told to fail.
struct Moody {
    upstream: Upstream,
    fails: Arc<AtomicBool>,
    proxy: Proxy,
}

impl Moody {
    async fn with(stale: &str, answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let fails = Arc::new(AtomicBool::new(false));
        let failing = Arc::clone(&fails);
        let reply = move |seen: &Seen| if failing.load(Relaxed) { Reply::status(503) } else { answer(seen) };
        let upstream = Upstream::http(reply).await;
        let proxy = Proxy::start(&api(upstream.addr(), stale));
        Self { upstream, fails, proxy }
    }

    async fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::with("1h", answer).await
    }

    fn fail(&self, fails: bool) {
        self.fails.store(fails, Relaxed);
    }

    async fn get(&self, path: &str, fields: &[&str]) -> Response {
        self.proxy.call("GET", &format!("http://api.test{path}"), fields, "").await
    }

    /// What it answers while the upstream fails.
    async fn then(&self, path: &str, fields: &[&str]) -> Response {
        self.fail(true);
        let response = self.get(path, fields).await;
        self.fail(false);
        response
    }
}

#[tokio::test]
async fn the_last_good_answer_stands_in_for_an_error_and_says_so() {
    let moody = Moody::start(|seen| {
        let reply =
            Reply::ok(format!("answer {}", seen.index)).header("cache-control", "max-age=0, stale-if-error=600");
        reply.header("link", "<a>").header("link", "<b>").header("age", "7").header("etag", "\"x\"")
    })
    .await;
    assert_eq!(moody.get("/", &[]).await.text(), "answer 0");
    let fresh = moody.get("/", &[]).await;
    assert_eq!((fresh.text().as_str(), fresh.header("cache-status")), ("answer 1", None), "each request is sent on");

    let stale = moody.then("/", &[]).await;

    assert_eq!((stale.status, stale.text().as_str()), (200, "answer 1"));
    let age: u64 = stale.header("age").and_then(|age| age.parse().ok()).expect("an age");
    assert!((7..60).contains(&age) && stale.headers("age").len() == 1, "{stale:?}");
    assert_eq!(stale.header("cache-status"), Some(format!("attache; hit; ttl=-{age}; detail=stale-if-error").as_str()));
    assert_eq!(stale.header("proxy-status"), Some("attache; received-status=503; details=\"fallback: stale\""));
    assert_eq!((stale.headers("link"), stale.header("etag")), (vec!["<a>", "<b>"], Some("\"x\"")));
    assert_eq!(moody.upstream.count(), 3, "it was asked first");
    let labels = [("route", "api"), ("by", "stale"), ("reason", "5xx")];
    assert_eq!(moody.proxy.metrics().await.sum("attache_fallbacks_total", &labels), 1.0);
    assert_eq!(moody.get("/", &[]).await.text(), "answer 3", "and again once it is well");
    let lines = moody.proxy.finish();
    assert!(lines.iter().any(|line| line["fallback"] == "stale" && line["fallback_status"] == 503), "{lines:?}");
}

#[tokio::test]
async fn it_stands_in_for_an_upstream_that_is_gone() {
    let moody = Moody::start(|_| Reply::chunked(&["kept ", "whole"])).await;
    assert_eq!(moody.get("/", &[]).await.text(), "kept whole");
    let Moody { upstream, proxy, .. } = moody;
    upstream.stop().await;

    let stale = proxy.get("http://api.test/").await;

    assert_eq!((stale.status, stale.text().as_str()), (200, "kept whole"));
    assert_eq!(stale.header("proxy-status"), Some("attache; error=connection_refused; details=\"fallback: stale\""));
}

#[tokio::test]
async fn what_must_not_be_kept_is_not() {
    for (name, value) in [
        ("cache-control", "no-store"),
        ("cache-control", "No-Store, max-age=60"),
        ("cache-control", "private"),
        ("cache-control", "no-cache"),
        ("cache-control", "max-age=0, must-revalidate"),
        ("set-cookie", "id=1"),
        ("vary", "*"),
    ] {
        let moody = Moody::start(move |_| Reply::ok("secret").header(name, value)).await;
        assert_eq!(moody.get("/", &[]).await.text(), "secret");

        assert_eq!(moody.then("/", &[]).await.status, 503, "{name}: {value}");
    }
}

#[tokio::test]
async fn an_answer_for_one_is_not_given_to_another() {
    let moody = Moody::start(|seen| {
        let public = if seen.target == "/public" { "public" } else { "max-age=60" };
        Reply::ok("mine").header("cache-control", public)
    })
    .await;
    for field in ["authorization: Bearer me", "cookie: session=me"] {
        for (path, status) in [("/own", 503), ("/public", 200)] {
            assert_eq!(moody.get(path, &[field]).await.text(), "mine");

            assert_eq!(moody.then(path, &[]).await.status, status, "{field} {path}");
            assert_eq!(moody.then(path, &[field]).await.status, status, "{field} {path}");
        }
    }
}

#[tokio::test]
async fn vary_tells_answers_apart_by_every_value() {
    let moody =
        Moody::start(|seen| Reply::ok(seen.headers("accept-language").join("+")).header("vary", "Accept-Language"))
            .await;
    for fields in [&["accept-language: de"][..], &["accept-language: de", "accept-language: en"]] {
        moody.get("/", fields).await;
    }

    for (fields, expected) in [
        (&["accept-language: de"][..], "de"),
        (&["accept-language: de", "accept-language: en"], "de+en"),
        (&["accept-language: fr"], ""),
        (&["accept-language: de", "accept-language: fr"], ""),
        (&[], ""),
    ] {
        assert_eq!(moody.then("/", fields).await.text(), expected, "{fields:?}");
    }
}

#[tokio::test]
async fn a_client_that_wants_the_truth_gets_the_error() {
    let moody = Moody::start(|_| Reply::ok("kept").header("cache-control", "max-age=60")).await;
    moody.get("/", &[]).await;

    for field in ["cache-control: no-cache", "pragma: no-cache", "cache-control: No-Store", "range: bytes=0-1"] {
        assert_eq!(moody.then("/", &[field]).await.status, 503, "{field}");
    }
    assert_eq!(moody.then("/", &["x-a: 1"]).await.text(), "kept");
    assert_eq!(moody.then("/?other", &[]).await.status, 503, "another target");
    moody.fail(true);
    for method in ["HEAD", "POST"] {
        assert_eq!(moody.proxy.call(method, "http://api.test/", &[], "").await.status, 503, "{method}");
    }
}

/// Bodies without an end: announced longer than they are, chunked without the last chunk, or ended by the connection.
#[tokio::test]
async fn a_body_that_did_not_come_whole_is_not_kept() {
    use testkit::upstream::Then;
    for raw in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabc",
        "HTTP/1.0 200 OK\r\n\r\nabc",
    ] {
        let moody = Moody::start(move |_| Reply::raw(raw).then(Then::Close)).await;
        assert_eq!(moody.get("/", &[]).await.body, b"abc");

        assert_eq!(moody.then("/", &[]).await.status, 503, "{raw:?}");
    }
}

#[tokio::test]
async fn a_body_is_kept_without_delaying_it_and_not_if_its_reader_leaves() {
    let gate = Gate::default();
    let held = gate.clone();
    let upstream = Upstream::raw(move |number, mut wire| {
        let gate = held.clone();
        async move {
            let _ = wire.head().await;
            if number == 2 {
                return;
            }
            let _ = wire.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc").await;
            gate.passed().await;
            let _ = wire.send("def").await;
        }
    })
    .await;
    let proxy = Proxy::start(&api(upstream.addr(), "1h"));
    let mut client = proxy.client().await;
    client.send("GET http://api.test/ HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
    let head = client.bytes(40).await;
    assert!(head.starts_with(b"HTTP/1.1 200"), "the first half is there before the second");
    drop(client);
    eventually("the client is gone", async || proxy.log().contains("client_gone").then_some(())).await;
    gate.open();
    assert_eq!(proxy.get("http://api.test/").await.text(), "abcdef");

    let stale = proxy.get("http://api.test/").await;

    assert_eq!((stale.status, stale.text().as_str()), (200, "abcdef"));
}

#[tokio::test]
async fn larger_than_the_bounds_is_not_kept() {
    let moody = Moody::with("{ max_stale: 1h, max_body: 1KiB, max_entries: 2 }", |seen| {
        Reply::ok("x".repeat(if seen.target == "/large" { 1025 } else { 1024 }))
    })
    .await;
    for path in ["/large", "/a", "/b", "/c"] {
        assert_eq!(moody.get(path, &[]).await.status, 200);
    }

    for (path, status) in [("/large", 503), ("/a", 503), ("/b", 200), ("/c", 200)] {
        assert_eq!(moody.then(path, &[]).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn a_change_forgets_what_was_kept_of_its_target() {
    let moody = Moody::start(|_| Reply::ok("before")).await;
    moody.get("/a", &[]).await;
    moody.get("/b", &[]).await;

    assert_eq!(moody.proxy.call("PUT", "http://api.test/a", &[], "after").await.status, 200);

    assert_eq!(moody.then("/a", &[]).await.status, 503);
    assert_eq!(moody.then("/b", &[]).await.text(), "before");
}

#[tokio::test]
async fn it_is_there_no_longer_than_it_may_be() {
    let moody = Moody::with("1s", |_| Reply::ok("kept")).await;
    moody.get("/", &[]).await;
    assert_eq!(moody.then("/", &[]).await.text(), "kept");

    moody.fail(true);
    let over = async || Some(moody.get("/", &[]).await).filter(|response| response.status == 503);
    eventually("it is too old", over).await;
}

#[tokio::test]
async fn it_is_given_to_clients_of_http_2_and_kept_from_them() {
    let moody = Moody::start(|_| Reply::ok("kept")).await;
    assert_eq!(moody.proxy.h2().await.get("http://api.test/").await.text(), "kept");

    moody.fail(true);
    assert_eq!(moody.proxy.h2().await.get("http://api.test/").await.text(), "kept");
    assert_eq!(moody.get("/", &[]).await.text(), "kept");
}

#[tokio::test]
async fn a_reload_keeps_what_is_kept_unless_it_would_come_from_elsewhere() {
    let fails = Arc::new(AtomicBool::new(false));
    let failing = Arc::clone(&fails);
    let upstream =
        Upstream::http(move |_| if failing.load(Relaxed) { Reply::status(503) } else { Reply::ok("kept") }).await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("attache.yaml");
    let write = |stale: &str, more: &str| {
        let text = format!("log: {{ access: false }}\n{}{more}", api(upstream.addr(), stale));
        std::fs::write(&file, text).expect("written");
    };
    write("1h", "");
    let proxy = Child::start(&child::program(env!("CARGO_BIN_EXE_attache")), &file).await;
    assert_eq!(Client::connect(proxy.listen).await.get("http://api.test/").await.text(), "kept");
    fails.store(true, Relaxed);

    for (generation, stale, more, expected) in
        [(2.0, "2h", "", "kept"), (3.0, "2h", "    rewrite: { path: /other }\n", "")]
    {
        write(stale, more);
        assert!(proxy.command(&["reload"]).await.status.success());
        until("the reload", Duration::from_secs(10), || async {
            proxy.metric("attache_config_generation").await == Some(generation)
        })
        .await;
        assert_eq!(Client::connect(proxy.listen).await.get("http://api.test/").await.text(), expected, "{more}");
    }
}
