//! Offers and answers inside an answered call: hold, resume, changed media.

use super::headers;
use super::model::{Asked, Call, Cx, Offer, Side};
use super::ringing::{SDP, media_refusal};
use super::session_timer::Session;
use super::setup::is_sdp;
use crate::snapshot::ControlEvent;
use tandem_signalling::message::Message;
use tandem_signalling::method::Method;
use tandem_signalling::stack::{DialogId, Fields, Reply, ServerTx};

impl Call {
    /// A re-INVITE goes to the other party; one without an offer asks it for one.
    pub(super) fn reinvite(
        &mut self,
        cx: &mut Cx<'_>,
        from: Side,
        tx: ServerTx,
        request: &Message,
    ) {
        match self.reinvite_fields(cx, from, request) {
            Ok((other, fields, offer, session)) => {
                let asked = Asked { from, tx, method: Method::Invite, session };
                self.pass_on(cx, asked, other, Method::Invite, fields, offer);
            }
            Err(reply) => {
                cx.respond(tx, reply);
            }
        }
    }

    fn reinvite_fields(
        &mut self,
        cx: &mut Cx<'_>,
        from: Side,
        request: &Message,
    ) -> Result<(DialogId, Fields, Offer, Option<Session>), Reply> {
        if self.winner.is_none() {
            return Err(Reply::new(491));
        }
        self.may_offer(cx, from)?;
        let unsupported = headers::unsupported_options(request);
        if !unsupported.is_empty() {
            return Err(Reply::new(420).header("Unsupported", unsupported.join(", ")));
        }
        let session = self.session_of(cx, request)?;
        let other = self.dialog(from.other()).ok_or_else(|| Reply::new(481))?;
        if request.body().is_empty() {
            return Ok((other, headers::end_to_end(request), Offer::Response, session));
        }
        if !is_sdp(request) {
            return Err(Reply::new(415).header("Accept", headers::ACCEPT));
        }
        let fields = self.offer_on(cx, from, request)?;
        Ok((other, fields, Offer::Request, session))
    }

    /// An UPDATE (RFC 3311): one with an offer goes to the other party, as a re-INVITE if that
    /// takes no UPDATE; one without refreshes the session of this leg.
    pub(super) fn update(&mut self, cx: &mut Cx<'_>, from: Side, tx: ServerTx, request: &Message) {
        if let Err(reply) = self.try_update(cx, from, tx, request) {
            cx.respond(tx, reply);
        }
    }

    fn try_update(
        &mut self,
        cx: &mut Cx<'_>,
        from: Side,
        tx: ServerTx,
        request: &Message,
    ) -> Result<(), Reply> {
        let unsupported = headers::unsupported_options(request);
        if !unsupported.is_empty() {
            return Err(Reply::new(420).header("Unsupported", unsupported.join(", ")));
        }
        let session = self.session_of(cx, request)?;
        if request.body().is_empty() {
            let mut fields = Fields::new();
            // Before the answer there is no session to refresh (RFC 4028 §7.4).
            if self.winner.is_some() {
                self.accept_session(cx, from, session, &mut fields);
            }
            cx.respond(tx, Reply::new(200).fields(fields));
            return Ok(());
        }
        if !is_sdp(request) {
            return Err(Reply::new(415).header("Accept", headers::ACCEPT));
        }
        let takes = self.peer(from.other()).update != Some(false);
        if !takes && self.winner.is_none() {
            // An early dialog knows no other way to change the session.
            return Err(super::glare::later(cx));
        }
        let other = self.dialog(from.other()).ok_or_else(|| super::glare::later(cx))?;
        let fields = self.offer_on(cx, from, request)?;
        let method = if takes { Method::Update } else { Method::Invite };
        let asked = Asked { from, tx, method: Method::Update, session };
        self.pass_on(cx, asked, other, method, fields, Offer::Request);
        Ok(())
    }

    /// The rows and the description of a 2xx for the party that asked.
    pub(super) fn negotiated(
        &mut self,
        cx: &mut Cx<'_>,
        at: usize,
        response: &Message,
    ) -> Result<Fields, Reply> {
        let exchange = &self.exchanges[at];
        let (asker, offer) = (exchange.from, exchange.offer);
        let (from, to) = (self.leg(asker.other()), self.leg(asker));
        let (now, key) = (cx.world.now, self.key());
        if !is_sdp(response) {
            if offer == Offer::Request {
                self.reject_offer(cx, asker);
            }
            return Err(Reply::new(502).reason("Answer without session description"));
        }
        let media = &mut cx.world.media;
        let body = match offer {
            Offer::Response => media.offer(now, key, from, to, response.body()),
            Offer::Request | Offer::None => {
                media.answer(now, key, from, to, response.body(), false)
            }
        };
        match body {
            Ok(body) => {
                self.say(asker, &body);
                Ok(headers::end_to_end(response).body(SDP, body))
            }
            Err(error) => {
                if offer == Offer::Request {
                    self.reject_offer(cx, asker);
                }
                Err(media_refusal(&error))
            }
        }
    }

    /// The offer of a party was refused: what was agreed before holds on.
    pub(super) fn reject_offer(&self, cx: &mut Cx<'_>, offerer: Side) {
        let (from, to) = (self.leg(offerer), self.leg(offerer.other()));
        cx.world.media.reject(cx.world.now, self.key(), from, to);
    }

    /// The ACK of a 2xx that was passed on; it may bring the answer.
    pub(super) fn handle_ack(&mut self, cx: &mut Cx<'_>, dialog: DialogId, ack: &Message) {
        let Some(side) = self.side_of(dialog).filter(|_| !self.ended) else { return };
        self.hear(side, ack);
        if side == Side::Caller && self.callee_ack_due {
            self.callee_ack_due = false;
            self.pass_answer(cx, side, ack);
            self.save(cx);
            return;
        }
        let confirmed = |it: &super::model::Exchange| it.awaits_ack && it.from == side;
        let offer = match self.exchanges.iter().position(confirmed) {
            Some(at) => self.drop_exchange(cx, at).offer,
            // An earlier daemon passed the offer on.
            None if self.other_owes_ack(cx, side) => Offer::Response,
            None => Offer::None,
        };
        if offer == Offer::Response {
            self.pass_answer(cx, side, ack);
            self.save(cx);
        } else {
            self.save_acknowledged(cx);
        }
    }

    fn other_owes_ack(&self, cx: &Cx<'_>, side: Side) -> bool {
        let other = self.dialog(side.other()).and_then(|other| cx.world.stack.dialog(other));
        self.recovered && other.is_some_and(|other| other.owes_ack())
    }

    /// Passes the answer in an ACK on to the party that made the offer in its 2xx.
    fn pass_answer(&mut self, cx: &mut Cx<'_>, from: Side, ack: &Message) {
        let Some(other) = self.dialog(from.other()) else { return };
        let (now, key) = (cx.world.now, self.key());
        let (from_leg, to_leg) = (self.leg(from), self.leg(from.other()));
        let answer = if is_sdp(ack) {
            cx.world.media.answer(now, key, from_leg, to_leg, ack.body(), false).ok()
        } else {
            None
        };
        match answer {
            Some(answer) => {
                self.say(from.other(), &answer);
                self.agree();
                cx.ack(other, headers::end_to_end(ack).body(SDP, answer));
                self.note_hold(cx);
            }
            None => {
                cx.ack(other, Fields::new());
                self.hang_up(cx, "no usable answer in the ACK");
            }
        }
    }

    /// Tells when a party holds or resumes.
    pub(super) fn note_hold(&mut self, cx: &Cx<'_>) {
        for (index, side) in [Side::Caller, Side::Callee].into_iter().enumerate() {
            let leg = self.leg(side);
            let held = cx.world.media.is_held(self.key(), leg);
            if held != self.held[index] {
                self.held[index] = held;
                let leg = cx.world.media.leg_name(self.key(), leg);
                let call = self.id.to_string();
                cx.world.shared.tell(|| ControlEvent::CallHeld { call, leg, held });
            }
        }
    }
}
