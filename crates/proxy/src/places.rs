//! What the gauges of limits show: the places of each route in force, looked up at the scrape.
//!
//! The counts live in the bulkheads; how many places there are, for one that does not adapt, only the configuration knows.
//! So the snapshot in force is asked for both, and a request's way has nothing to do with it.

use std::sync::{Arc, Weak};

use telemetry::metrics::{Limit, LimitSource};

use crate::params;
use crate::reload::Reloader;

/// See the module. The metrics belong to the house, which the reloader holds.
pub struct Places(Weak<Reloader>);

impl Places {
    /// Of what is in force.
    pub fn new(reloader: &Arc<Reloader>) -> Self {
        Self(Arc::downgrade(reloader))
    }
}

impl LimitSource for Places {
    fn each(&self, each: &mut dyn FnMut(&str, Limit)) {
        let Some(reloader) = self.0.upgrade() else { return };
        let snapshot = reloader.current();
        for plan in snapshot.routes.iter().chain([&snapshot.default]) {
            let Some((params, scope)) = params::concurrency(plan) else { continue };
            let (inflight, waiting) = scope.sum();
            each(&plan.name, Limit { inflight, waiting, places: scope.places(params) });
        }
    }
}
