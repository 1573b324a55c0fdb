use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use exchange::{Error, ErrorKind};
use parking_lot::Mutex;

use super::*;
use crate::testing::{get, record, request, request_with, response, status};

const WAIT: Duration = Duration::from_millis(50);
/// All may be hedged.
const ALL: Params = Params { after: After::Fixed(WAIT), ratio: 1.0 };

/// What a try does: after so many milliseconds, this.
type Step = (u64, Result<u16, ErrorKind>);

/// A bottom whose tries take time; the first goes to endpoint 0, a rival to the next that is not taken.
#[derive(Clone, Default)]
struct Slow {
    steps: Arc<Mutex<VecDeque<Step>>>,
    rivals: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
    outrun: Arc<AtomicUsize>,
}

/// Counts itself if it is dropped before it ended.
struct Held(Slow, Arc<Exchange>, bool);

impl Drop for Held {
    fn drop(&mut self) {
        if !self.2 {
            self.0.dropped.fetch_add(1, Relaxed);
            self.0.outrun.fetch_add(usize::from(self.1.race().is_some_and(Race::is_outrun)), Relaxed);
        }
    }
}

impl Slow {
    fn new(steps: &[Step]) -> Self {
        let slow = Self::default();
        slow.steps.lock().extend(steps);
        slow
    }

    /// `endpoints`: how many there are.
    fn service(&self, endpoints: usize, probe: bool) -> ArcService {
        let slow = self.clone();
        let labels: Vec<Arc<str>> = (0..endpoints).map(|index| format!("{index}:80").into()).collect();
        ArcService::foreign(tower::service_fn(move |request: Request<Body>| {
            let (slow, labels) = (slow.clone(), labels.clone());
            async move {
                let exchange = Arc::clone(Exchange::of(&request));
                let rival = request.extensions().get::<Rival>().is_some();
                slow.calls.fetch_add(1, Relaxed);
                let race = exchange.race();
                let free = labels.iter().find(|label| !rival || race.is_none_or(|race| !race.has_taken(label)));
                let label = free.ok_or(Error::new(ErrorKind::NoHealthyEndpoint))?;
                if let Some(race) = race {
                    race.took(label, probe, rival);
                }
                slow.rivals.fetch_add(usize::from(rival), Relaxed);
                let mut held = Held(slow.clone(), Arc::clone(&exchange), false);
                let (after, answer) = slow.steps.lock().pop_front().unwrap_or((0, Ok(200)));
                tokio::time::sleep(Duration::from_millis(after)).await;
                held.2 = true;
                answer.map(response).map_err(Error::new)
            }
        }))
    }

    fn under(&self, params: Params) -> ArcService {
        layer(params, Arc::default()).layer(self.service(2, false))
    }
}

/// Status or kind of a GET, how long it took, tries made as rivals, tries cancelled.
async fn raced(steps: &[Step]) -> (Result<u16, ErrorKind>, u128, usize, usize) {
    let slow = Slow::new(steps);
    let start = clock::now();

    let outcome = slow.under(ALL).call(get("http://a.test/")).await;

    let result = outcome.map(|response| response.status().as_u16()).map_err(|error| error.kind);
    (result, clock::now().since(start).as_millis(), slow.rivals.load(Relaxed), slow.dropped.load(Relaxed))
}

#[tokio::test(start_paused = true)]
async fn a_first_try_in_time_is_alone() {
    assert_eq!(raced(&[(49, Ok(200))]).await, (Ok(200), 49, 0, 0));
    assert_eq!(raced(&[(10, Err(ErrorKind::Reset))]).await, (Err(ErrorKind::Reset), 10, 0, 0));
    assert_eq!(raced(&[(10, Ok(503))]).await, (Ok(503), 10, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_answer_that_comes_first_wins_and_the_other_is_dropped() {
    assert_eq!(raced(&[(500, Ok(200)), (20, Ok(201))]).await, (Ok(201), 70, 1, 1));
    assert_eq!(raced(&[(60, Ok(200)), (500, Ok(201))]).await, (Ok(200), 60, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_error_waits_for_the_other() {
    for bad in [Err(ErrorKind::Reset), Ok(500), Ok(503), Ok(429)] {
        let (result, took, rivals, _) = raced(&[(300, Ok(200)), (10, bad)]).await;
        assert_eq!((result, took, rivals), (Ok(200), 300, 1), "{bad:?}");
        let (result, took, rivals, _) = raced(&[(60, bad), (200, Ok(201))]).await;
        assert_eq!((result, rivals), (Ok(201), 1), "{bad:?}");
        assert!((250..=252).contains(&took), "{took}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_the_clients_affair_is_an_answer() {
    assert_eq!(raced(&[(500, Ok(200)), (20, Ok(404))]).await.0, Ok(404));
}

#[tokio::test(start_paused = true)]
async fn of_two_failures_the_first_trys_is_told_unless_only_the_second_is_a_response() {
    let reset = Err(ErrorKind::Reset);
    assert_eq!(raced(&[(60, Ok(503)), (100, Ok(500))]).await.0, Ok(503));
    assert_eq!(raced(&[(60, reset), (100, Ok(500))]).await.0, Ok(500));
    assert_eq!(raced(&[(60, Ok(503)), (100, reset)]).await.0, Ok(503));
    assert_eq!(raced(&[(60, reset), (100, Err(ErrorKind::ClosedEarly))]).await.0, reset.map(|_: u16| 0));
}

#[tokio::test(start_paused = true)]
async fn the_loser_knows_why_and_who_leaves_is_no_loser() {
    let slow = Slow::new(&[(500, Ok(200)), (20, Ok(200))]);
    assert_eq!(status(slow.under(ALL).call(get("http://a.test/"))).await, 200);
    assert_eq!((slow.dropped.load(Relaxed), slow.outrun.load(Relaxed)), (1, 1));

    let slow = Slow::new(&[(500, Ok(200)), (500, Ok(200))]);
    let call = slow.under(ALL).call(get("http://a.test/"));
    assert!(tokio::time::timeout(WAIT * 2, call).await.is_err());
    assert_eq!((slow.rivals.load(Relaxed), slow.dropped.load(Relaxed), slow.outrun.load(Relaxed)), (1, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_during_the_wait_is_not_hedged_for() {
    let slow = Slow::new(&[(500, Ok(200))]);
    let call = slow.under(ALL).call(get("http://a.test/"));

    assert!(tokio::time::timeout(WAIT / 2, call).await.is_err());
    tokio::time::advance(WAIT * 2).await;

    assert_eq!((slow.calls.load(Relaxed), slow.dropped.load(Relaxed)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn only_what_changes_nothing_is_sent_twice() {
    for (method, rivals) in [
        (Method::GET, 1),
        (Method::HEAD, 1),
        (Method::OPTIONS, 1),
        (Method::POST, 0),
        (Method::PUT, 0),
        (Method::DELETE, 0),
        (Method::PATCH, 0),
        (Method::TRACE, 0),
    ] {
        let slow = Slow::new(&[(500, Ok(200)), (500, Ok(200))]);
        let mut request = request(method.clone(), "http://a.test/");
        request.headers_mut().insert("idempotency-key", "1".parse().expect("a value"));

        status(slow.under(ALL).call(request)).await;

        assert_eq!(slow.rivals.load(Relaxed), rivals, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_a_repeat_and_a_body_that_nobody_keeps_are_not_hedged() {
    let upgrade = || request_with(Method::GET, "http://a.test/", |head| head.upgrade = true);
    let with = |body: Body| {
        let mut request = get("http://a.test/");
        *request.body_mut() = body;
        request
    };
    let repeat = || {
        let request = get("http://a.test/");
        record(&request).attempted(exchange::Attempt {
            endpoint: "0:80".into(),
            started: clock::now(),
            took: Duration::ZERO,
            result: Ok(503),
            reused: false,
            hedge: false,
        });
        request
    };
    let kept = || Replay::new(Body::full("abc"), 10).body().expect("whole");
    for (request, rivals) in [(upgrade(), 0), (repeat(), 0), (with(Body::full("abc")), 0), (with(kept()), 1)] {
        let slow = Slow::new(&[(500, Ok(200)), (500, Ok(200))]);

        status(slow.under(ALL).call(request)).await;

        assert_eq!(slow.rivals.load(Relaxed), rivals);
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_try_has_its_own_copy_of_the_body() {
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let read = Arc::clone(&bodies);
    let inner = ArcService::foreign(tower::service_fn(move |request: Request<Body>| {
        let read = Arc::clone(&read);
        async move {
            let exchange = Arc::clone(Exchange::of(&request));
            let rival = request.extensions().get::<Rival>().is_some();
            exchange.race().expect("a race").took(&Arc::from("x"), false, rival);
            let text = crate::testing::text(response(200).map(|_| request.into_body())).await;
            read.lock().push(text);
            tokio::time::sleep(WAIT * 3).await;
            Ok(response(200))
        }
    }));
    let mut request = get("http://a.test/");
    *request.body_mut() = Replay::new(Body::full("abc"), 10).body().expect("whole");

    assert_eq!(status(layer(ALL, Arc::default()).layer(inner).call(request)).await, 200);

    assert_eq!(*bodies.lock(), ["abc", "abc"]);
}

#[tokio::test(start_paused = true)]
async fn the_allowance_bounds_hedges_and_says_so() {
    let half = Params { ratio: 0.5, ..ALL };
    let slow = Slow::new(&[(500, Ok(200)); 12]);
    let service = slow.under(half);
    let mut denied = Vec::new();

    for _ in 0..8 {
        let request = get("http://a.test/");
        let exchange = record(&request);
        status(service.call(request)).await;
        denied.push(exchange.race().and_then(Race::denied));
    }

    assert_eq!(slow.rivals.load(Relaxed), 4);
    assert_eq!(denied.iter().filter(|why| **why == Some("budget")).count(), 4);
}

#[tokio::test(start_paused = true)]
async fn without_a_second_endpoint_there_is_no_hedge_and_it_costs_nothing() {
    let hedges = Arc::new(Hedges::default());
    let slow = Slow::new(&[(500, Ok(200))]);
    let service = layer(ALL, Arc::clone(&hedges)).layer(slow.service(1, false));
    let request = get("http://a.test/");
    let exchange = record(&request);

    assert_eq!(status(service.call(request)).await, 200);

    let race = exchange.race().expect("a race");
    assert_eq!((slow.rivals.load(Relaxed), race.denied(), race.is_made()), (0, Some("no_endpoint"), false));
    assert!(hedges.withdraw(), "it was given back");
}

#[tokio::test(start_paused = true)]
async fn a_probe_is_not_hedged() {
    let slow = Slow::new(&[(500, Ok(200))]);
    let request = get("http://a.test/");
    let exchange = record(&request);

    assert_eq!(status(layer(ALL, Arc::default()).layer(slow.service(2, true)).call(request)).await, 200);

    assert_eq!((slow.calls.load(Relaxed), exchange.race().and_then(Race::denied)), (1, Some("probe")));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_yet_at_an_endpoint_is_not_hedged() {
    let inner = ArcService::foreign(tower::service_fn(|_: Request<Body>| async {
        tokio::time::sleep(WAIT * 2).await;
        Ok(response(200))
    }));
    let request = get("http://a.test/");
    let exchange = record(&request);

    assert_eq!(status(layer(ALL, Arc::default()).layer(inner).call(request)).await, 200);

    assert_eq!(exchange.race().and_then(Race::denied), Some("not_sent"));
}

#[tokio::test(start_paused = true)]
async fn a_percentile_is_learnt_from_answers_and_a_try_that_was_outrun_counts_as_long_as_it_ran() {
    let params = Params { after: After::Quantile(0.9), ratio: 1.0 };
    let hedges = Arc::new(Hedges::default());
    let slow = Slow::new(&[]);
    let service = layer(params, Arc::clone(&hedges)).layer(slow.service(2, false));
    let known = |hedges: &Hedges| hedges.begin(&params, clock::now()).map(|wait| wait.as_millis());
    for index in 0..policy::quantile::ENOUGH {
        assert_eq!(known(&hedges), None, "{index}");
        slow.steps.lock().extend([(20, Ok(200))]);
        status(service.call(get("http://a.test/"))).await;
    }
    let before = known(&hedges).expect("enough");
    assert!((20..24).contains(&before), "{before}");

    // Quick failures do not shorten the wait; what was outrun lengthens it.
    for _ in 0..50 {
        slow.steps.lock().extend([(0, Ok(503))]);
        status(service.call(get("http://a.test/"))).await;
    }
    assert_eq!(known(&hedges), Some(before));
    for _ in 0..8 {
        slow.steps.lock().extend([(900, Ok(200)), (100, Ok(200))]);
        status(service.call(get("http://a.test/"))).await;
    }
    assert!(known(&hedges).expect("enough") >= 100, "{:?}", known(&hedges));
}
