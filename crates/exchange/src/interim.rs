//! An interim response on its way to the client (RFC 9110 section 15.2).
//!
//! It is written from parsed fields and never copied: what belongs to the upstream's connection is gone, and neither a
//! line break nor a framing field gets through. Route settings for response fields do not touch it.

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};

use crate::headers::{self, Seen};

/// Largest head that is passed on; a larger one is dropped.
const MAX_BYTES: usize = 8 * 1024;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interim {
    status: StatusCode,
    fields: HeaderMap,
}

impl Interim {
    /// What an upstream sent, unless its code is no interim one; 101 is final.
    pub fn new(code: u16, fields: HeaderMap) -> Option<Self> {
        let status = StatusCode::from_u16(code).ok()?;
        let is_interim = status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS;
        is_interim.then_some(Self { status, fields })
    }

    /// Our own, which asks for the body of a request.
    pub fn go_on() -> Self {
        Self { status: StatusCode::CONTINUE, fields: HeaderMap::new() }
    }

    /// The body of the request is asked for.
    pub fn is_continue(&self) -> bool {
        self.status == StatusCode::CONTINUE
    }

    /// What of it goes on, and its fields' length as HTTP/1.1 has them; `None` if it is too large.
    pub fn fields(self) -> Option<(StatusCode, HeaderMap, usize)> {
        let Self { status, mut fields } = self;
        let seen = Seen::of(&fields);
        headers::strip(&mut fields, seen);
        fields.remove(header::CONTENT_LENGTH);
        let length = fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
        (length <= MAX_BYTES).then_some((status, fields, length))
    }

    /// The head as HTTP/1.1 has it; `None` if it is too large.
    pub fn head(self) -> Option<Bytes> {
        self.fields().map(|(status, fields, length)| write(status, &fields, length))
    }
}

fn write(status: StatusCode, fields: &HeaderMap, length: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(length + 64);
    bytes.extend_from_slice(b"HTTP/1.1 ");
    bytes.extend_from_slice(status.as_str().as_bytes());
    bytes.push(b' ');
    bytes.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    bytes.extend_from_slice(b"\r\n");
    for (name, value) in fields {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.into()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        map
    }

    fn hint(fields: HeaderMap) -> Option<Bytes> {
        Interim::new(103, fields).and_then(Interim::head)
    }

    #[test]
    fn only_end_to_end_fields_are_written() {
        let fields = map(&[
            ("link", "</a>"),
            ("link", "</b>"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
        ]);

        let head = hint(fields).expect("a head");

        assert_eq!(head, "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nlink: </b>\r\n\r\n");
    }

    #[test]
    fn a_code_without_a_name_keeps_its_space() {
        let head = Interim::new(150, HeaderMap::new()).and_then(Interim::head).expect("a head");

        assert_eq!(head, "HTTP/1.1 150 \r\n\r\n");
    }

    #[test]
    fn what_is_no_interim_response_or_too_large_is_not_written() {
        let of = |length: usize| map(&[("x", &"y".repeat(length))]);

        for code in [99, 101, 200, 1000] {
            assert_eq!(Interim::new(code, HeaderMap::new()), None, "{code}");
        }
        assert!(hint(of(MAX_BYTES - 5)).is_some());
        assert_eq!(hint(of(MAX_BYTES - 4)), None);
    }
}
