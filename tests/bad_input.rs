//! What a broken or hostile client can send: each gets its limit's answer, and the proxy stays small and works on.
//!
//! Every test ends the same way: the next request is served, memory is below 10 MiB + 14 KiB for each connection, and
//! the file descriptors are those of the start. Memory is what the kernel counts as resident; where few connections are
//! open, without the pages of the binary itself (8 to 9 MiB of the release build, 25 MiB of a debug build, whatever the
//! input). With 10,000 connections all of it counts.
#![allow(clippy::print_stdout, reason = "what was measured belongs to the result")]

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;
use testkit::child::{self, Child, until};
use testkit::load::{self, Client, Heard, Manner, speak};
use testkit::origin::Origin;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// `first_byte`, `header` and `body_idle` of the tests' configuration.
const LIMIT: Duration = Duration::from_secs(1);
/// The coarse timer's imprecision: it looks, and reads the time, twice a second.
const SWEEP: Duration = Duration::from_millis(500);
/// That, and a busy machine's.
const SLACK: Duration = Duration::from_millis(2500);
/// Long enough to see that something is late.
const PATIENCE: Duration = Duration::from_secs(10);
/// Raw connections at once.
const AT_ONCE: usize = 100;
const GET: &str = "GET http://ok.test/ HTTP/1.1\r\nhost: ok.test\r\n";

struct Scene {
    proxy: Child,
    descriptors: usize,
    _origin: Origin,
    _dir: TempDir,
}

impl Scene {
    /// A proxy that serves `ok.test` by itself, `up.test` from an upstream, and does `default` with any other host.
    async fn new(default: &str) -> Self {
        let origin = Origin::start("up").await;
        let dir = TempDir::new().expect("a directory");
        let file = dir.path().join("attache.yaml");
        let text = format!(
            "default: {default}
log: {{ access: false }}
server: {{ first_byte: 1s, header: 1s, body_idle: 1s, idle: 60s }}
routes:
  - match: ok.test
    respond: {{ status: 200, body: fine }}
  - match: up.test
    to: http://{}
",
            origin.address
        );
        std::fs::write(&file, text).expect("written");
        let program = child::program(env!("CARGO_BIN_EXE_attache"));
        let proxy = Child::start(&program, &file).await;
        let mut scene = Self { proxy, descriptors: 0, _origin: origin, _dir: dir };
        scene.works().await;
        scene.settled("the first request's connection is gone", usize::MAX).await;
        // Admin's own connection may be one of them for a moment.
        scene.descriptors = usize::MAX;
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            scene.descriptors = scene.descriptors.min(scene.proxy.descriptors());
        }
        scene
    }

    /// The same bytes over a connection of their own.
    async fn speak(&self, bytes: &[u8], manner: Manner) -> Heard {
        speak(self.proxy.listen, bytes, manner, PATIENCE).await
    }

    /// The next request is served.
    async fn works(&self) {
        let answer = Client::new(self.proxy.listen).send(load::get("http://ok.test/")).await.expect("an answer");
        assert_eq!((answer.status(), &answer.body()[..]), (StatusCode::OK, &b"fine"[..]));
    }

    /// No client is connected, and at most `descriptors` are open.
    async fn settled(&self, what: &str, descriptors: usize) {
        let name = |proto| format!("attache_connections{{side=\"client\",proto=\"{proto}\"}}");
        until(what, PATIENCE, || async {
            let metrics = self.proxy.metrics().await;
            let open: f64 =
                ["h1", "h2", "sniff"].map(|proto| metrics.get(&name(proto)).copied().unwrap_or(0.0)).iter().sum();
            open == 0.0 && self.proxy.descriptors() <= descriptors
        })
        .await;
    }

    /// Memory with `connections` open is within its limit; returns it in KiB.
    fn small(&self, connections: usize) -> u64 {
        let used = self.proxy.anonymous() >> 10;
        let limit = limit(connections);
        assert!(used < limit, "{used} KiB with {connections} connections, limit {limit} KiB");
        used
    }

    /// What every test ends with; `most` connections were open at once.
    async fn survived(self, most: usize) {
        let used = self.small(most);
        self.works().await;
        self.settled("the file descriptors of the start", self.descriptors).await;
        let said = self.proxy.said();
        assert!(!said.contains("panic"), "{said}");
        println!("{used} KiB, at most {most} connections, limit {} KiB", limit(most));
    }
}

/// In KiB.
const fn limit(connections: usize) -> u64 {
    (10 << 10) + 14 * connections as u64
}

/// Speaks each, at most `AT_ONCE` at a time.
async fn speak_each(to: SocketAddr, each: Vec<Vec<u8>>, manner: Manner) -> Vec<(Vec<u8>, Heard)> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let spoken = each.into_iter().map(|bytes| {
        let places = Arc::clone(&places);
        tokio::spawn(async move {
            let _place = places.acquire().await;
            let heard = speak(to, &bytes, manner, PATIENCE).await;
            (bytes, heard)
        })
    });
    let spoken: Vec<_> = spoken.collect();
    let mut all = Vec::new();
    for one in spoken {
        all.push(one.await.expect("no panic"));
    }
    all
}

#[tokio::test]
async fn garbage_is_refused_or_cut_within_the_limits() {
    let scene = Scene::new("deny").await;
    let mut rng = fastrand::Rng::with_seed(11);
    let random = (0..300).map(|_| (0..rng.usize(1..2000)).map(|_| rng.u8(..)).collect::<Vec<_>>()).collect();

    for (sent, heard) in speak_each(scene.proxy.listen, random, Manner::Stall).await {
        let answer = match heard.bytes.first() {
            None => true,
            // A TLS alert.
            Some(0x15) => sent[0] == 0x16,
            Some(_) => matches!(heard.status(), Some(400 | 408 | 431)),
        };
        assert!(answer, "{sent:02x?}\n{}", heard.text());
        assert!(heard.ended && heard.took < LIMIT + SLACK, "{:?}: {sent:02x?}", heard.took);
    }

    scene.survived(AT_ONCE).await;
}

#[tokio::test]
async fn a_request_with_wrong_bytes_gets_one_whole_answer_or_none() {
    let scene = Scene::new("deny").await;
    let mut rng = fastrand::Rng::with_seed(12);
    let whole = "POST http://ok.test/a?b=c HTTP/1.1\r\nhost: ok.test\r\ncontent-length: 4\r\nx-a: b\r\n\r\nbody";
    let mutated = (0..500).map(|_| {
        let mut bytes = whole.as_bytes().to_vec();
        for _ in 0..rng.usize(1..6) {
            let at = rng.usize(..bytes.len());
            match rng.u8(..3) {
                0 => bytes[at] = rng.u8(..),
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, rng.u8(..)),
            }
        }
        bytes
    });
    let mutated = mutated.collect();

    let mut statuses = std::collections::BTreeMap::new();
    for (sent, heard) in speak_each(scene.proxy.listen, mutated, Manner::Close).await {
        let sent = String::from_utf8_lossy(&sent);
        assert!(heard.ended && heard.took < LIMIT + SLACK, "{:?}: {sent:?}", heard.took);
        assert!(heard.bytes.is_empty() || heard.status().is_some_and(|s| s != 500), "{sent:?}: {}", heard.text());
        *statuses.entry(heard.status()).or_insert(0) += 1;
    }
    println!("{statuses:?}");
    assert!(statuses.contains_key(&Some(400)) && statuses.contains_key(&Some(200)));

    scene.survived(AT_ONCE).await;
}

#[tokio::test]
async fn http2_that_is_garbage_or_stops_is_ended_within_the_limits() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    let scene = Scene::new("deny").await;
    let mut rng = fastrand::Rng::with_seed(13);
    let mut sent = vec![PREFACE.to_vec(), [PREFACE, SETTINGS].concat(), [PREFACE, SETTINGS, &[0, 0]].concat()];
    for number in 0..100 {
        let garbage: Vec<u8> = (0..rng.usize(1..500)).map(|_| rng.u8(..)).collect();
        let settings = if number % 2 == 0 { SETTINGS } else { &[] };
        sent.push([PREFACE, settings, &garbage].concat());
    }

    for (sent, heard) in speak_each(scene.proxy.listen, sent, Manner::Stall).await {
        assert!(heard.ended && heard.took < LIMIT + SLACK, "{:?}: {sent:02x?}", heard.took);
        // Frames or nothing: never a text.
        assert_eq!(heard.status(), None, "{sent:02x?}");
    }

    scene.survived(AT_ONCE).await;
}

#[tokio::test]
async fn requests_that_stop_half_way_get_408_or_the_end() {
    let scene = Scene::new("deny").await;
    let unbegun = ["", "G", "GET", "PRI * HT"];
    let half = ["GET ", GET, &GET[..20], "POST http://ok.test/ HTTP/1.1\r\nhost: ok.test\r\ncontent-le"];

    for begun in unbegun {
        let heard = scene.speak(begun.as_bytes(), Manner::Stall).await;
        assert!(heard.bytes.is_empty() && heard.ended, "{begun:?}: {}", heard.text());
        assert!(heard.took + SWEEP >= LIMIT && heard.took < LIMIT + SLACK, "{begun:?}: {:?}", heard.took);
    }
    for begun in half {
        let heard = scene.speak(begun.as_bytes(), Manner::Stall).await;
        assert_eq!((heard.status(), heard.ended), (Some(408), true), "{begun:?}: {}", heard.text());
        assert!(heard.took < LIMIT + SLACK, "{begun:?}: {:?}", heard.took);
    }
    for begun in unbegun.iter().chain(&half) {
        let heard = scene.speak(begun.as_bytes(), Manner::Close).await;
        assert!(heard.ended && matches!(heard.status(), None | Some(400)), "{begun:?}: {}", heard.text());
        assert!(heard.took < LIMIT, "{begun:?}: {:?}", heard.took);
    }

    scene.survived(1).await;
}

#[tokio::test]
async fn a_head_that_trickles_in_is_cut_by_its_limit_and_a_slow_but_whole_one_is_served() {
    let scene = Scene::new("deny").await;
    let endless = format!("{GET}x-slow: {}", "z".repeat(1000));
    let short = format!("{GET}\r\n");

    let cut = scene.speak(endless.as_bytes(), Manner::Drip(Duration::from_millis(100))).await;
    let served = scene.speak(short.as_bytes(), Manner::Drip(Duration::from_millis(8))).await;
    let slow: Vec<Vec<u8>> = (0..300).map(|_| endless.clone().into_bytes()).collect();
    let many = tokio::spawn(speak_each(scene.proxy.listen, slow, Manner::Drip(Duration::from_millis(100))));
    scene.works().await;

    assert_eq!((cut.status(), cut.ended), (Some(408), true));
    assert!(cut.took + SWEEP >= LIMIT && cut.took < LIMIT + SLACK, "{:?}", cut.took);
    assert_eq!(served.status(), Some(200), "{}", served.text());
    for (_, heard) in many.await.expect("no panic") {
        assert_eq!((heard.status(), heard.ended), (Some(408), true));
    }
    scene.survived(AT_ONCE).await;
}

#[tokio::test]
async fn a_body_that_stalls_gets_408_and_a_steady_slow_one_is_served() {
    let scene = Scene::new("deny").await;
    let head = "POST http://up.test/whole HTTP/1.1\r\nhost: up.test\r\n";
    let stalled = [
        format!("{head}content-length: 100\r\n\r\n"),
        format!("{head}content-length: 100\r\n\r\nten bytes."),
        format!("{head}transfer-encoding: chunked\r\n\r\n"),
        format!("{head}transfer-encoding: chunked\r\n\r\n64\r\nten bytes."),
        format!("{head}transfer-encoding: chunked\r\n\r\na\r\nten bytes.\r\n"),
    ];
    let steady = format!("{head}connection: close\r\ncontent-length: 300\r\n\r\n{}", "s".repeat(300));

    for sent in &stalled {
        let heard = scene.speak(sent.as_bytes(), Manner::Stall).await;
        assert_eq!((heard.status(), heard.ended), (Some(408), true), "{sent:?}: {}", heard.text());
        assert!(heard.took + SWEEP >= LIMIT && heard.took < LIMIT + SLACK, "{sent:?}: {:?}", heard.took);
    }
    let served = scene.speak(steady.as_bytes(), Manner::Drip(Duration::from_millis(5))).await;
    assert_eq!(served.status(), Some(200), "{}", served.text());
    assert!(served.took > LIMIT, "the body alone takes longer than the limit on silence: {:?}", served.took);

    scene.survived(1).await;
}

#[tokio::test]
async fn a_head_that_is_too_large_gets_431() {
    let scene = Scene::new("deny").await;
    let long = "z".repeat(1 << 20);
    let mut lines = GET.to_owned();
    for number in 0..101 {
        write!(lines, "x-{number}: a\r\n").expect("text");
    }
    let cases = [
        ("one line of 1 MiB", format!("{GET}x-long: {long}\r\n\r\n"), 431),
        ("a name of 1 MiB", format!("{GET}{long}: x\r\n\r\n"), 431),
        ("1 MiB in many lines", format!("{GET}{}\r\n", "x-many: 0123456789abcdef\r\n".repeat(1 << 15)), 431),
        ("103 lines", format!("{lines}\r\n"), 431),
        // Larger than a whole head may be; 414 is for what fits into one.
        ("a target of 1 MiB", format!("GET http://ok.test/{long} HTTP/1.1\r\nhost: ok.test\r\n\r\n"), 431),
    ];

    for (name, sent, status) in cases {
        let heard = scene.speak(sent.as_bytes(), Manner::Stall).await;
        assert_eq!((heard.status(), heard.ended), (Some(status), true), "{name}: {}", heard.text());
        assert!(heard.took < LIMIT, "{name}: {:?}", heard.took);
    }
    let fits = format!("{GET}connection: close\r\nx-long: {}\r\n\r\n", &long[..60 << 10]);
    assert_eq!(scene.speak(fits.as_bytes(), Manner::Stall).await.status(), Some(200));

    scene.survived(1).await;
}

#[tokio::test]
async fn ten_thousand_idle_connections_cost_14_kib_each_at_most() {
    const MANY: usize = 10_000;
    room_for(MANY + 500);
    let scene = Scene::new("deny").await;
    let before = scene.proxy.resident() >> 10;
    let request = format!("{GET}\r\n");

    let mut idle = Vec::with_capacity(MANY);
    while idle.len() < MANY {
        let mut hundred = Vec::new();
        for _ in 0..AT_ONCE {
            let mut tcp = TcpStream::connect(scene.proxy.listen).await.expect("a connection");
            tcp.write_all(request.as_bytes()).await.expect("written");
            hundred.push(tcp);
        }
        for mut tcp in hundred {
            let mut answer = [0; 1024];
            let read = tcp.read(&mut answer).await.expect("an answer");
            assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "after {}", idle.len());
            idle.push(tcp);
        }
    }

    let after = scene.proxy.resident() >> 10;
    let each = ((after - before) << 10) / MANY as u64;
    println!("resident: {before} KiB, with {MANY} idle connections {after} KiB: {each} B each");
    assert!(after < limit(MANY), "{after} KiB, limit {} KiB", limit(MANY));
    scene.works().await;
    for tcp in idle.iter_mut().step_by(100) {
        tcp.write_all(request.as_bytes()).await.expect("still open");
        let mut answer = [0; 1024];
        let read = tcp.read(&mut answer).await.expect("an answer");
        assert!(answer[..read].starts_with(b"HTTP/1.1 200"));
    }
    drop(idle);
    scene.survived(MANY).await;
}

/// Raises this process's limit of open files; the proxy raises its own.
fn room_for(descriptors: usize) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let enough = maximum.is_none_or(|hard| hard >= descriptors as u64);
    assert!(enough, "this test needs {descriptors} open files, the hard limit (ulimit -Hn) is {maximum:?}");
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("up to the hard limit");
}

#[tokio::test]
async fn a_thousand_hosts_that_do_not_exist_are_dns_errors_and_leave_nothing() {
    const HOSTS: usize = 1_000;
    let scene = Scene::new("pass").await;
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let asked = (0..HOSTS).map(|number| {
        let client = Client::new(scene.proxy.listen);
        let places = Arc::clone(&places);
        tokio::spawn(async move {
            let _place = places.acquire().await;
            // RFC 6761: never exists.
            client.send(load::get(&format!("http://no-{number}.invalid/"))).await
        })
    });
    let asked: Vec<_> = asked.collect();
    scene.works().await;

    let mut reasons = std::collections::BTreeMap::new();
    for one in asked {
        let answer = one.await.expect("no panic").expect("an answer");
        let said = answer.headers().get("proxy-status").map(|v| v.to_str().expect("text").to_owned());
        let said = said.unwrap_or_default();
        let expected = match answer.status() {
            StatusCode::BAD_GATEWAY => said.contains("error=dns_error"),
            // Without a name server that answers.
            StatusCode::GATEWAY_TIMEOUT => said.contains("error=dns_timeout"),
            _ => false,
        };
        assert!(expected, "{}: {said}", answer.status());
        *reasons.entry(answer.status().as_u16()).or_insert(0) += 1;
    }
    println!("{reasons:?}");

    scene.survived(AT_ONCE).await;
}
