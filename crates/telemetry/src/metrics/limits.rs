//! Places and lines of bulkheads: read where they live, at the scrape.

/// What a route's limit looks like now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Requests that have a place.
    pub inflight: u32,
    /// Requests that wait in line for one.
    pub waiting: usize,
    /// How many places there are, found out or configured; `None` where each host has its own.
    pub places: Option<u32>,
}

/// Whoever knows the routes that have a limit.
pub trait LimitSource: Send + Sync {
    /// Calls `each` with a route's name and its limit, each route once.
    fn each(&self, each: &mut dyn FnMut(&str, Limit));
}
