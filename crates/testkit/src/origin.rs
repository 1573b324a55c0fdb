//! A plain HTTP/1.1 upstream that does what the path asks for: `/endless` never ends, `/fail` is 503, `/after/MS`
//! answers later, `/whole` after the whole request and then closes, anything else is 200 at once.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Interval;

/// Between two chunks of an endless body.
const DRIP: Duration = Duration::from_millis(20);

/// The running upstream; it ends when this is dropped.
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Origin {
    /// Starts it; `name` is the body of its answers.
    pub async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                // Without it an answer waits for an acknowledgement.
                let _ = tcp.set_nodelay(true);
                let answer = service_fn(move |request: Request<Incoming>| answer(request, name));
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tcp), answer));
            }
        });
        Self { address, task }
    }
}

async fn answer(
    request: Request<Incoming>,
    name: &'static str,
) -> Result<Response<Either<Full<Bytes>, Endless>>, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if path == "/whole" {
        // A cut request gets an answer that nobody reads.
        let _ = body.collect().await;
    }
    if let Some(after) = path.strip_prefix("/after/").and_then(|after| after.parse().ok()) {
        tokio::time::sleep(Duration::from_millis(after)).await;
    }
    let body = match path {
        "/endless" => Either::Right(Endless(tokio::time::interval(DRIP))),
        _ => Either::Left(Full::from(name)),
    };
    let mut response = Response::new(body);
    match path {
        "/fail" => *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE,
        "/whole" => drop(response.headers_mut().insert("connection", http::HeaderValue::from_static("close"))),
        _ => {}
    }
    Ok(response)
}

struct Endless(Interval);

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_tick(cx).map(|_| Some(Ok(Frame::data(Bytes::from_static(b"drip\n")))))
    }
}
