//! How a listener speaks TLS, and its files as they change.
//!
//! One front for equal settings, whatever configuration names them, so that a reload keeps the keys of tickets and
//! clients go on resuming. A new certificate is put in the book without anything else noticing. A new bundle of
//! clients' authorities is a new rustls configuration with ticket keys of its own: a client that is no longer trusted
//! must not resume what it began.
//!
//! Early data is off: it can be replayed, and a request in it with it.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use config::model::{Certificate, ClientAuth, ListenerTls, TlsVersion};
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::server::WebPkiClientVerifier;

use super::book::{Book, Pair};
use super::pem::{self, Flaw, Part, Texts};
use super::watch::Watch;

/// See the module.
pub struct Front {
    settings: ListenerTls,
    book: Arc<Book>,
    config: ArcSwap<ServerConfig>,
    files: Mutex<Files>,
}

struct Files {
    /// In the order of the settings.
    pairs: Vec<Pair>,
    watched: Vec<Watched<Texts>>,
    client_ca: Option<Watched<Vec<u8>>>,
}

/// What is read of files, and why what lies there is not used.
struct Watched<T> {
    watch: Watch<Result<T, Flaw>>,
    flaw: Option<Flaw>,
}

/// A file in use, for people and metrics.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The certificate's, or that of the clients' authorities.
    pub path: String,
    /// That the certificate is for.
    pub names: Vec<String>,
    /// Seconds since 1970; a bundle of authorities has no end of its own.
    pub expires: Option<u64>,
    /// Why what lies there now is not used.
    pub flaw: Option<String>,
}

impl Front {
    /// Reads all files.
    ///
    /// # Errors
    /// Every file that cannot be used, with its place among the settings' certificates.
    pub fn new(settings: ListenerTls) -> Result<Self, Vec<(usize, Flaw)>> {
        let (mut pairs, mut watched, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
        for (index, certificate) in settings.certificates.iter().enumerate() {
            let texts = pem::texts(certificate);
            match texts.clone().and_then(|texts| pem::pair(certificate, &texts)) {
                Ok(pair) => pairs.push(Pair::new(pair)),
                Err(flaw) => wrong.push((index, flaw)),
            }
            watched.push(Watched::new(texts));
        }
        let book = Arc::new(Book::new(&pairs));
        let client_ca = authority(&settings).map(|path| pem::read(Part::ClientCa, path));
        let bundle = client_ca.clone().transpose();
        let config = bundle.and_then(|bundle| server_config(&settings, &book, bundle.as_deref()));
        match config {
            Ok(config) if wrong.is_empty() => {
                let files = Mutex::new(Files { pairs, watched, client_ca: client_ca.map(Watched::new) });
                Ok(Self { settings, book, config: ArcSwap::new(config), files })
            }
            config => {
                wrong.extend(config.err().map(|flaw| (0, flaw)));
                Err(wrong)
            }
        }
    }

    /// What it was made of.
    pub fn settings(&self) -> &ListenerTls {
        &self.settings
    }

    /// For a handshake that begins now.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    /// Looks at the files again; what can be used is in use for the next handshake, the rest is said once.
    pub fn refresh(&self) {
        let mut files = self.files.lock();
        let Files { pairs, watched, client_ca } = &mut *files;
        let mut replaced = false;
        for ((certificate, pair), watched) in self.settings.certificates.iter().zip(&mut *pairs).zip(watched) {
            let read = |texts: &Texts| pem::pair(certificate, texts).map(Pair::new);
            if let Some(new) = watched.look(pem::texts(certificate), &certificate.cert, read) {
                *pair = new;
                replaced = true;
            }
        }
        if replaced {
            self.book.replace(pairs);
        }
        if let Some((path, watched)) = authority(&self.settings).zip(client_ca.as_mut()) {
            let read = |text: &Vec<u8>| server_config(&self.settings, &self.book, Some(text));
            if let Some(new) = watched.look(pem::read(Part::ClientCa, path), path, read) {
                self.config.store(new);
            }
        }
    }

    /// Its files.
    pub fn shown(&self) -> Vec<Shown> {
        let files = self.files.lock();
        let pairs = self.settings.certificates.iter().zip(&files.pairs).zip(&files.watched);
        let mut shown: Vec<Shown> = pairs
            .map(|((Certificate { cert, .. }, pair), watched)| Shown {
                path: cert.display().to_string(),
                names: pair.names.clone(),
                expires: pair.expires,
                flaw: watched.flaw.as_ref().map(ToString::to_string),
            })
            .collect();
        shown.extend(authority(&self.settings).zip(files.client_ca.as_ref()).map(|(path, watched)| Shown {
            path: path.display().to_string(),
            names: Vec::new(),
            expires: None,
            flaw: watched.flaw.as_ref().map(ToString::to_string),
        }));
        shown
    }
}

impl<T: Clone + PartialEq> Watched<T> {
    fn new(used: Result<T, Flaw>) -> Self {
        Self { watch: Watch::new(used), flaw: None }
    }

    /// What has become of a new text, if there is one and it can be used.
    fn look<U>(&mut self, now: Result<T, Flaw>, path: &Path, read: impl Fn(&T) -> Result<U, Flaw>) -> Option<U> {
        let made = self.watch.look(now).map(|now| now.as_ref().map_err(Clone::clone).and_then(read));
        match made {
            None => {
                if self.watch.is_settled() && self.flaw.take().is_some() {
                    tracing::info!(file = %path.display(), "the TLS file is again what is in use");
                }
                None
            }
            Some(Ok(made)) => {
                self.watch.adopt();
                self.flaw = None;
                tracing::info!(file = %path.display(), "TLS file read");
                Some(made)
            }
            Some(Err(flaw)) => {
                tracing::error!("{flaw}; what was read before stays in use; {}", flaw.help);
                self.flaw = Some(flaw);
                None
            }
        }
    }
}

/// Who signs the clients' certificates.
fn authority(settings: &ListenerTls) -> Option<&Path> {
    match &settings.client_auth {
        ClientAuth::Off => None,
        ClientAuth::Optional(path) | ClientAuth::Required(path) => Some(path),
    }
}

fn server_config(settings: &ListenerTls, book: &Arc<Book>, bundle: Option<&[u8]>) -> Result<Arc<ServerConfig>, Flaw> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = match (&settings.client_auth, bundle) {
        (ClientAuth::Optional(path), Some(text)) => pem::verifier(path, text, false, Arc::clone(&provider))?,
        (ClientAuth::Required(path), Some(text)) => pem::verifier(path, text, true, Arc::clone(&provider))?,
        _ => WebPkiClientVerifier::no_client_auth(),
    };
    let versions: &[&rustls::SupportedProtocolVersion] = match settings.min {
        TlsVersion::V12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V13 => &[&rustls::version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions);
    #[expect(clippy::expect_used, reason = "a test builds both")]
    let builder = builder.expect("the provider has suites for both versions");
    let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(Arc::clone(book) as _);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    match Ticketer::new() {
        Ok(ticketer) => config.ticketer = ticketer,
        // Clients then resume what rustls's own small memory holds.
        Err(error) => tracing::warn!(%error, "no TLS tickets: there was no randomness for their keys"),
    }
    Ok(Arc::new(config))
}
