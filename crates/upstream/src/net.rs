//! The seam to sockets: everything above dials through `Net`, so that a simulation can take its place.
//!
//! One boxed future a dial, nothing per request.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use exchange::Io;
use futures_util::future::BoxFuture;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

const KEEPALIVE: Duration = Duration::from_secs(30);
const PROBE: Duration = Duration::from_secs(10);

/// Where streams come from.
pub trait Net: Send + Sync {
    /// Opens a stream to `addr`. Dropping the future gives up.
    fn connect(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Io>>;
}

/// The operating system's TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioNet;

impl Net for TokioNet {
    fn connect(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Io>> {
        Box::pin(async move {
            let tcp = TcpStream::connect(addr).await?;
            // A dial to an unused local port can meet itself when the kernel picks that port as the source
            // (simultaneous open, RFC 9293 section 3.5); nobody listens there.
            if tcp.local_addr()? == tcp.peer_addr()? {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            tcp.set_nodelay(true)?;
            let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
            #[cfg(any(target_os = "linux", target_vendor = "apple", windows))]
            let keepalive = keepalive.with_interval(PROBE);
            SockRef::from(&tcp).set_tcp_keepalive(&keepalive)?;
            Ok(tcp.into())
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn sets_nodelay_and_keepalive() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let addr = listener.local_addr().expect("bound");

        let io = TokioNet.connect(addr).await.expect("connected");

        let tcp = io.into_tcp().expect("bare tcp");
        assert!(tcp.nodelay().expect("readable"));
        assert!(SockRef::from(&tcp).keepalive().expect("readable"));
        #[cfg(target_os = "linux")]
        assert_eq!(SockRef::from(&tcp).tcp_keepalive_time().expect("readable"), KEEPALIVE);
    }
}
