//! Which active health checks run: those of the configuration in force, each endpoint once a question.
//!
//! They run on the control thread, so a worker that is busy does not make endpoints look ill. A reload leaves those that
//! stay as they are, verdict included; the verdict of one that nobody checks any more is forgotten.

use std::sync::Arc;

use tokio::task::JoinHandle;
use upstream::endpoint::{Key, State};
use upstream::health::{Check, Tools, watch};

use crate::house::House;
use crate::snapshot::Snapshot;

/// See the module.
pub struct Checks {
    house: Arc<House>,
    tools: Tools,
    generation: u64,
    running: Vec<Running>,
}

struct Running {
    key: Key,
    check: Check,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Checks {
    /// None yet.
    pub fn new(house: &Arc<House>) -> Self {
        Self { house: Arc::clone(house), tools: house.tools(), generation: 0, running: Vec::new() }
    }

    /// Makes those of `snapshot` run; cheap when it is the same as before.
    pub fn follow(&mut self, snapshot: &Snapshot) {
        if snapshot.generation == self.generation {
            return;
        }
        self.generation = snapshot.generation;
        let mut wanted: Vec<(&Key, &Check)> = Vec::new();
        for group in &snapshot.groups {
            let Some(check) = &group.check else { continue };
            for key in &group.endpoints {
                if !wanted.iter().any(|(known, _)| *known == key) {
                    wanted.push((key, check));
                }
            }
        }
        let stays = |one: &Running| wanted.iter().any(|(key, check)| **key == one.key && **check == one.check);
        let (stay, gone): (Vec<_>, Vec<_>) = self.running.drain(..).partition(stays);
        for one in gone.iter().filter(|one| !wanted.iter().any(|(key, _)| **key == one.key)) {
            one.state.health.forget();
            self.tools.events.health_forgotten(&one.state.upstream, &one.state.label);
        }
        self.running = stay;
        drop(gone);
        for (key, check) in wanted {
            if !self.running.iter().any(|one| one.key == *key) {
                self.running.push(self.start(key, check));
            }
        }
    }

    fn start(&self, key: &Key, check: &Check) -> Running {
        let state = self.house.state.registry.named(key);
        let task = tokio::spawn(watch(key.clone(), Arc::clone(&state), check.clone(), self.tools.clone()));
        Running { key: key.clone(), check: check.clone(), state, task }
    }
}
