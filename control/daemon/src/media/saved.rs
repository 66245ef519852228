//! Media across a restart: what was agreed is saved with the call, and taken over by stating it as
//! wanted again, before the engine is attached. An engine that relays it already changes nothing
//! and counts on; its lease is renewed by that.
//!
//! An offer that was not answered is taken over only if the ACK brings its answer: else who made it
//! repeats it. Figures are not saved: the engine has them.

use super::call::Call;
use super::{CallKey, MediaPlane};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use tandem_wire::time::Instant;

/// The media of one call, to be kept outside of this process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SavedMedia<'a>(Cow<'a, Call>);

impl MediaPlane {
    /// What is to be kept of a call; `None` for an unknown one.
    #[must_use]
    pub fn save(&self, call: CallKey) -> Option<SavedMedia<'_>> {
        self.calls.get(&call).map(|call| SavedMedia(Cow::Borrowed(call)))
    }

    /// Takes over the media of a call of an earlier control; with its open offers if their answer
    /// is yet to come.
    pub fn adopt(&mut self, now: Instant, saved: SavedMedia<'_>, answer_due: bool) {
        let mut call = saved.0.into_owned();
        if !answer_due {
            call.offers.clear();
        }
        for leg in &mut call.legs {
            for stream in &mut leg.streams {
                *stream = stream.take().filter(|it| it.agreed || answer_due);
            }
            let handles = leg.streams.iter().flatten().map(|it| it.endpoint.handle);
            self.owners.extend(handles.map(|handle| (handle, (call.key, leg.id))));
        }
        self.install(now, &mut call);
        self.calls.insert(call.key, call);
    }

    /// The engine is there: streams of adopted calls that ended before have their last figures.
    pub(super) fn read_closed(&mut self) {
        let closed = self.calls.values_mut().flat_map(|call| &mut call.closed);
        for closed in closed.filter(|it| it.figures.is_none()) {
            if !self.owners.contains_key(&closed.handle) {
                closed.figures = self.link.counters(closed.handle);
            }
        }
    }
}

/// An address, or none.
pub(super) mod sock_addr {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::net::SocketAddr;
    use tandem_wire::addr::SockAddr;

    pub(in crate::media) fn serialize<S: Serializer>(
        addr: &SockAddr,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        addr.to_std().serialize(to)
    }

    pub(in crate::media) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<SockAddr, D::Error> {
        let addr: Option<SocketAddr> = Deserialize::deserialize(from)?;
        Ok(addr.map_or(SockAddr::NONE, SockAddr::from))
    }
}

/// A handle as its four numbers.
pub(super) mod handle {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use tandem_contract::handle::Handle;

    pub(in crate::media) fn serialize<S: Serializer>(
        handle: &Handle,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        (handle.engine, handle.worker, handle.index, handle.generation).serialize(to)
    }

    pub(in crate::media) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Handle, D::Error> {
        let (engine, worker, index, generation) = Deserialize::deserialize(from)?;
        Ok(Handle { engine, worker, index, generation })
    }
}

/// An endpoint: its handle and its addresses.
pub(super) mod endpoint {
    use crate::link::Endpoint;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use tandem_contract::handle::Handle;
    use tandem_wire::addr::SockAddr;

    #[derive(Serialize, Deserialize)]
    struct Saved(
        #[serde(with = "super::handle")] Handle,
        #[serde(with = "super::sock_addr")] SockAddr,
        #[serde(with = "super::sock_addr")] SockAddr,
    );

    pub(in crate::media) fn serialize<S: Serializer>(
        endpoint: &Endpoint,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        Saved(endpoint.handle, endpoint.rtp, endpoint.rtcp).serialize(to)
    }

    pub(in crate::media) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Endpoint, D::Error> {
        let Saved(handle, rtp, rtcp) = Deserialize::deserialize(from)?;
        Ok(Endpoint { handle, rtp, rtcp })
    }
}

/// Payload types as their numbers.
pub(super) mod payload_types {
    use serde::{Deserialize, Deserializer, Serializer};
    use tandem_contract::command::PayloadType;

    pub(in crate::media) fn serialize<S: Serializer>(
        types: &[PayloadType],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(
            types
                .iter()
                .map(|it| (it.clock_rate, it.number, it.telephone_event, it.codec, it.present)),
        )
    }

    pub(in crate::media) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<PayloadType>, D::Error> {
        let all: Vec<(u32, u8, u8, u8, u8)> = Deserialize::deserialize(from)?;
        let of = |(clock_rate, number, telephone_event, codec, present)| PayloadType {
            clock_rate,
            number,
            telephone_event,
            codec,
            present,
        };
        Ok(all.into_iter().map(of).collect())
    }
}
