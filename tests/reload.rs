//! A new configuration under load, and the end under load: nothing that was promised is lost.
#![allow(clippy::panic, reason = "a failed expectation fails the test")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use exchange::clock;
use tempfile::TempDir;
use testkit::child::{self, Child, Signal, until};
use testkit::load::{Got, Wire};
use testkit::origin::Origin;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::MissedTickBehavior;

const OK: &str = "attache_config_last_reload_successful";
const GENERATION: &str = "attache_config_generation";
/// Two looks of the proxy at its file, and a busy machine.
const SEEN: Duration = Duration::from_secs(10);
const CONNECTIONS: usize = 8;
const RELOADS: u64 = 100;
/// Requests a second in all.
const RATE: u64 = 1_000;

struct Scene {
    proxy: Child,
    origin: Origin,
    broken: Origin,
    file: PathBuf,
    dir: TempDir,
}

impl Scene {
    async fn new(drain: &str) -> Self {
        let origin = Origin::start("up").await;
        let broken = Origin::start("broken").await;
        let dir = TempDir::new().expect("a directory");
        let file = dir.path().join("attache.yaml");
        std::fs::write(&file, text(&origin, &broken, 1, drain)).expect("written");
        let proxy = Child::start(&program(), &file).await;
        Self { proxy, origin, broken, file, dir }
    }

    fn text(&self, version: u64) -> String {
        text(&self.origin, &self.broken, version, "30s")
    }

    /// Puts a configuration whose responses carry `version` in place, at once.
    fn rewrite(&self, version: u64) {
        replace(&self.file, &self.text(version));
    }

    async fn wire(&self) -> Wire {
        Wire::connect(self.proxy.listen).await.expect("a connection")
    }

    /// The version that answers a new request.
    async fn version(&self) -> u64 {
        match self.wire().await.get("http://up.test/").await {
            Got::Whole { status: 200, head, .. } => version(&head),
            other => panic!("{other:?}"),
        }
    }

    async fn until_version(&self, version: u64) {
        until(&format!("version {version}"), SEEN, || async { self.version().await == version }).await;
    }

    async fn generation(&self) -> u64 {
        self.proxy.metric(GENERATION).await.expect("a generation") as u64
    }

    async fn until_refused(&self) {
        until("the reload is refused", SEEN, || async { self.proxy.metric(OK).await == Some(0.0) }).await;
    }

    /// `attache status --json`.
    async fn status(&self) -> serde_json::Value {
        serde_json::from_slice(&self.proxy.command(&["status", "--json"]).await.stdout).expect("json")
    }

    /// The old configuration still answers, and metrics and `attache status` say why.
    async fn kept(&self, old: u64, why: &str) {
        self.until_refused().await;
        assert_eq!(self.version().await, old);
        let last = self.status().await["last_reload"].clone();
        assert_eq!(last["ok"], false, "{last}");
        assert!(last["errors"].to_string().contains(why), "{last}");
    }
}

fn program() -> PathBuf {
    child::program(env!("CARGO_BIN_EXE_attache"))
}

/// Retries are off: they would hide a failure.
fn text(origin: &Origin, broken: &Origin, version: u64, drain: &str) -> String {
    format!(
        "drain: {drain}
log: {{ access: false }}
destinations: {{ connect_ports: [\"1-65535\"] }}
routes:
  - match: up.test
    to: http://{address}
    retry: false
    headers: {{ response: {{ set: {{ x-version: \"{version}\" }} }} }}
  - match: broken.test
    to: http://{broken}
    retry: false
    breaker: {{ failures: {failures}, open: 60s }}
",
        address = origin.address,
        broken = broken.address,
        failures = 3 + version,
    )
}

/// As an editor or a deployment does: a new file takes the name of the old one.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).expect("written");
    std::fs::rename(new, file).expect("renamed");
}

fn version(head: &str) -> u64 {
    head.lines().find_map(|line| line.strip_prefix("x-version: ")?.parse().ok()).unwrap_or_else(|| panic!("{head}"))
}

/// What the load saw.
#[derive(Default)]
struct Tally {
    whole: u64,
    failed: Vec<Got>,
    reconnects: u64,
}

/// Requests at `CONNECTIONS` keep-alive connections, `RATE` a second in all, until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    connections: Vec<tokio::task::JoinHandle<Tally>>,
}

impl Load {
    fn start(to: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let one = |_| tokio::spawn(paced(to, Arc::clone(&stop)));
        Self { connections: (0..CONNECTIONS).map(one).collect(), stop }
    }

    async fn end(self) -> Tally {
        self.stop.store(true, Relaxed);
        let mut all = Tally::default();
        for one in self.connections {
            let one = one.await.expect("no panic");
            all.whole += one.whole;
            all.failed.extend(one.failed);
            all.reconnects += one.reconnects;
        }
        all
    }
}

async fn paced(to: SocketAddr, stop: Arc<AtomicBool>) -> Tally {
    let mut tally = Tally::default();
    let mut beat = tokio::time::interval(Duration::from_secs(1) * CONNECTIONS as u32 / RATE as u32);
    beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut wire = Wire::connect(to).await.expect("a connection");
    while !stop.load(Relaxed) {
        beat.tick().await;
        let got = wire.get("http://up.test/").await;
        let stays = matches!(&got, Got::Whole { stays: true, .. });
        match got {
            Got::Whole { status: 200, .. } => tally.whole += 1,
            other => tally.failed.push(other),
        }
        if !stays {
            tally.reconnects += 1;
            wire = Wire::connect(to).await.expect("a connection");
        }
    }
    tally
}

/// A tunnel to a server that sends everything back.
struct Tunnel(TcpStream);

impl Tunnel {
    async fn open(proxy: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let to = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.expect("accepted");
            let (mut reader, mut writer) = tcp.split();
            // Ends with the tunnel.
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        });
        let mut tcp = TcpStream::connect(proxy).await.expect("a connection");
        tcp.write_all(format!("CONNECT {to} HTTP/1.1\r\nhost: {to}\r\n\r\n").as_bytes()).await.expect("written");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            assert!(tcp.read_buf(&mut head).await.is_ok_and(|read| read > 0), "{}", String::from_utf8_lossy(&head));
        }
        assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
        let mut tunnel = Self(tcp);
        tunnel.echoes("\0first bytes that are not HTTP").await;
        tunnel
    }

    async fn echoes(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.expect("written");
        let mut back = vec![0; text.len()];
        self.0.read_exact(&mut back).await.expect("echoed");
        assert_eq!(back, text.as_bytes());
    }
}

#[tokio::test]
async fn a_hundred_reloads_under_load_fail_no_request_and_cut_no_tunnel() {
    let scene = Scene::new("30s").await;
    let mut tunnel = Tunnel::open(scene.proxy.listen).await;
    let started = clock::now();
    let load = Load::start(scene.proxy.listen);

    let (mut hups, mut commands, mut rewrites) = (0, 0, 0);
    for version in 2..RELOADS + 2 {
        scene.rewrite(version);
        match version % 14 {
            0 => rewrites += 1,
            even if even % 2 == 0 => {
                scene.proxy.signal(Signal::HUP);
                hups += 1;
            }
            _ => {
                let output = scene.proxy.command(&["reload"]).await;
                assert!(output.status.success(), "{output:?}");
                commands += 1;
            }
        }
        scene.until_version(version).await;
        if version % 10 == 0 {
            tunnel.echoes("still here").await;
        }
    }

    let took = clock::now().since(started);
    let tally = load.end().await;
    let rate = tally.whole as f64 / took.as_secs_f64();
    println!(
        "{hups} HUP + {commands} `attache reload` + {rewrites} rewrites in {took:.1?}: {} requests, {rate:.0} a second, \
         {} failed, {} reconnects",
        tally.whole,
        tally.failed.len(),
        tally.reconnects
    );
    assert_eq!(tally.failed, []);
    assert_eq!(tally.reconnects, 0);
    assert!(rate > 0.8 * RATE as f64, "{rate} a second is not the load that is meant");
    assert!(scene.generation().await > RELOADS);
    assert_eq!(scene.proxy.metric(OK).await, Some(1.0));
    tunnel.echoes("and to the end").await;
}

#[tokio::test]
async fn an_invalid_file_keeps_the_old_configuration_and_says_so() {
    let scene = Scene::new("30s").await;
    assert_eq!(scene.proxy.metric(OK).await, Some(1.0));
    let generation = scene.generation().await;

    replace(&scene.file, "routes: [{ match: up.test, retyr: 3 }]\n");
    scene.kept(1, "retyr").await;
    let refused = scene.proxy.command(&["reload"]).await;
    scene.proxy.signal(Signal::HUP);
    until("HUP is refused aloud", SEEN, || async {
        scene.proxy.said().matches("the old configuration stays").count() >= 3
    })
    .await;

    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("did you mean `retry`") && !said.contains("{\""), "{said}");
    assert_eq!((scene.version().await, scene.generation().await), (1, generation));
    scene.rewrite(2);
    scene.until_version(2).await;
    assert_eq!(scene.proxy.metric(OK).await, Some(1.0));
    assert_eq!(scene.generation().await, generation + 1);
}

#[tokio::test]
async fn a_file_that_a_new_configuration_needs_and_that_is_missing_refuses_it() {
    let scene = Scene::new("30s").await;
    let address = scene.origin.address;

    let ca = scene.dir.path().join("no-such-ca.pem");
    let text = format!("routes: [{{ match: up.test, to: \"https://{address}\", tls: {{ ca: {} }} }}]\n", ca.display());
    replace(&scene.file, &text);

    scene.kept(1, "no-such-ca.pem").await;
}

#[tokio::test]
async fn a_half_written_file_is_refused_until_it_is_whole() {
    let scene = Scene::new("30s").await;
    let new = scene.text(2);
    // Within a flow mapping: what is there is no YAML.
    let (half, rest) = new.split_at(new.find("set: {").expect("there") + "set: {".len());

    std::fs::write(&scene.file, half).expect("written");
    scene.kept(1, "YAML").await;
    let mut file = std::fs::OpenOptions::new().append(true).open(&scene.file).expect("opened");
    std::io::Write::write_all(&mut file, rest.as_bytes()).expect("written");

    scene.until_version(2).await;
    assert_eq!(scene.proxy.metric(OK).await, Some(1.0));
}

#[tokio::test]
async fn a_file_that_is_still_being_written_is_not_read() {
    let scene = Scene::new("30s").await;
    let generation = scene.generation().await;
    std::fs::write(&scene.file, scene.text(2)).expect("written");

    // Always valid, never the same for a whole second.
    let mut beat = tokio::time::interval(Duration::from_millis(100));
    for line in 0..35 {
        beat.tick().await;
        let mut file = std::fs::OpenOptions::new().append(true).open(&scene.file).expect("opened");
        std::io::Write::write_all(&mut file, format!("# {line}\n").as_bytes()).expect("written");
    }

    assert_eq!((scene.version().await, scene.generation().await), (1, generation));
    scene.until_version(2).await;
    assert_eq!(scene.generation().await, generation + 1);
}

#[tokio::test]
async fn a_symlink_swap_as_kubernetes_does_it_is_followed() {
    let (origin, broken) = (Origin::start("up").await, Origin::start("broken").await);
    let dir = TempDir::new().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    let mount = |generation: &str, text: String| {
        std::fs::create_dir(at(generation)).expect("made");
        std::fs::write(at(generation).join("attache.yaml"), text).expect("written");
        std::os::unix::fs::symlink(generation, at("..data_tmp")).expect("linked");
        std::fs::rename(at("..data_tmp"), at("..data")).expect("swapped");
    };
    mount("..2026_01", text(&origin, &broken, 1, "30s"));
    std::os::unix::fs::symlink("..data/attache.yaml", at("attache.yaml")).expect("linked");
    let file = at("attache.yaml");
    let proxy = Child::start(&program(), &file).await;
    let scene = Scene { proxy, origin, broken, file, dir: TempDir::new().expect("a directory") };
    assert_eq!(scene.version().await, 1);

    mount("..2026_02", scene.text(2));
    std::fs::remove_dir_all(at("..2026_01")).expect("removed");

    scene.until_version(2).await;
    assert_eq!(scene.proxy.metric(OK).await, Some(1.0));
}

#[tokio::test]
async fn a_deleted_file_changes_nothing_until_it_is_back() {
    let scene = Scene::new("30s").await;

    std::fs::remove_file(&scene.file).expect("removed");
    scene.proxy.signal(Signal::HUP);
    scene.kept(1, "attache.yaml").await;
    scene.rewrite(2);

    scene.until_version(2).await;
    assert_eq!(scene.proxy.metric(OK).await, Some(1.0));
}

#[tokio::test]
async fn a_destination_that_a_reload_denies_is_refused_though_a_connection_to_it_is_open() {
    let scene = Scene::new("30s").await;
    let by_address = format!("http://{}/", scene.origin.address);
    let mut wire = scene.wire().await;
    for url in ["http://up.test/", &by_address] {
        let got = wire.get(url).await;
        assert!(matches!(got, Got::Whole { status: 200, .. }), "{url}: {got:?}");
    }

    let ports = "connect_ports: [\"1-65535\"]";
    replace(&scene.file, &scene.text(2).replace(ports, &format!("{ports}, deny: [{}]", scene.origin.address.ip())));
    assert!(scene.proxy.command(&["reload"]).await.status.success());

    let (wire, by_address) = (&tokio::sync::Mutex::new(wire), &by_address);
    for url in ["http://up.test/", by_address] {
        until("the destination is refused", SEEN, || async {
            matches!(wire.lock().await.get(url).await, Got::Whole { status: 403, .. })
        })
        .await;
    }
}

#[tokio::test]
async fn a_credential_that_a_reload_brings_is_there_with_its_route() {
    let scene = Scene::new("30s").await;
    let token = scene.dir.path().join("token");
    std::fs::write(&token, "s3cret").expect("written");

    let auth = format!("    auth: {{ bearer: {{ file: {} }} }}\n  - match: broken.test", token.display());
    replace(&scene.file, &scene.text(2).replacen("  - match: broken.test", &auth, 1));
    assert!(scene.proxy.command(&["reload"]).await.status.success());

    until("the new version", SEEN, || async {
        match scene.wire().await.get("http://up.test/").await {
            Got::Whole { status: 200, head, .. } => version(&head) == 2,
            other => panic!("{other:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn an_open_breaker_stays_open_when_its_numbers_change() {
    let scene = Scene::new("30s").await;
    let state = format!("attache_breaker_state{{upstream=\"{at}\",endpoint=\"{at}\"}}", at = scene.broken.address);
    let mut wire = scene.wire().await;
    let mut answered = 0;
    let refused = loop {
        match wire.get("http://broken.test/fail").await {
            Got::Whole { head, .. } if head.contains("destination_unavailable") => break head,
            Got::Whole { status: 503, .. } => answered += 1,
            other => panic!("{other:?}"),
        }
        assert!(answered < 10);
    };
    assert_eq!(answered, 4, "failures: 4; {refused}");
    let metrics = scene.proxy.metrics().await;
    assert_eq!(
        metrics.get(&state),
        Some(&2.0),
        "{:?}",
        metrics.keys().filter(|k| k.contains("breaker")).collect::<Vec<_>>()
    );

    scene.rewrite(2);
    scene.until_version(2).await;

    let Got::Whole { head, .. } = wire.get("http://broken.test/").await else { panic!("no answer") };
    assert!(head.contains("destination_unavailable"), "{head}");
    assert_eq!(scene.proxy.metric(&state).await, Some(2.0));
}

#[tokio::test]
async fn term_under_load_cuts_no_response_and_the_ports_are_free_at_once() {
    let mut scene = Scene::new("30s").await;
    let to = scene.proxy.listen;
    // Half of them have a response on its way at any moment.
    let urls = ["http://up.test/", "http://up.test/after/200"];
    let busy = (0..CONNECTIONS * 2).map(|number| tokio::spawn(until_gone(to, urls[number % 2])));
    let busy: Vec<_> = busy.collect();
    until("the load runs", SEEN, || async {
        let metrics = scene.proxy.metrics().await;
        let done = metrics.iter().filter(|(name, _)| name.starts_with("attache_requests_total"));
        done.map(|(_, count)| count).sum::<f64>() > 500.0
    })
    .await;

    scene.proxy.signal(Signal::TERM);
    let told = clock::now();
    let status = scene.proxy.ended(Duration::from_secs(10)).await;
    let took = clock::now().since(told);
    let again = Child::start_at(&program(), &scene.file, &to.to_string(), &scene.proxy.admin.to_string()).await;

    let (mut whole, mut unanswered, mut cut) = (0, 0, 0);
    for one in busy {
        let one = one.await.expect("no panic");
        whole += one.0;
        unanswered += one.1;
        cut += one.2;
    }
    println!("TERM: exit {status} after {took:.1?}; {whole} whole, {unanswered} unanswered, {cut} cut");
    assert_eq!(cut, 0);
    assert_eq!(unanswered, 0, "what was sent before the end was announced is answered");
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(again.listen, to);
}

/// Requests until the connection ends: whole, unanswered, cut.
async fn until_gone(to: SocketAddr, url: &str) -> (usize, usize, usize) {
    let mut whole = 0;
    let mut wire = Wire::connect(to).await.expect("a connection");
    loop {
        match wire.get(url).await {
            Got::Whole { status: 200, stays: true, .. } => whole += 1,
            Got::Whole { status: 200, .. } => return (whole + 1, 0, 0),
            Got::Whole { status, head, .. } => panic!("{status}: {head}"),
            Got::Unanswered => return (whole, 1, 0),
            Got::Cut => return (whole, 0, 1),
        }
    }
}

#[tokio::test]
async fn term_with_nothing_in_flight_ends_at_once() {
    let mut scene = Scene::new("30s").await;
    let mut idle = scene.wire().await;
    assert!(matches!(idle.get("http://up.test/").await, Got::Whole { status: 200, .. }));
    let _silent = TcpStream::connect(scene.proxy.listen).await.expect("a connection");
    let mut begun = TcpStream::connect(scene.proxy.listen).await.expect("a connection");
    begun.write_all(b"GE").await.expect("written");
    let sniffed = "attache_connections{side=\"client\",proto=\"h1\"}";
    until("they are in", SEEN, || async { scene.proxy.metric(sniffed).await >= Some(1.0) }).await;

    scene.proxy.signal(Signal::TERM);
    let told = clock::now();
    let status = scene.proxy.ended(SEEN).await;

    assert_eq!(status.code(), Some(0), "{}", scene.proxy.said());
    let took = clock::now().since(told);
    assert!(took < Duration::from_secs(2), "{took:?}");
}

/// A response that never ends, with its first bytes read.
async fn endless(to: SocketAddr) -> TcpStream {
    let mut tcp = TcpStream::connect(to).await.expect("a connection");
    tcp.write_all(b"GET http://up.test/endless HTTP/1.1\r\nhost: up.test\r\n\r\n").await.expect("written");
    let mut read = Vec::new();
    while !read.ends_with(b"drip\n\r\n") {
        assert!(tcp.read_buf(&mut read).await.is_ok_and(|read| read > 0));
    }
    assert!(read.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&read));
    tcp
}

#[tokio::test]
async fn an_endless_response_is_cut_when_the_drain_time_is_over_and_the_exit_code_says_so() {
    let mut scene = Scene::new("1s").await;
    let mut response = endless(scene.proxy.listen).await;

    scene.proxy.signal(Signal::TERM);
    let told = clock::now();
    let status = scene.proxy.ended(SEEN).await;
    let took = clock::now().since(told);

    assert_eq!(status.code(), Some(3), "{}", scene.proxy.said());
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(3), "{took:?}");
    let mut rest = Vec::new();
    let _ = response.read_to_end(&mut rest).await;
    assert!(!rest.ends_with(b"0\r\n\r\n"), "a cut response must not look complete");
}

#[tokio::test]
async fn a_second_term_stops_now_and_the_ports_are_free_at_once() {
    let mut scene = Scene::new("30s").await;
    let _response = endless(scene.proxy.listen).await;

    scene.proxy.signal(Signal::TERM);
    until("it drains", SEEN, || async { scene.proxy.said().contains("once more to stop now") }).await;
    assert!(TcpStream::connect(scene.proxy.listen).await.is_err(), "a draining proxy takes no new connection");
    assert_eq!(scene.status().await["mode"], "draining");
    scene.proxy.signal(Signal::TERM);
    let told = clock::now();
    let status = scene.proxy.ended(SEEN).await;
    let took = clock::now().since(told);
    let (listen, admin) = (scene.proxy.listen.to_string(), scene.proxy.admin.to_string());
    let again = Child::start_at(&program(), &scene.file, &listen, &admin).await;

    assert_eq!(status.code(), Some(3));
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(again.listen, scene.proxy.listen);
}

#[tokio::test]
async fn after_a_kill_the_ports_are_free_at_once() {
    let mut scene = Scene::new("30s").await;
    let _response = endless(scene.proxy.listen).await;

    scene.proxy.signal(Signal::KILL);
    scene.proxy.ended(SEEN).await;
    let (listen, admin) = (scene.proxy.listen.to_string(), scene.proxy.admin.to_string());
    scene.proxy = Child::start_at(&program(), &scene.file, &listen, &admin).await;

    assert_eq!(scene.version().await, 1);
}
