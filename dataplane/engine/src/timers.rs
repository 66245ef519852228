//! Timers: every living termination is visited about twice a second, a few per turn.
//!
//! A visit looks at lease, media timeout, own RTCP and publication. There is no timer list: a
//! cursor walks over the living terminations at the pace that the clock asks for.

use crate::clock::Clock;
use crate::rtcp::{OwnReport, ntp};
use crate::table::{OPAQUE, SECURED};
use crate::worker::Worker;
use core::time::Duration;
use tandem_contract::command::{FLAG_HOLD, FLAG_NO_OWN_RTCP};
use tandem_contract::event::{EndCause, Event};
use tandem_hw::frame::HEADROOM;
use tandem_hw::port::{Departure, Port};
use tandem_wire::rtcp::SenderInfo;
use tandem_wire::rtp::Ssrc;
use tandem_wire::time::Instant;

/// Time between two visits of a termination.
const PERIOD_NS: u64 = 480_000_000;
/// Visits of one turn.
const VISIT_BURST: u64 = 32;
/// A termination is published when its figures are this old: at its second visit.
const PUBLISH_AGE: Duration = Duration::from_millis(900);
/// Octets of a fixed RTP header, which sender reports do not count.
const RTP_HEADER: u64 = 12;

/// Where the walk over the terminations stands.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    cursor: usize,
    last: Instant,
    /// Visits owed, times the period.
    owed: u64,
}

impl<P: Port, C: Clock> Worker<P, C> {
    /// Visits the terminations whose turn it is; whether some are still owed.
    pub(crate) fn tick(&mut self, now: Instant) -> bool {
        let alive = self.table.alive.len() as u64;
        let elapsed = now.as_nanos().saturating_sub(self.walk.last.as_nanos()).min(PERIOD_NS);
        self.walk.last = now;
        self.walk.owed = (self.walk.owed + elapsed * alive).min(alive * PERIOD_NS);
        let visits = (self.walk.owed / PERIOD_NS).min(VISIT_BURST);
        for _ in 0..visits {
            self.walk.owed = self.walk.owed.saturating_sub(PERIOD_NS);
            if self.walk.cursor >= self.table.alive.len() {
                self.walk.cursor = 0;
            }
            let Some(&index) = self.table.alive.get(self.walk.cursor) else { break };
            self.walk.cursor += 1;
            self.visit(now, index as usize);
        }
        self.publish_worker(now);
        self.walk.owed >= PERIOD_NS
    }

    fn visit(&mut self, now: Instant, place: usize) {
        if now >= self.table.cold[place].lease_end && self.provision.has_room() {
            return self.end(now, place, EndCause::LeaseExpired);
        }
        self.watch_media(now, place);
        let handle = self.table.handle(place);
        if let Some(digit) = self.table.cold[place].dtmf.expire(now) {
            let (code, duration_ms) = (digit.code, digit.duration_ms);
            self.outbox.push(&Event::Dtmf { handle, code, duration_ms });
        }
        self.own_rtcp(now, place);
        if now.since(self.table.cold[place].published) >= PUBLISH_AGE {
            self.publish(now, place, true);
        }
    }

    fn watch_media(&mut self, now: Instant, place: usize) {
        let handle = self.table.handle(place);
        let last = Instant::from_nanos(self.table.hot[place].stream.last_ns());
        let cold = &mut self.table.cold[place];
        if cold.media_timeout_ms == 0 || cold.flags & FLAG_HOLD != 0 {
            cold.timed_out = false;
            return;
        }
        let silent = now.since(last.max(cold.active_since));
        let over = silent >= Duration::from_millis(cold.media_timeout_ms.into());
        if over && !cold.timed_out {
            let silent_ms = u32::try_from(silent.as_millis()).unwrap_or(u32::MAX);
            self.outbox.push(&Event::MediaTimeout { handle, silent_ms });
        }
        cold.timed_out = over;
    }

    /// Sends our own report to a party that gets no RTCP.
    fn own_rtcp(&mut self, now: Instant, place: usize) {
        let (hot, cold) = (&self.table.hot[place], &mut self.table.cold[place]);
        if !cold.rtcp.may_be_due(now) {
            return;
        }
        let silent = hot.stream.packets() == 0 && hot.tx_packets == 0;
        if hot.flags & (OPAQUE | SECURED) != 0 || cold.flags & FLAG_NO_OWN_RTCP != 0 || silent {
            return;
        }
        let random = self.random.next();
        if !cold.rtcp.own_report_due(now, random) {
            return;
        }
        let (rtp_slot, destination) = crate::latch::rtcp_destination(hot, cold);
        let index = u32::try_from(place).unwrap_or(u32::MAX);
        let slot = index * 2 + u32::from(!rtp_slot);
        if !destination.is_some() || (!rtp_slot && !cold.endpoint.rtcp.is_some()) {
            return;
        }
        let Some(frame) = self.port.alloc() else {
            self.counters.unsent += 1;
            return;
        };
        let received = self.measurement(now, place);
        let (sender, info) = self.what_it_hears(now, place);
        let name = self.random.name(index, self.table.cold[place].endpoint.generation);
        let own = OwnReport { sender, info, received: &received, name };
        let out = &mut self.port.bytes_mut(&frame)[HEADROOM..];
        let emitted = self.table.cold[place].rtcp.emit_own(&own, now, out);
        let (Ok(len), Ok(start)) = (emitted.map(u16::try_from), u16::try_from(HEADROOM)) else {
            return self.port.free(frame);
        };
        let len = len.unwrap_or(0);
        self.burst.leaving.departures.push(Departure { frame, start, len, slot, destination });
        self.burst.leaving.originated += 1;
    }

    /// The source that a party hears and what was sent of it: that of its peer, if the two are a
    /// plain relay; else a source of our own that sends nothing.
    fn what_it_hears(&self, now: Instant, place: usize) -> (Ssrc, Option<SenderInfo>) {
        let hot = &self.table.hot[place];
        let edge = self.table.cold[place].first_edge();
        let own = self.random.name(edge.index, hot.generation);
        let nobody = (Ssrc(u32::try_from(own & 0xffff_ffff).unwrap_or(1)), None);
        let Some(peer) = self.table.living(edge.index, edge.generation) else {
            return nobody;
        };
        let (theirs, cold) = (&self.table.hot[peer], &self.table.cold[peer]);
        let mutual =
            theirs.edge.index as usize == place && theirs.edge.generation == hot.generation;
        let media_time = theirs.stream.media_time(&cold.stream, now.as_nanos());
        match media_time {
            Some(rtp) if mutual && hot.tx_packets > 0 => {
                let low = |n: u64| u32::try_from(n & 0xffff_ffff).unwrap_or(0);
                let octets = hot.tx_octets.saturating_sub(hot.tx_packets * RTP_HEADER);
                let (packets, octets) = (low(hot.tx_packets), low(octets));
                let info = SenderInfo { ntp: ntp(now), rtp, packets, octets };
                (Ssrc(theirs.stream.ssrc()), Some(info))
            }
            _ => nobody,
        }
    }
}
