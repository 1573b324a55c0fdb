//! Reads secrets into their cells, at start and again when their file changed.
//!
//! Files are read whole once a second by the control thread: they are small, and that sees every way of replacing
//! one, a swapped symlink of Kubernetes included. A file that cannot be read keeps the last good value and is said
//! once; a secret that was never read refuses its requests with `credential`.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use config::model;
use http::HeaderValue;
use middleware::credentials::secret;

use crate::state::{SecretForm, SecretKey, State};

/// No token is longer.
const MAX_BYTES: u64 = 64 * 1024;

/// Reads one secret.
///
/// # Errors
/// Says which source, why, and never the value.
pub fn read(key: &SecretKey) -> Result<HeaderValue, String> {
    let text = match &key.source {
        model::Secret::Env(name) => {
            std::env::var(name).map_err(|_| format!("the environment has no variable {name}"))?
        }
        model::Secret::File(path) => {
            let shown = path.display();
            // A pipe would be waited for.
            let meta = std::fs::metadata(path).map_err(|error| format!("{shown}: {error}"))?;
            if !meta.is_file() {
                return Err(format!("{shown}: not a regular file"));
            }
            let file = std::fs::File::open(path).map_err(|error| format!("{shown}: {error}"))?;
            let mut text = String::new();
            file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| format!("{shown}: {error}"))?;
            if text.len() as u64 > MAX_BYTES {
                return Err(format!("{shown}: longer than {MAX_BYTES} bytes"));
            }
            text
        }
    };
    let value = match &key.form {
        SecretForm::Bearer => secret::bearer(&text),
        SecretForm::Basic { user } => secret::basic(user, &text),
        SecretForm::Header { prefix } => secret::prefixed(prefix, &text),
    };
    value.map_err(|error| format!("{}: {error}", shown(key)))
}

/// The source, for people.
pub fn shown(key: &SecretKey) -> String {
    match &key.source {
        model::Secret::Env(name) => format!("environment variable {name}"),
        model::Secret::File(path) => path.display().to_string(),
    }
}

/// Reads those that have no value yet: a route must not be in force before its credential is. What cannot be read is
/// left to the [`Refresher`], which says so.
pub fn fill(state: &State) {
    for (key, cell) in state.secrets() {
        if cell.get().is_none() {
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
        for (key, cell) in self.state.secrets() {
            match read(&key) {
                Ok(value) => {
                    self.failing.remove(&key);
                    if cell.get().as_ref() != Some(&value) {
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
        }
    }
}
