//! Scalars with a form of their own: addresses, URLs, hosts, paths, patterns, headers, statuses.
//!
//! Each parser is used twice, by the reader to report and by `check` to convert, so what is accepted and what is built
//! cannot differ.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use regex_automata::meta::Regex;

use crate::model::{Address, Destination, HostMatch, PathMatch, Resolve, Scheme, Url, ValueMatch};

/// Largest compiled form of one pattern.
const REGEX_LIMIT: usize = 1 << 20;

/// Why a text is not of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub(crate) message: String,
    pub(crate) help: String,
    /// The text holds a secret and must not be shown.
    pub(crate) secret: bool,
}

fn flaw<T>(message: impl Into<String>, help: impl Into<String>) -> Result<T, Flaw> {
    Err(Flaw { message: message.into(), help: help.into(), secret: false })
}

/// `127.0.0.1:4780`, `localhost:4780`, `[::1]:4780`, `unix:/run/proxy.sock`.
pub(crate) fn address(text: &str) -> Result<Address, Flaw> {
    if let Some(path) = text.strip_prefix("unix:") {
        return match path.starts_with('/') && path.len() > 1 {
            true => Ok(Address::Unix(PathBuf::from(path))),
            false => flaw(format!("`{text}` is no absolute path"), "write `unix:/run/attache/proxy.sock`"),
        };
    }
    socket(text).map(Address::Tcp)
}

/// `127.0.0.1:4780`, `localhost:4780`, `[::1]:4780`.
pub(crate) fn socket(text: &str) -> Result<SocketAddr, Flaw> {
    let local = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    if let Some(port) = local {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    text.parse().or_else(|_| {
        if let Some(port) = text.strip_prefix(':').or(Some(text)).filter(|p| p.parse::<u16>().is_ok()) {
            return flaw(format!("`{text}` has no address"), format!("write `127.0.0.1:{port}`"));
        }
        if text.parse::<IpAddr>().is_ok() {
            return flaw(format!("`{text}` has no port"), "add a port: `127.0.0.1:4780`, `[::1]:4780`");
        }
        flaw(format!("`{text}` is no address"), "write an IP address and a port: `127.0.0.1:4780`")
    })
}

/// An address, with or without a port.
pub(crate) fn resolve(text: &str) -> Result<Resolve, Flaw> {
    if let Ok(ip) = text.trim_start_matches('[').trim_end_matches(']').parse() {
        return Ok(Resolve { ip, port: None });
    }
    match text.parse::<SocketAddr>() {
        Ok(socket) if socket.port() != 0 => Ok(Resolve { ip: socket.ip(), port: Some(socket.port()) }),
        _ => {
            flaw(format!("`{text}` is no IP address"), "write an IP address, with or without a port: `127.0.0.1:9001`")
        }
    }
}

/// A network, or one address as a network of itself.
pub(crate) fn net(text: &str) -> Result<IpNet, Flaw> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .or_else(|_| flaw(format!("`{text}` is no network"), "write it as `10.0.0.0/8` or `fd00::/8`"))
}

/// A network, an address, or a host pattern.
pub(crate) fn destination(text: &str) -> Result<Destination, Flaw> {
    match net(text) {
        Ok(net) => Ok(Destination::Net(net)),
        Err(flaw) if text.contains('/') => Err(flaw),
        Err(_) => host(text).map(Destination::Host),
    }
}

/// A lower-case host name or IP address, by RFC 3986 and RFC 1123.
pub(crate) fn name(text: &str) -> Result<String, Flaw> {
    if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        return match inner.parse::<std::net::Ipv6Addr>() {
            Ok(ip) => Ok(ip.to_string()),
            Err(_) => flaw(format!("`{text}` is no IPv6 address"), "write it as `[::1]`"),
        };
    }
    let label = |l: &str| {
        let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
        l.len() <= 63
            && edge(l.as_bytes().first())
            && edge(l.as_bytes().last())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let trimmed = text.strip_suffix('.').unwrap_or(text);
    if trimmed.is_empty() || trimmed.len() > 253 || !trimmed.split('.').all(label) {
        return flaw(format!("`{text}` is no host name"), "write a name such as `api.example.com`");
    }
    let numeric = trimmed.split('.').next_back().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()));
    if numeric && trimmed.parse::<Ipv4Addr>().is_err() {
        return flaw(format!("`{text}` is no IPv4 address"), "write all four parts: `10.0.0.1`");
    }
    Ok(trimmed.to_ascii_lowercase())
}

/// Splits `host[:port]`; the port is 1-65535.
fn authority(text: &str) -> Result<(String, Option<u16>), Flaw> {
    if text.contains('@') {
        let message = "user and password do not belong into a host".to_owned();
        return Err(Flaw { message, help: "use `auth` for credentials".to_owned(), secret: true });
    }
    let colon = text.rfind(':').filter(|at| !text[*at..].contains(']'));
    let (host, port) = colon.map_or((text, None), |at| (&text[..at], Some(&text[at + 1..])));
    let port = match port {
        None => None,
        Some(digits) => match digits.parse::<u16>() {
            Ok(port) if port != 0 && digits.bytes().all(|b| b.is_ascii_digit()) => Some(port),
            _ => return flaw(format!("`{digits}` is no port"), "write a port from 1 to 65535"),
        },
    };
    Ok((name(host)?, port))
}

/// `api.example.com`, `api.example.com:8443`, `*.example.com`, `*`.
pub(crate) fn host(text: &str) -> Result<HostMatch, Flaw> {
    if text == "*" {
        return Ok(HostMatch::Any);
    }
    if text.contains("://") {
        return flaw(format!("`{text}` is a URL, not a host"), "leave the scheme away: `api.example.com`");
    }
    if text.contains('/') && !text.contains('@') {
        return flaw(format!("`{text}` is more than a host"), "write `{host: ..., path: ...}`");
    }
    if let Some(suffix) = text.strip_prefix("*.") {
        let (suffix, port) = authority(suffix)?;
        return Ok(HostMatch::Suffix { suffix, port });
    }
    if text.contains('*') {
        return flaw(format!("`{text}` has a `*` inside"), "only a leading `*.` is a wildcard: `*.example.com`");
    }
    let (host, port) = authority(text)?;
    Ok(HostMatch::Exact { host, port })
}

/// `http`, `https` or `h2c`, a host, perhaps a port and a base path.
pub(crate) fn url(text: &str) -> Result<Url, Flaw> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return flaw(format!("`{text}` has no scheme"), format!("write `https://{text}`"));
    };
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        "h2c" => Scheme::H2c,
        _ => return flaw(format!("`{scheme}` is no scheme of ours"), "use `https://`, `http://` or `h2c://`"),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    let (host, port) = authority(host)?;
    if path.contains(['?', '#']) {
        return flaw(format!("`{path}` has a query or fragment"), "keep the scheme, host, port and base path only");
    }
    let base = path.trim_end_matches('/').to_owned();
    plain_path(&base)?;
    let port = port.unwrap_or(if scheme == Scheme::Https { 443 } else { 80 });
    Ok(Url { scheme, host, port, base })
}

/// Where `to:` leads: a URL, or a named upstream.
pub(crate) enum To {
    Url(Url),
    Upstream(String),
}

/// A URL or `upstream:name`.
pub(crate) fn to(text: &str) -> Result<To, Flaw> {
    match text.strip_prefix("upstream:") {
        Some(name) => label(name).map(To::Upstream),
        None => url(text).map(To::Url),
    }
}

fn plain_path(text: &str) -> Result<(), Flaw> {
    match text.bytes().find(|b| !b.is_ascii_graphic() || b"\"<>\\^`{|}#?".contains(b)) {
        Some(b) => flaw(format!("`{}` cannot stand in a path", b.escape_ascii()), "percent-encode it"),
        None => Ok(()),
    }
}

/// A path to send: begins with `/`.
pub(crate) fn path(text: &str) -> Result<String, Flaw> {
    if !text.starts_with('/') {
        return flaw(format!("`{text}` does not begin with `/`"), format!("write `/{text}`"));
    }
    plain_path(text)?;
    Ok(text.to_owned())
}

/// `/exact`, `/prefix/`, `~regex`.
pub(crate) fn path_match(text: &str) -> Result<PathMatch, Flaw> {
    if let Some(pattern) = text.strip_prefix('~') {
        return regex(pattern).map(PathMatch::Regex);
    }
    if text.contains('*') {
        return flaw(format!("`{text}` has a `*`"), "end in `/` for a prefix, begin with `~` for a regular expression");
    }
    path(text).map(|path| if path.ends_with('/') { PathMatch::Prefix(path) } else { PathMatch::Exact(path) })
}

/// A pattern that compiles within its limit.
fn regex(pattern: &str) -> Result<String, Flaw> {
    let limits = Regex::config().nfa_size_limit(Some(REGEX_LIMIT)).onepass_size_limit(Some(REGEX_LIMIT));
    match Regex::builder().configure(limits).build(pattern) {
        Ok(_) => Ok(pattern.to_owned()),
        Err(error) => {
            let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            let cause = cause.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            flaw(format!("`{pattern}` is no regular expression: {cause}"), "escape special characters with `\\`")
        }
    }
}

/// `*` for present, `~regex`, or the exact value.
pub(crate) fn value_match(text: &str) -> Result<ValueMatch, Flaw> {
    match text.strip_prefix('~') {
        Some(pattern) => regex(pattern).map(ValueMatch::Regex),
        None if text == "*" => Ok(ValueMatch::Present),
        None => Ok(ValueMatch::Exact(text.to_owned())),
    }
}

/// A method, upper-case.
pub(crate) fn method(text: &str) -> Result<String, Flaw> {
    let upper = text.to_ascii_uppercase();
    match Method::from_bytes(upper.as_bytes()) {
        Ok(_) => Ok(upper),
        Err(_) => flaw(format!("`{text}` is no method"), "write a method such as `GET`"),
    }
}

/// `429`, `5xx`, `500-504`, as an inclusive range.
pub(crate) fn statuses(text: &str) -> Result<(u16, u16), Flaw> {
    let one = |t: &str| t.parse::<u16>().ok().filter(|s| t.len() == 3 && (200..=599).contains(s));
    let class = text.to_ascii_lowercase();
    let range = match (class.strip_suffix("xx"), text.split_once('-')) {
        (Some(digit), _) => match digit.parse::<u16>() {
            Ok(digit @ 2..=5) if class.len() == 3 => Some((digit * 100, digit * 100 + 99)),
            _ => None,
        },
        (None, Some((low, high))) => one(low).zip(one(high)).filter(|(low, high)| low <= high),
        (None, None) => one(text).map(|s| (s, s)),
    };
    range.map_or_else(|| flaw(format!("`{text}` is no status"), "write `429`, `5xx` or `500-504`"), Ok)
}

/// `443` or `8000-8999`, as an inclusive range.
pub(crate) fn ports(text: &str) -> Result<(u16, u16), Flaw> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    match (low.trim().parse::<u16>(), high.trim().parse::<u16>()) {
        (Ok(low), Ok(high)) if low != 0 && low <= high => Ok((low, high)),
        _ => flaw(format!("`{text}` is no port"), "write `443` or `\"8000-8999\"`"),
    }
}

/// The names of gRPC's status codes, in the order of their numbers.
const GRPC: [&str; 17] = [
    "ok",
    "cancelled",
    "unknown",
    "invalid-argument",
    "deadline-exceeded",
    "not-found",
    "already-exists",
    "permission-denied",
    "resource-exhausted",
    "failed-precondition",
    "aborted",
    "out-of-range",
    "unimplemented",
    "internal",
    "unavailable",
    "data-loss",
    "unauthenticated",
];

/// A gRPC status by name or number, other than `ok`.
pub(crate) fn grpc(text: &str) -> Result<u16, Flaw> {
    let plain = text.to_ascii_lowercase().replace('_', "-");
    let number = GRPC.iter().position(|name| *name == plain).or_else(|| plain.parse().ok());
    match number.and_then(|n| u16::try_from(n).ok()) {
        Some(code @ 1..=16) => Ok(code),
        _ => flaw(format!("`{text}` is no gRPC status that can be retried"), "write a name such as `unavailable`"),
    }
}

/// A header name, lower-case.
pub(crate) fn header_name(text: &str) -> Result<String, Flaw> {
    match HeaderName::from_bytes(text.as_bytes()) {
        Ok(name) => Ok(name.as_str().to_owned()),
        Err(_) => flaw(format!("`{text}` is no header name"), "use letters, digits and `-`"),
    }
}

/// A header name that may be edited.
pub(crate) fn edited_header(text: &str) -> Result<String, Flaw> {
    let name = header_name(text)?;
    match name.as_str() {
        "connection"
        | "keep-alive"
        | "proxy-connection"
        | "proxy-authorization"
        | "proxy-authenticate"
        | "te"
        | "trailer"
        | "transfer-encoding"
        | "upgrade"
        | "content-length" => flaw(
            format!("`{text}` belongs to one connection or to the framing"),
            "remove it: the proxy writes it itself",
        ),
        "host" => flaw("`host` is part of the target", "use `rewrite: {host: ...}`"),
        _ => Ok(name),
    }
}

/// A header value without control characters.
pub(crate) fn header_value(text: &str) -> Result<String, Flaw> {
    match HeaderValue::from_str(text) {
        Ok(_) if text.trim() == text => Ok(text.to_owned()),
        _ => Err(Flaw {
            message: "a header value with control characters, or spaces around it".to_owned(),
            help: "keep it on one line, without tabs, line breaks and outer spaces".to_owned(),
            secret: true,
        }),
    }
}

/// A web origin: scheme, host and perhaps a port, lower-case.
pub(crate) fn origin(text: &str) -> Result<String, Flaw> {
    let help = "write it as a browser sends it: `https://app.example.com`";
    let url = url(text).map_err(|f| Flaw { help: help.to_owned(), ..f })?;
    let (scheme, usual) = match url.scheme {
        Scheme::Http => ("http", 80),
        Scheme::Https => ("https", 443),
        Scheme::H2c => return flaw(format!("`{text}` is no web origin"), help),
    };
    if !url.base.is_empty() || text.ends_with('/') {
        return flaw(format!("`{text}` has a path"), help);
    }
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host };
    Ok(if url.port == usual { format!("{scheme}://{host}") } else { format!("{scheme}://{host}:{}", url.port) })
}

/// The name of a route or upstream: safe in a URL path and as a metric label.
pub(crate) fn label(text: &str) -> Result<String, Flaw> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"._-*:".contains(&b);
    if text.is_empty() || text.len() > 128 || text.starts_with('_') || !text.bytes().all(fine) {
        let help = "use up to 128 letters, digits, `.`, `-` and `_`, not beginning with `_`";
        return flaw(format!("`{text}` cannot be a name"), help);
    }
    Ok(text.to_owned())
}

/// A `Location` to redirect to: an absolute URL or a path.
pub(crate) fn location(text: &str) -> Result<String, Flaw> {
    let absolute = text.starts_with('/') || text.split_once("://").is_some_and(|(s, _)| s == "http" || s == "https");
    if !absolute || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return flaw(format!("`{text}` is no location"), "write a URL or a path that begins with `/`");
    }
    Ok(text.to_owned())
}

/// A host for `Host` and `:authority`, perhaps with a port.
pub(crate) fn rewritten_host(text: &str) -> Result<String, Flaw> {
    let (host, port) = authority(text)?;
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    Ok(port.map_or(host.clone(), |port| format!("{host}:{port}")))
}

/// A path of the file system.
pub(crate) fn file(text: &str) -> Result<PathBuf, Flaw> {
    if text.is_empty() || text.contains('\0') {
        return flaw("an empty path", "write the path of a file");
    }
    Ok(PathBuf::from(text))
}

/// The name of an environment variable.
pub(crate) fn variable(text: &str) -> Result<String, Flaw> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if text.is_empty() || text.as_bytes()[0].is_ascii_digit() || !text.bytes().all(fine) {
        let message = "not the name of an environment variable".to_owned();
        return Err(Flaw { message, help: "write the name only, without `$`: `API_TOKEN`".to_owned(), secret: true });
    }
    Ok(text.to_owned())
}

/// The user of basic authentication.
pub(crate) fn user(text: &str) -> Result<String, Flaw> {
    if text.contains(':') || text.chars().any(char::is_control) {
        let message = "a user name cannot hold `:` or control characters".to_owned();
        return Err(Flaw {
            message,
            help: "write the user only; the password has its own key".to_owned(),
            secret: true,
        });
    }
    Ok(text.to_owned())
}

/// Any text.
pub(crate) fn text(text: &str) -> Result<String, Flaw> {
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flawed<T>(result: Result<T, Flaw>) -> String {
        result.err().map(|f| f.message).unwrap_or_default()
    }

    #[test]
    fn urls_are_parsed_strictly() {
        let parsed = url("HTTPS://API.example.com/v1/").unwrap();
        assert_eq!((parsed.host.as_str(), parsed.port, parsed.base.as_str()), ("api.example.com", 443, "/v1"));
        assert_eq!(url("h2c://[::1]:50051").unwrap().host, "::1");
        assert_eq!(flawed(url("api.example.com")), "`api.example.com` has no scheme");
        assert_eq!(flawed(url("ftp://x")), "`ftp` is no scheme of ours");
        assert_eq!(flawed(url("https://x:0")), "`0` is no port");
        assert_eq!(flawed(url("https://x:65536")), "`65536` is no port");
        assert_eq!(flawed(url("https://x:+1")), "`+1` is no port");
        assert_eq!(flawed(url("https://")), "`` is no host name");
        assert_eq!(flawed(url("https://x?q")), "`?q` has a query or fragment");
        assert_eq!(flawed(url("https://1.2.3")), "`1.2.3` is no IPv4 address");
        assert!(!flawed(url("https://user:hunter2@x")).contains("hunter2"));
    }

    #[test]
    fn hosts_know_wildcards_and_ports() {
        assert_eq!(host("*"), Ok(HostMatch::Any));
        assert_eq!(host("*.A.com:81"), Ok(HostMatch::Suffix { suffix: "a.com".to_owned(), port: Some(81) }));
        assert_eq!(host("[::1]:80"), Ok(HostMatch::Exact { host: "::1".to_owned(), port: Some(80) }));
        assert!(host("a.*.com").is_err());
        assert!(host("a.com/v1").is_err());
        assert!(host("https://a.com").is_err());
    }

    #[test]
    fn paths_tell_exact_prefix_and_pattern_apart() {
        assert_eq!(path_match("/v1"), Ok(PathMatch::Exact("/v1".to_owned())));
        assert_eq!(path_match("/v1/"), Ok(PathMatch::Prefix("/v1/".to_owned())));
        assert_eq!(path_match("~/v[0-9]+"), Ok(PathMatch::Regex("/v[0-9]+".to_owned())));
        assert!(path_match("/v1/*").is_err());
        assert!(path_match("v1").is_err());
        assert!(flawed(path_match("~(")).contains("is no regular expression"));
        assert!(path_match("~(((a{1000}){1000}){1000})").is_err());
    }

    #[test]
    fn statuses_ports_and_grpc_codes_are_ranges_and_names() {
        assert_eq!(statuses("5xx"), Ok((500, 599)));
        assert_eq!(statuses("500-504"), Ok((500, 504)));
        assert_eq!(statuses("429"), Ok((429, 429)));
        assert!(["600", "100", "5x", "504-500", "0429", "9xx"].iter().all(|s| statuses(s).is_err()));
        assert_eq!(ports("8000-8999"), Ok((8000, 8999)));
        assert!(ports("0").is_err());
        assert_eq!(grpc("UNAVAILABLE"), Ok(14));
        assert_eq!(grpc("deadline_exceeded"), Ok(4));
        assert!(grpc("ok").is_err());
    }

    #[test]
    fn origins_are_written_as_browsers_send_them() {
        assert_eq!(origin("HTTPS://App.example.com:443").as_deref(), Ok("https://app.example.com"));
        assert!(origin("https://app.example.com/").is_err());
        assert!(origin("*").is_err());
    }
}
