//! An HTTP/2 client with prior knowledge, by hyper's connection: nothing is retried behind a test's back.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::response::{End, Response};
use crate::wait::within;
use crate::wire::{Fields, Stream};

/// One HTTP/2 connection; clones share it.
#[derive(Clone)]
pub struct H2 {
    sender: SendRequest<Full<Bytes>>,
}

impl H2 {
    pub(super) async fn new(io: Box<dyn Stream>) -> Self {
        let (sender, connection) =
            within("h2", http2::handshake(TokioExecutor::new(), TokioIo::new(io))).await.expect("h2");
        tokio::spawn(connection);
        Self { sender }
    }

    /// Sends a request and reads its response; the error is of a stream that ended without one.
    pub async fn try_send(&mut self, request: Request<Full<Bytes>>) -> Result<Response, hyper::Error> {
        within("h2 response", async {
            self.sender.ready().await?;
            let (head, mut incoming) = self.sender.send_request(request).await?.into_parts();
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
        let request = headers.iter().fold(Request::post(url), |request, (name, value)| request.header(*name, *value));
        self.send(request.body(Full::new(Bytes::from_static(body))).expect("a request")).await
    }
}

fn fields(map: &http::HeaderMap) -> Fields {
    map.iter().map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())).collect()
}
