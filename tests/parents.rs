//! Through another proxy that the configuration names: who goes that way, in which form, and what a refusal is.
#![allow(clippy::panic, reason = "a failed expectation fails the test")]

#[path = "parents/scripted.rs"]
mod scripted;

use std::time::Duration;

use scripted::Parent;
use testkit::{Certs, Client, Proxy, Reply, Upstream, eventually, websocket_proof};

/// `me:secret`.
const OURS: &str = "Basic bWU6c2VjcmV0";
const PORTS: &str = "destinations: { connect_ports: [80, 443, \"1024-65535\"] }\n";

/// A secret in a file.
fn secret() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("password"), "secret\n").expect("written");
    let auth = format!("{{ basic: {{ user: me, password: {{ file: {} }} }} }}", dir.path().join("password").display());
    (dir, auth)
}

// --- the form

#[tokio::test]
async fn plain_http_names_its_whole_target_and_shows_our_credential_alone() {
    let ((_dir, auth), parent) = (secret(), Parent::to(([127, 0, 0, 1], 1).into()).await);
    let proxy = Proxy::start(&format!("parent: {{ url: {}, auth: {auth} }}\n", parent.url()));
    let mut client = proxy.client().await;
    let theirs = ["Proxy-Authorization: Basic dGhlaXJz"];

    for (target, expected) in [
        ("http://one.test/a?b=c", "http://one.test/a?b=c"),
        ("http://one.test:80", "http://one.test:80/"),
        ("http://one.test:8080/a%2f//../?", "http://one.test:8080/a%2f//../?"),
        ("http://198.51.100.7/", "http://198.51.100.7/"),
        ("http://[2001:db8::7]:81/", "http://[2001:db8::7]:81/"),
    ] {
        let response = client.call("GET", target, &theirs, "").await;
        assert_eq!((response.status, response.text().as_str()), (200, expected));
    }
    let hosts = ["one.test", "one.test:80", "one.test:8080", "198.51.100.7", "[2001:db8::7]:81"];
    assert_eq!(parent.fields("host"), hosts.map(|host| Some(host.to_owned())));
    assert_eq!(parent.fields("proxy-authorization"), vec![Some(OURS.to_owned()); 5]);
    assert_eq!(parent.upstream.connections(), 4, "one for each host and port");
}

#[tokio::test]
async fn a_tunnel_is_asked_for_and_carried_with_what_the_server_says_first() {
    let server = Upstream::raw(|_, mut wire| async move {
        wire.send("220 ready\r\n").await.expect("sent");
        let mut heard = Vec::new();
        wire.exact(4, &mut heard).await.expect("read");
        wire.send(heard).await.expect("sent");
    })
    .await;
    let ((_dir, auth), parent) = (secret(), Parent::to(server.addr()).await);
    let proxy = Proxy::start(&format!("{PORTS}parent: {{ url: {}, auth: {auth} }}\n", parent.url()));

    let mut tunnel = proxy.client().await.tunnel("mail.test:2525").await;
    assert_eq!(tunnel.bytes(11).await, b"220 ready\r\n");
    tunnel.send("EHLO").await;
    assert_eq!(tunnel.bytes(4).await, b"EHLO");

    assert_eq!(parent.lines(), ["CONNECT mail.test:2525 HTTP/1.1"]);
    assert_eq!(parent.fields("proxy-authorization"), [Some(OURS.to_owned())]);
}

#[tokio::test]
async fn https_is_spoken_with_the_target_itself_which_never_sees_the_parents_credential() {
    let certs = Certs::default();
    let target = Upstream::tls(certs.server("api.test", &["h2", "http/1.1"]), |_| Reply::ok("end to end")).await;
    let ((_dir, auth), parent) = (secret(), Parent::to(target.addr()).await);
    let proxy = Proxy::start(&format!(
        "parent: {{ url: {}, auth: {auth} }}\nroutes: [{{ match: api.test, to: 'https://api.test', tls: {{ ca: {} }} }}]\n",
        parent.url(),
        certs.ca(),
    ));

    for _ in 0..3 {
        assert_eq!(proxy.get("http://api.test/").await.text(), "end to end");
    }

    assert_eq!(parent.lines(), ["CONNECT api.test:443 HTTP/1.1"], "and the connection is kept");
    assert_eq!(parent.fields("proxy-authorization"), [Some(OURS.to_owned())]);
    assert!(target.requests().iter().all(|seen| seen.header("proxy-authorization").is_none()));
}

#[tokio::test]
async fn a_parent_may_speak_tls_itself() {
    let certs = Certs::default();
    let target = Upstream::tls(certs.server("api.test", &["http/1.1"]), |_| Reply::ok("inside")).await;
    let to = target.addr();
    let parent = Upstream::raw_tls(certs.server("127.0.0.1", &["h2", "http/1.1"]), move |_, mut wire| async move {
        let head = wire.head().await.expect("read").expect("asked");
        assert_eq!(head.0, "CONNECT api.test:443 HTTP/1.1");
        let mut far = tokio::net::TcpStream::connect(to).await.expect("the target listens");
        wire.send("HTTP/1.1 200 OK\r\n\r\n").await.expect("sent");
        // However it ends.
        let _ = tokio::io::copy_bidirectional(&mut wire.into_io(), &mut far).await;
    })
    .await;
    let ca = certs.ca();
    let proxy = Proxy::start(&format!(
        "parent: {{ url: 'https://{}', tls: {{ ca: {ca} }} }}\n\
         routes: [{{ match: api.test, to: 'https://api.test', tls: {{ ca: {ca} }} }}]\n",
        parent.addr(),
    ));

    assert_eq!(proxy.get("http://api.test/").await.text(), "inside");
}

#[tokio::test]
async fn what_the_whole_target_cannot_say_goes_through_a_tunnel() {
    let target = Upstream::http(|seen| match seen.header("upgrade") {
        Some(_) => Reply::status(101)
            .header("upgrade", "websocket")
            .header("connection", "upgrade")
            .header("sec-websocket-accept", &websocket_proof("dGhlIHNhbXBsZSBub25jZQ==")),
        None => Reply::ok("inside"),
    })
    .await;
    let parent = Parent::to(target.addr()).await;
    let proxy = Proxy::start(&format!(
        "parent: {}\nupstreams: [{{ name: pool, endpoints: ['http://10.255.0.1:8001'] }}]\n\
         routes: [{{ match: api.test, to: 'upstream:pool' }}]\n",
        parent.url()
    ));

    // Another Host than where it goes.
    for _ in 0..2 {
        assert_eq!(proxy.get("http://api.test/x").await.text(), "inside");
    }
    assert_eq!(proxy.call("OPTIONS", "http://star.test", &[], "").await.text(), "inside");
    let fields = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    assert_eq!(proxy.call("GET", "http://socket.test/", &fields, "").await.status, 101);

    let asked = parent.lines();
    assert_eq!(
        asked,
        ["CONNECT 10.255.0.1:8001 HTTP/1.1", "CONNECT star.test:80 HTTP/1.1", "CONNECT socket.test:80 HTTP/1.1"],
        "the first is kept"
    );
    let seen: Vec<_> = target
        .requests()
        .into_iter()
        .map(|seen| (seen.target.clone(), seen.header("host").map(str::to_owned)))
        .collect();
    assert_eq!(seen[0], ("/x".to_owned(), Some("api.test".to_owned())));
    assert_eq!(seen[2], ("*".to_owned(), Some("star.test".to_owned())));
}

#[tokio::test]
async fn grpc_in_the_clear_goes_through_a_tunnel() {
    let target = Upstream::h2_echo().await;
    let parent = Parent::to(target.addr()).await;
    let proxy = Proxy::start(&format!(
        "parent: {}\nroutes: [{{ match: api.test, to: 'h2c://api.test:50051' }}]\n",
        parent.url()
    ));

    let response =
        proxy.call("POST", "http://api.test/a.B/C", &["content-type: application/grpc", "te: trailers"], "12345").await;

    assert_eq!((response.status, response.text().as_str()), (200, "12345"));
    assert_eq!(parent.lines(), ["CONNECT api.test:50051 HTTP/1.1"]);
}

// --- who goes that way

#[tokio::test]
async fn this_machine_what_resolve_answers_and_what_is_left_out_are_dialed_directly() {
    let target = Upstream::fixed("direct").await;
    let parent = Parent::to(target.addr()).await;
    let proxy = Proxy::start(&format!(
        "parent: {{ url: {}, not_for: ['*.corp.invalid'] }}\nresolve: {{ known.test: \"{}\" }}\n\
         routes: [{{ match: named.test, to: '{}' }}]\n",
        parent.url(),
        target.addr(),
        target.url(""),
    ));

    for url in [&target.url("/"), "http://known.test/", "http://named.test/"] {
        assert_eq!(proxy.get(url).await.text(), "direct", "{url}");
    }
    // It has no address, and nobody else is asked.
    assert_eq!(proxy.get("http://a.corp.invalid/").await.reason(), "dns");
    assert!(parent.lines().is_empty());
    assert_eq!(proxy.get("http://other.test/").await.text(), "http://other.test/");
}

#[tokio::test]
async fn the_first_parent_that_may_be_taken_leads_there_and_connections_are_not_mixed() {
    let nobody = ([127, 0, 0, 1], 1).into();
    let (one, two) = (Parent::to(nobody).await, Parent::to(nobody).await);
    let proxy = Proxy::start(&format!(
        "parent:\n  - {{ url: {}, for: ['*.partner.test', 198.51.100.0/24] }}\n  - {}\n",
        one.url(),
        two.url()
    ));

    for url in ["http://a.partner.test/", "http://a.test/", "http://198.51.100.7/", "http://a.partner.test/2"] {
        assert_eq!(proxy.get(url).await.status, 200);
    }

    assert_eq!(
        one.lines(),
        [
            "GET http://a.partner.test/ HTTP/1.1",
            "GET http://198.51.100.7/ HTTP/1.1",
            "GET http://a.partner.test/2 HTTP/1.1"
        ]
    );
    assert_eq!(two.lines(), ["GET http://a.test/ HTTP/1.1"]);
}

#[tokio::test]
async fn what_is_denied_is_denied_behind_a_parent_too() {
    let parent = Parent::to(([127, 0, 0, 1], 1).into()).await;
    let proxy = Proxy::start(&format!(
        "parent: {}\ndestinations: {{ deny: ['*.secret.test', 203.0.113.0/24], allow: [ok.secret.test], connect_ports: [443, 80] }}\n",
        parent.url()
    ));

    for url in [
        "http://a.secret.test/",
        "http://203.0.113.9/",
        "http://169.254.169.254/latest/",
        "http://metadata.google.internal/",
    ] {
        let response = proxy.get(url).await;
        assert_eq!((response.status, response.reason().as_str()), (403, "destination_blocked"), "{url}");
        let host = url.split('/').nth(2).expect("a host");
        let tunnel = proxy.client().await.connect_to(&format!("{host}:443")).await;
        assert_eq!((tunnel.status, tunnel.reason().as_str()), (403, "destination_blocked"), "{url}");
    }
    assert!(parent.lines().is_empty(), "{:?}", parent.lines());
    assert_eq!(proxy.get("http://ok.secret.test/").await.status, 200);
}

// --- refusals

#[tokio::test]
async fn a_refusal_is_told_with_the_parents_status_retried_and_counted() {
    for (answer, says) in [
        ("HTTP/1.1 407 x\r\nProxy-Authenticate: Basic\r\n\r\n", "407 Proxy Authentication Required"),
        ("HTTP/1.1 403 x\r\nContent-Length: 9\r\n\r\nforbidden", "403 Forbidden"),
        ("HTTP/1.1 502 x\r\n\r\n", "502 Bad Gateway"),
        ("nonsense\r\n\r\n", "no valid answer"),
        ("HTTP/1.1 200 OK\r\nX: 1", ""),
    ] {
        let parent = Parent::answering(answer).await;
        let proxy = Proxy::start(&format!(
            "parent: {}\nroutes: [{{ match: api.test, to: 'https://api.test', timeout: {{ connect: 500ms }}, retry: {{ backoff: 1ms }} }}]\n",
            parent.url()
        ));

        let response = proxy.get("http://api.test/").await;

        let (status, reason) = if says.is_empty() { (504, "connect_timeout") } else { (502, "parent_proxy") };
        assert_eq!((response.status, response.reason().as_str()), (status, reason), "{answer}");
        let detail = response.text();
        assert!(detail.contains(says) && detail.contains(&parent.url()), "{detail}");
        assert_eq!(parent.lines().len(), 3, "three attempts, since nothing was sent");
        let metrics = proxy.metrics().await;
        assert_eq!(metrics.sum("attache_attempts_total", &[("result", reason)]), 3.0);
    }
}

#[tokio::test]
async fn a_parent_that_lets_the_second_through_costs_the_client_nothing() {
    let certs = Certs::default();
    let target = Upstream::tls(certs.server("api.test", &["http/1.1"]), |_| Reply::ok("in the end")).await;
    let busy = |number, _: &scripted::Asked| (number == 0).then(|| "HTTP/1.1 503 x\r\n\r\n".to_owned());
    let parent = Parent::saying(busy, target.addr()).await;
    let proxy = Proxy::start(&format!(
        "parent: {}\nroutes: [{{ match: api.test, to: 'https://api.test', tls: {{ ca: {} }} }}]\n",
        parent.url(),
        certs.ca()
    ));

    let response = proxy.call("POST", "http://api.test/", &[], "once").await;

    assert_eq!(response.text(), "in the end");
    assert_eq!(target.only().body, b"once");
    assert_eq!(proxy.metrics().await.sum("attache_retries_total", &[]), 1.0);
}

#[tokio::test]
async fn bytes_that_come_with_the_consent_to_tls_are_nobodys() {
    let parent = Parent::answering("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n").await;
    let proxy = Proxy::start(&format!(
        "parent: {}\nroutes: [{{ match: api.test, to: 'https://api.test', retry: false }}]\n",
        parent.url()
    ));

    let response = proxy.get("http://api.test/").await;

    assert_eq!(response.reason(), "parent_proxy");
    assert!(response.text().contains("sent 19 bytes"), "{}", response.text());
}

#[tokio::test]
async fn of_the_answers_to_a_whole_target_407_is_the_parents_and_the_others_are_not_ours_to_tell() {
    let says = |_, asked: &scripted::Asked| {
        let status = if asked.0.contains("unknown.test") { 407 } else { 403 };
        Some(format!("HTTP/1.1 {status} x\r\nContent-Length: 4\r\nProxy-Authenticate: Basic\r\n\r\npage"))
    };
    let parent = Parent::saying(says, ([127, 0, 0, 1], 1).into()).await;
    let proxy = Proxy::start(&format!("parent: {}\n", parent.url()));

    let unknown = proxy.get("http://unknown.test/").await;
    let other = proxy.get("http://other.test/").await;

    assert_eq!((unknown.status, unknown.reason().as_str()), (502, "parent_proxy"));
    assert!(unknown.text().contains("answered 407"), "{}", unknown.text());
    assert_eq!((other.status, other.text().as_str()), (403, "page"));
}

#[tokio::test]
async fn a_refused_tunnel_is_a_status_and_not_a_byte_of_it_is_sent() {
    let parent = Parent::answering("HTTP/1.1 403 x\r\n\r\n").await;
    let proxy = Proxy::start(&format!("parent: {}\n", parent.url()));
    let mut client = proxy.client().await;

    client.send("CONNECT secret.test:443 HTTP/1.1\r\nHost: secret.test\r\n\r\nGET /early HTTP/1.1\r\n\r\n").await;
    let response = client.response("CONNECT").await;

    assert_eq!((response.status, response.reason().as_str()), (502, "parent_proxy"));
    assert!(parent.lines().iter().all(|line| line == "CONNECT secret.test:443 HTTP/1.1"), "{:?}", parent.lines());
}

#[tokio::test]
async fn a_slow_consent_is_within_the_time_to_connect() {
    let parent = Upstream::raw(|_, mut wire| async move {
        let lines = ["HTTP/1.1 200 OK\r\n"].into_iter().chain(std::iter::repeat_n("x: y\r\n", 90));
        for line in lines {
            if wire.send(line).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let proxy = Proxy::start(&format!(
        "parent: http://{}\nroutes: [{{ match: api.test, to: 'https://api.test', timeout: {{ connect: 300ms }}, retry: false }}]\n",
        parent.addr()
    ));
    let start = exchange::clock::now();

    let response = proxy.get("http://api.test/").await;

    assert_eq!((response.status, response.reason().as_str()), (504, "connect_timeout"));
    let took = exchange::clock::now().since(start);
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn without_its_secret_nothing_is_sent() {
    let parent = Parent::to(([127, 0, 0, 1], 1).into()).await;
    let proxy = Proxy::start(&format!(
        "parent: {{ url: {}, auth: {{ bearer: {{ file: /nonexistent/token }} }} }}\n",
        parent.url()
    ));

    let response = proxy.get("http://a.test/").await;

    assert_eq!(response.reason(), "credential");
    assert_eq!(parent.upstream.connections(), 0);
}

// --- what nobody asked for

#[tokio::test]
async fn checks_take_the_same_way() {
    let target = Upstream::fixed("well").await;
    let ((_dir, auth), parent) = (secret(), Parent::to(target.addr()).await);
    let proxy = Proxy::start(&format!(
        "parent: {{ url: {}, auth: {auth} }}\nupstreams:\n\
         \x20 - {{ name: whole, endpoints: ['http://whole.test'], health: {{ http: /healthz, every: 100ms }} }}\n\
         \x20 - {{ name: host, endpoints: ['http://host.test'], health: {{ http: /healthz, host: other.test, every: 100ms }} }}\n\
         \x20 - {{ name: bare, endpoints: ['http://bare.test'], health: {{ tcp: true, every: 100ms }} }}\n\
         routes:\n  - {{ match: a.test, to: 'upstream:whole' }}\n  - {{ match: b.test, to: 'upstream:host' }}\n\
         \x20 - {{ match: c.test, to: 'upstream:bare' }}\n",
        parent.url()
    ));

    let wanted =
        ["GET http://whole.test:80/healthz HTTP/1.1", "CONNECT host.test:80 HTTP/1.1", "CONNECT bare.test:80 HTTP/1.1"];
    eventually("all three", || async {
        wanted.iter().all(|line| parent.lines().iter().any(|asked| asked == line)).then_some(())
    })
    .await;
    assert!(parent.fields("proxy-authorization").iter().all(|value| value.as_deref() == Some(OURS)));
    target
        .until("asked for the other host", |record| {
            record.requests.iter().any(|seen| seen.target == "/healthz" && seen.header("host") == Some("other.test"))
        })
        .await;
    drop(proxy);
}

#[tokio::test]
async fn plain_http_inside_a_tunnel_goes_on_in_it() {
    let target = Upstream::fixed("inside").await;
    let parent = Parent::to(target.addr()).await;
    let proxy = Proxy::start(&format!("{PORTS}parent: {}\n", parent.url()));

    let mut tunnel: Client = proxy.client().await.tunnel("api.test:8080").await;
    tunnel.send("GET /x HTTP/1.1\r\nHost: api.test:8080\r\n\r\n").await;
    let response = tunnel.response("GET").await;

    assert_eq!((response.status, response.text().as_str()), (200, "http://api.test:8080/x"));
    assert_eq!(parent.lines(), ["CONNECT api.test:8080 HTTP/1.1", "GET http://api.test:8080/x HTTP/1.1"]);
    assert_eq!(target.count(), 0);
}

// --- another configuration

#[cfg(unix)]
#[tokio::test]
async fn another_parent_takes_over_and_the_connections_of_the_old_one_are_closed() {
    use testkit::child::{Child, program};

    let says = |body: &'static str| {
        move |_, _: &scripted::Asked| Some(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    };
    let nobody = ([127, 0, 0, 1], 1).into();
    let (one, two) = (Parent::saying(says("one"), nobody).await, Parent::saying(says("two"), nobody).await);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("attache.yaml");
    let text = |parent: &Parent| {
        format!("parent: {}\nroutes: [{{ match: named.test, to: 'http://named.test' }}]\n", parent.url())
    };
    std::fs::write(&file, text(&one)).expect("written");
    let proxy = Child::start(&program(env!("CARGO_BIN_EXE_attache")), &file).await;
    let get = async |url: &str| Client::connect(proxy.listen).await.get(url).await.text();
    for url in ["http://named.test/", "http://any.test/"] {
        assert_eq!(get(url).await, "one");
    }
    assert_eq!(one.upstream.record().open, 2, "both are kept");

    std::fs::write(&file, text(&two)).expect("written");

    eventually("the other parent", || async { (get("http://named.test/").await == "two").then_some(()) }).await;
    assert_eq!(get("http://any.test/").await, "two");
    one.upstream.until("all are closed", |record| record.open == 0).await;
}

// --- what was refused

#[tokio::test]
async fn what_was_refused_is_listed_with_what_would_let_it_pass() {
    let served = Upstream::fixed("served").await;
    let proxy = Proxy::start(&format!(
        "default: deny\ndestinations: {{ deny: ['*.secret.test'], connect_ports: [443] }}\n\
         routes:\n  - {{ match: ok.test, to: '{}' }}\n  - {{ match: a.secret.test }}\n",
        served.url("")
    ));

    assert_eq!(proxy.get("http://ok.test/").await.status, 200);
    for _ in 0..2 {
        assert_eq!(proxy.get("http://other.test/").await.status, 403);
    }
    assert_eq!(proxy.client().await.connect_to("other.test:443").await.status, 403);
    assert_eq!(proxy.client().await.connect_to("ok.test:22").await.status, 403);
    assert_eq!(proxy.get("http://a.secret.test/").await.status, 403);

    let told = proxy.admin("/api/v1/refused").await.json();
    let lines: Vec<_> = told["refused"].as_array().expect("a list").iter().collect();
    let of = |host: &str| lines.iter().find(|line| line["host"] == host).unwrap_or_else(|| panic!("{host}: {told}"));
    assert_eq!(lines.len(), 4, "{told}");
    assert_eq!((of("other.test:80")["count"].as_u64(), &of("other.test:80")["reason"]), (Some(2), &"no_route".into()));
    assert_eq!(of("other.test:80")["add"], "routes: [{ match: \"other.test\" }]");
    assert_eq!(of("other.test:443")["reason"], "no_route");
    assert_eq!(of("ok.test:22")["reason"], "connect_ports");
    assert_eq!(of("ok.test:22")["add"], "destinations: { connect_ports: [443, 22] }");
    assert_eq!(of("a.secret.test:80")["reason"], "destination_blocked");
    assert_eq!(of("a.secret.test:80")["add"], "destinations: { allow: [\"a.secret.test\"] }");
    assert_eq!(lines[0]["host"], "a.secret.test:80", "the latest first");
    assert_eq!(told["refused_forgotten"], 0);
}
