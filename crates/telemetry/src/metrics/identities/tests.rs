use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;

use exchange::Peer;
use exchange::identity::{Certificate, Principal, Process, Proof};
use http::Method;

use super::*;
use crate::fixture::{after, head};
use crate::{Metrics, expose};

/// A request of somebody with this much known of them.
fn by(principal: Option<&str>, spiffe: Option<&str>, process: Option<(u32, Option<&str>)>) -> Exchange {
    let mut head = head(Method::GET, "/");
    let process = process.map(|(uid, user)| Process {
        uid,
        user: user.map(Arc::from),
        pid: None,
        unit: None,
        cgroup: None,
        container: None,
    });
    let certificate = spiffe.map(|id| Certificate { uris: vec![id.into()], ..Certificate::default() });
    head.client.peer = Some(Arc::new(Peer { process, certificate, ..Peer::default() }));
    let exchange = Exchange::new(head, None);
    if let Some(name) = principal {
        let claims = serde_json::Map::new();
        exchange.set_principal(Arc::new(Principal {
            proof: Proof::Jwt,
            by: "issuer".into(),
            name: name.into(),
            claims,
        }));
    }
    exchange.answered(200, None, Some(after(1)));
    exchange
}

fn named(name: &str) -> Exchange {
    by(Some(name), None, None)
}

/// One that keeps so many.
fn keeping(most: usize) -> Identities {
    let identities = Identities::default();
    identities.keep(most);
    identities
}

/// What is counted of each identity, over all routes and classes.
fn sums(identities: &Identities) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for row in identities.rows() {
        *sums.entry(row.identity.to_string()).or_default() += row.counts.iter().sum::<u64>();
    }
    sums
}

fn expected(all: &[(&str, u64)]) -> BTreeMap<String, u64> {
    all.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[test]
fn the_label_is_what_was_shown_else_the_process() {
    let (identities, route) = (keeping(10), "r".into());
    let id = "spiffe://a.test/b";
    for exchange in [
        by(Some("ali"), Some(id), Some((0, None))),
        by(Some(""), None, None),
        by(None, Some(id), Some((1000, Some("alice")))),
        by(None, None, Some((1000, Some("alice")))),
        by(None, None, Some((1001, None))),
        by(None, None, None),
        crate::fixture::exchange("/"),
    ] {
        identities.count(&exchange, &route, 200);
    }

    let all = [("ali", 1), ("issuer", 1), (id, 1), ("user:alice", 1), ("uid:1001", 1), (ANONYMOUS, 2)];
    assert_eq!(sums(&identities), expected(&all));
}

#[test]
fn whoever_comes_after_the_cap_is_other() {
    let (identities, route) = (keeping(3), "r".into());
    for round in 0..2 {
        for number in 0..100 {
            identities.count(&named(&format!("c{number}")), &route, 200);
        }
        identities.count(&by(None, None, None), &route, 200);
        assert_eq!(sums(&identities).len(), 5, "{round}");
    }

    let all = [("c0", 2), ("c1", 2), ("c2", 2), (OTHER, 194), (ANONYMOUS, 2)];
    assert_eq!(sums(&identities), expected(&all));
}

#[test]
fn names_of_ours_and_long_ones_make_no_series_of_their_own() {
    let (identities, route) = (keeping(10), "r".into());
    let long = "\u{e9}".repeat(200);

    for name in [ANONYMOUS, OTHER, &long, &format!("{long}x")] {
        identities.count(&named(name), &route, 200);
    }
    identities.count(&by(None, None, Some((1, Some(&long)))), &route, 200);

    // `user:` and 61 of two bytes are 127.
    let (cut, user) = ("\u{e9}".repeat(64), format!("user:{}", "\u{e9}".repeat(61)));
    assert_eq!(sums(&identities), expected(&[(OTHER, 2), (&cut, 2), (&user, 1)]));
}

#[test]
fn routes_and_classes_are_apart() {
    let metrics = Metrics::new("test");
    metrics.events().identities().keep(2);
    let name = "a\"b\\c\nd";
    for (shard, route, status) in [
        (metrics.shard(), "a", 200),
        (metrics.shard(), "a", 204),
        (metrics.shard(), "b", 204),
        (metrics.shard(), "a", 503),
    ] {
        let exchange = named(name);
        exchange.answered(status, None, Some(after(1)));
        shard.route(&route.into()).finished(&exchange, after(2));
    }

    let text = expose::render(&metrics);

    for (route, class, count) in [("a", "2xx", 2), ("a", "5xx", 1), ("b", "2xx", 1)] {
        let line = format!(
            "attache_identity_requests_total{{identity=\"a\\\"b\\\\c\\nd\",route=\"{route}\",code_class=\"{class}\"}} {count}\n"
        );
        assert!(text.contains(&line), "{line}{text}");
    }
    let nameless = expose::render_nameless(&metrics);
    assert!(nameless.contains("attache_requests_total{") && !nameless.contains("identity"), "{nameless}");
}

#[test]
fn off_it_waits_for_nothing_and_counts_nothing() {
    let identities = Arc::new(Identities::default());
    let held = identities.table.lock();
    let (done, over) = mpsc::channel();

    let off = Arc::clone(&identities);
    let counted = std::thread::spawn(move || {
        off.count(&named("ali"), &"r".into(), 200);
        done.send(()).expect("heard");
    });

    over.recv_timeout(Duration::from_secs(30)).expect("it waits for the lock");
    drop(held);
    counted.join().expect("ended");
    assert!(identities.rows().is_empty());
}

#[test]
fn a_lower_cap_loses_no_request_and_none_forgets_all() {
    let (identities, route) = (keeping(4), "r".into());
    // The order of the names is not that of their coming.
    for name in ["d", "c", "b", "a", "a"] {
        identities.count(&named(name), &route, 200);
    }

    identities.keep(2);
    identities.count(&named("e"), &route, 200);
    assert_eq!(sums(&identities), expected(&[("d", 1), ("c", 1), (OTHER, 4)]));
    identities.keep(3);
    identities.count(&named("a"), &route, 200);
    assert_eq!(sums(&identities), expected(&[("d", 1), ("c", 1), ("a", 1), (OTHER, 4)]));

    identities.keep(0);
    identities.count(&named("d"), &route, 200);
    assert!(identities.rows().is_empty());
    identities.keep(1);
    identities.count(&named("z"), &route, 200);
    assert_eq!(sums(&identities), expected(&[("z", 1)]));
}
