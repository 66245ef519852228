//! Ethernet II frames, plain or with one or two VLAN tags (IEEE 802.1Q, 802.1ad).

use crate::bytes::{put, put_u16, u16_at};

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// EtherType of an 802.1Q tag.
pub const ETHERTYPE_VLAN: u16 = 0x8100;
/// EtherType of an 802.1ad outer tag.
pub const ETHERTYPE_QINQ: u16 = 0x88a8;

/// Why bytes are no Ethernet frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EthernetError {
    /// Shorter than its headers.
    Truncated,
    /// More than two VLAN tags.
    TooManyTags,
    /// The output buffer is too small.
    NoRoom,
}

/// A checked view of a frame.
#[derive(Clone, Copy, Debug)]
pub struct EthernetView<'a> {
    bytes: &'a [u8],
    header_len: usize,
}

impl<'a> EthernetView<'a> {
    /// Checks the header.
    ///
    /// # Errors
    /// [`EthernetError::Truncated`], [`EthernetError::TooManyTags`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, EthernetError> {
        let mut header_len = 14;
        loop {
            if bytes.len() < header_len {
                return Err(EthernetError::Truncated);
            }
            match u16_at(bytes, header_len - 2) {
                ETHERTYPE_VLAN | ETHERTYPE_QINQ if header_len < 22 => header_len += 4,
                ETHERTYPE_VLAN | ETHERTYPE_QINQ => return Err(EthernetError::TooManyTags),
                _ => return Ok(Self { bytes, header_len }),
            }
        }
    }

    /// Octets of the header, tags included.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        self.header_len
    }

    /// Destination address.
    #[must_use]
    pub fn destination(&self) -> [u8; 6] {
        self.mac(0)
    }

    /// Source address.
    #[must_use]
    pub fn source(&self) -> [u8; 6] {
        self.mac(6)
    }

    /// EtherType behind the tags.
    #[must_use]
    pub fn ethertype(&self) -> u16 {
        u16_at(self.bytes, self.header_len - 2)
    }

    /// VLAN identifier of the outermost tag.
    #[must_use]
    pub fn vlan(&self) -> Option<u16> {
        (self.header_len > 14).then(|| u16_at(self.bytes, 14) & 0x0fff)
    }

    /// What follows the header.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.header_len..]
    }

    fn mac(&self, at: usize) -> [u8; 6] {
        let mut mac = [0; 6];
        mac.copy_from_slice(&self.bytes[at..at + 6]);
        mac
    }
}

/// Header of a frame with at most one tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthernetHeader {
    /// Destination address.
    pub destination: [u8; 6],
    /// Source address.
    pub source: [u8; 6],
    /// VLAN identifier, 0 to 4095.
    pub vlan: Option<u16>,
    /// EtherType of the payload.
    pub ethertype: u16,
}

impl EthernetHeader {
    /// Reads the header of a view; of two tags the outer one is kept.
    #[must_use]
    pub fn parse(view: &EthernetView<'_>) -> Self {
        Self {
            destination: view.destination(),
            source: view.source(),
            vlan: view.vlan(),
            ethertype: view.ethertype(),
        }
    }

    /// Octets that [`Self::emit`] writes.
    #[must_use]
    pub const fn len(&self) -> usize {
        if self.vlan.is_some() { 18 } else { 14 }
    }

    /// A header is never empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Writes the header and says how many octets it took.
    ///
    /// # Errors
    /// [`EthernetError::NoRoom`].
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, EthernetError> {
        let len = self.len();
        let out = out.get_mut(..len).ok_or(EthernetError::NoRoom)?;
        put(out, 0, &self.destination);
        put(out, 6, &self.source);
        if let Some(vlan) = self.vlan {
            put_u16(out, 12, ETHERTYPE_VLAN);
            put_u16(out, 14, vlan & 0x0fff);
        }
        put_u16(out, len - 2, self.ethertype);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAGGED: [u8; 20] =
        [0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x81, 0x00, 0x00, 0x64, 0x08, 0x00, 0xaa, 0xbb];

    #[test]
    fn tagged_frame_round_trips() {
        let view = EthernetView::new(&TAGGED).unwrap();
        let header = EthernetHeader::parse(&view);
        assert_eq!(header.vlan, Some(100));
        assert_eq!(header.ethertype, ETHERTYPE_IPV4);
        assert_eq!(view.payload(), [0xaa, 0xbb]);
        let mut out = [0; 18];
        assert_eq!(header.emit(&mut out), Ok(18));
        assert_eq!(out, TAGGED[..18]);
    }

    #[test]
    fn short_and_overtagged_frames_are_refused() {
        assert_eq!(EthernetView::new(&TAGGED[..17]).unwrap_err(), EthernetError::Truncated);
        let mut tags = [0; 40];
        for at in [12, 16, 20] {
            tags[at..at + 2].copy_from_slice(&[0x81, 0x00]);
        }
        assert_eq!(EthernetView::new(&tags).unwrap_err(), EthernetError::TooManyTags);
    }
}
