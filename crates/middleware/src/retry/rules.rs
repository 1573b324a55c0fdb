//! Which results may be repeated.
//!
//! Safe to repeat is what was provably never sent, what has an idempotent method, and what carries an
//! `Idempotency-Key`. That no byte of a response arrived proves nothing. gRPC is always POST, so there a status
//! is repeated only because the route lists it, and only while no message reached the client: when it is in
//! the response's head.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use exchange::service::Outcome;
use exchange::{Body, Error, ErrorKind, Repeat, Sent};
use http::header::{HeaderMap, HeaderName};
use http::{Method, Response, StatusCode};
use policy::backoff::Backoff;
use policy::budget;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// What a gRPC client makes of an HTTP answer that is not gRPC's (gRPC, "HTTP to gRPC Status Code Mapping").
const UNAVAILABLE: u16 = 14;

/// A route's numbers.
#[derive(Clone, Debug)]
pub struct Params {
    /// Tries including the first.
    pub attempts: u32,
    /// Statuses that are repeated; 429 only with `Retry-After`.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// Responses that ask for it by a field, whatever their status.
    pub wanted: Option<Wanted>,
    /// The field by which a request sets `attempts` for itself.
    pub attempts_header: Option<HeaderName>,
    /// Failures that are repeated.
    pub conditions: Conditions,
    /// Methods that may be repeated after a byte was sent.
    pub methods: Vec<Method>,
    /// gRPC statuses that are repeated.
    pub grpc: Vec<u16>,
    /// Between attempts.
    pub backoff: Backoff,
    /// What retries may cost.
    pub budget: budget::Params,
    /// Bytes of body kept for another attempt.
    pub body_limit: usize,
    /// The route has several targets, so that an unavailable one is no reason to give up.
    pub elsewhere: bool,
}

/// Failures that are repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// No connection was made: name, TCP, TLS or parent proxy.
    pub connect_failure: bool,
    /// Reset, closed or garbled before the response head.
    pub reset: bool,
    /// The same, while provably nothing was processed (REFUSED_STREAM, GOAWAY, a stale connection).
    pub refused_stream: bool,
    /// An attempt's own time was over.
    pub timeout: bool,
}

/// Whether a response asks to be repeated.
#[derive(Clone)]
pub struct Wanted(pub Arc<dyn Fn(&HeaderMap) -> bool + Send + Sync>);

impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wanted")
    }
}

impl Default for Params {
    fn default() -> Self {
        use Method as M;
        Self {
            attempts: 3,
            statuses: vec![429..=429, 502..=504],
            wanted: None,
            attempts_header: None,
            conditions: Conditions { connect_failure: true, reset: true, refused_stream: true, timeout: true },
            methods: vec![M::GET, M::HEAD, M::OPTIONS, M::PUT, M::DELETE, M::TRACE],
            grpc: Vec::new(),
            backoff: Backoff::default(),
            budget: budget::Params::default(),
            body_limit: 64 * 1024,
            elsewhere: false,
        }
    }
}

/// What a result means for a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is what the client asked for, or nothing to repeat.
    Final,
    /// Repeating it might act twice.
    Unsafe,
    /// Repeating it is wanted and safe.
    Repeat,
}

impl Params {
    /// Acting twice on such a request is acting once.
    pub(super) fn is_safe(&self, method: &Method, headers: &HeaderMap) -> bool {
        self.methods.contains(method) || headers.contains_key(IDEMPOTENCY_KEY)
    }

    /// Whether any result of such a request could be repeated.
    pub(super) fn may_repeat(&self, safe: bool, grpc: bool) -> bool {
        let Conditions { connect_failure, reset, refused_stream, timeout } = self.conditions;
        let unsent = connect_failure || reset || refused_stream || timeout;
        safe || unsent || (grpc && !self.grpc.is_empty())
    }

    /// Judges a result; `after` is what it asked to wait.
    pub(super) fn verdict(&self, outcome: &Outcome, after: Option<Duration>, safe: bool, grpc: bool) -> Verdict {
        match outcome {
            Ok(response) if grpc => self.call(response),
            Ok(response) => self.response(response, after, safe),
            Err(error) => self.failure(error, safe),
        }
    }

    fn response(&self, response: &Response<Body>, after: Option<Duration>, safe: bool) -> Verdict {
        let status = response.status();
        let listed = self.statuses.iter().any(|range| range.contains(&status.as_u16()));
        let by_status = listed && (status != StatusCode::TOO_MANY_REQUESTS || after.is_some());
        if !by_status && !self.wanted.as_ref().is_some_and(|wanted| wanted.0(response.headers())) {
            return Verdict::Final;
        }
        if safe { Verdict::Repeat } else { Verdict::Unsafe }
    }

    fn call(&self, response: &Response<Body>) -> Verdict {
        let code = match response.status().as_u16() {
            200 => response.headers().get(GRPC_STATUS).and_then(|code| code.to_str().ok()?.parse().ok()),
            429 | 502..=504 => Some(UNAVAILABLE),
            _ => None,
        };
        if code.is_some_and(|code| self.grpc.contains(&code)) { Verdict::Repeat } else { Verdict::Final }
    }

    fn failure(&self, error: &Error, safe: bool) -> Verdict {
        let unsent = error.sent == Sent::Nothing;
        let wanted = match error.kind.repeat() {
            Repeat::Never => false,
            Repeat::Elsewhere => self.elsewhere,
            Repeat::Unsent => self.conditions.connect_failure,
            Repeat::BySent => {
                let condition = if error.kind == ErrorKind::AttemptTimeout {
                    self.conditions.timeout
                } else {
                    self.conditions.reset
                };
                condition || (unsent && self.conditions.refused_stream)
            }
        };
        match wanted {
            false => Verdict::Final,
            true if unsent || safe => Verdict::Repeat,
            true => Verdict::Unsafe,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::response;
    use Verdict::{Final, Repeat as Again, Unsafe};

    const OFF: Conditions = Conditions { connect_failure: false, reset: false, refused_stream: false, timeout: false };

    fn failure(params: &Params, kind: ErrorKind, sent: Sent, safe: bool) -> Verdict {
        params.verdict(&Err(Error::new(kind).with_sent(sent)), None, safe, false)
    }

    fn status(params: &Params, status: u16, after: Option<u64>, safe: bool) -> Verdict {
        params.verdict(&Ok(response(status)), after.map(Duration::from_secs), safe, false)
    }

    #[test]
    fn methods_and_the_key_make_a_request_safe() {
        let (params, mut headers) = (Params::default(), HeaderMap::new());
        let idempotent = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"];
        for method in ["POST", "PATCH", "CONNECT", "get", "PROPFIND"].iter().chain(&idempotent) {
            let parsed = method.parse().expect("a method");
            assert_eq!(params.is_safe(&parsed, &headers), idempotent.contains(method), "{method}");
        }

        headers.insert(IDEMPOTENCY_KEY, "\"8e03978e\"".parse().expect("a value"));

        assert!(params.is_safe(&Method::POST, &headers));
    }

    #[test]
    fn every_kind_is_repeated_as_its_table_says() {
        let alone = Params::default();
        let among = Params { elsewhere: true, ..Params::default() };
        for kind in ErrorKind::ALL {
            for sent in [Sent::Nothing, Sent::Maybe, Sent::Complete] {
                for safe in [false, true] {
                    let by_sent = if sent == Sent::Nothing || safe { Again } else { Unsafe };
                    let (expected, elsewhere) = match kind.repeat() {
                        Repeat::Never => (Final, Final),
                        Repeat::Elsewhere => (Final, by_sent),
                        Repeat::Unsent | Repeat::BySent => (by_sent, by_sent),
                    };
                    assert_eq!(failure(&alone, *kind, sent, safe), expected, "{kind:?} {sent:?} {safe}");
                    assert_eq!(failure(&among, *kind, sent, safe), elsewhere, "{kind:?} {sent:?} {safe}");
                }
            }
        }
    }

    #[test]
    fn each_condition_switches_its_own_failures() {
        use ErrorKind as K;
        let rows = [
            (Conditions { connect_failure: true, ..OFF }, K::ConnectRefused, Sent::Nothing),
            (Conditions { reset: true, ..OFF }, K::Reset, Sent::Maybe),
            (Conditions { refused_stream: true, ..OFF }, K::Reset, Sent::Nothing),
            (Conditions { timeout: true, ..OFF }, K::AttemptTimeout, Sent::Complete),
        ];
        for (on, kind, sent) in rows {
            for (conditions, expected) in [(on, Again), (OFF, Final)] {
                assert_eq!(
                    failure(&Params { conditions, ..Params::default() }, kind, sent, true),
                    expected,
                    "{kind:?}"
                );
            }
            let others = rows.iter().filter(|row| row.0 != on && (row.1 != kind || sent == Sent::Maybe));
            for (conditions, ..) in others {
                let params = Params { conditions: *conditions, ..Params::default() };
                assert_eq!(failure(&params, kind, sent, true), Final, "{kind:?} {conditions:?}");
            }
        }
    }

    #[test]
    fn listed_statuses_are_repeated_when_safe() {
        let params = Params::default();
        for (code, expected) in [(501, Final), (502, Again), (503, Again), (504, Again), (505, Final), (200, Final)] {
            assert_eq!(status(&params, code, None, true), expected, "{code}");
        }
        assert_eq!(status(&params, 503, None, false), Unsafe);
        assert_eq!(status(&params, 500, None, false), Final);
    }

    #[test]
    fn a_field_of_the_response_asks_for_a_repeat_whatever_the_status() {
        let wanted = Wanted(Arc::new(|headers: &HeaderMap| headers.contains_key("x-again")));
        let params = Params { wanted: Some(wanted), ..Params::default() };
        let asking = |status, safe, grpc| {
            let mut response = response(status);
            response.headers_mut().insert("x-again", "1".parse().expect("a value"));
            params.verdict(&Ok(response), None, safe, grpc)
        };

        for status in [200, 409, 429, 500] {
            assert_eq!(asking(status, true, false), Again, "{status}");
            assert_eq!(asking(status, false, false), Unsafe, "{status}");
            assert_eq!(asking(status, true, true), Final, "{status}: gRPC has statuses of its own");
        }
        assert_eq!(status(&params, 500, None, true), Final);
    }

    #[test]
    fn too_many_requests_needs_a_moment_to_come_back() {
        let params = Params::default();

        assert_eq!(status(&params, 429, None, true), Final);
        assert_eq!(status(&params, 429, Some(0), true), Again);
        assert_eq!(status(&params, 429, Some(1), false), Unsafe);
    }

    #[test]
    fn grpc_repeats_the_listed_statuses_of_trailers_only_answers() {
        let listed = Params { grpc: vec![14], ..Params::default() };
        let call = |params: &Params, http: u16, code: Option<&str>| {
            let mut response = response(http);
            if let Some(code) = code {
                response.headers_mut().insert(GRPC_STATUS, code.parse().expect("a value"));
            }
            params.verdict(&Ok(response), None, false, true)
        };

        assert_eq!(call(&listed, 200, Some("14")), Again);
        assert_eq!(call(&listed, 200, Some("13")), Final);
        assert_eq!(call(&listed, 200, Some("x")), Final);
        assert_eq!(call(&listed, 200, None), Final);
        assert_eq!(call(&listed, 503, None), Again);
        assert_eq!(call(&listed, 500, None), Final);
        assert_eq!(call(&Params::default(), 200, Some("14")), Final);
        assert_eq!(call(&Params::default(), 503, None), Final);
    }

    #[test]
    fn where_nothing_could_be_repeated_nothing_is_kept() {
        let off = Params { conditions: OFF, ..Params::default() };

        assert!(off.may_repeat(true, false));
        assert!(!off.may_repeat(false, false));
        assert!(!off.may_repeat(false, true));
        assert!(Params { grpc: vec![14], ..off.clone() }.may_repeat(false, true));
        assert!(Params::default().may_repeat(false, false));
    }
}
