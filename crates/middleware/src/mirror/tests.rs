use futures_util::{FutureExt, StreamExt, stream};
use http::HeaderValue;
use http_body::Frame;
use http_body_util::StreamBody;
use telemetry::{Metrics, expose};

use super::*;
use crate::testing::{Bottom, get, request, silent, status};

struct Scene {
    main: Bottom,
    other: Bottom,
    tasks: Tasks,
    places: Arc<Inflight>,
    metrics: Arc<Metrics>,
    service: ArcService,
}

const ALL: Params = Params {
    share: 1.0,
    body_limit: 8,
    timeout: Duration::from_secs(1),
    concurrency: 2,
    withheld: |name| name == "authorization" || name == "cookie",
};

fn scene(params: Params, other: Option<ArcService>) -> Scene {
    let (main, bottom, tasks, places) = (Bottom::default(), Bottom::default(), Tasks::default(), Arc::default());
    let metrics = Metrics::new("0");
    let stats = metrics.shard().route(&Arc::from("r"));
    let state = State {
        service: other.unwrap_or_else(|| bottom.service()),
        random: Random::seeded(7),
        tasks: tasks.clone(),
        places: Arc::clone(&places),
        stats,
    };
    let service = main.under(layer(params, state));
    Scene { main, other: bottom, tasks, places, metrics, service }
}

impl Scene {
    fn count(&self, result: &str) -> u64 {
        let line = format!("attache_mirrored_total{{route=\"r\",result=\"{result}\"}} ");
        let text = expose::render(&self.metrics);
        text.lines().find_map(|one| one.strip_prefix(&line)?.parse().ok()).unwrap_or(0)
    }

    /// Waits until nothing is under way.
    async fn settled(&self) {
        while self.places.get() > 0 {
            tokio::task::yield_now().await;
        }
    }
}

fn sending(frames: &[&'static str]) -> Request<Body> {
    let frames: Vec<_> = frames.iter().map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes())))).collect();
    request(Method::POST, "http://a.test/x?y").map(|_| Body::boxed(StreamBody::new(stream::iter(frames))))
}

#[tokio::test]
async fn a_copy_is_the_request_without_what_identifies_the_client() {
    let scene = scene(ALL, None);
    let mut request = sending(&["ab", "cd"]);
    for (name, value) in [("x-a", "1"), ("authorization", "Bearer c"), ("cookie", "s=1"), ("expect", "100-continue")] {
        request.headers_mut().append(name, HeaderValue::from_static(value));
    }
    request.headers_mut().append("x-a", HeaderValue::from_static("2"));

    assert_eq!(status(scene.service.call(request)).await, 200);
    scene.settled().await;

    let (own, copy) = (scene.main.seen().remove(0), scene.other.seen().remove(0));
    assert_eq!((copy.method, copy.uri, copy.body.as_str()), (own.method, own.uri, "abcd"));
    assert_eq!((own.body.as_str(), own.headers.len(), own.headers.contains_key("authorization")), ("abcd", 5, true));
    let kept: Vec<_> = copy.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    assert_eq!(kept, [("x-a", &b"1"[..]), ("x-a", &b"2"[..])]);
    assert_eq!(scene.count("answered"), 1);
}

#[tokio::test]
async fn a_body_beyond_the_cap_is_not_copied_and_goes_on_whole() {
    for (frames, copies) in [(&["1234", "5678"][..], 1), (&["1234", "5678", "9"], 0), (&["123456789"], 0)] {
        let scene = scene(ALL, None);

        assert_eq!(status(scene.service.call(sending(frames))).await, 200);
        scene.settled().await;

        assert_eq!(scene.main.seen()[0].body, frames.concat());
        assert_eq!((scene.other.calls(), scene.count("too_large")), (copies, 1 - copies as u64), "{frames:?}");
    }
    let scene = scene(ALL, None);
    let large = request(Method::POST, "http://a.test/").map(|_| Body::full("123456789"));
    assert_eq!(status(scene.service.call(large)).await, 200);
    assert_eq!((scene.places.get(), scene.count("too_large")), (0, 1));
}

#[tokio::test]
async fn a_body_that_is_not_read_to_its_end_is_not_copied() {
    for broken in [false, true] {
        let scene = scene(ALL, None);
        let rest = stream::iter(broken.then(|| Err(Error::new(ErrorKind::ClientGone)))).chain(stream::pending());
        let frames = stream::iter([Ok(Frame::data(Bytes::from_static(b"ab")))]).chain(rest);
        let request = request(Method::POST, "http://a.test/").map(|_| Body::boxed(StreamBody::new(frames)));
        let mut call = scene.service.call(request);
        let begun = (&mut call).now_or_never();
        assert_eq!(begun.is_some(), broken);

        drop(call);

        assert_eq!((scene.places.get(), scene.other.calls(), scene.count("incomplete")), (0, 0, 1), "{broken}");
    }
}

#[tokio::test]
async fn no_more_copies_are_under_way_than_there_are_places() {
    let scene = scene(ALL, Some(silent()));
    for _ in 0..3 {
        assert_eq!(status(scene.service.call(get("http://a.test/"))).await, 200);
    }

    assert_eq!((scene.places.get(), scene.count("busy"), scene.main.calls()), (2, 1, 3));
    scene.tasks.end();
    scene.settled().await;
    assert_eq!(scene.count("cancelled"), 2);
    assert_eq!(status(scene.service.call(get("http://a.test/"))).await, 200, "a worker that drains copies nothing");
    assert_eq!((scene.places.get(), scene.count("cancelled"), scene.count("busy")), (0, 3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_copy_ends_with_its_own_time_and_the_request_never_waits() {
    let scene = scene(ALL, Some(silent()));
    let began = clock::now();

    assert_eq!(status(scene.service.call(get("http://a.test/"))).await, 200);
    assert_eq!(clock::now(), began);
    tokio::time::sleep(ALL.timeout * 2).await;

    assert_eq!((scene.places.get(), scene.count("timeout")), (0, 1));
}

#[tokio::test]
async fn a_copy_that_fails_fails_alone_and_is_not_tried_again() {
    let bottom = Bottom::default().fails(|| ErrorKind::ConnectRefused.into());
    let scene = scene(ALL, Some(bottom.service()));

    assert_eq!(status(scene.service.call(get("http://a.test/"))).await, 200);
    scene.settled().await;

    assert_eq!((bottom.calls(), scene.count("failed")), (1, 1));
}

#[tokio::test]
async fn only_the_share_is_copied() {
    for (share, least, most) in [(0.0, 0, 0), (0.25, 200, 300), (1.0, 1000, 1000)] {
        let scene = scene(Params { share, concurrency: 1000, ..ALL }, None);
        for _ in 0..1000 {
            status(scene.service.call(get("http://a.test/"))).await;
        }
        scene.settled().await;

        assert!((least..=most).contains(&scene.other.calls()), "{share}: {}", scene.other.calls());
    }
}

#[tokio::test]
async fn tunnels_and_upgrades_are_not_copied() {
    let scene = scene(ALL, None);
    let upgrade = crate::testing::request_with(Method::GET, "http://a.test/", |head| head.upgrade = true);
    for request in [request(Method::CONNECT, "a.test:443"), upgrade] {
        assert_eq!(status(scene.service.call(request)).await, 200);
    }

    assert_eq!((scene.main.calls(), scene.other.calls()), (2, 0));
}
