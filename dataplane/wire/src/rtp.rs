//! RTP headers (RFC 3550 §5.1): CSRC list, extension (§5.3.1), padding.

use crate::bytes::{put_u16, put_u32, u16_at, u32_at};
use bytemuck::{Pod, Zeroable};

/// Octets of the fixed header.
pub const HEADER_LEN: usize = 12;

/// Synchronisation source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Ssrc(pub u32);

/// Sequence number; wraps at 2^16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct SeqNo(pub u16);

impl SeqNo {
    /// How far `self` is ahead of `earlier`, negative if behind (serial arithmetic, RFC 1982).
    #[inline]
    #[must_use]
    pub const fn ahead_of(self, earlier: Self) -> i16 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }

    /// The number after this one.
    #[inline]
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// Media time in units of the payload's clock rate; wraps at 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Timestamp(pub u32);

impl Timestamp {
    /// How far `self` is ahead of `earlier` in clock units, negative if behind.
    #[inline]
    #[must_use]
    pub const fn ahead_of(self, earlier: Self) -> i32 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }
}

/// Why bytes are no RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtpError {
    /// Shorter than its headers.
    Truncated,
    /// The version is not 2.
    BadVersion,
    /// The padding count is zero or longer than the payload.
    BadPadding,
    /// The output buffer is too small.
    NoRoom,
    /// More than 15 contributing sources.
    TooManySources,
}

/// The fields of a header that the packet path uses, and where the payload lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RtpHeader {
    /// Synchronisation source.
    pub ssrc: Ssrc,
    /// Media time.
    pub timestamp: Timestamp,
    /// Sequence number.
    pub sequence: SeqNo,
    /// Octets in front of the payload: fixed header, CSRC list, extension.
    pub header_len: u16,
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// Marker bit.
    pub marker: bool,
    /// Octets of padding behind the payload, its count octet included.
    pub padding: u8,
}

impl RtpHeader {
    /// Reads and checks the header of a packet. `secured` leaves the padding alone: its count is
    /// encrypted (RFC 3711 §3.1).
    ///
    /// # Errors
    /// [`RtpError::Truncated`], [`RtpError::BadVersion`], [`RtpError::BadPadding`].
    #[inline]
    pub fn parse(bytes: &[u8], secured: bool) -> Result<Self, RtpError> {
        let Some(fixed) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(RtpError::Truncated);
        };
        let header = Self {
            ssrc: Ssrc(u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]])),
            timestamp: Timestamp(u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]])),
            sequence: SeqNo(u16::from_be_bytes([fixed[2], fixed[3]])),
            header_len: 12,
            payload_type: fixed[1] & 0x7f,
            marker: fixed[1] & 0x80 != 0,
            padding: 0,
        };
        if fixed[0] == 0x80 {
            return Ok(header);
        }
        let (header_len, padding) = variable_part(bytes, fixed[0], secured)?;
        Ok(Self { header_len, padding, ..header })
    }

    /// Octets of payload in a packet of `len` octets: without header and padding (RFC 3550
    /// §6.4.1).
    #[inline]
    #[must_use]
    pub const fn payload_len(&self, len: u16) -> u16 {
        len.saturating_sub(self.header_len).saturating_sub(self.padding as u16)
    }

    /// Writes a fixed header with contributing sources, without extension or padding, and says
    /// how many octets it took.
    ///
    /// # Errors
    /// [`RtpError::NoRoom`], [`RtpError::TooManySources`].
    pub fn emit(&self, sources: &[Ssrc], out: &mut [u8]) -> Result<usize, RtpError> {
        let count = u8::try_from(sources.len()).map_err(|_| RtpError::TooManySources)?;
        if count > 15 {
            return Err(RtpError::TooManySources);
        }
        let len = HEADER_LEN + sources.len() * 4;
        let out = out.get_mut(..len).ok_or(RtpError::NoRoom)?;
        out[0] = 0x80 | count;
        out[1] = (self.payload_type & 0x7f) | if self.marker { 0x80 } else { 0 };
        put_u16(out, 2, self.sequence.0);
        put_u32(out, 4, self.timestamp.0);
        put_u32(out, 8, self.ssrc.0);
        for (at, source) in (HEADER_LEN..).step_by(4).zip(sources) {
            put_u32(out, at, source.0);
        }
        Ok(len)
    }
}

/// The twelve octets of a fixed header as they came. What plain audio has, and read field by field
/// when it is needed: the packet path carries these between its rooms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(4))]
pub struct FixedHeader {
    octets: [u8; HEADER_LEN],
}

impl FixedHeader {
    /// Takes the first octets of a packet; `None` if there are fewer. Nothing is checked.
    #[inline]
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().map(|octets| Self { octets: *octets })
    }

    /// Whether it is of version 2 without padding, extension and sources, so that the payload
    /// follows.
    #[inline]
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        self.octets[0] == 0x80
    }

    /// Synchronisation source.
    #[inline]
    #[must_use]
    pub const fn ssrc(&self) -> Ssrc {
        let [.., a, b, c, d] = self.octets;
        Ssrc(u32::from_be_bytes([a, b, c, d]))
    }

    /// Media time.
    #[inline]
    #[must_use]
    pub const fn timestamp(&self) -> Timestamp {
        let [_, _, _, _, a, b, c, d, ..] = self.octets;
        Timestamp(u32::from_be_bytes([a, b, c, d]))
    }

    /// Sequence number.
    #[inline]
    #[must_use]
    pub const fn sequence(&self) -> SeqNo {
        SeqNo(u16::from_be_bytes([self.octets[2], self.octets[3]]))
    }

    /// Payload type, 0 to 127.
    #[inline]
    #[must_use]
    pub const fn payload_type(&self) -> u8 {
        self.octets[1] & 0x7f
    }

    /// The value of a plain header.
    #[must_use]
    pub const fn to_header(&self) -> RtpHeader {
        RtpHeader {
            ssrc: self.ssrc(),
            timestamp: self.timestamp(),
            sequence: self.sequence(),
            header_len: 12,
            payload_type: self.payload_type(),
            marker: self.octets[1] & 0x80 != 0,
            padding: 0,
        }
    }
}

/// CSRC list, extension and padding, which plain audio does not have: octets of header and of
/// padding.
#[cold]
fn variable_part(bytes: &[u8], first: u8, secured: bool) -> Result<(u16, u8), RtpError> {
    if first >> 6 != 2 {
        return Err(RtpError::BadVersion);
    }
    let mut len = HEADER_LEN + usize::from(first & 0x0f) * 4;
    if first & 0x10 != 0 {
        if bytes.len() < len + 4 {
            return Err(RtpError::Truncated);
        }
        len += 4 + usize::from(u16_at(bytes, len + 2)) * 4;
    }
    if bytes.len() < len {
        return Err(RtpError::Truncated);
    }
    let header_len = u16::try_from(len).map_err(|_| RtpError::Truncated)?;
    if first & 0x20 == 0 || secured {
        return Ok((header_len, 0));
    }
    let padding = bytes.last().copied().unwrap_or(0);
    if padding == 0 || usize::from(padding) > bytes.len() - len {
        return Err(RtpError::BadPadding);
    }
    Ok((header_len, padding))
}

/// A checked view of a packet that is not secured.
#[derive(Clone, Copy, Debug)]
pub struct RtpView<'a> {
    bytes: &'a [u8],
    header: RtpHeader,
}

impl<'a> RtpView<'a> {
    /// Checks the packet.
    ///
    /// # Errors
    /// As [`RtpHeader::parse`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, RtpError> {
        RtpHeader::parse(bytes, false).map(|header| Self { bytes, header })
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &RtpHeader {
        &self.header
    }

    /// The payload without padding.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        let end = self.bytes.len() - usize::from(self.header.padding);
        &self.bytes[usize::from(self.header.header_len)..end]
    }

    /// Contributing sources.
    pub fn sources(&self) -> impl Iterator<Item = Ssrc> + 'a {
        let count = usize::from(self.bytes[0] & 0x0f);
        let list = &self.bytes[HEADER_LEN..HEADER_LEN + count * 4];
        list.chunks_exact(4).map(|c| Ssrc(u32_at(c, 0)))
    }

    /// The header extension: its profile word and its octets (RFC 3550 §5.3.1).
    #[must_use]
    pub fn extension(&self) -> Option<(u16, &'a [u8])> {
        if self.bytes[0] & 0x10 == 0 {
            return None;
        }
        let at = HEADER_LEN + usize::from(self.bytes[0] & 0x0f) * 4;
        let data = &self.bytes[at + 4..usize::from(self.header.header_len)];
        Some((u16_at(self.bytes, at), data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Marker, payload type 8, two sources, an extension of one word, three octets of padding.
    const FULL: [u8; 33] = [
        0xb2, 0x88, 0x12, 0x34, 0x00, 0x00, 0x00, 0xa0, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 1, 0, 0,
        0, 2, 0xbe, 0xde, 0x00, 0x01, 0x10, 0xff, 0, 0, 0xd5, 0xd5, 0, 0, 3,
    ];

    #[test]
    fn every_part_is_found() {
        let view = RtpView::new(&FULL).unwrap();
        let header = *view.header();
        assert_eq!(header.ssrc, Ssrc(0xdead_beef));
        assert_eq!(header.timestamp, Timestamp(160));
        assert_eq!(header.sequence, SeqNo(0x1234));
        assert_eq!((header.payload_type, header.marker), (8, true));
        assert_eq!((header.header_len, header.padding), (28, 3));
        assert_eq!(header.payload_len(33), 2);
        assert_eq!(view.payload(), [0xd5, 0xd5]);
        assert_eq!(view.sources().collect::<Vec<_>>(), [Ssrc(1), Ssrc(2)]);
        assert_eq!(view.extension(), Some((0xbede, &[0x10, 0xff, 0, 0][..])));
    }

    #[test]
    fn truncation_anywhere_is_an_error() {
        for len in 0..28 {
            assert!(RtpHeader::parse(&FULL[..len], true).is_err(), "{len}");
        }
        assert!(RtpHeader::parse(&FULL[..28], true).is_ok());
        assert_eq!(RtpHeader::parse(&FULL[..28], false), Err(RtpError::BadPadding));
    }

    #[test]
    fn version_and_padding_are_checked() {
        let mut bytes = [0; 13];
        bytes[0] = 0x40;
        assert_eq!(RtpHeader::parse(&bytes, false), Err(RtpError::BadVersion));
        bytes[0] = 0xa0;
        assert_eq!(RtpHeader::parse(&bytes, false), Err(RtpError::BadPadding));
        bytes[12] = 2;
        assert_eq!(RtpHeader::parse(&bytes, false), Err(RtpError::BadPadding));
        assert_eq!(RtpHeader::parse(&bytes, true).map(|h| h.padding), Ok(0));
        bytes[12] = 1;
        assert_eq!(RtpHeader::parse(&bytes, false).map(|h| h.payload_len(13)), Ok(0));
    }

    #[test]
    fn emit_writes_what_parse_reads() {
        let header = RtpHeader {
            ssrc: Ssrc(7),
            timestamp: Timestamp(0xffff_ff60),
            sequence: SeqNo(65_535),
            header_len: 16,
            payload_type: 101,
            marker: true,
            padding: 0,
        };
        let mut out = [0; 16];
        assert_eq!(header.emit(&[Ssrc(9)], &mut out), Ok(16));
        assert_eq!(out, [0x81, 0xe5, 0xff, 0xff, 0xff, 0xff, 0xff, 0x60, 0, 0, 0, 7, 0, 0, 0, 9]);
        assert_eq!(RtpHeader::parse(&out, false), Ok(header));
        assert_eq!(header.emit(&[], &mut out[..11]), Err(RtpError::NoRoom));
        assert_eq!(header.emit(&[Ssrc(0); 16], &mut [0; 99]), Err(RtpError::TooManySources));
    }

    #[test]
    fn fixed_header_reads_the_same() {
        let bytes = [0x80, 0xe5, 0xff, 0xfe, 1, 2, 3, 4, 5, 6, 7, 8, 9];
        let fixed = FixedHeader::parse(&bytes).unwrap();
        assert!(fixed.is_plain());
        assert_eq!(RtpHeader::parse(&bytes, false), Ok(fixed.to_header()));
        assert_eq!(fixed.to_header().ssrc, Ssrc(0x0506_0708));
        assert!(!FixedHeader::parse(&FULL).unwrap().is_plain());
        assert_eq!(FixedHeader::parse(&bytes[..11]), None);
    }

    #[test]
    fn serial_arithmetic_wraps() {
        assert_eq!(SeqNo(2).ahead_of(SeqNo(65_535)), 3);
        assert_eq!(SeqNo(65_535).ahead_of(SeqNo(2)), -3);
        assert_eq!(SeqNo(65_535).next(), SeqNo(0));
        assert_eq!(Timestamp(100).ahead_of(Timestamp(0xffff_ffff)), 101);
    }
}
