//! What an attempt's result says about the endpoint.

use http::StatusCode;

use crate::{Error, ErrorKind};

/// The endpoint's side of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answered as it should; a 4xx is the client's affair.
    Good,
    /// It failed after the connection stood.
    Bad,
    /// No connection could be made.
    Unreachable,
    /// Nothing was learnt: ours or the client's doing.
    Unknown,
}

/// Judges a response head.
pub fn status(status: StatusCode) -> Verdict {
    if status.is_server_error() { Verdict::Bad } else { Verdict::Good }
}

/// Judges a failure.
pub fn error(error: &Error) -> Verdict {
    use ErrorKind as K;
    match error.kind {
        K::Dns | K::DnsTimeout | K::ConnectRefused | K::ConnectTimeout | K::Tls | K::TlsCertificate => {
            Verdict::Unreachable
        }
        K::Reset | K::ClosedEarly | K::Protocol | K::AttemptTimeout | K::Deadline | K::Truncated => Verdict::Bad,
        K::BadRequest
        | K::Loop
        | K::Expectation
        | K::HeaderTooLarge
        | K::UriTooLong
        | K::ClientTimeout
        | K::Misdirected
        | K::UpgradeRefused
        | K::NoRoute
        | K::Unauthenticated
        | K::Forbidden
        | K::DestinationBlocked
        | K::RateLimited
        | K::Overloaded
        | K::QueueTimeout
        | K::TooLarge
        | K::BreakerOpen
        | K::NoHealthyEndpoint
        | K::ClientGone
        | K::HedgeLost
        | K::Credential
        | K::ParentProxy
        | K::Draining
        | K::Fault
        | K::Unsupported
        | K::Internal => Verdict::Unknown,
    }
}
