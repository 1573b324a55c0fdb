//! Active health checks: who is asked, who is left out, who comes back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use testkit::child::{self, Child, until};
use testkit::load::{Got, Wire};
use testkit::{Port, Proxy, Reply, Upstream, eventually};

/// A named upstream `pool` with this `health`, and a route `api` for `api.test` to it that tries once.
fn pool(endpoints: &[SocketAddr], health: &str) -> String {
    let urls: Vec<String> = endpoints.iter().map(|addr| format!("\"http://{addr}\"")).collect();
    format!(
        "upstreams:\n  - name: pool\n    endpoints: [{}]\n    balance: round_robin\n    health: {health}\n\
         routes:\n  - name: api\n    match: api.test\n    to: upstream:pool\n    retry: false\n",
        urls.join(", ")
    )
}

/// Answers checks at /healthz by what `well` says, and everything else with its name.
async fn named(name: &'static str, well: &Arc<AtomicBool>) -> Upstream {
    let well = Arc::clone(well);
    Upstream::http(move |seen| match seen.target.as_str() {
        "/healthz" if well.load(Relaxed) => Reply::status(204),
        "/healthz" => Reply::status(503),
        _ => Reply::ok(name),
    })
    .await
}

async fn until_well(proxy: &Proxy, addr: SocketAddr, well: bool) {
    let label = addr.to_string();
    let label = &label;
    eventually("the verdict", || async move {
        let metrics = proxy.metrics().await;
        let checks = metrics.sum("attache_health_checks_total", &[("endpoint", label)]);
        let now = metrics.sum("attache_endpoint_healthy", &[("endpoint", label)]) == 1.0;
        (checks > 0.0 && now == well).then_some(())
    })
    .await;
}

/// The status of one request through a proxy of its own process.
async fn status(proxy: &Child) -> u16 {
    match Wire::connect(proxy.listen).await.expect("a connection").get("http://api.test/").await {
        Got::Whole { status, .. } => status,
        other => unreachable!("{other:?}"),
    }
}

fn served(upstream: &Upstream) -> usize {
    upstream.requests().iter().filter(|seen| seen.target == "/").count()
}

#[tokio::test]
async fn an_endpoint_whose_checks_fail_is_left_out_and_comes_back() {
    let (always, well) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
    let (good, other) = (named("good", &always).await, named("other", &well).await);
    let health = "{ http: /healthz, every: 100ms, healthy: 2, unhealthy: 2 }";
    let proxy = Proxy::start(&pool(&[good.addr(), other.addr()], health));
    until_well(&proxy, other.addr(), true).await;

    well.store(false, Relaxed);
    until_well(&proxy, other.addr(), false).await;
    let before = served(&other);
    for _ in 0..10 {
        assert_eq!(proxy.get("http://api.test/").await.text(), "good");
    }
    assert_eq!(served(&other), before);

    well.store(true, Relaxed);
    until_well(&proxy, other.addr(), true).await;
    let texts = [proxy.get("http://api.test/").await.text(), proxy.get("http://api.test/").await.text()];
    assert!(texts.contains(&"other".to_owned()), "{texts:?}");
    let check = other.requests().into_iter().find(|seen| seen.target == "/healthz").expect("a check");
    assert_eq!((check.method.as_str(), check.header("host")), ("GET", Some(&*other.addr().to_string())));
}

#[tokio::test]
async fn nobody_to_connect_to_is_found_before_a_request_is() {
    let (refused, good) = (Port::refused(), Upstream::fixed("good").await);
    let proxy = Proxy::start(&pool(&[refused.addr(), good.addr()], "{ tcp: true, every: 30s }"));
    until_well(&proxy, refused.addr(), false).await;

    for _ in 0..6 {
        assert_eq!(proxy.get("http://api.test/").await.text(), "good");
    }

    assert_eq!(good.count(), 6);
}

#[tokio::test]
async fn a_single_endpoint_that_is_ill_is_refused_at_once_and_says_when() {
    let well = Arc::new(AtomicBool::new(false));
    let upstream = named("alone", &well).await;
    let proxy = Proxy::start(&pool(&[upstream.addr()], "{ http: /healthz, every: 30s }"));
    until_well(&proxy, upstream.addr(), false).await;

    let refused = proxy.get("http://api.test/").await;

    assert_eq!((refused.status, refused.reason().as_str(), served(&upstream)), (503, "no_healthy_endpoint", 0));
    assert_eq!(refused.header("retry-after"), Some("30"));
}

#[tokio::test]
async fn checks_that_fail_everywhere_take_nobody_out() {
    let ill = Arc::new(AtomicBool::new(false));
    let (one, two) = (named("one", &ill).await, named("two", &ill).await);
    let proxy = Proxy::start(&pool(&[one.addr(), two.addr()], "{ http: /healthz, every: 30s }"));
    until_well(&proxy, one.addr(), false).await;
    until_well(&proxy, two.addr(), false).await;

    for _ in 0..4 {
        assert_eq!(proxy.get("http://api.test/").await.status, 200);
    }

    assert_eq!((served(&one), served(&two)), (2, 2));
}

#[tokio::test]
async fn with_everything_ill_and_no_limit_nobody_is_asked() {
    let ill = Arc::new(AtomicBool::new(false));
    let (one, two) = (named("one", &ill).await, named("two", &ill).await);
    let yaml = pool(&[one.addr(), two.addr()], "{ http: /healthz, every: 30s }\n    max_ejected: 100%");
    let proxy = Proxy::start(&yaml);
    until_well(&proxy, one.addr(), false).await;
    until_well(&proxy, two.addr(), false).await;

    let refused = proxy.get("http://api.test/").await;

    assert_eq!((refused.status, refused.reason().as_str()), (503, "no_healthy_endpoint"));
    assert_eq!((served(&one), served(&two)), (0, 0));
}

#[tokio::test]
async fn a_check_that_is_not_answered_in_time_fails() {
    let upstream = Upstream::http(|_| Reply::hang()).await;
    let proxy = Proxy::start(&pool(&[upstream.addr()], "{ http: /healthz, every: 30s, timeout: 50ms }"));

    until_well(&proxy, upstream.addr(), false).await;

    upstream.until("its connection is closed", |record| record.open == 0).await;
}

#[tokio::test]
async fn the_status_and_the_host_that_are_expected_are_the_operators_choice() {
    let upstream = Upstream::http(|seen| match seen.header("host") {
        Some("inside.test") => Reply::status(401),
        _ => Reply::status(200),
    })
    .await;
    for (expect, well) in [("[401]", true), ("[2xx]", false)] {
        let health = format!("{{ http: /, host: inside.test, expect: {expect}, every: 30s }}");
        let proxy = Proxy::start(&pool(&[upstream.addr()], &health));
        until_well(&proxy, upstream.addr(), well).await;
    }
}

#[tokio::test]
async fn the_grpc_health_protocol_is_asked_for_a_service() {
    let upstream = Upstream::h2c(|seen| {
        let asked = seen.body.get(7..).unwrap_or_default() == b"shop.Orders";
        let status = if asked { "\u{1}" } else { "\u{2}" };
        Reply::ok(format!("\0\0\0\0\u{2}\u{8}{status}")).trailer("grpc-status", "0")
    })
    .await;
    for (service, well) in [("shop.Orders", true), ("shop.Others", false)] {
        let health = format!("{{ grpc: {service}, every: 30s }}");
        let proxy = Proxy::start(&pool(&[upstream.addr()], &health));
        until_well(&proxy, upstream.addr(), well).await;
    }
    let seen = &upstream.requests()[0];
    assert_eq!((seen.target.as_str(), seen.header("te")), ("/grpc.health.v1.Health/Check", Some("trailers")));

    let failing = Upstream::h2c(|_| Reply::ok("\0\0\0\0\u{2}\u{8}\u{1}").trailer("grpc-status", "12")).await;
    let proxy = Proxy::start(&pool(&[failing.addr()], "{ grpc: '', every: 30s }"));
    until_well(&proxy, failing.addr(), false).await;
}

#[tokio::test]
async fn a_reload_keeps_the_verdict_and_one_without_checks_forgets_it() {
    let ill = Arc::new(AtomicBool::new(false));
    let upstream = named("alone", &ill).await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("attache.yaml");
    let text = pool(&[upstream.addr()], "{ http: /healthz, every: 60s }");
    let quiet = "log: { access: false }\n";
    std::fs::write(&file, format!("{quiet}{text}")).expect("written");
    let proxy = Child::start(&child::program(env!("CARGO_BIN_EXE_attache")), &file).await;
    let status = || status(&proxy);
    let within = Duration::from_secs(10);
    until("it is ill", within, || async { status().await == 503 }).await;
    let checks = upstream.count();

    std::fs::write(&file, format!("{quiet}{}", text.replace("retry: false", "retry: 2"))).expect("written");
    proxy.command(&["reload"]).await;
    until("the second configuration", within, || async {
        proxy.metric("attache_config_generation").await.is_some_and(|generation| generation >= 2.0)
    })
    .await;
    assert_eq!((status().await, upstream.count()), (503, checks), "neither forgotten nor asked again");

    let without: String =
        text.lines().filter(|line| !line.contains("health:")).map(|line| format!("{line}\n")).collect();
    std::fs::write(&file, format!("{quiet}{without}")).expect("written");
    proxy.command(&["reload"]).await;
    until("nobody asks any more", within, || async { status().await == 200 }).await;
}

#[tokio::test]
async fn one_of_several_that_nobody_checks_any_more_takes_requests_again() {
    let (ill, well) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(true)));
    let (one, other) = (named("one", &ill).await, named("other", &well).await);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("attache.yaml");
    let text =
        format!("log: {{ access: false }}\n{}", pool(&[one.addr(), other.addr()], "{ http: /healthz, every: 60s }"));
    std::fs::write(&file, &text).expect("written");
    let proxy = Child::start(&child::program(env!("CARGO_BIN_EXE_attache")), &file).await;
    let (proxy, one) = (&proxy, &one);
    let asked = || async move {
        let before = served(one);
        for _ in 0..4 {
            assert_eq!(status(proxy).await, 200);
        }
        served(one) - before
    };
    let within = Duration::from_secs(10);
    until("it is left out", within, || async move { asked().await == 0 }).await;

    let without: String =
        text.lines().filter(|line| !line.contains("health:")).map(|line| format!("{line}\n")).collect();
    std::fs::write(&file, without).expect("written");
    proxy.command(&["reload"]).await;

    until("it takes requests", within, || async move { asked().await == 2 }).await;
}
