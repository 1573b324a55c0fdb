//! A port that is taken and that nobody listens on: dialing it is refused for as long as a test wants.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// On loopback a connection is made at once, or not at all.
const AT_ONCE: Duration = Duration::from_millis(200);

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

/// A port that answers no dial: its queue of connections is full and nobody accepts.
#[derive(Debug)]
pub struct BlackHole {
    listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl BlackHole {
    /// Takes a port and fills its queue.
    pub async fn new() -> Self {
        let listener = Port::refused().0.listen(1).expect("listening");
        let addr = listener.local_addr().expect("bound");
        let mut waiting = Vec::new();
        while let Ok(connected) = tokio::time::timeout(AT_ONCE, TcpStream::connect(addr)).await {
            waiting.push(connected.expect("connected"));
        }
        Self { listener, _waiting: waiting }
    }

    /// Where it is.
    pub fn addr(&self) -> SocketAddr {
        self.listener.local_addr().expect("bound")
    }
}
