//! The user agent client's side of dialogs: what responses do to them, and requests inside them.

use super::client::Client;
use super::content::{DEFAULT_MAX_FORWARDS, Fields, MAX_CSEQ};
use super::dialog::{Dialog, DialogState, Parties, Role, SentAck};
use super::emit::{self, RequestHead};
use super::slab::Key;
use super::types::{ClientTx, DialogEnd, DialogId, Event, Flow, Output, StackError};
use super::{Stack, routing};
use crate::header::Header;
use crate::message::Message;
use crate::method::Method;
use std::sync::Arc;
use tandem_wire::time::Instant;

/// Methods whose requests and 2xx responses carry the Contact of the dialog.
const TARGET_REFRESH: [Method; 5] =
    [Method::Invite, Method::Update, Method::Subscribe, Method::Notify, Method::Refer];

impl Stack {
    /// Gives a response to the transaction user, after what it does to the dialogs.
    pub(super) fn deliver(&mut self, now: Instant, key: Key, response: &Message, flow: Flow) {
        let Some(client) = self.clients.get(key) else { return };
        if self.is_internal(key) {
            return;
        }
        match (client.method, client.dialog) {
            // 100 only stops the retransmissions (§8.1.3.2).
            (Method::Invite, _) if response.status() == Some(100) => {}
            (Method::Invite, None) => self.opening_response(now, key, response, flow),
            (Method::Invite, Some(dialog)) => {
                self.reinvite_response(now, key, dialog, response, flow);
            }
            (method, dialog) => self.plain_response(now, key, method, dialog, response, flow),
        }
    }

    fn emit_response(&mut self, key: Key, dialog: Option<Key>, response: &Message, flow: Flow) {
        let dialog = dialog.filter(|dialog| self.live_dialog(*dialog).is_some()).map(DialogId);
        let response = response.clone();
        self.emit(Event::Response { tx: ClientTx(key), dialog, response, flow });
    }

    /// A response to an INVITE outside of a dialog.
    fn opening_response(&mut self, now: Instant, key: Key, response: &Message, flow: Flow) {
        let status = response.status().unwrap_or(0);
        if status >= 300 {
            self.emit_response(key, None, response, flow);
            self.end_forks(now, key);
            return;
        }
        if status < 200 && response.to_tag().is_none() {
            self.emit_response(key, None, response, flow);
            return;
        }
        let tag = response.to_tag().unwrap_or("");
        let known = self.fork_of(key, tag);
        let Some(dialog) = known.or_else(|| self.add_fork(key, response, flow)) else {
            self.counters.refused_full += 1;
            self.emit_response(key, None, response, flow);
            return;
        };
        if status < 200 {
            let cseq = self.clients.get(key).map_or(0, |client| client.cseq);
            if self.takes_provisional(dialog, cseq, response) {
                self.emit_response(key, Some(dialog), response, flow);
            }
        } else {
            self.accepted(key, dialog, response, flow);
        }
    }

    fn fork_of(&self, key: Key, tag: &str) -> Option<Key> {
        let forks = &self.clients.get(key)?.forks;
        let has_tag = |dialog: &&Key| {
            self.dialogs.get(**dialog).is_some_and(|dialog| &*dialog.remote_tag == tag)
        };
        forks.iter().find(has_tag).copied()
    }

    /// Opens a dialog for a response with a new To tag (§12.1.2).
    fn add_fork(&mut self, key: Key, response: &Message, flow: Flow) -> Option<Key> {
        let client = self.clients.get(key)?;
        if client.forks.len() >= self.config.limits.max_forks {
            return None;
        }
        let (cseq, request) = (client.cseq, client.request()?);
        // Where the INVITE went is where the peer registered from; with a Route it is a proxy.
        let behind_nat = !request.has(Header::Route)
            && request.uri().is_ok_and(|uri| routing::is_elsewhere(&uri.host(), &client.flow));
        let local_tag = request.from_tag().unwrap_or("");
        let remote_tag = response.to_tag().unwrap_or("");
        let call_id = request.call_id().unwrap_or("");
        let parties = Parties {
            role: Role::Uac,
            call_id: call_id.into(),
            local_tag: local_tag.into(),
            remote_tag: remote_tag.into(),
            local_party: request.value(Header::From)?.into(),
            remote_party: response.value(Header::To)?.into(),
            fingerprint: self.dialog_print(call_id, local_tag, remote_tag),
        };
        let mut dialog = Dialog::new(parties, flow);
        dialog.behind_nat = behind_nat;
        dialog.local_cseq = cseq;
        dialog.invite_out = Some(ClientTx(key));
        dialog.uses = 1;
        dialog.remote_target = request.request_uri().unwrap_or("").to_owned();
        dialog.learn_from_response(response);
        let dialog = self.add_dialog(dialog).ok()?;
        self.clients.get_mut(key)?.forks.push(dialog);
        Some(dialog)
    }

    /// A 2xx to our INVITE: the first of its dialog confirms it, each other gets the same ACK.
    fn accepted(&mut self, key: Key, id: Key, response: &Message, flow: Flow) {
        let Some(cseq) = self.clients.get(key).map(|client| client.cseq) else { return };
        if self.repeat_ack(id, cseq) {
            self.counters.retransmissions_in += 1;
            return;
        }
        let Some(dialog) = self.dialogs.get_mut(id) else { return };
        if dialog.ended || dialog.state == DialogState::Terminating {
            // The dialog is being given up, but the peer still wants its ACK (RFC 5407 §3.2.4).
            let _ = self.make_ack(id, cseq, &Fields::new());
            return;
        }
        if dialog.state == DialogState::Early {
            dialog.state = DialogState::Confirmed;
            dialog.learn_from_response(response);
        } else {
            dialog.refresh_target(response);
        }
        dialog.flow = flow;
        dialog.ack_due = Some(cseq);
        dialog.invite_out = Some(ClientTx(key));
        self.emit_response(key, Some(id), response, flow);
    }

    fn reinvite_response(
        &mut self,
        now: Instant,
        key: Key,
        id: Key,
        response: &Message,
        flow: Flow,
    ) {
        let status = response.status().unwrap_or(0);
        if (200..300).contains(&status) {
            self.accepted(key, id, response, flow);
            return;
        }
        let cseq = self.clients.get(key).map_or(0, |client| client.cseq);
        if status < 200 && !self.takes_provisional(id, cseq, response) {
            return;
        }
        if status >= 300 {
            self.forget_invite(id, key);
        }
        self.emit_response(key, Some(id), response, flow);
        let is_up = |dialog: &Dialog| dialog.state == DialogState::Confirmed;
        if status == 481 && self.dialogs.get(id).is_some_and(is_up) {
            self.end_dialog(now, id, DialogEnd::Unknown);
        }
    }

    fn plain_response(
        &mut self,
        now: Instant,
        key: Key,
        method: Method,
        dialog: Option<Key>,
        response: &Message,
        flow: Flow,
    ) {
        let status = response.status().unwrap_or(0);
        let subscribed = method == Method::Subscribe && dialog.is_none() && status / 100 == 2;
        let dialog = if subscribed { self.subscribed(key, response, flow) } else { dialog };
        if let Some(entry) = dialog.and_then(|id| self.dialogs.get_mut(id))
            && status / 100 == 2
            && method == Method::Update
        {
            entry.refresh_target(response);
        }
        self.emit_response(key, dialog, response, flow);
        let Some(id) = dialog.filter(|_| status >= 200) else { return };
        let Some(entry) = self.dialogs.get_mut(id) else { return };
        match (method, status) {
            // The BYE will be repeated with credentials.
            (Method::Bye, 401 | 407) => entry.state = DialogState::Confirmed,
            (Method::Bye, _) => self.end_dialog(now, id, DialogEnd::ByeSent),
            // RFC 5057 §5.1: that is the end of a subscription, not of the call.
            (Method::Notify | Method::Subscribe | Method::Refer, 481) => {}
            (_, 481) if entry.state == DialogState::Confirmed => {
                self.end_dialog(now, id, DialogEnd::Unknown);
            }
            _ => {}
        }
    }

    /// A request got no response: what that means for its dialogs.
    pub(super) fn request_failed(&mut self, now: Instant, key: Key) {
        let Some(client) = self.clients.get(key) else { return };
        match (client.method, client.dialog) {
            (Method::Invite, None) => self.end_forks(now, key),
            (Method::Invite, Some(dialog)) => self.forget_invite(dialog, key),
            (Method::Bye, Some(dialog)) => self.end_dialog(now, dialog, DialogEnd::ByeSent),
            _ => {}
        }
    }

    /// Ends the early dialogs of an INVITE.
    fn end_forks(&mut self, now: Instant, key: Key) {
        let Some(client) = self.clients.get(key) else { return };
        for dialog in client.forks.clone() {
            self.end_if_early(now, dialog);
        }
    }

    fn end_if_early(&mut self, now: Instant, id: Key) {
        if self.dialogs.get(id).is_some_and(|dialog| dialog.state == DialogState::Early) {
            self.end_dialog(now, id, DialogEnd::InviteFailed);
        }
    }

    /// Our INVITE in a dialog is over without a 2xx.
    fn forget_invite(&mut self, id: Key, key: Key) {
        if let Some(dialog) = self.dialogs.get_mut(id)
            && dialog.invite_out == Some(ClientTx(key))
        {
            dialog.invite_out = None;
        }
    }

    /// An INVITE client transaction was removed: no more 2xx of it will come.
    pub(super) fn invite_is_over(&mut self, now: Instant, client: &Client) {
        for id in client.forks.iter().copied() {
            self.end_if_early(now, id);
        }
        for id in client.forks.iter().copied().chain(client.dialog) {
            let Some(dialog) = self.dialogs.get_mut(id) else { continue };
            dialog.uses = dialog.uses.saturating_sub(1);
            if dialog.acks.len() > 1 {
                dialog.acks.retain(|ack| ack.cseq != client.cseq);
            }
            self.remove_ended(id);
        }
    }

    /// Sends the ACK again that answered this INVITE; false if there was none. Nothing happens
    /// while the transaction user has yet to give it.
    pub(super) fn repeat_ack(&mut self, id: Key, cseq: u32) -> bool {
        let Some(dialog) = self.dialogs.get(id) else { return false };
        if dialog.ack_due == Some(cseq) {
            return true;
        }
        let Some(ack) = dialog.acks.iter().find(|ack| ack.cseq == cseq) else { return false };
        let output = Output::Transmit { flow: ack.flow, bytes: Arc::clone(&ack.bytes) };
        self.counters.retransmissions_out += 1;
        self.output.push_back(output);
        true
    }

    /// As [`Self::repeat_ack`], for a 2xx whose transaction is over.
    pub(super) fn repeat_ack_of(&mut self, response: &Message) -> bool {
        let call_id = response.call_id().unwrap_or("");
        let (local, remote) = (response.from_tag(), response.to_tag());
        let print = self.dialog_print(call_id, local.unwrap_or(""), remote.unwrap_or(""));
        let Some(&id) = self.dialog_index.get(&print) else { return false };
        let Ok(cseq) = response.cseq() else { return false };
        self.repeat_ack(id, cseq.number) || self.ack_for_earlier_stack(id, cseq.number)
    }

    /// See [`Stack::ack`].
    pub(super) fn send_ack(&mut self, id: Key, fields: &Fields) -> Result<(), StackError> {
        let dialog = self.live_dialog(id).ok_or(StackError::NoDialog)?;
        let cseq = dialog.ack_due.ok_or(StackError::WrongDialogState)?;
        self.make_ack(id, cseq, fields)
    }

    /// Makes, keeps and sends the ACK of a 2xx.
    fn make_ack(&mut self, id: Key, cseq: u32, fields: &Fields) -> Result<(), StackError> {
        // An ACK is no transaction: its branch leads nowhere.
        let branch = self.random.branch(u64::MAX);
        let dialog = self.dialogs.get(id).ok_or(StackError::NoDialog)?;
        let flow = dialog.request_flow();
        let bytes: Arc<[u8]> =
            self.write_in_dialog(dialog, Method::Ack, cseq, &branch, &flow, fields).into();
        self.output.push_back(Output::Transmit { flow, bytes: Arc::clone(&bytes) });
        self.counters.requests_out.add(Method::Ack);
        if let Some(dialog) = self.dialogs.get_mut(id) {
            dialog.acks.push(SentAck { cseq, flow, bytes });
            dialog.ack_due = None;
            dialog.invite_out = None;
        }
        Ok(())
    }

    /// See [`Stack::request_in_dialog`].
    pub(super) fn send_in_dialog(
        &mut self,
        now: Instant,
        id: Key,
        method: Method,
        fields: &Fields,
    ) -> Result<ClientTx, StackError> {
        let dialog = self.live_dialog(id).ok_or(StackError::NoDialog)?;
        check_allowed(dialog, method)?;
        let rack = dialog.pracks_due.front().map(|(rseq, cseq)| format!("{rseq} {cseq} INVITE"));
        let acknowledging = rack.filter(|_| method == Method::Prack);
        let with_rack = acknowledging.map(|rack| fields.clone().header("RAck", rack));
        let fields = with_rack.as_ref().unwrap_or(fields);
        let branch = self.next_branch()?;
        if let Some(cseq) = dialog_ack_due(self.live_dialog(id)).filter(|_| method == Method::Bye) {
            self.make_ack(id, cseq, &Fields::new())?;
        }
        let dialog = self.live_dialog(id).ok_or(StackError::NoDialog)?;
        let cseq = (dialog.local_cseq + 1) & MAX_CSEQ;
        let flow = dialog.request_flow();
        let bytes = self.write_in_dialog(dialog, method, cseq, &branch, &flow, fields);
        let key = self.add_client(method, flow, cseq, branch, bytes)?;
        if let Some(client) = self.clients.get_mut(key) {
            client.dialog = Some(id);
        }
        let tx = ClientTx(key);
        let mut starts_now = true;
        if let Some(dialog) = self.dialogs.get_mut(id) {
            dialog.local_cseq = cseq;
            match method {
                Method::Invite => {
                    dialog.invite_out = Some(tx);
                    dialog.uses += 1;
                }
                Method::Prack => {
                    dialog.pracks_due.pop_front();
                }
                Method::Bye => {
                    dialog.state = DialogState::Terminating;
                    // §15: the callee waits for the ACK of its first 2xx.
                    if dialog.accept.as_ref().is_some_and(|accept| accept.is_first) {
                        dialog.bye_waiting = Some(tx);
                        starts_now = false;
                    }
                }
                _ => {}
            }
        }
        if starts_now {
            self.start_client(now, key);
        }
        Ok(tx)
    }

    /// Sends the BYE that waited for an ACK.
    pub(super) fn release_bye(&mut self, now: Instant, id: Key) -> bool {
        let Some(dialog) = self.dialogs.get_mut(id) else { return false };
        let Some(bye) = dialog.bye_waiting.take() else { return false };
        self.start_client(now, bye.0);
        true
    }

    pub(super) fn write_in_dialog(
        &self,
        dialog: &Dialog,
        method: Method,
        cseq: u32,
        branch: &str,
        flow: &Flow,
        fields: &Fields,
    ) -> Vec<u8> {
        let (uri, route) = dialog.request_path();
        let contact = TARGET_REFRESH.contains(&method).then(|| self.contact(flow));
        let head = RequestHead {
            method,
            uri: &uri,
            flow,
            sent_by: &self.config.sent_by(flow),
            branch,
            max_forwards: DEFAULT_MAX_FORWARDS,
            route: &route,
            from: &dialog.local_party,
            to: &dialog.remote_party,
            call_id: &dialog.call_id,
            cseq,
            contact: contact.as_deref(),
            product: &self.config.product,
            alias: self.config.offers_alias(flow),
        };
        emit::request(&head, fields)
    }
}

fn dialog_ack_due(dialog: Option<&Dialog>) -> Option<u32> {
    dialog.and_then(|dialog| dialog.ack_due)
}

/// Whether the state of a dialog allows one of our requests.
fn check_allowed(dialog: &Dialog, method: Method) -> Result<(), StackError> {
    match (method, dialog.state) {
        (Method::Ack | Method::Cancel, _) => Err(StackError::WrongMethod),
        (_, DialogState::Terminating) => Err(StackError::WrongDialogState),
        (Method::Invite, DialogState::Early) => Err(StackError::WrongDialogState),
        // RFC 3262 §4: only what asks for it is acknowledged.
        (Method::Prack, _) if !dialog.is_prack_due() => Err(StackError::WrongDialogState),
        // §14.1: no INVITE while another is in progress, whichever side began it.
        (Method::Invite, DialogState::Confirmed) if dialog.invite_in_progress() => {
            Err(StackError::InviteInProgress)
        }
        // §15: only the caller may send BYE in an early dialog.
        (Method::Bye, DialogState::Early) if dialog.role == Role::Uas => {
            Err(StackError::WrongDialogState)
        }
        _ => Ok(()),
    }
}
