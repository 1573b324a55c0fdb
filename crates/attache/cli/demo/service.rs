//! The demo's service: a real HTTP/1.1 server on a loopback port, which fails as its fates say.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use super::fate::Fate;
use super::tally::Tally;

/// Numbers the requests of the demo's own client, so that attempts can be told apart from requests.
pub(super) const NUMBER: &str = "x-demo-request";

/// The tally, shared by service, client and screen; never held across an await.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Mutex<Tally>>);

impl Shared {
    pub(super) fn new(requests: usize) -> Self {
        Self(Arc::new(Mutex::new(Tally::new(requests))))
    }

    pub(super) fn with<T>(&self, access: impl FnOnce(&mut Tally) -> T) -> T {
        access(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Serves until it is dropped with its runtime.
pub(super) async fn serve(listener: TcpListener, seed: u64, tally: Shared) {
    // Requests of other clients, such as the curl that the demo proposes, get numbers after all of the demo's own.
    let foreign = Arc::new(AtomicU64::new(1 << 32));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, seed, tally.clone(), Arc::clone(&foreign)))),
            // Out of descriptors: the next one may fit.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn connection(stream: TcpStream, seed: u64, tally: Shared, foreign: Arc<AtomicU64>) {
    // Dropping the socket then sends a reset instead of an end.
    let _ = stream.set_zero_linger();
    let answer = service_fn(move |request: Request<Incoming>| {
        let fate = fate(&request, seed, &tally, &foreign);
        answer(fate)
    });
    // An error is a reset of ours, or a client that went away.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

fn fate(request: &Request<Incoming>, seed: u64, tally: &Shared, foreign: &AtomicU64) -> Fate {
    let number = request.headers().get(NUMBER).and_then(|n| n.to_str().ok()).and_then(|n| n.parse::<u64>().ok());
    let own = number
        .and_then(|number| tally.with(|tally| tally.attempt(number, |attempt| Fate::draw(seed, number, attempt))));
    own.unwrap_or_else(|| Fate::draw(seed, foreign.fetch_add(1, Ordering::Relaxed), 0))
}

/// The connection is cut; hyper drops it for any error of a service.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection was cut on purpose")
    }
}

impl std::error::Error for Cut {}

async fn answer(fate: Fate) -> Result<Response<Full<Bytes>>, Cut> {
    let (status, text) = match fate {
        Fate::Reset => return Err(Cut),
        Fate::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "the demo's service is unavailable, on purpose\n"),
        Fate::Answered => (StatusCode::OK, "hello from the demo's flaky service\n"),
        Fate::Slow(pause) => {
            tokio::time::sleep(pause).await;
            (StatusCode::OK, "hello from the demo's flaky service, a little late\n")
        }
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cut_reaches_the_client_as_an_error_and_a_503_as_a_status() {
        assert!(answer(Fate::Reset).await.is_err());
        assert_eq!(answer(Fate::Unavailable).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer(Fate::Answered).await.unwrap().status(), StatusCode::OK);
    }
}
