//! Engine to control: what happened.

use crate::command::UnknownKind;
use crate::handle::{ContextId, Handle};
use bytemuck::{Pod, Zeroable};
use tandem_wire::addr::SockAddr;

/// Why a termination ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// Control subtracted it.
    Subtracted,
    /// Its lease ran out.
    LeaseExpired,
}

/// Why a command was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The generation is gone or was never announced.
    StaleHandle,
    /// The index is beyond the worker's table.
    BadIndex,
    /// The local address could not be bound.
    CannotBind,
    /// A field has no meaning (an unknown flag, a DSCP over 63).
    BadSpec,
}

/// What a worker tells control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A free endpoint is bound and may be used under this handle.
    EndpointReady {
        /// Name of the endpoint and of the termination that will use it.
        handle: Handle,
        /// Local RTP address.
        rtp: SockAddr,
        /// Local RTCP address.
        rtcp: SockAddr,
    },
    /// The endpoint is no longer there.
    EndpointGone {
        /// Which.
        handle: Handle,
    },
    /// Answer to `Put`, and one per termination in an audit.
    Installed {
        /// Which.
        handle: Handle,
        /// Its context.
        context: ContextId,
        /// Local RTP address.
        local_rtp: SockAddr,
        /// Confirmed RTP source, none if not yet.
        latched_rtp: SockAddr,
        /// Confirmed RTCP source, none if not yet.
        latched_rtcp: SockAddr,
        /// Sequence of the command that this answers, 0 in an audit.
        sequence: u64,
    },
    /// The audit is complete.
    AuditEnd,
    /// A command was refused.
    Refused {
        /// Which.
        handle: Handle,
        /// Sequence of the command.
        sequence: u64,
        /// Why.
        refusal: Refusal,
    },
    /// A source was confirmed or has moved.
    Latched {
        /// Which.
        handle: Handle,
        /// The address.
        source: SockAddr,
        /// Whether it is the RTCP source.
        rtcp: bool,
        /// Whether a confirmed source moved (Wi-Fi to LTE, NAT rebinding).
        moved: bool,
    },
    /// A telephone event ended (RFC 4733).
    Dtmf {
        /// Who sent it.
        handle: Handle,
        /// Event code: 0 to 9, 10 `*`, 11 `#`, 12 to 15 A to D.
        code: u8,
        /// Duration, ms.
        duration_ms: u32,
    },
    /// Nothing was received for the media timeout.
    MediaTimeout {
        /// Who is silent.
        handle: Handle,
        /// For how long, ms.
        silent_ms: u32,
    },
    /// The SSRC of a confirmed source changed.
    SsrcChanged {
        /// Who.
        handle: Handle,
        /// From.
        old: u32,
        /// To.
        new: u32,
    },
    /// It ended; its last figures are in the counters table.
    Ended {
        /// Which.
        handle: Handle,
        /// Its context.
        context: ContextId,
        /// Why.
        cause: EndCause,
    },
}

/// An event as it lies in the ring.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct EventSlot {
    handle: Handle,
    kind: u32,
    context: ContextId,
    sequence: u64,
    addresses: [SockAddr; 3],
    arguments: [u32; 4],
}

impl Event {
    /// Writes the event as a ring slot.
    #[must_use]
    pub fn to_slot(&self) -> EventSlot {
        let mut slot: EventSlot = Zeroable::zeroed();
        match *self {
            Self::EndpointReady { handle, rtp, rtcp } => {
                (slot.kind, slot.handle) = (1, handle);
                slot.addresses = [rtp, rtcp, SockAddr::NONE];
            }
            Self::EndpointGone { handle } => (slot.kind, slot.handle) = (2, handle),
            Self::Installed { handle, context, local_rtp, latched_rtp, latched_rtcp, sequence } => {
                (slot.kind, slot.handle, slot.context, slot.sequence) =
                    (3, handle, context, sequence);
                slot.addresses = [local_rtp, latched_rtp, latched_rtcp];
            }
            Self::AuditEnd => slot.kind = 4,
            Self::Refused { handle, sequence, refusal } => {
                (slot.kind, slot.handle, slot.sequence) = (5, handle, sequence);
                slot.arguments[0] = match refusal {
                    Refusal::StaleHandle => 0,
                    Refusal::BadIndex => 1,
                    Refusal::CannotBind => 2,
                    Refusal::BadSpec => 3,
                };
            }
            Self::Latched { handle, source, rtcp, moved } => {
                (slot.kind, slot.handle, slot.addresses[0]) = (6, handle, source);
                slot.arguments = [u32::from(rtcp), u32::from(moved), 0, 0];
            }
            Self::Dtmf { handle, code, duration_ms } => {
                (slot.kind, slot.handle) = (7, handle);
                slot.arguments = [u32::from(code), duration_ms, 0, 0];
            }
            Self::MediaTimeout { handle, silent_ms } => {
                (slot.kind, slot.handle, slot.arguments[0]) = (8, handle, silent_ms);
            }
            Self::SsrcChanged { handle, old, new } => {
                (slot.kind, slot.handle, slot.arguments) = (9, handle, [old, new, 0, 0]);
            }
            Self::Ended { handle, context, cause } => {
                (slot.kind, slot.handle, slot.context) = (10, handle, context);
                slot.arguments[0] = match cause {
                    EndCause::Subtracted => 0,
                    EndCause::LeaseExpired => 1,
                };
            }
        }
        slot
    }

    /// Reads a ring slot.
    ///
    /// # Errors
    /// [`UnknownKind`] if the other side is of another version.
    pub fn from_slot(slot: &EventSlot) -> Result<Self, UnknownKind> {
        let handle = slot.handle;
        let [a, b, c] = slot.addresses;
        Ok(match slot.kind {
            1 => Self::EndpointReady { handle, rtp: a, rtcp: b },
            2 => Self::EndpointGone { handle },
            3 => Self::Installed {
                handle,
                context: slot.context,
                local_rtp: a,
                latched_rtp: b,
                latched_rtcp: c,
                sequence: slot.sequence,
            },
            4 => Self::AuditEnd,
            5 => Self::Refused {
                handle,
                sequence: slot.sequence,
                refusal: match slot.arguments[0] {
                    0 => Refusal::StaleHandle,
                    1 => Refusal::BadIndex,
                    2 => Refusal::CannotBind,
                    _ => Refusal::BadSpec,
                },
            },
            6 => Self::Latched {
                handle,
                source: a,
                rtcp: slot.arguments[0] != 0,
                moved: slot.arguments[1] != 0,
            },
            7 => Self::Dtmf {
                handle,
                code: u8::try_from(slot.arguments[0]).unwrap_or(u8::MAX),
                duration_ms: slot.arguments[1],
            },
            8 => Self::MediaTimeout { handle, silent_ms: slot.arguments[0] },
            9 => Self::SsrcChanged { handle, old: slot.arguments[0], new: slot.arguments[1] },
            10 => Self::Ended {
                handle,
                context: slot.context,
                cause: if slot.arguments[0] == 0 {
                    EndCause::Subtracted
                } else {
                    EndCause::LeaseExpired
                },
            },
            kind => return Err(UnknownKind(kind)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_round_trip() {
        let handle = Handle { engine: 0, worker: 1, index: 2, generation: 3 };
        let a: SockAddr =
            "192.0.2.1:4000".parse::<core::net::SocketAddr>().expect("literal").into();
        let context = ContextId(77);
        for event in [
            Event::EndpointReady { handle, rtp: a, rtcp: a },
            Event::EndpointGone { handle },
            Event::Installed {
                handle,
                context,
                local_rtp: a,
                latched_rtp: a,
                latched_rtcp: SockAddr::NONE,
                sequence: 5,
            },
            Event::AuditEnd,
            Event::Refused { handle, sequence: 1, refusal: Refusal::CannotBind },
            Event::Latched { handle, source: a, rtcp: true, moved: false },
            Event::Dtmf { handle, code: 11, duration_ms: 160 },
            Event::MediaTimeout { handle, silent_ms: 30_000 },
            Event::SsrcChanged { handle, old: 1, new: 2 },
            Event::Ended { handle, context, cause: EndCause::LeaseExpired },
        ] {
            assert_eq!(Event::from_slot(&event.to_slot()), Ok(event));
        }
    }
}
