//! Threads that enter each round at the same moment, for tests of what happens when they meet.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};
use std::thread;

/// Tells the others that a thread has failed, so that they do not wait for it.
struct Alarm<'a>(&'a AtomicBool);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Release);
        }
    }
}

const THREADS: usize = 3;

/// Runs `round` in three threads at once, `rounds` times, and `check` in between, alone.
pub(crate) fn race(rounds: u64, round: impl Fn(u64) + Sync, check: impl Fn(u64) + Sync) {
    let (arrived, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    // Spins before it yields: a thread woken by the system comes too late to meet another.
    let meet = |turn: usize| {
        arrived.fetch_add(1, AcqRel);
        let mut spins = 0u32;
        while arrived.load(Acquire) < turn * THREADS {
            assert!(!failed.load(Acquire), "another thread failed");
            spins += 1;
            if spins.is_multiple_of(256) { thread::yield_now() } else { std::hint::spin_loop() }
        }
    };
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (meet, round, check, failed) = (&meet, &round, &check, &failed);
            scope.spawn(move || {
                let _alarm = Alarm(failed);
                for turn in 0..rounds {
                    meet(turn as usize * 3 + 1);
                    round(turn);
                    meet(turn as usize * 3 + 2);
                    if thread == 0 {
                        check(turn);
                    }
                    meet(turn as usize * 3 + 3);
                }
            });
        }
    });
}
