//! The files of a listener's TLS: read whole, understood, or refused in words that lead on.
//!
//! Nothing of a key is ever in a message.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::model::Certificate;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error as Rustls, InconsistentKeys, RootCertStore};
use rustls_pki_types::pem::{Error as Pem, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// No chain and no bundle of authorities is larger.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A certificate and its chain.
    Cert,
    /// A private key.
    Key,
    /// The authorities of clients.
    ClientCa,
    /// Either file of the authority of `intercept`.
    Authority,
}

/// A file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// What it is for.
    pub part: Part,
    /// Which.
    pub path: PathBuf,
    /// What is wrong.
    pub why: String,
    /// What helps.
    pub help: String,
}

impl Flaw {
    pub(crate) fn new(part: Part, path: &Path, why: impl Into<String>, help: impl Into<String>) -> Self {
        Self { part, path: path.to_owned(), why: why.into(), help: help.into() }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

/// What is in the two files of a pair.
pub(super) type Texts = (Vec<u8>, Vec<u8>);

/// Reads both files; the first that cannot be read is told.
pub(super) fn texts(pair: &Certificate) -> Result<Texts, Flaw> {
    Ok((read(Part::Cert, &pair.cert)?, read(Part::Key, &pair.key)?))
}

/// Reads a file whole.
pub(super) fn read(part: Part, path: &Path) -> Result<Vec<u8>, Flaw> {
    let unreadable = |error: std::io::Error| {
        let help = match error.kind() {
            std::io::ErrorKind::PermissionDenied => "let the user that runs this read it",
            _ => "check the path",
        };
        Flaw::new(part, path, format!("cannot be read: {error}"), help)
    };
    // A pipe would be waited for.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(Flaw::new(part, path, "is not a regular file", "name a PEM file"));
    }
    let mut text = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut text)).map_err(unreadable)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(Flaw::new(part, path, format!("is longer than {MAX_BYTES} bytes"), "name a PEM file"));
    }
    Ok(text)
}

/// A certificate that its key can prove.
pub(super) fn pair(of: &Certificate, (cert, key): &Texts) -> Result<CertifiedKey, Flaw> {
    let chain = certificates(Part::Cert, &of.cert, cert)?;
    let private = private_key(&of.key, key)?;
    let key = aws_lc_rs::default_provider().key_provider.load_private_key(private).map_err(|error| {
        let help = "make one that is: `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`";
        Flaw::new(Part::Key, &of.key, format!("holds a key that cannot be used: {error}"), help)
    })?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(Rustls::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(Rustls::InconsistentKeys(_)) => {
            let why = format!("does not fit the certificate in {}", of.cert.display());
            Err(Flaw::new(
                Part::Key,
                &of.key,
                why,
                "name the pair that belongs together; the server's certificate comes first",
            ))
        }
        Err(Rustls::InvalidCertificate(CertificateError::BadEncoding)) => {
            Err(Flaw::new(Part::Cert, &of.cert, "begins with something that is no certificate", PUT_CERT))
        }
        Err(error) => Err(Flaw::new(Part::Cert, &of.cert, format!("cannot be used: {error}"), PUT_CERT)),
    }
}

const PUT_CERT: &str = "put the certificate and then its chain into it, as PEM";

fn certificates(part: Part, path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Flaw> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found = found.map_err(|error| Flaw::new(part, path, broken(&error), "write it again, whole"))?;
    if found.is_empty() {
        let help = match holds(text, "PRIVATE KEY-----") {
            true => "it holds a key: are the two files swapped?",
            false if part == Part::Cert => PUT_CERT,
            false => "put the authorities' certificates into it, as PEM",
        };
        return Err(Flaw::new(part, path, "has no certificate in it", help));
    }
    Ok(found)
}

fn private_key(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, Flaw> {
    if holds(text, "ENCRYPTED PRIVATE KEY-----") || holds(text, "Proc-Type: 4,ENCRYPTED") {
        let help = format!("decrypt it: `openssl pkey -in {} -out plain.key`, and guard that file", path.display());
        return Err(Flaw::new(Part::Key, path, "holds a key that is encrypted, and nobody is there to be asked", help));
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        Pem::NoItemsFound => {
            let help = match holds(text, "BEGIN CERTIFICATE-----") {
                true => "it holds a certificate: are the two files swapped?",
                false => "put the private key into it, as PEM",
            };
            Flaw::new(Part::Key, path, "has no private key in it", help)
        }
        error => Flaw::new(Part::Key, path, broken(&error), "write it again, whole"),
    })
}

/// Never with what stands there: it may be a key.
fn broken(error: &Pem) -> String {
    match error {
        Pem::MissingSectionEnd { .. } => "breaks off within a section".into(),
        Pem::Base64Decode(_) => "has a section that is no base64".into(),
        _ => "is no PEM".into(),
    }
}

fn holds(text: &[u8], word: &str) -> bool {
    text.windows(word.len()).any(|window| window == word.as_bytes())
}

/// Accepts clients that an authority of the bundle signed, and, unless one is `required`, those that show none.
pub(super) fn verifier(
    path: &Path,
    text: &[u8],
    required: bool,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Flaw> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(Part::ClientCa, path, text)? {
        roots.add(certificate).map_err(|error| {
            let why = format!("holds a certificate that can be no authority: {error}");
            Flaw::new(Part::ClientCa, path, why, "keep only the authorities' own certificates in it")
        })?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
    let builder = if required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| Flaw::new(Part::ClientCa, path, error.to_string(), "name another bundle"))
}
