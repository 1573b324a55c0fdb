use futures_util::FutureExt;
use futures_util::stream;
use http::Response;
use http_body_util::StreamBody;

use super::*;
use crate::testing::{self, Bottom, get, record, silent, status};

const QUEUE: Queue = Queue { size: 2, timeout: Duration::from_millis(500) };

fn scope() -> (Scope, Arc<Bulkhead>) {
    let bulkhead = Arc::<Bulkhead>::default();
    (Scope::One(Arc::clone(&bulkhead)), bulkhead)
}

/// An answer whose body never ends.
fn streaming() -> Response<Body> {
    testing::response(200).map(|_| Body::boxed(StreamBody::new(stream::pending())))
}

/// A bottom that answers `count` times with a stream and then with nothing in it.
fn streams(count: usize) -> Bottom {
    (0..count).fold(Bottom::default(), |bottom, _| bottom.then(|| Ok(streaming())))
}

async fn refused(service: &ArcService) -> Error {
    service.call(get("http://a.test/")).await.expect_err("a refusal")
}

#[tokio::test]
async fn so_many_are_admitted_and_the_next_is_refused() {
    let (scope, bulkhead) = scope();
    let service = layer(Params { limit: 2, adaptive: false, queue: None }, scope).layer(silent());

    let first = service.call(get("http://a.test/"));
    assert_eq!(bulkhead.inflight(), 1);
    let second = service.call(get("http://a.test/"));
    let error = refused(&service).await;

    assert_eq!((error.kind, error.retry_after), (ErrorKind::Overloaded, Some(AGAIN)));
    assert_eq!(bulkhead.inflight(), 2);
    drop((first, second));
    assert_eq!(bulkhead.inflight(), 0);
}

#[tokio::test]
async fn a_place_is_free_when_the_exchange_is_over_and_not_at_the_head() {
    let (scope, bulkhead) = scope();
    let service = streams(1).under(layer(Params { limit: 1, adaptive: false, queue: None }, scope));
    let request = get("http://a.test/");
    let exchange = record(&request);

    let response = service.call(request).await.expect("an answer");
    assert_eq!(refused(&service).await.kind, ErrorKind::Overloaded);
    drop(response);
    drop(exchange);

    assert_eq!(bulkhead.inflight(), 0);
    assert_eq!(status(service.call(get("http://a.test/"))).await, 200);
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_served_in_order_and_beyond_the_queue_is_refused() {
    let (scope, bulkhead) = scope();
    let service = streams(3).under(layer(Params { limit: 1, adaptive: false, queue: Some(QUEUE) }, scope));
    let requests: Vec<_> = (0..3).map(|_| get("http://a.test/")).collect();
    let mut records: Vec<_> = requests.iter().map(record).collect();
    let mut calls: Vec<_> = requests.into_iter().map(|request| service.call(request)).collect();
    assert!((&mut calls[0]).await.is_ok());
    assert!((&mut calls[1]).now_or_never().is_none() && (&mut calls[2]).now_or_never().is_none());
    assert_eq!((bulkhead.inflight(), bulkhead.waiting()), (1, 2));
    assert_eq!(refused(&service).await.kind, ErrorKind::Overloaded);

    drop(records.remove(0));
    assert!((&mut calls[2]).now_or_never().is_none(), "the second came first");
    assert!((&mut calls[1]).await.is_ok());
    drop(records.remove(0));

    assert!((&mut calls[2]).await.is_ok());
    assert_eq!((bulkhead.inflight(), bulkhead.waiting()), (1, 0));
}

#[tokio::test]
async fn nobody_overtakes_the_line() {
    let (scope, bulkhead) = scope();
    let params = Params { limit: 1, adaptive: false, queue: Some(QUEUE) };
    let service = streams(9).under(layer(params, scope));
    let request = get("http://a.test/");
    let first = record(&request);
    assert!(service.call(request).await.is_ok());
    let mut waiting = service.call(get("http://a.test/"));
    assert!((&mut waiting).now_or_never().is_none());

    drop(first);
    let mut late = service.call(get("http://a.test/"));

    assert!((&mut late).now_or_never().is_none());
    assert_eq!(bulkhead.inflight(), 1, "handed over, not freed");
}

#[tokio::test(start_paused = true)]
async fn the_wait_is_bounded_by_its_own_time_and_by_the_deadline() {
    for (deadline, after, kind) in [
        (None, 500, ErrorKind::QueueTimeout),
        (Some(501), 500, ErrorKind::QueueTimeout),
        (Some(500), 500, ErrorKind::Deadline),
        (Some(200), 200, ErrorKind::Deadline),
    ] {
        let (scope, bulkhead) = scope();
        let service = layer(Params { limit: 1, adaptive: false, queue: Some(QUEUE) }, scope).layer(silent());
        let _held = service.call(get("http://a.test/"));
        let request = get("http://a.test/");
        let exchange = record(&request);
        if let Some(deadline) = deadline {
            exchange.shorten_deadline(exchange.head.started + Duration::from_millis(deadline));
        }

        let error = service.call(request).await.expect_err("a refusal");

        assert_eq!(error.kind, kind);
        let took = clock::now().since(exchange.head.started).as_millis();
        assert!((after..after + 5).contains(&took), "{took}");
        assert_eq!((bulkhead.inflight(), bulkhead.waiting()), (1, 0));
    }
}

#[tokio::test]
async fn who_leaves_the_line_makes_room_and_takes_no_place() {
    let (scope, bulkhead) = scope();
    let params = Params { limit: 1, adaptive: false, queue: Some(Queue { size: 1, ..QUEUE }) };
    let service = streams(9).under(layer(params, scope));
    let request = get("http://a.test/");
    let first = record(&request);
    assert!(service.call(request).await.is_ok());
    let mut gone = service.call(get("http://a.test/"));
    assert!((&mut gone).now_or_never().is_none());

    drop(gone);
    let mut next = service.call(get("http://a.test/"));
    assert!((&mut next).now_or_never().is_none(), "room in line");
    drop(first);

    assert!(next.await.is_ok());
    assert_eq!((bulkhead.inflight(), bulkhead.waiting()), (0, 0));
}

#[tokio::test]
async fn a_place_given_to_who_left_in_that_moment_is_passed_on() {
    let (scope, bulkhead) = scope();
    let service = streams(9).under(layer(Params { limit: 1, adaptive: false, queue: Some(QUEUE) }, scope));
    let request = get("http://a.test/");
    let first = record(&request);
    assert!(service.call(request).await.is_ok());
    let mut gone = service.call(get("http://a.test/"));
    let mut next = service.call(get("http://a.test/"));
    assert!((&mut gone).now_or_never().is_none() && (&mut next).now_or_never().is_none());

    drop(first);
    assert_eq!((bulkhead.inflight(), bulkhead.waiting()), (1, 1), "given to the first in line");
    drop(gone);

    assert!(next.await.is_ok());
    assert_eq!(bulkhead.inflight(), 0);
}

#[tokio::test]
async fn a_place_for_who_has_left_the_line_goes_to_the_next() {
    let (scope, bulkhead) = scope();
    let service = streams(9).under(layer(Params { limit: 1, adaptive: false, queue: Some(QUEUE) }, scope));
    let request = get("http://a.test/");
    let first = record(&request);
    assert!(service.call(request).await.is_ok());
    let mut gone = service.call(get("http://a.test/"));
    let mut next = service.call(get("http://a.test/"));
    assert!((&mut gone).now_or_never().is_none() && (&mut next).now_or_never().is_none());

    drop(gone);
    drop(first);

    assert!(next.now_or_never().is_some_and(|answer| answer.is_ok()), "it has the place");
    assert_eq!((bulkhead.inflight(), bulkhead.waiting()), (0, 0));
}

#[tokio::test]
async fn a_lowered_limit_holds_once_enough_have_left() {
    let (scope, bulkhead) = scope();
    let wide = layer(Params { limit: 3, adaptive: false, queue: Some(QUEUE) }, scope.clone()).layer(silent());
    let narrow = layer(Params { limit: 1, adaptive: false, queue: Some(QUEUE) }, scope).layer(silent());
    let mut held: Vec<_> = (0..3).map(|_| wide.call(get("http://a.test/"))).collect();
    let mut waiting = narrow.call(get("http://a.test/"));
    assert!((&mut waiting).now_or_never().is_none());

    for left in [2, 1] {
        held.pop();
        assert_eq!((bulkhead.inflight(), bulkhead.waiting()), (left, 1));
    }
    held.pop();

    assert_eq!((bulkhead.inflight(), bulkhead.waiting()), (1, 0), "handed over");
}

#[tokio::test]
async fn a_raised_limit_lets_in_more_than_one_who_waited() {
    let (scope, bulkhead) = scope();
    let narrow = layer(Params { limit: 1, adaptive: false, queue: Some(QUEUE) }, scope.clone()).layer(silent());
    let wide = layer(Params { limit: 3, adaptive: false, queue: Some(QUEUE) }, scope).layer(silent());
    let held = narrow.call(get("http://a.test/"));
    let mut waiting = narrow.call(get("http://a.test/"));
    assert!((&mut waiting).now_or_never().is_none());
    let mut late = wide.call(get("http://a.test/"));
    assert!((&mut late).now_or_never().is_none(), "behind who came first");

    drop(held);

    assert_eq!((bulkhead.inflight(), bulkhead.waiting()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn an_adaptive_limit_goes_down_when_the_destination_has_too_much_and_not_for_other_answers() {
    for (answer, least, most) in [(503, 1, 1), (429, 1, 1), (500, 20, 30), (404, 20, 30)] {
        let (scope, bulkhead) = scope();
        let params = Params { limit: 30, adaptive: true, queue: None };
        let bottom = (0..2_000).fold(Bottom::default(), |bottom, _| bottom.status(answer));
        let service = bottom.under(layer(params, scope));
        for _ in 0..1_000 {
            tokio::time::advance(Duration::from_millis(10)).await;
            assert_eq!(status(service.call(get("http://a.test/"))).await, answer);
        }

        let mut held = Vec::new();
        while held.len() < 100 {
            let request = get("http://a.test/");
            let exchange = record(&request);
            match service.call(request).await {
                Ok(_) => held.push(exchange),
                Err(error) => {
                    assert_eq!(error.kind, ErrorKind::Overloaded);
                    break;
                }
            }
        }

        assert!((least..=most).contains(&held.len()), "{answer}: {}", held.len());
        drop(held);
        assert_eq!(bulkhead.inflight(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_adaptive_limit_goes_down_when_attempts_time_out_and_not_when_nothing_was_asked() {
    for (kind, most) in [(ErrorKind::AttemptTimeout, 10), (ErrorKind::ConnectRefused, 20)] {
        let (scope, _) = scope();
        let params = Params { limit: 30, adaptive: true, queue: None };
        let failing = (0..200).fold(Bottom::default(), |bottom, _| bottom.then(move || Err(Error::new(kind))));
        let service = failing.under(layer(params, scope.clone()));

        for _ in 0..200 {
            tokio::time::advance(Duration::from_millis(10)).await;
            assert_eq!(refused(&service).await.kind, kind);
        }

        let places = scope.places(params).expect("one destination");
        assert!((most - 9..=most).contains(&places), "{kind:?}: {places}");
    }
}

#[test]
fn threads_never_have_more_places_than_there_are_and_none_is_lost() {
    let bulkhead = Arc::<Bulkhead>::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                for round in 0..5_000 {
                    match bulkhead.enter(Limit { most: 2, adaptive: false }, 3) {
                        Entry::Now(place) => {
                            assert!(bulkhead.inflight() <= 2);
                            drop(place);
                        }
                        // Every other one stays for its turn.
                        Entry::Later(turn) if round % 2 == 0 => drop(runtime.block_on(turn)),
                        Entry::Later(turn) => drop(turn),
                        Entry::Full => {}
                    }
                }
            });
        }
    });

    assert_eq!((bulkhead.inflight(), bulkhead.waiting()), (0, 0));
}
