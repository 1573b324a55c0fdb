//! Interim responses and `Expect`, and answers that come before the request has ended: what a client and an upstream say
//! to each other while a message is under way (RFC 9110 sections 10.1.1 and 15.2, RFC 9112 section 9.3).

use std::time::Duration;

use bytes::Bytes;
use exchange::clock::now;
use http::Request;
use http_body_util::Full;
use testkit::upstream::Then;
use testkit::wire::{Fields, Wire, field};
use testkit::{Client, End, Gate, Proxy, Reply, Upstream};

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const HINT: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// Long enough to see that nothing comes, shorter than the proxy's own patience of a second.
const SILENCE: Duration = Duration::from_millis(300);

/// An absolute POST with a length, `Expect` and no body yet.
fn expecting(upstream: &Upstream, method: &str, length: usize) -> String {
    format!(
        "{method} {} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n",
        upstream.url("/")
    )
}

/// The request head on a connection that has one.
async fn head(wire: &mut Wire) -> (String, Fields) {
    wire.head().await.expect("a head").expect("a head")
}

/// A request of `length` bytes that is read whole only after `word`, and answered then.
async fn serve(mut wire: Wire, word: &str, length: usize) {
    while let Ok(Some(_)) = wire.head().await {
        let mut body = Vec::new();
        wire.send(word).await.expect("sent");
        wire.exact(length, &mut body).await.expect("a body");
        let length = body.len();
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")).await.expect("sent");
        wire.send(body).await.expect("sent");
    }
}

/// Nothing comes.
async fn is_silent(client: &mut Client) -> bool {
    tokio::time::timeout(SILENCE, client.bytes(1)).await.is_err()
}

// --- Expect

#[tokio::test]
async fn the_client_hears_continue_when_the_upstream_says_so() {
    let gate = Gate::default();
    let word = gate.clone();
    let upstream = Upstream::raw(move |_, mut wire| {
        let gate = word.clone();
        async move {
            let (_, fields) = head(&mut wire).await;
            assert_eq!(field(&fields, "expect"), Some("100-continue"));
            tokio::select! {
                () = gate.passed() => {}
                byte = wire.has_byte() => panic!("the body came before it was asked for: {byte}"),
            }
            wire.send(CONTINUE).await.expect("sent");
            let mut body = Vec::new();
            wire.exact(4, &mut body).await.expect("a body");
            wire.send(OK).await.expect("sent");
            wire.closed().await;
        }
    })
    .await;
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;

    client.send(expecting(&upstream, "POST", 4)).await;
    assert!(is_silent(&mut client).await);
    gate.open();
    let interim = client.bytes(CONTINUE.len()).await;
    client.send("body").await;

    assert_eq!(String::from_utf8_lossy(&interim), CONTINUE);
    let response = client.response("POST").await;
    assert_eq!((response.status, response.interim.as_slice()), (200, &[][..]), "{response:?}");
}

#[tokio::test]
async fn the_client_hears_continue_once_and_the_connections_go_on() {
    let upstream = Upstream::raw(|_, wire| serve(wire, CONTINUE, 4)).await;
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;
    let began = now();

    for _ in 0..3 {
        client.send(expecting(&upstream, "POST", 4)).await;
        assert_eq!(client.bytes(CONTINUE.len()).await, CONTINUE.as_bytes());
        client.send("body").await;
        let response = client.response("POST").await;
        assert_eq!((response.text().as_str(), response.interim.as_slice()), ("body", &[][..]));
    }

    // Three times the proxy's own patience is what it would take if nobody heard the upstream.
    assert!(now().since(began) < Duration::from_millis(2900), "{:?}", now().since(began));
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_final_answer_instead_leaves_the_body_unasked_and_both_connections_unused() {
    let upstream = Upstream::raw(|_, mut wire| async move {
        head(&mut wire).await;
        wire.send("HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno").await.expect("sent");
        wire.closed().await;
        assert_eq!(wire.early(), b"", "the body came all the same");
    })
    .await;
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;

    client.send(expecting(&upstream, "POST", 4)).await;
    let response = client.response("POST").await;

    assert_eq!((response.status, response.text().as_str(), response.interim.as_slice()), (401, "no", &[][..]));
    assert_eq!(response.header("connection"), Some("close"));
    // What the client sends after that answer is no request, whatever it looks like.
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(client.rest().await, b"");
    upstream.until("the connection is closed", |record| record.open == 0).await;
    assert_eq!(proxy.call("POST", &upstream.url("/"), &[], "body").await.status, 401);
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn an_upstream_that_says_nothing_gets_the_body_after_a_second() {
    let upstream = Upstream::http(|seen| Reply::ok(seen.body.clone())).await;
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;
    let began = now();

    client.send(expecting(&upstream, "POST", 4)).await;
    let interim = client.bytes(CONTINUE.len()).await;
    let waited = now().since(began);
    client.send("body").await;

    assert_eq!(
        (String::from_utf8_lossy(&interim).as_ref(), client.response("POST").await.text().as_str()),
        (CONTINUE, "body")
    );
    assert!(waited >= Duration::from_millis(900) && waited < Duration::from_secs(5), "{waited:?}");
}

#[tokio::test]
async fn a_body_held_for_an_attempt_that_fails_is_whole_for_the_next_one() {
    let upstream = Upstream::raw(|number, mut wire| async move {
        if number > 0 {
            return serve(wire, CONTINUE, 4).await;
        }
        head(&mut wire).await;
        assert_eq!(wire.early(), b"");
    })
    .await;
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;

    client.send(expecting(&upstream, "PUT", 4)).await;
    assert_eq!(client.bytes(CONTINUE.len()).await, CONTINUE.as_bytes());
    client.send("body").await;

    let response = client.response("PUT").await;
    assert_eq!((response.text().as_str(), response.interim.as_slice()), ("body", &[][..]));
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn a_body_held_for_an_answer_that_is_retried_is_whole_for_the_next_one() {
    let upstream = Upstream::raw(|number, mut wire| async move {
        if number > 0 {
            return serve(wire, CONTINUE, 4).await;
        }
        head(&mut wire).await;
        wire.send("HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n").await.expect("sent");
        wire.closed().await;
        assert_eq!(wire.early(), b"", "a body for an attempt that is over");
    })
    .await;
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;

    client.send(expecting(&upstream, "PUT", 4)).await;
    assert_eq!(client.bytes(CONTINUE.len()).await, CONTINUE.as_bytes());
    client.send("body").await;

    assert_eq!(client.response("PUT").await.text(), "body");
    upstream.until("the first connection is closed", |record| record.open == 1).await;
}

#[tokio::test]
async fn another_expectation_is_refused() {
    let upstream = Upstream::fixed("").await;
    let proxy = Proxy::start("");

    for value in ["Expect: something-else", "Expect: 100-continue, something-else"] {
        let response = proxy.call("POST", &upstream.url("/"), &[value], "body").await;
        assert_eq!((response.status, response.reason().as_str()), (417, "expectation"), "{value}");
    }

    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn an_expectation_from_http_1_0_is_ignored() {
    let upstream = Upstream::http(|seen| Reply::ok(seen.body.clone())).await;
    let proxy = Proxy::start("");

    for value in ["100-continue", "something-else"] {
        let mut client = proxy.client().await;
        let head = format!("POST {} HTTP/1.0\r\nExpect: {value}\r\nContent-Length: 4\r\n\r\nbody", upstream.url("/"));
        client.send(head).await;
        let response = client.response("POST").await;
        assert_eq!((response.text().as_str(), response.interim.as_slice()), ("body", &[][..]));
    }

    assert!(upstream.requests().iter().all(|seen| seen.header("expect").is_none()));
}

#[tokio::test]
async fn an_expectation_without_a_body_waits_for_nothing() {
    let upstream = Upstream::fixed("ok").await;
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;

    for _ in 0..2 {
        assert_eq!(client.call("GET", &upstream.url("/"), &["Expect: 100-continue"], "").await.text(), "ok");
    }

    assert_eq!((upstream.connections(), upstream.requests()[0].header("expect")), (1, None));
}

#[tokio::test]
async fn an_http2_upstream_gets_the_body_at_once() {
    let upstream = Upstream::h2c(|seen| Reply::ok(seen.body.clone())).await;
    let proxy = Proxy::start(&format!("routes:\n  - match: api.test\n    to: h2c://{}\n", upstream.addr()));
    let mut client = proxy.client().await;
    let began = now();

    client.send("POST http://api.test/ HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
    assert_eq!(client.bytes(CONTINUE.len()).await, CONTINUE.as_bytes());
    client.send("body").await;

    assert_eq!(client.response("POST").await.text(), "body");
    assert!(now().since(began) < Duration::from_millis(900), "{:?}", now().since(began));
    assert_eq!(upstream.only().header("expect"), Some("100-continue"));
}

#[tokio::test]
async fn the_body_of_an_http2_client_waits_for_the_upstream_too() {
    let upstream = Upstream::raw(|_, mut wire| async move {
        head(&mut wire).await;
        let early = tokio::time::timeout(SILENCE, wire.has_byte()).await;
        assert!(early.is_err(), "the body came before it was asked for");
        wire.send(CONTINUE).await.expect("sent");
        let mut body = Vec::new();
        wire.exact(4, &mut body).await.expect("a body");
        wire.send(OK).await.expect("sent");
        wire.closed().await;
    })
    .await;
    let proxy = api(&upstream.url(""));

    let response = proxy
        .h2()
        .await
        .post("http://api.test/", &[("expect", "100-continue"), ("content-length", "4")], b"body")
        .await;

    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
}

// --- 1xx

#[tokio::test]
async fn an_early_hint_arrives_while_the_answer_is_not_there() {
    let gate = Gate::default();
    let last = gate.clone();
    let upstream = Upstream::raw(move |_, mut wire| {
        let gate = last.clone();
        async move {
            head(&mut wire).await;
            let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x-hop\r\nX-Hop: 1\r\nLink: </b>\r\n\r\n";
            for byte in hint.as_bytes() {
                wire.send([*byte]).await.expect("sent");
                tokio::task::yield_now().await;
            }
            gate.passed().await;
            wire.send(OK).await.expect("sent");
            wire.closed().await;
        }
    })
    .await;
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;
    let hint = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nlink: </b>\r\n\r\n";

    client.send(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", upstream.url("/"))).await;
    let interim = client.bytes(hint.len()).await;
    gate.open();

    assert_eq!(String::from_utf8_lossy(&interim), hint);
    assert_eq!(client.response("GET").await.text(), "ok");
}

#[tokio::test]
async fn interim_responses_right_before_the_answer_arrive_in_their_order() {
    let upstream = Upstream::http(|_| {
        Reply::raw(format!("{HINT}HTTP/1.1 102 Processing\r\n\r\n{CONTINUE}{HINT}HTTP/1.1 150 Odd\r\n\r\n{OK}"))
    })
    .await;
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;

    for method in ["GET", "POST"] {
        let response = client.call(method, &upstream.url("/"), &[], "").await;
        assert_eq!((response.status, response.text().as_str()), (200, "ok"));
        assert_eq!(response.interim, [103, 102, 100, 103, 150]);
    }

    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn an_interim_response_never_lands_in_the_answer_to_a_pipelined_request() {
    const LARGE: usize = 2 * 1024 * 1024;
    let upstream = Upstream::http(|seen| {
        let mut bytes = format!("{HINT}HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").into_bytes();
        let digit = seen.target.as_bytes()[1];
        bytes.resize(bytes.len() + LARGE, digit);
        Reply::raw(bytes)
    })
    .await;
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;

    let requests: String =
        (0..5).map(|n| format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", upstream.url(&format!("/{n}")))).collect();
    client.send(requests).await;

    for digit in b'0'..b'5' {
        let response = client.response("GET").await;
        assert_eq!((response.status, response.interim.as_slice(), response.body.len()), (200, &[103][..], LARGE));
        assert!(response.body.iter().all(|byte| *byte == digit));
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_the_answer_alone() {
    let upstream = Upstream::http(|_| Reply::raw(format!("{HINT}{OK}"))).await;
    let proxy = api(&upstream.url(""));
    let mut old = proxy.client().await;

    old.send("GET http://api.test/ HTTP/1.0\r\n\r\n").await;
    let response = old.response("GET").await;

    assert_eq!((response.text().as_str(), response.interim.as_slice()), ("ok", &[][..]));
}

#[tokio::test]
async fn a_client_gets_a_bounded_number_and_an_upstream_that_never_ends_is_cut_off() {
    let upstream = Upstream::http(|seen| {
        let count = seen.target.trim_start_matches('/').parse().expect("a number");
        Reply::raw(format!("{}{OK}", HINT.repeat(count)))
    })
    .await;
    let proxy = Proxy::start("");

    for (sent, status, passed) in [(16, 200, 16), (17, 200, 16), (64, 200, 16), (65, 502, 16)] {
        let response = proxy.call("POST", &upstream.url(&format!("/{sent}")), &[], "").await;
        assert_eq!((response.status, response.interim.len()), (status, passed), "{sent}");
        if status == 502 {
            assert_eq!(response.reason(), "protocol");
        }
    }
}

#[tokio::test]
async fn garbage_after_an_interim_response_is_an_upstream_error() {
    for garbage in ["garbage\r\n\r\n", "HTTP/1.1 2x0 No\r\n\r\n", "HTTP/1.1 103 \r\nno field\r\n\r\n"] {
        let upstream = Upstream::http(move |_| Reply::raw(format!("{HINT}{garbage}")).then(Then::Close)).await;
        let proxy = Proxy::start("");

        let response = proxy.call("POST", &upstream.url("/"), &[], "").await;

        assert_eq!((response.status, response.reason().as_str()), (502, "protocol"), "{garbage:?}");
        assert_eq!(response.interim, [103]);
    }
}

#[tokio::test]
async fn an_upstream_that_ends_after_an_interim_response_is_asked_again() {
    let upstream = Upstream::http(|seen| match seen.index {
        0 => Reply::raw(HINT).then(Then::Close),
        _ => Reply::raw(format!("{HINT}{OK}")),
    })
    .await;
    let proxy = Proxy::start("");

    let response = proxy.get(&upstream.url("/")).await;

    assert_eq!((response.status, response.interim.as_slice(), upstream.count()), (200, &[103, 103][..], 2));
}

#[tokio::test]
async fn a_client_that_leaves_after_an_interim_response_ends_the_attempt() {
    let upstream = Upstream::raw(|_, mut wire| async move {
        head(&mut wire).await;
        wire.send(HINT).await.expect("sent");
        wire.closed().await;
    })
    .await;
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;

    client.send(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", upstream.url("/"))).await;
    client.bytes(12).await;
    client.reset();

    upstream.until("the attempt is given up", |record| record.open == 0).await;
    assert_eq!(proxy.finish()[0]["reason"], "client_gone");
}

#[tokio::test]
async fn a_body_that_looks_like_an_interim_response_stays_a_body() {
    let body = format!("{HINT}{CONTINUE}");
    let upstream = Upstream::http(move |_| Reply::ok(body.clone())).await;
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;

    for _ in 0..2 {
        let response = client.get(&upstream.url("/")).await;
        assert_eq!((response.text(), response.interim.as_slice()), (format!("{HINT}{CONTINUE}"), &[][..]));
    }
}

// --- answers before the end of the request

/// What nobody wants.
const UPLOAD: usize = 8 * 1024 * 1024;
const REFUSED: &str = "HTTP/1.1 413 Too Large\r\nContent-Length: 8\r\n\r\ntoo much";

/// Reads a head and a little more, refuses the rest, and neither reads on nor closes.
async fn unwilling() -> Upstream {
    Upstream::raw(|_, mut wire| async move {
        head(&mut wire).await;
        assert!(wire.has_byte().await);
        wire.send(REFUSED).await.expect("sent");
        // Only to notice the end: what is in the way is not read.
        std::future::pending::<()>().await;
    })
    .await
}

fn api(url: &str) -> Proxy {
    Proxy::start(&format!("routes:\n  - match: api.test\n    to: {url}\n"))
}

/// A client that reads nothing before it has sent everything.
async fn stubborn(proxy: &Proxy) -> testkit::Response {
    let mut client = proxy.client().await;
    client.send(format!("POST http://api.test/ HTTP/1.1\r\nHost: x\r\nContent-Length: {UPLOAD}\r\n\r\n")).await;
    client.send(vec![b'x'; UPLOAD]).await;
    let response = client.response("POST").await;
    assert_eq!(client.rest().await, b"");
    response
}

async fn h2_upload(proxy: &Proxy) -> testkit::Response {
    let body = Full::new(Bytes::from(vec![b'x'; UPLOAD]));
    proxy.h2().await.send(Request::post("http://api.test/").body(body).expect("a request")).await
}

#[tokio::test]
async fn an_answer_before_the_upload_ended_reaches_every_client_of_an_http1_upstream() {
    let upstream = unwilling().await;
    let proxy = api(&upstream.url(""));

    for response in [stubborn(&proxy).await, h2_upload(&proxy).await] {
        assert_eq!((response.status, response.text().as_str(), response.end), (413, "too much", End::Whole));
    }

    assert_eq!(upstream.connections(), 2);
    assert!(proxy.finish().iter().all(|line| line["status"] == 413 && line["reason"].is_null()));
}

#[tokio::test]
async fn an_answer_before_the_upload_ended_reaches_every_client_of_an_http2_upstream() {
    let upstream = Upstream::h2c_early(|_| Reply::status(413).body("too much")).await;
    let proxy = api(&format!("h2c://{}", upstream.addr()));

    for response in [stubborn(&proxy).await, h2_upload(&proxy).await] {
        assert_eq!((response.status, response.text().as_str(), response.end), (413, "too much", End::Whole));
    }

    // The stream is over, the connection is not.
    assert_eq!(upstream.connections(), 1);
    assert!(proxy.finish().iter().all(|line| line["status"] == 413 && line["reason"].is_null()));
}

#[tokio::test]
async fn a_refusal_of_our_own_is_read_by_a_client_that_still_sends() {
    let proxy = Proxy::start("default: deny\n");

    let response = stubborn(&proxy).await;

    assert_eq!((response.status, response.reason().as_str()), (403, "no_route"));
}
