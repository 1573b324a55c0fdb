//! Who answers when the route's own upstream does not, or not well.

use std::net::SocketAddr;

use testkit::{Port, Proxy, Reply, Upstream};

/// A route `api` for `api.test` to one upstream without retries, with further lines.
fn api(addr: SocketAddr, lines: &[&str]) -> String {
    let route = format!("routes:\n  - name: api\n    match: api.test\n    to: http://{addr}\n    retry: false\n");
    lines.iter().fold(route, |yaml, line| format!("{yaml}    {line}\n"))
}

/// The rule that asks another upstream.
fn to(on: &str, other: &Upstream) -> String {
    format!("fallback: [{{ on: [{on}], to: 'http://{}' }}]", other.addr())
}

const EMPTY: &str = "fallback: [{ on: [closed_early, breaker_open, 5xx], respond: { body: nothing } }]";

async fn fallbacks(proxy: &Proxy, by: &str, reason: &str) -> f64 {
    let labels = [("route", "api"), ("by", by), ("reason", reason)];
    proxy.metrics().await.sum("attache_fallbacks_total", &labels)
}

#[tokio::test]
async fn another_upstream_answers_for_one_that_is_down_and_everybody_can_see_it() {
    let (port, other) = (Port::refused(), Upstream::fixed("other").await);
    let proxy = Proxy::start(&api(port.addr(), &[&to("connect_refused", &other)]));

    let response = proxy.call("GET", "http://api.test/x?y=1", &["x-own: 1"], "").await;

    assert_eq!((response.status, response.text().as_str()), (200, "other"));
    let expected = "attache; error=connection_refused; details=\"fallback: upstream\"";
    assert_eq!(response.header("proxy-status"), Some(expected));
    let seen = other.only();
    assert_eq!((seen.target.as_str(), seen.header("x-own")), ("/x?y=1", Some("1")));
    assert_eq!(seen.header("host"), Some(other.addr().to_string().as_str()));
    assert_eq!(fallbacks(&proxy, "upstream", "connect_refused").await, 1.0);
    assert_eq!(proxy.metrics().await.sum("attache_retries_total", &[]), 0.0, "it is no retry");
    let line = proxy.finish().remove(0);
    assert_eq!((&line["status"], &line["fallback"]), (&200.into(), &"upstream".into()));
    assert_eq!((&line["fallback_reason"], &line["reason"]), (&"connect_refused".into(), &serde_json::Value::Null));
    assert_eq!(line["attempts"].as_array().map(Vec::len), Some(2), "{line}");
}

#[tokio::test]
async fn a_post_that_may_have_been_acted_on_is_never_sent_elsewhere() {
    for (reply, reason) in [(Reply::close(), "closed_early"), (Reply::status(503), "5xx")] {
        let (upstream, other) = (Upstream::http(move |_| reply.clone()).await, Upstream::fixed("other").await);
        let rules = format!("{}\n      - {{ on: [5xx, closed_early], respond: {{ body: ours }} }}", "fallback:");
        let rules = format!("{rules}\n      - {{ on: 404, to: 'http://{}' }}", other.addr());
        let asked = to("5xx, closed_early", &other);
        let proxy = Proxy::start(&api(upstream.addr(), &[&asked, "breaker: false"]));

        let refused = proxy.call("POST", "http://api.test/", &[], "pay").await;
        assert!(refused.status >= 502, "{refused:?}");
        assert_eq!((upstream.count(), other.count()), (1, 0), "{reason}");

        let sent = proxy.call("POST", "http://api.test/", &["idempotency-key: \"1\""], "pay").await;
        assert_eq!((sent.text().as_str(), other.only().body.as_slice()), ("other", &b"pay"[..]), "{reason}");
        assert_eq!(fallbacks(&proxy, "upstream", reason).await, 1.0);

        let proxy = Proxy::start(&api(upstream.addr(), &[&rules, "breaker: false"]));
        assert_eq!(
            proxy.call("POST", "http://api.test/", &[], "pay").await.text(),
            "ours",
            "an answer repeats nothing"
        );
        assert_eq!(other.count(), 1);
    }
}

#[tokio::test]
async fn a_post_of_which_nothing_was_sent_goes_elsewhere_with_its_body() {
    let (port, other) = (Port::refused(), Upstream::fixed("other").await);
    let proxy = Proxy::start(&api(port.addr(), &[&to("connect_refused", &other)]));

    assert_eq!(proxy.call("POST", "http://api.test/", &[], "pay").await.text(), "other");

    assert_eq!((other.only().method.as_str(), other.only().body.as_slice()), ("POST", &b"pay"[..]));
}

#[tokio::test]
async fn no_credential_of_the_route_goes_to_its_fallback() {
    let (upstream, other) = (Upstream::http(|_| Reply::status(500)).await, Upstream::fixed("other").await);
    let dir = tempfile::tempdir().expect("a directory");
    let (own, far) = (dir.path().join("own"), dir.path().join("far"));
    std::fs::write(&own, "own-token").expect("written");
    std::fs::write(&far, "far-token").expect("written");
    let auth = format!("auth: {{ bearer: {{ file: {} }} }}", own.display());
    let edits = "headers: { request: { set: { x-api-key: literal, x-kind: plain } } }";
    for (their_auth, expected) in [
        (String::new(), None),
        (format!(", auth: {{ bearer: {{ file: {} }} }}", far.display()), Some("Bearer far-token")),
    ] {
        let rule = format!("fallback: [{{ on: 5xx, to: 'http://{}'{their_auth} }}]", other.addr());
        let proxy = Proxy::start(&api(upstream.addr(), &[&auth, edits, &rule]));

        let answer = proxy.call("GET", "http://api.test/", &["authorization: Bearer stale"], "").await;

        assert_eq!(answer.text(), "other");
        let asked = upstream.requests().pop().expect("a request");
        assert_eq!(
            (asked.header("authorization"), asked.header("x-api-key")),
            (Some("Bearer own-token"), Some("literal"))
        );
        let seen = other.requests().pop().expect("a request");
        assert_eq!((seen.header("authorization"), seen.header("x-api-key")), (expected, None));
        assert_eq!(seen.header("x-kind"), Some("plain"), "other edits apply");
    }
}

#[tokio::test]
async fn a_fixed_answer_stands_in_for_an_open_breaker_over_http_1_and_2() {
    let upstream = Upstream::http(|_| Reply::close()).await;
    let proxy = Proxy::start(&api(upstream.addr(), &["breaker: { failures: 1, open: 60s }", EMPTY]));
    assert_eq!(proxy.get("http://api.test/").await.text(), "nothing");

    let response = proxy.get("http://api.test/").await;

    assert_eq!((response.status, response.text().as_str(), upstream.count()), (200, "nothing", 1));
    assert_eq!(response.header("content-type"), Some("text/plain; charset=utf-8"));
    let request = http::Request::get("http://api.test/").body(Default::default()).expect("a request");
    let response = proxy.h2().await.send(request).await;
    assert_eq!((response.status, response.text().as_str()), (200, "nothing"));
    assert_eq!(fallbacks(&proxy, "respond", "breaker_open").await, 2.0);
    assert_eq!(fallbacks(&proxy, "respond", "closed_early").await, 1.0);
    let rejected = proxy.metrics().await.sum("attache_rejected_total", &[]);
    assert_eq!(rejected, 0.0, "nobody was refused");
}

#[tokio::test]
async fn an_upstream_that_only_a_fallback_uses_is_shared_and_checked_like_any_other() {
    let (port, other) = (Port::refused(), Upstream::fixed("other").await);
    let yaml = format!(
        "upstreams: [{{ name: spare, endpoints: 'http://{}', health: {{ http: /healthz, every: 100ms }} }}]\n{}",
        other.addr(),
        api(port.addr(), &["fallback: [{ on: connect_refused, to: upstream:spare }]"])
    );
    let proxy = Proxy::start(&yaml);

    assert_eq!(proxy.get("http://api.test/").await.text(), "other");

    other.until("it is checked", |record| record.requests.iter().any(|seen| seen.target == "/healthz")).await;
    let asked = other.requests().into_iter().find(|seen| seen.target == "/").expect("the request");
    assert_eq!(asked.header("host"), Some("api.test"), "as for a route to a named upstream");
}

#[test]
fn explain_names_the_rules_and_the_layer() {
    let yaml = api(([127, 0, 0, 1], 1).into(), &[EMPTY]);
    let model = config::parse(&yaml, "test.yaml", config::Format::Yaml).expect("a model").model;

    let explained = proxy::explain(&model, "GET", "http://api.test/", &[]).expect("explained").to_string();

    assert!(explained.contains("on closed_early breaker_open 500-599: answered here: 200"), "{explained}");
    assert!(explained.contains("> fallback >"), "{explained}");
}
