//! The keys of one issuer, as they are now, between who reads them and who needs them.
//!
//! The control thread puts sets in; workers look without a lock. A token of a key that is not known asks for the next set
//! early: of all that ask at once one refresh comes, at most one in ten seconds, and whoever cannot get one in its time
//! is refused at once. So made-up names of keys cost the issuer a request in ten seconds and everybody else nothing.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use arc_swap::{ArcSwap, Guard};
use exchange::clock;
use parking_lot::Mutex;
use policy::Tick;
use tokio::sync::{Notify, watch};

use super::{EARLY, Keys};

/// See the module.
pub struct Keyring {
    keys: ArcSwap<Keys>,
    /// That of the keys; zero before any were read.
    generation: AtomicU64,
    /// They come from somewhere that can be asked again.
    asks: bool,
    told: Mutex<Told>,
    /// A set is on its way.
    flying: AtomicBool,
    /// Since when the next early one may be asked for.
    early: AtomicU64,
    asked: AtomicBool,
    wanted: Notify,
    attempts: watch::Sender<u64>,
}

/// For people.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Keys that can be used.
    pub keys: usize,
    /// When they were last read well.
    pub read: Option<Tick>,
    /// What went wrong since.
    pub error: Option<String>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl Keyring {
    /// An empty one; `asks`: somebody listens to [`wanted`](Self::wanted).
    pub fn new(asks: bool) -> Self {
        Self {
            keys: ArcSwap::default(),
            generation: AtomicU64::new(0),
            asks,
            told: Mutex::default(),
            // The first set is on its way from the start.
            flying: AtomicBool::new(asks),
            early: AtomicU64::new(0),
            asked: AtomicBool::new(false),
            wanted: Notify::new(),
            attempts: watch::Sender::new(0),
        }
    }

    pub(super) fn keys(&self) -> Guard<Arc<Keys>> {
        self.keys.load()
    }

    /// Counts the sets that differed.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    /// What is known of it.
    pub fn told(&self) -> Told {
        self.told.lock().clone()
    }

    /// A set is asked for.
    pub fn begin(&self) {
        self.flying.store(true, Relaxed);
        self.asked.store(false, Relaxed);
    }

    /// A set came; whether it differs from the one before. Tokens of keys that are not in it end with this.
    pub fn set(&self, keys: Keys, now: Tick) -> bool {
        let old = self.keys.load();
        let differs = old.generation == 0 || !old.are(&keys);
        *self.told.lock() = Told { keys: keys.len(), read: Some(now), error: None };
        if differs {
            let generation = old.generation + 1;
            self.keys.store(Arc::new(keys.of_generation(generation)));
            self.generation.store(generation, Relaxed);
        }
        self.ended();
        differs
    }

    /// None came; those there are stay in use.
    pub fn failed(&self, error: String) {
        self.told.lock().error = Some(error);
        self.ended();
    }

    /// The keys are too old to be believed.
    pub fn expire(&self) {
        let generation = self.generation() + 1;
        self.keys.store(Arc::new(Keys::default().of_generation(generation)));
        self.generation.store(generation, Relaxed);
        self.told.lock().keys = 0;
    }

    fn ended(&self) {
        self.flying.store(false, Relaxed);
        self.attempts.send_modify(|attempts| *attempts += 1);
    }

    /// Waits until a set is wanted early, and may be asked for. Cancel-safe.
    pub async fn wanted(&self) {
        // A permit may be left of those whose set has come meanwhile.
        while !self.asked.load(Relaxed) {
            self.wanted.notified().await;
        }
        tokio::time::sleep_until(clock::instant(Tick::from_nanos(self.early.load(Relaxed)))).await;
        self.early.store((clock::now() + EARLY).as_nanos(), Relaxed);
    }

    /// Asks for a set, if one can come before `by`.
    pub(super) fn is_asked(&self, by: Tick) -> bool {
        if !self.asks {
            return false;
        }
        if self.flying.load(Relaxed) {
            return true;
        }
        let may = Tick::from_nanos(self.early.load(Relaxed)) < by;
        if may {
            self.asked.store(true, Relaxed);
            self.wanted.notify_one();
        }
        may
    }

    /// Each set that comes or fails from now on.
    pub(super) fn news(&self) -> watch::Receiver<u64> {
        self.attempts.subscribe()
    }

    /// Why a token's key is not known.
    pub(super) fn shown(&self, name: &str) -> Cow<'static, str> {
        let Told { keys, read, error } = self.told();
        match (read, error) {
            (None, Some(_)) => Cow::Owned(format!("the keys of {name} could not be read yet")),
            (None, None) => Cow::Owned(format!("the keys of {name} are not here yet")),
            (Some(_), Some(_)) if keys == 0 => Cow::Owned(format!("the keys of {name} are too old to be believed")),
            (Some(_), Some(_)) => {
                Cow::Owned(format!("no key of {name} fits the token, and new ones could not be read"))
            }
            (Some(_), None) => Cow::Owned(format!("no key of {name} fits the token")),
        }
    }
}
