//! Places by host, for routes that send requests where they ask to go.
//!
//! Bounded: when it is full, hosts that nobody is at make room; if there is none, a request runs unlimited, which
//! is what the endpoint's own ceiling is for.

use std::collections::HashMap;
use std::sync::Arc;

use exchange::{Head, Host};
use parking_lot::Mutex;

use super::Bulkhead;

/// Hosts with places of their own.
const MAX_HOSTS: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub struct Hosts(Mutex<HashMap<(Host, u16), Arc<Bulkhead>>>);

impl Hosts {
    /// Those of a request's own target.
    pub(super) fn of(&self, head: &Head) -> Option<Arc<Bulkhead>> {
        let port = head.authority.port_or(if head.tls { 443 } else { 80 });
        let key = (head.authority.host().clone(), port);
        let mut hosts = self.0.lock();
        if let Some(known) = hosts.get(&key) {
            return Some(Arc::clone(known));
        }
        if hosts.len() >= MAX_HOSTS {
            // Who is there or waits holds a share.
            hosts.retain(|_, bulkhead| Arc::strong_count(bulkhead) > 1);
        }
        if hosts.len() >= MAX_HOSTS {
            return None;
        }
        Some(Arc::clone(hosts.entry(key).or_default()))
    }

    /// Requests in flight, and waiting.
    pub fn sum(&self) -> (u32, usize) {
        let hosts = self.0.lock();
        hosts.values().fold((0, 0), |(inflight, waiting), one| (inflight + one.inflight(), waiting + one.waiting()))
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::super::bulkhead::{Entry, Limit};
    use super::*;
    use crate::testing;

    fn at(index: usize) -> Head {
        testing::head(&Method::GET, &format!("http://h{index}.test/"))
    }

    #[test]
    fn an_endless_stream_of_hosts_keeps_the_map_bounded_and_those_in_use_in_it() {
        let hosts = Hosts::default();
        let busy = hosts.of(&at(0)).expect("room");
        let Entry::Now(_place) = busy.enter(Limit { most: 1, adaptive: false }, 0) else {
            unreachable!("nobody is there")
        };
        drop(busy);

        for index in 1..3 * MAX_HOSTS {
            assert!(hosts.of(&at(index)).is_some());
        }

        assert!(hosts.0.lock().len() <= MAX_HOSTS);
        assert_eq!(hosts.of(&at(0)).expect("known").inflight(), 1);
    }

    #[test]
    fn full_of_busy_hosts_the_next_one_has_no_places_to_take() {
        let hosts = Hosts::default();
        let held: Vec<_> = (0..MAX_HOSTS).map(|index| hosts.of(&at(index)).expect("room")).collect();

        assert!(hosts.of(&at(MAX_HOSTS)).is_none());
        assert!(Arc::ptr_eq(&held[7], &hosts.of(&at(7)).expect("known")));
    }

    #[test]
    fn the_port_belongs_to_the_host() {
        let hosts = Hosts::default();
        let of = |uri: &str| hosts.of(&testing::head(&Method::GET, uri)).expect("room");

        assert!(Arc::ptr_eq(&of("http://a.test/"), &of("http://a.test:80/x")));
        assert!(!Arc::ptr_eq(&of("http://a.test/"), &of("http://a.test:81/")));
    }
}
