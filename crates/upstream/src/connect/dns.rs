//! Names to addresses: once for the whole process, bounded, and kind to a resolver that fails.
//!
//! An answer is used for its TTL, held within 1 s and 60 s: a TTL of 0 must not mean a query a request, nor one of
//! a day a move that is never seen. "No such name" is remembered for 5 s. When the resolver fails, the last good
//! answer serves for 5 minutes more (RFC 8767) and is asked for again every 5 s; when it is merely slow, whoever
//! has an old answer waits 300 ms and then uses it. A failure without an old answer is not remembered: the retry
//! of a request asks again.
//!
//! One query a name is in flight, whichever workers wait for it. It runs as a task of the control thread's
//! runtime, so a client that leaves takes nothing from the others. Its cost is one lock and, where there is an
//! answer, no task and no allocation. Names that nobody asks for cost nothing in the background.
//!
//! Deliberately absent: sorting by RFC 6724 (happy eyeballs decides), DNSSEC, and a cache in the library.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use exchange::clock::now as read_clock;
use exchange::{Error, ErrorKind};
use futures_util::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use policy::Tick;
use quick_cache::sync::Cache;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;

mod search;
mod system;

pub use system::System;

const MIN_TTL: Duration = Duration::from_secs(1);
const MAX_TTL: Duration = Duration::from_secs(60);
const NEGATIVE: Duration = Duration::from_secs(5);
const STALE: Duration = Duration::from_secs(300);
const RECHECK: Duration = Duration::from_secs(5);
/// How long a query may run before an old answer is better than none.
const PATIENCE: Duration = Duration::from_millis(300);
/// How long a query may run at all.
const LIMIT: Duration = Duration::from_secs(10);
const MAX_NAMES: usize = 1024;
const MAX_FLIGHTS: usize = 1024;
const MAX_ADDRS: usize = 64;

/// Where answers come from: the system's name servers, or a test's.
pub trait Source: Send + Sync {
    /// Asks for every address of `name`, lower case and without a final dot.
    fn lookup(&self, name: Arc<str>) -> BoxFuture<'_, Result<Answer, Failure>>;
}

/// The addresses of a name, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// At least one.
    pub addrs: Vec<IpAddr>,
    /// As the server said it.
    pub ttl: Duration,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The servers know that there is none: what is missing.
    Absent(Cow<'static, str>),
    /// The servers did not answer in time.
    Timeout,
    /// The servers could not be asked, or could not say: why.
    Broken(Cow<'static, str>),
    /// Too many names are being asked for.
    Busy,
}

/// Where a name of `resolve:` leads; without a port the request's own is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Override {
    /// The address.
    pub ip: IpAddr,
    /// The port instead of the request's.
    pub port: Option<u16>,
}

/// The operator's own answers, by lower-case host.
pub type Overrides = HashMap<Box<str>, Override>;

/// The process's resolver.
pub struct Resolver {
    shared: Arc<Shared>,
    overrides: RwLock<Arc<Overrides>>,
}

impl Resolver {
    /// A resolver over the system's configuration; a machine without any can still start.
    ///
    /// Queries run on `handle`, which must outlive the workers.
    pub fn new(overrides: Overrides, handle: Handle) -> Self {
        Self::with_source(Arc::new(System::new()), overrides, handle)
    }

    /// A resolver over any source.
    pub fn with_source(source: Arc<dyn Source>, overrides: Overrides, handle: Handle) -> Self {
        let shared = Shared { source, handle, names: Cache::new(MAX_NAMES), flights: Mutex::default() };
        Self { shared: Arc::new(shared), overrides: RwLock::new(Arc::new(overrides)) }
    }

    /// Replaces the operator's answers; the next connection uses them.
    pub fn set_overrides(&self, overrides: Overrides) {
        *self.overrides.write() = Arc::new(overrides);
    }

    /// The operator's answer for a host, if there is one.
    pub fn overridden(&self, host: &str) -> Option<Override> {
        self.overrides.read().get(host).copied()
    }

    /// What is known without asking anyone.
    pub fn known(&self, host: &str, now: Tick) -> Option<Result<Arc<[IpAddr]>, Error>> {
        if let Some(addrs) = local(host) {
            return Some(Ok(addrs));
        }
        if let Err(error) = check(host) {
            return Some(Err(error));
        }
        let entry = self.shared.names.get(host).filter(|entry| now < entry.until)?;
        Some(entry.answer.map_err(|failure| failure.on(host)))
    }

    /// The addresses of a host: lower case, without brackets or a final dot.
    ///
    /// Takes as long as the servers take; a caller with less time may drop it, and the query goes on.
    pub async fn resolve(&self, host: &str, now: Tick) -> Result<Arc<[IpAddr]>, Error> {
        if let Some(known) = self.known(host, now) {
            return known;
        }
        let mut flight = match self.shared.board(host, now) {
            Ok(Boarded::Flight(flight)) => flight,
            Ok(Boarded::Landed(answer)) => return answer.map_err(|failure| failure.on(host)),
            Err(failure) => return self.shared.stale(host, now).ok_or_else(|| failure.on(host)),
        };
        let answer = match self.shared.stale(host, now) {
            Some(stale) => {
                let patience = PATIENCE.saturating_sub(now.since(flight.started));
                match timeout(patience, flight.landing()).await {
                    Ok(answer) => answer,
                    Err(_) => Ok(stale),
                }
            }
            None => flight.landing().await,
        };
        answer.map_err(|failure| failure.on(host))
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("names", &self.shared.names.len()).finish_non_exhaustive()
    }
}

impl Failure {
    fn on(self, host: &str) -> Error {
        let (kind, why): (_, Cow<'static, str>) = match self {
            Self::Absent(what) => (ErrorKind::Dns, what),
            Self::Timeout => (ErrorKind::DnsTimeout, "the name servers did not answer".into()),
            Self::Broken(why) => (ErrorKind::Dns, why),
            Self::Busy => (ErrorKind::Overloaded, "too many names are being resolved".into()),
        };
        Error::new(kind).with_detail(format!("{host}: {why}"))
    }
}

type Outcome = Result<Arc<[IpAddr]>, Failure>;

#[derive(Clone)]
struct Entry {
    answer: Outcome,
    /// Used without asking until here.
    until: Tick,
    /// Used when asking fails until here.
    stale_until: Tick,
}

/// A query on its way, as those see it who wait.
#[derive(Clone)]
struct Flight {
    started: Tick,
    outcome: watch::Receiver<Option<Outcome>>,
}

enum Boarded {
    Flight(Flight),
    Landed(Outcome),
}

impl Flight {
    async fn landing(&mut self) -> Outcome {
        let gone = || Failure::Broken("the resolver was stopped".into());
        let outcome = self.outcome.wait_for(Option::is_some).await.map_err(|_| gone())?;
        outcome.clone().unwrap_or_else(|| Err(gone()))
    }
}

struct Shared {
    source: Arc<dyn Source>,
    handle: Handle,
    names: Cache<Arc<str>, Entry>,
    flights: Mutex<HashMap<Arc<str>, Flight>>,
}

impl Shared {
    /// Joins the query for this name, or starts it.
    fn board(self: &Arc<Self>, host: &str, now: Tick) -> Result<Boarded, Failure> {
        let (name, sender, flight) = {
            let mut flights = self.flights.lock();
            if let Some(flight) = flights.get(host) {
                return Ok(Boarded::Flight(flight.clone()));
            }
            // It may have landed since the caller looked.
            if let Some(entry) = self.names.get(host).filter(|entry| now < entry.until) {
                return Ok(Boarded::Landed(entry.answer));
            }
            if flights.len() >= MAX_FLIGHTS {
                return Err(Failure::Busy);
            }
            let (sender, outcome) = watch::channel(None);
            let name: Arc<str> = host.into();
            let flight = Flight { started: now, outcome };
            flights.insert(Arc::clone(&name), flight.clone());
            (name, sender, flight)
        };
        // Spawned without the lock: a runtime that has shut down drops the task, and with it the seat, at once.
        let seat = Seat { shared: Arc::clone(self), name };
        self.handle.spawn(async move {
            let lookup = timeout(LIMIT, seat.shared.source.lookup(Arc::clone(&seat.name))).await;
            let outcome = seat.shared.land(&seat.name, lookup.unwrap_or(Err(Failure::Timeout)), read_clock());
            drop(seat);
            let _ = sender.send(Some(outcome));
        });
        Ok(Boarded::Flight(flight))
    }

    /// Remembers what came back, and says what those who wait shall use.
    fn land(&self, name: &Arc<str>, result: Result<Answer, Failure>, now: Tick) -> Outcome {
        let entry = match result {
            Ok(answer) => {
                let until = now + answer.ttl.clamp(MIN_TTL, MAX_TTL);
                Entry { answer: Ok(bounded(answer.addrs)), until, stale_until: until + STALE }
            }
            Err(failure @ Failure::Absent(_)) => {
                let until = now + NEGATIVE;
                Entry { answer: Err(failure), until, stale_until: until }
            }
            Err(failure) => match self.names.peek(name).filter(|old| old.answer.is_ok() && now < old.stale_until) {
                Some(old) => Entry { until: (now + RECHECK).min(old.stale_until), ..old },
                None => return Err(failure),
            },
        };
        let outcome = entry.answer.clone();
        self.names.insert(Arc::clone(name), entry);
        outcome
    }

    fn stale(&self, host: &str, now: Tick) -> Option<Arc<[IpAddr]>> {
        self.names.peek(host).filter(|entry| now < entry.stale_until)?.answer.ok()
    }
}

/// Frees the name for the next query, also when this one panics or its runtime ends.
struct Seat {
    shared: Arc<Shared>,
    name: Arc<str>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shared.flights.lock().remove(&self.name);
    }
}

/// Literals and the names that always mean this machine (RFC 6761 section 6.3).
fn local(host: &str) -> Option<Arc<[IpAddr]>> {
    if host == "localhost" || host.ends_with(".localhost") {
        return Some([IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()].into());
    }
    host.parse().ok().map(|ip: IpAddr| [ip].into())
}

/// Refuses what somebody else's resolver would read as an address.
pub(super) fn check(host: &str) -> Result<(), Error> {
    if is_number(host) { Err(Failure::Absent("a number is not a name".into()).on(host)) } else { Ok(()) }
}

/// `2852039166`, `0x7f.1` and their like: no top-level name is a number, but C libraries read an address.
fn is_number(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    hex || (!last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Without repeats, and at most 64, of both families if there are both.
fn bounded(addrs: Vec<IpAddr>) -> Arc<[IpAddr]> {
    let (mut v6, mut v4) = (Vec::new(), Vec::new());
    for ip in addrs {
        let family = if ip.is_ipv6() { &mut v6 } else { &mut v4 };
        if family.len() < MAX_ADDRS && !family.contains(&ip) {
            family.push(ip);
        }
    }
    let room = MAX_ADDRS - v4.len().min(MAX_ADDRS / 2);
    v6.truncate(room);
    v4.truncate(MAX_ADDRS - v6.len());
    v6.into_iter().chain(v4).collect()
}

#[cfg(test)]
mod tests;
