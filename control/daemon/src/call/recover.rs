//! Calls that were alive when an earlier daemon was killed and that cannot be taken over, for they
//! rang: each ends up in a record.
//!
//! Their transactions died with the daemon, so nobody can answer the caller any more. Their media
//! is ended as soon as the engine shows it; the record has its figures. If the engine does not
//! know the call, the record is written when it had time enough to say so.

use super::id::CallId;
use crate::core::World;
use crate::journal::{AliveCall, Entry};
use crate::media::{CallKey, MediaEvent};
use crate::record::{CallRecord, Cause, LegReport, ReleasedBy};
use crate::snapshot::ControlEvent;
use core::time::Duration;
use std::collections::HashMap;
use tandem_wire::time::Instant;

/// How long an engine has to be attached, to tell what it holds, and to end it.
const GRACE: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Lost {
    call: AliveCall,
    /// Its record is written then at the latest.
    until: Instant,
}

/// Calls of an earlier daemon without a record.
#[derive(Debug)]
pub struct Recovery {
    lost: HashMap<CallId, Lost>,
}

impl Recovery {
    /// The calls that cannot be taken over.
    #[must_use]
    pub fn new(now: Instant, lost: Vec<AliveCall>) -> Self {
        let until = now + GRACE;
        let lost = lost.into_iter().map(|call| (CallId(call.setup.key), Lost { call, until }));
        Self { lost: lost.collect() }
    }

    /// How many are left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lost.len()
    }

    /// Whether none is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lost.is_empty()
    }

    /// What the engine tells of media that this daemon did not ask for: nobody else will end it.
    pub fn handle_media(&mut self, world: &mut World, event: MediaEvent) {
        match event {
            MediaEvent::Found { call, .. } => world.media.end_found(world.now, call),
            MediaEvent::FoundEnded { call, legs } => {
                if let Some(lost) = self.lost.remove(&CallId(call.0)) {
                    write_record(world, lost.call, legs);
                }
            }
            _ => {}
        }
    }

    /// When [`Recovery::handle_timeout`] is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.lost.values().map(|lost| lost.until).min()
    }

    /// Writes the records of calls that the engine does not know, or of whose end it said nothing.
    pub fn handle_timeout(&mut self, world: &mut World) {
        let now = world.now;
        for (id, lost) in self.lost.extract_if(|_, lost| lost.until <= now) {
            let legs = world.media.report_found(CallKey(id.0));
            write_record(world, lost.call, legs);
        }
    }
}

/// Writes the record. Nobody saw when it ended: how long it rang, or how long they talked, is not
/// known.
fn write_record(world: &World, call: AliveCall, legs: Vec<LegReport>) {
    let answered = call.answered.as_ref();
    let mut record = CallRecord {
        id: call.setup.id,
        from: call.setup.from,
        to: call.setup.to,
        started_at: call.setup.started_at,
        ringing_at: answered.and_then(|it| it.ringing_at),
        answered_at: answered.map(|it| it.answered_at),
        ended_at: world.wall,
        setup_ms: None,
        ring_ms: None,
        duration_ms: None,
        cause: Cause {
            sip_status: if answered.is_some() { 200 } else { 500 },
            text: "tandem restarted".into(),
            by: ReleasedBy::Tandem,
        },
        recovered: true,
        referred_by: None,
        legs,
    };
    record.fill_durations();
    record.duration_ms = None;
    record.ring_ms = None;
    let record = Box::new(record);
    world.journal.append(Entry::CallEnded(record.clone()));
    world.shared.tell(|| ControlEvent::CallEnded { record });
}
