//! HTTP/2 in front, frame by frame: interim responses on a stream, and what becomes of a stream that is taken over when
//! either side breaks off (RFC 9113 sections 8.1 and 8.5, RFC 8441 section 5).

use std::future::poll_fn;
use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use testkit::upstream::Then;
use testkit::{Gate, Proxy, Reply, Upstream, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const HINT: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// Long enough to see that nothing comes, shorter than the proxy's own patience of a second.
const SILENCE: Duration = Duration::from_millis(300);

async fn open(proxy: &Proxy) -> SendRequest<Bytes> {
    let tcp = TcpStream::connect(proxy.addr()).await.expect("connected");
    let (sender, connection) = client::handshake(tcp).await.expect("h2");
    tokio::spawn(connection);
    sender
}

async fn ask(sender: &SendRequest<Bytes>, request: Request<()>, ends: bool) -> (ResponseFuture, SendStream<Bytes>) {
    let mut ready = within("room for a stream", sender.clone().ready()).await.expect("ready");
    ready.send_request(request, ends).expect("sent")
}

fn get(url: &str) -> Request<()> {
    Request::get(url).body(()).expect("a request")
}

fn expecting(url: &str) -> Request<()> {
    Request::post(url).header("expect", "100-continue").header("content-length", "4").body(()).expect("a request")
}

/// The next interim response; nothing once the final one is there.
async fn interim(response: &mut ResponseFuture) -> Option<Response<()>> {
    within("a head", poll_fn(|cx| response.poll_informational(cx))).await.map(|head| head.expect("a head"))
}

/// The interim statuses, then the answer.
async fn answer(mut response: ResponseFuture) -> (Vec<u16>, Response<RecvStream>) {
    let mut statuses = Vec::new();
    while let Some(head) = interim(&mut response).await {
        statuses.push(head.status().as_u16());
    }
    (statuses, within("an answer", response).await.expect("an answer"))
}

/// Reads to the end, or why it was reset.
async fn read(mut body: RecvStream) -> Result<Vec<u8>, Option<Reason>> {
    within("the end of a stream", async {
        let mut bytes = Vec::new();
        while let Some(data) = body.data().await {
            bytes.extend_from_slice(&data.map_err(|error| error.reason())?);
        }
        Ok(bytes)
    })
    .await
}

fn api(url: &str) -> Proxy {
    Proxy::start(&format!("routes:\n  - match: api.test\n    to: {url}\n"))
}

#[tokio::test]
async fn a_client_that_waits_hears_continue_when_the_upstream_says_so() {
    let gate = Gate::default();
    let word = gate.clone();
    let upstream = Upstream::raw(move |_, mut wire| {
        let gate = word.clone();
        async move {
            wire.head().await.expect("a head").expect("a head");
            gate.passed().await;
            wire.send(format!("{CONTINUE}{HINT}")).await.expect("sent");
            wire.exact(4, &mut Vec::new()).await.expect("a body");
            wire.send(OK).await.expect("sent");
        }
    })
    .await;
    let proxy = api(&upstream.url(""));
    let sender = open(&proxy).await;
    let (mut response, mut out) = ask(&sender, expecting("http://api.test/"), false).await;

    let early = tokio::time::timeout(SILENCE, poll_fn(|cx| response.poll_informational(cx))).await;
    assert!(early.is_err(), "{early:?}");
    gate.open();
    assert_eq!(interim(&mut response).await.expect("a 100").status(), 100);
    out.send_data(Bytes::from_static(b"body"), true).expect("sent");
    let (statuses, response) = answer(response).await;

    assert_eq!((statuses, response.status().as_u16()), (vec![103], 200));
    assert_eq!(read(response.into_body()).await, Ok(b"ok".to_vec()));
}

#[tokio::test]
async fn a_client_that_waits_for_a_silent_upstream_or_one_of_http2_hears_continue_all_the_same() {
    let silent = Upstream::http(|seen| Reply::ok(seen.body.clone())).await;
    let h2 = Upstream::h2c(|seen| Reply::ok(seen.body.clone())).await;

    for url in [silent.url(""), format!("h2c://{}", h2.addr())] {
        let proxy = api(&url);
        let sender = open(&proxy).await;
        let (mut response, mut out) = ask(&sender, expecting("http://api.test/"), false).await;

        assert_eq!(interim(&mut response).await.expect("a 100").status(), 100, "{url}");
        out.send_data(Bytes::from_static(b"body"), true).expect("sent");
        let (statuses, response) = answer(response).await;

        assert_eq!((statuses, read(response.into_body()).await), (vec![], Ok(b"body".to_vec())), "{url}");
    }
}

#[tokio::test]
async fn an_early_hint_arrives_while_the_answer_is_not_there() {
    let gate = Gate::default();
    let last = gate.clone();
    let upstream = Upstream::raw(move |_, mut wire| {
        let gate = last.clone();
        async move {
            wire.head().await.expect("a head");
            wire.send(HINT).await.expect("sent");
            gate.passed().await;
            wire.send(OK).await.expect("sent");
        }
    })
    .await;
    let proxy = api(&upstream.url(""));
    let (mut response, _) = ask(&open(&proxy).await, get("http://api.test/"), true).await;

    let hint = interim(&mut response).await.expect("a hint");
    gate.open();
    let (statuses, response) = answer(response).await;

    assert_eq!(hint.status(), 103);
    let fields: Vec<_> = hint.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    assert_eq!(fields, [("link", &b"</a>"[..])]);
    assert_eq!((statuses, read(response.into_body()).await), (vec![], Ok(b"ok".to_vec())));
}

#[tokio::test]
async fn interim_responses_arrive_in_their_order_and_a_bounded_number_of_them() {
    let upstream = Upstream::http(|seen| match seen.target.as_str() {
        "/many" => Reply::raw(format!("{}{OK}", HINT.repeat(20))),
        _ => Reply::raw(format!("{HINT}HTTP/1.1 102 Processing\r\n\r\n{CONTINUE}{HINT}HTTP/1.1 150 Odd\r\n\r\n{OK}")),
    })
    .await;
    let proxy = api(&upstream.url(""));
    let sender = open(&proxy).await;

    let (ordered, response) = answer(ask(&sender, get("http://api.test/"), true).await.0).await;
    let (many, _) = answer(ask(&sender, get("http://api.test/many"), true).await.0).await;

    assert_eq!((ordered, response.status().as_u16()), (vec![103, 102, 100, 103, 150], 200));
    assert_eq!(many, [103; 16]);
}

#[tokio::test]
async fn an_answer_cut_after_its_hint_is_a_reset() {
    let upstream = Upstream::http(|_| {
        Reply::raw(format!("{HINT}HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")).then(Then::Close)
    })
    .await;
    let proxy = api(&upstream.url(""));

    let (statuses, response) = answer(ask(&open(&proxy).await, get("http://api.test/"), true).await.0).await;

    assert_eq!((statuses, response.status().as_u16()), (vec![103], 200));
    assert_eq!(read(response.into_body()).await, Err(Some(Reason::INTERNAL_ERROR)));
}

// --- streams that are taken over

/// How a stream comes to carry bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Connect,
    WebSocket,
}

/// A stream through the proxy to a listener of ours, over which a byte went each way.
struct Carried {
    out: SendStream<Bytes>,
    body: RecvStream,
    upstream: TcpStream,
}

async fn carried(way: Way) -> (Proxy, Carried) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("bound");
    let proxy = Proxy::start(&format!(
        "destinations: {{ connect_ports: [\"1024-65535\"] }}\nroutes:\n  - match: api.test\n    to: http://{at}\n  \
         - match: own.test\n    respond: {{ status: 204 }}\n"
    ));
    let sender = open(&proxy).await;
    // The proxy's SETTINGS are known once something was answered.
    answer(ask(&sender, get("http://own.test/"), true).await.0).await;
    let request = match way {
        Way::Connect => Request::connect(at.to_string()).body(()),
        Way::WebSocket => {
            Request::connect("http://api.test/chat").extension(Protocol::from_static("websocket")).body(())
        }
    };
    let (response, mut out) = ask(&sender, request.expect("a request"), false).await;
    let (mut upstream, _) = within("a dial", listener.accept()).await.expect("accepted");
    if way == Way::WebSocket {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within("a head", upstream.read_u8()).await.expect("a byte"));
        }
        let head = String::from_utf8(head).expect("text");
        let key = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).expect("a key");
        let proof = testkit::websocket_proof(key);
        let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
        upstream.write_all(format!("{switch}Sec-WebSocket-Accept: {proof}\r\n\r\n").as_bytes()).await.expect("sent");
    }
    let (_, response) = answer(response).await;
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    // Not the first byte of TLS nor of HTTP.
    out.send_data(Bytes::from_static(b"\0"), false).expect("sent");
    assert_eq!(within("a byte", upstream.read_u8()).await.expect("a byte"), 0);
    upstream.write_all(b"1").await.expect("sent");
    assert_eq!(within("a byte", body.data()).await.expect("a piece").expect("a piece"), "1");
    (proxy, Carried { out, body, upstream })
}

/// How reading ended.
async fn end(io: &mut TcpStream) -> Result<Vec<u8>, ErrorKind> {
    let mut bytes = Vec::new();
    let read = within("the end of a connection", io.read_to_end(&mut bytes)).await;
    read.map(|_| bytes).map_err(|error| error.kind())
}

#[tokio::test]
async fn a_stream_whose_other_side_was_reset_is_reset_and_one_whose_other_side_ended_ends() {
    for (way, reason) in [(Way::Connect, Reason::CONNECT_ERROR), (Way::WebSocket, Reason::CANCEL)] {
        for (resets, expected) in [(true, Err(Some(reason))), (false, Ok(Vec::new()))] {
            let (_proxy, carried) = carried(way).await;

            if resets {
                carried.upstream.set_zero_linger().expect("linger");
            }
            drop(carried.upstream);

            assert_eq!(read(carried.body).await, expected, "{way:?}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_its_client_cancels_is_a_reset_for_the_other_side_and_one_that_ends_an_end() {
    for way in [Way::Connect, Way::WebSocket] {
        for reason in [Some(Reason::CANCEL), Some(Reason::NO_ERROR), None] {
            let (_proxy, mut carried) = carried(way).await;

            let expected = match reason {
                Some(reason) => {
                    carried.out.send_reset(reason);
                    Err(ErrorKind::ConnectionReset)
                }
                None => {
                    carried.out.send_data(Bytes::new(), true).expect("sent");
                    Ok(Vec::new())
                }
            };

            assert_eq!(end(&mut carried.upstream).await, expected, "{way:?} {reason:?}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_ended_on_one_side_still_carries_the_other() {
    for way in [Way::Connect, Way::WebSocket] {
        let (_proxy, mut carried) = carried(way).await;

        carried.out.send_data(Bytes::from_static(b"last"), true).expect("sent");
        assert_eq!(end(&mut carried.upstream).await, Ok(b"last".to_vec()), "{way:?}");
        let large = vec![b'x'; 1 << 20];
        let reading = tokio::spawn(read_all(carried.body));
        carried.upstream.write_all(&large).await.expect("sent");
        drop(carried.upstream);

        assert_eq!(within("the rest", reading).await.expect("read"), Ok(large.len()), "{way:?}");
    }
}

/// Reads to the end, giving room again; the length.
async fn read_all(mut body: RecvStream) -> Result<usize, Option<Reason>> {
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data = data.map_err(|error| error.reason())?;
        length += data.len();
        body.flow_control().release_capacity(data.len()).expect("given");
    }
    Ok(length)
}
