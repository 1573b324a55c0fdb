//! Which text is read, what is laid over it, and in which order.
//!
//! Flag beats `ATTACHE_*` beats file beats default. The environment is an argument: the process reads it once, tests
//! pass their own, and nothing here depends on hidden state but the file system.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::check;
use crate::diag::{Diagnostic, Report, Severity};
use crate::effective::Origins;
use crate::keys::ROOT_KIND;
use crate::model::Model;
use crate::raw::text::{At, Kind as TextKind, Sources};
use crate::raw::{self, Format, Node, Value, overlay};
use crate::shape::shape;
use crate::table::nearest;

/// Largest file that is read.
pub const MAX_FILE: u64 = 1 << 20;

/// What applies when there is no file.
pub const EMBEDDED: &str = include_str!("embedded.yaml");

/// Variables that set a key, and the key.
const VARIABLES: [(&str, &str); 7] = [
    ("ATTACHE_LISTEN", "listen"),
    ("ATTACHE_ADMIN", "admin"),
    ("ATTACHE_METRICS", "metrics.address"),
    ("ATTACHE_WORKERS", "workers"),
    ("ATTACHE_DEFAULT", "default.action"),
    ("ATTACHE_DRAIN", "drain"),
    ("ATTACHE_LOG", "log.level"),
];

/// Variables that mean something to other parts of the program.
const FOREIGN: [&str; 3] = ["ATTACHE_CONFIG", "ATTACHE_ADMIN_SOCKET", "ATTACHE_PROXY"];

/// Where to look for a configuration, and what goes over it.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// `-c`.
    pub path: Option<PathBuf>,
    /// The environment of the process.
    pub env: BTreeMap<String, String>,
    /// Flags, in order; a later one wins.
    pub overrides: Vec<Override>,
}

/// One value from the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// `flag --listen`, as it is shown.
    pub origin: String,
    /// `listen`, `routes[0].timeout.attempt`, `routes[name].retry`.
    pub path: String,
    /// A plain scalar, or YAML when it begins with a bracket, brace or quote.
    pub value: String,
}

/// Which text was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceName {
    /// This file.
    Path(PathBuf),
    /// None was found.
    Embedded,
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Embedded => f.write_str("embedded default"),
        }
    }
}

/// A configuration without errors.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What to build.
    pub model: Model,
    /// What is accepted and probably not meant.
    pub warnings: Vec<Diagnostic>,
    /// Which text it is.
    pub source: SourceName,
    /// Where each value came from.
    pub origins: Origins,
}

/// Finds, reads and checks the configuration; on failure all errors and warnings at once.
pub fn load(source: &Source) -> Result<Loaded, Vec<Diagnostic>> {
    let Some(path) = find(source, &|path| path.is_file()) else {
        return assemble(Text { text: EMBEDDED, name: "embedded", format: Format::Yaml }, SourceName::Embedded, source);
    };
    let name = path.display().to_string();
    let text = read(&path, &name)?;
    let toml = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("toml"));
    let format = if toml { Format::Toml } else { Format::Yaml };
    assemble(Text { text: &text, name: &name, format }, SourceName::Path(path), source)
}

/// Checks a text that is already in memory, without environment and flags.
pub fn parse(text: &str, name: &str, format: Format) -> Result<Loaded, Vec<Diagnostic>> {
    assemble(Text { text, name, format }, SourceName::Path(PathBuf::from(name)), &Source::default())
}

/// The file that applies: named ones whether they exist or not, usual places only if they do.
fn find(source: &Source, exists: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
    let variable = |name: &str| source.env.get(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(named) = source.path.clone().or_else(|| variable("ATTACHE_CONFIG")) {
        return Some(named);
    }
    let home = variable("XDG_CONFIG_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| variable("HOME").map(|home| home.join(".config")));
    ["attache.yaml", "attache.yml", "attache.toml"]
        .into_iter()
        .map(PathBuf::from)
        .chain(home.map(|home| home.join("attache").join("attache.yaml")))
        .chain([PathBuf::from("/etc/attache/attache.yaml")])
        .find(|path| exists(path))
}

fn read(path: &Path, name: &str) -> Result<String, Vec<Diagnostic>> {
    let fail = |id, message: String, help| vec![Diagnostic::whole(id, Severity::Error, name, message, help)];
    let file = std::fs::File::open(path).map_err(|e| {
        fail("file", format!("cannot open the configuration: {e}"), "check the path and its permissions")
    })?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| fail("file", format!("cannot read the configuration: {e}"), "check that it is a regular file"))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(fail(
            "too-large",
            "the configuration is larger than 1 MiB".to_owned(),
            "check that it is the right file",
        ));
    }
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        fail("file", format!("the configuration is not UTF-8 at byte {at}"), "save it as UTF-8")
    })
}

#[derive(Clone, Copy)]
struct Text<'t> {
    text: &'t str,
    name: &'t str,
    format: Format,
}

fn assemble(text: Text<'_>, name: SourceName, source: &Source) -> Result<Loaded, Vec<Diagnostic>> {
    let (mut sources, mut report) = (Sources::new(), Report::default());
    let file = sources.add(TextKind::File, text.name, text.text);
    let mut tree = raw::read(text.text, file, text.format, &mut report);
    // A text that is no tree has one kind of error; all else would be noise.
    if matches!(tree.value, Value::Bad) {
        return Err(report.finish(&sources));
    }
    let mut over = Overrides { tree: &mut tree, sources: &mut sources, report: &mut report };
    over.environment(&source.env);
    for flag in &source.overrides {
        over.apply(&flag.origin, &flag.path, &flag.value);
    }
    let tree = shape(tree, &ROOT_KIND, &mut report);
    let model = check::check(&tree, &sources, &mut report);
    let (failed, masks) = (report.failed(), report.masks().to_vec());
    let diagnostics = report.finish(&sources);
    match failed {
        true => Err(diagnostics),
        false => {
            let mut origins = Origins { tree, sources, masks };
            origins.settle(&model);
            Ok(Loaded { model, warnings: diagnostics, source: name, origins })
        }
    }
}

struct Overrides<'a> {
    tree: &'a mut Node,
    sources: &'a mut Sources,
    report: &'a mut Report,
}

impl Overrides<'_> {
    fn environment(&mut self, env: &BTreeMap<String, String>) {
        for (name, value) in env.iter().filter(|(name, _)| name.starts_with("ATTACHE_")) {
            match VARIABLES.iter().find(|(known, _)| known == name) {
                Some(_) if value.is_empty() => {}
                Some((_, path)) => self.apply(&format!("env {name}"), path, value),
                None if FOREIGN.contains(&name.as_str()) => {}
                None => {
                    let known = VARIABLES.iter().map(|(known, _)| *known).chain(FOREIGN);
                    let lower: Vec<_> = known.map(|known| (known, known.to_ascii_lowercase())).collect();
                    let near = nearest(name, lower.iter().map(|(_, lower)| lower.as_str()));
                    let near = near.and_then(|near| lower.iter().find(|(_, lower)| lower == near));
                    let help = near.map_or_else(
                        || {
                            "variables set: ATTACHE_LISTEN, _ADMIN, _METRICS, _WORKERS, _DEFAULT, _DRAIN, _LOG"
                                .to_owned()
                        },
                        |(known, _)| format!("did you mean `{known}`?"),
                    );
                    // Its value could be anything, so it is not kept as a text.
                    let source = self.sources.add(TextKind::Override, &format!("env {name}"), "");
                    let at = At { source, ..At::default() };
                    self.report.warning("unknown-variable", at, format!("`{name}` sets nothing"), help);
                }
            }
        }
    }

    fn apply(&mut self, origin: &str, path: &str, value: &str) {
        let source = self.sources.add(TextKind::Override, origin, value);
        let node = overlay::fragment(value, source, self.report);
        let at = node.at;
        let result = overlay::path(path).and_then(|steps| overlay::set(self.tree, &ROOT_KIND, &steps, node));
        if let Err(message) = result {
            let at = At { source: at.source, ..At::default() };
            self.report.error(
                "bad-override",
                at,
                format!("`{path}`: {message}"),
                "write it as `routes[0].timeout.attempt=2s`",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(env: &[(&str, &str)]) -> Source {
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Source { path: None, env, overrides: Vec::new() }
    }

    #[test]
    fn a_named_file_wins_and_the_usual_places_follow_in_order() {
        let all = |_: &Path| true;
        let home = |p: &Path| p == Path::new("/home/me/.config/attache/attache.yaml");
        let named = Source { path: Some("/c.yaml".into()), ..source(&[("ATTACHE_CONFIG", "/e.yaml")]) };

        assert_eq!(find(&named, &all), Some("/c.yaml".into()));
        assert_eq!(find(&source(&[("ATTACHE_CONFIG", "/e.yaml")]), &|_| false), Some("/e.yaml".into()));
        assert_eq!(find(&source(&[]), &all), Some("attache.yaml".into()));
        assert_eq!(find(&source(&[]), &|p| p.ends_with("attache.toml")), Some("attache.toml".into()));
        assert_eq!(find(&source(&[("HOME", "/home/me")]), &home), Some("/home/me/.config/attache/attache.yaml".into()));
        let xdg = source(&[("HOME", "/home/me"), ("XDG_CONFIG_HOME", "/x")]);
        assert_eq!(find(&xdg, &|p| p.starts_with("/x")), Some("/x/attache/attache.yaml".into()));
        assert_eq!(find(&source(&[]), &|p| p.starts_with("/etc")), Some("/etc/attache/attache.yaml".into()));
        assert_eq!(find(&source(&[]), &|_| false), None);
    }
}
