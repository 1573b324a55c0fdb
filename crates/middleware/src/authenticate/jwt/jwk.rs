//! Keys of an issuer (RFC 7517), as far as we verify with them; the rest of a set is left alone.
//!
//! Each key fixes by which algorithms it verifies: the one it names, or those of its type. Sizes are checked here, since
//! whoever verifies takes a point of another length for another form of key.

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};

use super::{algorithm, strict};

/// Keys of a set.
const MAX_KEYS: usize = 100;
/// Of an RSA modulus, in bits.
const RSA: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A key that verifies.
pub struct Key {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    verifier: DecodingKey,
    /// Of all that makes it this key.
    print: [u8; 32],
}

/// The keys of a set that can be used.
#[derive(Default)]
pub struct Keys {
    all: Vec<Key>,
    /// Those that were left alone, and why the last one was.
    left: Option<(usize, &'static str)>,
    /// Counts the sets that differed.
    pub(super) generation: u64,
    /// Whoever has the secret may sign; it has no name.
    is_secret: bool,
}

impl Key {
    pub(super) const fn verifier(&self) -> &DecodingKey {
        &self.verifier
    }

    fn new(kid: Option<String>, algorithms: Vec<Algorithm>, verifier: DecodingKey, parts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        let said = format!("{kid:?} {algorithms:?}");
        for part in [said.as_bytes()].iter().chain(parts) {
            context.update(&part.len().to_le_bytes());
            context.update(part);
        }
        let mut print = [0; 32];
        print.copy_from_slice(context.finish().as_ref());
        Self { kid, algorithms, verifier, print }
    }

    /// # Errors
    /// Why it is left alone.
    fn read(jwk: &Map<String, Value>) -> Result<Self, &'static str> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let part = |name: &str| {
            let bytes = text(name).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
            bytes.filter(|bytes| !bytes.is_empty()).ok_or("a part of the key is missing or not base64url")
        };
        if jwk.get("use").is_some_and(|purpose| purpose != "sig") {
            return Err("not for signatures");
        }
        if let Some(operations) = jwk.get("key_ops") {
            let verifies = operations.as_array().is_some_and(|all| all.iter().any(|one| one == "verify"));
            if !verifies {
                return Err("not for verifying");
            }
        }
        let kid = match jwk.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err("its `kid` is not text"),
        };
        use Algorithm::*;
        let (of_type, verifier, parts): (&[Algorithm], _, Vec<Vec<u8>>) = match (text("kty"), text("crv")) {
            (Some("RSA"), _) => {
                let (n, e) = (part("n")?, part("e")?);
                if n[0] == 0 || e.len() > 8 {
                    return Err("its modulus or exponent is not as short as it can be");
                }
                if !RSA.contains(&(n.len() * 8 - n[0].leading_zeros() as usize)) {
                    return Err("an RSA key of fewer than 2048 or more than 8192 bits");
                }
                let verifier = DecodingKey::from_rsa_raw_components(&n, &e);
                (&[RS256, RS384, RS512, PS256, PS384, PS512], verifier, vec![n, e])
            }
            (Some("EC"), Some("P-256")) => point(&[ES256], 32, part("x")?, part("y")?)?,
            (Some("EC"), Some("P-384")) => point(&[ES384], 48, part("x")?, part("y")?)?,
            (Some("OKP"), Some("Ed25519")) => {
                let x = part("x")?;
                if x.len() != 32 {
                    return Err("an Ed25519 key is 32 bytes");
                }
                (&[EdDSA], DecodingKey::from_ed_der(&x), vec![x])
            }
            (Some("oct"), _) => {
                let secret = part("k")?;
                (hmacs(secret.len())?, DecodingKey::from_secret(&secret), vec![secret])
            }
            _ => return Err("a type of key that is not known"),
        };
        let algorithms = match jwk.get("alg") {
            None => of_type.to_vec(),
            Some(named) => {
                let named = named.as_str().and_then(algorithm).filter(|named| of_type.contains(named));
                vec![named.ok_or("an algorithm that is not known, or not for this type of key")?]
            }
        };
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        Ok(Self::new(kid, algorithms, verifier, &parts))
    }
}

type Material = (&'static [Algorithm], DecodingKey, Vec<Vec<u8>>);

fn point(of_type: &'static [Algorithm], size: usize, x: Vec<u8>, y: Vec<u8>) -> Result<Material, &'static str> {
    if x.len() != size || y.len() != size {
        return Err("a coordinate that is not as long as its curve's");
    }
    // Uncompressed (SEC 1 section 2.3.3).
    let point = [&[4][..], &x, &y].concat();
    Ok((of_type, DecodingKey::from_ec_der(&point), vec![x, y]))
}

/// RFC 7518 section 3.2: a key is at least as long as the hash.
fn hmacs(length: usize) -> Result<&'static [Algorithm], &'static str> {
    use Algorithm::*;
    match length {
        64.. => Ok(&[HS256, HS384, HS512]),
        48.. => Ok(&[HS256, HS384]),
        32.. => Ok(&[HS256]),
        _ => Err("a secret of fewer than 32 bytes"),
    }
}

impl Keys {
    /// Reads a JWK set; keys that cannot be used are left alone.
    ///
    /// # Errors
    /// It is no set.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let set = strict::object(text).map_err(|error| format!("not a JWK set: {error}"))?;
        let Some(Value::Array(items)) = set.get("keys") else {
            return Err("not a JWK set: there is no list of `keys`".into());
        };
        if items.len() > MAX_KEYS {
            return Err(format!("the set has {} keys, and {MAX_KEYS} are the most", items.len()));
        }
        let mut keys = Self::default();
        for item in items {
            match item.as_object().ok_or("not an object").and_then(Key::read) {
                Ok(key) => keys.all.push(key),
                Err(why) => keys.left = Some((keys.left.map_or(1, |(count, _)| count + 1), why)),
            }
        }
        Ok(keys)
    }

    /// One key that both sides have.
    ///
    /// # Errors
    /// It is too short.
    pub fn secret(secret: &[u8]) -> Result<Self, String> {
        let algorithms = hmacs(secret.len())?.to_vec();
        let key = Key::new(None, algorithms, DecodingKey::from_secret(secret), &[secret]);
        Ok(Self { all: vec![key], is_secret: true, ..Self::default() })
    }

    /// How many can be used.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether none can be used.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many were left alone, and why the last one was.
    pub const fn left(&self) -> Option<(usize, &'static str)> {
        self.left
    }

    pub(super) fn of_generation(self, generation: u64) -> Self {
        Self { generation, ..self }
    }

    /// Whether both hold the same keys.
    pub(super) fn are(&self, others: &Self) -> bool {
        self.all.iter().map(|key| key.print).eq(others.all.iter().map(|key| key.print))
    }

    fn is_named(&self, key: &Key, kid: Option<&str>) -> bool {
        self.is_secret || kid.is_none_or(|kid| key.kid.as_deref() == Some(kid))
    }

    /// The keys that may have signed it.
    pub(super) fn candidates<'k>(&'k self, kid: Option<&'k str>, algorithm: Algorithm) -> Candidates<'k> {
        let fits = |key: &&Key| self.is_named(key, kid) && key.algorithms.contains(&algorithm);
        Candidates(self.all.iter().filter(fits).collect())
    }

    /// One of the keys has this name, for whatever algorithm.
    pub(super) fn names(&self, kid: Option<&str>) -> bool {
        kid.is_some() && self.all.iter().any(|key| self.is_named(key, kid))
    }
}

/// A few keys.
pub(super) struct Candidates<'k>(Vec<&'k Key>);

impl Candidates<'_> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn any(&mut self, is_it: impl Fn(&Key) -> bool) -> bool {
        self.0.iter().any(|key| is_it(key))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn b64(bytes: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn left(jwk: Value) -> Option<&'static str> {
        let keys = Keys::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).expect("a set");
        keys.left().map(|(_, why)| why)
    }

    #[test]
    fn what_cannot_or_should_not_verify_is_left_alone() {
        let rsa = |bytes: usize| json!({ "kty": "RSA", "n": b64(&vec![0xff; bytes]), "e": "AQAB" });
        let with = |mut jwk: Value, name: &str, value: Value| {
            jwk[name] = value;
            jwk
        };
        assert_eq!(left(rsa(256)), None);
        assert_eq!(left(with(rsa(256), "use", json!("sig"))), None);
        assert_eq!(left(with(rsa(256), "key_ops", json!(["verify"]))), None);
        for jwk in [
            rsa(255),
            rsa(128),
            rsa(1025),
            json!({ "kty": "RSA", "n": b64(&[&[0x7f][..], &[0xff; 255]].concat()), "e": "AQAB" }),
            with(rsa(256), "use", json!("enc")),
            with(rsa(256), "key_ops", json!(["sign"])),
            with(rsa(256), "key_ops", json!("verify")),
            with(rsa(256), "alg", json!("ES256")),
            with(rsa(256), "alg", json!("none")),
            with(rsa(256), "alg", json!("RSA-OAEP")),
            with(rsa(256), "kid", json!(1)),
            with(rsa(256), "e", json!("AQAB=")),
            json!({ "kty": "EC", "crv": "P-256", "x": b64(&[1; 31]), "y": b64(&[1; 32]) }),
            json!({ "kty": "EC", "crv": "secp256k1", "x": b64(&[1; 32]), "y": b64(&[1; 32]) }),
            json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(&[1; 33]) }),
            json!({ "kty": "OKP", "crv": "X25519", "x": b64(&[1; 32]) }),
            json!({ "kty": "oct", "k": b64(&[1; 31]) }),
            json!({ "kty": "dir" }),
            json!("text"),
        ] {
            assert!(left(jwk.clone()).is_some(), "{jwk}");
        }
    }

    #[test]
    fn a_set_is_bounded_and_strict() {
        let key = json!({ "kty": "oct", "k": b64(&[1; 32]) });
        let set = |count: usize| json!({ "keys": vec![key.clone(); count] }).to_string();

        assert_eq!(Keys::parse(set(MAX_KEYS).as_bytes()).expect("a set").len(), MAX_KEYS);
        assert!(Keys::parse(set(MAX_KEYS + 1).as_bytes()).is_err());
        assert!(Keys::parse(br#"{"keys":[],"keys":[]}"#).is_err());
        assert!(Keys::parse(b"{}").is_err() && Keys::parse(b"[]").is_err() && Keys::parse(b"{\"keys\":[]").is_err());
        assert!(Keys::parse(br#"{"keys":[]}"#).expect("an empty set").is_empty());
    }
}
