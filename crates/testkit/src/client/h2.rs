//! An HTTP/2 client with prior knowledge, by hyper's connection: nothing is retried behind a test's back.

use std::convert::Infallible;

use bytes::Bytes;
use http::Request;
use http_body_util::channel::{Channel, Sender};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::response::{End, Response};
use crate::wait::within;
use crate::wire::{Fields, Stream};

type Sent = BoxBody<Bytes, Infallible>;

/// One HTTP/2 connection; clones share it.
#[derive(Clone)]
pub struct H2 {
    sender: SendRequest<Sent>,
}

impl H2 {
    pub(super) async fn new(io: Box<dyn Stream>) -> Self {
        let (sender, connection) =
            within("h2", http2::handshake(TokioExecutor::new(), TokioIo::new(io))).await.expect("h2");
        tokio::spawn(connection);
        Self { sender }
    }

    async fn head(&mut self, request: Request<Sent>) -> Result<http::Response<Incoming>, hyper::Error> {
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }

    /// Sends a request and reads its response; the error is of a stream that ended without one.
    pub async fn try_send(&mut self, request: Request<Full<Bytes>>) -> Result<Response, hyper::Error> {
        within("h2 response", async {
            let (head, mut incoming) = self.head(request.map(BodyExt::boxed)).await?.into_parts();
            let mut response = Response {
                status: head.status.as_u16(),
                line: String::new(),
                headers: fields(&head.headers),
                body: Vec::new(),
                trailers: Vec::new(),
                interim: Vec::new(),
                end: End::Whole,
            };
            while let Some(frame) = incoming.frame().await {
                match frame.map(|frame| frame.into_data()) {
                    Ok(Ok(data)) => response.body.extend_from_slice(&data),
                    Ok(Err(other)) => {
                        response.trailers = other.into_trailers().map(|map| fields(&map)).unwrap_or_default();
                    }
                    Err(_) => {
                        response.end = End::Cut;
                        break;
                    }
                }
            }
            Ok(response)
        })
        .await
    }

    /// Sends a request and reads its response.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Response {
        self.try_send(request).await.unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// GET.
    pub async fn get(&mut self, url: &str) -> Response {
        self.send(Request::get(url).body(Full::default()).expect("a request")).await
    }

    /// POST with fields.
    pub async fn post(&mut self, url: &str, headers: &[(&str, &str)], body: &'static [u8]) -> Response {
        self.send(post(url, headers, Full::new(Bytes::from_static(body)))).await
    }

    /// POST of a body that is sent bit by bit, while the response comes.
    pub async fn stream(&mut self, url: &str, headers: &[(&str, &str)]) -> (Sender<Bytes, Infallible>, Hearing) {
        let (sender, body) = Channel::new(4);
        let answer = within("a response head", self.head(post(url, headers, BodyExt::boxed(body)))).await;
        let answer = answer.unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(answer.status(), 200, "{answer:?}");
        (sender, Hearing { incoming: answer.into_body(), early: Vec::new() })
    }

    /// CONNECT, answered without a tunnel.
    pub async fn connect_to(&mut self, authority: &str) -> Response {
        self.send(Request::connect(authority).body(Full::default()).expect("a request")).await
    }

    /// Extended CONNECT (RFC 8441); a 200 comes with its stream.
    pub async fn extended(
        &mut self,
        protocol: &'static str,
        url: &str,
        headers: &[(&str, &str)],
    ) -> (http::Response<()>, Option<TokioIo<Upgraded>>) {
        let mut request = Request::connect(url).extension(Protocol::from_static(protocol));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::default().boxed()).expect("a request");
        let answer = within("an answer to CONNECT", self.head(request)).await.expect("an answer");
        let (head, body) = answer.into_parts();
        let response = http::Response::from_parts(head.clone(), ());
        let upgraded = match head.status.is_success() {
            true => Some(within("a stream", hyper::upgrade::on(http::Response::from_parts(head, body))).await),
            false => None,
        };
        (response, upgraded.map(|upgraded| TokioIo::new(upgraded.expect("a stream"))))
    }

    /// A tunnel to `authority`, which must be granted.
    pub async fn tunnel(&mut self, authority: &str) -> TokioIo<Upgraded> {
        let request = Request::connect(authority).body(Full::default().boxed()).expect("a request");
        let answer = within("an answer to CONNECT", self.head(request)).await.expect("an answer");
        assert_eq!(answer.status(), 200, "{answer:?}");
        TokioIo::new(within("a tunnel", hyper::upgrade::on(answer)).await.expect("a tunnel"))
    }
}

/// The response of a stream, as it comes.
pub struct Hearing {
    incoming: Incoming,
    early: Vec<u8>,
}

impl Hearing {
    /// The next so many bytes.
    pub async fn message(&mut self, count: usize) -> Vec<u8> {
        within("a message", async {
            while self.early.len() < count {
                let frame = self.incoming.frame().await.expect("more").unwrap_or_else(|error| panic!("{error:?}"));
                self.early.extend_from_slice(&frame.into_data().expect("data"));
            }
            self.early.drain(..count).collect()
        })
        .await
    }

    /// What ends it.
    pub async fn trailers(&mut self) -> Fields {
        let frame = within("trailers", self.incoming.frame()).await.expect("trailers");
        let frame = frame.unwrap_or_else(|error| panic!("{error:?}"));
        fields(&frame.into_trailers().expect("trailers"))
    }
}

fn post<B>(url: &str, headers: &[(&str, &str)], body: B) -> Request<B> {
    let request = headers.iter().fold(Request::post(url), |request, (name, value)| request.header(*name, *value));
    request.body(body).expect("a request")
}

fn fields(map: &http::HeaderMap) -> Fields {
    map.iter().map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())).collect()
}
