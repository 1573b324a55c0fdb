//! Tells the observer of each exchange exactly once how it ended.
//!
//! Not a layer but a value that the edge makes once the route is known and moves along: whoever holds it owes
//! the end. Only its drop reports, so reporting twice or never cannot be written down. A drop that nobody
//! explained is a client that left: dropping the request's future is how hyper says so. The edge attaches it to
//! the final response, its own error responses included (a layer would never see those), or hands it to the
//! bridge of a tunnel.
//!
//! Cost: two reference counts; one box for the body's guard, none for the future.

use std::sync::Arc;

use exchange::{Body, End, ErrorKind, Exchange, Finish, clock};
use http::{HeaderMap, Response};
use policy::Tick;
use telemetry::Observer;

/// An exchange that is being observed.
#[derive(Debug)]
#[must_use = "dropping it says that the client went away"]
pub struct Watch {
    exchange: Arc<Exchange>,
    observer: Arc<Observer>,
    /// How it ended, and when if somebody read the clock.
    end: (End, Option<Tick>),
}

impl Watch {
    /// From here on the end of `exchange` is owed to `observer`.
    pub fn start(exchange: Arc<Exchange>, observer: Arc<Observer>) -> Self {
        Self { exchange, observer, end: (End::Dropped, None) }
    }

    /// The exchange's record.
    pub fn exchange(&self) -> &Arc<Exchange> {
        &self.exchange
    }

    /// Ends it with the response's body, whose bytes it counts. Attached last it is told last: whatever other
    /// guards note is in the record by then.
    pub fn attach(self, response: &mut Response<Body>) {
        response.body_mut().attach(Box::new(self));
    }

    /// Ends it here and now, for what has no body to end with.
    pub fn finish(mut self, end: End) {
        self.end = (end, None);
    }
}

impl Finish for Watch {
    fn data(&mut self, bytes: usize) {
        self.exchange.add_bytes_out(bytes);
    }

    fn trailers(&mut self, trailers: &HeaderMap) {
        if !trailers.is_empty() {
            self.exchange.trailers_came();
        }
    }

    fn finish(mut self: Box<Self>, end: End, now: Tick) {
        self.end = (end, Some(now));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let (end, at) = self.end;
        match end {
            End::Complete => {}
            End::Failed(kind) => self.exchange.set_reason(kind),
            // A client that leaves while it is told why it failed does not change why.
            End::Dropped if self.exchange.reason().is_some() => {}
            End::Dropped => self.exchange.set_reason(ErrorKind::ClientGone),
        }
        self.observer.finished(&self.exchange, at.unwrap_or_else(clock::now));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use exchange::Error;
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::{BodyExt, StreamBody};
    use telemetry::{Metrics, expose};

    use super::*;
    use crate::testing::{get, record, response};

    struct Observed {
        metrics: Arc<Metrics>,
        exchange: Arc<Exchange>,
    }

    fn start() -> (Watch, Observed) {
        let metrics = Metrics::new("0");
        let stats = metrics.shard().route(&Arc::from("r"));
        let exchange = record(&get("http://a.test/"));
        exchange.answered(200, None, Some(clock::now()));
        let watch = Watch::start(Arc::clone(&exchange), Arc::new(Observer { stats, log: None }));
        (watch, Observed { metrics, exchange })
    }

    impl Observed {
        /// How often it was reported, and the last reason.
        fn reports(&self) -> (u64, Option<ErrorKind>) {
            let text = expose::render(&self.metrics);
            let lines = text.lines().filter(|line| line.starts_with("attache_requests_total{"));
            let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
            (counts.sum(), self.exchange.reason())
        }
    }

    fn chunks(frames: Vec<Result<&'static str, Error>>) -> Response<Body> {
        let frames = frames.into_iter().map(|frame| frame.map(|text| Frame::data(Bytes::from_static(text.as_bytes()))));
        response(200).map(|_| Body::boxed(StreamBody::new(stream::iter(frames.collect::<Vec<_>>()))))
    }

    #[tokio::test]
    async fn a_body_read_to_its_end_is_reported_once_with_its_bytes() {
        let (watch, observed) = start();
        let mut response = chunks(vec![Ok("ab"), Ok("cde")]);
        watch.attach(&mut response);
        assert_eq!(observed.reports(), (0, None));

        response.into_body().collect().await.expect("a body");

        assert_eq!(observed.reports(), (1, None));
        assert_eq!(observed.exchange.bytes_out(), 5);
    }

    #[tokio::test]
    async fn a_body_that_fails_is_reported_with_its_kind() {
        let (watch, observed) = start();
        let mut response = chunks(vec![Ok("ab"), Err(Error::new(ErrorKind::Truncated))]);
        watch.attach(&mut response);

        response.into_body().collect().await.expect_err("a failure");

        assert_eq!(observed.reports(), (1, Some(ErrorKind::Truncated)));
        assert_eq!(observed.exchange.bytes_out(), 2);
    }

    #[tokio::test]
    async fn a_body_dropped_half_way_is_a_client_that_left() {
        let (watch, observed) = start();
        let mut response = chunks(vec![Ok("ab"), Ok("cd")]);
        watch.attach(&mut response);
        let mut body = response.into_body();
        body.frame().await.expect("a frame").expect("data");

        drop(body);

        assert_eq!(observed.reports(), (1, Some(ErrorKind::ClientGone)));
    }

    #[tokio::test]
    async fn an_empty_body_that_is_dropped_is_complete() {
        let (watch, observed) = start();
        let mut response = response(204);
        watch.attach(&mut response);

        drop(response);

        assert_eq!(observed.reports(), (1, None));
    }

    #[tokio::test]
    async fn a_request_dropped_before_its_response_is_a_client_that_left() {
        let (watch, observed) = start();

        drop(watch);

        assert_eq!(observed.reports(), (1, Some(ErrorKind::ClientGone)));
    }

    #[tokio::test]
    async fn the_cause_outlives_a_client_that_leaves_during_the_error_response() {
        let (watch, observed) = start();
        observed.exchange.answered(502, Some(ErrorKind::Dns), Some(clock::now()));
        let mut response = chunks(vec![Ok("no such name")]);
        watch.attach(&mut response);

        drop(response);

        assert_eq!(observed.reports(), (1, Some(ErrorKind::Dns)));
    }

    #[tokio::test]
    async fn a_tunnel_is_ended_by_its_bridge() {
        let (watch, observed) = start();
        watch.exchange().add_bytes_out(7);

        watch.finish(End::Complete);

        assert_eq!(observed.reports(), (1, None));
    }
}
