//! What callers are held against: keys of issuers, API keys, passwords, as the configuration in force names them.
//!
//! They outlive a configuration as long as they stay the same in it, and with them what was verified and remembered; an
//! issuer's keys stay even when what is asked of its tokens changes. Files are read whole once a second by the control
//! thread; what differs is used once it was the same twice, so a half-written file is not. One that cannot be read, or
//! does not hold what it should, leaves the last good one in use and is said once. Whoever has nothing to be held
//! against is refused.

mod issuer;

use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Weak};

use aws_lc_rs::digest::{SHA256, digest};
use config::model::{self, ApiKeys, JwtKeys, Proof};
use exchange::{Host, clock};
use http::HeaderName;
use http::header::AUTHORIZATION;
use middleware::authenticate::jwt::{self, Jwt, Keyring, Terms, Told};
use middleware::authenticate::keys::{self, Keys};
use middleware::authenticate::{Gate, Identity, Params, Way, basic};
use parking_lot::Mutex;
use upstream::connect::Destination;
use upstream::connect::Tls;

use crate::secrets;

pub use self::issuer::Issuers;

/// No file of keys or users, and no issuer's set, is larger.
const MOST: usize = 1024 * 1024;

/// All that some configuration uses.
#[derive(Default)]
pub struct Identities(Mutex<Vec<Arc<Held>>>);

/// One of them.
struct Held {
    from: model::Identity,
    identity: Weak<Identity>,
    /// Of a set of keys that is fetched.
    from_afar: Option<Afar>,
    content: Mutex<Content>,
}

/// Where a set of keys is fetched.
#[derive(Clone)]
struct Afar {
    destination: Destination,
    uri: String,
}

/// The last of what a file held, as SHA-256.
#[derive(Default)]
struct Content {
    used: Option<[u8; 32]>,
    pending: Option<[u8; 32]>,
    failing: Option<String>,
}

/// For people.
pub struct Shown {
    pub name: String,
    pub kind: &'static str,
    /// Keys or users; `None` as long as nothing was read.
    pub entries: Option<usize>,
    /// Of an issuer's keys: when they were last read well.
    pub read: Option<policy::Tick>,
    /// Why what is there is not the newest.
    pub error: Option<String>,
}

impl Identities {
    /// Who may show themselves to a route.
    ///
    /// # Errors
    /// What cannot be built, by its name.
    pub fn gate(
        &self,
        asked: Option<&model::Authenticate>,
        all: &[model::Identity],
        tls: impl Fn(&model::Tls) -> Result<Tls, String>,
    ) -> Result<Option<Arc<Gate>>, String> {
        let Some(asked) = asked else { return Ok(None) };
        let named = |name: &String| {
            let from = all.iter().find(|one| one.name == *name);
            let from = from.ok_or_else(|| format!("there is no identity `{name}`"))?;
            self.identity(from, &tls).map_err(|error| format!("identity `{name}`: {error}"))
        };
        let identities = asked.by.iter().map(named).collect::<Result<_, _>>()?;
        Ok(Some(Arc::new(Gate::new(Params { identities, required: asked.required }))))
    }

    fn identity(
        &self,
        from: &model::Identity,
        tls: impl Fn(&model::Tls) -> Result<Tls, String>,
    ) -> Result<Arc<Identity>, String> {
        let mut all = self.0.lock();
        all.retain(|held| held.identity.strong_count() > 0);
        if let Some(known) = all.iter().find(|held| held.from == *from).and_then(|held| held.identity.upgrade()) {
            return Ok(known);
        }
        let name: Arc<str> = from.name.as_str().into();
        let mut from_afar = None;
        let (header, way) = match &from.proof {
            Proof::Jwt(jwt) => {
                if let JwtKeys::Url(url) = &jwt.keys {
                    from_afar = Some(afar(url, tls)?);
                }
                let old =
                    all.iter().filter(|held| held.from.name == from.name).find_map(|held| held.keyring(&jwt.keys));
                let keyring = old.unwrap_or_else(|| Arc::new(Keyring::new(from_afar.is_some())));
                (jwt.header.as_str(), Way::Jwt(Box::new(Jwt::new(Arc::clone(&name), params(jwt), keyring)?)))
            }
            Proof::Keys { header, keys: from } => {
                let known = Keys::new(Arc::clone(&name));
                if let ApiKeys::List(all) = from {
                    let read = |(name, hash): &(String, String)| Some((name.clone(), keys::hash(hash)?));
                    known.set(&all.iter().filter_map(read).collect::<Vec<_>>());
                }
                (header.as_str(), Way::Keys(known))
            }
            Proof::Basic(_) => (AUTHORIZATION.as_str(), Way::Basic(Arc::new(basic::Users::new(Arc::clone(&name))?))),
        };
        let header = HeaderName::from_bytes(header.as_bytes()).map_err(|error| error.to_string())?;
        let identity = Arc::new(Identity { name, header, forward: from.forward, way });
        let held =
            Held { from: from.clone(), identity: Arc::downgrade(&identity), from_afar, content: Mutex::default() };
        all.push(Arc::new(held));
        Ok(identity)
    }

    fn all(&self) -> Vec<(Arc<Held>, Arc<Identity>)> {
        let all = self.0.lock();
        all.iter().filter_map(|held| Some((Arc::clone(held), held.identity.upgrade()?))).collect()
    }

    /// Reads all files again.
    pub fn refresh(&self) {
        for (held, identity) in self.all() {
            held.refresh(&identity);
        }
    }

    /// All, for people.
    pub fn shown(&self) -> Vec<Shown> {
        self.all().into_iter().map(|(held, identity)| held.shown(&identity)).collect()
    }
}

impl Held {
    /// That of the same source.
    fn keyring(&self, of: &JwtKeys) -> Option<Arc<Keyring>> {
        let Proof::Jwt(jwt) = &self.from.proof else { return None };
        match &self.identity.upgrade()?.way {
            Way::Jwt(known) if jwt.keys == *of => Some(Arc::clone(known.keyring())),
            _ => None,
        }
    }

    fn refresh(&self, identity: &Identity) {
        let Some(read) = self.read() else { return };
        let mut content = self.content.lock();
        let outcome = read.and_then(|bytes| {
            let mut print = [0; 32];
            print.copy_from_slice(digest(&SHA256, &bytes).as_ref());
            if content.used == Some(print) {
                content.pending = None;
                return Ok(false);
            }
            if content.used.is_some() && content.pending != Some(print) {
                content.pending = Some(print);
                return Ok(false);
            }
            self.adopt(identity, &bytes)?;
            (content.used, content.pending) = (Some(print), None);
            Ok(true)
        });
        match outcome {
            Ok(true) => {
                content.failing = None;
                tracing::info!(identity = %identity.name, "read what callers are held against");
            }
            Ok(false) if content.pending.is_none() => content.failing = None,
            Ok(false) => {}
            Err(error) => {
                if content.failing.as_ref() != Some(&error) {
                    tracing::warn!(identity = %identity.name, %error, "not read; what was read last stays in use");
                    content.failing = Some(error.clone());
                }
                if let Way::Jwt(jwt) = &identity.way {
                    jwt.keyring().failed(error);
                }
            }
        }
    }

    /// What lies in its file; `None` if it has none.
    fn read(&self) -> Option<Result<Vec<u8>, String>> {
        let path = match &self.from.proof {
            Proof::Jwt(jwt) => match &jwt.keys {
                JwtKeys::Url(_) => return None,
                JwtKeys::File(path) | JwtKeys::Secret(model::Secret::File(path)) => path,
                JwtKeys::Secret(other) => {
                    return Some(secrets::text(other).map(|text| text.as_bytes().to_vec()));
                }
            },
            Proof::Keys { keys: ApiKeys::List(_), .. } => return None,
            Proof::Keys { keys: ApiKeys::File(path), .. } | Proof::Basic(path) => path,
        };
        Some(whole(path))
    }

    /// # Errors
    /// Says what is wrong, and never what is there.
    fn adopt(&self, identity: &Identity, bytes: &[u8]) -> Result<(), String> {
        let text = || std::str::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_owned());
        match (&identity.way, &self.from.proof) {
            (Way::Jwt(known), Proof::Jwt(model::Jwt { keys: JwtKeys::Secret(_), .. })) => {
                let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
                let secret = line.strip_suffix(b"\r").unwrap_or(line);
                known.keyring().set(jwt::Keys::secret(secret)?, clock::now());
            }
            (Way::Jwt(known), _) => {
                let keys = jwt::Keys::parse(bytes)?;
                issuer::tell(&identity.name, &keys);
                known.keyring().set(keys, clock::now());
            }
            (Way::Keys(known), _) => known.set(&keys::parse(text()?)?),
            (Way::Basic(known), _) => known.set(basic::parse(text()?)?),
        }
        Ok(())
    }

    fn shown(&self, identity: &Identity) -> Shown {
        let (kind, entries, read, error) = match &identity.way {
            Way::Jwt(jwt) => {
                let Told { keys, read, error } = jwt.keyring().told();
                ("jwt", read.map(|_| keys), read, error)
            }
            Way::Keys(keys) => ("keys", keys.count(), None, None),
            Way::Basic(users) => ("basic", users.count(), None, None),
        };
        let error = error.or_else(|| self.content.lock().failing.clone());
        Shown { name: identity.name.to_string(), kind, entries, read, error }
    }
}

fn params(from: &model::Jwt) -> jwt::Params {
    jwt::Params {
        algorithms: from.algorithms.iter().filter_map(|name| jwt::algorithm(name)).collect(),
        terms: Terms {
            issuer: from.issuer.clone(),
            audience: from.audience.clone(),
            leeway: from.leeway.as_secs(),
            require: from.require.clone(),
            max_age: from.max_age.map(|age| age.as_secs()),
        },
    }
}

fn afar(url: &model::KeysUrl, tls: impl Fn(&model::Tls) -> Result<Tls, String>) -> Result<Afar, String> {
    let bracketed = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
    let host = Host::parse(&bracketed).map_err(|error| format!("`{}`: {error}", url.host))?;
    let (scheme, usual, tls) = match url.scheme {
        model::Scheme::Https => ("https", 443, Some(tls(&model::Tls { ca: url.ca.clone(), ..model::Tls::default() })?)),
        model::Scheme::Http | model::Scheme::H2c => ("http", 80, None),
    };
    let port = if url.port == usual { String::new() } else { format!(":{}", url.port) };
    let destination = Destination::new(host, url.port, tls).map_err(|error| error.to_string())?;
    Ok(Afar { destination, uri: format!("{scheme}://{bracketed}{port}{}", url.target) })
}

/// All of a file that is not too large.
fn whole(path: &Path) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let told = |error: std::io::Error| format!("{shown}: {error}");
    // A pipe would be waited for.
    if !std::fs::metadata(path).map_err(told)?.is_file() {
        return Err(format!("{shown}: not a regular file"));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(told)?;
    file.take(MOST as u64 + 1).read_to_end(&mut bytes).map_err(told)?;
    if bytes.len() > MOST { Err(format!("{shown}: longer than {MOST} bytes")) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests;
