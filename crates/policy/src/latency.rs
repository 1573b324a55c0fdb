//! Peak EWMA: how slow an endpoint is, judged by its worst recent answer.
//!
//! A sample above the estimate replaces it at once; one below pulls it down with a time constant of 10 s. So
//! a stall is noticed by the first request that meets it, and trust comes back slowly. Between samples the
//! estimate decays towards zero: an endpoint that was shunned becomes attractive again and is measured anew,
//! where decaying towards the seed would shun it for ever beside faster ones.
//!
//! Estimate (`f32` nanoseconds) and time of the last sample (units of 2^20 ns, 1.05 ms) are one `AtomicU64`,
//! so no reader sees half an update. What that costs: a sample below the estimate that comes within the same
//! unit as the one before changes nothing (which also means at most about 950 such writes a second however
//! many requests), the estimate carries 24 bits, and an endpoint untouched for exactly a multiple of 52 days
//! (within a minute) is read as undecayed.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::Tick;
use crate::pad::Padded;

/// The time constant of the decay.
pub const DECAY: Duration = Duration::from_secs(10);
/// The estimate of an endpoint that was never measured.
pub const SEED: Duration = Duration::from_millis(30);

/// No estimate falls below this, so that the number in flight still tells idle endpoints apart.
const FLOOR: f64 = 1_000.0;
/// Log2 of the nanoseconds in one unit of time.
const UNIT: u32 = 20;
/// A stamp this many units (68 s) ahead of `now` or less was written by a thread whose tick is younger.
const SKEW: u32 = 1 << 16;

/// A lock-free peak-sensitive moving average of latency.
#[derive(Debug)]
pub struct PeakEwma {
    /// Estimate in the high half, stamp in the low; a negative estimate is a seed, which does not decay.
    word: Padded<AtomicU64>,
}

impl Default for PeakEwma {
    fn default() -> Self {
        Self::new(SEED)
    }
}

impl PeakEwma {
    /// Unmeasured: reads as `seed` until the first sample, which replaces it.
    pub fn new(seed: Duration) -> Self {
        let estimate = -nanos(seed).max(FLOOR);
        Self { word: Padded(AtomicU64::new(pack(estimate, 0))) }
    }

    /// An answer's head arrived after `sample`.
    pub fn success(&self, sample: Duration, now: Tick) {
        self.sample(nanos(sample), now);
    }

    /// An attempt failed after `observed`; counts as no less than `penalty`, so that failing fast is no merit.
    pub fn failure(&self, observed: Duration, penalty: Duration, now: Tick) {
        self.sample(nanos(observed.max(penalty)), now);
    }

    /// It was left out and is back: what it was known for is forgotten, and this sample is all there is.
    ///
    /// Without this the penalty of its failures would keep it from requests for most of a minute after its breaker closed.
    pub fn restart(&self, sample: Duration, now: Tick) {
        self.word.store(pack(nanos(sample).max(FLOOR), unit(now)), Relaxed);
    }

    /// The estimate as it has decayed by `now`.
    pub fn get(&self, now: Tick) -> Duration {
        Duration::from_nanos(self.nanos(now) as u64)
    }

    /// What the balancer compares: nanoseconds of latency x (in flight + 1).
    pub fn cost(&self, in_flight: u32, now: Tick) -> u64 {
        (self.nanos(now) * (f64::from(in_flight) + 1.0)) as u64
    }

    fn nanos(&self, now: Tick) -> f64 {
        let (estimate, stamp) = unpack(self.word.load(Relaxed));
        if estimate < 0.0 { -estimate } else { decayed(estimate, elapsed(stamp, now)).max(FLOOR) }
    }

    fn sample(&self, sample: f64, now: Tick) {
        let sample = sample.max(FLOOR);
        let mut word = self.word.load(Relaxed);
        loop {
            let (estimate, stamp) = unpack(word);
            let units = elapsed(stamp, now);
            let next = if estimate < 0.0 || sample > decayed(estimate, units) {
                // A seed, or a peak. The stamp never steps back behind one that is younger.
                pack(sample, if estimate < 0.0 || units > 0 { unit(now) } else { stamp })
            } else if units == 0 {
                return;
            } else {
                let kept = decayed(1.0, units);
                pack(estimate * kept + sample * (1.0 - kept), unit(now))
            };
            match self.word.compare_exchange_weak(word, next, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(seen) => word = seen,
            }
        }
    }
}

fn nanos(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}

fn unit(now: Tick) -> u32 {
    (now.as_nanos() >> UNIT) as u32
}

fn elapsed(stamp: u32, now: Tick) -> u32 {
    let units = unit(now).wrapping_sub(stamp);
    if units > u32::MAX - SKEW { 0 } else { units }
}

fn decayed(estimate: f64, units: u32) -> f64 {
    if units == 0 {
        return estimate;
    }
    let nanos = (u64::from(units) << UNIT) as f64;
    estimate * (-nanos / DECAY.as_nanos() as f64).exp()
}

fn pack(estimate: f64, stamp: u32) -> u64 {
    u64::from((estimate as f32).to_bits()) << 32 | u64::from(stamp)
}

fn unpack(word: u64) -> (f64, u32) {
    (f64::from(f32::from_bits((word >> 32) as u32)), word as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::thread;

    const START: Tick = Tick::from_nanos(1 << 40);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn near(left: Duration, right: Duration) -> bool {
        left.abs_diff(right) < right / 200 + Duration::from_nanos(50)
    }

    #[test]
    fn unmeasured_reads_as_the_seed_however_late() {
        let latency = PeakEwma::default();

        assert!(near(latency.get(Tick::ZERO), SEED));
        assert!(near(latency.get(START + Duration::from_secs(86_400)), SEED));
    }

    #[test]
    fn first_sample_replaces_the_seed() {
        let latency = PeakEwma::new(SEED);

        latency.success(ms(2), START);

        assert!(near(latency.get(START), ms(2)));
    }

    #[test]
    fn slower_sample_counts_at_once() {
        let latency = PeakEwma::new(SEED);
        latency.success(ms(2), START);

        latency.success(ms(400), START);

        assert!(near(latency.get(START), ms(400)));
    }

    #[test]
    fn faster_samples_pull_down_with_the_time_constant() {
        let latency = PeakEwma::new(SEED);
        latency.success(ms(400), START);

        latency.success(ms(2), START + DECAY);

        let expected = ms(400).mul_f64((-1f64).exp()) + ms(2).mul_f64(1.0 - (-1f64).exp());
        assert!(near(latency.get(START + DECAY), expected), "{:?}", latency.get(START + DECAY));
    }

    #[test]
    fn shunned_endpoint_becomes_attractive_again() {
        let latency = PeakEwma::new(SEED);
        latency.success(ms(250), START);

        assert!(latency.get(START + ms(20_000)) > ms(5));
        assert!(latency.get(START + ms(40_000)) < ms(5));
        assert_eq!(latency.get(START + Duration::from_secs(3600)), Duration::from_nanos(FLOOR as u64));
    }

    #[test]
    fn fast_failure_is_no_merit() {
        let latency = PeakEwma::new(SEED);

        latency.failure(ms(1), ms(1000), START);
        assert!(near(latency.get(START), ms(1000)));

        latency.failure(ms(3000), ms(1000), START);
        assert!(near(latency.get(START), ms(3000)));
    }

    #[test]
    fn one_that_is_back_is_known_by_its_last_sample_alone() {
        let latency = PeakEwma::new(SEED);
        latency.failure(ms(1), ms(1000), START);
        latency.success(ms(3), START + ms(5000));
        assert!(latency.get(START + ms(5000)) > ms(500));

        latency.restart(ms(3), START + ms(5000));

        assert!(near(latency.get(START + ms(5000)), ms(3)));
    }

    #[test]
    fn tick_slightly_in_the_past_does_not_decay() {
        let latency = PeakEwma::new(SEED);
        latency.success(ms(100), START + ms(50));

        latency.success(ms(1), START);

        assert!(near(latency.get(START), ms(100)));
        assert!(near(latency.get(START + ms(50)), ms(100)));
    }

    #[test]
    fn cost_grows_with_the_number_in_flight() {
        let latency = PeakEwma::new(SEED);
        latency.success(ms(10), START);

        assert!(latency.cost(3, START).abs_diff(4 * latency.cost(0, START)) < 8);
        assert!(
            latency.cost(1, START + Duration::from_secs(3600)) > latency.cost(0, START + Duration::from_secs(3600))
        );
    }

    #[test]
    fn peak_survives_racing_threads() {
        let latency = PeakEwma::new(SEED);

        thread::scope(|scope| {
            for thread in 0..4 {
                let latency = &latency;
                scope.spawn(move || {
                    for sample in 0..5000u64 {
                        latency.success(Duration::from_micros(1 + (sample * 4 + thread) % 5000), START);
                    }
                });
            }
        });

        assert!(near(latency.get(START), Duration::from_micros(5000)));
    }

    proptest! {
        #[test]
        fn estimate_stays_between_floor_and_the_largest_sample(
            samples in proptest::collection::vec((0u64..60_000_000_000, 0u64..20_000_000_000), 1..100)
        ) {
            let latency = PeakEwma::new(SEED);
            let (mut now, mut top) = (START, FLOOR as u64);

            for (sample, pause) in samples {
                now = now + Duration::from_nanos(pause);
                latency.success(Duration::from_nanos(sample), now);
                top = top.max(sample);
                let read = latency.get(now).as_nanos() as f64;
                // Peak: never below the sample just seen; `f32` rounding is the slack.
                prop_assert!(read >= sample as f64 * 0.999_999);
                prop_assert!(read >= FLOOR && read <= top as f64 * 1.000_001);
            }
        }

        #[test]
        fn estimate_only_falls_without_samples(sample in 1_000u64..60_000_000_000, pauses in proptest::collection::vec(0u64..5_000_000_000, 1..30)) {
            let latency = PeakEwma::new(SEED);
            latency.success(Duration::from_nanos(sample), START);
            let (mut now, mut last) = (START, latency.get(START));

            for pause in pauses {
                now = now + Duration::from_nanos(pause);
                let read = latency.get(now);
                prop_assert!(read <= last);
                last = read;
            }
        }
    }
}
