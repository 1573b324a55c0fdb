//! What a request allocates on its way through the proxy: hyper on both sides included, the sockets left out.
//!
//! Repeatable, because the worker runs on this thread and so do both ends, which allocate nothing. The bounds are what
//! was measured: a change that raises one says why, a change that lowers one lowers it here too.

use std::sync::Arc;

use exchange::identity::Process;
use exchange::{Authority, Client, Door, Exchange, Head, Peer, clock};
use http::uri::PathAndQuery;
use http::{Method, Version};
use testkit::Inside;

/// What one request may cost.
#[derive(Clone, Copy)]
struct Bound {
    allocations: u64,
    /// Calls of `ResponseFuture::new`: edge, retry, attempt. The pool boxes hyper's future besides, which counts as an
    /// allocation only.
    #[cfg_attr(not(debug_assertions), expect(dead_code, reason = "only debug builds count boxes"))]
    boxes: u64,
}

const PLAIN: Bound = Bound { allocations: 9, boxes: 1 };
const DEFAULT: Bound = Bound { allocations: 12, boxes: 2 };

const REQUESTS: u64 = 2000;
/// For what a timer or the runtime allocates now and then, in all.
const SLACK: u64 = REQUESTS / 20;
/// Pools, counters and buffers exist after these.
const WARM_UP: usize = 200;

fn allocations(mut inside: Inside) -> u64 {
    inside.get(WARM_UP);
    allocation_counter::measure(|| inside.get(REQUESTS as usize)).count_total
}

/// Says it in either case; the error is for a test that failed.
#[expect(clippy::print_stdout, reason = "`--nocapture` shows the numbers to lower a bound to")]
fn judge(what: &str, name: &str, counted: u64, bound: u64) -> Result<(), String> {
    let text = format!("{name}: {:.2} {what} per request, at most {bound}", counted as f64 / REQUESTS as f64);
    println!("{text}");
    if counted <= bound * REQUESTS + SLACK { Ok(()) } else { Err(text) }
}

#[test]
fn a_request_allocates_no_more_than_before() {
    for (name, bound) in [("plain", PLAIN), ("default", DEFAULT)] {
        judge("allocations", name, allocations(Inside::of_bench(name)), bound.allocations).unwrap();
    }
}

#[test]
fn counting_who_called_allocates_nothing_once_a_caller_is_known() {
    let plain = std::fs::read_to_string("benches/configs/attache-plain.yaml").expect("readable");
    let counted = allocations(Inside::start(&format!("{plain}\nmetrics: {{ identities: 5 }}\n")));
    judge("allocations", "plain, by identity", counted, PLAIN.allocations).unwrap();

    let (metrics, route) = (telemetry::Metrics::new("0"), "api".into());
    metrics.events().identities().keep(1);
    let stats = metrics.shard().route(&route);
    let all = ["alice", "bob"].map(by_user);
    let count = || all.iter().for_each(|exchange| stats.finished(exchange, exchange.head.started));
    count();
    let counted = allocation_counter::measure(|| (0..REQUESTS).for_each(|_| count())).count_total;

    assert_eq!(counted, 0, "for one with a name and one of the others");
}

/// A request by a process of this user, answered.
fn by_user(user: &str) -> Exchange {
    let process = Process { uid: 1000, user: Some(user.into()), pid: None, unit: None, cgroup: None, container: None };
    let peer = Peer { process: Some(process), ..Peer::default() };
    let exchange = Exchange::new(
        Head {
            id: 1,
            started: clock::now(),
            door: Door::Forward,
            client: Client { addr: None, local: true, peer: Some(Arc::new(peer)) },
            version: Version::HTTP_11,
            method: Method::GET,
            tls: false,
            authority: Authority::parse("api.test").expect("valid"),
            path: PathAndQuery::from_static("/"),
            upgrade: false,
            grpc: false,
        },
        None,
    );
    exchange.answered(200, None, Some(exchange.head.started));
    exchange
}

#[test]
#[cfg(debug_assertions)]
fn a_request_boxes_no_more_futures_than_before() {
    for (name, bound) in [("plain", PLAIN), ("default", DEFAULT)] {
        let mut inside = Inside::of_bench(name);
        inside.get(WARM_UP);
        let before = exchange::service::boxed_so_far();

        inside.get(REQUESTS as usize);

        let boxed = exchange::service::boxed_so_far() - before;
        assert!(boxed >= REQUESTS, "nothing is counted");
        judge("boxed futures", name, boxed, bound.boxes).unwrap();
    }
}

#[test]
fn the_ends_allocate_nothing_themselves() {
    let mut inside = Inside::of_bench("plain");
    inside.bypass();

    let counted = allocations(inside);

    assert!(counted < SLACK, "{counted} allocations for {REQUESTS} requests without a proxy");
}

#[test]
fn more_layers_than_bounded_are_seen() {
    let counted = allocations(Inside::of_bench("default"));

    assert!(judge("allocations", "default, taken for plain", counted, PLAIN.allocations).is_err());
}
