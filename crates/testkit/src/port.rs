//! A port that is taken and that nobody listens on: dialing it is refused for as long as a test wants.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// The port.
#[derive(Debug)]
pub struct Port(TcpSocket);

impl Port {
    /// Takes one.
    pub fn refused() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("reuse");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
        Self(socket)
    }

    /// Where it is.
    pub fn addr(&self) -> SocketAddr {
        self.0.local_addr().expect("bound")
    }

    /// Somebody listens from now on.
    pub fn listen(self) -> TcpListener {
        self.0.listen(128).expect("listening")
    }
}
