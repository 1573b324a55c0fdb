//! The four-way matrix: {HTTP/1.1, HTTP/2} clients, {HTTP/1.1, h2c, both over TLS} upstreams, {forward, CONNECT,
//! reverse} doors, and each fault of the first six rows of the conformance design's section 4. Beside it tunnels with
//! TLS from end to end, for the faults of which a proxy that sees bytes has a say.
//!
//! The table is in `fault.rs`; here is the one runner. A cell is a route of its own to an upstream of its own, behind one
//! proxy a row with shortened timeouts. All failures of a row are told at once.
#![allow(clippy::print_stdout, reason = "the number of cells belongs to the result")]

#[path = "matrix/fault.rs"]
mod fault;
#[path = "matrix/origin.rs"]
mod origin;
#[path = "matrix/peer.rs"]
mod peer;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use testkit::{Certs, Proxy};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::fault::{ATTEMPT_MS, Ask, CONNECT_MS, Case, Fault, IDLE_MS, KEPT_ALIVE, Step, TABLE, Want};
use crate::origin::{Origin, Servers, Spoken, Tally};
use crate::peer::{Door, End, Heard, Peer, To, Version};

const VERSIONS: [Version; 2] = [Version::H1, Version::H2];
const UPSTREAMS: [Spoken; 4] = [Spoken::H1, Spoken::H2c, Spoken::H1Tls, Spoken::H2Tls];
const DOORS: [Door; 3] = [Door::Forward, Door::Connect, Door::Reverse];
/// Inside a sealed tunnel both ends speak the same.
const SEALED: [(Version, Spoken, Door); 2] =
    [(Version::H1, Spoken::H1Tls, Door::Sealed), (Version::H2, Spoken::H2Tls, Door::Sealed)];
/// Cells that run at once.
const AT_ONCE: usize = 24;
/// For the upstream to hear that its client is gone.
const TOLD: Duration = Duration::from_secs(1);
/// Nothing moved for this long: nothing more will.
const STILL: Duration = Duration::from_millis(400);
/// What an upstream may write for a client that reads nothing: 4 MiB, and as much in its own kernel's send buffer, which
/// `bodies.rs` tells apart.
const UNREAD: usize = 8 << 20;

/// One combination and one fault.
struct Cell {
    name: String,
    to: To,
    case: &'static Case,
    version: Version,
    door: Door,
    origin: Origin,
    spare: Option<Origin>,
}

fn combinations() -> Vec<(Version, Spoken, Door)> {
    let doors = |version, spoken| DOORS.map(|door| (version, spoken, door));
    VERSIONS.iter().flat_map(|version| UPSTREAMS.iter().flat_map(move |spoken| doors(*version, *spoken))).collect()
}

/// What can be said of a fault inside a sealed tunnel: the dial is ours, what breaks off must, and who leaves is told of.
/// The rest is between the two ends.
fn is_sealed(case: &Case) -> bool {
    match case.row {
        1 => !case.spare && case.fault != Fault::ResetAtConnect,
        2 | 6 => true,
        _ => false,
    }
}

/// The combinations of a fault.
fn ways(case: &Case) -> Vec<(Version, Spoken, Door)> {
    let mut ways = combinations();
    if is_sealed(case) {
        ways.extend(SEALED);
    }
    ways
}

/// All cells of a row, and a proxy with a route for each.
async fn arrange(row: usize) -> (Proxy, Vec<Cell>, Certs) {
    let certs = Certs::default();
    let servers = Servers { h1: certs.server("127.0.0.1", &["http/1.1"]), h2: certs.server("127.0.0.1", &["h2"]) };
    let mut cells = Vec::new();
    let (mut routes, mut upstreams) = (String::new(), String::new());
    for case in TABLE.iter().filter(|case| case.row == row) {
        for (version, spoken, door) in ways(case) {
            let route = format!("c{}", cells.len());
            let origin = Origin::new(spoken, case.fault, &servers).await;
            let name = format!("{}: {version:?} -> {door:?} -> {spoken:?}", case.name);
            if door == Door::Sealed {
                let tls = certs.client(if version == Version::H2 { &["h2"] } else { &[] });
                let authority = origin.url.trim_start_matches("https://").to_owned();
                let to = To::Sealed(authority, tls);
                cells.push(Cell { name, to, case, version, door, origin, spare: None });
                continue;
            }
            // Any fault that spares it.
            let spare = match case.spare {
                true => Some(Origin::new(spoken, Fault::Jitter, &servers).await),
                false => None,
            };
            let tls = if spoken.is_tls() { format!("tls: {{ ca: {} }}", certs.ca()) } else { String::new() };
            let to = match &spare {
                None => origin.url.clone(),
                Some(spare) => {
                    let both = format!("[\"{}\", \"{}\"]", origin.url, spare.url);
                    write!(upstreams, "  - name: {route}\n    balance: round_robin\n    endpoints: {both}\n")
                        .expect("text");
                    if spoken.is_tls() {
                        writeln!(upstreams, "    {tls}").expect("text");
                    }
                    format!("upstream:{route}")
                }
            };
            writeln!(routes, "  - name: {route}\n    match: {route}.test\n    to: {to}").expect("text");
            writeln!(
                routes,
                "    timeout: {{ connect: {CONNECT_MS}ms, attempt: {ATTEMPT_MS}ms, total: 12s, idle: {IDLE_MS}ms }}"
            )
            .expect("text");
            if spoken.is_tls() && spare.is_none() {
                writeln!(routes, "    {tls}").expect("text");
            }
            if !case.lines.iter().any(|line| line.starts_with("breaker")) {
                routes.push_str("    breaker: false\n");
            }
            for line in case.lines {
                writeln!(routes, "    {line}").expect("text");
            }
            cells.push(Cell { name, to: To::Route(route), case, version, door, origin, spare });
        }
    }
    let upstreams = if upstreams.is_empty() { upstreams } else { format!("upstreams:\n{upstreams}") };
    let proxy = Proxy::start(&format!(
        "workers: 2
log: {{ access: false }}
destinations: {{ connect_ports: [80, \"1024-65535\"] }}
default: {{ breaker: false, timeout: {{ connect: {CONNECT_MS}ms }} }}
{upstreams}routes:
{routes}"
    ));
    (proxy, cells, certs)
}

/// Runs a row and fails with all that was wrong.
async fn run(row: usize) {
    let (proxy, cells, _certs) = arrange(row).await;
    let (proxy, places) = (Arc::new(proxy), Arc::new(Semaphore::new(AT_ONCE)));
    let count = cells.len();
    let mut running = JoinSet::new();
    for cell in cells {
        let (proxy, places) = (Arc::clone(&proxy), Arc::clone(&places));
        running.spawn(async move {
            let _place = places.acquire().await;
            cell.run(&proxy).await
        });
    }
    let mut wrong = Vec::new();
    while let Some(done) = running.join_next().await {
        match done {
            Ok(Ok(())) => {}
            Ok(Err(what)) => wrong.push(what),
            Err(panic) => wrong.push(panic.to_string()),
        }
    }
    wrong.sort();
    assert!(wrong.is_empty(), "{} of {count} cells:\n{}", wrong.len(), wrong.join("\n"));
}

impl Cell {
    async fn run(&self, proxy: &Proxy) -> Result<(), String> {
        let told = |number: usize, what: String| format!("{}, step {}: {what}", self.name, number + 1);
        for (number, step) in self.case.steps.iter().enumerate() {
            let before = self.requests();
            let step = &self.step(number, *step);
            match step.want {
                Want::Cancelled => self.left(proxy, step).await,
                Want::Own(..) if self.door == Door::Sealed => self.refused(proxy, step).await,
                _ => self.asked(proxy, step).await,
            }
            .map_err(|what| told(number, what))?;
            let seen = self.requests() - before;
            if !(step.seen.0..=step.seen.1).contains(&seen) {
                return Err(told(number, format!("{seen} requests at the upstream, not {:?}", step.seen)));
            }
            self.sound().map_err(|what| told(number, what))?;
        }
        Ok(())
    }

    /// Nothing is repeated inside a sealed tunnel, and nothing answered: the client sees what broke.
    fn step(&self, number: usize, mut step: Step) -> Step {
        if self.door == Door::Sealed && self.case.row == 2 && number == 0 {
            step.want = Want::Cut;
            step.seen = (1, 1);
        }
        step
    }

    fn requests(&self) -> usize {
        let of = |origin: &Origin| origin.tally.borrow().requests;
        of(&self.origin) + self.spare.as_ref().map_or(0, of)
    }

    /// What holds for connections whatever was asked.
    fn sound(&self) -> Result<(), String> {
        let Some(upstream) = &self.origin.upstream else { return Ok(()) };
        let (connections, requests) = (upstream.connections(), self.origin.tally.borrow().requests);
        // HTTP/1: each answer made its connection unfit for another request.
        let expected = match self.case.fault {
            Fault::Extra | Fault::IdleGoodbye if !self.is_h2() => requests,
            Fault::Early if !self.is_h2() => requests,
            _ => return Ok(()),
        };
        if connections < expected {
            return Err(format!("{requests} requests on {connections} connections: one was reused"));
        }
        Ok(())
    }

    fn is_h2(&self) -> bool {
        self.name.ends_with("H2c") || self.name.ends_with("H2Tls")
    }

    async fn open(&self, proxy: &Proxy) -> Result<Peer, String> {
        let peer = Peer::open(proxy, self.version, self.door, &self.to).await;
        peer.ok_or_else(|| "the tunnel broke in the handshake".to_owned())
    }

    /// A tunnel that cannot be made: the CONNECT is what is answered.
    async fn refused(&self, proxy: &Proxy, step: &Step) -> Result<(), String> {
        let To::Sealed(authority, _) = &self.to else { return Err("a route has requests".to_owned()) };
        let started = Instant::now();
        let answer = proxy.client().await.connect_to(authority).await;
        let heard = Heard {
            status: answer.status,
            own: answer.header("proxy-status").is_some(),
            body: answer.body,
            end: End::Whole,
        };
        self.judge(step, &heard, elapsed(started)).map_err(|what| format!("{what}: {heard:?}"))
    }

    async fn asked(&self, proxy: &Proxy, step: &Step) -> Result<(), String> {
        let mut peer = self.open(proxy).await?;
        for turn in 0..step.times {
            let started = Instant::now();
            let began = || self.origin.tally.send_modify(|tally| tally.begun += 1);
            let heard = peer.ask(step.ask, began).await;
            self.judge(step, &heard, elapsed(started))
                .map_err(|what| format!("request {}: {what}: {heard:?}", turn + 1))?;
            // A refusal may close the client's connection; an answer of the upstream's may not.
            if heard.own || heard.end != End::Whole {
                peer = self.open(proxy).await?;
            }
        }
        Ok(())
    }

    fn judge(&self, step: &Step, heard: &Heard, took: u64) -> Result<(), String> {
        let right = match step.want {
            Want::Whole(status) => heard.end == End::Whole && !heard.own && heard.status == status,
            Want::OneOf(statuses) => heard.end == End::Whole && statuses.contains(&heard.status),
            Want::Own(status, reasons) => {
                let said = heard.reason();
                heard.end == End::Whole && heard.own && heard.status == status && reasons.contains(&said.as_str())
            }
            Want::Cut => heard.end != End::Whole,
            Want::Cancelled => false,
        };
        if !right {
            return Err(format!("not {:?}", step.want));
        }
        if heard.end == End::Whole && heard.status == 200 && heard.body != b"good" && heard.body != b"drip!\n" {
            return Err("not the upstream's body".to_owned());
        }
        if !(step.took.0..=step.took.1).contains(&took) {
            return Err(format!("{took} ms, not {:?}", step.took));
        }
        Ok(())
    }

    /// A client that leaves: the upstream hears of it in time.
    async fn left(&self, proxy: &Proxy, step: &Step) -> Result<(), String> {
        let peer = self.open(proxy).await?;
        let held = peer.begin(step.ask).await;
        let mut tally = self.origin.tally.subscribe();
        until(&mut tally, "the request", Duration::from_secs(5), |tally| tally.requests == 1).await?;
        if step.ask == Ask::NeverRead {
            let poured = self.still(&mut tally).await;
            if poured > UNREAD {
                return Err(format!("{poured} bytes left the upstream for a client that reads nothing"));
            }
        }
        if tally.borrow().gone > 0 {
            return Err("it was given up before the client left".to_owned());
        }

        drop(held);

        until(&mut tally, "the upstream is told", TOLD, |tally| tally.gone == 1).await?;
        if step.ask == Ask::LeaveMidUpload && tally.borrow().whole > 0 {
            return Err("half an upload was ended as a whole one".to_owned());
        }
        Ok(())
    }

    /// What was poured once nothing moves any more.
    async fn still(&self, tally: &mut watch::Receiver<Tally>) -> usize {
        while let Ok(Ok(())) = tokio::time::timeout(STILL, tally.changed()).await {}
        tally.borrow().poured
    }
}

fn elapsed(since: Instant) -> u64 {
    u64::try_from((Instant::now() - since).as_millis()).unwrap_or(u64::MAX)
}

async fn until(
    tally: &mut watch::Receiver<Tally>,
    what: &str,
    within: Duration,
    wanted: impl Fn(&Tally) -> bool,
) -> Result<(), String> {
    let came = tokio::time::timeout(within, tally.wait_for(|tally| wanted(tally))).await.is_ok();
    if came { Ok(()) } else { Err(format!("not within {within:?}: {what}: {:?}", *tally.borrow())) }
}

macro_rules! rows {
    ($($name:ident: $row:literal,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                run($row).await;
            }
        )*
    };
}

rows! {
    a_connection_that_cannot_be_made_is_an_answer_in_time: 1,
    an_answer_that_breaks_off_is_repeated_or_seen_to_be_cut: 2,
    a_connection_that_went_bad_is_neither_seen_nor_reused: 3,
    an_upstream_that_is_slow_has_its_time_and_no_more: 4,
    an_upstream_that_fails_is_not_stormed: 5,
    an_upstream_is_told_when_its_client_leaves: 6,
}

#[test]
fn no_cell_is_left_out() {
    let faults: Vec<usize> = (1..=6).map(|row| TABLE.iter().filter(|case| case.row == row).count()).collect();
    let cells: usize = TABLE.iter().map(|case| ways(case).len()).sum();
    let plain = combinations().len() * TABLE.len();

    println!("{} combinations x {} faults {faults:?} = {plain} cells", combinations().len(), TABLE.len());
    println!("in sealed tunnels {} more: {cells} cells", cells - plain);
    assert_eq!(combinations().len(), 24);
    assert_eq!(faults, [6, 24, 4, 4, 6, 4]);
    assert_eq!((plain, cells), (1_152, 1_212));
    assert_eq!(KEPT_ALIVE * combinations().len(), 10_080);
}
