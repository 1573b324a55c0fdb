//! Signed tokens of our own (RFC 7519), for an upstream that knows our key.
//!
//! Signed on the control thread and used for all requests until most of their time is over: a signature of RSA costs a
//! millisecond. The key is read for each, so a replaced one counts from the next token, or from the first refusal.

use config::model::{self, Claim};
use exchange::clock;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::{Failure, Fresh, text};
use crate::secrets::source;

/// Signs one.
///
/// # Errors
/// What is wrong with the key, without showing it.
pub async fn token(from: &model::Minted) -> Result<Fresh<Zeroizing<String>>, Failure> {
    let key = text(&from.key).await?;
    let token = signed(from, &key.value, clock::wall(clock::now()).as_secs()).map_err(Failure::settled)?;
    Ok(Fresh { value: Zeroizing::new(token), lifetime: Some(from.lifetime), every: None })
}

fn signed(from: &model::Minted, key: &str, now: u64) -> Result<String, String> {
    let (algorithm, kind) = match from.algorithm {
        model::JwtAlgorithm::Rs256 => (Algorithm::RS256, "an RSA key"),
        model::JwtAlgorithm::Ps256 => (Algorithm::PS256, "an RSA key"),
        model::JwtAlgorithm::Es256 => (Algorithm::ES256, "a P-256 key in PKCS#8"),
        model::JwtAlgorithm::EdDsa => (Algorithm::EdDSA, "an Ed25519 key in PKCS#8"),
        model::JwtAlgorithm::Hs256 => (Algorithm::HS256, "a shared secret of 32 bytes at least"),
    };
    let pem = key.as_bytes();
    let parsed = match algorithm {
        Algorithm::RS256 | Algorithm::PS256 => EncodingKey::from_rsa_pem(pem).ok(),
        Algorithm::ES256 => EncodingKey::from_ec_pem(pem).ok(),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(pem).ok(),
        _ => Some(key.trim_end_matches(['\r', '\n'])).filter(|key| key.len() >= 32).map(shared),
    };
    // What a library says of a key is better not passed on.
    let wrong = || format!("{} is not {kind}", source(&from.key));
    let header = Header { kid: from.kid.clone(), ..Header::new(algorithm) };
    encode(&header, &claims(from, now), &parsed.ok_or_else(wrong)?).map_err(|_| wrong())
}

fn shared(key: &str) -> EncodingKey {
    EncodingKey::from_secret(key.as_bytes())
}

fn claims(from: &model::Minted, now: u64) -> Map<String, Value> {
    let mut claims = Map::new();
    let mut put = |name: &str, value: Option<Value>| value.map(|value| claims.insert(name.to_owned(), value));
    put("iss", from.issuer.as_deref().map(Value::from));
    put("sub", from.subject.as_deref().map(Value::from));
    put(
        "aud",
        match from.audience.as_slice() {
            [] => None,
            [one] => Some(one.as_str().into()),
            several => Some(json!(several)),
        },
    );
    put("iat", Some(now.into()));
    put("exp", Some((now + from.lifetime.as_secs()).into()));
    for (name, value) in &from.claims {
        put(
            name,
            Some(match value {
                Claim::Text(text) => text.as_str().into(),
                Claim::Int(number) => (*number).into(),
                Claim::Bool(flag) => (*flag).into(),
            }),
        );
    }
    claims
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use config::model::JwtAlgorithm as A;
    use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256};

    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn from(algorithm: A) -> model::Minted {
        model::Minted {
            key: model::Secret::File("/run/key".into()),
            algorithm,
            kid: Some("k1".into()),
            issuer: Some("attache".into()),
            subject: Some("orders".into()),
            audience: vec!["api".into(), "other".into()],
            lifetime: Duration::from_secs(300),
            claims: vec![("scope".into(), Claim::Text("read".into())), ("tenant".into(), Claim::Int(7))],
            header: "authorization".into(),
            prefix: "Bearer ".into(),
        }
    }

    fn check(token: &str, algorithm: Algorithm, key: &DecodingKey) {
        let mut validation = Validation::new(algorithm);
        (validation.validate_exp, validation.validate_aud) = (false, false);
        let read = decode::<Value>(token, key, &validation).expect("its signature");

        assert_eq!((read.header.kid.as_deref(), read.header.typ.as_deref()), (Some("k1"), Some("JWT")));
        let expected = json!({
            "iss": "attache", "sub": "orders", "aud": ["api", "other"], "iat": NOW, "exp": NOW + 300,
            "scope": "read", "tenant": 7,
        });
        assert_eq!(read.claims, expected);
    }

    #[test]
    fn each_algorithm_signs_with_its_key_and_no_other() {
        let rsa = KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key");
        let ec = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let ed = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        let secret = "a shared secret of thirty-two bytes";
        let (rsa_pem, ec_pem, ed_pem) = (rsa.serialize_pem(), ec.serialize_pem(), ed.serialize_pem());
        let public = |pair: &KeyPair| pair.public_key_pem();
        let rows = [
            (A::Rs256, &rsa_pem, Algorithm::RS256, DecodingKey::from_rsa_pem(public(&rsa).as_bytes())),
            (A::Ps256, &rsa_pem, Algorithm::PS256, DecodingKey::from_rsa_pem(public(&rsa).as_bytes())),
            (A::Es256, &ec_pem, Algorithm::ES256, DecodingKey::from_ec_pem(public(&ec).as_bytes())),
            (A::EdDsa, &ed_pem, Algorithm::EdDSA, DecodingKey::from_ed_pem(public(&ed).as_bytes())),
        ];
        for (ours, pem, theirs, key) in rows {
            let token = signed(&from(ours), pem, NOW).expect("signed");

            assert_eq!(decode_header(&token).expect("a header").alg, theirs);
            check(&token, theirs, &key.expect("a public key"));
            for other in [&rsa_pem, &ec_pem, &ed_pem].into_iter().filter(|other| *other != pem) {
                let why = signed(&from(ours), other, NOW).expect_err("another kind of key");
                assert!(why.starts_with("file /run/key is not a"), "{why}");
            }
        }
        let token = signed(&from(A::Hs256), &format!("{secret}\n"), NOW).expect("signed");
        check(&token, Algorithm::HS256, &DecodingKey::from_secret(secret.as_bytes()));
        assert!(signed(&from(A::Hs256), "too short", NOW).is_err());
    }
}
