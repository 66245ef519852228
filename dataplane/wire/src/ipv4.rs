//! IPv4 headers (RFC 791).

use crate::bytes::{put, put_u16, u16_at};
use crate::checksum::Checksum;
use core::net::Ipv4Addr;

/// Octets of a header without options.
pub const HEADER_LEN: usize = 20;
/// Protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;

/// Why bytes are no IPv4 packet that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipv4Error {
    /// Shorter than the header or its total length says.
    Truncated,
    /// The version is not 4.
    BadVersion,
    /// The header length is under 20 octets or beyond the packet.
    BadHeaderLength,
    /// The header checksum is wrong.
    BadChecksum,
    /// A fragment; reassembly is not done.
    Fragment,
    /// The output buffer is too small.
    NoRoom,
    /// The payload does not fit a 16-bit length.
    TooLong,
}

/// A checked view of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4View<'a> {
    bytes: &'a [u8],
    header_len: usize,
}

impl<'a> Ipv4View<'a> {
    /// Checks version, lengths, checksum and that it is not a fragment. Padding behind the total
    /// length (short Ethernet frames) is cut off.
    ///
    /// # Errors
    /// See [`Ipv4Error`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, Ipv4Error> {
        let first = *bytes.first().ok_or(Ipv4Error::Truncated)?;
        if first >> 4 != 4 {
            return Err(Ipv4Error::BadVersion);
        }
        let header_len = usize::from(first & 0x0f) * 4;
        if header_len < HEADER_LEN {
            return Err(Ipv4Error::BadHeaderLength);
        }
        let header = bytes.get(..header_len).ok_or(Ipv4Error::Truncated)?;
        let total = usize::from(u16_at(bytes, 2));
        if total < header_len {
            return Err(Ipv4Error::BadHeaderLength);
        }
        let bytes = bytes.get(..total).ok_or(Ipv4Error::Truncated)?;
        if Checksum::new().feed(header).finish() != 0 {
            return Err(Ipv4Error::BadChecksum);
        }
        if u16_at(bytes, 6) & 0x3fff != 0 {
            return Err(Ipv4Error::Fragment);
        }
        Ok(Self { bytes, header_len })
    }

    /// Octets of the header, options included.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        self.header_len
    }

    /// Source address.
    #[must_use]
    pub fn source(&self) -> Ipv4Addr {
        let b = self.bytes;
        Ipv4Addr::new(b[12], b[13], b[14], b[15])
    }

    /// Destination address.
    #[must_use]
    pub fn destination(&self) -> Ipv4Addr {
        let b = self.bytes;
        Ipv4Addr::new(b[16], b[17], b[18], b[19])
    }

    /// Protocol of the payload.
    #[must_use]
    pub fn protocol(&self) -> u8 {
        self.bytes[9]
    }

    /// DSCP, 0 to 63 (RFC 2474).
    #[must_use]
    pub fn dscp(&self) -> u8 {
        self.bytes[1] >> 2
    }

    /// Time to live.
    #[must_use]
    pub fn ttl(&self) -> u8 {
        self.bytes[8]
    }

    /// What follows the header.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.header_len..]
    }
}

/// A header without options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Header {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Time to live.
    pub ttl: u8,
    /// DSCP, 0 to 63.
    pub dscp: u8,
    /// Octets behind the header.
    pub payload_len: u16,
}

impl Ipv4Header {
    /// Reads the header of a view.
    #[must_use]
    pub fn parse(view: &Ipv4View<'_>) -> Self {
        Self {
            source: view.source(),
            destination: view.destination(),
            protocol: view.protocol(),
            ttl: view.ttl(),
            dscp: view.dscp(),
            payload_len: u16::try_from(view.payload().len()).unwrap_or(u16::MAX),
        }
    }

    /// Writes the header with its checksum, "don't fragment" set, and says how many octets it took.
    ///
    /// # Errors
    /// [`Ipv4Error::NoRoom`], [`Ipv4Error::TooLong`].
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, Ipv4Error> {
        let total = self.payload_len.checked_add(20).ok_or(Ipv4Error::TooLong)?;
        let out = out.get_mut(..HEADER_LEN).ok_or(Ipv4Error::NoRoom)?;
        out.fill(0);
        out[0] = 0x45;
        out[1] = self.dscp << 2;
        put_u16(out, 2, total);
        put_u16(out, 6, 0x4000);
        out[8] = self.ttl;
        out[9] = self.protocol;
        put(out, 12, &self.source.octets());
        put(out, 16, &self.destination.octets());
        let sum = Checksum::new().feed(out).finish();
        put_u16(out, 10, sum);
        Ok(HEADER_LEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: [u8; 24] = [
        0x45, 0xb8, 0x00, 0x18, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb6, 0x19, 0xc0, 0x00, 0x02,
        0x01, 0xc0, 0x00, 0x02, 0x02, 1, 2, 3, 4,
    ];

    #[test]
    fn header_round_trips() {
        let header = Ipv4Header {
            source: Ipv4Addr::new(192, 0, 2, 1),
            destination: Ipv4Addr::new(192, 0, 2, 2),
            protocol: PROTOCOL_UDP,
            ttl: 64,
            dscp: 46,
            payload_len: 4,
        };
        let mut out = [0; 24];
        assert_eq!(header.emit(&mut out), Ok(20));
        out[20..].copy_from_slice(&[1, 2, 3, 4]);
        assert_eq!(out, PACKET);
        let view = Ipv4View::new(&out).unwrap();
        assert_eq!(Ipv4Header::parse(&view), header);
        assert_eq!(view.payload(), [1, 2, 3, 4]);
    }

    #[test]
    fn damage_is_told_apart() {
        let check = |change: &dyn Fn(&mut [u8; 24])| {
            let mut bytes = PACKET;
            change(&mut bytes);
            Ipv4View::new(&bytes).unwrap_err()
        };
        assert_eq!(check(&|b| b[0] = 0x65), Ipv4Error::BadVersion);
        assert_eq!(check(&|b| b[0] = 0x44), Ipv4Error::BadHeaderLength);
        assert_eq!(check(&|b| b[3] = 19), Ipv4Error::BadHeaderLength);
        assert_eq!(check(&|b| b[3] = 25), Ipv4Error::Truncated);
        assert_eq!(check(&|b| b[8] = 63), Ipv4Error::BadChecksum);
        assert_eq!(Ipv4View::new(&[]).unwrap_err(), Ipv4Error::Truncated);
    }

    #[test]
    fn fragments_are_refused() {
        let mut bytes = PACKET;
        bytes[6] = 0x20;
        bytes[10..12].fill(0);
        let sum = Checksum::new().feed(&bytes[..20]).finish();
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(Ipv4View::new(&bytes).unwrap_err(), Ipv4Error::Fragment);
    }
}
