//! Wrong values of what protects upstreams: each is told with its place, itself, and what to write instead.

#![allow(clippy::unwrap_used, clippy::panic)]

use config::{Diagnostic, Format};

/// A line of an upstream, of an endpoint or of a route, what is wrong with it, and what is underlined.
type Case = (&'static str, &'static str, &'static str);

const UPSTREAM: &[Case] = &[
    ("health: { http: healthz }", "bad-value", "healthz"),
    ("health: { http: /h, tcp: true }", "exclusive-keys", "tcp"),
    ("health: { every: 5s }", "missing-key", "{ every: 5s }"),
    ("health: { tcp: false }", "bad-value", "false"),
    ("health: { http: /h, every: 5 }", "bad-value", "5"),
    ("health: { http: /h, every: 50ms }", "out-of-range", "50ms"),
    ("health: { http: /h, timeout: 0s }", "out-of-range", "0s"),
    ("health: { http: /h, expect: 2yy }", "bad-value", "2yy"),
    ("health: { http: /h, healthy: 0 }", "out-of-range", "0"),
    ("health: { http: /h, unhealthy: 1001 }", "out-of-range", "1001"),
    ("health: { http: /h, unhealty: 3 }", "unknown-key", "unhealty"),
    ("health: { tcp: true, expect: 2xx }", "no-effect", "expect"),
    ("health: 5", "wrong-type", "5"),
    ("balance: rings", "bad-value", "rings"),
    ("balance: { policy: ring }", "missing-key", "{ policy: ring }"),
    ("balance: { policy: ring, hash_on: user }", "bad-value", "user"),
    ("balance: { policy: ring, hash_on: 'header:a b' }", "bad-value", "'header:a b'"),
    ("balance: { policy: ring, hash_on: 'cookie:' }", "bad-value", "'cookie:'"),
    ("balance: { hash_on: peer }", "no-effect", "hash_on"),
    ("outlier: 120%", "bad-value", "120%"),
    ("max_ejected: half", "bad-value", "half"),
    ("slow_start: 30", "bad-value", "30"),
];

const ENDPOINT: &[Case] = &[
    ("priority: -1", "out-of-range", "-1"),
    ("priority: 101", "out-of-range", "101"),
    ("priority: high", "wrong-type", "high"),
    ("priorty: 1", "unknown-key", "priorty"),
];

const ROUTE: &[Case] = &[
    ("limit: 0", "out-of-range", "0"),
    ("limit: many", "wrong-type", "many"),
    ("limit: { concurrency: 200, queue: -1 }", "out-of-range", "-1"),
    ("limit: { concurrency: 200, queue: { size: 5, timeout: 1 } }", "bad-value", "1"),
    ("limit: { adaptive: maybe }", "wrong-type", "maybe"),
    ("limit: { rate: 10 }", "wrong-type", "10"),
    ("limit: { rate: 10/d }", "bad-value", "10/d"),
    ("limit: { rate: 0/s }", "bad-value", "0/s"),
    ("limit: { rate: 10/s, burst: 0 }", "out-of-range", "0"),
    ("limit: { rate: 10/s, per: cookie }", "bad-value", "cookie"),
    ("limit: { rate: 10/s, per: 'header:' }", "bad-value", "'header:'"),
    ("limit: { per: client }", "missing-key", "per"),
    ("limit: { pacing: 1 }", "wrong-type", "1"),
    ("limit: { paceing: true }", "unknown-key", "paceing"),
    ("breaker: often", "wrong-type", "often"),
    ("breaker: { rate: 150% }", "bad-value", "150%"),
    ("breaker: { slow: { rate: 50% } }", "missing-key", "{ rate: 50% }"),
    ("breaker: { probes: 0 }", "out-of-range", "0"),
    ("breaker: { open: 10 }", "bad-value", "10"),
    ("breaker: { open: 10s, max_open: 5s }", "out-of-range", "5s"),
];

fn found(text: &str) -> Vec<Diagnostic> {
    match config::parse(text, "attache.yaml", Format::Yaml) {
        Ok(loaded) => loaded.warnings,
        Err(found) => found,
    }
}

/// What is not as it should be about the one diagnostic of a text.
fn judged(text: &str, line: &str, (id, underlined): (&str, &str)) -> Option<String> {
    let found = found(text);
    let [one] = found.as_slice() else { return Some(format!("{line}: {found:?}")) };
    let snippet = one.snippet.as_ref().unwrap();
    let shown: String = snippet.text.chars().skip(snippet.start).take(snippet.length).collect();
    let place = text.lines().position(|own| own.contains(line)).unwrap() + 1;
    let next = one.help.as_deref().is_some_and(|help| !help.is_empty()) || one.message.starts_with("expected ");
    let right = one.id == id && shown.trim_end() == underlined && one.line as usize == place && next;
    (!right).then(|| format!("{line}: not {id} of `{underlined}`: `{shown}` {one}"))
}

#[test]
fn every_wrong_value_is_told_with_its_place_itself_and_the_next_step() {
    let named = |line: &str| {
        format!(
            "upstreams:\n  - name: pool\n    endpoints: http://10.0.0.1:80\n    {line}\n\
             routes: [{{ match: a.com, to: upstream:pool }}]\n"
        )
    };
    let endpoint = |line: &str| {
        format!(
            "upstreams:\n  - name: pool\n    endpoints:\n      - url: http://10.0.0.1:80\n        {line}\n\
             routes: [{{ match: a.com, to: upstream:pool }}]\n"
        )
    };
    let route = |line: &str| format!("routes:\n  - match: a.com\n    to: https://a.com\n    {line}\n");
    let all = |cases: &[Case], text: &dyn Fn(&str) -> String| -> Vec<String> {
        cases.iter().filter_map(|(line, id, shown)| judged(&text(line), line, (id, shown))).collect()
    };

    let wrong = [all(UPSTREAM, &named), all(ENDPOINT, &endpoint), all(ROUTE, &route)].concat();

    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
