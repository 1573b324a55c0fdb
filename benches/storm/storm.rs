//! Load and endpoints of `benches/storm/run`, for one run of one proxy: real sockets, one process beside the proxy.
//!
//! `benches/storm/run` starts this with a plan, then the proxy before its endpoints, and says on standard input where to
//! send: `PORT` of the proxy, with `PORT ADMIN` its tries are read from its metrics as well, or `direct`. The figures
//! come back on standard output, on one line after `RESULT`. Endpoints and load share a thread: at some hundred requests
//! a second they are idle most of the time.
#![allow(clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

mod endpoint;
mod load;
mod plan;
mod report;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use http::Request;
use http_body_util::Full;
use testkit::load::Client;
use tokio::time::{Instant, sleep_until};

use endpoint::{Endpoint, Mode};
use plan::{PHASES, Plan};
use report::Seen;

fn main() -> ExitCode {
    let Some(plan) = Plan::parse(std::env::args().skip(1)) else {
        eprintln!("not a plan; benches/storm/run makes them");
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match runtime.block_on(run(&plan)) {
        Ok(seen) => {
            println!("RESULT {}", seen.figures(&plan));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(plan: &Plan) -> Result<Seen, Box<dyn std::error::Error + Send + Sync>> {
    let mut endpoints = Vec::new();
    for port in &plan.ports {
        endpoints.push(Endpoint::start(*port).await?);
    }
    let line = tokio::task::spawn_blocking(|| std::io::stdin().lines().next()).await?.ok_or("no line")??;
    let (doors, admin) = doors(&line, &plan.ports)?;

    let start = Instant::now() + Duration::from_millis(100);
    let attempts = watch(admin, plan, start);
    let outcomes = load::run(&doors, start, plan.period(), plan.count());
    let (outcomes, (), attempts) = tokio::join!(outcomes, trouble(plan, &endpoints, start), attempts);
    Ok(Seen { outcomes, calls: endpoints.iter().map(Endpoint::calls).collect(), start, attempts })
}

/// Where to send, and where to ask what the proxy counted.
fn doors(line: &str, ports: &[u16]) -> Result<(Vec<Client>, Option<Client>), std::num::ParseIntError> {
    let client = |port: u16| Client::new(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    if line == "direct" {
        return Ok((ports.iter().copied().map(client).collect(), None));
    }
    let mut named = line.split(' ').map(|port| port.parse().map(client));
    let door = named.next().unwrap_or_else(|| "".parse().map(client))?;
    Ok((vec![door], named.next().transpose()?))
}

/// Makes the endpoints fail and get well when it is time.
async fn trouble(plan: &Plan, endpoints: &[Endpoint], start: Instant) {
    let (from, to) = plan.fault();
    let failing = if plan.outage { endpoints } else { &endpoints[..1] };
    sleep_until(start + from).await;
    failing.iter().for_each(|endpoint| endpoint.set(plan.fault));
    if let (Some((_, until)), Some(slow)) = (plan.slow(), endpoints.get(1)) {
        slow.set(Mode::Slow);
        sleep_until(start + until).await;
        slow.set(Mode::Well);
    }
    sleep_until(start + to).await;
    failing.iter().for_each(|endpoint| endpoint.set(Mode::Well));
}

/// The proxy's count of tries when each phase begins, and at the end.
async fn watch(admin: Option<Client>, plan: &Plan, start: Instant) -> Vec<f64> {
    let mut counts = Vec::new();
    let Some(admin) = admin else { return counts };
    for phase in 0..=PHASES.len() {
        sleep_until(start + plan.begin(phase)).await;
        counts.push(tries(&admin).await.unwrap_or(f64::NAN));
    }
    counts
}

async fn tries(admin: &Client) -> Option<f64> {
    let request = Request::get("/metrics").header("host", "127.0.0.1").body(Full::default()).ok()?;
    let answer = admin.send(request).await.ok()?;
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    let series = text.lines().filter(|line| line.starts_with("attache_attempts_total"));
    Some(series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum())
}
