//! Addresses, networks, hosts and URLs, parsed strictly: one reading for everybody.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use super::http::plain_path;
use super::{Flaw, flaw, label};
use crate::model::{Address, Destination, Endpoint, HostMatch, Resolve, Scheme, Url};

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

/// A URL that is asked as it is written: a path may end in `/` and have a query.
pub(crate) fn endpoint(text: &str) -> Result<Endpoint, Flaw> {
    let start = text.find("://").map_or(0, |at| at + 3);
    let at = text[start..].find(['/', '?', '#']).map_or(text.len(), |at| start + at);
    let (server, target) = text.split_at(at);
    let url = url(server)?;
    if url.scheme == Scheme::H2c {
        return flaw("`h2c` is not for this", "use `https://`");
    }
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    if target.contains('#') || ::http::uri::PathAndQuery::try_from(target.as_str()).is_err() {
        return flaw(
            format!("`{target}` is no path with a query"),
            "encode what is not plain ASCII, and leave `#` out",
        );
    }
    Ok(Endpoint { url, target })
}

/// A proxy to go through: `http` or `https`, a host and perhaps a port.
pub(crate) fn parent(text: &str) -> Result<Url, Flaw> {
    let help = "write `http://corp-proxy:3128`";
    let url = url(text).map_err(|flaw| if flaw.secret { flaw } else { Flaw { help: help.to_owned(), ..flaw } })?;
    if url.scheme == Scheme::H2c || !url.base.is_empty() {
        return flaw(format!("`{text}` is no proxy's URL"), help);
    }
    Ok(url)
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

/// A web origin: scheme, host and perhaps a port, lower-case.
pub(crate) fn origin(text: &str) -> Result<String, Flaw> {
    if text == "*" {
        return Ok(text.to_owned());
    }
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

/// A host for `Host` and `:authority`, perhaps with a port.
pub(crate) fn rewritten_host(text: &str) -> Result<String, Flaw> {
    let (host, port) = authority(text)?;
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    Ok(port.map_or(host.clone(), |port| format!("{host}:{port}")))
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
    fn endpoints_keep_what_is_written() {
        let shown = |text| endpoint(text).map(|endpoint| endpoint.to_string());
        for text in ["https://a.test/o/token/", "https://a.test:8443/t?tenant=1", "http://[::1]:9/"] {
            assert_eq!(shown(text).as_deref(), Ok(text));
        }
        assert_eq!(shown("https://a.test").as_deref(), Ok("https://a.test/"));
        assert!(shown("https://a.test/x#y").is_err() && shown("h2c://a.test/").is_err() && shown("a.test/t").is_err());
        assert!(!flawed(endpoint("https://user:hunter2@x/t")).contains("hunter2"));
    }

    #[test]
    fn a_parent_is_a_scheme_a_host_and_a_port() {
        assert_eq!(parent("http://corp-proxy:3128/").map(|url| url.port), Ok(3128));
        assert_eq!(parent("https://corp-proxy").map(|url| url.port), Ok(443));
        for other in ["corp-proxy:3128", "socks5://corp-proxy:1080", "h2c://corp-proxy", "http://corp-proxy/p"] {
            assert!(parent(other).is_err_and(|flaw| flaw.help.contains("3128")), "{other}");
        }
        assert!(parent("http://me:hunter2@corp-proxy:3128").is_err_and(|flaw| flaw.secret));
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
    fn origins_are_written_as_browsers_send_them() {
        assert_eq!(origin("HTTPS://App.example.com:443").as_deref(), Ok("https://app.example.com"));
        assert!(origin("https://app.example.com/").is_err());
        assert_eq!(origin("*").as_deref(), Ok("*"));
        assert!(origin("*.example.com").is_err());
    }
}
