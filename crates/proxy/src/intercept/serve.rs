//! An opened tunnel: the handshake with its client, and what is learnt from one that would not have it.
//!
//! The name that is asked for must be the tunnel's, as everywhere in a tunnel; none at all is fine. A client that refuses
//! the certificate says so by an alert, or leaves when it has seen it: either way somebody must know which host that was
//! and what helps, since the client itself will only speak of a certificate it does not like.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use exchange::{Authority as Target, Host, Io, clock};
use rustls::server::Acceptor;
use rustls::{AlertDescription as Alert, Error as Rustls};
use telemetry::metrics::{Refused, Rejection};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;

use super::{Authority, refusals};
use crate::listener::conn::{self, Entry};
use crate::listener::drain::Mode;
use crate::listener::sniff::Spoken;
use crate::worker::Worker;

/// Taken at once of what is asked first.
const CHUNK: usize = 1024;

/// Who signs for a tunnel, and by which route.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) authority: Arc<Authority>,
    /// The metric label.
    pub(crate) route: Arc<str>,
}

/// Why there is no TLS, and what is left of the connection.
struct Failed(Refused, Option<Io>);

impl Opening {
    /// Serves what is inside, from the hello on. `false`: the name that was asked for is another.
    pub(crate) async fn serve(self, client: Io, entry: Entry, tunnel: &Target, worker: Arc<Worker>) -> bool {
        let shaken = timeout(worker.limits().tls_handshake, self.shake(client, tunnel.host())).await;
        let events = worker.stats().events();
        match shaken {
            Ok(Ok((io, agreed))) => {
                if let Some(io) = self.asked(io, tunnel.host(), &worker).await {
                    conn::serve_agreed(io, agreed, Entry { tls: true, ..entry }, worker).await;
                }
                true
            }
            failed => {
                let Failed(reason, io) = failed.ok().and_then(Result::err).unwrap_or(Failed(Refused::Timeout, None));
                self.told(tunnel.host(), reason);
                events.intercepts().refused(&self.route, reason);
                match io {
                    Some(io) if reason == Refused::Name => conn::refuse_name(io).await,
                    // rustls has written its alert.
                    Some(io) => conn::leave(io).await,
                    None => {}
                }
                reason != Refused::Name
            }
        }
    }

    /// Waits for the first bytes of a request, and puts them back; nothing if there are none.
    async fn asked(&self, mut io: Io, host: &Host, worker: &Worker) -> Option<Io> {
        let (mut drain, events) = (worker.drain(), worker.stats().events());
        let mut early = BytesMut::with_capacity(CHUNK);
        let read = tokio::select! {
            biased;
            read = timeout(worker.limits().first_byte, io.read_buf(&mut early)) => read,
            // Nothing was asked yet, so nothing is in flight.
            () = async { drain.reached(Mode::Draining).await; tokio::time::sleep(conn::QUIET).await } => return None,
        };
        match read {
            Ok(Ok(1..)) => {
                events.intercepts().opened(&self.route);
                Some(io.rewound(early.freeze()))
            }
            Ok(Ok(0) | Err(_)) => {
                self.told(host, Refused::Unused);
                events.intercepts().refused(&self.route, Refused::Unused);
                None
            }
            Err(_) => {
                worker.stats().connection_rejected(Rejection::SniffTimeout);
                None
            }
        }
    }

    /// Not cancel-safe.
    async fn shake(&self, client: Io, host: &Host) -> Result<(Io, Option<Spoken>), Failed> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), client).await;
        let start = start.map_err(|_| Failed(Refused::Tls, None))?;
        if start.client_hello().server_name().is_some_and(|name| !names(name, host)) {
            return Err(Failed(Refused::Name, Some(start.io)));
        }
        let config = match self.authority.config(host) {
            Ok(config) => config,
            Err(error) => {
                tracing::error!(%host, %error, "no certificate could be made for an intercepted host");
                return Err(Failed(Refused::Tls, Some(start.io)));
            }
        };
        match start.into_stream(config).into_fallible().await {
            Ok(tls) => {
                let agreed = tls.get_ref().1.alpn_protocol();
                let agreed = agreed.map(|protocol| if protocol == b"h2" { Spoken::Http2 } else { Spoken::Http1 });
                Ok((Io::other(tls), agreed))
            }
            Err((error, io)) => {
                tracing::debug!(%host, %error, "TLS inside a tunnel");
                Err(Failed(reason(&error), Some(io)))
            }
        }
    }

    fn told(&self, host: &Host, reason: Refused) {
        let is_listed = !matches!(reason, Refused::Timeout | Refused::Tls);
        if is_listed && self.authority.refusals.note(host, reason, clock::now()) {
            let (route, reason, next) = (&*self.route, reason.label(), refusals::next(reason));
            tracing::warn!(%host, reason, route, next, "a client would not have its tunnel opened");
        }
    }
}

/// An address is no name, so whoever asks for one asks for something else (RFC 6066 section 3).
fn names(name: &str, host: &Host) -> bool {
    host.name().is_some_and(|host| name.trim_end_matches('.').eq_ignore_ascii_case(host))
}

fn reason(error: &io::Error) -> Refused {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Rustls>()) {
        Some(Rustls::AlertReceived(alert)) => match alert {
            Alert::UnknownCA => Refused::UnknownCa,
            Alert::BadCertificate => Refused::BadCertificate,
            Alert::CertificateExpired => Refused::Expired,
            Alert::CertificateUnknown
            | Alert::CertificateRevoked
            | Alert::UnsupportedCertificate
            | Alert::AccessDenied => Refused::CertificateUnknown,
            _ => Refused::Tls,
        },
        Some(_) => Refused::Tls,
        // The end of the stream, or a reset.
        None => Refused::Closed,
    }
}
