//! Who may, in words; and a caller put together from words, to ask about.

use std::sync::Arc;

use config::model::{Authorize, HostMatch, PathMatch, Rule, User, Who};
use exchange::identity::{Certificate, Process, Proof};
use exchange::{Client, Peer, Principal};
use serde_json::{Map, Value};

/// A rule as somebody would say it.
pub(super) fn rule(rule: &Rule) -> String {
    let mut text = who(&rule.who);
    if !rule.methods.is_empty() {
        text.push_str(&format!(", {}", rule.methods.join(" ")));
    }
    let host = |host: &HostMatch| match host {
        HostMatch::Any => "*".into(),
        HostMatch::Exact { host, port } => format!("{host}{}", of(*port)),
        HostMatch::Suffix { suffix, port } => format!("*.{suffix}{}", of(*port)),
    };
    if !rule.hosts.is_empty() {
        text.push_str(&format!(", at {}", rule.hosts.iter().map(host).collect::<Vec<_>>().join(" ")));
    }
    let path = |path: &PathMatch| match path {
        PathMatch::Any => "*".into(),
        PathMatch::Exact(path) | PathMatch::Prefix(path) => path.clone(),
        PathMatch::Regex(pattern) => format!("~{pattern}"),
    };
    if !rule.paths.is_empty() {
        text.push_str(&format!(", of {}", rule.paths.iter().map(path).collect::<Vec<_>>().join(" ")));
    }
    text
}

fn of(port: Option<u16>) -> String {
    port.map(|port| format!(":{port}")).unwrap_or_default()
}

/// A caller, by its keys.
pub(super) fn who(who: &Who) -> String {
    let mut parts: Vec<String> = Vec::new();
    let words = [(who.anyone, "anyone"), (who.anyone_local, "anyone_local"), (who.authenticated, "authenticated")];
    parts.extend(words.into_iter().filter(|(given, _)| *given).map(|(_, word)| word.to_owned()));
    parts.extend(who.user.as_ref().map(|user| match user {
        User::Name(name) => format!("user {name}"),
        User::Uid(uid) => format!("user {uid}"),
    }));
    let keys = [
        ("unit", &who.unit),
        ("cgroup", &who.cgroup),
        ("container", &who.container),
        ("spiffe", &who.spiffe),
        ("dns", &who.dns),
        ("identity", &who.identity),
        ("name", &who.name),
    ];
    parts.extend(keys.into_iter().filter_map(|(key, value)| Some(format!("{key} {}", value.as_ref()?))));
    parts.extend(who.claims.iter().map(|(path, values)| format!("claim {path} {}", values.join("|"))));
    parts.join(" and ")
}

/// Who else decides.
pub(super) fn decider(from: &Authorize) -> String {
    let without = if from.fail_open { "passes" } else { "is refused" };
    let kept = if from.cache.is_zero() { String::new() } else { format!("; an answer stands for {:?}", from.cache) };
    let url = &from.url;
    format!(
        "asks {}:{}{} for {:?}, without an answer a request {without}{kept}",
        url.host, url.port, url.base, from.timeout
    )
}

/// The client that is `user:alice`, `unit:backup.service`, `name:app`, `claim:org.id=7`...
///
/// # Errors
/// What cannot be known of a caller.
pub(super) fn client(said: &[String]) -> Result<Client, String> {
    let mut client = Client { addr: None, local: true, peer: None };
    let mut peer = Peer::default();
    let mut principal: Option<Principal> = None;
    for text in said {
        if text == "remote" {
            client.local = false;
            continue;
        }
        let (key, value) = text.split_once(':').ok_or_else(|| unknown(text))?;
        let value: Arc<str> = value.into();
        let process = || Process { uid: u32::MAX, user: None, pid: None, unit: None, cgroup: None, container: None };
        let shown = || Principal { proof: Proof::Jwt, by: "".into(), name: "".into(), claims: Map::new() };
        match key {
            "user" => {
                let process = peer.process.get_or_insert_with(process);
                match value.parse() {
                    Ok(uid) => process.uid = uid,
                    Err(_) => process.user = Some(value),
                }
            }
            "unit" => peer.process.get_or_insert_with(process).unit = Some(value),
            "cgroup" => peer.process.get_or_insert_with(process).cgroup = Some(value),
            "container" => peer.process.get_or_insert_with(process).container = Some(value),
            "spiffe" => peer.certificate.get_or_insert_with(Certificate::default).uris.push(text.as_str().into()),
            "dns" => peer.certificate.get_or_insert_with(Certificate::default).dns.push(value),
            "identity" => principal.get_or_insert_with(shown).by = value,
            "name" => principal.get_or_insert_with(shown).name = value,
            "claim" => {
                let (path, value) = value.split_once('=').ok_or_else(|| unknown(text))?;
                let claims = &mut principal.get_or_insert_with(shown).claims;
                claims.insert(path.to_owned(), Value::String(value.to_owned()));
            }
            _ => return Err(unknown(text)),
        }
    }
    peer.principal = principal.map(Arc::new);
    client.peer = Some(Arc::new(peer));
    Ok(client)
}

fn unknown(text: &str) -> String {
    format!(
        "`{text}` is nothing that is known of a caller: write `user:alice`, `unit:`, `cgroup:`, `container:`, `spiffe:`, \
         `dns:`, `identity:`, `name:`, `claim:path=value`, or `remote`"
    )
}
