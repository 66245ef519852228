//! Telephone events: DTMF and other tones named in RTP (RFC 4733 §2.3).

use crate::bytes::{put_u16, u16_at};

/// Octets of the payload.
pub const LEN: usize = 4;

/// Why bytes are no telephone event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TelephoneEventError {
    /// Shorter than four octets.
    Truncated,
    /// The output buffer is too small.
    NoRoom,
}

/// One event payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// Event code: 0 to 9 digits, 10 `*`, 11 `#`, 12 to 15 A to D, 16 flash; others RFC 4733 §3.
    pub code: u8,
    /// Whether this packet ends the event.
    pub end: bool,
    /// Power of the tone, -dBm0, 0 to 63.
    pub volume: u8,
    /// Duration so far, in time stamp units.
    pub duration: u16,
}

impl TelephoneEvent {
    /// Reads a payload; further events in it (RFC 4733 §2.6) are left alone.
    ///
    /// # Errors
    /// [`TelephoneEventError::Truncated`].
    pub fn parse(bytes: &[u8]) -> Result<Self, TelephoneEventError> {
        let bytes = bytes.get(..LEN).ok_or(TelephoneEventError::Truncated)?;
        Ok(Self {
            code: bytes[0],
            end: bytes[1] & 0x80 != 0,
            volume: bytes[1] & 0x3f,
            duration: u16_at(bytes, 2),
        })
    }

    /// Writes the payload and says how many octets it took.
    ///
    /// # Errors
    /// [`TelephoneEventError::NoRoom`].
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, TelephoneEventError> {
        let out = out.get_mut(..LEN).ok_or(TelephoneEventError::NoRoom)?;
        out[0] = self.code;
        out[1] = if self.end { 0x80 } else { 0 } | (self.volume & 0x3f);
        put_u16(out, 2, self.duration);
        Ok(LEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pound_key_round_trips() {
        let bytes = [11, 0x8a, 0x03, 0x20];
        let event = TelephoneEvent { code: 11, end: true, volume: 10, duration: 800 };
        assert_eq!(TelephoneEvent::parse(&bytes), Ok(event));
        let mut out = [0; 4];
        assert_eq!(event.emit(&mut out), Ok(4));
        assert_eq!(out, bytes);
        assert_eq!(TelephoneEvent::parse(&bytes[..3]), Err(TelephoneEventError::Truncated));
        assert_eq!(event.emit(&mut out[..3]), Err(TelephoneEventError::NoRoom));
    }
}
