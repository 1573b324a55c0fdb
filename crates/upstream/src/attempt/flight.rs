//! What one attempt holds: its place at the endpoint, the breaker's admission, and later the lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use exchange::classify::{self, Verdict};
use exchange::exchange::Upload;
use exchange::race::Race;
use exchange::{Attempt, Body, End, Error, ErrorKind, Exchange, Finish, Sent, clock};
use http::{HeaderMap, Response, StatusCode};
use http_body::Body as _;
use policy::Tick;
use policy::breaker::{Admission, Sample, State, Transition};

use super::{Admitted, redial};
use crate::Pool;
use crate::endpoint::Endpoint;
use crate::pool::Lease;
use crate::upstream::Params;

/// Latency noted for a failure, at least: a fast failure must not look like a fast endpoint.
const PENALTY: Duration = Duration::from_secs(1);

/// One attempt under way. Dropping it releases everything and counts for nothing.
pub(crate) struct Flight {
    endpoint: Endpoint,
    admission: Option<Admission>,
    params: Arc<Params>,
    exchange: Arc<Exchange>,
    started: Tick,
    sent: Sent,
    reused: bool,
    noted: bool,
    hedge: bool,
}

impl Flight {
    pub(crate) fn new(admitted: Admitted, params: Arc<Params>, exchange: Arc<Exchange>, started: Tick) -> Self {
        let Admitted { endpoint, admission } = admitted;
        let (reused, noted, hedge) = (false, false, false);
        Self { endpoint, admission, params, exchange, started, sent: Sent::Nothing, reused, noted, hedge }
    }

    /// It may be one of two.
    pub(crate) fn race(&mut self, rival: bool) {
        self.hedge = rival;
        if let Some(race) = self.exchange.race() {
            race.took(&self.endpoint.state.label, self.admission.as_ref().is_some_and(Admission::probe), rival);
        }
    }

    pub(super) fn exchange(&self) -> &Arc<Exchange> {
        &self.exchange
    }

    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.endpoint.pool
    }

    pub(super) fn started(&self) -> Tick {
        self.started
    }

    /// The request goes onto a connection now.
    pub(super) fn sending(&mut self, reused: bool) {
        self.sent = Sent::Maybe;
        self.reused = reused;
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        self.params.connect
    }

    pub(super) fn idle_timeout(&self) -> Duration {
        self.params.idle
    }

    /// For the attempt, and for all of the request.
    pub(super) fn limits(&self) -> (Option<Duration>, Option<Tick>) {
        (self.params.attempt, self.exchange.deadline())
    }

    /// The time is over.
    pub(super) fn overdue(&self, kind: ErrorKind) -> Error {
        let waited = clock::now().since(self.started).as_millis();
        Error::new(kind)
            .with_sent(self.sent)
            .with_detail(format!("{} did not answer within {waited} ms", self.endpoint.state.label))
    }

    /// Judges a head; returns the generation of a sample that is good so far. `whole`: nothing can fail after it.
    fn landed(&mut self, response: &Response<Body>, whole: bool, now: Tick) -> Option<u32> {
        let status = response.status();
        let failed = self.exchange.head.grpc && grpc_failed(response.headers());
        let verdict = if failed { Verdict::Bad } else { classify::status(status) };
        self.exchange.head_at(now);
        let generation = self.judge(verdict, whole, now);
        self.note(Ok(status.as_u16()), now);
        generation.filter(|_| verdict == Verdict::Good)
    }

    pub(super) fn failed(&mut self, error: &Error) {
        let now = clock::now();
        // A client that still uploads when the time is over is what was slow.
        let late = matches!(error.kind, ErrorKind::Deadline | ErrorKind::AttemptTimeout);
        let clients = late && self.exchange.upload() == Upload::Running;
        self.judge(if clients { Verdict::Unknown } else { classify::error(error) }, true, now);
        self.note(Err(error.kind), now);
    }

    /// Feeds the breaker and the latency memory; returns the generation the sample belongs to.
    /// `whole`: nothing can fail after it.
    fn judge(&mut self, verdict: Verdict, whole: bool, now: Tick) -> Option<u32> {
        let latency = now.since(self.started);
        let state = &self.endpoint.state;
        let sample = match verdict {
            Verdict::Good => {
                state.latency.success(latency, now);
                Sample::Success { latency, whole }
            }
            Verdict::Bad | Verdict::Unreachable => {
                state.latency.failure(latency, PENALTY, now);
                Sample::Failure { connect: verdict == Verdict::Unreachable, latency }
            }
            Verdict::Unknown => return None,
        };
        let (admission, params) = (self.admission.take()?, self.params.breaker.as_ref()?);
        let generation = admission.generation();
        let random = &self.pool().context().random;
        let transition = random.with(|rng| state.breaker.record(admission, sample, params, now, rng));
        if let Some(transition) = transition {
            if transition.to == State::Closed {
                // It answered its probes; the penalty of what it failed before would shun it for most of a minute.
                state.latency.restart(latency, now);
            }
            announce(&self.endpoint, transition);
            redial::watch(&self.endpoint, params.clone(), self.params.connect);
        }
        Some(generation)
    }

    /// What was good at the head was good to its end, as far as anybody waited for it.
    fn judge_end(&self, generation: u32) {
        if self.params.breaker.as_ref().is_some_and(|params| params.failures.is_some()) {
            self.endpoint.state.breaker.completed(generation);
        }
    }

    fn judge_late(&self, generation: u32, now: Tick) {
        let Some(params) = &self.params.breaker else { return };
        let random = &self.pool().context().random;
        let breaker = &self.endpoint.state.breaker;
        if let Some(transition) = random.with(|rng| breaker.late_failure(generation, params, now, rng)) {
            announce(&self.endpoint, transition);
        }
    }

    fn note(&mut self, result: Result<u16, ErrorKind>, now: Tick) {
        self.noted = true;
        self.exchange.attempted(Attempt {
            endpoint: Arc::clone(&self.endpoint.state.label),
            started: self.started,
            took: now.since(self.started),
            result,
            reused: self.reused,
            hedge: self.hedge,
        });
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.take() {
            self.endpoint.state.breaker.release(admission);
        }
        if !self.noted {
            let outrun = self.exchange.race().is_some_and(Race::is_outrun);
            self.note(Err(if outrun { ErrorKind::HedgeLost } else { ErrorKind::ClientGone }), clock::now());
        }
        self.endpoint.state.inflight.release();
    }
}

/// Counts and logs a breaker's change of state, once.
pub(super) fn announce(endpoint: &Endpoint, transition: Transition) {
    let state = &endpoint.state;
    if transition.to == State::Closed {
        state.begins(clock::now());
    }
    tracing::info!(upstream = &*state.upstream, endpoint = &*state.label, from = ?transition.from, to = ?transition.to, "breaker");
    endpoint.pool.context().stats.events().breaker_changed(&state.upstream, &state.label, transition.to as u8);
}

/// What the response body owes: the end of the attempt. One from the start, and in one place: it would be copied each time
/// it passes from hand to hand.
pub(super) struct Landing {
    pub flight: Flight,
    pub lease: Option<Lease>,
    pub uploaded: Option<Arc<AtomicBool>>,
    /// The generation of a sample that was good at the head.
    late: Option<u32>,
    tunnel: bool,
}

impl Landing {
    pub(super) fn new(flight: Flight, lease: Option<Lease>, uploaded: Option<Arc<AtomicBool>>) -> Box<Self> {
        Box::new(Self { flight, lease, uploaded, late: None, tunnel: false })
    }

    /// The head is there: judges it and hands what is held to the body.
    pub(super) fn answered(mut self: Box<Self>, response: &mut Response<Body>, now: Tick) {
        self.tunnel = response.status() == StatusCode::SWITCHING_PROTOCOLS || self.lease.is_none();
        let whole = self.tunnel || response.body().is_end_stream();
        self.late = self.flight.landed(response, whole, now);
        response.body_mut().attach(self);
    }
}

impl Finish for Landing {
    fn trailers(&mut self, trailers: &HeaderMap) {
        // hyper takes up to an empty line for trailers whatever follows the last chunk: a doubtful end.
        if let Some(lease) = &mut self.lease {
            lease.last = true;
        }
        if grpc_failed(trailers)
            && let Some(generation) = self.late.take()
        {
            self.flight.judge_late(generation, clock::now());
        }
    }

    fn finish(mut self: Box<Self>, end: End, now: Tick) {
        let uploaded = self.uploaded.as_ref().is_none_or(|done| done.load(Relaxed));
        if !uploaded && let Some(lease) = self.lease.take() {
            lease.close();
        }
        match end {
            End::Complete => {
                if let Some(generation) = self.late.take() {
                    self.flight.judge_end(generation);
                }
                if let Some(lease) = self.lease.take() {
                    lease.give_back(now);
                }
            }
            End::Failed(ErrorKind::Truncated) if !self.tunnel => {
                if let Some(generation) = self.late.take() {
                    self.flight.judge_late(generation, now);
                }
            }
            End::Failed(_) | End::Dropped => {
                if let Some(generation) = self.late.take() {
                    self.flight.judge_end(generation);
                }
            }
        }
    }
}

/// A gRPC status that says the server failed, rather than the call was refused: unknown, deadline exceeded,
/// internal, unavailable, data loss.
fn grpc_failed(fields: &HeaderMap) -> bool {
    match fields.get("grpc-status") {
        Some(status) => matches!(status.as_bytes(), b"2" | b"4" | b"13" | b"14" | b"15"),
        None => false,
    }
}

/// Notes when a request body has been sent whole; `None` if there is none.
pub(super) fn watch_upload(body: &mut Body) -> Option<Arc<AtomicBool>> {
    if body.is_end_stream() {
        return None;
    }
    let done = Arc::new(AtomicBool::new(false));
    body.attach(Box::new(Uploaded(Arc::clone(&done))));
    Some(done)
}

struct Uploaded(Arc<AtomicBool>);

impl Finish for Uploaded {
    fn finish(self: Box<Self>, end: End, _: Tick) {
        self.0.store(end == End::Complete, Relaxed);
    }
}
