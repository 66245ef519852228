//! A socket address as plain data, so that it can lie in shared memory.

use bytemuck::{Pod, Zeroable};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// An IPv4 or IPv6 address with its UDP port, or nothing at all.
///
/// The all-zero value means "no address" and is what [`Default`] gives.
#[derive(Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
pub struct SockAddr {
    /// IPv6 octets, or the IPv4 octets in the first four.
    ip: [u8; 16],
    /// Scope of a link-local IPv6 address.
    scope_id: u32,
    /// UDP port in host order.
    port: u16,
    /// 0 none, 4 or 6.
    family: u16,
}

impl SockAddr {
    /// No address.
    pub const NONE: Self = Self { ip: [0; 16], scope_id: 0, port: 0, family: 0 };

    /// The address as the standard library's type; `None` if there is none (or if another process
    /// wrote an unknown family).
    #[must_use]
    pub fn to_std(self) -> Option<SocketAddr> {
        Some(match self.ip()? {
            IpAddr::V4(ip) => SocketAddr::from((ip, self.port)),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, self.port, 0, self.scope_id).into(),
        })
    }

    /// The IP address, `None` if there is none.
    #[must_use]
    pub fn ip(self) -> Option<IpAddr> {
        match self.family {
            4 => Some(Ipv4Addr::new(self.ip[0], self.ip[1], self.ip[2], self.ip[3]).into()),
            6 => Some(Ipv6Addr::from(self.ip).into()),
            _ => None,
        }
    }

    /// The UDP port, 0 if there is no address.
    #[must_use]
    pub const fn port(self) -> u16 {
        self.port
    }

    /// Whether there is an address.
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.family == 4 || self.family == 6
    }

    /// Whether both have the same IP address, whatever the ports.
    #[must_use]
    pub fn same_ip(self, other: Self) -> bool {
        self.family == other.family && self.ip == other.ip
    }

    /// The same IP address with another port.
    #[must_use]
    pub const fn with_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }
}

impl SockAddr {
    #[inline]
    fn words(self) -> [u64; 3] {
        bytemuck::cast(self)
    }
}

// Three words at once: the packet path compares addresses for every packet.
impl PartialEq for SockAddr {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let ([a, b, c], [x, y, z]) = (self.words(), other.words());
        (a ^ x) | (b ^ y) | (c ^ z) == 0
    }
}

impl Eq for SockAddr {}

impl core::hash::Hash for SockAddr {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.words().hash(state);
    }
}

impl From<SocketAddr> for SockAddr {
    fn from(addr: SocketAddr) -> Self {
        let mut ip = [0; 16];
        match addr {
            SocketAddr::V4(v4) => {
                ip[..4].copy_from_slice(&v4.ip().octets());
                Self { ip, scope_id: 0, port: v4.port(), family: 4 }
            }
            SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
                Some(v4) => SocketAddr::from((v4, v6.port())).into(),
                None => Self {
                    ip: v6.ip().octets(),
                    scope_id: v6.scope_id(),
                    port: v6.port(),
                    family: 6,
                },
            },
        }
    }
}

impl fmt::Debug for SockAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_std() {
            Some(addr) => fmt::Display::fmt(&addr, f),
            None => f.write_str("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_through_std() {
        for text in ["192.0.2.1:5060", "[2001:db8::1]:16384", "[fe80::1%3]:9"] {
            let addr: SocketAddr = text.parse().expect("literal");
            assert_eq!(SockAddr::from(addr).to_std(), Some(addr));
        }
        assert_eq!(SockAddr::NONE.to_std(), None);
    }

    #[test]
    fn mapped_ipv4_is_ipv4() {
        let mapped: SocketAddr = "[::ffff:192.0.2.7]:7".parse().expect("literal");
        assert_eq!(SockAddr::from(mapped).to_std(), Some("192.0.2.7:7".parse().expect("literal")));
    }
}
