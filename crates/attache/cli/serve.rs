//! `serve`: the proxy until it is told to go.
//!
//! TERM and INT begin the drain, a second one ends it (exit code 3); HUP reads the configuration again; USR1 opens the
//! log files again, after logrotate moved them. The proxy has threads of its own, so this one only waits.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use config::Loaded;
use proxy::{Bound, Ended, Running, Settings};
use tokio::sync::oneshot;

use super::{admin, out, source};
use crate::os::{self, Signal, Signals};

/// The drain ended before the requests did.
const FORCED: u8 = 3;

pub(crate) fn run(chosen: source::Chosen) -> ExitCode {
    if let Err(error) = os::hide_memory() {
        out::message(format_args!("core dumps and debuggers may see secrets: {error}"));
    }
    let loaded = match chosen.load() {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    if let Err(error) = os::raise_file_limit() {
        out::message(format_args!("the limit of open files stays as it is: {error}"));
    }
    let messages = out::show_messages(&loaded.model.log);
    let told = Told::new(&loaded);
    let settings = Settings {
        loaded,
        reload: Some(chosen.into_source()),
        seed: None,
        net: None,
        colour: out::Paint::stderr().on(),
        messages,
        authority: None,
    };
    served(settings, &told).unwrap_or_else(|error| {
        out::failure(error);
        ExitCode::FAILURE
    })
}

fn served(settings: Settings, told: &Told) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let runtime = super::runtime()?;
    let signals = {
        let _inside = runtime.enter();
        Signals::listen(&[Signal::Terminate, Signal::Interrupt, Signal::Hangup, Signal::User1])?
    };
    let running = Arc::new(proxy::start(settings)?);
    told.announce(&running);
    Ok(match runtime.block_on(attend(&running, signals)) {
        Ended::Clean => ExitCode::SUCCESS,
        Ended::Forced => {
            out::message("stopped before every request was finished");
            ExitCode::from(FORCED)
        }
    })
}

/// Obeys signals until the proxy has ended.
async fn attend(running: &Arc<Running>, mut signals: Signals) -> Ended {
    let mut ended = ended(running);
    let mut draining = false;
    loop {
        let signal = tokio::select! {
            ended = &mut ended => return ended.unwrap_or(Ended::Forced),
            signal = signals.next() => signal,
        };
        match signal {
            // The proxy itself says how it went, as for a changed file.
            Signal::Hangup => aside(running, |running| drop(running.reload())),
            Signal::User1 => aside(running, Running::reopen_logs),
            _ if draining => {
                running.stop();
                // Whatever was left is cut, even if it is gone by the time the proxy counts it.
                // An answer or none, it has ended.
                let _ = ended.await;
                return Ended::Forced;
            }
            _ => {
                draining = true;
                out::message("draining: finishing what is in flight; once more to stop now");
                running.drain();
            }
        }
    }
}

/// Asks the proxy for what blocks, without keeping the next signal waiting.
fn aside(running: &Arc<Running>, ask: fn(&Running)) {
    let running = Arc::clone(running);
    drop(tokio::task::spawn_blocking(move || ask(&running)));
}

/// Resolves when the proxy has ended, by a thread that waits for it.
pub(crate) fn ended(running: &Arc<Running>) -> oneshot::Receiver<Ended> {
    let (tell, ended) = oneshot::channel();
    let running = Arc::clone(running);
    std::thread::spawn(move || {
        // Nobody listens any more when the process is on its way out.
        let _ = tell.send(running.wait());
    });
    ended
}

/// The first TCP address of a proxy, as clients reach it.
pub(crate) fn tcp(listeners: &[Bound]) -> Option<SocketAddr> {
    listeners.iter().find_map(|bound| match bound {
        Bound::Tcp(address) => Some(super::variables::reachable(*address)),
        Bound::Unix(_) => None,
    })
}

/// What start-up says of the configuration.
struct Told {
    source: String,
    routes: usize,
    json: bool,
    /// Which listeners speak TLS.
    tls: Vec<bool>,
}

impl Told {
    fn new(loaded: &Loaded) -> Self {
        let source = loaded.source.to_string();
        let tls = loaded.model.listen.iter().map(|listener| listener.tls.is_some()).collect();
        Self { source, routes: loaded.model.routes.len(), json: loaded.model.log.json, tls }
    }

    fn announce(&self, running: &Running) {
        let Self { source, routes, json, tls } = self;
        let listeners = running.listeners().iter().zip(tls);
        let listening: Vec<String> = listeners.clone().map(|(bound, tls)| shown(bound, *tls)).collect();
        let admin = running.admin().map_or("off".to_owned(), |bound| shown(bound, false));
        let version = env!("CARGO_PKG_VERSION");
        if *json {
            tracing::info!(version, config = %source, routes, listen = listening.join(", "), admin, "started");
            return;
        }
        let routes = source::counted(*routes, "route");
        out::message(format_args!("attache {version}, configuration {source} ({routes})"));
        out::message(format_args!("listening on {}, admin {admin}", listening.join(", ")));
        let plain: Vec<Bound> = listeners.filter(|(_, tls)| !**tls).map(|(bound, _)| bound.clone()).collect();
        if let Some(address) = tcp(&plain).filter(|_| io::stderr().is_terminal()) {
            let paint = out::Paint::stderr();
            let proxy = admin::url(address);
            out::message(format_args!("\nSend a shell's clients through it with either of\n"));
            out::message(paint.bold(format_args!("  export http_proxy={proxy} https_proxy={proxy}")));
            out::message(paint.bold("  eval \"$(attache env)\"\n"));
        }
    }
}

fn shown(bound: &Bound, tls: bool) -> String {
    match bound {
        Bound::Tcp(address) => format!("{}://{address}", if tls { "https" } else { "http" }),
        Bound::Unix(path) => format!("unix:{}{}", path.display(), if tls { " (TLS)" } else { "" }),
    }
}
