//! The fourth room: runs the recipe of each packet's termination.
//!
//! Uses: `Burst::received`, `Burst::parsed`, the table. Sets: measurements, `Burst::departures`.
//! Doors: forward (to the receivers that the recipe names), absorb (RTCP that nobody else
//! listens to: it was read for the round trip), drop. For a plain relay nothing is rewritten but
//! the addresses. Budget: 150 instructions per relayed packet, measurement included.

use crate::burst::{Burst, Kind, Leaving, Parsed};
use crate::latch::rtcp_destination;
use crate::measure::Packet;
use crate::outbox::Outbox;
use crate::table::{BLOCKED, FORK, SECURED, Table};
use core::time::Duration;
use tandem_contract::command::Edge;
use tandem_contract::counters::WorkerCounters;
use tandem_contract::event::Event;
use tandem_contract::reason::{AbsorbReason, DropReason};
use tandem_hw::frame::FrameId;
use tandem_hw::port::{DEPARTURES, Departure, Port, Received};
use tandem_wire::addr::SockAddr;
use tandem_wire::rtcp::Compound;
use tandem_wire::telephone_event::TelephoneEvent;

/// Shortest time between two events of one termination that its party can cause at will.
const EVENT_PAUSE: Duration = Duration::from_millis(10);

/// What the room writes to, beside table and burst.
#[derive(Debug)]
pub(crate) struct Doors<'a, P: Port> {
    pub port: &'a mut P,
    pub counters: &'a mut WorkerCounters,
    pub outbox: &'a mut Outbox,
}

/// Transforms as many packets from the front as departures have room for.
#[inline]
pub(crate) fn transform<P: Port>(table: &mut Table, burst: &mut Burst, doors: &mut Doors<'_, P>) {
    let Burst { received, parsed, leaving } = burst;
    let chunk = received.len().min(DEPARTURES / table.fanout);
    for (packet, parsed) in received.drain(..chunk).zip(parsed.drain(..chunk)) {
        match parsed.kind {
            Kind::Rtp => relay(table, leaving, doors, packet, parsed),
            Kind::Rtcp => relay_rtcp(table, leaving, doors, packet),
            Kind::Opaque => relay_opaque(table, leaving, doors, packet),
            Kind::Drop(reason) => drop_packet(table, doors, packet.slot, packet.frame, reason),
        }
    }
}

#[cold]
fn drop_packet<P: Port>(
    table: &mut Table,
    doors: &mut Doors<'_, P>,
    slot: u32,
    frame: FrameId,
    reason: DropReason,
) {
    doors.counters.dropped[reason as usize] += 1;
    if let Some(cold) = table.cold.get_mut((slot >> 1) as usize) {
        cold.dropped += 1;
    }
    doors.port.free(frame);
}

#[inline]
fn relay<P: Port>(
    table: &mut Table,
    leaving: &mut Leaving,
    doors: &mut Doors<'_, P>,
    packet: Received,
    mut parsed: Parsed,
) {
    let index = (packet.slot >> 1) as usize;
    let flags = table.hot[index].flags;
    if parsed.padded && flags & SECURED == 0 && !read_padding(doors.port, &packet, &mut parsed) {
        return drop_packet(table, doors, packet.slot, packet.frame, DropReason::BadRtp);
    }
    let arrival_ns = packet.arrival.as_nanos();
    let noted_packet = Packet { header: parsed.header, wire_len: packet.len, arrival_ns };
    let hot = &mut table.hot[index];
    let cold = &mut table.cold[index];
    let old_ssrc = hot.stream.ssrc();
    let noted = hot.stream.note(
        &mut table.windows[index],
        &mut cold.stream,
        &cold.payload_types,
        &noted_packet,
    );
    let edge = hot.edge;
    if noted.telephone_event || noted.ssrc_changed {
        report(table, index, doors, &packet, &parsed, noted.ssrc_changed.then_some(old_ssrc));
    }
    if flags & (BLOCKED | FORK) != 0 {
        return fork_or_block(table, leaving, doors, packet, flags);
    }
    let Some(receiver) = table.hot.get_mut(edge.index as usize) else {
        return drop_packet(table, doors, packet.slot, packet.frame, DropReason::NoEdge);
    };
    if receiver.generation != edge.generation || !receiver.remote.is_some() {
        let gone = receiver.generation != edge.generation;
        let reason = if gone { DropReason::NoEdge } else { DropReason::NoDestination };
        return drop_packet(table, doors, packet.slot, packet.frame, reason);
    }
    receiver.tx_packets += 1;
    receiver.tx_octets += u64::from(packet.len);
    let departure = Departure {
        frame: packet.frame,
        start: packet.start,
        len: packet.len,
        slot: edge.index << 1,
        destination: receiver.remote,
    };
    leaving.forward(departure, arrival_ns);
}

/// Counts the padding of a packet whose padding bit is set; `false` if it does not fit.
#[cold]
fn read_padding<P: Port>(port: &P, packet: &Received, parsed: &mut Parsed) -> bool {
    let padding = port.payload(&packet.frame, packet.start, packet.len).last().copied();
    parsed.header.padding = padding.unwrap_or(0);
    let room = packet.len.saturating_sub(parsed.header.header_len);
    parsed.header.padding != 0 && u16::from(parsed.header.padding) <= room
}

/// Tells control about a digit or a new SSRC.
#[cold]
fn report<P: Port>(
    table: &mut Table,
    index: usize,
    doors: &mut Doors<'_, P>,
    packet: &Received,
    parsed: &Parsed,
    old_ssrc: Option<u32>,
) {
    let handle = table.handle(index);
    let now = packet.arrival;
    let cold = &mut table.cold[index];
    let quiet = now < cold.quiet_until;
    if let Some(old) = old_ssrc {
        cold.rtcp.forget_their_reports();
        if !quiet {
            cold.quiet_until = now + EVENT_PAUSE;
            doors.outbox.push(&Event::SsrcChanged { handle, old, new: parsed.header.ssrc.0 });
        }
        return;
    }
    if table.hot[index].flags & SECURED != 0 {
        return;
    }
    let bytes = doors.port.payload(&packet.frame, packet.start, packet.len);
    let payload = bytes.get(usize::from(parsed.header.header_len)..).unwrap_or(&[]);
    let Ok(event) = TelephoneEvent::parse(payload) else { return };
    let number = parsed.header.payload_type;
    let rate = cold.payload_types.iter().find(|t| t.present != 0 && t.number == number);
    let clock_rate = rate.map_or(8_000, |t| t.clock_rate);
    let digit = cold.dtmf.note(parsed.header.timestamp.0, clock_rate, event, now);
    if let (Some(digit), false) = (digit, quiet) {
        cold.quiet_until = now + EVENT_PAUSE;
        let (code, duration_ms) = (digit.code, digit.duration_ms);
        doors.outbox.push(&Event::Dtmf { handle, code, duration_ms });
    }
}

/// RTP of a termination with several receivers, or one that control blocks.
#[cold]
fn fork_or_block<P: Port>(
    table: &mut Table,
    leaving: &mut Leaving,
    doors: &mut Doors<'_, P>,
    packet: Received,
    flags: u32,
) {
    if flags & BLOCKED != 0 {
        return drop_packet(table, doors, packet.slot, packet.frame, DropReason::Blocked);
    }
    let slot = packet.slot;
    let sent = fan_out(table, leaving, doors, packet, |table, index, len| {
        let hot = &mut table.hot[index];
        if !hot.remote.is_some() {
            return None;
        }
        hot.tx_packets += 1;
        hot.tx_octets += u64::from(len);
        Some((index * 2, hot.remote))
    });
    if let Err((frame, reason)) = sent {
        drop_packet(table, doors, slot, frame, reason);
    }
}

#[cold]
fn relay_opaque<P: Port>(
    table: &mut Table,
    leaving: &mut Leaving,
    doors: &mut Doors<'_, P>,
    packet: Received,
) {
    let index = (packet.slot >> 1) as usize;
    let rtcp = packet.slot & 1 != 0;
    let hot = &mut table.hot[index];
    hot.stream.note_opaque(&mut table.cold[index].stream, packet.len, packet.arrival.as_nanos());
    if hot.flags & BLOCKED != 0 {
        return drop_packet(table, doors, packet.slot, packet.frame, DropReason::Blocked);
    }
    let slot = packet.slot;
    let sent = fan_out(table, leaving, doors, packet, |table, index, len| {
        let (rtp_slot, destination) = if rtcp {
            rtcp_destination(&table.hot[index], &table.cold[index])
        } else {
            (true, table.hot[index].remote)
        };
        if !destination.is_some() {
            return None;
        }
        table.hot[index].tx_packets += 1;
        table.hot[index].tx_octets += u64::from(len);
        Some((index * 2 + usize::from(!rtp_slot), destination))
    });
    if let Err((frame, reason)) = sent {
        drop_packet(table, doors, slot, frame, reason);
    }
}

#[cold]
fn relay_rtcp<P: Port>(
    table: &mut Table,
    leaving: &mut Leaving,
    doors: &mut Doors<'_, P>,
    packet: Received,
) {
    let index = (packet.slot >> 1) as usize;
    let now = packet.arrival;
    let rtcp = &mut table.cold[index].rtcp;
    let mut sender_report = None;
    if table.hot[index].flags & SECURED == 0 {
        let bytes = doors.port.payload(&packet.frame, packet.start, packet.len);
        let Ok(compound) = Compound::new(bytes) else {
            return drop_packet(table, doors, packet.slot, packet.frame, DropReason::BadRtcp);
        };
        sender_report = rtcp.note_received(&compound, now);
    }
    rtcp.received += 1;
    let sent = fan_out(table, leaving, doors, packet, |table, index, _| {
        let (rtp_slot, destination) = rtcp_destination(&table.hot[index], &table.cold[index]);
        if !destination.is_some() {
            return None;
        }
        table.cold[index].rtcp.note_sent(sender_report, now);
        Some((index * 2 + usize::from(!rtp_slot), destination))
    });
    if let Err((frame, _)) = sent {
        doors.counters.absorbed[AbsorbReason::Terminated as usize] += 1;
        doors.port.free(frame);
    }
}

/// A packet that went to nobody, and why.
type Unsent = (FrameId, DropReason);

/// Sends a packet to every receiver of its termination. `aim` gives slot and address of a
/// receiver, and counts.
fn fan_out<P: Port>(
    table: &mut Table,
    leaving: &mut Leaving,
    doors: &mut Doors<'_, P>,
    packet: Received,
    mut aim: impl FnMut(&mut Table, usize, u16) -> Option<(usize, SockAddr)>,
) -> Result<(), Unsent> {
    let Received { frame, start, len, slot, arrival, .. } = packet;
    let edges = table.cold[(slot >> 1) as usize].edges;
    let mut first = None;
    let mut reason = DropReason::NoEdge;
    for Edge { index, generation } in edges {
        let Some(receiver) = table.living(index, generation) else { continue };
        let Some((slot, destination)) = aim(table, receiver, len) else {
            reason = DropReason::NoDestination;
            continue;
        };
        let slot = u32::try_from(slot).unwrap_or(u32::MAX);
        if first.is_none() {
            first = Some((slot, destination));
            continue;
        }
        match doors.port.copy(&frame, start, len) {
            Some(frame) => {
                leaving.departures.push(Departure { frame, start, len, slot, destination });
                leaving.copies += 1;
            }
            None => doors.counters.unsent += 1,
        }
    }
    let Some((slot, destination)) = first else { return Err((frame, reason)) };
    let departure = Departure { frame, start, len, slot, destination };
    leaving.forward(departure, arrival.as_nanos());
    Ok(())
}
