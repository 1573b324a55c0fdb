//! When an attempt is over.
//!
//! The attempt's own limit is about the upstream: while the client still uploads, it begins again, since a slow client
//! must not look like a slow endpoint. The total deadline is about the request and holds whatever goes on; reached
//! during an upload, it says nothing about the endpoint either.

use std::task::{Context, Poll};
use std::time::Duration;

use exchange::exchange::Upload;
use exchange::{ErrorKind, Exchange, clock};
use policy::Tick;

use super::Flight;
use crate::timers::Timer;

/// The limit of one attempt.
pub(super) struct Limit {
    timer: Option<Timer>,
    over: ErrorKind,
    attempt: Option<Duration>,
    total: Option<Tick>,
}

impl Limit {
    pub(super) fn of(flight: &Flight) -> Self {
        let (attempt, total) = flight.limits();
        let (at, over) = ends(attempt, total, flight.started());
        let timer = at.map(|at| Timer::new(&flight.pool().context().timers, at));
        Self { timer, over, attempt, total }
    }

    /// It is not waited for any more.
    pub(super) fn end(&mut self) {
        self.timer = None;
    }

    /// Ready with what it is called once the attempt is over.
    pub(super) fn poll(&mut self, cx: &Context<'_>, exchange: &Exchange) -> Poll<ErrorKind> {
        let Some(timer) = &mut self.timer else { return Poll::Pending };
        if timer.poll(cx).is_pending() {
            return Poll::Pending;
        }
        if self.over == ErrorKind::AttemptTimeout && exchange.upload() == Upload::Running {
            let (at, over) = ends(self.attempt, self.total, clock::now());
            self.over = over;
            if let Some(at) = at {
                timer.again(at, cx);
            }
            return Poll::Pending;
        }
        Poll::Ready(self.over)
    }
}

/// When an attempt that began at `from` is over, and what that is called.
fn ends(attempt: Option<Duration>, total: Option<Tick>, from: Tick) -> (Option<Tick>, ErrorKind) {
    match (attempt.map(|limit| from + limit), total) {
        (Some(attempt), Some(total)) if total <= attempt => (Some(total), ErrorKind::Deadline),
        (Some(attempt), _) => (Some(attempt), ErrorKind::AttemptTimeout),
        (None, total) => (total, ErrorKind::Deadline),
    }
}
