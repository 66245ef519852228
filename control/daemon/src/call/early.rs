//! Before the answer: reliable provisional responses from leg to leg (RFC 3262), and offers in
//! early dialogs (RFC 3311).
//!
//! | caller | callee | what happens |
//! | --- | --- | --- |
//! | 100rel | 100rel | the PRACK of the caller goes on to the callee, with its offer or answer |
//! | 100rel | without | provisional responses are sent reliably; PRACK is answered here |
//! | without | 100rel | Tandem acknowledges at once |
//!
//! Several branches share the one dialog of the caller, in which an answer that is sent reliably
//! binds (RFC 3261 §13.2.1). With more than one branch such answers therefore wait for the 2xx,
//! or go unreliably if the caller does not insist.

use super::headers;
use super::model::{Asked, Call, Cx, Offer, Side};
use super::ringing::SDP;
use super::setup::is_sdp;
use crate::core::World;
use std::collections::VecDeque;
use tandem_signalling::header::Header;
use tandem_signalling::message::Message;
use tandem_signalling::method::Method;
use tandem_signalling::stack::{DialogId, Fields, Reply, ServerTx};

/// The option tag of reliable provisional responses.
pub(super) const RELIABLE: &str = "100rel";

/// A reliable provisional response that the caller has yet to acknowledge.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited {
    /// The callee's dialog whose own response waits for the caller's PRACK.
    pub(super) linked: Option<DialogId>,
    /// Its body was an offer, so that the PRACK brings the answer.
    pub(super) offer: bool,
}

/// What the caller was told before the answer.
#[derive(Debug, Default)]
pub(super) struct Early {
    pub(super) awaited: VecDeque<Awaited>,
    /// The first offer and answer of the caller's dialog are complete.
    pub(super) settled: bool,
}

impl Call {
    /// Whether provisional responses to the caller are sent reliably.
    pub(super) fn is_reliable(&self, world: &World) -> bool {
        let wished = self.branches.len() == 1 && world.settings.reliable_provisional;
        self.invite.lists(Header::Require, RELIABLE)
            || wished && self.invite.lists(Header::Supported, RELIABLE)
    }

    /// Whether 100rel is announced to callees. Their offer in a reliable response would want an
    /// answer of the caller's PRACK.
    pub(super) fn announces_reliable(&self, world: &World) -> bool {
        !self.offerless || self.is_reliable(world) && self.branches.len() == 1
    }

    /// Acknowledges what a branch said reliably, unless the caller's PRACK will.
    pub(super) fn acknowledge(&self, cx: &mut Cx<'_>, dialog: DialogId) {
        let is_due = |world: &World| world.stack.dialog(dialog).is_some_and(|it| it.is_prack_due());
        let linked = self.early.awaited.iter().any(|it| it.linked == Some(dialog));
        while !linked && is_due(cx.world) {
            let sent = cx.world.request_in_dialog(dialog, Method::Prack, Fields::new());
            if let Err(error) = sent {
                tracing::debug!(call = %self.id, %error, "no PRACK could be sent");
                return;
            }
        }
    }

    /// The PRACK of a party: it goes on to the party whose response it acknowledges in the end.
    pub(super) fn prack(&mut self, cx: &mut Cx<'_>, from: Side, tx: ServerTx, request: &Message) {
        let awaited = if from == Side::Caller { self.early.awaited.pop_front() } else { None };
        let linked = awaited.and_then(|it| it.linked).filter(|dialog| {
            cx.world.stack.dialog(*dialog).is_some_and(|dialog| dialog.is_prack_due())
        });
        let fields = match awaited {
            _ if !is_sdp(request) => Ok((Fields::new(), Offer::None)),
            Some(awaited) if awaited.offer => self.answer_on(cx, request),
            _ => self.offer_on(cx, from, request).map(|fields| (fields, Offer::Request)),
        };
        let (fields, offer) = match fields {
            Ok(it) => it,
            Err(reply) => {
                cx.respond(tx, reply);
                return self.acknowledge_linked(cx, linked);
            }
        };
        let asked = Asked { from, tx, method: Method::Prack, session: None };
        match (linked, self.dialog(from.other())) {
            (Some(dialog), _) => {
                self.pass_on(cx, asked, dialog, Method::Prack, fields, offer);
            }
            // The other party speaks no 100rel, or was acknowledged before: an offer goes on by
            // itself.
            (None, Some(dialog)) if offer == Offer::Request => {
                self.pass_on(cx, asked, dialog, Method::Update, fields, offer);
            }
            _ => {
                cx.respond(tx, Reply::new(200));
            }
        }
    }

    fn acknowledge_linked(&self, cx: &mut Cx<'_>, linked: Option<DialogId>) {
        if let Some(dialog) = linked {
            self.acknowledge(cx, dialog);
        }
    }

    /// The answer in a PRACK to the offer of a reliable provisional response.
    fn answer_on(&mut self, cx: &mut Cx<'_>, prack: &Message) -> Result<(Fields, Offer), Reply> {
        let (now, key) = (cx.world.now, self.key());
        let (from, to) = (self.leg(Side::Caller), self.leg(Side::Callee));
        let answer = cx.world.media.answer(now, key, from, to, prack.body(), false);
        let answer = answer.map_err(|error| super::ringing::media_refusal(&error))?;
        self.early.settled = true;
        if let [branch] = self.branches.as_mut_slice() {
            branch.settled = true;
        }
        Ok((headers::end_to_end(prack).body(SDP, answer), Offer::None))
    }
}
