//! CONNECT, as a client: what is asked of a parent, and what counts as its consent (RFC 9110 section 9.3.6).
//!
//! Nothing of the tunnel is sent before its 2xx: a parent that refuses would read it as a request of its own. Of a
//! 2xx only the status counts, not a length that it claims. What comes right behind it belongs to the tunnel; where
//! the far end has no reason to speak first it is put there by somebody else, and the connection is given up.
//!
//! The head is bounded in bytes, the caller bounds the time.

use bytes::{Buf, BytesMut};
use exchange::{Error, Io};
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Parent;

/// The longest answer that is read.
const MAX_HEAD: usize = 16 * 1024;
const MAX_FIELDS: usize = 100;
/// Interim answers before the final one.
const MAX_INTERIM: usize = 8;

/// Bytes of the far end that come with the parent's consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Early {
    /// It may speak first.
    Kept,
    /// It is spoken to first.
    Refused,
}

/// What one read of the answer says so far.
enum Said {
    /// More is to come.
    Unfinished,
    /// This status, in so many bytes.
    Head(StatusCode, usize),
}

/// Asks for a tunnel to `to`, and waits for it.
pub async fn ask(parent: &Parent, to: &str, mut io: Io, early: Early) -> Result<Io, Error> {
    let mut head = BytesMut::from(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n").as_bytes());
    if let Some(value) = parent.authorization()? {
        head.extend_from_slice(b"Proxy-Authorization: ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    io.write_all(&head).await.map_err(|error| parent.refused(format_args!("closed the connection: {error}")))?;
    // What carries TLS may keep it until it is told.
    io.flush().await.map_err(|error| parent.refused(format_args!("closed the connection: {error}")))?;
    let answer = answered(parent, to, &mut io).await?;
    match early {
        Early::Refused if !answer.is_empty() => {
            Err(parent.refused(format_args!("sent {} bytes with its answer to CONNECT {to}", answer.len())))
        }
        _ => Ok(io.rewound(answer.freeze())),
    }
}

/// Reads up to a 2xx; returns what came behind it.
async fn answered(parent: &Parent, to: &str, io: &mut Io) -> Result<BytesMut, Error> {
    let mut read = BytesMut::with_capacity(1024);
    let mut interim = 0;
    loop {
        match said(&read).map_err(|why| parent.refused(format_args!("gave no valid answer to CONNECT {to}: {why}")))? {
            Said::Head(status, length) if status.is_success() => {
                read.advance(length);
                return Ok(read);
            }
            Said::Head(status, length) if status.is_informational() && interim < MAX_INTERIM => {
                if status == StatusCode::SWITCHING_PROTOCOLS {
                    return Err(parent.refused(format_args!("answered {status} to CONNECT {to}")));
                }
                read.advance(length);
                interim += 1;
                continue;
            }
            Said::Head(status, _) => return Err(refusal(parent, to, status)),
            Said::Unfinished if read.len() >= MAX_HEAD => {
                return Err(parent.refused(format_args!("answered CONNECT {to} with a head over {MAX_HEAD} bytes")));
            }
            Said::Unfinished => {}
        }
        let room = MAX_HEAD - read.len();
        let count = (&mut *io).take(room as u64).read_buf(&mut read).await;
        match count {
            Ok(0) => {
                return Err(parent.refused(format_args!("closed the connection instead of answering CONNECT {to}")));
            }
            Ok(_) => {}
            Err(error) => return Err(parent.refused(format_args!("closed the connection: {error}"))),
        }
    }
}

fn said(read: &[u8]) -> Result<Said, String> {
    if read.is_empty() {
        return Ok(Said::Unfinished);
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    match response.parse(read) {
        Ok(httparse::Status::Complete(length)) => {
            let status = StatusCode::from_u16(response.code.unwrap_or_default()).map_err(|error| error.to_string())?;
            Ok(Said::Head(status, length))
        }
        Ok(httparse::Status::Partial) => Ok(Said::Unfinished),
        Err(error) => Err(error.to_string()),
    }
}

fn refusal(parent: &Parent, to: &str, status: StatusCode) -> Error {
    let hint = match (status, parent.source()) {
        (StatusCode::PROXY_AUTHENTICATION_REQUIRED, None) => ": give it `auth`",
        (StatusCode::PROXY_AUTHENTICATION_REQUIRED, Some(_)) => ": its `auth` is not what it wants",
        _ => "",
    };
    parent.refused(format_args!("answered {status} to CONNECT {to}{hint}"))
}
