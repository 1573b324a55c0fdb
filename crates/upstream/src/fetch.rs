//! One request of our own, on a connection of its own: keys of an issuer, tokens, health.
//!
//! Rare by design, so nothing is pooled and nothing outlives the answer. It takes the same way out as a client's
//! request: resolver, egress guard and TLS are the same.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use exchange::{Body, Io};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Uri, Version, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::timeout;

use crate::connect::{Alpn, Connector, Destination, Flavour};

/// Where to and how long.
#[derive(Clone, Debug)]
pub struct Params {
    /// The server.
    pub destination: Destination,
    /// For everything, from the name to the last byte.
    pub within: Duration,
    /// Bytes of the answer's body; a longer one is an error.
    pub most: usize,
}

/// Sends `request`, whose URI is absolute, and reads the whole answer. Redirects are not followed: what was trusted is
/// this server. Cancel-safe in that nothing is left behind; the server may have acted.
///
/// # Errors
/// Says what failed, without the request.
pub async fn fetch(params: &Params, request: Request<Bytes>, connector: &Connector) -> Result<Response<Bytes>, String> {
    let whole = timeout(params.within, exchanged(params, request, connector)).await;
    whole.unwrap_or_else(|_| Err(format!("no answer within {:?}", params.within)))
}

async fn exchanged(params: &Params, request: Request<Bytes>, connector: &Connector) -> Result<Response<Bytes>, String> {
    let Params { destination, within, .. } = params;
    let destination = &connector.ways.lead(destination.clone());
    let (io, h2) = if destination.parent.is_some() && destination.tls.is_none() {
        (connector.tunnel(destination, true, true, *within).await.map_err(shown)?, false)
    } else {
        let connected = connector.connect(destination, Flavour::Auto, true, *within).await.map_err(shown)?;
        (connected.io, matches!(connected.alpn, Some(Alpn::H2)))
    };
    let request = fitted(request, h2)?;
    let (head, mut body) = send(io, h2, request).await?.into_parts();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(shown)?.into_data() {
            if whole.len() + data.len() > params.most {
                return Err(format!("the answer is longer than {} bytes", params.most));
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(Response::from_parts(head, whole.freeze()))
}

/// As the version wants it: over HTTP/1 origin-form with a `Host`, and the connection ends with the answer.
fn fitted(request: Request<Bytes>, h2: bool) -> Result<Request<Body>, String> {
    let (mut parts, body) = request.into_parts();
    let authority = parts.uri.authority().ok_or("the URL has no host")?.as_str().to_owned();
    if h2 {
        parts.version = Version::HTTP_2;
    } else {
        let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        parts.uri = Uri::from(path);
        let host = HeaderValue::try_from(authority).map_err(shown)?;
        parts.headers.insert(header::HOST, host);
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let body = if body.is_empty() { Body::empty() } else { Body::full(body) };
    Ok(Request::from_parts(parts, body))
}

/// Sends on a connection that ends with the answer.
pub(crate) async fn send(io: Io, h2: bool, request: Request<Body>) -> Result<Response<Incoming>, String> {
    let io = TokioIo::new(io);
    if h2 {
        let (mut sender, connection) = http2::Builder::new(TokioExecutor::new()).handshake(io).await.map_err(shown)?;
        // Its error reaches the request, and without a sender it ends.
        tokio::spawn(async move { drop(connection.await) });
        sender.send_request(request).await.map_err(shown)
    } else {
        let (mut sender, connection) = http1::handshake(io).await.map_err(shown)?;
        tokio::spawn(async move { drop(connection.await) });
        sender.send_request(request).await.map_err(shown)
    }
}

pub(crate) fn shown(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_gets_its_form_of_target() {
        let request =
            || Request::get("https://issuer.test:8443/keys?v=1").body(Bytes::from_static(b"x")).expect("a request");

        let h1 = fitted(request(), false).expect("fits");
        assert_eq!(
            (h1.uri().to_string(), &h1.headers()["host"]),
            ("/keys?v=1".into(), &"issuer.test:8443".parse().expect("a value"))
        );

        let h2 = fitted(request(), true).expect("fits");
        assert_eq!(h2.uri().to_string(), "https://issuer.test:8443/keys?v=1");
        assert!(!h2.headers().contains_key("host") && !h2.headers().contains_key("connection"));
    }
}
