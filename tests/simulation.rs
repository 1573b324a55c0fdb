//! The whole proxy, its clients and its upstreams in one thread, on a network and a clock that a seed decides.
//!
//! Real: everything from the client's stream to the upstream's (`proxy::solo`): sniffing, hyper on both sides, edge,
//! routes, every layer, retries, breakers, health checks, pool, the control thread's life and reloads from a file. Simulated
//! by turmoil: TCP, the clock, and with it what cannot be had of a real network on demand: partitions, black holes, crashes
//! at any byte. Not in it: accepting, TLS, DNS (names are in `resolve`), and more than one worker; those have suites with
//! real sockets, and what workers decide together has loom.
//!
//! A seed is a plan: numbers, requests, faults and reloads of a few seconds. Whatever happens in it, `judge` holds. 1,000
//! seeds run by default; `SIM_SEEDS=20000` runs more, `SIM_FIRST` begins elsewhere, and `SIM_SEED=17` runs one and prints
//! what happened.
#![allow(clippy::panic, reason = "a failed expectation fails the test")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the seed of a failure, and a trace that was asked for")]

#[path = "simulation/clients.rs"]
mod clients;
#[path = "simulation/judge.rs"]
mod judge;
#[path = "simulation/plan.rs"]
mod plan;
#[path = "simulation/run.rs"]
mod run;
#[path = "simulation/servers.rs"]
mod servers;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use judge::Sums;
use plan::Plan;

const SEEDS: u64 = 1_000;
/// Simulations side by side; each is a thread.
const THREADS: usize = 2;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// What came of one seed; what is wrong names it.
fn outcome(seed: u64, aloud: bool) -> Result<Sums, String> {
    let plan = Plan::of(seed);
    let told = std::panic::catch_unwind(|| run::run(&plan));
    let seen = match told {
        Ok(Ok(seen)) => seen,
        Ok(Err(error)) => return Err(format!("seed {seed}: {error}\n{plan:#?}")),
        Err(_) => return Err(format!("seed {seed}: a panic, see above\n{plan:#?}")),
    };
    if aloud {
        println!("{plan:#?}\n{}", seen.trace.join("\n"));
    }
    judge::judge(&plan, &seen).map_err(|wrong| {
        let again = format!("SIM_SEED={seed} cargo test --test simulation -- --nocapture");
        format!("seed {seed}: {}\n  again: {again}", wrong.join("\n  "))
    })
}

#[test]
fn whatever_the_network_does_what_was_promised_holds() {
    if let Some(seed) = number("SIM_SEED") {
        let sums = outcome(seed, true).unwrap_or_else(|wrong| panic!("{wrong}"));
        println!("{sums:?}");
        return;
    }
    let first = number("SIM_FIRST").unwrap_or(0);
    let last = first + number("SIM_SEEDS").unwrap_or(SEEDS);
    let (next, failed) = (AtomicU64::new(first), AtomicBool::new(false));
    let (all, wrong) = (Mutex::new(Sums::default()), Mutex::new(Vec::new()));

    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while !failed.load(Relaxed) {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= last {
                        return;
                    }
                    match outcome(seed, false) {
                        Ok(sums) => all.lock().unwrap_or_else(PoisonError::into_inner).add(&sums),
                        Err(error) => {
                            failed.store(true, Relaxed);
                            wrong.lock().unwrap_or_else(PoisonError::into_inner).push(error);
                        }
                    }
                }
            });
        }
    });

    let sums = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("seeds {first}..{last}: {sums:?}");
    let wrong = wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    sums.has_seen_it_all(last - first);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [1, 2, 3, 5, 8, 13] {
        let plan = Plan::of(seed);
        let once = run::run(&plan).expect("it runs").trace;
        let again = run::run(&plan).expect("it runs").trace;

        assert!(once.len() > 20, "seed {seed}: nothing happens");
        let at = once.iter().zip(&again).position(|(once, again)| once != again);
        assert_eq!(at.map(|at| (&once[at], &again[at])), None, "seed {seed}");
        assert_eq!(once.len(), again.len(), "seed {seed}");
    }
}
