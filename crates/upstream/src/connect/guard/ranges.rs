//! The address ranges the guard knows, and the IPv6 forms of IPv4 addresses.
//!
//! The metadata addresses are those of the large clouds (AWS, Google, Alibaba, Oracle, Azure) that lie outside
//! 169.254.0.0/16: each hands out credentials to whoever asks from the machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smallvec::{SmallVec, smallvec};

/// Names of metadata services, refused before they are resolved.
pub(super) const METADATA_NAMES: &[&str] = &["metadata.google.internal", "metadata.goog", "instance-data.ec2.internal"];

/// Why nobody may reach this address, unless the operator lists it.
pub(super) fn reserved(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => reserved_v4(ip),
        IpAddr::V6(ip) => reserved_v6(ip),
    }
}

/// Why a remote client may not reach this address.
pub(super) fn private(ip: IpAddr) -> Option<&'static str> {
    let is = match ip {
        IpAddr::V4(ip) if ip.is_loopback() => return Some("loopback"),
        IpAddr::V6(ip) if ip.is_loopback() => return Some("loopback"),
        IpAddr::V4(ip) => ip.is_private() || matches!(ip.octets(), [100, 64..=127, ..]),
        // fec0::/10 is the site-local range of before RFC 3879.
        IpAddr::V6(ip) => ip.is_unique_local() || ip.segments()[0] & 0xffc0 == 0xfec0,
    };
    is.then_some("a private range")
}

/// The address, then each IPv4 address it carries: v4-compatible, NAT64 (RFC 6052 and RFC 8215), SIIT
/// (RFC 2765), 6to4 (RFC 3056), Teredo (RFC 4380), ISATAP (RFC 5214). The caller has undone v4-mapped.
pub(super) fn forms(ip: IpAddr) -> SmallVec<[IpAddr; 4]> {
    let mut forms: SmallVec<[IpAddr; 4]> = smallvec![ip];
    let IpAddr::V6(v6) = ip else { return forms };
    let mut carries = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        forms.push(Ipv4Addr::new(a, b, c, d).into());
    };
    let s = v6.segments();
    match s {
        // `::` and `::1` are addresses of their own; so is all below ::1:0, which would be 0.0.0.0/16.
        [0, 0, 0, 0, 0, 0, 1..=0xffff, _] | [0, 0, 0, 0, 0xffff, 0, _, _] => carries(s[6], s[7]),
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] => carries(s[6], s[7]),
        [0x64, 0xff9b, 1, ..] => {
            carries(s[6], s[7]);
            // As a /48 prefix: bits 64 to 71 are skipped.
            carries(s[3], (s[4] << 8) | (s[5] >> 8));
        }
        [0x2002, ..] => carries(s[1], s[2]),
        [0x2001, 0, ..] => carries(!s[6], !s[7]),
        [.., 0 | 0x200, 0x5efe, _, _] => carries(s[6], s[7]),
        _ => {}
    }
    forms
}

fn reserved_v4(ip: Ipv4Addr) -> Option<&'static str> {
    match ip.octets() {
        [169, 254, ..] => Some("link-local and metadata addresses"),
        [100, 100, 100, 200] | [192, 0, 0, 192] | [168, 63, 129, 16] => Some("a metadata service"),
        [0, ..] => Some("0.0.0.0/8 is no destination"),
        [255, 255, 255, 255] => Some("broadcast"),
        [224..=239, ..] => Some("multicast"),
        _ => None,
    }
}

fn reserved_v6(ip: Ipv6Addr) -> Option<&'static str> {
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("the unspecified address is no destination"),
        [0xfe80..=0xfebf, ..] => Some("link-local addresses"),
        [0xfd00, 0xec2, ..] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => Some("a metadata service"),
        [0xff00..=0xffff, ..] => Some("multicast"),
        _ => None,
    }
}
