//! How a call ends: its media is released and its record journalled before anybody is told.

use super::model::{Call, Cx};
use crate::journal::Entry;
use crate::record::{CallRecord, Cause, ReleasedBy};
use crate::snapshot::ControlEvent;
use tandem_signalling::build::reason_phrase;
use tandem_signalling::message::Message;

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
    /// Ends the call: media, record, journal, listeners. Only the first time counts; the messages
    /// that follow from it are sent by the caller of this function, afterwards.
    pub(super) fn end(&mut self, cx: &mut Cx<'_>, status: u16, text: &str, by: ReleasedBy) {
        if self.ended {
            return;
        }
        self.ended = true;
        let world = &mut *cx.world;
        let mut record = CallRecord {
            id: self.id.to_string(),
            from: self.from.clone(),
            to: self.to.clone(),
            started_at: self.times.started_at,
            ringing_at: self.times.ringing_at,
            answered_at: self.times.answered_at,
            ended_at: world.wall,
            setup_ms: None,
            ring_ms: None,
            duration_ms: None,
            cause: Cause { sip_status: status, text: text.to_owned(), by },
            recovered: false,
            legs: world.media.release(world.now, self.key()),
        };
        record.fill_durations();
        // The wall clock may have been set meanwhile; the monotonic one was not.
        record.duration_ms = self
            .times
            .answered
            .map(|at| u64::try_from(world.now.since(at).as_millis()).unwrap_or(u64::MAX));
        tracing::info!(
            call = record.id,
            status,
            cause = text,
            by = by.key(),
            duration_ms = record.duration_ms,
            "call ended"
        );
        *cx.totals.ended.entry(status).or_default() += 1;
        let record = Box::new(record);
        world.journal.append(Entry::CallEnded(record.clone()));
        world.shared.tell(|| ControlEvent::CallEnded { record });
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
