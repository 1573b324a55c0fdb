//! Callers by what is known of them: users, units, control groups, containers, names in certificates.

use super::net::name as host_name;
use super::{Flaw, flaw, label};
use crate::model::{User, Who};

/// `anyone`, `anyone_local`, `authenticated`, or `user:alice` and its like.
pub(crate) fn caller(text: &str) -> Result<Who, Flaw> {
    let mut who = Who::default();
    match text.split_once(':') {
        None if text == "anyone" => who.anyone = true,
        None if text == "anyone_local" => who.anyone_local = true,
        None if text == "authenticated" => who.authenticated = true,
        Some(("user", value)) => who.user = Some(user_of(value)?),
        Some(("unit", value)) => who.unit = Some(unit(value)?),
        Some(("cgroup", value)) => who.cgroup = Some(cgroup(value)?),
        Some(("container", value)) => who.container = Some(container(value)?),
        Some(("spiffe", value)) if value.starts_with("//") => who.spiffe = Some(spiffe(text)?),
        Some(("dns", value)) => who.dns = Some(dns(value)?),
        Some(("identity", value)) => who.identity = Some(label(value)?),
        Some(("name", value)) => who.name = Some(shown(value)?),
        _ => {
            return flaw(
                format!("`{text}` is nobody"),
                "write `anyone_local`, `authenticated`, or such as `user:alice`, `unit:backup.service` or `name:app`",
            );
        }
    }
    Ok(who)
}

/// A user of this machine, by name or number.
pub(crate) fn user_of(text: &str) -> Result<User, Flaw> {
    if let Ok(uid) = text.parse::<u32>()
        && uid.to_string() == text
        && uid != u32::MAX
    {
        return Ok(User::Uid(uid));
    }
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"._-$@\\".contains(&b);
    let begins = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    if text.len() > 256 || !text.bytes().next().is_some_and(begins) || !text.bytes().all(fine) {
        return flaw(format!("`{text}` is no user"), "write a user's name or number, such as `alice` or `1000`");
    }
    Ok(User::Name(text.to_owned()))
}

/// A group of this machine, by name or number.
pub(crate) fn group(text: &str) -> Result<String, Flaw> {
    match user_of(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => flaw(format!("`{text}` is no group"), "write a group's name or number, such as `attache` or `1000`"),
    }
}

/// Rights of a file, in octal digits; its owner has them both.
pub(crate) fn mode(text: &str) -> Result<u32, Flaw> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if (3..=4).contains(&digits.len()) && mode & !0o666 == 0 && mode & 0o600 == 0o600 => Ok(mode),
        _ => flaw(format!("`{text}` are no rights of a socket"), "write `\"0600\"`, `\"0660\"` or `\"0666\"`"),
    }
}

/// A systemd unit with its type.
pub(crate) fn unit(text: &str) -> Result<String, Flaw> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
    let typed =
        text.rsplit_once('.').is_some_and(|(name, kind)| !name.is_empty() && matches!(kind, "service" | "scope"));
    if !typed || text.len() > 255 || !text.bytes().all(fine) {
        return flaw(format!("`{text}` is no unit"), "write it with its type, such as `backup.service`");
    }
    Ok(text.to_owned())
}

/// A control group's path, or with `/*` all below it.
pub(crate) fn cgroup(text: &str) -> Result<String, Flaw> {
    let path = text.strip_suffix("/*").unwrap_or(text);
    let fine = |segment: &str| !matches!(segment, "" | "." | "..") && !segment.contains('*');
    if !text.starts_with('/') || !path.split('/').skip(1).all(fine) || path.chars().any(char::is_control) {
        let help = "write the path as in /proc/PID/cgroup, such as `/system.slice/*`";
        return flaw(format!("`{text}` is no control group"), help);
    }
    Ok(text.to_owned())
}

/// A container's identifier, or its beginning.
pub(crate) fn container(text: &str) -> Result<String, Flaw> {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if !(12..=64).contains(&text.len()) || !text.bytes().all(hex) {
        return flaw(format!("`{text}` is no container"), "write its identifier, or at least its first 12 digits");
    }
    Ok(text.to_owned())
}

/// A SPIFFE id of a named trust domain; `*` is one segment of its path, a last one all below.
pub(crate) fn spiffe(text: &str) -> Result<String, Flaw> {
    let (domain, path) = text.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/')).unwrap_or_default();
    let in_domain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let segment = |s: &str| s == "*" || (!matches!(s, "" | "." | "..") && s.bytes().all(fine));
    if domain.is_empty() || !domain.bytes().all(in_domain) || !path.split('/').all(segment) {
        let help = "write it as `spiffe://example.org/ns/prod/sa/web`; `*` is one segment, a last one all below";
        return flaw(format!("`{text}` is no SPIFFE id"), help);
    }
    Ok(text.to_owned())
}

/// A host name in a certificate; a first `*` is one label.
pub(crate) fn dns(text: &str) -> Result<String, Flaw> {
    match text.strip_prefix("*.") {
        Some(rest) if rest.contains('.') => host_name(rest).map(|rest| format!("*.{rest}")),
        Some(_) => flaw(format!("`{text}` is every host there is"), "write it as `*.example.com`"),
        None => host_name(text),
    }
}

/// What was shown: a token's subject, a key's name, a user; `*` for any.
pub(crate) fn shown(text: &str) -> Result<String, Flaw> {
    match text.is_empty() || text.chars().any(char::is_control) {
        true => flaw("an empty name", "write a token's `sub`, a key's name or a user; `*` for any"),
        false => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_a_word_or_one_thing_known_of_it() {
        assert!(caller("anyone_local").is_ok_and(|who| who.anyone_local && !who.anyone && !who.authenticated));
        assert_eq!(caller("user:alice").map(|who| who.user), Ok(Some(User::Name("alice".into()))));
        assert_eq!(caller("user:0").map(|who| who.user), Ok(Some(User::Uid(0))));
        assert_eq!(caller("spiffe://a.test/x").map(|who| who.spiffe), Ok(Some("spiffe://a.test/x".into())));
        for wrong in ["", "local", "alice", "user:", "uid:0", "spiffe:a.test/x", "unit:backup", "name:", "root:x"] {
            assert!(caller(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_user_is_a_name_or_a_whole_number() {
        assert_eq!(user_of("1000"), Ok(User::Uid(1000)));
        assert_eq!(user_of("svc_app$"), Ok(User::Name("svc_app$".into())));
        for wrong in ["", "-1", "01000", "4294967295", "4294967296", "1e3", "a b", "a:b", "*", "+1"] {
            assert!(user_of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rights_of_a_socket_are_octal_and_its_owners_in_any_case() {
        assert_eq!((mode("0660"), mode("660"), mode("0o666")), (Ok(0o660), Ok(0o660), Ok(0o666)));
        for wrong in ["", "66", "0770", "0066", "0668", "432", "06600", "-660", "rw"] {
            assert!(mode(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn patterns_are_where_they_mean_something() {
        for (parse, good, bad) in [
            (cgroup as fn(&str) -> Result<String, Flaw>, "/a/b/*", ["/a/*/b", "a/b", "/a/../b", "/a/b*"]),
            (
                spiffe,
                "spiffe://a.test/ns/*/sa/x",
                ["spiffe://*/x", "spiffe://a.test", "https://a.test/x", "spiffe://a.test/x*"],
            ),
            (dns, "*.a.test", ["*", "*.test", "a.*.test", "a*.test"]),
            (container, "0123456789ab", ["0123456789a", "0123456789AB", "*", "0123456789a*"]),
        ] {
            assert!(parse(good).is_ok(), "{good}");
            bad.iter().for_each(|text| assert!(parse(text).is_err(), "{text}"));
        }
    }
}
