//! Fuzz target of the link from the daemon's side: an engine that greets, announces, publishes and
//! ends whatever it likes. Nothing that it writes may make the daemon panic or reach beyond its
//! tables.
//!
//! `TANDEM_FUZZ_SECONDS` says for how long each runs (default 1).

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

use bolero::{TypeGenerator, check};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;
use tandem::link::local::LocalEngine;
use tandem::link::process::EngineConfig;
use tandem::link::{EngineLink, Family};
use tandem_contract::command::{CommandSlot, TerminationSpec};
use tandem_contract::counters::{TerminationCounters, WorkerCounters};
use tandem_contract::event::{Event, EventSlot};
use tandem_contract::hello::{Hello, MAGIC, VERSION};
use tandem_hw::doorbell::Doorbell;
use tandem_hw::lane::EngineEnd;
use tandem_hw::seqpacket::{Connection, Listener};
use tandem_hw::table::create_pair;
use tandem_wire::time::Instant;

/// Entries of the tables.
const TABLE: u32 = 8;
/// Entries of the rings.
const RING: usize = 64;

fn budget() -> Duration {
    let seconds = std::env::var("TANDEM_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1))
}

/// What the engine does, one after another.
#[derive(Clone, Debug, TypeGenerator)]
enum Act {
    /// An event of this kind; its words are small, so that handles often fit.
    Event { kind: u8, words: [u8; 15] },
    /// An event of arbitrary octets.
    Raw { octets: Vec<u8> },
    /// Figures of a termination, of arbitrary octets behind a handle that may be right.
    Figures { index: u8, octets: Vec<u8> },
    /// Figures of the worker.
    Worker { octets: Vec<u8> },
    /// The daemon wants a termination, or none any more.
    Put { index: u8, wanted: bool },
    /// The daemon takes an endpoint, and perhaps gives it back.
    Take { give_back: bool },
    /// The engine says something after its greeting.
    Say { octets: Vec<u8> },
    /// Time goes by, ms.
    Wait { ms: u16 },
}

/// The fields of a greeting that are not as they should be.
#[derive(Clone, Debug, Default, TypeGenerator)]
struct Greeting {
    workers: Option<u32>,
    terminations: Option<u32>,
    rings: Option<(u32, u32)>,
    endpoint_limit: u32,
    port: u8,
    pid: u32,
    /// Descriptors that are missing or sent twice.
    descriptors: Option<u8>,
    /// The greeting itself, cut or spliced.
    octets: Option<Vec<u8>>,
}

/// Octets of a plain-data value, as many as there are; the rest is zero.
fn pod<T: bytemuck::Pod>(octets: &[u8]) -> T {
    let mut value = T::zeroed();
    let room = bytemuck::bytes_of_mut(&mut value);
    let len = room.len().min(octets.len());
    room[..len].copy_from_slice(&octets[..len]);
    value
}

/// An engine that does as it is told, and the daemon's link to it.
struct Hostile {
    _folder: tempfile::TempDir,
    link: LocalEngine,
    now: Instant,
    connection: Connection,
    end: EngineEnd<CommandSlot, EventSlot>,
    tables: tandem_hw::table::TableWriter<TerminationCounters>,
    workers: tandem_hw::table::TableWriter<WorkerCounters>,
    bells: [Doorbell; 2],
}

impl Hostile {
    fn meet(greeting: &Greeting) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("engine.sock");
        let listener = Listener::bind(&socket).unwrap();
        let mut config = EngineConfig::new(socket, Vec::new());
        // Nothing may be started in its place.
        config.program = Some(folder.path().join("none"));
        let mut link = LocalEngine::new(config).unwrap();
        let now = Instant::ZERO + Duration::from_secs(1);
        link.handle(now);
        let connection = listener.accept().unwrap().expect("the link connects at once");
        let (lane, end) = EngineEnd::create("lane", RING, RING).unwrap();
        let (memory, workers, tables) = create_pair("table", 1, TABLE as usize).unwrap();
        let bells = [Doorbell::new().unwrap(), Doorbell::new().unwrap()];
        let ring = u32::try_from(RING).unwrap();
        let (command_ring, event_ring) = greeting.rings.unwrap_or((ring, ring));
        let hello = Hello {
            magic: MAGIC,
            version: VERSION,
            workers: greeting.workers.unwrap_or(1),
            terminations: greeting.terminations.unwrap_or(TABLE),
            endpoint_limit: greeting.endpoint_limit,
            port: greeting.port.into(),
            pid: greeting.pid,
            instance: 1,
            command_ring,
            event_ring,
            ..Hello::default()
        };
        let own = [lane.fd(), memory.fd(), bells[0].as_fd(), bells[1].as_fd()];
        let count = greeting.descriptors.map_or(4, |count| usize::from(count % 9));
        let fds: Vec<BorrowedFd<'_>> = own.iter().copied().cycle().take(count).collect();
        let octets = greeting.octets.as_deref().unwrap_or(bytemuck::bytes_of(&hello));
        // An empty message is no message.
        let octets = if octets.is_empty() { &[0] } else { octets };
        let _ = connection.send(&octets[..octets.len().min(200)], &fds);
        let mut met = Self { _folder: folder, link, now, connection, end, tables, workers, bells };
        met.look();
        met
    }

    /// The daemon reads, and asks for all that it ever asks.
    fn look(&mut self) {
        self.link.handle(self.now);
        while let Some(event) = self.link.poll_event() {
            assert!(!format!("{event:?}").is_empty());
        }
        for family in self.link.families() {
            let _ = self.link.pick_worker(family);
        }
        let _ = (self.link.info(), self.link.remains(), self.link.worker_counters());
        for index in 0..=TABLE {
            let handle =
                tandem_contract::handle::Handle { engine: 0, worker: 0, index, generation: 1 };
            let _ = self.link.counters(handle);
        }
        assert!(
            self.link.next_timeout().is_none_or(|at| at.since(self.now) < Duration::from_secs(60))
        );
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Event { kind, words } => {
                let mut slot: EventSlot = bytemuck::Zeroable::zeroed();
                let octets = bytemuck::bytes_of_mut(&mut slot);
                for (place, word) in octets.chunks_exact_mut(4).zip([kind % 12].iter().chain(words))
                {
                    place[0] = *word;
                }
                let _ = self.end.events.push(&slot);
            }
            Act::Raw { octets } => {
                let _ = self.end.events.push(&pod(octets));
            }
            Act::Figures { index, octets } => {
                self.tables.write(usize::from(index % 8), &pod(octets));
            }
            Act::Worker { octets } => {
                self.workers.write(0, &pod(octets));
            }
            Act::Put { index, wanted } => {
                let index = u32::from(index % 8);
                let handle =
                    tandem_contract::handle::Handle { engine: 0, worker: 0, index, generation: 1 };
                if *wanted {
                    self.link.put(self.now, handle, TerminationSpec::default());
                } else {
                    self.link.subtract(self.now, handle);
                }
            }
            Act::Take { give_back } => {
                if let Some(endpoint) = self.link.take_endpoint(0, Family::V4)
                    && *give_back
                {
                    self.link.give_back(self.now, endpoint);
                }
            }
            Act::Say { octets } => {
                let _ = self.connection.send(&octets[..octets.len().min(200)], &[]);
            }
            Act::Wait { ms } => self.now = self.now + Duration::from_millis((*ms).into()),
        }
        self.end.wake_peer(&self.bells[1]);
        self.look();
    }
}

#[test]
fn hostile_engine() {
    check!().with_test_time(budget()).with_type::<Vec<Act>>().for_each(|acts| {
        let mut hostile = Hostile::meet(&Greeting { endpoint_limit: 8, ..Greeting::default() });
        // The audit that the daemon asked for ends: the engine is attached.
        hostile.end.events.push(&Event::AuditEnd.to_slot()).unwrap();
        hostile.end.wake_peer(&hostile.bells[1]);
        hostile.look();
        assert!(hostile.link.info().is_some(), "a sound greeting is taken");
        for act in acts.iter().take(64) {
            hostile.act(act);
        }
        hostile.link.shutdown(false);
    });
}

#[test]
fn hostile_greeting() {
    check!().with_test_time(budget()).with_type::<(Greeting, Vec<Act>)>().for_each(
        |(greeting, acts)| {
            let mut hostile = Hostile::meet(greeting);
            for act in acts.iter().take(4) {
                hostile.act(act);
            }
            hostile.link.shutdown(false);
        },
    );
}
