//! What must never leak, never be reached, and always be told.

use std::path::Path;

use testkit::{Certs, Client, Port, Proxy, Reply, Response, Upstream, eventually};

const PORTS: &str = "destinations: { connect_ports: [80, 443, \"1024-65535\"] }\n";

/// A directory with a token in it.
struct Token(tempfile::TempDir);

impl Token {
    fn new(text: &str) -> Self {
        let token = Self(tempfile::tempdir().expect("a directory"));
        token.write(text);
        token
    }

    fn path(&self) -> String {
        self.0.path().join("token").display().to_string()
    }

    /// As a mounted secret is replaced: whole, by a rename.
    fn write(&self, text: &str) {
        let new = self.0.path().join("new");
        std::fs::write(&new, text).expect("written");
        std::fs::rename(new, Path::new(&self.path())).expect("renamed");
    }
}

/// A route `api` with a bearer token from a file.
fn bearer(upstream: &Upstream, token: &str) -> String {
    format!(
        "routes:\n  - name: api\n    match: api.test\n    to: http://{}\n    auth: {{ bearer: {{ file: {token} }} }}\n",
        upstream.addr()
    )
}

// --- credentials

#[tokio::test]
async fn a_credential_is_added_for_its_route_and_no_other_host() {
    let (upstream, other, token) = (Upstream::fixed("").await, Upstream::fixed("").await, Token::new("s3cret\n"));
    let more = format!("  - match: second.test\n    to: http://{}\n", other.addr());
    let proxy = Proxy::start(&format!("{}{more}", bearer(&upstream, &token.path())));

    assert_eq!(proxy.get("http://api.test/").await.status, 200);
    assert_eq!(proxy.get("http://second.test/").await.status, 200);
    assert_eq!(proxy.get(&other.url("/")).await.status, 200);
    assert_eq!(proxy.get(&upstream.url("/by-address")).await.status, 200);
    let mut client = proxy.client().await;
    client.send(format!("GET {} HTTP/1.1\r\nHost: api.test\r\n\r\n", other.url("/"))).await;
    assert_eq!(client.response("GET").await.status, 200);

    let seen = upstream.requests();
    assert_eq!(seen[0].headers("authorization"), ["Bearer s3cret"]);
    assert_eq!(seen[1].header("authorization"), None, "not named by the route");
    assert_eq!(other.count(), 3);
    assert!(other.requests().iter().all(|seen| seen.header("authorization").is_none()), "{:?}", other.requests());
}

#[tokio::test]
async fn the_clients_own_authorization_is_replaced_there_and_kept_elsewhere() {
    let (upstream, token) = (Upstream::fixed("").await, Token::new("s3cret"));
    let proxy = Proxy::start(&bearer(&upstream, &token.path()));
    let own = ["Authorization: Bearer mine"];

    assert_eq!(proxy.call("GET", "http://api.test/", &own, "").await.status, 200);
    assert_eq!(proxy.call("GET", &upstream.url("/"), &own, "").await.status, 200);

    let seen = upstream.requests();
    assert_eq!(seen[0].headers("authorization"), ["Bearer s3cret"]);
    assert_eq!(seen[1].headers("authorization"), ["Bearer mine"]);
}

#[tokio::test]
async fn basic_and_header_credentials_have_their_forms() {
    let (upstream, token) = (Upstream::fixed("").await, Token::new("open sesame"));
    let proxy = Proxy::start(&format!(
        "routes:
  - match: basic.test
    to: http://{addr}
    auth: {{ basic: {{ user: ali, password: {{ file: {file} }} }} }}
  - match: header.test
    to: http://{addr}
    auth: {{ header: {{ name: X-Api-Key, prefix: \"Key \", value: {{ file: {file} }} }} }}
",
        addr = upstream.addr(),
        file = token.path()
    ));

    assert_eq!(proxy.get("http://basic.test/").await.status, 200);
    assert_eq!(proxy.call("GET", "http://header.test/", &["X-Api-Key: guess"], "").await.status, 200);

    let seen = upstream.requests();
    assert_eq!(seen[0].headers("authorization"), ["Basic YWxpOm9wZW4gc2VzYW1l"]);
    assert_eq!(seen[1].headers("x-api-key"), ["Key open sesame"]);
    assert_eq!(seen[1].header("authorization"), None);
}

#[tokio::test]
async fn a_replaced_file_is_read_again() {
    let (upstream, token) = (Upstream::fixed("").await, Token::new("old"));
    let proxy = Proxy::start(&bearer(&upstream, &token.path()));
    assert_eq!(proxy.get("http://api.test/").await.status, 200);

    token.write("new");

    let (proxied, upstreamed) = (&proxy, &upstream);
    eventually("the new token", || async move {
        assert_eq!(proxied.get("http://api.test/").await.status, 200);
        let last = upstreamed.requests().pop().expect("a request");
        (last.header("authorization") == Some("Bearer new")).then_some(())
    })
    .await;
    assert_eq!(upstream.requests()[0].header("authorization"), Some("Bearer old"));
    assert!(
        proxy.metrics().await.sum("attache_credential_refresh_total", &[("route", "api"), ("result", "ok")]) >= 1.0
    );
}

#[tokio::test]
async fn without_the_file_nothing_is_sent_and_with_it_the_route_works() {
    let (upstream, token) = (Upstream::fixed("").await, Token::new(""));
    std::fs::remove_file(token.path()).expect("removed");
    let proxy = Proxy::start(&bearer(&upstream, &token.path()));

    let response = proxy.get("http://api.test/").await;

    assert_eq!((response.status, response.reason().as_str()), (502, "credential"));
    assert!(response.header("proxy-status").is_some_and(|value| value.contains("error=proxy_internal_error")));
    assert_eq!(upstream.connections(), 0);
    token.write("late");
    let proxied = &proxy;
    eventually("the route", || async move { (proxied.get("http://api.test/").await.status == 200).then_some(()) })
        .await;
    assert_eq!(upstream.requests()[0].header("authorization"), Some("Bearer late"));
}

#[tokio::test]
async fn a_redirect_of_the_upstream_is_the_clients_affair() {
    let (other, token) = (Upstream::fixed("").await, Token::new("s3cret"));
    let location = other.url("/elsewhere");
    let upstream = Upstream::http(move |_| Reply::status(307).header("Location", &location)).await;
    let proxy = Proxy::start(&bearer(&upstream, &token.path()));

    let response = proxy.get("http://api.test/").await;

    assert_eq!((response.status, response.header("location")), (307, Some(other.url("/elsewhere").as_str())));
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn the_prefix_of_a_route_for_many_hosts_gives_its_credential_to_no_local_port() {
    let (upstream, token) = (Upstream::fixed("").await, Token::new("s3cret"));
    let auth = format!("auth: {{ bearer: {{ file: {} }} }}", token.path());
    let proxy = Proxy::start(&format!("routes:\n  - name: wild\n    match: \"*.example.com\"\n    {auth}\n"));
    let mut client = proxy.client().await;

    for host in [format!("localhost:{}", upstream.addr().port()), upstream.addr().to_string()] {
        let response = client.call("GET", "/r/wild/x", &[&format!("Host: {host}")], "").await;

        assert_eq!((response.status, response.reason().as_str()), (404, "no_route"), "{host}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn secrets_are_in_no_view_metric_or_log_line() {
    let (upstream, token) = (Upstream::fixed("").await, Token::new("s3cret-in-file"));
    let literal = "    headers: { request: { set: { x-api-key: s3cret-literal } } }\n";
    let proxy = Proxy::start(&format!("{}{literal}", bearer(&upstream, &token.path())));
    let fields = ["Cookie: sid=s3cret-cookie", "Proxy-Authorization: Basic s3cret-proxy", "Authorization: s3cret-own"];

    let url = "http://api.test/?access_token=s3cret-query&a=1&api_key=s3cret-key";
    assert_eq!(proxy.call("GET", url, &fields, "").await.status, 200);
    let mut shown = String::new();
    for path in ["config", "routes", "upstreams", "status", "explain?url=http://api.test/"] {
        let view = proxy.admin(&format!("/api/v1/{path}")).await;
        assert_eq!(view.status, 200, "{path}: {view:?}");
        shown.push_str(&view.text());
    }
    shown.push_str(proxy.metrics().await.text());
    let log = proxy.finish();
    shown.push_str(&format!("{log:?}"));

    assert_eq!(upstream.only().header("x-api-key"), Some("s3cret-literal"));
    assert!(!shown.contains("s3cret"), "{}", shown.split("s3cret").next().unwrap_or_default());
    assert!(log[0]["path"].as_str().is_some_and(|path| path.contains("a=1")), "{log:?}");
}

// --- web pages

#[tokio::test]
async fn a_web_page_may_not_borrow_a_credential() {
    let (upstream, token) = (Upstream::fixed("").await, Token::new("s3cret"));
    let plain = format!("  - name: plain\n    match: plain.test\n    to: http://{}\n", upstream.addr());
    let origins = "    browser_origins: [https://app.test]\n";
    let proxy = Proxy::start(&format!("{}{origins}{plain}", bearer(&upstream, &token.path())));
    let mut client = proxy.client().await;
    let own = format!("Host: {}", proxy.addr());
    let doors = [("/x", "Host: api.test"), ("/r/api/x", own.as_str()), ("http://api.test/x", "X-Door: forward")];

    for (target, host) in doors {
        for field in [
            "Origin: https://evil.test",
            "Origin: null",
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Site: same-site",
            "User-Agent: Mozilla/5.0 (X11; Linux x86_64)",
        ] {
            let response = client.call("GET", target, &[host, field], "").await;
            assert_eq!((response.status, response.reason().as_str()), (403, "forbidden"), "{target} {field}");
        }
    }
    let h2 = proxy.h2().await.post("http://api.test/", &[("origin", "https://evil.test")], b"").await;
    assert_eq!((h2.status, upstream.connections()), (403, 0));

    for (target, host) in doors {
        for field in ["Origin: https://app.test", "Sec-Fetch-Site: none", "Sec-Fetch-Site: same-origin", "X-No: page"] {
            assert_eq!(client.call("GET", target, &[host, field], "").await.status, 200, "{target} {field}");
        }
    }
    let elsewhere = client.call("GET", "/", &["Host: plain.test", "Origin: https://evil.test"], "").await;
    assert_eq!(elsewhere.status, 200, "a route without a credential has nothing to borrow");
    let own = client.call("GET", "http://api.test/", &["Origin: http://api.test"], "").await;
    assert_eq!(own.status, 200, "through a proxy a page uses its own host");
}

// --- where not to go

#[tokio::test]
async fn metadata_link_local_and_their_disguises_are_never_reached() {
    let (proxy, net) = Proxy::nowhere(&format!("{PORTS}resolve: {{ sneaky.test: 169.254.169.254 }}\n"));

    for host in [
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::a9fe:a9fe]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "0.0.0.0",
        "0.1.2.3",
        "[::]",
        "224.0.0.1",
        "[ff02::1]",
        "metadata.google.internal",
        "sneaky.test",
    ] {
        let forward = proxy.get(&format!("http://{host}/latest/meta-data/")).await;
        let mut client = proxy.client().await;
        let tunnel = client.connect_to(&format!("{host}:443")).await;
        for response in [forward, tunnel] {
            assert_eq!((response.status, response.reason().as_str()), (403, "destination_blocked"), "{host}");
            let status = response.header("proxy-status").expect("Proxy-Status");
            assert!(status.contains("error=destination_ip_prohibited"), "{host}: {status}");
        }
        assert_eq!(client.rest().await, b"", "a refused CONNECT closes");
    }
    assert_eq!(net.dialed(), []);
}

#[tokio::test]
async fn other_spellings_of_an_address_are_names_that_do_not_exist() {
    let (proxy, net) = Proxy::nowhere(&format!("{PORTS}default: {{ action: pass, retry: false }}\n"));

    for host in ["2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "169.254.169.254."] {
        let response = proxy.get(&format!("http://{host}/")).await;
        assert!([400, 403, 502].contains(&response.status), "{host}: {response:?}");
        let tunnel = proxy.client().await.connect_to(&format!("{host}:443")).await;
        assert!([400, 403, 502].contains(&tunnel.status), "{host}: {tunnel:?}");
    }
    assert_eq!(net.dialed(), []);
}

#[tokio::test]
async fn under_deny_a_tunnel_leads_where_a_route_leads_and_nowhere_else() {
    let upstream = Upstream::fixed("").await;
    let (addr, port) = (upstream.addr(), upstream.addr().port());
    let proxy = Proxy::start(&format!(
        "{PORTS}default: deny
resolve: {{ blocked.test: {addr}, moved.test: {addr}, api.test: {addr}, one.test: {addr} }}
routes:
  - match: blocked.test
    respond: 403
  - match: moved.test
    redirect: https://api.test/
  - match: \"one.test:{port}\"
  - match: api.test
  - match: {{ path: /anything }}
"
    ));

    for (target, status) in [
        ("blocked.test:443", 403),
        ("moved.test:443", 403),
        ("one.test:443", 403),
        ("other.test:443", 403),
        (&format!("one.test:{port}"), 200),
        ("api.test:443", 200),
    ] {
        assert_eq!(proxy.client().await.connect_to(target).await.status, status, "{target}");
    }
}

#[tokio::test]
async fn a_tunnel_to_port_80_cannot_reach_what_a_request_cannot() {
    let (proxy, net) = Proxy::nowhere("");
    let mut client = proxy.client().await.tunnel("169.254.169.254:80").await;

    let inner = client.call("GET", "/", &["Host: 169.254.169.254"], "").await;

    assert_eq!((inner.status, inner.reason().as_str()), (403, "destination_blocked"));
    assert_eq!(net.dialed(), []);
}

#[tokio::test]
async fn our_own_listener_and_admin_are_loops() {
    let proxy = Proxy::start(PORTS);

    for addr in [proxy.addr(), proxy.admin_addr()] {
        let port = addr.port();
        for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
            let forward = proxy.get(&format!("http://{host}:{port}/metrics")).await;
            let tunnel = proxy.client().await.connect_to(&format!("{host}:{port}")).await;
            assert_eq!((forward.status, forward.reason().as_str()), (508, "loop"), "{host}:{port}");
            assert_eq!((tunnel.status, tunnel.reason().as_str()), (508, "loop"), "{host}:{port}");
        }
        for host in ["0.0.0.0", "[::]"] {
            let unspecified = proxy.get(&format!("http://{host}:{port}/metrics")).await;
            assert!([403, 508].contains(&unspecified.status), "{host}:{port} {unspecified:?}");
        }
    }
}

#[tokio::test]
async fn a_remote_client_finds_no_connection_that_a_local_one_opened() {
    // An address of this machine that is not loopback; a client that connects to it comes from it.
    let probe = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
    let Ok(own) = probe.connect("192.0.2.1:9").and_then(|()| probe.local_addr()) else {
        return println!("left out: this machine has no address but loopback");
    };
    let upstream = Upstream::fixed("").await;
    let proxy = Proxy::start(&format!("listen: {{ address: \"0.0.0.0:0\", clients: [{}] }}\n", own.ip()));
    let port = proxy.addr().port();

    let mut local = Client::connect(([127, 0, 0, 1], port).into()).await;
    assert_eq!(local.get(&upstream.url("/")).await.status, 200);
    let mut remote = Client::connect((own.ip(), port).into()).await;
    let response = remote.get(&upstream.url("/")).await;

    assert_eq!((response.status, response.reason().as_str()), (403, "destination_blocked"));
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn what_the_operator_denies_is_denied_and_exceptions_hold() {
    let (upstream, other) = (Upstream::fixed("").await, Upstream::fixed("").await);
    let allow = format!("127.0.0.1:{}", upstream.port());
    let resolve = format!("resolve: {{ a.internal.test: {}, b.internal.test: {} }}\n", upstream.addr(), other.addr());
    let proxy = Proxy::start(&format!(
        "destinations: {{ deny: [127.0.0.0/8, \"*.internal.test\"], allow: [\"{allow}\"] }}\n{resolve}"
    ));

    let allowed = proxy.get(&upstream.url("/")).await;
    let denied = proxy.get(&other.url("/")).await;

    assert_eq!((allowed.status, denied.status, denied.reason().as_str()), (200, 403, "destination_blocked"));
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn a_bad_certificate_is_refused_and_never_a_downgrade() {
    let certs = Certs::default();
    let expired = certs.flawed("127.0.0.1", &["http/1.1"], testkit::certs::Flaw::Expired);
    let foreign = Certs::default().server("127.0.0.1", &["http/1.1"]);
    let elsewhere = certs.server("elsewhere.test", &["http/1.1"]);
    for (what, config) in [("expired", expired), ("unknown root", foreign), ("wrong host", elsewhere)] {
        let upstream = Upstream::tls(config, |_| Reply::ok("never")).await;
        let route = format!("routes:\n  - match: api.test\n    to: https://{}\n", upstream.addr());
        let proxy = Proxy::start(&format!("{route}    tls: {{ ca: {} }}\n", certs.ca()));

        let response = proxy.get("http://api.test/").await;

        assert_eq!((response.status, response.reason().as_str()), (502, "tls_certificate"), "{what}");
        assert!(response.header("proxy-status").is_some_and(|value| value.contains("error=tls_certificate_error")));
        assert_eq!((upstream.count(), upstream.connections()), (0, 1), "{what}: not repeated");
    }
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_is_a_tls_error() {
    let upstream = Upstream::raw(|_, mut wire| async move {
        let _ = wire.exact(1, &mut Vec::new()).await;
        let _ = wire.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        wire.closed().await;
    })
    .await;
    let route = format!("routes:\n  - match: api.test\n    to: https://{}\n    retry: false\n", upstream.addr());
    let proxy = Proxy::start(&route);

    let response = proxy.get("http://api.test/").await;

    assert_eq!((response.status, response.reason().as_str()), (502, "tls"));
    assert!(response.header("proxy-status").is_some_and(|value| value.contains("error=tls_protocol_error")));
}

// --- admin

#[tokio::test]
async fn admin_answers_to_local_names_only() {
    let proxy = Proxy::start("");

    for path in ["/", "/livez", "/readyz", "/metrics", "/api/v1/status", "/api/v1/config"] {
        for host in ["evil.test", "localhost.evil.test", "127.0.0.1.evil.test", "169.254.1.1", ""] {
            let refused = admin(&proxy, "GET", path, &[&format!("Host: {host}")]).await;
            assert_eq!(refused.status, 403, "{path} {host:?}");
        }
        for host in ["localhost", "127.0.0.1:4781", "[::1]:1"] {
            assert_eq!(admin(&proxy, "GET", path, &[&format!("Host: {host}")]).await.status, 200, "{path} {host}");
        }
    }
}

#[tokio::test]
async fn what_changes_something_needs_the_header_a_page_cannot_send() {
    let proxy = Proxy::start("");
    let ready = || async { proxy.admin("/readyz").await.status };

    for path in ["/api/v1/drain", "/api/v1/reload"] {
        assert_eq!(admin(&proxy, "POST", path, &["Host: localhost"]).await.status, 403, "{path}");
        assert_eq!(admin(&proxy, "POST", path, &["Host: evil.test", "x-attache: 1"]).await.status, 403, "{path}");
        assert_eq!(admin(&proxy, "GET", path, &["Host: localhost", "x-attache: 1"]).await.status, 405, "{path}");
    }
    assert_eq!(ready().await, 200);
    let page = admin(&proxy, "GET", "/", &["Host: localhost"]).await;
    assert!(page.header("content-security-policy").is_some_and(|value| value.contains("default-src 'none'")));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("access-control-allow-origin"), None);

    assert_eq!(admin(&proxy, "POST", "/api/v1/drain", &["Host: localhost", "x-attache: 1"]).await.status, 200);
}

async fn admin(proxy: &Proxy, method: &str, path: &str, fields: &[&str]) -> Response {
    Client::connect(proxy.admin_addr()).await.call(method, path, fields, "").await
}

// --- what is told

#[tokio::test]
async fn an_error_of_ours_is_told_in_the_form_that_was_asked_for() {
    let refused = Port::refused();
    let proxy = Proxy::start("default: { action: pass, retry: false }\n");
    let url = format!("http://{}/", refused.addr());

    let json = proxy.get(&url).await;
    let text = proxy.call("GET", &url, &["Accept: text/plain"], "").await;
    let html = proxy.call("GET", &url, &["Accept: text/html,application/xhtml+xml,*/*;q=0.8"], "").await;
    let head = proxy.call("HEAD", &url, &[], "").await;

    assert_eq!((json.status, json.header("content-type")), (502, Some("application/problem+json")));
    let body = json.json();
    assert_eq!((&body["status"], &body["reason"]), (&502.into(), &"connect_refused".into()));
    assert_eq!(body["type"], "urn:attache:connect_refused");
    assert!(body["title"].is_string() && body["detail"].is_string() && body["id"].is_string(), "{body}");
    assert_eq!(text.header("content-type"), Some("text/plain; charset=utf-8"));
    assert!(text.text().starts_with("502 connect_refused"), "{text:?}");
    assert_eq!(html.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(html.text().starts_with("<!doctype html>"), "{html:?}");
    for response in [&json, &text, &html, &head] {
        let status = response.header("proxy-status").expect("Proxy-Status");
        assert!(status.starts_with("attache; error=connection_refused"), "{status}");
        assert_eq!(response.header("cache-control"), Some("no-store"));
    }
    assert_eq!((head.status, head.body.len()), (502, 0));
}

#[tokio::test]
async fn who_hits_the_port_directly_is_told_how_to_use_it() {
    let proxy = Proxy::start("");
    let own = format!("Host: {}", proxy.addr());

    let curl = proxy.client().await.call("GET", "/", &[&own, "Accept: */*"], "").await;
    let browser = proxy.client().await.call("GET", "/", &[&own, "Accept: text/html"], "").await;

    assert_eq!((curl.status, browser.status), (404, 404));
    for page in [curl.text(), browser.text()] {
        assert!(page.contains("HTTP_PROXY") && page.contains("attache run"), "{page}");
    }
}

#[tokio::test]
async fn a_line_of_the_access_log_has_every_field_in_its_type() {
    let upstream =
        Upstream::http(|seen| if seen.index == 0 { Reply::status(503) } else { Reply::ok("0123456789") }).await;
    let proxy =
        Proxy::start(&format!("routes:\n  - name: api\n    match: api.test\n    to: http://{}\n", upstream.addr()));

    assert_eq!(proxy.call("PUT", "http://api.test:81/a?b=c", &[], "body").await.status, 200);
    let log = proxy.finish();

    assert_eq!(log.len(), 1, "{log:?}");
    let line = &log[0];
    let expected = [
        ("route", "api"),
        ("method", "PUT"),
        ("scheme", "http"),
        ("host", "api.test:81"),
        ("path", "/a?b=c"),
        ("proto", "HTTP/1.1"),
        ("breaker", "closed"),
    ];
    for (field, value) in expected {
        assert_eq!(line[field], value, "{line}");
    }
    let ts = line["ts"].as_str().expect("a time");
    assert!(ts.len() == 24 && ts.ends_with('Z') && ts.as_bytes()[10] == b'T', "{ts}");
    assert!(line["id"].as_str().is_some_and(|id| id.len() == 16), "{line}");
    assert!(line["client"].as_str().is_some_and(|client| client.starts_with("127.0.0.1:")), "{line}");
    assert_eq!((&line["status"], &line["bytes_in"], &line["bytes_out"]), (&200.into(), &4.into(), &10.into()));
    for number in ["dur_ms", "ttfb_ms", "overhead_us"] {
        assert!(line[number].is_number(), "{number}: {line}");
    }
    assert!(line["dur_ms"].as_f64() >= line["ttfb_ms"].as_f64(), "{line}");
    assert!(line.get("reason").is_none(), "nothing of ours failed: {line}");
    let attempts = line["attempts"].as_array().expect("attempts");
    assert_eq!((attempts.len(), &attempts[0]["status"], &attempts[1]["status"]), (2, &503.into(), &200.into()));
    for attempt in attempts {
        assert_eq!(attempt["endpoint"], upstream.addr().to_string());
        assert!(attempt["dur_ms"].is_number() && attempt["reused"].is_boolean(), "{attempt}");
    }
}

#[tokio::test]
async fn a_failure_is_logged_with_its_reason_and_why_it_was_not_repeated() {
    let upstream = Upstream::http(|_| Reply::reset()).await;
    let proxy = Proxy::start(PORTS);

    assert_eq!(proxy.call("POST", &upstream.url("/"), &[], "x").await.status, 502);
    let own = proxy.addr();
    assert_eq!(proxy.client().await.connect_to(&own.to_string()).await.status, 508);
    let log = proxy.finish();

    let failed = &log[0];
    assert_eq!((&failed["status"], &failed["retry_denied"]), (&502.into(), &"not_idempotent".into()), "{failed}");
    assert!(["reset", "closed_early"].contains(&failed["reason"].as_str().expect("a reason")), "{failed}");
    assert_eq!(failed["attempts"][0]["reason"], failed["reason"]);
    let connect = &log[1];
    assert_eq!((&connect["method"], &connect["reason"]), (&"CONNECT".into(), &"loop".into()));
    assert_eq!((&connect["host"], connect.get("path")), (&own.to_string().into(), None));
}

#[tokio::test]
async fn a_tunnels_line_counts_its_bytes() {
    let upstream = Upstream::raw(|_, mut wire| async move {
        let _ = wire.send("banner").await;
        let _ = wire.exact(3, &mut Vec::new()).await;
    })
    .await;
    let proxy = Proxy::start(PORTS);
    let mut client = proxy.client().await.tunnel(&upstream.addr().to_string()).await;
    assert_eq!(client.bytes(6).await, b"banner");

    client.send(b"\0\x01\x02").await;
    assert_eq!(client.rest().await, b"");
    drop(client);

    let proxied = &proxy;
    eventually("the tunnel ends", || async move {
        (proxied.metrics().await.sum("attache_tunnels", &[]) == 0.0).then_some(())
    })
    .await;
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("attache_tunnel_bytes_total", &[("direction", "in")]), 3.0);
    assert_eq!(metrics.sum("attache_tunnel_bytes_total", &[("direction", "out")]), 6.0);
    let log = proxy.finish();
    assert_eq!((&log[0]["status"], &log[0]["bytes_in"], &log[0]["bytes_out"]), (&200.into(), &3.into(), &6.into()));
}

#[tokio::test]
async fn every_metric_with_a_feature_is_there() {
    let certs = Certs::default();
    let secure = Upstream::tls(certs.server("secure.test", &["h2"]), |_| Reply::ok("tls")).await;
    let (refused, token) = (Port::refused(), Token::new("s3cret"));
    let flaky = Upstream::http(|seen| Reply::status(if seen.index == 0 { 503 } else { 200 })).await;
    let proxy = Proxy::start(&format!(
        "{PORTS}resolve: {{ secure.test: {} }}
routes:
  - name: secure
    match: secure.test
    to: https://secure.test
    tls: {{ ca: {} }}
    auth: {{ bearer: {{ file: {} }} }}
  - match: down.test
    to: http://{}
    breaker: 1
    retry: false
",
        secure.addr(),
        certs.ca(),
        token.path(),
        refused.addr()
    ));
    assert_eq!(proxy.get("http://secure.test/").await.status, 200);
    assert_eq!(proxy.get(&flaky.url("/")).await.status, 200);
    assert_eq!(proxy.call("POST", "http://down.test/", &[], "x").await.status, 502);
    assert_eq!(proxy.call("POST", "http://down.test/", &[], "x").await.status, 503);
    assert_eq!(proxy.get("http://nobody.invalid/").await.status, 502);
    let tunnel = proxy.client().await.tunnel(&flaky.addr().to_string()).await;

    let metrics = proxy.metrics().await;

    for name in [
        "attache_requests_total",
        "attache_request_duration_seconds",
        "attache_overhead_seconds",
        "attache_attempts_total",
        "attache_attempt_duration_seconds",
        "attache_retries_total",
        "attache_breaker_state",
        "attache_breaker_transitions_total",
        "attache_rejected_total",
        "attache_connections",
        "attache_tunnels",
        "attache_tunnel_bytes_total",
        "attache_bytes_total",
        "attache_dns_seconds",
        "attache_connect_seconds",
        "attache_tls_handshake_seconds",
        "attache_build_info",
        "attache_config_last_reload_successful",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_start_time_seconds",
    ] {
        assert!(metrics.has(name), "{name} is missing");
    }
    let labelled = [("route", "secure"), ("method", "GET"), ("code", "200"), ("reason", "")];
    assert_eq!(metrics.sum("attache_requests_total", &labelled), 1.0);
    let refused = [("route", "down.test"), ("method", "POST"), ("code", "502"), ("reason", "connect_refused")];
    assert_eq!(metrics.sum("attache_requests_total", &refused), 1.0);
    assert_eq!(metrics.sum("attache_tls_handshake_seconds_count", &[]), 1.0);
    assert_eq!(metrics.sum("attache_config_last_reload_successful", &[]), 1.0);
    assert_eq!(metrics.sum("attache_bytes_total", &[("route", "secure"), ("direction", "out")]), 3.0);
    assert!(metrics.sum("attache_requests_total", &[("route", "_default")]) >= 2.0);
    drop(tunnel);
}

#[tokio::test]
async fn an_endless_choice_of_methods_and_hosts_makes_no_new_series() {
    let upstream = Upstream::fixed("").await;
    let proxy = Proxy::start("");
    let mut client = proxy.client().await;

    for index in 0..30 {
        assert_eq!(client.call(&format!("METHOD{index}"), &upstream.url("/"), &[], "").await.status, 200);
    }

    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("attache_requests_total", &[("method", "OTHER"), ("route", "_default")]), 30.0);
    assert!(!metrics.text().contains("METHOD1"));
}
