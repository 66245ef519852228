//! The trace: the SIP messages of the last minutes, kept in memory, so that "what happened in that
//! call" has an answer after it happened.
//!
//! The signalling thread writes every message that comes and goes into a ring of fixed size; that
//! costs one copy and takes an uncontended lock for that long. Readers take the blocks along and
//! search them outside of the lock.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`ring`] | blocks of entries, the oldest written over |
//! | [`dialogue`] | the messages of one call, both legs, out of the ring |
//! | [`secret`] | what of a message is not for everybody's eyes |
//! | [`pcap`] | the same messages as a capture file |
//! | [`hep`] | a copy of each message for a capture server (Homer) |

pub mod dialogue;
pub mod hep;
pub mod pcap;
pub mod ring;
pub mod secret;

pub use dialogue::{Direction, TracedCall, TracedMessage};

use crate::call::id::CallId;
use jiff::Timestamp;
use ring::{Entry, Ring};
use std::sync::{Arc, Mutex, MutexGuard};
use tandem_signalling::stack::Flow;

/// Writer and readers of the trace. Clones share it.
#[derive(Clone, Debug)]
pub struct Trace {
    ring: Arc<Mutex<Ring>>,
    hep: Option<hep::Exporter>,
}

impl Trace {
    /// A trace that keeps about this many octets, 0 for none, and sends a copy to `hep`.
    #[must_use]
    pub fn new(octets: usize, hep: Option<hep::Exporter>) -> Self {
        Self { ring: Arc::new(Mutex::new(Ring::new(octets))), hep }
    }

    /// A message came or goes.
    pub fn message(&self, at: Timestamp, direction: Direction, flow: &Flow, bytes: &[u8]) {
        self.lock().push(&Entry::Message { at, direction, flow: *flow, bytes });
        if let Some(hep) = &self.hep {
            hep.message(at, direction, flow, bytes);
        }
    }

    /// A call has a leg with this Call-ID.
    pub fn leg(&self, call: CallId, call_id: &str) {
        self.lock().push(&Entry::Leg { call, call_id });
    }

    /// The messages of a call: `id` is Tandem's own, or the Call-ID of one of its legs, or that of
    /// a dialogue that is no call (a registration). `None` if nothing is left of it.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<TracedCall> {
        let blocks = self.lock().blocks();
        dialogue::find(&blocks, id)
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        // A panic in between leaves whole entries: an entry is one append.
        self.ring.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
