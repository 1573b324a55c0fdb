//! WebSocket over HTTP/2 (RFC 8441): an extended CONNECT becomes the upgrade that HTTP/1.1 knows.
//!
//! The two ends agree in their own ways: HTTP/2 by a 2xx, HTTP/1.1 by a 101 and the proof that its sender read the key
//! (RFC 6455 section 4.1). So the key is ours, and so is the check of its proof. Upstream it is always HTTP/1.1.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use exchange::random::Random;
use exchange::{Error, ErrorKind};
use h2::ext::Protocol;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Version};

/// RFC 6455 section 1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What was sent in the client's place, and what must come back.
#[derive(Debug)]
pub(super) struct Handshake {
    key: HeaderValue,
    proof: String,
}

impl Handshake {
    /// Makes a GET of an extended CONNECT for `websocket`; `None` of any other request.
    pub(super) fn begin(parts: &mut Parts, random: &Random) -> Result<Option<Box<Self>>, Error> {
        if parts.method != Method::CONNECT || parts.version != Version::HTTP_2 {
            return Ok(None);
        }
        let Some(protocol) = parts.extensions.remove::<Protocol>() else { return Ok(None) };
        if !protocol.as_str().eq_ignore_ascii_case("websocket") {
            // RFC 9220 section 3 names this answer.
            return Err(Error::new(ErrorKind::Unsupported)
                .with_detail(format!("`:protocol` is `{}` and not websocket", protocol.as_str())));
        }
        if parts.headers.contains_key(header::CONTENT_LENGTH) {
            return Err(Error::new(ErrorKind::UpgradeRefused).with_detail("a websocket upgrade has no body"));
        }
        parts.method = Method::GET;
        let nonce = random.with(|rng| rng.u128(..));
        let key = STANDARD.encode(nonce.to_be_bytes());
        let proof = proof(&key);
        let key = HeaderValue::try_from(key).map_err(|_| Error::new(ErrorKind::Internal))?;
        Ok(Some(Box::new(Self { key, proof })))
    }

    /// Adds what makes the request an upgrade.
    pub(super) fn dress(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_KEY, self.key.clone());
        headers.entry(header::SEC_WEBSOCKET_VERSION).or_insert(HeaderValue::from_static("13"));
    }

    /// Takes off the upstream's 101 what HTTP/2 does not have; `false` if the proof is none.
    pub(super) fn undress(&self, headers: &mut HeaderMap) -> bool {
        headers.remove(header::CONNECTION);
        headers.remove(header::UPGRADE);
        headers.remove(header::SEC_WEBSOCKET_ACCEPT).is_some_and(|proof| proof.as_bytes() == self.proof.as_bytes())
    }
}

/// RFC 6455 section 4.2.2: SHA-1 says here that the key was read, and nothing more.
fn proof(key: &str) -> String {
    STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, [key, GUID].concat().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proof_is_the_rfcs_own() {
        assert_eq!(proof("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
