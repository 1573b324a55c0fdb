//! Whether one match takes every request of another.
//!
//! Patterns are compared as text: a pattern that covers another one in other words is not seen. A warning that is
//! missing costs little; a wrong one would make people ignore the right ones.

use crate::model::{HostMatch, Match, PathMatch, ValueMatch};

/// Whether every request that `later` matches is matched by `first`.
pub(super) fn covers(first: &Match, later: &Match) -> bool {
    host(&first.host, &later.host)
        && path(&first.path, &later.path)
        && methods(&first.methods, &later.methods)
        && values(&first.headers, &later.headers)
        && values(&first.query, &later.query)
        && (first.who.is_none() || first.who == later.who)
}

fn host(first: &HostMatch, later: &HostMatch) -> bool {
    let port = |first: &Option<u16>, later: &Option<u16>| first.is_none() || first == later;
    let below = |name: &str, suffix: &str| name.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'));
    match (first, later) {
        (HostMatch::Any, _) => true,
        (HostMatch::Exact { host: a, port: p }, HostMatch::Exact { host: b, port: q }) => a == b && port(p, q),
        (HostMatch::Suffix { suffix: a, port: p }, HostMatch::Suffix { suffix: b, port: q }) => {
            (a == b || below(b, a)) && port(p, q)
        }
        (HostMatch::Suffix { suffix, port: p }, HostMatch::Exact { host, port: q }) => {
            below(host, suffix) && port(p, q)
        }
        _ => false,
    }
}

fn path(first: &PathMatch, later: &PathMatch) -> bool {
    match (first, later) {
        (PathMatch::Any, _) => true,
        (PathMatch::Prefix(a), PathMatch::Prefix(b) | PathMatch::Exact(b)) => b.starts_with(a),
        (PathMatch::Prefix(a), PathMatch::Any | PathMatch::Regex(_)) => a == "/",
        (a, b) => a == b,
    }
}

fn methods(first: &[String], later: &[String]) -> bool {
    first.is_empty() || (!later.is_empty() && later.iter().all(|method| first.contains(method)))
}

fn values(first: &[(String, ValueMatch)], later: &[(String, ValueMatch)]) -> bool {
    first.iter().all(|(name, a)| later.iter().any(|(other, b)| name == other && (a == b || *a == ValueMatch::Present)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values;

    fn matcher(host: &str, path: &str, methods: &[&str]) -> Match {
        let methods = methods.iter().map(|m| (*m).to_owned()).collect();
        let path = if path.is_empty() { PathMatch::Any } else { values::path_match(path).unwrap() };
        Match { host: values::host(host).unwrap(), path, methods, ..Match::default() }
    }

    #[test]
    fn a_wider_match_covers_a_narrower_one_and_never_the_reverse() {
        let pairs = [
            (matcher("*", "", &[]), matcher("a.com", "/v1", &["GET"])),
            (matcher("*.a.com", "", &[]), matcher("x.a.com", "", &[])),
            (matcher("*.a.com", "", &[]), matcher("*.x.a.com:8443", "", &[])),
            (matcher("a.com", "/v1/", &[]), matcher("a.com", "/v1/users", &[])),
            (matcher("a.com", "", &["GET", "PUT"]), matcher("a.com:81", "", &["GET"])),
        ];

        for (wide, narrow) in &pairs {
            assert!(covers(wide, narrow), "{wide:?} covers {narrow:?}");
            assert!(!covers(narrow, wide), "{narrow:?} does not cover {wide:?}");
        }
    }

    #[test]
    fn a_suffix_covers_neither_its_apex_nor_a_longer_word() {
        assert!(!covers(&matcher("*.a.com", "", &[]), &matcher("a.com", "", &[])));
        assert!(!covers(&matcher("*.a.com", "", &[]), &matcher("ba.com", "", &[])));
    }
}
