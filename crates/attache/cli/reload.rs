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
    match body.as_ref().and_then(|body| body.get("errors")).and_then(Value::as_array) {
        Some(errors) => errors.iter().filter_map(Value::as_str).for_each(out::diagnostic),
        None => out::message(answer.text()),
    }
    out::failure(format!("the proxy refused to reload ({}) and keeps its configuration", answer.status));
    ExitCode::FAILURE
}
