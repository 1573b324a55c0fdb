//! TOML into the tree.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::text::{At, Lines};
use super::{Entry, MAX_DEPTH, Node, Scalar, Type, Value};
use crate::diag::Report;

pub(super) fn read(text: &str, source: u16, report: &mut Report) -> Node {
    let lines = Lines::new(text);
    let start = At { source, line: 1, column: 1, length: 1, more: 0 };
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let mut reader = Reader { lines, source, report };
        let table = table.into_inner();
        return Node { at: start, value: Value::Map(reader.entries(&table, 1)) };
    }
    report.blind();
    for error in errors {
        let at = lines.at(source, error.span().unwrap_or(0..0));
        let at = At { length: at.length.max(1), more: 0, ..at };
        if error.message().contains("duplicate key") {
            report.error("duplicate-key", at, "the key is given twice", "keep one of the two");
        } else {
            report.error("syntax", at, format!("not valid TOML: {}", error.message()), "check brackets and quotes");
        }
    }
    Node { at: start, value: Value::Bad }
}

struct Reader<'a, 'r> {
    lines: Lines<'a>,
    source: u16,
    report: &'r mut Report,
}

impl Reader<'_, '_> {
    fn entries(&mut self, table: &DeTable<'_>, depth: usize) -> Vec<Entry> {
        let mut keys: Vec<_> = table.iter().collect();
        keys.sort_by_key(|(key, _)| key.span().start);
        keys.into_iter()
            .map(|(key, value)| Entry {
                key: key.get_ref().to_string(),
                at: self.lines.at(self.source, key.span()),
                value: self.node(value, depth),
                aliased: false,
            })
            .collect()
    }

    fn node(&mut self, value: &Spanned<DeValue<'_>>, depth: usize) -> Node {
        let at = self.lines.at(self.source, value.span());
        if depth > MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            self.report.error("too-deep", At { more: 0, ..at }, message, "no key needs this depth");
            return Node { at, value: Value::Bad };
        }
        let scalar = |text: String, ty| Value::Scalar(Scalar { text, ty });
        let value = match value.get_ref() {
            DeValue::String(text) => scalar(text.to_string(), Type::Text),
            DeValue::Integer(int) => match i64::from_str_radix(int.as_str(), int.radix()) {
                Ok(number) => scalar(number.to_string(), Type::Int),
                Err(_) => scalar(int.as_str().to_owned(), Type::Int),
            },
            DeValue::Float(float) => scalar(float.as_str().to_owned(), Type::Float),
            DeValue::Boolean(value) => scalar(value.to_string(), Type::Bool),
            DeValue::Datetime(time) => scalar(time.to_string(), Type::Text),
            DeValue::Array(items) => Value::List(items.iter().map(|item| self.node(item, depth + 1)).collect()),
            DeValue::Table(table) => Value::Map(self.entries(table, depth + 1)),
        };
        Node { at, value }
    }
}
