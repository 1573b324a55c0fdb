//! The shape of a tree: a raw one in, a complete one out, and everything wrong with it reported.
//!
//! [`shape`] walks the tree along the tables once. It refuses unknown keys, wrong types, missing and unparsable
//! values, turns short forms into long ones and fills in defaults, so what it returns has every key. A value that was
//! refused stays as a mark of its own: the checks behind still run, and their findings come in the same report.

use std::time::Duration;

use crate::diag::Report;
use crate::raw::text::At;
use crate::raw::{Entry, Node, Scalar, Type, Value, overlay};
use crate::table::{self, Absent, Field, Kind, Table};
use crate::units::{self, int};
use crate::values::Flaw;

/// The node in its long form, with defaults, as `kind` says.
pub(crate) fn shape(node: Node, kind: &'static Kind, report: &mut Report) -> Node {
    match kind {
        _ if matches!(node.value, Value::Bad | Value::Absent(_)) => node,
        Kind::OrFalse(_) if node.is_false() => node,
        Kind::OrFalse(inner) => shape(node, inner, report),
        Kind::Table(inner) => shape_table(node, inner, report),
        Kind::OneOrMany(item) if !matches!(node.value, Value::List(_)) => {
            Node { at: node.at, value: Value::List(vec![shape(node, item, report)]) }
        }
        Kind::OneOrMany(item) | Kind::List(item) => match node.value {
            Value::List(items) => {
                let items = items.into_iter().map(|item_node| shape(item_node, item, report)).collect();
                Node { at: node.at, value: Value::List(items) }
            }
            _ => wrong_type(node, kind, report),
        },
        Kind::Map(key, value) => match node.value {
            Value::Map(entries) => {
                let entry = |e: Entry, report: &mut Report| {
                    if let Err(flaw) = (key.check)(&e.key) {
                        refuse(&flaw, e.at, &format!("expected {}", key.expect), report);
                    }
                    Entry { value: shape(e.value, value, report), ..e }
                };
                let entries = entries.into_iter().map(|e| entry(e, report)).collect();
                Node { at: node.at, value: Value::Map(entries) }
            }
            _ => wrong_type(node, kind, report),
        },
        _ => shape_scalar(node, kind, report),
    }
}

fn shape_table(node: Node, table: &'static Table, report: &mut Report) -> Node {
    let at = node.at;
    let given = match node.value {
        Value::Map(entries) => entries,
        Value::Scalar(Scalar { ty, .. }) if table.name == "secret" && ty != Type::Null => {
            report.mask(at);
            let help = "put it into a file or a variable and write `{file: /path}` or `{env: NAME}`";
            report.error("literal-secret", at, "a secret written into the configuration", help);
            return Node { at, value: Value::Bad };
        }
        Value::Scalar(Scalar { ty: Type::Null, .. }) => return wrong_table(node, table, report),
        Value::List(_) | Value::Scalar(_) => match table.short {
            Some(short) => vec![Entry { key: short.to_owned(), at, value: node, aliased: false }],
            None => return wrong_table(node, table, report),
        },
        Value::Bad | Value::Absent(_) => return node,
    };
    let mut values: Vec<(&'static str, Entry)> = Vec::new();
    for entry in given {
        let Some(field) = table.field(&entry.key) else {
            unknown(&entry, table, report);
            continue;
        };
        if values.iter().any(|(name, _)| *name == field.name) {
            let message = format!("`{}` is another name for `{}`, which is also given", entry.key, field.name);
            report.error("duplicate-key", entry.at, message, "keep one of the two");
            continue;
        }
        let value = shape(entry.value, &field.kind, report);
        if matches!(value.value, Value::Bad) && table.secret {
            report.mask(value.at);
        }
        let aliased = entry.key != field.name;
        values.push((field.name, Entry { key: field.name.to_owned(), at: entry.at, value, aliased }));
    }
    let mut entries = Vec::new();
    for field in table.fields() {
        let written = values.iter().position(|(name, _)| *name == field.name).map(|i| values.swap_remove(i).1);
        entries.push(written.unwrap_or_else(|| absent(field, at, table, report)));
    }
    Node { at, value: Value::Map(entries) }
}

fn absent(field: &'static Field, parent: At, table: &Table, report: &mut Report) -> Entry {
    let value = match field.absent {
        Absent::Is(text) => shape(overlay::fragment(text, 0, report), &field.kind, report),
        Absent::Means(what) => Node { at: At::DEFAULT, value: Value::Absent(what) },
        Absent::Required => {
            let help = format!("add `{}: ` with {}", field.name, field.kind.expect());
            report.error("missing-key", parent, format!("this {} has no `{}`", table.name, field.name), help);
            Node { at: parent, value: Value::Bad }
        }
    };
    Entry { key: field.name.to_owned(), at: value.at, value, aliased: false }
}

fn unknown(entry: &Entry, table: &Table, report: &mut Report) {
    let near = table.nearest(&entry.key);
    let help = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known here: {}", table::names(table)),
    };
    mask_suspects(if table.secret { "secret" } else { near.unwrap_or_default() }, &entry.value, report);
    mask_suspects(&entry.key, &entry.value, report);
    let message = if table.secret && near.is_none() && matches!(entry.value.value, Value::Scalar(_)) {
        // `{bearer: {hunter2}}` is a mapping with a key to YAML, and a secret to whoever wrote it.
        report.mask(entry.at);
        format!("unknown key in {}", table.name)
    } else {
        format!("unknown key `{}` in {}", entry.key, table.name)
    };
    report.error("unknown-key", entry.at, message, help);
}

/// Hides what could be a secret in a value that nothing reads, because its key or its type is wrong.
fn mask_suspects(key: &str, node: &Node, report: &mut Report) {
    node.suspects(key, &mut |at| report.mask(at));
}

fn wrong_table(node: Node, table: &'static Table, report: &mut Report) -> Node {
    mask_suspects(if table.secret { "secret" } else { "" }, &node, report);
    let expected = Kind::Table(table).expect();
    let help = format!("known here: {}", table::names(table));
    report.error("wrong-type", node.at, format!("expected {expected}, found {}", node.what()), help);
    Node { at: node.at, value: Value::Bad }
}

fn wrong_type(node: Node, kind: &Kind, report: &mut Report) -> Node {
    mask_suspects("", &node, report);
    let help = match (&node.value, kind) {
        (Value::Scalar(Scalar { ty: Type::Null, .. }), _) => "write a value, or remove the key".to_owned(),
        // `upstreams: {orders: ..}`: the name is a key of the item like the others.
        (Value::Map(entries), Kind::List(Kind::Table(table))) => match entries.first() {
            Some(first) if table.field("name").is_some() && table.field(&first.key).is_none() => {
                format!("write each as an item of its own: `- name: {}`, and what belongs to it below", first.key)
            }
            _ => "begin each item with `- `".to_owned(),
        },
        _ => String::new(),
    };
    report.error("wrong-type", node.at, format!("expected {}, found {}", kind.expect(), node.what()), help);
    Node { at: node.at, value: Value::Bad }
}

fn shape_scalar(node: Node, kind: &'static Kind, report: &mut Report) -> Node {
    let Value::Scalar(Scalar { text, ty }) = &node.value else { return wrong_type(node, kind, report) };
    let at = node.at;
    let plain = |message: String| Flaw { message, help: format!("write {}", kind.expect()), secret: false };
    let result = match (kind, ty) {
        (Kind::Bool, Type::Bool) => Ok(()),
        (Kind::Int(least, most), Type::Int) => match int(text) {
            Some(number) if (*least..=*most).contains(&number) => Ok(()),
            _ => return out_of_range(node, kind, report),
        },
        (Kind::Duration(least), Type::Text | Type::Int | Type::Float) => match units::duration(text) {
            Ok(time) if time >= Duration::from_millis(*least) => Ok(()),
            Ok(_) => return out_of_range(node, kind, report),
            Err(message) => Err(plain(message)),
        },
        (Kind::Size(least, most), Type::Text | Type::Int | Type::Float) => match units::size(text) {
            Ok(size) if (*least..=*most).contains(&size) => Ok(()),
            Ok(_) => return out_of_range(node, kind, report),
            Err(message) => Err(plain(message)),
        },
        (Kind::Share, Type::Text | Type::Int | Type::Float) => units::share(text).map(drop).map_err(plain),
        (Kind::Word(words), Type::Text | Type::Float) => match words.contains(&text.as_str()) {
            true => Ok(()),
            false => {
                let help = table::nearest(text, words.iter().copied());
                let help = help.map_or_else(|| format!("write {}", kind.expect()), |w| format!("did you mean `{w}`?"));
                Err(Flaw { help, ..plain(format!("`{text}` is not {}", kind.expect())) })
            }
        },
        (Kind::Form(form), Type::Text) => (form.check)(text),
        (Kind::Form(form), Type::Int | Type::Float | Type::Bool) if form.numbers => (form.check)(text),
        _ => return wrong_type(node, kind, report),
    };
    match result {
        Ok(()) => node,
        Err(flaw) => {
            refuse(&flaw, at, &format!("expected {}", kind.expect()), report);
            Node { at, value: Value::Bad }
        }
    }
}

fn refuse(flaw: &Flaw, at: At, expected: &str, report: &mut Report) {
    if flaw.secret {
        report.mask(at);
    }
    let help = if flaw.help.is_empty() { expected } else { &flaw.help };
    report.error("bad-value", at, flaw.message.clone(), help);
}

fn out_of_range(node: Node, kind: &Kind, report: &mut Report) -> Node {
    let range = match kind {
        Kind::Duration(least) => format!("at least {least}ms"),
        Kind::Size(least, most) => format!("from {least}B to {most}B"),
        other => other.expect(),
    };
    let text = node.scalar().map_or("", |s| &s.text);
    report.error("out-of-range", node.at, format!("`{text}` is out of range"), format!("write {range}"));
    Node { at: node.at, value: Value::Bad }
}
