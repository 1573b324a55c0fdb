//! Requests by who called: the one label that the configuration does not bound, so a cap does.
//!
//! Off unless asked for, and then a request pays one load. The first callers have names of their own, as many as the
//! cap allows; whoever comes later is `_other`, and whom nobody knows `_anonymous`. Both are series besides the cap, so
//! there are at most two more than it for each route and class. A caller that calls itself by such a name is `_other`.
//! Two ways of showing the same name are one series, as they are one word in the log.
//!
//! On: one lock of the process for each request, to find a caller and its route among at most 1,000 and add one; an
//! allocation only for a caller, or a route of it, that is new. A scrape holds it to copy numbers, not to write text.
//!
//! A lower cap puts those who came last into `_other`, so no request is lost; none at all forgets everything.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use exchange::Exchange;
use parking_lot::Mutex;

use crate::caller;
use crate::labels::{self, CLASSES, OTHER};

/// Callers of whom nothing is known.
const ANONYMOUS: &str = "_anonymous";

/// By class of status.
type Counts = [u64; CLASSES.len()];

/// See the module.
#[derive(Debug, Default)]
pub struct Identities {
    on: AtomicBool,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    most: usize,
    known: BTreeMap<Arc<str>, Known>,
    anonymous: Routes,
    other: Routes,
    /// Where names are put together.
    name: String,
}

#[derive(Debug)]
struct Known {
    /// How many came before.
    since: usize,
    routes: Routes,
}

#[derive(Debug, Default)]
struct Routes(BTreeMap<Arc<str>, Counts>);

/// What a scrape shows of one caller at one route.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) identity: Arc<str>,
    pub(super) route: Arc<str>,
    pub(super) counts: Counts,
}

impl Identities {
    /// From here on so many callers have names of their own; with 0 nobody is counted, and all is forgotten.
    pub fn keep(&self, most: usize) {
        let mut table = self.table.lock();
        match most {
            0 => *table = Table::default(),
            most => table.keep(most),
        }
        self.on.store(most > 0, Relaxed);
    }

    /// A request ended with a status of this class.
    #[inline(always)]
    pub(super) fn count(&self, exchange: &Exchange, route: &Arc<str>, status: u16) {
        if self.on.load(Relaxed) {
            self.table.lock().count(exchange, route, labels::class(status));
        }
    }

    /// All of it, in no order that matters.
    pub(super) fn rows(&self) -> Vec<Row> {
        let (anonymous, other): (Arc<str>, Arc<str>) = (ANONYMOUS.into(), OTHER.into());
        let table = self.table.lock();
        let named = table.known.iter().map(|(name, known)| (name, &known.routes));
        let all = named.chain([(&anonymous, &table.anonymous), (&other, &table.other)]);
        let rows = all.flat_map(|(identity, routes)| {
            let row = |(route, counts): (&Arc<str>, &Counts)| Row {
                identity: Arc::clone(identity),
                route: Arc::clone(route),
                counts: *counts,
            };
            routes.0.iter().map(row)
        });
        rows.collect()
    }
}

impl Table {
    fn keep(&mut self, most: usize) {
        self.most = most;
        if self.known.len() <= most {
            return;
        }
        for (name, known) in mem::take(&mut self.known) {
            if known.since < most {
                self.known.insert(name, known);
            } else {
                self.other.absorb(known.routes);
            }
        }
    }

    fn count(&mut self, exchange: &Exchange, route: &Arc<str>, class: usize) {
        let Self { most, known, anonymous, other, name } = self;
        // It was switched off meanwhile.
        if *most == 0 {
            return;
        }
        let routes = if !caller::name(exchange, name) {
            anonymous
        } else if [ANONYMOUS, OTHER].contains(&name.as_str()) {
            other
        } else if let Some(known) = known.get_mut(name.as_str()) {
            &mut known.routes
        } else if known.len() < *most {
            let since = known.len();
            &mut known.entry(name.as_str().into()).or_insert(Known { since, routes: Routes::default() }).routes
        } else {
            other
        };
        routes.of(route)[class] += 1;
    }
}

impl Routes {
    fn of(&mut self, route: &Arc<str>) -> &mut Counts {
        self.0.entry(Arc::clone(route)).or_default()
    }

    fn absorb(&mut self, more: Self) {
        for (route, counts) in more.0 {
            self.of(&route).iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
    }
}

#[cfg(test)]
mod tests;
