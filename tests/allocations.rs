//! What a request allocates on its way through the proxy: hyper on both sides included, the sockets left out.
//!
//! Repeatable, because the worker runs on this thread and so do both ends, which allocate nothing. The bounds are what
//! was measured: a change that raises one says why, a change that lowers one lowers it here too.

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
