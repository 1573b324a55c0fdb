//! TLS in front: who is shown which certificate, what is agreed on, who is turned away, and files that change.
#![allow(clippy::panic, reason = "a failed expectation fails the test")]

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use proxy::{Bound, Settings};
use rustls::{ClientConfig, HandshakeKind};
use rustls_pki_types::ServerName;
use testkit::certs::Pair;
use testkit::child::Child;
use testkit::upstream::Then;
use testkit::{Certs, Client, Proxy, Reply, Upstream, eventually, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const YEAR: i32 = 2100;
const REJECTED: &str = "attache_connection_rejected_total";

/// An authority, and the files of one listener.
struct Scene {
    certs: Certs,
    first: Pair,
}

impl Scene {
    /// One certificate, for `front.test` and 127.0.0.1, in `tls.pem` and `tls.key`.
    fn new() -> Self {
        let certs = Certs::default();
        let first = certs.pair(&["front.test", "127.0.0.1"], YEAR);
        let scene = Self { certs, first };
        scene.lay(&scene.first);
        scene
    }

    /// Puts a pair in place.
    fn lay(&self, pair: &Pair) {
        self.certs.file("tls.pem", &pair.cert);
        self.certs.file("tls.key", &pair.key);
    }

    fn fresh(&self) -> Pair {
        self.certs.pair(&["front.test", "127.0.0.1"], YEAR)
    }

    /// `listen:` with TLS and more of its keys.
    fn listen(&self, more: &str) -> String {
        let dir = self.certs.dir().display();
        format!("listen: [{{address: '127.0.0.1:0', tls: {{cert: {dir}/tls.pem, key: {dir}/tls.key{more}}}}}]\n")
    }

    fn proxy(&self, more: &str, rest: &str) -> Proxy {
        Proxy::start(&format!("{}{rest}", self.listen(more)))
    }

    async fn h1(&self, proxy: &Proxy) -> Client {
        proxy.client().await.tls(self.certs.client(&["http/1.1"]), "front.test").await
    }

    /// Which certificate a client sees.
    async fn shown(&self, addr: SocketAddr, name: &str) -> Vec<u8> {
        leaf(&dial(addr, self.certs.client(&[]), name).await.expect("a handshake"))
    }
}

fn leaf(tls: &TlsStream<TcpStream>) -> Vec<u8> {
    tls.get_ref().1.peer_certificates().expect("a certificate")[0].to_vec()
}

async fn dial(addr: SocketAddr, config: Arc<ClientConfig>, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(addr).await?;
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    within("a handshake", TlsConnector::from(config).connect(name, tcp)).await
}

/// A request on a connection of its own; the error of whichever side refused.
async fn try_get(addr: SocketAddr, config: Arc<ClientConfig>) -> std::io::Result<String> {
    let mut tls = dial(addr, config, "front.test").await?;
    tls.write_all(b"GET / HTTP/1.1\r\nHost: up.test\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    within("an answer", tls.read_to_string(&mut answer)).await?;
    Ok(answer)
}

fn to(upstream: &Upstream) -> String {
    format!("routes:\n  - {{ name: up, match: up.test, to: '{}' }}\n", upstream.url(""))
}

async fn rejected(proxy: &Proxy, reason: &str, count: f64) {
    eventually(reason, || async {
        let metrics = proxy.metrics().await;
        (metrics.sum(REJECTED, &[("reason", reason)]) == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_name_chooses_the_certificate_exact_before_wildcard_before_the_first() {
    let scene = Scene::new();
    let dir = scene.certs.dir().display().to_string();
    let mut list = format!("{{cert: {dir}/tls.pem, key: {dir}/tls.key}}");
    let others: Vec<Pair> = [&["*.wild.test"][..], &["x.wild.test", "other.test"]]
        .iter()
        .enumerate()
        .map(|(index, names)| {
            let pair = scene.certs.pair(names, YEAR);
            let (cert, key) = (format!("{index}.pem"), format!("{index}.key"));
            let (cert, key) = (scene.certs.file(&cert, &pair.cert), scene.certs.file(&key, &pair.key));
            list.push_str(&format!(", {{cert: {cert}, key: {key}}}"));
            pair
        })
        .collect();
    let proxy = Proxy::start(&format!("listen: [{{address: '127.0.0.1:0', tls: {{certificates: [{list}]}}}}]\n"));

    for (name, pair) in [
        ("front.test", &scene.first),
        ("127.0.0.1", &scene.first),
        ("y.wild.test", &others[0]),
        ("x.wild.test", &others[1]),
        ("other.test", &others[1]),
    ] {
        assert_eq!(scene.shown(proxy.addr(), name).await, pair.der.to_vec(), "{name}");
    }
    let unknown = dial(proxy.addr(), scene.certs.client(&[]), "unknown.test").await.expect_err("another name");
    assert!(format!("{unknown:?}").contains("front.test"), "{unknown:?}");
}

#[tokio::test]
async fn both_http_versions_are_agreed_on_or_recognised() {
    let scene = Scene::new();
    let upstream = Upstream::fixed("up").await;
    let proxy = scene.proxy("", &to(&upstream));
    let wire = |alpn: &'static [&'static str]| {
        let config = scene.certs.client(alpn);
        async { proxy.client().await.tls(config, "front.test").await }
    };

    for alpn in [&["http/1.1"][..], &[]] {
        let mut client = wire(alpn).await;
        for _ in 0..2 {
            assert_eq!(client.call("GET", "/", &["Host: up.test"], "").await.text(), "up", "{alpn:?}");
        }
    }
    for alpn in [&["h2", "http/1.1"][..], &["h2"], &[]] {
        let mut h2 = wire(alpn).await.h2().await;
        assert_eq!(h2.get("https://up.test/").await.text(), "up", "{alpn:?}");
    }
    let none = dial(proxy.addr(), scene.certs.client(&["spdy/3"]), "front.test").await;
    assert!(none.is_err());
    rejected(&proxy, "tls", 1.0).await;
}

#[tokio::test]
async fn what_was_agreed_on_is_what_is_spoken() {
    let scene = Scene::new();
    let proxy = scene.proxy("", "");
    let mut client = proxy.client().await.tls(scene.certs.client(&["h2"]), "front.test").await;

    client.send("GET / HTTP/1.1\r\nHost: up.test\r\n\r\n").await;

    assert_eq!(client.response("GET").await.status, 400);
    rejected(&proxy, "bad_request", 1.0).await;
}

#[tokio::test]
async fn a_request_over_tls_asks_for_https() {
    let scene = Scene::new();
    let origin = Upstream::tls(scene.certs.server("same.test", &["http/1.1"]), |_| {
        Reply::status(302).header("location", "https://same.test/x").header("strict-transport-security", "max-age=1")
    })
    .await;
    let dir = scene.certs.dir().display();
    let at = origin.addr();
    let both = format!(
        "listen: [{{address: '127.0.0.1:0', tls: {{cert: {dir}/tls.pem, key: {dir}/tls.key}}}}]\n\
         resolve: {{ same.test: '{at}' }}\nroutes: [{{ match: same.test, tls: {{ ca: {} }} }}]\n",
        scene.certs.ca()
    );
    let proxy = Proxy::start(&both);

    let h1 = scene.h1(&proxy).await.call("GET", "/", &["Host: same.test"], "").await;
    let mut h2 = proxy.client().await.tls(scene.certs.client(&["h2"]), "front.test").await.h2().await;
    let h2 = h2.get("https://same.test/").await;

    for answer in [h1, h2] {
        assert_eq!(answer.status, 302, "{answer:?}");
        assert_eq!(answer.header("location"), Some("https://same.test/x"));
        assert_eq!(answer.header("strict-transport-security"), Some("max-age=1"));
    }
    let lines = proxy.finish();
    assert_eq!(lines.iter().map(|line| line["scheme"].as_str()).collect::<Vec<_>>(), [Some("https"), Some("https")]);
}

#[tokio::test]
async fn a_client_of_the_proxy_over_tls_says_itself_what_it_asks_for() {
    let scene = Scene::new();
    let upstream = Upstream::fixed("up").await;
    let proxy = scene.proxy("", &to(&upstream));

    let absolute = scene.h1(&proxy).await.get("http://up.test/").await;
    let mut h2 = proxy.client().await.tls(scene.certs.client(&["h2"]), "front.test").await.h2().await;
    let plain = h2.get("http://up.test/").await;
    let prefix = scene.h1(&proxy).await.call("GET", "/r/up/", &["Host: 127.0.0.1"], "").await;

    assert_eq!((absolute.text().as_str(), plain.text().as_str(), prefix.text().as_str()), ("up", "up", "up"));
    let schemes: Vec<String> = proxy.finish().iter().map(|line| line["scheme"].as_str().unwrap_or("").into()).collect();
    assert_eq!(schemes, ["http", "http", "https"]);
}

#[tokio::test]
async fn client_certificates_are_off_optional_or_required() {
    let scene = Scene::new();
    let upstream = Upstream::fixed("up").await;
    let stranger = Certs::default();
    let ours = scene.certs.pair(&["client.test"], YEAR);
    let theirs = stranger.pair(&["client.test"], YEAR);
    let ca = scene.certs.ca();

    for (more, none, good, bad) in [
        (String::new(), true, true, true),
        (format!(", client_ca: {ca}, client_auth: optional"), true, true, false),
        (format!(", client_ca: {ca}, client_auth: required"), false, true, false),
        (format!(", client_ca: {ca}"), false, true, false),
    ] {
        let proxy = scene.proxy(&more, &to(&upstream));
        for versions in [&[&rustls::version::TLS13], &[&rustls::version::TLS12]] {
            for (pair, fine) in [(None, none), (Some(&ours), good), (Some(&theirs), bad)] {
                let config = scene.certs.client_with(&[], pair, versions);
                let answer = try_get(proxy.addr(), config).await;
                assert_eq!(answer.is_ok_and(|answer| answer.contains(" 200 ")), fine, "{more} {}", pair.is_some());
            }
        }
        let refused = [none, good, bad].iter().filter(|fine| !**fine).count();
        rejected(&proxy, "client_certificate", 2.0 * refused as f64).await;
    }
}

#[tokio::test]
async fn a_certificate_says_who_calls() {
    let scene = Scene::new();
    let upstream = Upstream::fixed("up").await;
    let listen = scene.listen(&format!(", client_ca: {}, client_auth: optional", scene.certs.ca()));
    let route = |name: &str, who: &str| {
        format!("  - {{ name: {name}, match: {name}.test, to: '{}', allow: {{ {who} }} }}\n", upstream.url(""))
    };
    let proxy = Proxy::start(&format!(
        "{listen}routes:\n{}{}",
        route("workload", "spiffe: 'spiffe://a.test/ns/prod/*'"),
        route("host", "dns: '*.apps.test'"),
    ));
    let pair = |names: &[&str]| Some(scene.certs.pair(names, YEAR));
    let two = ["spiffe://a.test/ns/prod/web", "spiffe://b.test/x"];

    for (pair, workload, host) in [
        (None, 403, 403),
        (pair(&["spiffe://a.test/ns/prod/web"]), 200, 403),
        (pair(&["spiffe://a.test/ns/test/web"]), 403, 403),
        (pair(&["web.apps.test"]), 403, 200),
        (pair(&["web.test", "spiffe://a.test.evil/ns/prod/web"]), 403, 403),
        // An SVID has one identity (SPIFFE X.509-SVID section 2).
        (pair(&two), 403, 403),
    ] {
        for (name, expected) in [("workload", workload), ("host", host)] {
            for alpn in [&[][..], &["http/1.1"]] {
                let config = scene.certs.client_with(alpn, pair.as_ref(), rustls::DEFAULT_VERSIONS);
                let mut client = proxy.client().await.tls(config, "front.test").await;
                let response = client.call("GET", &format!("http://{name}.test/"), &[], "").await;
                assert_eq!(response.status, expected, "{name}");
            }
        }
    }
    assert_eq!(proxy.finish()[4]["identity"], "spiffe://a.test/ns/prod/web");
}

#[tokio::test]
async fn the_oldest_version_is_configured() {
    let scene = Scene::new();
    let upstream = Upstream::fixed("up").await;
    let old = scene.certs.client_with(&[], None, &[&rustls::version::TLS12]);

    let (lenient, strict) = (scene.proxy("", &to(&upstream)), scene.proxy(", min: 1.3", &to(&upstream)));

    assert!(try_get(lenient.addr(), Arc::clone(&old)).await.is_ok());
    assert!(try_get(strict.addr(), old).await.is_err());
    assert!(try_get(strict.addr(), scene.certs.client(&[])).await.is_ok());
    rejected(&strict, "tls", 1.0).await;
}

#[tokio::test]
async fn a_slow_handshake_is_cut_at_its_limit() {
    let scene = Scene::new();
    let proxy = scene.proxy("", "server: { tls_handshake: 200ms }\n");

    for begun in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut tcp = TcpStream::connect(proxy.addr()).await.expect("connected");
        tcp.write_all(begun).await.expect("sent");
        let mut rest = Vec::new();
        within("the end", tcp.read_to_end(&mut rest)).await.expect("closed");
        assert_eq!(rest, b"");
    }

    rejected(&proxy, "tls_timeout", 2.0).await;
}

#[tokio::test]
async fn plain_http_to_a_tls_port_is_told_so() {
    let scene = Scene::new();
    let proxy = scene.proxy("", "");

    for length in [0, 40_000] {
        let mut tcp = TcpStream::connect(proxy.addr()).await.expect("connected");
        let request = format!("PUT / HTTP/1.1\r\nHost: up.test\r\nX: {}\r\n\r\n", "y".repeat(length));
        tcp.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        within("the end", tcp.read_to_string(&mut answer)).await.expect("an end that is no reset");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.ends_with("\r\n\r\nThis port speaks TLS, and that was not: begin with https://\n"), "{answer}");
        // A client that first sends its body, and then looks: a reset would take the answer from it.
        tcp.write_all(b"body").await.expect("taken");
        proxy.metrics().await;
        tcp.write_all(b"body").await.expect("taken");
    }
    rejected(&proxy, "not_tls", 2.0).await;
    assert_eq!(proxy.metrics().await.sum(REJECTED, &[]), 2.0);
}

#[tokio::test]
async fn tls_to_a_plain_port_gets_an_alert() {
    let certs = Certs::default();
    let proxy = Proxy::start("");

    let refused = dial(proxy.addr(), certs.client(&[]), "front.test").await.expect_err("no TLS here");

    assert!(refused.to_string().contains("HandshakeFailure"), "{refused}");
}

#[tokio::test]
async fn a_unix_socket_may_speak_tls_too() {
    let scene = Scene::new();
    let upstream = Upstream::fixed("up").await;
    let dir = scene.certs.dir().display().to_string();
    let listen = format!("listen: [{{address: 'unix:{dir}/s', tls: {{cert: {dir}/tls.pem, key: {dir}/tls.key}}}}]\n");
    let proxy = Proxy::start(&format!("{listen}{}", to(&upstream)));
    let unix = || async { Client::unix(&proxy.unix()).await };

    let plain = unix().await.get("http://up.test/").await;
    let mut h1 = unix().await.tls(scene.certs.client(&[]), "front.test").await;
    let mut h2 = unix().await.tls(scene.certs.client(&["h2"]), "front.test").await.h2().await;

    assert_eq!(plain.status, 400);
    assert_eq!(h1.call("GET", "/", &["Host: up.test"], "").await.text(), "up");
    assert_eq!(h2.get("https://up.test/").await.text(), "up");
}

#[tokio::test]
async fn a_websocket_and_a_grpc_call_pass_over_tls() {
    let scene = Scene::new();
    let switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let chat = Upstream::http(move |_| Reply::raw(switched).then(Then::Echo)).await;
    let calls = Upstream::h2_echo().await;
    let routes = format!("{}  - {{ match: grpc.test, to: 'h2c://{}' }}\n", to(&chat), calls.addr());
    let proxy = scene.proxy("", &routes);

    let mut client = scene.h1(&proxy).await;
    let fields =
        ["Host: up.test", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];
    assert_eq!(client.call("GET", "/", &fields, "").await.status, 101);
    client.send("frame").await;
    let mut h2 = proxy.client().await.tls(scene.certs.client(&["h2"]), "front.test").await.h2().await;
    let grpc = h2.post(
        "https://grpc.test/a.B/C",
        &[("content-type", "application/grpc"), ("te", "trailers")],
        b"\0\0\0\0\x01x",
    );
    let grpc = grpc.await;

    assert_eq!(client.bytes(5).await, b"frame");
    assert_eq!((grpc.status, grpc.body.as_slice()), (200, &b"\0\0\0\0\x01x"[..]));
    assert!(grpc.trailers.iter().any(|(name, value)| name == "grpc-status" && value == "0"), "{grpc:?}");
}

#[tokio::test]
async fn curl_uses_it_as_a_secure_proxy() {
    let scene = Scene::new();
    let inner = Upstream::tls(scene.certs.server("127.0.0.1", &["http/1.1"]), |_| Reply::ok("inner")).await;
    let plain = Upstream::fixed("plain").await;
    let ports = "destinations: { connect_ports: ['1-65535'] }\n";
    let proxy = scene.proxy("", ports);
    let ca = scene.certs.ca();
    let curl = |url: String| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "20", "--noproxy", "", "--cacert", &ca, "--proxy-cacert", &ca]);
        curl.arg("--proxy").arg(format!("https://{}", proxy.addr())).arg(url);
        async {
            let ran = tokio::task::spawn_blocking(move || curl.output()).await.expect("joined").expect("curl runs");
            assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
            String::from_utf8_lossy(&ran.stdout).into_owned()
        }
    };

    assert_eq!(curl(format!("https://{}/", inner.addr())).await, "inner");
    assert_eq!(curl(plain.url("/")).await, "plain");
    assert_eq!(inner.only().header("via"), None);
    let tunnel = scene.h1(&proxy).await.tunnel(&plain.addr().to_string()).await;
    let mut tunnel = tunnel;
    assert_eq!(tunnel.call("GET", "/", &[&format!("Host: {}", plain.addr())], "").await.text(), "plain");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickets_outlive_a_certificate_and_not_the_trust_in_their_client() {
    let scene = Scene::new();
    let upstream = Upstream::fixed("up").await;
    let ours = scene.certs.pair(&["client.test"], YEAR);
    let bundle = scene.certs.file("clients.pem", &std::fs::read_to_string(scene.certs.ca()).expect("read"));
    let proxy = scene.proxy(&format!(", client_ca: {bundle}"), &to(&upstream));
    let config = scene.certs.client_with(&[], Some(&ours), rustls::DEFAULT_VERSIONS);
    let kind = || kind(proxy.addr(), &config);

    assert_eq!(kind().await, Some(HandshakeKind::Full));
    assert_eq!(kind().await, Some(HandshakeKind::Resumed));
    scene.lay(&scene.fresh());
    reloaded(&proxy).await;
    assert_eq!(kind().await, Some(HandshakeKind::Resumed));

    std::fs::copy(Certs::default().ca(), &bundle).expect("another authority");
    reloaded(&proxy).await;
    assert_eq!(kind().await, None);
    rejected(&proxy, "client_certificate", 1.0).await;
}

/// How a connection that was asked something came about; nothing if it was refused.
async fn kind(addr: SocketAddr, config: &Arc<ClientConfig>) -> Option<HandshakeKind> {
    let mut tls = dial(addr, Arc::clone(config), "front.test").await.ok()?;
    tls.write_all(b"GET / HTTP/1.1\r\nHost: up.test\r\n\r\n").await.ok()?;
    // Tickets come with the first answer.
    within("an answer", tls.read_u8()).await.ok()?;
    tls.get_ref().1.handshake_kind()
}

/// What `attache reload` does, of an in-process proxy without a file: certificates are read, the rest stays.
async fn reloaded(proxy: &Proxy) {
    tokio::task::block_in_place(|| proxy.running().reload()).expect_err("there is no configuration file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_across_twenty_certificates_all_succeed() {
    const SWAPS: usize = 20;
    const REQUESTS: usize = 1_000;
    let scene = Arc::new(Scene::new());
    let upstream = Upstream::fixed("up").await;
    let proxy = scene.proxy("", &to(&upstream));
    let mut kept = scene.h1(&proxy).await;
    let over = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (scene, over, addr) = (Arc::clone(&scene), Arc::clone(&over), proxy.addr());
            // A new configuration each time: nothing is resumed, every certificate is judged.
            tokio::spawn(async move {
                let mut count = 0;
                while !over.load(Relaxed) || count < REQUESTS / 4 {
                    let answer = try_get(addr, scene.certs.client(&[])).await.expect("an answer");
                    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("up"), "{answer}");
                    count += 1;
                }
                count
            })
        })
        .collect();

    for _ in 0..SWAPS {
        let next = scene.fresh();
        scene.lay(&next);
        reloaded(&proxy).await;
        assert_eq!(scene.shown(proxy.addr(), "front.test").await, next.der.to_vec());
        assert_eq!(kept.call("GET", "/", &["Host: up.test"], "").await.text(), "up");
    }
    over.store(true, Relaxed);
    let mut requests = 0;
    for load in load {
        requests += load.await.expect("no request failed");
    }

    assert!(requests >= REQUESTS, "{requests}");
    assert_eq!(proxy.metrics().await.sum(REJECTED, &[]), 0.0);
}

#[tokio::test]
async fn a_pair_is_in_use_once_both_halves_are_there() {
    let scene = Scene::new();
    let proxy = scene.proxy("", "");
    let next = scene.fresh();
    let file = scene.certs.dir().join("tls.pem").display().to_string();
    let ok =
        || async { proxy.metrics().await.sum("attache_tls_certificate_last_reload_successful", &[("file", &file)]) };
    let expiry = proxy.metrics().await.sum("attache_tls_certificate_expiry_timestamp_seconds", &[("file", &file)]);
    assert_eq!((ok().await, expiry), (1.0, 4_102_444_800.0));

    scene.certs.file("tls.pem", &next.cert);
    eventually("the half pair is refused", || async { (ok().await == 0.0).then_some(()) }).await;
    assert_eq!(scene.shown(proxy.addr(), "front.test").await, scene.first.der.to_vec());
    let status: serde_json::Value = serde_json::from_str(&proxy.admin("/api/v1/status").await.text()).expect("JSON");
    let told = &status["certificates"][0];
    assert_eq!(told["file"], file.as_str());
    assert_eq!(status["tls_listeners"], serde_json::json!([proxy.addr().to_string()]));
    assert_eq!(told["names"], "front.test");
    assert!(told["refused"].as_str().expect("a reason").contains("tls.key: does not fit the certificate in"), "{told}");

    scene.certs.file("tls.key", &next.key);
    eventually("the new pair is in use", || async { (ok().await == 1.0).then_some(()) }).await;
    assert_eq!(scene.shown(proxy.addr(), "front.test").await, next.der.to_vec());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_changes_a_listener_in_place_and_a_bad_file_changes_nothing() {
    let scene = Scene::new();
    let upstream = Upstream::fixed("up").await;
    let path = scene.certs.dir().join("attache.yaml");
    let write = |listen: &str| {
        let text = format!("{listen}admin: false\nworkers: 1\nlog: {{ access: false }}\n{}", to(&upstream));
        std::fs::write(&path, text).expect("written");
    };
    write("listen: [{address: '127.0.0.1:0'}]\n");
    let source = config::Source { path: Some(path.clone()), ..config::Source::default() };
    let loaded = config::load(&source).expect("loads");
    let settings = Settings {
        loaded,
        reload: Some(source),
        seed: Some(7),
        net: None,
        colour: false,
        messages: None,
        authority: None,
    };
    let running = proxy::start(settings).expect("started");
    let addr = running.listeners().iter().find_map(Bound::tcp).expect("an address");
    let reload = || tokio::task::block_in_place(|| running.reload());
    let plain = || async { Client::connect(addr).await.get("http://up.test/").await.status };
    let mut kept = Client::connect(addr).await;
    assert_eq!(kept.get("http://up.test/").await.status, 200);

    write(&scene.listen(""));
    assert_eq!(reload(), Ok(2));
    assert_eq!((plain().await, kept.get("http://up.test/").await.status), (400, 200));
    let config = scene.certs.client(&[]);
    assert_eq!(kind(addr, &config).await, Some(HandshakeKind::Full));

    write(&format!("{}drain: 1s\n", scene.listen("")));
    assert_eq!(reload(), Ok(3));
    assert_eq!(kind(addr, &config).await, Some(HandshakeKind::Resumed));

    write(&scene.listen(", client_ca: /nowhere/ca.pem"));
    let wrong = reload().expect_err("refused");
    assert_eq!((wrong.len(), wrong[0].id, wrong[0].line), (1, "tls-file", 1), "{wrong:?}");
    assert!(try_get(addr, scene.certs.client(&[])).await.is_ok());

    write(&scene.listen(&format!(", client_ca: {}", scene.certs.ca())));
    assert_eq!(reload(), Ok(4));
    assert!(try_get(addr, scene.certs.client(&[])).await.is_err());

    write("listen: [{address: '127.0.0.1:0'}]\n");
    assert_eq!(reload(), Ok(5));
    assert_eq!(plain().await, 200);
    running.stop();
}

#[test]
fn check_names_the_file_its_place_and_the_next_step() {
    let scene = Scene::new();
    let dir = scene.certs.dir().display().to_string();
    let other = scene.fresh();
    scene.certs.file("other.key", &other.key);
    scene.certs.file("cut.pem", &scene.first.cert[..300]);
    scene.certs.file("empty", "");
    let body = scene.first.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    scene.certs.file("locked.key", &body);
    let pairs = ["tls.pem other.key", "none.pem tls.key", "empty tls.key", "tls.pem locked.key", "tls.key tls.pem"];
    let mut text = "listen:\n  - address: 127.0.0.1:4443\n    tls:\n      certificates:\n".to_owned();
    for (cert, key) in pairs.into_iter().chain(["cut.pem tls.key", "tls.pem empty"]).filter_map(|p| p.split_once(' ')) {
        text.push_str(&format!("        - cert: D/{cert}\n          key: D/{key}\n"));
    }
    text.push_str(
        "      client_ca: D/empty\n  - address: 127.0.0.1:4444\n    tls:\n      cert: D/tls.pem\n      key: D\n",
    );
    let path = scene.certs.file("attache.yaml", &text.replace("D", &dir));

    let checked =
        Command::new(env!("CARGO_BIN_EXE_attache")).args(["check", &path]).env_clear().output().expect("runs");

    assert_eq!(checked.status.code(), Some(1));
    let said = String::from_utf8(checked.stderr).expect("text").replace(&dir, "D");
    // The carets are as long as the directory's name.
    let said: Vec<&str> = said.lines().filter(|line| !line.contains(" | ") && !line.ends_with(" |")).collect();
    assert_eq!(said.join("\n"), CHECKED);
}

const CHECKED: &str = "\
error[tls-file]: D/other.key: does not fit the certificate in D/tls.pem
  --> D/attache.yaml:6:16
  = help: name the pair that belongs together; the server's certificate comes first

error[tls-file]: D/none.pem: cannot be read: No such file or directory (os error 2)
  --> D/attache.yaml:7:17
  = help: check the path

error[tls-file]: D/empty: has no certificate in it
  --> D/attache.yaml:9:17
  = help: put the certificate and then its chain into it, as PEM

error[tls-file]: D/locked.key: holds a key that is encrypted, and nobody is there to be asked
   --> D/attache.yaml:12:16
   = help: decrypt it: `openssl pkey -in D/locked.key -out plain.key`, and guard that file

error[tls-file]: D/tls.key: has no certificate in it
   --> D/attache.yaml:13:17
   = help: it holds a key: are the two files swapped?

error[tls-file]: D/cut.pem: breaks off within a section
   --> D/attache.yaml:15:17
   = help: write it again, whole

error[tls-file]: D/empty: has no private key in it
   --> D/attache.yaml:18:16
   = help: put the private key into it, as PEM

error[tls-file]: D/empty: has no certificate in it
   --> D/attache.yaml:19:18
   = help: put the authorities' certificates into it, as PEM

error[tls-file]: D: is not a regular file
   --> D/attache.yaml:23:12
   = help: name a PEM file

error: 9 errors";

#[tokio::test]
async fn an_idle_connection_costs_a_bounded_amount_of_memory() {
    const CONNECTIONS: usize = 400;
    let scene = Scene::new();
    let upstream = Upstream::fixed("up").await;
    let file = scene.certs.file("attache.yaml", &format!("log: {{ access: false }}\n{}", to(&upstream)));
    let dir = scene.certs.dir().display();
    let tls = format!("{{address: '127.0.0.1:0', tls: {{cert: {dir}/tls.pem, key: {dir}/tls.key}}}}");
    let program = testkit::child::program(env!("CARGO_BIN_EXE_attache"));
    let mut costs = Vec::new();
    for listen in ["127.0.0.1:0", tls.as_str()] {
        let child = Child::start_at(&program, Path::new(&file), listen, "127.0.0.1:0").await;
        let config = scene.certs.client(&["http/1.1"]);
        let mut open = Vec::new();
        let mut before = 0.0;
        for index in 0..CONNECTIONS + 50 {
            let client = Client::connect(child.listen).await;
            let mut client = if listen == tls { client.tls(Arc::clone(&config), "front.test").await } else { client };
            assert_eq!(client.call("GET", "/", &["Host: up.test"], "").await.status, 200);
            open.push(client);
            if index == 49 {
                before = child.metric("process_resident_memory_bytes").await.expect("RSS");
            }
        }
        let after = child.metric("process_resident_memory_bytes").await.expect("RSS");
        costs.push((after - before) / CONNECTIONS as f64 / 1024.0);
    }

    println!("an idle connection: plain {:.1} KiB, TLS {:.1} KiB", costs[0], costs[1]);
    assert!(costs[1] < 64.0, "{costs:?}");
}

#[tokio::test]
async fn nothing_a_client_begins_with_is_a_panic() {
    let scene = Scene::new();
    let upstream = Upstream::fixed("up").await;
    let proxy = scene.proxy("", &format!("server: {{ tls_handshake: 1s }}\n{}", to(&upstream)));
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..64 {
        let mut bytes: Vec<u8> = (0..random.usize(1..600)).map(|_| random.u8(..)).collect();
        if round % 2 == 0 {
            bytes[0] = 0x16;
            // A record that says how long it is.
            let length = u16::try_from(bytes.len().saturating_sub(5)).expect("short").to_be_bytes();
            for (at, byte) in [3, 1].into_iter().chain(length).enumerate() {
                if let Some(place) = bytes.get_mut(at + 1) {
                    *place = byte;
                }
            }
        }
        let mut tcp = TcpStream::connect(proxy.addr()).await.expect("connected");
        tcp.write_all(&bytes).await.expect("sent");
        let mut rest = Vec::new();
        // Refused with words, with an alert, or with a reset.
        let _ = within("the end", tcp.read_to_end(&mut rest)).await;
    }

    assert!(try_get(proxy.addr(), scene.certs.client(&[])).await.is_ok());
    assert_eq!(proxy.metrics().await.sum(REJECTED, &[]), 64.0);
}
