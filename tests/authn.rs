//! Who calls, by what is shown: tokens, API keys and passwords, at every door, and nothing of them anywhere else.

#[path = "authn/counted.rs"]
mod counted;
#[path = "authn/doors.rs"]
mod doors;
#[path = "authn/negative.rs"]
mod negative;
#[path = "authn/rotation.rs"]
mod rotation;

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{Proxy, Response, Upstream};

/// Seconds since 1970.
#[allow(clippy::disallowed_methods, reason = "a token says when it ends by the wall clock")]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// What a good token of the issuer says.
pub fn claims() -> Value {
    json!({ "iss": "https://issuer.test", "aud": "api", "sub": "ali", "exp": now() + 600 })
}

/// A file that is there as long as the test.
pub struct File(TempDir);

impl File {
    pub fn new(text: &str) -> Self {
        let file = Self(tempfile::tempdir().expect("a directory"));
        std::fs::write(file.path(), text).expect("written");
        file
    }

    pub fn path(&self) -> std::path::PathBuf {
        self.0.path().join("file")
    }
}

/// A route `api` for `api.test` to `upstream` that asks as `authenticate` says, by these identities.
pub fn config(upstream: &Upstream, identities: &[&str], authenticate: &str) -> String {
    let identities: String = identities.iter().map(|one| format!("  - {one}\n")).collect();
    format!(
        "identities:\n{identities}routes:\n  - {{ name: api, match: api.test, to: 'http://{}', authenticate: {authenticate} }}\n",
        upstream.addr()
    )
}

/// An identity `corp` whose keys lie in a file.
pub fn corp(keys: &File, more: &str) -> String {
    let keys = keys.path().display().to_string();
    format!("{{ name: corp, jwt: {{ issuer: 'https://issuer.test', audience: api, keys: {{ file: {keys} }}{more} }} }}")
}

/// GET of the route as a client of a proxy.
pub async fn forward(proxy: &Proxy, shown: &str) -> Response {
    proxy.call("GET", "http://api.test/", &[&format!("Proxy-Authorization: {shown}")], "").await
}

/// GET of the route as a client of an origin.
pub async fn reverse(proxy: &Proxy, field: &str) -> Response {
    proxy.call("GET", "/r/api/", &["Host: localhost", field], "").await
}
