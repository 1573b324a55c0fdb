//! The same from `/proc/net/tcp` and `/proc/net/tcp6`, where there is no socket diagnosis.
//!
//! The whole table is read for one row, so its size is bounded: on a machine with more connections than that, users of
//! loopback connections are unknown.

use std::fmt::Write;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};

use super::Owner;

/// Of each table: some 25,000 rows.
const MOST: u64 = 4 << 20;

/// The owner of the socket at `from`, connected to `to`.
pub(super) fn owner(from: SocketAddr, to: SocketAddr) -> Option<Owner> {
    let v4 = from.ip().to_canonical().is_ipv4();
    let own = v4.then(|| find(&read("/proc/net/tcp")?, &shown(from, false), &shown(to, false))).flatten();
    own.or_else(|| find(&read("/proc/net/tcp6")?, &shown(from, true), &shown(to, true)))
}

fn read(path: &str) -> Option<String> {
    let mut text = String::new();
    let length = std::fs::File::open(path).ok()?.take(MOST).read_to_string(&mut text).ok()?;
    (length as u64 != MOST).then_some(text)
}

/// As the kernel prints it: words of the machine's own order.
fn shown(address: SocketAddr, v6: bool) -> String {
    let mut text = String::new();
    let mut put = |bytes: &[u8]| {
        for word in bytes.chunks_exact(4) {
            let _ = write!(text, "{:08X}", u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        }
    };
    match (address.ip().to_canonical(), v6) {
        (IpAddr::V4(ip), false) => put(&ip.octets()),
        (IpAddr::V4(ip), true) => put(&ip.to_ipv6_mapped().octets()),
        (IpAddr::V6(ip), _) => put(&ip.octets()),
    }
    let _ = write!(text, ":{:04X}", address.port());
    text
}

/// Established, fin_wait1, fin_wait2, close_wait.
const HELD: [&str; 4] = ["01", "04", "05", "08"];

fn find(table: &str, from: &str, to: &str) -> Option<Owner> {
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let is_it = fields.next() == Some(from) && fields.next() == Some(to);
        let state = fields.next().filter(|_| is_it)?;
        let uid = fields.nth(3)?.parse().ok()?;
        let inode = fields.nth(1)?.parse().ok()?;
        (HELD.contains(&state) && inode != 0).then_some(Owner { uid, inode })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
        0: 0100007F:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100 0 0 10 0\n   \
        1: 0100007F:1F90 0100007F:1388 01 00000000:00000000 00:00000000 00000000  1000        0 42 1 0 20 4 30 10 -1\n   \
        2: 0100007F:1F91 0100007F:1388 06 00000000:00000000 03:00000000 00000000     0        0 0 3 0\n";

    #[test]
    #[cfg(target_endian = "little")]
    fn the_row_of_a_connection_that_is_held() {
        let shown = |text: &str| shown(text.parse().expect("an address"), false);
        let ours = shown("127.0.0.1:5000");

        assert_eq!(find(TABLE, &shown("127.0.0.1:8080"), &ours), Some(Owner { uid: 1000, inode: 42 }));
        assert_eq!(find(TABLE, &shown("[::ffff:127.0.0.1]:8080"), &ours), Some(Owner { uid: 1000, inode: 42 }));
        assert_eq!(find(TABLE, &shown("127.0.0.1:8081"), &ours), None, "over");
        assert_eq!(find(TABLE, &ours, &shown("127.0.0.1:8080")), None, "our own end is not in it");
        assert_eq!(find(TABLE, &shown("127.0.0.1:8082"), &ours), None);
    }

    #[test]
    fn a_socket_of_ours_is_in_the_kernels_own_table() {
        for address in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(address) else { continue };
            let port = listener.local_addr().expect("bound").port();
            let to = if address == "[::1]:0" { format!("[::1]:{port}") } else { format!("127.0.0.1:{port}") };
            let client = std::net::TcpStream::connect(&to).expect("connected");
            let found = owner(client.local_addr().expect("ours"), client.peer_addr().expect("theirs"));
            assert_eq!(found.map(|owner| owner.uid), Some(rustix::process::geteuid().as_raw()), "{address}");
        }
    }
}
