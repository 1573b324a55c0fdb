//! `healthcheck`: is the running proxy ready? Made for exec probes, so one line says why it is not.

use std::path::PathBuf;
use std::process::ExitCode;

use http::Method;

use super::{admin, out};

pub(crate) fn run(file: Option<PathBuf>, flags: &admin::Flags) -> ExitCode {
    let address = match flags.address(file) {
        Ok(address) => address,
        Err(code) => return code,
    };
    match admin::ask(Method::GET, &address, "/readyz") {
        Ok(answer) if answer.status.is_success() => out::data("ready"),
        Ok(answer) => {
            out::failure(format!("not ready ({}): {}", answer.status, answer.text()));
            ExitCode::FAILURE
        }
        Err(error) => {
            out::failure(error);
            ExitCode::FAILURE
        }
    }
}
