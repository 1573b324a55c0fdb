//! A second try beside a late first: when it is made, where it goes, which answer wins, and what is left of the other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use testkit::wire::Wire;
use testkit::{Client, Metrics, Proxy, Reply, Response, Upstream, eventually};

/// A route `api` for `api.test` to a named upstream `pool`, in turn, with further lines.
fn pool(endpoints: &[SocketAddr], lines: &[&str]) -> String {
    let urls: Vec<String> = endpoints.iter().map(|addr| format!("\"http://{addr}\"")).collect();
    let yaml = format!(
        "upstreams:\n  - {{ name: pool, balance: round_robin, endpoints: [{}] }}\n\
         routes:\n  - name: api\n    match: api.test\n    to: upstream:pool\n",
        urls.join(", ")
    );
    lines.iter().fold(yaml, |yaml, line| format!("{yaml}    {line}\n"))
}

const HEDGE: &str = "hedge: { after: 60ms, budget: 100% }";
const ONCE: &str = "retry: false";
const URL: &str = "http://api.test/";
/// Longer than `after`, with room for a busy machine.
const LATE: Duration = Duration::from_millis(600);

/// Two endpoints that count their requests together and answer by that number.
struct Pair([Upstream; 2]);

impl Pair {
    async fn new(answer: impl Fn(usize) -> Reply + Clone + Send + Sync + 'static) -> Self {
        let count = Arc::<AtomicUsize>::default();
        let one = || {
            let (count, answer) = (Arc::clone(&count), answer.clone());
            Upstream::http(move |_| answer(count.fetch_add(1, Relaxed)))
        };
        Self([one().await, one().await])
    }

    fn addrs(&self) -> [SocketAddr; 2] {
        self.0.each_ref().map(Upstream::addr)
    }

    /// Requests at each, the busier first.
    fn counts(&self) -> (usize, usize) {
        let [one, two] = self.0.each_ref().map(Upstream::count);
        (one.max(two), one.min(two))
    }

    async fn until_closed(&self) {
        for upstream in &self.0 {
            upstream.until("its connections are closed", |record| record.open == 0).await;
        }
    }
}

/// Second tries that won and that were wasted.
fn hedges(metrics: &Metrics) -> (f64, f64) {
    let of = |result| metrics.sum("attache_hedges_total", &[("route", "api"), ("result", result)]);
    (of("won"), of("wasted"))
}

fn denied(metrics: &Metrics, reason: &str) -> f64 {
    metrics.sum("attache_hedge_denied_total", &[("route", "api"), ("reason", reason)])
}

async fn begin(proxy: &Proxy) -> Client {
    let mut client = proxy.client().await;
    client.send("GET http://api.test/ HTTP/1.1\r\nHost: x\r\n\r\n").await;
    client
}

#[tokio::test]
async fn a_late_first_try_is_overtaken_by_one_at_another_endpoint() {
    let pair = Pair::new(|number| if number == 0 { Reply::hang() } else { Reply::ok("good") }).await;
    let proxy = Proxy::start(&pool(&pair.addrs(), &[HEDGE, ONCE, "breaker: 1"]));

    let response = proxy.get(URL).await;

    assert_eq!((response.text().as_str(), pair.counts()), ("good", (1, 1)));
    let metrics = proxy.metrics().await;
    assert_eq!(hedges(&metrics), (1.0, 0.0));
    assert_eq!(metrics.sum("attache_attempts_total", &[("route", "api"), ("result", "hedge_lost")]), 1.0);
    assert_eq!(metrics.sum("attache_retries_total", &[]), 0.0);
    assert_eq!(metrics.sum("attache_breaker_state", &[]), 0.0, "one failure would have opened it");
    assert_eq!(metrics.sum("attache_endpoint_inflight", &[]), 0.0, "its place is given back");
    let log = proxy.finish();
    let attempts = log[0]["attempts"].as_array().expect("attempts");
    assert_eq!((&attempts[0]["status"], &attempts[0]["hedge"]), (&200.into(), &true.into()), "{log:?}");
    assert_eq!((&attempts[1]["reason"], &attempts[1]["hedge"]), (&"hedge_lost".into(), &serde_json::Value::Null));
    assert_ne!(attempts[0]["endpoint"], attempts[1]["endpoint"]);
    assert_eq!((&log[0]["status"], &log[0]["reason"]), (&200.into(), &serde_json::Value::Null));
}

#[tokio::test]
async fn the_connection_of_the_loser_is_closed() {
    let pair = Pair::new(|number| if number == 0 { Reply::hang() } else { Reply::ok("good") }).await;
    let proxy = Proxy::start(&pool(&pair.addrs(), &[HEDGE, ONCE]));

    assert_eq!(proxy.get(URL).await.text(), "good");

    let pair = &pair;
    eventually("one is closed, the winner's is kept", || async move {
        let mut open = pair.0.each_ref().map(|upstream| upstream.record().open);
        open.sort_unstable();
        (open == [0, 1]).then_some(())
    })
    .await;
}

/// HTTP/2 by hand: tells of the request, then of the stream's reset; answers all requests but the first of all.
async fn streams(mut wire: Wire, count: Arc<AtomicUsize>, resets: Arc<AtomicUsize>) {
    let mut bytes = Vec::new();
    wire.exact(24, &mut bytes).await.expect("a preface");
    wire.send(b"\0\0\0\x04\0\0\0\0\0").await.expect("settings");
    loop {
        bytes.clear();
        if wire.exact(9, &mut bytes).await.is_err() {
            return;
        }
        let frame = bytes.clone();
        let length = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]) as usize;
        if wire.exact(length, &mut bytes).await.is_err() {
            return;
        }
        if frame[3] == 3 {
            resets.fetch_add(1, Relaxed);
        }
        if frame[3] == 1 && count.fetch_add(1, Relaxed) > 0 {
            // HEADERS with END_STREAM and END_HEADERS on the same stream; 0x88 is `:status: 200`.
            let _ = wire.send([&[0, 0, 1, 1, 5][..], &frame[5..9], &[0x88]].concat()).await;
        }
    }
}

#[tokio::test]
async fn over_http2_the_losers_stream_is_reset_and_its_connection_stays() {
    let (count, resets) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let one = || {
        let (count, resets) = (Arc::clone(&count), Arc::clone(&resets));
        Upstream::raw(move |_, wire| streams(wire, Arc::clone(&count), Arc::clone(&resets)))
    };
    let pair = [one().await, one().await];
    let yaml = pool(&pair.each_ref().map(Upstream::addr), &[HEDGE, ONCE]).replace("\"http:", "\"h2c:");
    let proxy = Proxy::start(&yaml);

    assert_eq!(proxy.get(URL).await.status, 200);

    let reset = &resets;
    eventually("one reset", || async move { (reset.load(Relaxed) == 1).then_some(()) }).await;
    assert_eq!(pair.each_ref().map(|upstream| upstream.record().open), [1, 1]);
}

#[tokio::test]
async fn a_first_try_in_time_is_alone_and_a_slow_second_is_wasted() {
    let pair = Pair::new(|number| match number {
        1 => Reply::ok("first").delay(LATE),
        2 => Reply::hang(),
        _ => Reply::ok("quick"),
    })
    .await;
    let proxy = Proxy::start(&pool(&pair.addrs(), &["hedge: { after: 300ms, budget: 100% }", ONCE]));

    assert_eq!(proxy.get(URL).await.text(), "quick");
    assert_eq!(hedges(&proxy.metrics().await), (0.0, 0.0));
    assert_eq!(proxy.get(URL).await.text(), "first");

    assert_eq!(hedges(&proxy.metrics().await), (0.0, 1.0));
}

#[tokio::test]
async fn an_error_never_beats_a_success() {
    for bad in [Reply::status(503), Reply::status(429), Reply::reset(), Reply::raw("garbage\r\n\r\n")] {
        let error = bad.clone();
        let second = Pair::new(move |number| match number {
            0 => Reply::ok("good").delay(LATE),
            _ => error.clone(),
        })
        .await;
        let proxy = Proxy::start(&pool(&second.addrs(), &[HEDGE, ONCE]));
        assert_eq!((proxy.get(URL).await.text().as_str(), second.counts()), ("good", (1, 1)), "{bad:?}");

        let error = bad.clone().delay(Duration::from_millis(200));
        let first = Pair::new(move |number| match number {
            0 => error.clone(),
            _ => Reply::ok("good").delay(LATE),
        })
        .await;
        let proxy = Proxy::start(&pool(&first.addrs(), &[HEDGE, ONCE]));
        assert_eq!((proxy.get(URL).await.text().as_str(), first.counts()), ("good", (1, 1)), "{bad:?}");
        assert_eq!(hedges(&proxy.metrics().await), (1.0, 0.0));
    }
}

async fn late(proxy: &Proxy, method: &str, fields: &[&str], body: &str) -> Response {
    proxy.call(method, URL, fields, body).await
}

#[tokio::test]
async fn what_may_change_something_is_never_sent_twice_on_purpose() {
    for (method, calls) in
        [("GET", 2), ("HEAD", 2), ("OPTIONS", 2), ("POST", 1), ("PUT", 1), ("DELETE", 1), ("PATCH", 1)]
    {
        let pair = Pair::new(|_| Reply::status(204).delay(LATE)).await;
        let proxy = Proxy::start(&pool(&pair.addrs(), &[HEDGE]));

        let response = late(&proxy, method, &["Idempotency-Key: 1"], "").await;

        let (one, two) = pair.counts();
        assert_eq!((response.status, one + two), (204, calls), "{method}");
    }
}

#[tokio::test]
async fn a_body_is_sent_twice_only_where_retries_keep_it() {
    for (line, calls) in [("retry: 2", 2), (ONCE, 1), ("retry: { body_limit: 2B }", 1)] {
        let pair = Pair::new(|_| Reply::ok("found").delay(LATE)).await;
        let proxy = Proxy::start(&pool(&pair.addrs(), &[HEDGE, line]));

        let response = late(&proxy, "GET", &[], "query").await;

        let (one, two) = pair.counts();
        assert_eq!((response.text().as_str(), one + two), ("found", calls), "{line}");
        let bodies: Vec<_> = pair.0.iter().flat_map(Upstream::requests).map(|seen| seen.body).collect();
        assert!(bodies.iter().all(|body| body == b"query"), "{line}: {bodies:?}");
    }
}

#[tokio::test]
async fn hedges_are_a_share_of_the_requests() {
    let pair = Pair::new(|_| Reply::ok("late").delay(Duration::from_millis(150))).await;
    let proxy = Proxy::start(&pool(&pair.addrs(), &["hedge: { after: 20ms, budget: 25% }", ONCE]));

    for _ in 0..8 {
        assert_eq!(proxy.get(URL).await.text(), "late");
    }

    let metrics = proxy.metrics().await;
    let (won, wasted) = hedges(&metrics);
    assert_eq!((won + wasted, denied(&metrics, "budget")), (2.0, 6.0));
    let (one, two) = pair.counts();
    assert_eq!(one + two, 10);
}

#[tokio::test]
async fn it_goes_to_another_endpoint_or_nowhere() {
    let pair = Pair::new(|_| Reply::ok("late").delay(Duration::from_millis(300))).await;
    let lines = [HEDGE, ONCE];
    let proxy = Proxy::start(&pool(&pair.addrs(), &lines));
    for _ in 0..4 {
        assert_eq!(proxy.get(URL).await.text(), "late");
    }
    assert_eq!(pair.counts(), (4, 4), "each request was at both");

    let path = format!("/api/v1/breakers/pool@{}/open", pair.addrs()[0]);
    let fields = ["host: localhost", "x-attache: 1"];
    assert_eq!(Client::connect(proxy.admin_addr()).await.call("POST", &path, &fields, "").await.status, 200);
    for _ in 0..3 {
        assert_eq!(proxy.get(URL).await.text(), "late");
    }

    assert_eq!(pair.counts(), (7, 4));
    assert_eq!(denied(&proxy.metrics().await, "no_endpoint"), 3.0);
}

#[tokio::test]
async fn urls_of_a_route_are_endpoints_too() {
    let pair = Pair::new(|number| if number % 2 == 0 { Reply::hang() } else { Reply::ok("good") }).await;
    let [one, two] = pair.addrs();
    let proxy = Proxy::start(&format!(
        "routes:\n  - name: api\n    match: api.test\n    to: [\"http://{one}\", \"http://{two}\"]\n    {HEDGE}\n    {ONCE}\n"
    ));

    for _ in 0..6 {
        assert_eq!(proxy.get(URL).await.text(), "good");
    }

    assert_eq!(pair.counts(), (6, 6), "each request was at both");
}

#[tokio::test]
async fn two_failures_are_one_attempt_for_the_retries() {
    let pair = Pair::new(|number| match number {
        0 | 1 => Reply::status(503).delay(LATE),
        _ => Reply::ok("good"),
    })
    .await;
    let proxy = Proxy::start(&pool(&pair.addrs(), &[HEDGE, "retry: 2"]));

    let response = proxy.get(URL).await;

    assert_eq!(response.text(), "good");
    let metrics = proxy.metrics().await;
    assert_eq!((hedges(&metrics), metrics.sum("attache_retries_total", &[])), ((0.0, 1.0), 1.0));
    let log = proxy.finish();
    let hedged: Vec<_> =
        log[0]["attempts"].as_array().expect("attempts").iter().map(|one| one["hedge"] == true).collect();
    assert_eq!(hedged.iter().filter(|hedge| **hedge).count(), 1, "the repeat is not hedged: {log:?}");
    assert_eq!(hedged.len(), 3);
}

#[tokio::test]
async fn failures_of_both_tries_count_at_their_endpoints() {
    let pair = Pair::new(|_| Reply::status(503).delay(Duration::from_millis(200))).await;
    let proxy =
        Proxy::start(&pool(&pair.addrs(), &[HEDGE, ONCE, "breaker: { failures: 1, open: 60s, max_open: 60s }"]));

    assert_eq!(proxy.get(URL).await.status, 503);

    assert_eq!(proxy.metrics().await.sum("attache_breaker_transitions_total", &[("to", "open")]), 2.0);
}

#[tokio::test]
async fn a_client_that_leaves_takes_both_tries_with_it() {
    let pair = Pair::new(|_| Reply::hang()).await;
    let proxy = Proxy::start(&pool(&pair.addrs(), &[HEDGE, "breaker: 1"]));
    let client = begin(&proxy).await;
    for upstream in &pair.0 {
        upstream.until("a try is there", |record| record.requests.len() == 1).await;
    }

    drop(client);

    pair.until_closed().await;
    assert_eq!(proxy.metrics().await.sum("attache_breaker_state", &[]), 0.0);
    let log = proxy.finish();
    let reasons: Vec<_> = log[0]["attempts"].as_array().expect("attempts").iter().map(|one| &one["reason"]).collect();
    assert_eq!(reasons, ["client_gone", "client_gone"], "{log:?}");
}

#[tokio::test]
async fn a_client_that_leaves_during_the_wait_is_not_hedged_for() {
    let pair = Pair::new(|_| Reply::hang()).await;
    let proxy = Proxy::start(&pool(&pair.addrs(), &["hedge: { after: 400ms, budget: 100% }"]));
    let client = begin(&proxy).await;
    let pair = &pair;
    eventually("the first is there", || async move { (pair.counts() == (1, 0)).then_some(()) }).await;

    drop(client);
    pair.until_closed().await;
    tokio::time::sleep(Duration::from_millis(600)).await;

    assert_eq!(pair.counts(), (1, 0));
}

#[tokio::test]
async fn an_http2_client_that_resets_takes_both_tries_with_it() {
    let pair = Pair::new(|_| Reply::hang()).await;
    let proxy = Proxy::start(&pool(&pair.addrs(), &[HEDGE]));
    let mut client = proxy.h2().await;
    let call = tokio::spawn(async move { client.get(URL).await });
    for upstream in &pair.0 {
        upstream.until("a try is there", |record| record.requests.len() == 1).await;
    }

    call.abort();

    pair.until_closed().await;
}

#[tokio::test]
async fn the_deadline_bounds_both_tries() {
    let pair = Pair::new(|_| Reply::hang()).await;
    let proxy = Proxy::start(&pool(&pair.addrs(), &[HEDGE, ONCE, "timeout: { total: 400ms, attempt: false }"]));

    let response = proxy.get(URL).await;

    assert_eq!((response.status, response.reason().as_str(), pair.counts()), (504, "deadline", (1, 1)));
    pair.until_closed().await;
}

#[tokio::test]
async fn a_breakers_probe_is_not_hedged() {
    let good = Upstream::fixed("good").await;
    let fails = Arc::new(AtomicBool::new(true));
    let failing = Arc::clone(&fails);
    let back = Upstream::http(move |_| match failing.load(Relaxed) {
        true => Reply::status(500),
        false => Reply::ok("back").delay(LATE),
    })
    .await;
    let lines = [HEDGE, ONCE, "breaker: { failures: 1, open: 300ms }"];
    let proxy = Proxy::start(&pool(&[good.addr(), back.addr()], &lines));
    let proxied = &proxy;
    eventually("its breaker is open", || async move {
        proxied.get(URL).await;
        (proxied.metrics().await.sum("attache_breaker_state", &[]) == 2.0).then_some(())
    })
    .await;
    let before = hedges(&proxy.metrics().await);

    fails.store(false, Relaxed);
    eventually("a probe", || async move { (proxied.get(URL).await.text() == "back").then_some(()) }).await;

    let metrics = proxy.metrics().await;
    assert_eq!((denied(&metrics, "probe"), hedges(&metrics)), (1.0, before));
}

#[tokio::test]
async fn a_percentile_is_learnt_first() {
    let slow = Arc::<AtomicUsize>::default();
    let next = Arc::clone(&slow);
    let pair = Pair::new(move |_| match next.swap(0, Relaxed) {
        0 => Reply::ok("quick"),
        _ => Reply::ok("slow").delay(LATE),
    })
    .await;
    let proxy = Proxy::start(&pool(&pair.addrs(), &["hedge: { after: p90, budget: 100% }", ONCE]));
    let mut client = proxy.client().await;

    slow.store(1, Relaxed);
    assert_eq!(client.get(URL).await.text(), "slow", "nothing is known");
    assert_eq!(hedges(&proxy.metrics().await), (0.0, 0.0));
    for _ in 1..100 {
        assert_eq!(client.get(URL).await.text(), "quick");
    }

    slow.store(1, Relaxed);
    assert_eq!(client.get(URL).await.text(), "quick", "the second try's");
    assert!(hedges(&proxy.metrics().await).0 >= 1.0);
}

#[tokio::test]
async fn explain_and_the_stack_name_it() {
    let pair = Pair::new(|_| Reply::ok("")).await;
    let proxy = Proxy::start(&pool(&pair.addrs(), &["hedge: p99", "deadline: X-Request-Timeout"]));

    let told = proxy.admin(&format!("/api/v1/explain?method=GET&url={URL}")).await.json();

    let layers: Vec<_> = told["layers"].as_array().expect("layers").iter().filter_map(|one| one.as_str()).collect();
    let place = |name| layers.iter().position(|one| *one == name).expect("a layer");
    assert!(place("retry") < place("hedge") && place("hedge") < place("target"), "{layers:?}");
    assert!(told["hedge"].as_str().is_some_and(|text| text.contains("99%") && text.contains("5%")), "{told}");
    assert!(told["deadline"].as_str().is_some_and(|text| text.contains("x-request-timeout")), "{told}");
}

#[tokio::test]
async fn routes_to_one_upstream_share_what_it_allows() {
    let pair = Pair::new(|_| Reply::ok("late").delay(Duration::from_millis(150))).await;
    let saves = pool(&pair.addrs(), &["hedge: { after: 30s, budget: 100% }", ONCE]);
    let other =
        "  - { name: other, match: other.test, to: upstream:pool, retry: false, hedge: { after: 20ms, budget: 0% } }\n";
    let proxy = Proxy::start(&format!("{saves}{other}"));

    for _ in 0..2 {
        assert_eq!(proxy.get(URL).await.text(), "late");
    }
    for _ in 0..3 {
        assert_eq!(proxy.get("http://other.test/").await.text(), "late");
    }

    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("attache_hedges_total", &[("route", "other")]), 2.0);
    assert_eq!(metrics.sum("attache_hedge_denied_total", &[("route", "other"), ("reason", "budget")]), 1.0);
}

#[tokio::test]
async fn a_storm_of_hedges_repeats_and_clients_that_leave_gives_everything_back() {
    // Seven: so many clients at once are no multiple of it, and second tries meet another fate than their firsts.
    let pair = Pair::new(|number| match number % 7 {
        0 => Reply::ok("late").delay(Duration::from_millis(120)),
        1 => Reply::status(503).delay(Duration::from_millis(60)),
        2 => Reply::reset(),
        3 => Reply::hang(),
        _ => Reply::ok("good"),
    })
    .await;
    let lines = ["hedge: { after: 20ms, budget: 100% }", "timeout: { attempt: 300ms, total: 1s }", "breaker: false"];
    let proxy = Proxy::start(&pool(&pair.addrs(), &lines));
    let addr = proxy.addr();
    let clients: Vec<_> = (0..60)
        .map(|index| {
            tokio::spawn(async move {
                let mut client = Client::connect(addr).await;
                if index % 6 == 0 {
                    // Leaves in the middle of it.
                    client.send("GET http://api.test/ HTTP/1.1\r\nHost: x\r\n\r\n").await;
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    return 0;
                }
                let first = client.get(URL).await;
                u32::from(first.status == 200)
            })
        })
        .collect();

    let mut answered = 0;
    for client in clients {
        answered += client.await.expect("no client fails");
    }

    assert!(answered >= 25, "{answered} of 50");
    let proxied = &proxy;
    let metrics = eventually("all places are free and all is counted", || async move {
        let metrics = proxied.metrics().await;
        let free = metrics.sum("attache_endpoint_inflight", &[]) == 0.0;
        (free && metrics.sum("attache_requests_total", &[("route", "api")]) == 60.0).then_some(metrics)
    })
    .await;
    let (won, wasted) = hedges(&metrics);
    assert!(won > 0.0 && wasted > 0.0 && won + wasted <= 60.0, "{won} {wasted}");
    let (one, two) = pair.counts();
    assert!(metrics.sum("attache_attempts_total", &[("route", "api")]) >= (one + two) as f64, "none is forgotten");
    let pair = &pair;
    eventually("no connection is left that the proxy has let go", || async move {
        let open: usize = pair.0.iter().map(|upstream| upstream.record().open).sum();
        let held = proxied.metrics().await.sum("attache_connections", &[("side", "upstream")]);
        (held == open as f64).then_some(())
    })
    .await;
}
