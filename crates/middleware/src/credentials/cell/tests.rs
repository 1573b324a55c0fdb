use std::sync::Arc;

use http::Method;
use tokio::task::JoinSet;
use tokio::time::advance;

use super::*;
use crate::testing::head;

type Word = Cell<&'static str>;

fn carrying(number: u64) -> Arc<Exchange> {
    let exchange = Exchange::new(head(&Method::GET, "https://a.test/"), None);
    exchange.carried.set(number);
    Arc::new(exchange)
}

fn refused(why: &str, settled: bool) -> Trouble {
    Trouble { detail: why.to_owned(), settled }
}

#[tokio::test(start_paused = true)]
async fn a_value_is_not_given_out_past_its_time() {
    let cell = Word::fetched();
    cell.put("one", Some(clock::now() + Duration::from_secs(4)));

    advance(Duration::from_millis(3_999)).await;
    assert_eq!(cell.get(clock::now), Some(("one", 1)));
    advance(Duration::from_millis(1)).await;
    assert_eq!(cell.get(clock::now), None);

    cell.put("two", None);
    advance(Duration::from_secs(1_000_000)).await;
    assert_eq!(cell.get(clock::now), Some(("two", 2)));
}

#[tokio::test(start_paused = true)]
async fn who_finds_none_waits_for_it_but_not_for_ever() {
    let cell = Word::fetched();
    let (early, begun) = (
        tokio::spawn({
            let cell = cell.clone();
            async move { cell.wait().await }
        }),
        clock::now(),
    );
    tokio::task::yield_now().await;

    cell.fail(refused("refused", false));
    cell.put("late", None);
    assert_eq!(early.await.expect("no panic"), Ok(("late", 1)));

    let never = Word::fetched();
    never.fail(refused("the issuer is down", false));
    assert_eq!(never.wait().await, Err("the issuer is down".to_owned()));
    assert_eq!(clock::now().since(begun).as_secs(), WAIT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_where_the_issuer_said_no() {
    let (cell, begun) = (Word::fetched(), clock::now());
    let waiting = tokio::spawn({
        let cell = cell.clone();
        async move { cell.wait().await }
    });
    tokio::task::yield_now().await;

    cell.fail(refused("invalid_client", true));

    assert_eq!(waiting.await.expect("no panic"), Err("invalid_client".to_owned()));
    assert_eq!(cell.wait().await, Err("invalid_client".to_owned()));
    assert_eq!(clock::now().since(begun), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn no_more_wait_than_there_are_places() {
    let (cell, mut all) = (Word::fetched(), JoinSet::new());
    for _ in 0..MOST {
        let cell = cell.clone();
        all.spawn(async move { cell.wait().await.is_ok() });
    }
    while cell.0.waiting.get() < MOST {
        tokio::task::yield_now().await;
    }

    assert!(cell.wait().await.is_err());

    cell.put("here", None);
    assert!(all.join_all().await.into_iter().all(|came| came));
    assert_eq!(cell.0.waiting.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_refusals_is_one_fetch() {
    let (cell, mut all) = (Word::fetched(), JoinSet::new());
    cell.put("old", None);
    let fetches = Arc::new(AtomicU64::new(0));
    let task = tokio::spawn({
        let (cell, fetches) = (cell.clone(), Arc::clone(&fetches));
        async move {
            loop {
                cell.asked().await;
                let fetched = fetches.fetch_add(1, Relaxed);
                tokio::time::sleep(Duration::from_millis(50)).await;
                cell.put(if fetched == 0 { "new" } else { "newer" }, None);
            }
        }
    });

    for _ in 0..100 {
        let (cell, exchange) = (cell.clone(), carrying(1));
        all.spawn(async move { cell.renewed(&exchange).await });
    }

    assert!(all.join_all().await.into_iter().all(|renewed| renewed));
    assert_eq!(fetches.load(Relaxed), 1);
    // The new one is refused as well: that is not asked about again so soon.
    assert!(!cell.renewed(&carrying(2)).await);
    advance(AGAIN).await;
    assert!(cell.renewed(&carrying(2)).await);
    assert_eq!(fetches.load(Relaxed), 2);
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn the_same_value_again_is_no_newer_one() {
    let cell = Word::fetched();

    assert!(cell.put("same", None));
    assert!(!cell.put("same", Some(clock::now() + Duration::from_secs(9))));

    assert_eq!(cell.get(clock::now), Some(("same", 1)));
    assert!(cell.until().is_some(), "it may be good for longer");
    assert!(!cell.has_newer(1));
}

#[tokio::test(start_paused = true)]
async fn who_was_refused_an_old_value_gets_the_newer_one_at_once() {
    let cell = Word::fetched();
    cell.put("old", None);
    cell.put("new", None);

    assert!(cell.renewed(&carrying(1)).await);
    assert!(!cell.0.asked.lock().pending, "nobody was asked");
}

#[tokio::test(start_paused = true)]
async fn without_a_credential_of_ours_a_refusal_says_nothing_of_it() {
    let cell = Word::fetched();
    cell.put("old", None);

    assert!(!cell.renewed(&carrying(0)).await);
    assert!(!cell.0.asked.lock().pending);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_fails_leaves_the_refusal_as_it_is() {
    let cell = Word::fetched();
    cell.put("old", None);
    let task = tokio::spawn({
        let cell = cell.clone();
        async move {
            cell.asked().await;
            cell.fail(refused("down", false));
        }
    });

    assert!(!cell.renewed(&carrying(1)).await);
    task.await.expect("no panic");
    assert_eq!(cell.get(clock::now), Some(("old", 1)), "it stays");
}
