//! Clients that hide nothing: HTTP/1 byte for byte, HTTP/2 without retries.

mod h2;
mod response;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};

pub use self::h2::H2;
pub use self::response::{End, Response};
use crate::wait::within;
use crate::wire::{Stream, Wire};

/// One HTTP/1 connection.
pub struct Client {
    wire: Wire,
}

impl Client {
    /// Over TCP.
    pub async fn connect(addr: SocketAddr) -> Self {
        let tcp = within("connect", TcpStream::connect(addr)).await.expect("connected");
        tcp.set_nodelay(true).expect("nodelay");
        Self { wire: Wire::new(tcp) }
    }

    /// Over a unix socket.
    pub async fn unix(path: &Path) -> Self {
        Self { wire: Wire::new(UnixStream::connect(path).await.expect("connected")) }
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within("send", self.wire.send(bytes)).await.expect("sent");
    }

    /// Reads one response to a request with `method`.
    pub async fn response(&mut self, method: &str) -> Response {
        within("response", response::read(&mut self.wire, method)).await
    }

    /// Sends a request and reads its response. `target` is any form; absolute-form brings its own Host. A body is
    /// sent with its length.
    pub async fn call(&mut self, method: &str, target: &str, fields: &[&str], body: &str) -> Response {
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        if let Some((_, rest)) = target.split_once("://").filter(|_| !target.starts_with('/')) {
            let host = rest.split(['/', '?']).next().unwrap_or_default();
            head.push_str(&format!("Host: {host}\r\n"));
        }
        for field in fields {
            head.push_str(&format!("{field}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        self.send(format!("{head}\r\n{body}")).await;
        self.response(method).await
    }

    /// GET.
    pub async fn get(&mut self, target: &str) -> Response {
        self.call("GET", target, &[], "").await
    }

    /// GET of an absolute target on a connection that may be closed instead of answered.
    pub async fn try_get(&mut self, target: &str) -> Option<Response> {
        // A connection that is closed already may refuse the bytes.
        let _ = self.wire.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        within("an answer or the end", response::maybe(&mut self.wire)).await
    }

    /// Sends CONNECT and returns what was answered; a 200 leaves a tunnel.
    pub async fn connect_to(&mut self, authority: &str) -> Response {
        self.send(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n")).await;
        self.response("CONNECT").await
    }

    /// A tunnel to `authority`, which must be granted.
    pub async fn tunnel(mut self, authority: &str) -> Self {
        let response = self.connect_to(authority).await;
        assert_eq!(response.status, 200, "{response:?}");
        self
    }

    /// TLS over this connection.
    pub async fn tls(self, config: Arc<ClientConfig>, name: &str) -> Self {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let connector = tokio_rustls::TlsConnector::from(config);
        let io = within("tls", connector.connect(name, self.wire.into_io())).await.expect("a handshake");
        Self { wire: Wire::new(io) }
    }

    /// HTTP/2 over this connection.
    pub async fn h2(self) -> H2 {
        H2::new(self.wire.into_io()).await
    }

    /// Exactly so many raw bytes.
    pub async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = within("bytes", self.wire.exact(count, &mut bytes)).await;
        read.unwrap_or_else(|error| panic!("{error} after {:?}", String::from_utf8_lossy(&bytes)));
        bytes
    }

    /// All bytes until the peer closes its side.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A reset is an end too; what came before it counts.
        let _ = within("end of the connection", self.wire.rest(&mut bytes)).await;
        bytes
    }

    /// Closes our side and keeps reading.
    pub async fn half_close(&mut self) {
        self.wire.io.shutdown().await.expect("half-closed");
    }

    /// The connection itself, with what was read too early.
    pub fn into_wire(self) -> Wire {
        self.wire
    }

    /// Leaves with a reset.
    pub fn reset(self) {
        self.wire.io.reset_on_close();
    }
}
