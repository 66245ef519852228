//! An engine process on this machine: attach to one that runs, else start one, and bring it back
//! when it dies.
//!
//! ```text
//!          ┌────────────── connection refused, no file ─────────────┐
//!          │                                                        ▼
//! Down ── connect ──► Greeting ── sound ──► Up ── closed ──► Down  Starting ── socket there ──► Greeting
//!   ▲                    │ busy, version, nonsense                  │ ended, too late
//!   └──── with a pause ──┴──────────────────────────────────────────┘
//! ```
//!
//! The first attempt after a loss is made at once; further ones back off up to five seconds.

use super::desired::Desired;
use super::endpoints::Endpoints;
use super::lanes::WorkerLane;
use super::process::{EngineConfig, EngineProcess, URING_REMEDY};
use super::session::{MMSG, Phase, Session, check_hello};
use super::{Endpoint, EngineInfo, EngineLink, Family, LinkError, LinkEvent};
use rustix::event::epoll;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;
use tandem_contract::command::{Command, TerminationSpec};
use tandem_contract::counters::{TerminationCounters, WorkerCounters};
use tandem_contract::event::EndCause;
use tandem_contract::handle::{ContextId, Handle};
use tandem_contract::hello::Hello;
use tandem_hw::clock::Clock;
use tandem_hw::port::socket::Uring;
use tandem_hw::seqpacket::Connection;
use tandem_wire::time::Instant;

/// Pause between attempts to reach a starting engine.
const START_POLL: Duration = Duration::from_millis(2);
/// How long a started engine may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How long an engine that has closed its socket may take to end by itself.
const EXIT_LIMIT: Duration = Duration::from_secs(1);
/// How long a connected engine may take to greet.
const GREETING_LIMIT: Duration = Duration::from_secs(2);
/// How long an engine may take to answer the installation.
pub(super) const INSTALL_LIMIT: Duration = Duration::from_secs(5);
/// Pause after the second failure in a row; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between attempts.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// An engine that lived this long has not failed at its start.
const STABLE: Duration = Duration::from_secs(5);
/// Pause before a full command ring is tried again.
const RING_PAUSE: Duration = Duration::from_millis(1);
/// Pause before an exhausted pool of endpoints is asked for again.
pub(super) const PROVISION_PAUSE: Duration = Duration::from_millis(50);
/// How often the workers are looked at for signs of life.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long an engine may take to end when it is told to.
const STOP_LIMIT: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) enum State {
    /// No engine; the next attempt is due then.
    Down { retry_at: Instant },
    /// A process was started; its socket is not there yet.
    Starting { deadline: Instant, next_try: Instant },
    /// Connected; the greeting has not come.
    Greeting { connection: Connection, deadline: Instant },
    /// Attached.
    Up(Box<Session>),
    /// Shut down for good.
    Closed,
}

/// See the module.
#[derive(Debug)]
pub struct LocalEngine {
    pub(super) config: EngineConfig,
    pub(super) state: State,
    process: Option<EngineProcess>,
    poller: OwnedFd,
    pub(super) desired: Desired,
    pub(super) endpoints: Endpoints,
    pub(super) events: VecDeque<LinkEvent>,
    pub(super) sequence: u64,
    /// The engine that was attached last.
    instance: Option<u64>,
    lost_at: Option<Instant>,
    attached_at: Option<Instant>,
    /// Failures in a row.
    failures: u32,
    last_error: Option<LinkError>,
    /// Whether the engine was started with no endpoints ahead, to leave the ports of the wanted
    /// terminations alone.
    pub(super) bare: bool,
    pub(super) renew_at: Instant,
    pub(super) install_deadline: Instant,
    pub(super) provision_at: Option<Instant>,
    pub(super) look_at: Instant,
    /// The latest time that was passed in.
    pub(super) now: Instant,
}

impl LocalEngine {
    /// A link that is down; [`EngineLink::handle`] brings it up.
    ///
    /// # Errors
    /// The system's, if a descriptor for waiting cannot be had.
    pub fn new(config: EngineConfig) -> Result<Self, LinkError> {
        let io = |error: std::io::Error| LinkError::Io(error.to_string());
        let poller = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| io(e.into()))?;
        Ok(Self {
            config,
            state: State::Down { retry_at: Instant::ZERO },
            process: None,
            poller,
            desired: Desired::default(),
            endpoints: Endpoints::default(),
            events: VecDeque::new(),
            sequence: 0,
            instance: None,
            lost_at: None,
            attached_at: None,
            failures: 0,
            last_error: None,
            bare: false,
            renew_at: Instant::ZERO,
            install_deadline: Instant::ZERO,
            provision_at: None,
            look_at: Instant::ZERO,
            now: Instant::ZERO,
        })
    }

    fn connect(&mut self, now: Instant) {
        match Connection::connect(&self.config.socket) {
            Ok(connection) => {
                self.watch(connection.as_fd());
                self.state = State::Greeting { connection, deadline: now + GREETING_LIMIT };
                self.greet(now);
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
            {
                self.start_or_wait(now);
            }
            Err(error) => {
                let path = self.config.socket.display();
                self.fail(now, LinkError::Io(format!("{path}: {error}")));
            }
        }
    }

    /// Nobody listens: start a process, or see whether the started one comes up.
    fn start_or_wait(&mut self, now: Instant) {
        if let Some(process) = &mut self.process {
            let starting = matches!(self.state, State::Starting { .. });
            match process.ended() {
                None if process.has_served() => {
                    // Its descriptors close before it can be waited for.
                    if self.lost_at.is_some_and(|lost| now.since(lost) > EXIT_LIMIT) {
                        process.kill();
                    }
                    self.state = State::Down { retry_at: now + START_POLL };
                    return;
                }
                None => return self.await_socket(now),
                Some(status) if starting && !process.has_served() => {
                    let last_line = process.last_line();
                    self.process = None;
                    return self.fail(now, LinkError::EndedAtOnce { status, last_line });
                }
                Some(_) => self.process = None,
            }
        }
        self.bare = self.desired.wanted().next().is_some();
        let ahead = if self.bare { 0 } else { self.config.endpoints_ahead };
        match EngineProcess::start(&self.config, ahead) {
            Ok(process) => {
                self.process = Some(process);
                self.await_socket(now);
            }
            Err(error) => self.fail(now, error),
        }
    }

    /// A started process has some time until it listens.
    fn await_socket(&mut self, now: Instant) {
        let deadline = match self.state {
            State::Starting { deadline, .. } if now >= deadline => {
                return self.fail(now, LinkError::Timeout(START_LIMIT));
            }
            State::Starting { deadline, .. } => deadline,
            _ => now + START_LIMIT,
        };
        self.state = State::Starting { deadline, next_try: now + START_POLL };
    }

    fn greet(&mut self, now: Instant) {
        let State::Greeting { connection, deadline } = &self.state else { return };
        let mut buffer = [0; size_of::<Hello>() * 2];
        let received = match connection.recv(&mut buffer) {
            Ok(Some(message)) => message,
            Ok(None) => return self.fail(now, LinkError::Io("it closed the connection".into())),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if now >= *deadline {
                    self.fail(now, LinkError::Timeout(GREETING_LIMIT));
                }
                return;
            }
            Err(error) => return self.fail(now, LinkError::Io(error.to_string())),
        };
        let pid = connection.peer_pid().unwrap_or(0);
        let bytes = &buffer[..received.len.min(buffer.len())];
        let hello = match check_hello(bytes, pid) {
            // Whom we may have to kill is what the kernel says, not what the greeting says.
            Ok(hello) => Hello { pid, ..hello },
            Err(error) => return self.fail(now, error),
        };
        let State::Greeting { connection, .. } = self.take_state(now) else { return };
        match Session::open(connection, &hello, received.fds) {
            Ok(session) => {
                for lane in &session.lanes {
                    self.watch(lane.bell());
                }
                self.state = State::Up(Box::new(session));
                (self.attached_at, self.last_error) = (Some(now), None);
                if let Some(process) = self.process.as_mut().filter(|p| p.pid() == hello.pid) {
                    process.set_served();
                }
                let new = self.instance.replace(hello.instance) != Some(hello.instance);
                self.desired.engine_attached(new);
                self.begin(now, new);
            }
            Err(error) => self.fail(now, error),
        }
    }

    /// The engine is ready: says so once.
    pub(super) fn attached(&mut self, now: Instant) {
        let State::Up(session) = &mut self.state else { return };
        session.ready();
        let mut found = std::mem::take(&mut session.found);
        let wanted = found.iter().filter(|it| self.desired.is_wanted(it.handle)).count();
        session.reinstalled = session.reinstalled.saturating_sub(wanted);
        found.retain(|installed| !self.desired.is_known(installed.handle));
        if session.info.port == MMSG && self.config.prefers_uring() {
            let usable = Uring::is_available().map_err(|error| error.to_string());
            tracing::warn!("{}", without_uring(usable));
        }
        for installed in &found {
            self.desired.adopt(installed.handle, installed.context);
        }
        self.events.push_back(LinkEvent::Attached {
            info: session.info,
            reinstalled: session.reinstalled,
            found,
            outage: self.lost_at.take().map_or(Duration::ZERO, |lost| now.since(lost)),
        });
    }

    /// The attached engine is gone.
    pub(super) fn lose(&mut self, now: Instant, reason: &str) {
        let State::Up(session) = self.take_state(now) else { return };
        // The tables outlive their writer: what it counted last is still there.
        self.desired.engine_lost(|handle| session.lane(handle.worker)?.counters(handle));
        self.unwatch(session.connection.as_fd());
        for lane in &session.lanes {
            self.unwatch(lane.bell());
        }
        self.endpoints.clear();
        let ending: Vec<Handle> = self.desired.ending().collect();
        for handle in ending {
            let context = self.desired.context(handle).unwrap_or_default();
            self.tell_ended(handle, context, EndCause::Subtracted);
        }
        let status = self.process.as_mut().and_then(EngineProcess::ended);
        if status.is_some() {
            self.process = None;
        }
        let status = status.map_or_else(String::new, |status| format!(" ({status})"));
        self.events.push_back(LinkEvent::Lost { reason: format!("{reason}{status}") });
        self.lost_at.get_or_insert(now);
        let stable = self.attached_at.take().is_some_and(|at| now.since(at) >= STABLE);
        self.failures = if stable { 0 } else { self.failures + 1 };
        self.state = State::Down { retry_at: now + self.pause() };
    }

    /// The attached engine lives and does nothing: ends it, so that another can take its place.
    pub(super) fn give_up(&mut self, now: Instant, worker: u16) {
        let State::Up(session) = &self.state else { return };
        let pid = session.info.pid;
        match self.process.as_mut().filter(|process| process.pid() == pid) {
            Some(process) => process.kill(),
            None => signal(pid, Signal::KILL),
        }
        self.lose(now, &format!("its worker {worker} hung, so it was killed"));
    }

    fn fail(&mut self, now: Instant, error: LinkError) {
        if let State::Greeting { connection, .. } = self.take_state(now) {
            self.unwatch(connection.as_fd());
        }
        self.failures += 1;
        self.state = State::Down { retry_at: now + self.pause().max(START_POLL) };
        if self.last_error.as_ref() != Some(&error) {
            self.events.push_back(LinkEvent::Failed(error.clone()));
        }
        self.last_error = Some(error);
    }

    fn pause(&self) -> Duration {
        match self.failures {
            0 | 1 => Duration::ZERO,
            failures => (FIRST_PAUSE * (1 << (failures - 2).min(10))).min(MAX_PAUSE),
        }
    }

    fn take_state(&mut self, now: Instant) -> State {
        std::mem::replace(&mut self.state, State::Down { retry_at: now })
    }

    pub(super) fn tell_ended(&mut self, handle: Handle, context: ContextId, cause: EndCause) {
        self.desired.ended(handle);
        self.events.push_back(LinkEvent::Ended { handle, context, cause });
    }

    fn watch(&self, fd: BorrowedFd<'_>) {
        let flags = epoll::EventFlags::IN;
        // Without it, the timers still bring everything forward, only later.
        if let Err(error) = epoll::add(&self.poller, fd, epoll::EventData::new_u64(0), flags) {
            tracing::warn!(%error, "cannot wait for the engine's descriptor");
        }
    }

    /// A doorbell that the engine still holds would go on waking us if it were only closed.
    fn unwatch(&self, fd: BorrowedFd<'_>) {
        let _ = epoll::delete(&self.poller, fd);
    }

    /// Sends a command to the worker of a handle if an engine is attached.
    pub(super) fn send(&mut self, worker: u16, command: Command) -> Option<u64> {
        let sequence = self.sequence + 1;
        self.send_as(worker, command, sequence)?;
        self.sequence = sequence;
        Some(sequence)
    }

    /// Sends a command under a given sequence.
    pub(super) fn send_as(&mut self, worker: u16, command: Command, sequence: u64) -> Option<()> {
        let State::Up(session) = &mut self.state else { return None };
        session.lane_mut(worker)?.push(command, sequence);
        Some(())
    }

    pub(super) fn flush(&mut self) {
        if let State::Up(session) = &mut self.state {
            session.flush();
        }
    }

    fn end_process(&mut self, pid: u32) {
        signal(pid, Signal::TERM);
        let clock = Clock::new();
        let deadline = clock.now() + STOP_LIMIT;
        while let Some(process) = &mut self.process {
            if process.ended().is_some() || clock.now() >= deadline {
                break;
            }
            std::thread::sleep(START_POLL);
        }
    }
}

/// Why the engine goes without io_uring, and what to do, given whether it can be used now.
fn without_uring(usable: Result<(), String>) -> String {
    let (why, remedy) = match usable {
        Ok(()) => ("not when it was started".to_owned(), "start the engine again to use it"),
        Err(error) => (error, URING_REMEDY),
    };
    format!(
        "the engine cannot use io_uring ({why}) and relays with recvmmsg and sendmmsg, which cost \
         more system calls; {remedy}, or set media.port = \"mmsg\""
    )
}

/// Tells an engine to end, one that an earlier control started included.
fn signal(pid: u32, signal: Signal) {
    if pid == std::process::id() {
        return;
    }
    let Some(target) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    if let Err(error) = kill_process(target, signal) {
        tracing::warn!(%error, pid, "cannot end the engine");
    }
}

impl EngineLink for LocalEngine {
    fn handle(&mut self, now: Instant) {
        match &self.state {
            State::Down { retry_at } if now >= *retry_at => self.connect(now),
            State::Starting { next_try, .. } if now >= *next_try => self.connect(now),
            State::Greeting { .. } => self.greet(now),
            State::Up(_) => self.run(now),
            _ => {}
        }
    }

    fn poll_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    fn next_timeout(&self) -> Option<Instant> {
        if !self.events.is_empty() {
            return Some(Instant::ZERO);
        }
        match &self.state {
            State::Down { retry_at } => Some(*retry_at),
            State::Starting { next_try, .. } => Some(*next_try),
            State::Greeting { deadline, .. } => Some(*deadline),
            State::Up(session) => {
                let installing =
                    (session.phase == Phase::Installing).then_some(self.install_deadline);
                let backed_up = session.is_backed_up().then(|| self.now + RING_PAUSE);
                let timers = [installing, backed_up, self.provision_at];
                timers.into_iter().flatten().chain([self.renew_at, self.look_at]).min()
            }
            State::Closed => None,
        }
    }

    fn wait_fd(&self) -> std::io::Result<Option<OwnedFd>> {
        self.poller.try_clone().map(Some)
    }

    fn info(&self) -> Option<EngineInfo> {
        match &self.state {
            State::Up(session) if session.phase == Phase::Ready => Some(session.info),
            _ => None,
        }
    }

    fn families(&self) -> Vec<Family> {
        self.endpoints.families()
    }

    fn pick_worker(&self, family: Family) -> Option<u16> {
        self.endpoints.workers(family).min_by_key(|worker| (self.desired.load(*worker), *worker))
    }

    fn take_endpoint(&mut self, worker: u16, family: Family) -> Option<Endpoint> {
        let endpoint = self.endpoints.take(worker, family);
        self.replenish(worker, family);
        endpoint
    }

    fn give_back(&mut self, _: Instant, endpoint: Endpoint) {
        if matches!(self.state, State::Up(_)) {
            self.endpoints.add(endpoint);
        }
    }

    fn put(&mut self, now: Instant, handle: Handle, spec: TerminationSpec) {
        self.desired.put(handle, spec);
        // A lease shorter than those before is renewed sooner.
        self.renew_at = self.renew_at.min(now + self.renewal());
        let Some(spec) = self.desired.specification(handle) else { return };
        self.send(handle.worker, Command::Put { handle, spec });
        self.flush();
    }

    fn subtract(&mut self, _: Instant, handle: Handle) {
        let known = self.desired.is_known(handle);
        let context = self.desired.subtract(handle);
        if known && context.is_none() {
            return;
        }
        let sent = self.send(handle.worker, Command::Subtract { handle });
        self.flush();
        if let (None, Some(context)) = (sent, context) {
            self.tell_ended(handle, context, EndCause::Subtracted);
        }
    }

    fn counters(&self, handle: Handle) -> Option<TerminationCounters> {
        let current = match &self.state {
            State::Up(session) => session.lane(handle.worker).and_then(|l| l.counters(handle)),
            _ => None,
        };
        self.desired.figures(handle, current)
    }

    fn remains(&self) -> Vec<TerminationCounters> {
        match &self.state {
            State::Up(session) => session.lanes.iter().flat_map(WorkerLane::remains).collect(),
            _ => Vec::new(),
        }
    }

    fn worker_counters(&self) -> Vec<WorkerCounters> {
        match &self.state {
            State::Up(session) => {
                session.lanes.iter().filter_map(|lane| lane.worker_counters()).collect()
            }
            _ => Vec::new(),
        }
    }

    fn forget(&mut self, handle: Handle) {
        self.desired.forget(handle);
    }

    fn shutdown(&mut self, stop: bool) {
        self.flush();
        let pid = match &self.state {
            State::Up(session) => Some(session.info.pid),
            _ => self.process.as_ref().map(EngineProcess::pid),
        };
        if let (true, Some(pid)) = (stop, pid) {
            self.end_process(pid);
        }
        self.state = State::Closed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_without_io_uring_is_told_with_reason_and_remedy() {
        let mut config = EngineConfig::new("s".into(), Vec::new());
        assert!(!config.prefers_uring());
        config.arguments = ["--pin", "--port-kind", "mmsg"].map(Into::into).into();
        assert!(!config.prefers_uring(), "it is what was asked for");
        config.arguments[2] = "auto".into();
        assert!(config.prefers_uring());
        let text = without_uring(Err("Operation not permitted".into()));
        assert!(text.contains("(Operation not permitted)"), "{text}");
        assert!(text.contains("io_uring_disabled=0") && text.contains("media.port"), "{text}");
        assert!(without_uring(Ok(())).contains("start the engine again"));
    }
}
