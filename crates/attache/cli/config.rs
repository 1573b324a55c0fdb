//! `config`: the configuration that really applies, with the origin of each value, or the JSON Schema of the file.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::{out, source};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print every value and where it comes from; secrets are not shown (the default).
    #[arg(long, conflicts_with = "schema")]
    effective: bool,
    /// Print the JSON Schema of the configuration file.
    #[arg(long)]
    schema: bool,
    /// Print the effective configuration as JSON.
    #[arg(long, conflicts_with = "schema")]
    json: bool,
    #[command(flatten)]
    flags: source::Flags,
}

pub(crate) fn run(file: Option<PathBuf>, args: &Args) -> ExitCode {
    if args.schema {
        return out::data(format_args!("{:#}", config::schema()));
    }
    let loaded = match source::Chosen::new(file, &args.flags).load() {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    if args.json {
        return out::json(json!({"source": loaded.source.to_string(), "config": loaded.origins.json()}));
    }
    out::data(format_args!("# {}\n{}", loaded.source, loaded.origins.yaml().trim_end()))
}
