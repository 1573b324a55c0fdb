//! The authority: its key, and the certificates it signs for the hosts of tunnels.
//!
//! One key pair for all leaves of an authority, made with it and never written: a key of each host's own would keep
//! nothing from whoever can read this process, and cost another key in memory for each. A leaf is for one name or
//! address, lives 24 hours (a clock that is an hour behind takes it, too) and never longer than the authority; it is
//! signed anew after half of its time. The last 1,024 hosts are kept. Two workers that want the same one at once sign
//! it twice, which is cheaper than to wait.
//!
//! Cost: a signature of P-256 and some 10 KiB of encoding once a host and 12 hours; else a look into the cache.
//! Nothing here ever shows a key: `Debug` is written by hand.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use config::model::Certificate as Files;
use exchange::{Host, clock};
use quick_cache::sync::Cache;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, date_time_ymd,
};
use rustls::crypto::aws_lc_rs::{self as provider, Ticketer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{ServerConfig, version};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::parse_x509_certificate;

use super::files;
use super::identity::Identity;
use super::refusals::{Refusal, Refusals};
use crate::listener::tls::{Flaw, Part};

/// Leaves that are kept.
const HOSTS: usize = 1024;
const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;
/// For clocks that are behind.
const BACKDATED: u64 = HOUR;
const LEAF: u64 = DAY;
const ON_DISK: u64 = 365 * DAY;
const IN_MEMORY: u64 = 7 * DAY;
/// Of a serial number, which is positive (RFC 5280 section 4.1.2.2).
const SERIAL: usize = 16;
/// RFC 5280 appendix A: `ub-common-name`.
const COMMON_NAME: usize = 64;

/// A local authority; see the module.
pub struct Authority {
    identity: Identity,
    issuer: Issuer<'static, KeyPair>,
    /// After the leaf, for an authority that is not its own root.
    chain: Vec<CertificateDer<'static>>,
    leaf: KeyPair,
    signing: Arc<dyn SigningKey>,
    /// What all hosts share: versions, ALPN, the keys of tickets.
    base: ServerConfig,
    leaves: Cache<Host, Leaf>,
    pub(super) refusals: Refusals,
}

/// A new authority as it is written to files. The key is in it, so it has no `Debug`.
pub struct Generated {
    /// As PEM.
    pub certificate: String,
    /// As PEM: for nobody else to read.
    pub key: String,
}

#[derive(Clone)]
struct Leaf {
    config: Arc<ServerConfig>,
    /// Seconds since 1970.
    from: u64,
    renew: u64,
}

/// Makes an authority for files, valid for a year.
///
/// # Errors
/// If the system gives no randomness.
pub fn generate() -> Result<Generated, String> {
    let (params, key) = made(ON_DISK, clock::calendar())?;
    let certificate = params.self_signed(&key).map_err(|error| error.to_string())?;
    Ok(Generated { certificate: certificate.pem(), key: key.serialize_pem() })
}

impl Authority {
    /// One that is nowhere but in this process, valid for a week.
    ///
    /// # Errors
    /// If the system gives no randomness.
    pub fn ephemeral() -> Result<Self, String> {
        Self::ephemeral_at(clock::calendar())
    }

    fn ephemeral_at(now: Duration) -> Result<Self, String> {
        let (params, key) = made(IN_MEMORY, now)?;
        let certificate = params.self_signed(&key).map_err(|error| error.to_string())?;
        let identity = Identity::of(certificate.der().clone())?;
        Self::new(identity, Issuer::new(params, key), Vec::new())
    }

    /// Reads the two files of one that was made before.
    ///
    /// # Errors
    /// The file that cannot be used, why, and what helps.
    pub fn load(files: &Files) -> Result<Self, Flaw> {
        Self::load_at(files, clock::calendar())
    }

    fn load_at(files: &Files, now: Duration) -> Result<Self, Flaw> {
        let text = files::certificate(&files.cert)?;
        let identity = Identity::of_text(&files.cert, &text)?;
        let cert = |why: String| Flaw::new(Part::Authority, &files.cert, why, files::MAKE);
        let key = |why: &str, help: &str| Flaw::new(Part::Authority, &files.key, why, help);
        if !identity.is_valid(now.as_secs()) {
            let over = if now.as_secs() < identity.from { "is not valid yet" } else { "has expired" };
            let help = "make another with `attache ca init --force`, and let the clients trust it";
            return Err(Flaw::new(Part::Authority, &files.cert, over, help));
        }
        let secret = files::key(&files.key)?;
        let secret = std::str::from_utf8(&secret).map_err(|_| key("is no PEM", files::MAKE))?;
        // Its error may show what stands there.
        let pair =
            KeyPair::from_pem(secret).map_err(|_| key("has no private key in it that can be used", files::MAKE))?;
        let fits = parse_x509_certificate(&identity.der)
            .is_ok_and(|(_, of)| of.public_key().raw == pair.subject_public_key_info());
        if !fits {
            let why = format!("does not fit the certificate in {}", files.cert.display());
            return Err(key(&why, "name the pair that belongs together"));
        }
        let issuer = Issuer::from_ca_cert_der(&identity.der, pair)
            .map_err(|_| cert("has a subject that cannot be written into other certificates".into()))?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let chain = chain.map_err(|_| cert("breaks off, or has a section that is no base64".into()))?;
        let chain = if is_root(&identity.der) { Vec::new() } else { chain };
        let authority = Self::new(identity, issuer, chain).map_err(&cert)?;
        match authority.follows(now) {
            true => Ok(authority),
            false => Err(cert("has a subject that cannot be written into other certificates as it is".into())),
        }
    }

    fn new(
        identity: Identity,
        issuer: Issuer<'static, KeyPair>,
        chain: Vec<CertificateDer<'static>>,
    ) -> Result<Self, String> {
        let leaf = KeyPair::generate().map_err(|error| error.to_string())?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf.serialize_der()));
        let provider = provider::default_provider();
        let signing = provider.key_provider.load_private_key(key).map_err(|error| error.to_string())?;
        let base = base(provider).map_err(|error| error.to_string())?;
        Ok(Self {
            identity,
            issuer,
            chain,
            leaf,
            signing,
            base,
            leaves: Cache::new(HOSTS),
            refusals: Refusals::default(),
        })
    }

    /// What its certificate says.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The certificate that clients must trust, as PEM. Never the key.
    pub fn pem(&self) -> &str {
        &self.identity.pem
    }

    /// The hosts whose clients refused what it signed, the latest first; at most 64.
    pub fn refusals(&self) -> Vec<Refusal> {
        self.refusals.all()
    }

    /// How to speak TLS as `host`.
    pub(super) fn config(&self, host: &Host) -> Result<Arc<ServerConfig>, rcgen::Error> {
        self.config_at(host, clock::calendar().as_secs())
    }

    fn config_at(&self, host: &Host, now: u64) -> Result<Arc<ServerConfig>, rcgen::Error> {
        if let Some(leaf) = self.leaves.get(host)
            && (leaf.from..leaf.renew).contains(&now)
        {
            return Ok(leaf.config);
        }
        let (certificate, from, until) = self.sign(host, now)?;
        let chain = [certificate].into_iter().chain(self.chain.iter().cloned()).collect();
        let shown = Shown(Arc::new(CertifiedKey::new(chain, Arc::clone(&self.signing))));
        let mut config = self.base.clone();
        config.cert_resolver = Arc::new(shown);
        let config = Arc::new(config);
        let renew = now + until.saturating_sub(now) / 2;
        self.leaves.insert(host.clone(), Leaf { config: Arc::clone(&config), from, renew });
        Ok(config)
    }

    /// A leaf, and from when to when it is valid.
    fn sign(&self, host: &Host, now: u64) -> Result<(CertificateDer<'static>, u64, u64), rcgen::Error> {
        let from = now.saturating_sub(BACKDATED).max(self.identity.from);
        let until = (now + LEAF).min(self.identity.until);
        let mut params = CertificateParams::default();
        params.serial_number = Some(serial()?);
        valid(&mut params, from, until);
        params.subject_alt_names = vec![match host {
            Host::Name(name) => SanType::DnsName((&**name).try_into()?),
            Host::Ip(ip) => SanType::IpAddress(*ip),
        }];
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "attache (local interception)");
        let name = match host {
            Host::Name(name) => name.to_string(),
            Host::Ip(IpAddr::V4(ip)) => ip.to_string(),
            Host::Ip(IpAddr::V6(ip)) => ip.to_string(),
        };
        if name.len() <= COMMON_NAME {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&self.leaf, &self.issuer)?;
        Ok((leaf.der().clone(), from, until))
    }

    /// A leaf names the authority in the very bytes of its certificate: foreign names have forms that are lost.
    fn follows(&self, now: Duration) -> bool {
        let Ok((leaf, ..)) = self.sign(&Host::Ip(IpAddr::from([127, 0, 0, 1])), now.as_secs()) else { return false };
        let own = parse_x509_certificate(&self.identity.der);
        let leaf = parse_x509_certificate(&leaf);
        leaf.is_ok_and(|(_, leaf)| own.is_ok_and(|(_, own)| own.subject().as_raw() == leaf.issuer().as_raw()))
    }

    #[cfg(test)]
    fn kept(&self) -> usize {
        self.leaves.len()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Identity { subject, fingerprint, .. } = &self.identity;
        f.debug_struct("Authority").field("subject", subject).field("fingerprint", fingerprint).finish_non_exhaustive()
    }
}

/// The one certificate of a host, whatever name is asked for: the tunnel's was looked at before.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// What a new authority says of itself, valid for so many seconds.
fn made(lifetime: u64, now: Duration) -> Result<(CertificateParams, KeyPair), String> {
    let key = KeyPair::generate().map_err(|error| error.to_string())?;
    let now = now.as_secs();
    let mut params = CertificateParams::default();
    let serial = serial().map_err(|error| error.to_string())?;
    // Told apart in lists of what is trusted, and by those who look an issuer up by its name.
    let mark: String = serial.to_bytes().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    params.serial_number = Some(serial);
    valid(&mut params, now.saturating_sub(BACKDATED), now + lifetime);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("attache local CA {mark}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok((params, key))
}

fn base(provider: rustls::crypto::CryptoProvider) -> Result<ServerConfig, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(Nobody));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = Ticketer::new()?;
    Ok(config)
}

/// Until a host is known.
#[derive(Debug)]
struct Nobody;

impl ResolvesServerCert for Nobody {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

fn serial() -> Result<SerialNumber, rcgen::Error> {
    let mut bytes = [0; SERIAL];
    rand::fill(&mut bytes).map_err(|_| rcgen::Error::RingUnspecified)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// From when to when, in seconds since 1970.
fn valid(params: &mut CertificateParams, from: u64, until: u64) {
    let first = date_time_ymd(1970, 1, 1);
    (params.not_before, params.not_after) = (first + Duration::from_secs(from), first + Duration::from_secs(until));
}

fn is_root(der: &CertificateDer<'_>) -> bool {
    parse_x509_certificate(der).is_ok_and(|(_, own)| own.subject().as_raw() == own.issuer().as_raw())
}

#[cfg(test)]
mod tests;
