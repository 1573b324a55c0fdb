//! The bottom service: picks an endpoint, asks its breaker, performs one attempt.

use std::sync::Arc;
use std::time::Duration;

use exchange::race::Rival;
use exchange::{Body, Error, ErrorKind, Exchange, Head, Load, ResponseFuture, by_reference};
use http::Request;
use policy::budget::Budget;
use policy::{Tick, breaker};
use smallvec::SmallVec;

use crate::attempt::{self, Flight, Refused};
use crate::connect::{Destination, Parents, Tls};
use crate::endpoint::{Endpoint, Key, Protocol};
use crate::set::{Asked, Pick, Set};
use crate::worker::Worker;

/// Endpoints asked before the request is refused.
const MAX_PICKS: usize = 3;

/// When to come again to endpoints that are full: nobody knows, but not at once.
const FULL: Duration = Duration::from_secs(1);

/// The numbers of one upstream.
#[derive(Clone, Debug)]
pub struct Params {
    /// For name, TCP and TLS together.
    pub connect: Duration,
    /// From the pick to the response head.
    pub attempt: Option<Duration>,
    /// Without a frame of the response.
    pub idle: Duration,
    /// `None`: no breaker.
    pub breaker: Option<breaker::Params>,
    /// Requests at one endpoint at once.
    pub concurrency: u32,
}

/// The bottom of a stack; see the module.
pub struct Upstream {
    source: Source,
    params: Arc<Params>,
    worker: Arc<Worker>,
}

enum Source {
    Set(Set),
    /// The request's own target.
    Hosts(Hosts),
}

/// How the targets of requests are reached where they are not fixed.
#[derive(Clone)]
pub struct Hosts {
    /// For `https`.
    pub tls: Tls,
    /// Which of them go through another proxy.
    pub parents: Parents,
}

impl Upstream {
    /// Sends to the endpoints of a set.
    pub fn of_set(set: Set, params: Arc<Params>, worker: Arc<Worker>) -> Self {
        Self { source: Source::Set(set), params, worker }
    }

    /// Sends to wherever the request says.
    pub fn of_hosts(hosts: Hosts, params: Arc<Params>, worker: Arc<Worker>) -> Self {
        Self { source: Source::Hosts(hosts), params, worker }
    }

    fn handle(&self, request: Request<Body>) -> ResponseFuture {
        let exchange = Arc::clone(Exchange::of(&request));
        let now = exchange.now();
        let key = match &self.source {
            Source::Set(set) => set.key(&request),
            Source::Hosts(_) => None,
        };
        let rival = request.extensions().get::<Rival>().is_some();
        match self.admit(Asked { exchange: &exchange, key, now, rival }) {
            Ok(endpoint) => {
                let mut flight = Flight::new(endpoint, Arc::clone(&self.params), exchange, now);
                flight.race(rival);
                attempt::perform(flight, request)
            }
            Err(error) => ResponseFuture::refuse(error),
        }
    }

    /// An endpoint whose breaker lets the request pass.
    fn admit(&self, asked: Asked<'_>) -> Result<attempt::Admitted, Error> {
        let Asked { exchange, now, .. } = asked;
        let repeatable = exchange.head.method.is_idempotent();
        let mut refused: SmallVec<[usize; MAX_PICKS]> = SmallVec::new();
        let mut wait: Option<Duration> = None;
        let mut full = false;
        while refused.len() < MAX_PICKS {
            let (pick, endpoint) = match &self.source {
                Source::Hosts(hosts) if refused.is_empty() => {
                    (Pick { index: 0, panic: false }, self.host(hosts, exchange)?)
                }
                Source::Hosts(_) => break,
                Source::Set(set) => {
                    let random = &self.worker.context().random;
                    match set.pick(asked, self.params.breaker.as_ref(), &refused, random) {
                        Some(pick) => (pick, set.endpoints()[pick.index].clone()),
                        None => break,
                    }
                }
            };
            match attempt::admit(endpoint, &self.params, now, repeatable, pick.panic) {
                Ok(admitted) => {
                    exchange.set_breaker(admitted.endpoint.state.breaker.state() as u8);
                    return Ok(admitted);
                }
                Err(Refused::Open(left)) => {
                    wait = Some(wait.map_or(left, |wait| wait.min(left)));
                    refused.push(pick.index);
                }
                Err(Refused::Full) => {
                    full = true;
                    refused.push(pick.index);
                }
            }
        }
        if full {
            let detail = format!("{} requests are at each endpoint", self.params.concurrency);
            return Err(Error::new(ErrorKind::Overloaded).with_detail(detail).with_retry_after(FULL));
        }
        if wait.is_some() {
            exchange.set_breaker(breaker::State::Open as u8);
        }
        Err(match wait {
            Some(left) => Error::new(ErrorKind::BreakerOpen).with_retry_after(left),
            None => {
                let error = Error::new(ErrorKind::NoHealthyEndpoint);
                match &self.source {
                    Source::Set(set) => set.checked().into_iter().fold(error, Error::with_retry_after),
                    Source::Hosts(_) => error,
                }
            }
        })
    }

    fn host(&self, hosts: &Hosts, exchange: &Exchange) -> Result<Endpoint, Error> {
        Ok(self.worker.host(host_key(&exchange.head, hosts)?, exchange.head.client.local))
    }
}

/// Finds the retry budget of each request's own host.
pub fn host_budgets(hosts: Hosts, worker: Arc<Worker>) -> impl Fn(&Exchange) -> Arc<Budget> + Send + Sync {
    move |exchange| match host_key(&exchange.head, &hosts) {
        Ok(key) => Arc::clone(&worker.host(key, exchange.head.client.local).state.budget),
        // The request will be refused for the same reason.
        Err(_) => Arc::new(Budget::new()),
    }
}

/// What identifies the endpoint of a request whose host no route names.
fn host_key(head: &Head, hosts: &Hosts) -> Result<Key, Error> {
    let port = head.authority.port_or(if head.tls { 443 } else { 80 });
    let tls = head.tls.then(|| hosts.tls.clone());
    let destination = Destination::new(head.authority.host().clone(), port, tls)?.through(&hosts.parents);
    Ok(Key { upstream: Arc::default(), destination, protocol: Protocol::Client })
}

by_reference!(Upstream);

impl Load for Upstream {
    fn label(&self) -> Option<&Arc<str>> {
        match &self.source {
            Source::Set(set) => match set.endpoints() {
                [only] => Some(&only.state.label),
                _ => None,
            },
            Source::Hosts(_) => None,
        }
    }

    fn is_available(&self, now: Tick) -> bool {
        match &self.source {
            Source::Set(set) => set.is_available(self.params.breaker.as_ref(), now),
            Source::Hosts(_) => true,
        }
    }

    fn score(&self, now: Tick) -> u64 {
        match &self.source {
            Source::Set(set) => set.endpoints().iter().map(|endpoint| endpoint.score(now)).min().unwrap_or(0),
            Source::Hosts(_) => 0,
        }
    }
}
