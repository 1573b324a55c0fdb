//! What the variables that name a proxy say, and to whom.

use super::{Finding, Inherited, Level};
use crate::cli::variables;

const SET: &str = "eval \"$(attache env)\", or start the command with `attache run -- CMD`";

/// All there is to say of the variables, for clients that read them.
pub(super) fn findings(proxy: Option<&str>, inherited: Inherited<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for scheme in ["http", "https"] {
        findings.extend(named(scheme, proxy, inherited));
    }
    findings.extend(exceptions(inherited));
    let given = |name: &&str| inherited(name).is_some_and(|value| !value.is_empty());
    if let Some(name) = ["all_proxy", "ALL_PROXY"].into_iter().find(given) {
        let what = format!("{name} is set: clients that read it send other protocols there, and some also http");
        findings.push(Finding::new(Level::Warning, "all-proxy", what, format!("unset {name}")));
    }
    if inherited("REQUEST_METHOD").is_some() {
        let what = "REQUEST_METHOD is set, as in a CGI program: Go and reqwest then ignore HTTP_PROXY";
        findings.push(Finding::new(Level::Warning, "cgi", what, "unset REQUEST_METHOD"));
    }
    findings
}

/// The two cases of one variable.
fn named(scheme: &str, proxy: Option<&str>, inherited: Inherited<'_>) -> Vec<Finding> {
    let (lower, upper) = (format!("{scheme}_proxy"), format!("{}_PROXY", scheme.to_uppercase()));
    let value = |name: &str| inherited(name).filter(|value| !value.trim().is_empty());
    let mut findings = Vec::new();
    match (value(&lower), value(&upper)) {
        (None, None) => {
            let what = format!("neither {lower} nor {upper} is set: {scheme} requests go around the proxy");
            findings.push(Finding::new(Level::Error, "not-set", what, SET));
        }
        (Some(_), None) => {
            let what = format!("{upper} is not set, only {lower}: some clients read upper case alone");
            findings.push(Finding::new(Level::Note, "one-case", what, format!("export {upper}=\"${lower}\"")));
        }
        (None, Some(_)) if scheme == "http" => {
            let what = format!("{lower} is not set, only {upper}: curl, wget, git, apt and PHP read lower case alone");
            findings.push(Finding::new(Level::Error, "one-case", what, format!("export {lower}=\"${upper}\"")));
        }
        (None, Some(_)) => {
            let what = format!("{lower} is not set, only {upper}: wget and apt read lower case alone");
            findings.push(Finding::new(Level::Warning, "one-case", what, format!("export {lower}=\"${upper}\"")));
        }
        (Some(one), Some(other)) if one != other => {
            let what = format!("{lower} and {upper} differ: which one counts is each client's choice");
            findings.push(Finding::new(Level::Warning, "cases-differ", what, format!("export {upper}=\"${lower}\"")));
        }
        (Some(_), Some(_)) => {}
    }
    for name in [&lower, &upper] {
        let Some(value) = value(name) else { continue };
        let address = value.trim_end_matches('/');
        if !value.contains("://") {
            let what = format!("{name}={} has no scheme: httpx and others refuse that", variables::redacted(&value));
            findings.push(Finding::new(Level::Warning, "no-scheme", what, format!("write http:// in front of {name}")));
        }
        if proxy.is_some_and(|proxy| !same(address, proxy)) {
            let what = format!("{name} leads to {}, which is not this proxy", variables::redacted(address));
            findings.push(Finding::new(Level::Error, "other-proxy", what, SET));
        }
    }
    findings
}

/// Whether a variable's value means that proxy.
fn same(value: &str, proxy: &str) -> bool {
    let place = |text: &str| {
        let text = text.split_once("://").map_or(text, |(_, rest)| rest);
        text.rsplit('@').next().unwrap_or_default().replace("localhost:", "127.0.0.1:")
    };
    place(value) == place(proxy)
}

/// Who is left out, and in words that not everybody understands.
fn exceptions(inherited: Inherited<'_>) -> Vec<Finding> {
    let value = |name: &str| inherited(name).filter(|value| !value.trim().is_empty());
    let (lower, upper) = (value("no_proxy"), value("NO_PROXY"));
    let mut findings = Vec::new();
    if lower.is_some() && upper.is_some() && lower != upper {
        let what = "no_proxy and NO_PROXY differ: which one counts is each client's choice";
        findings.push(Finding::new(Level::Warning, "cases-differ", what, "export NO_PROXY=\"$no_proxy\""));
    }
    let list = lower.or(upper).unwrap_or_default();
    let entries: Vec<String> = variables::entries(&list).filter(|entry| !variables::is_direct(entry)).collect();
    if entries.iter().any(|entry| entry == "*") {
        let what = "NO_PROXY is *: nothing goes through the proxy";
        findings.push(Finding::new(Level::Error, "no-proxy-all", what, "remove the * from NO_PROXY and no_proxy"));
    }
    let named: Vec<_> = entries.iter().filter(|entry| *entry != "*").map(String::as_str).collect();
    if !named.is_empty() {
        let what = format!("NO_PROXY lists {}: requests there go around the proxy", named.join(", "));
        let action = "remove what should be seen by the proxy from NO_PROXY and no_proxy";
        findings.push(Finding::new(Level::Warning, "no-proxy", what, action));
    }
    let odd: Vec<_> = named.into_iter().filter(|entry| is_odd(entry)).collect();
    if !odd.is_empty() {
        let what = format!("not every client reads {} in NO_PROXY alike", odd.join(", "));
        let action = "write bare names and addresses, and both foo.com and .foo.com";
        findings.push(Finding::new(Level::Note, "no-proxy-form", what, action));
    }
    findings
}

/// Wildcards, networks and ports.
fn is_odd(entry: &str) -> bool {
    let is_address = entry.parse::<std::net::IpAddr>().is_ok();
    !is_address && (entry.contains(['*', '/', ':']) || entry.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "http://127.0.0.1:4780";

    fn found(pairs: &[(&str, &str)]) -> Vec<(Level, &'static str)> {
        let inherited = |name: &str| pairs.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned());
        findings(Some(OURS), &inherited).iter().map(|one| (one.level, one.id)).collect()
    }

    fn with(more: &[(&'static str, &'static str)]) -> Vec<(Level, &'static str)> {
        let all = variables::PROXIES.iter().filter(|name| !more.iter().any(|(own, _)| own == *name));
        let mut pairs: Vec<_> = all.map(|name| (*name, OURS)).collect();
        pairs.extend(more.iter().filter(|(_, value)| *value != "-"));
        found(&pairs)
    }

    #[test]
    fn what_run_sets_has_nothing_to_be_told_of() {
        let set = variables::set("127.0.0.1", 4780, &|_| None);
        let pairs: Vec<_> = set.iter().map(|(name, value)| (*name, value.as_str())).collect();

        assert_eq!(found(&pairs), []);
        assert_eq!(with(&[("http_proxy", "http://localhost:4780/")]), [(Level::Warning, "cases-differ")]);
    }

    #[test]
    fn each_way_around_has_a_finding() {
        use Level::{Error, Note, Warning};

        assert_eq!(found(&[]), [(Error, "not-set"), (Error, "not-set")]);
        for (more, expected) in [
            (&[("http_proxy", "-")][..], &[(Error, "one-case")][..]),
            (&[("https_proxy", "-")], &[(Warning, "one-case")]),
            (&[("HTTPS_PROXY", "-")], &[(Note, "one-case")]),
            (&[("HTTP_PROXY", "http://corp:3128")], &[(Warning, "cases-differ"), (Error, "other-proxy")]),
            (&[("http_proxy", "127.0.0.1:4780"), ("HTTP_PROXY", "127.0.0.1:4780")], &[(Warning, "no-scheme"); 2]),
            (&[("ALL_PROXY", "socks5://corp")], &[(Warning, "all-proxy")]),
            (&[("REQUEST_METHOD", "GET")], &[(Warning, "cgi")]),
            (&[("no_proxy", "*")], &[(Error, "no-proxy-all")]),
            (&[("NO_PROXY", "localhost,db.internal")], &[(Warning, "no-proxy")]),
            (&[("NO_PROXY", "*.corp,10.0.0.0/8")], &[(Warning, "no-proxy"), (Note, "no-proxy-form")]),
            (&[("NO_PROXY", "localhost,::1"), ("no_proxy", "localhost")], &[(Warning, "cases-differ")]),
        ] {
            assert_eq!(with(more), expected, "{more:?}");
        }
    }

    #[test]
    fn a_password_is_not_repeated() {
        let inherited = |name: &str| (name == "http_proxy").then(|| "http://me:s3cret@corp:3128".to_owned());

        let findings = findings(Some(OURS), &inherited);

        assert!(findings.iter().all(|one| !one.what.contains("s3cret")), "{findings:?}");
        assert!(findings.iter().any(|one| one.what.contains("***@corp:3128")), "{findings:?}");
    }
}
