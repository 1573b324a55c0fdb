//! Tokens that are not good, after the classes of the Wycheproof vectors for JWS and JWT and of RFC 8725: each is refused
//! at both doors, none reaches the upstream, and nothing of any is written anywhere.

use serde_json::{Value, json};
use testkit::issuer::{self, SigningKey, b64};
use testkit::{Proxy, Upstream};

use crate::{File, claims, config, corp, forward, now, reverse};

struct Issuer {
    rsa: SigningKey,
    pss: SigningKey,
    p256: SigningKey,
    p384: SigningKey,
    ed: SigningKey,
}

impl Issuer {
    fn new() -> Self {
        Self {
            rsa: SigningKey::rsa("rsa"),
            pss: SigningKey::rsa("pss"),
            p256: SigningKey::p256("p256"),
            p384: SigningKey::p384("p384"),
            ed: SigningKey::ed25519("ed"),
        }
    }

    /// Its set, with one key for one algorithm, one for encryption, and a secret that was published by mistake.
    fn set(&self, secret: &[u8]) -> String {
        let mut pss = self.pss.jwk();
        pss["alg"] = "PS256".into();
        let mut enc = self.rsa.jwk();
        (enc["kid"], enc["use"]) = ("enc".into(), "enc".into());
        let oct = json!({ "kty": "oct", "kid": "oct", "k": b64(secret) });
        let keys = [self.rsa.jwk(), pss, self.p256.jwk(), self.p384.jwk(), self.ed.jwk(), enc, oct];
        json!({ "keys": keys }).to_string()
    }
}

fn header(alg: &str, kid: &str) -> Value {
    json!({ "alg": alg, "kid": kid })
}

fn with(mut value: Value, name: &str, member: Value) -> Value {
    value[name] = member;
    value
}

fn without(mut value: Value, name: &str) -> Value {
    value.as_object_mut().expect("an object").remove(name);
    value
}

/// Each by what is wrong with it.
fn bad(issuer: &Issuer, secret: &[u8]) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    let mut add = |what: &str, token: String| all.push((what.to_owned(), token));
    let Issuer { rsa, pss, p256, p384, ed } = issuer;
    let good = claims().to_string();
    let rs256 = |claims: &str| rsa.sign("RS256", &header("RS256", "rsa").to_string(), claims);
    let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();

    // No signature, or one by nothing.
    for alg in ["none", "None", "nOnE", "NONE", "", "HS1", "RS1", "ES512", "ES256K"] {
        add(
            &format!("alg {alg:?}, no signature"),
            format!("{}.", issuer::message(&header(alg, "rsa").to_string(), &good)),
        );
        add(&format!("alg {alg:?}, a signature"), rsa.sign("RS256", &header(alg, "rsa").to_string(), &good));
    }
    add("no alg", rsa.sign("RS256", r#"{"kid":"rsa"}"#, &good));
    for alg in [json!(null), json!(1), json!(["RS256"]), json!({}), json!("rs256"), json!("RS256 ")] {
        add(&format!("alg {alg}"), rsa.sign("RS256", &with(header("", "rsa"), "alg", alg).to_string(), &good));
    }
    let [head, payload, signature] = parts(&rs256(&good)).try_into().expect("three");
    add("empty signature", format!("{head}.{payload}."));
    add("signature left out", format!("{head}.{payload}"));
    add("signature of another token", format!("{head}.{payload}.{}", parts(&rs256("{}"))[2]));
    add("claims of another token", {
        let admin = with(claims(), "sub", json!("root")).to_string();
        format!("{head}.{}.{signature}", b64(admin.as_bytes()))
    });

    // A key taken for another kind.
    for key in [rsa, p256, ed] {
        let header = header("HS256", &key.kid).to_string();
        add(&format!("HS256 by the public key {}", key.kid), issuer::hs256(&key.public_der(), &header, &good));
        add(&format!("HS256 by the JWK {}", key.kid), issuer::hs256(key.jwk().to_string().as_bytes(), &header, &good));
    }
    add("HS256 by no key", issuer::hs256(b"", &header("HS256", "rsa").to_string(), &good));
    add("HS256 that is not listed", issuer::hs256(secret, &header("HS256", "oct").to_string(), &good));
    add("RS256 said to be PS256", rsa.sign("RS256", &header("PS256", "rsa").to_string(), &good));
    add("PS256 said to be RS256", rsa.sign("PS256", &header("RS256", "rsa").to_string(), &good));
    add("RS256 said to be RS512", rsa.sign("RS256", &header("RS512", "rsa").to_string(), &good));
    add("RS256 by a key for PS256", pss.sign("RS256", &header("RS256", "pss").to_string(), &good));
    add("PS512 by a key for PS256", pss.sign("PS512", &header("PS512", "pss").to_string(), &good));
    add("ES256 said to be by RSA", p256.sign("ES256", &header("ES256", "rsa").to_string(), &good));
    add("RS256 said to be by P-256", rsa.sign("RS256", &header("RS256", "p256").to_string(), &good));
    add("ES384 by the key of ES256", p384.sign("ES384", &header("ES384", "p256").to_string(), &good));
    add("ES256 by the key of ES384", p256.sign("ES256", &header("ES256", "p384").to_string(), &good));
    add("EdDSA by P-256", ed.sign("EdDSA", &header("EdDSA", "p256").to_string(), &good));
    add("by a key for encryption", rsa.sign("RS256", &header("RS256", "enc").to_string(), &good));
    add("by somebody else's key", SigningKey::rsa("rsa").token("RS256", &claims()));
    add("without kid, by somebody else's", SigningKey::p384("x").sign("ES384", r#"{"alg":"ES384"}"#, &good));

    // The name of a key is not a place, a command or a question.
    for kid in [
        "../../dev/null",
        "/dev/null",
        "rsa' OR '1'='1",
        "rsa; --",
        "|| id",
        "RSA",
        "rsa ",
        " rsa",
        "",
        "\u{0}",
        "rsa\u{0}",
        "https://evil.test/keys",
        &"k".repeat(8000),
    ] {
        let shown: String = kid.chars().take(20).collect();
        add(&format!("kid {shown:?}"), rsa.sign("RS256", &header("RS256", kid).to_string(), &good));
        add(&format!("kid {shown:?}, HS256 by nothing"), issuer::hs256(b"", &header("HS256", kid).to_string(), &good));
    }
    for kid in [json!(1), json!(null), json!(["rsa"]), json!({ "kid": "rsa" })] {
        add(&format!("kid {kid}"), rsa.sign("RS256", &with(header("RS256", ""), "kid", kid).to_string(), &good));
    }
    let other = SigningKey::rsa("own");
    for (name, value) in [
        ("jwk", other.jwk()),
        ("jku", json!("http://127.0.0.1:1/keys")),
        ("x5u", json!("http://127.0.0.1:1/cert")),
        ("x5c", json!([b64(&other.public_der())])),
    ] {
        let header = with(header("RS256", "own"), name, value);
        add(&format!("its own key by {name}"), other.sign("RS256", &header.to_string(), &good));
    }

    // Extensions, and other things than a caller's token.
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("crit", json!(["b64"])),
        ("b64", json!(false)),
        ("b64", json!(true)),
        ("zip", json!("DEF")),
        ("enc", json!("A128GCM")),
        ("cty", json!("JWT")),
        ("typ", json!("logout+jwt")),
        ("typ", json!("dpop+jwt")),
        ("typ", json!(1)),
    ] {
        let header = with(header("RS256", "rsa"), name, value.clone());
        add(&format!("{name}: {value}"), rsa.sign("RS256", &header.to_string(), &good));
    }
    add("encrypted", format!("{}.a.b.c.d", b64(br#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#)));
    add("four parts", format!("{head}.{payload}.{signature}.{signature}"));
    add("six parts", "a.b.c.d.e.f".into());
    add("nested", rs256(&format!("\"{head}.{payload}.{signature}\"")));
    add(
        "flattened JSON",
        json!({ "protected": head, "payload": payload, "signature": signature }).to_string().replace(' ', ""),
    );

    // Encodings.
    let cut = |text: &str, by: usize| text[..text.len() - by].to_owned();
    for (what, token) in [
        ("padding on the header", format!("{head}=.{payload}.{signature}")),
        ("padding on the claims", format!("{head}.{payload}==.{signature}")),
        ("padding on the signature", format!("{head}.{payload}.{signature}==")),
        ("garbage behind", format!("{head}.{payload}.{signature}!")),
        ("a letter behind", format!("{head}.{payload}.{signature}A")),
        ("a dot behind", format!("{head}.{payload}.{signature}.")),
        ("a dot before", format!(".{head}.{payload}.{signature}")),
        ("signature cut", format!("{head}.{payload}.{}", cut(&signature, 4))),
        ("header cut", format!("{}.{payload}.{signature}", cut(&head, 1))),
        ("no header", format!(".{payload}.{signature}")),
        ("no claims", format!("{head}..{signature}")),
        ("dots alone", "..".into()),
        ("no dots", "token".into()),
    ] {
        add(what, token);
    }
    let standard = signature.replace('-', "+").replace('_', "/");
    if standard != signature {
        add("the other alphabet", format!("{head}.{payload}.{standard}"));
    }
    add("bits left over in the signature", {
        // 256 bytes leave four bits of the last letter unused: they must be zero.
        let last = signature.chars().last().expect("a letter");
        let next = char::from(if last == 'z' { b'y' } else { last as u8 + 1 });
        format!("{head}.{payload}.{}{next}", cut(&signature, 1))
    });
    add("an array for a header", rsa.sign("RS256", "[]", &good));
    add("text behind the header", rsa.sign("RS256", &format!("{}x", header("RS256", "rsa")), &good));
    add("an array of claims", rs256("[]"));
    add("no JSON", rs256("claims"));
    add("text behind the claims", rs256(&format!("{good}{{}}")));
    add("claims in UTF-16", {
        let bytes: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let message = format!("{head}.{}", b64(&bytes));
        format!("{message}.{}", b64(&rsa.signature("RS256", message.as_bytes())))
    });
    for (what, claims) in [
        ("sub twice", good.replacen('{', r#"{"sub":"root","#, 1)),
        ("exp twice", good.replacen('{', r#"{"exp":9999999999,"#, 1)),
        ("a name twice, escaped", good.replacen('{', r#"{"s\u0075b":"root","#, 1)),
        ("a name twice, below", good.replacen('{', r#"{"x":{"y":1,"y":2},"#, 1)),
    ] {
        add(what, rs256(&claims));
    }
    add("alg twice", rsa.sign("RS256", r#"{"alg":"none","alg":"RS256","kid":"rsa"}"#, &good));
    add("kid twice", rsa.sign("RS256", r#"{"alg":"RS256","kid":"x","kid":"rsa"}"#, &good));

    // Signatures of elliptic curves.
    let message = issuer::message(&header("ES256", "p256").to_string(), &good);
    let raw = p256.signature("ES256", message.as_bytes());
    let zero = [0; 32];
    for (what, signature) in [
        ("DER", p256.signature("DER", message.as_bytes())),
        ("r = 0", [&zero[..], &raw[32..]].concat()),
        ("s = 0", [&raw[..32], &zero[..]].concat()),
        ("r = s = 0", vec![0; 64]),
        ("all ones", vec![0xff; 64]),
        ("a byte short", raw[..63].to_vec()),
        ("a byte long", [&raw[..], &[0]].concat()),
        ("r and s exchanged", [&raw[32..], &raw[..32]].concat()),
        ("padded to the next curve", [&[0; 16][..], &raw[..32], &[0; 16], &raw[32..]].concat()),
    ] {
        add(&format!("ES256, {what}"), format!("{message}.{}", b64(&signature)));
    }
    let message = issuer::message(&header("EdDSA", "ed").to_string(), &good);
    let mut small = vec![0; 64];
    small[0] = 1;
    for (what, signature) in [("nothing", vec![0; 64]), ("a point of small order", small), ("too short", vec![1; 63])] {
        add(&format!("EdDSA, {what}"), format!("{message}.{}", b64(&signature)));
    }

    // What it says.
    let now = now();
    for (name, value) in [
        ("exp", json!(now - 31)),
        ("exp", json!(now.to_string())),
        ("exp", json!(-1)),
        ("exp", json!(1e300)),
        ("exp", json!(0)),
        ("exp", json!(u64::MAX)),
        ("exp", json!(now as f64 + 600.5)),
        ("exp", json!(null)),
        ("exp", json!([now + 600])),
        ("exp", json!(true)),
        ("nbf", json!(now + 60)),
        ("nbf", json!("0")),
        ("nbf", json!(-1)),
        ("nbf", json!(1e300)),
        ("nbf", json!(u64::MAX)),
        ("iat", json!(now + 60)),
        ("iat", json!("x")),
        ("iat", json!(-1)),
        ("iat", json!(0.5)),
        ("aud", json!("other")),
        ("aud", json!("API")),
        ("aud", json!("api ")),
        ("aud", json!([])),
        ("aud", json!(["other"])),
        ("aud", json!(["api", 1])),
        ("aud", json!(1)),
        ("aud", json!(null)),
        ("iss", json!("https://issuer.test/")),
        ("iss", json!("https://evil.test")),
        ("iss", json!("")),
        ("iss", json!(null)),
        ("iss", json!(["https://issuer.test"])),
        ("sub", json!(1)),
    ] {
        add(&format!("{name}: {value}"), rs256(&with(claims(), name, value.clone()).to_string()));
    }
    for name in ["exp", "aud", "iss"] {
        add(&format!("no {name}"), rs256(&without(claims(), name).to_string()));
    }
    add("exp out of range", rs256(&good.replacen('{', r#"{"x":1e999,"#, 1)));

    // Size: exactly one byte more than there may be.
    let length = |fill: usize| rs256(&with(claims(), "fill", json!("x".repeat(fill))).to_string());
    let fill = (1..16 * 1024).rev().find(|fill| length_of(*fill, &head, &signature) == 16 * 1024 + 1);
    add("a byte too long", fill.map(length).unwrap_or_else(|| length(12_300)));
    all
}

/// How long a token with so much fill is, without signing it.
fn length_of(fill: usize, head: &str, signature: &str) -> usize {
    let claims = with(claims(), "fill", json!("x".repeat(fill))).to_string();
    head.len() + signature.len() + 2 + (claims.len() * 8).div_ceil(6)
}

#[tokio::test]
async fn tokens_that_are_not_good_are_refused_at_every_door_and_written_nowhere() {
    let upstream = Upstream::fixed("good").await;
    let issuer = Issuer::new();
    let secret = b"published by mistake, all the same a secret";
    let keys = File::new(&issuer.set(secret));
    let proxy = Proxy::start(&config(&upstream, &[&corp(&keys, "")], "corp"));
    let all = bad(&issuer, secret);
    assert!(all.len() > 150, "{}", all.len());

    for (what, token) in &all {
        let shown = format!("Bearer {token}");
        let proxied = forward(&proxy, &shown).await;
        assert_eq!((proxied.status, proxied.reason().as_str()), (407, "unauthenticated"), "{what}: {proxied:?}");
        assert_eq!(
            proxied.headers("proxy-authenticate"),
            [r#"Bearer realm="attache", error="invalid_token""#],
            "{what}"
        );
        let origin = reverse(&proxy, &format!("Authorization: {shown}")).await;
        assert_eq!((origin.status, origin.reason().as_str()), (401, "unauthenticated"), "{what}: {origin:?}");
        assert_eq!(origin.headers("www-authenticate"), [r#"Bearer realm="attache", error="invalid_token""#], "{what}");
        let connect = proxy
            .call("CONNECT", "api.test:80", &["Host: api.test:80", &format!("Proxy-Authorization: {shown}")], "")
            .await;
        assert_eq!(connect.status, 407, "{what}: {connect:?}");
        for answer in [proxied, origin, connect] {
            assert!(token.len() < 40 || !answer.text().contains(&token[..40]), "{what}: {answer:?}");
        }
    }

    assert_eq!(upstream.count(), 0, "none reached it");
    let written = [
        proxy.log(),
        proxy.admin("/metrics").await.text(),
        proxy.admin("/api/v1/status").await.text(),
        proxy.admin("/api/v1/config").await.text(),
        proxy.admin("/readyz?verbose").await.text(),
    ];
    for (what, token) in all.iter().filter(|(_, token)| token.len() > 40) {
        assert!(written.iter().all(|text| !text.contains(&token[..40])), "{what}");
    }
}

#[tokio::test]
async fn every_algorithm_that_is_listed_is_accepted_by_its_key_and_its_token_goes_no_further() {
    let upstream = Upstream::fixed("good").await;
    let issuer = Issuer::new();
    let secret = b"published by mistake, all the same a secret";
    let keys = File::new(&issuer.set(secret));
    let proxy = Proxy::start(&config(&upstream, &[&corp(&keys, "")], "corp"));
    let Issuer { rsa, pss, p256, p384, ed } = &issuer;
    let mut tokens = Vec::new();
    for alg in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] {
        tokens.push((alg, rsa.token(alg, &claims())));
    }
    for (alg, key) in [("PS256", pss), ("ES256", p256), ("ES384", p384), ("EdDSA", ed)] {
        tokens.push((alg, key.token(alg, &claims())));
    }
    tokens
        .push(("the only key of its kind, not named", p384.sign("ES384", r#"{"alg":"ES384"}"#, &claims().to_string())));
    let many = with(claims(), "aud", json!(["other", "api"]));
    tokens.push((
        "several audiences, a type",
        ed.sign("EdDSA", r#"{"alg":"EdDSA","kid":"ed","typ":"at+jwt"}"#, &many.to_string()),
    ));
    tokens.push(("just expired", ed.token("EdDSA", &with(claims(), "exp", json!(now() - 20)))));

    for (what, token) in &tokens {
        for _ in 0..2 {
            assert_eq!(forward(&proxy, &format!("bearer {token}")).await.status, 200, "{what}");
            assert_eq!(reverse(&proxy, &format!("Authorization: Bearer {token}")).await.status, 200, "{what}");
        }
        assert_eq!(forward(&proxy, token).await.status, 407, "{what}: known, but not by itself");
        assert_eq!(reverse(&proxy, &format!("Authorization: {token}")).await.status, 401, "{what}");
    }

    let seen = upstream.requests();
    assert_eq!(seen.len(), tokens.len() * 4);
    assert!(
        seen.iter().all(|one| one.header("authorization").is_none() && one.header("proxy-authorization").is_none())
    );
}

#[tokio::test]
async fn a_secret_signs_only_where_it_is_configured_and_listed() {
    let upstream = Upstream::fixed("good").await;
    let secret = "0123456789abcdef0123456789abcdef";
    let file = File::new(&format!("{secret}\n"));
    let identity = format!(
        "{{ name: partner, jwt: {{ issuer: 'https://issuer.test', audience: api, secret: {{ file: {} }}, algorithms: HS256 }} }}",
        file.path().display()
    );
    let proxy = Proxy::start(&config(&upstream, &[&identity], "partner"));
    let token = |alg: &str, secret: &str| {
        issuer::hs256(secret.as_bytes(), &header(alg, "any").to_string(), &claims().to_string())
    };

    assert_eq!(forward(&proxy, &format!("Bearer {}", token("HS256", secret))).await.status, 200);
    for bad in [token("HS256", "0123456789abcdef0123456789abcdeF"), token("HS512", secret), token("none", secret)] {
        assert_eq!(forward(&proxy, &format!("Bearer {bad}")).await.status, 407);
    }
    assert_eq!(upstream.count(), 1);
}
