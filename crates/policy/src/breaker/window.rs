//! How many calls, failures and slow calls of the last ten seconds: ten buckets of one second.
//!
//! A bucket is two words: a stamp saying which second of which breaker generation it counts, and the three
//! counts packed, so that a sample is one `fetch_add`. Carrying the generation makes clearing unnecessary: a
//! new generation does not see the buckets of the old one, and a late sample of the old one finds no bucket.
//!
//! Accepted imprecision. The window is the running second and the nine before: 9 to 10 s. When a bucket
//! turns over, whoever turns it marks it busy, takes off what it read before, and releases it; no sample that
//! finds the bucket current or busy is lost, but (1) a thread stopped between reading the stamp and adding
//! counts its sample a turn later, at most one a thread and turn; (2) a reader leaves a busy bucket out; (3) a
//! sample is dropped if its bucket is busy for another second or another generation, or is a turn ahead of it.
//! A bucket holds 4.1 million calls and 2.1 million failures a second.

use super::word::GENERATION_BITS;
use crate::Tick;
use crate::atomic::{AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use crate::pad::Padded;

const BUCKETS: u64 = 10;

const GENERATION: u32 = 64 - GENERATION_BITS;
const BUSY: u64 = 1 << (GENERATION - 1);
const SECOND: u64 = BUSY - 1;

const FAILED: u32 = 22;
const SLOW: u32 = 43;

/// Sums over the window, or what one sample adds to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) total: u64,
    pub(super) failed: u64,
    pub(super) slow: u64,
}

impl Counts {
    const fn pack(self) -> u64 {
        self.total | self.failed << FAILED | self.slow << SLOW
    }

    const fn unpack(word: u64) -> Self {
        Self {
            total: word & ((1 << FAILED) - 1),
            failed: word >> FAILED & ((1 << (SLOW - FAILED)) - 1),
            slow: word >> SLOW,
        }
    }
}

/// A rolling window shared by all workers.
#[derive(Debug, Default)]
pub(super) struct Window {
    buckets: Padded<[Bucket; BUCKETS as usize]>,
    /// One more than the second of the last failure or slow call. Rarely written, so on a line of its own.
    trouble: Padded<AtomicU64>,
}

#[derive(Debug, Default)]
struct Bucket {
    stamp: AtomicU64,
    counts: AtomicU64,
}

impl Window {
    /// Counts one sample of this generation.
    pub(super) fn add(&self, generation: u32, now: Tick, sample: Counts) {
        let second = seconds(now);
        let bucket = &self.buckets[(second % BUCKETS) as usize];
        if !bucket.turn(stamp(generation, second)) {
            return;
        }
        bucket.counts.fetch_add(sample.pack(), Relaxed);
        if (sample.failed > 0 || sample.slow > 0) && self.trouble.load(Relaxed) <= second {
            self.trouble.fetch_max(second + 1, Relaxed);
        }
    }

    /// The sums of this generation, or `None` if nothing failed or was slow within the window.
    pub(super) fn sum(&self, generation: u32, now: Tick) -> Option<Counts> {
        let second = seconds(now);
        let trouble = self.trouble.load(Relaxed);
        if trouble == 0 || trouble + BUCKETS <= second + 1 {
            return None;
        }
        Some(self.all(generation, now))
    }

    /// The sums of this generation.
    pub(super) fn all(&self, generation: u32, now: Tick) -> Counts {
        let second = seconds(now);
        let mut sum = Counts::default();
        for bucket in &self.buckets.0 {
            let stamp = bucket.stamp.load(Acquire);
            let ours = stamp >> GENERATION == u64::from(generation) && stamp & BUSY == 0;
            if ours && (stamp & SECOND) + BUCKETS > second {
                let counts = Counts::unpack(bucket.counts.load(Relaxed));
                sum.total += counts.total;
                sum.failed += counts.failed;
                sum.slow += counts.slow;
            }
        }
        sum
    }
}

impl Bucket {
    /// Makes the bucket count for `want`; false if it already counts for something later.
    fn turn(&self, want: u64) -> bool {
        loop {
            let stamp = self.stamp.load(Acquire);
            if stamp & !BUSY == want {
                return true;
            }
            if stamp & BUSY != 0 || later(stamp, want) {
                return false;
            }
            let old = self.counts.load(Relaxed);
            if self.stamp.compare_exchange(stamp, want | BUSY, AcqRel, Acquire).is_ok() {
                self.counts.fetch_sub(old, Relaxed);
                self.stamp.store(want, Release);
                return true;
            }
        }
    }
}

fn seconds(now: Tick) -> u64 {
    now.as_nanos() / 1_000_000_000
}

fn stamp(generation: u32, second: u64) -> u64 {
    u64::from(generation) << GENERATION | second & SECOND
}

/// Whether `stamp` is of a later generation than `than`, or of a later second of the same.
fn later(stamp: u64, than: u64) -> bool {
    // Shifted up, the difference of two generations wraps as they do.
    let ahead = (stamp >> GENERATION).wrapping_sub(than >> GENERATION) << GENERATION;
    match (ahead as i64).cmp(&0) {
        std::cmp::Ordering::Equal => stamp & SECOND > than & SECOND,
        order => order.is_gt(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::race::race;
    use std::time::Duration;

    const OK: Counts = Counts { total: 1, failed: 0, slow: 0 };
    const BAD: Counts = Counts { total: 1, failed: 1, slow: 0 };

    fn at(millis: u64) -> Tick {
        Tick::from_nanos(1_000_000_000_000) + Duration::from_millis(millis)
    }

    fn total(window: &Window, generation: u32, now: Tick) -> u64 {
        window.sum(generation, now).map_or(0, |counts| counts.total)
    }

    #[test]
    fn sums_are_of_the_last_ten_seconds() {
        let window = Window::default();
        for second in 0..20 {
            window.add(0, at(second * 1000), BAD);
        }

        assert_eq!(window.sum(0, at(19_999)), Some(Counts { total: 10, failed: 10, slow: 0 }));
        assert_eq!(total(&window, 0, at(20_000)), 9);
        assert_eq!(total(&window, 0, at(28_999)), 1);
        assert_eq!(window.sum(0, at(29_000)), None);
    }

    #[test]
    fn counts_are_kept_apart() {
        let window = Window::default();

        window.add(0, at(0), OK);
        window.add(0, at(0), Counts { total: 1, failed: 1, slow: 1 });
        window.add(0, at(1000), Counts { total: 1, failed: 0, slow: 1 });
        window.add(0, at(2000), Counts { total: 0, failed: 1, slow: 0 });

        assert_eq!(window.sum(0, at(2000)), Some(Counts { total: 3, failed: 2, slow: 2 }));
    }

    #[test]
    fn window_without_trouble_has_nothing_to_say() {
        let window = Window::default();

        window.add(0, at(0), OK);

        assert_eq!(window.sum(0, at(0)), None);
    }

    #[test]
    fn new_generation_starts_empty_and_shuts_the_old_one_out() {
        let window = Window::default();
        window.add(3, at(0), BAD);
        window.add(4, at(0), BAD);

        window.add(3, at(0), BAD);

        assert_eq!(window.sum(4, at(0)), Some(Counts { total: 1, failed: 1, slow: 0 }));
        assert_eq!(total(&window, 3, at(0)), 0);
    }

    #[test]
    fn generation_order_wraps() {
        let last = (1 << GENERATION_BITS) - 1;

        assert!(later(stamp(0, 5), stamp(last, 9)));
        assert!(!later(stamp(last, 9), stamp(0, 5)));
        assert!(later(stamp(2, 6), stamp(2, 5)) && !later(stamp(2, 5), stamp(2, 5)));
    }

    #[test]
    fn sample_of_a_turn_ago_is_dropped() {
        let window = Window::default();
        window.add(0, at(10_000), BAD);

        window.add(0, at(0), BAD);

        assert_eq!(total(&window, 0, at(10_000)), 1);
    }

    #[test]
    fn turning_over_loses_no_sample_of_the_new_second() {
        let window = Window::default();
        let added = AtomicU64::new(0);

        race(
            10_000,
            |turn| {
                for _ in 0..3 {
                    window.add(0, at(turn * 10_000), BAD);
                    added.fetch_add(1, Relaxed);
                }
            },
            |turn| assert_eq!(total(&window, 0, at(turn * 10_000)), added.swap(0, Relaxed)),
        );
    }
}
