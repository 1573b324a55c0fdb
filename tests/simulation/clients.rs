//! The clients: each user asks one thing after the other over one connection, and judges what it got.

use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep, sleep, timeout};
use turmoil::net::TcpStream;

use crate::plan::{Ask, BUSY};
use crate::run::{PROXY, Scene};
use crate::servers::PATTERN;

/// How a request ended for its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    /// With a head and all of a body: the status and the reason of ours, and whether a good body is what it should be.
    Whole { status: u16, reason: String, right: bool },
    /// With a head and a part of a body.
    Cut { status: u16 },
    /// Without a head.
    Nothing(String),
    /// The client did not wait.
    Left,
}

/// One request's end.
#[derive(Clone, Debug)]
pub struct End {
    pub id: u64,
    pub got: Got,
    /// From the request to its head, or to the end without one; milliseconds.
    pub head: u64,
    /// From the head to the end.
    pub body: u64,
}

/// Asks what it has to ask; ends late in the simulation at the latest.
pub async fn user(scene: Rc<RefCell<Scene>>, asks: Vec<Ask>) {
    let mut kept: Option<SendRequest<Upload>> = None;
    let started = Instant::now();
    for ask in asks {
        sleep(Duration::from_millis(ask.pause)).await;
        if Instant::now() - started > Duration::from_millis(BUSY) {
            return;
        }
        let mut sender = ready(kept.take()).await;
        scene.borrow_mut().sent(&ask);
        let begun = Instant::now();
        let mut head = None;
        let asked = one(&mut sender, &ask, &mut head);
        let got = match ask.patience {
            None => asked.await,
            Some(patience) => timeout(Duration::from_millis(patience), asked).await.unwrap_or(Got::Left),
        };
        let end = Instant::now();
        let head = head.unwrap_or(end);
        if matches!(got, Got::Whole { .. }) {
            kept = Some(sender);
        }
        let millis = |time: Duration| u64::try_from(time.as_millis()).expect("short");
        scene.borrow_mut().ended(End { id: ask.id, got, head: millis(head - begun), body: millis(end - head) });
    }
}

/// The connection of the last request if it is still good, else a new one.
async fn ready(kept: Option<SendRequest<Upload>>) -> SendRequest<Upload> {
    if let Some(mut sender) = kept
        && sender.ready().await.is_ok()
    {
        return sender;
    }
    connect().await
}

async fn connect() -> SendRequest<Upload> {
    let stream = TcpStream::connect((PROXY, 4780)).await.expect("the proxy is there");
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("begun");
    tokio::task::spawn_local(connection);
    sender
}

async fn one(sender: &mut SendRequest<Upload>, ask: &Ask, head: &mut Option<Instant>) -> Got {
    let host = if ask.alone { "alone.sim" } else { "all.sim" };
    let mut request = Request::builder()
        .method(ask.method)
        .uri(format!("http://{host}/"))
        .header("host", host)
        .header("x-id", ask.id)
        .header("x-want", ask.download);
    if ask.keyed {
        request = request.header("idempotency-key", ask.id);
    }
    if ask.upload > 0 {
        request = request.header("content-length", ask.upload);
    }
    let response = match sender.send_request(request.body(upload(ask)).expect("a request")).await {
        Ok(response) => response,
        Err(error) => return Got::Nothing(format!("{error:?}")),
    };
    *head = Some(Instant::now());
    let status = response.status().as_u16();
    let ours = response.headers().get("proxy-status").map(|said| String::from_utf8_lossy(said.as_bytes()).into_owned());
    match response.into_body().collect().await {
        Ok(body) => {
            let body = body.to_bytes();
            let right = body.len() == ask.download && body.iter().eq(PATTERN.iter().cycle().take(body.len()));
            Got::Whole { status, reason: ours.unwrap_or_default(), right }
        }
        Err(_) => Got::Cut { status },
    }
}

/// A request's body, in two pieces with a pause between them if it is a slow one.
struct Upload {
    pieces: Vec<Bytes>,
    pause: Option<Pin<Box<Sleep>>>,
    next: Option<Duration>,
}

fn upload(ask: &Ask) -> Upload {
    let data = Bytes::from(vec![b'u'; ask.upload]);
    let pieces = match ask.slow_upload {
        Some(_) => vec![data.slice(ask.upload / 2..), data.slice(..ask.upload / 2)],
        None if data.is_empty() => Vec::new(),
        None => vec![data],
    };
    Upload { pieces, pause: None, next: ask.slow_upload.map(Duration::from_millis) }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(pause) = &mut self.pause {
            std::task::ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let Some(piece) = self.pieces.pop() else { return Poll::Ready(None) };
        self.pause = self.next.take().map(|pause| Box::pin(sleep(pause)));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }
}
