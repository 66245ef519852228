//! How a call ends: its media is released and its record journalled before anybody is told.
//!
//! The engine needs a moment to end what was subtracted and to publish the last figures. No thread
//! waits for it: a call stops its media and notes what is to be sent. When the engine has said that
//! all is ended, it collects the figures, journals the record and sends.

use super::model::{Call, Cx};
use crate::journal::Entry;
use crate::logging::Redacted;
use crate::record::{CallRecord, Cause, LegReport, ReleasedBy};
use crate::snapshot::ControlEvent;
use core::time::Duration;
use jiff::Timestamp;
use tandem_signalling::build::reason_phrase;
use tandem_signalling::message::Message;
use tandem_signalling::stack::{DialogId, Fields, Reply, ServerTx};
use tandem_wire::time::Instant;

/// How long the engine may take to end what was subtracted; then the figures that it published
/// before count.
const FIGURES_WITHIN: Duration = Duration::from_millis(50);

/// What is sent when the record is journalled.
#[derive(Debug)]
pub(super) enum After {
    /// An answer.
    Respond(ServerTx, Reply),
    /// How a transfer went.
    Notify(DialogId, Fields),
    /// The end of a dialog.
    Bye(DialogId, Fields),
}

/// A call that has ended and whose record is not written yet.
#[derive(Debug)]
pub(super) struct Closing {
    cause: Cause,
    ended_at: Timestamp,
    ended: Instant,
    /// When its figures are collected at the latest.
    pub(super) due: Instant,
    after: Vec<After>,
}

/// A short sentence that says why a call was not answered.
pub(super) struct Why(pub(super) String);

impl Why {
    /// The sentence for a final status; `by_branch` tells a phone's own answer from our time-out.
    pub(super) fn failed(status: u16, by_branch: bool, response: Option<&Message>) -> Self {
        let text = match status {
            486 | 600 => "busy",
            603 => "declined",
            480 if !by_branch => "no answer",
            408 => "no response",
            487 => "cancelled",
            503 => "not reachable",
            _ => return Self(with_reason(&reason_phrase(status).to_lowercase(), response)),
        };
        Self(with_reason(text, response))
    }
}

/// A sentence with the Q.850 cause of a Reason header, if there is one (RFC 3326).
pub(super) fn with_reason(text: &str, message: Option<&Message>) -> String {
    let cause = message.and_then(|message| {
        message.reasons().find(|it| it.protocol.eq_ignore_ascii_case("Q.850"))?.cause
    });
    cause.map_or_else(|| text.to_owned(), |cause| format!("{text} (Q.850 cause {cause})"))
}

impl Call {
    /// Ends the call: media, record, journal, listeners. Only the first time counts. The messages
    /// that follow from it go through [`Call::send`], which keeps them until the record is
    /// journalled.
    pub(super) fn end(&mut self, cx: &mut Cx<'_>, status: u16, text: &str, by: ReleasedBy) {
        if self.ended {
            return;
        }
        self.ended = true;
        self.leave_limits(cx);
        let (now, ended_at) = (cx.world.now, cx.world.wall);
        let cause = Cause { sip_status: status, text: text.to_owned(), by };
        let due = now + FIGURES_WITHIN;
        self.closing =
            Some(Box::new(Closing { cause, ended_at, ended: now, due, after: Vec::new() }));
        self.drop_transfer(cx);
        self.drop_join(cx, status, by);
        cx.world.media.stop(now, self.key());
        if cx.world.media.is_settled(self.key()) {
            self.close(cx);
        }
    }

    /// Sends, once the record of the call is journalled.
    pub(super) fn send(&mut self, cx: &mut Cx<'_>, after: After) {
        match &mut self.closing {
            Some(closing) => closing.after.push(after),
            None => send_now(cx, after),
        }
    }

    /// Collects the last figures, journals the record, and sends what waited for it.
    pub(super) fn close(&mut self, cx: &mut Cx<'_>) {
        let Some(closing) = self.closing.take() else { return };
        let legs = cx.world.media.release(cx.world.now, self.key());
        let record = Box::new(self.record(closing.cause, closing.ended_at, closing.ended, legs));
        if cx.world.call_lines.allows(cx.world.now) {
            tracing::info!(
                call = record.id,
                from = %Redacted(&record.from),
                to = %Redacted(&record.to),
                status = record.cause.sip_status,
                cause = record.cause.text,
                by = record.cause.by.key(),
                duration_ms = record.duration_ms,
                "call ended"
            );
        }
        *cx.totals.ended.entry(record.cause.sip_status).or_default() += 1;
        cx.world.journal.append(Entry::CallEnded(record.clone()));
        cx.world.shared.tell(|| ControlEvent::CallEnded { record });
        for after in closing.after {
            send_now(cx, after);
        }
    }

    fn record(
        &self,
        cause: Cause,
        ended_at: Timestamp,
        ended: Instant,
        legs: Vec<LegReport>,
    ) -> CallRecord {
        let mut record = CallRecord {
            id: self.id.to_string(),
            from: self.from.clone(),
            to: self.to.clone(),
            started_at: self.times.started_at,
            ringing_at: self.times.ringing_at,
            answered_at: self.times.answered_at,
            ended_at,
            setup_ms: None,
            ring_ms: None,
            duration_ms: None,
            cause,
            recovered: self.recovered,
            referred_by: self.referred_by.as_deref().map(str::to_owned),
            legs,
        };
        record.fill_durations();
        // The wall clock may have been set meanwhile; the monotonic one was not.
        record.duration_ms =
            self.lasted(ended).map(|it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX));
        record
    }
}

fn send_now(cx: &mut Cx<'_>, after: After) {
    match after {
        After::Respond(tx, reply) => {
            cx.respond(tx, reply);
        }
        After::Notify(dialog, fields) => super::transfer::send_notify(cx, dialog, fields),
        After::Bye(dialog, fields) => cx.bye(dialog, fields),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_words() {
        assert_eq!(Why::failed(486, true, None).0, "busy");
        assert_eq!(Why::failed(480, false, None).0, "no answer");
        assert_eq!(Why::failed(480, true, None).0, "temporarily unavailable");
        assert_eq!(Why::failed(415, true, None).0, "unsupported media type");
    }
}
