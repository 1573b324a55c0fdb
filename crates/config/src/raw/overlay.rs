//! Single values from the environment and the command line, laid over the tree of the file.
//!
//! An override is a path and a text: `routes[0].timeout.attempt` and `2s`. The path is followed along the tables, so a
//! short form on the way (`timeout: 1s`) becomes its long form instead of being lost. A text that begins with a
//! bracket, brace or quote is YAML; any other is one plain scalar, so `*.example.com` needs no quoting.

use super::text::At;
use super::{Entry, Format, Node, Scalar, Type, Value};
use crate::diag::Report;
use crate::table::{Kind, Table, nearest};

/// The value that `text` of a source stands for.
pub(crate) fn fragment(text: &str, source: u16, report: &mut Report) -> Node {
    if text.starts_with(['[', '{', '"', '\'']) {
        let mut node = super::read(text, source, Format::Yaml, report);
        if source == 0 {
            forget(&mut node);
        }
        return node;
    }
    use saphyr::Scalar as Resolved;
    let ty = match Resolved::parse_from_cow(text.into()) {
        Resolved::Null => Type::Null,
        Resolved::Boolean(_) => Type::Bool,
        Resolved::Integer(_) => Type::Int,
        Resolved::FloatingPoint(_) => Type::Float,
        Resolved::String(_) => Type::Text,
    };
    let length = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    let at = if source == 0 { At::DEFAULT } else { At { source, line: 1, column: 1, length, more: 0 } };
    Node { at, value: Value::Scalar(Scalar { text: text.to_owned(), ty }) }
}

/// Defaults have no place.
fn forget(node: &mut Node) {
    node.at = At::DEFAULT;
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(forget),
        Value::Map(entries) => entries.iter_mut().for_each(|entry| {
            entry.at = At::DEFAULT;
            forget(&mut entry.value);
        }),
        Value::Scalar(_) | Value::Bad | Value::Absent(_) => {}
    }
}

/// A step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    /// `[3]`, or `[name]` of a list item or of a key with dots.
    Item(String),
}

/// Splits `routes[api].timeout.attempt`.
pub(crate) fn path(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (item, tail) = inner.split_once(']').ok_or_else(|| format!("`{text}` has an open bracket"))?;
            steps.push(Step::Item(item.to_owned()));
            rest = tail;
            continue;
        }
        let key = if steps.is_empty() { rest } else { rest.strip_prefix('.').unwrap_or_default() };
        let end = key.find(['.', '[']).unwrap_or(key.len());
        if end == 0 {
            return Err(format!("`{text}` is no path"));
        }
        steps.push(Step::Key(key[..end].to_owned()));
        rest = &key[end..];
    }
    if steps.is_empty() { Err("an empty path".to_owned()) } else { Ok(steps) }
}

/// Puts `value` at `path` below `node`.
pub(crate) fn set(node: &mut Node, kind: &'static Kind, path: &[Step], value: Node) -> Result<(), String> {
    let Some((step, rest)) = path.split_first() else {
        *node = value;
        return Ok(());
    };
    match (kind.inner(), step) {
        (Kind::Table(table), Step::Key(key)) => set_field(node, table, key, rest, value),
        (Kind::Map(_, inner), Step::Key(key) | Step::Item(key)) => {
            let entries = open(node, None);
            let child = entry(entries, |k| k == key, key, value.at);
            set(child, inner, rest, value)
        }
        (Kind::OneOrMany(item) | Kind::List(item), Step::Item(which)) => {
            if !matches!(node.value, Value::List(_)) {
                let single = std::mem::replace(node, Node { at: value.at, value: Value::List(Vec::new()) });
                if let (Value::List(items), Value::Scalar(_) | Value::Map(_)) = (&mut node.value, &single.value) {
                    items.push(single);
                }
            }
            let Value::List(items) = &mut node.value else { return Ok(()) };
            let index = find(items, which)?;
            if index == items.len() {
                items.push(Node { at: value.at, value: Value::Bad });
            }
            set(&mut items[index], item, rest, value)
        }
        (Kind::OneOrMany(_) | Kind::List(_), Step::Key(key)) => {
            Err(format!("`{key}` stands behind a list; say which item, as in `[0]`"))
        }
        (_, Step::Key(key) | Step::Item(key)) => Err(format!("nothing can be set below this key, not `{key}`")),
    }
}

fn set_field(node: &mut Node, table: &'static Table, key: &str, rest: &[Step], value: Node) -> Result<(), String> {
    let field = table.field(key).ok_or_else(|| match table.nearest(key) {
        Some(near) => format!("unknown key `{key}` in {}; did you mean `{near}`?", table.name),
        None => format!("unknown key `{key}` in {}", table.name),
    })?;
    let known = |k: &str| k == field.name || field.aliases.contains(&k);
    let entries = open(node, table.short);
    let child = entry(entries, known, field.name, value.at);
    set(child, &field.kind, rest, value)
}

/// The entries of `node`, which becomes a mapping if it is none.
fn open<'n>(node: &'n mut Node, short: Option<&'static str>) -> &'n mut Vec<Entry> {
    if !matches!(node.value, Value::Map(_)) {
        let old = std::mem::replace(node, Node::empty(node.at));
        let keep = match &old.value {
            Value::Scalar(scalar) => scalar.ty != Type::Null && !old.is_false(),
            Value::List(_) => true,
            _ => false,
        };
        if let (Some(short), true, Value::Map(entries)) = (short, keep, &mut node.value) {
            entries.push(Entry { key: short.to_owned(), at: old.at, value: old, aliased: false });
        }
    }
    match &mut node.value {
        Value::Map(entries) => entries,
        // Just made one.
        _ => unreachable!("a mapping was put here"),
    }
}

fn entry<'n>(entries: &'n mut Vec<Entry>, known: impl Fn(&str) -> bool, name: &str, at: At) -> &'n mut Node {
    let index = entries.iter().position(|e| known(&e.key)).unwrap_or_else(|| {
        entries.push(Entry { key: name.to_owned(), at, value: Node { at, value: Value::Bad }, aliased: false });
        entries.len() - 1
    });
    entries[index].at = at;
    &mut entries[index].value
}

/// The index that `[3]` or `[name]` means; one past the end appends.
fn find(items: &[Node], which: &str) -> Result<usize, String> {
    if let Ok(index) = which.parse::<usize>() {
        return if index <= items.len() { Ok(index) } else { Err(format!("there are only {} items", items.len())) };
    }
    let name = |node: &Node| match &node.value {
        Value::Map(entries) => {
            entries.iter().find(|e| e.key == "name").and_then(|e| e.value.scalar().map(|s| s.text.clone()))
        }
        _ => None,
    };
    let names: Vec<Option<String>> = items.iter().map(name).collect();
    names.iter().position(|n| n.as_deref() == Some(which)).ok_or_else(|| {
        let near = nearest(which, names.iter().flatten().map(String::as_str));
        let near = near.map(|n| format!("; did you mean `{n}`?")).unwrap_or_default();
        format!("no item has `name: {which}`{near}")
    })
}
