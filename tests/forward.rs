//! The ways in, and what happens to a request and its response on the way through.

use testkit::upstream::Then;
use testkit::{Certs, Client, End, Proxy, Reply, Upstream, eventually};

/// A route for `api.test` that leads to an upstream.
fn to(upstream: &Upstream) -> String {
    format!("routes:\n  - name: api\n    match: api.test\n    to: http://{}\n", upstream.addr())
}

/// The same with further lines of the route.
fn with(upstream: &Upstream, lines: &[&str]) -> String {
    lines.iter().fold(to(upstream), |yaml, line| format!("{yaml}    {line}\n"))
}

#[tokio::test]
async fn absolute_form_is_sent_on_in_origin_form() {
    let upstream = Upstream::fixed("hello").await;
    let proxy = Proxy::start("");

    let response = proxy.get(&upstream.url("/a?b=c")).await;

    assert_eq!((response.status, response.text().as_str(), response.end), (200, "hello", End::Whole));
    let seen = upstream.only();
    assert_eq!((seen.method.as_str(), seen.target.as_str(), seen.version.as_str()), ("GET", "/a?b=c", "HTTP/1.1"));
    assert_eq!(seen.headers("host"), [upstream.addr().to_string()]);
}

#[tokio::test]
async fn a_post_arrives_with_its_body_whether_of_known_length_or_chunked() {
    let upstream = Upstream::fixed("done").await;
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;

    let sized = client.call("POST", &upstream.url("/sized"), &["Content-Type: text/x"], "0123456789").await;
    let head = format!("POST {} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", upstream.url("/chunked"));
    client.send(format!("{head}5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nX-Sum: 9\r\n\r\n")).await;
    let chunked = client.response("POST").await;

    assert_eq!((sized.status, chunked.status), (200, 200));
    let seen = upstream.requests();
    assert_eq!((seen[0].body.as_slice(), seen[0].header("content-type")), (&b"0123456789"[..], Some("text/x")));
    assert_eq!((seen[0].header("content-length"), seen[0].header("transfer-encoding")), (Some("10"), None));
    assert_eq!((seen[1].body.as_slice(), seen[1].header("transfer-encoding")), (&b"hello world"[..], Some("chunked")));
}

#[tokio::test]
async fn a_head_response_has_a_length_and_no_body_and_the_connection_goes_on() {
    let upstream = Upstream::http(|_| Reply::ok("0123456789")).await;
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;

    let head = client.call("HEAD", &upstream.url("/"), &[], "").await;
    let get = client.get(&upstream.url("/")).await;

    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("10"), 0));
    assert_eq!(get.text(), "0123456789");
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn origin_form_is_routed_by_host() {
    let upstream = Upstream::fixed("by host").await;
    let proxy = Proxy::start(&to(&upstream));
    let mut client = proxy.client().await;

    let named = client.call("GET", "/x", &["Host: api.test"], "").await;
    let own = client.call("GET", "/x", &[&format!("Host: {}", proxy.addr())], "").await;

    assert_eq!(named.text(), "by host");
    assert_eq!((own.status, own.reason().as_str()), (404, "no_route"));
    assert_eq!(upstream.only().headers("host"), [upstream.addr().to_string()]);
}

#[tokio::test]
async fn the_route_prefix_is_taken_off_on_local_names_only() {
    let upstream = Upstream::fixed("ok").await;
    let proxy = Proxy::start(&to(&upstream));
    let mut client = proxy.client().await;
    let own = format!("Host: {}", proxy.addr());

    for target in ["/r/api/v1/x?y=1", "/r/api", "/r/api?q", "/r/api//d"] {
        assert_eq!(client.call("GET", target, &[&own], "").await.status, 200, "{target}");
    }
    let foreign = client.call("GET", "/r/api/z", &["Host: api.test"], "").await;
    let unknown = client.call("GET", "/r/nobody/z", &["Host: localhost"], "").await;

    assert_eq!((foreign.status, unknown.status), (200, 404));
    let targets: Vec<_> = upstream.requests().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/v1/x?y=1", "/", "/?q", "//d", "/r/api/z"]);
}

#[tokio::test]
async fn http2_by_prior_knowledge_is_taken_on_the_same_port() {
    let upstream = Upstream::fixed("over h2").await;
    let proxy = Proxy::start(&to(&upstream));
    let mut client = proxy.h2().await;

    let first = client.get("http://api.test/one").await;
    let second = client.post("http://api.test/two", &[("x-a", "1")], b"body").await;

    assert_eq!((first.text().as_str(), second.status), ("over h2", 200));
    let seen = upstream.requests();
    assert_eq!((seen[0].version.as_str(), seen[1].body.as_slice()), ("HTTP/1.1", &b"body"[..]));
    assert_eq!(seen[1].header("x-a"), Some("1"));
}

#[tokio::test]
async fn a_unix_listener_serves_like_any_other() {
    let upstream = Upstream::fixed("unix").await;
    let dir = std::env::temp_dir().join(format!("attache-test-{}.sock", upstream.port()));
    let proxy = Proxy::start(&format!("listen: unix:{}\n{}", dir.display(), to(&upstream)));
    let mut client = Client::unix(&proxy.unix()).await;

    let response = client.get("http://api.test/").await;

    assert_eq!(response.text(), "unix");
    drop(proxy);
    assert!(!dir.exists(), "the socket's file goes with the proxy");
}

#[tokio::test]
async fn an_http_1_0_client_gets_a_body_that_ends_with_the_connection() {
    let upstream = Upstream::http(|_| Reply::chunked(&["one", "two"])).await;
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;

    client.send(format!("GET {} HTTP/1.0\r\n\r\n", upstream.url("/"))).await;
    let response = client.response("GET").await;

    assert_eq!((response.status, response.text().as_str(), response.end), (200, "onetwo", End::Closed));
    assert_eq!(response.header("transfer-encoding"), None);
}

#[tokio::test]
async fn an_http_1_0_client_may_keep_the_connection() {
    let upstream = Upstream::fixed("kept").await;
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;

    for _ in 0..2 {
        client.send(format!("GET {} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", upstream.url("/"))).await;
        assert_eq!(client.response("GET").await.text(), "kept");
    }
}

#[tokio::test]
async fn one_upstream_connection_serves_many_requests() {
    let upstream = Upstream::fixed("again").await;
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;

    for _ in 0..20 {
        assert_eq!(client.get(&upstream.url("/")).await.status, 200);
    }
    // And those of another client.
    assert_eq!(proxy.get(&upstream.url("/")).await.status, 200);

    assert_eq!((upstream.connections(), upstream.count()), (1, 21));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::http(|seen| Reply::ok(seen.target.as_str())).await;
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;
    let get = |path: &str| format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", upstream.url(path));

    client.send([get("/1"), get("/2"), get("/3")].concat()).await;

    for expected in ["/1", "/2", "/3"] {
        assert_eq!(client.response("GET").await.text(), expected);
    }
}

#[tokio::test]
async fn path_and_query_stay_byte_for_byte() {
    let upstream = Upstream::fixed("").await;
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;
    let paths = [
        "/a/../b",
        "/a/./b",
        "/%2e%2E/x",
        "//double//",
        "/?",
        "/x?",
        "/a?b=c?d",
        "/%41%zz",
        "/a;v=1?x=%20+&&y",
        "/~a|b",
    ];

    for path in paths {
        assert_eq!(client.get(&upstream.url(path)).await.status, 200, "{path}");
    }

    let targets: Vec<_> = upstream.requests().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, paths);
}

#[tokio::test]
async fn an_empty_path_becomes_a_slash() {
    let upstream = Upstream::fixed("").await;
    let proxy = Proxy::start(&to(&upstream));
    let mut client = proxy.client().await;

    for target in [upstream.url(""), upstream.url("?q=1"), "http://api.test".into(), "http://api.test?q=1".into()] {
        assert_eq!(client.get(&target).await.status, 200, "{target}");
    }

    let targets: Vec<_> = upstream.requests().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/", "/?q=1", "/", "/?q=1"]);
}

#[tokio::test]
async fn the_target_beats_host() {
    let upstream = Upstream::fixed("target").await;
    let proxy = Proxy::start(&to(&upstream));
    let mut client = proxy.client().await;

    client.send("GET http://api.test/ HTTP/1.1\r\nHost: elsewhere.test\r\n\r\n").await;

    assert_eq!(client.response("GET").await.text(), "target");
    assert_eq!(upstream.only().headers("host"), [upstream.addr().to_string()]);
}

#[tokio::test]
async fn a_request_without_exactly_one_valid_host_is_refused() {
    let upstream = Upstream::fixed("").await;
    let proxy = Proxy::start("");
    let target = upstream.url("/");

    for head in [
        format!("GET {target} HTTP/1.1\r\n\r\n"),
        format!("GET {target} HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        format!("GET {target} HTTP/1.1\r\nHost: a b\r\n\r\n"),
        "GET / HTTP/1.1\r\nHost: user@api.test\r\n\r\n".to_owned(),
        format!("GET http://user:pw@{}/ HTTP/1.1\r\nHost: a\r\n\r\n", upstream.addr()),
        "GET http://api.test:65536/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "GET ftp://api.test/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
    ] {
        let mut client = proxy.client().await;
        client.send(&head).await;
        assert_eq!(client.response("GET").await.status, 400, "{head}");
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn hop_by_hop_fields_end_here_on_the_way_in() {
    let upstream = Upstream::fixed("").await;
    let proxy = Proxy::start("");

    let fields = [
        "Connection: keep-alive, X-Hop",
        "X-Hop: 1",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic c2VjcmV0",
        "TE: gzip, trailers",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAAQAAP__",
        "X-Keep: 1",
        "Trailer: X-Sum",
    ];
    let response = proxy.call("GET", &upstream.url("/"), &fields, "").await;

    assert_eq!(response.status, 200);
    let seen = upstream.only();
    for gone in ["x-hop", "keep-alive", "proxy-connection", "proxy-authorization", "upgrade", "http2-settings"] {
        assert_eq!(seen.header(gone), None, "{gone}: {seen:?}");
    }
    assert!(seen.header("connection").is_none_or(|value| !value.to_lowercase().contains("x-hop")), "{seen:?}");
    assert!(seen.header("te").is_none_or(|value| value == "trailers"), "{seen:?}");
    assert_eq!((seen.header("x-keep"), seen.header("trailer")), (Some("1"), Some("X-Sum")));
}

#[tokio::test]
async fn hop_by_hop_fields_end_here_on_the_way_back() {
    let upstream = Upstream::http(|_| {
        Reply::ok("x")
            .header("Connection", "X-Hop, keep-alive")
            .header("X-Hop", "1")
            .header("Keep-Alive", "timeout=5")
            .header("Proxy-Authenticate", "Basic")
            .header("Upgrade", "h2c")
            .header("X-Keep", "1")
            .header("Set-Cookie", "a=1")
            .header("Set-Cookie", "b=2")
    })
    .await;
    let proxy = Proxy::start("");

    let response = proxy.get(&upstream.url("/")).await;

    for gone in ["x-hop", "keep-alive", "proxy-authenticate", "upgrade"] {
        assert_eq!(response.header(gone), None, "{gone}: {response:?}");
    }
    assert_eq!(response.header("x-keep"), Some("1"));
    assert_eq!(response.headers("set-cookie"), ["a=1", "b=2"]);
}

#[tokio::test]
async fn via_is_appended_and_nothing_about_the_client_is_told() {
    let upstream = Upstream::http(|_| Reply::ok("x").header("Server", "origin/1")).await;
    let proxy = Proxy::start("");

    let response = proxy.call("GET", &upstream.url("/"), &["Via: 1.0 fred"], "").await;

    let seen = upstream.only();
    let via = seen.headers("via").join(", ");
    assert!(via.starts_with("1.0 fred, 1.1 attache-"), "{via}");
    for absent in ["x-forwarded-for", "forwarded", "x-real-ip"] {
        assert_eq!(seen.header(absent), None);
    }
    assert_eq!(response.headers("server"), ["origin/1"]);
    assert_eq!(response.headers("date").len(), 1);
}

#[tokio::test]
async fn a_request_that_comes_back_is_a_loop() {
    let upstream = Upstream::fixed("").await;
    let proxy = Proxy::start("");
    assert_eq!(proxy.get(&upstream.url("/")).await.status, 200);
    let via = upstream.only().header("via").expect("a Via").to_owned();

    let back = proxy.call("GET", &upstream.url("/"), &[&format!("Via: {via}")], "").await;

    assert_eq!((back.status, back.reason().as_str()), (508, "loop"));
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn a_header_section_too_large_is_431() {
    let upstream = Upstream::fixed("").await;
    let proxy = Proxy::start("server: { max_header_bytes: 16KiB, max_headers: 20 }\n");
    let large = format!("X-Large: {}", "a".repeat(20 * 1024));
    let many: Vec<String> = (0..21).map(|index| format!("X-{index}: 1")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();

    assert_eq!(proxy.call("GET", &upstream.url("/"), &[&large], "").await.status, 431);
    assert_eq!(proxy.call("GET", &upstream.url("/"), &many, "").await.status, 431);
    // Host counts too.
    assert_eq!(proxy.call("GET", &upstream.url("/"), &many[..19], "").await.status, 200);
    assert_eq!(upstream.count(), 1);
    assert_eq!(proxy.metrics().await.sum("attache_connection_rejected_total", &[("reason", "header_too_large")]), 2.0);
}

#[tokio::test]
async fn a_target_too_long_is_414() {
    let upstream = Upstream::fixed("").await;
    let proxy = Proxy::start("server: { max_header_bytes: 256KiB }\n");

    let response = proxy.get(&upstream.url(&format!("/{}", "a".repeat(70_000)))).await;

    assert_eq!(response.status, 414);
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn an_absolute_https_target_is_encrypted_here() {
    let certs = Certs::default();
    let upstream = Upstream::tls(certs.server("secure.test", &["http/1.1"]), |_| Reply::ok("tls")).await;
    let proxy = Proxy::start(&format!(
        "resolve: {{ secure.test: {} }}\ndefault: {{ action: pass, tls: {{ ca: {} }} }}\n",
        upstream.addr(),
        certs.ca()
    ));

    let response = proxy.get("https://secure.test/x").await;

    assert_eq!(response.text(), "tls");
    assert_eq!(upstream.only().headers("host"), ["secure.test"]);
}

#[tokio::test]
async fn headers_are_edited_both_ways() {
    let upstream = Upstream::http(|_| Reply::ok("x").header("Server", "s").header("X-Old", "1")).await;
    let proxy = Proxy::start(&with(
        &upstream,
        &[
            "headers:",
            "  request: { set: { accept: application/json }, add: { x-caller: checkout }, remove: [x-debug] }",
            "  response: { set: { x-new: \"2\" }, add: { x-old: \"3\" }, remove: [server] }",
        ],
    ));

    let response =
        proxy.call("GET", "http://api.test/", &["Accept: text/html", "X-Debug: 1", "X-Caller: me"], "").await;

    let seen = upstream.only();
    assert_eq!((seen.headers("accept"), seen.header("x-debug")), (vec!["application/json"], None));
    assert_eq!(seen.headers("x-caller"), ["me", "checkout"]);
    assert_eq!((response.header("server"), response.header("x-new")), (None, Some("2")));
    assert_eq!(response.headers("x-old"), ["1", "3"]);
}

#[tokio::test]
async fn a_prefix_and_a_host_are_rewritten() {
    let upstream = Upstream::fixed("").await;
    let proxy = Proxy::start(&format!(
        "routes:
  - match: {{ host: shop.test, path: /v1/ }}
    to: http://{addr}/base
    rewrite: {{ prefix: /store/2/, host: api.shop.test }}
  - match: {{ host: shop.test, path: /rpc }}
    to: http://{addr}
    rewrite: {{ path: /one/endpoint }}
",
        addr = upstream.addr()
    ));

    assert_eq!(proxy.get("http://shop.test/v1/orders/../x?a=%20").await.status, 200);
    assert_eq!(proxy.get("http://shop.test/rpc?q=1").await.status, 200);

    let seen = upstream.requests();
    assert_eq!(seen[0].target, "/base/store/2/orders/../x?a=%20");
    assert_eq!(seen[0].headers("host"), ["api.shop.test"]);
    assert_eq!(seen[1].target, "/one/endpoint?q=1");
}

#[tokio::test]
async fn a_route_without_a_target_and_the_default_rewrite_too() {
    let upstream = Upstream::fixed("").await;
    let addr = upstream.addr();
    let proxy = Proxy::start(&format!(
        "resolve: {{ shop.test: {addr}, other.test: {addr} }}
destinations: {{ connect_ports: [80, \"1024-65535\"] }}
default: {{ action: pass, rewrite: {{ path: /fixed, host: any.test }} }}
routes:
  - match: {{ host: shop.test, path: /v1/ }}
    rewrite: {{ prefix: /store/2/, host: api.shop.test }}
"
    ));

    assert_eq!(proxy.get("http://shop.test/v1/orders?a=%20").await.status, 200);
    assert_eq!(proxy.get("http://other.test/x?q=1").await.status, 200);
    let mut tunnel = proxy.client().await.tunnel(&addr.to_string()).await;
    tunnel.send("GET /x HTTP/1.1\r\nHost: inside\r\n\r\n".replace("inside", &addr.to_string())).await;
    assert_eq!(tunnel.response("GET").await.status, 200);

    let seen: Vec<_> =
        upstream.requests().iter().map(|seen| (seen.target.clone(), seen.headers("host").join(","))).collect();
    let want = [("/store/2/orders?a=%20", "api.shop.test"), ("/fixed?q=1", "any.test"), ("/fixed", "any.test")];
    assert_eq!(seen, want.map(|(target, host)| (target.to_owned(), host.to_owned())));
}

#[tokio::test]
async fn redirect_and_respond_need_no_upstream() {
    let proxy = Proxy::start(
        "routes:
  - match: { host: shop.test, path: /old }
    redirect: { status: 308, location: \"http://shop.test/new\" }
  - match: { host: shop.test, path: /gone }
    respond: 410
  - match: shop.test
    respond: { status: 203, headers: { x-made: here }, body: canned }
",
    );

    let moved = proxy.get("http://shop.test/old").await;
    let gone = proxy.get("http://shop.test/gone").await;
    let canned = proxy.call("POST", "http://shop.test/", &[], "ignored").await;

    assert_eq!((moved.status, moved.header("location")), (308, Some("http://shop.test/new")));
    assert_eq!((gone.status, gone.end), (410, End::Whole));
    assert_eq!((canned.status, canned.header("x-made"), canned.text().as_str()), (203, Some("here"), "canned"));
}

#[tokio::test]
async fn method_header_and_query_decide_between_routes() {
    let names = ["write", "beta", "german", "regex", "rest"];
    let proxy = Proxy::start(
        "routes:
  - match: { host: m.test, method: [POST, PUT] }
    respond: { status: 200, body: write }
  - match: { host: m.test, headers: { x-beta: \"*\" } }
    respond: { status: 200, body: beta }
  - match: { host: m.test, query: { lang: ~(de|at) } }
    respond: { status: 200, body: german }
  - match: { host: m.test, path: \"~/v[0-9]+/.*\" }
    respond: { status: 200, body: regex }
  - match: { host: \"*.test\" }
    respond: { status: 200, body: rest }
",
    );

    let answers = [
        proxy.call("PUT", "http://m.test/", &["x-beta: 1"], "").await,
        proxy.call("GET", "http://m.test/", &["x-beta: 1"], "").await,
        proxy.get("http://m.test/?a=1&lang=at").await,
        proxy.get("http://m.test/v12/x").await,
        proxy.get("http://m.test/?lang=fr").await,
    ];

    for (answer, name) in answers.iter().zip(names) {
        assert_eq!(answer.text(), name);
    }
}

#[tokio::test]
async fn weights_are_shares() {
    let (heavy, light, never) = (Upstream::fixed("h").await, Upstream::fixed("l").await, Upstream::fixed("n").await);
    let proxy = Proxy::start(&format!(
        "routes:
  - match: w.test
    to:
      - {{ url: \"http://{}\", weight: 9 }}
      - {{ url: \"http://{}\", weight: 1 }}
      - {{ url: \"http://{}\", weight: 0 }}
",
        heavy.addr(),
        light.addr(),
        never.addr()
    ));
    let mut client = proxy.client().await;

    for _ in 0..300 {
        assert_eq!(client.get("http://w.test/").await.status, 200);
    }

    // Binomial with n = 300 and p = 0.1: ten standard deviations would be 52.
    assert!((5..=80).contains(&light.count()), "{}", light.count());
    assert_eq!((heavy.count() + light.count(), never.count()), (300, 0));
}

#[tokio::test]
async fn hosts_that_no_route_names_are_denied_when_the_default_says_so() {
    let upstream = Upstream::fixed("named").await;
    let other = Upstream::fixed("unnamed").await;
    let proxy = Proxy::start(&format!("default: deny\n{}", to(&upstream)));

    let named = proxy.get("http://api.test/").await;
    let unnamed = proxy.get(&other.url("/")).await;
    let reverse = proxy.client().await.call("GET", "/", &["Host: nobody.test"], "").await;
    let connect = proxy.client().await.connect_to(&format!("nobody.test:{}", 443)).await;

    assert_eq!(named.text(), "named");
    assert_eq!((unnamed.status, unnamed.reason().as_str()), (403, "no_route"));
    assert_eq!((reverse.status, connect.status), (404, 403));
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn resolve_overrides_address_and_port() {
    let upstream = Upstream::fixed("resolved").await;
    let proxy = Proxy::start(&format!("resolve: {{ api.test: {}, plain.test: 127.0.0.1 }}\n", upstream.addr()));

    let with_port = proxy.get("http://api.test/").await;
    let own_port = proxy.get(&format!("http://plain.test:{}/", upstream.port())).await;

    assert_eq!((with_port.text().as_str(), own_port.text().as_str()), ("resolved", "resolved"));
    let hosts: Vec<_> = upstream.requests().iter().map(|seen| seen.header("host").map(str::to_owned)).collect();
    assert_eq!(hosts, [Some("api.test".to_owned()), Some(format!("plain.test:{}", upstream.port()))]);
}

#[tokio::test]
async fn a_location_of_an_encrypted_upstream_comes_back_to_the_plain_door() {
    let certs = Certs::default();
    let upstream = Upstream::tls(certs.server("api.test", &["http/1.1"]), |seen| {
        let host = seen.header("host").unwrap_or_default();
        Reply::status(302)
            .header("Location", &format!("https://{host}/next"))
            .header("Strict-Transport-Security", "max-age=9")
    })
    .await;
    let proxy = Proxy::start(&format!(
        "resolve: {{ api.test: 127.0.0.1 }}
routes:\n  - match: api.test\n    to: https://api.test:{}\n    tls: {{ ca: {} }}\n",
        upstream.port(),
        certs.ca()
    ));

    let response = proxy.get("http://api.test/").await;

    assert_eq!(response.status, 302);
    assert_eq!(response.header("location"), Some("http://api.test/next"));
    assert_eq!(response.header("strict-transport-security"), None);
}

#[tokio::test]
async fn conflicting_framing_never_reaches_an_upstream_twice() {
    let upstream = Upstream::http(|seen| Reply::ok(String::from_utf8_lossy(&seen.body).into_owned())).await;
    let proxy = Proxy::start("");
    let target = upstream.url("/");
    let host = upstream.addr();
    for coding in ["identity", "chunked, chunked", "gzip, chunked", "xchunked"] {
        let mut client = proxy.client().await;
        client
            .send(format!("POST {target} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n"))
            .await;
        assert_eq!(client.response("POST").await.status, 400, "{coding}");
    }

    let mut client = proxy.client().await;
    client
        .send(format!(
            "POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        ))
        .await;
    let both = client.response("POST").await;

    // RFC 9112 section 6.1 allows an error as well as the chunked reading, and nothing else.
    assert!(both.status == 400 || both.text() == "hello", "{both:?}");
    assert!(upstream.requests().iter().all(|seen| seen.headers("content-length").len() <= 1));
}

#[tokio::test]
async fn announced_trailers_are_passed_on() {
    let upstream = Upstream::http(|_| Reply::chunked(&["abc"]).header("Trailer", "X-Sum").trailer("X-Sum", "9")).await;
    let proxy = Proxy::start("");

    let response = proxy.call("GET", &upstream.url("/"), &["TE: trailers"], "").await;

    assert_eq!((response.text().as_str(), response.end), ("abc", End::Whole));
    let trailers: Vec<_> = response.trailers.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect();
    assert_eq!(trailers, [("x-sum".to_owned(), "9".to_owned())]);
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_is_whole_for_the_client() {
    let upstream = Upstream::http(|_| Reply::raw("HTTP/1.0 200 OK\r\n\r\nto the end").then(Then::Close)).await;
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;

    for _ in 0..2 {
        let response = client.get(&upstream.url("/")).await;
        assert_eq!((response.text().as_str(), response.end), ("to the end", End::Whole));
    }
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn responses_that_have_no_body_end_with_their_head() {
    let upstream = Upstream::http(|seen| match seen.target.as_str() {
        "/304" => Reply::status(304).header("ETag", "\"1\"").header("Content-Length", "100"),
        _ => Reply::status(204),
    })
    .await;
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;

    for (path, status) in [("/204", 204), ("/304", 304), ("/204", 204)] {
        let response = client.get(&upstream.url(path)).await;
        assert_eq!((response.status, response.body.len()), (status, 0));
        assert_eq!(response.header("transfer-encoding"), None);
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_bad_chunk_of_the_client_is_its_own_error() {
    let upstream = Upstream::fixed("").await;
    let proxy = Proxy::start("default: { action: pass, breaker: 1 }\n");
    let mut client = proxy.client().await;
    let head = format!("POST {} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", upstream.url("/"));

    client.send(format!("{head}5\r\nhello\r\nnot hex\r\n")).await;
    let response = client.response("POST").await;

    assert_eq!((response.status, response.reason().as_str()), (400, "bad_request"), "{response:?}");
    assert_eq!(client.rest().await, b"", "what follows cannot be told apart from the body");
    assert!(upstream.requests().iter().all(|seen| !seen.whole), "never complete for the upstream");
    assert_eq!(proxy.get(&upstream.url("/")).await.status, 200, "nothing was counted against it");
}

#[tokio::test]
async fn an_upload_that_ends_early_is_never_complete_for_the_upstream() {
    let upstream = Upstream::fixed("").await;
    let proxy = Proxy::start("default: { action: pass, breaker: 1 }\n");
    let mut client = proxy.client().await;

    client.send(format!("POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc", upstream.url("/"))).await;
    upstream.until("the head", |record| record.requests.len() == 1).await;
    client.half_close().await;

    upstream.until("its connection is closed", |record| record.open == 0).await;
    assert!(!upstream.only().whole);
    assert_eq!(proxy.get(&upstream.url("/")).await.status, 200, "nothing was counted against it");
    let log = proxy.finish();
    assert_eq!(log[0]["reason"], "client_gone", "{log:?}");
}

#[tokio::test]
async fn a_response_head_too_large_is_the_upstreams_error() {
    let upstream = Upstream::http(|_| Reply::ok("").header("X-Large", &"a".repeat(100 * 1024))).await;
    let proxy = Proxy::start("default: { action: pass, retry: false }\n");

    let response = proxy.get(&upstream.url("/")).await;

    assert_eq!((response.status, response.reason().as_str()), (502, "protocol"));
}

#[tokio::test]
async fn large_bodies_pass_whole_both_ways() {
    let upstream = Upstream::http(|seen| Reply::ok(seen.body.clone())).await;
    let proxy = Proxy::start("");
    let body: String = (0..3_000_000).map(|index| char::from(b'a' + (index % 23) as u8)).collect();

    let response = proxy.call("POST", &upstream.url("/"), &[], &body).await;

    assert!(response.text() == body, "{} of {} bytes", response.body.len(), body.len());
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_counted() {
    let upstream = Upstream::fixed("in").await;
    let proxy = Proxy::start("server: { max_connections: 2 }\n");
    let (mut first, mut second) = (proxy.client().await, proxy.client().await);
    assert_eq!(first.get(&upstream.url("/")).await.text(), "in");
    assert_eq!(second.get(&upstream.url("/")).await.text(), "in");

    let mut third = proxy.client().await;

    assert_eq!(third.rest().await, b"");
    assert_eq!(proxy.metrics().await.sum("attache_connection_rejected_total", &[("reason", "overloaded")]), 1.0);
    drop(first);
    let (proxied, url) = (&proxy, upstream.url("/"));
    eventually("a free place", || {
        let url = url.clone();
        async move { proxied.client().await.try_get(&url).await }
    })
    .await;
}

#[tokio::test]
async fn several_workers_serve_alike() {
    let upstream = Upstream::fixed("any").await;
    let proxy = Proxy::start("workers: 3\n");

    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(proxy.client().await);
    }
    for client in &mut clients {
        assert_eq!(client.get(&upstream.url("/")).await.text(), "any");
    }

    assert_eq!(upstream.connections(), 3, "each worker has a pool of its own");
    assert_eq!(proxy.metrics().await.sum("attache_requests_total", &[("code", "200")]), 6.0);
}

#[tokio::test]
async fn options_of_the_server_as_a_whole_stays_one() {
    let upstream = Upstream::fixed("").await;
    let proxy = Proxy::start(&to(&upstream));

    // The other spelling of RFC 9112 section 3.2.4, an absolute target without a path, reads as `/` before we see it.
    let response = proxy.client().await.call("OPTIONS", "*", &["Host: api.test"], "").await;

    assert_eq!((response.status, upstream.only().target.as_str()), (200, "*"));
}

#[tokio::test]
async fn connection_close_is_obeyed_on_both_sides() {
    let upstream = Upstream::http(|_| Reply::ok("x").header("Connection", "close").then(Then::Close)).await;
    let proxy = Proxy::start("");
    let mut keeping = proxy.client().await;
    let mut closing = proxy.client().await;

    for _ in 0..2 {
        let response = keeping.get(&upstream.url("/")).await;
        assert_eq!((response.text().as_str(), response.header("connection")), ("x", None));
    }
    let response = closing.call("GET", &upstream.url("/"), &["Connection: close"], "").await;

    assert_eq!((response.text().as_str(), response.header("connection")), ("x", Some("close")));
    assert_eq!(closing.rest().await, b"");
    assert_eq!(upstream.connections(), 3);
    assert!(upstream.requests().iter().all(|seen| seen.header("connection").is_none()));
}
