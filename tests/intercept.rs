//! Interception: whose tunnels are opened and whose are not, what holds inside, and who is told what.
#![cfg(unix)]
#![allow(clippy::panic, reason = "a failed expectation fails the test")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use proxy::{Authority, Bound, Settings};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde_json::Value;
use testkit::certs::{Flaw, trusting};
use testkit::upstream::Then;
use testkit::{Certs, Client, Proxy, Reply, Upstream, eventually, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

const TARGET: &str = "api.test:443";
const OPENED: &str = "attache_intercepted_total";
const FAILED: &str = "attache_intercept_failures_total";

/// A route `api` for api.test, which is `origin`, with more lines of its own.
fn api(certs: &Certs, origin: &Upstream, more: &str) -> String {
    let mut text = format!(
        "resolve: {{ api.test: '{at}', other.test: '{at}' }}
",
        at = origin.addr()
    );
    text.push_str("routes:\n  - name: api\n    match: api.test\n");
    text.push_str(&format!("    tls: {{ ca: {} }}\n", certs.ca()));
    more.lines().for_each(|line| text.push_str(&format!("    {line}\n")));
    text
}

async fn origin(
    certs: &Certs,
    alpn: &[&str],
    answer: impl Fn(&testkit::Seen) -> Reply + Send + Sync + 'static,
) -> Upstream {
    Upstream::tls(certs.server("api.test", alpn), answer).await
}

/// Inside an opened tunnel to api.test, over HTTP/1.1.
async fn inside(proxy: &Proxy, authority: &Authority) -> Client {
    let config = trusting(authority.pem(), &["http/1.1"]);
    proxy.client().await.tunnel(TARGET).await.tls(config, "api.test").await
}

/// TLS for `name` in a tunnel to `target`; the error of whoever refused.
async fn shake(proxy: &Proxy, target: &str, config: Arc<ClientConfig>, name: &str) -> std::io::Result<()> {
    let io = proxy.client().await.tunnel(target).await.into_wire().into_io();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    within("a handshake", TlsConnector::from(config).connect(name, io)).await.map(drop)
}

async fn failed(proxy: &Proxy, reason: &str, count: f64) {
    eventually(reason, || async {
        let metrics = proxy.metrics().await;
        (metrics.sum(FAILED, &[("route", "api"), ("reason", reason)]) == count).then_some(())
    })
    .await;
}

async fn status(proxy: &Proxy) -> Value {
    proxy.admin("/api/v1/status").await.json()
}

#[tokio::test]
async fn what_alpn_agrees_on_is_served_and_the_request_goes_on_over_tls() {
    let certs = Certs::default();
    let origin = origin(&certs, &["h2", "http/1.1"], |_| Reply::ok("yes")).await;
    let (proxy, authority) = Proxy::opening(&api(&certs, &origin, "intercept: true"));

    for alpn in [&["http/1.1"][..], &[]] {
        let client = proxy.client().await.tunnel(TARGET).await;
        let mut client = client.tls(trusting(authority.pem(), alpn), "api.test").await;
        for _ in 0..2 {
            assert_eq!(client.call("GET", "/h1?q", &["Host: api.test"], "").await.text(), "yes", "{alpn:?}");
        }
    }
    for alpn in [&["h2", "http/1.1"][..], &["h2"], &[]] {
        let client = proxy.client().await.tunnel(TARGET).await;
        let mut client = client.tls(trusting(authority.pem(), alpn), "api.test").await.h2().await;
        assert_eq!(client.get("https://api.test/h2").await.text(), "yes", "{alpn:?}");
    }

    assert_eq!(proxy.metrics().await.sum(OPENED, &[("route", "api")]), 5.0);
    let seen = origin.requests();
    assert_eq!(
        seen.iter().map(|one| one.target.as_str()).collect::<Vec<_>>(),
        ["/h1?q", "/h1?q", "/h1?q", "/h1?q", "/h2", "/h2", "/h2"]
    );
    assert!(seen.iter().all(|one| one.header("host").or(one.header(":authority")) == Some("api.test")), "{seen:?}");
    let lines = proxy.finish();
    let inner: Vec<&Value> = lines.iter().filter(|line| line["method"] == "GET").collect();
    assert_eq!(inner.len(), 7);
    for line in inner {
        assert_eq!((&line["route"], &line["scheme"]), (&"api".into(), &"https".into()), "{line}");
    }
}

#[tokio::test]
async fn a_retry_inside_is_seen_in_the_metrics_and_a_credential_is_added() {
    let certs = Certs::default();
    let token = certs.file("token", "s3cr3t");
    let origin =
        origin(&certs, &["http/1.1"], |seen| if seen.index == 0 { Reply::status(503) } else { Reply::ok("second") })
            .await;
    let more = format!(
        "intercept: true\nto: https://api.test\nretry: {{ backoff: 1ms }}\nauth: {{ bearer: {{ file: {token} }} }}"
    );
    let (proxy, authority) = Proxy::opening(&api(&certs, &origin, &more));

    let answer =
        inside(&proxy, &authority).await.call("GET", "/", &["Host: api.test", "Authorization: mine"], "").await;

    assert_eq!((answer.status, answer.text().as_str()), (200, "second"));
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("attache_retries_total", &[("route", "api")]), 1.0);
    assert_eq!(metrics.sum("attache_attempts_total", &[("route", "api"), ("result", "5xx")]), 1.0);
    for seen in origin.requests() {
        assert_eq!(seen.headers("authorization"), ["Bearer s3cr3t"]);
        assert_eq!(seen.header("host"), Some("api.test"));
    }
}

#[tokio::test]
async fn a_host_that_nobody_named_is_untouched() {
    let certs = Certs::default();
    let origin = Upstream::tls(certs.server("other.test", &["http/1.1"]), |_| Reply::ok("other")).await;
    let (proxy, authority) = Proxy::opening(&api(&certs, &origin, "intercept: true"));

    // It shows its own certificate, and nobody else's is believed.
    let client = proxy.client().await.tunnel("other.test:443").await;
    let mut client = client.tls(certs.client(&["http/1.1"]), "other.test").await;
    assert_eq!(client.call("GET", "/", &["Host: other.test"], "").await.text(), "other");
    assert!(shake(&proxy, "other.test:443", trusting(authority.pem(), &[]), "other.test").await.is_err());

    assert_eq!(origin.only().header("via"), None);
    assert_eq!(proxy.metrics().await.sum(OPENED, &[]), 0.0);
    let quiet = status(&Proxy::start("")).await;
    assert_eq!((&quiet["intercepted"], &quiet["intercept_ca"]), (&serde_json::json!([]), &Value::Null));
}

#[tokio::test]
async fn the_default_opens_all_hosts_but_those_that_say_otherwise() {
    let certs = Certs::default();
    let origin = Upstream::tls(certs.server("api.test", &["http/1.1"]), |_| Reply::ok("own")).await;
    let at = origin.addr();
    let yaml = format!(
        "default: {{ intercept: true, tls: {{ ca: {} }} }}\nresolve: {{ api.test: '{at}', a.x.test: '{at}', b.x.test: '{at}' }}\n\
         routes:\n  - {{ match: {{ host: b.x.test, path: /sub/ }}, respond: 200 }}\n\
         \u{20} - {{ match: a.x.test, intercept: false }}\n  - {{ match: '*.x.test', intercept: true, respond: 204 }}\n",
        certs.ca()
    );
    let (proxy, authority) = Proxy::opening(&yaml);
    let ours = || trusting(authority.pem(), &["http/1.1"]);

    let open = |host: &'static str| {
        let (proxy, config) = (&proxy, ours());
        async move { proxy.client().await.tunnel(&format!("{host}:443")).await.tls(config, host).await }
    };
    assert_eq!(open("api.test").await.call("GET", "/", &["Host: api.test"], "").await.text(), "own");
    assert_eq!(open("b.x.test").await.call("GET", "/", &["Host: b.x.test"], "").await.status, 204);
    assert_eq!(open("b.x.test").await.call("GET", "/sub/", &["Host: b.x.test"], "").await.status, 200);
    assert!(shake(&proxy, "a.x.test:443", ours(), "a.x.test").await.is_err(), "the origin's own certificate");

    let status = status(&proxy).await;
    assert_eq!(status["intercepted"], serde_json::json!(["*.x.test", "*"]));
    assert_eq!(status["not_intercepted"], serde_json::json!(["a.x.test"]));
    let metrics = proxy.metrics().await;
    assert_eq!((metrics.sum(OPENED, &[("route", "_default")]), metrics.sum(OPENED, &[])), (1.0, 3.0));
}

#[tokio::test]
async fn a_route_for_others_opens_nobody_elses_tunnel() {
    let certs = Certs::default();
    let origin = origin(&certs, &["http/1.1"], |_| Reply::ok("yes")).await;
    let yaml = |who: &str| {
        let other = format!("  - {{ match: {{ host: api.test, who: {who} }}, respond: 204, intercept: true }}\n");
        let route = api(&certs, &origin, "");
        route.replace("routes:\n", &format!("routes:\n{other}"))
    };
    let (closed, authority) = Proxy::opening(&yaml("'user:4294967294'"));
    let mut client = closed.client().await.tunnel(TARGET).await.tls(certs.client(&["http/1.1"]), "api.test").await;
    assert_eq!(client.call("GET", "/", &["Host: api.test"], "").await.text(), "yes", "the origin's own certificate");
    assert!(shake(&closed, TARGET, trusting(authority.pem(), &[]), "api.test").await.is_err());

    let (open, authority) = Proxy::opening(&yaml("anyone_local"));
    assert_eq!(inside(&open, &authority).await.call("GET", "/", &["Host: api.test"], "").await.status, 204);
}

#[tokio::test]
async fn who_shows_a_key_to_the_proxy_is_known_inside_and_nobody_there_hears_of_it() {
    // The SHA-256 of `key`.
    let key = "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683";
    let certs = Certs::default();
    let origin = origin(&certs, &["http/1.1"], |_| Reply::ok("yes")).await;
    let identities = format!("identities: [{{ name: machines, keys: [{{ name: build, sha256: {key} }}] }}]\n");
    let route = api(&certs, &origin, "intercept: true\nauthenticate: machines");
    let (proxy, authority) = Proxy::opening(&format!("{identities}{route}"));

    assert_eq!(proxy.client().await.connect_to(TARGET).await.status, 407);
    for (shown, status) in [("kez", 407), ("key", 200)] {
        let mut client = proxy.client().await;
        let field = format!("Proxy-Authorization: Bearer {shown}");
        client.send(format!("CONNECT {TARGET} HTTP/1.1\r\nHost: {TARGET}\r\n{field}\r\n\r\n")).await;
        assert_eq!(client.response("CONNECT").await.status, status, "{shown}");
        if status == 200 {
            let mut client = client.tls(trusting(authority.pem(), &["http/1.1"]), "api.test").await;
            let answer = client.call("GET", "/", &["Host: api.test", "Authorization: mine"], "").await;
            assert_eq!(answer.text(), "yes");
        }
    }

    let seen = origin.only();
    assert_eq!((seen.header("authorization"), seen.header("proxy-authorization")), (Some("mine"), None));
}

#[tokio::test]
async fn a_page_borrows_no_credential_in_an_opened_tunnel() {
    let certs = Certs::default();
    let token = certs.file("token", "s3cr3t");
    let origin = origin(&certs, &["http/1.1"], |_| Reply::ok("yes")).await;
    let more = format!("intercept: true\nauth: {{ bearer: {{ file: {token} }} }}\nto: https://api.test");
    let (proxy, authority) = Proxy::opening(&api(&certs, &origin, &more));

    for (field, status) in [
        ("Origin: https://evil.test", 403),
        ("Origin: http://api.test", 403),
        ("Sec-Fetch-Site: cross-site", 403),
        ("Origin: https://api.test", 200),
        ("Sec-Fetch-Site: same-origin", 200),
    ] {
        let answer = inside(&proxy, &authority).await.call("GET", "/", &["Host: api.test", field], "").await;
        assert_eq!(answer.status, status, "{field}");
    }
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn another_name_than_the_tunnels_is_refused_and_none_at_all_is_not() {
    let certs = Certs::default();
    let origin = origin(&certs, &["http/1.1"], |_| Reply::ok("yes")).await;
    let (proxy, authority) = Proxy::opening(&api(&certs, &origin, "intercept: true"));
    let ours = || trusting(authority.pem(), &["http/1.1"]);

    let error = shake(&proxy, TARGET, ours(), "other.test").await.expect_err("refused");
    assert!(format!("{error:?}").contains("UnrecognisedName"), "{error:?}");
    failed(&proxy, "name", 1.0).await;
    let listed = status(&proxy).await["intercept_refused"][0].clone();
    assert_eq!((&listed["host"], &listed["reason"]), (&"api.test".into(), &"name".into()));
    assert!(listed["next"].as_str().is_some_and(|next| next.contains("name it asks for")), "{listed}");

    // Without a name the tunnel's is shown, which is what this client does not want.
    let error = shake(&proxy, TARGET, ours(), "127.0.0.1").await.expect_err("another name");
    assert!(format!("{error:?}").contains("NotValidForName"), "{error:?}");
    let mut silent = (*ours()).clone();
    silent.enable_sni = false;
    let mut client = proxy.client().await.tunnel(TARGET).await.tls(Arc::new(silent), "api.test").await;
    assert_eq!(client.call("GET", "/", &["Host: api.test"], "").await.text(), "yes");

    let lines = proxy.finish();
    assert_eq!(lines.iter().filter(|line| line["reason"] == "misdirected").count(), 1, "{lines:?}");
}

#[tokio::test]
async fn another_host_inside_is_misdirected_and_so_is_another_scheme() {
    let certs = Certs::default();
    let origin = origin(&certs, &["http/1.1"], |_| Reply::ok("yes")).await;
    let (proxy, authority) = Proxy::opening(&api(&certs, &origin, "intercept: true"));
    let client = || inside(&proxy, &authority);

    for (target, host) in [
        ("/", "other.test"),
        ("/", "api.test:80"),
        ("https://other.test/", "other.test"),
        ("http://api.test/", "api.test"),
    ] {
        let host = format!("Host: {host}");
        let fields: &[&str] = if target == "/" { &[&host] } else { &[] };
        let answer = client().await.call("GET", target, fields, "").await;
        assert_eq!((answer.status, answer.reason().as_str()), (421, "misdirected"), "{target} {host}");
    }
    let h2 = proxy.client().await.tunnel(TARGET).await.tls(trusting(authority.pem(), &["h2"]), "api.test").await;
    let mut h2 = h2.h2().await;
    assert_eq!(h2.get("https://other.test/").await.status, 421);
    assert_eq!(h2.get("http://api.test/").await.status, 421);
    let nested = client().await.connect_to(TARGET).await;
    assert_eq!((nested.status, nested.reason().as_str()), (403, "forbidden"));
    assert_eq!(origin.count(), 0);

    for target in ["/", "https://api.test/", "https://api.test:443/"] {
        let answer =
            client().await.call("GET", target, &["Host: api.test:443"][usize::from(target != "/")..], "").await;
        assert_eq!(answer.text(), "yes", "{target}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_authority_is_told_of() {
    let certs = Certs::default();
    let origin = origin(&certs, &["http/1.1"], |_| Reply::ok("yes")).await;
    let (proxy, authority) = Proxy::opening(&api(&certs, &origin, "intercept: true"));

    for _ in 0..2 {
        let error = shake(&proxy, TARGET, certs.client(&[]), "api.test").await.expect_err("another authority");
        assert!(format!("{error:?}").contains("UnknownIssuer"), "{error:?}");
    }
    failed(&proxy, "unknown_ca", 2.0).await;
    // One that says nothing: it sends its hello, reads a flight, and leaves.
    let mut client = proxy.client().await.tunnel(TARGET).await;
    client.send(certs.hello("api.test")).await;
    client.bytes(5).await;
    drop(client);
    failed(&proxy, "closed", 1.0).await;

    // One that judges by itself, when the handshake is over, and leaves without a request.
    assert!(shake(&proxy, TARGET, trusting(authority.pem(), &[]), "api.test").await.is_ok());
    failed(&proxy, "unused", 1.0).await;

    let status = status(&proxy).await;
    let refused = &status["intercept_refused"];
    assert_eq!(refused.as_array().map(Vec::len), Some(1), "{status}");
    assert_eq!(
        (&refused[0]["host"], &refused[0]["reason"], &refused[0]["count"]),
        (&"api.test".into(), &"closed".into(), &4.into())
    );
    assert!(refused[0]["next"].as_str().is_some_and(|next| next.contains("intercept: false")));
    assert_eq!((&status["intercepted"], &status["intercept_failures"]), (&serde_json::json!(["api.test"]), &4.into()));
    assert_eq!(status["intercept_ca"]["sha256"], authority.identity().fingerprint.as_str());
    assert!(status["intercept_ca"]["days_left"].as_u64().is_some_and(|days| (6..=7).contains(&days)), "{status}");
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn a_handshake_has_its_time() {
    let certs = Certs::default();
    let origin = origin(&certs, &["http/1.1"], |_| Reply::ok("yes")).await;
    let short = "server: { tls_handshake: 50ms }\n";
    let (proxy, _) = Proxy::opening(&format!("{short}{}", api(&certs, &origin, "intercept: true")));
    let mut client = proxy.client().await.tunnel(TARGET).await;

    client.send(&certs.hello("api.test")[..20]).await;

    assert!(client.rest().await.is_empty());
    failed(&proxy, "timeout", 1.0).await;
    assert_eq!(status(&proxy).await["intercept_refused"], serde_json::json!([]));
}

#[tokio::test]
async fn an_origin_whose_certificate_is_bad_is_never_called() {
    let certs = Certs::default();
    let origin = Upstream::tls(certs.flawed("api.test", &["http/1.1"], Flaw::Expired), |_| Reply::ok("yes")).await;
    let (proxy, authority) = Proxy::opening(&api(&certs, &origin, "intercept: true\nretry: false"));

    let answer = inside(&proxy, &authority).await.call("GET", "/", &["Host: api.test"], "").await;

    assert_eq!((answer.status, answer.reason().as_str()), (502, "tls_certificate"));
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn what_leads_past_us_is_taken_off_and_what_is_for_https_stays() {
    let certs = Certs::default();
    let origin = origin(&certs, &["http/1.1"], |_| {
        Reply::status(302)
            .header("location", "https://api.test/next")
            .header("strict-transport-security", "max-age=1")
            .header("alt-svc", "h3=\":443\"")
    })
    .await;
    let (proxy, authority) = Proxy::opening(&api(&certs, &origin, "intercept: true"));

    let answer = inside(&proxy, &authority).await.call("GET", "/", &["Host: api.test"], "").await;

    assert_eq!(answer.header("location"), Some("https://api.test/next"));
    assert_eq!(answer.header("strict-transport-security"), Some("max-age=1"));
    assert_eq!(answer.header("alt-svc"), None);
    assert_eq!(proxy.get("http://api.test/").await.status, 502, "it speaks TLS only");
}

#[tokio::test]
async fn plain_http_websockets_and_trailers_go_through_an_opened_tunnel() {
    let certs = Certs::default();
    let origin = origin(&certs, &["h2", "http/1.1"], |seen| match seen.target.as_str() {
        "/chat" => Reply::raw(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        )
        .then(Then::Echo),
        _ => Reply::ok("data").header("content-type", "application/grpc").trailer("grpc-status", "0"),
    })
    .await;
    let (proxy, authority) = Proxy::opening(&api(&certs, &origin, "intercept: true"));

    let mut chat = inside(&proxy, &authority).await;
    let upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];
    let switched = chat.call("GET", "/chat", &[&["Host: api.test"], &upgrade[..]].concat(), "").await;
    chat.send(b"\x81\x80\0\0\0\0").await;
    assert_eq!((switched.status, chat.bytes(6).await), (101, b"\x81\x80\0\0\0\0".to_vec()));

    let h2 = proxy.client().await.tunnel(TARGET).await.tls(trusting(authority.pem(), &["h2"]), "api.test").await;
    let fields = [("content-type", "application/grpc"), ("te", "trailers")];
    let grpc = h2.h2().await.post("https://api.test/s/m", &fields, b"\0\0\0\0\0").await;
    assert!(grpc.trailers.iter().any(|(name, value)| name == "grpc-status" && value == "0"), "{grpc:?}");

    let mut plain = proxy.client().await.tunnel(TARGET).await;
    let answer = plain.call("GET", "/", &["Host: api.test"], "").await;
    assert_eq!(answer.status, 502, "plain inside is plain outside: {answer:?}");
}

#[tokio::test]
async fn what_is_no_tls_is_carried_and_whoever_speaks_first_after_a_silence_decides() {
    let certs = Certs::default();
    let greeter = Upstream::raw(|_, mut wire| async move {
        let _ = wire.send("220 hello\r\n").await;
        let mut said = Vec::new();
        let _ = wire.exact(4, &mut said).await;
        let _ = wire.send(&said).await;
        let _ = wire.rest(&mut said).await;
    })
    .await;
    let (proxy, _) = Proxy::opening(&api(&certs, &greeter, "intercept: true"));
    let mut client = proxy.client().await.tunnel(TARGET).await;
    assert_eq!(client.bytes(11).await, b"220 hello\r\n");
    client.send("QUIT").await;
    assert_eq!(client.bytes(4).await, b"QUIT");
    let mut client = proxy.client().await.tunnel(TARGET).await;
    client.send(b"\0\x01\x02\x03").await;
    assert_eq!(client.bytes(15).await, b"220 hello\r\n\0\x01\x02\x03");

    // A client that is slow to begin is no way around it.
    let origin = origin(&certs, &["http/1.1"], |_| Reply::ok("yes")).await;
    let (proxy, authority) = Proxy::opening(&api(&certs, &origin, "intercept: true"));
    let client = proxy.client().await.tunnel(TARGET).await;
    origin.until("a dial", |record| record.connections == 1).await;
    let mut client = client.tls(trusting(authority.pem(), &["http/1.1"]), "api.test").await;
    assert_eq!(client.call("GET", "/", &["Host: api.test"], "").await.text(), "yes");
}

#[tokio::test]
async fn a_tunnel_over_http2_is_opened_as_well() {
    let certs = Certs::default();
    let origin = origin(&certs, &["http/1.1"], |_| Reply::ok("yes")).await;
    let (proxy, authority) = Proxy::opening(&api(&certs, &origin, "intercept: true"));
    let tunnel = proxy.h2().await.tunnel(TARGET).await;
    let name = ServerName::try_from("api.test").expect("a name");

    let tls = TlsConnector::from(trusting(authority.pem(), &["http/1.1"])).connect(name, tunnel);
    let mut tls = within("a handshake", tls).await.expect("a handshake");
    tls.write_all(b"GET / HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n").await.expect("sent");
    let mut answer = String::new();
    within("an answer", tls.read_to_string(&mut answer)).await.expect("an answer");

    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("yes"), "{answer}");
}

#[tokio::test]
async fn with_deny_only_what_a_route_leads_to_can_be_asked() {
    let certs = Certs::default();
    let origin = origin(&certs, &["http/1.1"], |_| Reply::ok("yes")).await;
    let deny = "default: { action: deny, intercept: true }\nserver: { first_byte: 900ms }\n";
    let fixed = "  - { match: { host: fixed.test, path: /here }, respond: 204 }\n";
    let (proxy, authority) = Proxy::opening(&format!("{deny}{}{fixed}", api(&certs, &origin, "")));

    assert_eq!(inside(&proxy, &authority).await.call("GET", "/", &["Host: api.test"], "").await.text(), "yes");
    assert_eq!(proxy.client().await.connect_to("other.test:443").await.status, 403);
    let ours = trusting(authority.pem(), &[]);
    let mut client = proxy.client().await.tunnel("fixed.test:443").await.tls(ours, "fixed.test").await;
    assert_eq!(client.call("GET", "/here", &["Host: fixed.test"], "").await.status, 204);
    assert_eq!(client.call("GET", "/there", &["Host: fixed.test"], "").await.status, 403);
    // What is carried as it is could lead anywhere.
    let mut raw = proxy.client().await.tunnel("fixed.test:443").await;
    raw.send(b"\0\x01\x02\x03").await;
    assert!(raw.rest().await.is_empty());
    // Nor is anything dialed for a client that is slow to begin: it has its time.
    let begun = tokio::time::Instant::now();
    assert!(proxy.client().await.tunnel("fixed.test:443").await.rest().await.is_empty());
    assert!(tokio::time::Instant::now() - begun >= Duration::from_millis(900));
    let lines = proxy.finish();
    assert!(
        lines.iter().any(|line| line["method"] == "CONNECT" && line["reason"] == "no_route" && line["status"] == 200),
        "{lines:?}"
    );
}

/// Files of an authority, as `attache ca init` leaves them.
fn lay(dir: &Path) -> Authority {
    use std::os::unix::fs::PermissionsExt;

    let made = proxy::intercept::generate().expect("made");
    let files = config::model::Certificate { cert: dir.join("ca.crt"), key: dir.join("ca.key") };
    std::fs::write(&files.cert, &made.certificate).expect("written");
    std::fs::write(&files.key, &made.key).expect("written");
    std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o600)).expect("changed");
    Authority::load(&files).expect("loaded")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_takes_another_authority_and_other_hosts_while_connections_live() {
    let certs = Certs::default();
    let origin = origin(&certs, &["http/1.1"], |_| Reply::ok("yes")).await;
    let dir = certs.dir();
    let path = dir.join("attache.yaml");
    let write = |more: &str| {
        let ca = format!("ca: {{ cert: {d}/ca.crt, key: {d}/ca.key }}\n", d = dir.display());
        let rest = "listen: 127.0.0.1:0\nadmin: false\nworkers: 1\nlog: { access: false }\n";
        std::fs::write(&path, format!("{ca}{rest}{}", api(&certs, &origin, more))).expect("written");
    };
    write("intercept: true");
    let first = lay(dir);
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
    let try_shake = |authority: &str| {
        let config = trusting(authority, &["http/1.1"]);
        async move {
            let io = Client::connect(addr).await.tunnel(TARGET).await.into_wire().into_io();
            let name = ServerName::try_from("api.test").expect("a name");
            within("a handshake", TlsConnector::from(config).connect(name, io)).await.is_ok()
        }
    };
    let config = trusting(first.pem(), &["http/1.1"]);
    let mut kept = Client::connect(addr).await.tunnel(TARGET).await.tls(config, "api.test").await;
    assert_eq!(kept.call("GET", "/", &["Host: api.test"], "").await.status, 200);

    let second = lay(dir);
    assert!(try_shake(first.pem()).await, "nobody asked for a reload");
    assert_eq!(reload(), Ok(2));
    assert!(try_shake(second.pem()).await && !try_shake(first.pem()).await);
    assert_eq!(kept.call("GET", "/", &["Host: api.test"], "").await.status, 200);

    std::fs::write(dir.join("ca.key"), "half").expect("written");
    let wrong = reload().expect_err("refused");
    assert_eq!((wrong.len(), wrong[0].id, wrong[0].line), (1, "tls-file", 1), "{wrong:?}");
    assert!(try_shake(second.pem()).await, "the old one stays");

    write("intercept: false");
    assert_eq!(reload(), Ok(3));
    assert!(!try_shake(second.pem()).await, "the origin's own certificate");
    assert_eq!(kept.call("GET", "/", &["Host: api.test"], "").await.status, 200);
    running.stop();
}

#[tokio::test]
async fn curl_gets_a_retry_without_knowing_it() {
    let certs = Certs::default();
    let origin =
        origin(
            &certs,
            &["h2", "http/1.1"],
            |seen| {
                if seen.index == 0 { Reply::status(503) } else { Reply::ok("second") }
            },
        )
        .await;
    let (proxy, authority) = Proxy::opening(&api(&certs, &origin, "intercept: true"));
    let ca = certs.file("ours.pem", authority.pem());
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "20", "--cacert", &ca, "https://api.test/"]).env_remove("NO_PROXY");
    curl.env_remove("no_proxy").env("HTTPS_PROXY", format!("http://{}", proxy.addr()));

    let ran = tokio::task::spawn_blocking(move || curl.output()).await.expect("joined").expect("curl runs");

    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "second");
    assert_eq!(proxy.metrics().await.sum("attache_retries_total", &[("route", "api")]), 1.0);
}
