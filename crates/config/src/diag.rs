//! What is wrong with a configuration, said once, completely, and where.
//!
//! A `Report` collects findings from every pass; nothing returns at the first error, because a person who fixes one
//! line at a time starts the program once per mistake. Snippets are cut at the very end: by then every pass has said
//! which parts of the text are secrets, and those are masked in all snippets, not only in the one that found them.
//!
//! Ids are stable and made for machines (`attache check --json`, editors); messages may change.

use std::fmt;

use serde::Serialize;

use crate::raw::text::{At, Sources};

/// Most findings that are told; whoever has more begins with these.
pub const MOST: usize = 100;

/// Longest message, in characters; a value in it may be a whole file.
const LONGEST: usize = 400;

/// Every id there is; an id never changes its meaning.
pub const IDS: &[&str] = &[
    "attempt-exceeds-total",
    "bad-override",
    "bad-value",
    "duplicate-address",
    "duplicate-key",
    "duplicate-name",
    "exclusive-keys",
    "exposed-admin",
    "file",
    "gateway-attempts",
    "incomplete-tls",
    "literal-credential",
    "literal-secret",
    "misplaced-key",
    "missing-key",
    "mixed-schemes",
    "no-effect",
    "open-listener",
    "out-of-range",
    "plaintext-auth",
    "shadowed-parent",
    "shadowed-route",
    "shared-admin",
    "shared-credential",
    "syntax",
    "tls-file",
    "too-deep",
    "too-large",
    "unbounded-auth",
    "unknown-identity",
    "unknown-key",
    "unknown-upstream",
    "unknown-variable",
    "unused-upstream",
    "wrong-type",
];

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is accepted, and probably not what was meant.
    Warning,
}

/// The source line of a finding, with secrets masked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Snippet {
    /// The line, cut to a window around the caret when it is long.
    pub text: String,
    /// Characters of `text` before the caret.
    pub start: usize,
    /// Characters under the caret, at least 1.
    pub length: usize,
}

/// One finding; `Display` renders it as a compiler would.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Stable, kebab-case: `unknown-key`.
    pub id: &'static str,
    /// Error or warning.
    pub severity: Severity,
    /// The file, or `env NAME` or `flag --name` for an override.
    pub file: String,
    /// From 1; 0 when the finding has no place in a text.
    pub line: u32,
    /// In characters, from 1; 0 when the finding has no place in a text.
    pub column: u32,
    /// What is wrong, with the value unless it is a secret.
    pub message: String,
    /// The line it is on.
    pub snippet: Option<Snippet>,
    /// One action that helps.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A finding without a place in a text, about `file` as a whole.
    pub fn whole(id: &'static str, severity: Severity, file: &str, message: String, help: &str) -> Self {
        let file = file.to_owned();
        Self { id, severity, file, line: 0, column: 0, message, snippet: None, help: Some(help.to_owned()) }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(f, "{severity}[{}]: {}", self.id, self.message)?;
        let number = if self.line == 0 { String::new() } else { self.line.to_string() };
        let gutter = " ".repeat(number.len());
        if self.line == 0 {
            write!(f, "{gutter} --> {}", self.file)?;
        } else {
            write!(f, "{gutter} --> {}:{}:{}", self.file, self.line, self.column)?;
        }
        if let Some(snippet) = &self.snippet {
            let pad = " ".repeat(snippet.start);
            write!(f, "\n{gutter} |\n{number} | {}\n{gutter} | {pad}{}", snippet.text, "^".repeat(snippet.length))?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n{gutter} = help: {help}")?;
        }
        Ok(())
    }
}

/// A finding before its snippet is cut.
struct Finding {
    id: &'static str,
    severity: Severity,
    at: At,
    message: String,
    help: Option<String>,
}

/// Findings and masks of all passes over one configuration.
#[derive(Default)]
pub(crate) struct Report {
    findings: Vec<Finding>,
    masks: Vec<At>,
    /// No snippet at all: the text could not be read, so where its secrets are is not known.
    blind: bool,
}

impl Report {
    pub(crate) fn error(&mut self, id: &'static str, at: At, message: impl Into<String>, help: impl Into<String>) {
        self.push(id, Severity::Error, at, message.into(), help.into());
    }

    pub(crate) fn warning(&mut self, id: &'static str, at: At, message: impl Into<String>, help: impl Into<String>) {
        self.push(id, Severity::Warning, at, message.into(), help.into());
    }

    /// Never shows the text at `at` in a snippet.
    pub(crate) fn mask(&mut self, at: At) {
        self.masks.push(at);
    }

    /// Shows a snippet only of lines that cannot carry a secret.
    pub(crate) fn blind(&mut self) {
        self.blind = true;
    }

    /// What is never shown.
    pub(crate) fn masks(&self) -> &[At] {
        &self.masks
    }

    pub(crate) fn failed(&self) -> bool {
        self.findings.iter().any(|f| f.severity == Severity::Error)
    }

    /// The findings in the order of the text, errors first when they are too many, with their snippets.
    pub(crate) fn finish(self, sources: &Sources) -> Vec<Diagnostic> {
        let Self { mut findings, masks, blind } = self;
        if findings.len() > MOST {
            findings.sort_by_key(|f| (f.severity, f.at.source, f.at.line, f.at.column));
            findings.truncate(MOST);
        }
        findings.sort_by_key(|f| (f.at.source, f.at.line, f.at.column));
        let mut out: Vec<Diagnostic> = Vec::with_capacity(findings.len());
        for Finding { id, severity, at, message, help } in findings {
            let snippet = sources.line(at, &masks).filter(|s| !(blind && may_hold_secret(&s.text)));
            let (line, column) = if at.line == 0 { (0, 0) } else { (at.line, at.column) };
            let found =
                Diagnostic { id, severity, file: sources.name(at).to_owned(), line, column, message, snippet, help };
            if !out.contains(&found) {
                out.push(found);
            }
        }
        out
    }

    fn push(&mut self, id: &'static str, severity: Severity, at: At, message: String, help: String) {
        debug_assert!(IDS.contains(&id), "{id} is not in the list");
        let (message, help) = (shortened(message), Some(shortened(help)).filter(|h| !h.is_empty()));
        self.findings.push(Finding { id, severity, at, message, help });
    }
}

fn shortened(text: String) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// Whether a key, or a line of a text that does not parse, could hold a secret; errs on the side of hiding.
pub(crate) fn may_hold_secret(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    ["bearer", "basic", "password", "secret", "token", "authorization", "cookie", "key", "auth", "value", "@"]
        .iter()
        .any(|word| line.contains(word))
}
