//! A new configuration, while requests run: load, check and build may fail, publish cannot.

use std::sync::Arc;
use std::time::Duration;

use config::{Diagnostic, Loaded, Severity, Source, SourceName};
use parking_lot::Mutex;
use policy::Tick;
use tokio::sync::watch;

use crate::house::House;
use crate::intercept;
use crate::messages::{self, Messages};
use crate::secrets;
use crate::snapshot::Snapshot;
use crate::wrong::Wrong;

/// Between two looks at the file.
pub const EVERY: Duration = Duration::from_secs(1);

/// What became of the last attempt.
#[derive(Clone, Debug)]
pub struct Last {
    /// When.
    pub at: Tick,
    /// The generation in force, or what was wrong, one line each.
    pub outcome: Result<u64, Vec<String>>,
}

/// Puts new configurations in place.
pub struct Reloader {
    house: Arc<House>,
    source: Option<Source>,
    loaded: Mutex<Arc<Loaded>>,
    messages: Option<Messages>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    last: Mutex<Option<Last>>,
    seen: Mutex<Option<Mark>>,
}

/// Enough of a file to see that it changed, however it was replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark(Vec<u8>);

impl Reloader {
    /// For the configuration at `source`; `None`: nothing to read again.
    pub fn new(
        house: Arc<House>,
        source: Option<Source>,
        loaded: Loaded,
        messages: Option<Messages>,
        snapshots: watch::Sender<Arc<Snapshot>>,
    ) -> Self {
        let loaded = Mutex::new(Arc::new(loaded));
        let reloader =
            Self { house, source, loaded, messages, snapshots, last: Mutex::new(None), seen: Mutex::new(None) };
        *reloader.seen.lock() = reloader.mark();
        reloader
    }

    /// The snapshot in force.
    pub fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// The text in force, and where each value came from.
    pub fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.loaded.lock())
    }

    /// What became of the last attempt, if there was one.
    pub fn last(&self) -> Option<Last> {
        self.last.lock().clone()
    }

    /// Loads, checks, builds and publishes; on any error the old configuration stays. New certificates are in use with
    /// it: whoever asks for a reload has finished writing them.
    ///
    /// # Errors
    /// Everything that is wrong with the new one.
    pub fn reload(&self, now: Tick) -> Result<u64, Vec<Diagnostic>> {
        for front in self.house.state.fronts() {
            // Nothing is in use before it was seen twice.
            front.refresh();
            front.refresh();
        }
        self.house.state.identities.refresh();
        self.house.state.identities.refresh();
        self.attempt(now)
    }

    /// Builds and publishes the configuration in force once more, for what it reads besides. Whether that succeeded; if not,
    /// what is wrong is said and all stays as it is.
    pub fn rebuild(&self, now: Tick) -> bool {
        let old = self.current();
        match self.house.build(old.model.clone(), old.generation + 1, &old.own, &old.pseudonym) {
            Ok(snapshot) => {
                let generation = snapshot.generation;
                self.house.adopt(&snapshot);
                self.snapshots.send_replace(Arc::new(snapshot));
                self.house.metrics.events().reloaded(Ok(generation), now);
                tracing::info!(generation, "certificates towards upstreams read again");
                true
            }
            Err(wrong) => {
                for one in wrong {
                    tracing::warn!("the old certificates stay: {one}");
                }
                false
            }
        }
    }

    fn attempt(&self, now: Tick) -> Result<u64, Vec<Diagnostic>> {
        let outcome = self.replace();
        let said = match &outcome {
            Ok(generation) => {
                tracing::info!(generation, "configuration reloaded");
                self.house.metrics.events().reloaded(Ok(*generation), now);
                Ok(*generation)
            }
            Err(wrong) => {
                for diagnostic in wrong {
                    tracing::error!("reload failed; the old configuration stays: {diagnostic}");
                }
                self.house.metrics.events().reloaded(Err(self.current().generation), now);
                Err(wrong.iter().map(ToString::to_string).collect())
            }
        };
        *self.last.lock() = Some(Last { at: now, outcome: said });
        outcome
    }

    /// Reloads if the file changed and then stayed the same for one look: a half-written file is not read.
    pub fn look(&self, pending: &mut Option<Vec<u8>>, now: Tick) {
        let Some(Mark(text)) = self.mark() else { return };
        if self.seen.lock().as_ref() == Some(&Mark(text.clone())) {
            *pending = None;
        } else if pending.as_ref() == Some(&text) {
            *pending = None;
            *self.seen.lock() = Some(Mark(text));
            // Said in the log and by `status`.
            let _ = self.attempt(now);
        } else {
            *pending = Some(text);
        }
    }

    fn replace(&self) -> Result<u64, Vec<Diagnostic>> {
        let source =
            self.source.as_ref().ok_or_else(|| vec![general("there is no configuration to read again".into())])?;
        // Before reading it: a file that changes meanwhile is read once more rather than never.
        let mark = self.mark();
        let loaded = config::load(source)?;
        let old = self.current();
        let generation = old.generation + 1;
        let built = self.house.build(loaded.model.clone(), generation, &old.own, &old.pseudonym);
        let told = |wrong: Wrong| wrong.diagnostic(&loaded.origins).unwrap_or_else(|| general(wrong.to_string()));
        let snapshot = built.map_err(|wrong| wrong.into_iter().map(told).collect::<Vec<_>>())?;
        for needs in restarts(&old, &snapshot) {
            tracing::warn!("`{needs}` changed: that takes a restart");
        }
        *self.seen.lock() = mark;
        self.house.adopt(&snapshot);
        intercept::announce(snapshot.authority.as_ref(), old.authority.as_ref());
        secrets::fill(&self.house.state);
        self.house.state.identities.refresh();
        messages::follow(self.messages.as_ref(), &snapshot.model.log);
        *self.loaded.lock() = Arc::new(loaded);
        self.snapshots.send_replace(Arc::new(snapshot));
        Ok(generation)
    }

    fn mark(&self) -> Option<Mark> {
        let SourceName::Path(path) = &self.loaded.lock().source else { return None };
        std::fs::read(path).ok().map(Mark)
    }
}

/// What has no place in a text.
pub(crate) fn general(message: String) -> Diagnostic {
    Diagnostic::whole("build", Severity::Error, "configuration", message, "the configuration in force stays")
}

/// Keys whose change a running process cannot follow.
fn restarts(old: &Snapshot, new: &Snapshot) -> Vec<&'static str> {
    let (old, new) = (&old.model, &new.model);
    let addresses = |model: &config::Model| {
        model.listen.iter().map(|one| (one.address.clone(), one.rights.clone())).collect::<Vec<_>>()
    };
    [
        ("listen", addresses(old) != addresses(new)),
        ("admin", (&old.admin, &old.admin_rights) != (&new.admin, &new.admin_rights)),
        ("metrics", old.metrics.address != new.metrics.address),
        ("workers", old.workers != new.workers),
        ("log.format", old.log.json != new.log.json),
        ("log.access", old.log.access != new.log.access),
    ]
    .into_iter()
    .filter_map(|(key, changed)| changed.then_some(key))
    .collect()
}
