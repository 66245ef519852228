//! The terminations of one worker, by index.
//!
//! What every packet touches is in [`Hot`] and one word of the stream's bitmap; all else is in
//! [`Cold`]. An index is also the index of its endpoint: port slots `2 * index` (RTP) and
//! `2 * index + 1` (RTCP).

use crate::dtmf::DtmfState;
use crate::endpoints::Endpoint;
use crate::latch::Learn;
use crate::measure::{PayloadTypes, StreamCold, StreamHot, Window};
use crate::rtcp::RtcpState;
use tandem_contract::command::{Edge, FLAG_BLOCK, FLAG_OPAQUE, FLAG_SECURED, TerminationSpec};
use tandem_contract::counters::TerminationCounters;
use tandem_contract::handle::{ContextId, Handle};
use tandem_contract::limits::MAX_EDGES;
use tandem_wire::addr::SockAddr;
use tandem_wire::time::Instant;

/// `Hot::flags`: a termination exists here.
pub(crate) const ALIVE: u32 = 1 << 0;
/// `Hot::flags`: `Hot::source` is the only sender that is accepted.
pub(crate) const CONFIRMED: u32 = 1 << 1;
/// `Hot::flags`: not RTP.
pub(crate) const OPAQUE: u32 = 1 << 2;
/// `Hot::flags`: only the headers are readable.
pub(crate) const SECURED: u32 = 1 << 3;
/// `Hot::flags`: what it sends is dropped.
pub(crate) const BLOCKED: u32 = 1 << 4;

/// The compiled recipe of a termination and the state that every packet touches.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct Hot {
    pub stream: StreamHot,
    /// Confirmed RTP source.
    pub source: SockAddr,
    /// Where RTP to it goes.
    pub remote: SockAddr,
    /// The receiver of a plain relay; an index out of range if there is none, or several, or if
    /// its packets are blocked.
    pub edge: Edge,
    /// RTP packets sent to it.
    pub tx_packets: u64,
    /// Generation of the living termination, 0 for none.
    pub generation: u32,
    /// The same while it is known where RTP to it goes, else 0.
    pub reachable: u32,
    pub flags: u32,
    /// UDP payload octets of the packets sent to it.
    pub tx_octets: u64,
}

/// Everything that few packets touch.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cold {
    pub stream: StreamCold,
    pub endpoint: Endpoint,
    pub learn: Learn,
    pub rtcp: RtcpState,
    pub dtmf: DtmfState,
    pub context: ContextId,
    pub payload_types: PayloadTypes,
    pub edges: [Edge; MAX_EDGES],
    /// What signalling announced.
    pub remote_rtp: SockAddr,
    pub remote_rtcp: SockAddr,
    /// Confirmed RTCP source.
    pub rtcp_source: SockAddr,
    pub flags: u32,
    pub media_timeout_ms: u32,
    pub relearn_silence_ms: u32,
    pub relearn_epoch: u32,
    /// Place in `Table::alive`.
    pub place: u32,
    pub dscp: u8,
    /// Control's marks, given back in the counters.
    pub leg: u8,
    pub media_line: u8,
    /// A media timeout was reported since the last packet.
    pub timed_out: bool,
    pub lease_end: Instant,
    /// Since when silence counts for the media timeout.
    pub active_since: Instant,
    pub published: Instant,
    /// No word of a new SSRC before this.
    pub quiet_until: Instant,
    /// When the digits told so far would end at the highest average rate of digits.
    pub digits_until: Instant,
    pub dropped: u64,
    /// Sequence of the `Put` that waits for its endpoint.
    pub pending_sequence: u64,
}

impl Hot {
    /// After a change of `remote` or `generation`.
    pub(crate) fn note_reachable(&mut self) {
        self.reachable = if self.remote.is_some() { self.generation } else { 0 };
    }
}

impl Cold {
    /// The first receiver of what it sends; an index out of range for none.
    pub(crate) fn first_edge(&self) -> Edge {
        self.edges.iter().find(|edge| edge.generation != 0).copied().unwrap_or(NO_EDGE)
    }
}

/// Engine memory of one termination: its records and its entry in the counters table.
pub(crate) const TERMINATION_MEMORY: usize = size_of::<Hot>()
    + size_of::<Cold>()
    + size_of::<Window>()
    + size_of::<TerminationCounters>()
    + size_of::<u64>()
    // Its places in the lists of living terminations and of free indexes.
    + 2 * size_of::<u32>();

const _: () = assert!(size_of::<Hot>() <= 256, "hot state of a stream");
const _: () = assert!(TERMINATION_MEMORY <= 2_048, "memory of a termination");

/// No edge: beyond every table.
pub(crate) const NO_EDGE: Edge = Edge { index: u32::MAX, generation: 0 };

/// All terminations of one worker.
#[derive(Debug)]
pub(crate) struct Table {
    pub hot: Box<[Hot]>,
    pub cold: Box<[Cold]>,
    pub windows: Box<[Window]>,
    /// Indexes of the living terminations, in no order.
    pub alive: Vec<u32>,
    /// Most receivers that any termination had so far.
    pub fanout: usize,
    pub worker: u16,
}

impl Table {
    pub(crate) fn new(worker: u16, terminations: u32) -> Self {
        let count = terminations as usize;
        Self {
            hot: vec![Hot { edge: NO_EDGE, ..Hot::default() }; count].into_boxed_slice(),
            cold: vec![Cold::default(); count].into_boxed_slice(),
            windows: vec![Window::default(); count].into_boxed_slice(),
            alive: Vec::with_capacity(count),
            fanout: 1,
            worker,
        }
    }

    pub(crate) fn capacity(&self) -> u32 {
        u32::try_from(self.hot.len()).unwrap_or(u32::MAX)
    }

    /// Handle of whatever has this index now.
    pub(crate) fn handle(&self, index: usize) -> Handle {
        Handle {
            engine: 0,
            worker: self.worker,
            index: u32::try_from(index).unwrap_or(u32::MAX),
            generation: self.cold[index].endpoint.generation,
        }
    }

    /// Index of a living termination, if the name is of one.
    pub(crate) fn living(&self, index: u32, generation: u32) -> Option<usize> {
        let place = index as usize;
        let hot = self.hot.get(place)?;
        (generation != 0 && hot.generation == generation).then_some(place)
    }

    /// Makes the termination that control described live, with everything measured still zero.
    pub(crate) fn give_life(&mut self, index: usize) {
        let cold = &mut self.cold[index];
        cold.place = u32::try_from(self.alive.len()).unwrap_or(u32::MAX);
        self.hot[index].generation = cold.endpoint.generation;
        self.hot[index].flags |= ALIVE;
        self.hot[index].note_reachable();
        self.alive.push(u32::try_from(index).unwrap_or(u32::MAX));
    }

    /// Ends a termination; its endpoint stays as it is.
    pub(crate) fn take_life(&mut self, index: usize) {
        let place = self.cold[index].place as usize;
        self.alive.swap_remove(place);
        if let Some(&moved) = self.alive.get(place) {
            self.cold[moved as usize].place = self.cold[index].place;
        }
        self.reset(index);
    }

    /// Forgets everything of an index but its endpoint.
    pub(crate) fn reset(&mut self, index: usize) {
        self.hot[index] = Hot { edge: NO_EDGE, ..Hot::default() };
        let endpoint = self.cold[index].endpoint;
        self.cold[index] = Cold { endpoint, ..Cold::default() };
    }

    /// Compiles what control wants into the recipe. Measurement and confirmed sources stay.
    pub(crate) fn compile(&mut self, index: usize, spec: &TerminationSpec) {
        let (hot, cold) = (&mut self.hot[index], &mut self.cold[index]);
        cold.context = spec.context;
        (cold.leg, cold.media_line) = (spec.leg, spec.stream);
        cold.payload_types = spec.payload_types;
        cold.edges = spec.edges;
        cold.remote_rtp = spec.remote_rtp;
        cold.remote_rtcp = spec.remote_rtcp;
        cold.flags = spec.flags;
        cold.media_timeout_ms = spec.media_timeout_ms;
        cold.relearn_silence_ms = spec.relearn_silence_ms;
        let count = spec.edges.iter().filter(|edge| edge.generation != 0).count();
        self.fanout = self.fanout.max(count);
        let plain = count == 1 && spec.flags & FLAG_BLOCK == 0;
        hot.edge = if plain { cold.first_edge() } else { NO_EDGE };
        let flag = |from: u32, to: u32| if spec.flags & from == 0 { 0 } else { to };
        hot.flags = (hot.flags & (ALIVE | CONFIRMED))
            | flag(FLAG_OPAQUE, OPAQUE)
            | flag(FLAG_SECURED, SECURED)
            | flag(FLAG_BLOCK, BLOCKED);
        self.aim(index);
    }

    /// Sets where RTP goes: to the confirmed source, else to what signalling announced, else to
    /// the source before it is learnt anew.
    pub(crate) fn aim(&mut self, index: usize) {
        let (hot, cold) = (&mut self.hot[index], &self.cold[index]);
        let confirmed = hot.flags & CONFIRMED != 0;
        hot.remote =
            if confirmed || !cold.remote_rtp.is_some() { hot.source } else { cold.remote_rtp };
        hot.note_reachable();
    }
}
