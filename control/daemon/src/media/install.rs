//! What the engine shall hold for a call: one specification per stream, put when it changed.

use super::MediaPlane;
use super::call::{Call, Leg, Stream};
use super::party::{Carriage, Party};
use tandem_contract::command::{
    Edge, FLAG_HOLD, FLAG_OPAQUE, FLAG_RELEARN, FLAG_RTCP_MUX, FLAG_SECURED, FLAG_STRICT,
    PayloadType, TerminationSpec,
};
use tandem_contract::handle::ContextId;
use tandem_contract::limits::{MAX_EDGES, MAX_PAYLOAD_TYPES};
use tandem_signalling::sdp::Direction;
use tandem_wire::addr::SockAddr;
use tandem_wire::time::Instant;

impl MediaPlane {
    /// Puts every stream of the call whose specification changed.
    pub(super) fn install(&mut self, now: Instant, call: &mut Call) {
        for at in 0..call.legs.len() {
            for index in 0..call.legs[at].streams.len() {
                let leg = &call.legs[at];
                let Some(stream) = leg.stream(index) else { continue };
                let spec = self.specification(call, leg, index, stream);
                if spec == stream.spec {
                    continue;
                }
                self.link.put(now, stream.endpoint.handle, spec);
                if let Some(stream) = call.legs[at].stream_mut(index) {
                    stream.spec = spec;
                }
            }
        }
    }

    fn specification(
        &self,
        call: &Call,
        leg: &Leg,
        index: usize,
        stream: &Stream,
    ) -> TerminationSpec {
        let peer = leg.peer.and_then(|peer| call.leg(peer)?.stream(index));
        let peer = peer.filter(|peer| peer.agreed && stream.agreed);
        let own = stream.party.as_ref();
        let other = peer.and_then(|peer| peer.party.as_ref());
        let mut edges = [Edge::default(); MAX_EDGES];
        if let (Some(peer), Some(true)) = (peer, connected(own, other)) {
            let handle = peer.endpoint.handle;
            edges[0] = Edge { index: handle.index, generation: handle.generation };
        }
        TerminationSpec {
            context: ContextId(call.key.0),
            local_rtp: stream.endpoint.rtp,
            local_rtcp: if stream.mux { SockAddr::NONE } else { stream.endpoint.rtcp },
            remote_rtp: own.map_or(SockAddr::NONE, |own| own.rtp),
            remote_rtcp: match own {
                Some(own) if !stream.mux => own.rtcp,
                _ => SockAddr::NONE,
            },
            payload_types: payload_types(other, own),
            edges,
            flags: self.flags(stream, own, other, call.winner.is_some()),
            media_timeout_ms: self.media_timeout_ms(own),
            relearn_silence_ms: self.config.relearn_silence_ms,
            lease_ms: self.config.lease_ms,
            relearn_epoch: stream.relearn_epoch,
            dscp: self.config.dscp.min(63),
            leg: leg.id,
            stream: u8::try_from(index).unwrap_or(u8::MAX),
            ..TerminationSpec::default()
        }
    }

    /// A fax machine that receives a page and a camera that is off say nothing, and nothing is
    /// wrong: only audio has to go on.
    fn media_timeout_ms(&self, own: Option<&Party>) -> u32 {
        let timed = own.is_none_or(|own| own.kind == "audio" && own.carriage != Carriage::Opaque);
        if timed { self.config.media_timeout_ms } else { 0 }
    }

    fn flags(
        &self,
        stream: &Stream,
        own: Option<&Party>,
        other: Option<&Party>,
        answered: bool,
    ) -> u32 {
        let mut flags = 0;
        let mut set = |flag, wanted: bool| flags |= if wanted { flag } else { 0 };
        let both_way = |party: Option<&Party>| {
            party.is_some_and(|party| party.direction == Direction::SendRecv)
        };
        set(FLAG_RTCP_MUX, stream.mux);
        set(FLAG_OPAQUE, own.is_some_and(|own| own.carriage == Carriage::Opaque));
        set(FLAG_SECURED, stream.secured);
        // A held or ringing party may be silent for as long as it likes.
        set(FLAG_HOLD, !(answered && both_way(own) && both_way(other)));
        set(FLAG_STRICT, self.config.strict_source && own.is_some_and(|own| own.rtp.is_some()));
        set(FLAG_RELEARN, stream.relearn_epoch > 0);
        flags
    }
}

/// Whether what `own` sends goes to `other` (RFC 3264 §6.1); `None` if one of them is unknown.
fn connected(own: Option<&Party>, other: Option<&Party>) -> Option<bool> {
    Some(own?.direction.sends() && other?.direction.receives())
}

/// The payload types that a party sends: the numbers that the other side listed (RFC 3264 §5.1),
/// then those of its own that are not among them.
fn payload_types(other: Option<&Party>, own: Option<&Party>) -> [PayloadType; MAX_PAYLOAD_TYPES] {
    let mut table = [PayloadType::default(); MAX_PAYLOAD_TYPES];
    let mut used = 0;
    for entry in [other, own].into_iter().flatten().flat_map(|party| &party.payload_types) {
        let known = table[..used].iter().any(|known| known.number == entry.number);
        if used < MAX_PAYLOAD_TYPES && !known {
            table[used] = *entry;
            used += 1;
        }
    }
    table
}
