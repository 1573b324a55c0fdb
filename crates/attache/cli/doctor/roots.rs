//! Whether a runtime trusts the authority of `intercept`: each variable that names its roots is followed to its file.

use config::Model;

use super::runtime::Kind;
use super::{Finding, Inherited, Level};
use crate::cli::trust::{AUTHORITY, BUNDLES, JAVA_STORE, certificates};
use crate::cli::variables;

const RUN: &str = "start it with `attache run --intercept -- CMD`, which sets all of these";

/// All there is to say of trust; of a runtime that is known, what that one reads is an error.
pub(super) fn findings(model: &Model, kind: Option<Kind>, inherited: Inherited<'_>) -> Vec<Finding> {
    let usual = || model.ca.clone().unwrap_or_else(proxy::intercept::usual).cert.display().to_string();
    let path = inherited(AUTHORITY).unwrap_or_else(usual);
    let own = std::fs::read_to_string(&path).ok().and_then(|text| certificates(&text).into_iter().next());
    let Some(own) = own else {
        let what = format!("no authority of ours at {path}: what the bundles hold cannot be compared");
        return vec![Finding::new(Level::Error, "no-authority", what, "attache ca init")];
    };
    let mut findings = Vec::new();
    for (name, readers) in BUNDLES {
        let level = if is_read(kind, name) { Level::Error } else { Level::Warning };
        if kind.is_some() && level == Level::Warning {
            continue;
        }
        let Some(path) = inherited(name).filter(|path| !path.is_empty()) else {
            let what = format!("{name} is not set: {readers} will refuse intercepted hosts");
            findings.push(Finding::new(level, "trust-not-set", what, RUN));
            continue;
        };
        match std::fs::read_to_string(&path) {
            Err(error) => {
                let what = format!("{name}={path} cannot be read: {error}");
                findings.push(Finding::new(Level::Error, "trust-unreadable", what, format!("correct or unset {name}")));
            }
            Ok(text) if !certificates(&text).contains(&own) => {
                let what =
                    format!("{name}={path} does not hold our authority: {readers} will refuse intercepted hosts");
                findings.push(Finding::new(level, "trust-without-ours", what, RUN));
            }
            Ok(_) => {}
        }
    }
    let java = inherited(variables::JAVA).unwrap_or_default();
    if kind.is_none_or(|kind| kind == Kind::Java) && !java.contains(JAVA_STORE) {
        let level = if kind.is_some() { Level::Error } else { Level::Warning };
        let what = "JAVA_TOOL_OPTIONS names no trust store: Java will refuse intercepted hosts";
        findings.push(Finding::new(level, "trust-not-set", what, RUN));
    }
    findings
}

/// Whether that runtime reads this variable; of one that is not known, nothing is sure.
fn is_read(kind: Option<Kind>, name: &str) -> bool {
    match kind {
        Some(Kind::Curl) => name == "CURL_CA_BUNDLE",
        Some(Kind::Git) => name == "GIT_SSL_CAINFO",
        Some(Kind::Python) => matches!(name, "SSL_CERT_FILE" | "REQUESTS_CA_BUNDLE"),
        Some(Kind::Node(_)) => name == "NODE_EXTRA_CA_CERTS",
        Some(Kind::Go | Kind::Ruby | Kind::Php) => name == "SSL_CERT_FILE",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::trust;

    fn ids(findings: &[Finding]) -> Vec<(Level, &'static str)> {
        findings.iter().map(|one| (one.level, one.id)).collect()
    }

    #[test]
    fn what_run_prepares_is_trusted_and_what_is_taken_away_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let model = config::parse("{}", "test", config::Format::Yaml).unwrap().model;
        let trust = trust::prepare(&model, true, dir.path(), &|_| None).unwrap().unwrap();
        let java = trust.java.join(" ");
        let foreign = dir.path().join("foreign.pem");
        std::fs::write(&foreign, proxy::intercept::generate().unwrap().certificate).unwrap();
        let foreign = foreign.display().to_string();
        let seen = |changed: &'static str, to: Option<&str>, kind: Option<Kind>| {
            let inherited = |name: &str| match name {
                _ if name == changed => to.map(str::to_owned),
                variables::JAVA => Some(java.clone()),
                _ => trust.variables.iter().find(|(own, _)| *own == name).map(|(_, value)| value.clone()),
            };
            ids(&findings(&model, kind, &inherited))
        };

        assert_eq!(seen("", None, None), []);
        assert_eq!(seen("CURL_CA_BUNDLE", None, None), [(Level::Warning, "trust-not-set")]);
        assert_eq!(seen("CURL_CA_BUNDLE", None, Some(Kind::Curl)), [(Level::Error, "trust-not-set")]);
        assert_eq!(seen("CURL_CA_BUNDLE", None, Some(Kind::Git)), []);
        assert_eq!(seen("CURL_CA_BUNDLE", Some(&foreign), Some(Kind::Curl)), [(Level::Error, "trust-without-ours")]);
        assert_eq!(seen("CURL_CA_BUNDLE", Some("/nowhere"), None), [(Level::Error, "trust-unreadable")]);
        assert_eq!(seen(variables::JAVA, None, Some(Kind::Java)), [(Level::Error, "trust-not-set")]);
        assert_eq!(seen(AUTHORITY, Some("/nowhere"), None), [(Level::Error, "no-authority")]);
    }
}
