//! The user agent server's side of dialogs: which requests they let in, and what our responses do.

use super::Stack;
use super::content::Reply;
use super::dialog::{Accept, Dialog, DialogState, Parties, Role, contact_uri, record_route};
use super::due::Owner;
use super::emit;
use super::machine::Timer;
use super::reliable::Order;
use super::routing;
use super::slab::Key;
use super::types::{DialogEnd, DialogId, Event, Flow, Output, ServerTx, StackError};
use crate::header::Header;
use crate::message::Message;
use crate::method::Method;
use std::sync::Arc;
use tandem_wire::time::Instant;

/// What is done with a request in a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It goes to the transaction user.
    Pass,
    /// The stack answers it.
    Answer(u16),
    /// An INVITE too many, with a time to wait (§14.2).
    Later,
}

/// Name of the limit in messages.
const LIMIT: &str = "max_dialogs";

impl Stack {
    /// A request with a To tag.
    pub(super) fn request_in_known_dialog(
        &mut self,
        now: Instant,
        key: Key,
        flow: Flow,
        request: Message,
    ) {
        let call_id = request.call_id().unwrap_or("");
        let (local, remote) = (request.to_tag(), request.from_tag());
        let print = self.dialog_print(call_id, local.unwrap_or(""), remote.unwrap_or(""));
        let known = self.dialog_index.get(&print).copied();
        let Some(id) = known.or_else(|| self.notified_first(&request, flow)) else {
            // Anybody can make a tag up: nothing is kept.
            let _ = self.refuse_key(key, &Reply::new(481));
            return;
        };
        let (Some(server), Some(dialog)) = (self.servers.get_mut(key), self.dialogs.get_mut(id))
        else {
            return;
        };
        let (cseq, method) = (server.cseq, server.method);
        let mut verdict = judge(dialog, &request, cseq);
        dialog.remote_cseq = dialog.remote_cseq.max(Some(cseq));
        if verdict == Verdict::Pass
            && method == Method::Prack
            && !self.takes_prack(now, id, &request)
        {
            // RFC 3262 §3: it acknowledges nothing.
            verdict = Verdict::Answer(481);
        }
        let (Some(server), Some(dialog)) = (self.servers.get_mut(key), self.dialogs.get_mut(id))
        else {
            return;
        };
        match verdict {
            Verdict::Pass => {
                let tx = ServerTx(key);
                server.dialog = Some(id);
                dialog.flow = flow;
                dialog.pending.push(tx);
                if request.method() == Method::Invite {
                    dialog.invite_in = Some(tx);
                }
                self.emit(Event::Request { tx, dialog: Some(DialogId(id)), request, flow });
            }
            Verdict::Answer(status) => {
                self.reject(now, key, &Reply::new(status));
                if status == 200 {
                    // A BYE crossed ours: nobody will acknowledge our 2xx any more.
                    self.stop_accept(id);
                    self.release_bye(now, id);
                }
            }
            Verdict::Later => {
                let seconds = self.random.below(11);
                let reply = Reply::new(500).header("Retry-After", seconds.to_string());
                self.reject(now, key, &reply);
            }
        }
    }

    /// See [`Stack::respond`].
    pub(super) fn answer(
        &mut self,
        now: Instant,
        key: Key,
        reply: &Reply,
    ) -> Result<Option<DialogId>, StackError> {
        if !(100..700).contains(&reply.status()) {
            return Err(StackError::BadStatus(reply.status()));
        }
        let server = self.servers.get(key).ok_or(StackError::NoTransaction)?;
        let request = server.request.clone().ok_or(StackError::AlreadyFinal)?;
        let opens = server.method == Method::Invite && request.to_tag().is_none();
        let makes_dialog = reply.status() > 100;
        if opens && makes_dialog && reply.status() < 300 && server.dialog.is_none() {
            self.open_dialog(key, &request)?;
        }
        let subscribes = request.method() == Method::Subscribe && request.to_tag().is_none();
        if subscribes && (200..300).contains(&reply.status()) {
            self.accept_subscribe(key, &request)?;
        }
        let (dialog, flow) = match self.servers.get(key) {
            Some(server) => (server.dialog, server.source),
            None => return Err(StackError::NoTransaction),
        };
        let live = dialog.filter(|id| self.live_dialog(*id).is_some()).map(DialogId);
        let Order::Now(reply) = self.order_reply(now, key, reply)? else { return Ok(live) };
        let with_contact = matches!(
            request.method(),
            Method::Invite | Method::Update | Method::Subscribe | Method::Refer
        ) && (101..300).contains(&reply.status());
        let contact = with_contact.then(|| self.contact(&flow));
        let Some(bytes) = self.send_reply(now, key, &reply, contact.as_deref()) else {
            return Err(StackError::NoTransaction);
        };
        self.keep_reliable(key, &reply, &bytes);
        if reply.is_reliable()
            && let Some(dialog) = dialog.and_then(|id| self.dialogs.get_mut(id))
        {
            dialog.reliable_tx = Some(ServerTx(key));
        }
        if let Some(id) = dialog.filter(|_| reply.status() >= 200) {
            self.answered(now, key, id, &request, reply.status(), bytes);
        }
        Ok(dialog.filter(|id| self.live_dialog(*id).is_some()).map(DialogId))
    }

    /// What a final response does to the dialog of its request.
    fn answered(
        &mut self,
        now: Instant,
        key: Key,
        id: Key,
        request: &Message,
        status: u16,
        bytes: Arc<[u8]>,
    ) {
        let Some(dialog) = self.dialogs.get_mut(id) else { return };
        dialog.pending.retain(|tx| *tx != ServerTx(key));
        let is_success = status < 300;
        match request.method() {
            Method::Invite => {
                dialog.invite_in = None;
                if is_success {
                    self.start_accept(now, key, id, request, bytes);
                } else if dialog.state == DialogState::Early && request.to_tag().is_none() {
                    self.end_dialog(now, id, DialogEnd::InviteFailed);
                }
            }
            Method::Update | Method::Subscribe if is_success => dialog.refresh_target(request),
            Method::Bye if is_success => self.end_dialog(now, id, DialogEnd::ByeReceived),
            Method::Prack => self.prack_answered(now, id),
            _ => {}
        }
    }

    /// Opens the dialog of an INVITE (§12.1.1).
    pub(super) fn open_dialog(&mut self, key: Key, request: &Message) -> Result<(), StackError> {
        let server = self.servers.get(key).ok_or(StackError::NoTransaction)?;
        let (source, cseq) = (server.source, server.cseq);
        let local_tag = server.local_tag.clone();
        let remote_tag = request.from_tag().unwrap_or("");
        let call_id = request.call_id().unwrap_or("");
        let to = request.value(Header::To).unwrap_or(b"");
        let parties = Parties {
            role: Role::Uas,
            call_id: call_id.into(),
            remote_tag: remote_tag.into(),
            local_party: emit::with_tag(to, Some(&local_tag)).into(),
            remote_party: request.value(Header::From).unwrap_or(b"").into(),
            fingerprint: self.dialog_print(call_id, &local_tag, remote_tag),
            local_tag,
        };
        let mut dialog = Dialog::new(parties, source);
        dialog.behind_nat =
            request.answer_via().is_ok_and(|via| routing::is_elsewhere(&via.host(), &source));
        dialog.local_cseq = self.first_cseq();
        dialog.remote_cseq = Some(cseq);
        dialog.remote_target = contact_uri(request).unwrap_or_default();
        dialog.route_set = record_route(request);
        dialog.invite_in = Some(ServerTx(key));
        dialog.pending.push(ServerTx(key));
        let id = self.add_dialog(dialog)?;
        if let Some(server) = self.servers.get_mut(key) {
            server.dialog = Some(id);
        }
        Ok(())
    }

    /// Repeats a 2xx until its ACK comes (§13.3.1.4), also over TCP: a hop behind may be UDP.
    fn start_accept(
        &mut self,
        now: Instant,
        key: Key,
        id: Key,
        invite: &Message,
        bytes: Arc<[u8]>,
    ) {
        let timing = self.config.timing;
        let Some(server) = self.servers.get(key) else { return };
        let (flow, cseq) = (server.flow, server.cseq);
        let Some(dialog) = self.dialogs.get_mut(id) else { return };
        let is_first = dialog.state == DialogState::Early;
        if is_first {
            dialog.state = DialogState::Confirmed;
        } else {
            dialog.refresh_target(invite);
        }
        dialog.accept = Some(Accept {
            cseq,
            tx: ServerTx(key),
            flow,
            bytes,
            interval: timing.t1,
            is_first,
            offer_was_in_invite: !invite.body().is_empty(),
        });
        let owner = Owner::Dialog(id);
        dialog.timers.start(&mut self.timers, owner, Timer::Accept, now + timing.t1);
        let give_up = now + timing.sixty_four_t1();
        dialog.timers.start(&mut self.timers, owner, Timer::AcceptGiveUp, give_up);
    }

    fn stop_accept(&mut self, id: Key) -> Option<Accept> {
        let dialog = self.dialogs.get_mut(id)?;
        dialog.timers.stop_all(&mut self.timers);
        dialog.accept.take()
    }

    /// An ACK that acknowledges no failure: that of a 2xx, or a stray one.
    pub(super) fn ack_for_dialog(&mut self, now: Instant, ack: Message) {
        let call_id = ack.call_id().unwrap_or("");
        let (local, remote) = (ack.to_tag().unwrap_or(""), ack.from_tag().unwrap_or(""));
        let print = self.dialog_print(call_id, local, remote);
        let Some((id, dialog)) =
            self.dialog_index.get(&print).and_then(|id| Some((*id, self.dialogs.get(*id)?)))
        else {
            self.counters.stray_acks += 1;
            return;
        };
        let number = ack.cseq().map_or(0, |cseq| cseq.number);
        if dialog.accept.as_ref().is_none_or(|accept| accept.cseq != number) {
            self.counters.retransmissions_in += 1;
            return;
        }
        self.stop_accept(id);
        self.emit(Event::Ack { dialog: DialogId(id), request: ack });
        self.release_bye(now, id);
    }

    /// A timer of a dialog fired.
    pub(super) fn dialog_timer(&mut self, now: Instant, id: Key, timer: Timer) {
        if timer == Timer::AcceptGiveUp {
            self.stop_accept(id);
            self.counters.timeouts += 1;
            let hung_up =
                self.dialogs.get(id).is_some_and(|dialog| dialog.state == DialogState::Terminating);
            if !self.release_bye(now, id) && !hung_up {
                self.emit(Event::AckTimeout { dialog: DialogId(id) });
            }
            return;
        }
        let t2 = self.config.timing.t2;
        let Some(dialog) = self.dialogs.get_mut(id) else { return };
        let Some(accept) = dialog.accept.as_mut() else { return };
        // The transaction knows if the connection was lost meanwhile.
        if let Some(server) = self.servers.get(accept.tx.0) {
            accept.flow = server.flow;
        }
        accept.interval = (accept.interval * 2).min(t2);
        let next = now + accept.interval;
        let output = Output::Transmit { flow: accept.flow, bytes: Arc::clone(&accept.bytes) };
        self.counters.retransmissions_out += 1;
        self.output.push_back(output);
        dialog.timers.start(&mut self.timers, Owner::Dialog(id), Timer::Accept, next);
    }

    pub(super) fn dialog_print(&self, call_id: &str, local_tag: &str, remote_tag: &str) -> u128 {
        self.prints.of(&[
            b"dialog",
            call_id.as_bytes(),
            local_tag.as_bytes(),
            remote_tag.as_bytes(),
        ])
    }

    pub(super) fn check_room_for_dialog(&self) -> Result<(), StackError> {
        if self.counters.dialogs >= self.config.limits.max_dialogs as usize {
            return Err(StackError::LimitReached(LIMIT));
        }
        Ok(())
    }

    pub(super) fn add_dialog(&mut self, dialog: Dialog) -> Result<Key, StackError> {
        self.check_room_for_dialog()?;
        let print = dialog.fingerprint;
        let id = self.dialogs.insert(dialog).ok_or(StackError::LimitReached(LIMIT))?;
        self.dialog_index.insert(print, id);
        self.counters.dialogs += 1;
        Ok(id)
    }

    pub(super) fn live_dialog(&self, id: Key) -> Option<&Dialog> {
        self.dialogs.get(id).filter(|dialog| !dialog.ended)
    }

    /// Ends a dialog: the peer's pending requests get 487 (§15.1.2), the transaction user is told.
    pub(super) fn end_dialog(&mut self, now: Instant, id: Key, cause: DialogEnd) {
        let Some(dialog) = self.dialogs.get_mut(id).filter(|dialog| !dialog.ended) else { return };
        dialog.ended = true;
        dialog.accept = None;
        dialog.timers.stop_all(&mut self.timers);
        let bye = dialog.bye_waiting.take();
        let pending = core::mem::take(&mut dialog.pending);
        if self.dialog_index.get(&dialog.fingerprint) == Some(&id) {
            self.dialog_index.remove(&dialog.fingerprint);
        }
        self.counters.dialogs -= 1;
        for tx in pending {
            self.reject(now, tx.0, &Reply::new(487));
        }
        if let Some(bye) = bye {
            self.discard_client(now, bye.0);
        }
        self.emit(Event::DialogEnded { dialog: DialogId(id), cause });
        self.remove_ended(id);
    }

    /// Removes a dialog that is over, once no repeated 2xx can ask for it.
    pub(super) fn remove_ended(&mut self, id: Key) {
        if self.dialogs.get(id).is_some_and(|dialog| dialog.ended && dialog.uses == 0) {
            self.dialogs.remove(id);
        }
    }
}

/// Whether a request of the peer fits the state of its dialog (§12.2.2, §14.2).
fn judge(dialog: &Dialog, request: &Message, cseq: u32) -> Verdict {
    let method = request.method();
    if dialog.remote_cseq.is_some_and(|last| cseq <= last) {
        return Verdict::Answer(500);
    }
    if dialog.state == DialogState::Terminating {
        // RFC 5407 §3.2.1 and §3.2.2: a BYE that crosses ours is fine, anything else too late.
        return Verdict::Answer(if method == Method::Bye { 200 } else { 481 });
    }
    if method != Method::Invite {
        return Verdict::Pass;
    }
    // RFC 5407 §3.1.5: the ACK that is missing brings the answer to our offer.
    let waits_for_answer = dialog.accept.as_ref().is_some_and(|accept| !accept.offer_was_in_invite);
    if dialog.invite_out.is_some() || waits_for_answer {
        Verdict::Answer(491)
    } else if dialog.invite_in.is_some() {
        Verdict::Later
    } else {
        Verdict::Pass
    }
}
