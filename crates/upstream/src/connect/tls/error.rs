//! What goes wrong with TLS, in words an operator can act on: when it is configured, and in a handshake.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use exchange::{Error, ErrorKind};
use rustls::{AlertDescription, CertificateError, Error as Rustls};
use rustls_pki_types::{ServerName, UnixTime};

use super::Pem;

/// How many of a certificate's names an error lists.
const NAMED: usize = 5;

/// A TLS configuration that cannot be used: what failed, on which file, what to do.
#[derive(Debug)]
pub struct TlsError {
    text: Cow<'static, str>,
    path: Option<PathBuf>,
    source: Box<dyn StdError + Send + Sync>,
}

impl TlsError {
    /// The file it is about.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    pub(super) fn new(text: impl Into<Cow<'static, str>>, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { text: text.into(), path: None, source: source.into() }
    }

    pub(super) fn file(path: &Path, key: &str, source: io::Error) -> Self {
        let text = format!("cannot read {}, name a readable PEM file in {key}", path.display());
        Self { path: Some(path.to_owned()), ..Self::new(text, source) }
    }

    pub(super) fn pem(pem: &Pem, key: &str, what: &str, source: impl StdError + Send + Sync + 'static) -> Self {
        let place = pem.path().map_or_else(|| key.to_owned(), |path| path.display().to_string());
        let text = format!("{place} is not usable, {key} must hold {what} in PEM");
        Self { path: pem.path().map(Path::to_owned), ..Self::new(text, source) }
    }

    pub(super) fn mismatch(cert: &Pem, key: &Pem, source: Rustls) -> Self {
        let show =
            |pem: &Pem, name: &str| pem.path().map_or_else(|| name.to_owned(), |path| path.display().to_string());
        let (cert_place, key_place) = (show(cert, "tls.cert"), show(key, "tls.key"));
        let text = format!(
            "the key {key_place} does not fit the certificate {cert_place}, name the pair that belongs together"
        );
        Self { path: key.path().map(Path::to_owned), ..Self::new(text, source) }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.text, self.source)
    }
}

impl StdError for TlsError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.source)
    }
}

/// The error of a handshake that failed. Nothing of a request was sent.
pub(super) fn handshake(name: &ServerName<'_>, cause: io::Error) -> Error {
    let host = name.to_str();
    let (kind, why): (_, Cow<'static, str>) = match cause.get_ref().and_then(|inner| inner.downcast_ref::<Rustls>()) {
        Some(Rustls::InvalidCertificate(bad)) => (ErrorKind::TlsCertificate, certificate(bad)),
        Some(Rustls::NoCertificatesPresented) => {
            (ErrorKind::TlsCertificate, "the server presented no certificate".into())
        }
        Some(Rustls::AlertReceived(alert)) => (ErrorKind::Tls, refused(*alert)),
        Some(Rustls::InvalidMessage(_)) => {
            (ErrorKind::Tls, "the answer is not TLS, is this port for plain http?".into())
        }
        Some(Rustls::PeerIncompatible(why)) => {
            (ErrorKind::Tls, format!("no TLS version or cipher in common ({why:?})").into())
        }
        Some(other) => (ErrorKind::Tls, other.to_string().into()),
        None if cause.kind() == io::ErrorKind::UnexpectedEof => {
            (ErrorKind::Tls, "the server closed the connection during the handshake".into())
        }
        None => (ErrorKind::Tls, cause.to_string().into()),
    };
    Error::new(kind).with_detail(format!("{host}: {why}")).with_source(cause)
}

fn certificate(bad: &CertificateError) -> Cow<'static, str> {
    match bad {
        CertificateError::Expired => "the certificate has expired".into(),
        CertificateError::ExpiredContext { time, not_after } => {
            format!("the certificate expired {} ago", span(*not_after, *time)).into()
        }
        CertificateError::NotValidYet => "the certificate is not valid yet, is this machine's clock right?".into(),
        CertificateError::NotValidYetContext { time, not_before } => {
            let wait = span(*time, *not_before);
            format!("the certificate is only valid in {wait}, is this machine's clock right?").into()
        }
        CertificateError::UnknownIssuer => {
            "the certificate is signed by an unknown authority, name its certificate in tls.ca to trust it".into()
        }
        CertificateError::NotValidForName => "the certificate is for another host".into(),
        CertificateError::NotValidForNameContext { presented, .. } => {
            let more = if presented.len() > NAMED { ", ..." } else { "" };
            let names: Vec<&str> = presented.iter().take(NAMED).map(|name| plain(name)).collect();
            let names = if names.is_empty() { "no host" } else { &names.join(", ") };
            format!("the certificate is for {names}{more}, not for this host").into()
        }
        CertificateError::Revoked => "the certificate is revoked".into(),
        other => format!("the certificate is not acceptable: {other}").into(),
    }
}

/// `DnsName("a.test")` as `a.test`.
fn plain(presented: &str) -> &str {
    presented.split('"').nth(1).unwrap_or(presented)
}

fn refused(alert: AlertDescription) -> Cow<'static, str> {
    match alert {
        AlertDescription::CertificateRequired => {
            "the server requires a client certificate, set tls.cert and tls.key".into()
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => format!("the server refused our certificate ({alert:?})").into(),
        AlertDescription::NoApplicationProtocol => "the server speaks none of the offered http versions".into(),
        AlertDescription::UnrecognisedName => "the server does not know this name, is tls.sni right?".into(),
        AlertDescription::ProtocolVersion => "the server refused the TLS version, is tls.min too high?".into(),
        other => format!("the server refused the handshake ({other:?})").into(),
    }
}

fn span(from: UnixTime, to: UnixTime) -> String {
    match to.as_secs().saturating_sub(from.as_secs()) {
        secs @ 0..120 => format!("{secs} s"),
        secs @ 120..7200 => format!("{} minutes", secs / 60),
        secs @ 7200..172_800 => format!("{} hours", secs / 3600),
        secs => format!("{} days", secs / 86_400),
    }
}
