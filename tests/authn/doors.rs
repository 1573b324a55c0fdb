//! Where a credential is shown, and what becomes of it there.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use testkit::issuer::{self, SigningKey, basic};
use testkit::{Client, Proxy, Upstream};

use crate::{File, claims, config, corp, forward, reverse};

/// The SHA-256 of `key`.
const KEY: &str = "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683";
const MACHINES: &str = "{ name: machines, keys: [{ name: build, sha256: 2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683 }] }";

#[tokio::test]
async fn an_api_key_is_shown_in_its_header_or_to_a_proxy_as_bearer_or_password() {
    let upstream = Upstream::fixed("good").await;
    let proxy = Proxy::start(&config(&upstream, &[MACHINES], "machines"));
    assert_eq!(KEY.len(), 64);

    for shown in ["Bearer key".to_owned(), basic("build", "key"), basic("x", "key")] {
        assert_eq!(forward(&proxy, &shown).await.status, 200, "{shown}");
    }
    assert_eq!(reverse(&proxy, "X-Api-Key: key").await.status, 200);
    assert!(upstream.requests().iter().all(|seen| seen.header("x-api-key").is_none()));

    for shown in
        ["Bearer kez".to_owned(), basic("key", ""), "Digest key".to_owned(), "key".to_owned(), format!("Bearer {KEY}")]
    {
        let refused = forward(&proxy, &shown).await;
        assert_eq!((refused.status, refused.reason().as_str()), (407, "unauthenticated"), "{shown}");
    }
    for field in ["X-Api-Key: kez", "X-Api-Key:", "Authorization: Bearer key", "X-Api-Key: key\r\nX-Api-Key: key"] {
        assert_eq!(reverse(&proxy, field).await.status, 401, "{field}");
    }
    assert_eq!(upstream.count(), 4);
    let missing = proxy.get("http://api.test/").await;
    assert_eq!(
        (missing.status, missing.headers("proxy-authenticate")),
        (407, vec![r#"Basic realm="attache", charset="UTF-8""#])
    );
    let missing = reverse(&proxy, "X-Other: 1").await;
    assert_eq!(
        (missing.status, missing.headers("www-authenticate")),
        (401, vec![r#"ApiKey realm="attache", header="x-api-key""#])
    );
}

#[tokio::test]
async fn a_password_is_held_against_its_hash_at_both_doors() {
    let upstream = Upstream::fixed("good").await;
    let hash = bcrypt::hash("open sesame", 4).expect("a hash").replacen("$2b$", "$2y$", 1);
    let users = File::new(&format!("ali:{hash}\n"));
    let staff = format!("{{ name: staff, basic: {{ users: {} }} }}", users.path().display());
    let proxy = Proxy::start(&config(&upstream, &[&staff], "staff"));
    let good = basic("ali", "open sesame");

    for _ in 0..2 {
        assert_eq!(forward(&proxy, &good).await.status, 200);
        assert_eq!(reverse(&proxy, &format!("Authorization: {good}")).await.status, 200);
    }
    for (user, password) in [("ali", "open sesam"), ("baba", "open sesame"), ("", ""), ("ali", "")] {
        let refused = forward(&proxy, &basic(user, password)).await;
        assert_eq!(
            (refused.status, refused.headers("proxy-authenticate")),
            (407, vec![r#"Basic realm="attache", charset="UTF-8""#])
        );
    }

    assert_eq!(upstream.count(), 4);
    assert!(upstream.requests().iter().all(|seen| seen.header("authorization").is_none()));
}

#[tokio::test]
async fn what_authenticates_to_an_upstream_passes_where_it_was_not_shown_to_us() {
    let upstream = Upstream::fixed("good").await;
    let proxy = Proxy::start(&config(&upstream, &[MACHINES], "machines"));
    let own = "Authorization: Bearer for-the-upstream";

    let proxied = proxy.call("GET", "http://api.test/", &["Proxy-Authorization: Bearer key", own], "").await;
    let origin = proxy.call("GET", "/r/api/", &["Host: localhost", "X-Api-Key: key", own], "").await;

    assert_eq!((proxied.status, origin.status), (200, 200));
    assert!(upstream.requests().iter().all(|seen| seen.headers("authorization") == ["Bearer for-the-upstream"]));
}

#[tokio::test]
async fn a_route_that_does_not_ask_takes_nothing_off_and_one_that_may_forward_does() {
    let upstream = Upstream::fixed("good").await;
    let forwarding = MACHINES.replace("[{", "{ forward: true, list: [{").replace("}] }", "}] } }");
    let text = config(&upstream, &[&forwarding], "machines")
        + &format!("  - {{ name: open, match: open.test, to: 'http://{}' }}\n", upstream.addr());
    let proxy = Proxy::start(&text);

    let open = proxy.call("GET", "/r/open/", &["Host: localhost", "X-Api-Key: whatever", "Authorization: a"], "").await;
    let asked = reverse(&proxy, "X-Api-Key: key").await;

    assert_eq!((open.status, asked.status), (200, 200));
    let seen = upstream.requests();
    assert_eq!((seen[0].header("x-api-key"), seen[0].header("authorization")), (Some("whatever"), Some("a")));
    assert_eq!(seen[1].header("x-api-key"), Some("key"));
}

#[tokio::test]
async fn where_nothing_is_required_what_is_shown_must_be_good_all_the_same() {
    let upstream = Upstream::fixed("good").await;
    let proxy = Proxy::start(&config(&upstream, &[MACHINES], "{ by: machines, required: false }"));

    assert_eq!(proxy.get("http://api.test/").await.status, 200);
    assert_eq!(reverse(&proxy, "X-Other: 1").await.status, 200);
    assert_eq!(forward(&proxy, "Bearer key").await.status, 200);

    assert_eq!(forward(&proxy, "Bearer kez").await.status, 407);
    assert_eq!(reverse(&proxy, "X-Api-Key: kez").await.status, 401);
    assert_eq!(upstream.count(), 3);
}

#[tokio::test]
async fn the_first_identity_that_accepts_is_who_it_is() {
    let upstream = Upstream::fixed("good").await;
    let (own, other) = (SigningKey::ed25519("own"), SigningKey::ed25519("other"));
    let (keys, others) = (File::new(&issuer::set(&[&own])), File::new(&issuer::set(&[&other])));
    let partner = corp(&others, "").replace("name: corp", "name: partner").replace("issuer.test", "partner.test");
    let proxy = Proxy::start(&config(&upstream, &[&corp(&keys, ""), &partner, MACHINES], "[corp, partner, machines]"));
    let mut foreign = claims();
    foreign["iss"] = "https://partner.test".into();

    for token in [own.token("EdDSA", &claims()), other.token("EdDSA", &foreign), "key".into()] {
        assert_eq!(forward(&proxy, &format!("Bearer {token}")).await.status, 200, "{token}");
    }
    // Each issuer's keys are its own.
    for token in [own.token("EdDSA", &foreign), other.token("EdDSA", &claims())] {
        assert_eq!(forward(&proxy, &format!("Bearer {token}")).await.status, 407, "{token}");
    }
}

async fn connect(client: &mut Client, authority: &str, shown: &str) -> u16 {
    let field = format!("Proxy-Authorization: {shown}");
    client.call("CONNECT", authority, &[&format!("Host: {authority}"), &field], "").await.status
}

#[tokio::test]
async fn a_connect_is_asked_before_it_is_dialed_and_what_it_showed_holds_inside() {
    let upstream = Upstream::fixed("good").await;
    let text = config(&upstream, &[MACHINES], "machines") + "resolve: { api.test: 127.0.0.1, raw.test: 127.0.0.1 }\n";
    let proxy = Proxy::start(&text);
    let mut client = proxy.client().await;

    let refused = client.connect_to("api.test:80").await;

    assert_eq!((refused.status, refused.header("connection")), (407, Some("close")), "{refused:?}");
    assert!(client.rest().await.is_empty(), "what follows is not read as a request");
    assert_eq!(connect(&mut proxy.client().await, "api.test:80", "Bearer kez").await, 407);
    assert_eq!(connect(&mut proxy.client().await, "api.test:443", "Bearer kez").await, 407, "before it is dialed");

    let mut inside = proxy.client().await;
    assert_eq!(connect(&mut inside, "api.test:80", "Bearer key").await, 200);
    for _ in 0..2 {
        let answer = inside.call("GET", "/", &["Host: api.test"], "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let worse = inside.call("GET", "/", &["Host: api.test", "Proxy-Authorization: Bearer kez"], "").await;
    assert_eq!(worse.status, 407, "what is shown anew must be good");
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn a_tunnel_is_asked_for_by_whatever_may_serve_what_is_inside() {
    let upstream = Upstream::fixed("good").await;
    let to = format!("to: 'http://{}'", upstream.addr());
    let text = format!(
        "identities: [{MACHINES}]\ndefault: {{ authenticate: machines }}\nroutes:\n\
         - {{ name: open, match: open.test, {to} }}\n\
         - {{ name: part, match: {{ host: part.test, path: /open/ }}, {to} }}\n\
         - {{ name: asks, match: {{ host: mixed.test, path: /a/ }}, {to}, authenticate: machines }}\n\
         - {{ name: rest, match: mixed.test, {to} }}\n"
    );
    let proxy = Proxy::start(&text);

    for (host, expected) in [("open.test", 200), ("part.test", 407), ("mixed.test", 407), ("other.test", 407)] {
        let answer = proxy.client().await.connect_to(&format!("{host}:80")).await;
        assert_eq!(answer.status, expected, "{host}: {answer:?}");
        assert_eq!(connect(&mut proxy.client().await, &format!("{host}:80"), "Bearer key").await, 200, "{host}");
    }
}

#[tokio::test]
async fn a_tunnel_that_is_not_seen_needs_what_every_route_of_its_host_accepts() {
    let upstream = Upstream::fixed("good").await;
    let other = MACHINES.replace("machines", "others");
    let to = format!("to: 'http://{}'", upstream.addr());
    let text = format!(
        "identities: [{MACHINES}, {other}]\nresolve: {{ a.test: '{0}', b.test: '{0}' }}\nroutes:\n\
         - {{ name: one, match: {{ host: a.test, path: /one/ }}, {to}, authenticate: machines }}\n\
         - {{ name: two, match: a.test, {to}, authenticate: others }}\n\
         - {{ name: both, match: b.test, {to}, authenticate: [others, machines] }}\n",
        upstream.addr()
    );
    let proxy = Proxy::start(&text);

    // The key is known to both; the first that accepts it is who it is.
    assert_eq!(connect(&mut proxy.client().await, "a.test:443", "Bearer key").await, 407);
    assert_eq!(connect(&mut proxy.client().await, "a.test:80", "Bearer key").await, 200, "there each request is seen");
    assert_eq!(connect(&mut proxy.client().await, "b.test:443", "Bearer key").await, 200);
}

#[tokio::test]
async fn over_http_2_a_credential_is_shown_as_over_http_1() {
    let upstream = Upstream::fixed("good").await;
    let proxy = Proxy::start(&config(&upstream, &[MACHINES], "machines"));
    let mut h2 = proxy.h2().await;

    let request = |key: &str| {
        let request = Request::get("http://api.test/").header("x-api-key", key);
        request.body(Full::<Bytes>::default()).expect("a request")
    };
    let refused = h2.send(request("kez")).await;
    let good = h2.send(request("key")).await;

    assert_eq!((refused.status, good.status), (401, 200));
}
