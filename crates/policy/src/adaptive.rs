//! How much concurrency a destination bears, found out from how its answers slow down.
//!
//! In windows: the mean latency of one is compared with the floor, the latency when little is under way. As long as it
//! is no more than a quarter above, the limit grows by its square root; beyond that it shrinks in proportion. A window
//! with a 429, a 503 or a timeout shrinks it by a tenth. A limit that nobody uses up does not grow: it would say nothing.
//! The floor cannot be read off a busy destination, so now and then one window runs at a third of the limit and sets it
//! anew, up or down: a destination that became slower for good is believed after one such window, instead of being starved.
//! A mean rather than a percentile needs two sums instead of a list; a window of a hundred answers smooths it enough.
//!
//! Samples that come while a window is being closed count for either, or not at all; a closing happens once.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::Tick;
use crate::pad::Padded;

/// A window is no shorter than this, and waits for enough samples.
const WINDOW: Duration = Duration::from_millis(100);
/// Below so many a window says nothing.
const SAMPLES: u32 = 10;
/// So many windows from one at a third of the limit to the next.
const PROBE_EVERY: u32 = 50;
/// Means up to this multiple of the floor are as good as it.
const TOLERANCE: f64 = 1.25;
/// What a window leaves of the limit, at least.
const STEEPEST: f64 = 0.5;
/// What an overloaded window leaves of it.
const OVERLOADED: f64 = 0.9;
/// What takes longer counts as this, so that no sum overflows.
const LONGEST: Duration = Duration::from_secs(60);
/// The limit is kept in thousandths.
const UNIT: f64 = 1000.0;

/// Where it begins, and what it never passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// Of a destination never measured.
    pub initial: u32,
    /// At most.
    pub max: u32,
}

/// What one answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// Its head came after so long.
    Answer(Duration),
    /// The destination said that it is too much, or did not answer in time.
    Overload,
}

/// The limit of one destination.
#[derive(Debug, Default)]
pub struct Adaptive(Padded<Cells>);

#[derive(Debug, Default)]
struct Cells {
    /// In thousandths; 0 before the first window.
    limit: AtomicU32,
    /// The latency when little is under way, in nanoseconds; 0 if unknown.
    floor: AtomicU64,
    /// When this window may be closed.
    ends: AtomicU64,
    answers: AtomicU32,
    /// Of their latencies, in nanoseconds.
    sum: AtomicU64,
    overloads: AtomicU32,
    /// The most that was in flight.
    peak: AtomicU32,
    /// Windows until one at a third of the limit.
    until_probe: AtomicU32,
}

impl Adaptive {
    /// How many may be in flight now; at least 1.
    pub fn limit(&self, params: &Params) -> u32 {
        let limit = self.level(params);
        let probing = self.0.until_probe.load(Relaxed) == 1;
        let limit = if probing { limit / 3.0 } else { limit };
        (limit as u32).max(1)
    }

    fn level(&self, params: &Params) -> f64 {
        let level = match self.0.limit.load(Relaxed) {
            0 => f64::from(params.initial),
            thousandths => f64::from(thousandths) / UNIT,
        };
        level.clamp(1.0, f64::from(params.max.max(1)))
    }

    /// Notes what an answer said, and how many were in flight with it.
    pub fn record(&self, sample: Sample, inflight: u32, params: &Params, now: Tick) {
        let cells = &*self.0;
        match sample {
            Sample::Answer(latency) => {
                let nanos = u64::try_from(latency.min(LONGEST).as_nanos()).unwrap_or_default();
                cells.sum.fetch_add(nanos, Relaxed);
                cells.answers.fetch_add(1, Relaxed);
            }
            Sample::Overload => {
                cells.overloads.fetch_add(1, Relaxed);
            }
        }
        cells.peak.fetch_max(inflight, Relaxed);
        let ends = cells.ends.load(Relaxed);
        let enough = cells.answers.load(Relaxed) + cells.overloads.load(Relaxed) >= SAMPLES;
        let next = (now + WINDOW).as_nanos();
        if ends == 0 {
            let _ = cells.ends.compare_exchange(0, next, Relaxed, Relaxed);
        } else if enough && now.as_nanos() >= ends && cells.ends.compare_exchange(ends, next, Relaxed, Relaxed).is_ok()
        {
            self.close(params);
        }
    }

    /// Draws the window's conclusion; one thread at a time, by the exchange of `ends`.
    fn close(&self, params: &Params) {
        let cells = &*self.0;
        let (answers, sum) = (cells.answers.swap(0, Relaxed), cells.sum.swap(0, Relaxed));
        let (overloads, peak) = (cells.overloads.swap(0, Relaxed), cells.peak.swap(0, Relaxed));
        let probed = match cells.until_probe.load(Relaxed) {
            // The first window of all sets the floor as well.
            left @ 0..=1 => {
                cells.until_probe.store(PROBE_EVERY, Relaxed);
                left == 1 || cells.floor.load(Relaxed) == 0
            }
            left => {
                cells.until_probe.store(left - 1, Relaxed);
                false
            }
        };
        let mean = sum.checked_div(u64::from(answers)).unwrap_or(0);
        if mean > 0 && (probed || mean < cells.floor.load(Relaxed)) {
            cells.floor.store(mean, Relaxed);
        }
        let level = self.level(params);
        let next = if overloads > 0 {
            level * OVERLOADED
        } else if probed || mean == 0 {
            level
        } else {
            let gradient = (TOLERANCE * cells.floor.load(Relaxed) as f64 / mean as f64).clamp(STEEPEST, 1.0);
            let grown = level * gradient + level.sqrt();
            if grown > level && f64::from(peak) * 2.0 < level { level } else { smooth(level, grown) }
        };
        let next = next.clamp(1.0, f64::from(params.max.max(1)));
        cells.limit.store((next * UNIT).min(f64::from(u32::MAX)) as u32, Relaxed);
    }
}

/// Half way: a single window must not swing it.
fn smooth(from: f64, to: f64) -> f64 {
    (from + to) / 2.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARAMS: Params = Params { initial: 20, max: 1000 };

    /// A destination that serves `width` at once and makes the others wait.
    struct Model {
        width: f64,
        base: Duration,
        /// Beyond this much it answers 503.
        refuses_above: u32,
    }

    /// A client that always has more to send: what is in flight is the limit.
    struct World {
        adaptive: Adaptive,
        now: Tick,
        seen: Vec<u32>,
    }

    impl World {
        fn new() -> Self {
            Self { adaptive: Adaptive::default(), now: Tick::from_nanos(1), seen: Vec::new() }
        }

        /// Windows of a hundred answers with up to a tenth of noise; returns the limits meanwhile.
        fn run(&mut self, model: &Model, windows: usize, rng: &mut fastrand::Rng) -> Vec<u32> {
            let begin = self.seen.len();
            for _ in 0..windows {
                let inflight = self.adaptive.limit(&PARAMS);
                let slowed = model.base.mul_f64((f64::from(inflight) / model.width).max(1.0));
                for _ in 0..100 {
                    self.now = self.now + Duration::from_millis(1);
                    let sample = if inflight > model.refuses_above {
                        Sample::Overload
                    } else {
                        Sample::Answer(slowed.mul_f64(0.9 + 0.2 * rng.f64()))
                    };
                    self.adaptive.record(sample, inflight, &PARAMS, self.now);
                }
                self.seen.push(inflight);
            }
            self.seen[begin..].to_vec()
        }
    }

    fn range(limits: &[u32]) -> (u32, u32) {
        // Less the windows at a third of the limit: one in fifty.
        let mut sorted = limits.to_vec();
        sorted.sort_unstable();
        (sorted[sorted.len() / 20], sorted[sorted.len() - 1])
    }

    fn model(width: u32, base: u64) -> Model {
        Model { width: f64::from(width), base: Duration::from_millis(base), refuses_above: u32::MAX }
    }

    #[test]
    fn it_settles_a_little_above_what_the_destination_serves_at_once() {
        for width in [4, 20, 100, 400] {
            let (mut world, mut rng) = (World::new(), fastrand::Rng::with_seed(u64::from(width)));
            world.run(&model(width, 20), 300, &mut rng);

            let (low, high) = range(&world.run(&model(width, 20), 500, &mut rng));

            assert!(low >= width, "{width}: {low}..{high}");
            assert!(high <= width * 2 + 8, "{width}: {low}..{high}");
            assert!(f64::from(high) <= f64::from(low) * 1.35 + 3.0, "it oscillates: {width}: {low}..{high}");
        }
    }

    #[test]
    fn a_step_in_latency_neither_starves_it_nor_lets_it_run_away() {
        let (mut world, mut rng) = (World::new(), fastrand::Rng::with_seed(1));
        world.run(&model(100, 10), 300, &mut rng);

        for base in [100, 10, 60] {
            let meanwhile = world.run(&model(100, base), 150, &mut rng);
            let (low, high) = range(&world.run(&model(100, base), 300, &mut rng));

            assert!(meanwhile.iter().filter(|limit| **limit < 5).count() <= 60, "starved: {base}: {meanwhile:?}");
            assert!(low >= 90 && high <= 220, "{base}: {low}..{high}");
        }
    }

    #[test]
    fn a_destination_that_shrinks_is_followed_down_and_up_again() {
        let (mut world, mut rng) = (World::new(), fastrand::Rng::with_seed(2));
        for width in [200, 20, 200] {
            world.run(&model(width, 20), 300, &mut rng);
            let (low, high) = range(&world.run(&model(width, 20), 300, &mut rng));

            assert!(low >= width * 9 / 10 && high <= width * 2 + 8, "{width}: {low}..{high}");
        }
    }

    #[test]
    fn one_slow_window_takes_a_quarter_at_most() {
        let (mut world, mut rng) = (World::new(), fastrand::Rng::with_seed(4));
        // Not where every fiftieth one runs at a third.
        world.run(&model(100, 20), 320, &mut rng);
        let before = world.adaptive.limit(&PARAMS);

        world.run(&model(100, 2_000), 1, &mut rng);

        let after = world.adaptive.limit(&PARAMS);
        assert!(after >= before * 3 / 4 && after < before, "{before} -> {after}");
    }

    #[test]
    fn refusals_of_the_destination_push_it_down() {
        let (mut world, mut rng) = (World::new(), fastrand::Rng::with_seed(3));
        let refusing = Model { refuses_above: 30, ..model(1000, 20) };
        world.run(&refusing, 300, &mut rng);

        let (low, high) = range(&world.run(&refusing, 300, &mut rng));

        assert!(low >= 20 && high <= 45, "{low}..{high}");
    }

    #[test]
    fn what_is_not_used_up_does_not_grow() {
        let adaptive = Adaptive::default();
        let mut now = Tick::from_nanos(1);
        for _ in 0..10_000 {
            now = now + Duration::from_millis(1);
            adaptive.record(Sample::Answer(Duration::from_millis(5)), 3, &PARAMS, now);
        }

        assert!((9..=20).contains(&adaptive.limit(&PARAMS)), "{}", adaptive.limit(&PARAMS));
    }

    proptest! {
        #[test]
        fn whatever_is_recorded_it_stays_between_one_and_the_most(
            samples in proptest::collection::vec((any::<Option<u64>>(), any::<u32>(), 0u64..1_000_000_000), 1..500),
            max in 0u32..2000,
            initial: u32,
        ) {
            let (params, adaptive, mut now) = (Params { initial, max }, Adaptive::default(), Tick::ZERO);
            for (latency, inflight, after) in samples {
                now = now + Duration::from_nanos(after);
                let sample = latency.map_or(Sample::Overload, |nanos| Sample::Answer(Duration::from_nanos(nanos)));
                adaptive.record(sample, inflight, &params, now);
                prop_assert!((1..=max.max(1)).contains(&adaptive.limit(&params)));
            }
        }

        #[test]
        fn under_any_load_of_nothing_but_refusals_it_ends_at_one(inflight: u32, initial in 1u32..1000) {
            let (params, adaptive) = (Params { initial, max: 1000 }, Adaptive::default());
            for at in 0..10_000u64 {
                adaptive.record(Sample::Overload, inflight, &params, Tick::from_nanos(1 + at * 10_000_000));
            }
            prop_assert_eq!(adaptive.limit(&params), 1);
        }
    }
}
