//! One offer at a time: which offer may go on to the other party now, and what the others are told.
//!
//! | on the asker's own leg | the asker gets |
//! | --- | --- |
//! | its own offer has no answer yet | 500 with Retry-After (RFC 3261 §14.2, RFC 3311 §5.2) |
//! | an offer that it got has no answer yet | 491 (RFC 3261 §14.2, RFC 3311 §5.2) |
//!
//! An offer that is open between Tandem and the other party alone is glare too: the asker tries
//! again when its timer of RFC 3261 §14.1 says so. Two offers that cross between the legs are both
//! met with 491, and since each party owns another Call-ID the timers part them.

use super::model::{Call, Cx, Offer, Side};
use tandem_signalling::method::Method;
use tandem_signalling::stack::Reply;

impl Call {
    /// Whether a party may make an offer now.
    pub(super) fn may_offer(&self, cx: &mut Cx<'_>, from: Side) -> Result<(), Reply> {
        let open = |side: Side| {
            self.exchanges.iter().any(|it| {
                it.from == side && (it.offer != Offer::None || it.method == Method::Invite)
            })
        };
        if open(from) {
            return Err(later(cx));
        }
        if open(from.other()) || self.is_refreshing_with_offer() {
            return Err(Reply::new(491));
        }
        if self.callee_ack_due {
            // The callee's offer waits for the caller's ACK.
            return Err(if from == Side::Caller { Reply::new(491) } else { later(cx) });
        }
        if self.winner.is_some() {
            return Ok(());
        }
        match (from, self.early.settled, self.is_callee_settled()) {
            (_, true, true) => Ok(()),
            (Side::Caller, false, _) => Err(later(cx)),
            _ => Err(Reply::new(491)),
        }
    }

    /// Whether offer and answer of the only branch are complete.
    fn is_callee_settled(&self) -> bool {
        matches!(self.branches.as_slice(), [only] if only.settled)
    }
}

/// An offer before the last one was answered.
pub(super) fn later(cx: &mut Cx<'_>) -> Reply {
    let seconds = cx.world.stack.retry_delay().as_secs();
    Reply::new(500).header("Retry-After", seconds.to_string())
}
