//! The shared-memory lane of one worker, from control's side.
//!
//! Everything that comes out of it was written by another process: kinds are checked when an event
//! is read, handles before they are used, counters by the handle that is stored with them.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use tandem_contract::command::{Command, CommandSlot};
use tandem_contract::counters::{TerminationCounters, WorkerCounters};
use tandem_contract::event::{Event, EventSlot};
use tandem_contract::handle::Handle;
use tandem_hw::doorbell::Doorbell;
use tandem_hw::lane::ControlEnd;
use tandem_hw::table::{TableReader, open_pair};

/// Descriptors that come with the greeting for each worker.
pub(super) const FDS_PER_WORKER: usize = 4;

/// One worker's lane.
#[derive(Debug)]
pub(super) struct WorkerLane {
    worker: u16,
    end: ControlEnd<CommandSlot, EventSlot>,
    to_engine: Doorbell,
    to_control: Doorbell,
    workers: TableReader<WorkerCounters>,
    terminations: TableReader<TerminationCounters>,
    /// Commands that found the ring full, in order.
    backlog: VecDeque<(Command, u64)>,
    /// Whether something was pushed since the doorbell rang last.
    pushed: bool,
}

impl WorkerLane {
    /// Opens a lane out of its descriptors: lane, table, doorbell to the worker, doorbell to us.
    ///
    /// # Errors
    /// What the system says, or `InvalidData` if the memory holds something else.
    pub(super) fn open(worker: u16, fds: [OwnedFd; FDS_PER_WORKER]) -> io::Result<Self> {
        let [lane, table, to_engine, to_control] = fds;
        let (workers, terminations) = open_pair(table)?;
        Ok(Self {
            worker,
            end: ControlEnd::open(lane)?,
            to_engine: Doorbell::from_fd(to_engine)?,
            to_control: Doorbell::from_fd(to_control)?,
            workers,
            terminations,
            backlog: VecDeque::new(),
            pushed: false,
        })
    }

    /// The doorbell that wakes control.
    #[must_use]
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.to_control.as_fd()
    }

    /// Sends a command, or keeps it until the ring has room.
    pub(super) fn push(&mut self, command: Command, sequence: u64) {
        if !self.backlog.is_empty() || self.end.commands.push(&command.to_slot(sequence)).is_err() {
            self.backlog.push_back((command, sequence));
        }
        self.pushed = true;
    }

    /// Sends what waits as far as there is room, and wakes the worker if it sleeps.
    pub(super) fn flush(&mut self) {
        while let Some((command, sequence)) = self.backlog.front() {
            if self.end.commands.push(&command.to_slot(*sequence)).is_err() {
                break;
            }
            self.backlog.pop_front();
        }
        if std::mem::take(&mut self.pushed) {
            self.end.wake_peer(&self.to_engine);
        }
        self.pushed = !self.backlog.is_empty();
    }

    /// Whether commands wait for room.
    #[must_use]
    pub(super) fn is_backed_up(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Takes all events; call [`WorkerLane::sleep`] before waiting for the doorbell again.
    ///
    /// # Errors
    /// The kind of an event that this version does not know.
    pub(super) fn drain(&mut self, out: &mut Vec<Event>) -> Result<(), u32> {
        self.end.awake();
        self.to_control.drain();
        while let Some(slot) = self.end.events.pop() {
            out.push(Event::from_slot(&slot).map_err(|unknown| unknown.0)?);
        }
        Ok(())
    }

    /// Says that control waits for the doorbell; `false` if events came meanwhile: drain again.
    pub(super) fn sleep(&mut self) -> bool {
        self.end.prepare_sleep()
    }

    /// Published figures of a termination, if they are its own.
    #[must_use]
    pub(super) fn counters(&self, handle: Handle) -> Option<TerminationCounters> {
        let index = usize::try_from(handle.index).ok()?;
        self.terminations.read(index).filter(|counters| counters.handle == handle)
    }

    /// Last figures of terminations that have ended.
    pub(super) fn remains(&self) -> impl Iterator<Item = TerminationCounters> {
        let all = (0..self.table_len()).filter_map(|index| self.terminations.read(index));
        all.filter(|counters| counters.handle.is_some() && counters.alive == 0)
    }

    /// Published figures of the worker.
    #[must_use]
    pub(super) fn worker_counters(&self) -> Option<WorkerCounters> {
        self.workers.read(0)
    }

    /// Entries of the terminations table.
    #[must_use]
    pub(super) const fn table_len(&self) -> usize {
        self.terminations.entries()
    }

    /// Number of the worker.
    #[must_use]
    pub(super) const fn worker(&self) -> u16 {
        self.worker
    }
}
