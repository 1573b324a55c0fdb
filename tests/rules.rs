//! Rules of HTTP that bind a proxy, one by one, as they show on the wire.

use std::io::ErrorKind;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use testkit::upstream::Then;
use testkit::{Certs, Client, End, Port, Proxy, Reply, Upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn max_forwards_counts_this_proxy_for_options_and_trace_alone() {
    let upstream = Upstream::http(|_| Reply::ok("upstream")).await;
    let proxy = Proxy::start("");
    let url = upstream.url("/x");

    for method in ["OPTIONS", "TRACE", "GET"] {
        assert_eq!(proxy.call(method, &url, &["Max-Forwards: 3"], "").await.text(), "upstream");
    }
    let options = proxy.call("OPTIONS", &url, &["Max-Forwards: 0"], "").await;
    let trace = proxy.call("TRACE", &url, &["Max-Forwards: 0", "Cookie: secret"], "").await;
    let get = proxy.call("GET", &url, &["Max-Forwards: 0"], "").await;

    assert_eq!((options.status, options.header("content-length"), options.text().as_str()), (200, Some("0"), ""));
    assert!(options.header("allow").is_some_and(|allow| allow.contains("OPTIONS")), "{options:?}");
    assert_eq!((trace.status, trace.reason().as_str()), (501, "unsupported"));
    assert!(!trace.text().contains("secret"));
    assert_eq!(get.text(), "upstream");
    let left: Vec<_> = upstream.requests().iter().map(|seen| seen.header("max-forwards").map(str::to_owned)).collect();
    assert_eq!(left, [Some("2".to_owned()), Some("2".into()), Some("3".into()), Some("0".into())]);
}

#[tokio::test]
async fn options_of_an_absolute_target_without_a_path_asks_the_server_as_a_whole() {
    let upstream = Upstream::http(|_| Reply::ok("")).await;
    let proxy = Proxy::start("");
    let host = upstream.addr();

    for (target, sent) in [
        (format!("http://{host}"), "*"),
        (format!("http://{host}/"), "/"),
        (format!("http://{host}/?"), "/?"),
        (format!("http://{host}/x"), "/x"),
    ] {
        let mut client = proxy.client().await;
        client.send(format!("OPTIONS {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(client.response("OPTIONS").await.status, 200);
        assert_eq!(upstream.requests().last().map(|seen| seen.target.clone()).as_deref(), Some(sent), "{target}");
    }
    let mut client = proxy.client().await;
    client.send(format!("GET http://{host} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    assert_eq!(client.response("GET").await.status, 200);
    assert_eq!(upstream.requests().last().map(|seen| seen.target.clone()).as_deref(), Some("/"));
}

#[tokio::test]
async fn options_of_the_root_stays_one_over_http2() {
    let upstream = Upstream::http(|_| Reply::ok("")).await;
    let proxy = Proxy::start(&format!("routes:\n  - match: api.test\n    to: {}\n", upstream.url("")));
    let request = Request::options("http://api.test/").body(Full::<Bytes>::default()).expect("a request");

    assert_eq!(proxy.h2().await.send(request).await.status, 200);

    assert_eq!(upstream.only().target, "/");
}

#[tokio::test]
async fn a_method_of_any_token_is_passed_on() {
    let upstream = Upstream::http(|seen| Reply::ok(seen.method.as_str())).await;
    let proxy = Proxy::start("");

    for method in ["M!#$%&'*+-.^_`|~", "UPDATEREDIRECTREF-AND-THEN-SOME", "get"] {
        assert_eq!(proxy.call(method, &upstream.url("/"), &[], "").await.text(), method);
    }
    let mut client = proxy.client().await;
    client.send("G(T / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(client.response("GET").await.status, 400);
}

#[tokio::test]
async fn the_number_of_fields_is_limited_over_http2_as_well() {
    let upstream = Upstream::http(|_| Reply::ok("")).await;
    let route = format!("routes:\n  - match: api.test\n    to: {}\n", upstream.url(""));
    let proxy = Proxy::start(&format!("server: {{ max_headers: 20 }}\n{route}"));
    let request = |fields: usize, crumbs: usize| {
        let mut request = Request::get("http://api.test/");
        for index in 0..fields {
            request = request.header(format!("x-{index}"), "1");
        }
        for index in 0..crumbs {
            request = request.header("cookie", format!("c{index}=1"));
        }
        request.body(Full::<Bytes>::default()).expect("a request")
    };
    let mut client = proxy.h2().await;

    for (fields, crumbs, status) in [(20, 0, 200), (21, 0, 431), (19, 30, 200), (20, 2, 431)] {
        let response = client.send(request(fields, crumbs)).await;
        assert_eq!(response.status, status, "{fields} fields, {crumbs} crumbs: {response:?}");
    }
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn a_failure_of_ours_is_a_grpc_status_for_a_grpc_client() {
    const GRPC: &[(&str, &str)] = &[("content-type", "application/grpc+proto"), ("te", "trailers")];
    let gone = Port::refused();
    let garbage = Upstream::raw(|_, mut wire| async move {
        let _ = wire.send("HTTP/1.1 200 OK\r\n\r\n").await;
        // Closed with bytes unread it would be a reset, which may come first.
        wire.closed().await;
    })
    .await;
    let proxy = Proxy::start(&format!(
        "default: {{ action: deny }}\nroutes:\n  - match: gone.test\n    to: h2c://{}\n  - match: bad.test\n    to: h2c://{}\n",
        gone.addr(),
        garbage.addr()
    ));
    let mut client = proxy.h2().await;

    for (host, status, reason) in
        [("gone.test", "14", "connect_refused"), ("nobody.test", "12", "no_route"), ("bad.test", "13", "protocol")]
    {
        let response = client.post(&format!("http://{host}/pkg.Svc/Call"), GRPC, b"\0\0\0\0\0").await;
        assert_eq!((response.status, response.header("grpc-status")), (200, Some(status)), "{response:?}");
        assert_eq!(response.header("content-type"), Some("application/grpc"));
        assert!(response.header("grpc-message").is_some_and(|text| text.starts_with(reason)), "{response:?}");
        assert!(response.header("proxy-status").is_some() && response.body.is_empty());
        assert_eq!(proxy.metrics().await.sum("attache_requests_total", &[("reason", reason)]), 1.0, "{reason}");
    }
    let web = [("content-type", "application/grpc-web+proto")];
    assert_eq!(client.post("http://gone.test/pkg.Svc/Call", &web, b"").await.status, 502);
}

/// CONNECT to any port of a test's.
const PORTS: &str = "destinations: { connect_ports: [80, 443, \"1024-65535\"] }\n";

/// How reading ended.
async fn end(io: &mut TcpStream) -> Result<Vec<u8>, ErrorKind> {
    let mut bytes = Vec::new();
    let read = testkit::within("the end of a connection", io.read_to_end(&mut bytes)).await;
    read.map(|_| bytes).map_err(|error| error.kind())
}

/// A tunnel on a bare socket, with the answer's head read off.
async fn bare_tunnel(proxy: &Proxy, authority: &str) -> TcpStream {
    let mut io = TcpStream::connect(proxy.addr()).await.expect("connected");
    io.write_all(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n").as_bytes()).await.expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(testkit::within("the head of an answer", io.read_u8()).await.expect("a byte"));
    }
    assert!(head.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&head));
    io
}

#[tokio::test]
async fn a_reset_in_a_tunnel_is_a_reset_on_the_other_side_and_an_end_is_an_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let authority = listener.local_addr().expect("bound").to_string();
    let proxy = Proxy::start(PORTS);

    for (resets, expected) in [(true, Err(ErrorKind::ConnectionReset)), (false, Ok(Vec::new()))] {
        for from_upstream in [true, false] {
            let mut client = bare_tunnel(&proxy, &authority).await;
            let (mut upstream, _) = testkit::within("a dial", listener.accept()).await.expect("accepted");
            client.write_all(b"\0").await.expect("sent");
            assert_eq!(testkit::within("a byte", upstream.read_u8()).await.expect("a byte"), 0);
            let (leaving, mut staying) = if from_upstream { (upstream, client) } else { (client, upstream) };

            if resets {
                leaving.set_zero_linger().expect("linger");
            }
            drop(leaving);

            assert_eq!(end(&mut staying).await, expected, "from upstream: {from_upstream}");
        }
    }
}

#[tokio::test]
async fn a_reset_passes_through_a_websocket() {
    let upstream = Upstream::raw(|_, mut wire| async move {
        let _ = wire.head().await;
        let _ =
            wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi").await;
        let _ = wire.exact(2, &mut Vec::new()).await;
        wire.io.reset_on_close();
    })
    .await;
    let proxy = Proxy::start("");
    let mut io = TcpStream::connect(proxy.addr()).await.expect("connected");
    let head =
        "Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

    // Two bytes right behind the request, before the switch: they wait in hyper's buffer.
    io.write_all(format!("GET {} HTTP/1.1\r\n{head}\r\nab", upstream.url("/")).as_bytes()).await.expect("sent");

    assert_eq!(end(&mut io).await, Err(ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn plain_http_in_a_tunnel_uses_the_connection_that_was_dialed() {
    let upstream = Upstream::http(|_| Reply::ok("one")).await;
    let proxy = Proxy::start(PORTS);
    let authority = upstream.addr().to_string();
    let mut client = proxy.client().await.tunnel(&authority).await;

    for _ in 0..2 {
        assert_eq!(client.call("GET", "/", &[&format!("Host: {authority}")], "").await.text(), "one");
    }

    assert_eq!((upstream.connections(), upstream.count()), (1, 2));
}

#[tokio::test]
async fn a_tls_name_that_is_not_the_tunnels_is_misdirected() {
    let certs = Certs::default();
    let upstream = Upstream::tls(certs.server("secret.test", &[]), |_| Reply::ok("inside")).await;
    let port = upstream.port();
    let proxy = Proxy::start(&format!("{PORTS}resolve: {{ secret.test: 127.0.0.1, front.test: 127.0.0.1 }}\n"));

    // Names are the same in any case; an address has no name to differ from.
    for authority in [format!("Secret.Test:{port}"), format!("127.0.0.1:{port}")] {
        let tunnel = proxy.client().await.tunnel(&authority).await;
        let mut client = tunnel.tls(certs.client(&[]), "secret.test").await;
        assert_eq!(client.call("GET", "/", &["Host: secret.test"], "").await.text(), "inside", "{authority}");
    }
    let hello = certs.hello("secret.test");
    for pieces in [1, 2, hello.len()] {
        let mut client = proxy.client().await.tunnel(&format!("front.test:{port}")).await;
        for piece in hello.chunks(hello.len().div_ceil(pieces)) {
            client.send(piece).await;
        }
        // A fatal alert: unrecognized_name.
        assert_eq!(client.rest().await, b"\x15\x03\x03\0\x02\x02\x70", "in {pieces} pieces");
    }

    assert_eq!(upstream.count(), 2);
    let log = proxy.finish();
    let reasons: Vec<_> = log.iter().filter(|line| line["reason"] == "misdirected").collect();
    assert_eq!(reasons.len(), 3, "{log:?}");
}

#[tokio::test]
async fn a_target_has_one_of_the_four_forms_for_its_method() {
    let upstream = Upstream::http(|_| Reply::ok("")).await;
    let proxy = Proxy::start("");
    let host = upstream.addr();

    for target in [
        format!("http://{host}#@other.test/t"),
        format!("http://{host}#"),
        host.to_string(),
        "localhost".to_owned(),
        "*".to_owned(),
        format!("ftp://{host}/"),
    ] {
        let mut client = proxy.client().await;
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        let response = client.response("GET").await;
        assert_eq!((response.status, response.reason().as_str()), (400, "bad_request"), "{target}");
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_host_is_enough_over_http2_where_a_route_names_it() {
    let upstream = Upstream::http(|_| Reply::ok("")).await;
    let proxy = Proxy::start(&format!(
        "resolve: {{ other.test: {} }}\nroutes:\n  - match: api.test\n    to: {}\n",
        upstream.addr(),
        upstream.url("")
    ));

    for (host, is_fine) in [("api.test", true), ("other.test", false)] {
        let fields = [(":method", "GET"), (":scheme", "https"), (":path", "/"), ("host", host)];
        let before = upstream.count();
        let mut client = proxy.client().await;
        client.send(h2_request(&fields)).await;
        let status = h2_status(&mut client).await;
        assert_eq!((status, upstream.count() - before), if is_fine { (0x88, 1) } else { (0x8c, 0) }, "{host}");
    }
}

/// The first octet of the answer's HEADERS, an indexed `:status`, or 0 for a reset of the stream.
async fn h2_status(client: &mut Client) -> u8 {
    loop {
        let frame = client.bytes(9).await;
        let payload = client.bytes(u32::from_be_bytes([0, frame[0], frame[1], frame[2]]) as usize).await;
        match frame[3] {
            1 => return payload[0],
            3 | 7 => return 0,
            _ => {}
        }
    }
}

/// SETTINGS, then HEADERS with END_STREAM.
fn h2_request(fields: &[(&str, &str)]) -> Vec<u8> {
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..], &h2_headers(5, fields)].concat()
}

/// HEADERS of the first stream; each field is a literal without an index.
fn h2_headers(flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("short"));
            block.extend_from_slice(text.as_bytes());
        }
    }
    let length = u8::try_from(block.len()).expect("short");
    [&[0, 0, length, 1, flags, 0, 0, 0, 1], &block[..]].concat()
}

#[tokio::test]
async fn pseudo_fields_in_the_trailers_of_http2_make_no_whole_request() {
    for (name, value, is_fine) in [("x-end", "1", true), (":path", "/other", false), (":status", "200", false)] {
        let upstream = Upstream::fixed("").await;
        let proxy = Proxy::start(&format!("routes:\n  - match: api.test\n    to: {}\n", upstream.url("")));
        let mut client = proxy.client().await;

        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        let head = [(":method", "POST"), (":scheme", "http"), (":path", "/a"), (":authority", "api.test")];
        client.send(h2_headers(4, &head)).await;
        client.send(b"\0\0\x03\0\0\0\0\0\x01abc").await;
        client.send(h2_headers(5, &[(name, value)])).await;

        let status = h2_status(&mut client).await;
        let expected: &[u8] = if is_fine { &[0x88] } else { &[0x8c, 0] };
        assert!(expected.contains(&status), "{name}: {status:x}");
        upstream
            .until("nothing runs", |record| record.requests.iter().all(|seen| seen.whole) || record.open == 0)
            .await;
        assert!(upstream.requests().iter().all(|seen| seen.whole == is_fine), "{name}: {:?}", upstream.requests());
    }
}

#[tokio::test]
async fn a_malformed_head_of_http2_goes_no_further() {
    let upstream = Upstream::http(|_| Reply::ok("")).await;
    let proxy = Proxy::start(&format!("routes:\n  - match: api.test\n    to: {}\n", upstream.url("")));

    for (scheme, path, name, is_fine) in [
        ("http", "/a", "x-a", true),
        ("https", "/a", "x-a", true),
        ("http", "*", "x-a", false),
        ("http", "?a=b", "x-a", false),
        ("http", "/a#b", "x-a", false),
        ("", "/a", "x-a", false),
        ("1http", "/a", "x-a", false),
        ("http", "/a", "x\"a", false),
    ] {
        let fields =
            [(":method", "GET"), (":scheme", scheme), (":path", path), (":authority", "api.test"), (name, "1")];
        let before = upstream.count();
        let mut client = proxy.client().await;
        client.send(h2_request(&fields)).await;
        let status = h2_status(&mut client).await;
        let expected: &[u8] = if is_fine { &[0x88] } else { &[0x8c, 0] };
        assert!(expected.contains(&status), "{fields:?}: {status:x}");
        assert_eq!(upstream.count() - before, usize::from(is_fine), "{fields:?}");
    }
}

#[tokio::test]
async fn a_chunked_body_of_a_get_is_not_lost() {
    let upstream = Upstream::http(|_| Reply::ok("")).await;
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;

    for method in ["GET", "HEAD", "DELETE"] {
        let head = format!("{method} {} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", upstream.url("/"));
        client.send(format!("{head}5\r\nhello\r\n0\r\n\r\n")).await;
        assert_eq!(client.response(method).await.status, 200);
        let seen = upstream.requests().pop().expect("a request");
        assert_eq!((seen.method.as_str(), seen.body.as_slice(), seen.whole), (method, &b"hello"[..], true));
    }
}

#[tokio::test]
async fn what_a_request_hides_behind_its_last_chunk_is_not_swallowed() {
    let upstream = Upstream::http(|_| Reply::ok("")).await;
    let proxy = Proxy::start("");
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        upstream.url("/")
    );
    let hidden = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", upstream.url("/hidden"));

    let mut client = proxy.client().await;
    client.send(format!("{head}\n{hidden}")).await;
    assert_eq!(client.response("POST").await.status, 400);
    assert_eq!(client.rest().await, b"");
    // Behind a trailer nobody can tell: what follows is not answered, and the client knows it.
    let mut client = proxy.client().await;
    client.send(format!("{head}X-Sum: 1\r\n\n{hidden}")).await;
    assert_eq!(client.response("POST").await.header("connection"), Some("close"));
    assert_eq!(client.rest().await, b"");
    // An answer that comes before the end of such a body.
    let early = Upstream::early(|_| Reply::ok("early")).await;
    let mut client = proxy.client().await;
    client.send(format!("POST {} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", early.url("/"))).await;
    assert_eq!(client.response("POST").await.header("connection"), Some("close"));

    assert!(upstream.requests().iter().all(|seen| seen.target == "/"));
}

#[tokio::test]
async fn what_an_upstream_hides_behind_its_last_chunk_is_no_answer() {
    const HIDDEN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n";
    let upstream = Upstream::http(|seen| {
        let trailer = if seen.target == "/trailer" { "X-Sum: 1\r\n" } else { "" };
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
        Reply::raw(format!("{chunked}{trailer}\n{HIDDEN}"))
    })
    .await;
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;

    let trailer = client.get(&upstream.url("/trailer")).await;
    let after = client.get(&upstream.url("/")).await;

    assert_eq!((trailer.text().as_str(), trailer.end), ("hello", End::Whole));
    assert_eq!((after.text().as_str(), after.end), ("hello", End::Cut));
    assert_eq!(upstream.connections(), 2, "the first one's end was doubtful");
}

#[tokio::test]
async fn trailers_that_would_change_the_message_are_dropped() {
    let upstream = Upstream::h2c(|_| {
        let reply = Reply::chunked(&["a"]).trailer("set-cookie", "a=1").trailer("content-type", "text/html");
        reply.trailer("via", "1.1 x").trailer("x-sum", "2")
    })
    .await;
    let proxy = Proxy::start(&format!("routes:\n  - match: api.test\n    to: h2c://{}\n", upstream.addr()));

    let response = proxy.h2().await.get("http://api.test/").await;

    assert_eq!((response.text().as_str(), response.end), ("a", End::Whole));
    assert_eq!(response.trailers, [("x-sum".to_owned(), "2".to_owned())]);
}

#[tokio::test]
async fn a_cut_answer_is_a_reset_for_a_client_of_http_1_0() {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let upstream = Upstream::http(|seen| match seen.target.as_str() {
        "/whole" => Reply::raw(format!("{CHUNKED}0\r\n\r\n")),
        "/cut" => Reply::raw(CHUNKED).then(Then::Close),
        _ => Reply::raw("HTTP/1.0 200 OK\r\n\r\nhello").then(Then::Reset),
    })
    .await;
    let proxy = Proxy::start("");

    for (path, is_whole) in [("/whole", true), ("/cut", false), ("/reset", false)] {
        let mut io = TcpStream::connect(proxy.addr()).await.expect("connected");
        io.write_all(format!("GET {} HTTP/1.0\r\n\r\n", upstream.url(path)).as_bytes()).await.expect("sent");
        let ended = end(&mut io).await;
        match is_whole {
            true => assert!(ended.is_ok_and(|bytes| bytes.ends_with(b"\r\n\r\nhello")), "{path}"),
            false => assert!(ended.is_err() || ended.is_ok_and(|bytes| bytes.starts_with(b"HTTP/1.1 502 ")), "{path}"),
        }
    }
}

/// What an upstream sends, what a client gets of it, and how many connections two requests take.
struct Answer {
    method: &'static str,
    sent: &'static str,
    got: (u16, &'static str, Option<&'static str>),
    connections: usize,
}

#[tokio::test]
async fn the_framing_of_an_answer_is_one_or_the_answer_is_an_error() {
    const fn answer(sent: &'static str, got: (u16, &'static str, Option<&'static str>), connections: usize) -> Answer {
        Answer { method: "GET", sent, got, connections }
    }
    let answers = [
        answer("200 OK\r\nContent-Length: 5\r\n\r\nhello", (200, "hello", Some("5")), 1),
        answer(
            "200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            (502, "", None),
            2,
        ),
        answer(
            "200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            (502, "", None),
            2,
        ),
        answer("200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", (502, "", None), 2),
        answer("200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", (200, "hello", Some("5")), 1),
        answer("200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", (200, "hello", Some("5")), 1),
        answer("200 OK\r\nContent-Length: +5\r\n\r\nhello", (502, "", None), 2),
        answer("200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello", (502, "", None), 2),
        answer("200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", (502, "", None), 2),
        answer("204 No Content\r\nContent-Length: 5\r\n\r\nhello", (204, "", None), 2),
        answer("204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", (204, "", None), 1),
        answer("304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (304, "", None), 2),
        answer("205 Reset Content\r\nContent-Length: 5\r\n\r\nhello", (205, "hello", Some("5")), 1),
        answer("200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 100 Continue\r\n\r\n", (200, "ok", Some("2")), 2),
        answer("200 OK\r\nContent-Length: 2\r\n\r\nokEXTRA", (200, "ok", Some("2")), 2),
        answer("101 Switching Protocols\r\n\r\n", (502, "", None), 2),
        Answer { method: "HEAD", ..answer("200 OK\r\nContent-Length: 5\r\n\r\n", (200, "", Some("5")), 1) },
        Answer { method: "HEAD", ..answer("200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", (200, "", Some("5")), 2) },
        Answer { method: "HEAD", ..answer("200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", (200, "", None), 1) },
    ];
    for Answer { method, sent, got: (status, body, length), connections } in answers {
        let upstream = Upstream::http(move |_| Reply::raw(format!("HTTP/1.1 {sent}"))).await;
        let proxy =
            Proxy::start(&format!("routes:\n  - match: api.test\n    to: {}\n    retry: false\n", upstream.url("")));
        let mut h2 = proxy.h2().await;
        let request =
            || Request::builder().method(method).uri("http://api.test/").body(Full::default()).expect("valid");

        let one = proxy.call(method, "http://api.test/", &[], "").await;
        let two = h2.send(request()).await;

        for response in [&one, &two] {
            assert_eq!(response.status, status, "{sent:?}: {response:?}");
            assert_eq!(response.headers("date").len(), 1, "{sent:?}: {response:?}");
            if status < 300 {
                assert_eq!((response.text().as_str(), response.end), (body, End::Whole), "{sent:?}: {response:?}");
                assert_eq!(response.headers("content-length"), Vec::from_iter(length), "{sent:?}: {response:?}");
            }
        }
        assert_eq!(upstream.connections(), connections, "{sent:?}");
    }
}

#[tokio::test]
async fn a_length_said_twice_over_http2_goes_no_further() {
    let upstream = Upstream::http(|_| Reply::ok("")).await;
    let proxy = Proxy::start(&format!("routes:\n  - match: api.test\n    to: {}\n", upstream.url("")));
    let request = Request::post("http://api.test/").header("content-length", "2").header("content-length", "2");

    let outcome = proxy.h2().await.try_send(request.body(Full::from("ab")).expect("a request")).await;

    assert!(outcome.is_err() || outcome.is_ok_and(|response| response.status == 400));
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_failure_between_pipelined_requests_stays_in_its_place() {
    let upstream = Upstream::http(|seen| match seen.target.as_str() {
        "/cut" => Reply::reset(),
        _ => Reply::ok([seen.target.as_bytes(), &seen.body].concat()),
    })
    .await;
    let proxy = Proxy::start(&format!(
        "routes:\n  - match: api.test\n    to: {}\n    retry: false\n  - match: gone.test\n    to: http://{}\n    retry: false\n",
        upstream.url(""),
        Port::refused().addr()
    ));
    let get = |host: &str, path: &str| format!("GET http://{host}{path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let post = "POST http://api.test/post HTTP/1.1\r\nHost: api.test\r\nContent-Length: 5\r\n\r\nhello";
    let all: Vec<_> = (0..10)
        .map(|index| match index {
            3 => (get("api.test", "/cut"), 502, None),
            5 => (post.to_owned(), 200, Some("/posthello".to_owned())),
            7 => (get("gone.test", "/"), 502, None),
            _ => (get("api.test", &format!("/{index}")), 200, Some(format!("/{index}"))),
        })
        .collect();
    let mut client = proxy.client().await;

    client.send(all.iter().map(|(request, ..)| request.as_str()).collect::<String>()).await;

    for (request, status, body) in all {
        let response = client.response("GET").await;
        assert_eq!(response.status, status, "{request}");
        if let Some(body) = body {
            assert_eq!(response.text(), body);
        }
    }
    assert_eq!(upstream.count(), 9);
}

#[tokio::test]
async fn an_upstream_of_http_1_0_gets_every_body_whole() {
    let upstream =
        Upstream::http(|_| Reply::raw("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"))
            .await;
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;

    for _ in 0..2 {
        let head = format!("POST {} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", upstream.url("/"));
        client.send(format!("{head}5\r\nhello\r\n0\r\n\r\n")).await;
        assert_eq!(client.response("POST").await.text(), "ok");
    }

    for seen in upstream.requests() {
        assert_eq!((seen.version.as_str(), seen.body.as_slice()), ("HTTP/1.1", &b"hello"[..]), "{seen:?}");
    }
}

#[tokio::test]
async fn trailers_that_http1_cannot_carry_are_counted() {
    let upstream = Upstream::h2c(|seen| {
        let reply = Reply::chunked(&["a"]).trailer("x-sum", "2");
        if seen.target == "/announced" { reply.header("trailer", "x-sum") } else { reply }
    })
    .await;
    let proxy = Proxy::start(&format!("routes:\n  - match: api.test\n    to: h2c://{}\n", upstream.addr()));
    let dropped = async || proxy.metrics().await.sum("attache_trailers_dropped_total", &[]);

    let announced = proxy.call("GET", "http://api.test/announced", &["TE: trailers"], "").await;
    assert_eq!(announced.trailers.len(), 1);
    assert_eq!(proxy.h2().await.get("http://api.test/").await.trailers.len(), 1);
    assert_eq!(dropped().await, 0.0);
    let response = proxy.get("http://api.test/").await;

    assert_eq!((response.text().as_str(), response.end, response.trailers.len()), ("a", End::Whole, 0));
    assert_eq!(dropped().await, 1.0);
}

/// An origin that switches at `/chat`, proves it with `proof` and echoes.
async fn websocket(proof: impl Fn(&str) -> String + Send + Sync + 'static) -> Upstream {
    Upstream::http(move |seen| match seen.target.as_str() {
        "/chat?q" => {
            let proof = proof(seen.header("sec-websocket-key").unwrap_or_default());
            let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                        Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Accept: ";
            Reply::raw(format!("{head}{proof}\r\n\r\n")).then(Then::Echo)
        }
        "/no" => Reply::status(403).body("no"),
        _ => Reply::ok("what is a websocket?"),
    })
    .await
}

#[tokio::test]
async fn a_websocket_over_http2_is_an_upgrade_for_its_upstream() {
    let upstream = websocket(testkit::websocket_proof).await;
    let proxy = Proxy::start(&format!("routes:\n  - match: api.test\n    to: {}\n", upstream.url("")));
    let mut client = proxy.h2().await;
    // Its SETTINGS are known once something was answered.
    assert_eq!(client.get("http://api.test/").await.status, 200);

    let fields = [("sec-websocket-version", "13"), ("sec-websocket-protocol", "a, b"), ("origin", "http://x.test")];
    for _ in 0..2 {
        let (head, stream) = client.extended("websocket", "http://api.test/chat?q", &fields).await;
        assert_eq!(
            (head.status().as_u16(), &head.headers()["sec-websocket-protocol"]),
            (200, &"a".parse().expect("a"))
        );
        for name in ["connection", "upgrade", "sec-websocket-accept"] {
            assert!(!head.headers().contains_key(name), "{head:?}");
        }
        let mut stream = stream.expect("a stream");
        for frame in [&b"\x81\x85\0\0\0\0hello"[..], b"\x88\x80\0\0\0\0"] {
            stream.write_all(frame).await.expect("written");
            let mut echo = vec![0; frame.len()];
            testkit::within("an echo", stream.read_exact(&mut echo)).await.expect("read");
            assert_eq!(echo, frame);
        }
        // Half-closed, it still hears the end.
        stream.shutdown().await.expect("half-closed");
        assert_eq!(testkit::within("the end", stream.read_to_end(&mut Vec::new())).await.expect("read"), 0);
    }

    let seen = &upstream.requests()[1..];
    for seen in seen {
        assert_eq!((seen.method.as_str(), seen.target.as_str(), seen.version.as_str()), ("GET", "/chat?q", "HTTP/1.1"));
        assert_eq!((seen.header("upgrade"), seen.header("connection")), (Some("websocket"), Some("upgrade")));
        assert_eq!((seen.header("sec-websocket-version"), seen.header("origin")), (Some("13"), Some("http://x.test")));
    }
    let keys: Vec<_> = seen.iter().map(|seen| seen.header("sec-websocket-key").expect("a key")).collect();
    assert!(keys[0] != keys[1] && keys.iter().all(|key| key.len() == 24 && key.ends_with("==")), "{keys:?}");
    let log = proxy.finish();
    let line = log.iter().find(|line| line["path"] == "/chat?q").expect("a line");
    assert_eq!(
        (&line["status"], &line["bytes_in"], &line["bytes_out"]),
        (&200.into(), &17.into(), &17.into()),
        "{line}"
    );
}

#[tokio::test]
async fn a_websocket_over_http2_that_is_not_agreed_on_is_no_stream() {
    let upstream = websocket(|_| "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned()).await;
    let proxy =
        Proxy::start(&format!("routes:\n  - match: api.test\n    to: {}\n    retry: false\n", upstream.url("")));
    let mut client = proxy.h2().await;
    assert_eq!(client.get("http://api.test/").await.status, 200);

    for (protocol, path, status) in [
        ("websocket", "/chat?q", 502),
        ("websocket", "/other", 502),
        ("websocket", "/no", 403),
        ("connect-udp", "/", 501),
    ] {
        let (head, stream) = client.extended(protocol, &format!("http://api.test{path}"), &[]).await;
        assert_eq!((head.status().as_u16(), stream.is_none()), (status, true), "{protocol} {path}");
    }
    assert_eq!(upstream.count(), 4);
}

#[tokio::test]
async fn via_names_the_version_a_message_came_in() {
    let upstream = Upstream::http(|_| Reply::ok("")).await;
    let proxy = Proxy::start(&format!("routes:\n  - match: api.test\n    to: {}\n", upstream.url("")));

    let mut client = proxy.client().await;
    client.send("GET http://api.test/ HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.response("GET").await.status, 200);
    assert_eq!(proxy.get("http://api.test/").await.status, 200);
    assert_eq!(proxy.h2().await.get("http://api.test/").await.status, 200);

    let via: Vec<_> = upstream.requests().iter().map(|seen| seen.header("via").expect("a Via").to_owned()).collect();
    for (via, version) in via.iter().zip(["1.0 attache-", "1.1 attache-", "2.0 attache-"]) {
        assert!(via.starts_with(version), "{via}");
    }
    let back = proxy.call("GET", "http://api.test/", &[&format!("Via: {}", via[2])], "").await;
    assert_eq!(back.status, 508, "a loop in any version");
}

#[tokio::test]
async fn a_connect_to_anything_but_host_and_port_makes_no_tunnel() {
    let upstream = Upstream::http(|_| Reply::ok("")).await;
    let proxy = Proxy::start(PORTS);
    let host = upstream.addr();

    for target in [format!("http://{host}"), format!("https://{host}/x"), format!("{host}/x"), "/".to_owned()] {
        let mut client = proxy.client().await;
        client.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(client.response("CONNECT").await.status, 400, "{target}");
        assert_eq!(client.rest().await, b"", "{target}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn http2_that_does_not_begin_with_settings_is_sent_away() {
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;

    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x08\x06\0\0\0\0\0pingping").await;
    let answer = client.rest().await;

    // GOAWAY with PROTOCOL_ERROR, behind SETTINGS.
    assert_eq!(&answer[9..], b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01");
}

#[tokio::test]
async fn a_wrong_frame_ends_the_connection_and_is_counted() {
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;

    // DATA on stream 0.
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x01\0\0\0\0\0\0x").await;
    let answer = client.rest().await;

    assert!(answer.ends_with(b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01"), "{answer:?}");
    let counted =
        || async { proxy.metrics().await.sum("attache_connection_rejected_total", &[("reason", "bad_request")]) };
    testkit::eventually("it is counted", || async { (counted().await == 1.0).then_some(()) }).await;
}

#[tokio::test]
async fn a_tunnel_over_http2_that_declares_a_length_is_refused() {
    let proxy = Proxy::start(PORTS);
    let connect = [(":method", "CONNECT"), (":authority", "127.0.0.1:1"), ("content-length", "3")];
    let extended = [(":protocol", "websocket"), (":scheme", "http"), (":path", "/")];

    for head in [connect.to_vec(), [&extended[..], &connect].concat()] {
        let mut client = proxy.client().await;
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        client.send(h2_headers(4, &head)).await;
        assert_eq!(h2_status(&mut client).await, 0x8c, "{head:?}");
    }
}

#[tokio::test]
async fn via_is_in_the_answers_of_a_proxy_and_not_in_those_of_a_gateway() {
    let http10 = Upstream::http(|_| Reply::raw("HTTP/1.0 200 OK\r\nVia: 1.1 other\r\nContent-Length: 0\r\n\r\n")).await;
    let h2c = Upstream::h2c(|_| Reply::ok("")).await;
    let proxy = Proxy::start(&format!(
        "routes:\n  - match: one.test\n    to: {}\n  - match: two.test\n    to: h2c://{}\n",
        http10.url(""),
        h2c.addr()
    ));

    let one = proxy.get("http://one.test/").await;
    let two = proxy.get("http://two.test/").await;
    let reverse = proxy.client().await.call("GET", "/", &["Host: two.test"], "").await;

    let [other, own] = one.headers("via")[..] else { panic!("{one:?}") };
    assert!(other == "1.1 other" && own.starts_with("1.0 attache-"), "{one:?}");
    assert!(two.header("via").is_some_and(|via| via.starts_with("2.0 attache-")), "{two:?}");
    assert_eq!((reverse.status, reverse.header("via")), (200, None));
}
