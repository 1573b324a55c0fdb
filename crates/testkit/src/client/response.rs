//! A response, with how it ended: a cut one must never pass for a whole one.

use std::io;

use crate::wire::{Fields, Wire, field};

/// How a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By its framing.
    Whole,
    /// By closing a connection whose message had no other end.
    Closed,
    /// Too early.
    Cut,
}

/// A response.
#[derive(Clone)]
pub struct Response {
    /// The final status.
    pub status: u16,
    /// `HTTP/1.1 200 OK`; empty for HTTP/2.
    pub line: String,
    /// In order, names as they were written.
    pub headers: Fields,
    /// What came of it.
    pub body: Vec<u8>,
    /// After the body.
    pub trailers: Fields,
    /// Statuses that came before.
    pub interim: Vec<u16>,
    /// How it ended.
    pub end: End,
}

impl Response {
    /// The first value of a field.
    pub fn header(&self, name: &str) -> Option<&str> {
        field(&self.headers, name)
    }

    /// All values of a field.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The word for what failed, of a response that the proxy itself made.
    pub fn reason(&self) -> String {
        self.json()["reason"].as_str().unwrap_or_else(|| panic!("no reason: {self:?}")).to_owned()
    }
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = self.text().chars().take(400).collect::<String>();
        write!(f, "{} {:?} {:?} ({} bytes) {shown:?}", self.status, self.end, self.headers, self.body.len())?;
        if self.trailers.is_empty() { Ok(()) } else { write!(f, " {:?}", self.trailers) }
    }
}

/// A response to a GET, unless the connection ends before a byte of it.
pub(super) async fn maybe(wire: &mut Wire) -> Option<Response> {
    if !wire.has_byte().await {
        return None;
    }
    Some(read(wire, "GET").await)
}

pub(super) async fn read(wire: &mut Wire, method: &str) -> Response {
    let mut interim = Vec::new();
    loop {
        let (line, headers) = match wire.head().await {
            Ok(Some(head)) => head,
            Ok(None) => panic!("the connection ended without a response"),
            Err(error) => panic!("no response: {error}, {:?}", String::from_utf8_lossy(wire.early())),
        };
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status: u16 = status.unwrap_or_else(|| panic!("not a status line: {line:?}"));
        assert!(line.starts_with("HTTP/1."), "{line:?}");
        if (100..200).contains(&status) && status != 101 {
            interim.push(status);
            continue;
        }
        let mut response =
            Response { status, line, headers, body: Vec::new(), trailers: Vec::new(), interim, end: End::Whole };
        body(wire, method, &mut response).await;
        return response;
    }
}

async fn body(wire: &mut Wire, method: &str, response: &mut Response) {
    let (lengths, codings) = (response.headers("content-length"), response.headers("transfer-encoding"));
    assert!(lengths.len() + codings.len() <= 1, "framed twice: {response:?}");
    if method == "HEAD" || matches!(response.status, 101 | 204 | 304) || (method == "CONNECT" && response.status < 300)
    {
        return;
    }
    let length: Option<usize> = lengths.first().map(|length| length.parse().expect("a length"));
    let is_chunked = codings == ["chunked"];
    assert!(codings.is_empty() || is_chunked, "{response:?}");
    let mut bytes = Vec::new();
    let read: io::Result<Fields> = match length {
        Some(length) => wire.exact(length, &mut bytes).await.map(|()| Vec::new()),
        None if is_chunked => wire.chunks(&mut bytes).await,
        None => wire.rest(&mut bytes).await.map(|()| Vec::new()),
    };
    response.body = bytes;
    match read {
        Ok(trailers) => {
            response.trailers = trailers;
            response.end = if length.is_some() || is_chunked { End::Whole } else { End::Closed };
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => panic!("{error}: {response:?}"),
        Err(_) => response.end = End::Cut,
    }
}
