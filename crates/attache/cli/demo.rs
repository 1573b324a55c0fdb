//! `demo`: what the proxy does for a client of a flaky service, measured here and now.
//!
//! Everything is the real thing but the network: a real service on a loopback port, a real configuration in a private
//! directory, the real listener, a client that knows nothing but its proxy's address. On a terminal the table is redrawn
//! while it runs, and the proxy then serves until Ctrl-C; elsewhere the table is printed once and the exit code is 0 if at
//! least 99 % of the requests succeeded.

mod client;
mod fate;
mod screen;
mod service;
mod tally;

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use config::model::Address;
use http::Method;
use proxy::{Bound, Running, Settings};
use tokio::net::TcpListener;
use tokio::time::MissedTickBehavior;

use self::screen::{COLUMNS, Scene, Style};
use self::service::Shared;
use super::{admin, out, serve, source};
use crate::os::{self, Signal, Signals};

const URL: &str = "http://demo.attache/";
/// The share that must succeed, in percent.
const ENOUGH: f64 = 99.0;
const FRAME: Duration = Duration::from_millis(100);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Seed of the failures [default: a new one].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Requests to send.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=2000))]
    requests: u32,
    /// Requests a second.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    shown(args).unwrap_or_else(|error| {
        out::failure(error);
        ExitCode::FAILURE
    })
}

type Problem = Box<dyn std::error::Error>;

fn shown(args: &Args) -> Result<ExitCode, Problem> {
    let seed = args.seed.unwrap_or_else(|| u64::from(fastrand::u32(..)));
    let dir = os::private_dir()?;
    let runtime = super::runtime()?;
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
    let at = listener.local_addr()?;
    let Some(loaded) = configured(dir.path(), at)? else { return Ok(ExitCode::FAILURE) };
    let messages = out::show_messages(&loaded.model.log);
    let retry = loaded.model.routes.first().and_then(|route| route.policy.retry.as_ref()).map(|r| r.attempts);
    let colour = out::Paint::stdout().on();
    let running = Arc::new(proxy::start(Settings {
        loaded,
        reload: None,
        seed: Some(seed),
        net: None,
        colour,
        messages,
        authority: None,
    })?);
    let proxy = serve::tcp(running.listeners()).ok_or("the proxy has no TCP address")?;
    let scene = Scene { proxy, service: at, url: URL, seed, rate: args.rate, retry };
    let stage = Stage::new(scene, args.requests as usize, admin_of(&running));
    let code = runtime.block_on(stage.play(listener));
    running.stop();
    running.wait();
    code.map_err(Into::into)
}

/// The demo's configuration, written and read as anybody's; `None` when it was refused and that was said.
fn configured(dir: &Path, service: SocketAddr) -> io::Result<Option<config::Loaded>> {
    let file = dir.join("attache.yaml");
    let admin = os::private_address(dir);
    std::fs::write(
        &file,
        format!(
            "listen: 127.0.0.1:0\nadmin: {admin:?}\nworkers: 1\nlog: {{ level: error, access: false }}\n\
             resolve: {{ demo.attache: \"{service}\" }}\n\
             routes:\n  - match: demo.attache\n    retry: {{ attempts: 4, backoff: 20ms }}\n"
        ),
    )?;
    Ok(source::Chosen::alone(file).load().ok())
}

fn admin_of(running: &Running) -> Option<Address> {
    running.admin().map(|bound| match bound {
        Bound::Tcp(address) => Address::Tcp(*address),
        Bound::Unix(path) => Address::Unix(path.clone()),
    })
}

struct Stage {
    scene: Scene,
    tally: Shared,
    requests: usize,
    admin: Option<Address>,
    style: Style,
    /// Somebody watches: serve on after the last request.
    terminal: bool,
}

impl Stage {
    fn new(scene: Scene, requests: usize, admin: Option<Address>) -> Self {
        let style = Style { paint: out::Paint::stdout(), unicode: speaks_unicode() };
        Self { scene, tally: Shared::new(requests), requests, admin, style, terminal: io::stdout().is_terminal() }
    }

    async fn play(&self, listener: TcpListener) -> io::Result<ExitCode> {
        let Scene { proxy, seed, rate, .. } = self.scene;
        let mut signals = Signals::listen(&[Signal::Interrupt, Signal::Terminate, Signal::Hangup])?;
        let service = tokio::spawn(service::serve(listener, seed, self.tally.clone()));
        let every = Duration::from_secs(1) / rate;
        // A task of its own, so that drawing never delays a request.
        let mut client = tokio::spawn(client::send(proxy, URL, self.requests, every, self.tally.clone()));
        print(&screen::head(&self.scene, self.style))?;
        let live = self.terminal && os::can_redraw(self.frame(None).len() + 2, COLUMNS);
        let mut drawn = 0;
        let mut frames = tokio::time::interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let whole = loop {
            tokio::select! {
                sent = &mut client => break sent.is_ok(),
                _ = signals.next() => break false,
                _ = frames.tick(), if live => drawn = redraw(drawn, &self.frame(self.breaker().await.as_deref()))?,
            }
        };
        redraw(drawn, &self.frame(self.breaker().await.as_deref()))?;
        if whole {
            print(&screen::next(&self.scene, self.terminal, self.style))?;
            if self.terminal {
                signals.next().await;
            }
        }
        service.abort();
        client.abort();
        let sums = self.tally.with(|tally| tally.sums());
        let enough = whole && tally::percent(sums.succeeded, self.requests) >= ENOUGH;
        Ok(if enough { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn frame(&self, breaker: Option<&str>) -> Vec<String> {
        self.tally.with(|tally| screen::body(tally.standings(), &tally.sums(), breaker, self.style))
    }

    /// The breaker's state as the proxy's own metrics have it.
    async fn breaker(&self) -> Option<String> {
        let answer = admin::asked(Method::GET, self.admin.as_ref()?, "/metrics").await.ok()?;
        breaker(&answer.text()).map(str::to_owned)
    }
}

/// The worst state of any breaker in the exposition text.
fn breaker(metrics: &str) -> Option<&'static str> {
    let states = metrics.lines().filter(|line| line.starts_with("attache_breaker_state"));
    let worst = states.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).reduce(f64::max)?;
    Some(match worst {
        _ if worst >= 2.0 => "open",
        _ if worst >= 1.0 => "half-open",
        _ => "closed",
    })
}

fn print(lines: &[String]) -> io::Result<()> {
    redraw(0, lines).map(|_| ())
}

/// Draws lines over the `over` lines above the cursor, in one write so that nothing flickers; returns their number.
fn redraw(over: usize, lines: &[String]) -> io::Result<usize> {
    let mut text = String::new();
    if over > 0 {
        let _ = write!(text, "\x1b[{over}A\x1b[J");
    }
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(lines.len())
}

/// The first locale variable that is set decides, as in `setlocale`.
fn speaks_unicode() -> bool {
    let locale =
        ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_breaker_is_shown_and_none_is_not_made_up() {
        let line = |n: u8| format!("attache_breaker_state{{upstream=\"a b\",endpoint=\"c\"}} {n}\n");

        assert_eq!(breaker(""), None);
        assert_eq!(breaker(&line(0)), Some("closed"));
        assert_eq!(breaker(&(line(0) + &line(2) + &line(1))), Some("open"));
    }

    #[test]
    fn the_demos_own_configuration_is_valid() {
        let dir = tempfile::tempdir().unwrap();

        let loaded = configured(dir.path(), "127.0.0.1:9".parse().unwrap()).unwrap().unwrap();

        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        assert_eq!(loaded.model.resolve["demo.attache"].port, Some(9));
    }
}
