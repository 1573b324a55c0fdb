//! One worker's pools, kept across configurations by the identity of their endpoint.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use policy::Tick;
use quick_cache::unsync::Cache;

use crate::endpoint::{Context, Endpoint, Key, State};
use crate::pool::{Limits, Pool};
use crate::registry::Registry;

/// Hosts that no route names, with a pool of their own, per worker.
const MAX_HOSTS: usize = 256;

/// A worker's side of all endpoints.
pub struct Worker {
    context: Arc<Context>,
    registry: Arc<Registry>,
    limits: Limits,
    named: Mutex<HashMap<Key, Weak<Pool>>>,
    /// By host, and by whether the client is on this machine: where only such a client may connect to, another must
    /// not find a connection.
    hosts: Mutex<Cache<(Key, bool), Endpoint>>,
}

impl Worker {
    /// No pools yet.
    pub fn new(context: Arc<Context>, registry: Arc<Registry>, limits: Limits) -> Self {
        Self { context, registry, limits, named: Mutex::default(), hosts: Mutex::new(Cache::new(MAX_HOSTS)) }
    }

    /// What the worker shares.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// The way to an endpoint that a configuration names; its pool lives as long as a stack that uses it.
    pub fn named(&self, key: &Key) -> Endpoint {
        let state = self.registry.named(key);
        let mut named = self.named.lock();
        let pool = named.get(key).and_then(Weak::upgrade).unwrap_or_else(|| {
            let pool = Arc::new(self.pool(key, true, &state));
            named.insert(key.clone(), Arc::downgrade(&pool));
            pool
        });
        Endpoint { state, pool }
    }

    /// The way to a host that no route names; the least recently used ones lose their pool.
    pub fn host(&self, key: Key, client_local: bool) -> Endpoint {
        let mut hosts = self.hosts.lock();
        let key = (key, client_local);
        if let Some(endpoint) = hosts.get(&key) {
            return endpoint.clone();
        }
        let state = self.registry.host(&key.0);
        let pool = Arc::new(self.pool(&key.0, client_local, &state));
        let endpoint = Endpoint { state, pool };
        hosts.insert(key, endpoint.clone());
        endpoint
    }

    /// Closes what was idle too long, and forgets pools that no stack uses. Called about once a second.
    pub fn sweep(&self, now: Tick) {
        self.named.lock().retain(|_, pool| match pool.upgrade() {
            Some(pool) => {
                pool.sweep(now);
                true
            }
            None => false,
        });
        for (_, endpoint) in self.hosts.lock().iter() {
            endpoint.pool.sweep(now);
        }
    }

    /// Forgets all pools: where one may connect to has changed, and a connection that is open was checked by the old
    /// rules. Leased connections finish.
    pub fn forget(&self) {
        self.named.lock().clear();
        self.hosts.lock().clear();
    }

    fn pool(&self, key: &Key, client_local: bool, state: &Arc<State>) -> Pool {
        Pool::new(key, client_local, self.limits, Arc::clone(state), Arc::clone(&self.context))
    }
}
