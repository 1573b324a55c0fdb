use serde_json::json;

use super::super::{Certificate, Process, Proof};
use super::*;

fn process() -> Process {
    Process {
        uid: 1000,
        user: Some("alice".into()),
        pid: Some(7),
        unit: Some("backup.service".into()),
        cgroup: Some("/system.slice/backup.service".into()),
        container: Some("0123456789abcdef".into()),
    }
}

fn nothing_known() -> Process {
    Process { uid: 1000, user: None, pid: None, unit: None, cgroup: None, container: None }
}

fn principal(claims: Value) -> Principal {
    let claims = claims.as_object().cloned().unwrap_or_default();
    Principal { proof: Proof::Jwt, by: "issuer".into(), name: "svc".into(), claims }
}

fn holds(who: &Who, peer: Option<&Peer>, principal: Option<&Principal>) -> bool {
    who.holds(&Caller { local: true, peer, principal })
}

fn asks() -> Vec<(&'static str, Who)> {
    let text = |text: &str| Some(Arc::from(text));
    let base = Who::default;
    vec![
        ("user", Who { user: Some(User::Name("alice".into())), ..base() }),
        ("user", Who { user: Some(User::Uid(1000)), ..base() }),
        ("unit", Who { unit: text("backup.service"), ..base() }),
        ("cgroup", Who { cgroup: text("/system.slice/*"), ..base() }),
        ("container", Who { container: text("0123456789ab"), ..base() }),
        ("spiffe", Who { spiffe: text("spiffe://a.test/web"), ..base() }),
        ("dns", Who { dns: text("*.a.test"), ..base() }),
        ("authenticated", Who { authenticated: true, ..base() }),
        ("identity", Who { identity: text("issuer"), ..base() }),
        ("name", Who { name: text("*"), ..base() }),
        ("claims", Who { claims: vec![("org".into(), vec!["7".into()])], ..base() }),
    ]
}

#[test]
fn each_part_holds_of_whom_it_describes_and_never_of_a_stranger() {
    let certificate = Certificate { dns: vec!["w.a.test".into()], uris: vec!["spiffe://a.test/web".into()] };
    let peer = Peer { process: Some(process()), certificate: Some(certificate), principal: None };
    let known = principal(json!({"org": 7}));
    let bare = Peer { process: Some(nothing_known()), certificate: Some(Certificate::default()), principal: None };
    let nameless = Principal { name: "".into(), by: "other".into(), ..principal(json!({})) };

    for (key, who) in asks() {
        assert!(holds(&who, Some(&peer), Some(&known)), "{key}");
        for (peer, principal) in [(None, None), (Some(&Peer::default()), None)] {
            assert_eq!(who.unmet(&Caller { local: true, peer, principal }), Some(key));
        }
        let may_hold = who.user == Some(User::Uid(1000)) || who.authenticated;
        assert_eq!(holds(&who, Some(&bare), Some(&nameless)), may_hold, "{key}: empty is not known");
    }
}

#[test]
fn all_parts_must_hold_and_none_at_all_is_nobody() {
    let peer = Peer { process: Some(process()), ..Peer::default() };
    let both = Who { user: Some(User::Uid(1000)), unit: Some("other.service".into()), ..Who::default() };

    assert_eq!(both.unmet(&Caller { local: true, peer: Some(&peer), principal: None }), Some("unit"));
    assert!(!holds(&Who::default(), Some(&peer), Some(&principal(json!({})))));
    assert!(Who { anyone: true, ..Who::default() }.holds(&Caller { local: false, peer: None, principal: None }));
}

#[test]
fn anyone_local_is_on_this_machine() {
    let who = Who { anyone_local: true, ..Who::default() };

    assert!(who.holds(&Caller { local: true, peer: None, principal: None }));
    assert!(!who.holds(&Caller { local: false, peer: None, principal: None }));
}

#[test]
fn patterns_of_paths_go_by_segments() {
    for (pattern, path, expected) in [
        ("/a/b", "/a/b", true),
        ("/a/b", "/a/b/c", false),
        ("/a/*", "/a/b", true),
        ("/a/*", "/a/b/c", true),
        ("/a/*", "/a", false),
        ("/a/*", "/a/", false),
        ("/a/*", "/ab/c", false),
        ("/a/*", "/a/../b", false),
        ("/a/*", "/a/b/../../c", false),
        ("spiffe://t/ns/*/sa/web", "spiffe://t/ns/x/sa/web", true),
        ("spiffe://t/ns/*/sa/web", "spiffe://t/ns/x/y/sa/web", false),
        ("spiffe://t/ns/*/sa/web", "spiffe://t/ns//sa/web", false),
        ("spiffe://t/ns/*/sa/web", "spiffe://t/ns/x/sa/web/z", false),
        ("spiffe://t/*", "spiffe://t2/x", false),
    ] {
        assert_eq!(path_fits(pattern, path), expected, "{pattern} {path}");
    }
}

#[test]
fn patterns_of_names_are_one_label() {
    for (pattern, name, expected) in [
        ("A.test", "a.TEST", true),
        ("*.a.test", "x.a.test", true),
        ("*.a.test", "a.test", false),
        ("*.a.test", "x.y.a.test", false),
        ("*.a.test", ".a.test", false),
        ("*.a.test", "*.a.test", false),
    ] {
        assert_eq!(name_fits(pattern, name), expected, "{pattern} {name}");
    }
}

#[test]
fn a_container_needs_twelve_digits_of_its_identifier() {
    assert!(container_fits("0123456789ab", "0123456789abcdef"));
    assert!(!container_fits("0123456789a", "0123456789abcdef"));
    assert!(!container_fits("", "0123456789abcdef"));
    assert!(!container_fits("0123456789ac", "0123456789abcdef"));
}

#[test]
fn claims_are_found_by_path_and_compared_by_value() {
    let claims = json!({
        "aud": ["a", "b"], "scope": "read write", "text": "read write", "admin": true, "n": 7, "big": 7.5, "none": null,
        "org": {"id": "x", "teams": ["core"]}, "https://a.test/roles": ["ops"], "list": [["a"], null, {"a": 1}],
    });
    let shown = principal(claims);
    for (path, values, expected) in [
        ("aud", &["b"][..], true),
        ("aud", &["c"], false),
        ("aud", &["c", "a"], true),
        ("scope", &["write"], true),
        ("scope", &["rea"], false),
        ("scope", &["read write"], false),
        ("text", &["write"], false),
        ("text", &["read write"], true),
        ("admin", &["true"], true),
        ("admin", &["1"], false),
        ("n", &["7"], true),
        ("n", &["7.0"], false),
        ("big", &["7"], false),
        ("none", &["null"], false),
        ("none", &[""], false),
        ("org.id", &["x"], true),
        ("org.teams", &["core"], true),
        ("org", &["x"], false),
        ("org.id.more", &["x"], false),
        ("https://a.test/roles", &["ops"], true),
        ("list", &["a"], false),
        ("absent", &[""], false),
        ("aud", &[], false),
    ] {
        let values = values.iter().map(|value| Arc::from(*value)).collect();
        let who = Who { claims: vec![(path.into(), values)], ..Who::default() };
        assert_eq!(holds(&who, None, Some(&shown)), expected, "{path} {:?}", who.claims);
    }
}

#[test]
fn what_a_connection_decides_is_known_before_a_request() {
    for (key, who) in asks() {
        let of_request = matches!(key, "authenticated" | "identity" | "name" | "claims");
        assert_eq!(who.is_of_connection(), !of_request, "{key}");
        assert_eq!(who.asks_for_process(), matches!(key, "unit" | "cgroup" | "container"), "{key}");
    }
}
