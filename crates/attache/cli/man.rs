//! `man`: a manual page, made from the same definitions that parse the command line.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_mangen::Man;

use super::out;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Subcommand to write the page of [default: the page of attache itself].
    command: Option<String>,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let mut root = super::Cli::command();
    root.build();
    let page = match &args.command {
        None => root,
        Some(name) => match root.find_subcommand(name) {
            Some(found) => found.clone(),
            None => {
                out::failure(format!("there is no subcommand {name:?}; `attache --help` lists them"));
                return ExitCode::from(2);
            }
        },
    };
    let mut roff = Vec::new();
    match Man::new(page).render(&mut roff) {
        Ok(()) => out::data(String::from_utf8_lossy(&roff).trim_end()),
        Err(error) => {
            out::failure(format!("cannot write the page: {error}"));
            ExitCode::FAILURE
        }
    }
}
