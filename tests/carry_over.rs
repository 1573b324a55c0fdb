//! What a reload keeps: every row of the carry-over table, seen from inside and by what a client meets.
//!
//! Identity is compared by pointer and what was learnt by its whole debug text, so a counter that is new, reset or touched
//! by a reload shows, whatever it counts. What an operator forced and what health checks found are in `breaker` and
//! `health` besides, over the command line.
#![allow(clippy::panic, reason = "a failed expectation fails the test")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use config::Source;
use exchange::{Client as From, Io, clock};
use middleware::concurrency::Scope;
use policy::breaker::{self, Force, State as Breaker};
use policy::budget;
use proxy::Settings;
use proxy::snapshot::Plan;
use proxy::solo::Solo;
use tempfile::TempDir;
use testkit::{Client, Gate, Reply, Upstream, eventually};
use tokio::net::TcpListener;
use upstream::endpoint::State;

/// A proxy in this runtime, that can be looked into.
struct Scene {
    solo: Solo,
    addr: SocketAddr,
    dir: TempDir,
}

impl Scene {
    async fn new(yaml: &str) -> Arc<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("attache.yaml");
        std::fs::write(&file, text(yaml)).expect("written");
        let source = Source { path: Some(file), ..Source::default() };
        let loaded = config::load(&source).unwrap_or_else(|wrong| panic!("{wrong:?}\n{yaml}"));
        let settings = Settings {
            loaded,
            reload: Some(source),
            seed: Some(7),
            net: None,
            colour: false,
            messages: None,
            authority: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("bound");
        let solo = Solo::start(settings, &[addr]).unwrap_or_else(|error| panic!("{error}"));
        let scene = Arc::new(Self { solo, addr, dir });
        let door = Arc::downgrade(&scene);
        tokio::spawn(async move {
            while let (Ok((tcp, from)), Some(scene)) = (listener.accept().await, door.upgrade()) {
                scene.solo.hand(Io::from(tcp), From { addr: Some(from), local: true, peer: None }).await;
            }
        });
        scene
    }

    /// Puts another configuration in place, at the worker too.
    async fn reload(&self, yaml: &str) {
        std::fs::write(self.dir.path().join("attache.yaml"), text(yaml)).expect("written");
        let generation = self.solo.reload().await.unwrap_or_else(|wrong| panic!("{wrong:?}\n{yaml}"));
        let site = || self.solo.worker().site().snapshot().generation;
        eventually("the worker has it", || async { (site() == generation).then_some(()) }).await;
    }

    async fn client(&self) -> Client {
        Client::connect(self.addr).await
    }

    async fn get(&self) -> testkit::Response {
        self.client().await.get("http://api.test/").await
    }

    fn endpoint(&self, addr: SocketAddr) -> Arc<State> {
        let all = self.solo.endpoints();
        all.into_iter().find(|state| *state.label == *addr.to_string()).unwrap_or_else(|| panic!("no {addr}"))
    }

    fn memory(&self) -> Memory {
        let mut memory = Memory::default();
        for state in self.solo.endpoints() {
            let name = |what: &str| format!("{} of {}@{}", what, state.label, state.upstream);
            memory.all.insert(name("breaker"), Trace::of(&state, &state.breaker));
            memory.all.insert(name("latency"), Trace::of(&state, &state.latency));
            memory.all.insert(name("health"), Trace::of(&state, &state.health));
            memory.all.insert(name("places"), Trace::of(&state, &state.inflight));
            memory.all.insert(name("own budget"), Trace::of(&state.budget, &state.budget));
        }
        let budget = self.solo.budget("pool");
        memory.all.insert("budget".into(), Trace::of(&budget, &budget));
        let site = self.solo.worker().site();
        if let Some(plan) = site.snapshot().routes.iter().find(|plan| *plan.name == *"api") {
            memory.limits(plan);
        }
        memory
    }
}

fn text(yaml: &str) -> String {
    format!("admin: false\nlog: {{ access: false }}\n{yaml}")
}

/// What is known, by name.
#[derive(Default)]
struct Memory {
    all: BTreeMap<String, Trace>,
}

/// Where something is, without holding it, and what is in it.
struct Trace {
    at: Weak<dyn std::any::Any + Send + Sync>,
    text: String,
}

impl Trace {
    fn of<T: Send + Sync + 'static>(at: &Arc<T>, what: &impl Debug) -> Self {
        let at: Arc<dyn std::any::Any + Send + Sync> = Arc::clone(at) as _;
        Self { at: Arc::downgrade(&at), text: format!("{what:?}") }
    }
}

impl Memory {
    fn limits(&mut self, plan: &Plan) {
        match &plan.places {
            Some(Scope::One(bulkhead)) => _ = self.all.insert("limit".into(), Trace::of(bulkhead, bulkhead)),
            Some(Scope::Hosts(hosts)) => _ = self.all.insert("limit".into(), Trace::of(hosts, &hosts.sum())),
            None => {}
        }
        if let Some(meters) = &plan.meters {
            self.all.insert("rate".into(), Trace::of(meters, &()));
        }
        if let Some(hedges) = &plan.hedges {
            self.all.insert("hedging".into(), Trace::of(hedges, hedges));
        }
        if let Some(paces) = &plan.paces {
            self.all.insert("pacing".into(), Trace::of(paces, &()));
        }
    }

    fn assert_kept(&self, after: &Self, change: &str) {
        for (name, before) in &self.all {
            let Some(after) = after.all.get(name) else { panic!("{change}: the {name} is gone") };
            assert!(std::ptr::addr_eq(before.at.as_ptr(), after.at.as_ptr()), "{change}: the {name} is another");
            assert_eq!(before.text, after.text, "{change}: the {name}");
        }
    }
}

/// A route `api` for `api.test` to the upstream `pool`, with further lines of both.
fn pool(endpoints: &[String], upstream: &[&str], route: &[&str]) -> String {
    let urls: Vec<_> = endpoints.iter().map(|url| format!("\"{url}\"")).collect();
    let yaml = format!("upstreams:\n  - name: pool\n    endpoints: [{}]\n", urls.join(", "));
    let yaml = upstream.iter().fold(yaml, |yaml, line| format!("{yaml}    {line}\n"));
    let yaml = format!("{yaml}routes:\n  - name: api\n    match: api.test\n    to: upstream:pool\n");
    route.iter().fold(yaml, |yaml, line| format!("{yaml}    {line}\n"))
}

fn http(upstream: &Upstream) -> String {
    format!("http://{}", upstream.addr())
}

const TURNS: &str = "balance: round_robin";
const HEDGE: &str = "hedge: { after: p90, budget: 50% }";
const LIMIT: &str = "limit: { adaptive: true, rate: 100000/s, pacing: true }";

#[tokio::test]
async fn an_upstream_that_stays_keeps_all_that_was_learnt_whatever_else_changes() {
    let (good, bad) = (Upstream::fixed("good").await, Upstream::http(|_| Reply::status(500)).await);
    let (idle, forced) = (Upstream::fixed("idle").await, Upstream::fixed("forced").await);
    let urls = [http(&good), http(&bad), http(&idle), http(&forced)];
    let first = ["retry: { attempts: 2, budget: 50% }", "breaker: 3", LIMIT];
    let hedging = |lines: &[&'static str], hedge| lines.iter().copied().chain([hedge]).collect::<Vec<&str>>();
    let scene = Scene::new(&pool(&urls, &[TURNS], &hedging(&first, HEDGE))).await;
    scene.endpoint(forced.addr()).breaker.force(Some(Force::Open), clock::now());
    let mut client = scene.client().await;
    for _ in 0..30 {
        client.get("http://api.test/").await;
    }
    // As a comparison of endpoints and a health check would have it.
    let out = scene.endpoint(idle.addr());
    let (generation, _) = out.breaker.calls(clock::now()).expect("it is closed");
    let (mut rng, long) = (fastrand::Rng::with_seed(1), Duration::from_secs(600));
    let params = breaker::Params { open: long, max_open: long, ..breaker::Params::default() };
    assert!(out.breaker.eject(generation, &params, clock::now(), &mut rng).is_some());
    let unhealthy = policy::health::Params { healthy: 1, unhealthy: 1 };
    assert_eq!(scene.endpoint(good.addr()).health.record(false, &unhealthy), Some(false));
    let budget = budget::Params::default();
    assert!(scene.solo.budget("pool").withdraw(&budget, clock::now()));
    assert_eq!(scene.endpoint(bad.addr()).breaker.state(), Breaker::Open);
    drop(out);
    drop(client);
    eventually("nothing is in flight", || async { (scene.solo.connections() == 0).then_some(()) }).await;
    let before = scene.memory();
    assert_eq!(before.all.len(), 4 * 5 + 5, "{:?}", before.all.keys());

    let other = "retry: { attempts: 5, budget: { ratio: 10%, per_second: 1 } }";
    for (change, upstream, route) in [
        ("the same", vec![TURNS], first.to_vec()),
        ("the breaker's numbers", vec![TURNS], vec![first[0], "breaker: { failures: 9, open: 1s }", LIMIT]),
        ("no breaker", vec![TURNS], vec![first[0], "breaker: false", LIMIT]),
        ("the retries' numbers", vec![TURNS], vec![other, first[1], LIMIT]),
        ("no retries", vec![TURNS], vec!["retry: false", first[1], LIMIT]),
        (
            "the limits' numbers",
            vec![TURNS],
            vec![first[0], first[1], "limit: { adaptive: true, concurrency: 7, rate: 9/s, pacing: true }"],
        ),
        ("the balance", vec!["balance: p2c", "max_ejected: 10%", "slow_start: 10s"], first.to_vec()),
        ("no outliers", vec![TURNS, "outlier: false"], first.to_vec()),
        ("timeouts and headers", vec![TURNS], {
            let headers = "headers: { request: { set: { x-a: b } } }";
            vec![first[0], first[1], LIMIT, "timeout: { attempt: 3s, connect: 1s }", headers]
        }),
    ] {
        scene.reload(&pool(&urls, &upstream, &hedging(&route, HEDGE))).await;
        before.assert_kept(&scene.memory(), change);
    }
    let other = pool(&urls, &[TURNS], &hedging(&first, "hedge: { after: 50ms, budget: 1% }"));
    scene.reload(&other).await;
    before.assert_kept(&scene.memory(), "the hedges' numbers");
    scene.reload(&format!("{other}  - {{ match: other.test, to: \"http://127.0.0.1:9\" }}\n")).await;
    before.assert_kept(&scene.memory(), "another route");
}

#[tokio::test]
async fn a_route_that_changes_its_match_alone_keeps_its_own_memory() {
    let upstream = Upstream::fixed("good").await;
    let yaml = pool(&[http(&upstream)], &[], &[LIMIT]);
    let scene = Scene::new(&yaml).await;
    assert_eq!(scene.get().await.status, 200);
    eventually("nothing is in flight", || async { (scene.solo.connections() == 0).then_some(()) }).await;
    let before = scene.memory();

    scene.reload(&yaml.replace("match: api.test", "match: { host: api.test, path: /v2/ }")).await;

    before.assert_kept(&scene.memory(), "a path");
}

#[tokio::test]
async fn new_numbers_apply_to_what_was_counted_at_the_next_sample() {
    let upstream = Upstream::http(|_| Reply::status(500)).await;
    let yaml = |failures| pool(&[http(&upstream)], &[], &["retry: false", &format!("breaker: {failures}")]);
    let scene = Scene::new(&yaml(10)).await;
    for _ in 0..3 {
        assert_eq!(scene.get().await.status, 500);
    }

    scene.reload(&yaml(4)).await;
    assert_eq!(scene.endpoint(upstream.addr()).breaker.state(), Breaker::Closed);
    assert_eq!(scene.get().await.status, 500);

    assert_eq!(scene.endpoint(upstream.addr()).breaker.state(), Breaker::Open);
}

#[tokio::test]
async fn a_pool_is_kept_with_its_connections() {
    let upstream = Upstream::fixed("good").await;
    let urls = [http(&upstream)];
    let scene = Scene::new(&pool(&urls, &[], &["breaker: 3"])).await;
    let mut client = scene.client().await;
    client.get("http://api.test/").await;

    scene.reload(&pool(&urls, &["slow_start: 1s"], &["breaker: 4"])).await;
    assert_eq!(client.get("http://api.test/").await.status, 200);
    assert_eq!(scene.get().await.status, 200);

    assert_eq!(upstream.record().connections, 1);
}

#[tokio::test]
async fn an_endpoint_that_goes_ends_in_order_and_one_that_comes_is_unmeasured() {
    let gate = Gate::default();
    let held = gate.clone();
    let stays = Upstream::fixed("stays").await;
    let goes = Upstream::http(move |seen| match seen.target.as_str() {
        "/slow" => Reply::ok("to its end").after(&held),
        _ => Reply::ok("goes"),
    })
    .await;
    let comes = Upstream::fixed("comes").await;
    let scene = Scene::new(&pool(&[http(&stays), http(&goes)], &[TURNS], &[])).await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = scene.client().await;
        assert_eq!(client.get("http://api.test/").await.status, 200);
        clients.push(client);
    }
    let mut slow = scene.client().await;
    while goes.requests().iter().all(|seen| seen.target != "/slow") {
        // One of two goes there, the other is answered at once.
        slow.send("GET http://api.test/slow HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let asked = goes.count() + stays.count();
        let (goes, stays) = (&goes, &stays);
        eventually("it is there", || async move { (goes.count() + stays.count() > asked).then_some(()) }).await;
        if goes.requests().iter().all(|seen| seen.target != "/slow") {
            slow.response("GET").await;
        }
    }
    let measured = format!("{:?}", scene.endpoint(stays.addr()).latency);

    scene.reload(&pool(&[http(&stays), http(&comes)], &[TURNS], &[])).await;

    assert_eq!(format!("{:?}", scene.endpoint(stays.addr()).latency), measured);
    let new = scene.endpoint(comes.addr());
    assert_eq!((new.breaker.state(), new.latency.get(clock::now())), (Breaker::Closed, Duration::from_millis(30)));
    drop(new);
    let left = &goes;
    eventually("what was idle is closed", || async move { (left.record().open == 1).then_some(()) }).await;
    gate.open();
    assert_eq!(slow.response("GET").await.text(), "to its end");
    eventually("and what was leased", || async move { (left.record().open == 0).then_some(()) }).await;
    let asked = goes.count();
    for _ in 0..4 {
        assert_eq!(scene.get().await.status, 200);
    }
    assert_eq!((goes.count(), comes.count() >= 2), (asked, true));

    // Two reloads on nobody remembers it.
    scene.reload(&pool(&[http(&stays), http(&comes)], &[TURNS], &["retry: 2"])).await;
    scene.reload(&pool(&[http(&stays), http(&goes)], &[TURNS], &[])).await;
    assert_eq!(scene.endpoint(goes.addr()).latency.get(clock::now()), Duration::from_millis(30));
}

#[tokio::test]
async fn another_protocol_is_another_endpoint_and_the_limits_stay() {
    let upstream = Upstream::fixed("good").await;
    let address = upstream.addr();
    let scene = Scene::new(&pool(&[format!("http://{address}")], &[], &[LIMIT])).await;
    assert_eq!(scene.get().await.status, 200);
    eventually("nothing is in flight", || async { (scene.solo.connections() == 0).then_some(()) }).await;
    let before = scene.memory();

    for (change, url, lines) in [
        ("HTTP/2", format!("h2c://{address}"), vec![]),
        ("TLS", format!("https://{address}"), vec![]),
        ("another TLS", format!("https://{address}"), vec!["tls: { min: \"1.3\" }"]),
    ] {
        let known: Vec<_> = scene.solo.endpoints().iter().map(Arc::downgrade).collect();
        scene.reload(&pool(&[url], &lines, &[LIMIT])).await;

        let states = scene.solo.endpoints();
        let fresh = states.iter().find(|state| known.iter().all(|old| !std::ptr::eq(old.as_ptr(), Arc::as_ptr(state))));
        let fresh = fresh.unwrap_or_else(|| panic!("{change}: the state is the old one"));
        assert_eq!(fresh.latency.get(clock::now()), Duration::from_millis(30), "{change}");
        let (upstreamed, after) = (&upstream, scene.memory());
        eventually("the pool is drained", || async move { (upstreamed.record().open == 0).then_some(()) }).await;
        for name in ["limit", "rate", "pacing", "budget"] {
            let same = std::ptr::addr_eq(before.all[name].at.as_ptr(), after.all[name].at.as_ptr());
            assert!(same && before.all[name].text == after.all[name].text, "{change}: the {name}");
        }
    }
}

#[tokio::test]
async fn a_rate_counts_on_and_is_clamped_to_the_new_burst() {
    let upstream = Upstream::fixed("good").await;
    let yaml = |burst| {
        let limit = format!("limit: {{ rate: 10/h, burst: {burst} }}");
        pool(&[http(&upstream)], &[], &[&limit])
    };
    let scene = Scene::new(&yaml(5)).await;
    for _ in 0..4 {
        assert_eq!(scene.get().await.status, 200);
    }

    scene.reload(&yaml(9)).await;
    assert_eq!((scene.get().await.status, scene.get().await.status), (200, 429), "one was left, and no more is given");

    let scene = Scene::new(&yaml(9)).await;
    assert_eq!(scene.get().await.status, 200);
    scene.reload(&yaml(2)).await;
    let statuses = [scene.get().await.status, scene.get().await.status, scene.get().await.status];
    assert_eq!(statuses, [200, 200, 429], "eight were left, and two fit");
}

#[tokio::test]
async fn what_an_upstream_announced_is_kept() {
    let upstream = Upstream::http(|_| Reply::status(429).header("retry-after", "60")).await;
    let yaml = |attempts: u32| {
        let retry = format!("retry: {attempts}");
        pool(&[http(&upstream)], &[], &["limit: { pacing: true }", "timeout: { total: 2s }", &retry])
    };
    let scene = Scene::new(&yaml(1)).await;
    assert_eq!(scene.get().await.status, 429);

    scene.reload(&yaml(2)).await;
    let held = scene.get().await;

    assert_eq!((held.status, held.reason().as_str(), upstream.count()), (429, "rate_limited", 1));
}

#[tokio::test]
async fn who_waits_in_line_stays_in_line() {
    let gate = Gate::default();
    let held = gate.clone();
    let upstream = Upstream::http(move |_| Reply::ok("served").after(&held)).await;
    let yaml = |attempts: u32| {
        let limit = "limit: { concurrency: 1, queue: { size: 1, timeout: 30s } }";
        pool(&[http(&upstream)], &[], &[limit, &format!("retry: {attempts}")])
    };
    let scene = Scene::new(&yaml(1)).await;
    let mut first = scene.client().await;
    first.send("GET http://api.test/ HTTP/1.1\r\nHost: x\r\n\r\n").await;
    upstream.until("it is there", |record| record.requests.len() == 1).await;
    let mut second = scene.client().await;
    second.send("GET http://api.test/ HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let waiting = || match scene.solo.worker().site().snapshot().routes[0].places.as_ref() {
        Some(Scope::One(bulkhead)) => (bulkhead.inflight(), bulkhead.waiting()),
        _ => (0, 0),
    };
    eventually("it waits", || async { (waiting() == (1, 1)).then_some(()) }).await;

    scene.reload(&yaml(2)).await;

    assert_eq!(waiting(), (1, 1));
    assert_eq!(scene.get().await.reason(), "overloaded", "the line is as full as before");
    gate.open();
    assert_eq!(
        (first.response("GET").await.text(), second.response("GET").await.text()),
        ("served".into(), "served".into())
    );
    eventually("all are gone", || async { (waiting() == (0, 0)).then_some(()) }).await;
}

#[tokio::test]
async fn callers_are_counted_as_long_as_a_configuration_asks_for_it_and_all_else_goes_on() {
    let upstream = Upstream::fixed("served").await;
    let yaml = |most: usize| format!("metrics: {{ identities: {most} }}\n{}", pool(&[http(&upstream)], &[], &[]));
    let scene = Scene::new(&yaml(0)).await;
    let mut counted = Vec::new();

    for most in [0, 1, 1, 0, 2] {
        scene.reload(&yaml(most)).await;
        scene.get().await;
        let metrics = testkit::Metrics::new(scene.solo.metrics());
        let by_name = metrics.sum("attache_identity_requests_total", &[("identity", "_anonymous")]);
        counted.push((by_name, metrics.sum("attache_requests_total", &[])));
    }

    assert_eq!(counted, [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (0.0, 4.0), (1.0, 5.0)]);
}
