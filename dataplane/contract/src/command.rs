//! Control to engine: what should exist.
//!
//! Commands are idempotent. [`Command::Put`] states a whole termination; sending it again changes
//! nothing, sending a changed one modifies without touching measurement or a confirmed source.
//! A command for a generation that is gone is answered by [`crate::event::Event::Refused`].

use crate::handle::{ContextId, Handle};
use crate::limits::{MAX_EDGES, MAX_PAYLOAD_TYPES, RENEW_BATCH};
use bytemuck::{Pod, Zeroable};
use tandem_wire::addr::SockAddr;

/// What a termination carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// RTP and RTCP, parsed and measured.
    #[default]
    Rtp,
    /// Passed as it is and only counted: T.38, DTLS-keyed media, anything that is not RTP.
    Opaque,
}

/// How a termination's source is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Latching {
    /// The announced address is confirmed by its first packet; else the best of same address,
    /// same port, any, confirmed by [`crate::limits::LEARN_PACKETS`] in-sequence packets of one
    /// SSRC. Strict afterwards.
    #[default]
    Learn,
    /// Only the announced address is ever accepted.
    Strict,
}

/// One payload type of a termination (RFC 3551, RFC 4733).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct PayloadType {
    /// RTP clock rate in Hz.
    pub clock_rate: u32,
    /// The number on the wire, 0 to 127.
    pub number: u8,
    /// 1 for `telephone-event` (RFC 4733), else 0.
    pub telephone_event: u8,
    /// [`crate::quality::Codec`] as a number, for the E-model; 0 unknown.
    pub codec: u8,
    /// 1 if the entry is in use.
    pub present: u8,
}

/// `TerminationSpec::flags`: RTCP shares the RTP port (RFC 5761).
pub const FLAG_RTCP_MUX: u32 = 1 << 0;
/// `TerminationSpec::flags`: opaque, see [`Kind::Opaque`].
pub const FLAG_OPAQUE: u32 = 1 << 1;
/// `TerminationSpec::flags`: only the announced source, see [`Latching::Strict`].
pub const FLAG_STRICT: u32 = 1 << 2;
/// `TerminationSpec::flags`: learn the source anew now (a re-INVITE moved the party). Acted on
/// once per `relearn_epoch`.
pub const FLAG_RELEARN: u32 = 1 << 3;
/// `TerminationSpec::flags`: packets are secured end to end (SRTP passed opaquely): headers are
/// measured, payloads and RTCP bodies are not read, nothing is originated towards it.
pub const FLAG_SECURED: u32 = 1 << 4;
/// `TerminationSpec::flags`: no media timeout while set (hold).
pub const FLAG_HOLD: u32 = 1 << 5;
/// `TerminationSpec::flags`: never originate RTCP towards it.
pub const FLAG_NO_OWN_RTCP: u32 = 1 << 6;
/// `TerminationSpec::flags`: drop what it sends (one-way block, mute).
pub const FLAG_BLOCK: u32 = 1 << 7;

/// All of a termination as control wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct TerminationSpec {
    /// The context it belongs to.
    pub context: ContextId,
    /// Local RTP address; a new engine binds exactly this if the endpoint is not bound.
    pub local_rtp: SockAddr,
    /// Local RTCP address, none when multiplexed.
    pub local_rtcp: SockAddr,
    /// Where signalling says RTP goes; none while unknown.
    pub remote_rtp: SockAddr,
    /// Where signalling says RTCP goes; none means RTP port + 1 (RFC 3550 §11), or RTP when
    /// multiplexed.
    pub remote_rtcp: SockAddr,
    /// A source confirmed earlier (by a previous engine), none to learn it.
    pub latched_rtp: SockAddr,
    /// The same for RTCP.
    pub latched_rtcp: SockAddr,
    /// Payload types; entries with `present` 0 are ignored.
    pub payload_types: [PayloadType; MAX_PAYLOAD_TYPES],
    /// Indexes of the terminations on the same worker that get what this one sends.
    pub edges: [Edge; MAX_EDGES],
    /// `FLAG_*` bits.
    pub flags: u32,
    /// Media timeout, ms; 0 for none.
    pub media_timeout_ms: u32,
    /// Silence before a continuing stream may move to a new address, ms; 0 switches it off.
    pub relearn_silence_ms: u32,
    /// Lease, ms, from the receipt of this command.
    pub lease_ms: u32,
    /// Changes when `FLAG_RELEARN` should act again.
    pub relearn_epoch: u32,
    /// Last extended sequence number that an earlier engine saw (with `resume_ssrc`).
    pub resume_sequence: u32,
    /// SSRC of `resume_sequence`; 0 with `resume_sequence` 0 means start anew.
    pub resume_ssrc: u32,
    /// DSCP of what is sent to the party, 0 to 63 (RFC 2474).
    pub dscp: u8,
    /// Control's mark: the leg of the call (0 the caller). The engine gives it back in the counters.
    pub leg: u8,
    /// Control's mark: the media line of the session description, from 0. Given back likewise.
    pub stream: u8,
    /// Zero.
    pub reserved: u8,
}

/// A directed edge to a termination of the same worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Edge {
    /// Index of the receiver.
    pub index: u32,
    /// Its generation, 0 for no edge.
    pub generation: u32,
}

/// What control asks of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Create or modify: the termination shall be as the specification says.
    ///
    /// The handle is that of an announced endpoint, or, for a new engine, the one that the
    /// termination had in the old engine: an index that is not used takes any generation from its
    /// own upwards, and if its endpoint is not `local_rtp`, exactly `local_rtp` and `local_rtcp`
    /// are bound for it. The endpoint that was announced under that index is then gone
    /// (`EndpointGone`), so free endpoints of a new engine are best used after the old
    /// terminations have been put.
    Put {
        /// Which.
        handle: Handle,
        /// How.
        spec: TerminationSpec,
    },
    /// Remove it; its last figures stay in the counters table until the index is used again.
    Subtract {
        /// Which.
        handle: Handle,
    },
    /// Extend leases.
    Renew {
        /// Indexes and generations, as many as are not zero.
        terminations: [Edge; RENEW_BATCH],
        /// New lease from now, ms.
        lease_ms: u32,
    },
    /// Announce everything that exists: one `Installed` each, then `AuditEnd`.
    Audit,
    /// Bind more endpoints ahead.
    Provision {
        /// Free endpoints wanted.
        endpoints: u32,
    },
}

/// A command as it lies in the ring.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct CommandSlot {
    handle: Handle,
    kind: u32,
    sequence: u64,
    argument: u32,
    reserved: u32,
    spec: TerminationSpec,
    terminations: [Edge; RENEW_BATCH],
}

/// A slot whose kind is not known: the two sides are of different versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownKind(
    /// The kind found.
    pub u32,
);

impl Command {
    /// Writes the command as a ring slot; `sequence` comes back in answers.
    #[must_use]
    pub fn to_slot(&self, sequence: u64) -> CommandSlot {
        let mut slot = CommandSlot { sequence, ..Zeroable::zeroed() };
        match *self {
            Self::Put { handle, spec } => {
                (slot.kind, slot.handle, slot.spec) = (1, handle, spec);
            }
            Self::Subtract { handle } => (slot.kind, slot.handle) = (2, handle),
            Self::Renew { terminations, lease_ms } => {
                (slot.kind, slot.terminations, slot.argument) = (3, terminations, lease_ms);
            }
            Self::Audit => slot.kind = 4,
            Self::Provision { endpoints } => (slot.kind, slot.argument) = (5, endpoints),
        }
        slot
    }

    /// Reads a ring slot.
    ///
    /// # Errors
    /// [`UnknownKind`] if the other side is of another version.
    pub fn from_slot(slot: &CommandSlot) -> Result<(Self, u64), UnknownKind> {
        let command = match slot.kind {
            1 => Self::Put { handle: slot.handle, spec: slot.spec },
            2 => Self::Subtract { handle: slot.handle },
            3 => Self::Renew { terminations: slot.terminations, lease_ms: slot.argument },
            4 => Self::Audit,
            5 => Self::Provision { endpoints: slot.argument },
            kind => return Err(UnknownKind(kind)),
        };
        Ok((command, slot.sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_round_trip() {
        let handle = Handle { engine: 0, worker: 1, index: 2, generation: 3 };
        let spec = TerminationSpec { context: ContextId(9), flags: 5, ..Default::default() };
        for command in [
            Command::Put { handle, spec },
            Command::Subtract { handle },
            Command::Renew { terminations: [Edge { index: 1, generation: 2 }; 32], lease_ms: 7 },
            Command::Audit,
            Command::Provision { endpoints: 64 },
        ] {
            assert_eq!(Command::from_slot(&command.to_slot(42)), Ok((command, 42)));
        }
    }

    #[test]
    fn unknown_kind_is_refused() {
        let slot = CommandSlot { kind: 99, ..Zeroable::zeroed() };
        assert_eq!(Command::from_slot(&slot), Err(UnknownKind(99)));
    }
}
