use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use tokio::sync::Semaphore;
use tokio::time::{Instant, advance, sleep};

use super::*;

mod wire;

/// Plays its answers in order, the last one for ever, and counts the questions.
struct Script {
    answers: Vec<(u64, Result<Answer, Failure>)>,
    asked: AtomicUsize,
}

impl Script {
    fn new<const N: usize>(answers: [(u64, Result<Answer, Failure>); N]) -> Arc<Self> {
        Arc::new(Self { answers: answers.into(), asked: AtomicUsize::new(0) })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Source for Script {
    fn lookup(&self, _: Arc<str>) -> BoxFuture<'_, Result<Answer, Failure>> {
        let index = self.asked.fetch_add(1, Ordering::SeqCst).min(self.answers.len() - 1);
        Box::pin(async move {
            let (ms, answer) = self.answers[index].clone();
            sleep(Duration::from_millis(ms)).await;
            answer
        })
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("ip")
}

fn says(addr: &str, ttl: u64) -> Result<Answer, Failure> {
    Ok(Answer { addrs: vec![ip(addr)], ttl: Duration::from_secs(ttl) })
}

fn absent() -> Result<Answer, Failure> {
    Err(Failure::Absent("name does not exist".into()))
}

fn broken() -> Result<Answer, Failure> {
    Err(Failure::Broken("the name server answered SERVFAIL".into()))
}

fn over(source: &Arc<Script>) -> Resolver {
    Resolver::with_source(Arc::clone(source) as Arc<dyn Source>, Overrides::default(), Handle::current())
}

async fn ask(resolver: &Resolver) -> Result<IpAddr, ErrorKind> {
    resolver.resolve("a.test", read_clock()).await.map(|addrs| addrs[0]).map_err(|error| error.kind)
}

async fn pass(secs: u64) {
    advance(Duration::from_secs(secs)).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_used_for_its_ttl() {
    let source = Script::new([(0, says("10.0.0.1", 30)), (0, says("10.0.0.2", 30))]);
    let resolver = over(&source);

    assert_eq!(ask(&resolver).await, Ok(ip("10.0.0.1")));
    pass(29).await;
    assert_eq!(ask(&resolver).await, Ok(ip("10.0.0.1")));
    assert_eq!(source.asked(), 1);
    pass(1).await;
    assert_eq!(ask(&resolver).await, Ok(ip("10.0.0.2")));
    assert_eq!(source.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_ttl_is_held_within_a_second_and_a_minute() {
    for (ttl, held) in [(0, 1000), (1, 1000), (86_400, 60_000)] {
        let source = Script::new([(0, says("10.0.0.1", ttl)), (0, says("10.0.0.2", ttl))]);
        let resolver = over(&source);
        assert_eq!(ask(&resolver).await, Ok(ip("10.0.0.1")));

        advance(Duration::from_millis(held - 1)).await;
        assert_eq!(ask(&resolver).await, Ok(ip("10.0.0.1")), "ttl {ttl}");
        advance(Duration::from_millis(1)).await;
        assert_eq!(ask(&resolver).await, Ok(ip("10.0.0.2")), "ttl {ttl}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_name_is_remembered_for_five_seconds() {
    let source = Script::new([(0, absent()), (0, says("10.0.0.1", 30))]);
    let resolver = over(&source);

    let error = resolver.resolve("a.test", read_clock()).await.expect_err("absent");
    assert_eq!((error.kind, error.sent), (ErrorKind::Dns, exchange::Sent::Nothing));
    assert_eq!(error.detail().as_deref(), Some("a.test: name does not exist"));
    advance(Duration::from_millis(4999)).await;
    assert_eq!(ask(&resolver).await, Err(ErrorKind::Dns));
    assert_eq!(source.asked(), 1);
    advance(Duration::from_millis(1)).await;
    assert_eq!(ask(&resolver).await, Ok(ip("10.0.0.1")));
}

#[tokio::test(start_paused = true)]
async fn a_failure_without_an_old_answer_is_asked_again() {
    let source = Script::new([(0, broken()), (0, Err(Failure::Timeout)), (0, says("10.0.0.1", 30))]);
    let resolver = over(&source);

    assert_eq!(ask(&resolver).await, Err(ErrorKind::Dns));
    assert_eq!(ask(&resolver).await, Err(ErrorKind::DnsTimeout));
    assert_eq!(ask(&resolver).await, Ok(ip("10.0.0.1")));
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_serves_for_five_minutes_while_the_resolver_fails() {
    let source = Script::new([(0, says("10.0.0.1", 10)), (0, broken())]);
    let resolver = over(&source);
    assert_eq!(ask(&resolver).await, Ok(ip("10.0.0.1")));

    pass(10).await;
    assert_eq!(ask(&resolver).await, Ok(ip("10.0.0.1")));
    assert_eq!(source.asked(), 2);
    pass(4).await;
    assert_eq!(ask(&resolver).await, Ok(ip("10.0.0.1")));
    assert_eq!(source.asked(), 2, "asked again before the pause was over");
    pass(1).await;
    assert_eq!(ask(&resolver).await, Ok(ip("10.0.0.1")));
    assert_eq!(source.asked(), 3);
    pass(294).await;
    assert_eq!(ask(&resolver).await, Ok(ip("10.0.0.1")));
    pass(1).await;
    assert_eq!(ask(&resolver).await, Err(ErrorKind::Dns));
}

#[tokio::test(start_paused = true)]
async fn a_slow_resolver_costs_little_when_there_is_an_old_answer() {
    let source = Script::new([(0, says("10.0.0.1", 1)), (5000, says("10.0.0.2", 60))]);
    let resolver = over(&source);
    assert_eq!(ask(&resolver).await, Ok(ip("10.0.0.1")));
    pass(1).await;

    let start = Instant::now();
    assert_eq!(ask(&resolver).await, Ok(ip("10.0.0.1")));
    assert_eq!(Instant::now() - start, PATIENCE);
    assert_eq!(ask(&resolver).await, Ok(ip("10.0.0.1")));
    assert!(Instant::now() - start < PATIENCE * 2, "the patience is for the query, not for each who waits");
    sleep(Duration::from_secs(5)).await;
    assert_eq!(ask(&resolver).await, Ok(ip("10.0.0.2")));
    assert_eq!(source.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_gone_ends_the_old_answer() {
    let source = Script::new([(0, says("10.0.0.1", 1)), (0, absent())]);
    let resolver = over(&source);
    assert_eq!(ask(&resolver).await, Ok(ip("10.0.0.1")));

    pass(1).await;

    assert_eq!(ask(&resolver).await, Err(ErrorKind::Dns));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_never_answers_is_given_up() {
    let source = Script::new([(3_600_000, absent())]);
    let resolver = over(&source);
    let start = Instant::now();

    assert_eq!(ask(&resolver).await, Err(ErrorKind::DnsTimeout));

    assert_eq!(Instant::now() - start, LIMIT);
}

#[tokio::test(start_paused = true)]
async fn those_who_ask_together_share_one_query() {
    let source = Script::new([(50, says("10.0.0.1", 30))]);
    let resolver = over(&source);

    let answers = futures_util::future::join_all((0..100).map(|_| ask(&resolver))).await;

    assert!(answers.iter().all(|answer| *answer == Ok(ip("10.0.0.1"))));
    assert_eq!(source.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_does_not_end_the_query() {
    let source = Script::new([(50, says("10.0.0.1", 30))]);
    let resolver = over(&source);

    assert!(ask(&resolver).now_or_never().is_none());
    tokio::task::yield_now().await;

    assert_eq!(ask(&resolver).await, Ok(ip("10.0.0.1")));
    assert_eq!(source.asked(), 1);
}

/// Answers when a permit is given.
struct Gate {
    open: Semaphore,
    asked: AtomicUsize,
}

impl Source for Gate {
    fn lookup(&self, _: Arc<str>) -> BoxFuture<'_, Result<Answer, Failure>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            self.open.acquire().await.expect("open").forget();
            says("10.0.0.1", 30)
        })
    }
}

#[test]
fn workers_on_other_threads_share_the_query_too() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let control = runtime();
    let gate = Arc::new(Gate { open: Semaphore::new(0), asked: AtomicUsize::new(0) });
    let source = Arc::clone(&gate) as Arc<dyn Source>;
    let resolver = Arc::new(Resolver::with_source(source, Overrides::default(), control.handle().clone()));
    let (joined, mut joins) = tokio::sync::mpsc::unbounded_channel();
    let (done, mut answers) = tokio::sync::mpsc::unbounded_channel();

    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (resolver, joined, done) = (Arc::clone(&resolver), joined.clone(), done.clone());
            std::thread::spawn(move || {
                runtime().block_on(async {
                    let mut asking = pin!(ask(&resolver));
                    assert!((&mut asking).now_or_never().is_none());
                    joined.send(()).expect("listened to");
                    done.send(asking.await).expect("listened to");
                });
            })
        })
        .collect();
    control.block_on(async {
        for _ in 0..4 {
            joins.recv().await.expect("four join");
        }
        gate.open.add_permits(1);
        for _ in 0..4 {
            assert_eq!(answers.recv().await, Some(Ok(ip("10.0.0.1"))));
        }
    });

    assert_eq!(gate.asked.load(Ordering::SeqCst), 1);
    workers.into_iter().for_each(|worker| worker.join().expect("no panic"));
}

#[test]
fn a_runtime_that_has_ended_is_an_error_and_not_a_wait() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let control = runtime();
    let source = Script::new([(0, says("10.0.0.1", 30))]);
    let resolver = Resolver::with_source(source, Overrides::default(), control.handle().clone());
    drop(control);

    assert_eq!(runtime().block_on(ask(&resolver)), Err(ErrorKind::Dns));
    assert_eq!(runtime().block_on(ask(&resolver)), Err(ErrorKind::Dns));
}

#[tokio::test(start_paused = true)]
async fn names_and_queries_are_bounded() {
    let source = Script::new([(0, says("10.0.0.1", 30))]);
    let resolver = over(&source);
    for index in 0..MAX_NAMES * 3 {
        resolver.resolve(&format!("h{index}.test"), read_clock()).await.expect("answer");
    }
    assert!(resolver.shared.names.len() <= MAX_NAMES, "{}", resolver.shared.names.len());

    let slow = Script::new([(1000, says("10.0.0.1", 30))]);
    let resolver = over(&slow);
    for index in 0..MAX_FLIGHTS {
        assert!(resolver.resolve(&format!("h{index}.test"), read_clock()).now_or_never().is_none());
    }
    assert_eq!(ask(&resolver).await, Err(ErrorKind::Overloaded));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(ask(&resolver).await, Ok(ip("10.0.0.1")));
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_cut_to_sixty_four_addresses_of_both_families() {
    let v4 = (0..1000u32).map(|index| IpAddr::from(Ipv4Addr::from(0x0a00_0000 + index)));
    let v6 = (0..1000u128).map(|index| IpAddr::from(Ipv6Addr::from((0x2001_0db8 << 96) + index)));
    let count = |addrs: &[IpAddr]| (addrs.len(), addrs.iter().filter(|ip| ip.is_ipv6()).count());

    assert_eq!(count(&bounded(v4.clone().collect())), (64, 0));
    assert_eq!(count(&bounded(v4.clone().chain(v6.clone()).collect())), (64, 32));
    assert_eq!(count(&bounded(v4.clone().take(3).chain(v6.clone()).collect())), (64, 61));
    assert_eq!(count(&bounded(v4.clone().chain(v6.take(3)).collect())), (64, 3));
    assert_eq!(count(&bounded(v4.clone().take(2).chain(v4.take(2)).collect())), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn local_names_and_literals_are_answered_here() {
    let source = Script::new([(0, absent())]);
    let resolver = over(&source);
    let loopback = [ip("127.0.0.1"), ip("::1")];

    for (host, expected) in [
        ("localhost", &loopback[..]),
        ("a.b.localhost", &loopback),
        ("10.1.2.3", &[ip("10.1.2.3")]),
        ("2001:db8::1", &[ip("2001:db8::1")]),
    ] {
        assert_eq!(&*resolver.resolve(host, read_clock()).await.expect(host), expected, "{host}");
    }
    for host in ["2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "a.test.1"] {
        assert!(resolver.resolve(host, read_clock()).await.is_err(), "{host}");
    }
    assert_eq!(source.asked(), 0);
    assert!(resolver.resolve("notlocalhost", read_clock()).await.is_err());
    assert_eq!(source.asked(), 1);
}

#[tokio::test]
async fn the_operators_answers_can_be_replaced() {
    let resolver = over(&Script::new([(0, absent())]));
    let answer = Override { ip: ip("127.0.0.1"), port: Some(9001) };

    assert_eq!(resolver.overridden("api.test"), None);
    resolver.set_overrides([("api.test".into(), answer)].into());
    assert_eq!(resolver.overridden("api.test"), Some(answer));
    resolver.set_overrides(Overrides::default());
    assert_eq!(resolver.overridden("api.test"), None);
}
