//! A client's connection, or its stream of HTTP/2, that becomes the request's own: after a 101, or a 2xx to CONNECT.
//!
//! It is free only once the answer was written, so whoever answers gets the promise of it.

use exchange::Io;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;

use super::io::Timed;

/// The promise.
#[derive(Debug)]
pub enum Takeover {
    /// hyper's, of the whole connection.
    Http1(OnUpgrade),
    /// Of a stream.
    Http2(oneshot::Receiver<Io>),
}

impl Takeover {
    /// The client's side, bytes read too early included; nothing if the client left first. Cancel-safe.
    pub async fn taken(self) -> Option<Io> {
        match self {
            Self::Http1(upgrade) => {
                let parts = upgrade.await.ok()?.downcast::<TokioIo<Timed>>().ok()?;
                Some(parts.io.into_inner().into_inner().rewound(parts.read_buf))
            }
            Self::Http2(stream) => stream.await.ok(),
        }
    }
}
