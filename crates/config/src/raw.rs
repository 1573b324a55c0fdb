//! One located tree, whatever the text was written in.
//!
//! YAML (and so JSON) and TOML become the same [`Node`]s, each with its place, and scalars keep the text they were
//! written in: `min: 1.2` is a float to YAML and a version to us. Mappings are lists of entries, because order is
//! meaning in a table of routes and because a duplicate key must be seen to be reported.
//!
//! Depth, node count and alias expansion are bounded here, so nothing behind this needs to fear a text.

pub(crate) mod overlay;
pub(crate) mod text;
mod toml;
mod yaml;

use crate::diag::{Report, may_hold_secret};
use text::At;

/// Deepest nesting that is read; our own format needs eight.
pub(crate) const MAX_DEPTH: usize = 32;
/// Most nodes a text may have, aliases expanded.
pub(crate) const MAX_NODES: usize = 200_000;

/// The language of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.2, and JSON as its subset.
    Yaml,
    /// TOML 1.
    Toml,
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: At,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Was refused and reported; readers fall back in silence.
    Bad,
    /// Nobody wrote it and it has no fixed default; the words say what happens instead.
    Absent(&'static str),
}

/// A key of a mapping with its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: At,
    pub(crate) value: Node,
    /// Written under another name of the key.
    pub(crate) aliased: bool,
}

/// The text of a scalar and the type its notation gives it.
#[derive(Clone, Debug)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    pub(crate) ty: Type,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Null,
    Bool,
    Int,
    Float,
    Text,
}

impl Node {
    /// A mapping without entries.
    pub(crate) fn empty(at: At) -> Self {
        Self { at, value: Value::Map(Vec::new()) }
    }

    pub(crate) fn scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// Tells the place of each scalar in it.
    fn each(&self, tell: &mut dyn FnMut(At)) {
        match &self.value {
            Value::Scalar(_) => tell(self.at),
            Value::List(items) => items.iter().for_each(|item| item.each(tell)),
            Value::Map(entries) => entries.iter().for_each(|entry| entry.value.each(tell)),
            Value::Bad | Value::Absent(_) => {}
        }
    }

    /// Tells the places in it that could hold a secret, by the names of their keys; its own is `key`.
    pub(crate) fn suspects(&self, key: &str, tell: &mut dyn FnMut(At)) {
        if may_hold_secret(key) {
            return self.each(tell);
        }
        match &self.value {
            Value::List(items) => items.iter().for_each(|item| item.suspects("", tell)),
            Value::Map(entries) => entries.iter().for_each(|entry| entry.value.suspects(&entry.key, tell)),
            Value::Scalar(_) | Value::Bad | Value::Absent(_) => {}
        }
    }

    /// Whether nothing in it was refused.
    pub(crate) fn sound(&self) -> bool {
        match &self.value {
            Value::Bad => false,
            Value::List(items) => items.iter().all(Self::sound),
            Value::Map(entries) => entries.iter().all(|entry| entry.value.sound()),
            Value::Scalar(_) | Value::Absent(_) => true,
        }
    }

    /// Whether it is the word `false`, which turns a feature off.
    pub(crate) fn is_false(&self) -> bool {
        self.scalar().is_some_and(|s| s.ty == Type::Bool && s.text.eq_ignore_ascii_case("false"))
    }

    /// What a person would call it.
    pub(crate) fn what(&self) -> &'static str {
        match &self.value {
            Value::Scalar(Scalar { ty: Type::Null, .. }) => "nothing",
            Value::Scalar(Scalar { ty: Type::Bool, .. }) => "a boolean",
            Value::Scalar(Scalar { ty: Type::Int | Type::Float, .. }) => "a number",
            Value::Scalar(Scalar { ty: Type::Text, .. }) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a table",
            Value::Bad | Value::Absent(_) => "nothing",
        }
    }
}

/// Reads `text` into a tree; what cannot be read is reported and left out.
pub(crate) fn read(text: &str, source: u16, format: Format, report: &mut Report) -> Node {
    match format {
        Format::Yaml => yaml::read(text, source, report),
        Format::Toml => toml::read(text, source, report),
    }
}
