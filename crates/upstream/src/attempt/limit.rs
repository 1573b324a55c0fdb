//! When an attempt is over.
//!
//! The attempt's own limit is about the upstream: while the client still uploads, it begins again, since a slow client
//! must not look like a slow endpoint. The total deadline is about the request and holds whatever goes on; reached
//! during an upload, it says nothing about the endpoint either.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use exchange::exchange::Upload;
use exchange::{ErrorKind, Exchange, clock};
use policy::Tick;

use super::Flight;
use crate::timers::{Timer, Timers};

/// The limit of one attempt.
pub(super) struct Limit {
    timers: Arc<Timers>,
    timer: Option<Timer>,
    over: ErrorKind,
    attempt: Option<Duration>,
    total: Option<Tick>,
}

impl Limit {
    pub(super) fn of(flight: &Flight) -> Self {
        let (attempt, total) = flight.limits();
        let timers = Arc::clone(&flight.pool().context().timers);
        let mut limit = Self { timers, timer: None, over: ErrorKind::Deadline, attempt, total };
        limit.set(flight.started());
        limit
    }

    /// Ready with what it is called once the attempt is over.
    pub(super) fn poll(&mut self, cx: &Context<'_>, exchange: &Exchange) -> Poll<ErrorKind> {
        let Some(timer) = &mut self.timer else { return Poll::Pending };
        if timer.poll(cx).is_pending() {
            return Poll::Pending;
        }
        if self.over == ErrorKind::AttemptTimeout && exchange.upload() == Upload::Running {
            self.set(clock::now());
            if let Some(timer) = &mut self.timer {
                // Sets it; it cannot have come yet.
                let _ = timer.poll(cx);
            }
            return Poll::Pending;
        }
        Poll::Ready(self.over)
    }

    fn set(&mut self, from: Tick) {
        let attempt = self.attempt.map(|limit| from + limit);
        let (at, over) = match (attempt, self.total) {
            (Some(attempt), Some(total)) if total <= attempt => (Some(total), ErrorKind::Deadline),
            (Some(attempt), _) => (Some(attempt), ErrorKind::AttemptTimeout),
            (None, total) => (total, ErrorKind::Deadline),
        };
        self.timer = at.map(|at| Timer::new(&self.timers, at));
        self.over = over;
    }
}
