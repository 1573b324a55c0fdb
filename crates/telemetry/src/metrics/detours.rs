//! What is counted of requests that left their usual way.

use exchange::detour::{By, Detour, Fault};

use super::cell::Count;
use crate::labels;

/// See the module.
#[derive(Debug)]
pub(super) struct Detours {
    fallbacks: [[Count; labels::RESULTS]; By::ALL.len()],
    faults: [Count; Fault::ALL.len()],
}

impl Default for Detours {
    fn default() -> Self {
        Self {
            fallbacks: std::array::from_fn(|_| std::array::from_fn(|_| Count::default())),
            faults: Default::default(),
        }
    }
}

impl Detours {
    /// Counts a finished exchange; returns the attempts that were not a fallback's.
    pub(super) fn finished(&self, detour: &Detour, tries: u64) -> u64 {
        for fault in detour.faults() {
            self.faults[place(fault)].add(1);
        }
        let Some(fallback) = detour.fallback() else { return tries };
        self.fallbacks[fallback.by as usize - 1][labels::result(fallback.cause)].add(1);
        tries.min(u64::from(fallback.attempts))
    }

    /// Calls `see` with who answered, why, and how often.
    pub(super) fn each_fallback(&self, mut see: impl FnMut(&'static str, &'static str, u64)) {
        for (by, counts) in By::ALL.iter().zip(&self.fallbacks) {
            for (result, count) in counts.iter().enumerate().filter(|(_, count)| count.get() > 0) {
                see(by.label(), labels::result_text(result), count.get());
            }
        }
    }

    /// Calls `see` with what was injected, and how often.
    pub(super) fn each_fault(&self, mut see: impl FnMut(&'static str, u64)) {
        for (fault, count) in Fault::ALL.iter().zip(&self.faults).filter(|(_, count)| count.get() > 0) {
            see(fault.label(), count.get());
        }
    }

    pub(super) fn absorb(&self, other: &Self) {
        for (sum, more) in self.fallbacks.iter().flatten().zip(other.fallbacks.iter().flatten()) {
            sum.absorb(more);
        }
        for (sum, more) in self.faults.iter().zip(&other.faults) {
            sum.absorb(more);
        }
    }
}

const fn place(fault: Fault) -> usize {
    match fault {
        Fault::Delay => 0,
        Fault::Abort => 1,
        Fault::Reset => 2,
    }
}

#[cfg(test)]
mod tests {
    use exchange::ErrorKind;
    use exchange::detour::Fallback;

    use super::*;

    #[test]
    fn a_fallback_is_counted_by_what_it_stood_in_for_and_its_attempt_is_no_retry() {
        let (sum, part) = (Detours::default(), Detours::default());
        for (by, cause) in [(By::Stale, Err(ErrorKind::Reset)), (By::Upstream, Ok(503)), (By::Upstream, Ok(502))] {
            let detour = Detour::default();
            detour.injected(Fault::Reset);
            detour.fell_back(Fallback { by, cause, attempts: 2 });
            assert_eq!(part.finished(&detour, 3), 2);
        }

        sum.absorb(&part);

        let mut faults = Vec::new();
        sum.each_fault(|kind, count| faults.push((kind, count)));
        assert_eq!(faults, [("reset", 3)]);
        let mut seen = Vec::new();
        sum.each_fallback(|by, reason, count| seen.push((by, reason, count)));
        assert_eq!(seen, [("upstream", "5xx", 2), ("stale", "reset", 1)]);
    }
}
