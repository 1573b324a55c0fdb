//! A client of HTTP/2 that takes nothing of an answer: its stream ends, and nothing else does.

use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use http::Request;
use testkit::{Proxy, Reply, Upstream, eventually};
use tokio::net::TcpStream;

const LARGE: usize = 1 << 20;
/// Of a stream; the connection has room for several that are not read.
const WINDOW: u32 = 64 << 10;
/// Between two reads of a client that is slow but reads: well below the limit.
const PAUSE: Duration = Duration::from_millis(20);

async fn open(proxy: &Proxy) -> SendRequest<Bytes> {
    let tcp = TcpStream::connect(proxy.addr()).await.expect("connected");
    let mut builder = client::Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(16 * WINDOW);
    let (sender, connection) = builder.handshake::<_, Bytes>(tcp).await.expect("h2");
    tokio::spawn(connection);
    sender
}

async fn ask(sender: &SendRequest<Bytes>, path: &str) -> ResponseFuture {
    let request = Request::get(format!("http://api.test{path}")).body(()).expect("a request");
    let mut ready = sender.clone().ready().await.expect("ready");
    ready.send_request(request, true).expect("sent").0
}

/// Reads to the end, giving room again or not; the length, or why it was reset.
async fn read(mut body: RecvStream, gives_room: bool, pause: Duration) -> Result<usize, Option<Reason>> {
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data = data.map_err(|error| error.reason())?;
        length += data.len();
        if gives_room {
            body.flow_control().release_capacity(data.len()).expect("given");
        }
        tokio::time::sleep(pause).await;
    }
    Ok(length)
}

#[tokio::test]
async fn a_stream_that_takes_nothing_is_reset_and_the_others_live_on() {
    let upstream = Upstream::http(|seen| match seen.target.as_str() {
        "/small" => Reply::ok("small"),
        _ => Reply::ok(vec![b'x'; LARGE]),
    })
    .await;
    let proxy = Proxy::start(&format!(
        "routes:\n  - match: api.test\n    to: {}\n    timeout: {{ idle: 500ms }}\n",
        upstream.url("")
    ));
    let sender = open(&proxy).await;

    let stalled = ask(&sender, "/stalled").await.await.expect("a head").into_body();
    let slow = ask(&sender, "/slow").await.await.expect("a head").into_body();
    let slow = read(slow, true, PAUSE).await;
    eventually("the stalled one is reported", || async {
        proxy.log().lines().any(|line| line.contains("/stalled")).then_some(())
    })
    .await;
    let stalled = tokio::time::timeout(PAUSE * 100, read(stalled, false, Duration::ZERO)).await;
    let other = read(ask(&sender, "/small").await.await.expect("a head").into_body(), true, Duration::ZERO).await;

    assert_eq!(slow, Ok(LARGE), "it took longer than the limit, but never that long for a part");
    assert_eq!(stalled, Ok(Err(Some(Reason::CANCEL))));
    assert_eq!(other, Ok(5));
    let lines = proxy.finish();
    let line = |path: &str| lines.iter().find(|line| line["path"] == path).unwrap_or_else(|| panic!("{lines:?}"));
    assert_eq!((&line("/stalled")["status"], &line("/stalled")["reason"]), (&200.into(), &"client_timeout".into()));
    assert_eq!(line("/slow")["reason"], serde_json::Value::Null);
}

#[tokio::test]
async fn an_upstream_that_stalls_is_not_taken_for_its_client() {
    let upstream = Upstream::raw(|_, mut wire| async move {
        let _ = wire.head().await;
        let _ = wire.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
        wire.closed().await;
    })
    .await;
    let proxy = Proxy::start(&format!(
        "routes:\n  - match: api.test\n    to: {}\n    timeout: {{ idle: 300ms }}\n",
        upstream.url("")
    ));
    let sender = open(&proxy).await;

    let answer = read(ask(&sender, "/").await.await.expect("a head").into_body(), true, Duration::ZERO).await;

    assert_eq!(answer, Err(Some(Reason::INTERNAL_ERROR)));
    assert_eq!(proxy.finish()[0]["reason"], "truncated");
}
