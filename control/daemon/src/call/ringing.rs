//! The branches of a call: their INVITEs, their responses, the answer.

use super::early::{Awaited, RELIABLE};
use super::fork::{Action, Event, State};
use super::headers;
use super::history;
use super::identity::{Sender, party};
use super::model::{Call, Cx, Side, leg_of};
use super::release::{After, Why};
use super::session_timer::{Policy, TIMER};
use super::setup::is_sdp;
use super::trunk_leg;
use crate::media::{LegProfile, MediaError};
use crate::record::ReleasedBy;
use crate::snapshot::ControlEvent;
use std::collections::VecDeque;
use tandem_signalling::build::reason_phrase;
use tandem_signalling::header::Header;
use tandem_signalling::message::Message;
use tandem_signalling::method::Method;
use tandem_signalling::stack::{Dialog, DialogId, Fields, Flow, NewRequest, Reply};

/// Content type of session descriptions.
pub(super) const SDP: &str = "application/sdp";

impl Call {
    /// Feeds the fork and does what it says; a branch that cannot be called fails at once.
    pub(super) fn drive(&mut self, cx: &mut Cx<'_>, event: Event, message: Option<&Message>) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.fork.handle(event) {
                match action {
                    Action::Call(branch) => {
                        if let Err(reply) = self.call_branch(cx, branch) {
                            let status = reply.status();
                            self.branches[branch].refusal = Some(reply);
                            events.push_back(self.failure_event(cx, branch, status));
                        }
                    }
                    Action::Cancel(branch) => {
                        if let Some(tx) = self.branches[branch].tx {
                            cx.world.cancel_with(tx, cancel_fields(event, message));
                        } else if self.stop_search(cx, branch) || self.stop_trying(branch) {
                            events.push_back(self.failure_event(cx, branch, 487));
                        }
                    }
                    Action::Relay(branch) => self.relay_provisional(cx, branch, message),
                    Action::Answer(branch) => self.answer(cx, branch, message),
                    Action::Release(branch) => self.release_branch(cx, branch),
                    Action::StartTimer => self.start_group_timer(cx),
                    Action::Fail { status, branch } => self.fail(cx, status, branch),
                }
            }
        }
    }

    fn start_group_timer(&mut self, cx: &Cx<'_>) {
        let next = self.fork.has_waiting() && !self.calls_trunk();
        self.group_until = next.then(|| cx.world.now + cx.world.settings.ring_next);
    }

    /// Sends the INVITE of a branch, or sends it again after a response that asks for something.
    pub(super) fn invite(
        &mut self,
        cx: &mut Cx<'_>,
        branch: usize,
        flow: Flow,
        after: Option<&Message>,
    ) -> Result<(), Reply> {
        let (key, leg, now) = (self.key(), leg_of(branch), cx.world.now);
        self.take_digits_for(cx, 0, self.caller.peer.info);
        cx.world.media.prepare_leg(key, leg, LegProfile { local: flow.local.ip() });
        let outbound = self.outbound(cx.world, branch);
        let there = outbound.as_ref();
        let aor = there.map_or(&self.from, |it| &it.aor);
        let sender = Sender::new(&self.invite, aor, self.caller.vouched);
        let trusted = cx.world.settings.trusts(&flow) || there.is_some_and(|it| it.trusted);
        let hidden = there.is_some_and(|it| it.anonymous);
        let mut fields = sender.fields(trusted, cx.world.settings.show_identity && !hidden);
        let private = sender.privacy().hides_history() && !trusted;
        history::push(&mut fields, &self.invite, &self.to, &self.steps(branch), private);
        if let Some(replaces) = self.join.as_ref().and_then(|join| join.replaces()) {
            // RFC 3515 §2.4.1: what the Refer-To asks for; the dialog is one of the target's.
            fields.push("Replaces", replaces);
        }
        let from = match hidden {
            true => trunk_leg::anonymous(&mut fields, &self.invite, trusted),
            false => sender.from(trusted),
        };
        let to = match there {
            Some(there) => format!("<{}>", there.to),
            None => party(self.invite.to().ok(), &self.to),
        };
        headers::push_hops(&mut fields, &self.invite, &self.hop);
        // Nobody is there to whom early media could go.
        if self.announces_reliable(cx.world) && !self.is_joining() {
            fields.push("Supported", RELIABLE);
        }
        fields.push("Supported", TIMER);
        cx.world.settings.session.ask(&mut fields, None, self.branches[branch].least_s);
        if !self.offerless {
            let offer = cx.world.media.offer(now, key, 0, leg, self.invite.body());
            let offer = offer.map_err(|error| media_refusal(&error))?;
            self.branches[branch].offered = Some(offer.as_slice().into());
            fields = fields.body(SDP, offer);
        }
        let mut request = NewRequest::new(Method::Invite, self.branches[branch].request_uri())
            .from(from)
            .to(to)
            .max_forwards(self.max_forwards)
            .fields(fields);
        for route in &self.branches[branch].route {
            request = request.route(route.as_str());
        }
        if let Some(response) = after {
            request = request.after(response);
        }
        self.send_invite(cx, branch, flow, request)
    }

    /// A response to the INVITE of a branch.
    pub(super) fn branch_response(
        &mut self,
        cx: &mut Cx<'_>,
        branch: usize,
        dialog: Option<DialogId>,
        response: Message,
    ) {
        let status = response.status().unwrap_or(500);
        if self.is_not_ready(cx, branch, status) {
            return;
        }
        if status != 503 {
            self.hop_answered(cx, branch);
        }
        self.branches[branch].peer.learn(&response);
        self.take_digits_for(cx, leg_of(branch), self.branches[branch].peer.info);
        self.trunk_alive(cx, branch, status);
        if matches!(status, 401 | 407) && self.answer_challenge(cx, branch, &response) {
            return;
        }
        if status < 300
            && let Some(dialog) = dialog
            && !self.take_dialog(cx, branch, dialog, status)
        {
            return;
        }
        match status {
            100..200 => {
                self.drive(cx, Event::Provisional { branch }, Some(&response));
                if let Some(dialog) = dialog {
                    self.acknowledge(cx, dialog);
                }
            }
            422 if self.asks_again(cx, branch, &response) => {}
            200..300 => self.drive(cx, Event::Answer { branch }, Some(&response)),
            _ => {
                self.branches[branch].failure = Some(response);
                if status == 503 {
                    return self.branch_lost(cx, branch, status);
                }
                if (300..400).contains(&status) && self.follow(cx, branch, status) {
                    return;
                }
                self.branch_failed(cx, branch, status);
            }
        }
    }

    /// Notes the dialog that a response opened; false for a second answer of one INVITE (a proxy
    /// forked it), which is released.
    fn take_dialog(
        &mut self,
        cx: &mut Cx<'_>,
        branch: usize,
        dialog: DialogId,
        status: u16,
    ) -> bool {
        let known = self.branches[branch].dialog;
        if self.winner == Some(branch) && known.is_some() && known != Some(dialog) {
            if status >= 200 {
                cx.ack(dialog, Fields::new());
                cx.bye(dialog, Fields::new());
            }
            return false;
        }
        if let Some(known) = known.filter(|known| *known != dialog) {
            cx.index.remove_dialog(known);
        }
        if known != Some(dialog) {
            self.branches[branch].dialog = Some(dialog);
            self.branches[branch].settled = false;
            cx.index.add_dialog(dialog, cx.slot);
            if let Some(leg) = &self.branches[branch].trunk {
                cx.world.trunks.bind(dialog, leg.trunk, &leg.rows);
            }
        }
        true
    }

    /// RFC 4028 §7.3: the session that was asked for is too short; the INVITE is sent again, once,
    /// with what the 422 names.
    fn asks_again(&mut self, cx: &mut Cx<'_>, branch: usize, response: &Message) -> bool {
        let least = response.number(Header::MinSe).unwrap_or(0);
        let open = matches!(self.fork.state(branch), Some(State::Calling | State::Ringing));
        if !open || self.branches[branch].least_s > 0 || least == 0 {
            return false;
        }
        self.branches[branch].least_s = least;
        if let Some(tx) = self.branches[branch].tx.take() {
            cx.index.remove_client(tx);
        }
        let flow = self.branches[branch].place.flow().copied();
        flow.is_some_and(|flow| self.invite(cx, branch, flow, Some(response)).is_ok())
    }

    /// A branch failed, by its own response or without any.
    pub(super) fn branch_failed(&mut self, cx: &mut Cx<'_>, branch: usize, status: u16) {
        if self.winner != Some(branch) && !self.ended {
            cx.world.media.drop_leg(cx.world.now, self.key(), leg_of(branch));
        }
        let event = self.failure_event(cx, branch, status);
        self.drive(cx, event, None);
    }

    /// Passes ringing, progress and early media on.
    fn relay_provisional(&mut self, cx: &mut Cx<'_>, branch: usize, message: Option<&Message>) {
        let Some(response) = message else { return };
        if self.is_joining() {
            return self.join_progress(cx, response);
        }
        let status = response.status().unwrap_or(180);
        let mut fields = headers::end_to_end(response);
        let reliable = self.is_reliable(cx.world);
        let dialog = self.branches[branch].dialog;
        let linked = dialog.filter(|id| {
            let due = |it: &Dialog| it.is_prack_due();
            let alone = reliable && self.branches.len() == 1;
            alone && cx.world.stack.dialog(*id).is_some_and(due)
        });
        let body = self.early_body(cx, branch, response, (reliable, linked.is_some()));
        let offer = self.offerless && body.is_some();
        if let Some(body) = body {
            fields = fields.body(SDP, body);
        }
        if matches!(status, 180 | 183) && self.times.ringing_at.is_none() {
            self.times.ringing_at = Some(cx.world.wall);
            cx.world.shared.tell(|| ControlEvent::CallRinging { call: self.id.to_string() });
        }
        let reply = Reply::new(status).reason(phrase(response)).fields(fields);
        if self.take_caller_dialog(cx, reply.reliable(reliable)) && reliable {
            self.early.awaited.push_back(Awaited { linked, offer });
        }
    }

    /// The description that goes to the caller with a provisional response.
    fn early_body(
        &mut self,
        cx: &mut Cx<'_>,
        branch: usize,
        response: &Message,
        (reliable, linked): (bool, bool),
    ) -> Option<Vec<u8>> {
        let (now, key, leg) = (cx.world.now, self.key(), leg_of(branch));
        if !is_sdp(response) || self.branches[branch].settled {
            return None;
        }
        if self.offerless {
            // An offer in an unreliable response is one that no one can answer (RFC 3264 §4,
            // RFC 3262 §5).
            let offer = linked.then(|| cx.world.media.offer(now, key, leg, 0, response.body()))?;
            return match offer {
                Ok(offer) => Some(offer),
                Err(error) => {
                    tracing::info!(call = %self.id, %error, "early offer left out");
                    None
                }
            };
        }
        let answer = match cx.world.media.answer(now, key, leg, 0, response.body(), true) {
            Ok(answer) => answer,
            Err(error) => {
                tracing::info!(call = %self.id, %error, "early media left out");
                return None;
            }
        };
        let asks = response.lists(Header::Require, RELIABLE);
        self.branches[branch].settled = asks;
        self.branches[branch].early_answer = Some(answer.clone());
        // An answer that is sent reliably binds: there is one at most, and none while several
        // branches may still give another one.
        let binds = reliable && (self.early.settled || self.branches.len() > 1);
        self.early.settled |= reliable && !binds;
        (!binds).then_some(answer)
    }

    /// Answers the caller; whether that was in time.
    fn take_caller_dialog(&mut self, cx: &mut Cx<'_>, reply: Reply) -> bool {
        let Some(dialog) = cx.respond(self.caller.tx, reply) else { return false };
        if self.caller.dialog != Some(dialog) {
            self.caller.dialog = Some(dialog);
            cx.index.add_dialog(dialog, cx.slot);
            if let Some(trunk) = self.trunk_in {
                cx.world.trunks.bind(dialog, trunk, &[]);
            }
        }
        true
    }

    /// The first 2xx: the caller gets it, the parties are connected.
    fn answer(&mut self, cx: &mut Cx<'_>, branch: usize, message: Option<&Message>) {
        let (Some(response), Some(dialog)) = (message, self.branches[branch].dialog) else {
            // A 2xx without a dialog has no tag or Contact: nobody can talk to it.
            return self.answer_unusable(cx, branch, Reply::new(502));
        };
        self.winner = Some(branch);
        self.group_until = None;
        if self.is_joining() {
            match self.join_answer(cx, branch, response, dialog) {
                Ok(()) => return self.count_answer(cx),
                Err(reply) => return self.answer_unusable(cx, branch, reply),
            }
        }
        let body = match self.answered_body(cx, branch, response) {
            Ok(body) => body,
            Err(reply) => return self.answer_unusable(cx, branch, reply),
        };
        self.hear(Side::Callee, response);
        self.count_answer(cx);
        let mut fields = headers::end_to_end(response);
        self.begin_sessions(cx, response, &mut fields);
        self.note_first_descriptions(branch, body.as_deref());
        // With an offer of the callee that the caller's PRACK answered nothing is open.
        let answered_early = self.offerless && body.is_none();
        if let Some(body) = body {
            fields = fields.body(SDP, body);
        }
        let reply =
            Reply::new(response.status().unwrap_or(200)).reason(phrase(response)).fields(fields);
        self.take_caller_dialog(cx, reply);
        if self.offerless && !answered_early {
            self.callee_ack_due = true;
        } else {
            cx.ack(dialog, Fields::new());
        }
        // 2xx and ACK are with the stack, and leave after this.
        self.save(cx);
        cx.world.shared.tell(|| ControlEvent::CallAnswered { call: self.id.to_string() });
        self.join_is_answered(cx);
    }

    fn count_answer(&mut self, cx: &mut Cx<'_>) {
        self.times.answered_at = Some(cx.world.wall);
        self.times.answered = Some(cx.world.now);
        cx.totals.answered += 1;
        self.lasts_until = cx.world.settings.max_duration.map(|max| cx.world.now + max);
    }

    /// The session timers of both legs, from the answer on.
    fn begin_sessions(&mut self, cx: &Cx<'_>, response: &Message, fields: &mut Fields) {
        self.start_session(cx, Side::Callee, Policy::agreed(response));
        // It was let in by the same rule.
        let session = cx.world.settings.session.accept(&self.invite).unwrap_or_default();
        self.accept_session(cx, Side::Caller, session, fields);
    }

    /// Keeps what a refresh of a session may have to repeat.
    fn note_first_descriptions(&mut self, branch: usize, body: Option<&[u8]>) {
        let winner = &mut self.branches[branch];
        let offered = winner.offered.take();
        let early = winner.early_answer.take();
        if let Some(offered) = offered {
            self.say(Side::Callee, &offered);
        }
        if let Some(body) = body.or(early.as_deref()) {
            self.say(Side::Caller, body);
        }
        if !self.offerless {
            self.agree();
        }
        for branch in &mut self.branches {
            (branch.offered, branch.early_answer) = (None, None);
        }
    }

    /// The description that the caller gets with the 2xx, if it has not got it before.
    fn answered_body(
        &self,
        cx: &mut Cx<'_>,
        branch: usize,
        response: &Message,
    ) -> Result<Option<Vec<u8>>, Reply> {
        let (now, key, leg) = (cx.world.now, self.key(), leg_of(branch));
        let media = &mut cx.world.media;
        if self.branches[branch].settled {
            // RFC 3262 §5: offer and answer are complete, and the 2xx adds nothing.
            media.confirm(now, key, leg, 0);
            let early = self.branches[branch].early_answer.clone();
            return Ok(early.filter(|_| !self.early.settled));
        }
        let early = self.branches[branch].early_answer.clone();
        let outcome = match (is_sdp(response), self.offerless) {
            (true, true) => media.offer(now, key, leg, 0, response.body()),
            (true, false) => media.answer(now, key, leg, 0, response.body(), false),
            (false, false) => match early {
                // The answer came with 183 and is not repeated: what was agreed holds.
                Some(answer) => {
                    media.confirm(now, key, leg, 0);
                    return Ok((!self.early.settled).then_some(answer));
                }
                None => return Err(Reply::new(502).reason("Answer without session description")),
            },
            (false, true) => {
                return Err(Reply::new(502).reason("Answer without session description"));
            }
        };
        outcome.map(Some).map_err(|error| media_refusal(&error))
    }

    /// The answer cannot be used: the callee is released, the caller refused.
    fn answer_unusable(&mut self, cx: &mut Cx<'_>, branch: usize, reply: Reply) {
        self.winner = None;
        self.end(cx, reply.status(), "the answer could not be used", ReleasedBy::Tandem);
        self.release_branch(cx, branch);
        self.send(cx, After::Respond(self.caller.tx, reply));
        self.drive(cx, Event::Abandon, None);
    }

    /// ACK and BYE for a 2xx that is not wanted.
    fn release_branch(&self, cx: &mut Cx<'_>, branch: usize) {
        if let Some(dialog) = self.branches[branch].dialog {
            cx.ack(dialog, Fields::new());
            cx.bye(dialog, Fields::new());
        }
        if !self.ended {
            cx.world.media.drop_leg(cx.world.now, self.key(), leg_of(branch));
        }
    }

    /// No branch answered: the best of their responses goes to the caller.
    fn fail(&mut self, cx: &mut Cx<'_>, status: u16, branch: Option<usize>) {
        let failed = branch.and_then(|branch| self.branches.get_mut(branch));
        let (failure, refusal) =
            failed.map_or((None, None), |it| (it.failure.take(), it.refusal.take()));
        let by = if failure.is_some() { ReleasedBy::Callee } else { ReleasedBy::Tandem };
        let reply = match (&failure, refusal) {
            (Some(response), _) => relayed_failure(response, |contact| self.was_followed(contact)),
            (None, Some(reply)) => reply,
            // Only this contact cannot be reached, which is no fault of Tandem.
            (None, None) => Reply::new(if status == 503 { 480 } else { status }),
        };
        let why = Why::failed(status, branch.is_some(), failure.as_ref());
        self.end(cx, reply.status(), &why.0, by);
        self.send(cx, After::Respond(self.caller.tx, reply));
    }
}

/// A failure of the callee, for the caller.
pub(crate) fn relayed_failure(response: &Message, followed: impl Fn(&[u8]) -> bool) -> Reply {
    let status = match response.status().unwrap_or(500) {
        // The challenge of a phone is for us, and we have no credentials (RFC 3261 §22.3).
        401 | 407 => 403,
        // Only this phone is overloaded, not Tandem (§16.7 step 6); and its session timer is
        // negotiated with us alone.
        422 | 503 => 500,
        status => status,
    };
    let mut fields = headers::with_same_body(response);
    if (300..400).contains(&status) {
        // RFC 3261 §16.7 step 4: without those that were tried.
        for contact in response.values(Header::Contact).filter(|contact| !followed(contact)) {
            fields.push("Contact", contact);
        }
    }
    let reply = Reply::new(status).fields(fields);
    if Some(status) == response.status() { reply.reason(phrase(response)) } else { reply }
}

/// The refusal of a session description, with its Warning (RFC 3261 §20.43).
pub(super) fn media_refusal(error: &MediaError) -> Reply {
    let (code, text) = error.warning();
    let text = text.replace(['"', '\\'], "'");
    let reply = Reply::new(error.status()).header("Warning", format!("{code} tandem \"{text}\""));
    if error.status() == 503 { reply.header("Retry-After", "5") } else { reply }
}

/// The reason phrase of a response, or the usual one.
pub(super) fn phrase(response: &Message) -> String {
    match response.reason() {
        Some(reason) if !reason.is_empty() => reason.to_owned(),
        _ => reason_phrase(response.status().unwrap_or(500)).to_owned(),
    }
}

/// What a CANCEL of ours says of its reason: that somebody else answered (RFC 3326 §3.1), or what
/// the caller said.
fn cancel_fields(event: Event, message: Option<&Message>) -> Fields {
    let mut fields = Fields::new();
    match event {
        Event::Answer { .. } => {
            fields.push("Reason", "SIP;cause=200;text=\"Call completed elsewhere\"");
        }
        Event::Abandon => {
            for reason in message.into_iter().flat_map(|message| message.values(Header::Reason)) {
                fields.push("Reason", reason);
            }
        }
        _ => {}
    }
    fields
}
