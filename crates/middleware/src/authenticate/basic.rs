//! Names and passwords, kept as bcrypt hashes.
//!
//! bcrypt is slow on purpose: what it accepted is remembered, by a keyed hash of both, until the file changes, and what
//! it has to look at runs on a thread of its own, few at a time. Who finds too many waiting is told to come again. A name
//! that does not exist takes as long as one that does.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use aws_lc_rs::hmac;
use exchange::identity::{Principal, Proof};
use exchange::{Error, ErrorKind, clock};
use policy::Tick;
use quick_cache::sync::Cache;
use serde_json::Map;
use tokio::sync::Semaphore;

/// Passwords that are remembered.
const REMEMBERED: usize = 4096;
/// Passwords that are looked at at once, of one identity.
const AT_ONCE: usize = 2;
/// Those that wait for their turn.
const MAX_WAITING: usize = 256;
/// bcrypt looks at no more of a password.
const LONGEST: usize = 72;
/// A hash that costs more would take seconds.
const COSTS: std::ops::RangeInclusive<u32> = 4..=14;
/// Users of one identity.
pub const MAX_USERS: usize = 10_000;
/// When to come again.
const AGAIN: Duration = Duration::from_secs(1);

/// The users of an identity, which may be replaced while requests run.
pub struct Users {
    name: Arc<str>,
    table: ArcSwapOption<Table>,
    /// What was accepted, and by which table.
    remembered: Cache<[u8; 32], (u64, Arc<Principal>)>,
    secret: hmac::Key,
    turns: Arc<Semaphore>,
    waiting: Semaphore,
}

struct Table {
    number: u64,
    hashes: HashMap<String, String>,
    /// As dear as the others.
    nobody: String,
}

/// What is known without hashing.
pub(super) enum Quick {
    Known(Arc<Principal>),
    Impossible(&'static str),
    Unknown,
}

impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Users").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Users {
    /// None yet, for the identity of this name.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn new(name: Arc<str>) -> Result<Self, String> {
        let secret = hmac::Key::generate(hmac::HMAC_SHA256, &aws_lc_rs::rand::SystemRandom::new());
        Ok(Self {
            name,
            table: ArcSwapOption::empty(),
            remembered: Cache::new(REMEMBERED),
            secret: secret.map_err(|_| "the system gives no random bytes".to_owned())?,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Semaphore::new(MAX_WAITING),
        })
    }

    /// Replaces all; what was remembered is forgotten.
    pub fn set(&self, hashes: HashMap<String, String>) {
        let number = self.table.load().as_ref().map_or(0, |old| old.number) + 1;
        let nobody = hashes.values().max_by_key(|hash| cost(hash)).cloned().unwrap_or_else(|| NOBODY.into());
        self.table.store(Some(Arc::new(Table { number, hashes, nobody })));
        self.remembered.clear();
    }

    /// How many there are; `None` before any were read.
    pub fn count(&self) -> Option<usize> {
        self.table.load().as_ref().map(|table| table.hashes.len())
    }

    pub(super) fn known(&self, user: &str, password: &str) -> Quick {
        let table = self.table.load();
        let Some(table) = &*table else { return Quick::Impossible("the users could not be read yet") };
        if user.is_empty() || password.len() > LONGEST {
            return Quick::Impossible(NO_MATCH);
        }
        match self.remembered.get(&self.print(user, password)) {
            Some((number, principal)) if number == table.number => Quick::Known(principal),
            _ => Quick::Unknown,
        }
    }

    fn print(&self, user: &str, password: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.secret);
        // No name has a colon.
        [user, ":", password].into_iter().for_each(|part| context.update(part.as_bytes()));
        let mut print = [0; 32];
        print.copy_from_slice(context.sign().as_ref());
        print
    }

    /// Hashes, when it is its turn. Dropped, what runs on the thread keeps its turn to its end.
    ///
    /// # Errors
    /// `overloaded`: there was no turn.
    pub(super) async fn verify(
        users: &Arc<Self>,
        user: &str,
        password: &str,
        until: Tick,
    ) -> Result<Result<Arc<Principal>, Cow<'static, str>>, Error> {
        let overloaded = || {
            Error::new(ErrorKind::Overloaded).with_detail("too many passwords are looked at").with_retry_after(AGAIN)
        };
        let _place = users.waiting.try_acquire().map_err(|_| overloaded())?;
        let turn = tokio::time::timeout_at(clock::instant(until), Arc::clone(&users.turns).acquire_owned()).await;
        let turn = turn.map_err(|_| overloaded())?.map_err(|_| overloaded())?;
        // Another request may have shown the same meanwhile.
        match users.known(user, password) {
            Quick::Known(principal) => return Ok(Ok(principal)),
            Quick::Impossible(why) => return Ok(Err(why.into())),
            Quick::Unknown => {}
        }
        let Some(table) = users.table.load_full() else { return Ok(Err(NO_MATCH.into())) };
        let (number, hash) = (table.number, table.hashes.get(user).cloned());
        let exists = hash.is_some();
        let (hash, shown) = (hash.unwrap_or_else(|| table.nobody.clone()), password.to_owned());
        let verified = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            bcrypt::verify(shown, &hash).unwrap_or(false)
        });
        let verified = verified.await;
        if !verified.unwrap_or(false) || !exists {
            return Ok(Err(NO_MATCH.into()));
        }
        let principal = Arc::new(Principal {
            proof: Proof::Basic,
            by: Arc::clone(&users.name),
            name: user.into(),
            claims: Map::new(),
        });
        users.remembered.insert(users.print(user, password), (number, Arc::clone(&principal)));
        Ok(Ok(principal))
    }
}

const NO_MATCH: &str = "name and password do not match";

/// Stands in where there is no user at all; whatever it is of, nobody is accepted by it.
const NOBODY: &str = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";

fn cost(hash: &str) -> Option<u32> {
    hash.split('$').nth(2)?.parse().ok()
}

/// A file as `htpasswd -B` writes it: `name:$2y$...` on each line; `#` begins a line that is none.
///
/// # Errors
/// The line that is none, without what stands there.
pub fn parse(text: &str) -> Result<HashMap<String, String>, String> {
    let mut all = HashMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let entry = line.split_once(':').filter(|(name, _)| !name.is_empty());
        let (name, hash) = entry.ok_or_else(|| format!("line {number} is not `name:hash`"))?;
        if !is_bcrypt(hash) {
            return Err(format!("line {number} has no bcrypt hash; write it with `htpasswd -B`"));
        }
        if !cost(hash).is_some_and(|cost| COSTS.contains(&cost)) {
            return Err(format!("line {number} has a cost that is not from {} to {}", COSTS.start(), COSTS.end()));
        }
        if all.insert(name.to_owned(), hash.to_owned()).is_some() {
            return Err(format!("line {number} has a name that an earlier line has"));
        }
        if all.len() > MAX_USERS {
            return Err(format!("there are more than {MAX_USERS} users"));
        }
    }
    Ok(all)
}

fn is_bcrypt(hash: &str) -> bool {
    let known = ["$2a$", "$2b$", "$2y$"].iter().any(|version| hash.starts_with(version));
    known && hash.len() == 60 && hash.parse::<bcrypt::HashParts>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Arc<Users> {
        let users = Users::new("staff".into()).expect("randomness");
        let hash = bcrypt::hash("open sesame", 4).expect("a hash").replacen("$2b$", "$2y$", 1);
        users.set(parse(&format!("# staff\nali:{hash}\n")).expect("a file"));
        Arc::new(users)
    }

    async fn verify(users: &Arc<Users>, user: &str, password: &str) -> Option<String> {
        let until = clock::now() + Duration::from_secs(10);
        let verified = Users::verify(users, user, password, until).await.expect("a turn");
        verified.ok().map(|principal| principal.name.to_string())
    }

    #[tokio::test]
    async fn what_was_accepted_is_remembered_until_the_file_changes() {
        let users = users();
        assert!(matches!(users.known("ali", "open sesame"), Quick::Unknown));

        assert_eq!(verify(&users, "ali", "open sesame").await.as_deref(), Some("ali"));

        assert!(matches!(users.known("ali", "open sesame"), Quick::Known(_)));
        assert!(matches!(users.known("ali", "open sesamé"), Quick::Unknown));
        users.set(HashMap::new());
        assert!(matches!(users.known("ali", "open sesame"), Quick::Unknown));
        assert_eq!(verify(&users, "ali", "open sesame").await, None);
    }

    #[tokio::test]
    async fn nobody_else_and_nothing_else_is_accepted() {
        let users = users();

        for (user, password) in
            [("ali", "open sesame "), ("ali", ""), ("Ali", "open sesame"), ("baba", "open sesame"), ("", "")]
        {
            assert_eq!(verify(&users, user, password).await, None, "{user}");
        }
        // bcrypt itself would cut it off.
        let hash = bcrypt::hash("x".repeat(LONGEST), 4).expect("a hash");
        users.set([("ali".to_owned(), hash)].into());
        assert_eq!(verify(&users, "ali", &"x".repeat(LONGEST)).await.as_deref(), Some("ali"));
        assert_eq!(verify(&users, "ali", &"x".repeat(LONGEST + 1)).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_turn_is_told_to_come_again() {
        let users = users();
        let _all = users.turns.acquire_many(AT_ONCE as u32).await.expect("free");

        let outcome = Users::verify(&users, "ali", "x", clock::now() + Duration::from_millis(50)).await;

        assert_eq!(outcome.expect_err("no turn").kind, ErrorKind::Overloaded);
    }

    #[test]
    fn other_hashes_and_dear_ones_are_refused_with_their_line() {
        let dear = "$2y$17$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
        for text in [
            "ali",
            "ali:",
            "ali:{SHA}x",
            "ali:$apr1$x$y",
            "ali:plain",
            ":x",
            &format!("ali:{dear}"),
            &format!("a:{NOBODY}\na:{NOBODY}"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.starts_with("line ") && !error.contains("plain"), "{error}");
        }
        assert_eq!(parse(&format!("a:{NOBODY}\n#\n\n")).expect("fine").len(), 1);
    }
}
