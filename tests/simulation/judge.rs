//! What holds in every run, and what all runs together must have seen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use testkit::metrics::Metrics;

use crate::clients::Got;
use crate::plan::{Plan, TOTAL};
use crate::run::Record;

/// A limit is noticed at most ten milliseconds late, the rest is the way to the client and back.
const GRAIN: u64 = 10 + 4 * 5 + 10;
/// A body here has at most three pieces, and each of its pauses is bounded.
const BODY: u64 = 2_000;
/// The budget's window, less its coarseness: a run that is shorter has one.
const WINDOW: Duration = Duration::from_secs(9);

/// What runs saw, summed up.
#[derive(Debug, Default)]
pub struct Sums {
    requests: u64,
    good: u64,
    cut: u64,
    left: u64,
    reloads: u64,
    retries: u64,
    hedges: u64,
    /// POSTs that failed after a server had them.
    lost_posts: u64,
    /// By the reason of ours.
    reasons: BTreeMap<String, u64>,
    denied: BTreeMap<String, u64>,
    /// By the state that was entered.
    transitions: BTreeMap<String, u64>,
}

impl Sums {
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.good += other.good;
        self.cut += other.cut;
        self.left += other.left;
        self.reloads += other.reloads;
        self.retries += other.retries;
        self.hedges += other.hedges;
        self.lost_posts += other.lost_posts;
        for (into, from) in [
            (&mut self.reasons, &other.reasons),
            (&mut self.denied, &other.denied),
            (&mut self.transitions, &other.transitions),
        ] {
            from.iter().for_each(|(name, count)| *into.entry(name.clone()).or_default() += count);
        }
    }

    /// A simulation in which nothing happens proves nothing.
    pub fn has_seen_it_all(&self, seeds: u64) {
        if seeds < 200 {
            return;
        }
        let reasons = [
            "breaker_open",
            "attempt_timeout",
            "deadline",
            "connect_refused",
            "connect_timeout",
            "reset",
            "closed_early",
            "truncated",
            "overloaded",
            "queue_timeout",
            "client_gone",
        ];
        let missing: Vec<_> = reasons.iter().filter(|reason| !self.reasons.contains_key(**reason)).collect();
        assert!(missing.is_empty(), "never seen: {missing:?}");
        let denied = ["budget", "not_idempotent", "attempts"];
        let missing: Vec<_> = denied.iter().filter(|reason| !self.denied.contains_key(**reason)).collect();
        assert!(missing.is_empty(), "retries never denied for {missing:?}");
        assert_eq!(self.transitions.keys().collect::<Vec<_>>(), ["closed", "half_open", "open"]);
        assert!(self.good > self.requests / 2, "more fails than not");
        assert!(
            [self.cut, self.left, self.reloads, self.retries, self.hedges, self.lost_posts]
                .iter()
                .all(|count| *count > 0)
        );
    }
}

/// What is wrong with a run.
pub fn judge(plan: &Plan, record: &Record) -> Result<Sums, Vec<String>> {
    let mut wrong = Vec::new();
    ends(plan, record, &mut wrong);
    posts(record, &mut wrong);
    let metrics = Metrics::new(record.left.metrics.clone());
    budgets(plan, record, &metrics, &mut wrong);
    outcomes(record, &metrics, &mut wrong);
    leftovers(record, &mut wrong);
    for (reload, outcome) in record.reloads.iter().enumerate() {
        if let Err(error) = outcome {
            wrong.push(format!("reload {reload}: {error}"));
        }
    }
    if record.reloads.len() != plan.reloads.len() {
        wrong.push(format!("{} of {} reloads", record.reloads.len(), plan.reloads.len()));
    }
    if wrong.is_empty() { Ok(sums(record)) } else { Err(wrong) }
}

/// Each request ends once, in time, and whole only if it is.
fn ends(plan: &Plan, record: &Record, wrong: &mut Vec<String>) {
    let sent: BTreeSet<_> = record.sent.iter().map(|ask| ask.id).collect();
    let ended: BTreeSet<_> = record.ends.iter().map(|end| end.id).collect();
    if sent != ended || ended.len() != record.ends.len() {
        wrong.push(format!("{} requests have {} ends", sent.len(), record.ends.len()));
    }
    for end in &record.ends {
        match &end.got {
            Got::Left => continue,
            Got::Nothing(why) => wrong.push(format!("request {} has no answer: {why}", end.id)),
            Got::Whole { status: 200, right: false, .. } => {
                wrong.push(format!("request {}: a broken body that looks whole", end.id));
            }
            Got::Whole { status, .. } if plan.calm && *status != 200 => {
                wrong.push(format!("request {} failed with {status}, though nothing else did", end.id));
            }
            Got::Cut { .. } if plan.calm => wrong.push(format!("request {} was cut, though nothing failed", end.id)),
            Got::Whole { .. } | Got::Cut { .. } => {}
        }
        if end.head > TOTAL + GRAIN {
            wrong.push(format!("request {} outlived its deadline: {} ms", end.id, end.head));
        }
        if end.body > BODY {
            wrong.push(format!("the body of {} took {} ms", end.id, end.body));
        }
    }
}

/// Nothing that must not be repeated reaches servers twice; what is said to be done was done.
fn posts(record: &Record, wrong: &mut Vec<String>) {
    for ask in &record.sent {
        let heads = record.seen.heads.get(&ask.id).copied().unwrap_or(0);
        if ask.method == "POST" && !ask.keyed && heads > 1 {
            wrong.push(format!("POST {} came {heads} times", ask.id));
        }
        let good = |end: &&crate::clients::End| end.id == ask.id && matches!(end.got, Got::Whole { status: 200, .. });
        if record.ends.iter().find(good).is_some() && !record.seen.acted.contains_key(&ask.id) {
            wrong.push(format!("{} {} was answered and never arrived", ask.method, ask.id));
        }
    }
}

/// Retries are within the budget, by our own count and by what the servers saw.
fn budgets(plan: &Plan, record: &Record, metrics: &Metrics, wrong: &mut Vec<String>) {
    if record.took > WINDOW {
        wrong.push(format!("it took {:?}, so that the budget has more than one window", record.took));
    }
    for (route, alone) in [("all", false), ("alone", true)] {
        let of_route: Vec<_> = record.sent.iter().filter(|ask| ask.alone == alone).collect();
        let allowed = of_route.len() as u64 * plan.numbers.ratio / 100 + plan.numbers.per_second * 10;
        let retries = metrics.sum("attache_retries_total", &[("route", route)]) as u64;
        let heads = |id: &u64| u64::from(record.seen.heads.get(id).copied().unwrap_or(0));
        let again: u64 = of_route.iter().map(|ask| heads(&ask.id).saturating_sub(1)).sum();
        let hedges = metrics.sum("attache_hedges_total", &[("route", route)]) as u64;
        let hedgeable = plan.numbers.hedge.map_or(0, |(_, budget)| of_route.len() as u64 * budget / 100);
        if retries > allowed || again > allowed + hedges {
            wrong.push(format!("route {route}: {retries} retries, {again} seen by servers, {allowed} in the budget"));
        }
        if hedges > hedgeable {
            wrong.push(format!("route {route}: {hedges} hedges, {hedgeable} allowed"));
        }
    }
}

/// Every request has exactly one outcome, and none is a defect of ours.
fn outcomes(record: &Record, metrics: &Metrics, wrong: &mut Vec<String>) {
    let counted = metrics.sum("attache_requests_total", &[]) as usize;
    if counted != record.sent.len() {
        wrong.push(format!("{} requests have {counted} outcomes", record.sent.len()));
    }
    let internal = metrics.sum("attache_requests_total", &[("reason", "internal")]);
    if internal > 0.0 {
        wrong.push(format!("{internal} internal errors"));
    }
    let (attempts, heads) = (metrics.sum("attache_attempts_total", &[]), record.seen.heads.values().sum::<u32>());
    if attempts < f64::from(heads) {
        wrong.push(format!("{heads} requests at the servers of {attempts} attempts"));
    }
}

/// Places, leases, connections and dials are all given back.
fn leftovers(record: &Record, wrong: &mut Vec<String>) {
    let left = &record.left;
    for (endpoint, inflight, connections) in &left.endpoints {
        if (*inflight, *connections) != (0, 0) {
            wrong.push(format!("{endpoint}: {inflight} requests and {connections} connections are left"));
        }
    }
    if (left.idle, left.redials, left.clients) != (0, 0, 0) || left.places.iter().any(|places| *places != (0, 0)) {
        let (idle, redials, clients, places) = (left.idle, left.redials, left.clients, &left.places);
        wrong.push(format!("left: {idle} idle, {redials} dials, {clients} clients, places {places:?}"));
    }
}

fn sums(record: &Record) -> Sums {
    let count = |is: &dyn Fn(&Got) -> bool| record.ends.iter().filter(|end| is(&end.got)).count() as u64;
    let post = |id: u64| record.sent.iter().any(|ask| ask.id == id && ask.method == "POST" && !ask.keyed);
    let failed = |got: &Got| !matches!(got, Got::Whole { status: 200, .. } | Got::Left);
    let lost = |end: &&crate::clients::End| post(end.id) && failed(&end.got) && record.seen.heads.contains_key(&end.id);
    Sums {
        requests: record.sent.len() as u64,
        good: count(&|got| matches!(got, Got::Whole { status: 200, .. })),
        cut: count(&|got| matches!(got, Got::Cut { .. })),
        left: count(&|got| *got == Got::Left),
        reloads: record.reloads.len() as u64,
        retries: by(&record.left.metrics, "attache_retries_total", "route").values().sum(),
        hedges: by(&record.left.metrics, "attache_hedges_total", "route").values().sum(),
        lost_posts: record.ends.iter().filter(lost).count() as u64,
        reasons: by(&record.left.metrics, "attache_requests_total", "reason"),
        denied: by(&record.left.metrics, "attache_retry_denied_total", "reason"),
        transitions: by(&record.left.metrics, "attache_breaker_transitions_total", "to"),
    }
}

/// A counter by one of its labels, without zeros.
fn by(metrics: &str, name: &str, label: &str) -> BTreeMap<String, u64> {
    let mut by = BTreeMap::new();
    for (series, value) in metrics.lines().filter_map(|line| line.rsplit_once(' ')) {
        let label = series.split_once(&format!("{label}=\"")).and_then(|(_, rest)| rest.split('"').next());
        if let (Some(label), Ok(value @ 1..)) = (label, value.parse::<u64>())
            && series.split('{').next() == Some(name)
            && !label.is_empty()
        {
            *by.entry(label.to_owned()).or_default() += value;
        }
    }
    by
}
