//! The thread behind the journal: group commit, the way into the store, and rotation.

use super::segment::{Folder, Segment};
use super::{
    AliveCall, Entry, Inner, JournalCounters, JournalError, MAX_UNMOVED, Queue, SEGMENT_SIZE,
    SYNC_WITHIN, note_write_error,
};
use crate::store::{Batch, Store};
use std::collections::HashMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long entries gather before they are synced: less than half of what is promised, the rest
/// is the disk's.
const GATHER: Duration = Duration::from_millis(SYNC_WITHIN.as_millis() as u64 * 2 / 5);
/// How long to wait before a refused write or batch is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// The state of the thread.
#[derive(Debug)]
pub(super) struct Mover {
    folder: Folder,
    store: Arc<dyn Store>,
    /// Closed segments, to be deleted once the store has their entries.
    closed: Vec<PathBuf>,
    /// Calls without an end.
    alive: HashMap<String, AliveCall>,
    /// What the store has not taken yet.
    pending: Batch,
    /// Whether `pending` had to leave entries out: segments stay until a restart.
    overflowed: bool,
}

/// What one look at the queue gave.
struct Taken {
    entries: Vec<Entry>,
    since: Option<Instant>,
    file: Option<Arc<File>>,
    full: bool,
    stop: bool,
}

impl Mover {
    pub(super) fn new(folder: Folder, store: Arc<dyn Store>, closed: Vec<PathBuf>) -> Self {
        Self {
            folder,
            store,
            closed,
            alive: HashMap::new(),
            pending: Batch::default(),
            overflowed: false,
        }
    }

    /// Keeps book of the calls that have no end.
    pub(super) fn note(&mut self, entry: &Entry) {
        match entry {
            Entry::CallSetup(setup) => {
                let call = AliveCall { setup: setup.clone(), answered: None };
                self.alive.entry(setup.id.clone()).or_insert(call);
            }
            Entry::CallAnswered(answered) => {
                if let Some(call) = self.alive.get_mut(&answered.id) {
                    call.answered = Some(answered.clone());
                }
            }
            Entry::CallEnded(record) => drop(self.alive.remove(&record.id)),
            Entry::Registered(_) | Entry::Unregistered { .. } => {}
        }
    }

    /// Calls without an end, oldest first.
    pub(super) fn alive(&self) -> Vec<AliveCall> {
        let mut calls: Vec<_> = self.alive.values().cloned().collect();
        calls.sort_by(|a, b| {
            (a.setup.started_at, &a.setup.id).cmp(&(b.setup.started_at, &b.setup.id))
        });
        calls
    }

    /// Begins the first segment; the old ones are deleted, for the store has their entries.
    pub(super) fn begin(&mut self) -> Result<Segment, JournalError> {
        let mut segment = self.folder.begin()?;
        let copied = self.checkpoint(|bytes| segment.append(bytes));
        match copied.and_then(|()| segment.file().sync_data()) {
            Ok(()) => self.delete_closed(),
            Err(error) => tracing::error!(
                %error,
                "the journal cannot be written; old segments are kept: free disk space in the data folder"
            ),
        }
        Ok(segment)
    }

    /// Writes set-up and answer of all living calls again, so that older segments can go.
    fn checkpoint(
        &self,
        mut write: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        for call in self.alive() {
            let setup = Entry::CallSetup(call.setup);
            let answered = call.answered.map(Entry::CallAnswered);
            for entry in [Some(setup), answered].into_iter().flatten() {
                if let Some(bytes) = super::frame::encode(&entry) {
                    write(&bytes)?;
                }
            }
        }
        Ok(())
    }

    fn delete_closed(&mut self) {
        self.closed.retain(|path| match fs::remove_file(path) {
            Ok(()) => false,
            Err(error) => error.kind() != std::io::ErrorKind::NotFound,
        });
    }

    pub(super) fn run(&mut self, inner: &Inner) {
        loop {
            let taken = self.gather(inner);
            self.sync(inner, &taken);
            self.take_over(taken.entries, &inner.counters);
            let moved = self.move_pending(&inner.counters);
            if taken.full || taken.stop {
                self.rotate(inner);
            }
            if taken.stop {
                if moved && self.pending.is_empty() && self.alive.is_empty() {
                    self.finish(inner);
                }
                return;
            }
            let unwritten = inner.counters.unwritten.load(Ordering::Relaxed) > 0;
            if !moved || unwritten {
                let queue = inner.lock();
                if !queue.stop {
                    drop(inner.wake.wait_timeout(queue, RETRY));
                }
            }
        }
    }

    /// Waits for entries and lets them gather.
    fn gather(&self, inner: &Inner) -> Taken {
        let mut queue = inner.lock();
        let retry = !self.pending.is_empty() || !queue.unwritten.is_empty();
        while queue.since.is_none() && !queue.stop && !retry {
            queue = inner.wake.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        while let Some(since) = queue.since
            && !queue.stop
            && since.elapsed() < GATHER
        {
            let left = GATHER.saturating_sub(since.elapsed());
            queue = inner
                .wake
                .wait_timeout(queue, left)
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .0;
        }
        take(&mut queue, &inner.counters)
    }

    fn sync(&self, inner: &Inner, taken: &Taken) {
        let Some(file) = &taken.file else { return };
        if taken.entries.is_empty() && taken.since.is_none() && !taken.stop {
            return;
        }
        let counters = &inner.counters;
        match file.sync_data() {
            Ok(()) => {
                counters.syncs.fetch_add(1, Ordering::Relaxed);
                if let Some(since) = taken.since {
                    let took = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
                    counters.sync_max_us.fetch_max(took, Ordering::Relaxed);
                }
            }
            Err(error) => note_write_error(counters, &error),
        }
    }

    /// Takes entries into the books.
    fn take_over(&mut self, entries: Vec<Entry>, counters: &JournalCounters) {
        for entry in entries {
            self.note(&entry);
            let waiting = self.pending.records.len() + self.pending.registrations.len();
            if waiting < MAX_UNMOVED {
                self.pending.add(&entry);
            } else {
                self.overflowed |= entry.is_for_store();
            }
        }
        let waiting = self.pending.records.len() + self.pending.registrations.len();
        counters.unmoved.store(waiting as u64, Ordering::Relaxed);
    }

    /// Moves what is pending into the store; tells whether nothing is left.
    fn move_pending(&mut self, counters: &JournalCounters) -> bool {
        if self.pending.is_empty() {
            return true;
        }
        match self.store.apply(&self.pending) {
            Ok(()) => {
                self.pending = Batch::default();
                counters.unmoved.store(0, Ordering::Relaxed);
                true
            }
            Err(error) => {
                let errors = counters.store_errors.fetch_add(1, Ordering::Relaxed);
                if errors.is_multiple_of(120) {
                    tracing::error!(%error, "call records wait in the journal for the store");
                }
                false
            }
        }
    }

    /// Closes the segment and begins a new one; deletes the closed ones when nothing needs them.
    fn rotate(&mut self, inner: &Inner) {
        let next = match self.folder.begin() {
            Ok(segment) => segment,
            Err(error) => {
                inner.counters.write_errors.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%error, "the journal goes on in its old file");
                return;
            }
        };
        let next_file = next.file();
        let (old, taken) = {
            let mut queue = inner.lock();
            let old = queue.segment.replace(next);
            (old, take(&mut queue, &inner.counters))
        };
        if let Some(old) = old {
            if let Err(error) = old.file().sync_data() {
                note_write_error(&inner.counters, &error);
            }
            self.closed.push(old.path().to_owned());
        }
        self.overflowed |= {
            let queue = inner.lock();
            queue.overflowed || !queue.unwritten.is_empty()
        };
        self.take_over(taken.entries, &inner.counters);
        let copied = self.checkpoint(|bytes| match inner.lock().segment.as_mut() {
            Some(segment) => segment.append(bytes),
            None => Ok(()),
        });
        let copied = copied.and_then(|()| next_file.sync_data());
        let moved = self.move_pending(&inner.counters);
        match copied {
            Ok(()) if moved && !self.overflowed => self.delete_closed(),
            Ok(()) => {}
            Err(error) => note_write_error(&inner.counters, &error),
        }
    }

    /// After a clean end nothing is needed any more.
    fn finish(&mut self, inner: &Inner) {
        let mut queue = inner.lock();
        if self.overflowed || queue.overflowed || !queue.unwritten.is_empty() {
            return;
        }
        if queue.fresh.is_empty()
            && let Some(segment) = queue.segment.take()
        {
            self.closed.push(segment.path().to_owned());
            self.delete_closed();
        }
    }
}

/// Takes what came since the last look, and tries the frames again that the disk had refused.
fn take(queue: &mut Queue, counters: &JournalCounters) -> Taken {
    queue.retry(counters);
    Taken {
        entries: std::mem::take(&mut queue.fresh),
        since: queue.since.take(),
        file: queue.segment.as_ref().map(Segment::file),
        full: queue.segment.as_ref().is_some_and(|segment| segment.length() >= SEGMENT_SIZE),
        stop: queue.stop,
    }
}
