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
use crate::table::{BLOCKED, Hot, SECURED, Table};
use core::time::Duration;
use tandem_contract::command::Edge;
use tandem_contract::counters::WorkerCounters;
use tandem_contract::event::Event;
use tandem_contract::reason::{AbsorbReason, DropReason};
use tandem_hw::frame::FrameId;
use tandem_hw::port::{DEPARTURES, Departure, Port, Received};
use tandem_wire::addr::SockAddr;
use tandem_wire::rtcp::Compound;
use tandem_wire::rtp::{FixedHeader, RtpHeader};
use tandem_wire::telephone_event::TelephoneEvent;
use tandem_wire::time::Instant;

/// Shortest time between two events of one termination that its party can cause at will; digits,
/// which arrive together where the network held them up, only on average.
const EVENT_PAUSE: Duration = Duration::from_millis(10);
/// How far digits may run ahead of their average: 32 of them.
const DIGITS_AHEAD: Duration = Duration::from_millis(320);

/// What the room writes to, beside table and burst.
#[derive(Debug)]
pub(crate) struct Doors<'a, P: Port> {
    pub port: &'a mut P,
    pub counters: &'a mut WorkerCounters,
    pub outbox: &'a mut Outbox,
}

/// Transforms as many packets from the front as departures have room for.
#[inline(never)]
pub(crate) fn transform<P: Port>(table: &mut Table, burst: &mut Burst, doors: &mut Doors<'_, P>) {
    let Burst { received, parsed, leaving } = burst;
    let chunk = received.len().min(DEPARTURES / table.fanout);
    for (packet, parsed) in received.drain(..chunk).zip(parsed.iter()) {
        // By fields: so that nothing is copied for the plain relay.
        let Received { frame, start, len, slot, arrival, .. } = packet;
        if parsed.kind != Kind::Rtp {
            let arrived = Arrived { frame, start, len, slot, arrival };
            transform_other(table, leaving, doors, arrived, parsed);
            continue;
        }
        let Some(edge) = measure_plain(table, slot, len, arrival, &parsed.fixed) else {
            let arrived = Arrived { frame, start, len, slot, arrival };
            relay_any(table, leaving, doors, arrived, &parsed.fixed.to_header());
            continue;
        };
        let Some(receiver) = reach(table, edge) else {
            let arrived = Arrived { frame, start, len, slot, arrival };
            relay_noted(table, leaving, doors, arrived);
            continue;
        };
        receiver.tx_packets += 1;
        receiver.tx_octets += u64::from(len);
        let (slot, destination) = (edge.index << 1, receiver.remote);
        leaving.forward(Departure { frame, start, len, slot, destination }, arrival.as_nanos());
    }
    parsed.drain(..chunk);
}

/// A packet as this room needs it.
struct Arrived {
    frame: FrameId,
    start: u16,
    len: u16,
    slot: u32,
    arrival: Instant,
}

#[cold]
fn transform_other<P: Port>(
    table: &mut Table,
    leaving: &mut Leaving,
    doors: &mut Doors<'_, P>,
    packet: Arrived,
    parsed: &Parsed,
) {
    match parsed.kind {
        Kind::Rtp => relay_any(table, leaving, doors, packet, &parsed.fixed.to_header()),
        Kind::LongRtp => relay_long(table, leaving, doors, packet),
        Kind::Rtcp => relay_rtcp(table, leaving, doors, packet),
        Kind::Opaque => relay_opaque(table, leaving, doors, packet),
        Kind::Drop(reason) => drop_packet(table, doors, packet.slot, packet.frame, reason),
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

/// Measures a packet that is the next of its stream, as nearly all are, and says who gets it;
/// `None`, with nothing counted, for any other.
#[inline(always)]
fn measure_plain(
    table: &mut Table,
    slot: u32,
    wire_len: u16,
    arrival: Instant,
    header: &FixedHeader,
) -> Option<Edge> {
    let index = (slot >> 1) as usize;
    let hot = table.hot.get_mut(index)?;
    let window = table.windows.get_mut(index)?;
    hot.stream.note_plain(window, header, wire_len, arrival.as_nanos()).then_some(hot.edge)
}

/// The one receiver of a plain relay, if it is there and its address is known.
#[inline(always)]
fn reach(table: &mut Table, edge: Edge) -> Option<&mut Hot> {
    table.hot.get_mut(edge.index as usize).filter(|hot| hot.reachable == edge.generation)
}

/// RTP with sources, an extension or padding.
#[cold]
fn relay_long<P: Port>(
    table: &mut Table,
    leaving: &mut Leaving,
    doors: &mut Doors<'_, P>,
    packet: Arrived,
) {
    let secured = table.hot[(packet.slot >> 1) as usize].flags & SECURED != 0;
    let bytes = doors.port.payload(&packet.frame, packet.start, packet.len);
    match RtpHeader::parse(bytes, secured) {
        Ok(header) => relay_any(table, leaving, doors, packet, &header),
        Err(_) => drop_packet(table, doors, packet.slot, packet.frame, DropReason::BadRtp),
    }
}

/// RTP that is not simply the next of its stream.
#[inline(never)]
fn relay_any<P: Port>(
    table: &mut Table,
    leaving: &mut Leaving,
    doors: &mut Doors<'_, P>,
    packet: Arrived,
    header: &RtpHeader,
) {
    let index = (packet.slot >> 1) as usize;
    let (hot, cold) = (&mut table.hot[index], &mut table.cold[index]);
    let old_ssrc = hot.stream.ssrc();
    let arrival_ns = packet.arrival.as_nanos();
    let noted = hot.stream.note(
        &mut table.windows[index],
        &mut cold.stream,
        &cold.payload_types,
        &Packet { header, wire_len: packet.len, arrival_ns },
    );
    if noted.telephone_event || noted.ssrc_changed {
        report(table, index, doors, &packet, header, noted.ssrc_changed.then_some(old_ssrc));
    }
    relay_noted(table, leaving, doors, packet);
}

/// RTP that is measured: to all of its receivers.
fn relay_noted<P: Port>(
    table: &mut Table,
    leaving: &mut Leaving,
    doors: &mut Doors<'_, P>,
    packet: Arrived,
) {
    let slot = packet.slot;
    let edge = table.hot[(slot >> 1) as usize].edge;
    if let Some(receiver) = reach(table, edge) {
        let Arrived { frame, start, len, arrival, .. } = packet;
        receiver.tx_packets += 1;
        receiver.tx_octets += u64::from(len);
        let (slot, destination) = (edge.index << 1, receiver.remote);
        leaving.forward(Departure { frame, start, len, slot, destination }, arrival.as_nanos());
        return;
    }
    if table.hot[(slot >> 1) as usize].flags & BLOCKED != 0 {
        return drop_packet(table, doors, slot, packet.frame, DropReason::Blocked);
    }
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

/// Tells control about a digit or a new SSRC.
#[cold]
fn report<P: Port>(
    table: &mut Table,
    index: usize,
    doors: &mut Doors<'_, P>,
    packet: &Arrived,
    header: &RtpHeader,
    old_ssrc: Option<u32>,
) {
    let handle = table.handle(index);
    let now = packet.arrival;
    let cold = &mut table.cold[index];
    if let Some(old) = old_ssrc {
        cold.rtcp.forget_their_reports();
        if now >= cold.quiet_until {
            cold.quiet_until = now + EVENT_PAUSE;
            doors.outbox.push(&Event::SsrcChanged { handle, old, new: header.ssrc.0 });
        }
        return;
    }
    if table.hot[index].flags & SECURED != 0 {
        return;
    }
    let bytes = doors.port.payload(&packet.frame, packet.start, packet.len);
    let payload = bytes.get(usize::from(header.header_len)..).unwrap_or(&[]);
    let Ok(event) = TelephoneEvent::parse(payload) else { return };
    let number = header.payload_type;
    let rate = cold.payload_types.iter().find(|t| t.present != 0 && t.number == number);
    let clock_rate = rate.map_or(8_000, |t| t.clock_rate);
    let digit = cold.dtmf.note(header.timestamp.0, clock_rate, event, now);
    if let Some(digit) = digit
        && cold.digits_until <= now + DIGITS_AHEAD
    {
        cold.digits_until = cold.digits_until.max(now) + EVENT_PAUSE;
        let (code, duration_ms) = (digit.code, digit.duration_ms);
        doors.outbox.push(&Event::Dtmf { handle, code, duration_ms });
    }
}

#[cold]
fn relay_opaque<P: Port>(
    table: &mut Table,
    leaving: &mut Leaving,
    doors: &mut Doors<'_, P>,
    packet: Arrived,
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
    packet: Arrived,
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
    packet: Arrived,
    mut aim: impl FnMut(&mut Table, usize, u16) -> Option<(usize, SockAddr)>,
) -> Result<(), Unsent> {
    let Arrived { frame, start, len, slot, arrival } = packet;
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
