//! Requests at a fixed pace, whatever becomes of them; each is timed from the moment it was due.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use testkit::load::Client;
use tokio::time::{Instant, sleep_until, timeout};

/// Longer than this nobody waits: a failure.
const PATIENCE: Duration = Duration::from_secs(5);

/// What became of one request.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// In order of their times, from 0.
    pub number: usize,
    /// From the time it was due to when it was sent: what a busy machine adds before anybody was asked.
    pub late: Duration,
    /// From the time it was due to the end of the answer.
    pub took: Duration,
    /// Of the answer, if there is a whole one.
    pub status: Option<u16>,
    /// The answer comes from an endpoint, not from what is between.
    pub forwarded: bool,
}

impl Outcome {
    pub fn is_good(&self) -> bool {
        self.status == Some(200)
    }
}

/// Every second request is a POST.
pub fn is_post(number: usize) -> bool {
    number % 2 == 1
}

/// Request `number` is due at `start + number * period` and goes to the doors in turn.
pub async fn run(doors: &[Client], start: Instant, period: Duration, count: usize) -> Vec<Outcome> {
    let mut sent = Vec::with_capacity(count);
    for number in 0..count {
        let due = start + period * number as u32;
        sleep_until(due).await;
        // GET and POST each take all doors in turn.
        let door = doors[number / 2 % doors.len()].clone();
        sent.push(tokio::spawn(one(door, number, due)));
    }
    let mut outcomes = Vec::with_capacity(count);
    for one in sent {
        outcomes.extend(one.await);
    }
    outcomes
}

async fn one(door: Client, number: usize, due: Instant) -> Outcome {
    let late = Instant::now().duration_since(due);
    let answer = timeout(PATIENCE, door.send(request(number))).await;
    let took = Instant::now().duration_since(due);
    let response = answer.ok().and_then(Result::ok);
    Outcome {
        number,
        late,
        took,
        status: response.as_ref().map(|response| response.status().as_u16()),
        forwarded: response.is_some_and(|response| response.headers().contains_key("x-endpoint")),
    }
}

fn request(number: usize) -> Request<Full<Bytes>> {
    let (method, path, body) = if is_post(number) {
        ("POST", "payments", format!("payment {number}"))
    } else {
        ("GET", "items", String::new())
    };
    Request::builder()
        .method(method)
        .uri(format!("/v1/{path}/{number}"))
        .header("host", "api.test")
        .header("x-number", number)
        .body(Full::from(body))
        .expect("a valid request")
}
