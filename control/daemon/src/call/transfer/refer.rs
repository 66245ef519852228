//! The call in which a REFER came: it lives on until the new one is answered, tells the transferor
//! how it goes, and then gives the other party up.

use super::super::headers;
use super::super::id::CallId;
use super::super::identity::{Vouched, party};
use super::super::model::{Call, Cx, Side};
use super::super::release::After;
use super::order::Party;
use super::{Handed, Note};
use crate::core::World;
use std::fmt::Write as _;
use tandem_signalling::build::reason_phrase;
use tandem_signalling::header::Header;
use tandem_signalling::message::Message;
use tandem_signalling::method::Method;
use tandem_signalling::name_addr::NameAddr;
use tandem_signalling::stack::{DialogId, Fields, Reply, ServerTx};
use tandem_signalling::uri::Uri;

/// How long the transferor is told of a transfer at most, s; the new call ends its ringing before.
const NOTIFIED_S: u32 = 300;

/// A transfer that a party of this call asked for.
#[derive(Debug)]
pub(in crate::call) struct Transfer {
    /// The transferor.
    by: Side,
    /// The new call.
    to: CallId,
    /// What the record says of it.
    why: &'static str,
    /// Whether it is told how it goes, and the number of its REFER if there was another one before.
    notify: Option<Option<u32>>,
    /// What it was told last.
    told: u16,
}

impl Call {
    /// A REFER of a party: the call says whether it may be, [`Calls`](super::Calls) does the rest.
    pub(in crate::call) fn refer(
        &self,
        cx: &mut Cx<'_>,
        by: Side,
        tx: ServerTx,
        request: &Message,
    ) {
        // A half-made exchange of descriptions cannot be handed over.
        let busy = self.winner.is_none()
            || self.transfer.is_some()
            || self.callee_ack_due
            || self.negotiates();
        if busy {
            cx.respond(tx, Reply::new(491));
            return;
        }
        let request = Box::new(request.clone());
        cx.notes.push_back(Note::Refer { call: self.id, by, tx, request });
    }

    /// Address of record of a party.
    pub(super) fn aor(&self, side: Side) -> &str {
        match side {
            Side::Caller => &self.from,
            Side::Callee => &self.to,
        }
    }

    /// What is known of a party that is to be transferred.
    pub(super) fn transferee(&self, world: &World, side: Side) -> Option<Party> {
        let id = self.dialog(side)?;
        let dialog = world.stack.dialog(id)?;
        let aor = self.aor(side).to_owned();
        let mut rows = String::new();
        let vouched = match side {
            Side::Caller => {
                // What it said of itself when it called holds on.
                for header in [Header::PAssertedIdentity, Header::Privacy] {
                    for value in self.invite.values(header) {
                        let value = String::from_utf8_lossy(value);
                        write!(rows, "{}: {value}\r\n", header.name()).ok()?;
                    }
                }
                self.caller.vouched
            }
            Side::Callee => {
                let user = Uri::parse(&aor).ok().and_then(|uri| uri.user_decoded());
                let ours = user.is_some_and(|user| world.registrar.knows(&user));
                if ours { Vouched::Us } else { Vouched::Nobody }
            }
        };
        let from = party(NameAddr::parse(dialog.remote_party()).ok(), &aor);
        let heard = self.heard(side).map(<[u8]>::to_vec);
        Some(Party { flow: dialog.flow(), aor, vouched, from, rows, heard })
    }

    /// The last description of a party.
    fn heard(&self, side: Side) -> Option<&[u8]> {
        let invite = (side == Side::Caller).then(|| self.invite.body());
        self.heard[side.index()].as_deref().or(invite).filter(|body| !body.is_empty())
    }

    /// Remembers what a party said of its media, should it be transferred.
    pub(in crate::call) fn hear(&mut self, side: Side, message: &Message) {
        if super::super::setup::is_sdp(message) {
            self.heard[side.index()] = Some(message.body().into());
        }
    }

    /// The new call begins; `notify` is the number of the REFER if the transferor is to be told.
    pub(super) fn begin_transfer(
        &mut self,
        cx: &mut Cx<'_>,
        by: Side,
        to: CallId,
        why: &'static str,
        notify: Option<u32>,
    ) {
        let again = core::mem::replace(&mut self.referred, true);
        let notify = notify.map(|id| again.then_some(id));
        self.transfer = Some(Box::new(Transfer { by, to, why, notify, told: 0 }));
        self.notify(cx, 100, false);
    }

    /// Tells the transferor how it goes (RFC 3515 §2.4.4).
    pub(super) fn notify(&mut self, cx: &mut Cx<'_>, status: u16, last: bool) {
        let Some(transfer) = self.transfer.as_mut().filter(|it| last || it.told != status) else {
            return;
        };
        transfer.told = status;
        let Some((by, fields)) = transfer.fields(status, last) else { return };
        if let Some(dialog) = self.dialog(by) {
            self.send(cx, After::Notify(dialog, fields));
        }
    }

    /// SUBSCRIBE for what a REFER began: it asks how it goes, or to hear no more (RFC 3515
    /// §2.4.7).
    pub(in crate::call) fn subscribe_refer(
        &mut self,
        cx: &mut Cx<'_>,
        by: Side,
        tx: ServerTx,
        request: &Message,
    ) {
        let Some(transfer) = self.transfer.as_mut().filter(|it| it.by == by && it.notify.is_some())
        else {
            cx.respond(tx, Reply::new(481));
            return;
        };
        let over = request.expires() == Some(0);
        let expires = if over { 0 } else { NOTIFIED_S };
        cx.respond(tx, Reply::new(200).header("Expires", expires.to_string()));
        let told = transfer.told;
        self.notify(cx, told, true);
        if let Some(transfer) = self.transfer.as_mut().filter(|_| over) {
            transfer.notify = None;
        }
    }

    /// The new call was not answered: this one goes on.
    pub(super) fn transfer_failed(&mut self, cx: &mut Cx<'_>, status: u16) {
        self.notify(cx, status, true);
        self.transfer = None;
    }

    /// The transferor hung up before the new call was answered, as phones do: the other party
    /// waits for it in the new call. False if it is not the one.
    pub(in crate::call) fn transferor_left(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        tx: ServerTx,
    ) -> bool {
        let Some(transfer) = self.transfer.take_if(|it| it.by == side) else { return false };
        let handed = self.hand_out(cx, side.other());
        self.end(cx, 200, transfer.why, side.released_by());
        self.send(cx, After::Respond(tx, Reply::new(200)));
        self.answer_open_exchanges(cx);
        if let Some(handed) = handed {
            let (call, from) = (transfer.to, self.id);
            cx.notes.push_back(Note::Left { call, from, dialog: handed.dialog });
        }
        true
    }

    /// Ends this call without the party that goes on elsewhere; `None` if it is gone.
    pub(super) fn give_up(&mut self, cx: &mut Cx<'_>, side: Side) -> Option<Handed> {
        if self.ended || self.winner.is_none() {
            return None;
        }
        let handed = self.hand_out(cx, side)?;
        let transfer = self.transfer.take();
        let by = side.other();
        let why = transfer.as_ref().map_or("replaced", |it| it.why);
        self.end(cx, 200, why, by.released_by());
        self.answer_open_exchanges(cx);
        if let Some(near) = self.dialog(by) {
            let last = transfer.as_ref().and_then(|it| it.fields(200, true));
            if let Some((_, fields)) = last {
                self.send(cx, After::Notify(near, fields));
            }
            self.send(cx, After::Bye(near, Fields::new()));
        }
        Some(handed)
    }

    /// Takes the dialog of a party out of this call.
    fn hand_out(&mut self, cx: &Cx<'_>, side: Side) -> Option<Handed> {
        let dialog = self.dialog(side)?;
        let flow = cx.world.stack.dialog(dialog)?.flow();
        match side {
            Side::Caller => self.caller.dialog = None,
            Side::Callee => {
                let winner = self.winner?;
                self.branches.get_mut(winner)?.dialog = None;
            }
        }
        Some(Handed { dialog, flow })
    }

    /// This call ends otherwise: nobody is left to be transferred.
    pub(in crate::call) fn drop_transfer(&mut self, cx: &mut Cx<'_>) {
        let Some(transfer) = self.transfer.take() else { return };
        let dialog: Option<DialogId> = self.dialog(transfer.by);
        if let (Some(dialog), Some((_, fields))) = (dialog, transfer.fields(487, true)) {
            self.send(cx, After::Notify(dialog, fields));
        }
        cx.notes.push_back(Note::Abandoned { call: transfer.to });
    }
}

impl Transfer {
    /// Whom to tell what; `None` if nobody is told.
    fn fields(&self, status: u16, last: bool) -> Option<(Side, Fields)> {
        let event = match self.notify? {
            Some(id) => format!("refer;id={id}"),
            None => "refer".to_owned(),
        };
        let state = if last && status >= 200 {
            "terminated;reason=noresource".to_owned()
        } else {
            format!("active;expires={NOTIFIED_S}")
        };
        let fragment = format!("SIP/2.0 {status} {}\r\n", reason_phrase(status));
        let fields = Fields::new()
            .header("Event", event)
            .header("Subscription-State", state)
            .header("Allow", headers::ALLOW)
            .body("message/sipfrag;version=2.0", fragment);
        Some((self.by, fields))
    }
}

/// Sends a NOTIFY; its outcome does not matter to the call.
pub(in crate::call) fn send_notify(cx: &mut Cx<'_>, dialog: DialogId, fields: Fields) {
    if let Err(error) = cx.world.request_in_dialog(dialog, Method::Notify, fields) {
        tracing::debug!(call = %cx.slot.id, %error, "no NOTIFY could be sent");
    }
}
