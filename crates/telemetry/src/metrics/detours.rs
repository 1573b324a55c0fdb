//! What is counted of requests that left their usual way.

use exchange::detour::{By, Detour, Fault};

use super::cell::Count;
use crate::labels;

/// What became of a request's copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mirrored {
    /// The mirror answered, whatever it said.
    Answered,
    /// It did not, or broke off.
    Failed,
    /// Its time was over.
    Timeout,
    /// The request's body was larger than what is copied.
    TooLarge,
    /// Too many copies were under way.
    Busy,
    /// The request's body was not read to its end.
    Incomplete,
    /// The worker stopped.
    Cancelled,
}

impl Mirrored {
    const ALL: [Self; 7] =
        [Self::Answered, Self::Failed, Self::Timeout, Self::TooLarge, Self::Busy, Self::Incomplete, Self::Cancelled];

    const fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::TooLarge => "too_large",
            Self::Busy => "busy",
            Self::Incomplete => "incomplete",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What came of asking somebody else whether a request may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Authorized {
    /// It may.
    Allowed,
    /// It may not.
    Denied,
    /// As was answered before.
    Kept,
    /// No answer: it passed.
    FailedOpen,
    /// No answer: it was refused.
    FailedClosed,
}

impl Authorized {
    const ALL: [Self; 5] = [Self::Allowed, Self::Denied, Self::Kept, Self::FailedOpen, Self::FailedClosed];

    const fn label(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Kept => "kept",
            Self::FailedOpen => "failed_open",
            Self::FailedClosed => "failed_closed",
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Detours {
    fallbacks: [[Count; labels::RESULTS]; By::ALL.len()],
    faults: [Count; Fault::ALL.len()],
    mirrored: [Count; Mirrored::ALL.len()],
    authorized: [Count; Authorized::ALL.len()],
}

impl Default for Detours {
    fn default() -> Self {
        Self {
            fallbacks: std::array::from_fn(|_| std::array::from_fn(|_| Count::default())),
            faults: Default::default(),
            mirrored: Default::default(),
            authorized: Default::default(),
        }
    }
}

impl Detours {
    /// Counts a finished exchange.
    pub(super) fn finished(&self, detour: &Detour) {
        for fault in detour.faults() {
            self.faults[place(fault)].add(1);
        }
        if let Some(fallback) = detour.fallback() {
            self.fallbacks[fallback.by as usize - 1][labels::result(fallback.cause)].add(1);
        }
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

    pub(super) fn mirrored(&self, how: Mirrored) {
        self.mirrored[how as usize].add(1);
    }

    /// Calls `see` with what became of copies, and how often.
    pub(super) fn each_mirrored(&self, mut see: impl FnMut(&'static str, u64)) {
        for (how, count) in Mirrored::ALL.iter().zip(&self.mirrored).filter(|(_, count)| count.get() > 0) {
            see(how.label(), count.get());
        }
    }

    pub(super) fn authorized(&self, how: Authorized) {
        self.authorized[how as usize].add(1);
    }

    /// Calls `see` with what came of decisions, and how often.
    pub(super) fn each_authorized(&self, mut see: impl FnMut(&'static str, u64)) {
        for (how, count) in Authorized::ALL.iter().zip(&self.authorized).filter(|(_, count)| count.get() > 0) {
            see(how.label(), count.get());
        }
    }

    pub(super) fn absorb(&self, other: &Self) {
        for (sum, more) in self.fallbacks.iter().flatten().zip(other.fallbacks.iter().flatten()) {
            sum.absorb(more);
        }
        let mine = self.faults.iter().chain(&self.mirrored).chain(&self.authorized);
        for (sum, more) in mine.zip(other.faults.iter().chain(&other.mirrored).chain(&other.authorized)) {
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
    fn what_happened_is_counted_and_added_up() {
        let (sum, part) = (Detours::default(), Detours::default());
        for (by, cause) in [(By::Stale, Err(ErrorKind::Reset)), (By::Upstream, Ok(503)), (By::Upstream, Ok(502))] {
            let detour = Detour::default();
            detour.injected(Fault::Reset);
            detour.fell_back(Fallback { by, cause, attempts: 2 });
            part.finished(&detour);
        }

        part.mirrored(Mirrored::Busy);
        sum.absorb(&part);
        sum.each_mirrored(|result, count| assert_eq!((result, count), ("busy", 1)));

        let mut faults = Vec::new();
        sum.each_fault(|kind, count| faults.push((kind, count)));
        assert_eq!(faults, [("reset", 3)]);
        let mut seen = Vec::new();
        sum.each_fallback(|by, reason, count| seen.push((by, reason, count)));
        assert_eq!(seen, [("upstream", "5xx", 2), ("stale", "reset", 1)]);
    }
}
