//! Calls that were alive when an earlier daemon was killed: each ends up in a record.
//!
//! The engine relays on until the lease of such a call runs out, which nobody renews: the dialogs
//! died with the daemon. The record is written when the engine tells its last figures, or, if the
//! engine does not know the call, when it had time enough to say so. Then both parties get a BYE.

use super::id::CallId;
use crate::core::World;
use crate::journal::{AliveCall, Entry};
use crate::media::{CallKey, MediaEvent};
use crate::record::{CallRecord, Cause, LegReport, ReleasedBy};
use crate::snapshot::ControlEvent;
use core::time::Duration;
use std::collections::HashMap;
use tandem_wire::time::Instant;

/// How long an engine has to be attached and to tell what it holds, and how long it has after the
/// lease of a call to tell that it ended.
const GRACE: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Lost {
    call: AliveCall,
    /// Whether the engine relays it still.
    found: bool,
    /// Its record is written then at the latest.
    until: Instant,
}

/// Calls of an earlier daemon without a record.
#[derive(Debug)]
pub struct Recovery {
    lost: HashMap<CallId, Lost>,
}

impl Recovery {
    /// The calls that the journal knows as alive.
    #[must_use]
    pub fn new(now: Instant, alive: Vec<AliveCall>) -> Self {
        let until = now + GRACE;
        let lost = alive
            .into_iter()
            .map(|call| (CallId(call.setup.key), Lost { call, found: false, until }));
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

    /// What the engine tells of calls that this daemon did not make.
    pub fn handle_media(&mut self, world: &mut World, event: MediaEvent) {
        match event {
            MediaEvent::Found { call, .. } => match self.lost.get_mut(&CallId(call.0)) {
                Some(lost) => {
                    lost.found = true;
                    lost.until = world.now + world.media.lease() + GRACE;
                }
                // Its record is written already, or it is nobody's.
                None => world.media.end_found(world.now, call),
            },
            MediaEvent::FoundEnded { call, legs } => {
                if let Some(lost) = self.lost.remove(&CallId(call.0)) {
                    write_record(world, lost.call, legs, lost.found);
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
            let key = CallKey(id.0);
            let legs = world.media.report_found(key);
            world.media.end_found(now, key);
            write_record(world, lost.call, legs, lost.found);
        }
    }
}

/// Writes the record; `found` if the engine relayed the call until now.
fn write_record(world: &mut World, call: AliveCall, legs: Vec<LegReport>, found: bool) {
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
        legs,
    };
    record.fill_durations();
    if !found {
        // Nobody saw when it ended: how long they talked, or how long it rang, is not known.
        record.duration_ms = None;
        record.ring_ms = None;
    }
    let record = Box::new(record);
    world.journal.append(Entry::CallEnded(record.clone()));
    world.shared.tell(|| ControlEvent::CallEnded { record });
    if let Some(legs) = call.answered.and_then(|it| it.resume) {
        super::resume::end(world, legs);
    }
}
