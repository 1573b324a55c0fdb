//! The certificates that listeners show, and that of the authority of `intercept`: looked at once a second, told to
//! the metrics, and missed before they end. The authority's is read anew by a reload only.
//!
//! Read whole by the control thread like secrets, so that every way of replacing a file is seen, a swapped symlink of
//! Kubernetes included.

use std::collections::HashMap;
use std::sync::Arc;

use exchange::clock;
use policy::Tick;
use telemetry::metrics::{Certificate, Events};

use crate::certificates::Client;
use crate::state::State;

/// A certificate that ends sooner is warned of.
const SOON: u64 = 7 * 24 * 60 * 60;

/// Keeps the certificates of all listeners.
pub struct Renewal {
    state: Arc<State>,
    events: Arc<Events>,
    /// By file, the end that was warned of.
    warned: HashMap<String, u64>,
}

impl Renewal {
    /// Of the listeners of `state`.
    pub fn new(state: Arc<State>, events: Arc<Events>) -> Self {
        Self { state, events, warned: HashMap::new() }
    }

    /// Looks at all files of listeners again; `clients` are the certificates that upstreams are shown.
    pub fn run(&mut self, clients: &[Client], now: Tick) {
        let fronts = self.state.fronts();
        fronts.iter().for_each(|front| front.refresh());
        let authority = self.state.read_authority().and_then(|authority| {
            let identity = authority.identity();
            let path = identity.file.as_ref()?.display().to_string();
            Some(Client { file: path, expires: Some(identity.until), ok: true })
        });
        let shown = fronts.iter().flat_map(|front| front.shown());
        let listeners = shown.map(|one| Client { file: one.path, expires: one.expires, ok: one.flaw.is_none() });
        let all: Vec<Client> = listeners.chain(authority).chain(clients.iter().cloned()).collect();
        self.warn(&all, clock::wall(now).as_secs());
        let told = |Client { file, expires, ok }| Certificate { file, expires, ok };
        self.events.certificates_are(all.into_iter().map(told));
    }

    fn warn(&mut self, shown: &[Client], now: u64) {
        for (path, left) in self.ending(shown, now) {
            match left {
                0 => tracing::warn!(file = path, "a certificate of ours has expired; put a new one in its place"),
                left => tracing::warn!(
                    file = path,
                    hours_left = left / 3600,
                    "a certificate of ours expires soon; put a new one in its place"
                ),
            }
        }
    }

    /// Each certificate that ends soon, once, with the seconds that are left.
    fn ending<'a>(&mut self, shown: &'a [Client], now: u64) -> Vec<(&'a str, u64)> {
        self.warned.retain(|path, _| shown.iter().any(|one| one.file == *path));
        let mut ending = Vec::new();
        for Client { file: path, expires, .. } in shown {
            let Some(expires) = *expires else { continue };
            let left = expires.saturating_sub(now);
            if left < SOON && self.warned.insert(path.clone(), expires) != Some(expires) {
                ending.push((path.as_str(), left));
            }
        }
        ending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: &str, expires: u64) -> Client {
        Client { file: path.to_owned(), expires: Some(expires), ok: true }
    }

    #[test]
    fn a_certificate_that_ends_soon_is_warned_of_once() {
        let mut renewal = Renewal::new(Arc::default(), Arc::default());
        let now = 1_000_000_000;

        assert_eq!(renewal.ending(&[shown("a", now + SOON)], now), []);
        assert_eq!(renewal.ending(&[shown("a", now + SOON)], now + 1), [("a", SOON - 1)]);
        assert_eq!(renewal.ending(&[shown("a", now + SOON)], now + 2), []);

        assert_eq!(renewal.ending(&[shown("a", now - 1), shown("b", now + 5)], now), [("a", 0), ("b", 5)]);
        assert_eq!(renewal.ending(&[shown("a", now + 2 * SOON)], now), []);
        assert_eq!(renewal.ending(&[shown("b", now + 5)], now), [("b", 5)]);
    }
}
