//! What happens in a simulation, drawn from a seed before it begins.

use std::fmt::Write;

/// Upstream servers; the last one also stands alone behind a route of its own.
pub const SERVERS: usize = 3;
/// Requests and faults begin within this time, in milliseconds.
pub const BUSY: u64 = 3_000;
/// To the response head; milliseconds like all times here.
pub const TOTAL: u64 = 900;
pub const ATTEMPT: u64 = 350;
pub const CONNECT: u64 = 150;
/// Without a byte of a body.
pub const IDLE: u64 = 300;

#[derive(Debug)]
pub struct Plan {
    pub seed: u64,
    /// Nothing fails: everything has to be answered, reloads or not.
    pub calm: bool,
    pub numbers: Numbers,
    /// What each user does, one after the other.
    pub users: Vec<Vec<Ask>>,
    /// By time.
    pub faults: Vec<(u64, Fault)>,
    /// By time, the number of the configuration that is put in place.
    pub reloads: Vec<(u64, u64)>,
}

/// Of the configuration.
#[derive(Debug)]
pub struct Numbers {
    pub attempts: u64,
    /// Per cent.
    pub ratio: u64,
    pub per_second: u64,
    pub failures: Option<u64>,
    pub open: u64,
    pub concurrency: Option<u64>,
    pub health: bool,
    pub balance: &'static str,
    /// Of the route to all servers: after so long, and so many per cent.
    pub hedge: Option<(u64, u64)>,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Ask {
    pub id: u64,
    /// After the one before.
    pub pause: u64,
    pub method: &'static str,
    /// An `Idempotency-Key` comes with it.
    pub keyed: bool,
    /// To the server that stands alone, else to all.
    pub alone: bool,
    pub upload: usize,
    /// The upload comes in two pieces, this long apart.
    pub slow_upload: Option<u64>,
    pub download: usize,
    /// The client leaves after so long, whatever came.
    pub patience: Option<u64>,
}

/// What befalls a server or the way to it.
#[derive(Clone, Debug)]
pub enum Fault {
    Partition(usize),
    /// Only what the server sends is lost.
    Deaf(usize),
    Repair(usize),
    /// Nothing arrives until it is let go, and then everything.
    Hold(usize),
    Release(usize),
    Crash(usize),
    Restart(usize),
    /// Each message on the way takes so long.
    Latency(usize, u64),
    Mood(usize, Mood),
}

/// How a server answers, in per cent of its answers; the rest is good.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mood {
    /// Closes after the request, without a word.
    pub silent: u32,
    /// Closes within the head.
    pub mid_head: u32,
    /// Closes within the body.
    pub mid_body: u32,
    /// Stops within the body, and stays.
    pub stalled: u32,
    /// Does not read the body of the request and closes: a reset.
    pub unread: u32,
    /// 503, half of them with `Retry-After`.
    pub refusing: u32,
    /// Takes up to 500 ms.
    pub slow: u32,
}

impl Plan {
    pub fn of(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let rng = &mut rng;
        let calm = rng.u32(..8) == 0;
        let numbers = Numbers {
            attempts: rng.u64(1..=4),
            ratio: *rng.choice(&[0, 10, 20, 50]).expect("some"),
            per_second: u64::from(rng.u32(..3) == 0),
            failures: rng.bool().then(|| rng.u64(2..=5)),
            open: rng.u64(100..=1_000),
            concurrency: (!calm && rng.u32(..3) == 0).then(|| rng.u64(1..=3)),
            health: rng.u32(..3) == 0,
            balance: rng.choice(&["p2c", "least_request", "round_robin", "random"]).expect("some"),
            hedge: (rng.u32(..3) == 0).then(|| (rng.u64(15..100), rng.u64(5..=30))),
        };
        let mut id = 0;
        let users = (0..rng.usize(5..=9)).map(|_| (0..rng.usize(3..=8)).map(|_| ask(rng, &mut id, calm)).collect());
        let users = users.collect();
        let mut faults: Vec<(u64, Fault)> = Vec::new();
        for _ in 0..if calm { 0 } else { rng.usize(1..=7) } {
            fault(rng, &mut faults);
        }
        faults.sort_by_key(|(at, _)| *at);
        let mut reloads: Vec<_> = (0..rng.usize(..4)).map(|_| rng.u64(100..BUSY)).collect();
        reloads.sort_unstable();
        let reloads = reloads.into_iter().zip(1..).collect();
        Self { seed, calm, numbers, users, faults, reloads }
    }

    /// Whether a version of the configuration names a server.
    pub const fn names(version: u64, server: usize) -> bool {
        server != 1 || version % 3 != 1
    }

    /// The configuration; `version` changes numbers, and now and then who is in it.
    pub fn config(&self, version: u64) -> String {
        let Numbers { attempts, ratio, per_second, failures, open, concurrency, health, balance, hedge } =
            &self.numbers;
        let mut text = String::from("admin: false\nlog: { access: false }\nresolve:\n");
        for server in 0..SERVERS {
            let _ = writeln!(text, "  s{server}.sim: {}", crate::run::ip(server));
        }
        let stay = (0..SERVERS).filter(|server| Self::names(version, *server));
        let endpoints: Vec<_> = stay.map(|server| format!("\"http://s{server}.sim\"")).collect();
        let health = match health {
            true => "    health: { http: /health, every: 400ms, timeout: 150ms, unhealthy: 2, healthy: 1 }\n",
            false => "",
        };
        let _ = write!(
            text,
            "upstreams:\n  - name: all\n    endpoints: [{}]\n    balance: {balance}\n{health}    outlier: {{ min_requests: 5 }}\n",
            endpoints.join(", ")
        );
        let retry = format!(
            "{{ attempts: {attempts}, backoff: 20ms, budget: {{ ratio: {ratio}%, per_second: {per_second} }} }}"
        );
        let failures = failures.map_or(String::new(), |failures| format!("failures: {}, ", failures + version % 2));
        let breaker = format!("{{ {failures}min_requests: {}, open: {open}ms, probes: 2 }}", 6 + version % 3);
        let timeout = format!("{{ connect: {CONNECT}ms, attempt: {ATTEMPT}ms, total: {TOTAL}ms, idle: {IDLE}ms }}");
        let limit = match concurrency {
            Some(most) => format!("    limit: {{ concurrency: {most}, queue: {{ size: 1, timeout: 200ms }} }}\n"),
            None => String::new(),
        };
        let hedge = hedge
            .map_or(String::new(), |(after, budget)| format!("    hedge: {{ after: {after}ms, budget: {budget}% }}\n"));
        text.push_str("routes:\n");
        let alone = format!("http://s{}.sim", SERVERS - 1);
        for (name, to, more) in [("all", "upstream:all", &*hedge), ("alone", &*alone, "")] {
            let _ = write!(
                text,
                "  - name: {name}\n    match: {name}.sim\n    to: {to}\n    retry: {retry}\n    breaker: {breaker}\n    \
                 timeout: {timeout}\n{limit}{more}",
            );
        }
        text
    }
}

fn ask(rng: &mut fastrand::Rng, id: &mut u64, calm: bool) -> Ask {
    *id += 1;
    let method = *rng.choice(&["GET", "GET", "GET", "POST", "POST", "PUT", "DELETE"]).expect("some");
    let upload = if matches!(method, "POST" | "PUT") { rng.usize(..5_000) } else { 0 };
    Ask {
        id: *id,
        pause: rng.u64(..BUSY / 6),
        method,
        keyed: method == "POST" && rng.u32(..4) == 0,
        alone: rng.u32(..4) == 0,
        upload,
        slow_upload: (upload > 1 && rng.u32(..4) == 0).then(|| rng.u64(..150)),
        download: rng.usize(..20_000),
        patience: (!calm && rng.u32(..10) == 0).then(|| rng.u64(60..600)),
    }
}

fn fault(rng: &mut fastrand::Rng, into: &mut Vec<(u64, Fault)>) {
    let server = rng.usize(..SERVERS);
    let at = rng.u64(..BUSY);
    let end = at + rng.u64(50..1_500);
    let mut share = || if rng.u32(..3) == 0 { rng.u32(5..60) } else { 0 };
    let mood = Mood {
        silent: share(),
        mid_head: share(),
        mid_body: share(),
        stalled: share() / 4,
        unread: share(),
        refusing: share(),
        slow: share(),
    };
    let (begin, over) = match rng.u32(..10) {
        0 => (Fault::Partition(server), Fault::Repair(server)),
        1 => (Fault::Deaf(server), Fault::Repair(server)),
        2 => (Fault::Hold(server), Fault::Release(server)),
        3 | 4 => (Fault::Crash(server), Fault::Restart(server)),
        5 => (Fault::Latency(server, rng.u64(20..200)), Fault::Latency(server, 1)),
        _ => (Fault::Mood(server, mood), Fault::Mood(server, Mood::default())),
    };
    into.extend([(at, begin), (end, over)]);
}
