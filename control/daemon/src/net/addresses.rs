//! The addresses that the sockets listen on, by transport.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use tandem_signalling::stack::{Flow, Transport};

/// Local addresses as they are named in flows: never a wildcard, with the ports that were chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses([Vec<SocketAddr>; Transport::ALL.len()]);

impl Addresses {
    /// UDP and TCP alone.
    #[must_use]
    pub fn plain(udp: &[SocketAddr], tcp: &[SocketAddr]) -> Self {
        let mut all = Self::default();
        udp.iter().for_each(|it| all.add(Transport::Udp, *it));
        tcp.iter().for_each(|it| all.add(Transport::Tcp, *it));
        all
    }

    /// Adds one.
    pub fn add(&mut self, transport: Transport, address: SocketAddr) {
        self.0[transport as usize].push(address);
    }

    /// Those of one transport, in the order of the configuration.
    #[must_use]
    pub fn of(&self, transport: Transport) -> &[SocketAddr] {
        &self.0[transport as usize]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Transport, SocketAddr)> + '_ {
        Transport::ALL.into_iter().flat_map(|it| self.of(it).iter().map(move |at| (it, *at)))
    }

    /// The flow for a new request to `remote` over `transport`, without a connection of its own:
    /// from the first of our addresses of its IP version. A connection may be opened although
    /// nobody listens on its transport; it then goes by an address that is listened on.
    #[must_use]
    pub fn flow_to(&self, transport: Transport, remote: SocketAddr) -> Option<Flow> {
        let first = |it| self.of(it).iter().find(|at| at.is_ipv4() == remote.is_ipv4()).copied();
        let local = match transport {
            Transport::Udp => first(Transport::Udp),
            Transport::Tcp => first(Transport::Tcp).or_else(|| first(Transport::Udp)),
            Transport::Tls => {
                [Transport::Tls, Transport::Tcp, Transport::Udp].into_iter().find_map(first)
            }
            // RFC 7118 §5: a browser cannot be connected to.
            Transport::Ws | Transport::Wss => None,
        };
        Some(Flow::new(transport, local?, remote, 0))
    }
}

/// The address by which a socket is named in flows, Via and Contact: never a wildcard.
pub(super) fn named(bound: SocketAddr) -> SocketAddr {
    SocketAddr::new(reachable_ip(bound.ip()), bound.port())
}

/// The address of this machine that others reach it by, when it listens on all addresses: that of
/// the default route, loopback without one. Sends nothing.
#[must_use]
pub fn reachable_ip(listening: IpAddr) -> IpAddr {
    if !listening.is_unspecified() {
        return listening;
    }
    // Documentation addresses (RFC 5737, RFC 3849): connecting a datagram socket only asks the
    // routing table.
    let (any, far): (SocketAddr, SocketAddr) = match listening {
        IpAddr::V4(_) => ((listening, 0).into(), ([192, 0, 2, 1], 9).into()),
        IpAddr::V6(_) => {
            let far = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
            ((listening, 0).into(), (far, 9).into())
        }
    };
    let asked = UdpSocket::bind(any)
        .and_then(|socket| socket.connect(far).and_then(|()| socket.local_addr()));
    asked.map_or_else(
        |_| match listening {
            IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        },
        |address| address.ip(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_leave_from_an_address_of_their_family_and_transport() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let mut all = Addresses::plain(&[at("192.0.2.1:5060"), at("[2001:db8::1]:5060")], &[]);
        all.add(Transport::Tls, at("192.0.2.1:5061"));
        let local = |transport, remote: &str| {
            all.flow_to(transport, at(remote)).map(|flow| flow.local.to_string())
        };
        assert_eq!(local(Transport::Udp, "192.0.2.9:5060").as_deref(), Some("192.0.2.1:5060"));
        assert_eq!(local(Transport::Tls, "192.0.2.9:5061").as_deref(), Some("192.0.2.1:5061"));
        let v6 = "[2001:db8::9]:5061";
        assert_eq!(local(Transport::Tls, v6).as_deref(), Some("[2001:db8::1]:5060"));
        assert_eq!(local(Transport::Wss, "192.0.2.9:443"), None);
        assert_eq!(all.iter().count(), 3);
    }
}
