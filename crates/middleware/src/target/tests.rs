use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use exchange::Attempt;
use http::Method;
use policy::Tick;

use super::*;
use crate::testing::{Bottom, get, record, request, request_with, status};

struct Fake {
    label: Arc<str>,
    available: AtomicBool,
    score: AtomicU64,
}

impl Load for Fake {
    fn label(&self) -> Option<&Arc<str>> {
        Some(&self.label)
    }

    fn is_available(&self, _: Tick) -> bool {
        self.available.load(Relaxed)
    }

    fn score(&self, _: Tick) -> u64 {
        self.score.load(Relaxed)
    }
}

fn fake(label: &str, score: u64) -> Arc<Fake> {
    Arc::new(Fake { label: label.into(), available: AtomicBool::new(true), score: AtomicU64::new(score) })
}

/// Candidates named `a`, `b`, ... with scores 1, 2, ...
struct Field {
    bottoms: Vec<Bottom>,
    loads: Vec<Arc<Fake>>,
    service: ArcService,
}

impl Field {
    fn new(weights: &[Option<u32>], balance: Balance) -> Self {
        let bottoms: Vec<_> = weights.iter().map(|_| Bottom::default()).collect();
        let names = ["a.test", "b.test", "c.test"];
        let loads: Vec<_> = (0..weights.len()).map(|index| fake(names[index], index as u64 + 1)).collect();
        let candidates = (0..weights.len()).map(|index| Candidate {
            weight: weights[index],
            scheme: Some(Scheme::HTTPS),
            authority: Some(Authority::from_static(names[index])),
            base: String::new(),
            service: bottoms[index].service(),
            load: Arc::clone(&loads[index]) as Arc<dyn Load>,
        });
        let params = Params { candidates: candidates.collect(), balance, rewrite: Rewrite::default() };
        Self { bottoms, loads, service: service(params, Random::seeded(1)) }
    }

    /// How often each was picked in so many requests that already tried `tried`.
    async fn picks(&self, requests: usize, tried: &[usize]) -> Vec<usize> {
        let before: Vec<_> = self.bottoms.iter().map(Bottom::calls).collect();
        for _ in 0..requests {
            let request = get("http://x.test/");
            for index in tried {
                record(&request).attempted(Attempt {
                    endpoint: Arc::clone(&self.loads[*index].label),
                    started: clock::now(),
                    took: Duration::ZERO,
                    result: Ok(503),
                    reused: false,
                    hedge: false,
                });
            }
            assert_eq!(status(self.service.call(request)).await, 200);
        }
        self.bottoms.iter().zip(before).map(|(bottom, before)| bottom.calls() - before).collect()
    }
}

/// One candidate; what it was sent.
async fn sent(
    authority: Option<&'static str>,
    base: &str,
    host: Option<&'static str>,
    request: Request<Body>,
) -> (String, String) {
    let bottom = Bottom::default();
    let candidate = Candidate {
        weight: None,
        scheme: Some(Scheme::HTTPS),
        authority: authority.map(Authority::from_static),
        base: base.into(),
        service: bottom.service(),
        load: fake("x", 1),
    };
    let rewrite = Rewrite { host: host.map(HeaderValue::from_static), ..Rewrite::default() };
    let params = Params { candidates: vec![candidate], balance: Balance::P2c, rewrite };

    assert_eq!(status(service(params, Random::seeded(1)).call(request)).await, 200);

    let seen = bottom.seen().remove(0);
    let hosts: Vec<_> = seen.headers.get_all(HOST).iter().filter_map(|host| host.to_str().ok()).collect();
    (seen.uri, hosts.join(","))
}

fn named(uri: &str, host: &'static str) -> Request<Body> {
    let mut request = get(uri);
    request.headers_mut().insert(HOST, HeaderValue::from_static(host));
    request
}

#[tokio::test]
async fn the_target_is_what_goes_out_as_uri_and_host() {
    let (uri, host) = sent(Some("b.test:8443"), "/v1", None, named("http://a.test/x?", "other.test")).await;
    assert_eq!((uri.as_str(), host.as_str()), ("https://b.test:8443/v1/x?", "b.test:8443"));

    let (uri, host) = sent(None, "", None, named("http://a.test/x", "other.test")).await;
    assert_eq!((uri.as_str(), host.as_str()), ("https://a.test/x", "a.test"));

    let (uri, host) = sent(None, "", None, named("http://a.test/x", "a.test")).await;
    assert_eq!((uri.as_str(), host.as_str()), ("https://a.test/x", "a.test"));

    let (uri, host) = sent(Some("b.test"), "", Some("c.test"), get("http://a.test/x")).await;
    assert_eq!((uri.as_str(), host.as_str()), ("https://b.test/x", "c.test"));
}

#[tokio::test]
async fn an_origin_form_request_is_aimed_by_its_record() {
    let mut request = get("http://a.test:81/x");
    *request.uri_mut() = "/x?y".parse().expect("a uri");

    let (uri, host) = sent(None, "", None, request).await;

    assert_eq!((uri.as_str(), host.as_str()), ("https://a.test:81/x?y", "a.test:81"));
}

#[tokio::test]
async fn connect_keeps_its_target() {
    let (uri, host) = sent(Some("b.test"), "/v1", None, request(Method::CONNECT, "a.test:443")).await;

    assert_eq!((uri.as_str(), host.as_str()), ("a.test:443", ""));
}

#[tokio::test]
async fn weights_are_shares_and_zero_is_none() {
    let field = Field::new(&[Some(3), Some(1), Some(0)], Balance::P2c);

    let picks = field.picks(400, &[]).await;

    assert_eq!(picks[2], 0);
    assert!((250..350).contains(&picks[0]), "{picks:?}");
}

#[tokio::test]
async fn nothing_to_pick_is_an_error_that_says_so() {
    let field = Field::new(&[Some(0), Some(0)], Balance::P2c);

    let error = field.service.call(get("http://x.test/")).await.expect_err("a failure");

    assert_eq!(error.kind, ErrorKind::NoHealthyEndpoint);
}

#[tokio::test]
async fn each_balance_picks_in_its_way() {
    let none = [None, None, None];

    assert_eq!(Field::new(&none, Balance::Least).picks(30, &[]).await, [30, 0, 0]);
    assert_eq!(Field::new(&none, Balance::RoundRobin).picks(30, &[]).await, [10, 10, 10]);
    let p2c = Field::new(&none, Balance::P2c).picks(300, &[]).await;
    assert!(p2c[0] > p2c[1] && p2c[2] == 0, "{p2c:?}");
    let random = Field::new(&none, Balance::Random).picks(300, &[]).await;
    assert!(random.iter().all(|picks| (60..140).contains(picks)), "{random:?}");
}

#[tokio::test]
async fn a_retry_goes_where_none_was_made_yet() {
    for weights in [[None, None, None], [Some(8), Some(1), Some(1)]] {
        let field = Field::new(&weights, Balance::Least);

        assert_eq!(field.picks(20, &[0, 2]).await, [0, 20, 0]);
    }
}

#[tokio::test]
async fn a_tried_target_that_answers_beats_one_that_refuses() {
    let field = Field::new(&[None, None, None], Balance::Random);
    field.loads[0].available.store(false, Relaxed);
    assert_eq!(field.picks(20, &[1]).await, [0, 0, 20]);
    field.loads[2].available.store(false, Relaxed);

    assert_eq!(field.picks(20, &[1]).await, [0, 20, 0]);
}

#[tokio::test]
async fn with_none_available_one_is_still_asked_why() {
    let field = Field::new(&[None, None], Balance::P2c);
    for load in &field.loads {
        load.available.store(false, Relaxed);
    }

    assert_eq!(field.picks(20, &[]).await.iter().sum::<usize>(), 20);
}

#[tokio::test]
async fn websocket_over_h2_is_aimed_like_a_get() {
    let request = request_with(Method::CONNECT, "https://a.test/chat", |head| head.upgrade = true);

    let (uri, host) = sent(Some("b.test"), "", None, request).await;

    assert_eq!((uri.as_str(), host.as_str()), ("https://b.test/chat", "b.test"));
}
