//! Two tries of one request at once: where they went, and how it ended.
//!
//! Only an exchange that may be hedged has one; for all others it is a load and a branch. The layer that hedges and the
//! upstream below it meet here: they do not know each other.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use smallvec::SmallVec;

/// Marks the request of the second try: it goes to an endpoint that serves and is not taken, or nowhere.
#[derive(Clone, Copy, Debug)]
pub struct Rival;

/// See the module.
#[derive(Debug, Default)]
pub struct Race {
    taken: Mutex<SmallVec<[Arc<str>; 2]>>,
    probing: AtomicBool,
    made: AtomicBool,
    won: AtomicBool,
    outrun: AtomicBool,
    denied: OnceLock<&'static str>,
}

impl Race {
    /// A try goes to this endpoint; `probe`: as the one that an open breaker lets pass; `rival`: it is the second.
    pub fn took(&self, endpoint: &Arc<str>, probe: bool, rival: bool) {
        self.taken.lock().push(Arc::clone(endpoint));
        if probe {
            self.probing.store(true, Relaxed);
        }
        if rival {
            self.made.store(true, Relaxed);
        }
    }

    /// A try went to the endpoint with this label.
    pub fn has_taken(&self, endpoint: &Arc<str>) -> bool {
        self.taken.lock().iter().any(|one| Arc::ptr_eq(one, endpoint))
    }

    /// No try has reached an endpoint yet.
    pub fn is_waiting(&self) -> bool {
        self.taken.lock().is_empty()
    }

    /// A try is a breaker's probe.
    pub fn is_probing(&self) -> bool {
        self.probing.load(Relaxed)
    }

    /// The second try reached an endpoint.
    pub fn is_made(&self) -> bool {
        self.made.load(Relaxed)
    }

    /// The second try gave the answer.
    pub fn win(&self) {
        self.won.store(true, Relaxed);
    }

    /// The second try gave the answer.
    pub fn is_won(&self) -> bool {
        self.won.load(Relaxed)
    }

    /// Drops a try that is not needed any more, so that it knows why.
    pub fn outrun<T>(&self, loser: T) {
        self.outrun.store(true, Relaxed);
        drop(loser);
        self.outrun.store(false, Relaxed);
    }

    /// Whoever is dropped now is dropped because the other try was faster.
    pub fn is_outrun(&self) -> bool {
        self.outrun.load(Relaxed)
    }

    /// Notes why there was no second try.
    pub fn deny(&self, why: &'static str) {
        let _ = self.denied.set(why);
    }

    /// Why there was no second try.
    pub fn denied(&self) -> Option<&'static str> {
        self.denied.get().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_dropped_by_the_race_was_outrun() {
        struct Try(Arc<Race>, bool);
        impl Drop for Try {
            fn drop(&mut self) {
                assert_eq!(self.0.is_outrun(), self.1);
            }
        }
        let race = Arc::new(Race::default());

        race.outrun(Try(Arc::clone(&race), true));

        drop(Try(Arc::clone(&race), false));
    }

    #[test]
    fn endpoints_are_told_apart_by_themselves_not_by_their_names() {
        let (race, one, other) = (Race::default(), Arc::<str>::from("a:80"), Arc::<str>::from("a:80"));
        assert!(race.is_waiting());

        race.took(&one, false, false);

        assert!(race.has_taken(&one) && !race.has_taken(&other) && !race.is_waiting());
        assert!(!race.is_made() && !race.is_probing());
    }
}
