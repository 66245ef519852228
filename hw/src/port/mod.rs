//! Ports: whatever receives and sends packets, behind one trait with static dispatch.
//!
//! | port | when |
//! | --- | --- |
//! | [`socket::Uring`] | kernel UDP sockets driven by io_uring |
//! | [`socket::Mmsg`] | kernel UDP sockets driven by recvmmsg and sendmmsg |
//! | [`memory::MemoryPort`] | tests and benchmarks, no kernel at all |
//! | [`pcap::PcapPort`] | replay and capture |
//! | [`fault::Fault`] | any other port with seeded loss, duplication, reordering and delay |
//!
//! A port belongs to one worker. It has *slots*: `slot = endpoint index * 2 + (0 RTP | 1 RTCP)`.
//! It owns the frames; each received frame is either sent or freed by the worker, and each frame
//! that goes to [`Port::send_burst`] is the port's again.

use crate::doorbell::Doorbell;
use crate::frame::{FRAME_SIZE, FrameId, FramePool};
use arrayvec::ArrayVec;
use core::fmt;
use core::time::Duration;
use std::io;
use tandem_wire::addr::SockAddr;
use tandem_wire::time::Instant;

pub mod fault;
pub mod memory;
pub mod pcap;
mod rng;
pub mod socket;

/// Packets that walk together through one worker turn.
pub const BURST: usize = 64;
/// Packets that one [`Port::send_burst`] takes: a burst and as many copies or own packets.
pub const DEPARTURES: usize = 2 * BURST;

/// One packet that arrived.
#[derive(Debug)]
pub struct Received {
    /// Where its octets are.
    pub frame: FrameId,
    /// Offset of the payload in the frame.
    pub start: u16,
    /// Octets of the payload (of what fitted, if `truncated`).
    pub len: u16,
    /// The slot that it came to.
    pub slot: u32,
    /// The datagram was longer than [`MAX_PAYLOAD`](crate::frame::MAX_PAYLOAD) and is cut.
    pub truncated: bool,
    /// Its sender.
    pub source: SockAddr,
    /// When it arrived.
    pub arrival: Instant,
}

/// One packet that leaves.
#[derive(Debug)]
pub struct Departure {
    /// Where its octets are.
    pub frame: FrameId,
    /// Offset of the payload in the frame.
    pub start: u16,
    /// Octets of the payload.
    pub len: u16,
    /// The local slot that it leaves from.
    pub slot: u32,
    /// Its receiver.
    pub destination: SockAddr,
}

impl Departure {
    /// Whether the payload lies in the frame and there is a receiver.
    pub(crate) fn is_sound(&self) -> bool {
        usize::from(self.start) + usize::from(self.len) <= FRAME_SIZE && self.destination.is_some()
    }
}

/// What became of a burst: `sent + failed` is the number of departures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendOutcome {
    /// Packets that the layer below took.
    pub sent: u32,
    /// Packets that it refused.
    pub failed: u32,
    /// Payload octets of the sent packets.
    pub sent_octets: u64,
}

/// What a port did since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Packets handed out, the truncated included.
    pub received: u64,
    /// Packets that were longer than a frame takes.
    pub truncated: u64,
    /// Packets thrown away because their slot was closed meanwhile.
    pub stale: u64,
    /// Errors of a receive (an ICMP message for a connected socket, lack of memory); the slot
    /// goes on.
    pub receive_errors: u64,
    /// Times that a slot had to wait for a free frame.
    pub starved: u64,
    /// Packets that the kernel threw away before we could read them: the socket's queue was full
    /// because the worker was too slow, or the checksum was wrong. Known with the next packet of
    /// the socket.
    pub overflowed: u64,
    /// Slots that the system refused to receive on any more.
    pub dead_slots: u64,
    /// Packets that the layer below took.
    pub sent: u64,
    /// Packets that it refused.
    pub send_failed: u64,
    /// System calls of the packet path.
    pub syscalls: u64,
}

/// Why a slot could not be opened.
#[derive(Debug)]
pub enum PortError {
    /// The port has fewer slots: raise the open-files limit or the port's configuration.
    SlotOutOfRange {
        /// What was asked for.
        slot: u32,
        /// Slots of this port.
        limit: u32,
    },
    /// The slot is open already.
    SlotInUse(u32),
    /// The system refused.
    System {
        /// What the port tried.
        operation: &'static str,
        /// Its answer.
        error: io::Error,
    },
}

impl PortError {
    pub(crate) fn system(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::System { operation, error }
    }
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SlotOutOfRange { slot, limit } => {
                write!(f, "slot {slot} is outside of the port's {limit} slots")
            }
            Self::SlotInUse(slot) => write!(f, "slot {slot} is open already"),
            Self::System { operation, error } => write!(f, "{operation}: {error}"),
        }
    }
}

impl std::error::Error for PortError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::System { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Whatever receives and sends packets, burst-wise, for one worker.
pub trait Port {
    /// What a slot is opened with; for the socket ports a bound UDP socket.
    type Endpoint;

    /// The kind, as the log and the API show it: `socket(io_uring)`, `memory`, ...
    fn name(&self) -> &'static str;

    /// Appends the packets that are there to `out`, as many as fit; never blocks.
    ///
    /// `now` becomes their arrival time (unless the port knows better, as a replay does).
    fn receive_burst(&mut self, now: Instant, out: &mut ArrayVec<Received, BURST>);

    /// Where its frames live.
    fn frames(&self) -> &FramePool;

    /// The same, to write and to take frames.
    fn frames_mut(&mut self) -> &mut FramePool;

    /// `len` octets at `start` of a frame.
    ///
    /// # Panics
    /// When the range does not lie in the frame, or the frame is another port's.
    #[inline]
    fn payload(&self, frame: &FrameId, start: u16, len: u16) -> &[u8] {
        self.frames().payload(frame, start, len)
    }

    /// The whole buffer, headroom and tailroom included.
    ///
    /// # Panics
    /// When the frame is another port's.
    #[inline]
    fn bytes_mut(&mut self, frame: &FrameId) -> &mut [u8] {
        self.frames_mut().bytes_mut(frame)
    }

    /// A frame for a packet of our own.
    #[inline]
    fn alloc(&mut self) -> Option<FrameId> {
        self.frames_mut().alloc()
    }

    /// A second frame with the same octets at the same place, for forks.
    ///
    /// # Panics
    /// When the range does not lie in the frame, or the frame is another port's.
    #[inline]
    fn copy(&mut self, frame: &FrameId, start: u16, len: u16) -> Option<FrameId> {
        self.frames_mut().copy(frame, start, len)
    }

    /// Gives back a frame that will not be sent (absorbed, punted, dropped).
    #[inline]
    fn free(&mut self, frame: FrameId) {
        self.frames_mut().free(frame);
    }

    /// Frames that are free now, those that wait for packets included.
    fn available(&self) -> usize {
        self.frames().available()
    }

    /// Sends all of `departures` and leaves it empty; what the layer below does not take is freed
    /// and counted as failed.
    fn send_burst(&mut self, departures: &mut ArrayVec<Departure, DEPARTURES>) -> SendOutcome;

    /// Slots that can be opened: 0 to this minus 1.
    fn slots(&self) -> u32;

    /// Attaches a bound local endpoint.
    ///
    /// # Errors
    /// When the slot is taken or out of range, or when the system refuses.
    fn open(&mut self, slot: u32, endpoint: Self::Endpoint) -> Result<(), PortError>;

    /// Detaches and releases the endpoint; packets that are still on their way are thrown away.
    fn close(&mut self, slot: u32);

    /// Marks what leaves from a slot (RFC 2474); call it on change only.
    fn set_dscp(&mut self, slot: u32, dscp: u8);

    /// Sleeps until a packet, the doorbell or the timeout. It may wake for nothing.
    fn wait(&mut self, timeout: Duration);

    /// Lets a doorbell end [`wait`](Self::wait); the port drains it then.
    ///
    /// # Errors
    /// When the system refuses.
    fn watch_doorbell(&mut self, bell: &Doorbell) -> Result<(), PortError>;

    /// What it did so far.
    fn counters(&self) -> PortCounters;
}
