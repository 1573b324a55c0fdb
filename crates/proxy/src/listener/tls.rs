//! TLS in front: the handshake with a client, under one limit, and what is said to those who speak something else.
//!
//! The first byte tells TLS from anything else before rustls sees it: a client that speaks plain HTTP here gets an
//! answer it can read instead of an alert. For TCP it is looked at without being taken, so that TLS owns the bare
//! socket; any other stream costs one more box.
//!
//! A connection without TLS never comes here.

mod book;
mod front;
mod pem;
mod watch;

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use exchange::Io;
use exchange::identity::{Certificate, Peer};
use rustls::{Error as Rustls, ServerConfig, ServerConnection};
use rustls_pki_types::CertificateDer;
use telemetry::metrics::Rejection;
use tokio::io::AsyncReadExt;
use tokio_rustls::TlsAcceptor;

pub use self::front::{Front, Shown};
pub use self::pem::{Flaw, Part};
pub(crate) use self::watch::Watch;
use super::conn::{self, Entry};
use super::drain::Mode;
use super::farewell::say;
use super::sniff::Spoken;
use crate::worker::Worker;

/// RFC 8446 section 5.1: the content type of a handshake.
const HANDSHAKE: u8 = 0x16;
/// Taken at once of what is not TLS.
const CHUNK: usize = 1024;

/// Serves a connection of a listener with TLS from its first byte to its end.
pub async fn serve(io: Io, front: Arc<Front>, mut entry: Entry, worker: Arc<Worker>) {
    let mut drain = worker.drain();
    let shaken = tokio::select! {
        biased;
        shaken = tokio::time::timeout(worker.limits().tls_handshake, shake(io, front.config())) => shaken,
        // Nothing was asked yet, so nothing is in flight.
        () = async { drain.reached(Mode::Draining).await; tokio::time::sleep(conn::QUIET).await } => return,
    };
    let client = entry.client.addr;
    match shaken {
        Err(_) => worker.stats().connection_rejected(Rejection::TlsTimeout),
        Ok(Err(Failed::Gone)) => {}
        Ok(Err(Failed::NotTls(io))) => {
            worker.stats().connection_rejected(Rejection::NotTls);
            say(io, PLAIN_HERE).await;
        }
        Ok(Err(Failed::Handshake(error, io))) => {
            let reason = reason(&error);
            worker.stats().connection_rejected(reason);
            tracing::debug!(reason = reason.label(), client = ?client, %error, "TLS handshake");
            // rustls has written its alert.
            say(io, b"").await;
        }
        Ok(Ok((io, Agreed { spoken, certificate }))) => {
            if let Some(certificate) = certificate {
                let known = entry.client.peer.as_deref().cloned().unwrap_or_default();
                entry.client.peer = Some(Arc::new(Peer { certificate: Some(certificate), ..known }));
            }
            conn::serve_agreed(io, spoken, entry, worker).await;
        }
    }
}

/// Why there is no TLS.
enum Failed {
    /// The client left without a byte.
    Gone,
    /// It speaks something else.
    NotTls(Io),
    Handshake(io::Error, Io),
}

/// What both sides know after a handshake.
struct Agreed {
    /// By ALPN.
    spoken: Option<Spoken>,
    /// The client's, verified.
    certificate: Option<Certificate>,
}

/// The handshake, and what it agreed on; nothing if the client did not take part in it. Not cancel-safe.
async fn shake(io: Io, config: Arc<ServerConfig>) -> Result<(Io, Agreed), Failed> {
    let acceptor = TlsAcceptor::from(config);
    match io.into_tcp() {
        Ok(tcp) => {
            let mut first = [0];
            match tcp.peek(&mut first).await {
                Ok(0) | Err(_) => return Err(Failed::Gone),
                Ok(_) if first[0] != HANDSHAKE => return Err(Failed::NotTls(tcp.into())),
                Ok(_) => {}
            }
            let shaken = acceptor.accept(tcp).into_fallible().await;
            let tls = shaken.map_err(|(error, tcp)| Failed::Handshake(error, tcp.into()))?;
            let agreed = agreed(tls.get_ref().1);
            Ok((tokio_rustls::TlsStream::from(tls).into(), agreed))
        }
        Err(io) => {
            let mut io = *io;
            let mut early = BytesMut::with_capacity(CHUNK);
            match io.read_buf(&mut early).await {
                Ok(0) | Err(_) => return Err(Failed::Gone),
                Ok(_) if early[0] != HANDSHAKE => return Err(Failed::NotTls(io)),
                Ok(_) => {}
            }
            let shaken = acceptor.accept(io.rewound(early.freeze())).into_fallible().await;
            let tls = shaken.map_err(|(error, io)| Failed::Handshake(error, io))?;
            let agreed = agreed(tls.get_ref().1);
            Ok((Io::other(tls), agreed))
        }
    }
}

fn agreed(tls: &ServerConnection) -> Agreed {
    let certificate = tls.peer_certificates().and_then(<[_]>::first).map(names);
    if let Some(Certificate { dns, uris }) = &certificate {
        tracing::debug!(?dns, ?uris, "client certificate");
    }
    let spoken = tls.alpn_protocol().map(|protocol| if protocol == b"h2" { Spoken::Http2 } else { Spoken::Http1 });
    Agreed { spoken, certificate }
}

/// Whom a verified certificate is for.
fn names(leaf: &CertificateDer<'_>) -> Certificate {
    let Ok(leaf) = webpki::EndEntityCert::try_from(leaf) else { return Certificate::default() };
    let (dns, uris) =
        (leaf.valid_dns_names().map(Arc::from).collect(), leaf.valid_uri_names().map(Arc::from).collect());
    Certificate { dns, uris }
}

fn reason(error: &io::Error) -> Rejection {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Rustls>()) {
        Some(Rustls::NoCertificatesPresented | Rustls::InvalidCertificate(_)) => Rejection::ClientCertificate,
        _ => Rejection::Tls,
    }
}

const PLAIN_HERE: &[u8] = b"HTTP/1.1 400 Bad Request\r\nproxy-status: attache; error=http_request_error\r\n\
content-type: text/plain\r\nconnection: close\r\ncontent-length: 60\r\n\r\n\
This port speaks TLS, and that was not: begin with https://\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_plain_http_is_as_long_as_it_says() {
        let text = std::str::from_utf8(PLAIN_HERE).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
    }
}
