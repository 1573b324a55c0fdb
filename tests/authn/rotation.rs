//! The keys of an issuer change, and it comes and goes, under load.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use testkit::issuer::{self, SigningKey};
use testkit::{Client, Proxy, Reply, Upstream, eventually};

use crate::{claims, config, forward};

/// A server of keys, and who signs now.
struct Issuer {
    server: Upstream,
    set: Arc<Mutex<Option<String>>>,
}

impl Issuer {
    async fn new(keys: &[&SigningKey]) -> Self {
        let set = Arc::new(Mutex::new(Some(issuer::set(keys))));
        let shown = Arc::clone(&set);
        let server = Upstream::http(move |_| match &*shown.lock().expect("not poisoned") {
            Some(set) => Reply::ok(set.as_str()).header("cache-control", "max-age=600"),
            None => Reply::status(503),
        });
        Self { server: server.await, set }
    }

    fn show(&self, keys: &[&SigningKey]) {
        *self.set.lock().expect("not poisoned") = Some(issuer::set(keys));
    }

    fn fail(&self) {
        *self.set.lock().expect("not poisoned") = None;
    }

    fn identity(&self) -> String {
        let url = self.server.url("/keys?v=1");
        format!("{{ name: corp, jwt: {{ issuer: 'https://issuer.test', audience: api, keys: {{ url: '{url}' }} }} }}")
    }
}

async fn refreshes(proxy: &Proxy, result: &str) -> f64 {
    proxy.metrics().await.sum("attache_jwks_refresh_total", &[("identity", "corp"), ("result", result)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_rotate_under_load_without_a_failed_request() {
    let upstream = Upstream::fixed("good").await;
    let keys: Vec<_> = (0..3).map(|number| Arc::new(SigningKey::p256(&format!("key-{number}")))).collect();
    let issuer = Issuer::new(&[&keys[0]]).await;
    let proxy = Proxy::start(&config(&upstream, &[&issuer.identity()], "corp"));
    let signing = Arc::new(Mutex::new(Arc::clone(&keys[0])));
    let (done, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|number| {
            let (signing, done, served, at) =
                (Arc::clone(&signing), Arc::clone(&done), Arc::clone(&served), proxy.addr());
            tokio::spawn(async move {
                let mut client = Client::connect(at).await;
                let mut round = 0_u32;
                while !done.load(SeqCst) {
                    // Each a few times, so that most are remembered and each rotation meets tokens of all ages.
                    let mut own = claims();
                    own["jti"] = format!("{number}-{}", round / 5).into();
                    let key = Arc::clone(&signing.lock().expect("not poisoned"));
                    let field = format!("Proxy-Authorization: Bearer {}", key.token("ES256", &own));
                    let answer = client.call("GET", "http://api.test/", &[&field], "").await;
                    assert_eq!(answer.status, 200, "{}: {answer:?}", key.kid);
                    served.fetch_add(1, SeqCst);
                    round += 1;
                }
            })
        })
        .collect();

    // The new key signs at once, before anybody can have read it; the old one is still good.
    for (before, after) in [(0, 1), (1, 2)] {
        let so_far = served.load(SeqCst);
        eventually("load", async || (served.load(SeqCst) > so_far + 50).then_some(())).await;
        // The next early refresh may come ten seconds after the last one.
        tokio::time::sleep(Duration::from_secs(if before == 0 { 0 } else { 9 })).await;
        issuer.show(&[&keys[before], &keys[after]]);
        *signing.lock().expect("not poisoned") = Arc::clone(&keys[after]);
    }
    let so_far = served.load(SeqCst);
    eventually("load", async || (served.load(SeqCst) > so_far + 50).then_some(())).await;
    done.store(true, SeqCst);
    for client in clients {
        client.await.expect("no request failed");
    }

    assert_eq!(refreshes(&proxy, "ok").await, 3.0, "one for each set: of all who ask at once one goes");
    assert_eq!(upstream.count(), served.load(SeqCst));
    let status = proxy.admin("/api/v1/status").await.json();
    assert_eq!(status["identities"][0]["entries"], 2, "{status}");
    assert!(proxy.admin("/readyz?verbose").await.text().contains("identity corp (jwt): 2 known"));
}

#[tokio::test]
async fn a_key_that_is_withdrawn_ends_what_was_remembered() {
    let upstream = Upstream::fixed("good").await;
    let (old, new) = (SigningKey::p256("old"), SigningKey::p256("new"));
    let issuer = Issuer::new(&[&old]).await;
    let proxy = Proxy::start(&config(&upstream, &[&issuer.identity()], "corp"));
    let [old, fresh] = [&old, &new].map(|key| format!("Bearer {}", key.token("ES256", &claims())));
    assert_eq!((forward(&proxy, &old).await.status, forward(&proxy, &old).await.status), (200, 200));

    issuer.show(&[&new]);

    assert_eq!(forward(&proxy, &old).await.status, 200, "nobody has asked yet");
    assert_eq!(forward(&proxy, &fresh).await.status, 200, "a key that is not known is asked for");
    assert_eq!(forward(&proxy, &old).await.status, 407, "and with it the old one is gone");
    assert_eq!(forward(&proxy, &fresh).await.status, 200);
}

#[tokio::test]
async fn an_issuer_that_is_down_leaves_its_keys_in_use_and_made_up_ones_cost_it_little() {
    let upstream = Upstream::fixed("good").await;
    let (key, other) = (SigningKey::p256("key"), SigningKey::p256("other"));
    let issuer = Issuer::new(&[&key]).await;
    let proxy = Proxy::start(&config(&upstream, &[&issuer.identity()], "corp"));
    let good = format!("Bearer {}", key.token("ES256", &claims()));
    assert_eq!(forward(&proxy, &good).await.status, 200);

    issuer.fail();
    for number in 0..20 {
        let made_up = other.sign("ES256", &format!(r#"{{"alg":"ES256","kid":"{number}"}}"#), &claims().to_string());
        assert_eq!(forward(&proxy, &format!("Bearer {made_up}")).await.status, 407);
    }

    assert_eq!(forward(&proxy, &good).await.status, 200);
    let mut own = claims();
    own["jti"] = "not seen before".into();
    assert_eq!(forward(&proxy, &format!("Bearer {}", key.token("ES256", &own))).await.status, 200);
    assert_eq!((refreshes(&proxy, "ok").await, refreshes(&proxy, "error").await), (1.0, 1.0));
    let status = proxy.admin("/api/v1/status").await.json();
    assert!(status["identities"][0]["error"].as_str().is_some_and(|error| error.contains("503")), "{status}");
}

#[tokio::test]
async fn without_any_keys_everybody_is_refused_and_told_why() {
    let upstream = Upstream::fixed("good").await;
    let key = SigningKey::p256("key");
    let issuer = Issuer::new(&[&key]).await;
    issuer.fail();
    let proxy = Proxy::start(&config(&upstream, &[&issuer.identity()], "corp"));

    let refused = forward(&proxy, &format!("Bearer {}", key.token("ES256", &claims()))).await;

    assert_eq!(refused.status, 407);
    assert_eq!(refused.json()["detail"], "the keys of corp could not be read yet");
    assert_eq!(upstream.count(), 0);
    assert!(
        proxy
            .admin("/readyz?verbose")
            .await
            .text()
            .contains("identity corp (jwt): nothing read yet, last error: the issuer answered 503")
    );
}
