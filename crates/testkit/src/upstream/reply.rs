//! What an upstream does with a request.

use std::time::Duration;

use crate::wait::Gate;
use crate::wire::Fields;

/// What comes after the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Then {
    /// The next request on the connection.
    #[default]
    Keep,
    /// The end of the connection.
    Close,
    /// A reset: of the connection, or of the stream in HTTP/2.
    Reset,
    /// Every byte comes back.
    Echo,
    /// HTTP/2: the stream is refused, provably unprocessed.
    Refuse,
}

/// How a body goes out.
#[derive(Clone, Debug)]
pub(super) enum Payload {
    Length(Vec<u8>),
    Chunked(Vec<Vec<u8>>),
    /// The whole answer, byte for byte.
    Raw(Vec<u8>),
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(super) status: u16,
    pub(super) headers: Fields,
    pub(super) payload: Payload,
    pub(super) trailers: Fields,
    pub(super) delay: Duration,
    pub(super) gate: Option<Gate>,
    pub(super) then: Then,
}

impl Reply {
    /// A status without a body.
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            payload: Payload::Length(Vec::new()),
            trailers: Vec::new(),
            delay: Duration::ZERO,
            gate: None,
            then: Then::Keep,
        }
    }

    /// 200 with a body of known length.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::status(200).body(body)
    }

    /// 200 in chunks.
    pub fn chunked(parts: &[&str]) -> Self {
        let parts = parts.iter().map(|part| part.as_bytes().to_vec()).collect();
        Self { payload: Payload::Chunked(parts), ..Self::status(200) }
    }

    /// These bytes; the connection goes on afterwards, unless something else is said.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { payload: Payload::Raw(bytes.into()), ..Self::status(200) }
    }

    /// Nothing but a reset.
    pub fn reset() -> Self {
        Self::raw("").then(Then::Reset)
    }

    /// Nothing but the end of the connection.
    pub fn close() -> Self {
        Self::raw("").then(Then::Close)
    }

    /// Nothing, ever.
    pub fn hang() -> Self {
        Self::raw("").after(&Gate::default())
    }

    /// Replaces the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.payload = Payload::Length(body.into());
        self
    }

    /// Adds a field.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a trailer; HTTP/1 sends it after a chunked body.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Answers only after this.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Answers only once the gate is open.
    #[must_use]
    pub fn after(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// What comes after it.
    #[must_use]
    pub fn then(mut self, then: Then) -> Self {
        self.then = then;
        self
    }

    pub(super) async fn due(&self) {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        if let Some(gate) = &self.gate {
            gate.passed().await;
        }
    }
}
