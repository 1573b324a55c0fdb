use std::net::SocketAddr;

use http::{HeaderValue, Method};

use super::*;
use crate::testing::{Bottom, get, request_with, status};

const QUOTA: Quota = Quota { interval: Duration::from_millis(100), burst: 3 };

fn service(per: Per, meters: &Arc<Meters>, quota: Quota) -> ArcService {
    Bottom::default().under(layer(Params { quota, per, special: Vec::new() }, Arc::clone(meters)))
}

fn by(per: Per) -> ArcService {
    service(per, &Arc::default(), QUOTA)
}

/// How many of ten are admitted.
async fn admitted(service: &ArcService, request: impl Fn() -> Request<Body>) -> usize {
    let mut count = 0;
    for _ in 0..10 {
        count += usize::from(service.call(request()).await.is_ok());
    }
    count
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_admitted_and_then_the_rate() {
    let service = by(Per::Route);

    assert_eq!(admitted(&service, || get("http://a.test/")).await, 3);
    tokio::time::advance(Duration::from_millis(99)).await;
    assert_eq!(admitted(&service, || get("http://a.test/")).await, 0);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(admitted(&service, || get("http://a.test/")).await, 1);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(admitted(&service, || get("http://a.test/")).await, 3, "never more than the burst");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_when_and_by_which_quota() {
    let service = by(Per::Client);
    for _ in 0..3 {
        assert_eq!(status(service.call(get("http://a.test/"))).await, 200);
    }
    tokio::time::advance(Duration::from_millis(30)).await;

    let error = service.call(get("http://a.test/")).await.expect_err("a refusal");

    assert_eq!((error.kind, error.retry_after), (ErrorKind::RateLimited, Some(Duration::from_millis(70))));
    let expected = Rate {
        policy: "client",
        quota: 3,
        window: Duration::from_millis(300),
        remaining: 0,
        reset: Duration::from_millis(70),
    };
    assert_eq!(error.rate.as_deref(), Some(&expected));
}

#[tokio::test(start_paused = true)]
async fn each_client_has_its_own_and_its_port_and_the_rest_of_its_network_do_not_matter() {
    let service = by(Per::Client);
    let from = |addr: &'static str| {
        move || {
            let addr: SocketAddr = addr.parse().expect("an address");
            request_with(Method::GET, "http://a.test/", |head| head.client.addr = Some(addr))
        }
    };

    for (addr, expected) in [
        ("192.0.2.1:1", 3),
        ("192.0.2.1:2", 0),
        ("192.0.2.2:1", 3),
        ("[::ffff:192.0.2.1]:1", 0),
        ("[2001:db8::1]:1", 3),
        ("[2001:db8::2]:1", 0),
        ("[2001:db8:0:1::1]:1", 3),
    ] {
        assert_eq!(admitted(&service, from(addr)).await, expected, "{addr}");
    }
    assert_eq!(admitted(&service, || get("http://a.test/")).await, 3, "unix sockets are one client");
}

#[tokio::test(start_paused = true)]
async fn each_identity_has_its_own_by_what_is_known_best_and_strangers_share_one() {
    use exchange::Peer;
    use exchange::identity::who::User;
    use exchange::identity::{Certificate, Principal, Process, Proof};
    let from = |uid: Option<u32>, spiffe: Option<&'static str>, name: Option<&'static str>| {
        move || {
            let process =
                uid.map(|uid| Process { uid, user: None, pid: None, unit: None, cgroup: None, container: None });
            let certificate = spiffe.map(|id| Certificate { uris: vec![id.into()], ..Certificate::default() });
            let request = request_with(Method::GET, "http://a.test/", |head| {
                head.client.peer = Some(Arc::new(Peer { process, certificate, principal: None }));
            });
            if let Some(name) = name {
                let claims = serde_json::Map::new();
                let principal = Principal { proof: Proof::Key, by: "keys".into(), name: name.into(), claims };
                Exchange::of(&request).set_principal(Arc::new(principal));
            }
            request
        }
    };
    let service = by(Per::Identity);

    for (uid, spiffe, name, expected) in [
        (Some(1), None, None, 3),
        (Some(1), None, None, 0),
        (Some(2), None, None, 3),
        (Some(1), Some("spiffe://t/a"), None, 3),
        (Some(2), Some("spiffe://t/a"), None, 0),
        (Some(1), Some("spiffe://t/a"), Some("app"), 3),
        (Some(3), None, Some("app"), 0),
        (None, None, None, 3),
        (None, None, None, 0),
    ] {
        assert_eq!(admitted(&service, from(uid, spiffe, name)).await, expected, "{uid:?} {spiffe:?} {name:?}");
    }
    let one = Who { user: Some(User::Uid(1)), ..Who::default() };
    let params = Params { quota: QUOTA, per: Per::Identity, special: vec![(one, Quota { burst: 5, ..QUOTA })] };
    let service = Bottom::default().under(layer(params, Arc::default()));
    assert_eq!(admitted(&service, from(Some(1), None, None)).await, 5, "a rate of its own");
    assert_eq!(admitted(&service, from(Some(2), None, None)).await, 3);
}

#[tokio::test(start_paused = true)]
async fn each_destination_has_its_own() {
    let service = by(Per::Destination);

    for (uri, expected) in
        [("http://a.test/", 3), ("http://a.test:80/x", 0), ("http://a.test:81/", 3), ("http://b.test/", 3)]
    {
        assert_eq!(admitted(&service, || get(uri)).await, expected, "{uri}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_value_of_a_header_has_its_own_and_those_without_share_one() {
    let service = by(Per::Header(HeaderName::from_static("x-tenant")));
    let of = |values: &'static [&'static str]| {
        move || {
            let mut request = get("http://a.test/");
            values.iter().for_each(|value| {
                request.headers_mut().append("x-tenant", HeaderValue::from_static(value));
            });
            request
        }
    };

    for (values, expected) in
        [(&["a"][..], 3), (&["a"], 0), (&["b"], 3), (&["a", "b"], 3), (&["ab"], 3), (&[], 3), (&[], 0)]
    {
        assert_eq!(admitted(&service, of(values)).await, expected, "{values:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endless_stream_of_keys_keeps_the_memory_bounded() {
    let meters = Arc::<Meters>::default();
    let service = service(Per::Destination, &meters, QUOTA);

    for index in 0..10_000 {
        assert_eq!(status(service.call(get(&format!("http://h{index}.test/")))).await, 200);
    }

    assert!((1000..=4096).contains(&meters.len()), "{}", meters.len());
}

#[tokio::test(start_paused = true)]
async fn new_numbers_keep_the_level_and_clamp_it_to_the_new_burst() {
    for (used, burst, expected) in [(0, 3, 3), (8, 20, 2), (8, 5, 2), (2, 5, 5), (10, 5, 0)] {
        let meters = Arc::<Meters>::default();
        let old = service(Per::Route, &meters, Quota { burst: 10, ..QUOTA });
        for _ in 0..used {
            assert_eq!(status(old.call(get("http://a.test/"))).await, 200);
        }

        let new = service(Per::Route, &meters, Quota { interval: Duration::from_secs(1), burst });
        let mut left = 0;
        while new.call(get("http://a.test/")).await.is_ok() {
            left += 1;
        }

        // Without a request before there is nothing to keep.
        assert_eq!(left, expected, "{used} used, then {burst}");
    }
}

#[test]
fn threads_together_are_admitted_no_more_than_the_burst() {
    let meters = Meters::default();
    let quota = Quota { interval: Duration::from_secs(3600), burst: 100 };
    let admitted = std::sync::atomic::AtomicU32::new(0);

    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (meters, admitted) = (&meters, &admitted);
            scope.spawn(move || {
                for _ in 0..500 {
                    let passed = meters.check(Some(thread % 2), quota).is_ok();
                    admitted.fetch_add(u32::from(passed), std::sync::atomic::Ordering::Relaxed);
                }
            });
        }
    });

    assert_eq!(admitted.into_inner(), 200);
}
