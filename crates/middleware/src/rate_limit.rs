//! How many requests there may be in a time: by route, client, identity, destination, or the value of a header.
//!
//! governor's GCRA: no windows that many can meet at the edge of, and one word of memory each. Its keyed store grows
//! without bound, so direct limiters are kept here, in a bounded cache. What it forgets for want of room begins anew
//! with a full burst. A key is kept as a hash only: header values may be long, or secrets. Above the retries: what is
//! tried again counts once.
//!
//! Cost: a clock reading and one exchange of a word; with a key, a hash and a look-up.

mod meter;

use std::hash::{BuildHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use exchange::identity::{Caller, Who};
use exchange::{ArcService, Body, Error, ErrorKind, Exchange, Rate, ResponseFuture};
use http::{HeaderName, Request};
use tower::Layer;

pub use self::meter::{Meters, Quota};

/// The numbers of a rate.
#[derive(Clone, Debug)]
pub struct Params {
    /// How many.
    pub quota: Quota,
    /// In each of what.
    pub per: Per,
    /// Other numbers for some callers, by identity; the first that fits.
    pub special: Vec<(Who, Quota)>,
}

impl Params {
    /// Which numbers are this caller's, and whose they are.
    fn of(&self, request: &Request<Body>) -> (Quota, Option<usize>) {
        if self.special.is_empty() {
            return (self.quota, None);
        }
        let caller = Caller::of(Exchange::of(request));
        let special = self.special.iter().enumerate().find(|(_, (who, _))| who.holds(&caller));
        special.map_or((self.quota, None), |(index, (_, quota))| (*quota, Some(index)))
    }
}

/// What has a rate of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Per {
    /// The route as a whole.
    Route,
    /// A client's address; of IPv6 its network of 64 bits, since a host may take any address in it.
    Client,
    /// Whom it showed itself to be, else its certificate's SPIFFE id, else its user; nobody known is one.
    Identity,
    /// The host and port that the client asks for.
    Destination,
    /// All values of a header; requests without it are one.
    Header(HeaderName),
}

impl Per {
    /// The policy's name in `RateLimit`.
    const fn name(&self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Client => "client",
            Self::Identity => "identity",
            Self::Destination => "destination",
            Self::Header(_) => "header",
        }
    }

    /// By what a request is counted; `None`: with all others.
    fn key(&self, request: &Request<Body>, hasher: &impl BuildHasher) -> Option<u64> {
        let head = &Exchange::of(request).head;
        let mut hash = hasher.build_hasher();
        self.name().hash(&mut hash);
        match self {
            Self::Route => return None,
            Self::Client => head.client.addr.map(|addr| network(addr.ip())).hash(&mut hash),
            Self::Identity => identity(Exchange::of(request), &mut hash),
            Self::Destination => {
                head.authority.host().hash(&mut hash);
                head.authority.port_or(if head.tls { 443 } else { 80 }).hash(&mut hash);
            }
            Self::Header(name) => {
                name.hash(&mut hash);
                request.headers().get_all(name).iter().for_each(|value| value.as_bytes().hash(&mut hash));
            }
        }
        Some(hash.finish())
    }
}

fn identity(exchange: &Exchange, hash: &mut impl Hasher) {
    let peer = exchange.head.client.peer.as_deref();
    if let Some(principal) = exchange.principal() {
        ("principal", &principal.by, &principal.name).hash(hash);
    } else if let Some(id) = peer.and_then(|peer| peer.certificate.as_ref()?.spiffe()) {
        ("spiffe", id).hash(hash);
    } else if let Some(process) = peer.and_then(|peer| peer.process.as_ref()) {
        ("user", process.uid).hash(hash);
    }
}

fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() >> 64 << 64).into()),
        ip => ip,
    }
}

/// Refuses what is beyond the rate.
pub fn layer(params: Params, meters: Arc<Meters>) -> impl Layer<ArcService, Service = ArcService> {
    let params = Arc::new(params);
    tower::layer::layer_fn(move |inner| {
        ArcService::new(RateLimit { inner, params: Arc::clone(&params), meters: Arc::clone(&meters) })
    })
}

struct RateLimit {
    inner: ArcService,
    params: Arc<Params>,
    meters: Arc<Meters>,
}

impl RateLimit {
    fn handle(&self, request: Request<Body>) -> ResponseFuture {
        let per = &self.params.per;
        let (quota, special) = self.params.of(&request);
        let key = per.key(&request, self.meters.hasher());
        // Another rate is another count: the same caller may come with other claims.
        let key = key.map(|key| special.map_or(key, |index| self.meters.hasher().hash_one((key, index))));
        match self.meters.check(key, quota) {
            Ok(()) => self.inner.call(request),
            Err(reset) => ResponseFuture::refuse(refusal(quota, per, reset)),
        }
    }
}

exchange::by_reference!(RateLimit);

fn refusal(quota: Quota, per: &Per, reset: Duration) -> Error {
    let rate = Rate { policy: per.name(), quota: quota.burst, window: quota.window(), remaining: 0, reset };
    let detail = format!("{} requests in {:?} for each {}", quota.burst, quota.window(), per.name());
    Error::new(ErrorKind::RateLimited).with_rate(rate).with_detail(detail)
}

#[cfg(test)]
mod tests;
