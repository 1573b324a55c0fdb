//! What a route does beside sending a request to its upstream.

use super::*;

/// Who answers when the upstream does not, or not well.
#[derive(Clone, Debug, PartialEq)]
pub struct Fallback {
    /// At least one.
    pub on: Vec<On>,
    pub with: FallbackWith,
}

/// An outcome that a fallback stands in for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum On {
    /// A word of `REASONS`.
    Reason(&'static str),
    /// An inclusive range of the upstream's own statuses.
    Statuses(u16, u16),
}

/// Who answers instead.
#[derive(Clone, Debug, PartialEq)]
pub enum FallbackWith {
    Upstream(Aside),
    Respond {
        status: u16,
        headers: Vec<(String, String)>,
        body: String,
    },
    /// At most one of a route's.
    Stale(Stale),
}

/// Answers that are kept for a time when there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    /// After an answer has stopped being fresh.
    pub max_stale: Duration,
    pub max_entries: usize,
    /// Bytes of all of them.
    pub max_size: usize,
    /// Bytes of the body of one.
    pub max_body: usize,
}

/// A target beside the route's own; it never gets the route's credential.
#[derive(Clone, Debug, PartialEq)]
pub struct Aside {
    pub to: AsideTo,
    pub auth: Option<Auth>,
}

/// Where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AsideTo {
    Url(Url),
    /// A name in `Model::upstreams`.
    Upstream(String),
}

impl Tls {
    /// For a target beside the route's own: what is trusted, without who we are.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self { ca: self.ca.clone(), min: self.min, ..Self::default() }
    }
}

/// A copy of a share of the requests for another upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Mirror {
    pub to: Aside,
    pub share: f64,
    /// Bytes of a body that is copied.
    pub body_limit: usize,
    pub timeout: Duration,
    /// Copies under way.
    pub concurrency: u32,
}

impl Policy {
    /// The targets beside the route's own: those of the fallbacks in their order, and the mirror.
    pub fn asides(&self) -> impl Iterator<Item = &Aside> {
        let fallbacks = self.fallback.iter().filter_map(|fallback| match &fallback.with {
            FallbackWith::Upstream(aside) => Some(aside),
            FallbackWith::Respond { .. } | FallbackWith::Stale(_) => None,
        });
        fallbacks.chain(self.mirror.iter().map(|mirror| &mirror.to))
    }

    /// How answers are kept, if they are.
    pub fn stale(&self) -> Option<Stale> {
        self.fallback.iter().find_map(|fallback| match fallback.with {
            FallbackWith::Stale(stale) => Some(stale),
            _ => None,
        })
    }

    /// All credentials that are sent: the route's own, and those of the targets beside it.
    pub fn auths(&self) -> impl Iterator<Item = &Auth> {
        self.auth.iter().chain(self.asides().filter_map(|aside| aside.auth.as_ref()))
    }
}

/// The failures that a fallback may stand in for: those that come from below it.
pub const REASONS: &[&str] = &[
    "overloaded",
    "queue_timeout",
    "breaker_open",
    "no_healthy_endpoint",
    "dns",
    "dns_timeout",
    "connect_refused",
    "connect_timeout",
    "tls",
    "tls_certificate",
    "reset",
    "closed_early",
    "protocol",
    "attempt_timeout",
    "deadline",
    "rate_limited",
    "credential",
    "fault",
];

/// Breaks requests on purpose.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// A wait, and the share of the requests that get it.
    pub delay: Option<(Duration, f64)>,
    pub abort: Option<Abort>,
    /// The share whose connection is reset.
    pub reset: Option<f64>,
    /// Only requests with these.
    pub headers: Vec<(String, ValueMatch)>,
}

/// An answer instead of the upstream's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Abort {
    pub status: Option<u16>,
    /// For clients that speak gRPC.
    pub grpc: Option<u16>,
    pub share: f64,
}
