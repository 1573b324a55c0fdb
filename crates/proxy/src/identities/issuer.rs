//! The keys of issuers that publish them: fetched, kept fresh, and kept while their issuer is down.
//!
//! One task an issuer, on the control thread. It asks again as the answer's `Cache-Control` says, within bounds, and early
//! when a token came with a key that nobody knows. While an issuer cannot be asked its last keys stay in use, for a day:
//! a key that was withdrawn meanwhile would be believed for ever.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use exchange::clock;
use http::{HeaderMap, Request, header};
use middleware::authenticate::Way;
use middleware::authenticate::jwt::{Keyring, Keys};
use policy::Tick;
use telemetry::metrics::Events;
use tokio::task::JoinHandle;
use upstream::connect::Connector;
use upstream::fetch::{self, fetch};

use super::{Afar, MOST};
use crate::house::House;

/// Between two sets, if the issuer says nothing.
const EVERY: Duration = Duration::from_secs(300);
const LEAST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3600);
/// Between two tries while it cannot be asked.
const AGAIN: Duration = Duration::from_secs(10);
/// For one try.
const WITHIN: Duration = Duration::from_secs(10);
/// Keys that could not be read anew for so long are not believed any more.
const TOO_OLD: Duration = Duration::from_secs(24 * 3600);

/// The tasks of the issuers in use.
pub struct Issuers {
    house: Arc<House>,
    running: Vec<Running>,
}

struct Running {
    keyring: Arc<Keyring>,
    uri: String,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Issuers {
    /// None yet.
    pub fn new(house: &Arc<House>) -> Self {
        Self { house: Arc::clone(house), running: Vec::new() }
    }

    /// Makes those of the configuration in force run, and no others.
    pub fn follow(&mut self) {
        let mut wanted = Vec::new();
        for (held, identity) in self.house.state.identities.all() {
            if let (Way::Jwt(jwt), Some(afar)) = (&identity.way, &held.from_afar) {
                wanted.push((Arc::clone(jwt.keyring()), Arc::clone(&identity.name), afar.clone()));
            }
        }
        self.running.retain(|one| wanted.iter().any(|(keyring, ..)| Arc::ptr_eq(keyring, &one.keyring)));
        for (keyring, name, afar) in wanted {
            if self.running.iter().any(|one| Arc::ptr_eq(&one.keyring, &keyring)) {
                continue;
            }
            let uri = afar.uri.clone();
            let issuer = Issuer {
                name,
                afar,
                keyring: Arc::clone(&keyring),
                connector: self.house.connector(Arc::new(())),
                events: Arc::clone(self.house.metrics.events()),
            };
            self.running.push(Running { keyring, uri, task: tokio::spawn(issuer.run()) });
        }
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.uri)
    }
}

struct Issuer {
    name: Arc<str>,
    afar: Afar,
    keyring: Arc<Keyring>,
    connector: Connector,
    events: Arc<Events>,
}

impl Issuer {
    async fn run(self) {
        let mut failing: Option<String> = None;
        loop {
            self.keyring.begin();
            let asked = self.ask().await;
            let now = clock::now();
            self.events.keys_refreshed(&self.name, asked.is_ok(), now);
            let wait = match asked {
                Ok((keys, every)) => {
                    tell(&self.name, &keys);
                    let count = keys.len();
                    if self.keyring.set(keys, now) || failing.take().is_some() {
                        tracing::info!(identity = %self.name, keys = count, "keys of the issuer read");
                    }
                    every
                }
                Err(error) => {
                    if failing.as_ref() != Some(&error) {
                        tracing::warn!(identity = %self.name, %error, "keys of the issuer not read; the last good ones stay");
                        failing = Some(error.clone());
                    }
                    self.keyring.failed(error);
                    self.expire(now);
                    AGAIN
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.keyring.wanted() => {}
            }
        }
    }

    fn expire(&self, now: Tick) {
        let told = self.keyring.told();
        if told.keys > 0 && told.read.is_some_and(|read| now.since(read) >= TOO_OLD) {
            tracing::error!(identity = %self.name, "the keys of the issuer are a day old and are not believed any more");
            self.keyring.expire();
        }
    }

    async fn ask(&self) -> Result<(Keys, Duration), String> {
        let request = Request::get(&self.afar.uri)
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .header(header::USER_AGENT, "attache")
            .body(Bytes::new())
            .map_err(|error| error.to_string())?;
        let params = fetch::Params { destination: self.afar.destination.clone(), within: WITHIN, most: MOST };
        let response = fetch(&params, request, &self.connector).await?;
        if response.status().as_u16() != 200 {
            return Err(format!("the issuer answered {}", response.status()));
        }
        Ok((Keys::parse(response.body())?, fresh(response.headers())))
    }
}

/// Keys that cannot be used are no error: a set may hold some for other purposes.
pub(super) fn tell(name: &str, keys: &Keys) {
    if keys.is_empty() {
        tracing::warn!(identity = name, "the set has no key that can be used: no token will be accepted");
    }
    if let Some((count, why)) = keys.left() {
        tracing::debug!(identity = name, count, why, "keys left alone");
    }
}

/// How long an answer stays fresh (RFC 9111 section 5.2.2.1), within bounds.
fn fresh(headers: &HeaderMap) -> Duration {
    let fields = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut every = None;
    for directive in fields.flat_map(|field| field.split(',')).map(|one| one.trim().to_ascii_lowercase()) {
        if directive == "no-store" || directive == "no-cache" {
            return LEAST;
        }
        if let Some(seconds) = directive.strip_prefix("max-age=") {
            every = seconds.trim_matches('"').parse().ok().map(Duration::from_secs).or(every);
        }
    }
    every.map_or(EVERY, |every| every.clamp(LEAST, LONGEST))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn an_issuer_is_asked_as_often_as_it_says_within_bounds() {
        for (said, expected) in [
            ("", EVERY),
            ("public", EVERY),
            ("max-age=x", EVERY),
            ("public, Max-Age=600", Duration::from_secs(600)),
            ("max-age=\"600\"", Duration::from_secs(600)),
            ("max-age=0", LEAST),
            ("max-age=99999999", LONGEST),
            ("max-age=99999999999999999999999", EVERY),
            ("max-age=600, no-cache", LEAST),
            ("no-store", LEAST),
        ] {
            let headers = HeaderMap::from_iter([(header::CACHE_CONTROL, HeaderValue::from_static(said))]);
            assert_eq!(fresh(&headers), expected, "{said}");
        }
        assert_eq!(fresh(&HeaderMap::new()), EVERY);
    }
}
