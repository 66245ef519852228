//! The thread that makes entries durable: group commit and rotation.
//!
//! It waits for nothing but the journal's own disk, so that a slow store does not delay `fsync`.

use super::segment::{Folder, Segment};
use super::{Entry, Inner, JournalCounters, Queue, SEGMENT_SIZE, SYNC_WITHIN, note_write_error};
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// How long entries gather before they are synced, on a disk that takes no time; what the last sync
/// took is left to the disk twice over.
const GATHER: Duration = Duration::from_millis(80);
/// On a slow disk they gather at least so long: less than half of what is promised.
const GATHER_LEAST: Duration = Duration::from_millis(40);
const _: () = assert!(GATHER.as_millis() < SYNC_WITHIN.as_millis());
const _: () = assert!(GATHER_LEAST.as_millis() * 2 < SYNC_WITHIN.as_millis());
/// How long to wait before a refused write is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// What the syncer tells the mover, in the order of the journal.
#[derive(Debug)]
pub(super) enum Step {
    /// These entries are durable.
    Synced(Vec<Entry>),
    /// All entries told before lie in this segment or in older ones, and it is closed.
    Closed(PathBuf),
}

/// What one look at the queue gave.
struct Taken {
    entries: Vec<Entry>,
    since: Option<Instant>,
    file: Option<Arc<File>>,
    full: bool,
    stop: bool,
}

/// Runs until the queue says stop; dropping `steps` then ends the mover.
pub(super) fn run(inner: &Inner, mut folder: Folder, steps: &Sender<Step>) {
    let mut took = Duration::ZERO;
    loop {
        let taken = gather(inner, GATHER.saturating_sub(took * 2).max(GATHER_LEAST));
        took = sync(&inner.counters, &taken);
        let stop = taken.stop;
        // The mover ends only after this thread.
        let _ = steps.send(Step::Synced(taken.entries));
        if stop {
            return;
        }
        if taken.full {
            rotate(inner, &mut folder, steps);
        }
    }
}

/// Waits for entries and lets them gather.
fn gather(inner: &Inner, time: Duration) -> Taken {
    let mut queue = inner.lock();
    while queue.since.is_none() && !queue.stop {
        if queue.unwritten.is_empty() {
            queue = inner.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        } else {
            let (again, timeout) =
                inner.wake.wait_timeout(queue, RETRY).unwrap_or_else(PoisonError::into_inner);
            queue = again;
            if timeout.timed_out() {
                break;
            }
        }
    }
    while let Some(since) = queue.since
        && !queue.stop
        && since.elapsed() < time
    {
        let left = time.saturating_sub(since.elapsed());
        queue = inner.wake.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
    }
    take(&mut queue, &inner.counters)
}

/// Takes what came since the last look, and tries the frames again that the disk had refused.
fn take(queue: &mut Queue, counters: &JournalCounters) -> Taken {
    queue.retry(counters);
    // Many living calls must not fill a segment by being carried over into it alone.
    let most = SEGMENT_SIZE + 2 * queue.carried;
    Taken {
        entries: std::mem::take(&mut queue.fresh),
        since: queue.since.take(),
        file: queue.segment.as_ref().map(Segment::file),
        full: queue.segment.as_ref().is_some_and(|segment| segment.length() >= most),
        stop: queue.stop,
    }
}

/// Syncs what was taken; how long the disk took.
fn sync(counters: &JournalCounters, taken: &Taken) -> Duration {
    let Some(file) = &taken.file else { return Duration::ZERO };
    let begun = Instant::now();
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
    begun.elapsed()
}

/// Closes the segment and begins a new one.
fn rotate(inner: &Inner, folder: &mut Folder, steps: &Sender<Step>) {
    let next = match folder.begin() {
        Ok(segment) => segment,
        Err(error) => {
            inner.counters.write_errors.fetch_add(1, Ordering::Relaxed);
            tracing::error!(%error, "the journal goes on in its old file");
            return;
        }
    };
    let (taken, old) = {
        let mut queue = inner.lock();
        let taken = take(&mut queue, &inner.counters);
        (taken, queue.segment.replace(next))
    };
    sync(&inner.counters, &taken);
    let _ = steps.send(Step::Synced(taken.entries));
    if let Some(old) = old {
        let _ = steps.send(Step::Closed(old.path().to_owned()));
    }
}
