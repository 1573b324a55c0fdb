//! `status`: what the running proxy says of itself, as tables.
//!
//! The admin API owns the fields; this only lays them out (single values as lines, lists of objects as tables), so a new
//! field of the API appears here without a change.

use std::path::PathBuf;
use std::process::ExitCode;

use config::model::Address;
use http::Method;
use serde_json::{Map, Value};

use super::{admin, out};

/// Columns that say what a row is about.
const NAMES: [&str; 6] = ["route", "upstream", "endpoint", "file", "identity", "host"];

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    admin: admin::Flags,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(file: Option<PathBuf>, args: &Args) -> ExitCode {
    let address = match args.admin.address(file) {
        Ok(address) => address,
        Err(code) => return code,
    };
    match asked(&address) {
        Ok(status) if args.json => out::json(Value::Object(status)),
        Ok(status) => out::data(laid_out(&status, out::Paint::stdout())),
        Err(error) => failed(error),
    }
}

/// The status, with the endpoints it knows and what it refused.
fn asked(address: &Address) -> Result<Map<String, Value>, String> {
    let mut status = object(address, "/api/v1/status")?;
    // Of a daemon of several users, these are for those who may see everybody's.
    let upstreams = admin::ask(Method::GET, address, "/api/v1/upstreams").map_err(|error| error.to_string())?;
    if !upstreams.status.is_client_error() {
        status.extend(object(address, "/api/v1/upstreams")?);
    }
    status.extend(object(address, "/api/v1/refused")?);
    Ok(status)
}

fn object(address: &Address, path: &str) -> Result<Map<String, Value>, String> {
    let answer = admin::ask(Method::GET, address, path).map_err(|error| error.to_string())?;
    match answer.json() {
        Some(Value::Object(object)) if answer.status.is_success() => Ok(object),
        _ => Err(format!("the admin interface answered {} to {path}: {}", answer.status, answer.text())),
    }
}

fn failed(error: impl std::fmt::Display) -> ExitCode {
    out::failure(error);
    ExitCode::FAILURE
}

fn laid_out(status: &Map<String, Value>, paint: out::Paint) -> String {
    let is_table = |v: &Value| v.as_array().is_some_and(|rows| rows.iter().any(Value::is_object));
    let (tables, lines): (Vec<_>, Vec<_>) =
        status.iter().filter(|(key, _)| *key != "version").partition(|(_, value)| is_table(value));
    let width = lines.iter().map(|(key, _)| key.len()).max().unwrap_or_default();
    let mut blocks =
        vec![lines.iter().map(|(key, value)| format!("{key:width$}  {}", cell(value))).collect::<Vec<_>>().join("\n")];
    for (key, rows) in tables {
        let rows: Vec<_> = rows.as_array().into_iter().flatten().filter_map(Value::as_object).collect();
        blocks.push(format!("{}\n{}", paint.bold(key.to_uppercase()), table(&rows, paint)));
    }
    blocks.retain(|block| !block.is_empty());
    blocks.join("\n\n")
}

/// Names first, then other text, then numbers.
fn table(rows: &[&Map<String, Value>], paint: out::Paint) -> String {
    let mut columns: Vec<&str> = Vec::new();
    for key in rows.iter().flat_map(|row| row.keys()) {
        if !columns.contains(&key.as_str()) {
            columns.push(key);
        }
    }
    let text = |column: &str| rows.iter().any(|row| row.get(column).is_some_and(Value::is_string));
    columns.sort_by_key(|column| (NAMES.iter().position(|name| name == column).unwrap_or(NAMES.len()), !text(column)));
    let cells = |row: &Map<String, Value>| -> Vec<String> {
        columns.iter().map(|column| row.get(*column).map_or("-".to_owned(), cell)).collect()
    };
    let body: Vec<Vec<String>> = rows.iter().map(|row| cells(row)).collect();
    let width = |i: usize| body.iter().map(|row| row[i].chars().count()).chain([columns[i].len()]).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("  {}", padded.join("  ").trim_end())
    };
    let head: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
    let mut lines = vec![paint.dim(line(&head))];
    lines.extend(body.iter().map(|row| line(row)));
    lines.join("\n")
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => format!("{:.1}", number.as_f64().unwrap_or_default()),
        Value::Number(number) => number.to_string(),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| format!("{key}={}", cell(value))).collect::<Vec<_>>().join(" ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_values_are_lines_and_lists_of_objects_are_tables() {
        let status = serde_json::json!({
            "version": 1, "draining": false, "listen": ["127.0.0.1:4780"],
            "routes": [{"route": "api", "requests": 12}, {"route": "_default", "errors": 1}]
        });

        let text = laid_out(status.as_object().unwrap(), out::Paint::PLAIN);

        let expected = "draining  no\nlisten    127.0.0.1:4780\n\nROUTES\n";
        assert!(text.starts_with(expected), "{text}");
        let columns: Vec<Vec<&str>> = text.lines().skip(4).map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(columns.len(), 3, "{text}");
        assert!(columns.iter().all(|row| row.len() == 3), "{text}");
    }
}
