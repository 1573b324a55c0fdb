//! A body on its way to a client of HTTP/2.
//!
//! hyper takes a frame before it asks whether the stream has room for it, and with room for one byte h2 takes all of it.
//! So a frame is handed on in pieces: what a stream whose client does not read costs beyond what was read ahead is one
//! with hyper and one with h2. A piece is a frame of HTTP/2 at its usual largest, so nothing more is written for it.
//!
//! hyper asks for no further piece while it waits for room: then it is the client that is waited for, else the upstream.

use std::sync::Arc;

use bytes::Bytes;
use http_body::Frame;

use crate::Exchange;

/// The initial SETTINGS_MAX_FRAME_SIZE (RFC 9113 section 6.5.2).
const PIECE: usize = 16 * 1024;

pub(super) struct Pace {
    exchange: Arc<Exchange>,
    rest: Bytes,
}

impl Pace {
    pub(super) fn new(exchange: Arc<Exchange>) -> Self {
        Self { exchange, rest: Bytes::new() }
    }

    /// Bytes of a frame of which the beginning was handed on.
    pub(super) fn rest(&self) -> usize {
        self.rest.len()
    }

    /// The next piece of it.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        let size = self.rest.len().min(PIECE);
        (size > 0).then(|| self.rest.split_to(size))
    }

    /// The first piece of a frame.
    pub(super) fn cut(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        match frame.into_data() {
            Ok(data) if data.len() > PIECE => {
                self.rest = data;
                Frame::data(self.rest.split_to(PIECE))
            }
            Ok(data) => Frame::data(data),
            Err(frame) => frame,
        }
    }

    /// The upstream is what is waited for, or no longer.
    pub(super) fn starved(&self, starved: bool) {
        self.exchange.set_starved(starved);
    }
}

#[cfg(test)]
mod tests {
    use http::{Method, Version};
    use http_body::Body as _;
    use http_body_util::BodyExt;
    use policy::Tick;

    use super::*;
    use crate::{Authority, Body, Client, Door, Head};

    fn exchange() -> Arc<Exchange> {
        let head = Head {
            id: 1,
            started: Tick::ZERO,
            door: Door::Forward,
            client: Client { addr: None, local: true },
            version: Version::HTTP_2,
            method: Method::GET,
            tls: false,
            authority: Authority::parse("a.test").expect("an authority"),
            path: http::uri::PathAndQuery::from_static("/"),
            upgrade: false,
            grpc: false,
        };
        Arc::new(Exchange::new(head, None))
    }

    #[tokio::test]
    async fn a_frame_goes_on_in_pieces_and_ends_with_the_last() {
        let text: Vec<u8> = (0..40_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut body = Body::full(text.clone());
        body.set_paced(exchange());
        let mut sizes = Vec::new();
        let mut got = Vec::new();

        while let Some(frame) = body.frame().await {
            let data = frame.expect("a frame").into_data().expect("data");
            sizes.push((data.len(), body.is_end_stream()));
            got.extend_from_slice(&data);
        }

        assert_eq!(sizes, [(PIECE, false), (PIECE, false), (40_000 - 2 * PIECE, true)]);
        assert_eq!(got, text);
    }
}
