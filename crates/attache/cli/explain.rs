//! `explain`: what would happen to one request. Builds the same route table and stack as `serve`, and sends nothing.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{out, source};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Method of the request.
    method: String,
    /// Absolute URL of the request, as the client would send it to the proxy.
    url: String,
    /// A header of the request, as in -H 'accept: text/html'; repeatable.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// What is known of the caller, as in --as user:alice; also unit, cgroup, container, spiffe, dns, identity, name,
    /// claim:path=value and `remote`; repeatable. Says whether it may.
    #[arg(long = "as", value_name = "KEY:VALUE")]
    caller: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("expected NAME: VALUE")?;
    let name = http::HeaderName::try_from(name.trim()).map_err(|_| format!("{name:?} is no header name"))?;
    Ok((name.to_string(), value.trim().to_owned()))
}

pub(crate) fn run(file: Option<PathBuf>, args: &Args) -> ExitCode {
    let loaded = match source::Chosen::file(file).load() {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let method = args.method.to_ascii_uppercase();
    let question = proxy::Question { method: &method, url: &args.url, headers: &args.headers, caller: &args.caller };
    match proxy::answer(&loaded.model, &question) {
        Ok(explanation) if args.json => match serde_json::to_value(&explanation) {
            Ok(value) => out::json(value),
            Err(error) => failed(&error.to_string()),
        },
        Ok(explanation) => out::data(explanation),
        Err(error) => failed(&error),
    }
}

fn failed(error: &str) -> ExitCode {
    out::failure(error);
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_a_name_and_a_value_without_the_space_around() {
        assert_eq!(header("Accept:  text/html "), Ok(("accept".to_owned(), "text/html".to_owned())));
        assert!(header("no colon").is_err());
        assert!(header("bad name: x").is_err());
    }
}
