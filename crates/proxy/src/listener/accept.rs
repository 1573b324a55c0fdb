//! Accepts on the control thread and hands each socket to the least loaded worker.
//!
//! A co-located proxy sees few, long-lived connections: spreading them by count beats what the kernel's hash of
//! four numbers would do.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use config::model::{Address, Rights};
use exchange::{Client, Peer};
use ipnet::IpNet;
use parking_lot::RwLock;
use telemetry::metrics::{Rejection, Shard};
use tokio::net::unix::UCred;
use tokio::sync::mpsc;

use super::drain::{Drain, Mode};
use super::peer::{Peers, users};
use super::tls::Front;
use crate::worker::{Arrival, Held, Socket};

/// After EMFILE and its like; the kernel keeps those who wait.
const BACK_OFF: Duration = Duration::from_millis(100);
/// Bytes the kernel takes for a client beyond what is on its way. Without a limit a client that stops reading fills a
/// send buffer of 4 MiB, all of it read from the upstream for nobody.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 128 * 1024;
/// Connections the kernel holds until we take them.
const BACKLOG: i32 = 1024;

/// A bound address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// With the port that was really taken.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl Bound {
    /// The address, if it is a TCP one.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A socket that listens.
pub enum Listening {
    /// TCP, and who may connect.
    Tcp(std::net::TcpListener),
    /// A unix socket; its file goes with it.
    Unix(std::os::unix::net::UnixListener, Unlink),
}

/// Removes a socket's file when dropped.
pub struct Unlink(PathBuf);

impl Drop for Unlink {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Binds an address.
///
/// # Errors
/// The operating system's, unless a stale unix socket could be replaced; a group that there is not.
pub fn bind(address: &Address, rights: &Rights) -> io::Result<(Listening, Bound)> {
    match address {
        Address::Tcp(address) => {
            let socket = socket2::Socket::new(
                socket2::Domain::for_address(*address),
                socket2::Type::STREAM,
                Some(socket2::Protocol::TCP),
            )?;
            socket.set_reuse_address(true)?;
            // What is accepted has it from its listener.
            #[cfg(target_os = "linux")]
            socket.set_tcp_notsent_lowat(UNSENT)?;
            socket.set_nonblocking(true)?;
            socket.bind(&(*address).into())?;
            socket.listen(BACKLOG)?;
            let listener = std::net::TcpListener::from(socket);
            let bound = Bound::Tcp(listener.local_addr()?);
            Ok((Listening::Tcp(listener), bound))
        }
        Address::Unix(path) => {
            if is_left_over(path) {
                std::fs::remove_file(path)?;
            }
            let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
            socket.bind(&socket2::SockAddr::unix(path)?)?;
            let file = Unlink(path.clone());
            // Nobody gets in before.
            users::give(path, rights)?;
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)?;
            Ok((Listening::Unix(socket.into(), file), Bound::Unix(path.clone())))
        }
    }
}

/// A socket nobody answers on is left over from a process that was killed. Anything else at this path is not ours: to
/// bind there fails, and says so.
fn is_left_over(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && std::os::unix::net::UnixStream::connect(path).is_err_and(refused)
}

/// The workers as the acceptor sees them.
#[derive(Clone)]
pub struct Workers(pub Arc<[Seat]>);

/// One worker's door.
pub struct Seat {
    pub arrivals: mpsc::Sender<Arrival>,
    /// Open client connections of this worker.
    pub connections: Arc<AtomicUsize>,
}

impl Workers {
    /// Open client connections.
    pub fn connections(&self) -> usize {
        self.0.iter().map(|seat| seat.connections.load(Relaxed)).sum()
    }

    /// How many are no more: one that panicked takes no sockets.
    pub fn ended(&self) -> usize {
        self.0.iter().filter(|seat| seat.arrivals.is_closed()).count()
    }

    /// Of those that are there: a worker that is no more has no connections, and would get every new one.
    fn least_loaded(&self) -> Option<&Seat> {
        let there = self.0.iter().filter(|seat| !seat.arrivals.is_closed());
        there.min_by_key(|seat| seat.connections.load(Relaxed))
    }
}

/// What may change with a reload.
#[derive(Clone, Default)]
pub struct Rules {
    /// Who may connect; empty: everyone who can.
    pub clients: Vec<IpNet>,
    /// Open client connections in all.
    pub max_connections: usize,
    /// How it speaks TLS, if it does.
    pub tls: Option<Arc<Front>>,
    /// Some rule asks for the unit, the control group or the container of a client.
    pub deep: bool,
}

/// Accepts until the process drains.
pub struct Acceptor {
    pub listening: Listening,
    pub door: Door,
}

/// Who may come in at a listener, and where they go.
#[derive(Clone)]
pub struct Door {
    pub rules: Arc<RwLock<Rules>>,
    pub workers: Workers,
    pub stats: Arc<Shard>,
    /// Finds out which process a client is; `None`: nobody asks.
    pub peers: Option<Arc<Peers>>,
}

impl Acceptor {
    /// Runs it.
    pub async fn run(self, mut drain: Drain) {
        let Self { listening, door } = self;
        let accepted = async {
            match listening {
                Listening::Tcp(listener) => door.tcp(listener).await,
                Listening::Unix(listener, _unlink) => door.unix(listener).await,
            }
        };
        tokio::select! {
            ended = accepted => if let Err(error) = ended {
                tracing::error!(%error, "a listener failed");
            },
            () = drain.reached(Mode::Draining) => {}
        }
    }
}

impl Door {
    async fn tcp(&self, listener: std::net::TcpListener) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            match listener.accept().await.and_then(|(tcp, from)| Ok((tcp.into_std()?, from))) {
                Ok((tcp, from)) => self.tcp_arrived(tcp, from).await,
                Err(error) => back_off(&error).await,
            }
        }
    }

    async fn unix(&self, listener: std::os::unix::net::UnixListener) -> io::Result<()> {
        let listener = tokio::net::UnixListener::from_std(listener)?;
        loop {
            let accepted = listener.accept().await;
            match accepted.and_then(|(unix, _)| Ok((unix.peer_cred(), unix.into_std()?))) {
                Ok((credentials, unix)) => {
                    let client = Client { addr: None, local: true, peer: None };
                    self.identified(Socket::Unix(unix), client, Ask::Unix(credentials)).await;
                }
                Err(error) => back_off(&error).await,
            }
        }
    }

    async fn tcp_arrived(&self, tcp: std::net::TcpStream, from: SocketAddr) {
        let ip = canonical(from.ip());
        {
            let rules = self.rules.read();
            if !rules.clients.is_empty() && !rules.clients.iter().any(|net| net.contains(&ip)) && !ip.is_loopback() {
                return self.stats.connection_rejected(Rejection::Forbidden);
            }
        }
        // Without it small answers wait for the client's delayed acknowledgement.
        if tcp.set_nodelay(true).is_ok() {
            let client = Client { addr: Some(SocketAddr::new(ip, from.port())), local: ip.is_loopback(), peer: None };
            match tcp.local_addr() {
                Ok(to) if client.local => {
                    self.identified(Socket::Tcp(tcp), client, Ask::Loopback { from, to }).await;
                }
                _ => self.hand_over(Socket::Tcp(tcp), client).await,
            }
        }
    }

    /// Hands a client over with its process. To look for more than its user takes a while, in which others are accepted.
    async fn identified(&self, socket: Socket, mut client: Client, ask: Ask) {
        let Some(peers) = &self.peers else { return self.hand_over(socket, client).await };
        if !self.rules.read().deep {
            client.peer = ask.answered(peers, false).await;
            return self.hand_over(socket, client).await;
        }
        let (door, peers) = (self.clone(), Arc::clone(peers));
        tokio::spawn(async move {
            client.peer = ask.answered(&peers, true).await;
            door.hand_over(socket, client).await;
        });
    }

    /// Gives a client to a worker, unless there are too many.
    pub(crate) async fn hand_over(&self, socket: Socket, client: Client) {
        let (most, tls) = {
            let rules = self.rules.read();
            (rules.max_connections, rules.tls.clone())
        };
        if self.workers.connections() >= most {
            return self.stats.connection_rejected(Rejection::Overloaded);
        }
        let mut next = (socket, client, tls);
        while let Some(seat) = self.workers.least_loaded() {
            let (socket, client, tls) = next;
            let held = Held::new(&seat.connections);
            let Err(returned) = seat.arrivals.send(Arrival { socket, client, tls, held }).await else { return };
            // It ended in this moment: the next one.
            let Arrival { socket, client, tls, .. } = returned.0;
            next = (socket, client, tls);
        }
        self.stats.connection_rejected(Rejection::Overloaded);
    }
}

/// By what a process is found.
enum Ask {
    Unix(io::Result<UCred>),
    Loopback { from: SocketAddr, to: SocketAddr },
}

impl Ask {
    async fn answered(self, peers: &Peers, deep: bool) -> Option<Arc<Peer>> {
        match self {
            Self::Unix(credentials) => peers.unix(credentials, deep).await,
            Self::Loopback { from, to } => peers.loopback(from, to, deep).await,
        }
    }
}

/// An IPv4 client of an IPv6 socket is an IPv4 client.
fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

pub(crate) async fn back_off(error: &io::Error) {
    match error.kind() {
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted => {}
        _ => {
            tracing::warn!(%error, "accept failed; trying again");
            tokio::time::sleep(BACK_OFF).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The door to workers with so many connections, and their ends of it.
    fn door(loads: &[usize]) -> (Door, Vec<mpsc::Receiver<Arrival>>) {
        let (mut seats, mut workers) = (Vec::new(), Vec::new());
        for load in loads {
            let (arrivals, arriving) = mpsc::channel(4);
            seats.push(Seat { arrivals, connections: Arc::new(AtomicUsize::new(*load)) });
            workers.push(arriving);
        }
        let rules = Arc::new(RwLock::new(Rules { max_connections: 100, ..Rules::default() }));
        let stats = telemetry::Metrics::new("test").shard();
        (Door { rules, workers: Workers(seats.into()), stats, peers: None }, workers)
    }

    async fn arrive(door: &Door) -> std::os::unix::net::UnixStream {
        let (client, socket) = std::os::unix::net::UnixStream::pair().expect("a pair");
        door.hand_over(Socket::Unix(socket), Client { addr: None, local: true, peer: None }).await;
        client
    }

    #[tokio::test]
    async fn a_worker_that_is_no_more_gets_no_sockets() {
        let (door, mut workers) = door(&[0, 7]);
        let _first = arrive(&door).await;
        assert!(workers[0].try_recv().is_ok(), "the least loaded");
        workers.remove(0);

        assert_eq!(door.workers.ended(), 1);
        let _second = arrive(&door).await;

        let arrival = workers[0].try_recv().expect("at the one that is left");
        assert_eq!(door.workers.connections(), 8);
        drop(arrival);
        assert_eq!(door.workers.connections(), 7, "counted until its end");
    }

    #[tokio::test]
    async fn what_waits_at_a_worker_that_ends_is_not_counted_for_ever() {
        let (door, workers) = door(&[0]);
        let _client = arrive(&door).await;
        assert_eq!(door.workers.connections(), 1);

        drop(workers);

        assert_eq!((door.workers.connections(), door.workers.ended()), (0, 1));
        // Nobody is left: refused, and the acceptor goes on.
        let mut client = arrive(&door).await;
        assert_eq!(io::Read::read(&mut client, &mut [0]).expect("an end"), 0);
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_file_of_somebody_else_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let (stale, file) = (dir.path().join("stale"), dir.path().join("notes.txt"));
        drop(std::os::unix::net::UnixListener::bind(&stale).expect("bound"));
        std::fs::write(&file, "mine").expect("written");

        let rights = Rights { mode: Some(0o660), group: None };
        let replaced = bind(&Address::Unix(stale.clone()), &rights);
        let refused = bind(&Address::Unix(file.clone()), &rights);

        assert!(replaced.is_ok());
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&stale).expect("there").permissions());
        assert_eq!(mode & 0o777, 0o660);
        assert_eq!(refused.err().map(|error| error.kind()), Some(io::ErrorKind::AddrInUse));
        assert_eq!(std::fs::read_to_string(file).expect("still there"), "mine");
    }
}
