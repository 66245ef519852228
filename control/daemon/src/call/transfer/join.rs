//! The new call of a transfer: parties of other calls become its own.
//!
//! | step | blind | attended, and INVITE with Replaces |
//! | --- | --- | --- |
//! | 1 | the target's contacts get an INVITE with the last description of who is transferred | the far party of the replaced call gets it as a re-INVITE |
//! | 2 | it answers: the calls before end, and give their parties up | the same |
//! | 3 | who is transferred gets a re-INVITE with the answer | the same; who called by itself gets its 200 |

use super::super::fork::{Event, Fork};
use super::super::id::CallId;
use super::super::model::{Branch, Call, Cx, Side, leg_of};
use super::super::place::Place;
use super::super::release::After;
use super::super::ringing::{SDP, media_refusal};
use super::super::session_timer::Policy;
use super::super::setup::is_sdp;
use super::super::table::Role;
use super::{Handed, Note, Replaced};
use crate::media::LegProfile;
use crate::record::ReleasedBy;
use crate::snapshot::ControlEvent;
use core::time::Duration;
use tandem_signalling::message::Message;
use tandem_signalling::method::Method;
use tandem_signalling::stack::{ClientTx, DialogId, Fields, Reply};
use tandem_wire::time::Instant;

/// How often a party is asked for a re-INVITE that it is not ready for.
const MAX_TRIES: u8 = 4;

/// How long to wait while another INVITE of the same dialog is under way.
const BUSY: Duration = Duration::from_millis(500);

/// What makes a call one that joins parties of others.
#[derive(Debug)]
pub(in crate::call) struct Join {
    /// The call that our caller is still in, and which party it is there.
    from: Option<(CallId, Side)>,
    /// The call that our callee is still in, and which party it is there.
    target: Option<(CallId, Side)>,
    /// The Replaces that the INVITE carries.
    replaces: Option<String>,
    /// The description for who is transferred.
    offer: Vec<u8>,
    /// The re-INVITE of who is transferred.
    tx: Option<ClientTx>,
    tries: u8,
    /// When a re-INVITE is tried again.
    again_at: Option<Instant>,
}

impl Join {
    pub(super) const fn of_refer(call: CallId, side: Side, replaces: Option<String>) -> Self {
        Self {
            from: Some((call, side)),
            target: None,
            replaces,
            offer: Vec::new(),
            tx: None,
            tries: 0,
            again_at: None,
        }
    }

    pub(super) const fn of_replaces() -> Self {
        Self {
            from: None,
            target: None,
            replaces: None,
            offer: Vec::new(),
            tx: None,
            tries: 0,
            again_at: None,
        }
    }

    pub(super) const fn parties(&self) -> [Option<(CallId, Side)>; 2] {
        [self.from, self.target]
    }

    /// When a re-INVITE is tried again.
    pub(in crate::call) const fn next_timeout(&self) -> Option<Instant> {
        self.again_at
    }

    /// The re-INVITE that waits for a response.
    pub(in crate::call) const fn open(&self) -> Option<ClientTx> {
        self.tx
    }

    /// The Replaces that the INVITE carries.
    pub(in crate::call) fn replaces(&self) -> Option<&str> {
        self.replaces.as_deref()
    }
}

impl Call {
    /// Whether the parties are not joined yet.
    pub(in crate::call) fn is_joining(&self) -> bool {
        self.join.as_ref().is_some_and(|join| join.from.is_some())
    }

    /// Makes a party of another call the only one that is called.
    pub(super) fn adopt(&mut self, target: &Replaced) {
        let mut branch = Branch::to_uri(target.target.clone());
        branch.place = Place::Dialog(target.dialog, target.flow);
        self.branches = vec![branch];
        self.fork = Fork::new(&[1000]);
        if let Some(join) = &mut self.join {
            join.target = Some((target.call, target.side));
        }
    }

    /// The INVITE of a branch that has a dialog already.
    pub(in crate::call) fn call_adopted(
        &mut self,
        cx: &mut Cx<'_>,
        branch: usize,
        dialog: DialogId,
    ) -> Result<(), Reply> {
        let (key, leg, now) = (self.key(), leg_of(branch), cx.world.now);
        let flow = cx.world.stack.dialog(dialog).ok_or_else(|| Reply::new(481))?.flow();
        cx.world.media.prepare_leg(key, leg, LegProfile { local: flow.local.ip() });
        let mut fields = Fields::new();
        if !self.offerless {
            let offer = cx.world.media.offer(now, key, 0, leg, self.invite.body());
            fields = fields.body(SDP, offer.map_err(|error| media_refusal(&error))?);
        }
        let role = Role::Branch(branch);
        match cx.request_in_dialog(dialog, Method::Invite, fields, role) {
            Ok(tx) => self.branches[branch].tx = Some(tx),
            Err(error) if error.status() == 491 && self.try_again(cx, BUSY) => {}
            Err(error) => return Err(Reply::new(error.status())),
        }
        Ok(())
    }

    /// Whether the party of another call has not answered its re-INVITE: it is asked again if it was
    /// not ready.
    pub(in crate::call) fn is_not_ready(
        &mut self,
        cx: &mut Cx<'_>,
        branch: usize,
        status: u16,
    ) -> bool {
        let Place::Dialog(dialog, _) = self.branches[branch].place else { return false };
        if status != 491 {
            return status < 200;
        }
        self.branches[branch].tx = None;
        let wait = cx.world.stack.glare_delay(dialog);
        self.try_again(cx, wait)
    }

    /// Whether a branch waited for another try, which it does no more.
    pub(in crate::call) fn stop_trying(&mut self, branch: usize) -> bool {
        let waits = self.branches[branch].tx.is_none();
        let join = self.join.as_mut().filter(|_| waits);
        join.is_some_and(|join| join.again_at.take().is_some())
    }

    fn try_again(&mut self, cx: &Cx<'_>, wait: Duration) -> bool {
        let Some(join) = self.join.as_mut().filter(|join| join.tries < MAX_TRIES) else {
            return false;
        };
        join.tries += 1;
        join.again_at = Some(cx.world.now + wait);
        true
    }

    /// The time to try again has come.
    pub(in crate::call) fn join_again(&mut self, cx: &mut Cx<'_>, at: Instant) {
        let Some(join) = &mut self.join else { return };
        if join.again_at.take_if(|again| *again <= at).is_none() {
            return;
        }
        if self.winner.is_some() {
            return self.invite_transferee(cx);
        }
        if let Some(&Place::Dialog(dialog, _)) = self.branches.first().map(|branch| &branch.place)
            && let Err(reply) = self.call_adopted(cx, 0, dialog)
        {
            let status = reply.status();
            self.branches[0].refusal = Some(reply);
            self.drive(cx, Event::Failure { branch: 0, status }, None);
        }
    }

    /// The target rings: the transferor is told.
    pub(in crate::call) fn join_progress(&mut self, cx: &mut Cx<'_>, response: &Message) {
        let status = response.status().unwrap_or(180);
        if matches!(status, 180 | 183) && self.times.ringing_at.is_none() {
            self.times.ringing_at = Some(cx.world.wall);
        }
        if let Some((call, _)) = self.join.as_ref().and_then(|join| join.from) {
            cx.notes.push_back(Note::Progress { call, status });
        }
    }

    /// The target answered: its description becomes the offer for who is transferred.
    pub(in crate::call) fn join_answer(
        &mut self,
        cx: &mut Cx<'_>,
        branch: usize,
        response: &Message,
        dialog: DialogId,
    ) -> Result<(), Reply> {
        if !is_sdp(response) {
            return Err(Reply::new(502).reason("Answer without session description"));
        }
        let (now, key, leg) = (cx.world.now, self.key(), leg_of(branch));
        let media = &mut cx.world.media;
        if !self.offerless {
            media
                .answer(now, key, leg, 0, response.body(), false)
                .map_err(|error| media_refusal(&error))?;
        }
        let offer = media.offer(now, key, leg, 0, response.body());
        let offer = offer.map_err(|error| media_refusal(&error))?;
        self.hear(Side::Callee, response);
        self.learn(Side::Callee, response);
        self.start_session(cx, Side::Callee, Policy::agreed(response));
        if self.offerless {
            self.callee_ack_due = true;
        } else {
            cx.ack(dialog, Fields::new());
        }
        if let Some(join) = &mut self.join {
            (join.offer, join.tries) = (offer, 0);
        }
        cx.notes.push_back(Note::Answered { call: self.id });
        Ok(())
    }

    /// Who called by itself was answered: the party of the other call is ours now.
    pub(in crate::call) fn join_is_answered(&self, cx: &mut Cx<'_>) {
        if self.join.is_some() {
            cx.notes.push_back(Note::Answered { call: self.id });
        }
    }

    /// Who is transferred becomes our caller; it may be so already, or be gone.
    pub(super) fn take_over(&mut self, cx: &mut Cx<'_>, party: Option<Handed>) {
        if let Some(party) = party {
            self.caller.dialog = Some(party.dialog);
            self.caller.flow = party.flow;
            cx.index.add_dialog(party.dialog, cx.slot);
        }
        if self.caller.dialog.is_none() {
            return self.hang_up(cx, "the transferred party is gone");
        }
        self.invite_transferee(cx);
    }

    /// A party of a call that is replaced waits here, for the other one of it hung up.
    pub(super) fn take_left(&mut self, cx: &mut Cx<'_>, call: CallId, dialog: DialogId) -> bool {
        let Some(join) = self.join.as_mut().filter(|_| !self.ended) else { return false };
        if join.from.is_some_and(|(from, _)| from == call) {
            self.caller.dialog = Some(dialog);
            if let Some(known) = cx.world.stack.dialog(dialog) {
                self.caller.flow = known.flow();
            }
        } else if join.target.take_if(|(target, _)| *target == call).is_some() {
            if let Some(branch) = self.branches.first_mut() {
                branch.dialog = Some(dialog);
            }
        } else {
            return false;
        }
        cx.index.add_dialog(dialog, cx.slot);
        true
    }

    /// Nobody wants the new call any more.
    pub(super) fn abandon_join(&mut self, cx: &mut Cx<'_>) {
        if !self.ended && self.winner.is_none() {
            self.refuse(cx, Reply::new(487), "the transfer was given up");
        }
    }

    fn invite_transferee(&mut self, cx: &mut Cx<'_>) {
        let (Some(dialog), Some(join)) = (self.caller.dialog, &self.join) else { return };
        let fields = Fields::new().body(SDP, join.offer.clone());
        match cx.request_in_dialog(dialog, Method::Invite, fields, Role::Join) {
            Ok(tx) => {
                if let Some(join) = &mut self.join {
                    join.tx = Some(tx);
                }
            }
            Err(error) if error.status() == 491 && self.try_again(cx, BUSY) => {}
            Err(_) => self.hang_up(cx, "the transferred party takes no re-INVITE"),
        }
    }

    /// The response of who is transferred.
    pub(in crate::call) fn join_response(
        &mut self,
        cx: &mut Cx<'_>,
        tx: ClientTx,
        response: &Message,
    ) {
        let status = response.status().unwrap_or(500);
        let Some(join) = self.join.as_mut().filter(|it| it.tx == Some(tx) && status >= 200) else {
            return;
        };
        join.tx = None;
        cx.index.remove_client(tx);
        let Some(dialog) = self.caller.dialog else { return };
        match status {
            200..300 => {
                cx.ack(dialog, Fields::new());
                self.joined(cx, response);
            }
            491 => {
                let wait = cx.world.stack.glare_delay(dialog);
                if !self.try_again(cx, wait) {
                    self.hang_up(cx, "the transferred party takes no re-INVITE");
                }
            }
            _ => self.hang_up(cx, "the transferred party refused the new media"),
        }
    }

    /// The re-INVITE of who is transferred was not answered.
    pub(in crate::call) fn join_failed(&mut self, cx: &mut Cx<'_>, tx: ClientTx) {
        if self.join.as_ref().is_some_and(|join| join.tx == Some(tx)) {
            cx.index.remove_client(tx);
            self.hang_up(cx, "the transferred party does not answer");
        }
    }

    /// Both parties talk.
    fn joined(&mut self, cx: &mut Cx<'_>, response: &Message) {
        let (now, key, leg) = (cx.world.now, self.key(), self.leg(Side::Callee));
        let answer = if is_sdp(response) {
            cx.world.media.answer(now, key, 0, leg, response.body(), false).ok()
        } else {
            None
        };
        let Some(answer) = answer else {
            return self.hang_up(cx, "the transferred party gave no usable answer");
        };
        self.hear(Side::Caller, response);
        self.learn(Side::Caller, response);
        self.start_session(cx, Side::Caller, Policy::agreed(response));
        self.join = None;
        if core::mem::take(&mut self.callee_ack_due)
            && let Some(dialog) = self.dialog(Side::Callee)
        {
            cx.ack(dialog, Fields::new().body(SDP, answer));
        }
        self.save(cx);
        cx.world.shared.tell(|| ControlEvent::CallAnswered { call: self.id.to_string() });
        self.note_hold(cx);
    }

    /// A party that came from a call that is over has nobody to go back to.
    fn release_adopted(&mut self, cx: &mut Cx<'_>) {
        let is_adopted = |branch: &&Branch| matches!(branch.place, Place::Dialog(..));
        let adopted = self.branches.first().filter(is_adopted);
        if let Some(dialog) = adopted.and_then(|branch| branch.dialog) {
            self.send(cx, After::Bye(dialog, Fields::new()));
        }
    }

    /// The new call ends: who waits for it is told, and who waits in it released.
    pub(in crate::call) fn drop_join(&mut self, cx: &mut Cx<'_>, status: u16, by: ReleasedBy) {
        let Some(join) = self.join.take() else { return };
        if let Some(tx) = join.tx {
            cx.index.remove_client(tx);
        }
        if self.winner.is_some() {
            return;
        }
        let taken = self.branches.first().is_some_and(|branch| branch.dialog.is_some());
        match join.target {
            Some((call, side)) if taken => cx.notes.push_back(Note::Lost { call, side }),
            Some((call, _)) => cx.notes.push_back(Note::Failed { call, status }),
            None => self.release_adopted(cx),
        }
        if let Some((call, _)) = join.from {
            cx.notes.push_back(Note::Failed { call, status });
            if let Some(dialog) = self.caller.dialog.filter(|_| by != ReleasedBy::Caller) {
                self.send(cx, After::Bye(dialog, Fields::new()));
            }
        }
    }
}
