//! How long answers of a destination take lately: any quantile of them, from a fixed number of counters.
//!
//! Buckets as wide as an eighth of a power of two, from 128 us to over two minutes, in three turns of ten seconds: what
//! is read is the last twenty to thirty seconds. A quantile is the upper end of its bucket, so it is never too small and
//! at most an eighth too large. Where there are fewer than `ENOUGH` samples, there is no answer: a guess would be acted on.
//!
//! Written without locks. What that costs: samples that come while their turn is being emptied may be lost, or be counted
//! into the new one; a few of many, once in ten seconds. 2 KiB a destination.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::Tick;

/// Samples below which nothing is said.
pub const ENOUGH: u32 = 50;
/// Of one turn.
const TURN: Duration = Duration::from_secs(10);
const TURNS: usize = 3;

/// Log2 of the steps in a power of two.
const STEPS: u32 = 3;
/// Log2 of the microseconds that the second bucket begins with.
const FIRST: u32 = 7;
/// Powers of two that are told apart.
const POWERS: u32 = 20;
const BUCKETS: usize = (POWERS << STEPS) as usize + 2;

/// The latencies of one destination.
#[derive(Debug)]
pub struct Latencies {
    turns: [Turn; TURNS],
}

#[derive(Debug)]
struct Turn {
    /// Which turn of all time it counts.
    number: AtomicU64,
    buckets: [AtomicU32; BUCKETS],
}

impl Default for Latencies {
    fn default() -> Self {
        let turn = || Turn { number: AtomicU64::new(u64::MAX), buckets: [const { AtomicU32::new(0) }; BUCKETS] };
        Self { turns: std::array::from_fn(|_| turn()) }
    }
}

impl Latencies {
    /// Counts one answer.
    pub fn record(&self, took: Duration, now: Tick) {
        let number = number(now);
        let turn = &self.turns[(number % TURNS as u64) as usize];
        let known = turn.number.load(Relaxed);
        if known != number && turn.number.compare_exchange(known, number, Relaxed, Relaxed).is_ok() {
            turn.buckets.iter().for_each(|bucket| bucket.store(0, Relaxed));
        }
        turn.buckets[bucket(took)].fetch_add(1, Relaxed);
    }

    /// The time within which this share of the answers was there, 0..=1.
    pub fn quantile(&self, share: f64, now: Tick) -> Option<Duration> {
        let number = number(now);
        let lately = |turn: &&Turn| number.wrapping_sub(turn.number.load(Relaxed)) < TURNS as u64;
        let turns: [Option<&Turn>; TURNS] = std::array::from_fn(|index| Some(&self.turns[index]).filter(lately));
        let count = |bucket: usize| -> u64 {
            turns.iter().flatten().map(|turn| u64::from(turn.buckets[bucket].load(Relaxed))).sum()
        };
        let total: u64 = (0..BUCKETS).map(count).sum();
        if total < u64::from(ENOUGH) {
            return None;
        }
        let wanted = (total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        let found = (0..BUCKETS).find(|bucket| {
            seen += count(*bucket);
            seen >= wanted
        });
        found.map(upper)
    }
}

fn number(now: Tick) -> u64 {
    now.as_nanos() / TURN.as_nanos() as u64
}

fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let Some(power) = micros.checked_ilog2().filter(|power| *power >= FIRST) else { return 0 };
    let step = (micros >> (power - STEPS)) & ((1 << STEPS) - 1);
    let index = 1 + ((power - FIRST) << STEPS) as usize + step as usize;
    index.min(BUCKETS - 1)
}

/// What all samples of a bucket are below; the last has no end of its own.
fn upper(bucket: usize) -> Duration {
    if bucket >= BUCKETS - 1 {
        return Duration::from_micros(1 << (FIRST + POWERS));
    }
    let power = FIRST + ((bucket as u32).saturating_sub(1) >> STEPS);
    let steps = if bucket == 0 { 0 } else { ((bucket as u64 - 1) & ((1 << STEPS) - 1)) + 1 };
    Duration::from_micros((1 << power) + (steps << (power - STEPS)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Tick = Tick::from_nanos(1_000_000_000_000);

    fn millis(of: u64) -> Duration {
        Duration::from_millis(of)
    }

    #[test]
    fn few_answers_say_nothing() {
        let latencies = Latencies::default();
        for _ in 1..ENOUGH {
            latencies.record(millis(10), START);
        }
        assert_eq!(latencies.quantile(0.5, START), None);

        latencies.record(millis(10), START);

        assert!(latencies.quantile(0.5, START).is_some_and(|found| found >= millis(10) && found < millis(12)));
    }

    #[test]
    fn a_quantile_leaves_the_slow_rest_out() {
        let latencies = Latencies::default();
        for index in 0..100 {
            latencies.record(millis(if index < 94 { 10 } else { 1000 }), START);
        }

        assert!(latencies.quantile(0.9, START).is_some_and(|found| found < millis(12)));
        assert!(latencies.quantile(0.95, START).is_some_and(|found| found >= millis(1000)));
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let latencies = Latencies::default();
        for _ in 0..ENOUGH {
            latencies.record(millis(10), START);
        }

        assert!(latencies.quantile(0.5, START + TURN * 2).is_some());
        assert_eq!(latencies.quantile(0.5, START + TURN * 3), None);
        latencies.record(millis(10), START + TURN * 3);
        assert_eq!(latencies.quantile(0.5, START + TURN * 3), None, "the turn was emptied");
    }

    #[test]
    fn the_shortest_and_the_longest_have_a_place() {
        let latencies = Latencies::default();
        for _ in 0..ENOUGH {
            latencies.record(Duration::ZERO, START);
            latencies.record(Duration::MAX, START);
        }

        assert_eq!(latencies.quantile(0.0, START), Some(Duration::from_micros(128)));
        assert_eq!(latencies.quantile(1.0, START), Some(Duration::from_micros(1 << 27)));
    }

    proptest! {
        #[test]
        fn a_bucket_ends_above_its_samples_and_at_most_an_eighth(micros in 128u64..(1 << 27)) {
            let end = upper(bucket(Duration::from_micros(micros))).as_micros() as u64;

            prop_assert!(end > micros, "{end} {micros}");
            prop_assert!(end - micros <= micros / 8 + 1, "{end} {micros}");
        }

        /// A sorted list is the reference.
        #[test]
        fn a_quantile_is_that_of_the_samples(
            micros in proptest::collection::vec(128u64..10_000_000, 50..300), share in 0.01f64..1.0
        ) {
            let latencies = Latencies::default();
            for one in &micros {
                latencies.record(Duration::from_micros(*one), START);
            }
            let mut sorted = micros.clone();
            sorted.sort_unstable();
            let wanted = (sorted.len() as f64 * share).ceil() as usize;

            let found = latencies.quantile(share, START).expect("enough").as_micros() as u64;

            let exact = sorted[wanted - 1];
            prop_assert!(found > exact && found - exact <= exact / 8 + 1, "{found} {exact}");
        }
    }
}
