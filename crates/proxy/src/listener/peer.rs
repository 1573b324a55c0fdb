//! Which process a connection on this machine comes from.
//!
//! Of a unix socket the kernel says it itself: user and process when it connected. Of loopback TCP the kernel is asked for
//! the socket at the other end, by both addresses, at each accept: the user that opened it. What more there is to know (the
//! process, its unit, control group and container) is looked for only where a rule asks for it: that needs a walk through
//! `/proc`, off the control thread, with a bound. What cannot be found out is absent, and satisfies no rule.
//!
//! Cost: two system calls for each connection from loopback, nothing for others and nothing for a request.

#[cfg(target_os = "linux")]
mod diag;
#[cfg(target_os = "linux")]
mod holder;
#[cfg(target_os = "linux")]
mod place;
#[cfg(target_os = "linux")]
mod table;
pub mod users;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use exchange::Peer;
use exchange::identity::Process;
use tokio::net::unix::UCred;
use tokio::sync::Semaphore;

use self::users::Users;

/// Walks through `/proc` at once.
const WALKS: usize = 4;
/// Connections that wait for theirs; one beyond them has no process.
const MOST_WAITING: usize = 64;

/// What the kernel says of a socket on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// Who opened it.
    pub uid: u32,
    /// The number it has in `/proc/PID/fd`.
    pub inode: u64,
}

/// Finds out; one for all listeners.
pub struct Peers {
    users: Users,
    /// The number that stands for all users of other namespaces.
    nobody: Option<u32>,
    #[cfg(target_os = "linux")]
    sockets: Sockets,
    walks: Semaphore,
    waiting: AtomicUsize,
}

#[cfg(target_os = "linux")]
enum Sockets {
    Diag(diag::Diag),
    Table,
}

impl Default for Peers {
    fn default() -> Self {
        Self {
            users: Users::default(),
            nobody: nobody(),
            #[cfg(target_os = "linux")]
            sockets: sockets(),
            walks: Semaphore::new(WALKS),
            waiting: AtomicUsize::new(0),
        }
    }
}

impl Peers {
    /// Who is at the other end of a unix socket; `deep`: with its unit, control group and container.
    pub async fn unix(&self, credentials: std::io::Result<UCred>, deep: bool) -> Option<Arc<Peer>> {
        let credentials = credentials.ok()?;
        let uid = self.known(credentials.uid())?;
        let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0);
        let mut process = self.process(uid);
        process.pid = pid;
        if let (true, Some(pid)) = (deep, pid) {
            self.place(&mut process, move || here(pid)).await;
        }
        Some(peer(process))
    }

    /// Who is at the other end of a connection from `from` to us at `to`, both of this machine.
    pub async fn loopback(&self, from: SocketAddr, to: SocketAddr, deep: bool) -> Option<Arc<Peer>> {
        let owner = self.owner(from, to)?;
        let mut process = self.process(self.known(owner.uid)?);
        if deep {
            self.place(&mut process, move || holder(owner)).await;
        }
        Some(peer(process))
    }

    #[cfg(target_os = "linux")]
    fn owner(&self, from: SocketAddr, to: SocketAddr) -> Option<Owner> {
        match &self.sockets {
            Sockets::Diag(diag) => diag.owner(from, to),
            Sockets::Table => table::owner(from, to),
        }
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::unused_self, reason = "other systems know")]
    fn owner(&self, _from: SocketAddr, _to: SocketAddr) -> Option<Owner> {
        None
    }

    fn process(&self, uid: u32) -> Process {
        Process { uid, user: self.users.name(uid), pid: None, unit: None, cgroup: None, container: None }
    }

    /// A user that is one: neither of another namespace, nor none.
    fn known(&self, uid: u32) -> Option<u32> {
        (uid != u32::MAX && Some(uid) != self.nobody).then_some(uid)
    }

    /// Adds where it is, as far as that is to be known.
    async fn place(&self, process: &mut Process, find: impl FnOnce() -> Option<Place> + Send + 'static) {
        if self.waiting.fetch_add(1, Relaxed) < MOST_WAITING
            && let Ok(_walk) = self.walks.acquire().await
        {
            let found = tokio::task::spawn_blocking(find).await.ok().flatten();
            if let Some(place) = found {
                process.pid = place.pid.or(process.pid);
                (process.unit, process.cgroup, process.container) = (place.unit, place.cgroup, place.container);
            }
        }
        self.waiting.fetch_sub(1, Relaxed);
    }
}

/// Where a process is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Place {
    pid: Option<u32>,
    unit: Option<Arc<str>>,
    cgroup: Option<Arc<str>>,
    container: Option<Arc<str>>,
}

fn peer(process: Process) -> Arc<Peer> {
    Arc::new(Peer { process: Some(process), ..Peer::default() })
}

#[cfg(target_os = "linux")]
fn sockets() -> Sockets {
    match diag::Diag::open() {
        Some(diag) => Sockets::Diag(diag),
        None => {
            tracing::info!("no socket diagnosis here: users of loopback connections are read from /proc/net/tcp");
            Sockets::Table
        }
    }
}

#[cfg(target_os = "linux")]
fn here(pid: u32) -> Option<Place> {
    place::of(pid)
}

#[cfg(target_os = "linux")]
fn holder(owner: Owner) -> Option<Place> {
    holder::find(owner.inode)
}

#[cfg(not(target_os = "linux"))]
fn here(_pid: u32) -> Option<Place> {
    None
}

#[cfg(not(target_os = "linux"))]
fn holder(_owner: Owner) -> Option<Place> {
    None
}

/// In a user namespace the kernel shows everybody who is not in it as one user, who may exist here as well.
#[cfg(target_os = "linux")]
fn nobody() -> Option<u32> {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mut numbers = map.split_ascii_whitespace().map(str::parse::<u32>);
    let whole = [Some(Ok(0)), Some(Ok(0)), Some(Ok(u32::MAX))];
    if [numbers.next(), numbers.next(), numbers.next()] == whole {
        return None;
    }
    let overflow = std::fs::read_to_string("/proc/sys/kernel/overflowuid").unwrap_or_default();
    Some(overflow.trim().parse().unwrap_or(65_534))
}

#[cfg(not(target_os = "linux"))]
const fn nobody() -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn myself() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    #[tokio::test]
    async fn a_process_of_ours_is_known_over_every_kind_of_socket() {
        let peers = Peers::default();
        for address in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let port = listener.local_addr().expect("bound").port();
            let to = if address == "[::1]:0" { format!("[::1]:{port}") } else { format!("127.0.0.1:{port}") };
            let client = std::net::TcpStream::connect(&to).expect("connected");
            let (ours, from) = listener.accept().expect("accepted");

            let peer = peers.loopback(from, ours.local_addr().expect("an address"), true).await.expect("known");

            let process = peer.process.as_ref().expect("a process");
            assert_eq!((process.uid, process.pid), (myself(), Some(std::process::id())), "{address}");
            drop(client);
        }
        let (ours, _theirs) = tokio::net::UnixStream::pair().expect("a pair");
        let peer = peers.unix(ours.peer_cred(), true).await.expect("known");
        let process = peer.process.as_ref().expect("a process");
        assert_eq!((process.uid, process.pid), (myself(), Some(std::process::id())));
    }

    #[tokio::test]
    async fn a_client_that_has_left_is_nobody() {
        let peers = Peers::default();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let to = listener.local_addr().expect("bound");
        let client = std::net::TcpStream::connect(to).expect("connected");
        let (ours, from) = listener.accept().expect("accepted");
        drop(client);

        assert_eq!(peers.loopback(from, to, true).await, None);
        assert_eq!(
            peers.loopback("127.0.0.1:1".parse().expect("an address"), to, true).await,
            None,
            "a listener is nobody"
        );
        drop(ours);
    }

    #[test]
    fn a_user_of_another_namespace_is_nobody() {
        let peers = Peers { nobody: Some(65_534), ..Peers::default() };

        assert_eq!((peers.known(65_534), peers.known(u32::MAX), peers.known(7)), (None, None, Some(7)));
    }

    #[tokio::test]
    async fn beyond_so_many_that_wait_a_process_is_not_looked_for() {
        let peers = Peers { waiting: AtomicUsize::new(MOST_WAITING), ..Peers::default() };
        let (ours, _theirs) = tokio::net::UnixStream::pair().expect("a pair");

        let peer = peers.unix(ours.peer_cred(), true).await.expect("known");

        let process = peer.process.as_ref().expect("a process");
        assert!(process.uid == myself() && process.cgroup.is_none());
        assert_eq!(peers.waiting.load(Relaxed), MOST_WAITING, "and its place is given back");
    }
}
