//! The thread that moves durable entries into the store and deletes segments that nobody needs.

use super::segment::Segment;
use super::syncer::Step;
use super::{
    AliveCall, CallAcknowledged, Entry, Inner, JournalCounters, JournalError, MAX_UNMOVED, frame,
    note_write_error, segment::Folder,
};
use crate::store::{Batch, Store, StoreError};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long to wait before a refused batch is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// Under load the store gets a batch at most so often: a transaction writes whole pages, however few
/// records it has. What comes after a quiet time is moved at once.
const PACE: Duration = Duration::from_millis(250);
/// Entries of one transaction at most, so that a catch-up does not hold the store for long.
const MAX_BATCH: usize = 4_096;

/// The state of the thread.
#[derive(Debug)]
pub(super) struct Mover {
    store: Arc<dyn Store>,
    /// Closed segments, to be deleted once the store has their entries.
    closed: Vec<PathBuf>,
    /// Calls without an end.
    alive: HashMap<String, AliveCall>,
    /// What the store has not taken yet.
    pending: Batch,
    /// Whether entries are in the journal alone: segments stay until a restart reads them.
    incomplete: bool,
}

impl Mover {
    pub(super) fn new(store: Arc<dyn Store>, closed: Vec<PathBuf>) -> Self {
        Self { store, closed, alive: HashMap::new(), pending: Batch::default(), incomplete: false }
    }

    /// Keeps book of the calls that have no end.
    pub(super) fn note(&mut self, entry: &Entry) {
        match entry {
            Entry::CallSetup(setup) => {
                let call = || AliveCall::new(setup.clone());
                self.alive.entry(setup.id.clone()).or_insert_with(call);
            }
            Entry::CallAnswered(answered) => {
                if let Some(call) = self.alive.get_mut(&answered.id) {
                    call.answer(answered);
                }
            }
            Entry::CallAcknowledged(it) => {
                if let Some(call) = self.alive.get_mut(&it.id) {
                    call.acknowledge(it);
                }
            }
            Entry::CallEnded(record) => drop(self.alive.remove(&record.id)),
            Entry::Registered(_) | Entry::Unregistered { .. } => {}
        }
    }

    /// Forgets calls whose record the store has: the end of a call may lie in a segment that is
    /// gone already, while its set-up was carried over.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub(super) fn forget_recorded(&mut self) -> Result<(), StoreError> {
        let ids: Vec<String> = self.alive.keys().cloned().collect();
        for id in ids {
            if self.store.record(&id)?.is_some() {
                self.alive.remove(&id);
            }
        }
        Ok(())
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
    ///
    /// # Errors
    /// [`JournalError::Folder`] if the file cannot be made.
    pub(super) fn begin(&mut self, folder: &mut Folder) -> Result<Segment, JournalError> {
        let mut segment = folder.begin()?;
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
    fn checkpoint(&self, mut write: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        for call in self.alive() {
            let acknowledged = call.answered.as_ref().filter(|_| call.acknowledged).map(|it| {
                let (id, revision) = (it.id.clone(), it.revision);
                Entry::CallAcknowledged(CallAcknowledged { id, revision })
            });
            let setup = Entry::CallSetup(call.setup);
            let answered = call.answered.map(Entry::CallAnswered);
            for entry in [Some(setup), answered, acknowledged].into_iter().flatten() {
                if let Some(bytes) = frame::encode(&entry) {
                    write(&bytes)?;
                }
            }
        }
        Ok(())
    }

    fn delete_closed(&mut self) {
        self.closed.retain(|path| match fs::remove_file(path) {
            Ok(()) => false,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        });
    }

    /// Runs until the syncer has ended.
    pub(super) fn run(&mut self, inner: &Inner, steps: &Receiver<Step>) {
        let mut due = Instant::now();
        loop {
            let step = if self.pending.is_empty() {
                steps.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                steps.recv_timeout(due.saturating_duration_since(Instant::now()))
            };
            match step {
                Ok(step) => self.take_all(inner, step, steps),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if Instant::now() >= due || self.pending.len() >= MAX_BATCH {
                self.move_pending(&inner.counters);
                due = Instant::now() + if self.pending.is_empty() { PACE } else { RETRY };
            }
            self.tidy(inner);
        }
        self.move_pending(&inner.counters);
        self.tidy(inner);
        self.finish(inner);
    }

    /// Takes this step and those that wait behind it, up to one batch.
    fn take_all(&mut self, inner: &Inner, first: Step, steps: &Receiver<Step>) {
        let mut next = Some(first);
        while let Some(step) = next {
            match step {
                Step::Synced(entries) => {
                    for entry in &entries {
                        self.note(entry);
                        if self.pending.len() < MAX_UNMOVED {
                            self.pending.add(entry);
                        } else if entry.is_for_store() {
                            self.leave_out();
                        }
                    }
                }
                Step::Closed(path) => self.carry_over(inner, path),
            }
            next = if self.pending.len() < MAX_BATCH { steps.try_recv().ok() } else { None };
        }
        inner.counters.unmoved.store(self.pending.len() as u64, Ordering::Relaxed);
    }

    /// Leaves an entry to the journal alone: memory has no room for more.
    fn leave_out(&mut self) {
        if !self.incomplete {
            tracing::error!(
                limit = MAX_UNMOVED,
                "the store takes nothing for too long: further call records stay in the journal until a restart; see whether the disk is full or another process holds the store"
            );
        }
        self.incomplete = true;
    }

    /// Writes the living calls to the new segment, so that the closed one can go.
    fn carry_over(&mut self, inner: &Inner, path: PathBuf) {
        inner.lock().carried = 0;
        let copied = self.checkpoint(|bytes| {
            let mut queue = inner.lock();
            queue.carried += bytes.len() as u64;
            queue.segment.as_mut().map_or(Ok(()), |segment| segment.append(bytes))
        });
        let file = inner.lock().segment.as_ref().map(Segment::file);
        match copied.and_then(|()| file.map_or(Ok(()), |file| file.sync_data())) {
            Ok(()) => self.closed.push(path),
            // It is not deleted before the next start, which reads it.
            Err(error) => note_write_error(&inner.counters, &error),
        }
    }

    /// Moves what is pending into the store.
    fn move_pending(&mut self, counters: &JournalCounters) {
        if self.pending.is_empty() {
            return;
        }
        match self.store.apply(&self.pending) {
            Ok(()) => {
                self.pending = Batch::default();
                counters.unmoved.store(0, Ordering::Relaxed);
            }
            Err(error) => {
                let errors = counters.store_errors.fetch_add(1, Ordering::Relaxed);
                if errors.is_multiple_of(120) {
                    tracing::error!(%error, "call records wait in the journal for the store");
                }
            }
        }
    }

    /// Whether the store has everything that was taken.
    fn complete(&mut self, inner: &Inner) -> bool {
        self.incomplete |= inner.lock().overflowed;
        self.pending.is_empty() && !self.incomplete
    }

    fn tidy(&mut self, inner: &Inner) {
        if !self.closed.is_empty() && self.complete(inner) {
            self.delete_closed();
        }
    }

    /// The end: if the store has everything and no call lives, no segment is needed.
    fn finish(&mut self, inner: &Inner) {
        if !self.complete(inner) || !self.alive.is_empty() {
            return;
        }
        let mut queue = inner.lock();
        if queue.fresh.is_empty()
            && queue.unwritten.is_empty()
            && let Some(segment) = queue.segment.take()
        {
            self.closed.push(segment.path().to_owned());
            drop(queue);
            self.delete_closed();
        }
    }
}
