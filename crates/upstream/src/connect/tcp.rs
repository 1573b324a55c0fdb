//! Happy eyeballs (RFC 8305): the families take turns, a dial that is slow gets company after 250 ms, a dial
//! that fails is replaced at once, the first stream wins and the others are dropped.
//!
//! Addresses are not sorted by RFC 6724: IPv6 goes first, and a machine without IPv6 loses microseconds on it,
//! since the kernel refuses at once.

use std::fmt::Write;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use exchange::{Error, ErrorKind, Io};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use crate::net::Net;

/// How long one dial runs alone.
pub const STAGGER: Duration = Duration::from_millis(250);

/// How many addresses an error names.
const NAMED: usize = 3;

/// The addresses in the order they are tried: IPv6 and IPv4 take turns, each family in the order given.
pub fn order(addrs: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    let mut v6 = addrs.iter().filter(|ip| ip.is_ipv6());
    let mut v4 = addrs.iter().filter(|ip| ip.is_ipv4());
    let mut ordered = Vec::with_capacity(addrs.len());
    while ordered.len() < addrs.len() {
        ordered.extend([v6.next(), v4.next()].into_iter().flatten().map(|ip| SocketAddr::new(*ip, port)));
    }
    ordered
}

/// Races dials to `addrs` in their order until one is made or `until` is reached.
///
/// Dropping the future drops every dial.
pub async fn connect(net: &dyn Net, addrs: &[SocketAddr], until: Instant) -> Result<(Io, SocketAddr), Error> {
    let mut waiting = addrs.iter().copied();
    let mut running = FuturesUnordered::new();
    let mut failures = Failures::default();
    let deadline = sleep_until(until);
    let stagger = sleep_until(Instant::now());
    tokio::pin!(deadline, stagger);

    loop {
        match waiting.next() {
            Some(addr) => {
                running.push(async move { (addr, net.connect(addr).await) });
                stagger.as_mut().reset(Instant::now() + STAGGER);
            }
            None if running.is_empty() => return Err(failures.error()),
            None => {}
        }
        tokio::select! {
            biased;
            Some((addr, dialed)) = running.next() => match dialed {
                Ok(io) => return Ok((io, addr)),
                Err(error) if exhausted(&error) => return Err(overloaded(error)),
                Err(error) => failures.add(addr, &error),
            },
            () = &mut deadline => return Err(failures.timeout(addrs)),
            () = &mut stagger, if waiting.len() > 0 => {}
        }
    }
}

/// What went wrong so far, bounded in text.
#[derive(Default)]
struct Failures {
    text: String,
    count: usize,
    timeouts: usize,
}

impl Failures {
    fn add(&mut self, addr: SocketAddr, error: &io::Error) {
        self.timeouts += usize::from(error.kind() == io::ErrorKind::TimedOut);
        if self.count < NAMED {
            let gap = if self.count == 0 { "" } else { "; " };
            // Writing to a string cannot fail.
            let _ = write!(self.text, "{gap}{addr}: {error}");
        }
        self.count += 1;
    }

    fn error(self) -> Error {
        if self.count == 0 {
            return Error::new(ErrorKind::ConnectRefused).with_detail("there is no address to connect to");
        }
        let all_timed_out = self.timeouts == self.count;
        let kind = if all_timed_out { ErrorKind::ConnectTimeout } else { ErrorKind::ConnectRefused };
        Error::new(kind).with_detail(self.listed())
    }

    fn timeout(self, addrs: &[SocketAddr]) -> Error {
        let mut text = String::from("no answer in time, tried ");
        for (index, addr) in addrs.iter().take(NAMED).enumerate() {
            let gap = if index == 0 { "" } else { ", " };
            let _ = write!(text, "{gap}{addr}");
        }
        if addrs.len() > NAMED {
            let _ = write!(text, " of {} addresses", addrs.len());
        }
        if self.count > 0 {
            let _ = write!(text, "; {}", self.listed());
        }
        Error::new(ErrorKind::ConnectTimeout).with_detail(text)
    }

    fn listed(mut self) -> String {
        if self.count > NAMED {
            let _ = write!(self.text, "; and {} more", self.count - NAMED);
        }
        self.text
    }
}

/// This process or machine is out of descriptors or memory: another address would not help.
fn exhausted(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    let no_descriptor = cfg!(unix) && matches!(error.raw_os_error(), Some(ENFILE | EMFILE));
    no_descriptor || error.kind() == io::ErrorKind::OutOfMemory
}

fn overloaded(error: io::Error) -> Error {
    Error::new(ErrorKind::Overloaded).with_detail(format!("cannot open a socket: {error}")).with_source(error)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use futures_util::future::BoxFuture;
    use parking_lot::Mutex;
    use tokio::time::sleep;

    use super::*;

    /// What a dial does after a delay in milliseconds; an address without a plan never answers.
    #[derive(Default)]
    struct Plan {
        dials: HashMap<SocketAddr, (u64, Result<(), i32>)>,
        seen: Mutex<Vec<(u64, SocketAddr)>>,
        start: Option<Instant>,
    }

    impl Plan {
        fn new<const N: usize>(dials: [(&str, u64, Result<(), i32>); N]) -> Self {
            let dials = dials.into_iter().map(|(addr, ms, end)| (at(addr), (ms, end))).collect();
            Self { dials, seen: Mutex::default(), start: Some(Instant::now()) }
        }

        fn seen(&self) -> Vec<(u64, String)> {
            self.seen.lock().iter().map(|(ms, addr)| (*ms, addr.to_string())).collect()
        }
    }

    impl Net for Plan {
        fn connect(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Io>> {
            let after = Instant::now() - self.start.expect("started");
            self.seen.lock().push((u64::try_from(after.as_millis()).expect("short"), addr));
            Box::pin(async move {
                let Some((ms, end)) = self.dials.get(&addr).copied() else { return std::future::pending().await };
                sleep(Duration::from_millis(ms)).await;
                end.map(|()| Io::other(tokio::io::duplex(1).0)).map_err(io::Error::from_raw_os_error)
            })
        }
    }

    const REFUSED: Result<(), i32> = Err(if cfg!(target_vendor = "apple") { 61 } else { 111 });

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("address")
    }

    fn all(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| at(text)).collect()
    }

    async fn race(net: &Plan, addrs: &[&str]) -> Result<SocketAddr, Error> {
        let until = Instant::now() + Duration::from_secs(3);
        connect(net, &all(addrs), until).await.map(|(_, addr)| addr)
    }

    #[test]
    fn families_take_turns_and_ipv6_is_first() {
        let ips = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "2001:db8::1"].map(|ip| ip.parse().expect("ip"));

        let ordered = order(&ips, 80);

        assert_eq!(ordered, all(&["[2001:db8::1]:80", "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_gets_company_after_the_stagger() {
        let net = Plan::new([("10.0.0.2:80", 10, Ok(()))]);

        let won = race(&net, &["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]).await;

        assert_eq!(won.expect("connected"), at("10.0.0.2:80"));
        assert_eq!(net.seen(), [(0, "10.0.0.1:80".into()), (250, "10.0.0.2:80".into())]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_address_is_replaced_at_once() {
        let net = Plan::new([("10.0.0.1:80", 5, REFUSED), ("10.0.0.2:80", 5, Ok(()))]);

        let won = race(&net, &["10.0.0.1:80", "10.0.0.2:80"]).await;

        assert_eq!(won.expect("connected"), at("10.0.0.2:80"));
        assert_eq!(net.seen(), [(0, "10.0.0.1:80".into()), (5, "10.0.0.2:80".into())]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_dial_still_wins_when_it_answers_first() {
        let net = Plan::new([("10.0.0.1:80", 300, Ok(())), ("10.0.0.2:80", 100, Ok(()))]);

        let won = race(&net, &["10.0.0.1:80", "10.0.0.2:80"]).await;

        assert_eq!(won.expect("connected"), at("10.0.0.1:80"));
    }

    #[tokio::test(start_paused = true)]
    async fn names_at_most_three_refusals() {
        let addrs = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80", "10.0.0.5:80"];
        let net = Plan::new(addrs.map(|addr| (addr, 0, REFUSED)));

        let error = race(&net, &addrs).await.expect_err("all refused");

        let detail = error.detail().expect("detail");
        assert_eq!(error.kind, ErrorKind::ConnectRefused);
        assert!(detail.contains("10.0.0.3:80: Connection refused"), "{detail}");
        assert!(!detail.contains("10.0.0.4"), "{detail}");
        assert!(detail.ends_with("; and 2 more"), "{detail}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_ends_the_race_and_tells_what_failed() {
        let net = Plan::new([("10.0.0.1:80", 0, REFUSED)]);
        let start = Instant::now();

        let error = race(&net, &["10.0.0.1:80", "10.0.0.2:80"]).await.expect_err("silent");

        let detail = error.detail().expect("detail");
        assert_eq!(error.kind, ErrorKind::ConnectTimeout);
        assert_eq!((Instant::now() - start).as_secs(), 3);
        assert!(detail.contains("10.0.0.2:80") && detail.contains("Connection refused"), "{detail}");
    }

    #[cfg(unix)]
    #[tokio::test(start_paused = true)]
    async fn without_descriptors_no_other_address_is_tried() {
        for errno in [23, 24] {
            let net = Plan::new([("10.0.0.1:80", 0, Err(errno)), ("10.0.0.2:80", 0, Ok(()))]);

            let error = race(&net, &["10.0.0.1:80", "10.0.0.2:80"]).await.expect_err("no descriptor");

            assert_eq!(error.kind, ErrorKind::Overloaded);
            assert_eq!(net.seen().len(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_address_is_an_error_and_not_a_wait() {
        let error = race(&Plan::new([]), &[]).await.expect_err("nothing to dial");

        assert_eq!(error.kind, ErrorKind::ConnectRefused);
    }
}
