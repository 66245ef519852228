//! The measurement record of one received stream: integers only, always on, without RTCP.

use bytemuck::{Pod, Zeroable};

/// Buckets of the interarrival histogram.
pub const INTERARRIVAL_BUCKETS: usize = 16;

/// What was measured of one received RTP stream (one direction of one leg).
///
/// Sums run over all SSRCs since the termination exists; the `ssrc`/sequence fields are of the
/// current one. Snapshot for readers; the engine keeps its own hot and cold state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Measurement {
    /// RTP packets, duplicates included.
    pub packets: u64,
    /// RTP payload octets (RFC 3550 §6.4.1: without header and padding).
    pub octets: u64,
    /// UDP payload octets of RTP (for the bit rate).
    pub wire_octets: u64,
    /// Packets expected by extended sequence numbers (RFC 3550 A.3).
    pub expected: u64,
    /// RFC 3550 loss: expected - packets, may be negative with duplicates.
    pub lost_rfc3550: i64,
    /// Sequence numbers never seen: duplicates do not hide it.
    pub lost: u64,
    /// Packets that came after a higher sequence number.
    pub reordered: u64,
    /// Packets whose sequence number was seen before.
    pub duplicated: u64,
    /// Sequence restarts (a gap beyond the limit, RFC 3550 A.1).
    pub restarts: u64,
    /// SSRC changes.
    pub ssrc_changes: u64,
    /// RTCP packets received.
    pub rtcp_packets: u64,
    /// Telephone events (RFC 4733) that ended.
    pub dtmf_events: u64,
    /// Arrival of the first packet, engine clock, ns; 0 none.
    pub first_ns: u64,
    /// Arrival of the last packet, engine clock, ns.
    pub last_ns: u64,
    /// Interarrival jitter (RFC 3550 A.8), ns.
    pub jitter_ns: u64,
    /// Highest jitter seen, ns.
    pub jitter_max_ns: u64,
    /// Bit rate of UDP payload over the last full second, bit/s.
    pub bitrate_bps: u64,
    /// Highest one-second bit rate, bit/s.
    pub bitrate_peak_bps: u64,
    /// Round trip from RTCP (LSR/DLSR), ns; [`RTT_UNKNOWN`] if no RTCP told.
    pub rtt_ns: u64,
    /// Packets lost in bursts (RFC 3611 §4.7.2, Gmin 16). Burst and gap figures count a packet as
    /// lost that came more than 64 sequence numbers late: no receiver could still play it.
    pub burst_lost: u64,
    /// Packets expected in bursts.
    pub burst_packets: u64,
    /// Number of bursts.
    pub bursts: u64,
    /// Sum of burst durations, ns.
    pub burst_ns: u64,
    /// Packets lost in gaps.
    pub gap_lost: u64,
    /// Packets expected in gaps.
    pub gap_packets: u64,
    /// Sum of gap durations, ns.
    pub gap_ns: u64,
    /// Number of gaps.
    pub gaps: u64,
    /// Runs of consecutive losses, in bursts and gaps: `(burst_lost + gap_lost) / loss_runs` is
    /// the mean length of a run (ITU-T G.107 burst ratio).
    pub loss_runs: u64,
    /// Current SSRC.
    pub ssrc: u32,
    /// Current extended highest sequence number.
    pub ext_sequence: u32,
    /// Clock rate of the current payload type, Hz; 0 unknown.
    pub clock_rate: u32,
    /// Packet duration seen last (time stamp step), in clock units; 0 unknown.
    pub packet_units: u32,
    /// Current payload type of media (not telephone-event); 255 none.
    pub payload_type: u32,
    /// [`crate::quality::Codec`] of the current payload type as a number.
    pub codec: u32,
    /// Interarrival times: bucket `i` counts those below 2^i ms × ¼ (bucket 0: under 0.25 ms,
    /// 1: under 0.5 ms, …; the last one has no upper bound).
    pub interarrival: [u32; INTERARRIVAL_BUCKETS],
}

/// `Measurement::rtt_ns` when no RTCP told.
pub const RTT_UNKNOWN: u64 = u64::MAX;
