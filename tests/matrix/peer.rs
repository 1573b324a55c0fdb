//! The client: HTTP/1.1 by hand or HTTP/2 by the `h2` crate, through each door, and able to leave at any moment.

use std::sync::Arc;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{Method, Request};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde_json::Value;
use testkit::wire::{Fields, Wire, field};
use testkit::{Client, Proxy, within};
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

use crate::fault::Ask;

/// What the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    H1,
    H2,
}

/// How it comes in. An HTTP/2 request with a foreign authority is the forward door's form; in reverse it goes to the
/// proxy's own name and `/r/<route>/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Forward,
    Connect,
    Reverse,
    /// A tunnel with TLS in it from end to end, of which the proxy sees nothing but bytes.
    Sealed,
}

/// Where a client wants to go.
pub enum To {
    /// By the name of a route.
    Route(String),
    /// To the upstream itself, with TLS.
    Sealed(String, Arc<ClientConfig>),
}

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Whole,
    Cut,
    /// Before its head.
    Nothing,
}

/// A response.
#[derive(Clone, Debug)]
pub struct Heard {
    pub status: u16,
    pub own: bool,
    pub body: Vec<u8>,
    pub end: End,
}

impl Heard {
    fn nothing() -> Self {
        Self { status: 0, own: false, body: Vec::new(), end: End::Nothing }
    }

    /// The word for what failed, of an answer of the proxy's.
    pub fn reason(&self) -> String {
        let told: Option<Value> = serde_json::from_slice(&self.body).ok();
        told.and_then(|told| Some(told["reason"].as_str()?.to_owned())).unwrap_or_default()
    }
}

/// A connection.
pub struct Peer {
    speech: Speech,
    target: String,
    host: String,
}

enum Speech {
    H1(Wire),
    H2 { sender: SendRequest<Bytes>, connection: AbortHandle, _outer: Option<testkit::H2> },
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Speech::H2 { connection, .. } = &self.speech {
            connection.abort();
        }
    }
}

/// A request that is under way; dropped, it is given up, and on HTTP/1 its connection with it.
pub enum Held {
    H1 { _wire: Wire },
    H2 { _parts: Vec<Part>, _peer: Peer },
}

pub enum Part {
    Answer { _held: ResponseFuture },
    Upload { _held: SendStream<Bytes> },
    Body { _held: RecvStream },
}

const WHOLE: &[u8] = b"amount=1";
const PROMISED: usize = 100_000;
const FIRST: usize = 1_000;

impl Peer {
    pub async fn open(proxy: &Proxy, version: Version, door: Door, to: &To) -> Option<Self> {
        match to {
            To::Route(route) => Some(Self::by_route(proxy, version, door, route).await),
            To::Sealed(authority, tls) => Self::sealed(proxy, version, authority, tls).await,
        }
    }

    /// `None` if the tunnel broke in the handshake.
    async fn sealed(proxy: &Proxy, version: Version, authority: &str, tls: &Arc<ClientConfig>) -> Option<Self> {
        let tunnel = proxy.client().await.tunnel(authority).await.into_wire().into_io();
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let io = within("tls", TlsConnector::from(Arc::clone(tls)).connect(name, tunnel)).await.ok()?;
        let (speech, target) = match version {
            Version::H1 => (Speech::H1(Wire::new(io)), "/".to_owned()),
            Version::H2 => (shaken(io, None).await, format!("https://{authority}/")),
        };
        Some(Self { speech, target, host: authority.to_owned() })
    }

    async fn by_route(proxy: &Proxy, version: Version, door: Door, route: &str) -> Self {
        let name = format!("{route}.test");
        let (target, host) = match (door, version) {
            (Door::Forward, _) => (format!("http://{name}/"), name.clone()),
            (Door::Connect, Version::H1) => ("/".to_owned(), name.clone()),
            (Door::Connect, Version::H2) => (format!("http://{name}/"), name.clone()),
            (Door::Reverse | Door::Sealed, Version::H1) => ("/".to_owned(), name.clone()),
            (Door::Reverse | Door::Sealed, Version::H2) => {
                (format!("http://{}/r/{route}/", proxy.addr()), String::new())
            }
        };
        let tunnel = format!("{name}:80");
        let speech = match (version, door) {
            (Version::H1, Door::Connect) => Speech::H1(proxy.client().await.tunnel(&tunnel).await.into_wire()),
            (Version::H1, _) => Speech::H1(proxy.client().await.into_wire()),
            (Version::H2, Door::Connect) => {
                let mut outer = proxy.h2().await;
                let io = outer.tunnel(&tunnel).await;
                shaken(io, Some(outer)).await
            }
            (Version::H2, _) => {
                let client: Client = proxy.client().await;
                shaken(client.into_wire().into_io(), None).await
            }
        };
        Self { speech, target, host }
    }

    /// One request and its answer; `began` is called when its head is there.
    pub async fn ask(&mut self, ask: Ask, began: impl FnOnce()) -> Heard {
        let (method, sent, length) = match ask {
            Ask::Post => (Method::POST, WHOLE, WHOLE.len()),
            Ask::Part => (Method::POST, &[b'u'; FIRST][..], PROMISED),
            _ => (Method::GET, &[][..], 0),
        };
        let head = self.head(&method, length);
        match &mut self.speech {
            Speech::H1(wire) => {
                // A connection that has ended may refuse the bytes; that is seen by reading.
                let _ = wire.send([head.into_bytes(), sent.to_vec()].concat()).await;
                within("a response", read(wire, began)).await
            }
            Speech::H2 { sender, .. } => {
                let request = request(&method, &self.target, length);
                let whole = sent.len() == length;
                let answer = exchange(sender, request, (sent, whole), began);
                within("a response", answer).await.unwrap_or_else(|_| Heard::nothing())
            }
        }
    }

    /// Begins a request as `ask` says; it ends when what is returned is dropped.
    pub async fn begin(mut self, ask: Ask) -> Held {
        let (method, sent, length) = match ask {
            Ask::LeaveMidUpload => (Method::POST, &[b'u'; FIRST][..], PROMISED),
            _ => (Method::GET, &[][..], 0),
        };
        let head = self.head(&method, length);
        let target = self.target.clone();
        let mut parts = Vec::new();
        match &mut self.speech {
            Speech::H1(wire) => {
                wire.send([head.into_bytes(), sent.to_vec()].concat()).await.expect("sent");
                if ask == Ask::LeaveMidDownload {
                    let mut some = Vec::new();
                    within("some bytes", wire.exact(50_000, &mut some)).await.expect("some bytes");
                }
            }
            Speech::H2 { sender, .. } => {
                let mut ready = sender.clone().ready().await.expect("ready");
                let request = request(&method, &target, length);
                let (answer, mut upload) = ready.send_request(request, length == 0).expect("sent");
                if length > 0 {
                    upload.send_data(Bytes::copy_from_slice(sent), false).expect("sent");
                }
                parts.push(Part::Upload { _held: upload });
                if ask == Ask::LeaveMidDownload {
                    let mut body = within("a head", answer).await.expect("a head").into_body();
                    let mut got = 0;
                    while got < 50_000 {
                        let data = within("some bytes", body.data()).await.expect("more").expect("data");
                        got += data.len();
                        let _ = body.flow_control().release_capacity(data.len());
                    }
                    parts.push(Part::Body { _held: body });
                } else {
                    parts.push(Part::Answer { _held: answer });
                }
            }
        }
        if parts.is_empty() { self.into_held() } else { Held::H2 { _parts: parts, _peer: self } }
    }

    fn into_held(mut self) -> Held {
        let (io, _) = tokio::io::duplex(1);
        match std::mem::replace(&mut self.speech, Speech::H1(Wire::new(io))) {
            Speech::H1(wire) => Held::H1 { _wire: wire },
            Speech::H2 { .. } => unreachable!("HTTP/2 has parts"),
        }
    }

    fn head(&self, method: &Method, length: usize) -> String {
        let framing = if length > 0 { format!("Content-Length: {length}\r\n") } else { String::new() };
        format!("{method} {} HTTP/1.1\r\nHost: {}\r\n{framing}\r\n", self.target, self.host)
    }
}

async fn shaken<S>(io: S, outer: Option<testkit::H2>) -> Speech
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = within("h2", h2::client::handshake(io)).await.expect("h2");
    let connection = tokio::spawn(async move { drop(connection.await) }).abort_handle();
    Speech::H2 { sender, connection, _outer: outer }
}

fn request(method: &Method, target: &str, length: usize) -> Request<()> {
    let request = Request::builder().method(method.clone()).uri(target);
    let request = if length > 0 { request.header("content-length", length) } else { request };
    request.body(()).expect("a request")
}

async fn exchange(
    sender: &SendRequest<Bytes>,
    request: Request<()>,
    (sent, whole): (&'static [u8], bool),
    began: impl FnOnce(),
) -> Result<Heard, h2::Error> {
    let mut ready = sender.clone().ready().await?;
    let (answer, mut upload) = ready.send_request(request, sent.is_empty())?;
    if !sent.is_empty() {
        upload.send_data(Bytes::from_static(sent), whole)?;
    }
    let (head, mut incoming) = answer.await?.into_parts();
    began();
    let own = head.headers.contains_key("proxy-status");
    let mut heard = Heard { status: head.status.as_u16(), own, body: Vec::new(), end: End::Cut };
    while let Some(data) = incoming.data().await {
        let Ok(data) = data else { return Ok(heard) };
        let _ = incoming.flow_control().release_capacity(data.len());
        heard.body.extend_from_slice(&data);
    }
    if incoming.trailers().await.is_ok() {
        heard.end = End::Whole;
    }
    Ok(heard)
}

async fn read(wire: &mut Wire, began: impl FnOnce()) -> Heard {
    let (line, fields) = loop {
        match wire.head().await {
            Ok(Some((line, _))) if line.starts_with("HTTP/1.1 1") => {}
            Ok(Some(head)) => break head,
            Ok(None) | Err(_) => return Heard::nothing(),
        }
    };
    began();
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let mut body = Vec::new();
    let framed: std::io::Result<Fields> = match field(&fields, "content-length") {
        Some(length) => wire.exact(length.parse().expect("a length"), &mut body).await.map(|()| Vec::new()),
        None if field(&fields, "transfer-encoding").is_some() => wire.chunks(&mut body).await,
        None => wire.rest(&mut body).await.map(|()| Vec::new()),
    };
    let end = if framed.is_ok() { End::Whole } else { End::Cut };
    Heard { status, own: field(&fields, "proxy-status").is_some(), body, end }
}
