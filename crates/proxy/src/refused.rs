//! What was refused, for whoever has to decide whether it should be: by host, port and reason.
//!
//! Bounded, because a client chooses the hosts: of more than 256 the one that was refused least recently goes first, and
//! that is counted. Only a refusal costs anything, one lock and a look at 256 entries at most; a request that is served
//! never gets here. It outlives reloads, and is gone with the process.
//!
//! A line to add is offered where one would lift the refusal; a rule of `allow`, or a name that leads to an address
//! nobody may reach, is for a person to read about in `why`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use exchange::{Authority, Door, Error, ErrorKind, Head, clock};
use parking_lot::Mutex;
use policy::Tick;
use serde::Serialize;

use crate::stack::Site;

const MAX_ENTRIES: usize = 256;
const MAX_WHY: usize = 200;
const PLAIN: u16 = 80;
const TLS: u16 = 443;

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No route leads there, and the default is deny.
    NoRoute,
    /// The egress guard, or `destinations: deny`.
    DestinationBlocked,
    /// This client may not.
    Forbidden,
    /// CONNECT does not go to this port.
    ConnectPorts,
}

/// The table; see the module.
#[derive(Default)]
pub struct Refused(Mutex<Table>);

#[derive(Default)]
struct Table {
    entries: HashMap<Key, Entry>,
    /// Entries that made room.
    forgotten: u64,
}

/// Whose it was, as far as that is known; where to; why.
type Key = (Option<u32>, Authority, Reason);

struct Entry {
    count: u64,
    first: Tick,
    last: Tick,
    why: String,
}

/// One line of it.
#[derive(Debug, Serialize)]
pub struct Line {
    pub host: String,
    pub reason: Reason,
    /// The user whose process it was, if it was on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
    pub count: u64,
    /// Unix time in seconds.
    pub first: u64,
    pub last: u64,
    pub why: String,
    /// What to add to the configuration to let it pass.
    pub add: Option<String>,
}

impl Reason {
    /// The reason of an error that is a refusal; `site` knows the ports of CONNECT.
    pub fn of(error: &Error, head: &Head, site: impl FnOnce() -> Arc<Site>) -> Option<Self> {
        match error.kind {
            ErrorKind::NoRoute if head.door.is_proxy() => Some(Self::NoRoute),
            ErrorKind::DestinationBlocked => Some(Self::DestinationBlocked),
            ErrorKind::Forbidden => {
                let port = head.authority.port_or(TLS);
                let is_open = site().connect_ports().iter().any(|(first, last)| (*first..=*last).contains(&port));
                Some(if head.door == Door::Connect && !is_open { Self::ConnectPorts } else { Self::Forbidden })
            }
            _ => None,
        }
    }
}

impl Refused {
    /// Adds a refusal.
    pub fn note(&self, head: &Head, reason: Reason, error: &Error) {
        let usual = if head.tls || head.door == Door::Connect { TLS } else { PLAIN };
        let target = Authority::new(head.authority.host().clone(), Some(head.authority.port_or(usual)));
        let mut why = error.detail().unwrap_or_else(|| error.kind.text().to_owned());
        while why.len() > MAX_WHY {
            why.pop();
        }
        let user = head.client.peer.as_ref().and_then(|peer| Some(peer.process.as_ref()?.uid));
        self.add((user, target, reason), why, clock::now());
    }

    fn add(&self, key: Key, why: String, now: Tick) {
        let mut table = self.0.lock();
        if let Some(entry) = table.entries.get_mut(&key) {
            (entry.count, entry.last, entry.why) = (entry.count + 1, now, why);
            return;
        }
        if table.entries.len() >= MAX_ENTRIES {
            let oldest = table.entries.iter().min_by_key(|(_, entry)| entry.last).map(|(key, _)| key.clone());
            oldest.map(|key| table.entries.remove(&key));
            table.forgotten += 1;
        }
        table.entries.insert(key, Entry { count: 1, first: now, last: now, why });
    }

    /// What was refused last comes first, and how many there were no room for. `ports` are those of CONNECT now; `to`:
    /// only what was refused to this user.
    pub fn lines(&self, ports: &[(u16, u16)], to: Option<u32>) -> (Vec<Line>, u64) {
        let table = self.0.lock();
        let is_theirs = |((user, ..), _): &(&Key, &Entry)| to.is_none() || *user == to;
        let mut entries: Vec<_> = table.entries.iter().filter(is_theirs).collect();
        entries.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.last));
        let line = |((user, target, reason), entry): (&Key, &Entry)| Line {
            host: target.to_string(),
            reason: *reason,
            user: *user,
            count: entry.count,
            first: clock::wall(entry.first).as_secs(),
            last: clock::wall(entry.last).as_secs(),
            add: remedy(target, *reason, &entry.why, ports),
            why: entry.why.clone(),
        };
        (entries.into_iter().map(line).collect(), table.forgotten)
    }
}

/// The line that would let it pass.
fn remedy(target: &Authority, reason: Reason, why: &str, ports: &[(u16, u16)]) -> Option<String> {
    let port = target.port_or(TLS);
    let host = if matches!(port, PLAIN | TLS) { target.host().to_string() } else { target.to_string() };
    match reason {
        Reason::NoRoute => Some(format!("routes: [{{ match: \"{host}\" }}]")),
        Reason::ConnectPorts => {
            let range = |(first, last): &(u16, u16)| {
                if first == last { first.to_string() } else { format!("\"{first}-{last}\"") }
            };
            let all: Vec<_> = ports.iter().map(range).chain([port.to_string()]).collect();
            Some(format!("destinations: {{ connect_ports: [{}] }}", all.join(", ")))
        }
        // A name in `allow` lifts what the operator wrote and the private ranges; only an address lifts more.
        Reason::DestinationBlocked => {
            let name = target.host().name();
            let by_name = name.is_none() || why.contains("destinations.") || why.contains("clients on this machine");
            let led = why
                .split(" leads to ")
                .nth(1)
                .and_then(|rest| rest.split([',', ' ']).next())
                .map(|text| text.trim_end_matches(':'));
            let listed = match led.and_then(|address| address.parse::<IpAddr>().ok()) {
                Some(address) if !by_name => Some(address.to_string()),
                _ => by_name.then(|| name.map_or_else(|| target.host().to_string(), str::to_owned)),
            };
            listed.map(|listed| format!("destinations: {{ allow: [\"{listed}\"] }}"))
        }
        Reason::Forbidden => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PORTS: &[(u16, u16)] = &[(443, 443), (8000, 8999)];

    fn authority(text: &str) -> Authority {
        Authority::parse(text).expect("an authority")
    }

    #[test]
    fn an_endless_stream_of_hosts_leaves_the_latest_and_says_so() {
        let (refused, start) = (Refused::default(), clock::now());
        let at = |index: u64| start + Duration::from_millis(index);
        let host = |index: u64| authority(&format!("h{index}.test:80"));

        for index in 0..MAX_ENTRIES as u64 {
            refused.add((None, host(index), Reason::NoRoute), String::new(), at(index));
        }
        refused.add((None, host(0), Reason::NoRoute), "again".into(), at(1000));
        assert_eq!(refused.lines(PORTS, None).1, 0, "there was room for all");
        refused.add((None, host(9999), Reason::NoRoute), String::new(), at(1001));

        let (lines, forgotten) = refused.lines(PORTS, None);
        assert_eq!((lines.len(), forgotten), (MAX_ENTRIES, 1));
        assert_eq!((lines[0].host.as_str(), lines[1].host.as_str()), ("h9999.test:80", "h0.test:80"));
        assert_eq!((lines[1].count, lines[1].why.as_str()), (2, "again"));
        assert!(!lines.iter().any(|line| line.host == "h1.test:80"), "refused least recently");
    }

    #[test]
    fn one_host_is_a_line_for_each_reason() {
        let (refused, now) = (Refused::default(), clock::now());

        for reason in [Reason::NoRoute, Reason::Forbidden, Reason::NoRoute] {
            refused.add((None, authority("a.test:443"), reason), String::new(), now);
        }

        let mut counts: Vec<_> = refused.lines(PORTS, None).0.iter().map(|line| line.count).collect();
        counts.sort_unstable();
        assert_eq!(counts, [1, 2]);
    }

    #[test]
    fn what_to_add_is_offered_where_a_line_would_help() {
        let add = |target: &str, reason, why: &str| remedy(&authority(target), reason, why, PORTS).unwrap_or_default();
        let blocked = Reason::DestinationBlocked;

        assert_eq!(add("a.test:443", Reason::NoRoute, ""), "routes: [{ match: \"a.test\" }]");
        assert_eq!(add("a.test:8443", Reason::NoRoute, ""), "routes: [{ match: \"a.test:8443\" }]");
        assert_eq!(
            add("a.test:22", Reason::ConnectPorts, ""),
            "destinations: { connect_ports: [443, \"8000-8999\", 22] }"
        );
        let denied = "a.test is refused by destinations.deny: *.test";
        assert_eq!(add("a.test:443", blocked, denied), "destinations: { allow: [\"a.test\"] }");
        assert_eq!(add("10.0.0.1:80", blocked, "10.0.0.1: x"), "destinations: { allow: [\"10.0.0.1\"] }");
        let led = "a.test leads to 169.254.169.254: link-local and metadata addresses";
        assert_eq!(add("a.test:80", blocked, led), "destinations: { allow: [\"169.254.169.254\"] }");
        assert_eq!(add("a.test:443", Reason::Forbidden, ""), "");
    }

    #[test]
    fn a_user_sees_their_own_and_nobody_elses() {
        let refused = Refused::default();
        for user in [Some(7), Some(8), None] {
            refused.add((user, authority("a.test:443"), Reason::NoRoute), String::new(), clock::now());
        }

        let seen = |to| refused.lines(PORTS, to).0.into_iter().map(|line| line.user).collect::<Vec<_>>();
        assert_eq!(seen(Some(7)), [Some(7)]);
        assert!(seen(Some(9)).is_empty());
        assert_eq!(seen(None).len(), 3);
    }
}
