//! What has to be compared between the endpoints of a set, once a second on the control thread: outliers, and panic.
//!
//! Not at each failure on the workers: a sum over all endpoints' windows for every failed request would make failing
//! dear exactly when everything fails. It costs up to a second until an outlier is out.

use std::sync::Arc;

use exchange::Random;
use policy::{Tick, outlier};
use telemetry::metrics::Events;
use upstream::endpoint;
use upstream::registry::Registry;
use upstream::set::Standing;

use crate::house::House;
use crate::snapshot::{Group, Snapshot};

/// See the module.
pub struct Watch {
    registry: Arc<Registry>,
    events: Arc<Events>,
    random: Random,
    /// Who was in panic at the last look.
    panicking: Vec<Arc<str>>,
}

impl Watch {
    /// Over the endpoints of a house.
    pub fn new(house: &House) -> Self {
        let (registry, events) = (Arc::clone(&house.state.registry), Arc::clone(house.metrics.events()));
        Self { registry, events, random: house.random(), panicking: Vec::new() }
    }

    /// One look.
    pub fn run(&mut self, snapshot: &Snapshot, now: Tick) {
        let mut panics = Vec::new();
        for group in snapshot.groups.iter().filter(|group| group.endpoints.len() > 1) {
            let states: Vec<_> = group.endpoints.iter().map(|key| self.registry.named(key)).collect();
            self.eject(group, &states, now);
            panics.push((Arc::clone(&group.name), self.panic(group, &states, now)));
        }
        self.panicking = panics.iter().filter(|(_, panic)| *panic).map(|(name, _)| Arc::clone(name)).collect();
        self.events.panics_are(panics);
    }

    fn eject(&self, group: &Group, states: &[Arc<endpoint::State>], now: Tick) {
        let Some((params, breaker)) = &group.outlier else { return };
        let all: Vec<_> = states.iter().map(|state| state.breaker.calls(now)).collect();
        let calls: Vec<_> = all.iter().map(|one| one.map(|(_, calls)| calls)).collect();
        let Some(index) = outlier::worst(&calls, params) else { return };
        let (state, Some((generation, own))) = (&states[index], all[index]) else { return };
        let ejected = self.random.with(|rng| state.breaker.eject(generation, breaker, now, rng));
        if let Some(transition) = ejected {
            let (upstream, endpoint) = (&*state.upstream, &*state.label);
            tracing::info!(upstream, endpoint, failed = own.failed, calls = own.total, "outlier: left out");
            self.events.breaker_changed(&state.upstream, &state.label, transition.to as u8);
        }
    }

    /// Whether it is in panic; says so when that changes.
    fn panic(&self, group: &Group, states: &[Arc<endpoint::State>], now: Tick) -> bool {
        let standings: Vec<_> = states.iter().map(|state| Standing::of(state, true, now)).collect();
        let panic = group.rules.level(&standings).1;
        let out = standings.iter().filter(|one| **one != Standing::Serving).count();
        match (self.panicking.contains(&group.name), panic) {
            (false, true) => {
                tracing::warn!(
                    upstream = &*group.name,
                    out,
                    of = standings.len(),
                    "panic: requests go to all endpoints"
                );
            }
            (true, false) => tracing::info!(upstream = &*group.name, "no panic any more"),
            _ => {}
        }
        panic
    }
}
