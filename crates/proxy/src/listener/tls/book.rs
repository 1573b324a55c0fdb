//! Which certificate a client is shown, by the name it asks for (RFC 6066 section 3).
//!
//! The exact name, else the wildcard one level up (RFC 9525 section 6.3), else the first certificate: a client that
//! asks for nothing, an address for instance, must get something to judge. Of two for one name the earlier counts.
//! Looked up once a handshake; replacing the shelf waits for nobody.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::parse_x509_certificate;

/// A certificate with its key, and what it says.
pub(super) struct Pair {
    pub(super) certified: Arc<CertifiedKey>,
    /// Lower-case, wildcards included.
    pub(super) names: Vec<String>,
    /// Seconds since 1970, if it can be read.
    pub(super) expires: Option<u64>,
}

impl Pair {
    pub(super) fn new(certified: CertifiedKey) -> Self {
        let leaf = certified.end_entity_cert().ok().cloned();
        let names = leaf.as_ref().and_then(|leaf| {
            let leaf = webpki::EndEntityCert::try_from(leaf).ok()?;
            Some(leaf.valid_dns_names().map(str::to_ascii_lowercase).collect())
        });
        let expires = leaf.and_then(|leaf| {
            let (_, leaf) = parse_x509_certificate(&leaf).ok()?;
            u64::try_from(leaf.validity().not_after.timestamp()).ok()
        });
        Self { certified: Arc::new(certified), names: names.unwrap_or_default(), expires }
    }
}

/// The certificates of a listener.
pub(super) struct Book(ArcSwap<Shelf>);

struct Shelf {
    first: Option<Arc<CertifiedKey>>,
    named: HashMap<String, Arc<CertifiedKey>>,
}

impl Book {
    pub(super) fn new(pairs: &[Pair]) -> Self {
        Self(ArcSwap::from_pointee(Shelf::new(pairs)))
    }

    /// For handshakes that begin from now on.
    pub(super) fn replace(&self, pairs: &[Pair]) {
        self.0.store(Arc::new(Shelf::new(pairs)));
    }
}

impl Shelf {
    fn new(pairs: &[Pair]) -> Self {
        let mut named = HashMap::new();
        for pair in pairs {
            for name in &pair.names {
                named.entry(name.clone()).or_insert_with(|| Arc::clone(&pair.certified));
            }
        }
        Self { first: pairs.first().map(|pair| Arc::clone(&pair.certified)), named }
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let (_, above) = name.split_once('.').unwrap_or_default();
        self.named.get(&name).or_else(|| self.named.get(&format!("*.{above}")))
    }
}

impl ResolvesServerCert for Book {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shelf = self.0.load();
        hello.server_name().and_then(|name| shelf.find(name)).or(shelf.first.as_ref()).cloned()
    }
}

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Book").field(&self.0.load().named.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs;
    use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

    use super::*;

    fn pair(names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("signed");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let key = aws_lc_rs::default_provider().key_provider.load_private_key(key).expect("a key");
        Pair::new(CertifiedKey::new(vec![made.cert.der().clone()], key))
    }

    #[test]
    fn its_end_is_read_in_seconds_since_1970() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).expect("parameters");
        params.not_after = rcgen::date_time_ymd(2050, 1, 1);
        let certificate = params.self_signed(&key).expect("signed").der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = aws_lc_rs::default_provider().key_provider.load_private_key(key).expect("a key");

        assert_eq!(Pair::new(CertifiedKey::new(vec![certificate], key)).expires, Some(2_524_608_000));
    }

    #[test]
    fn the_exact_name_beats_the_wildcard_and_the_wildcard_covers_one_level() {
        let pairs = [pair(&["*.a.test", "B.test"]), pair(&["x.a.test", "b.test"]), pair(&[])];
        let shelf = Shelf::new(&pairs);
        let found = |name: &str| {
            let found = shelf.find(name)?;
            pairs.iter().position(|pair| Arc::ptr_eq(&pair.certified, found))
        };

        assert_eq!(found("x.a.test"), Some(1));
        assert_eq!(found("X.A.Test."), Some(1));
        assert_eq!(found("y.a.test"), Some(0));
        assert_eq!(found("b.test"), Some(0));
        for none in ["a.test", "z.y.a.test", "", ".", "test", "*.test"] {
            assert_eq!(found(none), None, "{none}");
        }
        assert!(Arc::ptr_eq(shelf.first.as_ref().expect("a first"), &pairs[0].certified));
    }
}
