//! A whole frame around a UDP payload: what raw-frame ports and captures need.

use crate::addr::SockAddr;
use crate::ethernet::{
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, EthernetError, EthernetHeader, EthernetView,
};
use crate::ipv4::{Ipv4Error, Ipv4Header, Ipv4View, PROTOCOL_UDP};
use crate::ipv6::{Ipv6Error, Ipv6Header, Ipv6View};
use crate::udp::{self, UdpError, UdpHeader, UdpView};
use core::net::{IpAddr, SocketAddr};

/// Why a frame holds no UDP payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkError {
    /// At the link layer.
    Ethernet(EthernetError),
    /// At IPv4.
    Ipv4(Ipv4Error),
    /// At IPv6.
    Ipv6(Ipv6Error),
    /// At UDP.
    Udp(UdpError),
    /// Neither IPv4 nor IPv6, or not UDP.
    NotUdp,
    /// Source and destination are of two families, or none.
    MixedFamilies,
}

/// A UDP datagram found in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Where it came from.
    pub source: SockAddr,
    /// Where it was going.
    pub destination: SockAddr,
    /// DSCP, 0 to 63.
    pub dscp: u8,
    /// The UDP payload.
    pub payload: &'a [u8],
}

/// Finds the UDP datagram in an Ethernet frame. The UDP checksum is not verified: captures of
/// local senders hold partial ones.
///
/// # Errors
/// See [`NetworkError`].
pub fn parse_ethernet(frame: &[u8]) -> Result<Datagram<'_>, NetworkError> {
    let ethernet = EthernetView::new(frame).map_err(NetworkError::Ethernet)?;
    match ethernet.ethertype() {
        ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => parse_ip(ethernet.payload()),
        _ => Err(NetworkError::NotUdp),
    }
}

/// Finds the UDP datagram in an IP packet of either version.
///
/// # Errors
/// See [`NetworkError`].
pub fn parse_ip(packet: &[u8]) -> Result<Datagram<'_>, NetworkError> {
    let (source, destination, dscp, protocol, rest): (IpAddr, IpAddr, _, _, _) =
        match packet.first().map(|b| b >> 4) {
            Some(4) => {
                let view = Ipv4View::new(packet).map_err(NetworkError::Ipv4)?;
                let (source, destination) = (view.source().into(), view.destination().into());
                (source, destination, view.dscp(), view.protocol(), view.payload())
            }
            Some(6) => {
                let view = Ipv6View::new(packet).map_err(NetworkError::Ipv6)?;
                let (source, destination) = (view.source().into(), view.destination().into());
                (source, destination, view.dscp(), view.next_header(), view.payload())
            }
            _ => return Err(NetworkError::NotUdp),
        };
    if protocol != PROTOCOL_UDP {
        return Err(NetworkError::NotUdp);
    }
    let view = UdpView::new(rest).map_err(NetworkError::Udp)?;
    Ok(Datagram {
        source: SocketAddr::new(source, view.source()).into(),
        destination: SocketAddr::new(destination, view.destination()).into(),
        dscp,
        payload: view.payload(),
    })
}

/// Addresses of a frame to write.
#[derive(Clone, Copy, Debug)]
pub struct FrameAddresses {
    /// Link-layer source.
    pub source_mac: [u8; 6],
    /// Link-layer destination.
    pub destination_mac: [u8; 6],
    /// Where it comes from.
    pub source: SockAddr,
    /// Where it goes.
    pub destination: SockAddr,
    /// DSCP, 0 to 63.
    pub dscp: u8,
}

/// Writes Ethernet, IP and UDP headers and the payload, and says how many octets the frame has.
///
/// # Errors
/// See [`NetworkError`].
pub fn emit_ethernet(
    addresses: &FrameAddresses,
    payload: &[u8],
    out: &mut [u8],
) -> Result<usize, NetworkError> {
    let (Some(source), Some(destination)) =
        (addresses.source.to_std(), addresses.destination.to_std())
    else {
        return Err(NetworkError::MixedFamilies);
    };
    let ethertype = if source.is_ipv4() { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
    let ethernet = EthernetHeader {
        destination: addresses.destination_mac,
        source: addresses.source_mac,
        vlan: None,
        ethertype,
    };
    let link = ethernet.emit(out).map_err(NetworkError::Ethernet)?;
    let udp_len = u16::try_from(payload.len() + udp::HEADER_LEN)
        .map_err(|_| NetworkError::Udp(UdpError::TooLong))?;
    let rest = &mut out[link..];
    let ip = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => Ipv4Header {
            source,
            destination,
            protocol: PROTOCOL_UDP,
            ttl: 64,
            dscp: addresses.dscp,
            payload_len: udp_len,
        }
        .emit(rest)
        .map_err(NetworkError::Ipv4)?,
        (IpAddr::V6(source), IpAddr::V6(destination)) => Ipv6Header {
            source,
            destination,
            next_header: PROTOCOL_UDP,
            hop_limit: 64,
            dscp: addresses.dscp,
            payload_len: udp_len,
        }
        .emit(rest)
        .map_err(NetworkError::Ipv6)?,
        _ => return Err(NetworkError::MixedFamilies),
    };
    let datagram = &mut rest[ip..];
    datagram
        .get_mut(udp::HEADER_LEN..udp::HEADER_LEN + payload.len())
        .ok_or(NetworkError::Udp(UdpError::NoRoom))?
        .copy_from_slice(payload);
    let header = UdpHeader { source: source.port(), destination: destination.port() };
    let udp = header
        .emit(source.ip(), destination.ip(), payload.len(), datagram)
        .map_err(NetworkError::Udp)?;
    Ok(link + ip + udp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SockAddr {
        text.parse::<SocketAddr>().unwrap().into()
    }

    fn frame(source: &str, destination: &str) -> FrameAddresses {
        FrameAddresses {
            source_mac: [2, 0, 0, 0, 0, 1],
            destination_mac: [2, 0, 0, 0, 0, 2],
            source: addr(source),
            destination: addr(destination),
            dscp: 46,
        }
    }

    #[test]
    fn both_families_round_trip() {
        for (source, destination, len) in [
            ("192.0.2.1:4000", "192.0.2.2:5000", 14 + 20 + 8 + 5),
            ("[2001:db8::1]:4000", "[2001:db8::2]:5000", 14 + 40 + 8 + 5),
        ] {
            let mut out = [0; 128];
            let n = emit_ethernet(&frame(source, destination), b"audio", &mut out).unwrap();
            assert_eq!(n, len);
            let found = parse_ethernet(&out[..n]).unwrap();
            assert_eq!(found.source, addr(source));
            assert_eq!(found.destination, addr(destination));
            assert_eq!((found.dscp, found.payload), (46, &b"audio"[..]));
        }
    }

    #[test]
    fn mixed_families_and_small_buffers_are_refused() {
        let mut out = [0; 128];
        let mixed = frame("192.0.2.1:1", "[::1]:2");
        assert_eq!(emit_ethernet(&mixed, b"", &mut out), Err(NetworkError::MixedFamilies));
        let fits = frame("192.0.2.1:1", "192.0.2.2:2");
        for len in 0..43 {
            assert!(emit_ethernet(&fits, b"x", &mut out[..len]).is_err(), "{len}");
        }
        assert_eq!(emit_ethernet(&fits, b"x", &mut out[..43]), Ok(43));
    }
}
