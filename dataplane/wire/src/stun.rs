//! STUN framing (RFC 8489 §5, §14): header and attributes, no cryptography.

use crate::bytes::{put, put_u16, put_u32, u16_at, u32_at};

/// Octets of the header.
pub const HEADER_LEN: usize = 20;
/// The fixed value that tells STUN apart.
pub const MAGIC_COOKIE: u32 = 0x2112_a442;
/// Method of a binding.
pub const METHOD_BINDING: u16 = 1;

/// Why bytes are no STUN message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StunError {
    /// Shorter than the header or its length says.
    Truncated,
    /// The two top bits are not zero.
    BadType,
    /// The magic cookie is missing.
    BadCookie,
    /// The length is no multiple of four, or octets follow the message.
    BadLength,
    /// An attribute reaches beyond the message.
    BadAttribute,
    /// The output buffer is too small.
    NoRoom,
}

/// Class of a message (RFC 8489 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StunClass {
    /// A request.
    Request,
    /// An indication.
    Indication,
    /// A success response.
    Success,
    /// An error response.
    Error,
}

/// Header of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StunHeader {
    /// Class.
    pub class: StunClass,
    /// Method, 12 bits.
    pub method: u16,
    /// Transaction.
    pub transaction: [u8; 12],
    /// Octets of attributes, padding included.
    pub length: u16,
}

impl StunHeader {
    /// Reads the header of a view.
    #[must_use]
    pub fn parse(view: &StunView<'_>) -> Self {
        let kind = u16_at(view.bytes, 0);
        let class = match (kind >> 8 & 1, kind >> 4 & 1) {
            (0, 0) => StunClass::Request,
            (0, _) => StunClass::Indication,
            (_, 0) => StunClass::Success,
            _ => StunClass::Error,
        };
        let mut transaction = [0; 12];
        transaction.copy_from_slice(&view.bytes[8..20]);
        Self {
            class,
            method: (kind & 0x0f) | (kind >> 1 & 0x70) | (kind >> 2 & 0xf80),
            transaction,
            length: u16_at(view.bytes, 2),
        }
    }

    /// Writes the header and says how many octets it took.
    ///
    /// # Errors
    /// [`StunError::NoRoom`].
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, StunError> {
        let out = out.get_mut(..HEADER_LEN).ok_or(StunError::NoRoom)?;
        let class = match self.class {
            StunClass::Request => 0,
            StunClass::Indication => 0x010,
            StunClass::Success => 0x100,
            StunClass::Error => 0x110,
        };
        let m = self.method;
        put_u16(out, 0, class | (m & 0x0f) | (m & 0x70) << 1 | (m & 0xf80) << 2);
        put_u16(out, 2, self.length);
        put_u32(out, 4, MAGIC_COOKIE);
        put(out, 8, &self.transaction);
        Ok(HEADER_LEN)
    }
}

/// One attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StunAttribute<'a> {
    /// Type.
    pub kind: u16,
    /// Value without padding.
    pub value: &'a [u8],
}

impl StunAttribute<'_> {
    /// Writes the attribute with its padding and says how many octets it took.
    ///
    /// # Errors
    /// [`StunError::NoRoom`].
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, StunError> {
        let length = u16::try_from(self.value.len()).map_err(|_| StunError::NoRoom)?;
        let total = 4 + self.value.len().next_multiple_of(4);
        let out = out.get_mut(..total).ok_or(StunError::NoRoom)?;
        out.fill(0);
        put_u16(out, 0, self.kind);
        put_u16(out, 2, length);
        put(out, 4, self.value);
        Ok(total)
    }
}

/// A checked view of a message.
#[derive(Clone, Copy, Debug)]
pub struct StunView<'a> {
    bytes: &'a [u8],
}

impl<'a> StunView<'a> {
    /// Checks the header and that the attributes fill the message exactly.
    ///
    /// # Errors
    /// See [`StunError`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, StunError> {
        if bytes.len() < HEADER_LEN {
            return Err(StunError::Truncated);
        }
        if bytes[0] & 0xc0 != 0 {
            return Err(StunError::BadType);
        }
        if u32_at(bytes, 4) != MAGIC_COOKIE {
            return Err(StunError::BadCookie);
        }
        let length = usize::from(u16_at(bytes, 2));
        if !length.is_multiple_of(4) || bytes.len() > HEADER_LEN + length {
            return Err(StunError::BadLength);
        }
        if bytes.len() < HEADER_LEN + length {
            return Err(StunError::Truncated);
        }
        let mut attributes = Attributes { rest: &bytes[HEADER_LEN..] };
        while attributes.next().is_some() {}
        if !attributes.rest.is_empty() {
            return Err(StunError::BadAttribute);
        }
        Ok(Self { bytes })
    }

    /// The attributes in order.
    #[must_use]
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes { rest: &self.bytes[HEADER_LEN..] }
    }
}

/// Iterator over attributes; stops at the first broken one.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Attributes<'a> {
    type Item = StunAttribute<'a>;

    fn next(&mut self) -> Option<StunAttribute<'a>> {
        if self.rest.len() < 4 {
            return None;
        }
        let len = usize::from(u16_at(self.rest, 2));
        let value = self.rest.get(4..4 + len)?;
        let attribute = StunAttribute { kind: u16_at(self.rest, 0), value };
        self.rest = self.rest.get(4 + len.next_multiple_of(4)..)?;
        Some(attribute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: [u8; 28] = [
        0x00, 0x01, 0x00, 0x08, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
        0x00, 0x24, 0x00, 0x03, b'a', b'b', b'c', 0,
    ];

    #[test]
    fn binding_request_round_trips() {
        let view = StunView::new(&REQUEST).unwrap();
        let header = StunHeader::parse(&view);
        assert_eq!((header.class, header.method), (StunClass::Request, METHOD_BINDING));
        let attributes: Vec<_> = view.attributes().collect();
        assert_eq!(attributes, [StunAttribute { kind: 0x24, value: b"abc" }]);
        let mut out = [0xff; 28];
        assert_eq!(header.emit(&mut out), Ok(20));
        assert_eq!(attributes[0].emit(&mut out[20..]), Ok(8));
        assert_eq!(out, REQUEST);
    }

    #[test]
    fn types_of_rfc_8489_figure_3() {
        for (class, kind) in [
            (StunClass::Indication, [0x00, 0x11]),
            (StunClass::Success, [0x01, 0x01]),
            (StunClass::Error, [0x01, 0x11]),
        ] {
            let mut bytes = REQUEST;
            bytes[..2].copy_from_slice(&kind);
            let header = StunHeader::parse(&StunView::new(&bytes).unwrap());
            assert_eq!((header.class, header.method), (class, 1));
        }
        let wide =
            StunHeader { class: StunClass::Error, method: 0xfff, transaction: [0; 12], length: 0 };
        let mut out = [0; 20];
        wide.emit(&mut out).unwrap();
        assert_eq!(StunHeader::parse(&StunView::new(&out).unwrap()), wide);
    }

    #[test]
    fn broken_messages_are_refused() {
        let check = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = REQUEST.to_vec();
            change(&mut bytes);
            StunView::new(&bytes).unwrap_err()
        };
        assert_eq!(check(&|b| b.truncate(27)), StunError::Truncated);
        assert_eq!(check(&|b| b.push(0)), StunError::BadLength);
        assert_eq!(check(&|b| b[3] = 7), StunError::BadLength);
        assert_eq!(check(&|b| b[4] = 0), StunError::BadCookie);
        assert_eq!(check(&|b| b[0] = 0x80), StunError::BadType);
        assert_eq!(check(&|b| b[23] = 5), StunError::BadAttribute);
    }
}
