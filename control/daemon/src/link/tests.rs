//! The link against a small engine on a thread: greeting, audit, re-installation, overload.

use super::local::LocalEngine;
use super::process::EngineConfig;
use super::*;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tandem_contract::command::{Command, CommandSlot};
use tandem_contract::event::{Event, EventSlot};
use tandem_contract::hello::{Hello, MAGIC, PORT_SOCKET_MMSG, STATUS_OK, VERSION};
use tandem_contract::measure::Measurement;
use tandem_hw::clock::Clock;
use tandem_hw::doorbell::Doorbell;
use tandem_hw::lane::EngineEnd;
use tandem_hw::seqpacket::{Connection, Listener};
use tandem_hw::table::{TableWriter, create_pair};

const TABLE: u32 = 64;
const LIMIT: Duration = Duration::from_secs(5);

/// What the small engine does and saw.
#[derive(Debug, Default)]
struct Log {
    commands: Vec<Command>,
    /// Installed at the beginning, as an earlier control left it.
    holds: HashMap<Handle, TerminationSpec>,
    /// Answers to renewals with a refusal for these.
    forgot: Vec<Handle>,
    /// Does not read commands while set.
    stalled: bool,
    /// Publishes nothing while set.
    hung: bool,
    /// Process that it claims to be.
    pid: u32,
}

/// An engine of one worker on a thread; dropping it closes its socket, as death does.
struct SmallEngine {
    log: Arc<Mutex<Log>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for SmallEngine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

struct Worker {
    end: EngineEnd<CommandSlot, EventSlot>,
    table: TableWriter<TerminationCounters>,
    workers: TableWriter<WorkerCounters>,
    counters: WorkerCounters,
    to_control: Doorbell,
    log: Arc<Mutex<Log>>,
}

impl SmallEngine {
    fn start(socket: &std::path::Path, instance: u64, command_ring: u32, log: Log) -> Self {
        let listener = Listener::bind(socket).unwrap();
        let log = Arc::new(Mutex::new(log));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (log, stop) = (log.clone(), stop.clone());
            std::thread::spawn(move || {
                let mut attached: Option<(Connection, Worker)> = None;
                while !stop.load(Ordering::Relaxed) {
                    if let Some(connection) = listener.accept().unwrap() {
                        let worker = greet(&connection, instance, command_ring, log.clone());
                        attached = Some((connection, worker));
                    }
                    if let Some((_, worker)) = &mut attached {
                        worker.turn();
                    }
                    std::thread::sleep(Duration::from_micros(200));
                }
            })
        };
        Self { log, stop, thread: Some(thread) }
    }

    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }
}

fn greet(connection: &Connection, instance: u64, ring: u32, log: Arc<Mutex<Log>>) -> Worker {
    let (lane, end) = EngineEnd::create("lane", ring as usize, 1024).unwrap();
    let (tables, workers, table) = create_pair("table", 1, TABLE as usize).unwrap();
    let (to_engine, to_control) = (Doorbell::new().unwrap(), Doorbell::new().unwrap());
    let hello = Hello {
        magic: MAGIC,
        version: VERSION,
        status: STATUS_OK,
        workers: 1,
        instance,
        epoch: 1,
        pid: log.lock().unwrap().pid,
        port: PORT_SOCKET_MMSG,
        terminations: TABLE,
        command_ring: ring,
        event_ring: 1024,
        endpoint_limit: 32,
        ..Hello::default()
    };
    let fds: [BorrowedFd<'_>; 4] = [lane.fd(), tables.fd(), to_engine.as_fd(), to_control.as_fd()];
    connection.send(bytemuck::bytes_of(&hello), &fds).unwrap();
    let mut worker =
        Worker { end, table, workers, counters: WorkerCounters::default(), to_control, log };
    for index in 0..8 {
        let handle = handle(index);
        let rtp = local(index);
        worker.tell(Event::EndpointReady { handle, rtp, rtcp: rtp.with_port(rtp.port() + 1) });
    }
    worker
}

fn handle(index: u32) -> Handle {
    Handle { engine: 0, worker: 0, index, generation: 1 }
}

fn local(index: u32) -> SockAddr {
    let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
    SocketAddr::new(ip, 30_000 + u16::try_from(index).unwrap() * 2).into()
}

fn source() -> SockAddr {
    SocketAddr::from(([198, 51, 100, 1], 4000)).into()
}

impl Worker {
    fn tell(&mut self, event: Event) {
        self.end.events.push(&event.to_slot()).unwrap();
        self.end.wake_peer(&self.to_control);
    }

    fn installed(&mut self, handle: Handle, spec: TerminationSpec, sequence: u64) {
        self.tell(Event::Installed {
            handle,
            context: spec.context,
            local_rtp: spec.local_rtp,
            latched_rtp: spec.latched_rtp,
            latched_rtcp: spec.latched_rtcp,
            sequence,
        });
    }

    fn publish(&mut self, handle: Handle, alive: u32) {
        let rx = Measurement { packets: 10, ssrc: 5, ext_sequence: 77, ..Default::default() };
        let counters = TerminationCounters { handle, alive, rx, ..Default::default() };
        assert!(self.table.write(handle.index as usize, &counters));
    }

    fn turn(&mut self) {
        if !self.log.lock().unwrap().hung {
            self.counters.published_ns += 1;
            self.workers.write(0, &self.counters);
        }
        while !self.log.lock().unwrap().stalled {
            let Some(slot) = self.end.commands.pop() else { break };
            let (command, sequence) = Command::from_slot(&slot).unwrap();
            self.log.lock().unwrap().commands.push(command);
            self.obey(command, sequence);
        }
    }

    fn obey(&mut self, command: Command, sequence: u64) {
        let log = self.log.clone();
        match command {
            Command::Put { handle, spec } => {
                log.lock().unwrap().holds.insert(handle, spec);
                self.publish(handle, 1);
                self.installed(handle, spec, sequence);
            }
            Command::Subtract { handle } => {
                let Some(spec) = log.lock().unwrap().holds.remove(&handle) else { return };
                self.publish(handle, 0);
                let cause = EndCause::Subtracted;
                self.tell(Event::Ended { handle, context: spec.context, cause });
            }
            Command::Audit => {
                let holds = log.lock().unwrap().holds.clone();
                for (handle, spec) in holds {
                    if handle.index < TABLE {
                        self.publish(handle, 1);
                    }
                    self.installed(handle, spec, 0);
                }
                self.tell(Event::AuditEnd);
            }
            Command::Renew { .. } => {
                let forgot = std::mem::take(&mut log.lock().unwrap().forgot);
                for handle in forgot {
                    let refusal = Refusal::StaleHandle;
                    self.tell(Event::Refused { handle, sequence, refusal });
                }
                // Says that an event was lost, so that control asks again.
                self.counters.events_lost = 1;
                self.workers.write(0, &self.counters);
            }
            Command::Provision { .. } => {}
        }
    }
}

struct Bench {
    folder: tempfile::TempDir,
    link: LocalEngine,
    clock: Clock,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config =
            EngineConfig::new(folder.path().join("s"), vec![Ipv4Addr::LOCALHOST.into()]);
        config.program = Some("/nonexistent/engine".into());
        Self { link: LocalEngine::new(config).unwrap(), folder, clock: Clock::new() }
    }

    fn engine(&self, instance: u64, ring: u32, log: Log) -> SmallEngine {
        SmallEngine::start(&self.folder.path().join("s"), instance, ring, log)
    }

    fn run(&mut self) {
        self.link.handle(self.clock.now());
        std::thread::sleep(Duration::from_micros(300));
    }

    /// Runs the link until it says something that `pick` takes.
    fn until<T>(&mut self, what: &str, mut pick: impl FnMut(LinkEvent) -> Option<T>) -> T {
        let deadline = self.clock.now() + LIMIT;
        loop {
            while let Some(event) = self.link.poll_event() {
                if let Some(found) = pick(event) {
                    return found;
                }
            }
            assert!(self.clock.now() < deadline, "{what} did not come");
            self.run();
        }
    }

    fn until_true(&mut self, what: &str, mut check: impl FnMut(&LocalEngine) -> bool) {
        let deadline = self.clock.now() + LIMIT;
        while !check(&self.link) {
            assert!(self.clock.now() < deadline, "{what} did not come");
            self.run();
        }
    }

    fn attached(&mut self) -> (usize, Vec<Installed>) {
        self.until("an attach", |event| match event {
            LinkEvent::Attached { reinstalled, found, .. } => Some((reinstalled, found)),
            _ => None,
        })
    }

    fn failed(&mut self) -> LinkError {
        self.until("a failure", |event| match event {
            LinkEvent::Failed(error) => Some(error),
            _ => None,
        })
    }

    fn put(&mut self, index: u32, lease_ms: u32) {
        let spec = TerminationSpec {
            context: ContextId(9),
            local_rtp: local(index),
            lease_ms,
            ..TerminationSpec::default()
        };
        self.link.put(self.clock.now(), handle(index), spec);
    }
}

#[test]
fn a_running_engine_is_attached_and_what_it_holds_is_told() {
    let mut bench = Bench::new();
    let left = TerminationSpec { context: ContextId(4), ..TerminationSpec::default() };
    let log = Log { holds: [(handle(20), left)].into(), ..Log::default() };
    let engine = bench.engine(1, 64, log);
    let (reinstalled, found) = bench.attached();
    let info = bench.link.info().unwrap();
    assert_eq!((info.instance, info.workers, info.port), (1, 1, "socket(mmsg)"));
    assert_eq!((reinstalled, found.len()), (0, 1));
    assert_eq!((found[0].handle, found[0].context), (handle(20), ContextId(4)));

    assert_eq!(bench.link.families(), [Family::V4]);
    assert_eq!(bench.link.pick_worker(Family::V4), Some(0));
    assert_eq!(bench.link.pick_worker(Family::V6), None);
    let endpoint = bench.link.take_endpoint(0, Family::V4).unwrap();
    assert_eq!(endpoint.rtp, local(endpoint.handle.index));
    // Few are left now, so more are asked for.
    bench.until_true("a request for endpoints", |_| {
        engine.log().commands.iter().any(|c| matches!(c, Command::Provision { endpoints: 64 }))
    });

    // What nobody wants can be ended.
    assert!(bench.link.remains().is_empty());
    bench.link.subtract(Instant::ZERO, handle(20));
    let ended = bench.until("an end", |event| match event {
        LinkEvent::Ended { handle, context, .. } => Some((handle, context)),
        _ => None,
    });
    assert_eq!(ended, (handle(20), ContextId(4)));
    let remains = bench.link.remains();
    assert_eq!((remains.len(), remains[0].handle), (1, handle(20)));
}

#[test]
fn a_new_engine_is_given_all_that_is_wanted_with_its_state() {
    let mut bench = Bench::new();
    let engine = bench.engine(1, 64, Log::default());
    bench.attached();
    for index in 0..3 {
        bench.put(index, 30_000);
    }
    bench.link.subtract(Instant::ZERO, handle(2));
    bench.until("an end", |event| matches!(event, LinkEvent::Ended { .. }).then_some(()));
    bench.until_true("figures", |link| link.counters(handle(1)).is_some());
    drop(engine);
    let reason = bench.until("the loss", |event| match event {
        LinkEvent::Lost { reason } => Some(reason),
        _ => None,
    });
    assert!(reason.contains("ended"), "{reason}");
    assert_eq!((bench.link.info(), bench.link.pick_worker(Family::V4)), (None, None));
    // What comes meanwhile is wanted too; what goes is gone.
    bench.put(3, 30_000);
    bench.link.subtract(Instant::ZERO, handle(0));

    let engine = bench.engine(2, 64, Log::default());
    let (reinstalled, found) = bench.attached();
    assert_eq!((reinstalled, found), (2, vec![]));
    let holds = engine.log().holds.clone();
    let mut held: Vec<u32> = holds.keys().map(|handle| handle.index).collect();
    held.sort_unstable();
    assert_eq!(held, [1, 3]);
    let spec = holds[&handle(1)];
    assert_eq!((spec.resume_ssrc, spec.resume_sequence), (5, 77));
    assert_eq!(spec.local_rtp, local(1));
    assert_eq!(holds[&handle(3)].resume_ssrc, 0);
    // Figures of both engines together.
    assert_eq!(bench.link.counters(handle(1)).unwrap().rx.packets, 20);
    assert_eq!(bench.link.counters(handle(3)).unwrap().rx.packets, 10);
}

#[test]
fn a_full_ring_delays_and_loses_nothing() {
    let mut bench = Bench::new();
    let engine = bench.engine(1, 8, Log::default());
    bench.attached();
    engine.log().stalled = true;
    for index in 0..40 {
        bench.put(index, 30_000);
    }
    assert!(bench.link.next_timeout().is_some_and(|at| at < bench.clock.now() + LIMIT));
    engine.log().stalled = false;
    bench.until_true("all", |_| engine.log().holds.len() == 40);
    let order: Vec<u32> = engine
        .log()
        .commands
        .iter()
        .filter_map(|command| match command {
            Command::Put { handle, .. } => Some(handle.index),
            _ => None,
        })
        .collect();
    assert_eq!(order, (0..40).collect::<Vec<_>>());
}

#[test]
fn what_the_engine_lost_is_stated_again() {
    let mut bench = Bench::new();
    let engine = bench.engine(1, 64, Log::default());
    bench.attached();
    bench.put(1, 300);
    bench.put(2, 300);
    bench.until_true("both", |_| engine.log().holds.len() == 2);
    // One is refused at its renewal, the other is missing in the audit after lost events.
    engine.log().holds.clear();
    engine.log().forgot.push(handle(1));
    bench.until_true("both again", |_| engine.log().holds.len() == 2);
    let events: Vec<_> = std::iter::from_fn(|| bench.link.poll_event()).collect();
    assert_eq!(events, []);
}

#[test]
fn what_an_earlier_control_left_ends_with_its_engine_and_its_figures_stay() {
    let mut bench = Bench::new();
    let left = TerminationSpec { context: ContextId(4), ..TerminationSpec::default() };
    let holds = || Log { holds: [(handle(20), left)].into(), ..Log::default() };
    let engine = bench.engine(1, 64, holds());
    assert_eq!(bench.attached().1.len(), 1);
    bench.until_true("figures", |link| link.counters(handle(20)).is_some());
    drop(engine);
    let ended = |event| match event {
        LinkEvent::Ended { handle, context, .. } => Some((handle, context)),
        _ => None,
    };
    assert_eq!(bench.until("an end", ended), (handle(20), ContextId(4)));
    assert_eq!(bench.link.counters(handle(20)).unwrap().rx.packets, 10);
    bench.link.forget(handle(20));

    // An end that was lost is seen by the next audit.
    let engine = bench.engine(2, 64, holds());
    assert_eq!(bench.attached().1.len(), 1);
    engine.log().holds.clear();
    bench.put(1, 300);
    assert_eq!(bench.until("an end", ended), (handle(20), ContextId(4)));
}

#[test]
fn an_engine_that_hangs_is_given_up_and_names_nobody_to_be_killed() {
    let mut bystander = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let mut bench = Bench::new();
    let engine = bench.engine(1, 64, Log { pid: bystander.id(), ..Log::default() });
    bench.attached();
    bench.put(1, 30_000);
    bench.until_true("figures", |link| link.counters(handle(1)).is_some());
    let mut now = bench.clock.now();
    let mut seconds = |bench: &mut Bench, seconds: u32| {
        for _ in 0..seconds * 2 {
            // Time for the engine's own thread, which publishes by the wall clock.
            std::thread::sleep(Duration::from_millis(20));
            now = now + Duration::from_millis(500);
            bench.link.handle(now);
        }
    };
    seconds(&mut bench, 5);
    assert!(bench.link.info().is_some(), "it is idle and lives");
    engine.log().hung = true;
    seconds(&mut bench, 3);
    assert!(bench.link.info().is_some(), "a pause is no death");
    seconds(&mut bench, 5);
    let reason = std::iter::from_fn(|| bench.link.poll_event()).find_map(|event| match event {
        LinkEvent::Lost { reason } => Some(reason),
        _ => None,
    });
    assert!(reason.is_some_and(|reason| reason.contains("worker 0 hung")));
    assert!(bystander.try_wait().unwrap().is_none(), "only the kernel says who the engine is");
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[test]
fn figures_are_final_when_the_end_is_told() {
    let mut bench = Bench::new();
    let _engine = bench.engine(1, 64, Log::default());
    bench.attached();
    bench.put(1, 30_000);
    bench.until_true("figures", |link| link.counters(handle(1)).is_some());
    bench.link.subtract(Instant::ZERO, handle(1));
    bench.until("an end", |event| matches!(event, LinkEvent::Ended { .. }).then_some(()));
    assert_eq!(bench.link.counters(handle(1)).unwrap().alive, 0);
}

#[test]
fn an_engine_that_only_closed_the_link_is_attached_again_and_counts_on() {
    let mut bench = Bench::new();
    let engine = bench.engine(1, 64, Log::default());
    bench.attached();
    bench.put(1, 30_000);
    bench.until_true("figures", |link| link.counters(handle(1)).is_some());
    drop(engine);
    let engine = bench.engine(1, 64, Log::default());
    bench.until("the loss", |event| matches!(event, LinkEvent::Lost { .. }).then_some(()));
    let (reinstalled, found) = bench.attached();
    assert_eq!((reinstalled, found), (0, vec![]));
    assert!(engine.log().holds.contains_key(&handle(1)), "it is stated all the same");
    assert_eq!(bench.link.counters(handle(1)).unwrap().rx.packets, 10);
}

#[test]
fn handles_that_cannot_be_are_ignored() {
    let mut bench = Bench::new();
    let rogue = |index, worker, generation| Handle { engine: 0, worker, index, generation };
    let left = TerminationSpec { context: ContextId(4), ..TerminationSpec::default() };
    let log = Log {
        holds: [rogue(TABLE, 0, 1), rogue(1, 9, 1), rogue(2, 0, 0)].map(|h| (h, left)).into(),
        ..Log::default()
    };
    let _engine = bench.engine(1, 64, log);
    assert_eq!(bench.attached(), (0, vec![]));
}

#[test]
fn a_descriptor_wakes_for_every_engine() {
    let mut bench = Bench::new();
    let fd = bench.link.wait_fd().unwrap().unwrap();
    let readable = |limit_ms: i64| {
        let mut fds = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
        let limit = rustix::event::Timespec { tv_sec: 0, tv_nsec: limit_ms * 1_000_000 };
        rustix::event::poll(&mut fds, Some(&limit)).unwrap() > 0
    };
    let engine = bench.engine(1, 64, Log::default());
    bench.attached();
    while readable(20) {
        bench.run();
    }
    bench.put(1, 30_000);
    assert!(readable(900), "an answer rings");
    while readable(20) {
        bench.run();
    }
    drop(engine);
    assert!(readable(900), "so does a death");
    bench.until("the loss", |event| matches!(event, LinkEvent::Lost { .. }).then_some(()));
    assert!(!readable(1), "nothing is left of the old engine");
}

#[test]
fn a_source_is_kept_for_the_next_engine() {
    let mut bench = Bench::new();
    let left = TerminationSpec {
        context: ContextId(9),
        latched_rtp: source(),
        ..TerminationSpec::default()
    };
    let engine = bench.engine(1, 64, Log { holds: [(handle(1), left)].into(), ..Log::default() });
    bench.put(1, 30_000);
    let (reinstalled, found) = bench.attached();
    // It was wanted, so it is not found; and the engine held it, so it is not installed anew.
    assert_eq!((reinstalled, found), (0, vec![]));
    drop(engine);
    let engine = bench.engine(2, 64, Log::default());
    bench.until("the loss", |event| matches!(event, LinkEvent::Lost { .. }).then_some(()));
    bench.attached();
    assert_eq!(engine.log().holds[&handle(1)].latched_rtp, source());
}

#[test]
fn a_missing_program_is_said_at_once() {
    let error = Bench::new().failed();
    assert!(matches!(error, LinkError::CannotStart { .. }), "{error}");
    assert!(error.to_string().contains("/nonexistent/engine"), "{error}");
}

#[test]
fn a_program_that_fails_is_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = EngineConfig::new(folder.path().join("s"), vec![Ipv4Addr::LOCALHOST.into()]);
    let script = folder.path().join("engine");
    std::fs::write(&script, "#!/bin/sh\necho first >&2; echo no ports are free >&2\nexit 3\n")
        .unwrap();
    let mut permissions = std::fs::metadata(&script).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    std::fs::set_permissions(&script, permissions).unwrap();
    config.program = Some(script);
    config.log = Some(folder.path().join("log"));
    let link = LocalEngine::new(config).unwrap();
    let said = Bench { folder, link, clock: Clock::new() }.failed().to_string();
    assert!(said.contains("exit status: 3") && said.ends_with(": no ports are free"), "{said}");
}
