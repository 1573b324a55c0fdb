use http::{HeaderValue, Response};

use super::*;
use crate::testing::{self, Bottom, get, record};

fn announcing(status: u16, name: &'static str, value: &'static str) -> Response<Body> {
    let mut response = testing::response(status);
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}

/// After a first answer that announces something.
async fn after(status: u16, name: &'static str, value: &'static str) -> (ArcService, Bottom, Arc<Pace>) {
    let (pace, bottom) = (Arc::<Pace>::default(), Bottom::default().then(move || Ok(announcing(status, name, value))));
    let service = bottom.under(layer(Scope::One(Arc::clone(&pace)), Random::seeded(1)));
    let first = service.call(get("http://a.test/")).await.expect("an answer");
    assert_eq!(first.status(), status);
    (service, bottom, pace)
}

#[tokio::test(start_paused = true)]
async fn what_comes_before_the_renewal_waits_for_it() {
    let (service, bottom, _) = after(200, "ratelimit", "\"default\";r=0;t=5").await;
    let start = clock::now();
    let request = get("http://a.test/");
    record(&request).shorten_deadline(start + Duration::from_secs(30));

    assert!(service.call(request).await.is_ok());

    let waited = clock::now().since(start).as_millis();
    assert!((5000..=5502).contains(&waited), "{waited}");
    assert_eq!(bottom.calls(), 2);
    assert!(service.call(get("http://a.test/")).await.is_ok(), "and then nobody waits");
    assert!(clock::now().since(start).as_millis() - waited < 5);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_wait_so_long_is_refused_at_once() {
    for (deadline, refused) in [(Some(4_000), true), (Some(5_000), true), (Some(5_100), false), (None, false)] {
        let (service, bottom, pace) = after(429, "retry-after", "5").await;
        let start = clock::now();
        let request = get("http://a.test/");
        if let Some(deadline) = deadline {
            record(&request).shorten_deadline(start + Duration::from_millis(deadline));
        }

        match service.call(request).await {
            Err(error) => {
                assert!(refused, "{deadline:?}");
                assert_eq!((error.kind, error.retry_after), (ErrorKind::RateLimited, Some(Duration::from_secs(5))));
                assert_eq!((clock::now().since(start), bottom.calls()), (Duration::ZERO, 1));
            }
            Ok(_) => {
                assert!(!refused, "{deadline:?}");
                let limit = deadline.map_or(5_502, |deadline| deadline.min(5_502));
                assert!(clock::now().since(start).as_millis() < limit.into());
            }
        }
        assert!(pace.waiting_now() == 0);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_deadline_patience_is_bounded() {
    let (service, _, _) = after(503, "retry-after", "11").await;

    let error = service.call(get("http://a.test/")).await.expect_err("a refusal");

    assert_eq!(error.kind, ErrorKind::RateLimited);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_while_it_waits_frees_its_place() {
    use futures_util::FutureExt;
    let (service, bottom, pace) = after(429, "retry-after", "5").await;
    let mut waiting = service.call(get("http://a.test/"));
    assert!((&mut waiting).now_or_never().is_none());
    assert_eq!(pace.waiting_now(), 1);

    drop(waiting);

    assert_eq!((pace.waiting_now(), bottom.calls()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn those_who_waited_start_apart_from_each_other() {
    let (service, _, _) = after(429, "retry-after", "5").await;
    let start = clock::now();
    let calls = (0..20).map(|_| {
        let call = service.call(get("http://a.test/"));
        async move {
            assert!(call.await.is_ok());
            clock::now().since(start).as_millis()
        }
    });

    let mut starts = futures_util::future::join_all(calls).await;

    starts.sort_unstable();
    starts.dedup();
    assert!(starts.len() > 10 && starts[0] >= 5_000, "{starts:?}");
}

#[tokio::test(start_paused = true)]
async fn no_more_than_a_thousand_wait_for_one_target() {
    use futures_util::FutureExt;
    let (service, bottom, pace) = after(429, "retry-after", "5").await;
    let mut waiting: Vec<_> = (0..1024).map(|_| service.call(get("http://a.test/"))).collect();
    assert!(waiting.iter_mut().all(|call| call.now_or_never().is_none()));

    let error = service.call(get("http://a.test/")).await.expect_err("a refusal");

    assert_eq!((error.kind, pace.waiting_now(), bottom.calls()), (ErrorKind::Overloaded, 1024, 1));
    drop(waiting);
    assert_eq!(pace.waiting_now(), 0);
}

#[test]
fn an_endless_stream_of_targets_keeps_the_memory_bounded() {
    let paces = Paces::default();

    for index in 0..5_000 {
        paces.named(&format!("host{index}.test:443"));
    }

    assert!((1..=1024).contains(&paces.len()), "{}", paces.len());
}

#[tokio::test(start_paused = true)]
async fn one_host_does_not_hold_back_another() {
    let paces = Arc::<Paces>::default();
    let bottom = Bottom::default().then(|| Ok(announcing(429, "retry-after", "60")));
    let service = bottom.under(layer(Scope::Hosts(paces), Random::seeded(1)));
    assert_eq!(testing::status(service.call(get("http://a.test/"))).await, 429);

    assert_eq!(testing::status(service.call(get("http://b.test/"))).await, 200);

    assert!(service.call(get("http://a.test/")).await.is_err());
}
