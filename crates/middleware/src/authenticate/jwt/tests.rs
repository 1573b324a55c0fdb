use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;

/// A key of an issuer.
struct Signer {
    kid: &'static str,
    pair: Ed25519KeyPair,
}

impl Signer {
    fn new(kid: &'static str) -> Self {
        Self { kid, pair: Ed25519KeyPair::generate().expect("a key") }
    }

    fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref());
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": self.kid, "x": x })
    }

    fn token(&self, more: &[(&str, Value)]) -> String {
        let exp = clock::wall(clock::now()).as_secs() + 60;
        let mut claims = json!({ "iss": "i", "aud": "a", "sub": "ali", "exp": exp });
        more.iter().for_each(|(name, value)| claims[*name] = value.clone());
        let header = json!({ "alg": "EdDSA", "kid": self.kid });
        let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encoded(&header), encoded(&claims));
        let signature = self.pair.sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

fn set(signers: &[&Signer]) -> Keys {
    let keys: Vec<_> = signers.iter().map(|one| one.jwk()).collect();
    Keys::parse(json!({ "keys": keys }).to_string().as_bytes()).expect("a set")
}

fn jwt(asks: bool) -> Arc<Jwt> {
    let terms = Terms { issuer: "i".into(), audience: vec!["a".into()], leeway: 0, require: vec![], max_age: None };
    let params = Params { algorithms: vec![Algorithm::EdDSA], terms };
    Arc::new(Jwt::new("corp".into(), params, Arc::new(Keyring::new(asks))).expect("a verifier"))
}

fn verify(jwt: &Jwt, token: &str) -> Result<String, Refusal> {
    jwt.verify(token, clock::now()).map(|principal| principal.name.to_string())
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_ends_to_the_second_and_with_its_keys() {
    let (jwt, one, two) = (jwt(false), Signer::new("one"), Signer::new("two"));
    assert!(jwt.keyring.set(set(&[&one]), clock::now()));
    let (token, principal) = (one.token(&[]), jwt.verify(&one.token(&[]), clock::now()).expect("good"));
    assert!(jwt.remembered.get(&Asked(token.as_bytes())).is_some());
    assert!(Arc::ptr_eq(&principal, &jwt.verify(&token, clock::now()).expect("good")), "it was not verified again");

    assert!(!jwt.keyring.set(set(&[&one]), clock::now()), "the same keys are no news");
    assert!(Arc::ptr_eq(&principal, &jwt.verify(&token, clock::now()).expect("good")));
    jwt.keyring.set(set(&[&two, &one]), clock::now());
    assert_eq!(verify(&jwt, &token), Ok("ali".into()), "it is still one of the keys");
    jwt.keyring.set(set(&[&two]), clock::now());
    assert_eq!(verify(&jwt, &token), Err(Refusal::Key(3)));
    jwt.keyring.set(set(&[&one]), clock::now());
    assert_eq!(verify(&jwt, &token), Ok("ali".into()));

    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(verify(&jwt, &token), Err(Refusal::Token("the token has expired")));
    assert!(jwt.remembered.get(&Asked(token.as_bytes())).is_none());
}

#[test]
fn a_token_with_the_end_of_one_that_is_remembered_is_another_token() {
    let (jwt, one) = (jwt(false), Signer::new("one"));
    jwt.keyring.set(set(&[&one]), clock::now());
    let token = one.token(&[]);
    assert!(verify(&jwt, &token).is_ok());
    let (message, signature) = token.rsplit_once('.').expect("three parts");
    let other = one.token(&[("sub", "root".into())]);
    let forged = format!("{}.{signature}", other.rsplit_once('.').expect("three parts").0);

    assert_eq!(verify(&jwt, &forged), Err(Refusal::Token("the token's signature is not valid")));
    for near in [
        &token[1..],
        &format!("x{token}"),
        &format!("{}.{signature}", message.to_uppercase()),
        &token[token.len() - END..],
    ] {
        assert!(jwt.recall(near.as_bytes(), clock::now()).is_none(), "{near}");
    }
    assert!(jwt.recall(token.as_bytes(), clock::now()).is_some());
}

#[tokio::test]
async fn what_is_remembered_is_bounded_and_bad_tokens_take_no_place() {
    let (jwt, one, two) = (jwt(false), Signer::new("one"), Signer::new("one"));
    jwt.keyring.set(set(&[&one]), clock::now());
    let fill = json!("x".repeat(8 * 1024));
    for number in 0..900 {
        let token = one.token(&[("jti", number.into()), ("fill", fill.clone())]);
        assert!(verify(&jwt, &token).is_ok());
    }
    assert!(jwt.remembered.weight() <= REMEMBERED, "{}", jwt.remembered.weight());
    let places = jwt.remembered.len();

    assert_eq!(verify(&jwt, &two.token(&[])), Err(Refusal::Token("the token's signature is not valid")));
    assert_eq!(jwt.remembered.len(), places);
}

#[tokio::test(start_paused = true)]
async fn of_all_who_ask_for_a_key_one_refresh_comes_and_all_are_served() {
    let (jwt, old, new) = (jwt(true), Signer::new("old"), Signer::new("new"));
    jwt.keyring.set(set(&[&old]), clock::now());
    let until = clock::now() + Duration::from_secs(2);
    let asking: Vec<_> = (0..10_u32)
        .map(|number| {
            let (jwt, token) = (Arc::clone(&jwt), new.token(&[("jti", number.into())]));
            tokio::spawn(async move { jwt.learnt(&token, until).await.map(|principal| principal.name.to_string()) })
        })
        .collect();

    jwt.keyring.wanted().await;
    jwt.keyring.begin();
    tokio::time::sleep(Duration::from_millis(500)).await;
    jwt.keyring.set(set(&[&old, &new]), clock::now());

    for one in asking {
        assert_eq!(one.await.expect("ended"), Ok("ali".into()));
    }
    let again = tokio::time::timeout(Duration::from_secs(3600), jwt.keyring.wanted()).await;
    assert!(again.is_err(), "nobody asks any more");
}

#[tokio::test(start_paused = true)]
async fn an_early_refresh_comes_once_in_ten_seconds_and_who_cannot_wait_for_it_is_refused_at_once() {
    let (jwt, old, new) = (jwt(true), Signer::new("old"), Signer::new("new"));
    jwt.keyring.set(set(&[&old]), clock::now());
    let asked = |wait: u64| {
        let (jwt, token) = (Arc::clone(&jwt), new.token(&[]));
        async move { jwt.learnt(&token, clock::now() + Duration::from_secs(wait)).await.map(drop) }
    };
    let first = tokio::spawn(asked(2));
    jwt.keyring.wanted().await;
    let begin = clock::now();
    jwt.keyring.begin();
    jwt.keyring.failed("down".into());
    assert!(first.await.expect("ended").expect_err("refused").contains("could not be read"));

    tokio::time::advance(Duration::from_secs(5)).await;
    let before = clock::now();
    assert!(asked(2).await.is_err());
    assert_eq!(clock::now(), before, "it would not come in time");

    tokio::time::advance(Duration::from_millis(3500)).await;
    let second = tokio::spawn(asked(2));
    jwt.keyring.wanted().await;
    assert_eq!(clock::now().since(begin), EARLY, "and not sooner");
    jwt.keyring.begin();
    jwt.keyring.set(set(&[&old, &new]), clock::now());
    assert_eq!(second.await.expect("ended"), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_set_that_never_comes_is_waited_for_no_longer_than_said() {
    let (jwt, new) = (jwt(true), Signer::new("new"));
    let begin = clock::now();

    let refused = jwt.learnt(&new.token(&[]), begin + Duration::from_secs(2)).await;

    assert_eq!(refused.expect_err("no keys"), "the keys of corp are not here yet");
    assert_eq!(clock::now().since(begin).as_secs(), 2);
}

#[test]
fn keys_that_are_not_believed_any_more_accept_nothing() {
    let (jwt, one) = (jwt(true), Signer::new("one"));
    jwt.keyring.set(set(&[&one]), clock::now());
    let token = one.token(&[]);
    assert!(verify(&jwt, &token).is_ok());

    jwt.keyring.failed("down".into());
    assert!(verify(&jwt, &token).is_ok(), "for a while they are");
    jwt.keyring.expire();

    assert!(matches!(verify(&jwt, &token), Err(Refusal::Key(2))));
    assert!(jwt.keyring.told().keys == 0 && jwt.keyring.told().error.is_some());
}

#[test]
fn a_token_is_as_long_as_it_may_be_and_no_longer() {
    let (jwt, one) = (jwt(false), Signer::new("one"));
    jwt.keyring.set(set(&[&one]), clock::now());
    let limit = crate::authenticate::presented::MAX;
    let of = |fill: usize| one.token(&[("fill", "x".repeat(fill).into())]);
    // Three bytes are four letters.
    let near = (limit - of(0).len()) * 3 / 4;
    let lengths: Vec<_> = (near - 8..near + 8).map(of).filter(|token| token.len().abs_diff(limit) < 4).collect();

    assert!(lengths.iter().any(|token| token.len() > limit) && lengths.iter().any(|token| token.len() <= limit));
    for token in lengths {
        assert_eq!(verify(&jwt, &token).is_ok(), token.len() <= limit, "{}", token.len());
    }
}
