//! One worker's share of the numbers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::cell::{Count, DURATIONS, Histogram};
use super::connections::{Connection, Direction, Open, Proto, Rejection, Side, Tunnel};
use super::events::Events;
use super::route::RouteStats;

/// See the module.
#[derive(Debug)]
#[repr(align(64))]
pub struct Shard {
    events: Arc<Events>,
    /// Grows with the names that configurations ever used; a series that vanished would look like a reset.
    pub(super) routes: Mutex<BTreeMap<Arc<str>, Arc<RouteStats>>>,
    pub(super) open: Open,
    pub(super) tunnel_bytes: [Count; Direction::ALL.len()],
    pub(super) dns: Histogram,
    pub(super) connect: Histogram,
    pub(super) handshake: Histogram,
    pub(super) rejected: [Count; Rejection::ALL.len()],
}

impl Shard {
    pub(super) fn new(events: Arc<Events>) -> Self {
        Self {
            events,
            routes: Mutex::default(),
            open: Open::default(),
            tunnel_bytes: Default::default(),
            dns: Histogram::new(&DURATIONS),
            connect: Histogram::new(&DURATIONS),
            handshake: Histogram::new(&DURATIONS),
            rejected: Default::default(),
        }
    }

    /// The numbers of the route with this name, the same ones after a reload. Asked for when a stack is built.
    pub fn route(&self, name: &Arc<str>) -> Arc<RouteStats> {
        let mut routes = self.routes.lock();
        let fresh = || Arc::new(RouteStats::new(name.clone(), self.events.identities().clone()));
        routes.entry(name.clone()).or_insert_with(fresh).clone()
    }

    /// Counts an open connection until the guard is dropped.
    pub fn connection(self: &Arc<Self>, side: Side, proto: Proto) -> Connection {
        Connection::new(self.clone(), side, proto)
    }

    /// Counts a running tunnel until the guard is dropped.
    pub fn tunnel(self: &Arc<Self>) -> Tunnel {
        Tunnel::new(self.clone())
    }

    /// A name was looked up, with whatever result.
    pub fn resolved(&self, took: Duration) {
        self.dns.record(took);
    }

    /// A TCP connection was made.
    pub fn connected(&self, took: Duration) {
        self.connect.record(took);
    }

    /// A TLS handshake with an upstream was made.
    pub fn handshaken(&self, took: Duration) {
        self.handshake.record(took);
    }

    /// A client's connection ended before it had a request of ours.
    pub fn connection_rejected(&self, why: Rejection) {
        self.rejected[why as usize].add(1);
    }

    /// What happens rarely.
    pub fn events(&self) -> &Arc<Events> {
        &self.events
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metrics;

    #[test]
    fn a_name_has_one_set_of_numbers_in_a_shard_and_its_own_in_another() {
        let metrics = Metrics::new("test");
        let (one, two) = (metrics.shard(), metrics.shard());
        let name: Arc<str> = Arc::from("api");

        let stats = one.route(&name);

        assert!(Arc::ptr_eq(&stats, &one.route(&Arc::from("api"))));
        assert!(!Arc::ptr_eq(&stats, &two.route(&name)));
        assert!(!Arc::ptr_eq(&stats, &one.route(&Arc::from("other"))));
    }
}
