//! The media of one call as it was agreed: legs, their streams, and the offers under way.

use super::party::{Named, Party};
use super::{CallKey, LegProfile, saved};
use crate::link::{Endpoint, Family, figures};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use tandem_contract::command::{FLAG_HOLD, TerminationSpec};
use tandem_contract::counters::TerminationCounters;
use tandem_contract::handle::Handle;

/// Legs of one call: the caller and the branches that ring for it.
pub(super) const MAX_LEGS: usize = 64;

/// One media line of one leg, with its termination in the engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Stream {
    #[serde(with = "saved::endpoint")]
    pub(super) endpoint: Endpoint,
    /// What the party said last in an offer or answer that was completed.
    pub(super) party: Option<Party>,
    /// Whether RTCP shares the port on this leg.
    pub(super) mux: bool,
    /// Whether an answer (provisional or final) covered it.
    pub(super) agreed: bool,
    /// Whether the agreed stream is keyed between the ends.
    pub(super) secured: bool,
    /// Counts the addresses that signalling announced.
    pub(super) relearn_epoch: u32,
    /// What was put into the engine last.
    #[serde(skip)]
    pub(super) spec: TerminationSpec,
    /// RTP packets that had come when its party was reported silent last.
    #[serde(skip)]
    pub(super) silent_at: Option<u64>,
}

impl Stream {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            party: None,
            mux: false,
            agreed: false,
            secured: false,
            relearn_epoch: 0,
            spec: TerminationSpec::default(),
            silent_at: None,
        }
    }

    /// Whether the engine watches for silence.
    pub(super) const fn is_timed(&self) -> bool {
        self.spec.media_timeout_ms > 0 && self.spec.flags & FLAG_HOLD == 0
    }

    /// What a report needs of it, with the codecs that the other side listed.
    pub(super) fn as_closed(
        &self,
        (leg, line): (u8, usize),
        mut names: Vec<Named>,
        answered: bool,
    ) -> Closed {
        names.extend(self.party.iter().flat_map(|party| party.names.iter().cloned()));
        Closed {
            leg,
            line,
            handle: self.endpoint.handle,
            kind: self.party.as_ref().map_or_else(String::new, |party| party.kind.clone()),
            names,
            agreed: self.agreed && answered,
            figures: None,
        }
    }
}

/// What reports need of a stream that has ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Closed {
    pub(super) leg: u8,
    /// Index of its media line.
    pub(super) line: usize,
    #[serde(with = "saved::handle")]
    pub(super) handle: Handle,
    pub(super) kind: String,
    pub(super) names: Vec<Named>,
    /// Whether the two sides had agreed on it finally.
    pub(super) agreed: bool,
    /// The last figures, once the engine has ended it.
    #[serde(skip)]
    pub(super) figures: Option<TerminationCounters>,
}

impl Closed {
    /// Adds what an earlier stream of the same line counted.
    pub(super) fn add_earlier(&mut self, earlier: Self) {
        let current = self.figures.unwrap_or_default();
        let before = earlier.figures.unwrap_or_default();
        let mut names = std::mem::take(&mut self.names);
        let mut old_names = earlier.names;
        if current.rx.packets == 0 {
            // The payload type of the sum is the earlier one's.
            std::mem::swap(&mut names, &mut old_names);
        }
        names.extend(old_names);
        for name in names {
            if self.names.iter().all(|known| known.payload_type != name.payload_type) {
                self.names.push(name);
            }
        }
        self.agreed |= earlier.agreed;
        let mut sum = figures::sum(&before, &current);
        if !sum.handle.is_some() {
            sum.handle = before.handle;
        }
        self.figures = Some(sum);
    }
}

/// One leg: the caller or a branch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Leg {
    pub(super) id: u8,
    pub(super) profile: Option<LegProfile>,
    /// IP version of its endpoints, once chosen.
    pub(super) family: Option<Family>,
    /// By index of the media line.
    pub(super) streams: Vec<Option<Stream>>,
    /// The leg that it is connected with.
    pub(super) peer: Option<u8>,
    /// Version of the description that we sent last, and a hash of it.
    pub(super) version: u64,
    pub(super) sent: Option<u64>,
    /// Media lines of its session, which never get fewer (RFC 3264 §8).
    #[serde(default)]
    pub(super) lines: u8,
    /// Telephone-events for it are taken in its place: it gets the digits by signalling.
    #[serde(default)]
    pub(super) digits_here: bool,
}

impl Leg {
    fn new(id: u8) -> Self {
        Self {
            id,
            profile: None,
            family: None,
            streams: Vec::new(),
            peer: None,
            version: 0,
            sent: None,
            lines: 0,
            digits_here: false,
        }
    }

    pub(super) fn stream(&self, index: usize) -> Option<&Stream> {
        self.streams.get(index)?.as_ref()
    }

    pub(super) fn stream_mut(&mut self, index: usize) -> Option<&mut Stream> {
        self.streams.get_mut(index)?.as_mut()
    }

    /// The address to show instead of a bound one, if the signalling path tells.
    pub(super) fn signalling_ip(&self) -> Option<IpAddr> {
        self.profile.map(|profile| profile.local).filter(|ip| !ip.is_unspecified())
    }
}

/// An offer that is not answered finally.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Offer {
    pub(super) from: u8,
    pub(super) to: u8,
    /// What the offerer said, `None` for lines that cannot be used.
    pub(super) lines: Vec<Option<Party>>,
    /// Lines of streams that the answerer's session has beyond them.
    pub(super) padding: usize,
}

/// The media of one call. Formats that write no names keep the fields in this order: new ones go to
/// the end, with a default.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Call {
    pub(super) key: CallKey,
    /// The worker that owns all its terminations.
    pub(super) worker: Option<u16>,
    pub(super) legs: Vec<Leg>,
    pub(super) offers: Vec<Offer>,
    /// The leg whose final answer won.
    pub(super) winner: Option<u8>,
    /// Branches that answered, provisionally or finally, the latest last.
    pub(super) spoken: Vec<u8>,
    pub(super) closed: Vec<Closed>,
}

impl Call {
    pub(super) fn new(key: CallKey) -> Self {
        Self {
            key,
            worker: None,
            legs: Vec::new(),
            offers: Vec::new(),
            winner: None,
            spoken: Vec::new(),
            closed: Vec::new(),
        }
    }

    pub(super) fn leg(&self, id: u8) -> Option<&Leg> {
        self.legs.iter().find(|leg| leg.id == id)
    }

    pub(super) fn leg_mut(&mut self, id: u8) -> Option<&mut Leg> {
        self.legs.iter_mut().find(|leg| leg.id == id)
    }

    /// The leg, made if it is new; `None` at the limit.
    pub(super) fn leg_or_new(&mut self, id: u8) -> Option<&mut Leg> {
        if self.leg(id).is_none() {
            if self.legs.len() >= MAX_LEGS {
                return None;
            }
            self.legs.push(Leg::new(id));
        }
        self.leg_mut(id)
    }

    pub(super) fn offer(&self, from: u8, to: u8) -> Option<&Offer> {
        self.offers.iter().find(|offer| (offer.from, offer.to) == (from, to))
    }

    /// Codecs that the other side of a stream listed: the numbers that this side sends.
    pub(super) fn peer_names(&self, leg: u8, index: usize) -> Vec<Named> {
        let peer = self.leg(leg).and_then(|leg| self.leg(leg.peer?)?.stream(index));
        let party = peer.and_then(|peer| peer.party.as_ref());
        party.map_or_else(Vec::new, |party| party.names.clone())
    }

    /// Takes the last figures of a stream that was closed, together with those of earlier streams
    /// of its line: what is kept does not grow with the number of changes. Whether there is such a
    /// stream.
    pub(super) fn close_books(&mut self, handle: Handle, figures: TerminationCounters) -> bool {
        let Some(at) = self.closed.iter().position(|closed| closed.handle == handle) else {
            return false;
        };
        let mut ended = self.closed.remove(at);
        ended.figures = Some(figures);
        let of_line = |closed: &Closed| {
            (closed.leg, closed.line) == (ended.leg, ended.line) && closed.figures.is_some()
        };
        if let Some(earlier) = self.closed.iter().position(of_line) {
            ended.add_earlier(self.closed.remove(earlier));
        }
        self.closed.push(ended);
        true
    }

    /// Whether any stream of it shall exist.
    pub(super) fn is_open(&self) -> bool {
        self.legs.iter().any(|leg| leg.streams.iter().any(Option::is_some))
    }

    /// Whether nothing is known of the call.
    pub(super) fn is_empty(&self) -> bool {
        self.legs.is_empty() && self.closed.is_empty()
    }

    /// `caller`, `callee` for the branch that answered (or the first), `callee#n` for others.
    pub(super) fn leg_name(&self, leg: u8) -> String {
        let callee = self.winner.filter(|&winner| winner != 0).unwrap_or(1);
        match leg {
            0 => "caller".to_owned(),
            leg if leg == callee => "callee".to_owned(),
            leg => format!("callee#{leg}"),
        }
    }
}
