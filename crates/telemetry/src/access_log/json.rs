//! A line as a JSON object, written by hand: no allocation, no formatting machinery on the hot path.
//!
//! What is not there (no reason, no attempt's status) has no key. `ts` is the start of the request. Times are
//! milliseconds with three decimals, except `overhead_us`. Headers are not written at all.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use exchange::race::Race;
use exchange::{Attempt, Authority, Door, Exchange, Host, clock};
use http::Version;
use policy::Tick;

use super::redact;
use crate::stamp::Stamp;
use crate::{caller, labels, outcome};

/// Appends the line.
pub(super) fn line(out: &mut Vec<u8>, exchange: &Exchange, route: &str, status: u16, now: Tick) {
    let head = &exchange.head;
    out.extend_from_slice(b"{\"ts\":\"");
    out.extend_from_slice(Stamp::new(clock::wall(head.started)).as_str().as_bytes());
    out.extend_from_slice(b"\",\"id\":\"");
    hexadecimal(out, head.id);
    out.push(b'"');
    text(out, "route", route);
    word(out, "method", head.method.as_str());
    if head.door != Door::Connect {
        word(out, "scheme", if head.tls { "https" } else { "http" });
    }
    key(out, "host");
    authority(out, &head.authority);
    if head.door != Door::Connect {
        key(out, "path");
        out.push(b'"');
        redact::pieces(head.path.as_str(), |piece| escape(out, piece));
        out.push(b'"');
    }
    word(out, "proto", proto(head.version));
    key(out, "client");
    client(out, head.client.addr);
    who(out, exchange);
    if status != 0 {
        number(out, "status", u64::from(status));
    }
    if let Some(kind) = exchange.reason() {
        word(out, "reason", kind.label());
    }
    if let Some(by) = exchange.detour.denied() {
        word(out, "denied", by.label());
    }
    number(out, "bytes_in", exchange.bytes_in());
    number(out, "bytes_out", exchange.bytes_out());
    millis(out, "dur_ms", now.since(head.started));
    if let Some(took) = exchange.time_to_first_byte() {
        millis(out, "ttfb_ms", took);
    }
    exchange.with_attempts(|all| {
        if let Some(overhead) = outcome::overhead(exchange, all) {
            number(out, "overhead_us", micros(overhead));
        }
        attempts(out, all);
    });
    if let Some(why) = exchange.retry_denied() {
        word(out, "retry_denied", why);
    }
    if let Some(fault) = exchange.detour.faults().last() {
        word(out, "fault", fault.label());
    }
    if let Some(fallback) = exchange.detour.fallback() {
        word(out, "fallback", fallback.by.label());
        match fallback.cause {
            Ok(status) => number(out, "fallback_status", u64::from(status)),
            Err(kind) => word(out, "fallback_reason", kind.label()),
        }
    }
    if let Some(why) = exchange.race().and_then(Race::denied) {
        word(out, "hedge_denied", why);
    }
    if let Some(state) = exchange.breaker() {
        word(out, "breaker", labels::breaker(state));
    }
    out.extend_from_slice(b"}\n");
}

/// Who it was, as far as it is known: `user` and `unit` of its process, `identity` by what it showed.
fn who(out: &mut Vec<u8>, exchange: &Exchange) {
    if let Some(process) = caller::process(exchange) {
        match &process.user {
            Some(user) => text(out, "user", user),
            None => {
                key(out, "user");
                out.push(b'"');
                decimal(out, process.uid.into());
                out.push(b'"');
            }
        }
        if let Some(unit) = &process.unit {
            text(out, "unit", unit);
        }
    }
    if let Some(identity) = caller::shown(exchange) {
        text(out, "identity", identity);
    }
}

/// The client side's protocol by its usual name.
pub(super) const fn proto(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2",
        _ => "other",
    }
}

fn attempts(out: &mut Vec<u8>, attempts: &[Attempt]) {
    key(out, "attempts");
    out.push(b'[');
    for (index, attempt) in attempts.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{\"endpoint\":\"" } else { b",{\"endpoint\":\"" });
        escape(out, &attempt.endpoint);
        out.push(b'"');
        match attempt.result {
            Ok(status) => number(out, "status", u64::from(status)),
            Err(kind) => word(out, "reason", kind.label()),
        }
        millis(out, "dur_ms", attempt.took);
        key(out, "reused");
        out.extend_from_slice(if attempt.reused { b"true" } else { b"false" });
        if attempt.hedge {
            key(out, "hedge");
            out.extend_from_slice(b"true");
        }
        out.push(b'}');
    }
    out.push(b']');
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    key(out, name);
    out.push(b'"');
    escape(out, value);
    out.push(b'"');
}

/// Of what has nothing to escape: a token or a word of ours.
fn word(out: &mut Vec<u8>, name: &str, value: &str) {
    key(out, name);
    out.push(b'"');
    out.extend_from_slice(value.as_bytes());
    out.push(b'"');
}

/// The parser of authorities lets nothing through that would have to be escaped.
fn authority(out: &mut Vec<u8>, authority: &Authority) {
    out.push(b'"');
    match authority.host() {
        Host::Name(name) => out.extend_from_slice(name.as_bytes()),
        Host::Ip(IpAddr::V4(ip)) => ipv4(out, *ip),
        Host::Ip(IpAddr::V6(ip)) => ipv6(out, *ip),
    }
    if let Some(port) = authority.port() {
        out.push(b':');
        decimal(out, u64::from(port));
    }
    out.push(b'"');
}

fn client(out: &mut Vec<u8>, addr: Option<SocketAddr>) {
    let Some(addr) = addr else { return out.extend_from_slice(b"\"unix\"") };
    out.push(b'"');
    match addr.ip() {
        IpAddr::V4(ip) => ipv4(out, ip),
        IpAddr::V6(ip) => ipv6(out, ip),
    }
    out.push(b':');
    decimal(out, u64::from(addr.port()));
    out.push(b'"');
}

fn ipv4(out: &mut Vec<u8>, ip: Ipv4Addr) {
    for (index, part) in ip.octets().into_iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        decimal(out, u64::from(part));
    }
}

fn ipv6(out: &mut Vec<u8>, ip: Ipv6Addr) {
    // Writing to memory does not fail.
    let _ = write!(out, "[{ip}]");
}

fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    key(out, name);
    decimal(out, value);
}

fn millis(out: &mut Vec<u8>, name: &str, value: Duration) {
    let micros = micros(value);
    number(out, name, micros / 1000);
    let rest = (micros % 1000) as u16;
    let digit = |of: u16| b'0' + (of % 10) as u8;
    out.extend_from_slice(&[b'.', digit(rest / 100), digit(rest / 10), digit(rest)]);
}

fn micros(value: Duration) -> u64 {
    u64::try_from(value.as_micros()).unwrap_or(u64::MAX)
}

fn decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return out.extend_from_slice(&digits[first..]);
        }
    }
}

fn hexadecimal(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&std::array::from_fn::<u8, 16, _>(|place| nibble((value >> (60 - place * 4)) as u8)));
}

const fn nibble(value: u8) -> u8 {
    b"0123456789abcdef"[(value & 15) as usize]
}

const fn is_special(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\' || byte == 0x7f
}

/// Appends a text as the inside of a JSON string. Nearly none has anything special: looked at all at once, without
/// a branch a byte.
fn escape(out: &mut Vec<u8>, value: &str) {
    let bytes = value.as_bytes();
    if !bytes.iter().fold(false, |any, byte| any | is_special(*byte)) {
        return out.extend_from_slice(bytes);
    }
    for byte in bytes.iter().copied() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            byte if is_special(byte) => {
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', nibble(byte >> 4), nibble(byte)]);
            }
            byte => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_comes_back() {
        for value in ["", "plain", "a\"b\\c", "\0\u{1f}\u{7f} ", "\n\r\t", "gr\u{fc}\u{df}e \u{1f980}", "\\\\", "\""] {
            let mut out = vec![b'"'];
            escape(&mut out, value);
            out.push(b'"');

            assert_eq!(serde_json::from_slice::<String>(&out).expect("valid"), value);
            assert!(out.iter().all(|byte| *byte >= b' '));
        }
    }

    #[test]
    fn addresses_are_written_as_they_are_displayed() {
        for shown in ["api.test", "api.test:8080", "10.255.0.1:65535", "[2001:db8::1]:443", "[::1]"] {
            let mut out = Vec::new();
            authority(&mut out, &Authority::parse(shown).expect("valid"));

            assert_eq!(String::from_utf8(out).expect("ascii"), format!("\"{shown}\""));
        }
        for shown in ["127.0.0.1:1", "[fe80::1]:4780"] {
            let mut out = Vec::new();
            client(&mut out, Some(shown.parse().expect("valid")));

            assert_eq!(String::from_utf8(out).expect("ascii"), format!("\"{shown}\""));
        }
    }

    #[test]
    fn numbers_have_all_their_digits() {
        let mut out = Vec::new();
        for value in [0, 9, 10, u64::MAX] {
            decimal(&mut out, value);
            out.push(b' ');
        }
        hexadecimal(&mut out, 0x00ab_cdef_0123_4567);
        for micros in [0, 7, 12_034, 1_000_000] {
            millis(&mut out, "m", Duration::from_micros(micros));
        }

        let expected =
            "0 9 10 18446744073709551615 00abcdef01234567,\"m\":0.000,\"m\":0.007,\"m\":12.034,\"m\":1000.000";
        assert_eq!(String::from_utf8(out).expect("ascii"), expected);
    }
}
