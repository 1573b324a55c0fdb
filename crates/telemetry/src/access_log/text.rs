//! A line for a person at a terminal: aligned columns, what went wrong at the end.
//!
//! Not on any hot path. Control characters never reach the terminal.

use std::io::Write;

use exchange::{Attempt, Door, Exchange, clock};
use policy::Tick;

use super::redact;
use crate::caller;
use crate::stamp::Stamp;

/// Appends the line; the time is UTC.
pub(super) fn line(out: &mut Vec<u8>, exchange: &Exchange, route: &str, status: u16, now: Tick, colour: bool) {
    let head = &exchange.head;
    let stamp = Stamp::new(clock::wall(head.started));
    let (dim, tint, plain) = if colour { ("\x1b[2m", tint(status), "\x1b[0m") } else { ("", "", "") };
    let took = now.since(head.started).as_secs_f64() * 1e3;
    let shown = if status == 0 { "-".to_owned() } else { status.to_string() };
    // Writing to memory does not fail.
    let _ = write!(
        out,
        "{dim}{}{plain} {tint}{shown:>3}{plain} {:<7} {took:>9.1}ms {:<16} ",
        stamp.time(),
        head.method.as_str(),
        visible(route),
    );
    if head.door == Door::Connect {
        let _ = write!(out, "{}", head.authority);
    } else {
        let _ = write!(out, "{}://{}", if head.tls { "https" } else { "http" }, head.authority);
        redact::pieces(head.path.as_str(), |piece| out.extend_from_slice(visible(piece).as_bytes()));
    }
    let process = caller::process(exchange);
    let user = process.and_then(|process| process.unit.as_ref().or(process.user.as_ref())).map(|name| &**name);
    if let Some(who) = caller::shown(exchange).or(user) {
        let _ = write!(out, "  {dim}{}{plain}", visible(who));
    }
    exchange.with_attempts(|attempts| tries(out, attempts));
    if let Some(kind) = exchange.reason() {
        let _ = write!(out, "  {tint}{}{plain}", kind.label());
    }
    if let Some(by) = exchange.detour.denied() {
        let _ = write!(out, ": {}", by.label());
    }
    if let Some(why) = exchange.retry_denied() {
        let _ = write!(out, "  no retry: {why}");
    }
    if let Some(fallback) = exchange.detour.fallback() {
        let _ = match fallback.cause {
            Ok(status) => write!(out, "  fallback: {} for {status}", fallback.by.label()),
            Err(kind) => write!(out, "  fallback: {} for {}", fallback.by.label(), kind.label()),
        };
    }
    out.push(b'\n');
}

/// The way it took, if that was more than one step; a hedge ran beside what stands next to it.
fn tries(out: &mut Vec<u8>, attempts: &[Attempt]) {
    if attempts.len() < 2 {
        return;
    }
    for (index, attempt) in attempts.iter().enumerate() {
        let beside = attempt.hedge || attempts[index.saturating_sub(1)].hedge;
        let arrow = if index == 0 {
            "  "
        } else if beside {
            " | "
        } else {
            " > "
        };
        let _ = match attempt.result {
            Ok(status) => write!(out, "{arrow}{status}"),
            Err(kind) => write!(out, "{arrow}{}", kind.label()),
        };
    }
}

const fn tint(status: u16) -> &'static str {
    match status {
        200..300 => "\x1b[32m",
        300..400 => "\x1b[36m",
        400..500 => "\x1b[33m",
        500.. => "\x1b[31m",
        _ => "",
    }
}

fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use exchange::ErrorKind;

    use super::*;
    use crate::fixture::{after, attempt, exchange};

    fn shown(exchange: &Exchange, route: &str, colour: bool) -> String {
        let mut out = Vec::new();
        line(&mut out, exchange, route, exchange.status(), after(60), colour);
        String::from_utf8(out).expect("utf-8").split_off(if colour { 4 + 12 } else { 12 })
    }

    #[test]
    fn says_what_happened_in_columns() {
        let exchange = exchange("/v1?token=x");
        exchange.attempted(attempt(0, 1, Err(ErrorKind::Reset)));
        exchange.attempted(attempt(0, 1, Ok(503)));
        exchange.answered(503, None, Some(after(50)));
        exchange.set_retry_denied("budget");

        let line = shown(&exchange, "a\x1b[31mpi", false);

        assert_eq!(
            line,
            " 503 GET          60.0ms a?[31mpi         https://api.test/v1?token=REDACTED  reset > 503  no retry: budget\n"
        );
    }

    #[test]
    fn is_coloured_only_when_told() {
        let exchange = exchange("/");
        exchange.answered(200, None, Some(after(50)));

        assert!(!shown(&exchange, "api", false).contains('\x1b'));
        assert!(shown(&exchange, "api", true).starts_with("\x1b[0m \x1b[32m200\x1b[0m GET"));
    }
}
