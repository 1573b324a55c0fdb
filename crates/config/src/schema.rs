//! The JSON Schema of the configuration, from the tables that read it.

use serde_json::{Map, Value, json};

use crate::keys::ROOT;
use crate::table::{Absent, Kind, Table};

/// The JSON Schema (draft 2020-12) of a configuration file.
pub fn schema() -> Value {
    let mut defs = Map::new();
    table(&ROOT, &mut defs);
    let mut root = defs.remove(ROOT.name).unwrap_or_default();
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("attache");
    root["$defs"] = Value::Object(defs);
    root
}

fn table(table: &'static Table, defs: &mut Map<String, Value>) {
    if defs.contains_key(table.name) {
        return;
    }
    defs.insert(table.name.to_owned(), Value::Null);
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for field in table.fields() {
        for name in std::iter::once(&field.name).chain(field.aliases) {
            let mut schema = kind(&field.kind, defs);
            schema["description"] = match (*name == field.name, field.absent) {
                (false, _) => json!(format!("Another name for `{}`.", field.name)),
                (true, Absent::Means(what)) => json!(format!("{} Absent: {what}.", field.doc)),
                (true, _) => json!(field.doc),
            };
            if let (true, Absent::Is(text)) = (*name == field.name, field.absent)
                && let Some(value) = crate::effective::plain(text)
            {
                schema["default"] = value;
            }
            properties.insert((*name).to_owned(), schema);
        }
        if matches!(field.absent, Absent::Required) {
            required.push(json!(field.name));
        }
    }
    let mut schema = json!({
        "description": table.doc, "type": "object", "additionalProperties": false, "properties": properties,
    });
    if !required.is_empty() {
        schema["required"] = Value::Array(required);
    }
    defs.insert(table.name.to_owned(), schema);
}

fn kind(of: &'static Kind, defs: &mut Map<String, Value>) -> Value {
    match of {
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Int(least, u64::MAX) => json!({"type": "integer", "minimum": least}),
        Kind::Int(least, most) => json!({"type": "integer", "minimum": least, "maximum": most}),
        Kind::Duration(_) => json!({"type": "string", "pattern": r"^([0-9.]+(us|µs|ms|s|m|min|h|d))+$"}),
        Kind::Size(..) => json!({"type": "string", "pattern": "^[0-9.]+([KMG]i?B|kB|B)$"}),
        Kind::Share => json!({"type": "string", "pattern": "^[0-9.]+%$"}),
        Kind::Word(words) if words.iter().all(|w| w.parse::<f64>().is_ok()) => {
            let numbers = words.iter().filter_map(|w| w.parse::<f64>().ok());
            let values: Vec<Value> = words.iter().map(|w| json!(w)).chain(numbers.map(|n| json!(n))).collect();
            json!({"enum": values})
        }
        Kind::Word(words) => json!({"enum": words}),
        Kind::Form(form) if form.numbers => json!({"type": ["string", "number", "boolean"]}),
        Kind::Form(_) => json!({"type": "string"}),
        Kind::List(item) => json!({"type": "array", "items": kind(item, defs)}),
        Kind::OneOrMany(item) => {
            let item = kind(item, defs);
            json!({"anyOf": [item, {"type": "array", "items": item}]})
        }
        Kind::Map(_, value) => json!({"type": "object", "additionalProperties": kind(value, defs)}),
        Kind::Table(inner) => {
            table(inner, defs);
            let long = json!({"$ref": format!("#/$defs/{}", inner.name)});
            match inner.short.and_then(|short| inner.field(short)) {
                Some(short) => json!({"anyOf": [kind(&short.kind, defs), long]}),
                None => long,
            }
        }
        Kind::OrFalse(inner) => json!({"anyOf": [{"const": false}, kind(inner, defs)]}),
    }
}
