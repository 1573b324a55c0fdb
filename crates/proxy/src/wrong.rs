//! What a configuration is refused for after its text was accepted: only who builds from it can know.

use std::fmt;

use config::Diagnostic;
use config::effective::Origins;

/// One thing that does not build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    message: String,
    file: Option<File>,
}

/// A file that a value names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct File {
    /// The value may be written at any one of these paths.
    keys: Vec<String>,
    help: String,
}

impl Wrong {
    /// A file named by the value at the first of `keys` that there is.
    pub(crate) fn file(keys: Vec<String>, message: String, help: String) -> Self {
        Self { message, file: Some(File { keys, help }) }
    }

    /// The same in the place of the value that it is about.
    pub fn diagnostic(&self, origins: &Origins) -> Option<Diagnostic> {
        let File { keys, help } = self.file.as_ref()?;
        keys.iter().find_map(|key| origins.error(key, "tls-file", &self.message, help))
    }

    /// For people, with its place if it has one.
    pub fn told(&self, origins: &Origins) -> String {
        self.diagnostic(origins).map_or_else(|| self.to_string(), |diagnostic| diagnostic.to_string())
    }
}

impl From<String> for Wrong {
    fn from(message: String) -> Self {
        Self { message, file: None }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.file.iter().try_for_each(|file| write!(f, "; {}", file.help))
    }
}
