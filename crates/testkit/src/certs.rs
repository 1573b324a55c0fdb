//! A certificate authority of a test's own, and servers with certificates of it, good and bad.

use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;

/// The authority.
pub struct Certs {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    dir: TempDir,
}

/// A certificate and its key, as PEM.
pub struct Pair {
    /// The certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
    /// The certificate as it is shown.
    pub der: CertificateDer<'static>,
}

/// What is wrong with a server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing.
    None,
    /// It was valid once.
    Expired,
}

impl Default for Certs {
    fn default() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let root = params.self_signed(&key).expect("signed");
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("ca.pem"), root.pem()).expect("written");
        Self { root: root.der().clone(), issuer: Issuer::new(params, key), dir }
    }
}

impl Certs {
    /// The root, as a file for `tls: {ca: ...}`.
    pub fn ca(&self) -> String {
        self.dir.path().join("ca.pem").display().to_string()
    }

    /// The directory of that file.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A server for `name`, which may be an address.
    pub fn server(&self, name: &str, alpn: &[&str]) -> Arc<ServerConfig> {
        self.flawed(name, alpn, Flaw::None)
    }

    /// A server for `name` with a bad certificate.
    pub fn flawed(&self, name: &str, alpn: &[&str], flaw: Flaw) -> Arc<ServerConfig> {
        let mut params = leaf(&[name]);
        if flaw == Flaw::Expired {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let leaf = params.signed_by(&key, &self.issuer).expect("signed");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .expect("a pair");
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// A certificate for `names` and its key, valid until the first of January of `year`.
    pub fn pair(&self, names: &[&str], year: i32) -> Pair {
        let mut params = leaf(names);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let leaf = params.signed_by(&key, &self.issuer).expect("signed");
        Pair { cert: leaf.pem(), key: key.serialize_pem(), der: leaf.der().clone() }
    }

    /// A file beside the root's.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    }

    /// The first bytes of a TLS client that asks for `name`.
    pub fn hello(&self, name: &str) -> Vec<u8> {
        let name = name.to_owned().try_into().expect("a name");
        let mut client = rustls::ClientConnection::new(self.client(&[]), name).expect("a client");
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).expect("written");
        bytes
    }

    /// A client that trusts the root.
    pub fn client(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        self.client_with(alpn, None, rustls::DEFAULT_VERSIONS)
    }

    /// The same with a certificate of its own, and these versions.
    pub fn client_with(
        &self,
        alpn: &[&str],
        pair: Option<&Pair>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).expect("a root");
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match pair {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
                builder.with_client_auth_cert(vec![pair.der.clone()], key).expect("a pair")
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// A client that trusts the authority of this certificate, as PEM, alone.
pub fn trusting(pem: &str, alpn: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")).expect("a root");
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let mut config = builder.expect("versions").with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// Named for its first name: a subject like the issuer's would pass for self-signed.
/// Of hosts, addresses and URIs.
fn leaf(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let (uris, hosts): (Vec<_>, Vec<_>) = names.iter().cloned().partition(|name| name.contains("://"));
    let mut params = CertificateParams::new(hosts).expect("parameters");
    params.subject_alt_names.extend(uris.into_iter().map(|uri| SanType::URI(uri.try_into().expect("a URI"))));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, names.first().cloned().unwrap_or_default());
    params
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
