//! Which sender is the party of the call (symmetric RTP), decided once and strict afterwards.

use crate::table::{CONFIRMED, Cold, Hot, OPAQUE};
use tandem_contract::command::{FLAG_RTCP_MUX, FLAG_STRICT};
use tandem_contract::limits::LEARN_PACKETS;
use tandem_contract::reason::DropReason;
use tandem_wire::addr::SockAddr;
use tandem_wire::rtp::{SeqNo, Ssrc};
use tandem_wire::time::Instant;

/// A candidate that is silent for this long gives its place to another, and no longer keeps
/// lesser ones from being confirmed.
const CANDIDATE_STALE_MS: u32 = 500;
/// Same address, same port, any.
const RANKS: usize = 3;

/// A sender that may be the party.
#[derive(Clone, Copy, Debug, Default)]
struct Candidate {
    address: SockAddr,
    ssrc: Ssrc,
    next: SeqNo,
    /// Packets in sequence, 0 for no candidate.
    count: u8,
    seen_ms: u32,
}

/// One candidate per rank, best first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Learn {
    candidates: [Candidate; RANKS],
}

/// A packet of a sender that is not confirmed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Knock {
    pub source: SockAddr,
    pub ssrc: Ssrc,
    pub sequence: SeqNo,
    pub now: Instant,
}

/// The answer to a [`Knock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Known.
    Known,
    /// Confirmed by this packet; whether an earlier confirmed source moved here.
    Confirmed {
        moved: bool,
    },
    Refused(DropReason),
}

/// Whether an RTP (or opaque) packet is of the party.
pub(crate) fn admit_rtp(hot: &mut Hot, cold: &mut Cold, knock: &Knock) -> Admission {
    let strict = cold.flags & FLAG_STRICT != 0;
    let announced = knock.source == cold.remote_rtp && cold.remote_rtp.is_some();
    if hot.flags & CONFIRMED != 0 {
        if knock.source == hot.source {
            return Admission::Known;
        }
        if strict || !may_move(hot, cold, knock) {
            return Admission::Refused(DropReason::UnknownSource);
        }
        return confirm(hot, cold, knock.source);
    }
    if announced {
        return confirm(hot, cold, knock.source);
    }
    if strict {
        return Admission::Refused(DropReason::UnknownSource);
    }
    if cold.learn.knock(cold.remote_rtp, knock, hot.flags & OPAQUE != 0) {
        return confirm(hot, cold, knock.source);
    }
    Admission::Refused(DropReason::NotLearnt)
}

/// Phones move from Wi-Fi to LTE and NATs rebind: after silence, who knows the SSRC and the
/// sequence is the party.
fn may_move(hot: &Hot, cold: &Cold, knock: &Knock) -> bool {
    let silence_ns = u64::from(cold.relearn_silence_ms) * 1_000_000;
    let silent_ns = knock.now.as_nanos().saturating_sub(hot.stream.last_ns());
    silence_ns != 0
        && silent_ns >= silence_ns
        && hot.stream.continues(knock.ssrc.0, knock.sequence.0)
}

fn confirm(hot: &mut Hot, cold: &mut Cold, source: SockAddr) -> Admission {
    let moved = hot.source.is_some() && hot.source != source;
    hot.source = source;
    hot.remote = source;
    hot.note_reachable();
    hot.flags |= CONFIRMED;
    cold.learn = Learn::default();
    if moved {
        cold.rtcp_source = SockAddr::NONE;
    }
    Admission::Confirmed { moved }
}

/// Forgets who the party is; packets go on to where they went until it is known again.
pub(crate) fn forget(hot: &mut Hot, cold: &mut Cold) {
    hot.flags &= !CONFIRMED;
    cold.rtcp_source = SockAddr::NONE;
    cold.learn = Learn::default();
}

impl Learn {
    /// Counts a packet of an unannounced sender; `true` if that confirms it.
    fn knock(&mut self, announced: SockAddr, knock: &Knock, opaque: bool) -> bool {
        let now_ms = u32::try_from(knock.now.as_millis() & 0xffff_ffff).unwrap_or(0);
        let rank = match announced {
            a if a.is_some() && a.same_ip(knock.source) => 0,
            a if a.is_some() && a.port() == knock.source.port() => 1,
            _ => 2,
        };
        let fresh =
            |c: &Candidate| c.count > 0 && now_ms.wrapping_sub(c.seen_ms) < CANDIDATE_STALE_MS;
        let better = self.candidates[..rank].iter().any(fresh);
        let candidate = &mut self.candidates[rank];
        let same = candidate.count > 0 && candidate.address == knock.source;
        if !same && fresh(candidate) {
            return false;
        }
        let continues =
            opaque || (candidate.ssrc == knock.ssrc && candidate.next == knock.sequence);
        let count = if same && continues { candidate.count.saturating_add(1) } else { 1 };
        *candidate = Candidate {
            address: knock.source,
            ssrc: knock.ssrc,
            next: knock.sequence.next(),
            count,
            seen_ms: now_ms,
        };
        count >= LEARN_PACKETS && !better
    }
}

/// Whether an RTCP packet is of the party. `rtp_slot` says that it came to the RTP port.
pub(crate) fn admit_rtcp(
    hot: &mut Hot,
    cold: &mut Cold,
    knock: &Knock,
    rtp_slot: bool,
) -> Admission {
    let confirmed = hot.flags & CONFIRMED != 0;
    if rtp_slot {
        if confirmed && knock.source == hot.source {
            return Admission::Known;
        }
        let announced = cold.remote_rtp.is_some() && knock.source == cold.remote_rtp;
        return match (confirmed, announced) {
            (false, true) if cold.flags & FLAG_RTCP_MUX != 0 => confirm(hot, cold, knock.source),
            (false, true) => Admission::Known,
            (false, false) => Admission::Refused(DropReason::NotLearnt),
            (true, _) => Admission::Refused(DropReason::UnknownSource),
        };
    }
    if cold.rtcp_source.is_some() {
        return if cold.rtcp_source == knock.source {
            Admission::Known
        } else {
            Admission::Refused(DropReason::UnknownSource)
        };
    }
    let announced = announced_rtcp(cold) == knock.source;
    // Beside the announced address: the confirmed party's other port, or who knows its SSRC.
    let related = confirmed
        && cold.flags & FLAG_STRICT == 0
        && (hot.source.same_ip(knock.source)
            || (hot.stream.packets() > 0 && knock.ssrc.0 == hot.stream.ssrc()));
    if announced || related {
        cold.rtcp_source = knock.source;
        return Admission::Confirmed { moved: false };
    }
    Admission::Refused(if confirmed { DropReason::UnknownSource } else { DropReason::NotLearnt })
}

/// Where signalling says RTCP goes (RFC 3550 §11: the port above RTP's if it says nothing).
fn announced_rtcp(cold: &Cold) -> SockAddr {
    if cold.remote_rtcp.is_some() {
        cold.remote_rtcp
    } else if cold.remote_rtp.is_some() {
        above(cold.remote_rtp)
    } else {
        SockAddr::NONE
    }
}

fn above(rtp: SockAddr) -> SockAddr {
    rtp.with_port(rtp.port().wrapping_add(1))
}

/// Where RTCP to the party goes, and whether it leaves from the RTP slot.
pub(crate) fn rtcp_destination(hot: &Hot, cold: &Cold) -> (bool, SockAddr) {
    if cold.flags & FLAG_RTCP_MUX != 0 {
        return (true, hot.remote);
    }
    if cold.rtcp_source.is_some() {
        return (false, cold.rtcp_source);
    }
    // A party that is not where it said (NAT): the announced RTCP address is no better.
    let translated = hot.flags & CONFIRMED != 0 && !hot.source.same_ip(cold.remote_rtp);
    if translated || !cold.remote_rtp.is_some() {
        let known = hot.remote.is_some();
        return (false, if known { above(hot.remote) } else { cold.remote_rtcp });
    }
    (false, announced_rtcp(cold))
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::SocketAddr;

    fn addr(text: &str) -> SockAddr {
        text.parse::<SocketAddr>().unwrap().into()
    }

    fn knock(source: &str, ssrc: u32, sequence: u16, ms: u64) -> Knock {
        Knock {
            source: addr(source),
            ssrc: Ssrc(ssrc),
            sequence: SeqNo(sequence),
            now: Instant::from_millis(ms),
        }
    }

    fn party(announced: &str) -> (Hot, Cold) {
        (Hot::default(), Cold { remote_rtp: addr(announced), ..Cold::default() })
    }

    const REFUSED: Admission = Admission::Refused(DropReason::NotLearnt);
    const CONFIRMED_NOW: Admission = Admission::Confirmed { moved: false };

    #[test]
    fn the_announced_address_is_confirmed_by_its_first_packet() {
        let (mut hot, mut cold) = party("192.0.2.1:4000");
        let first = admit_rtp(&mut hot, &mut cold, &knock("192.0.2.1:4000", 1, 1, 0));
        assert_eq!(first, CONFIRMED_NOW);
        let other = admit_rtp(&mut hot, &mut cold, &knock("192.0.2.1:4002", 1, 2, 1));
        assert_eq!(other, Admission::Refused(DropReason::UnknownSource));
    }

    #[test]
    fn another_sender_needs_four_packets_in_sequence() {
        let (mut hot, mut cold) = party("10.0.0.1:4000");
        for sequence in [1, 2, 3, 5, 6, 7] {
            let k = knock("198.51.100.1:999", 1, sequence, u64::from(sequence) * 20);
            assert_eq!(admit_rtp(&mut hot, &mut cold, &k), REFUSED, "{sequence}");
        }
        let k = knock("198.51.100.1:999", 1, 8, 160);
        assert_eq!(admit_rtp(&mut hot, &mut cold, &k), CONFIRMED_NOW);
        assert_eq!(hot.remote, addr("198.51.100.1:999"));
    }

    #[test]
    fn a_better_candidate_wins_over_a_faster_one() {
        let (mut hot, mut cold) = party("192.0.2.1:4000");
        // The same address at another port sends at its pace, a stranger floods.
        let mut admit = |k: &Knock| admit_rtp(&mut hot, &mut cold, k);
        assert_eq!(admit(&knock("192.0.2.1:7000", 1, 1, 0)), REFUSED);
        for sequence in 1..50 {
            assert_eq!(admit(&knock("203.0.113.9:666", 2, sequence, 1)), REFUSED);
        }
        assert_eq!(admit(&knock("192.0.2.1:7000", 1, 2, 20)), REFUSED);
        assert_eq!(admit(&knock("192.0.2.1:7000", 1, 3, 40)), REFUSED);
        assert_eq!(admit(&knock("192.0.2.1:7000", 1, 4, 60)), CONFIRMED_NOW);
    }

    #[test]
    fn strict_accepts_the_announced_address_alone() {
        let (mut hot, mut cold) = party("192.0.2.1:4000");
        cold.flags = FLAG_STRICT;
        for sequence in 0..9 {
            let k = knock("192.0.2.1:4002", 1, sequence, 0);
            let refused = Admission::Refused(DropReason::UnknownSource);
            assert_eq!(admit_rtp(&mut hot, &mut cold, &k), refused);
        }
        let k = knock("192.0.2.1:4000", 1, 1, 0);
        assert_eq!(admit_rtp(&mut hot, &mut cold, &k), CONFIRMED_NOW);
    }

    #[test]
    fn rtcp_is_accepted_beside_the_confirmed_party() {
        let (mut hot, mut cold) = party("192.0.2.1:4000");
        let mut rtcp = |hot: &mut Hot, source: &str, ssrc| {
            admit_rtcp(hot, &mut cold, &knock(source, ssrc, 0, 0), false)
        };
        assert_eq!(rtcp(&mut hot, "192.0.2.9:4001", 1), REFUSED);
        (hot.source, hot.flags) = (addr("192.0.2.1:4000"), CONFIRMED);
        let unknown = Admission::Refused(DropReason::UnknownSource);
        assert_eq!(rtcp(&mut hot, "192.0.2.9:4001", 1), unknown);
        assert_eq!(rtcp(&mut hot, "192.0.2.1:4009", 1), CONFIRMED_NOW);
        assert_eq!(rtcp(&mut hot, "192.0.2.1:4001", 1), unknown);
        assert_eq!(rtcp_destination(&hot, &cold), (false, addr("192.0.2.1:4009")));
    }

    #[test]
    fn rtcp_goes_above_rtp_unless_announced_or_multiplexed() {
        let (mut hot, mut cold) = party("192.0.2.1:4000");
        hot.remote = addr("192.0.2.1:4000");
        assert_eq!(rtcp_destination(&hot, &cold), (false, addr("192.0.2.1:4001")));
        cold.remote_rtcp = addr("192.0.2.1:9000");
        assert_eq!(rtcp_destination(&hot, &cold), (false, addr("192.0.2.1:9000")));
        (hot.source, hot.flags) = (addr("203.0.113.1:100"), CONFIRMED);
        hot.remote = hot.source;
        assert_eq!(rtcp_destination(&hot, &cold), (false, addr("203.0.113.1:101")));
        cold.flags = FLAG_RTCP_MUX;
        assert_eq!(rtcp_destination(&hot, &cold), (true, addr("203.0.113.1:100")));
    }
}
