//! The record that readers get.

use super::{EXT_BASE, StreamCold, StreamHot, WINDOW_NS, Window};
use tandem_contract::measure::{Measurement, RTT_UNKNOWN};

impl StreamHot {
    /// The figures so far. Round trip, RTCP and DTMF counts are not of this stream's packets: they
    /// are left unknown and zero.
    #[must_use]
    pub fn snapshot(&self, window: &Window, cold: &StreamCold, now_ns: u64) -> Measurement {
        let segment = if self.ext == 0 { 0 } else { self.segment_expected(cold) };
        let expected = cold.expected_before + segment;
        // Without sequence numbers (not RTP) nothing can be missed.
        let counted = if self.ext == 0 { 0 } else { self.packets.saturating_sub(cold.strays) };
        let (bitrate_bps, peak) = self.bitrate(cold, now_ns);
        let mut m = Measurement {
            packets: self.packets,
            octets: self.wire_octets.saturating_sub(self.overhead),
            wire_octets: self.wire_octets,
            expected,
            lost_rfc3550: expected.cast_signed() - counted.cast_signed(),
            lost: expected.saturating_sub(counted.saturating_sub(cold.duplicated)),
            reordered: cold.reordered,
            duplicated: cold.duplicated,
            restarts: cold.restarts,
            ssrc_changes: cold.ssrc_changes,
            first_ns: cold.first_ns,
            last_ns: self.last_ns,
            jitter_ns: self.jitter_x16 >> 4,
            jitter_max_ns: self.jitter_max_x16 >> 4,
            bitrate_bps,
            bitrate_peak_bps: peak,
            rtt_ns: RTT_UNKNOWN,
            ssrc: self.ssrc,
            ext_sequence: u32::try_from(self.ext.saturating_sub(EXT_BASE) & 0xffff_ffff)
                .unwrap_or(0),
            clock_rate: cold.clock_rate,
            packet_units: self.packet_units,
            payload_type: u32::from(self.media_type),
            codec: u32::from(cold.codec),
            interarrival: self.interarrival,
            ..Measurement::default()
        };
        if self.ext != 0 {
            self.fill_bursts(window, cold, &mut m);
        }
        m
    }

    fn fill_bursts(&self, window: &Window, cold: &StreamCold, m: &mut Measurement) {
        let mut burst = cold.burst;
        if self.ext >= cold.base {
            self.settle_all(window, cold.settled_word, &mut burst);
        }
        let packet_ns = match self.unit_q12 {
            0 => m.last_ns.saturating_sub(m.first_ns) / m.expected.max(1),
            unit => (u64::from(self.packet_units) * u64::from(unit)) >> 12,
        };
        m.burst_lost = burst.burst_lost;
        m.burst_packets = burst.burst_packets;
        m.bursts = burst.bursts;
        m.burst_ns = burst.burst_packets * packet_ns;
        m.gap_lost = burst.gap_lost;
        m.gap_packets = m.expected.saturating_sub(burst.burst_packets);
        m.gap_ns = m.gap_packets * packet_ns;
        m.gaps = if m.gap_packets == 0 { 0 } else { burst.bursts + 1 };
        m.loss_runs = burst.loss_runs;
    }

    /// Bit rate of the last full window, and the peak.
    fn bitrate(&self, cold: &StreamCold, now_ns: u64) -> (u64, u64) {
        if self.window_end_ns == 0 || now_ns < self.window_end_ns {
            return (cold.bitrate_bps, cold.bitrate_peak_bps);
        }
        let rate = (self.wire_octets - cold.window_start_octets) * 8;
        let peak = cold.bitrate_peak_bps.max(rate);
        if now_ns < self.window_end_ns + WINDOW_NS { (rate, peak) } else { (0, peak) }
    }
}
