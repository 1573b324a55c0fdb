//! What makes a command trust the authority of `intercept`: the variables and files that each runtime reads.
//!
//! Most of these variables replace the roots that a runtime has, so each leads to a bundle of what it would have trusted
//! otherwise (the file that the variable of that name has now, else the system's roots) and our authority. Java reads no
//! such variable, but a trust store that `JAVA_TOOL_OPTIONS` names. All of it lies in a directory that is the owner's
//! alone and goes with the command; there is no secret in it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::Model;
use proxy::intercept::{Authority, usual};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::variables::Inherited;

mod pkcs12;

/// The variables that name a file of authorities, and who reads them.
pub(crate) const BUNDLES: [(&str, &str); 11] = [
    ("SSL_CERT_FILE", "OpenSSL, Python, Go, Ruby"),
    ("CURL_CA_BUNDLE", "curl"),
    ("REQUESTS_CA_BUNDLE", "requests"),
    ("PIP_CERT", "pip"),
    ("NODE_EXTRA_CA_CERTS", "Node.js"),
    ("GIT_SSL_CAINFO", "git"),
    ("CARGO_HTTP_CAINFO", "cargo"),
    ("AWS_CA_BUNDLE", "the AWS tools"),
    ("DENO_CERT", "Deno"),
    ("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "gRPC"),
    ("NIX_SSL_CERT_FILE", "Nix"),
];

/// Our authority's certificate, for tools that the command starts.
pub(crate) const AUTHORITY: &str = "ATTACHE_CA";
/// The Java property of a trust store.
pub(crate) const JAVA_STORE: &str = "-Djavax.net.ssl.trustStore=";

/// Where systems keep their roots as one file.
const SYSTEM: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
];

/// What a command is given.
pub(crate) struct Trust {
    /// Who signs, where that is nobody of the configuration's.
    pub(crate) given: Option<Arc<Authority>>,
    /// To be set.
    pub(crate) variables: Vec<(&'static str, String)>,
    /// To be added to `JAVA_TOOL_OPTIONS`.
    pub(crate) java: Vec<String>,
    /// What the command's owner should know.
    pub(crate) notes: Vec<String>,
}

/// Who signs for tunnels that a configuration opens, and whether it is one for this process alone; `None` if it opens none.
///
/// # Errors
/// The files of the configuration that cannot be used.
fn authority(model: &Model, asked: bool) -> Result<Option<(Arc<Authority>, bool)>, String> {
    if !asked && !model.intercepts() {
        return Ok(None);
    }
    if asked && model.ca.is_none() {
        return Ok(Some((Arc::new(Authority::ephemeral()?), true)));
    }
    let files = model.ca.clone().unwrap_or_else(usual);
    Authority::load(&files).map(|own| Some((Arc::new(own), false))).map_err(|flaw| format!("{flaw}; {}", flaw.help))
}

/// Writes what is needed into `dir`; `None` if nothing is intercepted. `asked`: on the command line, which needs no
/// authority of the configuration's.
pub(crate) fn prepare(
    model: &Model,
    asked: bool,
    dir: &Path,
    inherited: Inherited<'_>,
) -> Result<Option<Trust>, Box<dyn std::error::Error>> {
    let Some((authority, is_new)) = authority(model, asked)? else { return Ok(None) };
    let own = write(dir, "ca.pem", authority.pem())?;
    let mut notes = Vec::new();
    let roots = roots(inherited);
    if roots.is_none() {
        notes.push("no roots of the system were found: the command trusts intercepted hosts alone".to_owned());
    }
    let roots = roots.unwrap_or_default();
    let mut bundles: BTreeMap<String, String> = BTreeMap::new();
    let mut variables = vec![(AUTHORITY, own)];
    for (name, _) in BUNDLES {
        let theirs = inherited(name).filter(|path| !path.is_empty());
        let base = theirs.as_deref().unwrap_or_default().to_owned();
        let path = match bundles.get(&base) {
            Some(path) => path.clone(),
            None => {
                let text = match std::fs::read_to_string(&base) {
                    Ok(text) => text,
                    Err(_) if base.is_empty() => roots.clone(),
                    Err(error) => {
                        notes.push(format!("{name}={base} cannot be read ({error}), so the system's roots are used"));
                        roots.clone()
                    }
                };
                let file = format!("bundle-{}.pem", bundles.len());
                let path = write(dir, &file, &format!("{}\n{}", text.trim_end(), authority.pem()))?;
                bundles.insert(base, path.clone());
                path
            }
        };
        variables.push((name, path));
    }
    let java = match inherited("JAVA_TOOL_OPTIONS").filter(|options| options.contains(JAVA_STORE)) {
        Some(_) => {
            notes.push(
                "JAVA_TOOL_OPTIONS has a trust store already, so Java will not trust intercepted hosts".to_owned(),
            );
            Vec::new()
        }
        None => {
            let text = format!("{roots}\n{}", authority.pem());
            let path = dir.join("java.p12");
            std::fs::write(&path, pkcs12::store(&certificates(&text)))?;
            vec![
                format!("{JAVA_STORE}{}", path.display()),
                "-Djavax.net.ssl.trustStoreType=PKCS12".to_owned(),
                "-Djavax.net.ssl.trustStorePassword=changeit".to_owned(),
            ]
        }
    };
    Ok(Some(Trust { given: is_new.then_some(authority), variables, java, notes }))
}

/// The certificates of a bundle; what cannot be read is left out, as every runtime does.
pub(crate) fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok).collect()
}

/// What the system trusts.
fn roots(inherited: Inherited<'_>) -> Option<String> {
    let theirs = inherited("SSL_CERT_FILE").map(PathBuf::from);
    let all = theirs.into_iter().chain(SYSTEM.map(PathBuf::from));
    all.filter_map(|path| std::fs::read_to_string(path).ok()).find(|text| text.contains("BEGIN CERTIFICATE"))
}

fn write(dir: &Path, name: &str, text: &str) -> io::Result<String> {
    let path = dir.join(name);
    std::fs::write(&path, text)?;
    Ok(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(text: &str) -> Model {
        config::parse(text, "test", config::Format::Yaml).unwrap().model
    }

    #[test]
    fn every_runtime_gets_what_it_trusted_and_the_authority() {
        let dir = tempfile::tempdir().unwrap();
        let corporate = proxy::intercept::generate().unwrap().certificate;
        let file = dir.path().join("corporate.pem").display().to_string();
        std::fs::write(&file, &corporate).unwrap();
        let inherited = |name: &str| (name == "REQUESTS_CA_BUNDLE").then(|| file.clone());

        let trust = prepare(&model("{}"), true, dir.path(), &inherited).unwrap().unwrap();

        let text = |name: &str| {
            let (_, path) = trust.variables.iter().find(|(own, _)| *own == name).unwrap();
            std::fs::read_to_string(path).unwrap()
        };
        let own = text(AUTHORITY);
        assert_eq!(trust.given.as_ref().unwrap().pem(), own);
        for (name, _) in BUNDLES {
            assert_eq!(certificates(&text(name)).last(), certificates(&own).first(), "{name}");
        }
        assert_eq!(certificates(&text("REQUESTS_CA_BUNDLE")).len(), 2, "its own and ours");
        assert_eq!(certificates(&text("REQUESTS_CA_BUNDLE"))[0], certificates(&corporate)[0]);
        assert!(!text("CURL_CA_BUNDLE").contains(corporate.lines().nth(1).unwrap()));
        assert!(trust.java[0].starts_with(JAVA_STORE));
    }

    #[test]
    fn without_interception_nothing_is_prepared_and_a_trust_store_of_the_owners_stays() {
        let dir = tempfile::tempdir().unwrap();
        let theirs = |name: &str| (name == "JAVA_TOOL_OPTIONS").then(|| format!("-Xmx1g {JAVA_STORE}/etc/own.jks"));

        assert!(prepare(&model("{}"), false, dir.path(), &|_| None).unwrap().is_none());
        let trust = prepare(&model("{}"), true, dir.path(), &theirs).unwrap().unwrap();

        assert!(
            trust.java.is_empty() && trust.notes.iter().any(|note| note.contains("trust store")),
            "{:?}",
            trust.notes
        );
    }

    #[test]
    fn the_authority_of_the_configuration_is_used_where_there_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let made = proxy::intercept::generate().unwrap();
        let (cert, key) = (dir.path().join("ca.crt"), dir.path().join("ca.key"));
        std::fs::write(&cert, &made.certificate).unwrap();
        std::fs::write(&key, &made.key).unwrap();
        #[cfg(unix)]
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let text = format!(
            "ca: {{ cert: {}, key: {} }}\nroutes: [{{ match: a.test, intercept: true }}]",
            cert.display(),
            key.display()
        );

        for asked in [true, false] {
            let trust = prepare(&model(&text), asked, dir.path(), &|_| None).unwrap().unwrap();
            assert!(trust.given.is_none());
            let own = std::fs::read_to_string(&trust.variables[0].1).unwrap();
            assert_eq!(certificates(&own), certificates(&made.certificate));
        }
        std::fs::remove_file(&key).unwrap();
        assert!(prepare(&model(&text), true, dir.path(), &|_| None).is_err());
    }
}
