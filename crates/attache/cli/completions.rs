//! `completions`: a script for a shell, made from the same definitions that parse the command line.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::out;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Shell to write it for.
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "attache", &mut script);
    out::data(String::from_utf8_lossy(&script).trim_end())
}
