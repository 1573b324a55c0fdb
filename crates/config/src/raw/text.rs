//! Places in texts, and the texts themselves: files, environment variables and flags.
//!
//! Every value remembers an [`At`], five small numbers, so that a diagnostic and the origin of an effective value are
//! looked up from the same thing. Line 0 of source 0 is "nowhere": a default.

use crate::diag::Snippet;

/// Longest part of a line that a snippet shows.
const WINDOW: usize = 120;

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct At {
    /// Index into [`Sources`]; 0 is the defaults.
    pub(crate) source: u16,
    /// From 1.
    pub(crate) line: u32,
    /// In characters, from 1.
    pub(crate) column: u32,
    /// Characters on the first line.
    pub(crate) length: u32,
    /// Further lines it covers.
    pub(crate) more: u32,
}

impl At {
    /// The place of values nobody wrote.
    pub(crate) const DEFAULT: Self = Self { source: 0, line: 0, column: 0, length: 0, more: 0 };

    /// Whether somebody wrote it.
    pub(crate) fn written(self) -> bool {
        self.source != 0
    }
}

/// What kind of text a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Defaults,
    File,
    /// One value from the environment or the command line.
    Override,
}

#[derive(Clone, Debug)]
struct Source {
    name: String,
    kind: Kind,
    text: String,
    /// Where its lines begin.
    starts: Vec<usize>,
}

/// The texts of one configuration.
#[derive(Clone, Debug)]
pub(crate) struct Sources(Vec<Source>);

impl Sources {
    pub(crate) fn new() -> Self {
        Self(vec![Source { name: "default".to_owned(), kind: Kind::Defaults, text: String::new(), starts: vec![0] }])
    }

    /// Adds a text and returns its index.
    pub(crate) fn add(&mut self, kind: Kind, name: &str, text: &str) -> u16 {
        self.0.push(Source { name: name.to_owned(), kind, text: text.to_owned(), starts: starts(text) });
        u16::try_from(self.0.len() - 1).unwrap_or(u16::MAX)
    }

    pub(crate) fn name(&self, at: At) -> &str {
        self.0.get(usize::from(at.source)).map_or("", |s| &s.name)
    }

    /// Whether it was given by the environment or a flag.
    pub(crate) fn overridden(&self, at: At) -> bool {
        self.0.get(usize::from(at.source)).is_some_and(|s| s.kind == Kind::Override)
    }

    /// `file:line`, `env NAME`, `flag --name` or `default`.
    pub(crate) fn origin(&self, at: At) -> String {
        match self.0.get(usize::from(at.source)) {
            Some(source) if source.kind == Kind::File => format!("{}:{}", source.name, at.line),
            Some(source) => source.name.clone(),
            None => String::new(),
        }
    }

    /// The line of `at`, without what `masks` hide and without control characters.
    pub(crate) fn line(&self, at: At, masks: &[At]) -> Option<Snippet> {
        let source = self.0.get(usize::from(at.source))?;
        let index = usize::try_from(at.line.checked_sub(1)?).ok()?;
        let end = source.starts.get(index + 1).copied().unwrap_or(source.text.len());
        let start = source.starts.get(index).filter(|start| **start < source.text.len())?;
        let line = source.text.get(*start..end)?.trim_end_matches(['\r', '\n']);
        let mut shown: Vec<char> = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        for mask in masks.iter().filter(|m| m.source == at.source) {
            if at.line < mask.line || at.line > mask.line + mask.more {
                continue;
            }
            let start = if at.line == mask.line { mask.column.saturating_sub(1) as usize } else { 0 };
            let end = if mask.more > 0 { shown.len() } else { start + mask.length as usize };
            let end = end.min(shown.len());
            shown.get_mut(start.min(end)..end).unwrap_or_default().fill('*');
        }
        let caret = (at.column.saturating_sub(1) as usize).min(shown.len());
        let from = if shown.len() > WINDOW { caret.saturating_sub(WINDOW / 2) } else { 0 };
        let text: String = shown.iter().skip(from).take(WINDOW).collect();
        let text = text.trim_end().to_owned();
        let start = caret - from;
        let length = (at.length as usize).min(text.chars().count().saturating_sub(start)).max(1);
        Some(Snippet { text, start, length })
    }
}

/// Byte offsets of line starts. A lone carriage return ends a line too, as it does to a YAML parser: if the two counted
/// differently, what masks a secret would be laid over another line.
fn starts(text: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let ends = |at: &usize| bytes[*at] == b'\n' || (bytes[*at] == b'\r' && bytes.get(at + 1) != Some(&b'\n'));
    std::iter::once(0).chain((0..bytes.len()).filter(ends).map(|at| at + 1)).collect()
}

/// To turn the byte spans of TOML into lines and columns.
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, starts: starts(text) }
    }

    pub(crate) fn at(&self, source: u16, span: std::ops::Range<usize>) -> At {
        let (line, column) = self.position(span.start);
        let (last, end) = self.position(span.end.max(span.start));
        let more = last.saturating_sub(line);
        let length = if more == 0 { end.saturating_sub(column) } else { u32::MAX / 2 };
        At { source, line, column, length, more }
    }

    fn position(&self, offset: usize) -> (u32, u32) {
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or_default();
        let column = self.text.get(start..offset).map_or(0, |s| s.chars().count());
        (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column + 1).unwrap_or(u32::MAX))
    }
}
