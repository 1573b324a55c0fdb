//! Credentials that are fetched: from an issuer, by a program, and again when an upstream refuses them.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use testkit::{Certs, Port, Proxy, Reply, Seen, Upstream, eventually};
use tokio::task::JoinSet;

const SECRET: &str = "planted-client-secret";

/// Issues `token-<n>` to the client `id` with [`SECRET`].
async fn issuer(expires_in: u64) -> Upstream {
    Upstream::http(move |seen| issued(seen, expires_in)).await
}

fn issued(seen: &Seen, expires_in: u64) -> Reply {
    // base64 of `id:planted-client-secret`
    if seen.header("authorization") != Some("Basic aWQ6cGxhbnRlZC1jbGllbnQtc2VjcmV0") {
        return Reply::status(401).body(r#"{"error": "invalid_client", "error_description": "leaky"}"#);
    }
    let body = format!(
        r#"{{"access_token": "token-{}", "token_type": "Bearer", "expires_in": {expires_in}}}"#,
        seen.index + 1
    );
    Reply::ok(body).header("content-type", "application/json")
}

/// Tokens that the resource does not take.
#[derive(Clone, Default)]
struct Revoked(Arc<Mutex<HashSet<String>>>);

impl Revoked {
    fn add(&self, token: &str) {
        self.0.lock().expect("not poisoned").insert(format!("Bearer {token}"));
    }

    async fn resource(&self) -> Upstream {
        let revoked = self.clone();
        Upstream::http(move |seen| match seen.header("authorization") {
            Some(token) if !revoked.0.lock().expect("not poisoned").contains(token) => Reply::ok(token),
            _ => Reply::status(401).header("www-authenticate", "Bearer error=\"invalid_token\"").body("refused"),
        })
        .await
    }
}

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let (new, path) = (self.0.path().join("new"), self.0.path().join(name));
        std::fs::write(&new, text).expect("written");
        std::fs::rename(new, &path).expect("renamed");
        path
    }
}

/// A route `api` with a token from `issuer`; `more` are further keys of the route, each on a line.
fn oauth2(resource: &Upstream, issuer: &str, files: &Files, more: &str) -> String {
    let secret = files.put("client", &format!("{SECRET}\n"));
    format!(
        "routes:
  - name: api
    match: api.test
    to: http://{}
    auth: {{ oauth2: {{ token_url: \"http://{issuer}/token\", client_id: id, client_secret: {{ file: {} }} }} }}
{more}",
        resource.addr(),
        secret.display()
    )
}

fn tokens(resource: &Upstream) -> Vec<String> {
    resource.requests().iter().map(|seen| seen.header("authorization").unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn many_first_requests_wait_for_one_token() {
    let (resource, issuer, files) = (Revoked::default().resource().await, issuer(3600).await, Files::new());
    let proxy = Arc::new(Proxy::start(&oauth2(&resource, &issuer.addr().to_string(), &files, "")));
    let mut all = JoinSet::new();
    for _ in 0..50 {
        let proxy = Arc::clone(&proxy);
        all.spawn(async move { proxy.get("http://api.test/").await.status });
    }

    assert!(all.join_all().await.into_iter().all(|status| status == 200));

    assert_eq!(issuer.count(), 1, "one fetch for all");
    assert!(tokens(&resource).iter().all(|token| token == "Bearer token-1"));
    let asked = &issuer.requests()[0];
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("POST", "/token"));
    assert_eq!(String::from_utf8_lossy(&asked.body), "grant_type=client_credentials");
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("attache_credential_refresh_total", &[("route", "api"), ("result", "ok")]), 1.0);
    let proxied = &proxy;
    eventually("the time it is used", || async move {
        (proxied.metrics().await.sum("attache_credential_expiry_timestamp_seconds", &[("route", "api")]) > 1.7e9)
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn requests_outlast_an_issuer_that_is_late() {
    let (resource, port, files) = (Revoked::default().resource().await, Port::refused(), Files::new());
    let proxy = Arc::new(Proxy::start(&oauth2(&resource, &port.addr().to_string(), &files, "")));
    let early = tokio::spawn({
        let proxy = Arc::clone(&proxy);
        async move { proxy.get("http://api.test/").await.status }
    });
    let proxied = &proxy;
    eventually("a failed fetch", || async move {
        let failed = [("route", "api"), ("result", "error")];
        (proxied.metrics().await.sum("attache_credential_refresh_total", &failed) > 0.0).then_some(())
    })
    .await;

    let _issuer = Upstream::at(port, |seen| issued(seen, 3600));

    assert_eq!(early.await.expect("no panic"), 200);
}

#[tokio::test]
async fn an_issuer_that_says_no_is_told_at_once_and_nothing_is_sent() {
    let (resource, files) = (Revoked::default().resource().await, Files::new());
    let issuer = Upstream::http(|_| Reply::status(401).body(r#"{"error": "invalid_client"}"#)).await;
    let proxy = Proxy::start(&oauth2(&resource, &issuer.addr().to_string(), &files, ""));

    let response = proxy.get("http://api.test/").await;

    assert_eq!((response.status, response.reason().as_str()), (502, "credential"));
    assert!(response.text().contains("the issuer answered 401 invalid_client"), "{}", response.text());
    assert_eq!(resource.connections(), 0);
}

#[tokio::test]
async fn a_revoked_token_is_replaced_and_the_client_does_not_notice() {
    for more in ["", "    retry: false\n"] {
        let (revoked, issuer, files) = (Revoked::default(), issuer(3600).await, Files::new());
        let resource = revoked.resource().await;
        let proxy = Proxy::start(&oauth2(&resource, &issuer.addr().to_string(), &files, more));
        assert_eq!(proxy.get("http://api.test/").await.text(), "Bearer token-1");

        revoked.add("token-1");
        let response = proxy.call("POST", "http://api.test/orders", &["content-length: 4"], "body").await;

        assert_eq!((response.status, response.text().as_str()), (200, "Bearer token-2"));
        let posts: Vec<_> = resource.requests().into_iter().filter(|seen| seen.method == "POST").collect();
        assert_eq!(posts.iter().map(|seen| seen.body.as_slice()).collect::<Vec<_>>(), [b"body", b"body"]);
        assert_eq!(issuer.count(), 2);
    }
}

#[tokio::test]
async fn a_storm_of_401_is_one_fetch() {
    let (revoked, issuer, files) = (Revoked::default(), issuer(3600).await, Files::new());
    let resource = revoked.resource().await;
    let proxy = Arc::new(Proxy::start(&oauth2(&resource, &issuer.addr().to_string(), &files, "")));
    assert_eq!(proxy.get("http://api.test/").await.status, 200);

    revoked.add("token-1");
    let mut all = JoinSet::new();
    for _ in 0..40 {
        let proxy = Arc::clone(&proxy);
        all.spawn(async move { proxy.get("http://api.test/").await.status });
    }

    assert!(all.join_all().await.into_iter().all(|status| status == 200));
    assert_eq!(issuer.count(), 2);
}

#[tokio::test]
async fn what_is_refused_with_every_token_is_the_clients_affair_and_not_the_issuers() {
    let (issuer, files) = (issuer(3600).await, Files::new());
    let resource = Upstream::http(|_| Reply::status(401).body("you may not")).await;
    let proxy = Proxy::start(&oauth2(&resource, &issuer.addr().to_string(), &files, ""));

    for _ in 0..20 {
        let response = proxy.get("http://api.test/").await;
        assert_eq!((response.status, response.text().as_str()), (401, "you may not"));
    }

    assert!(issuer.count() <= 3, "{} fetches for 20 requests", issuer.count());
    assert!(resource.count() <= 23, "{} requests for 20", resource.count());
}

#[tokio::test]
async fn a_body_that_is_not_kept_is_not_repeated() {
    let (revoked, issuer, files) = (Revoked::default(), issuer(3600).await, Files::new());
    let resource = revoked.resource().await;
    let more = "    retry: { body_limit: 2B }\n";
    let proxy = Proxy::start(&oauth2(&resource, &issuer.addr().to_string(), &files, more));
    revoked.add("token-1");

    let response = proxy.call("POST", "http://api.test/", &["content-length: 4"], "body").await;

    assert_eq!((response.status, resource.count()), (401, 1));
}

#[tokio::test]
async fn a_file_that_was_replaced_counts_from_the_first_refusal() {
    let (revoked, files) = (Revoked::default(), Files::new());
    let resource = revoked.resource().await;
    let token = files.put("token", "old");
    let proxy = Proxy::start(&format!(
        "routes: [{{ name: api, match: api.test, to: \"http://{}\", auth: {{ bearer: {{ file: {} }} }} }}]\n",
        resource.addr(),
        token.display()
    ));
    assert_eq!(proxy.get("http://api.test/").await.text(), "Bearer old");

    revoked.add("old");
    files.put("token", "new");

    assert_eq!(proxy.get("http://api.test/").await.text(), "Bearer new");
}

/// A program that prints `run-<n>` the nth time.
#[cfg(unix)]
fn counting(files: &Files, print: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let runs = files.0.path().join("runs").display().to_string();
    let program = files.put("program", &format!("#!/bin/sh\necho x >> {runs}\nn=$(wc -l < {runs})\n{print}\n"));
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).expect("its mode");
    program
}

#[cfg(unix)]
#[tokio::test]
async fn a_program_prints_the_token_and_is_run_again_when_it_is_refused() {
    for print in ["echo run-$n", "printf '{\"token\": \"run-%s\", \"expires_in\": 3600}' $n"] {
        let (revoked, files) = (Revoked::default(), Files::new());
        let resource = revoked.resource().await;
        let program = counting(&files, print);
        let proxy = Proxy::start(&format!(
            "routes: [{{ name: api, match: api.test, to: \"http://{}\", auth: {{ bearer: {{ exec: [{}] }} }} }}]\n",
            resource.addr(),
            program.display()
        ));
        assert_eq!(proxy.get("http://api.test/").await.text(), "Bearer run-1");

        revoked.add("run-1");

        assert_eq!(proxy.get("http://api.test/").await.text(), "Bearer run-2");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_program_that_fails_is_named_and_what_it_says_stays_here() {
    let (resource, files) = (Revoked::default().resource().await, Files::new());
    let program = counting(&files, "echo the-secret-is-hunter2hunter2 >&2; exit 7");
    let proxy = Proxy::start(&format!(
        "routes: [{{ name: api, match: api.test, to: \"http://{}\", auth: {{ bearer: {{ exec: [{}, hunter2] }} }} }}]\n",
        resource.addr(),
        program.display()
    ));

    let response = proxy.get("http://api.test/").await;

    assert_eq!((response.status, response.reason().as_str()), (502, "credential"));
    assert!(response.text().contains("exit status: 7"), "{}", response.text());
    assert!(!response.text().contains("hunter2"), "{}", response.text());
    assert_eq!(resource.connections(), 0);
}

/// Tokens that live a second, and a resource that counts those it got too late.
#[tokio::test]
async fn tokens_that_live_a_second_never_arrive_late() {
    let (files, born) = (Files::new(), Arc::new(Mutex::new(Vec::new())));
    let issuing = Arc::clone(&born);
    let issuer = Upstream::http(move |seen| {
        let mut born = issuing.lock().expect("not poisoned");
        born.push(exchange::clock::now());
        Reply::ok(format!(r#"{{"access_token": "{}", "token_type": "bearer", "expires_in": 1}}"#, seen.index))
    })
    .await;
    let late = Arc::new(AtomicUsize::new(0));
    let (checking, counting) = (Arc::clone(&born), Arc::clone(&late));
    let resource = Upstream::http(move |seen| {
        let token = seen.header("authorization").and_then(|value| value.strip_prefix("Bearer ")?.parse().ok());
        let born = token.map(|token: usize| checking.lock().expect("not poisoned")[token]);
        match born.is_some_and(|born| exchange::clock::now().since(born) < Duration::from_secs(1)) {
            true => Reply::ok("fine"),
            false => {
                counting.fetch_add(1, Relaxed);
                Reply::status(401)
            }
        }
    })
    .await;
    let proxy = Proxy::start(&oauth2(&resource, &issuer.addr().to_string(), &files, ""));
    let begun = exchange::clock::now();
    let mut client = proxy.client().await;

    let mut asked = 0;
    while exchange::clock::now().since(begun) < Duration::from_secs(4) {
        assert_eq!(client.get("http://api.test/").await.status, 200, "after {asked}");
        asked += 1;
    }

    assert_eq!(late.load(Relaxed), 0, "of {asked}");
    assert!((5..=9).contains(&issuer.count()), "{} fetches in four seconds", issuer.count());
}

#[tokio::test]
async fn nothing_that_can_be_asked_or_read_has_the_secret_or_the_token() {
    let (resource, issuer, files) = (Revoked::default().resource().await, issuer(3600).await, Files::new());
    let proxy = Proxy::start(&oauth2(&resource, &issuer.addr().to_string(), &files, ""));
    assert_eq!(proxy.get("http://api.test/").await.status, 200);

    let mut shown = proxy.log();
    for path in ["/metrics", "/api/v1/config", "/api/v1/status", "/api/v1/routes", "/api/v1/upstreams"] {
        shown.push_str(&proxy.admin(path).await.text());
    }

    assert!(shown.contains("api.test"), "{shown}");
    for secret in [SECRET, "token-1", "aWQ6cGxhbnRlZC1jbGllbnQtc2VjcmV0"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn check_online_fetches_each_credential_once_and_shows_none() {
    let (issuer, files, resource) = (issuer(60).await, Files::new(), Upstream::fixed("").await);
    files.put("systemd", "from-systemd");
    let systemd = format!(
        "  - {{ match: b.test, to: \"http://{}\", auth: {{ bearer: {{ credential: systemd }} }} }}\n",
        resource.addr()
    );
    let yaml = oauth2(&resource, &issuer.addr().to_string(), &files, "");
    let file = files.put("attache.yaml", &format!("{yaml}{systemd}"));

    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_attache"))
        .args(["check", "--online"])
        .arg(&file)
        .env("CREDENTIALS_DIRECTORY", files.0.path())
        .output()
        .await
        .expect("it runs");

    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("/token: good for 60s"), "{text}");
    assert!(text.contains("credential from systemd credential systemd: read"), "{text}");
    assert!(!text.contains("token-1") && !text.contains("from-systemd") && !text.contains(SECRET), "{text}");
    assert_eq!(issuer.count(), 1);
}

#[cfg(unix)]
#[tokio::test]
async fn requests_are_signed_for_aws_with_keys_from_a_program() {
    let (files, service) = (Files::new(), Upstream::fixed("fine").await);
    let keys =
        r#"{"Version": 1, "AccessKeyId": "AKIDEXAMPLE", "SecretAccessKey": "planted-key", "SessionToken": "tok"}"#;
    let program = counting(&files, &format!("echo '{keys}'"));
    let sigv4 =
        format!("sigv4: {{ region: eu-central-1, service: sqs, credentials: {{ exec: [{}] }} }}", program.display());
    let proxy = Proxy::start(&format!(
        "routes: [{{ name: api, match: api.test, to: \"http://{}\", auth: {{ {sigv4} }} }}]\n",
        service.addr()
    ));
    let own = ["authorization: AWS4-HMAC-SHA256 Credential=dummy", "x-amz-security-token: old", "content-length: 4"];

    assert_eq!(proxy.call("POST", "http://api.test/queue?b=2&a=1", &own, "body").await.status, 200);
    assert_eq!(proxy.get("http://api.test/").await.status, 200);

    let seen = service.requests();
    let authorization = seen[0].header("authorization").expect("a signature");
    let day = &seen[0].header("x-amz-date").expect("a date")[..8];
    let begins =
        format!("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{day}/eu-central-1/sqs/aws4_request, SignedHeaders=host;");
    assert!(authorization.starts_with(&begins), "{authorization}");
    assert_eq!(seen[0].headers("x-amz-security-token"), ["tok"]);
    assert_eq!((seen[0].target.as_str(), seen[0].body.as_slice()), ("/queue?b=2&a=1", b"body".as_slice()));
    assert_ne!(seen[0].header("authorization"), seen[1].header("authorization"));
    let shown = proxy.log() + &proxy.admin("/api/v1/config").await.text() + &proxy.admin("/metrics").await.text();
    assert!(!shown.contains("planted-key") && shown.contains("api.test"), "{shown}");
    assert_eq!(std::fs::read_to_string(files.0.path().join("runs")).expect("it ran"), "x\n", "once for all");
}

#[tokio::test]
async fn a_body_too_large_to_be_signed_is_refused() {
    let (files, service) = (Files::new(), Upstream::fixed("").await);
    let key = files.put("key", "k");
    let sigv4 = format!(
        "sigv4: {{ region: r, service: sqs, access_key_id: AKID, secret_access_key: {{ file: {} }}, body_limit: 2B }}",
        key.display()
    );
    let proxy = Proxy::start(&format!(
        "routes: [{{ name: api, match: api.test, to: \"http://{}\", auth: {{ {sigv4} }} }}]\n",
        service.addr()
    ));

    let refused = proxy.call("POST", "http://api.test/", &["content-length: 4"], "body").await;

    assert_eq!((refused.status, refused.reason().as_str()), (413, "too_large"));
    assert!(refused.text().contains("body_limit"), "{}", refused.text());
    assert_eq!(service.count(), 0);
    assert_eq!(proxy.call("POST", "http://api.test/", &["content-length: 2"], "ok").await.status, 200);
}

#[tokio::test]
async fn the_secret_stands_in_for_the_word_at_its_own_host_only() {
    let (files, api, other) = (Files::new(), Upstream::fixed("").await, Upstream::fixed("").await);
    let token = files.put("token", "s3cret\n");
    let proxy = Proxy::start(&format!(
        "routes:
  - match: api.test
    to: \"http://{}\"
    auth: {{ bearer: {{ file: {} }}, placeholder: ATTACHE_API_TOKEN }}
  - match: other.test
    to: \"http://{}\"
",
        api.addr(),
        token.display(),
        other.addr()
    ));
    // base64 of `ali:ATTACHE_API_TOKEN`
    let forms = ["authorization: Bearer ATTACHE_API_TOKEN", "authorization: Basic YWxpOkFUVEFDSEVfQVBJX1RPS0VO"];

    for form in forms {
        assert_eq!(proxy.call("GET", "http://api.test/", &[form], "").await.status, 200);
        for elsewhere in ["http://other.test/".to_owned(), other.url("/"), api.url("/by-address")] {
            let refused = proxy.call("GET", &elsewhere, &[form], "").await;
            assert_eq!((refused.status, refused.reason().as_str()), (403, "forbidden"), "{elsewhere}");
        }
        let mut client = proxy.client().await;
        client.send(format!("GET {} HTTP/1.1\r\nHost: api.test\r\n{form}\r\n\r\n", other.url("/"))).await;
        assert_eq!(client.response("GET").await.status, 403, "an inner Host is no target");
    }
    assert_eq!(proxy.get("http://api.test/").await.status, 200);
    assert_eq!(proxy.call("GET", "http://other.test/", &["authorization: Bearer mine"], "").await.status, 200);

    assert_eq!(tokens(&api), ["Bearer s3cret", "Basic YWxpOnMzY3JldA==", ""]);
    assert_eq!(tokens(&other), ["Bearer mine"]);
}

#[tokio::test]
async fn a_token_of_our_own_is_signed_once_and_again_when_it_is_refused() {
    let (revoked, files) = (Revoked::default(), Files::new());
    let resource = revoked.resource().await;
    let key = files.put("key", "a shared secret of thirty-two bytes");
    let proxy = Proxy::start(&format!(
        "routes: [{{ name: api, match: api.test, to: \"http://{}\",
          auth: {{ jwt: {{ key: {{ file: {} }}, algorithm: HS256, issuer: attache }} }} }}]\n",
        resource.addr(),
        key.display()
    ));
    let first = proxy.get("http://api.test/").await.text();
    assert_eq!(proxy.get("http://api.test/").await.text(), first);
    assert_eq!(first.split('.').count(), 3, "{first}");

    revoked.add(first.strip_prefix("Bearer ").expect("a bearer token"));
    files.put("key", "another secret of thirty-two bytes!");
    let second = proxy.call("POST", "http://api.test/", &["content-length: 2"], "ok").await;

    assert_eq!(second.status, 200);
    assert_ne!(second.text(), first);
}

/// A server for `api.test` that asks for a client's certificate by the same authority.
fn asking(certs: &Certs) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    let ca = std::fs::read(certs.ca()).expect("the authority");
    roots.add(CertificateDer::from_pem_slice(&ca).expect("a certificate")).expect("a root");
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
    let pair = certs.pair(&["api.test"], 2050);
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
    let config = config.with_client_cert_verifier(verifier.expect("a verifier")).with_single_cert(vec![pair.der], key);
    Arc::new(config.expect("a pair"))
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_followed_as_it_changes() {
    let (certs, strangers, files) = (Certs::default(), Certs::default(), Files::new());
    let upstream = Upstream::tls(asking(&certs), |_| Reply::ok("welcome")).await;
    let (stranger, friend) = (strangers.pair(&["client"], 2050), certs.pair(&["client"], 2040));
    let (cert, key) = (files.put("cert", &stranger.cert), files.put("key", &stranger.key));
    let proxy = Proxy::start(&format!(
        "resolve: {{ api.test: \"{}\" }}
routes:
  - match: api.test
    to: https://api.test
    retry: false
    auth: {{ mtls: {{ cert: {}, key: {} }} }}
    tls: {{ ca: {} }}
",
        upstream.addr(),
        cert.display(),
        key.display(),
        certs.ca()
    ));
    assert_eq!(proxy.get("http://api.test/").await.status, 502, "nobody there trusts its signer");

    files.put("cert", &friend.cert);
    files.put("key", &friend.key);
    let proxied = &proxy;
    eventually(
        "the new certificate",
        || async move { (proxied.get("http://api.test/").await.status == 200).then_some(()) },
    )
    .await;

    // Both at once or not at all: half a pair is not used.
    let connections = upstream.connections();
    files.put("key", &stranger.key);
    eventually("the refusal", || async move {
        let ok = proxied.metrics().await.sum("attache_tls_certificate_last_reload_successful", &[]);
        (ok == 0.0).then_some(())
    })
    .await;
    assert_eq!(proxy.get("http://api.test/").await.status, 200);
    assert_eq!(upstream.connections(), connections, "the old pair goes on, and its connection");

    let other = certs.pair(&["client"], 2041);
    files.put("cert", &other.cert);
    files.put("key", &other.key);
    eventually("a connection with the third", || async {
        assert_eq!(proxied.get("http://api.test/").await.status, 200);
        (upstream.connections() > connections).then_some(())
    })
    .await;
    let expiry = proxy.metrics().await.sum("attache_tls_certificate_expiry_timestamp_seconds", &[]);
    assert_eq!(expiry, 2_240_611_200.0, "the first of January 2041");
}
