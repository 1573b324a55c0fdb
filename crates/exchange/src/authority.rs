//! The one strict authority parser (RFC 3986 section 3.2, without userinfo).
//!
//! Used by CONNECT, absolute-form, `Host`, `:authority` and configuration alike: two parsers that disagree
//! are how requests are smuggled. Names become lower case; nothing else is repaired.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// `host[:port]`, checked and lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    host: Host,
    port: Option<u16>,
}

/// The host part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A registered name, lower case.
    Name(Arc<str>),
    /// An address.
    Ip(IpAddr),
}

/// Why a text is not an authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// There is no host.
    EmptyHost,
    /// `user@` is not allowed (RFC 9110 section 4.2.4).
    Userinfo,
    /// A character that no host may have.
    Host,
    /// Not a number from 1 to 65535.
    Port,
    /// Longer than 255 bytes.
    TooLong,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmptyHost => "the host is empty",
            Self::Userinfo => "user information is not allowed in an authority",
            Self::Host => "the host has an invalid character",
            Self::Port => "the port is not a number from 1 to 65535",
            Self::TooLong => "the host is longer than 255 bytes",
        })
    }
}

impl std::error::Error for Invalid {}

impl Authority {
    /// An authority of known good parts.
    pub const fn new(host: Host, port: Option<u16>) -> Self {
        Self { host, port }
    }

    /// Reads `host`, `host:port`, `1.2.3.4:port`, `[v6]:port`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let read = || {
            let (host, port) = split(text)?;
            Ok(Self { host: Host::parse(host)?, port: port.map(parse_port).transpose()? })
        };
        // `@` is no byte of a host or port: looked for only to say what is wrong.
        read().map_err(|why| if text.contains('@') { Invalid::Userinfo } else { why })
    }

    /// The host.
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// The port, if it was written.
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// The port, or the default one of `https` or `http`.
    pub fn port_or(&self, default: u16) -> u16 {
        self.port.unwrap_or(default)
    }

    /// The same host and, with `default` filled in, the same port.
    pub fn same(&self, other: &Self, default: u16) -> bool {
        self.port_or(default) == other.port_or(default) && self.host == other.host
    }
}

impl Host {
    /// Reads a name, an IPv4 address or a bracketed IPv6 address.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() {
            return Err(Invalid::EmptyHost);
        }
        if text.len() > 255 {
            return Err(Invalid::TooLong);
        }
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(Invalid::Host)?;
            return inner.parse::<Ipv6Addr>().map(|ip| Self::Ip(ip.into())).map_err(|_| Invalid::Host);
        }
        if text.as_bytes()[0].is_ascii_digit()
            && let Ok(ip) = text.parse::<Ipv4Addr>()
        {
            return Ok(Self::Ip(ip.into()));
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        let (mut upper, mut last) = (false, b'.');
        for byte in text.bytes() {
            if !is_name_byte(byte) || (byte == b'.' && last == b'.') {
                return Err(Invalid::Host);
            }
            upper |= byte.is_ascii_uppercase();
            last = byte;
        }
        if last == b'.' {
            return Err(Invalid::Host);
        }
        Ok(Self::Name(if upper { text.to_ascii_lowercase().into() } else { text.into() }))
    }

    /// The name, if it is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            Self::Ip(_) => None,
        }
    }

    /// A name that always means this machine, or a loopback address.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Name(name) => &**name == "localhost" || name.ends_with(".localhost"),
            Self::Ip(ip) => ip.is_loopback() || ip.is_unspecified(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host.fmt(f)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// Letters, digits, `-`, `.` and `_`: what names in use have. RFC 3986's sub-delims and percent-escapes are
/// refused, since no resolver takes them and they are how parsers are made to disagree.
const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

fn split(text: &str) -> Result<(&str, Option<&str>), Invalid> {
    if text.starts_with('[') {
        let end = text.find(']').ok_or(Invalid::Host)? + 1;
        return match &text[end..] {
            "" => Ok((text, None)),
            rest => Ok((&text[..end], Some(rest.strip_prefix(':').ok_or(Invalid::Host)?))),
        };
    }
    match text.bytes().position(|byte| byte == b':') {
        Some(colon) => Ok((&text[..colon], Some(&text[colon + 1..]))),
        None => Ok((text, None)),
    }
}

fn parse_port(text: &str) -> Result<u16, Invalid> {
    if text.is_empty() || text.len() > 5 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Invalid::Port);
    }
    text.parse().ok().filter(|port| *port != 0).ok_or(Invalid::Port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_clients_send() {
        for (text, shown) in [
            ("Example.COM", "example.com"),
            ("example.com:80", "example.com:80"),
            ("example.com.", "example.com"),
            ("my_host", "my_host"),
            ("127.0.0.1:65535", "127.0.0.1:65535"),
            ("[::1]", "[::1]"),
            ("[2001:DB8::1]:443", "[2001:db8::1]:443"),
        ] {
            assert_eq!(Authority::parse(text).map(|a| a.to_string()), Ok(shown.to_owned()), "{text}");
        }
    }

    #[test]
    fn refuses_what_parsers_disagree_about() {
        for text in [
            "",
            ":80",
            "a:",
            "a:0",
            "a:65536",
            "a:+80",
            "a:80:90",
            "a:8 0",
            "u@a",
            "u:p@a:80",
            "a:80@b",
            "host:80#@b",
            "a b",
            "a/b",
            "a?b",
            "a\\b",
            "[::1",
            "::1",
            "[::1]80",
            "[1.2.3.4]",
            "[::1%25lo]",
            "a%2eb",
            "a,b",
            ".",
            ".a",
            "a\0b",
            "\u{e9}.test",
            "a..b",
            "a.test..",
        ] {
            assert!(Authority::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_default_port_is_the_same_as_none() {
        let bare = Authority::parse("a.test").expect("valid");
        let full = Authority::parse("A.test:443").expect("valid");

        assert!(bare.same(&full, 443));
        assert!(!bare.same(&full, 80));
    }
}
