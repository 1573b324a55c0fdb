//! Which configuration a subcommand works on.
//!
//! Every flag that changes a value becomes an override that names the flag, so that `config --effective` and every
//! diagnostic can say where a value came from.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use config::{Diagnostic, Loaded, Severity, Source};

use super::out;

/// Flags that override values of the configuration.
#[derive(clap::Args, Default)]
pub(crate) struct Flags {
    /// Address to listen on, 127.0.0.1:4780 or unix:/path.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Address of the admin interface, 127.0.0.1:4781, unix:/path or false.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// Worker threads.
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// Level of messages: error, warn, info, debug, trace.
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
    /// Any other key, as in --set drain=5s; repeatable.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
}

impl Flags {
    /// The first flag that was given, as it is written.
    pub(crate) fn first(&self) -> Option<&'static str> {
        let set = (!self.set.is_empty()).then_some("--set");
        self.named().into_iter().find_map(|(flag, _, value)| value.map(|_| flag)).or(set)
    }

    /// Each flag with the key it sets.
    fn named(&self) -> [(&'static str, &'static str, Option<&str>); 4] {
        [
            ("--listen", "listen", self.listen.as_deref()),
            ("--admin", "admin", self.admin.as_deref()),
            ("--workers", "workers", self.workers.as_deref()),
            ("--log", "log.level", self.log.as_deref()),
        ]
    }
}

/// `key=value`.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// A configuration that was chosen and not read yet.
pub(crate) struct Chosen(Source);

impl Chosen {
    /// The file of `-c` (or where the search leads), the environment and the flags.
    pub(crate) fn new(path: Option<PathBuf>, flags: &Flags) -> Self {
        let mut chosen = Self::file(path);
        for (flag, path, value) in flags.named() {
            if let Some(value) = value {
                chosen.set(path, value, &format!("flag {flag}"));
            }
        }
        for (path, value) in &flags.set {
            chosen.set(path, value, &format!("flag --set {path}"));
        }
        chosen
    }

    /// The same without flags.
    pub(crate) fn file(path: Option<PathBuf>) -> Self {
        let env = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self(Source { path, env, overrides: Vec::new() })
    }

    /// One file and nothing else, whatever the environment says.
    pub(crate) fn alone(path: PathBuf) -> Self {
        Self(Source { path: Some(path), env: BTreeMap::new(), overrides: Vec::new() })
    }

    /// Overrides the value at `path`, in the name of `origin`.
    pub(crate) fn set(&mut self, path: &str, value: &str, origin: &str) {
        let (origin, path, value) = (origin.to_owned(), path.to_owned(), value.to_owned());
        self.0.overrides.push(config::Override { origin, path, value });
    }

    /// Reads and checks it; what is wrong or doubtful is said on stderr.
    pub(crate) fn load(&self) -> Result<Loaded, ExitCode> {
        let loaded = self.quietly()?;
        loaded.warnings.iter().for_each(out::diagnostic);
        Ok(loaded)
    }

    /// The same, silent on what is only doubtful.
    pub(crate) fn quietly(&self) -> Result<Loaded, ExitCode> {
        config::load(&self.0).map_err(|diagnostics| {
            diagnostics.iter().for_each(out::diagnostic);
            out::failure(format_args!("the configuration has {}", counted(errors(&diagnostics), "error")));
            ExitCode::FAILURE
        })
    }

    /// Its diagnostics as they are, for who prints them otherwise.
    pub(crate) fn checked(&self) -> Result<Loaded, Vec<Diagnostic>> {
        config::load(&self.0)
    }

    /// For reading it again later.
    pub(crate) fn into_source(self) -> Source {
        self.0
    }
}

/// How many of them refuse the configuration.
pub(crate) fn errors(of: &[Diagnostic]) -> usize {
    of.iter().filter(|d| d.severity == Severity::Error).count()
}

/// `1 error`, `2 errors`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_needs_a_key_and_keeps_every_later_equals_sign() {
        assert_eq!(pair("a.b=c=d"), Ok(("a.b".to_owned(), "c=d".to_owned())));
        assert!(pair("=c").is_err());
        assert!(pair("a").is_err());
    }

    #[test]
    fn the_first_flag_is_named_as_it_was_written() {
        assert_eq!(Flags::default().first(), None);
        assert_eq!(Flags { workers: Some("2".to_owned()), ..Flags::default() }.first(), Some("--workers"));
        assert_eq!(Flags { set: vec![("a".to_owned(), "b".to_owned())], ..Flags::default() }.first(), Some("--set"));
    }
}
