//! Every way a request can fail, and what each means to the client, the log and the retry.
//!
//! One closed enum and one table: a new kind does not compile until it has all its columns. No status is
//! chosen anywhere else. An upstream's 5xx is not an `Error`: it is a response with its own outcome.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};

use crate::Rate;
use crate::exchange::Door;

/// Whether the upstream may have acted on the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sent {
    /// Provably no byte of the request was acted on.
    Nothing,
    /// Some of it was written: nobody knows.
    Maybe,
    /// All of it was written.
    Complete,
}

/// When an error of a kind may be retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Never.
    Never,
    /// Always: nothing was sent.
    Unsent,
    /// If nothing was sent, or the request is safe to repeat.
    BySent,
    /// Only on another endpoint.
    Elsewhere,
}

macro_rules! kinds {
    ($($kind:ident $label:literal $status:literal $grpc:literal $proxy:literal $flag:literal $repeat:ident, $text:literal;)*) => {
        /// The closed list of reasons; see the module.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[expect(missing_docs, reason = "the table says what each is")]
        pub enum ErrorKind { $($kind),* }

        impl ErrorKind {
            /// Every kind, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// The word used in metrics, logs and problem bodies.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$kind => $label),* }
            }

            /// The RFC 9209 `error` parameter; empty where no response of ours exists.
            pub const fn proxy_status(self) -> &'static str {
                match self { $(Self::$kind => $proxy),* }
            }

            /// Envoy's response flag for the same event.
            pub const fn envoy_flag(self) -> &'static str {
                match self { $(Self::$kind => $flag),* }
            }

            /// When it may be retried.
            pub const fn repeat(self) -> Repeat {
                match self { $(Self::$kind => Repeat::$repeat),* }
            }

            /// One clause for people.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$kind => $text),* }
            }

            /// The `grpc-status` of the same event, for a client that speaks gRPC.
            pub const fn grpc_status(self) -> u16 {
                match self { $(Self::$kind => $grpc),* }
            }

            const fn plain_status(self) -> u16 {
                match self { $(Self::$kind => $status),* }
            }
        }
    };
}

kinds! {
    BadRequest "bad_request" 400 13 "http_request_error" "DPE" Never, "the request is malformed";
    Loop "loop" 508 13 "proxy_loop_detected" "-" Never, "the request came back to this proxy";
    Expectation "expectation" 417 13 "http_request_error" "DPE" Never, "the expectation cannot be met";
    HeaderTooLarge "header_too_large" 431 8 "http_request_error" "DPE" Never, "the header section is too large";
    UriTooLong "uri_too_long" 414 13 "http_request_error" "DPE" Never, "the request target is too long";
    ClientTimeout "client_timeout" 408 1 "http_request_error" "DPE" Never, "the client was too slow";
    Misdirected "misdirected" 421 7 "http_request_denied" "-" Never, "the inner host differs from the tunnel's";
    UpgradeRefused "upgrade_refused" 400 13 "http_upgrade_failed" "-" Never, "this upgrade is not relayed";
    Unsupported "unsupported" 501 12 "http_request_denied" "-" Never, "this proxy does not do that itself";
    NoRoute "no_route" 404 12 "destination_not_found" "NR" Never, "no route matches";
    Unauthenticated "unauthenticated" 401 16 "http_request_denied" "UAEX" Never, "credentials are missing or invalid";
    Forbidden "forbidden" 403 7 "http_request_denied" "UAEX" Never, "this client may not make this request";
    DestinationBlocked "destination_blocked" 403 7 "destination_ip_prohibited" "UAEX" Never, "this destination is not allowed";
    RateLimited "rate_limited" 429 8 "http_request_denied" "RL" Never, "the rate limit is reached";
    Overloaded "overloaded" 503 14 "connection_limit_reached" "UO" Never, "too much is in flight";
    QueueTimeout "queue_timeout" 503 14 "connection_limit_reached" "UO" Never, "the wait for a free place was too long";
    TooLarge "too_large" 413 8 "http_request_error" "DPE" Never, "the body is too large";
    BreakerOpen "breaker_open" 503 14 "destination_unavailable" "UO" Elsewhere, "the breaker of this destination is open";
    NoHealthyEndpoint "no_healthy_endpoint" 503 14 "destination_unavailable" "UH" Elsewhere, "no endpoint is available";
    Dns "dns" 502 14 "dns_error" "DF" Unsent, "the name does not resolve";
    DnsTimeout "dns_timeout" 504 14 "dns_timeout" "DF" Unsent, "the name did not resolve in time";
    ConnectRefused "connect_refused" 502 14 "connection_refused" "UF" Unsent, "the connection was refused";
    ConnectTimeout "connect_timeout" 504 14 "connection_timeout" "UF" Unsent, "the connection was not made in time";
    Tls "tls" 502 14 "tls_protocol_error" "UF" Unsent, "the tls handshake failed";
    TlsCertificate "tls_certificate" 502 14 "tls_certificate_error" "UF" Never, "the server's certificate is not valid";
    Reset "reset" 502 14 "connection_terminated" "UC" BySent, "the upstream reset the connection";
    ClosedEarly "closed_early" 502 14 "connection_terminated" "UC" BySent, "the upstream closed before it answered";
    Protocol "protocol" 502 13 "http_protocol_error" "UPE" BySent, "the upstream's answer is not valid http";
    AttemptTimeout "attempt_timeout" 504 4 "http_response_timeout" "UT" BySent, "the upstream did not answer in time";
    Deadline "deadline" 504 4 "http_response_timeout" "UT" Never, "the request's total time is used up";
    Truncated "truncated" 502 14 "http_response_incomplete" "UC" Never, "the upstream's answer ended early";
    ClientGone "client_gone" 499 1 "" "DC" Never, "the client went away";
    HedgeLost "hedge_lost" 499 1 "" "-" Never, "another try of the same request was faster";
    Credential "credential" 502 14 "proxy_internal_error" "-" Never, "the credential for the upstream could not be had";
    ParentProxy "parent_proxy" 502 14 "connection_refused" "UF" Unsent, "the parent proxy refused";
    Draining "draining" 503 14 "destination_unavailable" "-" Never, "this proxy is shutting down";
    Fault "fault" 503 14 "proxy_internal_response" "FI" Never, "a fault was injected on purpose";
    Internal "internal" 500 13 "proxy_internal_error" "-" Never, "a bug in this proxy";
}

impl ErrorKind {
    /// The status for a client that came in through `door`.
    pub fn status(self, door: Door) -> StatusCode {
        let code = match self {
            Self::NoRoute if door.is_proxy() => 403,
            Self::Unauthenticated if door.is_proxy() => 407,
            other => other.plain_status(),
        };
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The kind with this discriminant, for records that store it as one byte.
    pub fn from_index(index: u8) -> Option<Self> {
        Self::ALL.get(usize::from(index)).copied()
    }
}

/// What the client gets of a fault that was injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injected {
    /// An answer; without a status of its own that of the table.
    Answer {
        /// For a client that speaks HTTP.
        status: Option<u16>,
        /// For one that speaks gRPC.
        grpc: Option<u16>,
    },
    /// None: its connection, or its stream of HTTP/2, is reset.
    Reset,
}

/// A request that failed.
#[derive(Debug)]
pub struct Error {
    /// What went wrong.
    pub kind: ErrorKind,
    /// Whether the upstream may have acted.
    pub sent: Sent,
    /// When a repeat may succeed; becomes `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The quota that is used up; becomes `RateLimit` and `RateLimit-Policy`.
    pub rate: Option<Box<Rate>>,
    /// Of `unauthenticated`: what would be accepted; becomes `WWW-Authenticate` or `Proxy-Authenticate`.
    pub challenges: Option<Arc<[HeaderValue]>>,
    /// Of `fault`: what was asked for.
    pub injected: Option<Injected>,
    detail: Option<Cow<'static, str>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error before anything was sent upstream.
    pub const fn new(kind: ErrorKind) -> Self {
        Self {
            kind,
            sent: Sent::Nothing,
            retry_after: None,
            rate: None,
            challenges: None,
            injected: None,
            detail: None,
            source: None,
        }
    }

    /// Adds what it failed on, for people who may see it.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Says how much of the request may have been acted on.
    #[must_use]
    pub const fn with_sent(mut self, sent: Sent) -> Self {
        self.sent = sent;
        self
    }

    /// Says what would be accepted.
    #[must_use]
    pub fn with_challenges(mut self, challenges: Arc<[HeaderValue]>) -> Self {
        self.challenges = Some(challenges);
        self
    }

    /// Says what the client is to get.
    #[must_use]
    pub const fn with_injected(mut self, injected: Injected) -> Self {
        self.injected = Some(injected);
        self
    }

    /// The status for a client that came in through `door`.
    pub fn status(&self, door: Door) -> StatusCode {
        match self.injected {
            Some(Injected::Answer { status: Some(status), .. }) => {
                StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
            _ => self.kind.status(door),
        }
    }

    /// The `grpc-status` for a client that speaks gRPC.
    pub const fn grpc_status(&self) -> u16 {
        match self.injected {
            Some(Injected::Answer { grpc: Some(status), .. }) => status,
            _ => self.kind.grpc_status(),
        }
    }

    /// Says when a repeat may succeed.
    #[must_use]
    pub const fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Says which quota is used up; a repeat may succeed once it is renewed.
    #[must_use]
    pub fn with_rate(mut self, rate: Rate) -> Self {
        self.retry_after = Some(rate.reset);
        self.rate = Some(Box::new(rate));
        self
    }

    /// What it failed on: the detail, or the causes joined, or nothing.
    pub fn detail(&self) -> Option<String> {
        if let Some(detail) = &self.detail {
            return Some(detail.clone().into_owned());
        }
        let mut text = String::new();
        let mut cause = self.source();
        while let Some(error) = cause {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&error.to_string());
            cause = error.source();
        }
        (!text.is_empty()).then_some(text)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.text())?;
        match self.detail() {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn StdError + 'static))
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self::new(kind)
    }
}
