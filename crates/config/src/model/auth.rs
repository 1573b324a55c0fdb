//! With which credential requests leave; a credential itself is never in the model.

use super::*;

/// A way to show an upstream who we are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Auth {
    Bearer(Secret),
    Basic {
        user: String,
        password: Secret,
    },
    Header {
        name: String,
        prefix: String,
        value: Secret,
    },
    OAuth2(Box<OAuth2>),
    Jwt(Box<Minted>),
    /// The route's `tls` shows it.
    Mtls {
        cert: PathBuf,
        key: PathBuf,
    },
    SigV4(Box<SigV4>),
    /// The app sends a word where the secret of another kind belongs.
    Placeholder {
        word: String,
        /// Header names, lower-case, in which it is looked for.
        headers: Vec<String>,
        /// Never itself a placeholder, nor a signature.
        of: Box<Auth>,
    },
}

/// Where a secret is read from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Secret {
    File(PathBuf),
    Env(String),
    Exec(Exec),
    /// A file in systemd's `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

/// A program that prints a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Exec {
    /// At least one word; no shell.
    pub command: Vec<String>,
    /// It is run again after so long, or before what it printed ends.
    pub every: Duration,
}

/// Client credentials (RFC 6749 section 4.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OAuth2 {
    pub token_url: Endpoint,
    pub client_id: String,
    pub client_secret: Secret,
    pub style: ClientAuthStyle,
    /// Blank between; empty for none.
    pub scope: String,
    pub audience: Option<String>,
    /// RFC 8707.
    pub resource: Vec<String>,
    /// Of a token whose answer does not say.
    pub expires_in: Duration,
    pub timeout: Duration,
    pub tls: Tls,
}

/// A token that we sign ourselves (RFC 7519).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Minted {
    pub key: Secret,
    pub algorithm: JwtAlgorithm,
    pub kid: Option<String>,
    pub issuer: Option<String>,
    pub subject: Option<String>,
    pub audience: Vec<String>,
    pub lifetime: Duration,
    pub claims: Vec<(String, Claim)>,
    /// Lower-case.
    pub header: String,
    pub prefix: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JwtAlgorithm {
    Rs256,
    Ps256,
    Es256,
    EdDsa,
    Hs256,
}

/// What a claim says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Claim {
    Text(String),
    Int(i64),
    Bool(bool),
}

/// AWS Signature Version 4.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SigV4 {
    pub region: String,
    pub service: String,
    pub keys: AwsKeys,
    /// Bytes of a body that is read to be signed.
    pub body_limit: usize,
}

/// Where access keys are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AwsKeys {
    Apart {
        id: AccessKey,
        secret: Secret,
        /// Of temporary ones.
        session: Option<Secret>,
    },
    /// In one document, as AWS's `credential_process` prints it.
    Together(Secret),
}

/// The name of an access key, which is no secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AccessKey {
    Id(String),
    In(Secret),
}

/// How a client shows itself to a token endpoint (RFC 6749 section 2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientAuthStyle {
    /// In `Authorization: Basic`.
    Basic,
    /// In the body.
    Post,
}

/// A URL as it is written, path and query included.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Without a base path.
    pub url: Url,
    /// Path and query.
    pub target: String,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Url { scheme, host, port, .. } = &self.url;
        let (scheme, usual) = if *scheme == Scheme::Https { ("https", 443) } else { ("http", 80) };
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let port = if *port == usual { String::new() } else { format!(":{port}") };
        write!(f, "{scheme}://{host}{port}{}", self.target)
    }
}
