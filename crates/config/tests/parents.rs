//! The proxies that requests leave through: what is read, and what is refused.

#![allow(clippy::unwrap_used, clippy::panic)]

use config::model::{Auth, Secret};
use config::{Diagnostic, Format};

fn found(line: &str) -> Vec<Diagnostic> {
    match config::parse(line, "attache.yaml", Format::Yaml) {
        Ok(loaded) => loaded.warnings,
        Err(found) => found,
    }
}

#[test]
fn short_and_long_forms_mean_the_same() {
    let read = |text: &str| config::parse(text, "attache.yaml", Format::Yaml).unwrap().model.parents;

    assert!(read("{}").is_empty());
    let short = read("parent: http://corp:3128");
    assert_eq!(short, read("parent: [{ url: 'http://corp:3128' }]"));
    assert_eq!((short[0].url.host.as_str(), short[0].url.port), ("corp", 3128));
    let long =
        read("parent: { url: 'https://corp', for: a.test, not_for: [10.0.0.0/8], auth: { bearer: { env: TOKEN } } }");
    assert_eq!(long[0].auth, Some(Auth::Bearer(Secret::Env("TOKEN".into()))));
    assert_eq!((long[0].url.port, long[0].only.len(), long[0].except.len()), (443, 1, 1));
}

#[test]
fn what_cannot_be_a_parent_is_told_with_the_next_step() {
    for (line, id) in [
        ("parent: corp:3128", "bad-value"),
        ("parent: socks5://corp:1080", "bad-value"),
        ("parent: http://corp:3128/path", "bad-value"),
        ("parent: { for: a.test }", "missing-key"),
        ("parent: { url: 'http://corp', fro: a.test }", "unknown-key"),
        ("parent: { url: 'http://corp', for: 'http://a.test' }", "bad-value"),
        ("parent: { url: 'http://corp', auth: hunter2 }", "wrong-type"),
        ("parent: { url: 'http://corp', auth: { bearer: hunter2 } }", "literal-secret"),
        ("parent: { url: 'https://corp', auth: { header: { name: x, value: { env: A } } } }", "unknown-key"),
        (
            "parent: { url: 'https://corp', auth: { bearer: { env: A }, basic: { user: a, password: { env: B } } } }",
            "exclusive-keys",
        ),
        ("parent: { url: 'http://corp', tls: { ca: ca.pem } }", "no-effect"),
        ("parent: { url: 'http://corp', auth: { bearer: { env: A } } }", "plaintext-auth"),
        ("parent: [http://one, http://two]", "shadowed-parent"),
    ] {
        let found = found(line);
        assert!(found.iter().any(|one| one.id == id && one.help.is_some()), "{line}: {found:?}");
        assert!(found.iter().all(|one| !one.to_string().contains("hunter2")), "{}", found[0]);
    }
    for line in [
        "parent: { url: 'http://127.0.0.1:3128', auth: { bearer: { env: A } } }",
        "parent: [{ url: 'http://one', for: a.test }, 'http://two']",
    ] {
        assert!(found(line).is_empty(), "{line}");
    }
    assert!(!found("parent: http://me:hunter2@corp:3128")[0].to_string().contains("hunter2"));
}
