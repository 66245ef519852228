//! UDP (RFC 768).

use crate::bytes::{put_u16, u16_at};
use crate::checksum::Checksum;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Octets of the header.
pub const HEADER_LEN: usize = 8;

/// Why bytes are no UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpError {
    /// Shorter than the header or its length says.
    Truncated,
    /// The length field is under 8.
    BadLength,
    /// The checksum is wrong, or zero over IPv6 (RFC 8200 §8.1).
    BadChecksum,
    /// The addresses are of two families.
    MixedFamilies,
    /// The output buffer is too small.
    NoRoom,
    /// The payload does not fit a 16-bit length.
    TooLong,
}

/// A checked view of a datagram.
#[derive(Clone, Copy, Debug)]
pub struct UdpView<'a> {
    bytes: &'a [u8],
}

impl<'a> UdpView<'a> {
    /// Checks the lengths; octets behind the length field's end are cut off.
    ///
    /// # Errors
    /// [`UdpError::Truncated`], [`UdpError::BadLength`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, UdpError> {
        if bytes.len() < HEADER_LEN {
            return Err(UdpError::Truncated);
        }
        let len = usize::from(u16_at(bytes, 4));
        if len < HEADER_LEN {
            return Err(UdpError::BadLength);
        }
        bytes.get(..len).map(|bytes| Self { bytes }).ok_or(UdpError::Truncated)
    }

    /// Source port.
    #[must_use]
    pub fn source(&self) -> u16 {
        u16_at(self.bytes, 0)
    }

    /// Destination port.
    #[must_use]
    pub fn destination(&self) -> u16 {
        u16_at(self.bytes, 2)
    }

    /// What follows the header.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_LEN..]
    }

    /// Verifies the checksum over the pseudo-header of these addresses. Not for veth: local
    /// senders leave partial checksums there.
    ///
    /// # Errors
    /// [`UdpError::BadChecksum`], [`UdpError::MixedFamilies`].
    pub fn verify(&self, source: IpAddr, destination: IpAddr) -> Result<(), UdpError> {
        if u16_at(self.bytes, 6) == 0 {
            return if source.is_ipv4() { Ok(()) } else { Err(UdpError::BadChecksum) };
        }
        match pseudo(source, destination, self.bytes.len())?.feed(self.bytes).finish() {
            0 => Ok(()),
            _ => Err(UdpError::BadChecksum),
        }
    }
}

/// A datagram's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpHeader {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
}

impl UdpHeader {
    /// Reads the ports of a view.
    #[must_use]
    pub fn parse(view: &UdpView<'_>) -> Self {
        Self { source: view.source(), destination: view.destination() }
    }

    /// Writes the header in front of the `payload_len` octets that lie at `out[8..]` already, with
    /// the full checksum, and says how many octets the datagram has.
    ///
    /// # Errors
    /// [`UdpError::NoRoom`], [`UdpError::TooLong`], [`UdpError::MixedFamilies`].
    pub fn emit(
        &self,
        source: IpAddr,
        destination: IpAddr,
        payload_len: usize,
        out: &mut [u8],
    ) -> Result<usize, UdpError> {
        let total = HEADER_LEN + payload_len;
        let length = u16::try_from(total).map_err(|_| UdpError::TooLong)?;
        let out = out.get_mut(..total).ok_or(UdpError::NoRoom)?;
        put_u16(out, 0, self.source);
        put_u16(out, 2, self.destination);
        put_u16(out, 4, length);
        put_u16(out, 6, 0);
        // RFC 768: a computed zero is sent as all ones.
        let sum = match pseudo(source, destination, total)?.feed(out).finish() {
            0 => 0xffff,
            sum => sum,
        };
        put_u16(out, 6, sum);
        Ok(total)
    }
}

fn pseudo(source: IpAddr, destination: IpAddr, len: usize) -> Result<Checksum, UdpError> {
    let len = u16::try_from(len).map_err(|_| UdpError::TooLong)?;
    let v4 = |s: Ipv4Addr, d: Ipv4Addr| Checksum::new().feed_pseudo_v4(s, d, len);
    let v6 = |s: Ipv6Addr, d: Ipv6Addr| Checksum::new().feed_pseudo_v6(s, d, len);
    match (source, destination) {
        (IpAddr::V4(s), IpAddr::V4(d)) => Ok(v4(s, d)),
        (IpAddr::V6(s), IpAddr::V6(d)) => Ok(v6(s, d)),
        _ => Err(UdpError::MixedFamilies),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn literal_datagram_verifies() {
        // 192.0.2.1:4000 to 192.0.2.2:5000, payload "hi"; checksum from an independent program.
        let mut out = [0; 10];
        out[8..].copy_from_slice(b"hi");
        let header = UdpHeader { source: 4000, destination: 5000 };
        assert_eq!(header.emit(ip("192.0.2.1"), ip("192.0.2.2"), 2, &mut out), Ok(10));
        assert_eq!(out, [0x0f, 0xa0, 0x13, 0x88, 0, 10, 0xf0, 0x44, b'h', b'i']);
        let view = UdpView::new(&out).unwrap();
        assert_eq!(view.verify(ip("192.0.2.1"), ip("192.0.2.2")), Ok(()));
        assert_eq!(view.verify(ip("192.0.2.1"), ip("192.0.2.3")), Err(UdpError::BadChecksum));
        assert_eq!(UdpHeader::parse(&view), header);
        assert_eq!(view.payload(), b"hi");
    }

    #[test]
    fn zero_checksum_is_for_ipv4_only() {
        let bytes = [0, 1, 0, 2, 0, 8, 0, 0];
        let view = UdpView::new(&bytes).unwrap();
        assert_eq!(view.verify(ip("192.0.2.1"), ip("192.0.2.2")), Ok(()));
        assert_eq!(view.verify(ip("::1"), ip("::2")), Err(UdpError::BadChecksum));
        assert_eq!(view.verify(ip("::1"), ip("1.2.3.4")), Err(UdpError::BadChecksum));
    }

    #[test]
    fn wrong_lengths_are_refused() {
        assert_eq!(UdpView::new(&[0; 7]).unwrap_err(), UdpError::Truncated);
        assert_eq!(UdpView::new(&[0, 1, 0, 2, 0, 7, 0, 0]).unwrap_err(), UdpError::BadLength);
        assert_eq!(UdpView::new(&[0, 1, 0, 2, 0, 9, 0, 0]).unwrap_err(), UdpError::Truncated);
    }
}
