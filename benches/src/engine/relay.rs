//! A worker with relay contexts on the memory port, and an endless supply of packets.

use std::cell::Cell;
use std::net::SocketAddr;
use tandem_contract::command::{
    Command, CommandSlot, Edge, FLAG_RTCP_MUX, PayloadType, TerminationSpec,
};
use tandem_contract::event::{Event, EventSlot};
use tandem_contract::handle::{ContextId, Handle};
use tandem_engine::Lane;
use tandem_engine::clock::Clock;
use tandem_engine::endpoints::{Order, Request};
use tandem_engine::publish::Tables;
use tandem_engine::worker::{Worker, WorkerConfig};
use tandem_hw::doorbell::Doorbell;
use tandem_hw::lane::ControlEnd;
use tandem_hw::port::BURST;
use tandem_hw::port::memory::MemoryPort;
use tandem_hw::table::create_pair;
use tandem_wire::addr::SockAddr;
use tandem_wire::rtp::{RtpHeader, SeqNo, Ssrc, Timestamp};
use tandem_wire::time::Instant;

/// Octets of a G.711 packet of 20 ms.
const PACKET: usize = 172;
/// Time in which every termination sends one packet, ns.
const ROUND_NS: u64 = 20_000_000;

/// Time that the benchmark moves.
#[derive(Debug, Default)]
pub struct ManualClock(Cell<u64>);

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.get())
    }
}

type Control = ControlEnd<CommandSlot, EventSlot>;

/// See the module.
#[derive(Debug)]
pub struct Relay {
    worker: Worker<MemoryPort, ManualClock>,
    control: Control,
    /// Terminations in the order in which they send.
    handles: Vec<Handle>,
    sent: Vec<u16>,
    next: usize,
    supplied: u64,
    /// Control's next renewal of leases.
    commands: u64,
}

fn v4(a: u8, index: u32, port: u16) -> SockAddr {
    let [_, b, c, d] = index.to_be_bytes();
    SocketAddr::from(([a, b, c, d], port)).into()
}

fn text<E: std::fmt::Debug>(error: E) -> String {
    format!("{error:?}")
}

impl Relay {
    /// A worker with this many contexts of two terminations.
    ///
    /// # Errors
    /// When there is not enough memory or descriptors.
    pub fn new(contexts: u32) -> Result<Self, String> {
        let terminations = contexts * 2;
        let (_, head, rest) = create_pair("bench", 1, terminations as usize).map_err(text)?;
        let mut port = MemoryPort::new(1_024, terminations * 2, 256).map_err(text)?;
        port.keep_sent(false);
        let config = WorkerConfig { terminations, endpoints_ahead: 64, ..Default::default() };
        let tables = Tables { worker: head, terminations: rest };
        let clock = ManualClock(Cell::new(1_000_000_000));
        let mut worker = Worker::new(port, clock, config, tables);
        let (memory, lane) = Lane::create("bench", 4_096, 16_384).map_err(text)?;
        let bell = Doorbell::new().map_err(text)?;
        let order = Order::Attach { lane: Box::new(lane), bell };
        worker.handle_order(Instant::from_nanos(1_000_000_000), order);
        let fd = memory.fd().try_clone_to_owned().map_err(text)?;
        let control = ControlEnd::open(fd).map_err(text)?;
        let mut relay = Self {
            worker,
            control,
            handles: Vec::new(),
            sent: vec![0; terminations as usize],
            next: 0,
            supplied: 0,
            commands: 0,
        };
        relay.install(terminations)?;
        Ok(relay)
    }

    fn install(&mut self, terminations: u32) -> Result<(), String> {
        let mut waiting: Option<Handle> = None;
        let mut installed = 0;
        for _ in 0..terminations * 8 + 64 {
            self.worker.turn();
            self.bind();
            while let Some(slot) = self.control.events.pop() {
                match Event::from_slot(&slot).map_err(text)? {
                    Event::EndpointReady { handle, .. } => match waiting.take() {
                        Some(other) => self.put_pair(other, handle)?,
                        None => waiting = Some(handle),
                    },
                    Event::Installed { .. } => installed += 1,
                    other => return Err(text(other)),
                }
            }
            if installed == terminations {
                return Ok(());
            }
        }
        Err(format!("only {installed} of {terminations} terminations were installed"))
    }

    /// Plays housekeeping: binds whatever is asked for.
    fn bind(&mut self) {
        while let Some(request) = self.worker.poll_request() {
            if let Request::BindAhead { index, ticket, .. } = request {
                let (rtp, rtcp) = (v4(10, index, 4_000), v4(10, index, 4_001));
                let order =
                    Order::Endpoint { index, ticket, rtp: (rtp, rtp), rtcp: Some((rtcp, rtcp)) };
                let now = self.worker.clock().now();
                self.worker.handle_order(now, order);
            }
        }
    }

    fn put_pair(&mut self, a: Handle, b: Handle) -> Result<(), String> {
        for (own, peer) in [(a, b), (b, a)] {
            let mut spec = TerminationSpec {
                context: ContextId(u64::from(a.index) + 1),
                remote_rtp: v4(127, own.index, 5_000),
                flags: FLAG_RTCP_MUX,
                media_timeout_ms: 30_000,
                relearn_silence_ms: 2_000,
                lease_ms: u32::MAX,
                ..Default::default()
            };
            spec.edges[0] = Edge { index: peer.index, generation: peer.generation };
            spec.payload_types[0] = PayloadType {
                clock_rate: 8_000,
                number: 0,
                telephone_event: 0,
                codec: 1,
                present: 1,
            };
            self.commands += 1;
            let slot = Command::Put { handle: own, spec }.to_slot(self.commands);
            self.control.commands.push(&slot).map_err(text)?;
            self.handles.push(own);
        }
        Ok(())
    }

    /// Puts one burst of packets before the port; how many.
    pub fn supply(&mut self) -> u64 {
        let mut packet = [0xd5; PACKET];
        for _ in 0..BURST {
            let handle = self.handles[self.next];
            let sequence = &mut self.sent[self.next];
            let header = RtpHeader {
                ssrc: Ssrc(handle.index + 1),
                timestamp: Timestamp(u32::from(*sequence) * 160),
                sequence: SeqNo(*sequence),
                ..RtpHeader::default()
            };
            *sequence = sequence.wrapping_add(1);
            self.next = (self.next + 1) % self.handles.len();
            // Neither can fail: the buffer is long enough, and every frame came back before.
            let _ = header.emit(&[], &mut packet);
            let source = v4(127, handle.index, 5_000);
            let _ = self.worker.port_mut().inject(handle.index * 2, source, &packet);
        }
        self.supplied += BURST as u64;
        let step = ROUND_NS * BURST as u64 / self.handles.len() as u64;
        let clock = &self.worker.clock().0;
        clock.set(clock.get() + step);
        BURST as u64
    }

    /// One turn of the worker.
    pub fn turn(&mut self) {
        self.worker.turn();
    }

    /// Relays this many packets.
    pub fn run(&mut self, packets: u64) {
        let end = self.supplied + packets;
        while self.supplied < end {
            self.supply();
            self.turn();
        }
    }

    /// The same with the turns in a function of their own, whose instructions valgrind counts.
    pub fn run_counted(&mut self, packets: u64) {
        let end = self.supplied + packets;
        while self.supplied < end {
            self.supply();
            counted_turn(&mut self.worker);
        }
    }

    /// Whether every packet was relayed.
    ///
    /// # Errors
    /// What is missing.
    pub fn check(&self) -> Result<(), String> {
        let c = self.worker.counters();
        if c.received == self.supplied && c.forwarded == self.supplied {
            return Ok(());
        }
        let (received, forwarded) = (c.received, c.forwarded);
        Err(format!("of {} packets {received} arrived, {forwarded} left", self.supplied))
    }
}

/// The function whose instructions are counted, by this name.
#[inline(never)]
fn counted_turn(worker: &mut Worker<MemoryPort, ManualClock>) {
    worker.turn();
}
