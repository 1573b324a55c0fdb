//! Where the path of a route meets those of its targets: picks one per attempt and aims the request at it.
//!
//! With weights the shares are the operator's; without, the better of the available wins by the route's
//! balance. What was tried is avoided while something else is available, and what would refuse at once is
//! avoided while something would not: a tried target that answers is better than an open breaker. With all of
//! them unavailable any will do, since its refusal says why. A second try while the first is under way (a hedge) goes to
//! another that is available, or nowhere.
//!
//! Path and query go out byte for byte, behind the target's base path; an empty `?` stays. The authority goes
//! out as `Host`, whatever the client's own said (RFC 9112 section 3.2.2). The authority-form target of CONNECT
//! is left as it is.
//!
//! Cost: no box. With one target no clock is read and nothing drawn; without base path and rewrite nothing is
//! formatted, and `Host` is one insertion.

mod path;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use exchange::race::Rival;
use exchange::{ArcService, Body, Error, ErrorKind, Exchange, Load, Random, ResponseFuture, clock};
use http::header::{HOST, HeaderValue};
use http::uri::{Authority, Parts, Scheme};
use http::{Request, Uri};
use policy::pick;

pub use self::path::{Prefix, Rewrite};

/// The targets of a route.
#[derive(Debug, Default)]
pub struct Params {
    /// At least one; an empty list answers `no_healthy_endpoint`.
    pub candidates: Vec<Candidate>,
    /// Used when no candidate has a weight.
    pub balance: Balance,
    /// The route's own changes to what is asked for.
    pub rewrite: Rewrite,
}

/// One URL of a route, and what serves it.
pub struct Candidate {
    /// If any candidate has one, picks are in proportion; those without count as 1, and 0 is never picked.
    pub weight: Option<u32>,
    /// `http` or `https`. `None` keeps the request's.
    pub scheme: Option<Scheme>,
    /// As it is to appear in `Host`: without the scheme's own port. `None` keeps the request's.
    pub authority: Option<Authority>,
    /// Begins with `/` and does not end in one; empty = none.
    pub base: String,
    /// The rest of the stack.
    pub service: ArcService,
    /// What its upstream says of itself.
    pub load: Arc<dyn Load>,
}

impl std::fmt::Debug for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Candidate({:?} {:?}{} weight {:?})", self.scheme, self.authority, self.base, self.weight)
    }
}

/// How one of several is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// The better of two drawn.
    #[default]
    P2c,
    /// The best of all.
    Least,
    /// In turn.
    RoundRobin,
    /// Drawn.
    Random,
}

/// Sends each attempt to one of the candidates.
pub fn service(params: Params, random: Random) -> ArcService {
    let weighted = params.candidates.iter().any(|candidate| candidate.weight.is_some());
    let weights = params.candidates.iter().map(|candidate| candidate.weight.unwrap_or(1));
    ArcService::new(Target {
        weights: if weighted { weights.collect() } else { Vec::new() },
        hosts: params.candidates.iter().map(|candidate| candidate.authority.as_ref().and_then(host)).collect(),
        turn: AtomicUsize::new(0),
        random,
        params,
    })
}

struct Target {
    params: Params,
    weights: Vec<u32>,
    /// The candidates' authorities as values of `Host`.
    hosts: Vec<Option<HeaderValue>>,
    turn: AtomicUsize,
    random: Random,
}

impl Target {
    fn handle(&self, mut request: Request<Body>) -> ResponseFuture {
        let rival = request.extensions().get::<Rival>().is_some();
        let Some(index) = self.pick(Exchange::of(&request), rival) else {
            return ResponseFuture::refuse(
                Error::new(ErrorKind::NoHealthyEndpoint).with_detail("no target has a weight, or none is left"),
            );
        };
        match self.aim(index, &mut request) {
            Ok(()) => self.params.candidates[index].service.call(request),
            Err(error) => ResponseFuture::refuse(error),
        }
    }

    fn pick(&self, exchange: &Exchange, rival: bool) -> Option<usize> {
        let candidates = &self.params.candidates;
        if candidates.len() == 1 {
            return Some(0);
        }
        let now = clock::now();
        let available = |index: usize| candidates[index].load.is_available(now);
        let untried = |index: usize| candidates[index].load.label().is_none_or(|label| !exchange.has_tried(label));
        let score = |index: usize| candidates[index].load.score(now);
        if rival {
            let taken = |label| exchange.race().is_some_and(|race| race.has_taken(label));
            let free = |index: usize| candidates[index].load.label().is_none_or(|label| !taken(label));
            return self.draw(|index| available(index) && free(index), score);
        }
        self.draw(|index| available(index) && untried(index), score)
            .or_else(|| self.draw(available, score))
            .or_else(|| self.draw(|_| true, score))
    }

    fn draw(&self, eligible: impl Fn(usize) -> bool, score: impl Fn(usize) -> u64) -> Option<usize> {
        let n = self.params.candidates.len();
        if !self.weights.is_empty() {
            return self.random.with(|rng| pick::weighted(&self.weights, rng, eligible));
        }
        match self.params.balance {
            Balance::P2c => self.random.with(|rng| pick::p2c(n, rng, eligible, score)),
            Balance::Least => self.random.with(|rng| pick::least(n, rng, eligible, score)),
            Balance::RoundRobin => pick::round_robin(n, &self.turn, eligible),
            Balance::Random => self.random.with(|rng| pick::random(n, rng, eligible)),
        }
    }

    /// Writes scheme, authority, path and `Host`.
    fn aim(&self, index: usize, request: &mut Request<Body>) -> Result<(), Error> {
        let candidate = &self.params.candidates[index];
        let Some(path) = request.uri().path_and_query() else { return Ok(()) };
        let path = self.params.rewrite.path(&candidate.base, path)?;
        let authority = match candidate.authority.as_ref().or_else(|| request.uri().authority()) {
            Some(authority) => authority.clone(),
            None => recorded(request)?,
        };
        // Written without a look at what is there: that costs as much.
        let fixed = self.params.rewrite.host.as_ref().or(self.hosts[index].as_ref());
        if let Some(host) = fixed {
            request.headers_mut().insert(HOST, host.clone());
        } else if request.headers().get(HOST).is_none_or(|current| current != authority.as_str()) {
            let host = host(&authority).ok_or(ErrorKind::BadRequest)?;
            request.headers_mut().insert(HOST, host);
        }
        let mut parts = Parts::default();
        parts.scheme = candidate.scheme.as_ref().or_else(|| request.uri().scheme()).cloned();
        parts.authority = Some(authority);
        parts.path_and_query = Some(path);
        *request.uri_mut() =
            Uri::from_parts(parts).map_err(|cause| Error::new(ErrorKind::Internal).with_source(cause))?;
        Ok(())
    }
}

exchange::by_reference!(Target);

fn host(authority: &Authority) -> Option<HeaderValue> {
    HeaderValue::from_str(authority.as_str()).ok()
}

/// The authority the edge recorded, for a target in origin-form.
fn recorded(request: &Request<Body>) -> Result<Authority, Error> {
    let text = Exchange::of(request).head.authority.to_string();
    Authority::try_from(text).map_err(|cause| Error::new(ErrorKind::BadRequest).with_source(cause))
}

#[cfg(test)]
mod tests;
