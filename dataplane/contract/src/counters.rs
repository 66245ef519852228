//! The counters table: what control reads without asking.
//!
//! Table memory of a worker: one [`WorkerCounters`] at index 0 of its own sequence-locked table,
//! and one [`TerminationCounters`] per index in a second one; `tandem_hw::table` lays both out.
//! The worker publishes each termination at least once a second and when it ends.

use crate::handle::{ContextId, Handle};
use crate::measure::Measurement;
use crate::reason::{AbsorbReason, DropReason, PuntReason};
use bytemuck::{Pod, Zeroable};
use tandem_wire::addr::SockAddr;

/// Room for reasons in the table, so that a new reason does not change the layout.
pub const REASON_SLOTS: usize = 32;

const _: () = assert!(DropReason::COUNT <= REASON_SLOTS);
const _: () = assert!(AbsorbReason::COUNT <= 8);
const _: () = assert!(PuntReason::COUNT <= 8);

/// Figures of one termination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct TerminationCounters {
    /// Whose figures these are; check the generation.
    pub handle: Handle,
    /// 1 while it exists, 0 after its end.
    pub alive: u32,
    /// Its context.
    pub context: ContextId,
    /// `TerminationSpec::leg`, as control gave it.
    pub leg: u8,
    /// `TerminationSpec::stream`, as control gave it.
    pub stream: u8,
    /// Zero.
    pub reserved: [u8; 6],
    /// When published, engine clock, ns.
    pub published_ns: u64,
    /// What it sends to us.
    pub rx: Measurement,
    /// RTP packets that we sent to it.
    pub tx_packets: u64,
    /// UDP payload octets of them.
    pub tx_octets: u64,
    /// RTCP packets that we sent to it, passed on or our own.
    pub tx_rtcp_packets: u64,
    /// Of these, our own.
    pub own_rtcp_packets: u64,
    /// Packets of this termination that were dropped, any reason.
    pub dropped: u64,
    /// Confirmed RTP source.
    pub latched_rtp: SockAddr,
    /// Confirmed RTCP source.
    pub latched_rtcp: SockAddr,
}

/// Figures of one worker. `received = forwarded + absorbed + punted + dropped` and
/// `sent = forwarded + copies + originated` hold at every publication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct WorkerCounters {
    /// When published, engine clock, ns.
    pub published_ns: u64,
    /// Packets received.
    pub received: u64,
    /// Packets sent on to (at least) one other termination.
    pub forwarded: u64,
    /// By reason, see [`AbsorbReason`].
    pub absorbed: [u64; 8],
    /// By reason, see [`PuntReason`].
    pub punted: [u64; 8],
    /// By reason, see [`DropReason`].
    pub dropped: [u64; REASON_SLOTS],
    /// Packets sent.
    pub sent: u64,
    /// Second and further copies of forks.
    pub copies: u64,
    /// Copies and own packets that were not sent: no free packet buffer, or refused by the port.
    pub unsent: u64,
    /// Packets that the engine made itself (RTCP reports).
    pub originated: u64,
    /// Octets received (UDP payload).
    pub received_octets: u64,
    /// Octets sent (UDP payload).
    pub sent_octets: u64,
    /// Terminations that exist.
    pub terminations: u64,
    /// Endpoints bound and free.
    pub endpoints_free: u64,
    /// Worker turns.
    pub turns: u64,
    /// Turns that had packets.
    pub busy_turns: u64,
    /// Events lost because control did not read them.
    pub events_lost: u64,
    /// Residence time in Tandem, median, ns.
    pub residence_p50_ns: u64,
    /// 99th percentile, ns.
    pub residence_p99_ns: u64,
    /// 99.9th percentile, ns.
    pub residence_p999_ns: u64,
    /// Maximum, ns.
    pub residence_max_ns: u64,
    /// What never became a packet of the turn.
    pub port: PortLosses,
}

/// What the port of a worker lost or could not do, before packets reach the turn and after they
/// left it: none of it is in the doors of [`WorkerCounters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct PortLosses {
    /// Packets that the kernel threw away because nobody read the socket in time.
    pub overflowed: u64,
    /// Times that a socket had to wait for a free packet buffer.
    pub starved: u64,
    /// Receives that failed.
    pub receive_errors: u64,
    /// Sockets that the kernel refused to receive on any more.
    pub dead_slots: u64,
    /// Packets thrown away because their socket was closed meanwhile.
    pub stale: u64,
    /// Packets that the kernel refused to send, those it refused after it had taken them included.
    pub send_failed: u64,
}

impl WorkerCounters {
    /// Sum over the drop reasons.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }
}
