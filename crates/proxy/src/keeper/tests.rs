use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::*;

type Word = Cell<u32>;

/// Keeps a value whose nth fetch is as `script` says; counts the fetches.
fn kept(script: impl Fn(u32) -> Result<Fresh<u32>, Failure> + Send + Sync + 'static) -> (Word, Arc<AtomicU32>) {
    let (cell, fetches) = (Word::fetched(), Arc::new(AtomicU32::new(0)));
    let count = Arc::clone(&fetches);
    let script = Arc::new(script);
    tokio::spawn(keep(
        cell.clone(),
        Random::seeded(3),
        "a test".into(),
        |_| {},
        move || {
            let (number, script) = (count.fetch_add(1, Relaxed), Arc::clone(&script));
            async move { script(number) }
        },
    ));
    (cell, fetches)
}

fn good(value: u32, seconds: u64) -> Fresh<u32> {
    Fresh { value, lifetime: Some(Duration::from_secs(seconds)), every: None }
}

#[test]
fn a_token_is_not_used_in_the_end_of_its_life() {
    for (lives, used_for) in [(5, 4_000), (50, 40_000), (100, 90_000), (3600, 3_590_000)] {
        assert_eq!(used(Duration::from_secs(lives)).as_millis(), used_for);
    }
}

#[test]
fn it_is_fetched_early_and_not_by_all_at_once() {
    let rng = &mut fastrand::Rng::with_seed(5);
    let waits: Vec<_> =
        (0..200).map(|_| again(Some(Duration::from_secs(4)), None, rng).expect("a time").as_millis()).collect();

    assert!(waits.iter().all(|wait| (3_000..=3_600).contains(wait)));
    let (least, most) = (waits.iter().min().expect("some"), waits.iter().max().expect("some"));
    assert!(most - least > 500, "{least} {most}");
    let every = Some(Duration::from_secs(1));
    assert!(again(Some(Duration::from_secs(100)), every, rng).expect("a time") <= Duration::from_secs(1));
    assert_eq!(again(None, None, rng), None);
}

#[tokio::test(start_paused = true)]
async fn there_is_always_one_to_use() {
    let (cell, fetches) = kept(|number| Ok(good(number, 5)));
    tokio::task::yield_now().await;

    for _ in 0..600 {
        assert!(cell.get(clock::now).is_some());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    let fetched = fetches.load(Relaxed);
    assert!((16..=21).contains(&fetched), "{fetched} in a minute");
}

#[tokio::test(start_paused = true)]
async fn while_the_issuer_is_away_the_old_one_is_used_up_to_its_end() {
    let (cell, fetches) = kept(|number| match number {
        0 => Ok(good(0, 20)),
        1..20 => Err(Failure::passing("down")),
        _ => Ok(good(20, 20)),
    });
    tokio::task::yield_now().await;
    let begun = clock::now();

    while clock::now().since(begun) < Duration::from_secs(16) {
        assert_eq!(cell.get(clock::now).map(|(value, _)| value), Some(0));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(cell.get(clock::now), None, "never an expired one");
    assert!(fetches.load(Relaxed) > 1, "it was tried");

    let (value, _) = loop {
        if let Some(found) = cell.get(clock::now) {
            break found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(value, 20);
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_says_no_is_asked_seldom() {
    let (cell, fetches) = kept(|_| Err(Failure::settled("invalid_client")));

    tokio::time::sleep(Duration::from_secs(300)).await;

    let asked = fetches.load(Relaxed);
    assert!((10..60).contains(&asked), "{asked} times in five minutes");
    assert_eq!(cell.wait().await.map(drop), Err("invalid_client".into()));
}

#[tokio::test(start_paused = true)]
async fn what_an_upstream_refused_is_fetched_at_once() {
    let (cell, fetches) = kept(|number| Ok(Fresh { value: number, lifetime: None, every: None }));
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert_eq!(fetches.load(Relaxed), 1, "nothing says that it ends");
    let exchange = exchange();
    exchange.carried.set(1);

    assert!(exchange::Renew::renewed(&cell, &exchange).await);

    assert_eq!((fetches.load(Relaxed), cell.get(clock::now)), (2, Some((1, 2))));
}

fn exchange() -> exchange::Exchange {
    use exchange::{Authority, Client, Door, Exchange, Head};
    let head = Head {
        id: 1,
        started: clock::now(),
        door: Door::Forward,
        client: Client { addr: None, local: true, peer: None },
        version: http::Version::HTTP_11,
        method: http::Method::GET,
        tls: false,
        authority: Authority::parse("a.test").expect("an authority"),
        path: "/".parse().expect("a path"),
        upgrade: false,
        grpc: false,
    };
    Exchange::new(head, None)
}
