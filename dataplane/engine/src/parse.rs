//! The second room: headers to a small record.
//!
//! Uses: `Burst::received`, the octets. Sets: `Burst::parsed`, one per packet; what is malformed
//! is marked with its drop reason (it goes on, because its termination may be opaque). Doors: none.
//! Budget: 50 instructions per packet.

use crate::burst::{Burst, Kind, Parsed};
use tandem_contract::counters::WorkerCounters;
use tandem_contract::reason::DropReason;
use tandem_hw::port::Port;
use tandem_wire::demux::{Class, classify};
use tandem_wire::rtp::{FixedHeader, RtpHeader};

/// Octets of the smallest RTCP packet: a header and the sender's SSRC.
const RTCP_MIN: usize = 8;

/// Parses all packets of the burst.
#[inline(never)]
pub(crate) fn parse<P: Port>(port: &P, burst: &mut Burst, counters: &mut WorkerCounters) {
    let mut octets = 0;
    for packet in &burst.received {
        octets += u64::from(packet.len);
        let bytes = port.payload(&packet.frame, packet.start, packet.len);
        // Nearly all are this. Two pushes, so that the record is written where it stays.
        if let Some(fixed) = FixedHeader::parse(bytes)
            && fixed.is_plain()
            && !is_rtcp(bytes)
            && !packet.truncated
        {
            burst.parsed.push(Parsed { fixed, kind: Kind::Rtp });
        } else {
            burst.parsed.push(parse_other(bytes, packet.truncated));
        }
    }
    counters.received_octets += octets;
}

/// RFC 5761 §4: packet types 192 to 223.
#[inline]
fn is_rtcp(bytes: &[u8]) -> bool {
    matches!(bytes, [_, second, ..] if second & 0xe0 == 0xc0)
}

/// Parses one packet as if it were secured: padding is looked at when its termination is known.
#[cold]
fn parse_other(bytes: &[u8], truncated: bool) -> Parsed {
    let fixed = FixedHeader::parse(bytes).unwrap_or_default();
    let kind = match classify(bytes) {
        _ if truncated => Kind::Drop(DropReason::TooLong),
        Class::Rtp => match RtpHeader::parse(bytes, true) {
            Ok(_) if fixed.is_plain() => Kind::Rtp,
            Ok(_) => Kind::LongRtp,
            Err(_) => Kind::Drop(DropReason::BadRtp),
        },
        Class::Rtcp if bytes.len() >= RTCP_MIN => Kind::Rtcp,
        Class::Rtcp => Kind::Drop(DropReason::BadRtcp),
        Class::Stun => Kind::Drop(DropReason::Stun),
        Class::Dtls => Kind::Drop(DropReason::Dtls),
        Class::Unknown => Kind::Drop(DropReason::NotRtp),
    };
    Parsed { fixed, kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_by_first_octets() {
        let kind = |bytes: &[u8]| parse_other(bytes, false).kind;
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
    fn padding_is_not_read_here() {
        let parsed = parse_other(&[0xa0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 99], false);
        assert_eq!((parsed.kind, parsed.fixed.ssrc().0), (Kind::LongRtp, 9));
    }
}
