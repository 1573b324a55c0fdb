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

use crate::listener::tls::Shown;
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

    /// Looks at all files again.
    pub fn run(&mut self, now: Tick) {
        let fronts = self.state.fronts();
        fronts.iter().for_each(|front| front.refresh());
        let authority = self.state.read_authority().and_then(|authority| {
            let identity = authority.identity();
            let path = identity.file.as_ref()?.display().to_string();
            Some(Shown { path, names: Vec::new(), expires: Some(identity.until), flaw: None })
        });
        let shown: Vec<Shown> = fronts.iter().flat_map(|front| front.shown()).chain(authority).collect();
        self.warn(&shown, clock::wall(now).as_secs());
        self.events.certificates_are(shown.into_iter().map(|one| Certificate {
            file: one.path,
            expires: one.expires,
            ok: one.flaw.is_none(),
        }));
    }

    fn warn(&mut self, shown: &[Shown], now: u64) {
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
    fn ending<'a>(&mut self, shown: &'a [Shown], now: u64) -> Vec<(&'a str, u64)> {
        self.warned.retain(|path, _| shown.iter().any(|one| one.path == *path));
        let mut ending = Vec::new();
        for Shown { path, expires, .. } in shown {
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

    fn shown(path: &str, expires: u64) -> Shown {
        Shown { path: path.to_owned(), names: Vec::new(), expires: Some(expires), flaw: None }
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
