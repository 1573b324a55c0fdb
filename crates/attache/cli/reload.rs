//! `reload`: the running proxy reads its configuration again; when it refuses, it says why and keeps the old one.

use std::path::PathBuf;
use std::process::ExitCode;

use http::Method;
use serde_json::Value;

use super::{admin, out};

pub(crate) fn run(file: Option<PathBuf>, flags: &admin::Flags) -> ExitCode {
    let address = match flags.address(file) {
        Ok(address) => address,
        Err(code) => return code,
    };
    let answer = match admin::ask(Method::POST, &address, "/api/v1/reload") {
        Ok(answer) => answer,
        Err(error) => {
            out::failure(error);
            return ExitCode::FAILURE;
        }
    };
    if answer.status.is_success() {
        let generation = answer.json().and_then(|body| body.get("generation").and_then(Value::as_u64));
        return out::data(generation.map_or("reloaded".to_owned(), |number| format!("reloaded, generation {number}")));
    }
    let body = answer.json();
    match body.as_ref().and_then(|body| body.get("diagnostics")).and_then(Value::as_array) {
        Some(diagnostics) => diagnostics.iter().for_each(|d| out::diagnostic(rendered(d))),
        None => out::message(answer.text()),
    }
    out::failure(format!("the proxy refused to reload ({}) and keeps its configuration", answer.status));
    ExitCode::FAILURE
}

/// A diagnostic from its JSON, as `check` prints it.
fn rendered(diagnostic: &Value) -> String {
    if let Some(text) = diagnostic.as_str() {
        return text.to_owned();
    }
    let text = |key: &str| diagnostic.get(key).and_then(Value::as_str).unwrap_or_default();
    let number = |key: &str| diagnostic.get(key).and_then(Value::as_u64).unwrap_or_default();
    let mut out = format!("{}[{}]: {}\n --> {}", text("severity"), text("id"), text("message"), text("file"));
    if number("line") > 0 {
        out.push_str(&format!(":{}:{}", number("line"), number("column")));
    }
    if let Some(snippet) = diagnostic.pointer("/snippet/text").and_then(Value::as_str) {
        out.push_str(&format!("\n  | {snippet}"));
    }
    if !text("help").is_empty() {
        out.push_str(&format!("\n  = help: {}", text("help")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_is_printed_with_place_snippet_and_help() {
        let diagnostic = serde_json::json!({
            "id": "unknown-key", "severity": "error", "file": "a.yaml", "line": 3, "column": 5,
            "message": "unknown key `retyr`", "snippet": {"text": "    retyr: 3", "start": 4, "length": 5},
            "help": "did you mean `retry`?"
        });

        let text = rendered(&diagnostic);

        assert_eq!(
            text,
            "error[unknown-key]: unknown key `retyr`\n --> a.yaml:3:5\n  |     retyr: 3\n  = help: did you mean `retry`?"
        );
    }
}
