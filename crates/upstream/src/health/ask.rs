//! One question to an endpoint: connected, a status, or the gRPC health protocol.

use std::time::Duration;

use bytes::Bytes;
use exchange::{Body, Error, Io};
use http::{HeaderMap, Method, Request, Response, header};
use http_body::Body as _;
use hyper::body::Incoming;

use super::Question;
use crate::attempt::wire;
use crate::connect::{Alpn, Connected, Connector, Flavour};
use crate::endpoint::{Key, Protocol};
use crate::fetch::{send, shown};

/// Of a gRPC answer that is read; `HealthCheckResponse` has two bytes.
const MAX_ANSWER: usize = 1024;
/// `HealthCheckResponse.status: SERVING` as it is encoded.
const SERVING: &[u8] = &[0x08, 1];

/// Asks; the error says what was wrong.
pub(super) async fn ask(key: &Key, question: &Question, within: Duration, connector: &Connector) -> Result<(), String> {
    let flavour = match question {
        Question::Grpc { .. } => Flavour::H2,
        Question::Http { .. } | Question::Tcp => Flavour::Auto,
    };
    let (io, alpn, absolute) = connected(key, question, flavour, within, connector).await.map_err(shown)?;
    let h2 = match alpn {
        Some(alpn) => matches!(alpn, Alpn::H2),
        None => key.protocol == Protocol::H2c || matches!(flavour, Flavour::H2),
    };
    match question {
        Question::Tcp => Ok(()),
        Question::Http { path, host, expect } => {
            let request = request(Method::GET, key, path, host.as_deref(), h2).body(Body::empty());
            let mut request = request.map_err(shown)?;
            if let Some(parent) = key.destination.parent.as_ref().filter(|_| absolute) {
                wire::dress_whole(&mut request, parent);
            }
            let response = send(io, h2, request).await?;
            let status = response.status().as_u16();
            let good = expect.iter().any(|(first, last)| (*first..=*last).contains(&status));
            if good { Ok(()) } else { Err(format!("it answered {status}")) }
        }
        Question::Grpc { service } => {
            let path = "/grpc.health.v1.Health/Check";
            let request = request(Method::POST, key, path, None, h2)
                .header(header::CONTENT_TYPE, "application/grpc")
                .header(header::TE, "trailers")
                .body(Body::full(message(service)));
            serving(send(io, h2, request.map_err(shown)?).await?).await
        }
    }
}

/// To the endpoint, or to a parent that can be told all there is to ask.
async fn connected(
    key: &Key,
    question: &Question,
    flavour: Flavour,
    within: Duration,
    connector: &Connector,
) -> Result<(Io, Option<Alpn>, bool), Error> {
    let Key { destination, protocol, .. } = key;
    let flavour = if *protocol == Protocol::H2c && destination.tls.is_none() { Flavour::H2 } else { flavour };
    let whole = matches!(question, Question::Http { host: None, .. });
    let forwards = destination.parent.is_some() && destination.tls.is_none() && flavour != Flavour::H2;
    if forwards && !whole {
        return Ok((connector.tunnel(destination, true, true, within).await?, None, false));
    }
    let Connected { io, alpn, absolute, .. } = connector.connect(destination, flavour, true, within).await?;
    Ok((io, alpn, absolute))
}

fn request(method: Method, key: &Key, path: &str, host: Option<&str>, h2: bool) -> http::request::Builder {
    let own = format!("{}:{}", key.destination.host, key.destination.port);
    let host = host.unwrap_or(&own);
    let scheme = if key.destination.tls.is_some() { "https" } else { "http" };
    let builder = Request::builder().method(method).header(header::USER_AGENT, "attache-health");
    if h2 {
        builder.uri(format!("{scheme}://{host}{path}"))
    } else {
        builder.uri(path).header(header::HOST, host).header(header::CONNECTION, "close")
    }
}

/// `HealthCheckRequest`, framed: one string in field 1, left out if it is empty.
fn message(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push(length as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0][..], &length, &message].concat().into()
}

/// Whether a `HealthCheckResponse` says SERVING.
async fn serving(response: Response<Incoming>) -> Result<(), String> {
    let (head, mut body) = response.into_parts();
    if !head.status.is_success() {
        return Err(format!("it answered {}", head.status.as_u16()));
    }
    failed(&head.headers)?;
    let mut answer = Vec::new();
    let mut body = std::pin::Pin::new(&mut body);
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        match frame.map_err(shown)?.into_data() {
            Ok(data) => answer.extend_from_slice(&data[..data.len().min(MAX_ANSWER - answer.len())]),
            Err(other) => failed(other.trailers_ref().unwrap_or(&HeaderMap::new()))?,
        }
    }
    match answer.get(5..) {
        Some(message) if message.starts_with(SERVING) => Ok(()),
        _ => Err("it is not serving".into()),
    }
}

/// A gRPC status other than OK.
fn failed(fields: &HeaderMap) -> Result<(), String> {
    match fields.get("grpc-status") {
        Some(status) if status != "0" => Err(format!("grpc-status {}", status.to_str().unwrap_or("?"))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_framed_as_the_protocol_says() {
        assert_eq!(&message("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&message("a.B")[..], [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        let long = message(&"x".repeat(200));
        assert_eq!((&long[..8], long.len()), (&[0, 0, 0, 0, 203, 0x0a, 0xc8, 1][..], 208));
    }
}
