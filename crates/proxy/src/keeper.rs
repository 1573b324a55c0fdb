//! Fetches what must be fetched: one task on the control thread for each credential, so that each is fetched once,
//! however many workers, routes and requests want it.
//!
//! A token is fetched anew after 75 to 90 % of the time it is used, at random, so that a fleet that was started together
//! does not ask together. It is not used in the last fifth of its life, ten seconds at most: it has to reach the upstream,
//! whose clock may differ. While the issuer is away, the one that is there is used up to that moment, and then none.
//!
//! A fetch that failed is tried again after a random time that doubles: soon where nobody answered, seldom where the issuer
//! said no. An upstream that refuses a credential is a reason to fetch at once (`middleware/credentials/cell`).

pub mod answer;
pub mod exec;
pub mod jwt;
pub mod keys;
pub mod oauth2;
pub mod probe;

use std::sync::Arc;
use std::time::Duration;

use config::{Model, model};
use exchange::{Random, clock};
use http::HeaderValue;
use middleware::credentials::sigv4::KeyCell;
use middleware::credentials::{Cell, Secret, Trouble};
use policy::Tick;
use policy::backoff::Backoff;
use tokio::task::JoinHandle;
use upstream::connect::Connector;
use zeroize::Zeroizing;

use crate::build;
use crate::house::House;
use crate::reload::Reloader;
use crate::secrets;
use crate::state::{SecretKey, Source, State};

/// The end of a token's life in which it is not used, at most.
const MARGIN: Duration = Duration::from_secs(10);
/// Between two fetches, however short a token lives.
const LEAST: Duration = Duration::from_millis(200);
/// After nobody answered.
const SOON: Backoff = Backoff { base: Duration::from_millis(200), cap: Duration::from_secs(5) };
/// After a no.
const SELDOM: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(30) };

/// What was fetched.
pub struct Fresh<T> {
    pub value: T,
    /// How long it is good from when it was asked for; `None`: as long as nobody refuses it.
    pub lifetime: Option<Duration>,
    /// It is fetched again after so long, whatever it says.
    pub every: Option<Duration>,
}

impl<T> Fresh<T> {
    /// The same time for another form of it.
    pub fn map<U>(self, form: impl FnOnce(T) -> Result<U, String>) -> Result<Fresh<U>, Failure> {
        let Self { value, lifetime, every } = self;
        Ok(Fresh { value: form(value).map_err(Failure::settled)?, lifetime, every })
    }
}

/// Why nothing was fetched.
#[derive(Debug)]
pub struct Failure {
    /// For clients too; nothing of the secret.
    pub detail: String,
    /// For the log only.
    pub hint: Option<String>,
    /// It is no use to wait for the next time.
    pub settled: bool,
}

impl Failure {
    /// Somebody said no, or something here is wrong.
    pub fn settled(detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), hint: None, settled: true }
    }

    /// Nobody answered.
    pub fn passing(detail: impl Into<String>) -> Self {
        Self { settled: false, ..Self::settled(detail) }
    }
}

/// What a fetch needs.
pub struct Tools {
    pub connector: Connector,
    pub state: Arc<State>,
}

/// The text of a secret, wherever it is.
///
/// # Errors
/// Says which source, why, and never the value.
pub async fn text(of: &model::Secret) -> Result<Fresh<Zeroizing<String>>, Failure> {
    match of {
        model::Secret::Exec(exec) => exec::output(exec).await,
        other => {
            let value = secrets::text(other).map_err(Failure::settled)?;
            Ok(Fresh { value, lifetime: None, every: None })
        }
    }
}

/// Fetches one credential once.
///
/// # Errors
/// Says what failed, and never the value.
pub async fn fetch(key: &SecretKey, tools: &Tools) -> Result<Fresh<HeaderValue>, Failure> {
    let fresh = match &key.source {
        Source::Text(secret) => {
            let printed = text(secret).await?;
            let token = answer::token(&printed.value).map_err(Failure::settled)?;
            Fresh { every: printed.every, ..token }
        }
        Source::OAuth2(from) => oauth2::token(from, tools).await?,
        Source::Jwt(from) => jwt::token(from).await?,
    };
    fresh.map(|text| secrets::formed(key, &text))
}

/// All credentials that are fetched; see the module.
pub struct Keeper {
    tools: Arc<Tools>,
    random: Random,
    reloader: Arc<Reloader>,
    house: Arc<House>,
    running: Vec<Running>,
}

struct Running {
    what: Kept,
    task: JoinHandle<()>,
}

/// A credential and where it goes.
#[derive(Clone)]
enum Kept {
    Header(SecretKey, Secret),
    Keys(model::AwsKeys, KeyCell),
}

impl Kept {
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Header(one, _), Self::Header(other, _)) => one == other,
            (Self::Keys(one, _), Self::Keys(other, _)) => one == other,
            _ => false,
        }
    }

    fn until(&self) -> Option<Tick> {
        match self {
            Self::Header(_, cell) => cell.until(),
            Self::Keys(_, cell) => cell.until(),
        }
    }

    /// The routes that send it.
    fn users<'a>(&'a self, model: &'a Model) -> Box<dyn Iterator<Item = &'a str> + 'a> {
        match self {
            Self::Header(key, _) => Box::new(build::users(model, key)),
            Self::Keys(keys, _) => Box::new(build::signers(model, keys)),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Keeper {
    /// None yet.
    pub fn new(house: &Arc<House>, reloader: &Arc<Reloader>) -> Self {
        Self {
            tools: Arc::new(Tools { connector: house.tools().connector, state: Arc::clone(&house.state) }),
            random: house.random(),
            reloader: Arc::clone(reloader),
            house: Arc::clone(house),
            running: Vec::new(),
        }
    }

    /// Fetches those that a configuration names, and no others; tells the metrics how long they are good.
    pub fn follow(&mut self, now: Tick) {
        let secrets = self.house.state.secrets().into_iter().filter(|(_, cell)| cell.is_fetched());
        let secrets = secrets.map(|(key, cell)| Kept::Header(key, cell));
        let keys = self.house.state.keys().into_iter().map(|(keys, cell)| Kept::Keys(keys, cell));
        let wanted: Vec<_> = secrets.chain(keys).collect();
        self.running.retain(|one| wanted.iter().any(|what| what.is(&one.what)));
        for what in wanted {
            if !self.running.iter().any(|one| one.what.is(&what)) {
                let task = self.start(what.clone());
                self.running.push(Running { what, task });
            }
        }
        self.tell(now);
    }

    fn start(&self, what: Kept) -> JoinHandle<()> {
        let (tools, random) = (Arc::clone(&self.tools), self.random.clone());
        let (reloader, house) = (Arc::clone(&self.reloader), Arc::clone(&self.house));
        let counted = {
            let what = what.clone();
            move |ok| {
                let (snapshot, events) = (reloader.current(), house.metrics.events());
                what.users(&snapshot.model).for_each(|route| events.credential_refreshed(&route.into(), ok));
            }
        };
        match what {
            Kept::Header(key, cell) => tokio::spawn(keep(cell, random, secrets::shown(&key), counted, move || {
                let (key, tools) = (key.clone(), Arc::clone(&tools));
                async move { fetch(&key, &tools).await }
            })),
            Kept::Keys(from, cell) => tokio::spawn(keep(cell, random, keys::shown(&from), counted, move || {
                let from = from.clone();
                async move { keys::fetch(&from).await }
            })),
        }
    }

    fn tell(&self, now: Tick) {
        let snapshot = self.reloader.current();
        let ends = self.running.iter().filter_map(|one| Some((&one.what, one.what.until()?)));
        let ends = ends.filter(|(_, until)| *until > now);
        let by_route = ends.flat_map(|(what, until)| {
            what.users(&snapshot.model).map(move |route| (route.into(), clock::wall(until).as_secs()))
        });
        self.house.metrics.events().credentials_end(by_route);
    }
}

/// Keeps one value fresh, for ever.
async fn keep<T: Clone + PartialEq, F>(
    cell: Cell<T>,
    random: Random,
    source: String,
    counted: impl Fn(bool),
    fetch: impl Fn() -> F,
) where
    F: Future<Output = Result<Fresh<T>, Failure>>,
{
    let mut failures = 0;
    let mut said: Option<String> = None;
    loop {
        let begun = clock::now();
        let wait = match fetch().await {
            Ok(fresh) => {
                if said.take().is_some() {
                    tracing::info!(source, "credential fetched again");
                }
                failures = 0;
                let used = fresh.lifetime.map(used);
                // What was only looked at again is no news.
                if cell.put(fresh.value, used.map(|used| begun + used)) || used.is_some() {
                    tracing::debug!(source, "credential fetched");
                    counted(true);
                }
                random.with(|rng| again(used, fresh.every, rng))
            }
            Err(failure) => {
                if said.as_ref() != Some(&failure.detail) {
                    let hint = failure.hint.as_deref().unwrap_or_default();
                    let stays = cell.get(clock::now).is_some();
                    tracing::warn!(source, hint, stays, "credential not fetched: {}", failure.detail);
                    said = Some(failure.detail.clone());
                }
                let backoff = if failure.settled { SELDOM } else { SOON };
                cell.fail(Trouble { detail: failure.detail, settled: failure.settled });
                counted(false);
                failures += 1;
                Some(random.with(|rng| backoff.delay(failures - 1, rng)).max(LEAST))
            }
        };
        tokio::select! {
            () = async { match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            } } => {}
            () = cell.asked() => {}
        }
    }
}

/// How long a token that lives so long is used.
fn used(lifetime: Duration) -> Duration {
    lifetime - (lifetime / 5).min(MARGIN)
}

/// When to fetch again what was just fetched; `None`: only when somebody asks.
fn again(used: Option<Duration>, every: Option<Duration>, rng: &mut fastrand::Rng) -> Option<Duration> {
    let early = used.map(|used| used.mul_f64(0.75 + 0.15 * rng.f64()));
    let every = every.map(|every| every.mul_f64(0.9 + 0.1 * rng.f64()));
    early.into_iter().chain(every).min().map(|wait| wait.max(LEAST))
}

#[cfg(test)]
mod tests;
