//! The third room: local port to termination, and whether the sender is its party.
//!
//! Uses: `Burst::received`, `Burst::parsed`, the table. Sets: the final kind of each packet; a
//! source when it is confirmed. Doors: drop (no termination, unknown or not yet learnt source),
//! taken in transform. Budget: 40 instructions per packet of a confirmed source.

use crate::burst::{Burst, Kind, Parsed};
use crate::latch::{self, Admission, Knock};
use crate::outbox::Outbox;
use crate::table::{ALIVE, CONFIRMED, OPAQUE, Table};
use tandem_contract::event::Event;
use tandem_contract::reason::DropReason;
use tandem_hw::port::Received;
use tandem_wire::rtp::{SeqNo, Ssrc};

/// Decides the kind of every packet.
#[inline(never)]
pub(crate) fn lookup(table: &mut Table, burst: &mut Burst, outbox: &mut Outbox) {
    for (packet, parsed) in burst.received.iter().zip(&mut burst.parsed) {
        if let Some(hot) = table.hot.get((packet.slot >> 1) as usize)
            && hot.flags & (ALIVE | CONFIRMED | OPAQUE) == ALIVE | CONFIRMED
            && packet.slot & 1 == 0
            && parsed.kind == Kind::Rtp
            && packet.source == hot.source
        {
            continue;
        }
        parsed.kind = admit(table, packet, parsed, outbox);
    }
}

#[cold]
fn admit(table: &mut Table, packet: &Received, parsed: &Parsed, outbox: &mut Outbox) -> Kind {
    let index = (packet.slot >> 1) as usize;
    let Some(hot) = table.hot.get_mut(index) else {
        return Kind::Drop(DropReason::NoTermination);
    };
    if hot.flags & ALIVE == 0 {
        return Kind::Drop(DropReason::NoTermination);
    }
    let cold = &mut table.cold[index];
    let rtp_slot = packet.slot & 1 == 0;
    let opaque = hot.flags & OPAQUE != 0;
    let kind = match parsed.kind {
        Kind::Drop(DropReason::TooLong) => return parsed.kind,
        _ if opaque => Kind::Opaque,
        Kind::Rtp | Kind::LongRtp if !rtp_slot => return Kind::Drop(DropReason::BadRtcp),
        kind @ Kind::Drop(_) => return kind,
        kind => kind,
    };
    let (ssrc, sequence) = match kind {
        Kind::Rtp | Kind::LongRtp => (parsed.fixed.ssrc(), parsed.fixed.sequence()),
        // The sender's SSRC is the second word of RTCP.
        Kind::Rtcp => (Ssrc(parsed.fixed.timestamp().0), SeqNo(0)),
        Kind::Opaque | Kind::Drop(_) => (Ssrc(0), SeqNo(0)),
    };
    let knock = Knock { source: packet.source, ssrc, sequence, now: packet.arrival };
    let admission = match kind {
        Kind::Rtp | Kind::LongRtp => latch::admit_rtp(hot, cold, &knock),
        Kind::Opaque if rtp_slot => latch::admit_rtp(hot, cold, &knock),
        _ => latch::admit_rtcp(hot, cold, &knock, rtp_slot),
    };
    match admission {
        Admission::Known => kind,
        Admission::Refused(reason) => Kind::Drop(reason),
        Admission::Confirmed { moved } => {
            let handle = table.handle(index);
            let rtcp = !rtp_slot;
            outbox.push(&Event::Latched { handle, source: packet.source, rtcp, moved });
            kind
        }
    }
}
