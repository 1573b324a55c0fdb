//! The demo's client: plain GETs through the proxy at a steady rate, as any program with `http_proxy` would send them.
//!
//! The rate is kept whatever the answers take (open loop): a client that waited would hide the slow ones.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::service::{NUMBER, Shared};

const PATIENCE: Duration = Duration::from_secs(10);

/// Sends all requests and returns when each is answered or given up.
pub(super) async fn send(proxy: SocketAddr, url: &'static str, requests: usize, every: Duration, tally: Shared) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut all = JoinSet::new();
    for number in 0..requests {
        ticks.tick().await;
        let tally = tally.clone();
        all.spawn(async move {
            let begin = exchange::clock::now();
            let success = matches!(timeout(PATIENCE, get(proxy, url, number)).await, Ok(Ok(true)));
            let took = exchange::clock::now().since(begin);
            tally.with(|tally| tally.answered(number, success, took));
        });
    }
    while all.join_next().await.is_some() {}
}

/// One GET in absolute form on a connection of its own; whether it got a whole answer of 2xx.
async fn get(proxy: SocketAddr, url: &str, number: usize) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(proxy).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the sender; its error is the sender's too.
    drop(tokio::spawn(connection));
    let host = url.parse::<http::Uri>()?.authority().map_or_else(String::new, ToString::to_string);
    let request = Request::get(url).header(http::header::HOST, host).header(NUMBER, number);
    let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    let success = response.status().is_success();
    response.into_body().collect().await?;
    Ok(success)
}
