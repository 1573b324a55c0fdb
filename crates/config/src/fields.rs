//! Typed values out of a shaped mapping.
//!
//! A value that was refused reads as its type's zero. The model made of it is thrown away, and no reader has to stop.

use std::time::Duration;

use crate::raw::text::At;
use crate::raw::{Entry, Node, Value};
use crate::table::Table;
use crate::units::{self, int};
use crate::values::Flaw;

/// The values of a shaped mapping.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'n> {
    pub(crate) at: At,
    table: &'static Table,
    entries: &'n [Entry],
}

impl<'n> Fields<'n> {
    /// The fields of `node`; none when it is no mapping.
    pub(crate) fn of(node: &'n Node, table: &'static Table) -> Self {
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            _ => &[],
        };
        Self { at: node.at, table, entries }
    }

    /// The value of a key, unless it is absent or was refused.
    pub(crate) fn node(&self, name: &'static str) -> Option<&'n Node> {
        debug_assert!(self.table.field(name).is_some_and(|f| f.name == name), "{} has no key {name}", self.table.name);
        #[cfg(test)]
        tests::READ.with_borrow_mut(|read| read.insert((self.table.name, name)));
        let node = &self.entries.iter().find(|e| e.key == name)?.value;
        (!matches!(node.value, Value::Absent(_) | Value::Bad)).then_some(node)
    }

    /// Where a key's value stands; that of the mapping when it is a default.
    pub(crate) fn place(&self, name: &'static str) -> At {
        self.node(name).map(|n| n.at).filter(|at| at.written()).unwrap_or(self.at)
    }

    /// Where a key itself stands; that of the mapping when nobody wrote it.
    pub(crate) fn key(&self, name: &'static str) -> At {
        self.entries.iter().find(|e| e.key == name && e.at.written()).map_or(self.at, |e| e.at)
    }

    /// Whether somebody wrote this key.
    pub(crate) fn written(&self, name: &'static str) -> bool {
        self.entries.iter().any(|e| e.key == name && e.at.written())
    }

    /// Whether this key was written under another name of it.
    pub(crate) fn aliased(&self, name: &'static str) -> bool {
        self.entries.iter().any(|e| e.key == name && e.aliased)
    }

    /// A nested mapping, unless it is absent, refused or `false`.
    pub(crate) fn table(&self, name: &'static str, table: &'static Table) -> Option<Self> {
        self.node(name).filter(|n| !n.is_false()).map(|node| Self::of(node, table))
    }

    /// A nested mapping that is never absent.
    pub(crate) fn section(&self, name: &'static str, table: &'static Table) -> Self {
        self.table(name, table).unwrap_or(Self { at: self.at, table, entries: &[] })
    }

    pub(crate) fn list(&self, name: &'static str) -> &'n [Node] {
        match self.node(name).map(|n| &n.value) {
            Some(Value::List(items)) => items,
            _ => &[],
        }
    }

    pub(crate) fn map(&self, name: &'static str) -> &'n [Entry] {
        match self.node(name).map(|n| &n.value) {
            Some(Value::Map(entries)) => entries,
            _ => &[],
        }
    }

    /// The text of a scalar.
    pub(crate) fn text(&self, name: &'static str) -> Option<&'n str> {
        self.node(name)?.scalar().map(|s| s.text.as_str())
    }

    /// A scalar by the parser that already accepted it.
    pub(crate) fn parse<T>(&self, name: &'static str, parse: fn(&str) -> Result<T, Flaw>) -> Option<T> {
        parse(self.text(name)?).ok()
    }

    /// All items of a list, by the parser that already accepted them.
    pub(crate) fn all<T>(&self, name: &'static str, parse: fn(&str) -> Result<T, Flaw>) -> Vec<T> {
        self.list(name).iter().filter_map(|n| parse(&n.scalar()?.text).ok()).collect()
    }

    /// All pairs of a free mapping.
    pub(crate) fn pairs<T>(
        &self,
        name: &'static str,
        key: fn(&str) -> Result<String, Flaw>,
        value: fn(&str) -> Result<T, Flaw>,
    ) -> Vec<(String, T)> {
        let pair = |e: &Entry| Some((key(&e.key).ok()?, value(&e.value.scalar()?.text).ok()?));
        self.map(name).iter().filter_map(pair).collect()
    }

    pub(crate) fn flag(&self, name: &'static str) -> bool {
        self.text(name).is_some_and(|t| t.eq_ignore_ascii_case("true"))
    }

    pub(crate) fn maybe_int(&self, name: &'static str) -> Option<u64> {
        int(self.text(name)?)
    }

    /// A number; bounds were checked, so the saturation never shows.
    pub(crate) fn int<T: TryFrom<u64> + Default>(&self, name: &'static str) -> T {
        self.maybe_int(name).and_then(|n| T::try_from(n).ok()).unwrap_or_default()
    }

    /// A duration, unless it is absent or `false`.
    pub(crate) fn maybe_duration(&self, name: &'static str) -> Option<Duration> {
        units::duration(self.text(name)?).ok()
    }

    pub(crate) fn duration(&self, name: &'static str) -> Duration {
        self.maybe_duration(name).unwrap_or_default()
    }

    pub(crate) fn size(&self, name: &'static str) -> usize {
        self.text(name).and_then(|t| units::size(t).ok()).unwrap_or_default()
    }

    pub(crate) fn share(&self, name: &'static str) -> f64 {
        self.text(name).and_then(|t| units::share(t).ok()).unwrap_or_default()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    thread_local! {
        /// Every key that a check asked for on this thread, to show that none is parsed and ignored.
        pub(crate) static READ: RefCell<BTreeSet<(&'static str, &'static str)>> = RefCell::default();
    }
}
