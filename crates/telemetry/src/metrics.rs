//! The numbers of the process.
//!
//! Written in shards, one a worker and one for the control thread, so that counting never moves a cache line between
//! cores; summed when they are scraped. What happens rarely is in [`Events`], behind locks. Routes, upstreams and
//! words are the only labels: a client cannot make a series, unless callers are to be counted by name ([`Identities`]),
//! of which there are only so many.

mod catalogue;
mod cell;
mod collect;
mod connections;
mod detours;
mod endpoints;
mod events;
mod identities;
mod intercepts;
mod limits;
mod process;
mod requests;
mod route;
mod samples;
mod shard;

use std::fmt;
use std::sync::Arc;

use prometheus::Registry;

use self::collect::{Collect, State};
pub use self::connections::{Connection, Direction, Proto, Rejection, Side, Tunnel};
pub use self::detours::{Authorized, Mirrored};
pub use self::endpoints::EndpointSource;
pub use self::events::{Certificate, Events};
pub use self::identities::Identities;
pub use self::intercepts::{Intercepts, Refused};
pub use self::limits::{Limit, LimitSource};
pub use self::route::RouteStats;
pub use self::shard::Shard;

/// One process's registry.
pub struct Metrics {
    registry: Registry,
    state: Arc<State>,
}

impl Metrics {
    /// An empty registry for this version of the program.
    pub fn new(version: &str) -> Arc<Self> {
        let state = Arc::new(State::new(version));
        let registry = Registry::new();
        #[expect(clippy::expect_used, reason = "a test gathers every family of the table")]
        registry.register(Box::new(Collect::new(state.clone()))).expect("the table's names are valid and distinct");
        Arc::new(Self { registry, state })
    }

    /// A new shard, kept and summed for as long as the registry lives.
    pub fn shard(&self) -> Arc<Shard> {
        let shard = Arc::new(Shard::new(self.state.events.clone()));
        self.state.shards.lock().push(shard.clone());
        shard
    }

    /// What happens rarely.
    pub fn events(&self) -> &Arc<Events> {
        &self.state.events
    }

    /// Says where breaker states and in-flight counts are read at a scrape; the first source stays.
    pub fn set_endpoints(&self, source: Arc<dyn EndpointSource>) {
        let _ = self.state.endpoints.set(source);
    }

    /// Says where the places of limits are read at a scrape; the first source stays.
    pub fn set_limits(&self, source: Arc<dyn LimitSource>) {
        let _ = self.state.limits.set(source);
    }

    pub(crate) const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Whether a family tells who called: not for everybody to read.
    pub(crate) fn names_callers(family: &str) -> bool {
        family == catalogue::IDENTITY_REQUESTS.name
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}
