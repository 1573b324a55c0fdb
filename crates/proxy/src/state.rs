//! What outlives a configuration, by stable identity: endpoints, budgets, bulkheads, TLS identities, secrets.
//!
//! Thresholds live in the snapshot, counters here, so a reload never resets what was learnt.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};

use config::model;
use middleware::concurrency::{Bulkhead, Hosts, Scope};
use middleware::credentials::Secret;
use middleware::credentials::sigv4::KeyCell;
use middleware::fallback::Store;
use middleware::pacing::Paces;
use middleware::rate_limit::Meters;
use parking_lot::Mutex;
use policy::budget::Budget;
use policy::hedge::Hedges;
use policy::inflight::Inflight;
use tokio::sync::Notify;
use upstream::connect::tls::{self, Pem, TlsError};
use upstream::connect::{Tls, Ways};
use upstream::registry::Registry;

use crate::identities::Identities;
use crate::intercept::{self, Authority};
use crate::listener::tls::{Flaw, Front};

/// The process's memory.
#[derive(Default)]
pub struct State {
    /// The ways out of what is asked in our own name.
    pub ways: Ways,
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
    given: OnceLock<Arc<Authority>>,
    authority: Mutex<Weak<Authority>>,
    secrets: Mutex<HashMap<SecretKey, Secret>>,
    keys: Mutex<HashMap<model::AwsKeys, KeyCell>>,
    /// Rings when a secret that was read has been refused: it may have been replaced since.
    refused: Arc<Notify>,
}

/// A secret as it is presented: the same file as bearer and as header are two.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretKey {
    /// Where it comes from.
    pub source: Source,
    /// How it is presented.
    pub form: SecretForm,
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Its text is somewhere.
    Text(model::Secret),
    /// An issuer.
    OAuth2(Box<model::OAuth2>),
    /// We sign it.
    Jwt(Box<model::Minted>),
}

impl Source {
    /// It takes time to have it, so that nobody can just look.
    const fn is_fetched(&self) -> bool {
        match self {
            Self::Text(secret) => matches!(secret, model::Secret::Exec(_)),
            Self::OAuth2(_) | Self::Jwt(_) => true,
        }
    }
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

    /// From now on this one signs, whatever files there are; the first one stays.
    pub fn give_authority(&self, authority: Arc<Authority>) {
        let _ = self.given.set(authority);
    }

    /// Who signs for tunnels: the one that was given, else that of the files, the same one as long as they hold it.
    ///
    /// # Errors
    /// The file that cannot be used.
    pub fn authority(&self, files: Option<&model::Certificate>) -> Result<Arc<Authority>, Flaw> {
        if let Some(given) = self.given.get() {
            return Ok(Arc::clone(given));
        }
        let read = Authority::load(&files.cloned().unwrap_or_else(intercept::usual))?;
        let mut kept = self.authority.lock();
        if let Some(known) = kept.upgrade().filter(|known| known.identity() == read.identity()) {
            return Ok(known);
        }
        let read = Arc::new(read);
        *kept = Arc::downgrade(&read);
        Ok(read)
    }

    /// The authority of the files, as long as a configuration uses it.
    pub fn read_authority(&self) -> Option<Arc<Authority>> {
        self.authority.lock().upgrade()
    }

    /// The cell of a secret; whoever reads or fetches secrets fills it.
    pub fn secret(&self, key: SecretKey) -> Secret {
        let fetched = key.source.is_fetched();
        let fresh = || if fetched { Secret::fetched() } else { Secret::watched(&self.refused) };
        self.secrets.lock().entry(key).or_insert_with(fresh).clone()
    }

    /// The cell of access keys.
    pub fn key(&self, from: &model::AwsKeys) -> KeyCell {
        self.keys.lock().entry(from.clone()).or_insert_with(KeyCell::fetched).clone()
    }

    /// All of them.
    pub fn keys(&self) -> Vec<(model::AwsKeys, KeyCell)> {
        self.keys.lock().iter().map(|(from, cell)| (from.clone(), cell.clone())).collect()
    }

    /// Until a secret that was read has been refused by an upstream.
    pub async fn refused(&self) {
        self.refused.notified().await;
    }

    /// All cells, to be read again.
    pub fn secrets(&self) -> Vec<(SecretKey, Secret)> {
        self.secrets.lock().iter().map(|(key, secret)| (key.clone(), secret.clone())).collect()
    }

    /// Forgets what no configuration names any more.
    pub fn sweep(&self, secrets: &[SecretKey], keys: &[&model::AwsKeys]) {
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
        self.keys.lock().retain(|from, _| keys.contains(&from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn an_authority_stays_the_same_as_long_as_its_files_do_and_one_that_was_given_needs_none() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().expect("a directory");
        let files = model::Certificate { cert: dir.path().join("ca.crt"), key: dir.path().join("ca.key") };
        let lay = || {
            let made = intercept::generate().expect("made");
            std::fs::write(&files.cert, made.certificate).expect("written");
            std::fs::write(&files.key, made.key).expect("written");
            std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o600)).expect("changed");
        };
        let state = State::default();
        let read = || state.authority(Some(&files));

        assert!(read().is_err());
        lay();
        let first = read().expect("read");
        assert!(Arc::ptr_eq(&first, &read().expect("read")), "what it signed and its tickets stay");
        lay();
        let second = read().expect("read");
        assert!(!Arc::ptr_eq(&first, &second));
        assert!(state.read_authority().is_some_and(|known| Arc::ptr_eq(&known, &second)));

        let given = Arc::new(Authority::ephemeral().expect("made"));
        state.give_authority(Arc::clone(&given));
        assert!(Arc::ptr_eq(&given, &read().expect("given")));
    }

    #[test]
    fn what_is_known_for_hedging_stays_as_long_as_a_configuration_uses_it() {
        let state = State::default();
        let (one, other) = (state.hedges("pool"), state.hedges("other"));
        assert!(!Arc::ptr_eq(&one, &other));
        let weak = Arc::downgrade(&other);
        drop(other);

        state.sweep(&[], &[]);

        assert!(Arc::ptr_eq(&one, &state.hedges("pool")), "a reload finds it again");
        assert!(weak.upgrade().is_none(), "nobody uses it");
    }
}
