//! Socket diagnosis over netlink (sock_diag(7)): who owns the socket at the other end of a connection.
//!
//! One exact question for one socket, not a list of all. The kernel answers while it is asked, so nothing waits. It falls
//! back to a listening socket where there is no other; what comes is therefore compared with what was asked, and must be a
//! connection that somebody holds: once its process has closed it, another may have its addresses.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use parking_lot::Mutex;
use rustix::net::netlink::SOCK_DIAG;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

use super::Owner;

const HEADER: usize = 16;
const ID: usize = 48;
const REQUEST: usize = HEADER + 8 + ID;
/// An `inet_diag_msg` up to and with its inode.
const ANSWER: usize = 4 + ID + 20;
/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const IPPROTO_TCP: u8 = 6;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// The loopback device: also finds a socket that is bound to it.
const LOOPBACK: u32 = 1;
/// Answers to earlier questions, at most.
const STALE: usize = 8;
/// Of linux/tcp_states.h: established, fin_wait1, fin_wait2, close_wait.
const HELD: [u8; 4] = [1, 4, 5, 8];

/// A netlink socket, and the number of the next question.
pub(super) struct Diag(Mutex<(OwnedFd, u32)>);

impl Diag {
    /// `None` where there is none, or it does not even know a socket of ours.
    pub(super) fn open() -> Option<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(SOCK_DIAG)).ok()?;
        // Replies come from the kernel alone then.
        rustix::net::connect(&socket, &rustix::net::netlink::SocketAddrNetlink::new(0, 0)).ok()?;
        let diag = Self(Mutex::new((socket, 0)));
        diag.works().then_some(diag)
    }

    /// The owner of the socket at `from`, connected to `to`.
    pub(super) fn owner(&self, from: SocketAddr, to: SocketAddr) -> Option<Owner> {
        let mut inner = self.0.lock();
        inner.1 = inner.1.wrapping_add(1);
        let (socket, number) = (&inner.0, inner.1);
        send(socket, &question(from, to, number), SendFlags::empty()).ok()?;
        let mut answer = [0; 1024];
        for _ in 0..STALE {
            let (_, length) = recv(socket, &mut answer[..], RecvFlags::empty()).ok()?;
            let answer = &answer[..length.min(answer.len())];
            if u32_at(answer, 8) == Some(number) {
                return read(answer, from, to);
            }
        }
        None
    }

    fn works(&self) -> bool {
        let pair = || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
            let client = std::net::TcpStream::connect(listener.local_addr()?)?;
            let addresses = (client.local_addr()?, client.peer_addr()?);
            Ok::<_, std::io::Error>((listener, client, addresses))
        };
        let Ok((_listener, _client, (from, to))) = pair() else { return false };
        self.owner(from, to).is_some()
    }
}

fn question(from: SocketAddr, to: SocketAddr, number: u32) -> [u8; REQUEST] {
    let (from, to) = (canonical(from), canonical(to));
    let mut bytes = [0; REQUEST];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &(REQUEST as u32).to_ne_bytes());
    put(4, &BY_FAMILY.to_ne_bytes());
    put(6, &NLM_F_REQUEST.to_ne_bytes());
    put(8, &number.to_ne_bytes());
    put(HEADER, &[if from.is_ipv4() { AF_INET } else { AF_INET6 }, IPPROTO_TCP]);
    put(HEADER + 4, &u32::MAX.to_ne_bytes());
    let id = HEADER + 8;
    put(id, &from.port().to_be_bytes());
    put(id + 2, &to.port().to_be_bytes());
    for (at, ip) in [(id + 4, from.ip()), (id + 20, to.ip())] {
        match ip {
            IpAddr::V4(ip) => put(at, &ip.octets()),
            IpAddr::V6(ip) => put(at, &ip.octets()),
        }
    }
    put(id + 36, &LOOPBACK.to_ne_bytes());
    // No cookie: whichever socket has these addresses.
    put(id + 40, &[0xff; 8]);
    bytes
}

fn read(answer: &[u8], from: SocketAddr, to: SocketAddr) -> Option<Owner> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let body = answer.get(HEADER..HEADER + ANSWER)?;
    let (family, state) = (body[0], body[1]);
    if kind != BY_FAMILY || !HELD.contains(&state) {
        return None;
    }
    let id = &body[4..4 + ID];
    let port = |at: usize| u16::from_be_bytes([id[at], id[at + 1]]);
    let address = |at: usize| -> Option<IpAddr> {
        match family {
            AF_INET => Some(IpAddr::from(<[u8; 4]>::try_from(id.get(at..at + 4)?).ok()?)),
            AF_INET6 => Some(IpAddr::from(<[u8; 16]>::try_from(id.get(at..at + 16)?).ok()?).to_canonical()),
            _ => None,
        }
    };
    let is_it = SocketAddr::new(address(4)?, port(0)) == canonical(from)
        && SocketAddr::new(address(20)?, port(2)) == canonical(to);
    let (uid, inode) = (u32_at(body, 4 + ID + 12)?, u32_at(body, 4 + ID + 16)?);
    (is_it && inode != 0).then_some(Owner { uid, inode: inode.into() })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Without a scope or a flow, and IPv4 as IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(from: SocketAddr, to: SocketAddr, state: u8, uid: u32, inode: u32) -> Vec<u8> {
        let asked = question(from, to, 7);
        let mut bytes = asked[..HEADER].to_vec();
        bytes.extend([asked[HEADER], state, 0, 0]);
        bytes.extend(&asked[HEADER + 8..]);
        bytes.extend([0; 12]);
        bytes.extend(uid.to_ne_bytes());
        bytes.extend(inode.to_ne_bytes());
        bytes
    }

    #[test]
    fn an_answer_counts_only_for_the_very_connection_and_while_it_is_held() {
        let (from, to): (SocketAddr, SocketAddr) =
            ("127.0.0.1:5000".parse().expect("an address"), "[::ffff:127.0.0.1]:80".parse().expect("an address"));
        let other = SocketAddr::new(from.ip(), 5001);
        let owner = |bytes: Vec<u8>| read(&bytes, from, to);

        assert_eq!(owner(answer(from, to, 1, 1000, 9)), Some(Owner { uid: 1000, inode: 9 }));
        assert_eq!(owner(answer(from, to, 8, 0, 9)), Some(Owner { uid: 0, inode: 9 }));
        for (bytes, why) in [
            (answer(from, to, 10, 1000, 9), "it listens"),
            (answer(from, to, 2, 1000, 9), "it is not connected yet"),
            (answer(from, to, 6, 0, 0), "it is over"),
            (answer(from, to, 1, 0, 0), "nobody holds it"),
            (answer(other, to, 1, 1000, 9), "another port"),
            (answer(from, other, 1, 1000, 9), "connected elsewhere"),
            (answer(to, from, 1, 1000, 9), "our own end"),
        ] {
            assert_eq!(owner(bytes), None, "{why}");
        }
        let whole = answer(from, to, 1, 1000, 9);
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length], from, to), None, "cut at {length}");
        }
        let mut error = whole;
        error[4..6].copy_from_slice(&2u16.to_ne_bytes());
        assert_eq!(owner(error), None, "an error");
    }
}
