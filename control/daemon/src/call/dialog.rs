//! Requests inside a call: hang up, pass on, or answer here.

use super::fork::Event;
use super::headers::{self, InDialog};
use super::model::{Asked, Call, Cx, Exchange, Offer, Side};
use super::release::After;
use super::ringing::{SDP, media_refusal, phrase};
use super::session_timer::Policy;
use super::table::Role;
use crate::media::MediaEvent;
use crate::record::ReleasedBy;
use crate::snapshot::ControlEvent;
use tandem_signalling::message::Message;
use tandem_signalling::method::Method;
use tandem_signalling::stack::{ClientTx, DialogId, Fields, Reply, ServerTx};
use tandem_wire::time::Instant;

impl Side {
    pub(super) const fn released_by(self) -> ReleasedBy {
        match self {
            Self::Caller => ReleasedBy::Caller,
            Self::Callee => ReleasedBy::Callee,
        }
    }
}

impl Call {
    /// A request in one of the call's dialogs.
    pub(super) fn handle_request(
        &mut self,
        cx: &mut Cx<'_>,
        tx: ServerTx,
        dialog: DialogId,
        request: &Message,
    ) {
        let method = request.method();
        let side = self.side_of(dialog).filter(|_| !self.ended);
        let Some(side) = side else {
            let reply = match method {
                // A loser that answered too late, or a BYE that crossed ours.
                Method::Bye => Reply::new(200),
                // One of several branches that ring: nobody talks to it alone yet.
                _ if self.rings_in(dialog) => super::glare::later(cx),
                _ => Reply::new(481),
            };
            self.send(cx, After::Respond(tx, reply));
            return;
        };
        self.learn(side, request);
        self.hear(side, request);
        match headers::in_dialog(&method) {
            InDialog::Bye => self.hung_up(cx, side, tx, request),
            InDialog::Invite => self.reinvite(cx, side, tx, request),
            InDialog::Pass => self.pass(cx, side, tx, request),
            InDialog::Refer => self.refer(cx, side, tx, request),
            InDialog::Subscribe => self.subscribe_refer(cx, side, tx, request),
            InDialog::Options if self.winner.is_some() => self.pass(cx, side, tx, request),
            InDialog::Update => self.update(cx, side, tx, request),
            InDialog::Prack => self.prack(cx, side, tx, request),
            InDialog::Options => {
                cx.respond(tx, capabilities());
            }
            InDialog::NotAllowed => {
                cx.respond(tx, Reply::new(405).header("Allow", headers::ALLOW));
            }
            InDialog::NotImplemented => {
                cx.respond(tx, Reply::new(501).header("Allow", headers::ALLOW));
            }
        }
    }

    /// A party hung up: the record is journalled, then it has its 200 and the other one a BYE.
    fn hung_up(&mut self, cx: &mut Cx<'_>, side: Side, tx: ServerTx, bye: &Message) {
        if self.winner.is_none() {
            if side == Side::Caller {
                self.given_up(cx, bye);
            }
            cx.respond(tx, Reply::new(200));
            return;
        }
        if self.transferor_left(cx, side, tx) {
            return;
        }
        let text = super::release::with_reason("hung up", Some(bye));
        self.end(cx, 200, &text, side.released_by());
        self.send(cx, After::Respond(tx, Reply::new(200)));
        self.answer_open_exchanges(cx);
        if let Some(other) = self.dialog(side.other()) {
            self.send(cx, After::Bye(other, headers::with_same_body(bye)));
        }
    }

    /// The caller gave up before there was an answer.
    fn given_up(&mut self, cx: &mut Cx<'_>, request: &Message) {
        let text = super::release::with_reason("cancelled", Some(request));
        self.end(cx, 487, &text, ReleasedBy::Caller);
        self.send(cx, After::Respond(self.caller.tx, Reply::new(487)));
        self.drive(cx, Event::Abandon, Some(request));
    }

    /// A party cancelled its INVITE.
    pub(super) fn handle_cancelled(&mut self, cx: &mut Cx<'_>, tx: ServerTx, cancel: &Message) {
        if tx == self.caller.tx {
            if self.winner.is_none() && !self.ended {
                self.given_up(cx, cancel);
            }
        } else if let Some(exchange) = self.exchanges.iter().find(|it| it.server == tx) {
            // The 487 of the other party is passed on when it comes.
            cx.world.cancel(exchange.client);
        }
    }

    /// Whether a branch that rings has this dialog.
    fn rings_in(&self, dialog: DialogId) -> bool {
        let waits = !self.ended && self.winner.is_none();
        waits && self.branches.iter().any(|branch| branch.dialog == Some(dialog))
    }

    /// Passes a request on that means nothing to us.
    fn pass(&mut self, cx: &mut Cx<'_>, side: Side, tx: ServerTx, request: &Message) {
        let Some(other) = self.dialog(side.other()) else {
            cx.respond(tx, Reply::new(500).header("Retry-After", "1"));
            return;
        };
        let fields = headers::without_sdp(request);
        let method = request.method();
        let asked = Asked { from: side, tx, method, session: None };
        self.pass_on(cx, asked, other, method, fields, Offer::None);
    }

    /// Sends a request to the other party and remembers whom the response is for.
    pub(super) fn pass_on(
        &mut self,
        cx: &mut Cx<'_>,
        asked: Asked,
        other: DialogId,
        method: Method,
        mut fields: Fields,
        offer: Offer,
    ) {
        let Asked { from, tx: server, method: asked, session } = asked;
        // RFC 4028 §7.4: there is no session to refresh before the answer.
        if matches!(method, Method::Invite | Method::Update) && self.winner.is_some() {
            self.ask_session(cx, from.other(), &mut fields);
        }
        match cx.request_in_dialog(other, method, fields, Role::Exchange) {
            Ok(client) => {
                cx.index.add_server(server, cx.slot);
                let awaits_ack = false;
                self.exchanges.push(Exchange {
                    from,
                    asked,
                    method,
                    server,
                    client,
                    offer,
                    session,
                    awaits_ack,
                });
            }
            Err(error) => {
                if offer == Offer::Request {
                    self.reject_offer(cx, from);
                }
                let reply = Reply::new(error.status());
                let reply =
                    if error.status() == 500 { reply.header("Retry-After", "2") } else { reply };
                cx.respond(server, reply);
            }
        }
    }

    /// The response of the other party.
    pub(super) fn exchange_response(&mut self, cx: &mut Cx<'_>, tx: ClientTx, response: &Message) {
        let Some(at) = self.exchanges.iter().position(|it| it.client == tx) else { return };
        match response.status().unwrap_or(500) {
            // Who asked by UPDATE or PRACK has no use for it (RFC 3261 §17.1.2).
            100..200 if self.exchanges[at].asked != Method::Invite => {}
            status @ 100..200 => {
                let fields = headers::end_to_end(response);
                let reply = Reply::new(status).reason(phrase(response)).fields(fields);
                cx.respond(self.exchanges[at].server, reply);
            }
            200..300 => self.exchange_accepted(cx, at, response),
            status => {
                let exchange = self.drop_exchange(cx, at);
                if exchange.offer == Offer::Request {
                    self.reject_offer(cx, exchange.from);
                }
                let told = told_status(status, &exchange);
                let reply = Reply::new(told).fields(headers::with_same_body(response));
                let reply = if told == status { reply.reason(phrase(response)) } else { reply };
                cx.respond(exchange.server, reply);
            }
        }
    }

    /// A 2xx to a request that was passed on.
    fn exchange_accepted(&mut self, cx: &mut Cx<'_>, at: usize, response: &Message) {
        self.hear(self.exchanges[at].from.other(), response);
        let exchange = &self.exchanges[at];
        let (from, server, asked, method) =
            (exchange.from, exchange.server, exchange.asked, exchange.method);
        let (session, offer) = (exchange.session, exchange.offer);
        self.learn(from.other(), response);
        let fields = match offer {
            Offer::None => Ok(headers::without_sdp(response)),
            Offer::Request | Offer::Response => self.negotiated(cx, at, response),
        };
        let other = self.dialog(from.other());
        if matches!(method, Method::Invite | Method::Update) && self.winner.is_some() {
            self.start_session(cx, from.other(), Policy::agreed(response));
        }
        if method == Method::Invite
            && self.exchanges[at].offer != Offer::Response
            && let Some(other) = other
        {
            cx.ack(other, Fields::new());
        }
        match fields {
            Ok(mut fields) => {
                if offer == Offer::Request {
                    self.agree();
                }
                if matches!(asked, Method::Invite | Method::Update) && self.winner.is_some() {
                    self.accept_session(cx, from, session, &mut fields);
                }
                let status = response.status().unwrap_or(200);
                let reply = Reply::new(status).reason(phrase(response)).fields(fields);
                cx.respond(server, reply);
                if asked == Method::Invite {
                    self.exchanges[at].awaits_ack = true;
                    // It must not be found as an open client transaction any more.
                    cx.index.remove_client(self.exchanges[at].client);
                } else {
                    self.drop_exchange(cx, at);
                }
                self.note_hold(cx);
                self.save(cx);
            }
            Err(reply) => {
                let offered_back = self.exchanges[at].offer == Offer::Response;
                self.drop_exchange(cx, at);
                cx.respond(server, reply);
                if offered_back && let Some(other) = other {
                    cx.ack(other, Fields::new());
                }
            }
        }
    }

    /// A request that was passed on got no answer: that party is gone, so the call is over.
    pub(super) fn exchange_failed(&mut self, cx: &mut Cx<'_>, tx: ClientTx, status: u16) {
        let Some(at) = self.exchanges.iter().position(|it| it.client == tx) else { return };
        let exchange = self.drop_exchange(cx, at);
        cx.respond(exchange.server, Reply::new(told_status(status, &exchange)));
        if self.winner.is_some() {
            let by = match exchange.from {
                Side::Caller => "the callee does not answer any more",
                Side::Callee => "the caller does not answer any more",
            };
            self.hang_up(cx, by);
        }
    }

    pub(super) fn drop_exchange(&mut self, cx: &mut Cx<'_>, at: usize) -> Exchange {
        let exchange = self.exchanges.remove(at);
        cx.index.remove_client(exchange.client);
        cx.index.remove_server(exchange.server);
        exchange
    }

    /// Requests that nobody will answer any more (RFC 3261 §15.1.2: 487).
    pub(super) fn answer_open_exchanges(&mut self, cx: &mut Cx<'_>) {
        while !self.exchanges.is_empty() {
            let exchange = self.drop_exchange(cx, 0);
            if !exchange.awaits_ack {
                cx.respond(exchange.server, Reply::new(487));
            }
        }
    }

    /// Tandem ends an answered call: both parties get BYE.
    pub(super) fn hang_up(&mut self, cx: &mut Cx<'_>, text: &str) {
        self.hang_up_for(cx, 503, text);
    }

    /// As [`Call::hang_up`], with a cause for the parties (RFC 3326).
    pub(super) fn hang_up_for(&mut self, cx: &mut Cx<'_>, cause: u16, text: &str) {
        if self.ended {
            return;
        }
        self.end(cx, 200, text, ReleasedBy::Tandem);
        self.answer_open_exchanges(cx);
        for side in [Side::Caller, Side::Callee] {
            if let Some(dialog) = self.dialog(side) {
                let reason = format!("SIP;cause={cause};text=\"{text}\"");
                self.send(cx, After::Bye(dialog, Fields::new().header("Reason", reason)));
            }
        }
    }

    /// A 2xx of ours was never acknowledged.
    pub(super) fn handle_ack_timeout(&mut self, cx: &mut Cx<'_>, dialog: DialogId) {
        if self.ended || self.side_of(dialog).is_none() {
            cx.bye(dialog, Fields::new());
        } else {
            self.hang_up(cx, "no ACK");
        }
    }

    /// A reliable provisional response of ours was never acknowledged (RFC 3262 §3).
    pub(super) fn handle_prack_timeout(&mut self, cx: &mut Cx<'_>, tx: ServerTx) {
        let reply = Reply::new(504);
        if tx != self.caller.tx {
            cx.respond(tx, reply);
        } else if self.winner.is_some() {
            // The 2xx waited for the PRACK, and was never sent.
            self.end(cx, 504, "no PRACK", ReleasedBy::Tandem);
            self.send(cx, After::Respond(tx, reply));
            if let Some(callee) = self.dialog(Side::Callee) {
                self.send(cx, After::Bye(callee, Fields::new()));
            }
        } else if !self.ended {
            self.refuse(cx, reply, "no PRACK");
        }
    }

    /// A party does not know the call any more.
    pub(super) fn handle_dialog_lost(&mut self, cx: &mut Cx<'_>, dialog: DialogId) {
        if self.side_of(dialog).is_some() && self.winner.is_some() {
            self.hang_up(cx, "a party does not know the call any more");
        }
    }

    /// Something happened to the call's media.
    pub(super) fn handle_media(&mut self, cx: &mut Cx<'_>, event: &MediaEvent) {
        let (call, key) = (self.id.to_string(), self.key());
        let name = |leg| cx.world.media.leg_name(key, leg);
        match *event {
            MediaEvent::MediaTimeout { leg, silent_ms, .. } => {
                let silent = cx.world.media.is_silent(key, leg);
                let leg = name(leg);
                cx.world.shared.tell(|| ControlEvent::MediaTimeout { call, leg, silent_ms });
                if silent && cx.world.settings.end_on_media_timeout && self.winner.is_some() {
                    self.hang_up(cx, "media timeout");
                }
            }
            MediaEvent::Dtmf { leg: from, digit, duration_ms, .. } => {
                let leg = name(from);
                cx.world.shared.tell(|| ControlEvent::Dtmf { call, leg, digit, duration_ms });
                self.pass_digit(cx, from, digit, duration_ms);
            }
            MediaEvent::Latched { leg, source, moved, .. } => {
                let leg = name(leg);
                cx.world.shared.tell(|| ControlEvent::Latched { call, leg, source, moved });
            }
            MediaEvent::Refused { reason, .. } => {
                tracing::warn!(call, reason, "the engine refused media of a call");
                self.lose_media(cx);
            }
            MediaEvent::LeaseExpired { .. } => self.lose_media(cx),
            MediaEvent::Settled { .. } => self.close(cx),
            _ => {}
        }
    }

    fn lose_media(&mut self, cx: &mut Cx<'_>) {
        if self.ended {
            return;
        }
        if self.winner.is_some() {
            self.hang_up(cx, "media lost");
        } else {
            self.refuse(cx, Reply::new(503).header("Retry-After", "5"), "media lost");
        }
    }

    /// A time that was waited for has come; it is not waited for again.
    pub(super) fn handle_timer(&mut self, cx: &mut Cx<'_>, at: Instant) {
        if self.closing.as_ref().is_some_and(|closing| closing.due <= at) {
            self.close(cx);
        }
        if self.ended {
            return;
        }
        self.join_again(cx, at);
        if self.winner.is_some() {
            if self.lasts_until.take_if(|until| *until <= at).is_some() {
                return self.hang_up(cx, "longest duration reached");
            }
            self.handle_watches(cx, at);
        } else if self.rings_until.take_if(|until| *until <= at).is_some() {
            self.drive(cx, Event::GiveUp, None);
        } else if self.group_until.take_if(|until| *until <= at).is_some() {
            self.drive(cx, Event::NoAnswer, None);
        } else {
            self.hops_silent(cx, at);
            self.trunks_silent(cx, at);
        }
    }

    /// The daemon stops.
    pub(super) fn shut_down(&mut self, cx: &mut Cx<'_>) {
        if self.ended {
            return;
        }
        if self.winner.is_some() {
            self.hang_up(cx, "Tandem stops");
        } else {
            self.refuse(cx, Reply::new(503).header("Retry-After", "10"), "Tandem stops");
        }
    }

    /// The rows and the offer of a request for the other party.
    pub(super) fn offer_on(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        request: &Message,
    ) -> Result<Fields, Reply> {
        self.may_offer(cx, side)?;
        let (to, from) = (self.leg(side.other()), self.leg(side));
        let (now, key) = (cx.world.now, self.key());
        let offer = cx.world.media.offer(now, key, from, to, request.body());
        let offer = offer.map_err(|error| media_refusal(&error))?;
        self.say(side.other(), &offer);
        Ok(headers::end_to_end(request).body(SDP, offer))
    }
}

/// The status of the other party's failure, for the one that asked.
fn told_status(status: u16, exchange: &Exchange) -> u16 {
    match status {
        // Its session timer is negotiated with us alone.
        422 if matches!(exchange.method, Method::Invite | Method::Update) => 500,
        // Its challenge is for us, and we have no credentials.
        401 | 407 => 403,
        // It does not know its dialog; the asker's own one is alive until our BYE, and 481 or 408
        // would say that it is not (RFC 3261 §12.2.1.2).
        481 => 500,
        408 => 504,
        status => status,
    }
}

/// The answer to OPTIONS (RFC 3261 §11.2).
pub(crate) fn capabilities() -> Reply {
    Reply::new(200)
        .header("Allow", headers::ALLOW)
        .header("Accept", headers::ACCEPT)
        .header("Accept-Encoding", "identity")
        .header("Accept-Language", "en")
        .header("Supported", "100rel, norefersub, path, replaces, timer")
}
