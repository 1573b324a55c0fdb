//! API keys: random, of 256 bits, and kept as their SHA-256.
//!
//! A slow hash is for what people choose. What a generator drew cannot be guessed, so one pass of SHA-256 hides it as
//! well, costs a microsecond, and needs no cache. Eight bytes of the hash find the entry; the whole is compared in a time
//! that does not depend on it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use exchange::identity::{Principal, Proof};
use serde_json::Map;

/// Keys of one identity.
pub const MAX_KEYS: usize = 10_000;
/// What a key of ours begins with, so that scanners for lost secrets can know it.
const PREFIX: &str = "attache_";

/// The SHA-256 of a key.
pub type Hash = [u8; 32];

/// The keys of an identity, which may be replaced while requests run.
#[derive(Debug)]
pub struct Keys {
    name: Arc<str>,
    table: ArcSwapOption<Table>,
}

/// By the first eight bytes of their hashes.
type Table = HashMap<u64, Vec<(Hash, Arc<Principal>)>>;

impl Keys {
    /// None yet, for the identity of this name.
    pub fn new(name: Arc<str>) -> Self {
        Self { name, table: ArcSwapOption::empty() }
    }

    /// Replaces all.
    pub fn set(&self, all: &[(String, Hash)]) {
        let mut table = Table::new();
        for (name, hash) in all {
            let principal = Principal {
                proof: Proof::Key,
                by: Arc::clone(&self.name),
                name: name.as_str().into(),
                claims: Map::new(),
            };
            table.entry(first(hash)).or_default().push((*hash, Arc::new(principal)));
        }
        self.table.store(Some(Arc::new(table)));
    }

    /// How many there are; `None` before any were read.
    pub fn count(&self) -> Option<usize> {
        self.table.load().as_ref().map(|table| table.values().map(Vec::len).sum())
    }

    pub(super) fn verify(&self, key: &str) -> Result<Arc<Principal>, Cow<'static, str>> {
        let table = self.table.load();
        let Some(table) = &*table else { return Err(Cow::Borrowed("the API keys could not be read yet")) };
        let hash = of(key);
        let mut known = table.get(&first(&hash)).into_iter().flatten();
        let found = known.find(|(known, _)| verify_slices_are_equal(known, &hash).is_ok());
        found.map(|(_, principal)| Arc::clone(principal)).ok_or(Cow::Borrowed("the API key is not known"))
    }
}

fn first(hash: &Hash) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash[..8]);
    u64::from_le_bytes(bytes)
}

/// The hash of a key.
pub fn of(key: &str) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
    hash
}

/// A key that did not exist before, and its hash in hexadecimal digits.
///
/// # Errors
/// The system has no randomness.
pub fn fresh() -> Result<(String, String), String> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "the system gives no random bytes".to_owned())?;
    let key = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    let mut hash = String::new();
    for byte in of(&key) {
        let _ = write!(hash, "{byte:02x}");
    }
    Ok((key, hash))
}

/// 64 hexadecimal digits.
pub fn hash(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// A file of keys: on each line a name and the key's SHA-256, with blanks between; `#` begins a comment.
///
/// # Errors
/// The line that is none, without what stands there.
pub fn parse(text: &str) -> Result<Vec<(String, Hash)>, String> {
    let mut all: Vec<(String, Hash)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(name) = words.next() else { continue };
        let hash = match (words.next().and_then(hash), words.next()) {
            (Some(hash), None) => hash,
            _ => return Err(format!("line {number} is not a name and a SHA-256 of 64 hexadecimal digits")),
        };
        if all.iter().any(|(known, other)| *known == name || *other == hash) {
            return Err(format!("line {number} has a name or a key that an earlier line has"));
        }
        all.push((name.to_owned(), hash));
        if all.len() > MAX_KEYS {
            return Err(format!("there are more than {MAX_KEYS} keys"));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_key_is_known_by_its_line_and_no_other_is() {
        let (key, hash) = fresh().expect("randomness");
        let keys = Keys::new("machines".into());
        assert!(keys.verify(&key).is_err(), "none were read");
        keys.set(&parse(&format!("# who\nbuild {hash} # ci\n\n")).expect("a line"));

        let principal = keys.verify(&key).expect("known");

        assert_eq!((&*principal.by, &*principal.name, principal.proof), ("machines", "build", Proof::Key));
        for other in [fresh().expect("randomness").0, hash, key[1..].to_owned(), format!("{key}\0")] {
            assert!(keys.verify(&other).is_err());
        }
    }

    #[test]
    fn the_hash_of_a_key_is_sha_256() {
        let hash = hash("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");

        assert_eq!(hash, Some(of("abc")));
    }

    #[test]
    fn a_line_that_is_none_is_told_without_what_stands_there() {
        let a = "a".repeat(64);
        for text in [
            "one",
            "one secret",
            &format!("one {a} two"),
            &format!("one {a}\ntwo {a}"),
            &format!("é {}", "é".repeat(32)),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.starts_with("line ") && !error.contains("secret"), "{error}");
        }
        assert_eq!(parse("").expect("none"), []);
    }
}
