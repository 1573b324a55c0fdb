//! What went wrong on a connection, from hyper's words for it.

use std::error::Error as StdError;
use std::io;

use exchange::exchange::Upload;
use exchange::{Error, ErrorKind, Exchange, Sent};

/// The error of a request that was, perhaps, sent.
pub(super) fn of(error: hyper::Error, exchange: &Exchange) -> Error {
    if let Some(own) = cause::<Error>(&error) {
        // The request body failed under hyper's hands: the client's doing.
        return Error::new(own.kind).with_sent(Sent::Maybe).with_source(error);
    }
    if exchange.upload() == Upload::Broken {
        return Error::new(ErrorKind::ClientGone).with_sent(Sent::Maybe).with_source(error);
    }
    if let Some(h2) = cause::<h2::Error>(&error) {
        let (kind, sent) = of_h2(h2);
        return Error::new(kind).with_sent(sent).with_source(error);
    }
    let kind = if error.is_parse() || error.is_parse_too_large() || error.is_parse_status() {
        ErrorKind::Protocol
    } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        ErrorKind::ClosedEarly
    } else {
        match cause::<io::Error>(&error).map(io::Error::kind) {
            Some(io::ErrorKind::UnexpectedEof) => ErrorKind::ClosedEarly,
            Some(io::ErrorKind::InvalidData) => ErrorKind::Protocol,
            _ if error.is_body_write_aborted() => ErrorKind::ClosedEarly,
            _ => ErrorKind::Reset,
        }
    };
    Error::new(kind).with_sent(Sent::Maybe).with_source(error)
}

/// RFC 9113 section 8.7: REFUSED_STREAM, and a stream above GOAWAY's last one, were not acted on.
fn of_h2(error: &h2::Error) -> (ErrorKind, Sent) {
    match error.reason() {
        Some(h2::Reason::REFUSED_STREAM) => (ErrorKind::Reset, Sent::Nothing),
        Some(h2::Reason::NO_ERROR) if error.is_go_away() && error.is_remote() => (ErrorKind::Reset, Sent::Nothing),
        Some(h2::Reason::PROTOCOL_ERROR | h2::Reason::FRAME_SIZE_ERROR | h2::Reason::COMPRESSION_ERROR) => {
            (ErrorKind::Protocol, Sent::Maybe)
        }
        _ => (ErrorKind::Reset, Sent::Maybe),
    }
}

fn cause<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = error.source();
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
