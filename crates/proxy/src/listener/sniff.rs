//! What the first bytes of a connection say.
//!
//! Decided on as few bytes as possible: the HTTP/2 preface differs from every HTTP/1 request by its third byte.
//! hyper-util's own detection has no deadline; this is read under the caller's.

use bytes::{Bytes, BytesMut};
use exchange::Io;
use tokio::io::AsyncReadExt;

/// RFC 9113 section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// RFC 9113 section 6.5.
const SETTINGS: u8 = 4;
/// Bytes read at once; what is read too early is put back.
const CHUNK: usize = 1024;
/// The longest method token that still looks like HTTP; the longest registered one has 17 bytes.
const MAX_METHOD: usize = 64;

/// Line ends before a request line that are ignored; a stream of nothing else must not be kept until its time is over.
const MAX_BLANK: usize = 16;

/// The longest first line that is waited for inside a tunnel.
const MAX_LINE: usize = 8 * 1024;

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.x.
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
    /// The same without the SETTINGS it must begin with.
    BadHttp2,
    /// A TLS ClientHello.
    Tls,
    /// Anything else.
    Unknown,
}

/// Reads until it is clear what is spoken; the connection comes back with every byte in place. `None`: it ended
/// before that, or without a byte. Not cancel-safe: bytes read are lost with it.
pub async fn sniff(mut io: Io) -> std::io::Result<Option<(Spoken, Io)>> {
    let mut early = BytesMut::new();
    loop {
        early.reserve(CHUNK);
        if io.read_buf(&mut early).await? == 0 {
            return Ok(None);
        }
        if let Some(spoken) = recognise(&early) {
            return Ok(Some((spoken, rewound(io, early.freeze()))));
        }
    }
}

/// The same for the inside of a tunnel: the io is always given back, `None` if nothing came or it ended.
pub async fn peek(io: &mut Io, early: &mut BytesMut) -> std::io::Result<Option<Spoken>> {
    loop {
        early.reserve(CHUNK);
        if io.read_buf(early).await? == 0 {
            return Ok(None);
        }
        match recognise(early) {
            // `get key`, `HELO there`: other protocols of lines begin with a word as well.
            Some(Spoken::Http1) => match is_request_line(early) {
                Some(true) => return Ok(Some(Spoken::Http1)),
                Some(false) => return Ok(Some(Spoken::Unknown)),
                None => {}
            },
            Some(spoken) => return Ok(Some(spoken)),
            None => {}
        }
    }
}

/// Puts bytes read too early back.
pub fn rewound(io: Io, early: Bytes) -> Io {
    if early.is_empty() { io } else { io.rewound(early) }
}

/// `None`: more bytes are needed.
fn recognise(bytes: &[u8]) -> Option<Spoken> {
    if bytes[0] == 0x16 {
        return Some(Spoken::Tls);
    }
    let common = bytes.len().min(PREFACE.len());
    if bytes[..common] == PREFACE[..common] {
        // Length (24 bits), then the type: the first frame is SETTINGS, which hyper does not look at.
        return bytes
            .get(PREFACE.len() + 3)
            .map(|kind| if *kind == SETTINGS { Spoken::Http2 } else { Spoken::BadHttp2 });
    }
    // RFC 9112 section 2.2: empty lines before the request line are ignored.
    let blank = bytes.iter().take(MAX_BLANK + 1).take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    if blank > MAX_BLANK {
        return Some(Spoken::Unknown);
    }
    let line = &bytes[blank..];
    match line.iter().take(MAX_METHOD + 1).position(|byte| !is_token(*byte)) {
        Some(end) if end > 0 && line[end] == b' ' => Some(Spoken::Http1),
        None if line.len() <= MAX_METHOD => None,
        _ => Some(Spoken::Unknown),
    }
}

/// Whether the first line ends in a version of HTTP/1; `None`: more bytes are needed. A longer line is taken for one: the
/// server refuses it. Its end is looked for no further than that, or it would depend on how much came at once.
fn is_request_line(bytes: &[u8]) -> Option<bool> {
    let line = bytes.trim_ascii_start();
    match line.iter().take(MAX_LINE + 1).position(|byte| *byte == b'\n') {
        Some(end) => {
            let line = line[..end].trim_ascii_end();
            Some(line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0"))
        }
        None => (line.len() > MAX_LINE).then_some(true),
    }
}

/// RFC 9110 section 5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell() {
        for (bytes, spoken) in [
            (&b"GET / HTTP/1.1\r\n"[..], Some(Spoken::Http1)),
            (b"PRI", None),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", None),
            (PREFACE, None),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04", Some(Spoken::Http2)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x08\x06\0", Some(Spoken::BadHttp2)),
            (b"PROPFIND /", Some(Spoken::Http1)),
            (b"\r\n\r\nGET ", Some(Spoken::Http1)),
            (b"\r\n", None),
            (&[b'\n'; MAX_BLANK], None),
            (&[b'\n'; MAX_BLANK + 1], Some(Spoken::Unknown)),
            (b"M-SEARCH * ", Some(Spoken::Http1)),
            (b"M!#$%&'*+.^`|~ / HTTP/1.1\r\n", Some(Spoken::Http1)),
            (b"(GET) / HTTP/1.1\r\n", Some(Spoken::Unknown)),
            (b"X.Y+Z!#$%&'*^`|~ /", Some(Spoken::Http1)),
            (b"A(B /", Some(Spoken::Unknown)),
            (b"\x16\x03\x01", Some(Spoken::Tls)),
            (b"SSH-2.0-OpenSSH_9.2\r\n", Some(Spoken::Unknown)),
            (b"\x00\x01", Some(Spoken::Unknown)),
            (b"GE", None),
        ] {
            assert_eq!(recognise(bytes), spoken, "{bytes:?}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_too_long_however_much_of_it_came() {
        let line = [b"get ", &[b'k'; MAX_LINE - 4][..]].concat();

        assert_eq!(is_request_line(&[&line[..], b"\n"].concat()), Some(false));
        for more in [&b"k"[..], b"k\n", b"k\r\nmore"] {
            assert_eq!(is_request_line(&[&line[..], more].concat()), Some(true), "{more:?}");
        }
    }

    #[tokio::test]
    async fn no_byte_is_lost() {
        let (mut client, server) = tokio::io::duplex(64);
        tokio::io::AsyncWriteExt::write_all(&mut client, b"GET / HTTP/1.1\r\n\r\n").await.expect("written");
        drop(client);

        let (spoken, mut io) = sniff(Io::other(server)).await.expect("read").expect("recognised");
        let mut all = Vec::new();
        io.read_to_end(&mut all).await.expect("read");

        assert_eq!(spoken, Spoken::Http1);
        assert_eq!(all, b"GET / HTTP/1.1\r\n\r\n");
    }
}
