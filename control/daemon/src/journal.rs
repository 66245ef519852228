//! The journal: what a `kill -9` must not lose.
//!
//! [`Journal::append`] is one `write()` to an append-only file, made before the message that
//! depends on it leaves. One thread makes the bytes durable (`fsync`) in groups, within
//! [`SYNC_WITHIN`]; another one moves entries into the store and deletes segments that are no longer
//! needed. After a crash, [`Journal::open`] reads what the store may not have yet and tells which
//! calls were alive.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`frame`] | framing of the entries in a segment, and reading with damage |
//! | [`segment`] | the segment files of a folder |
//! | `syncer` | the thread that syncs |
//! | `mover` | the thread that moves entries into the store |

pub mod frame;
mod mover;
pub mod segment;
mod syncer;

use crate::record::{CallRecord, Registration};
use crate::store::{Batch, Store, StoreError};
use jiff::Timestamp;
use mover::Mover;
use segment::{Folder, Segment};
use serde::{Deserialize, Serialize};
use std::collections::{HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

/// Entries reach the disk within this time.
pub const SYNC_WITHIN: Duration = Duration::from_millis(100);
/// A segment that has grown to this is closed and a new one is begun, octets.
pub const SEGMENT_SIZE: u64 = 16 << 20;
/// Entries kept in memory while the disk does not take them; the oldest are given up beyond it.
pub const MAX_UNWRITTEN: usize = 65_536;
/// Entries that wait for the store; beyond it they stay in the journal alone until a restart.
pub const MAX_UNMOVED: usize = 65_536;
/// Largest entry, octets.
pub const MAX_ENTRY: usize = 1 << 20;

/// A call was set up: its INVITE was accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallSetup {
    /// Id of the call and of its record.
    pub id: String,
    /// The call's number in the engine (`ContextId`).
    pub key: u64,
    /// Address of record of the caller.
    pub from: String,
    /// Address of record that was called.
    pub to: String,
    /// When the INVITE came.
    pub started_at: Timestamp,
}

/// A call was answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallAnswered {
    /// Id of the call.
    pub id: String,
    /// When the first phone rang.
    pub ringing_at: Option<Timestamp>,
    /// When it was answered.
    pub answered_at: Timestamp,
    /// Counts what was written of the call in this way; the highest counts.
    #[serde(default)]
    pub revision: u64,
    /// What the signalling thread wants back after a crash (dialogs, media), in its own words. It
    /// lies behind the JSON of the entry.
    #[serde(skip)]
    pub resume: Option<Arc<[u8]>>,
}

/// The party that was to acknowledge a 2xx has done so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallAcknowledged {
    /// Id of the call.
    pub id: String,
    /// The revision of [`CallAnswered`] that knew the 2xx.
    pub revision: u64,
}

/// What happened, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// A call was set up.
    CallSetup(CallSetup),
    /// A call was answered, or what is needed to resume it has changed.
    CallAnswered(CallAnswered),
    /// A 2xx of [`Entry::CallAnswered`] was acknowledged.
    CallAcknowledged(CallAcknowledged),
    /// A call ended.
    CallEnded(Box<CallRecord>),
    /// A contact was registered or refreshed.
    Registered(Box<Registration>),
    /// A contact was removed or ran out.
    Unregistered {
        /// Address of record.
        aor: String,
        /// Contact URI.
        contact: String,
    },
}

/// A call that was alive when the last daemon ended without ending it.
#[derive(Clone, Debug, PartialEq)]
pub struct AliveCall {
    /// Its set-up.
    pub setup: CallSetup,
    /// Its answer, the latest one.
    pub answered: Option<CallAnswered>,
    /// Whether nobody has to acknowledge it any more.
    pub acknowledged: bool,
}

impl AliveCall {
    fn new(setup: CallSetup) -> Self {
        Self { setup, answered: None, acknowledged: false }
    }

    fn answer(&mut self, answered: &CallAnswered) {
        // What is carried over into a new segment may stand behind what is newer.
        if self.answered.as_ref().is_none_or(|known| known.revision <= answered.revision) {
            self.acknowledged = false;
            self.answered = Some(answered.clone());
        }
    }

    fn acknowledge(&mut self, it: &CallAcknowledged) {
        self.acknowledged |= self.answered.as_ref().is_some_and(|at| at.revision == it.revision);
    }
}

/// What the last daemon left behind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovered {
    /// Calls that were alive, oldest first. Each must be taken over or ended by
    /// [`Entry::CallEnded`].
    pub alive: Vec<AliveCall>,
    /// Contacts that have not run out.
    pub registrations: Vec<Registration>,
    /// Entries that the journal had for the store; those that it had already changed nothing.
    pub replayed: usize,
    /// Octets of the journal that could not be read (a torn tail after a power cut).
    pub damaged_octets: u64,
}

/// How the journal does.
#[derive(Debug, Default)]
pub struct JournalCounters {
    /// Entries appended.
    pub entries: AtomicU64,
    /// Octets written.
    pub octets: AtomicU64,
    /// Group commits (`fsync`).
    pub syncs: AtomicU64,
    /// Longest time from the first entry of a group to its `fsync`, µs.
    pub sync_max_us: AtomicU64,
    /// Writes or syncs that failed.
    pub write_errors: AtomicU64,
    /// Batches that the store refused.
    pub store_errors: AtomicU64,
    /// Entries given up because the disk refused them for too long.
    pub entries_lost: AtomicU64,
    /// Entries in memory that the disk has not taken.
    pub unwritten: AtomicU64,
    /// Entries that are not in the store yet.
    pub unmoved: AtomicU64,
}

/// Why the journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The folder or a file in it.
    #[error(
        "cannot {what} {path}: {source}. Choose another folder with --data DIR, or make it writable for this user"
    )]
    Folder {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Its threads.
    #[error(
        "cannot start a thread for the journal: {source}. Raise the limit of processes (ulimit -u)"
    )]
    Thread {
        /// The system's answer.
        source: io::Error,
    },
    /// The store refused what the journal holds.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What appender and mover share.
#[derive(Debug, Default)]
struct Queue {
    segment: Option<Segment>,
    /// Frames that go out with the next one.
    later: Vec<u8>,
    /// Frames that the disk has not taken yet, in order.
    unwritten: VecDeque<Vec<u8>>,
    /// Octets of the segment that were carried over from older ones.
    carried: u64,
    /// Entries since the syncer looked last.
    fresh: Vec<Entry>,
    /// When the oldest of `fresh` was appended.
    since: Option<std::time::Instant>,
    /// Whether entries were left out of `fresh`: segments must stay until a restart.
    overflowed: bool,
    stop: bool,
}

#[derive(Debug)]
struct Inner {
    queue: Mutex<Queue>,
    wake: Condvar,
    counters: JournalCounters,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A panic while the lock is held leaves the queue consistent: every change is one push.
        self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The journal of a data folder. Clones share it.
#[derive(Clone, Debug)]
pub struct Journal {
    inner: Arc<Inner>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Journal {
    /// Opens the journal in `folder` (made if it is missing), brings the store up to date, and
    /// starts the threads that sync and move.
    ///
    /// # Errors
    /// [`JournalError`] if the folder is not writable or the store refuses.
    pub fn open(folder: &Path, store: Arc<dyn Store>) -> Result<(Self, Recovered), JournalError> {
        let mut folder = Folder::open(folder)?;
        let old = folder.read()?;
        let mut batch = Batch::default();
        let mut mover = Mover::new(store.clone(), old.segments);
        let mut replayed = 0;
        let ended: HashSet<&str> = old.entries.iter().filter_map(ended_id).collect();
        for entry in &old.entries {
            replayed += usize::from(entry.is_for_store());
            batch.add(entry);
            if entry.call_id().is_none_or(|id| !ended.contains(id)) {
                mover.note(entry);
            }
        }
        store.apply(&batch)?;
        mover.forget_recorded()?;
        let alive = mover.alive();
        let first = mover.begin(&mut folder)?;
        let registrations = store.registrations(Timestamp::now())?;
        let inner = Arc::new(Inner {
            queue: Mutex::new(Queue { segment: Some(first), ..Queue::default() }),
            wake: Condvar::new(),
            counters: JournalCounters::default(),
        });
        let threads =
            start(&inner, folder, mover).map_err(|source| JournalError::Thread { source })?;
        let journal = Self { inner, threads: Arc::new(Mutex::new(threads)) };
        let recovered =
            Recovered { alive, registrations, replayed, damaged_octets: old.damaged_octets };
        Ok((journal, recovered))
    }

    /// Appends an entry: one `write()`, no wait for the disk. When it returns, the entry survives
    /// the end of this process; within [`SYNC_WITHIN`] it survives a power cut. If the disk does
    /// not take it, the error is counted and logged, and the entry is kept in memory and tried
    /// again.
    pub fn append(&self, entry: Entry) {
        self.add(entry, false);
    }

    /// Appends an entry that a `kill -9` may lose: it is written with the next one, or within
    /// [`SYNC_WITHIN`], and costs no `write()` of its own.
    pub fn append_later(&self, entry: Entry) {
        self.add(entry, true);
    }

    fn add(&self, mut entry: Entry, later: bool) {
        let counters = &self.inner.counters;
        let mut bytes = frame::encode(&entry);
        if let (None, Entry::CallEnded(record)) = (&bytes, &mut entry) {
            // Better a record without figures than none.
            tracing::error!(call = record.id, "a record is too large; its figures are left out");
            record.legs.clear();
            bytes = frame::encode(&entry);
        }
        let Some(bytes) = bytes else {
            counters.entries_lost.fetch_add(1, Ordering::Relaxed);
            tracing::error!(limit = MAX_ENTRY, "a journal entry is too large and was left out");
            return;
        };
        counters.entries.fetch_add(1, Ordering::Relaxed);
        let mut queue = self.inner.lock();
        if later {
            queue.later.extend(bytes);
        } else {
            queue.write(bytes, counters);
        }
        if queue.fresh.len() < MAX_UNMOVED {
            queue.fresh.push(entry);
        } else {
            queue.overflowed = true;
        }
        if queue.since.is_none() {
            queue.since = Some(std::time::Instant::now());
            self.inner.wake.notify_one();
        }
    }

    /// How the journal does.
    #[must_use]
    pub fn counters(&self) -> &JournalCounters {
        &self.inner.counters
    }

    /// Syncs, moves everything into the store, and ends the threads.
    pub fn close(&self) {
        self.inner.lock().stop = true;
        self.inner.wake.notify_one();
        let threads = std::mem::take(
            &mut *self.threads.lock().unwrap_or_else(std::sync::PoisonError::into_inner),
        );
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!(
                    "a thread of the journal ended by a panic; entries are read again at the next start"
                );
            }
        }
    }
}

/// Starts the two threads.
fn start(inner: &Arc<Inner>, folder: Folder, mut mover: Mover) -> io::Result<Vec<JoinHandle<()>>> {
    let (steps, taken) = std::sync::mpsc::channel();
    let sync = std::thread::Builder::new().name("journal-sync".into()).spawn({
        let inner = inner.clone();
        move || syncer::run(&inner, folder, &steps)
    })?;
    let moving = std::thread::Builder::new().name("journal-move".into()).spawn({
        let inner = inner.clone();
        move || mover.run(&inner, &taken)
    })?;
    Ok(vec![sync, moving])
}

impl Queue {
    /// Writes a frame behind those that wait.
    fn write(&mut self, mut bytes: Vec<u8>, counters: &JournalCounters) {
        if !self.later.is_empty() {
            self.later.append(&mut bytes);
            bytes = std::mem::take(&mut self.later);
        }
        if self.unwritten.is_empty() {
            match self.segment.as_mut().map(|segment| segment.append(&bytes)) {
                Some(Ok(())) => {
                    counters.octets.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    return;
                }
                Some(Err(error)) => note_write_error(counters, &error),
                None => {}
            }
        }
        if self.unwritten.len() >= MAX_UNWRITTEN {
            self.unwritten.pop_front();
            counters.entries_lost.fetch_add(1, Ordering::Relaxed);
        }
        self.unwritten.push_back(bytes);
        counters.unwritten.store(self.unwritten.len() as u64, Ordering::Relaxed);
    }

    /// Writes what was left for the next frame, and tries the waiting frames again.
    fn retry(&mut self, counters: &JournalCounters) {
        if !self.later.is_empty() {
            self.write(Vec::new(), counters);
        }
        while let (Some(bytes), Some(segment)) = (self.unwritten.front(), self.segment.as_mut()) {
            if let Err(error) = segment.append(bytes) {
                note_write_error(counters, &error);
                break;
            }
            counters.octets.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            self.unwritten.pop_front();
        }
        counters.unwritten.store(self.unwritten.len() as u64, Ordering::Relaxed);
    }
}

/// Counts a failed write and logs the first and every 1,000th.
fn note_write_error(counters: &JournalCounters, error: &io::Error) {
    let errors = counters.write_errors.fetch_add(1, Ordering::Relaxed);
    if errors.is_multiple_of(1000) {
        tracing::error!(
            %error,
            errors = errors + 1,
            "the journal cannot be written; entries are kept in memory: free disk space in the data folder"
        );
    }
}

fn ended_id(entry: &Entry) -> Option<&str> {
    match entry {
        Entry::CallEnded(record) => Some(&record.id),
        _ => None,
    }
}

impl Entry {
    /// The call that it is about.
    #[must_use]
    pub fn call_id(&self) -> Option<&str> {
        match self {
            Self::CallSetup(setup) => Some(&setup.id),
            Self::CallAnswered(answered) => Some(&answered.id),
            Self::CallAcknowledged(acknowledged) => Some(&acknowledged.id),
            Self::CallEnded(record) => Some(&record.id),
            Self::Registered(_) | Self::Unregistered { .. } => None,
        }
    }

    /// Whether it changes the store.
    #[must_use]
    pub fn is_for_store(&self) -> bool {
        !matches!(self, Self::CallSetup(_) | Self::CallAnswered(_) | Self::CallAcknowledged(_))
    }
}

#[cfg(test)]
mod tests;
