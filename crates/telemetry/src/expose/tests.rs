use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use exchange::ErrorKind;

use super::*;
use crate::fixture::{after, attempt, exchange};
use crate::metrics::{Certificate, Direction, EndpointSource, Limit, LimitSource, Proto, Rejection, Side};

/// A sample's labels in the order of the text, and its value.
type Sample = (Vec<(String, String)>, f64);

/// Reads the exposition format: types by family, samples by name.
fn parse(text: &str) -> (BTreeMap<String, String>, BTreeMap<String, Vec<Sample>>) {
    let (mut types, mut samples) = (BTreeMap::new(), BTreeMap::<_, Vec<_>>::new());
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            if let Some((name, kind)) = comment.strip_prefix("TYPE ").and_then(|rest| rest.split_once(' ')) {
                assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = match series.split_once('{') {
            Some((name, rest)) => (name, pairs(rest.strip_suffix('}').expect("a closing brace"))),
            None => (series, Vec::new()),
        };
        let all = samples.entry(name.to_owned()).or_default();
        assert!(all.iter().all(|(known, _): &Sample| *known != labels), "{series} twice");
        all.push((labels, value.parse().expect("a number")));
    }
    (types, samples)
}

fn pairs(mut text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    while let Some((name, rest)) = text.split_once("=\"") {
        let (mut value, mut chars) = (String::new(), rest.char_indices());
        let end = loop {
            match chars.next().expect("a closing quote") {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next().expect("an escaped character").1 {
                    'n' => '\n',
                    c => c,
                }),
                (_, c) => value.push(c),
            }
        };
        pairs.push((name.to_owned(), value));
        text = rest[end + 1..].strip_prefix(',').unwrap_or_default();
    }
    pairs
}

fn value(samples: &BTreeMap<String, Vec<Sample>>, name: &str, labels: &[&str]) -> Option<f64> {
    let matches = |(known, _): &&Sample| known.iter().map(|(_, value)| value).eq(labels);
    samples.get(name)?.iter().find(matches).map(|(_, value)| *value)
}

struct Breakers;

impl EndpointSource for Breakers {
    fn each(&self, each: &mut dyn FnMut(&str, &str, u8, u32)) {
        each("api", "192.0.2.1:443", 2, 5);
    }

    fn overflows(&self) -> u64 {
        7
    }
}

struct Limits;

impl LimitSource for Limits {
    fn each(&self, each: &mut dyn FnMut(&str, Limit)) {
        each("api", Limit { inflight: 3, waiting: 2, places: Some(20) });
        each("_default", Limit { inflight: 1, waiting: 0, places: None });
    }
}

/// Something of everything, over two shards.
fn full() -> Arc<Metrics> {
    let metrics = Metrics::new("1.2.3");
    metrics.set_endpoints(Arc::new(Breakers));
    metrics.set_limits(Arc::new(Limits));
    metrics.events().identities().keep(1);
    let name: Arc<str> = Arc::from("a \"quoted\"\\\nroute");
    for shard in [metrics.shard(), metrics.shard()] {
        let tried = exchange("/");
        tried.attempted(attempt(0, 10, Err(ErrorKind::Reset)));
        tried.attempted(attempt(20, 5, Ok(200)));
        tried.answered(200, None, Some(after(26)));
        tried.add_bytes_in(3);
        tried.set_retry_denied("budget");
        shard.route(&name).finished(&tried, after(30));
        let refused = exchange("/");
        refused.answered(429, Some(ErrorKind::RateLimited), Some(after(1)));
        shard.route(&name).finished(&refused, after(1));
        shard.connection_rejected(Rejection::HeaderTooLarge);
        shard.resolved(Duration::from_millis(1));
        std::mem::forget(shard.connection(Side::Client, Proto::H2));
        shard.tunnel().passed(Direction::Out, 10);
    }
    let events = metrics.events();
    events.breaker_changed(&"api".into(), &"192.0.2.1:443".into(), 2);
    events.credential_refreshed(&name, true);
    events.reloaded(Ok(7), after(0));
    let certificate = |ok| Certificate { file: "/tls.pem".to_owned(), expires: Some(2_000_000_000), ok };
    events.certificates_are([certificate(true), certificate(false)].into_iter());
    metrics
}

#[test]
fn the_text_has_the_names_and_labels_of_the_interface() {
    let (types, samples) = parse(&render(&full()));

    let expected = [
        ("attache_requests_total", "counter", "route method code reason"),
        ("attache_identity_requests_total", "counter", "identity route code_class"),
        ("attache_request_duration_seconds", "histogram", "route code_class"),
        ("attache_overhead_seconds", "histogram", "route"),
        ("attache_attempts_total", "counter", "route result"),
        ("attache_attempt_duration_seconds", "histogram", "route"),
        ("attache_retries_total", "counter", "route"),
        ("attache_retry_denied_total", "counter", "route reason"),
        ("attache_breaker_state", "gauge", "upstream endpoint"),
        ("attache_breaker_transitions_total", "counter", "upstream endpoint to"),
        ("attache_endpoint_inflight", "gauge", "upstream endpoint"),
        ("attache_limit_inflight", "gauge", "route"),
        ("attache_limit_waiting", "gauge", "route"),
        ("attache_limit_concurrency", "gauge", "route"),
        ("attache_rejected_total", "counter", "route reason"),
        ("attache_connections", "gauge", "side proto"),
        ("attache_tunnels", "gauge", ""),
        ("attache_tunnel_bytes_total", "counter", "direction"),
        ("attache_bytes_total", "counter", "route direction"),
        ("attache_trailers_dropped_total", "counter", "route"),
        ("attache_dns_seconds", "histogram", ""),
        ("attache_connect_seconds", "histogram", ""),
        ("attache_tls_handshake_seconds", "histogram", ""),
        ("attache_connection_rejected_total", "counter", "reason"),
        ("attache_credential_refresh_total", "counter", "route result"),
        ("attache_tls_certificate_expiry_timestamp_seconds", "gauge", "file"),
        ("attache_tls_certificate_last_reload_successful", "gauge", "file"),
        ("attache_build_info", "gauge", "version"),
        ("attache_config_last_reload_successful", "gauge", ""),
        ("attache_config_generation", "gauge", ""),
        ("attache_config_last_reload_timestamp_seconds", "gauge", ""),
        ("attache_state_overflow_total", "counter", ""),
        ("attache_access_log_dropped_total", "counter", ""),
    ];
    for (name, kind, labels) in expected {
        assert_eq!(types.get(name).map(String::as_str), Some(kind), "{name}");
        let sample = if kind == "histogram" { format!("{name}_sum") } else { name.to_owned() };
        for (pairs, _) in &samples[&sample] {
            assert_eq!(pairs.iter().map(|(name, _)| &**name).collect::<Vec<_>>().join(" "), labels, "{name}");
        }
    }
    let ours: BTreeSet<_> = types.keys().map(|name| &**name).filter(|name| !name.starts_with("process_")).collect();
    assert_eq!(ours, expected.iter().map(|(name, ..)| *name).collect());
}

#[test]
fn shards_are_summed() {
    let (_, samples) = parse(&render(&full()));
    let route = "a \"quoted\"\\\nroute";

    for (name, labels, expected) in [
        ("attache_requests_total", &[route, "GET", "200", ""][..], 2.0),
        ("attache_requests_total", &[route, "GET", "429", "rate_limited"], 2.0),
        ("attache_identity_requests_total", &["_anonymous", route, "4xx"], 2.0),
        ("attache_rejected_total", &[route, "rate_limited"], 2.0),
        ("attache_attempts_total", &[route, "reset"], 2.0),
        ("attache_attempts_total", &[route, "2xx"], 2.0),
        ("attache_retries_total", &[route], 2.0),
        ("attache_retry_denied_total", &[route, "budget"], 2.0),
        ("attache_bytes_total", &[route, "in"], 6.0),
        ("attache_request_duration_seconds_sum", &[route, "2xx"], 0.06),
        ("attache_request_duration_seconds_bucket", &[route, "2xx", "0.025"], 0.0),
        ("attache_request_duration_seconds_bucket", &[route, "2xx", "0.05"], 2.0),
        ("attache_request_duration_seconds_bucket", &[route, "2xx", "+Inf"], 2.0),
        ("attache_overhead_seconds_bucket", &[route, "0.00001"], 0.0),
        ("attache_overhead_seconds_count", &[route], 4.0),
        ("attache_dns_seconds_count", &[], 2.0),
        ("attache_connections", &["client", "h2"], 2.0),
        ("attache_connections", &["upstream", "h1"], 0.0),
        ("attache_tunnels", &[], 0.0),
        ("attache_tunnel_bytes_total", &["out"], 20.0),
        ("attache_connection_rejected_total", &["header_too_large"], 2.0),
        ("attache_breaker_state", &["api", "192.0.2.1:443"], 2.0),
        ("attache_endpoint_inflight", &["api", "192.0.2.1:443"], 5.0),
        ("attache_breaker_transitions_total", &["api", "192.0.2.1:443", "open"], 1.0),
        ("attache_limit_inflight", &["api"], 3.0),
        ("attache_limit_inflight", &["_default"], 1.0),
        ("attache_limit_waiting", &["api"], 2.0),
        ("attache_limit_concurrency", &["api"], 20.0),
        ("attache_credential_refresh_total", &[route, "ok"], 1.0),
        ("attache_config_generation", &[], 7.0),
        ("attache_tls_certificate_expiry_timestamp_seconds", &["/tls.pem"], 2e9),
        ("attache_tls_certificate_last_reload_successful", &["/tls.pem"], 0.0),
        ("attache_build_info", &["1.2.3"], 1.0),
    ] {
        assert_eq!(value(&samples, name, labels), Some(expected), "{name} {labels:?}");
    }
}

#[test]
fn a_process_without_requests_already_has_its_own_families() {
    let (types, samples) = parse(&render(&Metrics::new("1.2.3")));

    assert_eq!(value(&samples, "attache_build_info", &["1.2.3"]), Some(1.0));
    assert_eq!(value(&samples, "attache_connections", &["client", "sniff"]), Some(0.0));
    assert!(!types.contains_key("attache_requests_total"));
    #[cfg(target_os = "linux")]
    for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_threads"] {
        assert!(value(&samples, name, &[]).is_some(), "{name}");
    }
}
