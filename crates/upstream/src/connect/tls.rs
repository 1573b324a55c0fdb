//! TLS towards upstreams: whom to trust, who we are, and which HTTP to agree on.
//!
//! A `Store` hands out one configuration for each (trust, identity, minimum version), whoever asks and however
//! often the configuration is reloaded: tickets live in it, and a fresh one would mean full handshakes. The key
//! is what the files contain, not their names, so a renewed certificate is a new configuration.
//!
//! The system's trust store is read once, at the first need. A machine without one (a scratch image) gets the
//! compiled-in Mozilla roots. A named bundle replaces both. There is no switch to skip verification.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use exchange::{Error, ErrorKind, Host, Io};
use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls_platform_verifier::Verifier;
use tokio_rustls::TlsConnector;

mod error;

pub use error::TlsError;

/// What the operator decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params {
    /// The only authorities to trust, instead of the system's.
    pub ca: Option<Pem>,
    /// Our certificate chain and its key.
    pub identity: Option<(Pem, Pem)>,
    /// The name to ask for and to verify, instead of the destination's host.
    pub sni: Option<String>,
    /// The lowest version spoken.
    pub min: Version,
}

/// Where PEM text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pem {
    /// In a file, read when the configuration is built.
    File(PathBuf),
    /// Here.
    Text(Text),
}

type Text = Arc<[u8]>;

/// A TLS version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// 1.2 and 1.3.
    #[default]
    V12,
    /// Only 1.3.
    V13,
}

/// Which HTTP to offer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// Both: the server chooses.
    #[default]
    Auto,
    /// Only HTTP/1.1: for WebSocket.
    H1,
    /// Only HTTP/2.
    H2,
}

/// Which HTTP was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// HTTP/1.1, also when the server did not say.
    H1,
    /// HTTP/2.
    H2,
}

/// Every TLS configuration in use.
#[derive(Default)]
pub struct Store {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    system: Option<Arc<dyn ServerCertVerifier>>,
    known: Vec<(Key, Weak<Configs>)>,
}

/// What makes two configurations the same.
#[derive(PartialEq, Eq)]
struct Key {
    ca: Option<Text>,
    identity: Option<(Text, Text)>,
    min: Version,
}

/// How to speak TLS with an upstream; equal if tickets may be shared and the same name is verified.
#[derive(Clone)]
pub struct Tls {
    configs: Arc<Configs>,
    sni: Option<ServerName<'static>>,
}

/// The same configuration with three offers; tickets are shared between them.
struct Configs {
    auto: Arc<ClientConfig>,
    h1: Arc<ClientConfig>,
    h2: Arc<ClientConfig>,
}

impl Store {
    /// The configuration for these parameters: the one in use, or a new one. Reads files.
    pub fn tls(&self, params: &Params) -> Result<Tls, TlsError> {
        let sni = params.sni.as_deref().map(server_name).transpose()?;
        let key = Key::read(params)?;
        let mut state = self.state.lock();
        state.known.retain(|(_, configs)| configs.strong_count() > 0);
        let known = state.known.iter().find(|(other, _)| *other == key).and_then(|(_, configs)| configs.upgrade());
        let configs = match known {
            Some(configs) => configs,
            None => {
                let configs = Arc::new(state.build(params, &key)?);
                state.known.push((key, Arc::downgrade(&configs)));
                configs
            }
        };
        Ok(Tls { configs, sni })
    }
}

impl State {
    fn build(&mut self, params: &Params, key: &Key) -> Result<Configs, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = match (&params.ca, &key.ca) {
            (Some(pem), Some(text)) => bundle(pem, text, &provider)?,
            _ => match &self.system {
                Some(system) => Arc::clone(system),
                None => {
                    Arc::clone(self.system.insert(or_compiled_in(Verifier::new(Arc::clone(&provider)), &provider)?))
                }
            },
        };
        let versions: &[&rustls::SupportedProtocolVersion] = match params.min {
            Version::V12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            Version::V13 => &[&rustls::version::TLS13],
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| TlsError::new("cannot speak the configured TLS versions", error))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match (&params.identity, &key.identity) {
            (Some((cert, key)), Some((cert_text, key_text))) => {
                let chain = certificates(cert, cert_text, "tls.cert")?;
                let private = PrivateKeyDer::from_pem_slice(key_text)
                    .map_err(|error| TlsError::pem(key, "tls.key", "one private key", error))?;
                builder.with_client_auth_cert(chain, private).map_err(|error| TlsError::mismatch(cert, key, error))?
            }
            _ => builder.with_no_client_auth(),
        };
        let offering = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            Arc::new(config)
        };
        Ok(Configs { auto: offering(&[b"h2", b"http/1.1"]), h1: offering(&[b"http/1.1"]), h2: offering(&[b"h2"]) })
    }
}

impl Tls {
    /// A configuration that shares nothing with others.
    pub fn new(params: &Params) -> Result<Self, TlsError> {
        Store::default().tls(params)
    }

    /// The name to verify when connecting to `host`.
    pub fn server_name(&self, host: &Host) -> Result<ServerName<'static>, Error> {
        match (&self.sni, host) {
            (Some(sni), _) => Ok(sni.clone()),
            (None, Host::Ip(ip)) => Ok(ServerName::from(*ip)),
            (None, Host::Name(name)) => ServerName::try_from(name.to_string()).map_err(|error| {
                Error::new(ErrorKind::Tls).with_detail(format!("{name} cannot be in a certificate")).with_source(error)
            }),
        }
    }

    /// Makes `io` a TLS stream to `name`. Takes as long as the server takes.
    pub async fn handshake(&self, name: ServerName<'static>, flavour: Flavour, io: Io) -> Result<(Io, Alpn), Error> {
        let config = match flavour {
            Flavour::Auto => &self.configs.auto,
            Flavour::H1 => &self.configs.h1,
            Flavour::H2 => &self.configs.h2,
        };
        let connector = TlsConnector::from(Arc::clone(config));
        let failed = |cause| error::handshake(&name, cause);
        // A bare socket is owned by TLS directly; anything else (simulation, a tunnel) costs one more box.
        let (io, protocol) = match io.into_tcp() {
            Ok(tcp) => {
                let tls = connector.connect(name.clone(), tcp).await.map_err(failed)?;
                let protocol = tls.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
                (Io::from(tokio_rustls::TlsStream::Client(tls)), protocol)
            }
            Err(io) => {
                let tls = connector.connect(name.clone(), *io).await.map_err(failed)?;
                let protocol = tls.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
                (Io::other(tls), protocol)
            }
        };
        match protocol.as_deref() {
            Some(b"h2") => Ok((io, Alpn::H2)),
            _ if flavour == Flavour::H2 => {
                let detail = format!("{} does not offer http/2", name.to_str());
                Err(Error::new(ErrorKind::Tls).with_detail(detail))
            }
            _ => Ok((io, Alpn::H1)),
        }
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.configs, &other.configs) && self.sni == other.sni
    }
}

impl Eq for Tls {}

impl std::hash::Hash for Tls {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.configs).hash(state);
        self.sni.hash(state);
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("sni", &self.sni).finish_non_exhaustive()
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("known", &self.state.lock().known.len()).finish()
    }
}

impl Pem {
    /// The file, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Text(_) => None,
        }
    }

    fn read(&self, key: &'static str) -> Result<Text, TlsError> {
        match self {
            Self::Text(text) => Ok(Arc::clone(text)),
            Self::File(path) => Ok(std::fs::read(path).map_err(|error| TlsError::file(path, key, error))?.into()),
        }
    }
}

impl Key {
    fn read(params: &Params) -> Result<Self, TlsError> {
        let ca = params.ca.as_ref().map(|pem| pem.read("tls.ca")).transpose()?;
        let identity = match &params.identity {
            Some((cert, key)) => Some((cert.read("tls.cert")?, key.read("tls.key")?)),
            None => None,
        };
        Ok(Self { ca, identity, min: params.min })
    }
}

fn server_name(text: &str) -> Result<ServerName<'static>, TlsError> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(ip.into());
    }
    ServerName::try_from(text.to_owned()).map_err(|error| TlsError::new(format!("tls.sni {text:?} is no host"), error))
}

fn certificates(pem: &Pem, text: &[u8], key: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found = found.map_err(|error| TlsError::pem(pem, key, "certificates", error))?;
    if found.is_empty() {
        return Err(TlsError::pem(pem, key, "certificates", rustls_pki_types::pem::Error::NoItemsFound));
    }
    Ok(found)
}

/// A bundle with one certificate that cannot be a trust anchor is refused: it is the operator's own file.
fn bundle(pem: &Pem, text: &[u8], provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, text, "tls.ca")? {
        roots.add(certificate).map_err(|error| TlsError::pem(pem, "tls.ca", "authorities' certificates", error))?;
    }
    webpki(roots, provider)
}

fn or_compiled_in(
    system: Result<Verifier, rustls::Error>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    match system {
        Ok(system) => Ok(Arc::new(system)),
        Err(error) => {
            tracing::info!(%error, "the system has no trust store, using the compiled-in roots");
            webpki(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }, provider)
        }
    }
}

fn webpki(roots: RootCertStore, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    match WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(provider)).build() {
        Ok(verifier) => Ok(verifier),
        Err(error) => Err(TlsError::new("cannot use the trust anchors", error)),
    }
}

#[cfg(test)]
mod tests;
