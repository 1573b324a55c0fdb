//! Whom a rule means, and what that caller may do.

use std::time::Duration;

use super::{HostMatch, PathMatch, Url};

/// A caller; all that is given must hold, and what is not known of one never does.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Who {
    pub anyone: bool,
    pub anyone_local: bool,
    pub authenticated: bool,
    pub user: Option<User>,
    pub unit: Option<String>,
    /// With a last `/*` all below.
    pub cgroup: Option<String>,
    /// At least twelve hexadecimal digits.
    pub container: Option<String>,
    pub spiffe: Option<String>,
    pub dns: Option<String>,
    /// The name of what accepted its token, key or password.
    pub identity: Option<String>,
    pub name: Option<String>,
    /// Each with the values of which it must have one.
    pub claims: Vec<(String, Vec<String>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    Name(String),
    Uid(u32),
}

/// Who may do what; empty lists are everything.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Rule {
    pub who: Who,
    pub hosts: Vec<HostMatch>,
    pub methods: Vec<String>,
    pub paths: Vec<PathMatch>,
}

/// Somebody else who decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Authorize {
    pub url: Url,
    pub timeout: Duration,
    /// Without an answer a request passes.
    pub fail_open: bool,
    /// Zero: no answer is kept.
    pub cache: Duration,
    /// Lower-case.
    pub headers: Vec<String>,
    /// How the names of headers begin, lower-case, that an answer may set.
    pub sets: Option<String>,
    pub concurrency: u32,
}
