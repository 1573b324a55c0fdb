//! What holds under every interleaving of a few threads, tried one by one by loom.
//!
//! What a thread was told is kept in standard atomics: loom runs one thread at a time and switches at its own only, so
//! they are exact and add nothing to try. Loom takes `SeqCst` for `AcqRel`, which allows more than the machine does.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use loom::sync::Arc;
use loom::thread;

use crate::Tick;
use crate::breaker::{Admission, Breaker, Force, Params, Sample, State};
use crate::budget::{self, Budget};
use crate::hedge::{self, Hedges};
use crate::inflight::Inflight;

const NOW: Tick = Tick::from_nanos(1_000_000_000_000);

/// Tries all interleavings in which no thread is stopped more than twice: what goes wrong needs fewer, as a rule, and all of
/// them take hours.
fn every(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(model);
}

/// Runs these at once.
fn together(threads: Vec<Box<dyn FnOnce() + Send>>) {
    let running: Vec<_> = threads.into_iter().map(|thread| thread::spawn(thread)).collect();
    for thread in running {
        thread.join().expect("a thread of the model failed");
    }
}

// --- the budget

/// A request earns a whole retry, and nothing else does.
const EARNED: budget::Params = budget::Params { ratio: 1.0, per_second: 0, window: Duration::from_secs(10) };

#[test]
fn the_last_retry_is_granted_once() {
    every(|| {
        let (budget, granted) = (Arc::new(Budget::new()), Arc::new(AtomicU32::new(0)));
        budget.deposit(&EARNED, NOW);

        together(
            (0..2)
                .map(|_| {
                    let (budget, granted) = (Arc::clone(&budget), Arc::clone(&granted));
                    let withdraw = move || _ = granted.fetch_add(u32::from(budget.withdraw(&EARNED, NOW)), Relaxed);
                    Box::new(withdraw) as Box<dyn FnOnce() + Send>
                })
                .collect(),
        );

        assert_eq!(granted.load(Relaxed), 1);
    });
}

#[test]
fn a_deposit_meanwhile_is_granted_once_and_not_lost() {
    every(|| {
        let (budget, granted) = (Arc::new(Budget::new()), Arc::new(AtomicU32::new(0)));
        let (one, two, count) = (Arc::clone(&budget), Arc::clone(&budget), Arc::clone(&granted));

        together(vec![
            Box::new(move || one.deposit(&EARNED, NOW)),
            Box::new(move || _ = count.fetch_add(u32::from(two.withdraw(&EARNED, NOW)), Relaxed)),
        ]);
        let early = granted.load(Relaxed);

        assert_eq!(u32::from(budget.withdraw(&EARNED, NOW)) + early, 1);
        assert!(!budget.withdraw(&EARNED, NOW));
    });
}

#[test]
fn what_a_window_ago_was_earned_buys_nothing_whoever_clears_it() {
    every(|| {
        let (budget, granted) = (Arc::new(Budget::new()), Arc::new(AtomicU32::new(0)));
        budget.deposit(&EARNED, NOW);
        let later = NOW + EARNED.window;
        let (one, two) = (Arc::clone(&budget), Arc::clone(&budget));
        let (first, second) = (Arc::clone(&granted), Arc::clone(&granted));

        together(vec![
            Box::new(move || _ = first.fetch_add(u32::from(one.withdraw(&EARNED, later)), Relaxed)),
            Box::new(move || _ = second.fetch_add(u32::from(two.withdraw(&EARNED, later)), Relaxed)),
        ]);

        assert_eq!(granted.load(Relaxed), 0);
        assert_eq!(budget.balance(&EARNED, later), 0);
        budget.deposit(&EARNED, later);
        assert_eq!(budget.balance(&EARNED, later), 1, "the account is even");
    });
}

#[test]
fn what_a_window_ago_was_spent_is_given_back_once() {
    let reserve = budget::Params { ratio: 0.0, per_second: 1, window: Duration::from_secs(1) };
    every(move || {
        let (budget, granted) = (Arc::new(Budget::new()), Arc::new(AtomicU32::new(0)));
        assert!(budget.withdraw(&reserve, NOW));
        // A withdrawal is remembered for a window at least, and for a slot more at most.
        let later = NOW + reserve.window * 2;
        let (one, two) = (Arc::clone(&budget), Arc::clone(&budget));
        let (first, second) = (Arc::clone(&granted), Arc::clone(&granted));

        together(vec![
            Box::new(move || _ = first.fetch_add(u32::from(one.withdraw(&reserve, later)), Relaxed)),
            Box::new(move || _ = second.fetch_add(u32::from(two.withdraw(&reserve, later)), Relaxed)),
        ]);
        let early = granted.load(Relaxed);

        assert!(early <= 1, "{early} retries where one is allowed");
        assert_eq!(u32::from(budget.withdraw(&reserve, later)) + early, 1);
    });
}

#[test]
fn the_last_hedge_is_granted_once() {
    let whole = hedge::Params { after: hedge::After::Fixed(Duration::ZERO), ratio: 1.0 };
    every(move || {
        let (hedges, granted) = (Arc::new(Hedges::default()), Arc::new(AtomicU32::new(0)));
        assert!(hedges.begin(&whole, NOW).is_some());

        together(
            (0..2)
                .map(|_| {
                    let (hedges, granted) = (Arc::clone(&hedges), Arc::clone(&granted));
                    let withdraw = move || _ = granted.fetch_add(u32::from(hedges.withdraw()), Relaxed);
                    Box::new(withdraw) as Box<dyn FnOnce() + Send>
                })
                .collect(),
        );

        assert_eq!(granted.load(Relaxed), 1);
    });
}

// --- places

#[test]
fn a_place_is_taken_once_and_all_are_given_back() {
    every(|| {
        let (inflight, inside) = (Arc::new(Inflight::new()), Arc::new(AtomicU32::new(0)));
        assert!(inflight.acquire(2));

        together(
            (0..2)
                .map(|_| {
                    let (inflight, inside) = (Arc::clone(&inflight), Arc::clone(&inside));
                    let visit = move || {
                        if inflight.acquire(2) {
                            assert_eq!(inside.fetch_add(1, Relaxed), 0, "more than the limit");
                            thread::yield_now();
                            inside.fetch_sub(1, Relaxed);
                            inflight.release();
                        }
                    };
                    Box::new(visit) as Box<dyn FnOnce() + Send>
                })
                .collect(),
        );

        assert_eq!(inflight.get(), 1);
    });
}

// --- the breaker

fn params() -> Params {
    Params { failures: Some(1), successes: 2, jitter: 0.0, ..Params::default() }
}

fn rng() -> fastrand::Rng {
    fastrand::Rng::with_seed(0)
}

const GOOD: Sample = Sample::Success { latency: Duration::ZERO, whole: true };
const BAD: Sample = Sample::Failure { connect: false, latency: Duration::ZERO };

fn admitted(breaker: &Breaker, now: Tick) -> Option<Admission> {
    breaker.admit(&params(), now, true).ok().map(|(admission, _)| admission)
}

/// Open, and when its time is over.
fn open() -> (Arc<Breaker>, Tick) {
    let breaker = Arc::new(Breaker::new());
    let admission = admitted(&breaker, NOW).expect("closed");
    assert!(breaker.record(admission, BAD, &params(), NOW, &mut rng()).is_some());
    (breaker, NOW + params().open)
}

/// Goes as a probe if it is let through, and comes back with this.
fn probe(breaker: &Breaker, now: Tick, sample: Option<Sample>, out: &AtomicU32) -> bool {
    let Some(admission) = admitted(breaker, now) else { return false };
    assert_eq!(out.fetch_add(1, Relaxed), 0, "two probes are out");
    thread::yield_now();
    out.fetch_sub(1, Relaxed);
    match sample {
        Some(sample) => _ = breaker.record(admission, sample, &params(), now, &mut rng()),
        None => breaker.release(admission),
    }
    true
}

#[test]
fn never_more_than_one_probe_is_out() {
    for samples in [[Some(GOOD), Some(GOOD)], [Some(GOOD), None], [Some(BAD), Some(GOOD)], [None, Some(BAD)]] {
        every(move || {
            let (breaker, now) = open();
            let (out, admissions) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));

            together(
                samples
                    .into_iter()
                    .map(|sample| {
                        let (breaker, out) = (Arc::clone(&breaker), Arc::clone(&out));
                        let admissions = Arc::clone(&admissions);
                        let go = move || {
                            _ = admissions.fetch_add(u32::from(probe(&breaker, now, sample, &out)), Relaxed);
                        };
                        Box::new(go) as Box<dyn FnOnce() + Send>
                    })
                    .collect(),
            );

            assert!(admissions.load(Relaxed) >= 1, "nobody was let through");
            let refuses = breaker.state() == State::Open;
            assert!(refuses || admitted(&breaker, now).is_some(), "a probe was never given back");
        });
    }
}

#[test]
fn of_several_that_come_at_once_one_is_the_probe() {
    every(|| {
        let (breaker, now) = open();
        let admissions = Arc::new(AtomicU32::new(0));

        together(
            (0..3)
                .map(|_| {
                    let (breaker, admissions) = (Arc::clone(&breaker), Arc::clone(&admissions));
                    let go = move || _ = admissions.fetch_add(u32::from(admitted(&breaker, now).is_some()), Relaxed);
                    Box::new(go) as Box<dyn FnOnce() + Send>
                })
                .collect(),
        );

        assert_eq!((admissions.load(Relaxed), breaker.state()), (1, State::HalfOpen));
    });
}

#[test]
fn a_probe_that_was_replaced_moves_nothing() {
    every(|| {
        let (breaker, now) = open();
        let hung = admitted(&breaker, now).expect("the probe");
        let later = now + params().patience + Duration::from_secs(1);
        let (one, two) = (Arc::clone(&breaker), Arc::clone(&breaker));
        let (moved, replaced) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (says, gets) = (Arc::clone(&moved), Arc::clone(&replaced));

        together(vec![
            Box::new(move || {
                let transition = one.record(hung, BAD, &params(), later, &mut rng());
                says.store(u32::from(transition.is_some()), Relaxed);
            }),
            Box::new(move || {
                let Some(admission) = admitted(&two, later) else { return };
                gets.store(1, Relaxed);
                two.release(admission);
            }),
        ]);

        assert_eq!(moved.load(Relaxed) + replaced.load(Relaxed), 1, "either its result counts, or another's does");
        assert_eq!(breaker.state(), if replaced.load(Relaxed) == 1 { State::HalfOpen } else { State::Open });
    });
}

#[test]
fn it_opens_once_and_what_comes_late_changes_nothing() {
    every(|| {
        let breaker = Arc::new(Breaker::new());
        let transitions = Arc::new(AtomicU32::new(0));

        together(
            [BAD, BAD]
                .into_iter()
                .map(|sample| {
                    let (breaker, transitions) = (Arc::clone(&breaker), Arc::clone(&transitions));
                    let call = move || {
                        let Some(admission) = admitted(&breaker, NOW) else { return };
                        let generation = admission.generation();
                        let made = breaker.record(admission, sample, &params(), NOW, &mut rng());
                        let late = breaker.late_failure(generation, &params(), NOW, &mut rng());
                        transitions.fetch_add(made.into_iter().chain(late).count() as u32, Relaxed);
                    };
                    Box::new(call) as Box<dyn FnOnce() + Send>
                })
                .collect(),
        );

        assert_eq!(transitions.load(Relaxed), 1, "one transition, told to one caller");
        assert_eq!((breaker.state(), breaker.opened_by_connect()), (State::Open, false));
    });
}

#[test]
fn a_result_from_before_it_opened_says_nothing_of_a_breaker_that_closed_again() {
    let once = Params { successes: 1, ..params() };
    every(move || {
        let breaker = Arc::new(Breaker::new());
        let early = [admitted(&breaker, NOW).expect("closed"), admitted(&breaker, NOW).expect("closed")];
        let tripping = admitted(&breaker, NOW).expect("closed");
        assert!(breaker.record(tripping, BAD, &once, NOW, &mut rng()).is_some());
        let now = NOW + once.open;
        let mut threads: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
        for admission in early {
            let (breaker, once) = (Arc::clone(&breaker), once.clone());
            threads.push(Box::new(move || {
                assert!(breaker.record(admission, BAD, &once, now, &mut rng()).is_none(), "it is late");
            }));
        }
        let (probed, params) = (Arc::clone(&breaker), once.clone());
        threads.push(Box::new(move || {
            let probe = admitted(&probed, now).expect("its time is over");
            assert!(probed.record(probe, GOOD, &params, now, &mut rng()).is_some(), "one is enough");
        }));

        together(threads);

        assert_eq!(breaker.state(), State::Closed);
    });
}

#[test]
fn what_an_operator_forced_stays_whatever_ends_meanwhile() {
    every(|| {
        let (breaker, now) = open();
        let probe = admitted(&breaker, now).expect("the probe");
        let (one, two) = (Arc::clone(&breaker), Arc::clone(&breaker));

        together(vec![
            Box::new(move || _ = one.force(Some(Force::Closed), now)),
            Box::new(move || _ = two.record(probe, BAD, &params(), now, &mut rng())),
        ]);

        assert_eq!((breaker.forced(), breaker.state()), (Some(Force::Closed), State::Closed));
    });
}
