//! An issuer of tokens: keys of every kind, their JWK set, and tokens of any text, well-formed or not.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
};
use aws_lc_rs::{encoding::AsDer, hmac};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// One key and its name.
pub struct SigningKey {
    /// Its `kid`.
    pub kid: String,
    pair: Pair,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    P256 { raw: EcdsaKeyPair, der: EcdsaKeyPair },
    P384(EcdsaKeyPair),
    Ed25519(Box<Ed25519KeyPair>),
}

impl SigningKey {
    /// RSA, 2048 bits.
    pub fn rsa(kid: &str) -> Self {
        Self { kid: kid.into(), pair: Pair::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"))) }
    }

    /// ECDSA over P-256.
    pub fn p256(kid: &str) -> Self {
        let raw = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let bytes = raw.to_pkcs8v1().expect("encoded");
        let der = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, bytes.as_ref()).expect("the same");
        Self { kid: kid.into(), pair: Pair::P256 { raw, der } }
    }

    /// ECDSA over P-384.
    pub fn p384(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key");
        Self { kid: kid.into(), pair: Pair::P384(pair) }
    }

    /// Ed25519.
    pub fn ed25519(kid: &str) -> Self {
        Self { kid: kid.into(), pair: Pair::Ed25519(Box::new(Ed25519KeyPair::generate().expect("a key"))) }
    }

    /// Its public half (RFC 7517).
    pub fn jwk(&self) -> Value {
        let point = |pair: &EcdsaKeyPair, curve: &str| {
            let bytes = &pair.public_key().as_ref()[1..];
            let (x, y) = bytes.split_at(bytes.len() / 2);
            json!({ "kty": "EC", "crv": curve, "x": b64(x), "y": b64(y) })
        };
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                let RsaPublicKeyComponents { n, e } = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({ "kty": "RSA", "n": b64(&n), "e": b64(&e) })
            }
            Pair::P256 { raw, .. } => point(raw, "P-256"),
            Pair::P384(pair) => point(pair, "P-384"),
            Pair::Ed25519(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key().as_ref()) })
            }
        };
        jwk["kid"] = self.kid.as_str().into();
        jwk
    }

    /// Its public half as whoever confuses it with a secret would take it: the DER that stands in a PEM file.
    pub fn public_der(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_der().expect("encoded").as_ref().to_vec(),
            Pair::P256 { raw, .. } => raw.public_key().as_ref().to_vec(),
            Pair::P384(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// A token of exactly these texts, signed as `algorithm` says; `DER` is ES256 in the wrong encoding.
    pub fn sign(&self, algorithm: &str, header: &str, claims: &str) -> String {
        let message = message(header, claims);
        let signature = self.signature(algorithm, message.as_bytes());
        format!("{message}.{}", b64(&signature))
    }

    /// A token as it should be.
    pub fn token(&self, algorithm: &str, claims: &Value) -> String {
        let header = json!({ "alg": algorithm, "kid": self.kid, "typ": "JWT" });
        self.sign(algorithm, &header.to_string(), &claims.to_string())
    }

    /// The bytes of a signature.
    pub fn signature(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let rsa = |pair: &RsaKeyPair, encoding: &'static dyn RsaEncoding| {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(encoding, &random, message, &mut signature).expect("signed");
            signature
        };
        match (&self.pair, algorithm) {
            (Pair::Rsa(pair), "RS256") => rsa(pair, &RSA_PKCS1_SHA256),
            (Pair::Rsa(pair), "RS384") => rsa(pair, &RSA_PKCS1_SHA384),
            (Pair::Rsa(pair), "RS512") => rsa(pair, &RSA_PKCS1_SHA512),
            (Pair::Rsa(pair), "PS256") => rsa(pair, &RSA_PSS_SHA256),
            (Pair::Rsa(pair), "PS384") => rsa(pair, &RSA_PSS_SHA384),
            (Pair::Rsa(pair), "PS512") => rsa(pair, &RSA_PSS_SHA512),
            (Pair::P256 { raw, .. }, "ES256") => raw.sign(&random, message).expect("signed").as_ref().to_vec(),
            (Pair::P256 { der, .. }, "DER") => der.sign(&random, message).expect("signed").as_ref().to_vec(),
            (Pair::P384(pair), "ES384") => pair.sign(&random, message).expect("signed").as_ref().to_vec(),
            (Pair::Ed25519(pair), "EdDSA") => pair.sign(message).as_ref().to_vec(),
            _ => panic!("no signature of {} by {algorithm}", self.kid),
        }
    }
}

/// A JWK set of these keys.
pub fn set(keys: &[&SigningKey]) -> String {
    json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }).to_string()
}

/// What is signed.
pub fn message(header: &str, claims: &str) -> String {
    format!("{}.{}", b64(header.as_bytes()), b64(claims.as_bytes()))
}

/// A token signed by a secret.
pub fn hs256(secret: &[u8], header: &str, claims: &str) -> String {
    let message = message(header, claims);
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", b64(signature.as_ref()))
}

/// `Basic` with name and password.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// base64url without padding.
pub fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
