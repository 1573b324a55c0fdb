//! A network without a way out, for tests of where a proxy must not go: if it does, nothing leaves the machine.

use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;

use exchange::Io;
use futures_util::future::BoxFuture;
use upstream::net::Net;

/// Refuses every dial and remembers it.
#[derive(Debug, Default)]
pub struct Nowhere(Mutex<Vec<SocketAddr>>);

impl Nowhere {
    /// Every address that was dialed.
    pub fn dialed(&self) -> Vec<SocketAddr> {
        self.0.lock().expect("no panic holds it").clone()
    }
}

impl Net for Nowhere {
    fn connect(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Io>> {
        self.0.lock().expect("no panic holds it").push(addr);
        Box::pin(std::future::ready(Err(io::ErrorKind::ConnectionRefused.into())))
    }
}
