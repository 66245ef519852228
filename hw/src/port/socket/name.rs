//! Socket addresses in the kernel's form (`sockaddr_in`, `sockaddr_in6`).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use tandem_wire::addr::SockAddr;

/// Octets of a `sockaddr_in6`, the larger of the two.
pub(super) const NAME_LEN: usize = size_of::<libc::sockaddr_in6>();
const V4_LEN: usize = size_of::<libc::sockaddr_in>();

/// Room for either, aligned as the kernel's structures are.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(super) struct Name(pub(super) [u8; NAME_LEN]);

impl Name {
    pub(super) const EMPTY: Self = Self([0; NAME_LEN]);

    /// Writes the kernel's form and returns its length, 0 if there is no address.
    #[inline]
    pub(super) fn set(&mut self, address: SockAddr) -> u32 {
        match address.to_std() {
            Some(SocketAddr::V4(v4)) => {
                self.0[..2].copy_from_slice(&family(libc::AF_INET).to_ne_bytes());
                self.0[2..4].copy_from_slice(&v4.port().to_be_bytes());
                self.0[4..8].copy_from_slice(&v4.ip().octets());
                self.0[8..V4_LEN].fill(0);
                len(V4_LEN)
            }
            Some(SocketAddr::V6(v6)) => {
                self.0[..2].copy_from_slice(&family(libc::AF_INET6).to_ne_bytes());
                self.0[2..4].copy_from_slice(&v6.port().to_be_bytes());
                self.0[4..8].fill(0);
                self.0[8..24].copy_from_slice(&v6.ip().octets());
                self.0[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                len(NAME_LEN)
            }
            None => 0,
        }
    }
}

/// Reads the kernel's form; [`SockAddr::NONE`] if it is neither IPv4 nor IPv6, or cut short.
#[inline]
pub(super) fn parse(octets: &[u8]) -> SockAddr {
    let Some((&[f0, f1, p0, p1], rest)) = octets.split_first_chunk() else {
        return SockAddr::NONE;
    };
    let port = u16::from_be_bytes([p0, p1]);
    match u16::from_ne_bytes([f0, f1]) {
        f if f == family(libc::AF_INET) => match rest.first_chunk() {
            Some(&ip) => SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from_octets(ip), port)).into(),
            None => SockAddr::NONE,
        },
        f if f == family(libc::AF_INET6) => match rest.first_chunk::<24>() {
            Some([_, _, _, _, ip @ .., s0, s1, s2, s3]) => {
                let mut octets = [0; 16];
                octets.copy_from_slice(ip);
                let scope = u32::from_ne_bytes([*s0, *s1, *s2, *s3]);
                SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from_octets(octets), port, 0, scope))
                    .into()
            }
            None => SockAddr::NONE,
        },
        _ => SockAddr::NONE,
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "2 and 10")]
const fn family(family: libc::c_int) -> u16 {
    family as u16
}

#[expect(clippy::cast_possible_truncation, reason = "16 and 28")]
const fn len(len: usize) -> u32 {
    len as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_round_trip() {
        for text in ["192.0.2.1:5060", "[2001:db8::1]:16384", "[fe80::1%3]:9"] {
            let address = SockAddr::from(text.parse::<SocketAddr>().unwrap());
            let mut name = Name([0xff; NAME_LEN]);
            let len = name.set(address) as usize;
            assert_eq!(parse(&name.0[..len]), address);
            assert_eq!(parse(&name.0[..len.min(20) - 13]), SockAddr::NONE, "cut short");
        }
        assert_eq!(Name::EMPTY.0.len(), 28);
        assert_eq!(parse(&Name::EMPTY.0), SockAddr::NONE);
        assert_eq!(parse(&[]), SockAddr::NONE);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn octets_are_those_of_the_kernel() {
        let mut name = Name::EMPTY;
        let address = SockAddr::from("192.0.2.1:4660".parse::<SocketAddr>().unwrap());
        assert_eq!(name.set(address), 16);
        assert_eq!(name.0[..8], [2, 0, 0x12, 0x34, 192, 0, 2, 1]);
    }
}
