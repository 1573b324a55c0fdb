//! What was done to a request off its usual way, for log and metrics: a fallback that answered, a fault that was
//! injected, a caller that was refused.
//!
//! Most requests have none of it, and then it is two words that nobody writes.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use crate::ErrorKind;

/// Who answered instead of the route's own upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum By {
    /// Another upstream.
    Upstream = 1,
    /// A fixed answer.
    Respond = 2,
    /// An answer that was kept (RFC 5861 section 4).
    Stale = 3,
}

impl By {
    /// All of them, by their number less one.
    pub const ALL: [Self; 3] = [Self::Upstream, Self::Respond, Self::Stale];

    /// The word in metrics and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Respond => "respond",
            Self::Stale => "stale",
        }
    }
}

/// A fallback that was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// Who answered.
    pub by: By,
    /// The upstream's status, or the failure, that it stands in for.
    pub cause: Result<u16, ErrorKind>,
    /// Attempts made before it: what comes after is no retry.
    pub attempts: u16,
}

/// A fault that was injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// A wait.
    Delay = 1,
    /// An answer instead of the upstream's.
    Abort = 2,
    /// The end of the client's connection, or stream.
    Reset = 4,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Delay, Self::Abort, Self::Reset];

    /// The word in metrics and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Delay => "delay",
            Self::Abort => "abort",
            Self::Reset => "reset",
        }
    }
}

/// By what a caller was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Denied {
    /// No route is for this caller.
    Route = 1,
    /// No rule of the route fits.
    Rule = 2,
    /// Somebody else decided so.
    Decision = 3,
}

impl Denied {
    /// All of them, by their number less one.
    pub const ALL: [Self; 3] = [Self::Route, Self::Rule, Self::Decision];

    /// The word in logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Rule => "rule",
            Self::Decision => "decision",
        }
    }
}

const FAILED: u64 = 1 << 8;

/// The record of it; see the module.
#[derive(Debug, Default)]
pub struct Detour {
    /// `by`, whether it stands in for a failure, attempts, and the status or the failure's number; 0 for none.
    fallback: AtomicU64,
    faults: AtomicU8,
    denied: AtomicU8,
}

impl Detour {
    /// Notes that a fallback answers; the last one wins.
    pub fn fell_back(&self, fallback: Fallback) {
        let Fallback { by, cause, attempts } = fallback;
        let (failed, cause) = match cause {
            Ok(status) => (0, u64::from(status)),
            Err(kind) => (FAILED, u64::from(kind as u8)),
        };
        self.fallback.store(by as u64 | failed | u64::from(attempts) << 16 | cause << 32, Relaxed);
    }

    /// The fallback that answered.
    pub fn fallback(&self) -> Option<Fallback> {
        let word = self.fallback.load(Relaxed);
        let by = By::ALL.into_iter().find(|by| *by as u64 == word & 0xff)?;
        let cause = match (word & FAILED, (word >> 32) as u16) {
            (0, status) => Ok(status),
            (_, kind) => Err(ErrorKind::from_index(kind as u8)?),
        };
        Some(Fallback { by, cause, attempts: (word >> 16) as u16 })
    }

    /// Notes an injected fault; there may be a delay and another one.
    pub fn injected(&self, fault: Fault) {
        self.faults.fetch_or(fault as u8, Relaxed);
    }

    /// The faults that were injected.
    pub fn faults(&self) -> impl Iterator<Item = Fault> + use<> {
        let faults = self.faults.load(Relaxed);
        Fault::ALL.into_iter().filter(move |fault| faults & *fault as u8 != 0)
    }

    /// Notes that its caller was refused.
    pub fn deny(&self, by: Denied) {
        self.denied.store(by as u8, Relaxed);
    }

    /// By what its caller was refused, if it was.
    pub fn denied(&self) -> Option<Denied> {
        let denied = self.denied.load(Relaxed);
        Denied::ALL.into_iter().find(|by| *by as u8 == denied)
    }

    /// Nothing of it happened.
    pub fn is_none(&self) -> bool {
        self.fallback.load(Relaxed) == 0 && self.faults.load(Relaxed) == 0 && self.denied.load(Relaxed) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_read_back() {
        let detour = Detour::default();
        assert!(detour.is_none() && detour.fallback().is_none() && detour.faults().next().is_none());

        for by in By::ALL {
            for cause in [Ok(503), Ok(0), Err(ErrorKind::BadRequest), Err(ErrorKind::Internal)] {
                let fallback = Fallback { by, cause, attempts: 3 };
                detour.fell_back(fallback);
                assert_eq!(detour.fallback(), Some(fallback));
            }
        }
        detour.injected(Fault::Reset);
        detour.injected(Fault::Delay);

        assert_eq!(detour.faults().collect::<Vec<_>>(), [Fault::Delay, Fault::Reset]);
        assert_eq!(detour.denied(), None);
        for by in Denied::ALL {
            detour.deny(by);
            assert_eq!(detour.denied(), Some(by));
        }
        assert!(!detour.is_none());
    }
}
