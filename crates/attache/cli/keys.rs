//! `keys`: makes API keys for callers of the proxy. The key is shown once, and only its hash has to be kept.

use std::process::ExitCode;

use super::out;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Make a key of 256 random bits; print it, and the line that makes it known.
    New {
        /// Whose it is: letters, digits, `.`, `-` and `_`.
        name: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let Action::New { name, json } = &args.action;
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > 128 || name.starts_with('_') || !name.bytes().all(fine) {
        out::failure(format!(
            "{name:?} cannot be a name: use letters, digits, `.`, `-` and `_`, not beginning with `_`"
        ));
        return ExitCode::from(2);
    }
    let (key, hash) = match proxy::fresh_key() {
        Ok(fresh) => fresh,
        Err(error) => {
            out::failure(error);
            return ExitCode::FAILURE;
        }
    };
    if *json {
        return out::json(serde_json::json!({ "name": name, "key": key, "sha256": hash }));
    }
    out::data(format!(
        "key                   {key}\n\
         line of a keys file   {name} {hash}\n\
         item of a list        {{ name: {name}, sha256: {hash} }}\n\n\
         Give the key to {name}: it is not shown again, and cannot be found out from the line."
    ))
}
