//! The environment that sends every runtime through a proxy, as `run` sets it and `env` prints it.
//!
//! Both cases of each variable, because curl reads only `http_proxy` and others prefer upper case; values with a scheme,
//! because httpx needs one; NO_PROXY in the one form that all clients read alike (bare names and addresses, commas, no
//! spaces, no `*.`, no ports, no CIDR). `ALL_PROXY` stays untouched: it drags ftp and other protocols in. Java reads no
//! environment, but every JVM reads `JAVA_TOOL_OPTIONS`.

use std::net::SocketAddr;

/// The proxy of `run`, for tools that its command starts.
pub(crate) const PROXY: &str = "ATTACHE_PROXY";
/// The admin socket of `run`.
pub(crate) const ADMIN_SOCKET: &str = "ATTACHE_ADMIN_SOCKET";
/// The variables that name a proxy.
pub(crate) const PROXIES: [&str; 4] = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"];

const NO_PROXIES: [&str; 2] = ["no_proxy", "NO_PROXY"];
/// What every JVM reads.
pub(crate) const JAVA: &str = "JAVA_TOOL_OPTIONS";
const NODE: &str = "NODE_USE_ENV_PROXY";
/// This host, and the metadata services of the clouds (EC2, ECS, EC2 over IPv6).
const DIRECT: [&str; 6] = ["localhost", "127.0.0.1", "::1", "169.254.169.254", "169.254.170.2", "fd00:ec2::254"];

/// Reads a variable of the environment that is changed.
pub(crate) type Inherited<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A variable of this process; one that is not text counts as not set.
pub(crate) fn inherited(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What a client can connect to when the proxy listens on `bound`.
pub(crate) fn reachable(bound: SocketAddr) -> SocketAddr {
    let mut address = bound;
    if bound.ip().is_unspecified() {
        address.set_ip(if bound.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    address
}

/// Every variable to set for a proxy at `host:port`.
pub(crate) fn set(host: &str, port: u16, inherited: Inherited<'_>) -> Vec<(&'static str, String)> {
    let authority = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let proxy = format!("http://{authority}:{port}");
    let direct = no_proxy(inherited);
    let mut all: Vec<_> = PROXIES.map(|name| (name, proxy.clone())).into();
    all.extend(NO_PROXIES.map(|name| (name, direct.join(","))));
    all.push((NODE, "1".to_owned()));
    all.push((JAVA, java(host, port, inherited)));
    all
}

/// The options of the owner, then ours.
pub(crate) fn java(host: &str, port: u16, inherited: Inherited<'_>) -> String {
    let theirs = without_ours(&inherited(JAVA).unwrap_or_default());
    let java = format!("{theirs} {}", java_options(host, port, &no_proxy(inherited)).join(" "));
    java.trim_start().to_owned()
}

/// What takes `set` back: a value to restore, or `None` to unset.
pub(crate) fn unset(inherited: Inherited<'_>) -> Vec<(&'static str, Option<String>)> {
    let mut all: Vec<(&'static str, Option<String>)> = PROXIES.map(|name| (name, None)).into();
    for name in NO_PROXIES {
        let rest: Vec<_> = entries(&inherited(name).unwrap_or_default()).filter(|e| !is_direct(e)).collect();
        all.push((name, Some(rest.join(",")).filter(|r| !r.is_empty())));
    }
    all.push((NODE, None));
    let java = without_ours(&inherited(JAVA).unwrap_or_default());
    all.push((JAVA, Some(java).filter(|j| !j.is_empty())));
    all
}

/// Inherited settings that the command's owner should know of: a proxy that is replaced, or one that is not.
pub(crate) fn notes(proxy: &str, inherited: Inherited<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    let replaced = PROXIES.iter().find_map(|name| {
        let value = inherited(name).filter(|v| !v.is_empty() && v.trim_end_matches('/') != proxy)?;
        Some(format!("{name}={} is replaced for this command; its calls no longer go through it", redacted(&value)))
    });
    notes.extend(replaced);
    let all = ["all_proxy", "ALL_PROXY"].into_iter().find_map(|name| {
        let value = inherited(name).filter(|v| !v.is_empty())?;
        Some(format!("{name}={} is left as it is; it serves protocols other than http and https", redacted(&value)))
    });
    notes.extend(all);
    if no_proxy(inherited).iter().any(|entry| entry == "*") {
        notes.push("NO_PROXY contains *: most clients of this command will not use the proxy".to_owned());
    }
    notes
}

/// The owner's list (lower case wins, as in curl) and then ours.
fn no_proxy(inherited: Inherited<'_>) -> Vec<String> {
    let theirs = NO_PROXIES.iter().find_map(|name| inherited(name).filter(|v| !v.trim().is_empty()));
    let mut all: Vec<String> = Vec::new();
    for entry in entries(&theirs.unwrap_or_default()).chain(DIRECT.map(str::to_owned)) {
        if !all.contains(&entry) {
            all.push(entry);
        }
    }
    all
}

pub(crate) fn entries(list: &str) -> impl Iterator<Item = String> {
    list.split([',', ' ']).map(str::trim).filter(|e| !e.is_empty()).map(str::to_owned)
}

pub(crate) fn is_direct(entry: &str) -> bool {
    DIRECT.contains(&entry)
}

const JAVA_OURS: [&str; 5] =
    ["-Dhttp.proxyHost=", "-Dhttp.proxyPort=", "-Dhttps.proxyHost=", "-Dhttps.proxyPort=", "-Dhttp.nonProxyHosts="];

fn java_options(host: &str, port: u16, direct: &[String]) -> [String; 5] {
    let port = port.to_string();
    let hosts = java_hosts(direct);
    let values = [host, &port, host, &port, &hosts];
    std::array::from_fn(|i| format!("{}{}", JAVA_OURS[i], values[i]))
}

/// Options of the owner, less any that set the same properties; untouched (quotes and all) when there are none.
fn without_ours(options: &str) -> String {
    let ours = |word: &str| JAVA_OURS.iter().any(|name| word.starts_with(name));
    if !options.split_whitespace().any(ours) {
        return options.trim().to_owned();
    }
    options.split_whitespace().filter(|word| !ours(word)).collect::<Vec<_>>().join(" ")
}

/// NO_PROXY in Java's words: `|`, `*.` for subdomains, brackets around IPv6; CIDR and ports cannot be said.
fn java_hosts(direct: &[String]) -> String {
    let mut all = Vec::new();
    for entry in direct {
        let ip = entry.parse::<std::net::IpAddr>();
        match entry {
            _ if ip.as_ref().is_ok_and(std::net::IpAddr::is_ipv6) => all.push(format!("[{entry}]")),
            _ if ip.is_ok() || entry == "localhost" || entry.starts_with('*') => all.push(entry.clone()),
            _ if entry.contains(['/', ':', '"', '\'', '|']) => {}
            _ => {
                let name = entry.trim_start_matches('.');
                all.extend([name.to_owned(), format!("*.{name}")]);
            }
        }
    }
    all.join("|")
}

/// A proxy's address without the password in it.
pub(crate) fn redacted(proxy: &str) -> String {
    match proxy.rsplit_once('@') {
        Some((before, host)) => {
            let scheme = before.split_once("://").map_or(String::new(), |(scheme, _)| format!("{scheme}://"));
            format!("{scheme}***@{host}")
        }
        None => proxy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
        |name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
    }

    fn value(of: &[(&'static str, String)], name: &str) -> String {
        of.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone()).unwrap()
    }

    #[test]
    fn an_empty_environment_gets_the_documented_variables() {
        let set = set("127.0.0.1", 4780, &env(&[]));

        for name in PROXIES {
            assert_eq!(value(&set, name), "http://127.0.0.1:4780");
        }
        let direct = "localhost,127.0.0.1,::1,169.254.169.254,169.254.170.2,fd00:ec2::254";
        assert_eq!(value(&set, "NO_PROXY"), direct);
        assert_eq!(value(&set, "no_proxy"), direct);
        assert_eq!(value(&set, "NODE_USE_ENV_PROXY"), "1");
        assert!(!set.iter().any(|(name, _)| name.eq_ignore_ascii_case("all_proxy")));
    }

    #[test]
    fn the_owners_no_proxy_comes_first_and_is_not_repeated() {
        let set = set("127.0.0.1", 1, &env(&[("NO_PROXY", "db.internal, ::1")]));

        assert_eq!(
            value(&set, "no_proxy"),
            "db.internal,::1,localhost,127.0.0.1,169.254.169.254,169.254.170.2,fd00:ec2::254"
        );
    }

    #[test]
    fn java_keeps_its_options_and_learns_the_proxy_and_the_exceptions() {
        let java = value(
            &set("127.0.0.1", 7, &env(&[("JAVA_TOOL_OPTIONS", "-Xmx1g -Dhttp.proxyHost=old"), ("no_proxy", ".corp")])),
            "JAVA_TOOL_OPTIONS",
        );

        assert_eq!(
            java,
            "-Xmx1g -Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=7 -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=7 \
             -Dhttp.nonProxyHosts=corp|*.corp|localhost|127.0.0.1|[::1]|169.254.169.254|169.254.170.2|[fd00:ec2::254]"
        );
    }

    #[test]
    fn what_was_set_is_taken_back_to_what_the_owner_had() {
        let before = env(&[("NO_PROXY", "db.internal"), ("JAVA_TOOL_OPTIONS", "-Xmx1g")]);
        let set = set("127.0.0.1", 1, &before);

        let after = unset(&|name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone()));

        let get = |name| after.iter().find(|(n, _)| *n == name).unwrap().1.clone();
        assert_eq!(get("NO_PROXY").as_deref(), Some("db.internal"));
        assert_eq!(get("JAVA_TOOL_OPTIONS").as_deref(), Some("-Xmx1g"));
        assert_eq!(get("http_proxy"), None);
    }

    #[test]
    fn another_proxy_is_named_once_and_without_its_password() {
        let notes = notes(
            "http://127.0.0.1:1",
            &env(&[("http_proxy", "http://me:s3cret@corp:3128"), ("HTTPS_PROXY", "http://me:s3cret@corp:3128")]),
        );

        assert_eq!(notes.len(), 1);
        assert!(notes[0].contains("http_proxy=http://***@corp:3128"), "{notes:?}");
    }

    #[test]
    fn the_same_proxy_and_a_silent_environment_need_no_words() {
        assert!(notes("http://127.0.0.1:1", &env(&[("http_proxy", "http://127.0.0.1:1/")])).is_empty());
    }

    #[test]
    fn an_unspecified_address_is_reached_on_loopback() {
        assert_eq!(reachable("0.0.0.0:1".parse().unwrap()).to_string(), "127.0.0.1:1");
        assert_eq!(reachable("[::]:1".parse().unwrap()).to_string(), "[::1]:1");
        assert_eq!(reachable("10.0.0.1:1".parse().unwrap()).to_string(), "10.0.0.1:1");
    }
}
