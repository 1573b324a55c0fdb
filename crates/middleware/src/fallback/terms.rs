//! Whether an answer may be kept, and for how long it may be given out after an error (RFC 9111, RFC 5861 section 4).
//!
//! What may be stored and how long it is fresh is `http-cache-semantics`'s to say, for a cache that several share. It
//! takes the names of directives as they are written, so `No-Store` would go unseen; it is therefore given each
//! `Cache-Control` in lower case. The rest is ours, since it knows neither: whether stale answers are allowed, the age
//! (it does not look at `Date`), and `Vary` (it compares first values only, and its copy of a head drops repeated
//! fields). Where the standards leave a choice, less is kept: only successes, nothing with `Set-Cookie`, nothing that
//! would have to be validated, and `Cookie` asks for the same permission as `Authorization`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use exchange::clock;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_cache_semantics::{CacheOptions, CachePolicy};
use policy::Tick;

const STALE_IF_ERROR: &str = "stale-if-error";

/// Until when an answer may be given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// When it was asked for.
    at: Tick,
    /// Its age then.
    age: Duration,
    /// For so long it is fresh.
    lifetime: Duration,
    /// And for so long after that better than an error.
    stale: Duration,
}

/// How old an answer is that may be given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Age {
    pub(super) age: Duration,
    /// Seconds until it is stale; negative since.
    pub(super) ttl: i64,
}

impl Terms {
    /// Those of an answer with this status and head to a GET that was made `at`; `None`: it must not be kept. At most
    /// `most` after it went stale it is given out.
    pub(super) fn of(
        request: &HeaderMap,
        status: StatusCode,
        response: &HeaderMap,
        most: Duration,
        at: Tick,
    ) -> Option<Self> {
        let said = Directives::of(response);
        if !(status.is_success() || status.is_redirection())
            || response.contains_key(header::SET_COOKIE)
            || said.has("no-cache")
            || (!response.contains_key(header::CACHE_CONTROL) && has_no_cache(response, &header::PRAGMA))
            || selecting(response).is_none()
        {
            return None;
        }
        let policy = policy(request, status, response, wall(at));
        if !policy.is_storable() {
            return None;
        }
        let forbidden = ["must-revalidate", "proxy-revalidate", "s-maxage"].iter().any(|name| said.has(name));
        let stale = match forbidden || said.is_doubtful() {
            true => Duration::ZERO,
            false => said.seconds(STALE_IF_ERROR).map_or(most, |allowed| allowed.min(most)),
        };
        let terms = Self { at, age: age(response, at), lifetime: policy.time_to_live(wall(at)), stale };
        (terms.age < terms.lifetime.saturating_add(stale)).then_some(terms)
    }

    /// The age with which it may answer a request with this head now.
    pub(super) fn allow(&self, request: &HeaderMap, now: Tick) -> Option<Age> {
        let asked = Directives::of(request);
        let whole = [header::RANGE, header::IF_RANGE, header::IF_MATCH, header::IF_UNMODIFIED_SINCE];
        if asked.has("no-store")
            || asked.has("no-cache")
            || (!request.contains_key(header::CACHE_CONTROL) && has_no_cache(request, &header::PRAGMA))
            || whole.iter().any(|name| request.contains_key(name))
        {
            return None;
        }
        let age = self.age(now);
        let expects = asked.has(STALE_IF_ERROR);
        let most = [STALE_IF_ERROR, "max-stale"].into_iter().filter_map(|name| asked.seconds(name));
        let stale = most.fold(self.stale, Duration::min);
        if age >= self.lifetime.saturating_add(stale)
            || asked.seconds("max-age").is_some_and(|most| age > most && !expects)
            || asked.seconds("min-fresh").is_some_and(|least| age.saturating_add(least) > self.lifetime)
        {
            return None;
        }
        let seconds = |of: Duration| i64::try_from(of.as_secs()).unwrap_or(i64::MAX);
        Some(Age { age, ttl: seconds(self.lifetime).saturating_sub(seconds(age)) })
    }

    /// Whether it will never again answer anything.
    pub(super) fn is_over(&self, now: Tick) -> bool {
        self.age(now) >= self.lifetime.saturating_add(self.stale)
    }

    fn age(&self, now: Tick) -> Duration {
        self.age.saturating_add(now.since(self.at))
    }
}

/// The fields that an answer depends on (RFC 9111 section 4.1); `None` for all.
pub(super) fn selecting(response: &HeaderMap) -> Option<Vec<HeaderName>> {
    let mut names = Vec::new();
    for value in response.get_all(header::VARY) {
        for name in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty())
        {
            // What is no name, `*` included, cannot be compared.
            let name = HeaderName::from_bytes(name).ok().filter(|name| name.as_str() != "*")?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    Some(names)
}

/// What the crate looks at, and no more: it keeps copies of both heads.
fn policy(request: &HeaderMap, status: StatusCode, response: &HeaderMap, at: SystemTime) -> CachePolicy {
    let (mut asked, mut answer) = (Request::new(()), Response::new(()));
    *asked.method_mut() = Method::GET;
    *answer.status_mut() = status;
    lowered(request, asked.headers_mut());
    if request.contains_key(header::AUTHORIZATION) || request.contains_key(header::COOKIE) {
        asked.headers_mut().insert(header::AUTHORIZATION, HeaderValue::from_static("-"));
    }
    lowered(response, answer.headers_mut());
    // Not `Age`: what is asked for is how long it is fresh, from its beginning.
    for name in [header::DATE, header::EXPIRES, header::LAST_MODIFIED, header::PRAGMA] {
        if let Some(value) = response.get(&name) {
            answer.headers_mut().insert(name, value.clone());
        }
    }
    CachePolicy::new_options(&asked, &answer, at, CacheOptions::default())
}

/// `Cache-Control`, in lower case.
fn lowered(from: &HeaderMap, to: &mut HeaderMap) {
    for value in from.get_all(header::CACHE_CONTROL) {
        if let Ok(value) = HeaderValue::from_bytes(&value.as_bytes().to_ascii_lowercase()) {
            to.append(header::CACHE_CONTROL, value);
        }
    }
}

/// RFC 9111 section 4.2.3, with the time of the request as that of the answer.
fn age(response: &HeaderMap, at: Tick) -> Duration {
    let said =
        response.get(header::AGE).and_then(|age| age.to_str().ok()?.trim().parse().ok()).map(Duration::from_secs);
    let date = response.get(header::DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    let apparent = date.and_then(|date| wall(at).duration_since(date).ok());
    said.unwrap_or_default().max(apparent.unwrap_or_default())
}

fn wall(at: Tick) -> SystemTime {
    UNIX_EPOCH + clock::wall(at)
}

fn has_no_cache(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers.get_all(name).iter().any(|value| value.as_bytes().to_ascii_lowercase().windows(8).any(|w| w == b"no-cache"))
}

/// The members of `Cache-Control`, in lower case.
struct Directives(Vec<(String, String)>);

impl Directives {
    fn of(headers: &HeaderMap) -> Self {
        let mut all = Vec::new();
        for value in headers.get_all(header::CACHE_CONTROL) {
            // What is not ASCII is read around: a directive behind it still holds.
            let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
            for member in text.split(',') {
                let (name, value) = member.split_once('=').unwrap_or((member, ""));
                all.push((name.trim().to_owned(), value.trim().trim_matches('"').to_owned()));
            }
        }
        Self(all)
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(own, _)| own == name)
    }

    /// The least of what is said; what is no number is none at all.
    fn seconds(&self, name: &str) -> Option<Duration> {
        let all = self.0.iter().filter(|(own, _)| own == name);
        all.map(|(_, value)| Duration::from_secs(number(value))).min()
    }

    /// It says different things of how long it is fresh.
    fn is_doubtful(&self) -> bool {
        let mut ages = self.0.iter().filter(|(name, _)| name == "max-age").map(|(_, value)| value);
        let first = ages.next();
        ages.any(|other| Some(other) != first)
    }
}

/// `max-stale` without a number takes any.
fn number(text: &str) -> u64 {
    match text.parse() {
        Ok(seconds) => seconds,
        Err(_) if text.is_empty() => u64::MAX,
        // RFC 9111 section 1.2.2: what is too large to be held is as large as can be.
        Err(_) if text.bytes().all(|byte| byte.is_ascii_digit()) => u64::MAX,
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests;
