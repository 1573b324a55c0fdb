//! A body on its way to a client of HTTP/2.
//!
//! What was handed on counts as sent and the last of it as the end, so a frame is handed on in pieces, the next one when
//! there was room for the last. A piece is a frame of HTTP/2 at its usual largest, so nothing more is written for it.

use bytes::Bytes;
use http_body::Frame;

/// The initial SETTINGS_MAX_FRAME_SIZE (RFC 9113 section 6.5.2).
const PIECE: usize = 16 * 1024;

#[derive(Default)]
pub(super) struct Pace {
    rest: Bytes,
}

impl Pace {
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
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;
    use http_body_util::BodyExt;

    use super::*;
    use crate::Body;

    #[tokio::test]
    async fn a_frame_goes_on_in_pieces_and_ends_with_the_last() {
        let text: Vec<u8> = (0..40_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut body = Body::full(text.clone());
        body.set_paced();
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
