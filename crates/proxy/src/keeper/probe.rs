//! `check --online`: every credential of a configuration, read or fetched once.

use std::collections::HashSet;
use std::sync::Arc;

use config::Model;
use config::model::AccessSink;
use tokio::runtime::Handle;

use super::{Failure, Fresh, Tools, fetch, keys};
use crate::build;
use crate::house::House;
use crate::secrets;
use crate::state::SecretKey;

/// What became of one.
pub struct Probed {
    /// Where it is from.
    pub what: String,
    /// How long it is good, or what failed; nothing of the credential.
    pub result: Result<String, String>,
}

/// Reads or fetches each credential once, one after the other. Programs are run and issuers are asked.
///
/// # Errors
/// What could not even be set up.
pub async fn probe(model: &Model) -> Result<Vec<Probed>, String> {
    let mut model = model.clone();
    model.log.access.sink = AccessSink::Off;
    let house = House::new(&model, Handle::current(), 0, None, false).map_err(|error| error.to_string())?;
    let tools = Tools { connector: house.tools().connector, state: Arc::clone(&house.state) };
    let mut keys: Vec<SecretKey> = Vec::new();
    for key in build::secrets(&model) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let mut all = Vec::new();
    for key in keys {
        all.push(probed(secrets::shown(&key), fetch(&key, &tools).await));
    }
    let access: HashSet<_> = build::keys(&model).collect();
    for from in access {
        all.push(probed(keys::shown(from), keys::fetch(from).await));
    }
    Ok(all)
}

fn probed<T>(source: String, fetched: Result<Fresh<T>, Failure>) -> Probed {
    let result = match fetched {
        Ok(Fresh { lifetime: Some(time), .. }) => Ok(format!("good for {time:?}")),
        Ok(_) => Ok("read".into()),
        Err(failure) => Err(failure.detail + &failure.hint.map(|hint| format!(" ({hint})")).unwrap_or_default()),
    };
    Probed { what: format!("credential from {source}"), result }
}
