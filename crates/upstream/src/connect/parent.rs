//! The way out through another proxy that the operator named, and which destinations take it.
//!
//! `https` and whatever is no request of plain HTTP (tunnels, upgrades, HTTP/2 in the clear) goes through CONNECT
//! (see `ask`); a request of plain HTTP names its whole target to the parent (RFC 9112 section 3.2.2), since most
//! corporate proxies let CONNECT reach no port 80. Where the `Host` differs from where the request goes, or the target
//! is `*`, that form cannot say so, and CONNECT is used again.
//!
//! A name is not resolved here: the parent does that. So the guard judges the name, and an address that is written as
//! one, but not where a name leads. What is on this machine is dialed directly unless `only` names it, and so is what
//! `resolve:` answers: the parent's loopback is another, and it does not know our answers.
//!
//! A parent is part of what identifies an endpoint, so a connection through one is never used for another. A
//! destination without one pays a comparison.

use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use exchange::{Error, ErrorKind, Host};
use http::HeaderValue;
use parking_lot::RwLock;

use super::Destination;
use super::guard::{Pattern, Rule};

mod ask;

pub(super) use ask::{Early, ask};

/// What a parent wants to see of us, in `Proxy-Authorization`; none: it could not be read.
pub type Credential = Arc<dyn Fn() -> Option<HeaderValue> + Send + Sync>;

/// A proxy to go through; equal if a connection through one is as good as through the other.
#[derive(Clone)]
pub struct Parent(Arc<Params>);

/// What makes a parent.
pub struct Params {
    /// Where it is.
    pub at: Destination,
    /// What tells its credential from others, never the secret itself; then the credential.
    pub auth: Option<(String, Credential)>,
}

/// A parent and who goes through it.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The parent.
    pub parent: Parent,
    /// Only these; empty: all.
    pub only: Vec<Rule>,
    /// None of these.
    pub except: Vec<Rule>,
}

/// Every parent; the first that a destination may take is its own.
#[derive(Clone, Debug, Default)]
pub struct Parents(Option<Arc<Choices>>);

/// The parents of the configuration in force, shared by whoever asks in our own name.
#[derive(Clone, Debug, Default)]
pub struct Ways(Arc<RwLock<Parents>>);

#[derive(Debug)]
struct Choices {
    all: Vec<Choice>,
    /// Hosts with an address of the operator's.
    known: HashSet<Box<str>>,
}

impl Parent {
    /// A parent.
    pub fn new(params: Params) -> Self {
        Self(Arc::new(params))
    }

    /// Where it is.
    pub fn at(&self) -> &Destination {
        &self.0.at
    }

    /// What it is to see of us.
    ///
    /// # Errors
    /// It wants something that is not there.
    pub fn authorization(&self) -> Result<Option<HeaderValue>, Error> {
        let Some((_, credential)) = &self.0.auth else { return Ok(None) };
        credential().map(Some).ok_or_else(|| {
            let detail = format!("the secret for the parent proxy {self} is not loaded");
            Error::new(ErrorKind::Credential).with_detail(detail)
        })
    }

    /// It refused, or what it said was no answer.
    pub fn refused(&self, what: impl fmt::Display) -> Error {
        Error::new(ErrorKind::ParentProxy).with_detail(format!("the parent proxy {self} {what}"))
    }

    fn source(&self) -> Option<&str> {
        self.0.auth.as_ref().map(|(source, _)| source.as_str())
    }
}

impl Parents {
    /// These, in this order; hosts in `known` have an address of the operator's, and take none.
    pub fn new(mut all: Vec<Choice>, known: HashSet<Box<str>>) -> Self {
        for choice in &mut all {
            for rules in [&mut choice.only, &mut choice.except] {
                *rules = std::mem::take(rules).into_iter().map(Rule::settled).collect();
            }
        }
        Self((!all.is_empty()).then(|| Arc::new(Choices { all, known })))
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Parent> {
        self.0.iter().flat_map(|choices| &choices.all).map(|choice| &choice.parent)
    }

    /// The one that leads to a destination; none: it is dialed directly.
    pub fn of(&self, host: &Host, port: u16) -> Option<Parent> {
        let Choices { all, known } = &**self.0.as_ref()?;
        let is_known = match host {
            Host::Name(name) => known.contains(&**name),
            Host::Ip(ip) => !known.is_empty() && known.contains(&*ip.to_string()),
        };
        if is_known {
            return None;
        }
        all.iter().find(|choice| choice.takes(host, port)).map(|choice| choice.parent.clone())
    }
}

impl Ways {
    /// Those of another configuration from now on.
    pub fn set(&self, parents: Parents) {
        *self.0.write() = parents;
    }

    /// The same destination, by the way that leads there.
    pub fn lead(&self, dest: Destination) -> Destination {
        dest.through(&self.0.read())
    }
}

impl Choice {
    fn takes(&self, host: &Host, port: u16) -> bool {
        let named = |rule: &&Rule| rule.is_about(host, port);
        let chosen = if host.is_local() {
            self.only.iter().filter(|rule| rule.pattern != Pattern::Any).any(|rule| named(&rule))
        } else {
            self.only.is_empty() || self.only.iter().any(|rule| named(&rule))
        };
        chosen && !self.except.iter().any(|rule| named(&rule))
    }
}

impl PartialEq for Parent {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.0.at == other.0.at && self.source() == other.source())
    }
}

impl Eq for Parent {}

impl Hash for Parent {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.at.hash(state);
        self.source().hash(state);
    }
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Destination { host, port, tls, .. } = self.at();
        write!(f, "{}://{host}:{port}", if tls.is_some() { "https" } else { "http" })
    }
}

impl fmt::Debug for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parent({self})")
    }
}

#[cfg(test)]
mod tests;
