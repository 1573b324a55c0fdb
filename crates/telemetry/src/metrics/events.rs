//! What happens rarely enough for a lock of the whole process: transitions, refreshes, reloads, losses.

use std::collections::BTreeMap;
use std::sync::Arc;

use exchange::clock;
use parking_lot::Mutex;
use policy::Tick;

use super::cell::Count;
use super::identities::Identities;
use super::intercepts::Intercepts;
use crate::labels::{self, OTHER};

/// Endpoints with counted transitions: reloads may bring others all the time.
const CAP: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub struct Events {
    transitions: Mutex<Transitions>,
    refreshes: Mutex<BTreeMap<Arc<str>, [u64; 2]>>,
    ends: Mutex<BTreeMap<Arc<str>, u64>>,
    issuers: Mutex<BTreeMap<Arc<str>, Issuer>>,
    reload: Mutex<Option<Reload>>,
    checks: Mutex<Checks>,
    panics: Mutex<Vec<(Arc<str>, bool)>>,
    certificates: Mutex<BTreeMap<String, Certificate>>,
    intercepts: Intercepts,
    identities: Arc<Identities>,
    dropped: Count,
}

/// A TLS file of a listener.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Which: the configuration names it, so the label is bounded.
    pub file: String,
    /// Seconds since 1970, if it has an end.
    pub expires: Option<u64>,
    /// What lies there is in use.
    pub ok: bool,
}

/// Keys of an issuer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Issuer {
    pub(super) ok: u64,
    pub(super) failed: u64,
    /// Unix time in seconds of the last time they were read well.
    pub(super) read: Option<f64>,
}

/// By upstream and endpoint.
type Checks = BTreeMap<(Arc<str>, Arc<str>), Checked>;

/// Active checks of an endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Checked {
    pub(super) well: bool,
    pub(super) good: u64,
    pub(super) bad: u64,
}

/// By upstream and endpoint, to each of the three states.
type Transitions = BTreeMap<(Arc<str>, Arc<str>), [u64; 3]>;

/// The last reload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reload {
    /// It was published.
    pub(super) ok: bool,
    /// The generation that runs.
    pub(super) generation: u64,
    /// Unix time in seconds.
    pub(super) at: f64,
}

impl Events {
    /// A breaker changed to `to`: 0 closed, 1 half-open, 2 open.
    pub fn breaker_changed(&self, upstream: &Arc<str>, endpoint: &Arc<str>, to: u8) {
        let mut transitions = self.transitions.lock();
        let mut key = (upstream.clone(), labels::endpoint(upstream, endpoint).into());
        if transitions.len() >= CAP && !transitions.contains_key(&key) {
            key = (OTHER.into(), OTHER.into());
        }
        transitions.entry(key).or_default()[usize::from(to.min(2))] += 1;
    }

    /// An active check was made; `well` is the verdict after it. Only the configuration names who is checked.
    pub fn health_checked(&self, upstream: &Arc<str>, endpoint: &Arc<str>, good: bool, well: bool) {
        let mut checks = self.checks.lock();
        let checked = checks.entry((upstream.clone(), endpoint.clone())).or_default();
        checked.well = well;
        *if good { &mut checked.good } else { &mut checked.bad } += 1;
    }

    /// Nobody checks it any more.
    pub fn health_forgotten(&self, upstream: &Arc<str>, endpoint: &Arc<str>) {
        self.checks.lock().remove(&(upstream.clone(), endpoint.clone()));
    }

    pub(super) fn each_check(&self, mut each: impl FnMut(&str, &str, Checked)) {
        self.checks.lock().iter().for_each(|((upstream, endpoint), checked)| each(upstream, endpoint, *checked));
    }

    /// Named upstreams, and whether requests go to all of their endpoints since too many are out.
    pub fn panics_are(&self, all: Vec<(Arc<str>, bool)>) {
        *self.panics.lock() = all;
    }

    pub(super) fn each_panic(&self, mut each: impl FnMut(&str, bool)) {
        self.panics.lock().iter().for_each(|(upstream, panic)| each(upstream, *panic));
    }

    /// A route's credential was read or fetched anew, or could not be.
    pub fn credential_refreshed(&self, route: &Arc<str>, ok: bool) {
        self.refreshes.lock().entry(route.clone()).or_default()[usize::from(ok)] += 1;
    }

    /// Until when routes use the credentials they have, in seconds since 1970; of several the first to end counts.
    pub fn credentials_end(&self, all: impl Iterator<Item = (Arc<str>, u64)>) {
        let mut ends = self.ends.lock();
        ends.clear();
        for (route, end) in all {
            let known = ends.entry(route).or_insert(end);
            *known = end.min(*known);
        }
    }

    pub(super) fn each_credential_end(&self, mut each: impl FnMut(&str, u64)) {
        self.ends.lock().iter().for_each(|(route, end)| each(route, *end));
    }

    /// The keys of an issuer, by the name of its identity, were asked for.
    pub fn keys_refreshed(&self, identity: &Arc<str>, ok: bool, now: Tick) {
        let mut issuers = self.issuers.lock();
        let issuer = issuers.entry(identity.clone()).or_default();
        if ok {
            issuer.ok += 1;
            issuer.read = Some(clock::wall(now).as_secs_f64());
        } else {
            issuer.failed += 1;
        }
    }

    pub(super) fn each_issuer(&self, mut each: impl FnMut(&str, Issuer)) {
        self.issuers.lock().iter().for_each(|(identity, issuer)| each(identity, *issuer));
    }

    /// A configuration was published (`Ok` with its generation) or refused (`Err` with the one that goes on).
    pub fn reloaded(&self, generation: Result<u64, u64>, now: Tick) {
        let (Ok(running) | Err(running)) = generation;
        let at = clock::wall(now).as_secs_f64();
        *self.reload.lock() = Some(Reload { ok: generation.is_ok(), generation: running, at });
    }

    /// The TLS files of all listeners; those that are not named any more are forgotten.
    pub fn certificates_are(&self, all: impl Iterator<Item = Certificate>) {
        let mut certificates = self.certificates.lock();
        certificates.clear();
        for one in all {
            let known = certificates.entry(one.file.clone()).or_insert_with(|| one.clone());
            known.ok &= one.ok;
        }
    }

    pub(super) fn each_certificate(&self, mut each: impl FnMut(&Certificate)) {
        self.certificates.lock().values().for_each(&mut each);
    }

    /// Requests by who called, where they are counted.
    pub fn identities(&self) -> &Arc<Identities> {
        &self.identities
    }

    /// Tunnels that were opened, or could not be.
    pub fn intercepts(&self) -> &Intercepts {
        &self.intercepts
    }

    /// Lines of the access log were lost.
    pub fn log_dropped(&self, lines: u64) {
        self.dropped.add(lines);
    }

    pub(super) fn each_transition(&self, mut each: impl FnMut(&str, &str, u8, u64)) {
        for ((upstream, endpoint), counts) in &*self.transitions.lock() {
            for (to, count) in (0..).zip(counts) {
                each(upstream, endpoint, to, *count);
            }
        }
    }

    pub(super) fn each_refresh(&self, mut each: impl FnMut(&str, &str, u64)) {
        for (route, [failed, ok]) in &*self.refreshes.lock() {
            each(route, "error", *failed);
            each(route, "ok", *ok);
        }
    }

    pub(super) fn last_reload(&self) -> Option<Reload> {
        *self.reload.lock()
    }

    /// Lines of the access log that were lost so far.
    pub fn log_lines_dropped(&self) -> u64 {
        self.dropped.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transitions_are_bounded_and_none_is_lost() {
        let events = Events::default();
        let upstream: Arc<str> = Arc::from("api");
        for host in 0..CAP + 50 {
            events.breaker_changed(&upstream, &Arc::from(format!("host{host}:443")), 2);
        }
        events.breaker_changed(&upstream, &Arc::from("host0:443"), 2);

        let (mut series, mut sum, mut first, mut other) = (0, 0, 0, 0);
        events.each_transition(|upstream, endpoint, to, count| {
            series += usize::from(count > 0);
            sum += count;
            first += if endpoint == "host0:443" { count } else { 0 };
            other += if upstream == OTHER { count } else { 0 };
            assert!(to == 2 || count == 0);
        });

        assert_eq!((series, sum, first, other), (CAP + 1, CAP as u64 + 51, 2, 50));
    }

    #[test]
    fn transitions_of_hosts_that_no_route_names_are_one_series() {
        let events = Events::default();
        for host in 0..50 {
            events.breaker_changed(&"_default".into(), &format!("host{host}:443").into(), 2);
        }

        let mut all = Vec::new();
        events.each_transition(|upstream, endpoint, to, count| all.push(format!("{upstream} {endpoint} {to} {count}")));

        assert_eq!(all, ["_default _other 0 0", "_default _other 1 0", "_default _other 2 50"]);
    }

    #[test]
    fn a_refused_reload_keeps_the_generation() {
        let events = Events::default();
        assert!(events.last_reload().is_none());
        let now = clock::now();

        events.reloaded(Ok(3), now);
        events.reloaded(Err(3), now);

        let last = events.last_reload().expect("reloaded");
        assert_eq!((last.ok, last.generation), (false, 3));
        assert!(last.at > 1.7e9, "{}", last.at);
    }
}
