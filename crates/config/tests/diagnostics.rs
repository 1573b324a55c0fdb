//! Every diagnostic, as a person sees it.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fmt::Write;

use config::diag::IDS;
use config::{Diagnostic, Format, Override, Severity, Source};

/// What is found in `text`, errors or warnings.
fn found(text: &str) -> Vec<Diagnostic> {
    match config::parse(text, "attache.yaml", Format::Yaml) {
        Ok(loaded) => loaded.warnings,
        Err(found) => found,
    }
}

fn ids(found: &[Diagnostic]) -> Vec<&'static str> {
    found.iter().map(|d| d.id).collect()
}

/// What is found in the TLS of a listener.
fn front(tls: &str) -> Vec<Diagnostic> {
    found(&format!("listen:\n  - address: 127.0.0.1:4443\n    tls: {{ {tls} }}\n"))
}

/// A route that asks as `authenticate` says, and an identity `who`.
fn asks(identity: &str, authenticate: &str) -> String {
    format!(
        "identities:\n  - {{ name: who, {identity} }}\nroutes:\n  - {{ match: a.com, authenticate: {authenticate} }}\n"
    )
}

fn jwt(keys: &str) -> String {
    format!("jwt: {{ issuer: i, audience: a, keys: {{ {keys} }} }}")
}

const SECRETIVE: &str = "jwt: { issuer: i, audience: a, secret: { env: S } }";

/// What the reader of a file says of it, after the text was accepted.
fn refused_later() -> Diagnostic {
    let text = "{ listen: {address: 127.0.0.1:4443, tls: {cert: /c, key: /c.key}}, \
                default: {headers: {request: {set: {x-token: hunter2}}}} }";
    let loaded = config::parse(text, "attache.yaml", Format::Yaml).unwrap();
    assert!(loaded.origins.error("listen[0].tls.certificates[0].cert", "tls-file", "", "").is_none());
    assert!(loaded.origins.error("listen[0].tls.client_ca", "tls-file", "", "").is_none());
    loaded.origins.error("listen[0].tls.key", "tls-file", "`/c.key`: it is encrypted", "decrypt it").unwrap()
}

/// What is found with `env` and one flag over the embedded default.
fn overridden(env: &[(&str, &str)], flags: &[(&str, &str)]) -> Vec<Diagnostic> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("attache.yaml");
    std::fs::write(&path, "default: pass\n").unwrap();
    let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let flag = |(path, value): &(&str, &str)| Override {
        origin: "flag --set".to_owned(),
        path: (*path).to_owned(),
        value: (*value).to_owned(),
    };
    let source = Source { path: Some(path), env, overrides: flags.iter().map(flag).collect() };
    match config::load(&source) {
        Ok(loaded) => loaded.warnings,
        Err(found) => found,
    }
}

/// What is found in a file with these bytes, under a fixed name.
fn file(bytes: Option<&[u8]>) -> Vec<Diagnostic> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("attache.yaml");
    if let Some(bytes) = bytes {
        std::fs::write(&path, bytes).unwrap();
    }
    let mut found = config::load(&Source { path: Some(path), ..Source::default() }).unwrap_err();
    found.iter_mut().for_each(|d| d.file = "attache.yaml".to_owned());
    found
}

const ROUTE: &str = "routes:\n  - match: a.com\n    to: https://a.com\n    ";

fn cases() -> Vec<(&'static str, Vec<Diagnostic>)> {
    let route = |rest: &str| found(&format!("{ROUTE}{rest}\n"));
    let issuer = |scheme: &str, secret: &str| {
        let url = format!("{scheme}://issuer.test/token");
        route(&format!("auth: {{ oauth2: {{ token_url: {url}, client_id: a, client_secret: {{ {secret} }} }} }}"))
    };
    let deep = format!("routes: {}{}", "[".repeat(64), "]".repeat(64));
    let bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n\
                c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\n\
                e: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]\nf: &f [*e, *e, *e, *e, *e, *e, *e, *e, *e, *e]\n";
    let toml = |text| config::parse(text, "attache.toml", Format::Toml).unwrap_err();
    vec![
        ("unknown key with a near name", route("tiemout: 2s")),
        ("unknown key of a later version", route("cache: 1")),
        ("unknown key in TOML", toml("[log]\nlevle = \"info\"\n")),
        ("wrong type", route("timeout: [1s]")),
        ("wrong type: nothing", found("routes:\n")),
        ("wrong type: quoted number", found("workers: \"2\"\n")),
        ("missing key", found("routes:\n  - to: https://a.com\n")),
        ("missing one of several", route("auth: { bearer: {} }")),
        ("bad value: duration without a unit", found("drain: 30\n")),
        ("bad value: word", route("balance: p2x")),
        ("bad value: URL without a scheme", found("routes:\n  - match: a.com\n    to: a.com\n")),
        ("bad value: password in a URL", found("routes:\n  - match: a.com\n    to: https://u:hunter2@a.com\n")),
        ("bad value: regular expression", found("routes:\n  - match: { path: \"~(a\" }\n")),
        ("bad value: hop-by-hop header", route("headers: { request: { set: { connection: close } } }")),
        ("bad value: header value", route("headers: { request: { set: { x-a: \"a\\nb\" } } }")),
        ("bad value: media type", route("compress: { types: text }")),
        ("bad value: no coding", route("decompress: { algorithms: [] }")),
        ("bad value: unknown coding", route("compress: { algorithms: [gzip, deflate] }")),
        ("bad value: address without a port", found("listen: 127.0.0.1\n")),
        ("out of range: size", route("decompress: { max_size: 0B }")),
        ("out of range: number", route("retry: 0")),
        ("out of range: below its neighbour", route("breaker: { open: 10s, max_open: 5s }")),
        ("duplicate key", found("drain: 1s\nlog: info\ndrain: 2s\nlog: debug\n")),
        ("duplicate key by alias", route("timeout: { total: 5s, request: 6s }")),
        ("duplicate key in TOML", toml("drain = \"1s\"\ndrain = \"2s\"\n")),
        ("syntax", found("routes: [\n")),
        ("syntax in TOML", toml("routes = [\n")),
        ("too deep", found(&deep)),
        ("too many aliases", found(bomb)),
        ("literal secret", route("auth: { bearer: hunter2 }")),
        ("literal credential", route("headers: { request: { set: { authorization: Bearer hunter2 } } }")),
        ("open listener", found("listen: 0.0.0.0:4780\n")),
        ("exposed admin", found("admin: 0.0.0.0:4781\n")),
        ("shared admin", found("tenancy: shared\n")),
        (
            "shared credential",
            found(&format!("tenancy: shared\nadmin: unix:/a\n{ROUTE}auth: {{ bearer: {{ env: A }} }}\n")),
        ),
        ("duplicate address", found("listen: 127.0.0.1:4781\n")),
        ("duplicate name", found("routes:\n  - { name: a, match: a.com }\n  - { name: a, match: b.com }\n")),
        (
            "unknown upstream",
            found(
                "upstreams: [{ name: stock, endpoints: http://a.com }]\nroutes: [{ match: a.com, to: upstream:stok }]\n",
            ),
        ),
        ("unknown identity", found(&asks("keys: []", "[whoo]"))),
        ("an identity that nobody asks for", found("identities: [{ name: who, keys: [] }]\n")),
        ("an identity of two kinds", found(&asks("keys: [], basic: { users: /u }", "who"))),
        ("a key instead of its hash", found(&asks("keys: [{ name: a, sha256: hunter2 }]", "who"))),
        ("an algorithm of secrets that is not listed", found(&asks(SECRETIVE, "who"))),
        ("keys in the clear", found(&asks(&jwt("url: http://issuer.test/keys"), "who"))),
        ("a leeway of hours", found(&asks("jwt: { issuer: i, audience: a, keys: { file: /k }, leeway: 2h }", "who"))),
        ("unused upstream", found("upstreams: [{ name: stock, endpoints: http://a.com }]\n")),
        (
            "mixed schemes",
            found(
                "upstreams: [{ name: a, endpoints: [http://a.com, https://b.com] }]\n\
                 routes: [{ match: a.com, to: upstream:a }]\n",
            ),
        ),
        ("exclusive keys", route("respond: 204")),
        (
            "misplaced key of a route that sends nothing on",
            found("routes:\n  - match: a.com\n    respond: 204\n    compress: true\n"),
        ),
        ("misplaced key", found("default: { action: deny, retry: 2 }\n")),
        ("incomplete TLS", route("tls: { cert: /c.pem }")),
        ("incomplete TLS of a listener", front("cert: /c.pem")),
        ("TLS of a listener without a certificate", front("min: 1.3")),
        ("TLS of a listener with an empty list", front("certificates: []")),
        (
            "TLS of a listener said twice",
            front("cert: /c.pem, key: /c.key, certificates: [{ cert: /d.pem, key: /d.key }]"),
        ),
        ("client certificates of nobody", front("cert: /c.pem, key: /c.key, client_auth: required")),
        ("clients that are not asked", front("cert: /c.pem, key: /c.key, client_ca: /ca.pem, client_auth: off")),
        ("a limit on handshakes that nobody makes", found("server: { tls_handshake: 5s }\n")),
        ("a file that its user refuses", vec![refused_later()]),
        (
            "plaintext auth",
            found("routes:\n  - match: a.com\n    to: http://a.com\n    auth: { bearer: { env: T } }\n"),
        ),
        (
            "plaintext auth by the client's scheme",
            found("routes:\n  - match: a.com\n    auth: { bearer: { env: T } }\n"),
        ),
        (
            "plaintext auth to an upstream",
            found(
                "upstreams: [{ name: a, endpoints: http://a.com }]\n\
                 routes: [{ match: a.com, to: upstream:a, auth: { bearer: { env: T } } }]\n",
            ),
        ),
        ("an issuer without encryption", issuer("http", "file: /s")),
        ("a command without a program", issuer("https", "exec: []")),
        ("a rhythm for what is read", issuer("https", "file: /s, every: 5m")),
        ("access keys by halves", route("auth: { sigv4: { region: r, service: s3, access_key_id: A } }")),
        (
            "access keys said twice",
            route("auth: { sigv4: { region: r, service: s3, credentials: { env: A }, session_token: { env: B } } }"),
        ),
        ("a claim that is ours", route("auth: { jwt: { key: { file: /k }, algorithm: ES256, claims: { exp: 1 } } }")),
        (
            "a placeholder for a signature",
            route("auth: { sigv4: { region: r, service: s3, credentials: { env: A } }, placeholder: A_PLACEHOLDER }"),
        ),
        ("a placeholder that may be anything", route("auth: { bearer: { env: T }, placeholder: token }")),
        ("two client certificates", route("auth: { mtls: { cert: /a, key: /b } }\n    tls: { cert: /c, key: /d }")),
        (
            "a client certificate for a shared upstream",
            found(
                "upstreams: [{ name: a, endpoints: https://a.com }]\n\
                 routes: [{ match: a.com, to: upstream:a, auth: { mtls: { cert: /a, key: /b } } }]\n",
            ),
        ),
        ("unbounded auth", found("default: { auth: { bearer: { env: T } } }\n")),
        ("shadowed parent", found("parent: [\"http://a.test:1\", \"http://b.test:1\"]\n")),
        ("shadowed route", found("routes:\n  - match: \"*.a.com\"\n  - match: x.a.com\n")),
        ("no effect", route("browser_origins: https://b.com")),
        ("attempt exceeds total", route("timeout: { attempt: 20s, total: 10s }")),
        ("gateway attempts", route("retry: { codes: [503], attempts: 2 }")),
        ("unknown variable", overridden(&[("ATTACHE_LISTN", "hunter2")], &[])),
        ("bad value from a variable", overridden(&[("ATTACHE_DRAIN", "soon")], &[])),
        ("bad override", overridden(&[], &[("routes[0].retyr", "3")])),
        ("no file", file(None)),
        ("not UTF-8", file(Some(b"drain: \xff"))),
        ("too large", file(Some(&vec![b'#'; (1 << 20) + 1]))),
    ]
}

#[test]
fn every_id_has_its_text() {
    let mut seen = BTreeSet::new();
    let mut out = String::new();
    for (title, found) in cases() {
        assert!(!found.is_empty(), "{title}");
        let _ = writeln!(out, "## {title}\n");
        for diagnostic in found {
            seen.insert(diagnostic.id);
            let _ = writeln!(out, "{diagnostic}\n");
        }
    }

    let all: BTreeSet<_> = IDS.iter().copied().collect();
    assert_eq!(seen, all, "an id without a case, or a case without an id");
    insta::assert_snapshot!(out);
}

#[test]
fn all_mistakes_come_at_once_in_the_order_of_the_text() {
    let found = found(
        "drain: 5\nlisten: 0.0.0.0:4780\nlog: { levle: debug }\nroutes:\n  - match: a.com\n    to: upstream:x\n    \
         retry: { attempts: many }\n  - to: https://b.com\n    tls: { key: /k }\n",
    );

    let expected = [
        "bad-value",
        "open-listener",
        "unknown-key",
        "unknown-upstream",
        "wrong-type",
        "missing-key",
        "incomplete-tls",
    ];
    assert_eq!(ids(&found), expected);
    let lines: Vec<_> = found.iter().map(|d| d.line).collect();
    assert_eq!(lines, [1, 2, 3, 6, 7, 8, 9]);
}

#[test]
fn no_text_of_a_secret_is_ever_shown() {
    let secrets = [
        "auth: { bearer: hunter2 }",
        "auth: hunter2",
        "auth: { bearer: [hunter2] }",
        "auth: { bearer: {hunter2} }",
        "auth: { bearer: { file: [hunter2] } }",
        "auth: { bearer: { env: \"$hunter2!\" } }",
        "auth: { token: hunter2 }",
        "auth: { token: hunter2, bearer: { fiel: /a } }",
        "auth: { basic: { user: me, password: hunter2 } }",
        "auth: { basic: { user: \"me:hunter2\", password: { env: A } } }",
        "auth: { header: { name: X-Key, value: hunter2 } }",
        "auth:\n      bearer: |\n        hunter2\n    retyr: 3",
        "auth: { bearer: hunter2",
        "auth: { bearer: hunter2: x }",
        "auth: { bearer: \"hunter2 }",
        "headers: { request: { set: { authorization: hunter2, connection: x } } }",
        "headers: { request: { set: { x-a: \"hunter2\\u0007\" } } }",
        "auth: { bearer: { file: /a }, bearer: hunter2 }",
        "auth: { x: { file: /a }, x: hunter2 }",
        "auht: { bearer: hunter2 }",
        "auht: hunter2",
        "intercept: { token: [hunter2] }",
        "token: hunter2",
        "bearer: hunter2",
        "retry: [{ auth: { bearer: hunter2 } }]",
        "headers: [{ authorization: hunter2 }]",
        "auth: { bearer: hunter2 }\n---\n",
        "auth: { bearer: hunter2, x: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]] }",
        "rewrite: { host: \"me:hunter2@a.com\" }",
        "browser_origins: https://me:hunter2@a.com",
    ];
    for secret in secrets {
        let found = found(&format!("{ROUTE}{secret}\n"));
        assert!(!found.is_empty(), "{secret}");
        for diagnostic in found {
            let shown = format!("{diagnostic}\n{}", serde_json::to_string(&diagnostic).unwrap());
            assert!(!shown.contains("hunter2"), "{secret}\n{shown}");
        }
    }
}

#[test]
fn a_table_where_a_list_belongs_is_told_how_to_begin_an_item() {
    for (text, help) in [
        ("upstreams:\n  orders: [http://10.0.0.1]\n", "`- name: orders`"),
        ("routes:\n  match: a.com\n  to: https://a.com\n", "begin each item with `- `"),
    ] {
        let found = found(text);
        assert_eq!(ids(&found), ["wrong-type"], "{found:?}");
        assert!(found[0].help.as_deref().unwrap().contains(help), "{found:?}");
    }
}

#[test]
fn a_lone_carriage_return_moves_no_mask_to_another_line() {
    let found = found(&format!("# a\r# b\n{ROUTE}retyr: 3\n    auth: {{ bearer: hunter2 }}\n"));

    assert_eq!(found.iter().map(|d| (d.id, d.line)).collect::<Vec<_>>(), [("unknown-key", 6), ("literal-secret", 7)]);
    for diagnostic in &found {
        assert!(!diagnostic.to_string().contains("hunter2"), "{diagnostic}");
    }
    assert_eq!(found[0].snippet.as_ref().unwrap().text, "    retyr: 3");
}

#[test]
fn a_diagnostic_is_stable_json() {
    let found = found("drian: 1s\n");

    let json = serde_json::to_value(&found[0]).unwrap();
    let expected = serde_json::json!({
        "id": "unknown-key", "severity": "error", "file": "attache.yaml", "line": 1, "column": 1,
        "message": "unknown key `drian` in config",
        "snippet": {"text": "drian: 1s", "start": 0, "length": 5},
        "help": "did you mean `drain`?",
    });
    assert_eq!(json, expected);
}

#[test]
fn warnings_do_not_refuse_a_configuration() {
    let found = found("routes:\n  - match: \"*\"\n  - match: a.com\n");

    assert_eq!(ids(&found), ["shadowed-route"]);
    assert_eq!(found[0].severity, Severity::Warning);
}

#[test]
fn a_route_that_could_not_be_read_shadows_nothing() {
    let found = found("routes:\n  - match: { host: \"a b\" }\n  - match: a.com\n");

    assert_eq!(ids(&found), ["bad-value"]);
}

#[test]
fn a_setting_that_nothing_would_obey_is_told() {
    let upstream = "upstreams: [{ name: a, endpoints: [http://a.com/v1, http://b.com/v2] }]\n\
                    routes: [{ match: a.com, to: upstream:a }]\n";
    let two = "routes:\n  - match: a.com\n    balance: random\n    to:";
    for (text, id) in [
        (upstream, "bad-value"),
        ("listen: { address: \"unix:/run/a.sock\", clients: [10.0.0.0/8] }\n", "misplaced-key"),
        ("default: { balance: random }\n", "no-effect"),
        ("routes: [{ match: a.com, balance: random }]\n", "no-effect"),
        (&format!("{ROUTE}balance: random\n"), "no-effect"),
        (&format!("{two} [{{ url: https://a.com, weight: 1 }}, https://b.com]\n"), "no-effect"),
        ("routes: [{ match: a.com, to: http://a.com, tls: { min: 1.3 } }]\n", "no-effect"),
        ("admin: false\nmetrics: { identities: 50 }\n", "no-effect"),
        ("metrics: { identities: 1001 }\n", "out-of-range"),
        ("metrics: { address: '127.0.0.1:4781', identities: 1000 }\n", "duplicate-address"),
        ("metrics: 127.0.0.1:4781\n", "duplicate-address"),
    ] {
        assert_eq!(ids(&found(text)), [id], "{text}");
    }
    assert_eq!(ids(&found(&format!("{two} [https://a.com, https://b.com]\n"))), Vec::<&str>::new());
    for counted in ["metrics: { identities: 50 }", "admin: false\nmetrics: { address: '0.0.0.0:4782', identities: 50 }"]
    {
        assert_eq!(ids(&found(counted)), Vec::<&str>::new(), "{counted}");
    }
}

#[test]
fn a_queue_needs_places_and_a_burst_a_rate() {
    for (limit, expected) in [
        ("200", vec![]),
        ("{ concurrency: 1, queue: 5 }", vec![]),
        ("{ queue: 5 }", vec!["missing-key"]),
        ("{ adaptive: true, queue: 5 }", vec![]),
        ("{ concurrency: 1, queue: { timeout: 1s } }", vec!["missing-key"]),
        ("{ rate: 10/s, burst: 5, per: client }", vec![]),
        ("{ burst: 5 }", vec!["missing-key"]),
        ("{ per: client }", vec!["missing-key"]),
        ("{ rate: 10/s, per: identity, for: [{ who: user:a, rate: 1/s }] }", vec![]),
        ("{ rate: 10/s, per: client, for: [{ who: user:a, rate: 1/s }] }", vec!["misplaced-key"]),
        ("{ for: [{ who: user:a, rate: 1/s }] }", vec!["missing-key", "misplaced-key"]),
        ("{ rate: 10 }", vec!["wrong-type"]),
        ("{ rate: 10/d }", vec!["bad-value"]),
        ("{ rate: 10/s, per: cookie }", vec!["bad-value"]),
        ("0", vec!["out-of-range"]),
    ] {
        assert_eq!(ids(&found(&format!("{ROUTE}limit: {limit}\n"))), expected, "{limit}");
    }
}

#[test]
fn keys_of_later_versions_are_unknown() {
    for key in ["health", "cache"] {
        assert_eq!(ids(&found(&format!("{ROUTE}{key}: 1\n"))), ["unknown-key"], "{key}");
    }
    for key in ["tracing", "plugins"] {
        assert_eq!(ids(&found(&format!("{key}: 1\n"))), ["unknown-key"], "{key}");
    }
}

#[test]
fn interception_that_changes_nothing_is_told() {
    let routes = |all: &str| ids(&found(&format!("routes: [{all}]\n")));
    let ca = "ca: { cert: /a, key: /b }\n";

    assert!(routes("{match: a.com, intercept: true}, {match: b.com, intercept: false}").is_empty());
    assert!(routes("{match: {host: a.com, path: /x}}, {match: a.com, intercept: true}").is_empty());
    assert!(routes("{match: a.com, intercept: false}, {match: '*.com', intercept: true}").is_empty());
    let torn = routes("{match: {host: a.com, path: /x}, intercept: true}, {match: a.com, intercept: false}");
    assert_eq!(torn, ["no-effect"]);
    assert!(
        routes("{match: {host: a.com, who: user:1}, intercept: true}, {match: a.com, intercept: false}").is_empty(),
        "others have their own"
    );
    assert_eq!(ids(&found(ca)), ["no-effect"]);
    assert!(found(&format!("{ca}default: {{ intercept: true }}\n")).is_empty());
    assert!(found("default: { action: deny, intercept: true }\nserver: { tls_handshake: 1s }\n").is_empty());
    assert_eq!(ids(&found("ca: { cert: /a }\ndefault: { intercept: true }\n")), ["missing-key"]);
    assert_eq!(ids(&found("default: { intercept: maybe }\n")), ["wrong-type"]);
}

#[test]
fn a_hedge_needs_somewhere_else_to_go() {
    let pool =
        "upstreams: [{name: pool, endpoints: [http://a:1, http://b:1]}]\nroutes: [{match: x.com, to: 'upstream:pool', ";
    let route = |rest: &str| ids(&found(&format!("routes: [{{match: x.com, {rest}}}]\n")));
    assert!(ids(&found(&format!("{pool}hedge: 50ms}}]"))).is_empty());
    assert!(route("to: [http://a, http://b], hedge: p95").is_empty());
    assert!(route("to: http://a, hedge: false").is_empty());

    for alone in ["to: http://a", "to: [http://a]", "timeout: 1s"] {
        assert_eq!(route(&format!("{alone}, hedge: p95")), ["no-effect"], "{alone}");
    }
    let one = pool.replace(", http://b:1", "");
    assert_eq!(ids(&found(&format!("{one}hedge: {{}}}}]"))), ["no-effect"]);
    assert_eq!(route("respond: 200, hedge: p95"), ["misplaced-key"]);
    assert_eq!(ids(&found("default: {hedge: p95}\n")), ["unknown-key"], "a host is one endpoint");
}

#[test]
fn a_deadline_names_a_header_of_its_own() {
    assert!(ids(&found(&format!("{ROUTE}deadline: X-Timeout\n"))).is_empty());
    assert!(ids(&found(&format!("{ROUTE}deadline: {{header: X-Timeout, out: false}}\n"))).is_empty());
    for wrong in ["grpc-timeout", "connection", "'a b'", "{header: te}"] {
        assert_eq!(ids(&found(&format!("{ROUTE}deadline: {wrong}\n"))), ["bad-value"], "{wrong}");
    }
    assert_eq!(ids(&found(&format!("{ROUTE}deadline: {{out: X-Timeout}}\n"))), ["missing-key"]);
}

#[test]
fn a_credential_of_a_shared_proxy_needs_somebody_who_may_use_it() {
    let with = |top: &str, rest: &str| {
        let route = "auth: { bearer: { env: A } }";
        ids(&found(&format!(
            "{top}\nroutes:\n  - match: {{ host: a.com }}\n    to: https://a.com\n    {route}\n{rest}"
        )))
    };
    let opened = "listen: { address: 'unix:/p', mode: '0666' }\nadmin: unix:/a";
    for (top, rest, expected) in [
        ("tenancy: own", "", vec![]),
        ("admin: unix:/a", "", vec![]),
        ("listen: { address: 'unix:/p', mode: '0600' }", "", vec![]),
        (opened, "", vec!["shared-credential"]),
        ("admin: { address: 'unix:/a', group: wheel }", "", vec!["shared-credential"]),
        ("listen: { address: 'unix:/p', mode: '0660' }", "", vec!["shared-admin", "shared-credential"]),
        (opened, "    allow: anyone_local\n", vec![]),
        (opened, "    allow: user:alice\n", vec![]),
        ("tenancy: shared\nadmin: false", "", vec!["shared-credential"]),
        ("tenancy: own\nlisten: { address: 'unix:/p', mode: '0666' }", "", vec![]),
    ] {
        assert_eq!(with(top, rest), expected, "{top} {rest}");
    }
    let kept = "tenancy: shared\nadmin: unix:/a\nroutes:\n  - match: { host: a.com, who: user:alice }\n    to: \
                https://a.com\n    auth: { bearer: { env: A } }\n";
    assert_eq!(ids(&found(kept)), Vec::<&str>::new(), "a route for one user is not everybody's");
}

#[test]
fn rights_belong_to_unix_sockets_and_users_too() {
    assert_eq!(ids(&found("listen: { address: '127.0.0.1:1', mode: '0666' }\n")), ["misplaced-key"]);
    assert_eq!(ids(&found("admin: { address: '127.0.0.1:1', users: alice }\n")), ["misplaced-key"]);
    assert_eq!(ids(&found("admin: { address: 'unix:/a', users: [alice, 1000], group: wheel }\n")), Vec::<&str>::new());
}

#[test]
fn callers_are_named_once_and_in_their_place() {
    let allow = |rule: &str| ids(&found(&format!("{ROUTE}allow: {rule}\n")));
    for (rule, expected) in [
        ("anyone_local", vec![]),
        ("[user:alice, { unit: a.service, methods: [GET] }]", vec![]),
        ("{ claims: { org: [a, 7] } }", vec!["no-effect"]),
        ("authenticated", vec!["no-effect"]),
        ("identity:corp", vec!["unknown-identity", "no-effect"]),
        ("[]", vec!["bad-value"]),
        ("{ methods: [GET] }", vec!["missing-key"]),
        ("{ is: user:alice, user: bob }", vec!["exclusive-keys"]),
        ("{ claims: { org: [] } }", vec!["no-effect", "bad-value"]),
        ("nobody", vec!["bad-value"]),
    ] {
        assert_eq!(allow(rule), expected, "{rule}");
    }
    let who = |who: &str| {
        ids(&found(&format!("routes: [{{ match: {{ host: a.com, who: {who} }}, to: 'https://a.com' }}]\n")))
    };
    for (caller, expected) in [
        ("user:alice", vec![]),
        ("{ unit: a.service }", vec![]),
        ("authenticated", vec!["misplaced-key"]),
        ("{ claims: { a: b } }", vec!["misplaced-key"]),
        ("name:x", vec!["misplaced-key"]),
        ("anyone", vec!["bad-value"]),
    ] {
        assert_eq!(who(caller), expected, "{caller}");
    }
    assert_eq!(ids(&found("default: { action: deny, allow: anyone_local }\n")), ["misplaced-key"]);
}
