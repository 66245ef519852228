//! An attached engine: its greeting, its lanes, and the audit that tells what it holds.

use super::lanes::{FDS_PER_WORKER, WorkerLane};
use super::{EngineInfo, Installed, LinkError};
use std::collections::HashSet;
use std::os::fd::OwnedFd;
use tandem_contract::command::Command;
use tandem_contract::handle::Handle;
use tandem_contract::hello::{
    Hello, MAGIC, PORT_SOCKET_MMSG, PORT_SOCKET_URING, STATUS_BUSY, STATUS_OK, VERSION,
};
use tandem_contract::limits::{MAX_TERMINATIONS, MAX_WORKERS};
use tandem_hw::seqpacket::Connection;

/// Looks in a row that may find nothing new from a worker, which publishes four times a second.
const MISSED_LIMIT: u32 = 10;

/// Octets of magic and version, which every version has first.
const PREFIX: usize = 8;

/// Reads and checks the greeting.
///
/// # Errors
/// [`LinkError::Version`], [`LinkError::Busy`], or [`LinkError::Protocol`] if it makes no sense.
pub(super) fn check_hello(bytes: &[u8], peer_pid: u32) -> Result<Hello, LinkError> {
    let protocol = |text: &str| LinkError::Protocol(text.to_owned());
    let word =
        |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok().map(u32::from_ne_bytes));
    let (Some(magic), Some(version)) = (word(0), word(PREFIX / 2)) else {
        return Err(protocol("its greeting is too short"));
    };
    if magic != MAGIC {
        return Err(protocol("something else than an engine listens on its socket"));
    }
    if version != VERSION {
        return Err(LinkError::Version { engine: version, control: VERSION, pid: peer_pid });
    }
    let hello: Hello = bytemuck::try_pod_read_unaligned(bytes)
        .map_err(|_| protocol("its greeting has another length"))?;
    match hello.status {
        STATUS_OK => {}
        STATUS_BUSY => return Err(LinkError::Busy { control_pid: hello.control_pid }),
        _ => return Err(protocol("its greeting has an unknown status")),
    }
    let workers = usize::try_from(hello.workers).unwrap_or(usize::MAX);
    if workers == 0 || workers > MAX_WORKERS || hello.terminations > MAX_TERMINATIONS {
        return Err(protocol("its greeting states impossible sizes"));
    }
    Ok(hello)
}

/// Name of the port without io_uring.
pub(super) const MMSG: &str = "socket(mmsg)";

/// Name of a port kind.
fn port_name(port: u32) -> &'static str {
    match port {
        PORT_SOCKET_URING => "socket(io_uring)",
        PORT_SOCKET_MMSG => MMSG,
        _ => "unknown",
    }
}

/// How far the engine has been brought up to what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Answers to the audit and to what was installed are awaited.
    Installing,
    /// It holds what is wanted.
    Ready,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: Connection,
    pub(super) info: EngineInfo,
    pub(super) lanes: Vec<WorkerLane>,
    pub(super) phase: Phase,
    /// Commands of the installation that are not answered.
    pub(super) unanswered: HashSet<u64>,
    pub(super) reinstalled: usize,
    pub(super) found: Vec<Installed>,
    /// Installed since the greeting: a running audit shows these too.
    installed: HashSet<Handle>,
    /// Per worker: what its running audit has shown so far; `None` when no audit runs.
    audits: Vec<Option<HashSet<Handle>>>,
    /// Events that each worker has lost, as known.
    events_lost: Vec<u64>,
    /// Per worker: when it published last, its clock, and how many looks in a row found the same.
    heartbeats: Vec<(u64, u32)>,
    /// Free endpoints that were asked for, per worker.
    pub(super) provision: Vec<u32>,
}

impl Session {
    /// Takes the lanes out of a checked greeting.
    ///
    /// # Errors
    /// [`LinkError::Protocol`] if descriptors are missing or hold something else.
    pub(super) fn open(
        connection: Connection,
        hello: &Hello,
        fds: Vec<OwnedFd>,
    ) -> Result<Self, LinkError> {
        let workers = usize::try_from(hello.workers).unwrap_or(0);
        if fds.len() != workers * FDS_PER_WORKER {
            let (got, want) = (fds.len(), workers * FDS_PER_WORKER);
            return Err(LinkError::Protocol(format!("{got} descriptors instead of {want}")));
        }
        let mut fds = fds.into_iter();
        let mut lanes = Vec::with_capacity(workers);
        for worker in 0..u16::try_from(workers).unwrap_or(0) {
            let own = std::array::from_fn::<_, FDS_PER_WORKER, _>(|_| fds.next());
            let [Some(a), Some(b), Some(c), Some(d)] = own else { break };
            let lane = WorkerLane::open(worker, [a, b, c, d])
                .map_err(|error| LinkError::Protocol(format!("lane {worker}: {error}")))?;
            if lane.table_len() != usize::try_from(hello.terminations).unwrap_or(usize::MAX) {
                let text = format!("table {worker} has {} entries", lane.table_len());
                return Err(LinkError::Protocol(text));
            }
            lanes.push(lane);
        }
        let info = EngineInfo {
            instance: hello.instance,
            epoch: hello.epoch,
            pid: hello.pid,
            workers: hello.workers,
            port: port_name(hello.port),
            endpoint_limit: u64::from(hello.endpoint_limit) * u64::from(hello.workers),
        };
        Ok(Self {
            connection,
            info,
            phase: Phase::Installing,
            unanswered: HashSet::new(),
            reinstalled: 0,
            found: Vec::new(),
            installed: HashSet::new(),
            audits: vec![None; lanes.len()],
            events_lost: lanes.iter().map(lost_by).collect(),
            heartbeats: vec![(0, 0); lanes.len()],
            provision: vec![0; lanes.len()],
            lanes,
        })
    }

    pub(super) fn lane(&self, worker: u16) -> Option<&WorkerLane> {
        self.lanes.get(usize::from(worker))
    }

    pub(super) fn lane_mut(&mut self, worker: u16) -> Option<&mut WorkerLane> {
        self.lanes.get_mut(usize::from(worker))
    }

    /// Whether a worker can have a handle at all.
    pub(super) fn owns(&self, worker: u16, handle: Handle) -> bool {
        let index = usize::try_from(handle.index).unwrap_or(usize::MAX);
        handle.engine == 0
            && handle.worker == worker
            && handle.is_some()
            && self.lane(worker).is_some_and(|lane| index < lane.table_len())
    }

    /// Asks a worker what it holds.
    pub(super) fn start_audit(&mut self, worker: u16) {
        if let Some(lane) = self.lanes.get_mut(usize::from(worker)) {
            lane.push(Command::Audit, 0);
            self.audits[usize::from(worker)] = Some(HashSet::new());
        }
    }

    /// A command of the installation was carried out.
    pub(super) fn installed(&mut self, handle: Handle) {
        if self.phase == Phase::Installing {
            self.installed.insert(handle);
        }
    }

    /// Whether what an audit shows was there before the greeting.
    pub(super) fn held_before(&self, handle: Handle) -> bool {
        self.phase == Phase::Installing && !self.installed.contains(&handle)
    }

    /// The engine holds what is wanted.
    pub(super) fn ready(&mut self) {
        self.phase = Phase::Ready;
        self.installed = HashSet::new();
    }

    /// A running audit of the worker has shown a termination.
    pub(super) fn audit_saw(&mut self, handle: Handle) {
        if let Some(Some(seen)) = self.audits.get_mut(usize::from(handle.worker)) {
            seen.insert(handle);
        }
    }

    /// The audit of a worker is complete: what it has shown.
    pub(super) fn end_audit(&mut self, worker: u16) -> HashSet<Handle> {
        self.audits.get_mut(usize::from(worker)).and_then(Option::take).unwrap_or_default()
    }

    pub(super) fn is_auditing(&self) -> bool {
        self.audits.iter().any(Option::is_some)
    }

    /// Workers that have lost events since the last look.
    pub(super) fn lossy_workers(&mut self) -> Vec<u16> {
        let mut lossy = Vec::new();
        for (lane, known) in self.lanes.iter().zip(&mut self.events_lost) {
            let lost = lost_by(lane);
            if lost > *known {
                *known = lost;
                lossy.push(lane.worker());
            }
        }
        lossy
    }

    /// Looks whether all workers publish; one that has not for several looks. Looks are counted,
    /// not time, so that a pause of our own is no fault of the engine.
    pub(super) fn hung_worker(&mut self) -> Option<u16> {
        let mut hung = None;
        for (lane, (published, missed)) in self.lanes.iter().zip(&mut self.heartbeats) {
            let latest = lane.worker_counters().map_or(*published, |it| it.published_ns);
            *missed = if latest == *published { missed.saturating_add(1) } else { 0 };
            *published = latest;
            if *missed >= MISSED_LIMIT {
                hung = Some(lane.worker());
            }
        }
        hung
    }

    pub(super) fn flush(&mut self) {
        self.lanes.iter_mut().for_each(WorkerLane::flush);
    }

    pub(super) fn is_backed_up(&self) -> bool {
        self.lanes.iter().any(WorkerLane::is_backed_up)
    }
}

fn lost_by(lane: &WorkerLane) -> u64 {
    lane.worker_counters().map_or(0, |counters| counters.events_lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello { magic: MAGIC, version: VERSION, workers: 2, terminations: 64, ..Default::default() }
    }

    fn check(hello: Hello) -> Result<Hello, LinkError> {
        check_hello(bytemuck::bytes_of(&hello), 99)
    }

    #[test]
    fn a_sound_greeting_is_taken() {
        assert_eq!(check(hello()), Ok(hello()));
    }

    #[test]
    fn another_version_is_named_with_the_remedy() {
        // A later version may have a longer greeting: the prefix tells.
        let mut bytes = bytemuck::bytes_of(&Hello { version: 7, ..hello() }).to_vec();
        bytes.extend([0; 32]);
        let error = check_hello(&bytes, 99).unwrap_err();
        assert_eq!(error, LinkError::Version { engine: 7, control: VERSION, pid: 99 });
        assert!(error.to_string().contains("kill 99"), "{error}");
    }

    #[test]
    fn nonsense_is_refused() {
        let protocol = |result| matches!(result, Err(LinkError::Protocol(_)));
        assert!(protocol(check_hello(&[], 1)));
        assert!(protocol(check_hello(&[1; 7], 1)));
        assert!(protocol(check_hello(&bytemuck::bytes_of(&hello())[..20], 1)));
        assert!(protocol(check(Hello { magic: 1, ..hello() })));
        assert!(protocol(check(Hello { workers: 0, ..hello() })));
        assert!(protocol(check(Hello { workers: u32::MAX, ..hello() })));
        assert!(protocol(check(Hello { terminations: u32::MAX, ..hello() })));
        assert!(protocol(check(Hello { status: 9, ..hello() })));
        let busy = check(Hello { status: STATUS_BUSY, control_pid: 5, ..hello() });
        assert_eq!(busy, Err(LinkError::Busy { control_pid: 5 }));
    }
}
