//! Large, endless and slow bodies: what they cost in memory, how much of one leaves the upstream for a reader that
//! stopped, and what a thousand slow connections do to everybody else.
//!
//! Memory is the child's resident memory without pages backed by files, as in `bad_input.rs`. What left the upstream is
//! what was written to its socket less what the kernel still holds there unacknowledged (`/proc/net/tcp`).
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "what was measured belongs to the result")]

#[path = "bodies/ends.rs"]
mod ends;

use std::net::SocketAddr;
use std::time::Duration;

use tempfile::TempDir;
use testkit::child::{self, Child};
use testkit::load::{self, Client, quantile};
use tokio::time::Instant;

use crate::ends::{Origin, Peer, Spoken};

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;
/// Above what the proxy held after the first requests.
const GROWTH: u64 = 8 * MIB;
/// What may still leave the upstream.
const AFTER: u64 = 4 * MIB;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// Nothing moved for this long: nothing more will.
const STILL: Duration = Duration::from_millis(500);
/// For a gibibyte, in a debug build on a busy machine.
const LONG: Duration = Duration::from_secs(180);

struct Scene {
    proxy: Child,
    h1: Origin,
    h2: Origin,
    _dir: TempDir,
}

impl Scene {
    /// `one.test` leads to HTTP/1.1, `two.test` to HTTP/2 in the clear.
    async fn new() -> Self {
        let (h1, h2) = (Origin::start(Spoken::H1).await, Origin::start(Spoken::H2).await);
        let dir = TempDir::new().expect("a directory");
        let file = dir.path().join("attache.yaml");
        let text = format!(
            "workers: 1
log: {{ access: false }}
server: {{ header: 20s, body_idle: 20s }}
destinations: {{ connect_ports: [80, \"1024-65535\"] }}
routes:
  - match: ok.test
    respond: {{ status: 200, body: fine }}
  - match: one.test
    to: http://{}
  - match: two.test
    to: h2c://{}
",
            h1.addr, h2.addr
        );
        std::fs::write(&file, text).expect("written");
        let proxy = Child::start(&child::program(env!("CARGO_BIN_EXE_attache")), &file).await;
        Self { proxy, h1, h2, _dir: dir }
    }

    fn origin(&self, spoken: Spoken) -> (&Origin, &'static str) {
        match spoken {
            Spoken::H1 => (&self.h1, "one.test"),
            Spoken::H2 => (&self.h2, "two.test"),
        }
    }

    /// Runs `work` and returns by how much memory grew at most meanwhile.
    async fn growth(&self, work: impl Future<Output = ()>) -> u64 {
        let before = self.proxy.anonymous();
        let mut most = before;
        let mut work = std::pin::pin!(tokio::time::timeout(LONG, work));
        loop {
            let done = tokio::time::timeout(LOOK, work.as_mut()).await;
            most = most.max(self.proxy.anonymous());
            if let Ok(done) = done {
                done.expect("in time");
                return most - before;
            }
        }
    }

    /// A body each way through `peer`, and what they cost.
    async fn both_ways(&self, what: &str, mut peer: Peer, host: &str) {
        // What a connection costs is not what a body costs.
        peer.upload(host, MIB).await;
        peer.download(host, MIB).await;

        for way in ["up", "down"] {
            let started = Instant::now();
            let grown = self
                .growth(async {
                    match way {
                        "up" => peer.upload(host, GIB).await,
                        _ => peer.download(host, GIB).await,
                    }
                })
                .await;
            println!("{what}, {way}: {} KiB more, {:?}", grown >> 10, Instant::now() - started);
            assert!(grown <= GROWTH, "{what}, {way}: {} KiB more", grown >> 10);
        }
    }
}

#[tokio::test]
async fn a_gibibyte_streams_both_ways_over_http1_within_8_mib() {
    let scene = Scene::new().await;

    scene.both_ways("h1 -> h1", Peer::open(scene.proxy.listen, Spoken::H1).await, "one.test").await;
}

#[tokio::test]
async fn a_gibibyte_streams_both_ways_over_http2_within_8_mib() {
    let scene = Scene::new().await;

    scene.both_ways("h2 -> h2", Peer::open(scene.proxy.listen, Spoken::H2).await, "two.test").await;
}

#[tokio::test]
async fn a_gibibyte_streams_both_ways_inside_connect_within_8_mib() {
    let scene = Scene::new().await;

    let peer = Peer::tunnel(scene.proxy.listen, "one.test:80").await;
    scene.both_ways("CONNECT, h1 inside", peer, "one.test").await;
}

#[tokio::test]
async fn a_gibibyte_of_anything_streams_both_ways_through_a_tunnel_within_8_mib() {
    let scene = Scene::new().await;
    let blind = ends::blind().await;

    for way in [b'u', b'd'] {
        let mut tunnel = ends::connect(scene.proxy.listen, &blind.to_string()).await;
        let started = Instant::now();
        let grown = scene.growth(async { ends::carry(&mut tunnel, way, GIB).await }).await;
        println!("tunnel, {}: {} KiB more, {:?}", way as char, grown >> 10, Instant::now() - started);
        assert!(grown <= GROWTH, "{} KiB more", grown >> 10);
    }
}

#[tokio::test]
async fn little_more_leaves_the_upstream_once_its_reader_stopped() {
    for (client, upstream) in
        [(Spoken::H1, Spoken::H1), (Spoken::H2, Spoken::H1), (Spoken::H1, Spoken::H2), (Spoken::H2, Spoken::H2)]
    {
        for first in [0, 64 * MIB] {
            let scene = Scene::new().await;
            let (origin, host) = scene.origin(upstream);
            // The first requests' memory is not what stalls.
            Peer::open(scene.proxy.listen, client).await.download(host, MIB).await;
            let warm = origin.written();
            let memory = scene.proxy.anonymous();
            let peer = Peer::open(scene.proxy.listen, client).await;
            let held = peer.read_some(host, first).await;
            let stopped = origin.left() - warm;
            let mut left = stopped;
            let mut since = Instant::now();
            while Instant::now() - since < STILL {
                tokio::time::sleep(LOOK).await;
                let now = origin.left() - warm;
                if now != left {
                    (left, since) = (now, Instant::now());
                }
            }
            let (more, kept) = (left.saturating_sub(stopped.max(first)), left.saturating_sub(first));
            let grown = scene.proxy.anonymous().saturating_sub(memory);
            println!(
                "{client:?} -> {upstream:?}, after {} MiB: {} KiB more, {} KiB unread in all; memory {} KiB more",
                first / MIB,
                more >> 10,
                kept >> 10,
                grown >> 10
            );
            assert!(kept <= AFTER, "{client:?} -> {upstream:?}: {} KiB", kept >> 10);
            assert!(grown <= MIB, "{client:?} -> {upstream:?}: a stalled stream costs {} KiB", grown >> 10);
            drop(held);
        }
    }
}

/// Of each kind: a head, an upload, and downloads over either version.
const SLOW: usize = 250;
/// Between two bytes of a slow peer.
const DRIP: Duration = Duration::from_millis(400);
/// A stream that nobody reads, and a connection that idles.
const STALLED: u64 = MIB;
const IDLE: u64 = 14 << 10;
/// What a debug build and a busy machine add to a hundredth of all requests.
const BUSY: Duration = Duration::from_millis(25);

/// How long other requests take: 100 a second for some seconds, the slowest in a hundred.
async fn p99(to: SocketAddr) -> Duration {
    let client = Client::new(to);
    let mut took = load::open_loop(100.0, 300, move |_| {
        let client = client.clone();
        async move {
            let started = Instant::now();
            let answer = client.send(load::get("http://ok.test/")).await.expect("an answer");
            assert_eq!(answer.status(), 200);
            Instant::now() - started
        }
    })
    .await;
    quantile(&mut took, 0.99)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_slow_connections_do_not_slow_the_others() {
    let scene = Scene::new().await;
    let to = scene.proxy.listen;
    let alone = p99(to).await;
    let before = scene.proxy.anonymous();

    let mut slow = tokio::task::JoinSet::new();
    for _ in 0..SLOW {
        slow.spawn(ends::drip(to, "GET http://ok.test/ HTTP/1.1\r\nhost: ok.test\r\nx-slow: ", DRIP));
        slow.spawn(ends::drip(
            to,
            "POST http://one.test/ HTTP/1.1\r\nhost: one.test\r\ncontent-length: 1000\r\n\r\n",
            DRIP,
        ));
        slow.spawn(async move {
            let peer = Peer::open(to, Spoken::H1).await;
            let _held = peer.read_some("one.test", MIB / 8).await;
            std::future::pending().await
        });
        slow.spawn(async move {
            let peer = Peer::open(to, Spoken::H2).await;
            let _held = peer.read_some("two.test", MIB / 8).await;
            std::future::pending().await
        });
    }
    child::until("all are there", Duration::from_secs(20), || async {
        let metrics = scene.proxy.metrics().await;
        let open = |proto| {
            let name = format!("attache_connections{{side=\"client\",proto=\"{proto}\"}}");
            metrics.get(&name).copied().unwrap_or(0.0)
        };
        open("h1") + open("h2") >= 4.0 * SLOW as f64
    })
    .await;
    // Each stalled stream takes what its buffers hold; what is measured begins behind that.
    let mut written = 0;
    while written != scene.h1.written() + scene.h2.written() {
        written = scene.h1.written() + scene.h2.written();
        tokio::time::sleep(STILL).await;
    }
    let among = p99(to).await;

    let grown = scene.proxy.anonymous().saturating_sub(before);
    println!("p99 alone {alone:?}, among {} slow connections {among:?}; {} KiB more", 4 * SLOW, grown >> 10);
    assert_eq!(slow.try_join_next().map(|ended| ended.is_ok()), None, "a slow one was ended");
    assert!(among <= alone * 2 + BUSY, "p99 {among:?}, alone {alone:?}");
    let limit = 4 * SLOW as u64 * IDLE + 2 * SLOW as u64 * STALLED / 2;
    assert!(grown <= limit, "{} KiB more, limit {}", grown >> 10, limit >> 10);
}

#[tokio::test]
async fn a_header_bomb_over_http2_costs_nothing() {
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    let scene = Scene::new().await;
    Peer::open(scene.proxy.listen, Spoken::H2).await.download("two.test", MIB).await;
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", SETTINGS].concat();
    // RFC 7541: the request, one field of 4,000 bytes that is remembered (index 62), then that index again and again.
    let mut block = vec![0x82, 0x86, 0x84, 0x41, 7];
    block.extend(b"ok.test");
    block.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    block.extend([b'z'; 4000]);
    let mut references = block.clone();
    references.extend([0xbe; 16_000]);
    let frames = |parts: &[&[u8]], ends: bool| {
        let mut bytes = preface.clone();
        for (index, part) in parts.iter().enumerate() {
            let flags = 1 + if ends && index + 1 == parts.len() { 4 } else { 0 };
            let (kind, flags) = if index == 0 { (1, flags) } else { (9, flags & 4) };
            let length = u32::try_from(part.len()).expect("short").to_be_bytes();
            bytes.extend([&length[1..], &[kind, flags, 0, 0, 0, 1], part].concat());
        }
        bytes
    };
    let (first, second) = references.split_at(16_000);
    let plain = [0, 1, b'y', 100].iter().copied().chain([b'z'; 100]).collect::<Vec<u8>>().repeat(150);
    let mut endless: Vec<&[u8]> = vec![&block];
    endless.extend(std::iter::repeat_n(&plain[..], 1000));
    let bombs =
        [("64 MiB from 20 KiB", frames(&[first, second], true)), ("a head without end", frames(&endless, false))];

    for (name, bytes) in bombs {
        let patience = Duration::from_secs(5);
        let mut heard = None;
        let grown = scene
            .growth(async {
                heard = Some(load::speak(scene.proxy.listen, &bytes, load::Manner::Stall, patience).await);
            })
            .await;
        let heard = heard.expect("spoken");
        // An answer on the stream, a reset of it, or the end of the connection: HEADERS, RST_STREAM or GOAWAY.
        let kinds = kinds(&heard.bytes);
        println!("{name}: frames {kinds:?}, ended {}, {} KiB more", heard.ended, grown >> 10);
        assert!(heard.ended || kinds.iter().any(|kind| matches!(kind, 1 | 3 | 7)), "{name}: {kinds:?}");
        assert!(grown <= MIB, "{name}: {} KiB more", grown >> 10);
    }
    let answer = Client::new(scene.proxy.listen).send(load::get("http://ok.test/")).await.expect("an answer");
    assert_eq!(answer.status(), 200);
}

/// The kinds of the frames in what a server sent.
fn kinds(mut bytes: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let [a, b, c, kind, ..] = bytes {
        kinds.push(*kind);
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        bytes = bytes.get(9 + length..).unwrap_or_default();
    }
    kinds
}
