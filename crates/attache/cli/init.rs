//! `init`: a configuration to begin with, for one service. Writes one file, and never over another without `--force`.
//!
//! Its first line names a JSON Schema next to it for editors; that file is not written here, since a project may want
//! it elsewhere or not at all. The command that makes it is in the comment below the line, and needs no network.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use exchange::Authority;

use super::out;

const FILE: &str = "attache.yaml";
const TEMPLATE: &str = include_str!("init.yaml");
/// The host that the template is written for.
const PLACEHOLDER: &str = "api.example.com";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Host of the service, with its port if it is not 443.
    #[arg(default_value = PLACEHOLDER, value_parser = host)]
    host: String,
    /// Overwrite an attache.yaml that exists.
    #[arg(long)]
    force: bool,
}

/// A host as it is written in a configuration.
fn host(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix("https://").unwrap_or(text).trim_end_matches('/');
    Authority::parse(bare)
        .map(|host| host.to_string())
        .map_err(|e| format!("{e}; expected a name such as {PLACEHOLDER}"))
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let text = TEMPLATE.replace(PLACEHOLDER, &args.host);
    match write(Path::new(FILE), &text, args.force) {
        Ok(()) => {
            out::message(format_args!("wrote {FILE}; next:\n{}", next(&args.host)));
            ExitCode::SUCCESS
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            out::failure(format_args!("{FILE} exists; `attache init --force` overwrites it"));
            ExitCode::FAILURE
        }
        Err(error) => {
            out::failure(format_args!("cannot write {FILE}: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn write(path: &Path, text: &str, force: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    options.open(path)?.write_all(text.as_bytes())
}

fn next(host: &str) -> String {
    let lines = [
        ("attache check".to_owned(), "is it valid?"),
        (format!("attache explain GET http://{host}/"), "what would happen to a request?"),
        (format!("attache run -- curl -i http://{host}/"), "one command through it"),
        ("attache".to_owned(), "serve, and eval \"$(attache env)\" in the client's shell"),
    ];
    let width = lines.iter().map(|(command, _)| command.len()).max().unwrap_or_default();
    lines.map(|(command, what)| format!("  {command:width$}  {what}")).join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_may_come_as_a_url_and_must_be_one() {
        assert_eq!(host("https://API.test/").as_deref(), Ok("api.test"));
        assert_eq!(host("api.test:8443").as_deref(), Ok("api.test:8443"));
        assert!(host("api.test/v1").is_err());
        assert!(host("").is_err());
    }

    #[test]
    fn a_file_that_exists_is_only_overwritten_by_force() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        write(&path, "a long first text", false).unwrap();

        assert_eq!(write(&path, "b", false).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        write(&path, "b", true).unwrap();

        assert_eq!(std::fs::read_to_string(&path).unwrap(), "b");
    }

    #[test]
    fn the_template_begins_with_the_schema_line_and_names_the_host() {
        assert!(TEMPLATE.starts_with("# yaml-language-server: $schema="));
        assert!(TEMPLATE.contains(&format!("match: {PLACEHOLDER}")));
    }
}
