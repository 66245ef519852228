//! A call: the caller's leg, the branches towards the callee, and what is going on between them.

use super::early::Early;
use super::fork::Fork;
use super::id::CallId;
use super::identity::Vouched;
use super::peer::Peer;
use super::place::Place;
use super::redirect::Redirect;
use super::refresh::Watch;
use super::release::Closing;
use super::resume::Kept;
use super::session_timer::Session;
use super::table::{Index, Role, Slot};
use super::transfer::{Join, Note, Transfer};
use super::trunk_leg::TrunkLeg;
use crate::core::World;
use crate::media::CallKey;
use core::time::Duration;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::sync::Arc;
use tandem_signalling::message::Message;
use tandem_signalling::method::Method;
use tandem_signalling::stack::{ClientTx, DialogId, Fields, Flow, Reply, ServerTx};
use tandem_wire::time::Instant;

/// One of the two parties of an answered call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Who called.
    Caller,
    /// Who answered.
    Callee,
}

impl Side {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }

    /// Its place in what there is for both parties.
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Caller => 0,
            Self::Callee => 1,
        }
    }
}

/// The caller's leg: Tandem is the server of its INVITE.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) tx: ServerTx,
    pub(super) dialog: Option<DialogId>,
    pub(super) flow: Flow,
    pub(super) peer: Peer,
    /// Who vouches for who it is.
    pub(super) vouched: Vouched,
}

/// One contact of the callee: Tandem is the client.
#[derive(Debug)]
pub(super) struct Branch {
    /// Request-URI.
    pub(super) target: String,
    pub(super) place: Place,
    pub(super) route: Vec<String>,
    pub(super) tx: Option<ClientTx>,
    pub(super) dialog: Option<DialogId>,
    /// The failure response, for the caller if it is the best one.
    pub(super) failure: Option<Message>,
    /// Our own reason why it could not be called.
    pub(super) refusal: Option<Reply>,
    /// The answer of a provisional response, for a 2xx that repeats none.
    pub(super) early_answer: Option<Vec<u8>>,
    /// The redirection that leads here.
    pub(super) redirect: Option<Arc<Redirect>>,
    pub(super) peer: Peer,
    /// The description that its INVITE offered.
    pub(super) offered: Option<Box<[u8]>>,
    /// The first offer and answer of its dialog are complete: the answer came reliably.
    pub(super) settled: bool,
    /// The Min-SE of a 422, s.
    pub(super) least_s: u32,
    /// It goes over a trunk.
    pub(super) trunk: Option<Box<TrunkLeg>>,
}

impl Branch {
    /// A contact that was not called yet.
    pub(super) const fn new(target: String, place: Place, route: Vec<String>) -> Self {
        Self {
            target,
            place,
            route,
            tx: None,
            dialog: None,
            failure: None,
            refusal: None,
            early_answer: None,
            redirect: None,
            peer: Peer::NONE,
            offered: None,
            settled: false,
            least_s: 0,
            trunk: None,
        }
    }
}

/// Where the offer of an exchange is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// There is none.
    None,
    /// In the request, the answer in the response.
    Request,
    /// In the response, the answer in the ACK.
    Response,
}

/// A request of one party that is to be passed on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) from: Side,
    pub(super) tx: ServerTx,
    pub(super) method: Method,
    /// What becomes of the party's session when it is accepted.
    pub(super) session: Option<Session>,
}

/// A request of one party that was passed on to the other.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) from: Side,
    /// Of the request that came.
    pub(super) asked: Method,
    /// Of the request that went.
    pub(super) method: Method,
    pub(super) server: ServerTx,
    pub(super) client: ClientTx,
    pub(super) offer: Offer,
    /// What becomes of the asker's session when it is accepted.
    pub(super) session: Option<Session>,
    /// Its 2xx was passed on and the ACK is missing (INVITE only).
    pub(super) awaits_ack: bool,
}

/// The descriptions that a party was sent, kept if a refresh of its session has to repeat one.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Of the last offer and answer that were completed.
    pub(super) agreed: Option<Box<[u8]>>,
    /// Of those that are under way.
    pub(super) under_way: Option<Box<[u8]>>,
}

/// What happened when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) started_at: Timestamp,
    pub(super) ringing_at: Option<Timestamp>,
    pub(super) answered_at: Option<Timestamp>,
    pub(super) answered: Option<Instant>,
    /// How long it had been answered when `answered` was taken: zero, unless this daemon took it
    /// over from an earlier one.
    pub(super) lasted_before: Duration,
}

/// A call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: CallId,
    /// Address of record of the caller.
    pub(super) from: String,
    /// Address of record that was called.
    pub(super) to: String,
    /// The INVITE as it came.
    pub(super) invite: Message,
    /// Whether it has no offer, so that the callee makes one.
    pub(super) offerless: bool,
    pub(super) caller: Caller,
    pub(super) fork: Fork,
    pub(super) branches: Vec<Branch>,
    /// The branch that answered.
    pub(super) winner: Option<usize>,
    /// The ACK of the callee's 2xx waits for the answer in the caller's ACK.
    pub(super) callee_ack_due: bool,
    pub(super) exchanges: Vec<Exchange>,
    pub(super) held: [bool; 2],
    /// What the caller was told before the answer.
    pub(super) early: Early,
    /// Whether the parties are still there.
    pub(super) watches: [Watch; 2],
    pub(super) said: [Said; 2],
    /// The last descriptions of the parties; the caller's first one is in its INVITE.
    pub(super) heard: [Option<Box<[u8]>>; 2],
    /// A transfer that a party asked for.
    pub(super) transfer: Option<Box<Transfer>>,
    /// Who referred the caller to the callee.
    pub(super) referred_by: Option<Box<str>>,
    /// There was a REFER before.
    pub(super) referred: bool,
    /// It takes its parties from other calls.
    pub(super) join: Option<Box<Join>>,
    pub(super) times: Times,
    /// The group that rings has had its time.
    pub(super) group_until: Option<Instant>,
    /// The call rings until then.
    pub(super) rings_until: Option<Instant>,
    /// The call may last until then.
    pub(super) lasts_until: Option<Instant>,
    /// It is over.
    pub(super) ended: bool,
    /// It is over, and its record is not written yet.
    pub(super) closing: Option<Box<Closing>>,
    /// Max-Forwards of the branches.
    pub(super) max_forwards: u8,
    /// Our mark against loops.
    pub(super) hop: String,
    /// What the journal knows of it.
    pub(super) kept: Kept,
    /// An earlier daemon began it.
    pub(super) recovered: bool,
    /// The trunk that it came over, among whose calls it counts until it is left.
    pub(super) trunk_in: Option<usize>,
    pub(super) left_trunk: bool,
    /// Users among whose calls it counts.
    pub(super) counted: Vec<String>,
    /// No limit stops it.
    pub(super) emergency: bool,
}

/// What a call works with besides itself.
pub(super) struct Cx<'a> {
    pub(super) world: &'a mut World,
    pub(super) index: &'a mut Index,
    pub(super) totals: &'a mut super::Totals,
    pub(super) notes: &'a mut VecDeque<Note>,
    pub(super) slot: Slot,
}

impl Cx<'_> {
    /// Answers a request; what the stack refuses is our own doing or too late, and only logged.
    pub(super) fn respond(&mut self, tx: ServerTx, reply: Reply) -> Option<DialogId> {
        self.world.respond(tx, reply)
    }

    /// Sends a request in a dialog and remembers what it is for.
    pub(super) fn request_in_dialog(
        &mut self,
        dialog: DialogId,
        method: Method,
        fields: Fields,
        role: Role,
    ) -> Result<ClientTx, tandem_signalling::stack::StackError> {
        let tx = self.world.request_in_dialog(dialog, method, fields)?;
        self.index.add_client(tx, self.slot, role);
        Ok(tx)
    }

    /// Sends BYE; its outcome does not matter to the call.
    pub(super) fn bye(&mut self, dialog: DialogId, fields: Fields) {
        let now = self.world.now;
        if let Err(error) = self.world.request_in_dialog(dialog, Method::Bye, fields) {
            tracing::debug!(call = %self.slot.id, %error, "no BYE could be sent");
            self.world.stack.drop_dialog(now, dialog);
        }
    }

    /// Acknowledges a 2xx.
    pub(super) fn ack(&mut self, dialog: DialogId, fields: Fields) {
        if let Err(error) = self.world.ack(dialog, fields) {
            tracing::debug!(call = %self.slot.id, %error, "no ACK could be sent");
        }
    }
}

impl Call {
    /// Name of the call in the media plane.
    pub(super) const fn key(&self) -> CallKey {
        CallKey(self.id.0)
    }

    /// The dialog of a party, as far as there is one: before the answer a callee's early dialog
    /// counts only if no other branch rings.
    pub(super) fn dialog(&self, side: Side) -> Option<DialogId> {
        match (side, self.winner) {
            (Side::Caller, _) => self.caller.dialog,
            (Side::Callee, Some(winner)) => self.branches.get(winner)?.dialog,
            (Side::Callee, None) => match self.branches.as_slice() {
                [only] => only.dialog,
                _ => None,
            },
        }
    }

    /// Whose dialog it is; a branch that did not win is nobody's.
    pub(super) fn side_of(&self, dialog: DialogId) -> Option<Side> {
        if self.caller.dialog == Some(dialog) {
            Some(Side::Caller)
        } else if self.dialog(Side::Callee) == Some(dialog) {
            Some(Side::Callee)
        } else {
            None
        }
    }

    /// Number of a party in the media plane.
    pub(super) fn leg(&self, side: Side) -> u8 {
        match side {
            Side::Caller => 0,
            Side::Callee => leg_of(self.winner.unwrap_or(0)),
        }
    }

    /// What a party can do.
    pub(super) fn peer(&self, side: Side) -> Peer {
        match side {
            Side::Caller => self.caller.peer,
            Side::Callee => {
                self.branches.get(self.winner.unwrap_or(0)).map_or_else(Peer::default, |it| it.peer)
            }
        }
    }

    /// What a party said that it can do, in an earlier daemon.
    pub(super) fn set_peer(&mut self, side: Side, peer: Peer) {
        match side {
            Side::Caller => self.caller.peer = peer,
            Side::Callee => {
                if let Some(branch) = self.branches.get_mut(self.winner.unwrap_or(0)) {
                    branch.peer = peer;
                }
            }
        }
    }

    /// Takes over what a message of a party says of it.
    pub(super) fn learn(&mut self, side: Side, message: &Message) {
        match side {
            Side::Caller => self.caller.peer.learn(message),
            Side::Callee => {
                if let Some(branch) = self.branches.get_mut(self.winner.unwrap_or(0)) {
                    branch.peer.learn(message);
                }
            }
        }
    }

    /// Notes a description that a party is being sent; [`Call::agree`] makes it count.
    pub(super) fn say(&mut self, side: Side, description: &[u8]) {
        let repeated = self.peer(side).update != Some(true);
        self.said[side.index()].under_way = repeated.then(|| description.into());
    }

    /// Offer and answer are complete.
    pub(super) fn agree(&mut self) {
        for said in &mut self.said {
            if let Some(description) = said.under_way.take() {
                said.agreed = Some(description);
            }
        }
    }

    /// Another transaction stands for a request in a dialog.
    pub(super) fn replace_client(&mut self, old: ClientTx, new: ClientTx) {
        for exchange in self.exchanges.iter_mut().filter(|it| it.client == old) {
            exchange.client = new;
        }
        for watch in &mut self.watches {
            if let Some((tx, _)) = watch.open.as_mut().filter(|(tx, _)| *tx == old) {
                *tx = new;
            }
        }
    }

    /// Whether an offer is on its way in either direction.
    pub(super) fn negotiates(&self) -> bool {
        self.is_joining()
            || self
                .exchanges
                .iter()
                .any(|it| it.offer != Offer::None || it.method == Method::Invite)
    }

    /// For how long it has been answered.
    pub(super) fn lasted(&self, now: Instant) -> Option<Duration> {
        Some(self.times.lasted_before + now.since(self.times.answered?))
    }

    /// When the call looks at the time again.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        match &self.closing {
            Some(closing) => Some(closing.due),
            None if self.ended => None,
            None if self.winner.is_some() => {
                let watches = self.watches.iter().map(Watch::next_timeout);
                let join = self.join.as_ref().and_then(|join| join.next_timeout());
                watches.chain([self.lasts_until, join]).flatten().min()
            }
            None => {
                let hops = self.branches.iter().map(|branch| branch.place.next_hop_at());
                let join = self.join.as_ref().and_then(|join| join.next_timeout());
                let own = [self.rings_until, self.group_until, join, self.next_silence()];
                hops.chain(own).flatten().min()
            }
        }
    }

    /// Whether nothing is left to do.
    pub(super) fn is_over(&self) -> bool {
        self.ended && self.closing.is_none() && self.fork.quiet()
    }
}

/// Number of a branch in the media plane: 0 is the caller.
pub(super) fn leg_of(branch: usize) -> u8 {
    u8::try_from(branch + 1).unwrap_or(u8::MAX)
}
