//! Ways for callers to prove who they are.

use super::*;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Unique.
    pub name: String,
    pub proof: Proof,
    /// The upstream gets what was accepted.
    pub forward: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Proof {
    Jwt(Jwt),
    Keys {
        /// Lower-case.
        header: String,
        keys: ApiKeys,
    },
    /// A file as `htpasswd -B` writes it.
    Basic(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Jwt {
    pub issuer: String,
    /// At least one.
    pub audience: Vec<String>,
    pub keys: JwtKeys,
    /// At least one, by the names of RFC 7518.
    pub algorithms: Vec<String>,
    pub leeway: Duration,
    /// Lower-case.
    pub header: String,
    pub require: Vec<String>,
    pub max_age: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum JwtKeys {
    File(PathBuf),
    Url(KeysUrl),
    Secret(Secret),
}

/// Where an issuer publishes its keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeysUrl {
    pub scheme: Scheme,
    pub host: String,
    pub port: u16,
    /// Path and query.
    pub target: String,
    /// PEM bundle instead of the system's roots.
    pub ca: Option<PathBuf>,
}

/// Each key by its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ApiKeys {
    File(PathBuf),
    /// With its SHA-256 in hexadecimal digits.
    List(Vec<(String, String)>),
}

/// Who is asked to show themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticate {
    /// Names in `Model::identities`; at least one.
    pub by: Vec<String>,
    /// `false`: a request that shows nothing goes on.
    pub required: bool,
}

impl Jwt {
    /// Whether a secret may sign: whoever verifies could sign, too.
    pub fn is_symmetric(&self) -> bool {
        self.algorithms.iter().any(|name| name.starts_with("HS"))
    }
}
