//! What outlives a configuration, by stable identity: endpoints, budgets, bulkheads, TLS identities, secrets.
//!
//! Thresholds live in the snapshot, counters here, so a reload never resets what was learnt.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use config::model;
use middleware::concurrency::{Bulkhead, Hosts, Scope};
use middleware::credentials::Secret;
use middleware::fallback::Store;
use middleware::pacing::Paces;
use middleware::rate_limit::Meters;
use parking_lot::Mutex;
use policy::budget::Budget;
use policy::hedge::Hedges;
use policy::inflight::Inflight;
use upstream::connect::Tls;
use upstream::connect::tls::{self, Pem, TlsError};
use upstream::registry::Registry;

use crate::identities::Identities;
use crate::listener::tls::{Flaw, Front};

/// The process's memory.
#[derive(Default)]
pub struct State {
    /// Endpoints.
    pub registry: Arc<Registry>,
    budgets: Mutex<HashMap<String, Arc<Budget>>>,
    hedges: Mutex<HashMap<String, Arc<Hedges>>>,
    bulkheads: Mutex<HashMap<String, Arc<Bulkhead>>>,
    paces: Mutex<HashMap<String, Arc<Paces>>>,
    meters: Mutex<HashMap<String, Arc<Meters>>>,
    bulkheads_by_host: Mutex<HashMap<String, Arc<Hosts>>>,
    stale: Mutex<HashMap<String, Arc<Store>>>,
    mirrors: Mutex<HashMap<String, Arc<Inflight>>>,
    /// What callers are held against.
    pub identities: Identities,
    tls: tls::Store,
    fronts: Mutex<Vec<Weak<Front>>>,
    secrets: Mutex<HashMap<SecretKey, Secret>>,
}

/// A secret as it is presented: the same file as bearer and as header are two.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretKey {
    /// Where it is read from.
    pub source: model::Secret,
    /// How it is presented.
    pub form: SecretForm,
}

/// How a secret becomes a header value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecretForm {
    /// `Bearer ...`
    Bearer,
    /// `Basic ...` with this user.
    Basic { user: String },
    /// This prefix, then the secret.
    Header { prefix: String },
}

impl State {
    /// The budget of an upstream.
    pub fn budget(&self, upstream: &str) -> Arc<Budget> {
        let mut budgets = self.budgets.lock();
        Arc::clone(budgets.entry(upstream.to_owned()).or_insert_with(|| Arc::new(Budget::new())))
    }

    /// What is known for hedging to an upstream.
    pub fn hedges(&self, upstream: &str) -> Arc<Hedges> {
        Arc::clone(self.hedges.lock().entry(upstream.to_owned()).or_default())
    }

    /// The places of a route: of one destination, or of each host.
    pub fn places(&self, route: &str, by_host: bool) -> Scope {
        match by_host {
            true => Scope::Hosts(Arc::clone(self.bulkheads_by_host.lock().entry(route.to_owned()).or_default())),
            false => Scope::One(Arc::clone(self.bulkheads.lock().entry(route.to_owned()).or_default())),
        }
    }

    /// What counts a route's requests in time.
    pub fn meters(&self, route: &str) -> Arc<Meters> {
        Arc::clone(self.meters.lock().entry(route.to_owned()).or_default())
    }

    /// The places of a route's copies.
    pub fn mirrors(&self, route: &str) -> Arc<Inflight> {
        Arc::clone(self.mirrors.lock().entry(route.to_owned()).or_default())
    }

    /// What was kept of a route's answers; `identity` is all that says whose answers they are.
    pub fn stale(&self, identity: String) -> Arc<Store> {
        Arc::clone(self.stale.lock().entry(identity).or_default())
    }

    /// What a route's upstreams announced.
    pub fn paces(&self, route: &str) -> Arc<Paces> {
        Arc::clone(self.paces.lock().entry(route.to_owned()).or_default())
    }

    /// A TLS identity, the same one for equal parameters and files, so that sessions are resumed.
    ///
    /// # Errors
    /// Names the file and what to do.
    pub fn tls(&self, from: &model::Tls) -> Result<Tls, TlsError> {
        self.tls.tls(&tls::Params {
            ca: from.ca.clone().map(Pem::File),
            identity: from.cert.clone().zip(from.key.clone()).map(|(cert, key)| (Pem::File(cert), Pem::File(key))),
            sni: from.sni.clone(),
            min: match from.min {
                model::TlsVersion::V12 => tls::Version::V12,
                model::TlsVersion::V13 => tls::Version::V13,
            },
        })
    }

    /// How a listener with these settings speaks TLS, the same one as long as any configuration in use has them.
    ///
    /// # Errors
    /// The files that cannot be used.
    pub fn front(&self, settings: &model::ListenerTls) -> Result<Arc<Front>, Vec<(usize, Flaw)>> {
        if let Some(known) = self.fronts().into_iter().find(|front| front.settings() == settings) {
            return Ok(known);
        }
        let front = Arc::new(Front::new(settings.clone())?);
        let mut fronts = self.fronts.lock();
        fronts.retain(|front| front.strong_count() > 0);
        fronts.push(Arc::downgrade(&front));
        Ok(front)
    }

    /// How listeners speak TLS, each once.
    pub fn fronts(&self) -> Vec<Arc<Front>> {
        self.fronts.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// The cell of a secret; `load` fills it.
    pub fn secret(&self, key: SecretKey) -> Secret {
        self.secrets.lock().entry(key).or_default().clone()
    }

    /// All cells, to be read again.
    pub fn secrets(&self) -> Vec<(SecretKey, Secret)> {
        self.secrets.lock().iter().map(|(key, secret)| (key.clone(), secret.clone())).collect()
    }

    /// Forgets what no configuration names any more.
    pub fn sweep(&self, secrets: &[SecretKey]) {
        self.registry.sweep();
        self.budgets.lock().retain(|_, budget| Arc::strong_count(budget) > 1);
        self.hedges.lock().retain(|_, hedges| Arc::strong_count(hedges) > 1);
        self.bulkheads.lock().retain(|_, bulkhead| Arc::strong_count(bulkhead) > 1);
        self.bulkheads_by_host.lock().retain(|_, hosts| Arc::strong_count(hosts) > 1);
        self.paces.lock().retain(|_, paces| Arc::strong_count(paces) > 1);
        self.meters.lock().retain(|_, meters| Arc::strong_count(meters) > 1);
        self.mirrors.lock().retain(|_, places| Arc::strong_count(places) > 1);
        self.stale.lock().retain(|_, store| Arc::strong_count(store) > 1);
        self.secrets.lock().retain(|key, _| secrets.contains(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_for_hedging_stays_as_long_as_a_configuration_uses_it() {
        let state = State::default();
        let (one, other) = (state.hedges("pool"), state.hedges("other"));
        assert!(!Arc::ptr_eq(&one, &other));
        let weak = Arc::downgrade(&other);
        drop(other);

        state.sweep(&[]);

        assert!(Arc::ptr_eq(&one, &state.hedges("pool")), "a reload finds it again");
        assert!(weak.upgrade().is_none(), "nobody uses it");
    }
}
