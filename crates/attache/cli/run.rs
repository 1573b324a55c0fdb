//! `run`: one command with a proxy of its own, on a free port, for as long as the command runs.
//!
//! The command cannot tell the difference from being started by a shell: its stdin, stdout and stderr are its own (no
//! access log goes to stdout), signals reach it, and its exit code is ours (128 + n for a signal, 127 not found, 126 not
//! executable). The limit of open files is raised after it was started, so that it keeps the one it would have had.
//!
//! Signals: TERM, HUP, USR1 and USR2 are forwarded. INT and QUIT are too, except when we are the foreground group of a
//! terminal: there Ctrl-C already goes to the whole group, and forwarding would deliver it twice. If we are killed, the
//! command goes on and its calls find no proxy.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;

use config::Loaded;
use config::model::AccessSink;
use proxy::{Running, Settings};
use tokio::process::{Child, Command};

use super::trust::{self, Trust};
use super::{out, serve, source, variables};
use crate::os::{self, Signal, Signals};

const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Worker threads of the proxy [default: the configured number, else 1].
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// Level of the proxy's messages [default: warn].
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
    /// Open the tunnels of https clients, so that routes apply inside; the command trusts an authority made for this run.
    ///
    /// Every host but those whose route says `intercept: false`. If the configuration has `ca`, that one signs.
    #[arg(long)]
    intercept: bool,
    /// The command and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

pub(crate) fn run(file: Option<PathBuf>, args: &Args) -> ExitCode {
    started(file, args).unwrap_or_else(|failed| match failed {
        Failed::Told(code) => code,
        Failed::Because(error) => {
            out::failure(error);
            ExitCode::FAILURE
        }
    })
}

enum Failed {
    /// Has been said already.
    Told(ExitCode),
    Because(Box<dyn std::error::Error>),
}

impl<E: Into<Box<dyn std::error::Error>>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::Because(error.into())
    }
}

fn started(file: Option<PathBuf>, args: &Args) -> Result<ExitCode, Failed> {
    if let Err(error) = os::hide_memory() {
        out::message(format_args!("attache: core dumps and debuggers may see secrets: {error}"));
    }
    let dir = os::private_dir()?;
    let (loaded, chosen) = private(file, args, &os::private_address(dir.path())).map_err(Failed::Told)?;
    let messages = out::show_messages(&loaded.model.log);
    let trust = trust::prepare(&loaded.model, args.intercept, dir.path(), &variables::inherited)?;
    let settings = Settings {
        loaded,
        reload: Some(chosen.into_source()),
        seed: None,
        net: None,
        colour: out::Paint::stderr().on(),
        messages,
        authority: trust.as_ref().and_then(|trust| trust.given.clone()),
    };
    let runtime = super::runtime()?;
    let signals = {
        let _inside = runtime.enter();
        use Signal::{Hangup, Interrupt, Quit, Terminate, User1, User2};
        Signals::listen(&[Terminate, Interrupt, Quit, Hangup, User1, User2])?
    };
    let running = Arc::new(proxy::start(settings)?);
    let code = runtime.block_on(accompany(&running, &args.command, trust.as_ref(), signals));
    Ok(ExitCode::from(code?))
}

/// The user's configuration on a free port, with a private admin interface and stdout left alone.
fn private(file: Option<PathBuf>, args: &Args, admin: &str) -> Result<(Loaded, source::Chosen), ExitCode> {
    let mut chosen = source::Chosen::file(file);
    if let Some(workers) = &args.workers {
        chosen.set("workers", workers, "flag --workers");
    }
    if let Some(level) = &args.log {
        chosen.set("log.level", level, "flag --log");
    }
    chosen.set("listen", "127.0.0.1:0", "run");
    chosen.set("admin", admin, "run");
    if args.intercept {
        chosen.set("default.intercept", "true", "flag --intercept");
    }
    let Loaded { model, origins, .. } = chosen.quietly()?;
    if model.workers.is_none() {
        chosen.set("workers", "1", "run");
    }
    if model.metrics.address.is_some() {
        chosen.set("metrics.address", "127.0.0.1:0", "run");
    }
    if origins.of("log.level").as_deref() == Some("default") {
        chosen.set("log.level", "warn", "run");
    }
    if model.log.access.sink == AccessSink::Stdout {
        chosen.set("log.access", "false", "run");
    }
    Ok((chosen.load()?, chosen))
}

/// Runs the command to its end, then finishes what is in flight.
async fn accompany(
    running: &Arc<Running>,
    command: &[OsString],
    trust: Option<&Trust>,
    mut signals: Signals,
) -> io::Result<u8> {
    let child = match spawn(running, command, trust) {
        Ok(child) => child,
        Err((error, code)) => {
            out::failure(error);
            return Ok(code);
        }
    };
    if let Err(error) = os::raise_file_limit() {
        out::message(format_args!("attache: the limit of open files stays as it is: {error}"));
    }
    let code = os::exit_code(waited(child, &mut signals).await?);
    drained(running, &mut signals).await;
    Ok(code)
}

fn spawn(running: &Running, command: &[OsString], trust: Option<&Trust>) -> Result<Child, (String, u8)> {
    let address = serve::tcp(running.listeners()).ok_or_else(|| ("the proxy has no TCP address".to_owned(), 1))?;
    let (program, arguments) = command.split_first().ok_or_else(|| ("no command was given".to_owned(), 2))?;
    let proxy = format!("http://{address}");
    let notes = variables::notes(&proxy, &variables::inherited);
    for note in notes.iter().chain(trust.into_iter().flat_map(|trust| &trust.notes)) {
        out::message(format_args!("attache: {note}"));
    }
    let mut child = Command::new(program);
    child.args(arguments).kill_on_drop(true);
    child.envs(variables::set(&address.ip().to_string(), address.port(), &variables::inherited));
    child.env(variables::PROXY, &proxy);
    if let Some(trust) = trust {
        child.envs(trust.variables.iter().cloned());
        let java = variables::java(&address.ip().to_string(), address.port(), &variables::inherited);
        child.env(variables::JAVA, [java].into_iter().chain(trust.java.iter().cloned()).collect::<Vec<_>>().join(" "));
    }
    match running.admin() {
        Some(proxy::Bound::Unix(path)) => child.env(variables::ADMIN_SOCKET, path),
        Some(proxy::Bound::Tcp(address)) => child.env(variables::ADMIN_SOCKET, address.to_string()),
        None => child.env_remove(variables::ADMIN_SOCKET),
    };
    child.spawn().map_err(|error| {
        let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
        (format!("cannot run {}: {error}", program.display()), code)
    })
}

/// Waits for the child and passes signals on to it.
async fn waited(mut child: Child, signals: &mut Signals) -> io::Result<ExitStatus> {
    loop {
        let signal = tokio::select! {
            status = child.wait() => return status,
            signal = signals.next() => signal,
        };
        let by_terminal = matches!(signal, Signal::Interrupt | Signal::Quit) && os::reached_by_terminal();
        // Without an id the child was waited for already, and its number may be another process's.
        if let Some(id) = child.id().filter(|_| !by_terminal) {
            os::forward(signal, id);
        }
    }
}

/// Finishes what is in flight; a signal ends that at once.
async fn drained(running: &Arc<Running>, signals: &mut Signals) {
    running.drain();
    let mut ended = serve::ended(running);
    loop {
        tokio::select! {
            _ = &mut ended => return,
            signal = signals.next() => if matches!(signal, Signal::Terminate | Signal::Interrupt | Signal::Quit) {
                running.stop();
            },
        }
    }
}
