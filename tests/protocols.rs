//! What is spoken on either side, and what is inside a CONNECT.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use testkit::upstream::Then;
use testkit::wire::Wire;
use testkit::{Certs, Client, End, Proxy, Reply, Upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const GRPC: &[(&str, &str)] = &[("content-type", "application/grpc"), ("te", "trailers")];

/// A route for `api.test` to a URL.
fn route(url: &str) -> String {
    format!("routes:\n  - match: api.test\n    to: {url}\n")
}

/// CONNECT to any port of a test's.
const PORTS: &str = "destinations: { connect_ports: [80, 443, \"1024-65535\"] }\n";

#[tokio::test]
async fn an_encrypted_upstream_gets_http2_when_alpn_says_so() {
    let certs = Certs::default();
    let upstream = Upstream::tls(certs.server("127.0.0.1", &["h2", "http/1.1"]), |_| Reply::ok("two")).await;
    let yaml = route(&format!("https://{}", upstream.addr()));
    let proxy = Proxy::start(&format!("{yaml}    tls: {{ ca: {} }}\n", certs.ca()));
    let mut client = proxy.client().await;

    for _ in 0..3 {
        assert_eq!(client.call("POST", "http://api.test/x?y", &[], "body").await.text(), "two");
    }

    assert_eq!((upstream.connections(), upstream.count()), (1, 3));
    let seen = &upstream.requests()[0];
    assert_eq!((seen.version.as_str(), seen.target.as_str(), seen.body.as_slice()), ("HTTP/2", "/x?y", &b"body"[..]));
    assert_eq!(seen.header(":authority"), Some(upstream.addr().to_string().as_str()));
    assert_eq!((seen.header(":scheme"), seen.header("host")), (Some("https"), None));
}

#[tokio::test]
async fn an_encrypted_upstream_without_http2_gets_http1() {
    let certs = Certs::default();
    let upstream = Upstream::tls(certs.server("127.0.0.1", &["http/1.1"]), |_| Reply::ok("one")).await;
    let yaml = route(&format!("https://{}", upstream.addr()));
    let proxy = Proxy::start(&format!("{yaml}    tls: {{ ca: {} }}\n", certs.ca()));
    let mut client = proxy.h2().await;

    for _ in 0..3 {
        assert_eq!(client.get("http://api.test/").await.text(), "one");
    }

    assert_eq!((upstream.connections(), upstream.requests()[0].version.as_str()), (1, "HTTP/1.1"));
}

#[tokio::test]
async fn http2_in_and_http2_out_in_the_clear() {
    let upstream = Upstream::h2c(|_| Reply::chunked(&["a", "b"]).trailer("x-sum", "2")).await;
    let proxy = Proxy::start(&route(&format!("h2c://{}", upstream.addr())));
    let mut client = proxy.h2().await;

    let response = client.get("http://api.test/").await;

    assert_eq!((response.text().as_str(), response.end), ("ab", End::Whole));
    assert_eq!(response.trailers, [("x-sum".to_owned(), "2".to_owned())]);
    assert_eq!(upstream.only().version, "HTTP/2");
}

#[tokio::test]
async fn an_http1_client_reaches_an_http2_upstream_in_the_clear() {
    let upstream = Upstream::h2c(|_| Reply::chunked(&["a", "b"])).await;
    let proxy = Proxy::start(&route(&format!("h2c://{}", upstream.addr())));

    let response = proxy.get("http://api.test/").await;

    assert_eq!((response.text().as_str(), response.end), ("ab", End::Whole));
}

#[tokio::test]
async fn a_rewritten_host_is_the_authority_of_http2() {
    let upstream = Upstream::h2c(|_| Reply::ok("")).await;
    let proxy =
        Proxy::start(&format!("{}    rewrite: {{ host: other.test }}\n", route(&format!("h2c://{}", upstream.addr()))));

    assert_eq!(proxy.get("http://api.test/x?y").await.status, 200);

    let seen = upstream.only();
    assert_eq!((seen.header(":authority"), seen.target.as_str()), (Some("other.test"), "/x?y"));
    assert_eq!((seen.header("host"), seen.header(":scheme")), (None, Some("http")));
}

#[tokio::test]
async fn many_streams_share_one_http2_connection() {
    let upstream = Upstream::h2c(|seen| Reply::ok(seen.target.as_str())).await;
    let proxy = Proxy::start(&route(&format!("h2c://{}", upstream.addr())));
    let client = proxy.h2().await;

    let streams: Vec<_> = (0..50)
        .map(|index| {
            let mut client = client.clone();
            tokio::spawn(async move { client.get(&format!("http://api.test/{index}")).await.text() })
        })
        .collect();
    for (index, stream) in streams.into_iter().enumerate() {
        assert_eq!(stream.await.expect("answered"), format!("/{index}"));
    }

    assert_eq!((upstream.connections(), upstream.count()), (1, 50));
}

#[tokio::test]
async fn cookie_crumbs_are_joined_for_http1() {
    let upstream = Upstream::fixed("").await;
    let proxy = Proxy::start(&route(&format!("http://{}", upstream.addr())));
    let mut client = proxy.h2().await;
    let request = Request::get("http://api.test/").header("cookie", "a=1").header("cookie", "b=2");

    let response = client.send(request.body(Full::<Bytes>::default()).expect("a request")).await;

    assert_eq!(response.status, 200);
    assert_eq!(upstream.only().headers("cookie"), ["a=1; b=2"]);
}

#[tokio::test]
async fn a_unary_grpc_call_keeps_its_trailers() {
    let upstream = Upstream::h2c(|seen| {
        let answer = Reply::ok(seen.body.clone()).header("content-type", "application/grpc");
        answer.trailer("grpc-status", "0").trailer("grpc-message", "fine")
    })
    .await;
    let proxy = Proxy::start(&route(&format!("h2c://{}", upstream.addr())));

    let response = proxy.h2().await.post("http://api.test/pkg.Svc/Call", GRPC, b"\0\0\0\0\x02hi").await;

    assert_eq!((response.status, response.body.as_slice()), (200, &b"\0\0\0\0\x02hi"[..]));
    assert_eq!(response.header("content-type"), Some("application/grpc"));
    assert_eq!(response.trailers.len(), 2, "{response:?}");
    let seen = upstream.only();
    assert_eq!((seen.header("te"), seen.target.as_str()), (Some("trailers"), "/pkg.Svc/Call"));
}

#[tokio::test]
async fn a_grpc_answer_of_trailers_only_stays_one() {
    let upstream =
        Upstream::h2c(|_| Reply::status(200).header("content-type", "application/grpc").header("grpc-status", "14"))
            .await;
    let proxy = Proxy::start(&route(&format!("h2c://{}", upstream.addr())));

    let response = proxy.h2().await.post("http://api.test/pkg.Svc/Call", GRPC, b"\0\0\0\0\0").await;

    assert_eq!((response.status, response.header("grpc-status"), response.body.len()), (200, Some("14"), 0));
    assert_eq!(upstream.count(), 1, "a gRPC status is retried only where the route lists it");
}

#[tokio::test]
async fn a_listed_grpc_status_is_retried() {
    let upstream = Upstream::h2c(|seen| {
        let status = if seen.index == 0 { "14" } else { "0" };
        Reply::status(200).header("content-type", "application/grpc").header("grpc-status", status)
    })
    .await;
    let yaml = route(&format!("h2c://{}", upstream.addr()));
    let proxy = Proxy::start(&format!("{yaml}    retry: {{ grpc: [unavailable] }}\n"));

    let response = proxy.h2().await.post("http://api.test/pkg.Svc/Call", GRPC, b"\0\0\0\0\0").await;

    assert_eq!((response.header("grpc-status"), upstream.count()), (Some("0"), 2));
    assert_eq!(upstream.requests()[1].body, b"\0\0\0\0\0");
}

const UPGRADE: &[&str] = &["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

#[tokio::test]
async fn a_websocket_is_relayed() {
    let upstream = Upstream::http(|_| Reply::raw(SWITCHED).then(Then::Echo)).await;
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;

    let switched = client.call("GET", &upstream.url("/chat"), UPGRADE, "").await;
    for frame in [&b"\x81\x85\0\0\0\0hello"[..], b"\x82\x83\0\0\0\0\x00\xff\x01", b"\x88\x80\0\0\0\0"] {
        client.send(frame).await;
        assert_eq!(client.bytes(frame.len()).await, frame);
    }

    assert_eq!((switched.status, switched.header("upgrade")), (101, Some("websocket")));
    assert_eq!(switched.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    let seen = upstream.only();
    assert_eq!(seen.header("upgrade"), Some("websocket"));
    assert_eq!(seen.header("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
}

#[tokio::test]
async fn frames_sent_right_behind_a_switch_are_not_lost() {
    let upstream = Upstream::http(|_| Reply::raw(format!("{SWITCHED}\u{1}\u{2}hi")).then(Then::Echo)).await;
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;

    assert_eq!(client.call("GET", &upstream.url("/"), UPGRADE, "").await.status, 101);

    assert_eq!(client.bytes(4).await, b"\x01\x02hi");
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_an_upstream_error() {
    let upstream = Upstream::http(|_| Reply::raw(SWITCHED).then(Then::Echo)).await;
    let proxy = Proxy::start("");

    let response = proxy.get(&upstream.url("/")).await;

    assert_eq!((response.status, response.reason().as_str()), (502, "protocol"));
}

#[tokio::test]
async fn another_protocol_than_websocket_is_not_offered_on() {
    let upstream = Upstream::fixed("plain").await;
    let proxy = Proxy::start("");

    let response = proxy.call("GET", &upstream.url("/"), &["Connection: Upgrade", "Upgrade: irc/6.9"], "").await;

    assert_eq!(response.text(), "plain");
    assert_eq!((upstream.only().header("upgrade"), upstream.only().header("connection")), (None, None));
}

#[tokio::test]
async fn a_websocket_upgrade_with_a_body_is_refused() {
    let upstream = Upstream::fixed("").await;
    let proxy = Proxy::start("");

    let response = proxy.call("GET", &upstream.url("/"), UPGRADE, "body").await;

    assert_eq!((response.status, response.reason().as_str()), (400, "upgrade_refused"));
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_tunnel_carries_tls_end_to_end() {
    let certs = Certs::default();
    let upstream = Upstream::tls(certs.server("secret.test", &["http/1.1"]), |_| Reply::ok("inside")).await;
    let proxy = Proxy::start(PORTS);

    let tunnel = proxy.client().await.tunnel(&upstream.addr().to_string()).await;
    let mut client = tunnel.tls(certs.client(&[]), "secret.test").await;

    for _ in 0..2 {
        assert_eq!(client.call("GET", "/", &["Host: secret.test"], "").await.text(), "inside");
    }
    assert_eq!(upstream.requests()[0].header("via"), None);
    assert_eq!(proxy.metrics().await.sum("attache_tunnels", &[]), 1.0);
}

#[tokio::test]
async fn a_connect_answer_has_no_framing() {
    let upstream = Upstream::fixed("").await;
    let proxy = Proxy::start(PORTS);
    let mut client = proxy.client().await;

    let response = client.connect_to(&upstream.addr().to_string()).await;

    assert_eq!(response.status, 200);
    assert_eq!((response.header("content-length"), response.header("transfer-encoding")), (None, None));
}

#[tokio::test]
async fn connect_is_taken_from_http_1_0_and_without_a_host() {
    let upstream = Upstream::raw(|_, mut wire| async move { wire.send("220 hi\r\n").await.expect("sent") }).await;
    let proxy = Proxy::start(PORTS);

    for head in ["HTTP/1.0\r\n\r\n", "HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"] {
        let mut client = proxy.client().await;
        client.send(format!("CONNECT {} {head}", upstream.addr())).await;
        assert_eq!(client.response("CONNECT").await.status, 200, "{head}");
        assert_eq!(client.bytes(8).await, b"220 hi\r\n");
    }
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard() {
    let upstream = Upstream::raw(|_, mut wire| async move {
        wire.send("220 mail.test ESMTP\r\n").await.expect("sent");
        let mut said = Vec::new();
        wire.exact(6, &mut said).await.expect("QUIT");
        wire.send([b"221 ", said.as_slice()].concat()).await.expect("sent");
    })
    .await;
    let proxy = Proxy::start(PORTS);

    let mut client = proxy.client().await.tunnel(&upstream.addr().to_string()).await;

    assert_eq!(client.bytes(21).await, b"220 mail.test ESMTP\r\n");
    client.send("QUIT\r\n").await;
    assert_eq!(client.rest().await, b"221 QUIT\r\n");
}

#[tokio::test]
async fn bytes_that_are_not_http_are_carried_as_they_are() {
    let upstream = Upstream::raw(echo).await;
    let proxy = Proxy::start(PORTS);

    for text in [&b"SSH-2.0-test\r\n\0\xff"[..], b"get key\r\n", b"EHLO client.test\r\n", b"NICK a\n"] {
        let mut client = proxy.client().await.tunnel(&upstream.addr().to_string()).await;
        client.send(text).await;

        assert_eq!(client.bytes(text.len()).await, text);
    }
}

async fn echo(_: usize, mut wire: Wire) {
    let mut byte = Vec::new();
    while wire.exact(1, &mut byte).await.is_ok() {
        if wire.send(&byte).await.is_err() {
            return;
        }
        byte.clear();
    }
    // The client has ended its side.
    let _ = wire.send("bye").await;
    let _ = wire.io.shutdown().await;
}

#[tokio::test]
async fn a_client_that_half_closes_still_hears_the_answer() {
    let upstream = Upstream::raw(echo).await;
    let proxy = Proxy::start(PORTS);
    let mut client = proxy.client().await.tunnel(&upstream.addr().to_string()).await;

    client.send(b"\0\0ping").await;
    client.half_close().await;

    assert_eq!(client.rest().await, b"\0\0pingbye");
}

#[tokio::test]
async fn a_server_that_half_closes_still_hears_the_client() {
    let upstream = Upstream::raw(|_, mut wire| async move {
        wire.send("done").await.expect("sent");
        wire.io.shutdown().await.expect("half-closed");
        let mut said = Vec::new();
        let _ = wire.rest(&mut said).await;
        assert_eq!(said, b"\0still here");
    })
    .await;
    let proxy = Proxy::start(PORTS);
    let mut client = proxy.client().await.tunnel(&upstream.addr().to_string()).await;

    assert_eq!(client.rest().await, b"done");
    client.send(b"\0still here").await;
    client.half_close().await;

    upstream.until("the upstream ends", |record| record.open == 0).await;
}

#[tokio::test]
async fn plain_http_inside_a_tunnel_to_port_80_is_proxied() {
    let upstream = Upstream::http(|seen| Reply::ok(seen.target.as_str())).await;
    let proxy = Proxy::start(&format!(
        "{}    headers: {{ request: {{ set: {{ x-route: api }} }} }}\n",
        route(&format!("http://{}", upstream.addr()))
    ));
    let mut client = proxy.client().await.tunnel("api.test:80").await;

    for target in ["/one", "/two"] {
        assert_eq!(client.call("GET", target, &["Host: api.test"], "").await.text(), target);
    }

    let seen = upstream.requests();
    assert_eq!((seen.len(), seen[0].header("x-route")), (2, Some("api")), "the route's policies apply");
    assert!(seen[0].header("via").is_some());
}

#[tokio::test]
async fn plain_http_inside_a_tunnel_to_another_port_is_proxied() {
    let upstream = Upstream::fixed("seen").await;
    let proxy = Proxy::start(PORTS);
    let authority = upstream.addr().to_string();
    let mut client = proxy.client().await.tunnel(&authority).await;

    for _ in 0..2 {
        assert_eq!(client.call("GET", "/", &[&format!("Host: {authority}")], "").await.text(), "seen");
    }

    assert!(upstream.requests().iter().all(|seen| seen.header("via").is_some()));
}

#[tokio::test]
async fn http2_inside_a_tunnel_is_proxied() {
    let upstream = Upstream::h2c(|_| Reply::ok("h2 inside")).await;
    let proxy = Proxy::start(PORTS);
    let authority = upstream.addr().to_string();

    let mut client = proxy.client().await.tunnel(&authority).await.h2().await;

    assert_eq!(client.get(&format!("http://{authority}/")).await.text(), "h2 inside");
    assert!(upstream.only().header("via").is_some());
}

#[tokio::test]
async fn the_scheme_of_http2_says_whether_the_target_is_encrypted() {
    let certs = Certs::default();
    let secure = Upstream::tls(certs.server("secure.test", &["http/1.1"]), |_| Reply::ok("encrypted")).await;
    let plain = Upstream::h2c(|_| Reply::ok("in the clear")).await;
    let proxy = Proxy::start(&format!(
        "resolve: {{ secure.test: {}, plain.test: {} }}
default: {{ action: pass, tls: {{ ca: {} }}, retry: false }}\n",
        secure.addr(),
        plain.addr(),
        certs.ca()
    ));
    let mut client = proxy.h2().await;

    let answers = [
        client.get("https://secure.test/").await,
        client.get("http://plain.test/").await,
        client.get("https://plain.test/").await,
    ];

    assert_eq!((answers[0].text().as_str(), answers[1].text().as_str()), ("encrypted", "in the clear"));
    assert_eq!((answers[2].status, plain.count()), (502, 1));
}

#[tokio::test]
async fn another_host_inside_a_tunnel_is_misdirected() {
    let upstream = Upstream::fixed("").await;
    let other = Upstream::fixed("other").await;
    let proxy = Proxy::start(&format!("{PORTS}{}", route(&format!("http://{}", other.addr()))));
    let authority = upstream.addr().to_string();

    for head in [
        "GET / HTTP/1.1\r\nHost: api.test\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", other.port()),
        format!("GET http://api.test/ HTTP/1.1\r\nHost: {authority}\r\n\r\n"),
    ] {
        let mut client = proxy.client().await.tunnel(&authority).await;
        client.send(&head).await;
        let response = client.response("GET").await;
        assert_eq!((response.status, response.reason().as_str()), (421, "misdirected"), "{head}");
    }
    let mut h2 = proxy.client().await.tunnel(&authority).await.h2().await;
    assert_eq!(h2.get("http://api.test/").await.status, 421);
    assert_eq!((upstream.count(), other.count()), (0, 0));
}

#[tokio::test]
async fn a_connect_inside_a_connect_is_refused() {
    let upstream = Upstream::fixed("").await;
    let proxy = Proxy::start(PORTS);
    let authority = upstream.addr().to_string();
    let mut client = proxy.client().await.tunnel(&authority).await;

    let inner = client.connect_to(&authority).await;

    assert_eq!((inner.status, inner.reason().as_str()), (403, "forbidden"));
    assert_eq!(inner.header("connection"), Some("close"));
}

#[tokio::test]
async fn connect_to_a_port_that_is_not_listed_is_refused_and_the_connection_closed() {
    let upstream = Upstream::fixed("").await;
    let proxy = Proxy::start("");
    let authority = upstream.addr().to_string();
    let mut client = proxy.client().await;

    // What follows a refused CONNECT is not a request, though it looks like one.
    client
        .send(format!(
            "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\nGET {} HTTP/1.1\r\nHost: x\r\n\r\n",
            upstream.url("/smuggled")
        ))
        .await;
    let response = client.response("CONNECT").await;

    assert_eq!((response.status, response.reason().as_str()), (403, "forbidden"));
    assert_eq!(response.header("connection"), Some("close"));
    assert_eq!(client.rest().await, b"");
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_connect_with_a_body_is_refused_and_what_follows_is_no_request() {
    let upstream = Upstream::fixed("").await;
    let proxy = Proxy::start(PORTS);
    let inner = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", upstream.url("/inner"));

    for framing in [format!("Content-Length: {}", inner.len()), "Transfer-Encoding: chunked".to_owned()] {
        let mut client = proxy.client().await;
        client.send(format!("CONNECT {} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n{inner}", upstream.addr())).await;

        let response = client.response("CONNECT").await;

        assert_eq!((response.status, response.reason().as_str()), (400, "bad_request"), "{framing}");
        assert!(client.rest().await.is_empty());
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_connect_that_cannot_be_dialed_says_why_and_closes() {
    let refused = testkit::Port::refused();
    let proxy = Proxy::start(PORTS);
    let mut client = proxy.client().await;

    let response = client.connect_to(&refused.addr().to_string()).await;

    assert_eq!((response.status, response.reason().as_str()), (502, "connect_refused"));
    assert_eq!(response.header("connection"), Some("close"));
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn connect_without_a_port_or_with_a_bad_authority_is_refused() {
    let proxy = Proxy::start("");

    for authority in ["api.test", "api.test:0", "api.test:65536", "user@api.test:443", ":443", "a:+80"] {
        let mut client = proxy.client().await;
        client.send(format!("CONNECT {authority} HTTP/1.1\r\nHost: api.test\r\n\r\n")).await;
        let response = client.response("CONNECT").await;
        assert_eq!(response.status, 400, "{authority}");
        assert_eq!(client.rest().await, b"", "{authority}");
    }
}

#[tokio::test]
async fn tls_on_a_plain_listener_gets_an_alert_and_garbage_a_400() {
    let proxy = Proxy::start("");

    let mut tls = proxy.client().await;
    tls.send(b"\x16\x03\x01\x02\x00\x01\x00").await;
    let mut garbage = proxy.client().await;
    garbage.send(b"\x00\x01\x02\x03 nothing like it\r\n\r\n").await;

    assert_eq!(tls.rest().await.first(), Some(&0x15));
    assert!(garbage.rest().await.starts_with(b"HTTP/1.1 400 "));
}

#[tokio::test]
async fn a_refusal_is_heard_by_a_client_that_still_sends() {
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;
    // Far more than is read to see that it is not HTTP.
    for _ in 0..64 {
        client.send([0; 16 * 1024]).await;
    }

    let (mut wire, mut heard) = (client.into_wire(), Vec::new());
    wire.io.shutdown().await.expect("half-closed");
    let ended = tokio::time::timeout(Duration::from_secs(5), wire.rest(&mut heard)).await.expect("an end");

    assert!(heard.ends_with(b"that was not HTTP.\n"), "{:?}", String::from_utf8_lossy(&heard));
    assert!(ended.is_ok(), "a reset: {ended:?}");
}

#[tokio::test]
async fn a_client_that_says_nothing_or_half_a_head_is_let_go() {
    let proxy = Proxy::start("server: { first_byte: 200ms, header: 300ms, idle: 300ms }\n");
    let mut silent = proxy.client().await;
    let mut slow = proxy.client().await;
    slow.send("GET http://api.test/ HTTP/1.1\r\nHost: api.te").await;

    assert_eq!(silent.rest().await, b"");
    assert!(slow.rest().await.starts_with(b"HTTP/1.1 408 "));
}

#[tokio::test]
async fn an_idle_tunnel_ends_after_its_time() {
    let upstream = Upstream::raw(echo).await;
    let proxy = Proxy::start(&format!("{PORTS}default: {{ action: pass, timeout: {{ tunnel_idle: 300ms }} }}\n"));
    let mut client: Client = proxy.client().await.tunnel(&upstream.addr().to_string()).await;
    client.send(b"\0").await;
    assert_eq!(client.bytes(1).await, b"\0");

    let ended = tokio::time::timeout(Duration::from_secs(5), client.rest()).await;

    assert!(ended.is_ok());
}

#[tokio::test]
async fn an_http2_connection_between_requests_is_idle_whatever_control_frames_come() {
    let upstream = Upstream::fixed("").await;
    let route = route(&format!("http://{}", upstream.addr()));
    let proxy = Proxy::start(&format!("server: {{ header: 300ms, idle: 60s }}\n{route}"));
    let mut client = proxy.client().await;
    // SETTINGS, then HEADERS with END_STREAM and END_HEADERS: GET http://api.test/.
    let get = |stream: u8| [&b"\0\0\x0d\x01\x05\0\0\0"[..], &[stream], b"\x82\x86\x84\x41\x08api.test"].concat();
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    client.send(get(1)).await;
    answered(&mut client).await;

    // PING, and then nothing for longer than a head may take.
    client.send(b"\0\0\x08\x06\0\0\0\0\0pingping").await;
    assert_eq!(client.bytes(17).await, b"\0\0\x08\x06\x01\0\0\0\0pingping");
    let more = tokio::time::timeout(Duration::from_millis(1500), client.bytes(9)).await;

    assert!(more.is_err(), "the connection was ended: {more:?}");
    client.send(get(3)).await;
    answered(&mut client).await;
}

/// Reads frames up to the HEADERS of a response.
async fn answered(client: &mut Client) {
    loop {
        let frame = client.bytes(9).await;
        client.bytes(u32::from_be_bytes([0, frame[0], frame[1], frame[2]]) as usize).await;
        if frame[3] == 1 {
            return;
        }
    }
}

#[tokio::test]
async fn a_grpc_timeout_bounds_the_call() {
    let upstream = Upstream::h2c(|_| Reply::hang()).await;
    let proxy = Proxy::start(&route(&format!("h2c://{}", upstream.addr())));
    let started = tokio::time::Instant::now();

    let fields = [GRPC[0], GRPC[1], ("grpc-timeout", "300m")];
    let response = proxy.h2().await.post("http://api.test/pkg.Svc/Call", &fields, b"\0\0\0\0\0").await;

    let took = tokio::time::Instant::now() - started;
    assert!((Duration::from_millis(250)..Duration::from_secs(3)).contains(&took), "{took:?}");
    assert_eq!((response.status, response.header("grpc-status")), (200, Some("4")), "{response:?}");
    let left = upstream.only().header("grpc-timeout").expect("what is left is sent on").to_owned();
    assert_ne!(left, "0n");
}

#[tokio::test]
async fn an_http2_client_may_open_a_tunnel() {
    let upstream = Upstream::raw(echo).await;
    let proxy = Proxy::start(PORTS);
    let mut client = proxy.h2().await;

    let mut tunnel = client.tunnel(&upstream.addr().to_string()).await;
    tunnel.write_all(b"\0\x01ping").await.expect("written");
    tunnel.shutdown().await.expect("half-closed");
    let mut heard = Vec::new();
    testkit::within("the echo", tunnel.read_to_end(&mut heard)).await.expect("read");

    assert_eq!(heard, b"\0\x01pingbye");
    let refused = client.connect_to("169.254.169.254:443").await;
    assert_eq!(refused.status, 403);
}

#[tokio::test]
async fn a_grpc_stream_flows_both_ways_at_once() {
    let upstream = Upstream::h2_echo().await;
    let proxy = Proxy::start(&route(&format!("h2c://{}", upstream.addr())));
    let mut client = proxy.h2().await;

    let (mut say, mut hear) = client.stream("http://api.test/pkg.Svc/Chat", GRPC).await;
    for message in [&b"\0\0\0\0\x01a"[..], b"\0\0\0\0\x01b", b"\0\0\0\0\x01c"] {
        say.send_data(Bytes::from_static(message)).await.expect("sent");
        // Each answer comes before the next question is asked.
        assert_eq!(hear.message(message.len()).await, message);
    }
    drop(say);

    assert_eq!(hear.trailers().await, [("grpc-status".to_owned(), "0".to_owned())]);
}

#[tokio::test]
async fn grpc_needs_http2_of_an_encrypted_upstream() {
    let certs = Certs::default();
    let upstream = Upstream::tls(certs.server("127.0.0.1", &["http/1.1"]), |_| Reply::ok("no")).await;
    let yaml = route(&format!("https://{}", upstream.addr()));
    let proxy = Proxy::start(&format!("{yaml}    tls: {{ ca: {} }}\n    retry: false\n", certs.ca()));

    let response = proxy.h2().await.post("http://api.test/pkg.Svc/Call", GRPC, b"\0\0\0\0\0").await;

    assert_eq!((response.header("grpc-status"), upstream.count()), (Some("14"), 0), "{response:?}");
}

#[tokio::test]
async fn a_websocket_to_an_encrypted_upstream_uses_http1_beside_http2() {
    let certs = Certs::default();
    let upstream = Upstream::tls(certs.server("127.0.0.1", &["h2", "http/1.1"]), |seen| {
        if seen.target == "/chat" { Reply::raw(SWITCHED).then(Then::Echo) } else { Reply::ok("plain") }
    })
    .await;
    let yaml = route(&format!("https://{}", upstream.addr()));
    let proxy = Proxy::start(&format!("{yaml}    tls: {{ ca: {} }}\n", certs.ca()));
    assert_eq!(proxy.get("http://api.test/").await.text(), "plain");
    let mut client = proxy.client().await;

    let switched = client.call("GET", "http://api.test/chat", UPGRADE, "").await;
    client.send(b"\x81\x85\0\0\0\0hello").await;

    assert_eq!((switched.status, client.bytes(11).await), (101, b"\x81\x85\0\0\0\0hello".to_vec()));
    assert_eq!(proxy.get("http://api.test/").await.text(), "plain");
    let versions: Vec<_> = upstream.requests().into_iter().map(|seen| seen.version).collect();
    assert_eq!((versions, upstream.connections()), (vec!["HTTP/2".into(), "HTTP/1.1".into(), "HTTP/2".to_owned()], 2));
}

#[tokio::test]
async fn a_websocket_inside_a_tunnel_to_port_80_is_relayed() {
    let upstream = Upstream::http(|_| Reply::raw(SWITCHED).then(Then::Echo)).await;
    let proxy = Proxy::start(&route(&format!("http://{}", upstream.addr())));
    let mut client = proxy.client().await.tunnel("api.test:80").await;

    let switched = client.call("GET", "/chat", &[&["Host: api.test"], UPGRADE].concat(), "").await;
    client.send(b"\x81\x80\0\0\0\0").await;

    assert_eq!((switched.status, client.bytes(6).await), (101, b"\x81\x80\0\0\0\0".to_vec()));
}

#[tokio::test]
async fn a_refused_websocket_is_an_ordinary_answer() {
    let upstream = Upstream::http(|_| Reply::status(403).body("no")).await;
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;

    for _ in 0..2 {
        let response = client.call("GET", &upstream.url("/"), UPGRADE, "").await;
        assert_eq!((response.status, response.text().as_str(), response.header("upgrade")), (403, "no", None));
    }
}

#[tokio::test]
async fn an_http2_upload_that_lies_about_its_length_is_never_complete_for_the_upstream() {
    let upstream = Upstream::fixed("").await;
    let proxy = Proxy::start(&route(&format!("http://{}", upstream.addr())));
    let request = Request::post("http://api.test/").header("content-length", "10");

    let outcome = proxy.h2().await.try_send(request.body(Full::from("abc")).expect("a request")).await;

    assert!(outcome.is_err() || outcome.is_ok_and(|response| response.status >= 400));
    assert!(upstream.requests().iter().all(|seen| !seen.whole), "{:?}", upstream.requests());
}

#[tokio::test]
async fn an_http2_upload_that_is_reset_is_never_complete_for_the_upstream() {
    // NO_ERROR, which looks like an end, and CANCEL.
    for code in [0, 8] {
        let upstream = Upstream::fixed("").await;
        let proxy = Proxy::start(&route(&format!("http://{}", upstream.addr())));
        let mut client = proxy.client().await;

        // SETTINGS, HEADERS of POST http://api.test/, DATA without END_STREAM, and a reset.
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        client.send(b"\0\0\x0d\x01\x04\0\0\0\x01\x83\x86\x84\x41\x08api.test\0\0\x03\0\0\0\0\0\x01abc").await;
        upstream.until("the head", |record| record.requests.len() == 1).await;
        client.send([&b"\0\0\x04\x03\0\0\0\0\x01\0\0\0"[..], &[code]].concat()).await;

        upstream.until("its connection is closed", |record| record.open == 0).await;
        assert!(!upstream.only().whole, "{code}");
    }
}

#[tokio::test]
async fn an_idle_websocket_ends_after_its_routes_time() {
    let upstream = Upstream::http(|_| Reply::raw(SWITCHED).then(Then::Echo)).await;
    let timeout = "    timeout: { tunnel_idle: 300ms }\n";
    let proxy = Proxy::start(&format!("{}{timeout}", route(&format!("http://{}", upstream.addr()))));
    let mut client = proxy.client().await;
    assert_eq!(client.call("GET", "http://api.test/", UPGRADE, "").await.status, 101);

    let ended = tokio::time::timeout(Duration::from_secs(5), client.rest()).await;

    assert!(ended.is_ok());
}
