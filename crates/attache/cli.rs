//! What can be typed, and where it goes.
//!
//! `serve` is the default, so its flags are accepted without its name; with another subcommand they are a usage error
//! rather than ignored. `-c` is valid before and after any subcommand.
//!
//! Exit codes: 0 done, 1 could not start or the configuration is bad, 2 usage (clap's own), 3 the drain was forced.
//! `run` ends with its child's.

mod admin;
mod ca;
mod check;
mod completions;
mod config;
mod demo;
mod doctor;
mod env;
mod explain;
mod healthcheck;
mod init;
mod keys;
mod man;
mod out;
mod reload;
mod run;
mod serve;
mod source;
mod status;
mod trust;
mod variables;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand, error::ErrorKind};

/// A small proxy next to your app: its outbound HTTP calls are routed, retried, broken off, encrypted and measured.
#[derive(Parser)]
#[command(name = "attache", version, after_help = EXAMPLES)]
struct Cli {
    /// Configuration file; without it the usual places are searched.
    ///
    /// These are $ATTACHE_CONFIG, ./attache.yaml, ./attache.yml, ./attache.toml, attache/attache.yaml in
    /// $XDG_CONFIG_HOME or ~/.config, and /etc/attache/attache.yaml. If there is none, the built-in default applies:
    /// every host is passed on, with safe retries and a breaker each.
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    serve: source::Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  attache demo                                a flaky service, and what the proxy makes of it
  attache run -- curl http://example.com/     one command through a proxy of its own
  attache init api.example.com && attache     seven lines of configuration, then serve";

#[derive(Subcommand)]
enum Command {
    /// Start the proxy (the default).
    Serve(source::Flags),
    /// Run one command through a proxy of its own, and end with its exit code.
    Run(run::Args),
    /// Show what the proxy does for a client of a flaky service; needs no file and no network.
    Demo(demo::Args),
    /// Validate a configuration.
    Check(check::Args),
    /// Say which route a request would take and what would be done to it; nothing is sent.
    Explain(explain::Args),
    /// Print the variables that send clients through the running proxy: eval "$(attache env)".
    Env(env::Args),
    /// Tell what of a command, or of this shell, will go around the proxy, and what to do about it.
    Doctor(doctor::Args),
    /// Write a commented configuration for one service to ./attache.yaml.
    Init(init::Args),
    /// Make, show or export the local authority of `intercept`.
    Ca(ca::Args),
    /// Make an API key for a caller of the proxy.
    Keys(keys::Args),
    /// Print the configuration with where each value comes from, or its JSON Schema.
    Config(config::Args),
    /// Make the running proxy read its configuration again.
    Reload(admin::Flags),
    /// Ask the running proxy whether it is ready: exit code 0 or 1.
    Healthcheck(admin::Flags),
    /// Show the state of the running proxy.
    Status(status::Args),
    /// Print a completion script for a shell.
    Completions(completions::Args),
    /// Print a manual page.
    Man(man::Args),
}

/// Reads the arguments and runs the subcommand.
pub(crate) fn main() -> ExitCode {
    let Cli { config: file, serve, command } = Cli::parse();
    if let Some(flag) = serve.first().filter(|_| command.is_some()) {
        let text = format!("{flag} before a subcommand belongs to `serve`; write it after the subcommand");
        Cli::command().error(ErrorKind::ArgumentConflict, text).exit();
    }
    match command.unwrap_or(Command::Serve(serve)) {
        Command::Serve(flags) => serve::run(source::Chosen::new(file, &flags)),
        Command::Run(args) => run::run(file, &args),
        Command::Demo(args) => demo::run(&args),
        Command::Check(args) => check::run(file, &args),
        Command::Explain(args) => explain::run(file, &args),
        Command::Env(args) => env::run(file, &args),
        Command::Doctor(args) => doctor::run(file, &args),
        Command::Init(args) => init::run(&args),
        Command::Ca(args) => ca::run(file, &args),
        Command::Keys(args) => keys::run(&args),
        Command::Config(args) => config::run(file, &args),
        Command::Reload(flags) => reload::run(file, &flags),
        Command::Healthcheck(flags) => healthcheck::run(file, &flags),
        Command::Status(args) => status::run(file, &args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    }
}

/// A runtime for what a subcommand itself waits for; the proxy has its own.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
