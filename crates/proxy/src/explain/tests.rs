use super::*;

/// The example with every key, with what is off by default switched on; files that are not here are left out.
fn full() -> Model {
    let text = include_str!("../../../../config/full.yaml");
    let text = text.replace("adaptive: false", "adaptive: true").replace("pacing: false", "pacing: true");
    let text = text.replace("grpc: []", "grpc: [unavailable]").replace("ca: /etc/attache/issuer-ca.pem", "");
    let mut model = config::parse(&text, "full.yaml", config::Format::Yaml).expect("the example").model;
    // Nobody asks.
    model.routes[0].matcher.who = None;
    let plain = model.routes[1].policy.tls.clone();
    model.routes.iter_mut().for_each(|route| route.policy.tls = plain.clone());
    model.upstreams[0].tls = plain;
    model
}

fn explained(url: &str) -> String {
    let headers = [("x-tenant".to_owned(), "a".to_owned())];
    let caller = ["unit:backup.service".to_owned()];
    let question = Question { method: "GET", url, headers: &headers, caller: &caller };
    answer(&full(), &question).expect("an explanation").to_string()
}

fn assert_told(url: &str, told: &[&str]) {
    let text = explained(url);

    let missing: Vec<_> = told.iter().filter(|part| !text.contains(**part)).collect();
    assert!(missing.is_empty(), "{missing:?} in\n{text}");
}

#[test]
fn every_policy_of_a_route_is_told() {
    let layers = "observe > deadline > browser > placeholder > authenticate > allow > authorize > rate_limit > fallback > fault > concurrency > mirror > compress > \
                  decompress > retry > hedge > target > pacing > headers > credentials > upstream";
    assert_told(
        "http://api.example.com/v1/?lang=en",
        &[
            layers,
            "anyone_local, GET HEAD",
            "user alice and unit backup.service and cgroup /system.slice/* and container 4f5b9c0d1e2f, at *.example.com, of \
             /v1/reports/",
            "asks 127.0.0.1:8181/v1/data/attache/allow for 200ms, without an answer a request is refused",
            "spiffe spiffe://example.org/ns/prod/*",
            "identity corp and name app and claim scope read|write and claim org.id 7",
            "asks for    corp or machines; 407 without, 401 as an origin",
            "https://eu.api.example.com:443/base (weight 9)",
            "https://us.api.example.com:443/base (weight 1)",
            "connect 3s, attempt 15s, total 30s, idle 300s",
            "FAULTS ARE INJECTED ON PURPOSE: 5% wait 200ms, 1% are reset, 1% get 503, of requests with x-chaos",
            "the client's own by x-request-timeout; what is left goes on as x-request-timeout",
            "3 attempts (or as x-retry-attempts says); on 429 502 503 504 x-should-retry and failures to connect",
            "backoff up to 25ms, 250ms at most; budget 20% + 10/s",
            "once more at another endpoint after the time that 95% of the answers took lately; 5% of requests at most",
            "opens at 5 failures in a row, or 50% failing or 50% slower than 2s of at least 20 calls in 10s",
            "for 5s, up to 60s; 3 good probes close it",
            "as many in flight as it bears, at most 200, 100 more wait up to 1s",
            "100 in 1s for each identity, 100 at once; 1 in 1s for user bob",
            "waits for limits that the upstream announces",
            "bearer from file /run/secrets/api_token",
            "on breaker_open connect_refused 500-599: https://replica.example.com:443, bearer from file /run/secrets/replica",
            "on reset closed_early 502-504: for a GET the last good answer, up to 600s after it was fresh",
            "on deadline: answered here: 200",
            "10% of the requests copied to https://shadow.example.com:443, bearer from file /run/secrets/shadow",
        ],
    );
}

#[test]
fn every_policy_of_a_named_upstream_is_told() {
    assert_told(
        "http://inventory.internal/",
        &[
            "by hash, equal requests together by cookie session",
            "by priority [0, 0, 1]",
            "back within 30s",
            "checked by GET /healthz every 5s, out after 3 bad ones and back after 2",
            "out at 25% more failures than the others, with 20 calls in 10s",
            "all of them once more than 50% are out",
            "basic",
        ],
    );
}

#[test]
fn a_tunnel_that_is_opened_is_explained_by_the_route_inside() {
    let told = explained("https://api.example.com/v1/?lang=en");
    assert!(told.contains("https (CONNECT, opened)") && told.contains("intercepted, as `api` says"), "{told}");
    assert!(told.contains("bearer from file /run/secrets/api_token"), "{told}");

    // The same tunnel, in which another route or none is met.
    let text = "default: deny\nroutes: [{match: {host: a.test, path: /b/}, respond: 200},\
                {match: a.test, name: opens, respond: 204, intercept: true}]";
    let model = config::parse(text, "test", config::Format::Yaml).expect("a model").model;
    let told = |url: &str| explain(&model, "GET", url, &[]).expect("explained").to_string();
    let inner = told("https://a.test/b/");
    assert!(inner.contains("answered here: 200") && inner.contains("as `opens` says"), "{inner}");
    assert!(told("https://b.test/").contains("403"));
    assert!(told("https://a.test:8443/").contains("connect_ports"));
    assert!(!told("http://a.test/").contains("intercepted"));
}

#[test]
fn how_one_of_several_targets_is_picked_is_told() {
    assert_told("http://billing.internal/", &["the better of two", "header"]);
    assert!(!explained("http://api.example.com/v1/?lang=en").contains("the better of two"), "weights decide");
}

/// The explanation under a configuration of its own.
fn under(text: &str, url: &str) -> String {
    let model = config::parse(text, "test", config::Format::Yaml).expect("a model").model;
    explain(&model, "GET", url, &[]).expect("an explanation").to_string()
}

#[test]
fn the_way_out_is_told() {
    let text = "parent: [{ url: 'https://two.test:8443', for: '*.partner.test' }, { url: 'http://one.test:3128', not_for: '*.corp.test' }]\n\
                resolve: { known.test: 10.0.0.1 }\n\
                routes: [{ match: a.test, to: 'https://b.partner.test' }, { match: local.test, to: 'http://127.0.0.1:1' }]\n";

    for (url, told) in [
        ("http://a.test/", "https://b.partner.test:443, through https://two.test:8443\n"),
        ("http://local.test/", "http://127.0.0.1:1\n"),
        ("http://other.test/", "the same host and scheme, through http://one.test:3128\n"),
        ("http://x.corp.test/", "the same host and scheme\n"),
        ("http://known.test/", "the same host and scheme\n"),
        ("https://other.test/", "other.test:443, as it is, through http://one.test:3128\n"),
        ("https://x.partner.test/", "x.partner.test:443, as it is, through https://two.test:8443\n"),
        ("https://localhost/", "localhost:443, as it is\n"),
    ] {
        let text = under(text, url);
        assert!(text.contains(&format!("goes to     {told}")), "{url}\n{text}");
    }
}

#[test]
fn a_destination_that_is_refused_is_told_so() {
    let text = "destinations: { deny: ['*.secret.test', 203.0.113.0/24], allow: [ok.secret.test] }\nresolve: { fixed.secret.test: 127.0.0.1 }\n";

    for (url, told) in [
        ("http://a.secret.test/", "a.secret.test is refused by destinations.deny: *.secret.test: 403"),
        ("https://a.secret.test/", "a.secret.test is refused by destinations.deny: *.secret.test: 403"),
        ("http://203.0.113.7/", "203.0.113.7: destinations.deny: 203.0.113.0/24: 403"),
        ("https://169.254.169.254/", "169.254.169.254: link-local and metadata addresses: 403"),
    ] {
        let text = under(text, url);
        assert!(text.contains("route       refused") && text.contains(told), "{url}\n{text}");
    }
    for url in ["http://ok.secret.test/", "https://fixed.secret.test/", "http://203.0.114.1/"] {
        assert!(!under(text, url).contains("refused"), "{url}");
    }
}
