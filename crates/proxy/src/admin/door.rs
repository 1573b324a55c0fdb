//! Admin's connections: each gets ten seconds for a head, as those of clients do.
//!
//! Whoever connects and says nothing would otherwise hold a descriptor for ever, and `metrics` may be open to other
//! machines. hyper's own timer does for the few connections there are here. It runs between two requests too, so a scraper
//! that comes less often connects anew.
//!
//! Over a unix socket the kernel says who asks; each request carries it as a [`Viewer`].

use std::io;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::listener::accept::{Listening, back_off};

/// From the connection, or the last answer, to the end of a head.
const HEAD: Duration = Duration::from_secs(10);

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Viewer {
    /// Over TCP: whoever reaches it.
    Anyone,
    /// Over a unix socket: this user.
    User(u32),
    /// Over a unix socket, and the kernel does not say.
    Unknown,
}

/// Serves `app` until the process ends.
pub(super) async fn serve(listening: Listening, app: Router) -> io::Result<()> {
    match listening {
        Listening::Tcp(listener) => {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            loop {
                match listener.accept().await {
                    Ok((tcp, _)) => drop(tokio::spawn(connection(tcp, app.clone().layer(Extension(Viewer::Anyone))))),
                    Err(error) => back_off(&error).await,
                }
            }
        }
        Listening::Unix(listener, _unlink) => {
            let listener = tokio::net::UnixListener::from_std(listener)?;
            loop {
                match listener.accept().await {
                    Ok((unix, _)) => {
                        let viewer = unix.peer_cred().map_or(Viewer::Unknown, |by| Viewer::User(by.uid()));
                        drop(tokio::spawn(connection(unix, app.clone().layer(Extension(viewer)))));
                    }
                    Err(error) => back_off(&error).await,
                }
            }
        }
    }
}

async fn connection(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, app: Router) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD);
    if let Err(error) = builder.serve_connection(TokioIo::new(io), TowerToHyperService::new(app)).await {
        tracing::debug!(%error, "admin connection");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;

    /// What a client hears that says this and then nothing more, and for how long it is listened to.
    async fn heard(said: &str) -> (String, Duration) {
        let (mut client, served) = tokio::io::duplex(4096);
        tokio::spawn(connection(served, Router::new().route("/livez", get(|| async { "ok\n" }))));
        let start = Instant::now();
        client.write_all(said.as_bytes()).await.expect("sent");

        let mut text = String::new();
        client.read_to_string(&mut text).await.expect("an end");
        (text, Instant::now() - start)
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_end_ends_the_connection_after_ten_seconds() {
        for said in ["", "G", "GET /livez HTTP/1.1\r\nhost: localhost\r\nx-slow: "] {
            let (text, after) = heard(said).await;

            assert_eq!((text.as_str(), after.as_secs()), ("", 10), "{said:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_head_is_answered_and_the_connection_kept_for_the_next() {
        let (text, after) = heard("GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await;

        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("ok\n"), "{text}");
        assert_eq!(after.as_secs(), 10);
    }
}
