//! What the certificate of an authority says: enough to know it again, and to refuse one that can sign for nobody.

use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::parse_x509_certificate;

use super::files;
use crate::listener::tls::{Flaw, Part};

/// See the module. Nothing of it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `CN=...`, as it is shown by tools that list what is trusted.
    pub subject: String,
    /// Seconds since 1970.
    pub from: u64,
    /// Seconds since 1970.
    pub until: u64,
    /// SHA-256 of the certificate, as `AB:CD:...`.
    pub fingerprint: String,
    /// The certificate as PEM.
    pub pem: String,
    /// The certificate itself.
    pub der: CertificateDer<'static>,
    /// Where it was read; `None`: it is only in this process.
    pub file: Option<PathBuf>,
}

impl Identity {
    /// Reads a certificate without its key.
    ///
    /// # Errors
    /// Why it is none, or none of an authority.
    pub fn read(path: &Path) -> Result<Self, Flaw> {
        Self::of_text(path, &files::certificate(path)?)
    }

    /// The same of a text that was read; the first certificate in it counts.
    pub(super) fn of_text(path: &Path, text: &[u8]) -> Result<Self, Flaw> {
        let flaw = |why: String| Flaw::new(Part::Authority, path, why, files::MAKE);
        let der = CertificateDer::from_pem_slice(text).map_err(|_| flaw("has no certificate in it, as PEM".into()))?;
        let identity = Self::of(der).map_err(flaw)?;
        Ok(Self { file: Some(path.to_owned()), ..identity })
    }

    /// Of a certificate that is in no file.
    pub(super) fn of(der: CertificateDer<'static>) -> Result<Self, String> {
        let (_, certificate) =
            parse_x509_certificate(&der).map_err(|_| "begins with something that is no certificate".to_owned())?;
        signs(&certificate)?;
        let seconds = |at: x509_parser::time::ASN1Time| u64::try_from(at.timestamp()).unwrap_or_default();
        let validity = certificate.validity();
        let (from, until) = (seconds(validity.not_before), seconds(validity.not_after));
        let subject = certificate.subject().to_string();
        let fingerprint = digest::digest(&digest::SHA256, &der);
        let fingerprint = fingerprint.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":");
        Ok(Self { subject, from, until, fingerprint, pem: pem(&der), der, file: None })
    }

    /// It is not over, at so many seconds since 1970.
    pub const fn is_valid(&self, now: u64) -> bool {
        self.from <= now && now < self.until
    }
}

/// RFC 5280 sections 4.2.1.9 and 4.2.1.3.
fn signs(certificate: &X509Certificate<'_>) -> Result<(), String> {
    if !certificate.is_ca() {
        return Err("is no authority's certificate: it must have `CA:TRUE`".into());
    }
    match certificate.key_usage() {
        Ok(Some(usage)) if !usage.value.key_cert_sign() => {
            Err("may not sign certificates, as its key usage says".into())
        }
        Ok(_) => Ok(()),
        Err(_) => Err("has a key usage twice".into()),
    }
}

/// RFC 7468 section 5.
fn pem(der: &CertificateDer<'_>) -> String {
    use base64::Engine;

    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned() + "\n");
    format!("-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n", lines.collect::<String>())
}
