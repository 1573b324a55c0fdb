//! What the process knows of each endpoint, by identity, across configurations and workers.
//!
//! Endpoints that a configuration names are always registered. Those of hosts that no route names are bounded:
//! one that nobody uses and whose breaker is closed of itself makes room; if there is none, the request runs with a state
//! of its own that is forgotten, and that is counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use policy::breaker;

use crate::endpoint::{Key, State};

/// Hosts that no route names are remembered up to this many.
const MAX_HOSTS: usize = 1024;

/// A key holds a TLS configuration, compared by identity: what is mutable inside does not take part.
type States = HashMap<Key, Arc<State>>;

/// The states; see the module.
#[derive(Default)]
pub struct Registry {
    states: Mutex<States>,
    overflows: AtomicU64,
}

impl Registry {
    /// The state of an endpoint that a configuration names.
    pub fn named(&self, key: &Key) -> Arc<State> {
        let mut states = self.states.lock();
        Arc::clone(states.entry(key.clone()).or_insert_with(|| Arc::new(fresh(key))))
    }

    /// The state of a host that no route names.
    pub fn host(&self, key: &Key) -> Arc<State> {
        let mut states = self.states.lock();
        if let Some(state) = states.get(key) {
            return Arc::clone(state);
        }
        let state = Arc::new(fresh(key));
        if states.len() >= MAX_HOSTS {
            make_room(&mut states);
        }
        if states.len() < MAX_HOSTS {
            states.insert(key.clone(), Arc::clone(&state));
        } else {
            self.overflows.fetch_add(1, Relaxed);
        }
        state
    }

    /// Forgets endpoints that no configuration names any more and nobody uses. Called after a reload.
    pub fn sweep(&self) {
        self.states.lock().retain(|key, state| key.upstream.is_empty() || Arc::strong_count(state) > 1);
    }

    /// Requests that ran without a remembered state.
    pub fn overflows(&self) -> u64 {
        self.overflows.load(Relaxed)
    }

    /// All states, for metrics and the admin API.
    pub fn all(&self) -> Vec<Arc<State>> {
        self.states.lock().values().map(Arc::clone).collect()
    }
}

fn fresh(key: &Key) -> State {
    let upstream = if key.upstream.is_empty() { "_default".into() } else { Arc::clone(&key.upstream) };
    State::new(upstream, format!("{}:{}", key.destination.host, key.destination.port).into())
}

/// Frees an eighth at once, so that a stream of new hosts does not scan the map each time.
#[expect(clippy::mutable_key_type, reason = "the key compares its TLS configuration by identity")]
fn make_room(states: &mut States) {
    let idle = |key: &Key, state: &Arc<State>| {
        let untouched = state.breaker.state() == breaker::State::Closed && state.breaker.forced().is_none();
        key.upstream.is_empty() && Arc::strong_count(state) == 1 && untouched
    };
    let gone: Vec<Key> =
        states.iter().filter(|(key, state)| idle(key, state)).map(|(key, _)| key.clone()).take(MAX_HOSTS / 8).collect();
    for key in gone {
        states.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use exchange::Host;

    use super::*;
    use crate::Protocol;
    use crate::connect::Destination;

    fn key(upstream: &str, index: usize) -> Key {
        let host = Host::parse(&format!("h{index}.test")).expect("host");
        let destination = Destination { host, port: 80, tls: None, parent: None };
        Key { upstream: upstream.into(), destination, protocol: Protocol::Client }
    }

    #[test]
    fn an_endless_stream_of_hosts_keeps_the_map_bounded() {
        let registry = Registry::default();

        for index in 0..5 * MAX_HOSTS {
            registry.host(&key("", index));
        }

        assert!(registry.all().len() <= MAX_HOSTS);
        assert_eq!(registry.overflows(), 0);
    }

    #[test]
    fn hosts_in_use_are_kept_and_the_rest_runs_unremembered() {
        let registry = Registry::default();
        let held: Vec<_> = (0..MAX_HOSTS).map(|index| registry.host(&key("", index))).collect();

        registry.host(&key("", MAX_HOSTS));

        assert_eq!(registry.overflows(), 1);
        assert!(Arc::ptr_eq(&held[0], &registry.host(&key("", 0))));
    }

    #[test]
    fn a_sweep_forgets_named_endpoints_that_nobody_holds() {
        let registry = Registry::default();
        let kept = registry.named(&key("api", 0));
        registry.named(&key("api", 1));

        registry.sweep();

        assert_eq!(registry.all().len(), 1);
        assert!(Arc::ptr_eq(&kept, &registry.named(&key("api", 0))));
    }
}
