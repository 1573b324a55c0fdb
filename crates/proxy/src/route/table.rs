//! All routes, indexed by host.
//!
//! For every host that occurs, the routes that could apply to it are listed in order at build time, wildcard and
//! host-less ones included, so a look-up is one hash and a walk of a short list.

use std::collections::HashMap;

use config::model::{Action, HostMatch, Route};
use exchange::identity::Caller;
use exchange::{Authority, Head, Host};
use http::HeaderMap;

use super::matcher::Matcher;

type Map<V> = HashMap<Box<str>, V, foldhash::fast::RandomState>;

/// The compiled routes.
pub struct Table {
    routes: Vec<Matcher>,
    names: Map<usize>,
    /// The host of a route that names exactly one, for `/r/<name>/`.
    hosts: Vec<Option<Authority>>,
    /// Routes that lead somewhere, rather than answer.
    lead: Vec<bool>,
    /// What each says of tunnels to its hosts.
    intercept: Vec<Option<bool>>,
    exact: Map<Vec<usize>>,
    suffix: Map<Vec<usize>>,
    any: Vec<usize>,
}

impl Table {
    /// Compiles; the error is a route's index and what is wrong with it.
    pub fn new(routes: &[Route]) -> Result<Self, (usize, String)> {
        let mut table = Self {
            routes: Vec::new(),
            names: Map::default(),
            hosts: Vec::new(),
            lead: Vec::new(),
            intercept: Vec::new(),
            exact: Map::default(),
            suffix: Map::default(),
            any: Vec::new(),
        };
        for (index, route) in routes.iter().enumerate() {
            let host = &route.matcher.host;
            let port = match host {
                HostMatch::Any => None,
                HostMatch::Exact { port, .. } | HostMatch::Suffix { port, .. } => *port,
            };
            table.routes.push(Matcher::new(&route.matcher, port).map_err(|error| (index, error))?);
            table.lead.push(!matches!(route.action, Action::Redirect { .. } | Action::Respond { .. }));
            table.intercept.push(route.policy.intercept);
            table.names.insert(route.name.as_str().into(), index);
            table.hosts.push(match host {
                HostMatch::Exact { host, port } => {
                    let host = parse(host).map_err(|error| (index, error))?;
                    Some(Authority::new(host, *port))
                }
                _ => None,
            });
            match host {
                HostMatch::Any => table.any.push(index),
                HostMatch::Exact { host, .. } => table.exact.entry(host.as_str().into()).or_default().push(index),
                HostMatch::Suffix { suffix, .. } => table.suffix.entry(suffix.as_str().into()).or_default().push(index),
            }
        }
        table.spread();
        Ok(table)
    }

    /// Adds the wider routes to the lists of the narrower ones, in order.
    fn spread(&mut self) {
        let narrow = self.suffix.clone();
        for (suffix, list) in &mut self.suffix {
            for parent in parents(suffix) {
                list.extend(narrow.get(parent).into_iter().flatten());
            }
            list.extend(&self.any);
            list.sort_unstable();
            list.dedup();
        }
        for (host, list) in &mut self.exact {
            for parent in parents(host) {
                list.extend(narrow.get(parent).into_iter().flatten());
            }
            list.extend(&self.any);
            list.sort_unstable();
            list.dedup();
        }
    }

    /// The first route that matches.
    pub fn find(&self, head: &Head, headers: &HeaderMap) -> Option<usize> {
        let list = self.of(head.authority.host());
        list.iter().copied().find(|index| self.routes[*index].holds(head, headers, false))
    }

    /// A host that some route names, whatever else it asks.
    pub fn names_host(&self, host: &Host) -> bool {
        match host {
            Host::Name(name) => !std::ptr::eq(self.by_name(name), &self.any),
            Host::Ip(ip) => self.exact.contains_key(ip.to_string().as_str()),
        }
    }

    /// A destination that some route names and leads to: what `default: deny` lets a tunnel through to.
    pub fn leads_to(&self, authority: &Authority) -> bool {
        self.of(authority.host()).iter().any(|index| {
            self.lead[*index]
                && !self.any.contains(index)
                && self.routes[*index].port().is_none_or(|wanted| authority.port() == Some(wanted))
        })
    }

    /// The first route of a host and port, for this caller, that says whether tunnels there are opened, and what it says:
    /// of the request inside, which may want another one, nothing is known yet.
    pub fn intercepts(&self, authority: &Authority, caller: &Caller<'_>) -> Option<(usize, bool)> {
        let mut list = self.of(authority.host()).iter().copied();
        list.find_map(|index| {
            let here = self.routes[index].port().is_none_or(|wanted| authority.port() == Some(wanted));
            let says = self.intercept[index].filter(|_| here && self.routes[index].is_for(caller));
            says.map(|says| (index, says))
        })
    }

    /// Where a request of this host found no route: whether that is because its routes are for other callers. Once a host
    /// has a route that is for some, nobody else gets there by the default.
    pub fn keeps(&self, head: &Head, named: Option<usize>) -> bool {
        let port = head.authority.port_or(if head.tls { 443 } else { 80 });
        let is_kept = |index: usize| self.routes[index].is_choosy();
        match named {
            Some(index) => is_kept(index) && !self.routes[index].is_for(&Caller::at(&head.client)),
            None => self.of(head.authority.host()).iter().any(|index| {
                is_kept(*index)
                    && !self.any.contains(index)
                    && self.routes[*index].port().is_none_or(|wanted| wanted == port)
            }),
        }
    }

    /// The routes that name a tunnel's destination: those that lead somewhere, if any does.
    pub fn to(&self, authority: &Authority) -> impl Iterator<Item = usize> {
        let named = |index: &usize| {
            !self.any.contains(index)
                && self.routes[*index].port().is_none_or(|wanted| authority.port_or(443) == wanted)
        };
        let list = self.of(authority.host());
        let lead = list.iter().any(|index| named(index) && self.lead[*index]);
        list.iter().copied().filter(move |index| named(index) && (self.lead[*index] || !lead))
    }

    /// Whether a route is for this caller.
    pub fn is_for(&self, index: usize, caller: &Caller<'_>) -> bool {
        self.routes[index].is_for(caller)
    }

    /// The routes that may serve requests to a destination, in order.
    pub fn of_host(&self, authority: &Authority) -> impl Iterator<Item = usize> {
        let list = self.of(authority.host());
        let port = authority.port();
        list.iter().copied().filter(move |index| self.routes[*index].port().is_none_or(|wanted| port == Some(wanted)))
    }

    /// The route of `/r/<name>/`, and the host it stands for if it names exactly one.
    pub fn named(&self, name: &str) -> Option<(usize, Option<&Authority>)> {
        let index = *self.names.get(name)?;
        Some((index, self.hosts[index].as_ref()))
    }

    /// Whether the rest of a named route's match holds.
    pub fn holds(&self, index: usize, head: &Head, headers: &HeaderMap) -> bool {
        self.routes[index].holds(head, headers, true)
    }

    #[inline(always)]
    fn of(&self, host: &Host) -> &Vec<usize> {
        match host {
            Host::Name(name) => self.by_name(name),
            Host::Ip(ip) => self.exact.get(ip.to_string().as_str()).unwrap_or(&self.any),
        }
    }

    fn by_name(&self, name: &str) -> &Vec<usize> {
        if let Some(list) = self.exact.get(name) {
            return list;
        }
        parents(name).find_map(|parent| self.suffix.get(parent)).unwrap_or(&self.any)
    }
}

/// `a.b.c` -> `b.c`, `c`.
fn parents(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('.').map(|(dot, _)| &name[dot + 1..])
}

fn parse(host: &str) -> Result<Host, String> {
    let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    Host::parse(&bracketed).map_err(|error| format!("`{host}`: {error}"))
}
