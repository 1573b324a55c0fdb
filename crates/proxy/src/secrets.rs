//! Reads secrets into their cells, at start and again when their file changed. What must be fetched is the `keeper`'s.
//!
//! Files are read whole once a second by the control thread: they are small, and that sees every way of replacing
//! one, a swapped symlink of Kubernetes included. A file that cannot be read keeps the last good value and is said
//! once; a secret that was never read refuses its requests with `credential`.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use config::model;
use exchange::clock;
use http::HeaderValue;
use middleware::credentials::secret;
use zeroize::Zeroizing;

use crate::keeper::exec;
use crate::state::{SecretForm, SecretKey, Source, State};

/// No token is longer.
const MAX_BYTES: u64 = 64 * 1024;

/// Reads one secret that is there to be read.
///
/// # Errors
/// Says which source, why, and never the value.
pub fn read(key: &SecretKey) -> Result<HeaderValue, String> {
    match &key.source {
        Source::Text(secret) => formed(key, &text(secret)?),
        Source::OAuth2(_) | Source::Jwt(_) => Err("it is fetched, not read".into()),
    }
}

/// The text of a secret that is there to be read.
///
/// # Errors
/// The same.
pub fn text(of: &model::Secret) -> Result<Zeroizing<String>, String> {
    match of {
        model::Secret::Env(name) => {
            let text = std::env::var(name).map_err(|_| format!("the environment has no variable {name}"))?;
            Ok(Zeroizing::new(text))
        }
        model::Secret::File(path) => file(path),
        model::Secret::Credential(name) => {
            let directory = std::env::var_os("CREDENTIALS_DIRECTORY");
            let directory = directory.ok_or("there is no $CREDENTIALS_DIRECTORY: systemd sets it for a unit")?;
            file(&Path::new(&directory).join(name))
        }
        model::Secret::Exec(exec) => Err(format!("`{}` is run, not read", exec::shown(exec))),
    }
}

fn file(path: &Path) -> Result<Zeroizing<String>, String> {
    let shown = path.display();
    // A pipe would be waited for.
    let meta = std::fs::metadata(path).map_err(|error| format!("{shown}: {error}"))?;
    if !meta.is_file() {
        return Err(format!("{shown}: not a regular file"));
    }
    let file = std::fs::File::open(path).map_err(|error| format!("{shown}: {error}"))?;
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| format!("{shown}: {error}"))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(format!("{shown}: longer than {MAX_BYTES} bytes"));
    }
    Ok(text)
}

/// A secret's text as it is presented.
///
/// # Errors
/// Says which source, why, and never the value.
pub fn formed(key: &SecretKey, text: &str) -> Result<HeaderValue, String> {
    let value = match &key.form {
        SecretForm::Bearer => secret::bearer(text),
        SecretForm::Basic { user } => secret::basic(user, text),
        SecretForm::Header { prefix } => secret::prefixed(prefix, text),
    };
    value.map_err(|error| format!("{}: {error}", shown(key)))
}

/// The source, for people.
pub fn shown(key: &SecretKey) -> String {
    match &key.source {
        Source::Text(secret) => source(secret),
        Source::OAuth2(from) => format!("issuer {}", from.token_url),
        Source::Jwt(from) => format!("own signature, key from {}", source(&from.key)),
    }
}

/// Where a secret is, for people.
pub fn source(of: &model::Secret) -> String {
    match of {
        model::Secret::Env(name) => format!("environment variable {name}"),
        model::Secret::File(path) => format!("file {}", path.display()),
        model::Secret::Exec(exec) => format!("program {}", exec::shown(exec)),
        model::Secret::Credential(name) => format!("systemd credential {name}"),
    }
}

/// Reads those that have no value yet: a route must not be in force before its credential is. What cannot be read is
/// left to the [`Refresher`], which says so.
pub fn fill(state: &State) {
    for (key, cell) in state.secrets().into_iter().filter(|(_, cell)| !cell.is_fetched()) {
        if cell.get(clock::now).is_none() {
            cell.set(read(&key).ok());
        }
    }
}

/// Keeps all cells fresh.
pub struct Refresher {
    state: Arc<State>,
    failing: HashMap<SecretKey, String>,
}

impl Refresher {
    /// For the cells of `state`.
    pub fn new(state: Arc<State>) -> Self {
        Self { state, failing: HashMap::new() }
    }

    /// Reads all again; tells `changed` of each that changed (`true`) or began to fail (`false`).
    pub fn run(&mut self, mut changed: impl FnMut(&SecretKey, bool)) {
        for (key, cell) in self.state.secrets().into_iter().filter(|(_, cell)| !cell.is_fetched()) {
            match read(&key) {
                Ok(value) => {
                    self.failing.remove(&key);
                    if cell.get(clock::now).is_none_or(|(current, _)| current != value) {
                        cell.set(Some(value));
                        tracing::info!(source = shown(&key), "secret read");
                        changed(&key, true);
                    }
                }
                Err(error) => {
                    if self.failing.get(&key) != Some(&error) {
                        tracing::warn!(%error, "secret not read; the last good value stays");
                        changed(&key, false);
                        self.failing.insert(key, error);
                    }
                }
            }
            cell.looked();
        }
    }
}
