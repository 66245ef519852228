//! Dialogs across a restart: what is kept of a dialog outside of the stack, and how another stack
//! goes on with it.
//!
//! Transactions are not kept. A request that was under way is repeated by the peer that made it
//! and is then new to this stack; one of ours that was under way is over. What may be repeated
//! without a transaction is kept with the dialog: our 2xx until its ACK comes, and our ACK for as
//! long as the peer may repeat its 2xx (RFC 3261 §13.3.1.4, §13.2.2.4).

use super::Stack;
use super::content::{Fields, MAX_CSEQ};
use super::dialog::{Accept, Dialog, DialogState, Parties, Role, SentAck};
use super::due::Owner;
use super::machine::Timer;
use super::slab::Key;
use super::types::{DialogId, Flow, PeerName, ServerTx, StackError};
use crate::method::Method;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tandem_wire::time::Instant;

/// Requests of ours that a dialog may have seen after it was saved. The numbers of a peer need no
/// such gap: it goes on counting (RFC 3261 §12.2.2 lets numbers be left out).
pub const CSEQ_AHEAD: u32 = 10_000;

/// What is kept of a confirmed dialog.
///
/// Fields are kept in this order by formats that write no names: new ones go to the end, with a
/// default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedDialog {
    role: Role,
    call_id: Box<str>,
    local_tag: Box<str>,
    remote_tag: Box<str>,
    #[serde(with = "serde_bytes")]
    local_party: Box<[u8]>,
    #[serde(with = "serde_bytes")]
    remote_party: Box<[u8]>,
    remote_target: String,
    route_set: Vec<String>,
    local_cseq: u32,
    remote_cseq: Option<u32>,
    flow: Flow,
    behind_nat: bool,
    accept: Option<SavedAccept>,
    ack_due: Option<u32>,
    ack: Option<SavedAck>,
}

/// A 2xx of ours whose ACK has not come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedAccept {
    cseq: u32,
    flow: Flow,
    #[serde(with = "serde_bytes")]
    bytes: Box<[u8]>,
    is_first: bool,
    offer_was_in_invite: bool,
}

/// The last ACK of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedAck {
    cseq: u32,
    /// The whole of it if it has a body; else it can be made again.
    #[serde(with = "serde_bytes")]
    with_body: Option<Box<[u8]>>,
}

impl SavedDialog {
    /// Sequence number of our last request.
    #[must_use]
    pub const fn local_cseq(&self) -> u32 {
        self.local_cseq
    }

    /// The flow of the peer.
    #[must_use]
    pub const fn flow(&self) -> Flow {
        self.flow
    }

    /// Says under which number this process knows the name that the peer has to prove.
    pub fn set_peer_name(&mut self, name: PeerName) {
        self.flow.name = name;
    }

    /// Whether the user has yet to acknowledge a 2xx.
    #[must_use]
    pub const fn owes_ack(&self) -> bool {
        self.ack_due.is_some()
    }

    /// Call-ID.
    #[must_use]
    pub fn call_id(&self) -> &str {
        &self.call_id
    }

    /// Our address as in From of our requests, with tag.
    #[must_use]
    pub fn local_party(&self) -> &[u8] {
        &self.local_party
    }

    /// The peer's address as in To of our requests, with tag.
    #[must_use]
    pub fn remote_party(&self) -> &[u8] {
        &self.remote_party
    }

    /// URI of the peer's Contact.
    #[must_use]
    pub fn remote_target(&self) -> &str {
        &self.remote_target
    }

    /// Whether a 2xx of ours waits for its ACK.
    #[must_use]
    pub const fn awaits_ack(&self) -> bool {
        self.accept.is_some()
    }

    /// The ACK of our 2xx has come.
    pub fn set_acknowledged(&mut self) {
        self.accept = None;
    }
}

impl ServerTx {
    /// Names no transaction: that of a request which an earlier stack has answered.
    pub const NONE: Self = Self(Key::from_bits(u64::MAX));
}

impl Stack {
    /// What is to be kept of a dialog, `None` unless it is confirmed and alive.
    #[must_use]
    pub fn save_dialog(&self, dialog: DialogId) -> Option<SavedDialog> {
        let dialog = self.live_dialog(dialog.0).filter(|it| it.state == DialogState::Confirmed)?;
        let accept = dialog.accept.as_ref().map(|accept| SavedAccept {
            cseq: accept.cseq,
            flow: accept.flow,
            bytes: (&*accept.bytes).into(),
            is_first: accept.is_first,
            offer_was_in_invite: accept.offer_was_in_invite,
        });
        let ack = dialog.acks.last().map(|ack| SavedAck {
            cseq: ack.cseq,
            with_body: (!ack.bytes.ends_with(b"\r\n\r\n")).then(|| (&*ack.bytes).into()),
        });
        Some(SavedDialog {
            role: dialog.role,
            call_id: dialog.call_id.clone(),
            local_tag: dialog.local_tag.clone(),
            remote_tag: dialog.remote_tag.clone(),
            local_party: dialog.local_party.clone(),
            remote_party: dialog.remote_party.clone(),
            remote_target: dialog.remote_target.clone(),
            route_set: dialog.route_set.clone(),
            local_cseq: dialog.local_cseq,
            remote_cseq: dialog.remote_cseq,
            flow: dialog.flow,
            behind_nat: dialog.behind_nat,
            accept,
            ack_due: dialog.ack_due,
            ack,
        })
    }

    /// Goes on with a dialog that another stack saved: our sequence numbers leave [`CSEQ_AHEAD`]
    /// out, a 2xx that waits for its ACK is repeated at once, and the connection of a stream is
    /// one yet to be made.
    ///
    /// # Errors
    /// When there is no room for another dialog, or this one is there already.
    pub fn restore_dialog(
        &mut self,
        now: Instant,
        saved: SavedDialog,
    ) -> Result<DialogId, StackError> {
        let print = self.dialog_print(&saved.call_id, &saved.local_tag, &saved.remote_tag);
        if self.dialog_index.contains_key(&print) {
            return Err(StackError::WrongDialogState);
        }
        let parties = Parties {
            role: saved.role,
            call_id: saved.call_id,
            local_tag: saved.local_tag,
            remote_tag: saved.remote_tag,
            local_party: saved.local_party,
            remote_party: saved.remote_party,
            fingerprint: print,
        };
        // Connections are numbered anew by each process.
        let unconnected = |flow: Flow| Flow { connection: 0, ..flow };
        let mut dialog = Dialog::new(parties, unconnected(saved.flow));
        dialog.state = DialogState::Confirmed;
        dialog.remote_target = saved.remote_target;
        dialog.route_set = saved.route_set;
        dialog.local_cseq = saved.local_cseq.saturating_add(CSEQ_AHEAD).min(MAX_CSEQ);
        dialog.saved_cseq = Some(saved.local_cseq);
        dialog.remote_cseq = saved.remote_cseq;
        dialog.behind_nat = saved.behind_nat;
        dialog.ack_due = saved.ack_due;
        dialog.accept = saved.accept.map(|accept| Accept {
            cseq: accept.cseq,
            tx: ServerTx::NONE,
            flow: unconnected(accept.flow),
            bytes: accept.bytes.into(),
            interval: self.config.timing.t1 / 2,
            is_first: accept.is_first,
            offer_was_in_invite: accept.offer_was_in_invite,
        });
        let repeats = dialog.accept.is_some();
        let id = self.add_dialog(dialog)?;
        if let Some(ack) = saved.ack {
            self.restore_ack(id, ack);
        }
        if repeats {
            self.repeat_accept_until_acknowledged(now, id);
        }
        Ok(DialogId(id))
    }

    /// Keeps an ACK at hand for the 2xx that it answered.
    fn restore_ack(&mut self, id: Key, saved: SavedAck) {
        let branch = self.random.branch(u64::MAX);
        let Some(dialog) = self.dialogs.get(id) else { return };
        let (cseq, flow) = (saved.cseq, dialog.request_flow());
        let bytes: Arc<[u8]> = match saved.with_body {
            Some(bytes) => bytes.into(),
            None => {
                let (method, fields) = (Method::Ack, Fields::new());
                self.write_in_dialog(dialog, method, cseq, &branch, &flow, &fields).into()
            }
        };
        if let Some(dialog) = self.dialogs.get_mut(id) {
            dialog.acks.push(SentAck { cseq, flow, bytes });
        }
    }

    /// Acknowledges the 2xx to a re-INVITE that another stack sent after it had saved the dialog:
    /// else the peer would give the call up. False if it was none.
    pub(super) fn ack_for_earlier_stack(&mut self, id: Key, cseq: u32) -> bool {
        let Some(dialog) = self.live_dialog(id) else { return false };
        let Some(saved) = dialog.saved_cseq else { return false };
        if !(saved + 1..=saved.saturating_add(CSEQ_AHEAD)).contains(&cseq) {
            return false;
        }
        self.restore_ack(id, SavedAck { cseq, with_body: None });
        self.repeat_ack(id, cseq)
    }

    fn repeat_accept_until_acknowledged(&mut self, now: Instant, id: Key) {
        let give_up = now + self.config.timing.sixty_four_t1();
        let Some(dialog) = self.dialogs.get_mut(id) else { return };
        for (timer, at) in [(Timer::Accept, now), (Timer::AcceptGiveUp, give_up)] {
            dialog.timers.start(&mut self.timers, Owner::Dialog(id), timer, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{
        Peer, answer, at, callee, caller, drain, invite, receive, sent, statuses, tcp, udp,
    };
    use super::*;
    use crate::message::Message;
    use crate::stack::{DialogEnd, Event, Reply, StackConfig, Transport};

    /// The stack of the next process.
    fn next() -> Stack {
        Stack::new(StackConfig::default(), 2)
    }

    fn moved(old: &Stack, dialog: DialogId) -> (Stack, DialogId) {
        let saved = old.save_dialog(dialog).unwrap();
        let mut stack = next();
        let dialog = stack.restore_dialog(at(0), saved).unwrap();
        (stack, dialog)
    }

    fn fresh() -> Stack {
        Stack::new(StackConfig::default(), 1)
    }

    #[test]
    fn both_sides_can_use_a_restored_dialog() {
        let mut old = fresh();
        let dialog = callee(&mut old);
        let (mut stack, dialog) = moved(&old, dialog);
        assert!(drain(&mut stack).0.is_empty(), "nothing waits for an ACK");
        let info = Peer::new("INFO", "z9hG4bKi", 2).in_dialog(&stack, dialog);
        let tx = receive(&mut stack, at(0), &info);
        stack.respond(at(0), tx, Reply::new(200)).unwrap();
        assert_eq!(statuses(&mut stack), [200]);
        stack.request_in_dialog(at(0), dialog, Method::Bye, Fields::new()).unwrap();
        let bye = sent(&mut stack).remove(0);
        let before = old.dialog(old.dialogs().next().unwrap().0).unwrap();
        assert_eq!(bye.cseq().unwrap().number, before.local_cseq() + CSEQ_AHEAD + 1);
        assert_eq!(bye.from_tag(), Some(before.local_tag()));
        assert_eq!(bye.to_tag(), Some("peer"));
        stack.handle_input(at(1), udp(), &answer(&bye, 200, "peer"));
        let ended =
            |event: &Event| matches!(event, Event::DialogEnded { cause: DialogEnd::ByeSent, .. });
        assert!(drain(&mut stack).1.iter().any(ended));
    }

    #[test]
    fn an_old_request_is_out_of_order_and_a_later_one_is_not() {
        let mut old = fresh();
        let dialog = callee(&mut old);
        let (mut stack, dialog) = moved(&old, dialog);
        let repeated = Peer::new("INFO", "z9hG4bKold", 1).in_dialog(&stack, dialog);
        stack.handle_input(at(0), udp(), &repeated.bytes());
        assert_eq!(statuses(&mut stack), [500]);
        let later = Peer::new("INFO", "z9hG4bKnew", 700).in_dialog(&stack, dialog);
        receive(&mut stack, at(0), &later);
    }

    #[test]
    fn a_2xx_without_its_ack_is_repeated_at_once_and_until_the_ack() {
        let mut old = fresh();
        let tx = receive(&mut old, at(0), &Peer::new("INVITE", "z9hG4bK1", 1).with_body());
        let dialog = old.respond(at(0), tx, Reply::new(200)).unwrap().unwrap();
        let first = drain(&mut old).0.remove(0);
        let (mut stack, dialog) = moved(&old, dialog);
        stack.handle_timeout(at(0));
        let again = drain(&mut stack).0.remove(0);
        assert_eq!((again.0, again.1.bytes()), (first.0, first.1.bytes()));
        stack.handle_timeout(at(499));
        assert!(sent(&mut stack).is_empty());
        stack.handle_timeout(at(500));
        assert_eq!(statuses(&mut stack), [200]);
        let ack = Peer::new("ACK", "z9hG4bKack", 1).in_dialog(&stack, dialog);
        stack.handle_input(at(600), udp(), &ack.bytes());
        assert!(matches!(drain(&mut stack).1[..], [Event::Ack { .. }]));
        assert_eq!(stack.next_timeout(), None);
    }

    #[test]
    fn nobody_acknowledges_and_it_is_told() {
        let mut old = fresh();
        let tx = receive(&mut old, at(0), &Peer::new("INVITE", "z9hG4bK1", 1).with_body());
        let dialog = old.respond(at(0), tx, Reply::new(200)).unwrap().unwrap();
        let (mut stack, dialog) = moved(&old, dialog);
        while let Some(next) = stack.next_timeout().filter(|next| *next <= at(32_000)) {
            stack.handle_timeout(next);
        }
        let told = drain(&mut stack).1;
        assert!(matches!(told[..], [Event::AckTimeout { dialog: it }] if it == dialog), "{told:?}");
    }

    #[test]
    fn a_2xx_that_the_peer_repeats_gets_its_ack_again() {
        let mut old = fresh();
        let (_, request) = invite(&mut old, udp());
        old.handle_input(at(0), udp(), &answer(&request, 200, "peer"));
        let Event::Response { dialog: Some(dialog), .. } = drain(&mut old).1.remove(0) else {
            panic!()
        };
        old.ack(at(0), dialog, Fields::new()).unwrap();
        let ack = sent(&mut old).remove(0);
        let (mut stack, _) = moved(&old, dialog);
        stack.handle_input(at(0), udp(), &answer(&request, 200, "peer"));
        let again = sent(&mut stack).remove(0);
        assert_eq!(again.method(), Method::Ack);
        assert_eq!(again.cseq().unwrap(), ack.cseq().unwrap());
        assert_eq!(again.request_uri(), ack.request_uri());
    }

    #[test]
    fn an_ack_with_an_answer_comes_again_as_it_was() {
        let mut old = fresh();
        let (_, request) = invite(&mut old, udp());
        old.handle_input(at(0), udp(), &answer(&request, 200, "peer"));
        let Event::Response { dialog: Some(dialog), .. } = drain(&mut old).1.remove(0) else {
            panic!()
        };
        let waiting = old.save_dialog(dialog).unwrap();
        old.ack(at(0), dialog, Fields::new().body("application/sdp", "v=0\r\n")).unwrap();
        let ack = sent(&mut old).remove(0);
        let (mut stack, _) = moved(&old, dialog);
        stack.handle_input(at(0), udp(), &answer(&request, 200, "peer"));
        assert_eq!(sent(&mut stack).remove(0).bytes(), ack.bytes());
        // Saved before the ACK, the user is the one to give it.
        let mut stack = next();
        let dialog = stack.restore_dialog(at(0), waiting).unwrap();
        stack.handle_input(at(0), udp(), &answer(&request, 200, "peer"));
        assert!(sent(&mut stack).is_empty());
        stack.ack(at(0), dialog, Fields::new()).unwrap();
        assert_eq!(sent(&mut stack).remove(0).cseq().unwrap(), ack.cseq().unwrap());
    }

    #[test]
    fn a_connection_is_forgotten_until_the_peer_comes_back() {
        let mut old = fresh();
        let over_tcp = |mut request: Peer| {
            request.via = "TCP 192.0.2.9:5070";
            request
        };
        let invite = over_tcp(Peer::new("INVITE", "z9hG4bK1", 1)).with_body();
        old.handle_input(at(0), tcp(7), &invite.bytes());
        let Event::Request { tx, .. } = drain(&mut old).1.remove(0) else { panic!() };
        let dialog = old.respond(at(0), tx, Reply::new(200)).unwrap().unwrap();
        let mut saved = old.save_dialog(dialog).unwrap();
        assert!(saved.awaits_ack());
        saved.set_acknowledged();
        let mut stack = next();
        let dialog = stack.restore_dialog(at(0), saved).unwrap();
        let flow = stack.dialog(dialog).unwrap().flow();
        assert_eq!((flow.transport, flow.connection), (Transport::Tcp, 0));
        let info = over_tcp(Peer::new("INFO", "z9hG4bKi", 2)).in_dialog(&stack, dialog);
        stack.handle_input(at(0), tcp(3), &info.bytes());
        assert_eq!(stack.dialog(dialog).unwrap().flow().connection, 3);
    }

    #[test]
    fn a_dialog_is_restored_once_and_an_early_one_is_not_saved() {
        let mut old = fresh();
        let dialog = caller(&mut old);
        let saved = old.save_dialog(dialog).unwrap();
        let mut stack = next();
        stack.restore_dialog(at(0), saved.clone()).unwrap();
        assert_eq!(stack.restore_dialog(at(0), saved), Err(StackError::WrongDialogState));
        let tx = receive(&mut old, at(0), &Peer::new("INVITE", "z9hG4bK9", 1));
        let early = old.respond(at(0), tx, Reply::new(180)).unwrap().unwrap();
        assert_eq!(old.save_dialog(early), None);
        let _: Vec<Message> = sent(&mut old);
    }
}
