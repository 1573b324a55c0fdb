//! Which name a TLS client asks for, from its ClientHello (RFC 6066 section 3), without answering it.
//!
//! rustls reads it, so there is no second parser to disagree with. What it cannot read, for example a client so old
//! that rustls would not talk to it, has no name as far as we know: this finds what is said openly and is no wall
//! against a client that hides it (no name at all is allowed, and an encrypted hello shows another one).

use bytes::BytesMut;
use exchange::{Host, Io};
use rustls::server::Acceptor;
use tokio::io::AsyncReadExt;

/// Bytes read at once.
const CHUNK: usize = 2048;

/// Reads on until the hello is complete; every byte is in `early`. `None`: no name that could be read.
pub async fn name(io: &mut Io, early: &mut BytesMut) -> std::io::Result<Option<String>> {
    let mut acceptor = Acceptor::default();
    let mut fed = 0;
    loop {
        while fed < early.len() {
            match acceptor.read_tls(&mut &early[fed..]) {
                Ok(count @ 1..) => fed += count,
                _ => return Ok(None),
            }
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(hello)) => return Ok(hello.client_hello().server_name().map(str::to_owned)),
                Err(_) => return Ok(None),
            }
        }
        early.reserve(CHUNK);
        if io.read_buf(early).await? == 0 {
            return Ok(None);
        }
    }
}

/// The name is another than the tunnel's. A tunnel to an address has none to differ from: a client may have resolved
/// the name itself.
pub fn differs(name: &str, host: &Host) -> bool {
    host.name().is_some_and(|host| !name.trim_end_matches('.').eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use exchange::Authority;

    use super::*;

    #[test]
    fn names_are_compared_without_case_and_addresses_not_at_all() {
        let host = |text| Authority::parse(text).expect("an authority").host().clone();

        assert!(!differs("API.test", &host("api.Test:443")));
        assert!(!differs("api.test.", &host("api.test.:443")));
        assert!(differs("api.test", &host("other.test:443")));
        assert!(differs("api.test", &host("www.api.test:443")));
        assert!(!differs("api.test", &host("127.0.0.1:443")));
    }

    #[tokio::test]
    async fn what_is_no_hello_has_no_name_and_keeps_its_bytes() {
        let (client, server) = tokio::io::duplex(64);
        drop(client);
        let mut early = BytesMut::from(&b"\x16\x03\x01\0\x04nope"[..]);

        assert_eq!(name(&mut Io::other(server), &mut early).await.expect("read"), None);
        assert_eq!(&early[..], b"\x16\x03\x01\0\x04nope");
    }
}
