//! IPv6 headers (RFC 8200), with hop-by-hop, routing and destination options skipped.

use crate::bytes::{put, put_u16, put_u32, u16_at, u32_at};
use core::net::Ipv6Addr;

/// Octets of the fixed header.
pub const HEADER_LEN: usize = 40;
/// Extension headers that are followed before giving up.
const MAX_EXTENSIONS: usize = 8;

/// Why bytes are no IPv6 packet that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipv6Error {
    /// Shorter than the headers or the payload length says.
    Truncated,
    /// The version is not 6.
    BadVersion,
    /// A fragment; reassembly is not done.
    Fragment,
    /// More extension headers than are followed.
    TooManyExtensions,
    /// The output buffer is too small.
    NoRoom,
}

/// A checked view of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6View<'a> {
    bytes: &'a [u8],
    header_len: usize,
    next_header: u8,
}

impl<'a> Ipv6View<'a> {
    /// Checks version and lengths and walks the extension headers (RFC 8200 §4).
    ///
    /// # Errors
    /// See [`Ipv6Error`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, Ipv6Error> {
        let first = *bytes.first().ok_or(Ipv6Error::Truncated)?;
        if first >> 4 != 6 {
            return Err(Ipv6Error::BadVersion);
        }
        if bytes.len() < HEADER_LEN {
            return Err(Ipv6Error::Truncated);
        }
        let total = HEADER_LEN + usize::from(u16_at(bytes, 4));
        let bytes = bytes.get(..total).ok_or(Ipv6Error::Truncated)?;
        let mut next_header = bytes[6];
        let mut header_len = HEADER_LEN;
        for _ in 0..MAX_EXTENSIONS {
            match next_header {
                0 | 43 | 60 => {
                    let extension = bytes.get(header_len..header_len + 8);
                    let extension = extension.ok_or(Ipv6Error::Truncated)?;
                    next_header = extension[0];
                    header_len += (usize::from(extension[1]) + 1) * 8;
                    if header_len > total {
                        return Err(Ipv6Error::Truncated);
                    }
                }
                44 => return Err(Ipv6Error::Fragment),
                _ => return Ok(Self { bytes, header_len, next_header }),
            }
        }
        Err(Ipv6Error::TooManyExtensions)
    }

    /// Octets of all headers up to the payload.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        self.header_len
    }

    /// Source address.
    #[must_use]
    pub fn source(&self) -> Ipv6Addr {
        self.address(8)
    }

    /// Destination address.
    #[must_use]
    pub fn destination(&self) -> Ipv6Addr {
        self.address(24)
    }

    /// Protocol of the payload.
    #[must_use]
    pub const fn next_header(&self) -> u8 {
        self.next_header
    }

    /// DSCP, 0 to 63.
    #[must_use]
    pub fn dscp(&self) -> u8 {
        u8::try_from((u32_at(self.bytes, 0) >> 22) & 0x3f).unwrap_or(0)
    }

    /// Hop limit.
    #[must_use]
    pub fn hop_limit(&self) -> u8 {
        self.bytes[7]
    }

    /// What follows the headers.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.header_len..]
    }

    fn address(&self, at: usize) -> Ipv6Addr {
        let mut octets = [0; 16];
        octets.copy_from_slice(&self.bytes[at..at + 16]);
        octets.into()
    }
}

/// A header without extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Header {
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
    /// Protocol of the payload.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// DSCP, 0 to 63.
    pub dscp: u8,
    /// Octets behind the header.
    pub payload_len: u16,
}

impl Ipv6Header {
    /// Reads the header of a view; extensions are left out.
    #[must_use]
    pub fn parse(view: &Ipv6View<'_>) -> Self {
        Self {
            source: view.source(),
            destination: view.destination(),
            next_header: view.next_header(),
            hop_limit: view.hop_limit(),
            dscp: view.dscp(),
            payload_len: u16::try_from(view.payload().len()).unwrap_or(u16::MAX),
        }
    }

    /// Writes the header and says how many octets it took.
    ///
    /// # Errors
    /// [`Ipv6Error::NoRoom`].
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, Ipv6Error> {
        let out = out.get_mut(..HEADER_LEN).ok_or(Ipv6Error::NoRoom)?;
        put_u32(out, 0, 6 << 28 | u32::from(self.dscp & 0x3f) << 22);
        put_u16(out, 4, self.payload_len);
        out[6] = self.next_header;
        out[7] = self.hop_limit;
        put(out, 8, &self.source.octets());
        put(out, 24, &self.destination.octets());
        Ok(HEADER_LEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(payload_len: u16) -> Ipv6Header {
        Ipv6Header {
            source: "2001:db8::1".parse().unwrap(),
            destination: "2001:db8::2".parse().unwrap(),
            next_header: 17,
            hop_limit: 64,
            dscp: 46,
            payload_len,
        }
    }

    #[test]
    fn header_round_trips() {
        let mut out = [9; 42];
        assert_eq!(header(2).emit(&mut out), Ok(40));
        assert_eq!(out[..8], [0x6b, 0x80, 0, 0, 0, 2, 17, 64]);
        let view = Ipv6View::new(&out).unwrap();
        assert_eq!(Ipv6Header::parse(&view), header(2));
        assert_eq!(view.payload(), [9, 9]);
    }

    #[test]
    fn extensions_are_skipped_and_fragments_refused() {
        let mut out = [0; 50];
        Ipv6Header { next_header: 0, ..header(10) }.emit(&mut out).unwrap();
        out[40] = 17;
        let view = Ipv6View::new(&out).unwrap();
        assert_eq!((view.next_header(), view.header_len()), (17, 48));
        out[41] = 1;
        assert_eq!(Ipv6View::new(&out).unwrap_err(), Ipv6Error::Truncated);
        (out[40], out[41]) = (44, 0);
        assert_eq!(Ipv6View::new(&out).unwrap_err(), Ipv6Error::Fragment);
        out[40] = 0;
        assert_eq!(Ipv6View::new(&out[..49]).unwrap_err(), Ipv6Error::Truncated);
        out[0] = 0x45;
        assert_eq!(Ipv6View::new(&out).unwrap_err(), Ipv6Error::BadVersion);
    }
}
