//! The second room: headers to a small record.
//!
//! Uses: `Burst::received`, the octets. Sets: `Burst::parsed`, one per packet; what is malformed
//! is marked with its drop reason (it goes on, because its termination may be opaque). Doors: none.
//! Budget: 50 instructions per packet.

use crate::burst::{Burst, Kind, Parsed};
use tandem_contract::reason::DropReason;
use tandem_hw::port::Port;
use tandem_wire::demux::{Class, classify};
use tandem_wire::rtp::{RtpHeader, Ssrc};

/// Parses all packets of the burst.
#[inline]
pub(crate) fn parse<P: Port>(port: &P, burst: &mut Burst) {
    for packet in &burst.received {
        let bytes = port.payload(&packet.frame, packet.start, packet.len);
        let mut parsed = parse_one(bytes);
        if packet.truncated {
            parsed.kind = Kind::Drop(DropReason::TooLong);
        }
        burst.parsed.push(parsed);
    }
}

/// Parses one packet as if it were secured: padding is looked at when its termination is known.
#[inline]
fn parse_one(bytes: &[u8]) -> Parsed {
    let drop = |reason| (Kind::Drop(reason), RtpHeader::default());
    let (kind, header) = match classify(bytes) {
        Class::Rtp => match RtpHeader::parse(bytes, true) {
            Ok(header) => (Kind::Rtp, header),
            Err(_) => drop(DropReason::BadRtp),
        },
        Class::Rtcp => match bytes {
            [_, _, _, _, a, b, c, d, ..] => {
                let ssrc = Ssrc(u32::from_be_bytes([*a, *b, *c, *d]));
                (Kind::Rtcp, RtpHeader { ssrc, ..RtpHeader::default() })
            }
            _ => drop(DropReason::BadRtcp),
        },
        Class::Stun => drop(DropReason::Stun),
        Class::Dtls => drop(DropReason::Dtls),
        Class::Unknown => drop(DropReason::NotRtp),
    };
    let padded = bytes.first().is_some_and(|first| first & 0x20 != 0);
    Parsed { header, kind, padded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_by_first_octets() {
        let kind = |bytes: &[u8]| parse_one(bytes).kind;
        assert_eq!(kind(&[0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9]), Kind::Rtp);
        assert_eq!(kind(&[0x80, 0, 0, 1]), Kind::Drop(DropReason::BadRtp));
        assert_eq!(kind(&[0x80, 201, 0, 1, 0, 0, 0, 9]), Kind::Rtcp);
        assert_eq!(kind(&[0x80, 201, 0, 1]), Kind::Drop(DropReason::BadRtcp));
        assert_eq!(kind(&[0, 1, 0, 0]), Kind::Drop(DropReason::Stun));
        assert_eq!(kind(&[22, 254, 253]), Kind::Drop(DropReason::Dtls));
        assert_eq!(kind(b"hello"), Kind::Drop(DropReason::NotRtp));
        assert_eq!(kind(&[]), Kind::Drop(DropReason::NotRtp));
    }

    #[test]
    fn padding_is_noted_but_not_read() {
        let parsed = parse_one(&[0xa0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 99]);
        assert_eq!((parsed.kind, parsed.padded, parsed.header.padding), (Kind::Rtp, true, 0));
    }
}
