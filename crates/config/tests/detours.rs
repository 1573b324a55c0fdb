//! What is said of `fallback`.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use config::model::{Abort, AsideTo, FallbackWith, On, Stale};
use config::{Diagnostic, Format};

const ROUTE: &str = "routes:\n  - match: a.com\n    to: https://a.com\n    ";

fn found(text: &str) -> Vec<Diagnostic> {
    match config::parse(text, "attache.yaml", Format::Yaml) {
        Ok(loaded) => loaded.warnings,
        Err(found) => found,
    }
}

/// The id, the line and what to do, of all that is found in a route.
fn said(rest: &str) -> Vec<(&'static str, u32, String)> {
    let found = found(&format!("{ROUTE}{rest}\n"));
    found.into_iter().map(|one| (one.id, one.line, one.help.unwrap_or_default())).collect()
}

#[test]
fn a_fallback_is_read_in_all_its_forms() {
    let text = format!(
        "upstreams: [{{ name: eu, endpoints: https://eu.com }}]\n{ROUTE}fallback:\n      - {{ on: [reset, 5xx], to: upstream:eu }}\n      \
         - {{ on: 404, to: 'https://b.com:8443/v1', auth: {{ bearer: {{ env: T }} }} }}\n      \
         - {{ on: deadline, respond: 204 }}\n      - {{ on: dns, stale: 5m }}\n"
    );

    let loaded = config::parse(&text, "attache.yaml", Format::Yaml).unwrap();

    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let policy = &loaded.model.routes[0].policy;
    let [first, second, third, fourth] = policy.fallback.as_slice() else { panic!("{policy:?}") };
    assert_eq!(first.on, [On::Reason("reset"), On::Statuses(500, 599)]);
    let FallbackWith::Upstream(aside) = &first.with else { panic!("{first:?}") };
    assert_eq!((&aside.to, &aside.auth), (&AsideTo::Upstream("eu".into()), &None));
    let FallbackWith::Upstream(aside) = &second.with else { panic!("{second:?}") };
    assert!(matches!(&aside.to, AsideTo::Url(url) if url.port == 8443 && url.base == "/v1") && aside.auth.is_some());
    assert!(matches!(&third.with, FallbackWith::Respond { status: 204, .. }));
    let kept = Stale { max_stale: Duration::from_secs(300), max_entries: 1000, max_size: 16 << 20, max_body: 1 << 20 };
    assert_eq!((&fourth.with, policy.stale()), (&FallbackWith::Stale(kept), Some(kept)));
    assert_eq!((policy.asides().count(), policy.auths().count()), (2, 1));
}

#[test]
fn what_is_wrong_with_a_fallback_is_said_with_the_next_step() {
    for (rest, id, help) in [
        ("fallback: [{ on: conect_refused, respond: 200 }]", "bad-value", "did you mean `connect_refused`?"),
        ("fallback: [{ on: truncated, respond: 200 }]", "bad-value", "remove it"),
        (
            "fallback: [{ on: [], respond: 200 }]",
            "bad-value",
            "write what it stands in for: `on: [connect_refused, 5xx]`",
        ),
        ("fallback: [{ on: 5xx }]", "missing-key", "write one of them"),
        ("fallback: [{ respond: 200 }]", "missing-key", ""),
        ("fallback: [{ on: 5xx, respond: 200, to: 'https://b.com' }]", "exclusive-keys", "keep one"),
        ("fallback: [{ on: 5xx, respond: 200, auth: { bearer: { env: T } } }]", "misplaced-key", "remove it"),
        ("fallback: [{ on: deadline, to: 'https://b.com' }]", "bad-value", "use `respond` for it"),
        ("fallback: [{ on: 5xx, to: upstream:eu }]", "unknown-upstream", "add it to `upstreams`"),
        ("fallback: [{ on: 5xx, to: b.com }]", "bad-value", "write `https://b.com`"),
        (
            "fallback: [{ on: 5xx, to: 'http://b.com', auth: { bearer: { env: T } } }]",
            "plaintext-auth",
            "use `https://`",
        ),
        ("fallback: [{ on: 5xx, stale: 1h, respond: 200 }]", "exclusive-keys", "keep one"),
        ("fallback: [{ on: 5xx, stale: { max_stale: 1h, max_size: 1KiB } }]", "out-of-range", "raise `max_size`"),
        (
            "fallback: [{ on: 5xx, stale: 1h }, { on: dns, stale: 2h }]",
            "exclusive-keys",
            "write all of its `on` in one rule",
        ),
        ("fallback: [{ on: 5xx, stale: 1 }]", "bad-value", "write a duration"),
        ("fallback: [{ on: 5xx, stale: { max_age: 1h } }]", "unknown-key", "did you mean `max_stale`?"),
        ("fallback: [{ on: 5xx, respnd: 200 }]", "unknown-key", "did you mean `respond`?"),
    ] {
        let said = said(rest);
        assert!(
            said.iter().any(|(one, line, text)| (*one, *line) == (id, 4) && text.starts_with(help)),
            "{rest}: {said:?}"
        );
    }
}

#[test]
fn a_fallback_needs_something_to_fall_back_from_and_makes_an_upstream_used() {
    let misplaced = found("routes:\n  - match: a.com\n    respond: 204\n    fallback: [{ on: 5xx, respond: 200 }]\n");
    assert_eq!(misplaced.iter().map(|one| one.id).collect::<Vec<_>>(), ["misplaced-key"]);

    let default = found("default: { fallback: [{ on: 5xx, respond: 200 }] }\n");
    assert_eq!(default.iter().map(|one| one.id).collect::<Vec<_>>(), ["unknown-key"]);

    let used = format!(
        "upstreams: [{{ name: eu, endpoints: https://eu.com }}]\n{ROUTE}fallback: [{{ on: 5xx, to: upstream:eu }}]\n"
    );
    assert!(found(&used).is_empty());
}

#[test]
fn no_secret_of_a_fallback_is_ever_shown() {
    for auth in ["hunter2", "{ bearer: hunter2 }", "{ bearer: { fiel: hunter2 } }"] {
        for found in found(&format!("{ROUTE}fallback: [{{ on: 5xx, to: 'https://b.com', auth: {auth} }}]\n")) {
            assert!(!found.to_string().contains("hunter2"), "{auth}: {found}");
        }
    }
}

#[test]
fn a_fault_is_read_in_all_its_forms() {
    let fault = |text: &str| {
        let loaded = config::parse(&format!("{ROUTE}fault: {text}\n"), "attache.yaml", Format::Yaml).unwrap();
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        loaded.model.routes[0].policy.fault.clone().unwrap()
    };

    let short = fault("{ delay: 200ms, abort: 503, reset: 1% }");
    assert_eq!((short.delay, short.reset), (Some((Duration::from_millis(200), 1.0)), Some(0.01)));
    assert_eq!(short.abort, Some(Abort { status: Some(503), grpc: None, share: 1.0 }));
    let long =
        fault("{ delay: { time: 10m, share: 5% }, abort: { grpc: internal, share: 2% }, headers: { x-a: '~b+' } }");
    assert_eq!((long.delay, long.reset), (Some((Duration::from_secs(600), 0.05)), None));
    assert_eq!(long.abort, Some(Abort { status: None, grpc: Some(13), share: 0.02 }));
    assert_eq!(long.headers.len(), 1);
}

#[test]
fn what_is_wrong_with_a_fault_is_said_with_the_next_step() {
    for (rest, id, help) in [
        ("fault: {}", "missing-key", "add `delay`, `abort` or `reset`"),
        ("fault: { delay: { share: 5% } }", "missing-key", ""),
        ("fault: { delay: 601s }", "out-of-range", "write a shorter `time`"),
        ("fault: { abort: { share: 5% } }", "missing-key", "write one of them, or both"),
        ("fault: { abort: 99 }", "out-of-range", "write"),
        ("fault: { abort: { grpc: unavailble } }", "bad-value", ""),
        ("fault: { reset: 101% }", "bad-value", ""),
        ("fault: { reset: 5 }", "bad-value", ""),
        ("fault: { dealy: 1s }", "unknown-key", "did you mean `delay`?"),
        ("fault: { delay: 1s, headers: { x-a: '~(' } }", "bad-value", ""),
    ] {
        let said = said(rest);
        assert!(
            said.iter().any(|(one, line, text)| (*one, *line) == (id, 4) && text.starts_with(help)),
            "{rest}: {said:?}"
        );
    }
    let misplaced = found("routes:\n  - match: a.com\n    respond: 204\n    fault: { delay: 1s }\n");
    assert_eq!(misplaced.iter().map(|one| one.id).collect::<Vec<_>>(), ["misplaced-key"]);
}

#[test]
fn a_mirror_is_read_in_both_forms_and_counts_as_a_use_of_an_upstream() {
    let mirror = |text: &str| {
        let upstream =
            if text.contains("upstream:") { "upstreams: [{ name: eu, endpoints: https://eu.com }]\n" } else { "" };
        let text = format!("{upstream}{ROUTE}mirror: {text}\n");
        let loaded = config::parse(&text, "attache.yaml", Format::Yaml).unwrap();
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        let policy = &loaded.model.routes[0].policy;
        assert_eq!(policy.asides().count(), 1);
        policy.mirror.clone().unwrap()
    };

    let short = mirror("https://b.com");
    assert_eq!((short.share, short.body_limit, short.concurrency), (1.0, 64 << 10, 64));
    assert_eq!((short.timeout, &short.to.auth), (Duration::from_secs(5), &None));
    let long = mirror("{ to: upstream:eu, share: 5%, body_limit: 1KiB, timeout: 1s, concurrency: 2 }");
    assert_eq!((&long.to.to, long.share, long.body_limit), (&AsideTo::Upstream("eu".into()), 0.05, 1024));
    for (rest, id) in [
        ("mirror: { share: 5% }", "missing-key"),
        ("mirror: { to: upstream:eu }", "unknown-upstream"),
        ("mirror: { to: 'http://b.com', auth: { bearer: { env: T } } }", "plaintext-auth"),
        ("mirror: { to: 'https://b.com', concurrency: 0 }", "out-of-range"),
        ("mirror: { to: 'https://b.com', retry: 3 }", "unknown-key"),
    ] {
        assert!(said(rest).iter().any(|(one, ..)| *one == id), "{rest}");
    }
}
