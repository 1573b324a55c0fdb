//! What the hot path writes: a count and a histogram.
//!
//! Relaxed `fetch_add`: one instruction, never loses one, and uncontended since each worker has its own. A scrape
//! may see a count of one exchange and not yet its duration.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The buckets of every histogram, besides the last, unbounded one.
pub(crate) const BUCKETS: usize = 14;

/// Upper bounds in nanoseconds, ascending, inclusive.
pub(crate) type Bounds = [u64; BUCKETS];

const MS: u64 = 1_000_000;

/// OpenTelemetry's advice for `http.*.duration`: 5 ms to 10 s.
pub(crate) static DURATIONS: Bounds = [
    5 * MS,
    10 * MS,
    25 * MS,
    50 * MS,
    75 * MS,
    100 * MS,
    250 * MS,
    500 * MS,
    750 * MS,
    1_000 * MS,
    2_500 * MS,
    5_000 * MS,
    7_500 * MS,
    10_000 * MS,
];

/// Our own time: 10 us to 1 s.
pub(crate) static OVERHEADS: Bounds = [
    MS / 100,
    MS / 40,
    MS / 20,
    MS / 10,
    MS / 4,
    MS / 2,
    MS,
    5 * MS / 2,
    5 * MS,
    10 * MS,
    25 * MS,
    100 * MS,
    250 * MS,
    1_000 * MS,
];

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, by: u64) {
        self.0.fetch_add(by, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(crate) fn absorb(&self, other: &Self) {
        self.add(other.get());
    }
}

/// Durations by bucket.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static Bounds,
    cells: [Count; BUCKETS + 1],
    nanos: Count,
}

impl Histogram {
    pub(crate) fn new(bounds: &'static Bounds) -> Self {
        Self { bounds, cells: Default::default(), nanos: Count::default() }
    }

    pub(crate) fn record(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.cells[self.bounds.partition_point(|bound| *bound < nanos)].add(1);
        self.nanos.add(nanos);
    }

    pub(crate) fn absorb(&self, other: &Self) {
        for (cell, more) in self.cells.iter().zip(&other.cells) {
            cell.absorb(more);
        }
        self.nanos.absorb(&other.nanos);
    }

    /// How many were recorded.
    pub(crate) fn count(&self) -> u64 {
        self.cells.iter().map(Count::get).sum()
    }

    /// All of them together, in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.nanos.get() as f64 / 1e9
    }

    /// Each upper bound in seconds with the number at or below it.
    pub(crate) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let counts = self.cells.iter().scan(0, |sum, cell| {
            *sum += cell.get();
            Some(*sum)
        });
        self.bounds.iter().map(|nanos| *nanos as f64 / 1e9).zip(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_ascend() {
        for bounds in [&DURATIONS, &OVERHEADS] {
            assert!(bounds.is_sorted_by(|a, b| a < b), "{bounds:?}");
        }
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::new(&DURATIONS);
        for nanos in [0, 5 * MS - 1, 5 * MS, 5 * MS + 1, 10_000 * MS, 10_000 * MS + 1] {
            histogram.record(Duration::from_nanos(nanos));
        }

        let cumulative: Vec<_> = histogram.cumulative().map(|(_, count)| count).collect();

        assert_eq!(cumulative[..3], [3, 4, 4]);
        assert_eq!(cumulative[12..], [4, 5]);
        assert_eq!(histogram.count(), 6);
    }

    #[test]
    fn absorbing_adds() {
        let (sum, part) = (Histogram::new(&OVERHEADS), Histogram::new(&OVERHEADS));
        part.record(Duration::from_millis(500));

        sum.absorb(&part);
        sum.absorb(&part);

        assert_eq!((sum.count(), sum.seconds()), (2, 1.0));
    }
}
