//! Whom a rule means: what must be known of a caller, and be so.
//!
//! One matcher for every place that names callers: who may use a route, whose rate it is, whose credential goes out. All
//! that is given must hold, and what is not known never does: a caller whose process could not be found is nobody's
//! `user`, not even by a rule that leaves everything else open. A matcher that asks for nothing holds for nobody.
//!
//! Patterns are few on purpose. Of a SPIFFE id or a control group a last `/*` is all below, of an id `*` elsewhere is
//! exactly one segment, and of a host name a first `*` is one label. Segments that are empty, `.` or `..` match nothing.
//!
//! Cost: comparisons of text in place, without an allocation.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Peer, Principal};
use crate::{Client, Exchange};

/// A user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    /// By name.
    Name(Arc<str>),
    /// By number.
    Uid(u32),
}

/// What must hold of a caller; see the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Who {
    /// Whoever it is.
    pub anyone: bool,
    /// Whoever it is, on this machine.
    pub anyone_local: bool,
    /// Whoever showed a token, a key or a password that was accepted.
    pub authenticated: bool,
    /// The user its process runs as.
    pub user: Option<User>,
    /// Its systemd unit.
    pub unit: Option<Arc<str>>,
    /// Its control group, or with a last `/*` one below.
    pub cgroup: Option<Arc<str>>,
    /// Its container's identifier, or at least the first twelve digits of it.
    pub container: Option<Arc<str>>,
    /// The SPIFFE id in its certificate.
    pub spiffe: Option<Arc<str>>,
    /// A host name in its certificate.
    pub dns: Option<Arc<str>>,
    /// What accepted it, by its name in the configuration.
    pub identity: Option<Arc<str>>,
    /// The subject, key or user it showed; `*` for any.
    pub name: Option<Arc<str>>,
    /// What its token must say: a path such as `org.id`, and the values of which it must have one.
    pub claims: Vec<(Arc<str>, Vec<Arc<str>>)>,
}

/// What is known of a caller.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// It is on this machine.
    pub local: bool,
    /// What its connection proves.
    pub peer: Option<&'a Peer>,
    /// What the request, or the tunnel it is in, showed.
    pub principal: Option<&'a Principal>,
}

impl<'a> Caller<'a> {
    /// Whoever sent this request.
    pub fn of(exchange: &'a Exchange) -> Self {
        Self { principal: exchange.principal().map(|principal| &**principal), ..Self::at(&exchange.head.client) }
    }

    /// Whoever is at the other end, before it asked for anything.
    pub fn at(client: &'a Client) -> Self {
        let peer = client.peer.as_deref();
        Self { local: client.local, peer, principal: peer.and_then(|peer| peer.principal.as_deref()) }
    }
}

impl Who {
    /// Whether all of it holds.
    pub fn holds(&self, caller: &Caller<'_>) -> bool {
        self.unmet(caller).is_none()
    }

    /// The first part that does not hold, by its key in the configuration.
    pub fn unmet(&self, caller: &Caller<'_>) -> Option<&'static str> {
        let mut parts = self.parts(caller).peekable();
        if parts.peek().is_none() {
            return Some("who");
        }
        parts.find(|(_, holds)| !holds).map(|(key, _)| key)
    }

    /// Whether the connection alone decides it, so that it is the same for all of its requests.
    pub fn is_of_connection(&self) -> bool {
        !self.authenticated && self.identity.is_none() && self.name.is_none() && self.claims.is_empty()
    }

    /// Whether it asks for more of a process than the kernel says of a socket.
    pub const fn asks_for_process(&self) -> bool {
        self.unit.is_some() || self.cgroup.is_some() || self.container.is_some()
    }

    /// What is asked for, and whether it is so.
    fn parts(&self, caller: &Caller<'_>) -> impl Iterator<Item = (&'static str, bool)> {
        let process = caller.peer.and_then(|peer| peer.process.as_ref());
        let certificate = caller.peer.and_then(|peer| peer.certificate.as_ref());
        let principal = caller.principal;
        let asked = |key, wanted: &Option<Arc<str>>, holds: &dyn Fn(&str) -> bool| {
            wanted.as_ref().map(|wanted| (key, holds(wanted)))
        };
        let is = |known: Option<&Arc<str>>, wanted: &str| known.is_some_and(|known| **known == *wanted);
        [
            self.anyone.then_some(("anyone", true)),
            self.anyone_local.then_some(("anyone_local", caller.local)),
            self.user.as_ref().map(|wanted| {
                let holds = match wanted {
                    User::Name(name) => is(process.and_then(|process| process.user.as_ref()), name),
                    User::Uid(uid) => process.is_some_and(|process| process.uid == *uid),
                };
                ("user", holds)
            }),
            asked("unit", &self.unit, &|wanted| is(process.and_then(|process| process.unit.as_ref()), wanted)),
            asked("cgroup", &self.cgroup, &|wanted| {
                process.and_then(|process| process.cgroup.as_ref()).is_some_and(|path| path_fits(wanted, path))
            }),
            asked("container", &self.container, &|wanted| {
                process.and_then(|process| process.container.as_ref()).is_some_and(|id| container_fits(wanted, id))
            }),
            asked("spiffe", &self.spiffe, &|wanted| {
                certificate.and_then(|certificate| certificate.spiffe()).is_some_and(|id| path_fits(wanted, id))
            }),
            asked("dns", &self.dns, &|wanted| {
                certificate.is_some_and(|certificate| certificate.dns.iter().any(|name| name_fits(wanted, name)))
            }),
            self.authenticated.then_some(("authenticated", principal.is_some())),
            asked("identity", &self.identity, &|wanted| is(principal.map(|principal| &principal.by), wanted)),
            asked("name", &self.name, &|wanted| {
                principal.is_some_and(|shown| !shown.name.is_empty() && (wanted == "*" || *shown.name == *wanted))
            }),
            (!self.claims.is_empty()).then(|| {
                let says = |(path, values): &(Arc<str>, Vec<Arc<str>>)| {
                    principal.is_some_and(|principal| claim_fits(&principal.claims, path, values))
                };
                ("claims", self.claims.iter().all(says))
            }),
        ]
        .into_iter()
        .flatten()
    }
}

/// Segment by segment: a last `*` is one or more, any other exactly one.
fn path_fits(pattern: &str, path: &str) -> bool {
    if !pattern.contains('*') {
        return pattern == path;
    }
    let (mut wanted, mut there) = (pattern.split('/').peekable(), path.split('/'));
    let is_name = |segment: &str| !matches!(segment, "" | "." | "..");
    while let Some(segment) = wanted.next() {
        let Some(next) = there.next() else { return false };
        match segment {
            "*" if !is_name(next) => return false,
            "*" if wanted.peek().is_none() => return there.all(is_name),
            "*" => {}
            _ if segment != next => return false,
            _ => {}
        }
    }
    there.next().is_none()
}

/// A first `*` is one label, as in certificates (RFC 9525 section 6.3).
fn name_fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("*.") {
        None => pattern.eq_ignore_ascii_case(name),
        Some(rest) => name
            .split_once('.')
            .is_some_and(|(label, parent)| !label.is_empty() && label != "*" && parent.eq_ignore_ascii_case(rest)),
    }
}

fn container_fits(wanted: &str, id: &str) -> bool {
    const SHORT: usize = 12;
    wanted.len() >= SHORT && id.starts_with(wanted)
}

fn claim_fits(claims: &Map<String, Value>, path: &str, wanted: &[Arc<str>]) -> bool {
    let Some(found) = claim(claims, path) else { return false };
    // RFC 8693 section 4.2: words with spaces between.
    let words = matches!(path, "scope" | "scp");
    match found {
        Value::Array(items) => items.iter().any(|item| wanted.iter().any(|wanted| says(item, wanted))),
        Value::String(text) if words => text.split(' ').any(|word| wanted.iter().any(|wanted| word == &**wanted)),
        one => wanted.iter().any(|wanted| says(one, wanted)),
    }
}

/// The claim of this name, or the one that the path leads to; names with dots in them are names first.
fn claim<'c>(claims: &'c Map<String, Value>, path: &str) -> Option<&'c Value> {
    if let Some(found) = claims.get(path) {
        return Some(found);
    }
    let mut splits = path.match_indices('.').map(|(dot, _)| (&path[..dot], &path[dot + 1..]));
    splits.find_map(|(first, rest)| claim(claims.get(first)?.as_object()?, rest))
}

/// A scalar, by its text.
fn says(value: &Value, wanted: &str) -> bool {
    match value {
        Value::String(text) => text == wanted,
        Value::Bool(flag) => wanted == if *flag { "true" } else { "false" },
        Value::Number(number) => wanted.parse::<i128>().is_ok_and(|wanted| {
            number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from)) == Some(wanted)
        }),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

#[cfg(test)]
mod tests;
