//! One worker, its control, and phones that send whatever a scenario wants.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tandem_contract::command::{Command, CommandSlot, Edge, PayloadType, TerminationSpec};
use tandem_contract::counters::{TerminationCounters, WorkerCounters};
use tandem_contract::event::{Event, EventSlot};
use tandem_contract::handle::{ContextId, Handle};
use tandem_contract::reason::DropReason;
use tandem_engine::Lane;
use tandem_engine::clock::Clock;
use tandem_engine::endpoints::{Order, Request};
use tandem_engine::publish::Tables;
use tandem_engine::worker::{Worker, WorkerConfig};
use tandem_hw::doorbell::Doorbell;
use tandem_hw::lane::ControlEnd;
use tandem_hw::port::fault::{Fault, FaultPlan};
use tandem_hw::port::memory::MemoryPort;
use tandem_hw::table::{TableReader, create_pair, open_pair};
use tandem_wire::addr::SockAddr;
use tandem_wire::rtp::{RtpHeader, SeqNo, Ssrc, Timestamp};
use tandem_wire::time::Instant;

/// Terminations of the worker.
pub(crate) const TERMINATIONS: u32 = 64;
const START_NS: u64 = 1_000_000_000_000;

#[derive(Clone, Debug)]
pub(crate) struct SimClock(Rc<Cell<u64>>);

impl Clock for SimClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.get())
    }
}

/// A packet that the engine sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) slot: u32,
    pub(crate) to: SockAddr,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) struct Sim {
    pub(crate) worker: Worker<Fault<MemoryPort>, SimClock>,
    clock: SimClock,
    control: ControlEnd<CommandSlot, EventSlot>,
    totals: TableReader<WorkerCounters>,
    figures: TableReader<TerminationCounters>,
    /// Events that no scenario has taken yet.
    pub(crate) events: Vec<Event>,
    /// Packets sent and not yet taken.
    pub(crate) sent: Vec<Sent>,
    pub(crate) free: Vec<(Handle, SockAddr, SockAddr)>,
    /// Addresses that housekeeping cannot bind.
    pub(crate) unbindable: Vec<SockAddr>,
    /// Requests as they came.
    pub(crate) requests: Vec<Request>,
    sequence: u64,
    event_ring: usize,
}

pub(crate) fn addr(text: &str) -> SockAddr {
    text.parse::<SocketAddr>().unwrap().into()
}

fn local(ipv6: bool, index: u32, port: u16) -> SockAddr {
    let [_, _, c, d] = index.to_be_bytes();
    if ipv6 {
        addr(&format!("[2001:db8::{:x}]:{port}", index + 1))
    } else {
        SocketAddr::from(([10, 0, c, d], port)).into()
    }
}

impl Sim {
    /// No faults, IPv4.
    pub(crate) fn new() -> Self {
        Self::with(FaultPlan::default(), 1, [true, false], 1_024)
    }

    pub(crate) fn with(
        receiving: FaultPlan,
        seed: u64,
        families: [bool; 2],
        event_ring: usize,
    ) -> Self {
        let memory = MemoryPort::new(2_048, TERMINATIONS * 2, 1_024).unwrap();
        let port = Fault::new(memory, receiving, FaultPlan::default(), seed);
        let (table, head, rest) = create_pair("sim", 1, TERMINATIONS as usize).unwrap();
        let (totals, figures) = open_pair(table.fd().try_clone_to_owned().unwrap()).unwrap();
        let clock = SimClock(Rc::new(Cell::new(START_NS)));
        let config = WorkerConfig {
            terminations: TERMINATIONS,
            endpoints_ahead: 4,
            families,
            seed,
            ..Default::default()
        };
        let tables = Tables { worker: head, terminations: rest };
        let worker = Worker::new(port, clock.clone(), config, tables);
        let (lane, control) = lane(event_ring);
        let mut sim = Self {
            worker,
            clock,
            control,
            totals,
            figures,
            events: Vec::new(),
            sent: Vec::new(),
            free: Vec::new(),
            unbindable: Vec::new(),
            requests: Vec::new(),
            sequence: 0,
            event_ring,
        };
        sim.order(Order::Attach { lane: Box::new(lane), bell: Doorbell::new().unwrap() });
        sim.settle();
        sim
    }

    pub(crate) fn order(&mut self, order: Order<SockAddr>) {
        let now = self.clock.now();
        self.worker.handle_order(now, order);
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// A new control process on a fresh lane.
    pub(crate) fn attach_again(&mut self) {
        self.order(Order::Detach);
        let (lane, control) = lane(self.event_ring);
        self.control = control;
        self.free.clear();
        self.events.clear();
        self.order(Order::Attach { lane: Box::new(lane), bell: Doorbell::new().unwrap() });
        self.settle();
    }

    pub(crate) fn detach(&mut self) {
        self.order(Order::Detach);
    }

    /// Turns until nothing is left to do at this instant.
    pub(crate) fn settle(&mut self) {
        for _ in 0..1_000 {
            let busy = self.worker.turn();
            let served = self.serve();
            self.collect();
            if !busy && !served {
                return;
            }
        }
        panic!("the worker never rests");
    }

    /// Moves time on, in steps of at most 5 ms.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let end = self.clock.0.get() + u64::try_from(duration.as_nanos()).unwrap();
        while self.clock.0.get() < end {
            let next = (self.clock.0.get() + 5_000_000).min(end);
            self.clock.0.set(next);
            self.settle();
        }
    }

    pub(crate) fn pass_ms(&mut self, ms: u64) {
        self.pass(Duration::from_millis(ms));
    }

    /// Plays housekeeping.
    fn serve(&mut self) -> bool {
        let mut any = false;
        while let Some(request) = self.worker.poll_request() {
            any = true;
            self.requests.push(request);
            match request {
                Request::BindAhead { index, ticket, ipv6 } => {
                    let port = 4_000 + u16::try_from(self.requests.len() * 2).unwrap();
                    let (rtp, rtcp) = (local(ipv6, index, port), local(ipv6, index, port + 1));
                    let (rtp, rtcp) = ((rtp, rtp), Some((rtcp, rtcp)));
                    self.order(Order::Endpoint { index, ticket, rtp, rtcp });
                }
                Request::BindExactly { index, ticket, rtp, rtcp } => {
                    if self.unbindable.contains(&rtp) {
                        self.order(Order::BindFailed { index, ticket });
                    } else {
                        let (rtp, rtcp) = ((rtp, rtp), rtcp.is_some().then_some((rtcp, rtcp)));
                        self.order(Order::Endpoint { index, ticket, rtp, rtcp });
                    }
                }
                Request::Closed { .. } => {}
            }
        }
        any
    }

    fn collect(&mut self) {
        while let Some(slot) = self.control.events.pop() {
            let event = Event::from_slot(&slot).unwrap();
            match event {
                Event::EndpointReady { handle, rtp, rtcp } => self.free.push((handle, rtp, rtcp)),
                Event::EndpointGone { handle } => {
                    self.free.retain(|free| free.0 != handle);
                    self.events.push(event);
                }
                _ => self.events.push(event),
            }
        }
        let memory = self.worker.port_mut().inner();
        while let Some(sent) = memory.next_sent(|sent| Sent {
            slot: sent.slot,
            to: sent.destination,
            bytes: sent.payload.to_vec(),
        }) {
            self.sent.push(sent);
        }
    }

    pub(crate) fn command(&mut self, command: Command) -> u64 {
        let sequence = self.push(command);
        self.settle();
        sequence
    }

    /// Gives a command without a turn.
    pub(crate) fn push(&mut self, command: Command) -> u64 {
        self.sequence += 1;
        self.control.commands.push(&command.to_slot(self.sequence)).unwrap();
        self.sequence
    }

    pub(crate) fn put(&mut self, handle: Handle, spec: TerminationSpec) -> u64 {
        self.command(Command::Put { handle, spec })
    }

    /// Takes a free endpoint of a family.
    pub(crate) fn endpoint(&mut self, ipv6: bool) -> (Handle, SockAddr, SockAddr) {
        let is = |rtp: &SockAddr| rtp.ip().unwrap().is_ipv6() == ipv6;
        let at = self.free.iter().position(|(_, rtp, _)| is(rtp)).expect("an endpoint is free");
        self.free.remove(at)
    }

    /// What is published, after long enough for a publication.
    pub(crate) fn figures(&mut self, handle: Handle) -> TerminationCounters {
        self.pass_ms(1_600);
        self.published(handle)
    }

    pub(crate) fn published(&self, handle: Handle) -> TerminationCounters {
        self.figures.read(handle.index as usize).unwrap()
    }

    pub(crate) fn totals(&mut self) -> WorkerCounters {
        self.pass_ms(300);
        self.totals.read(0).unwrap()
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.worker.counters().dropped[reason as usize]
    }

    /// Hands octets to a slot.
    pub(crate) fn inject(&mut self, handle: Handle, rtcp: bool, from: SockAddr, bytes: &[u8]) {
        let slot = handle.index * 2 + u32::from(rtcp);
        self.worker.port_mut().inner().inject(slot, from, bytes).unwrap();
        self.settle();
    }

    pub(crate) fn take_sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent)
    }

    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}

fn lane(event_ring: usize) -> (Lane, ControlEnd<CommandSlot, EventSlot>) {
    let (memory, lane) = Lane::create("sim", 256, event_ring).unwrap();
    let control = ControlEnd::open(memory.fd().try_clone_to_owned().unwrap()).unwrap();
    (lane, control)
}

/// One party of a call: where it is and what it sends next.
#[derive(Clone, Debug)]
pub(crate) struct Party {
    pub(crate) handle: Handle,
    pub(crate) local: SockAddr,
    pub(crate) address: SockAddr,
    pub(crate) ssrc: u32,
    pub(crate) sequence: u16,
}

impl Party {
    pub(crate) fn packet(&self, payload_type: u8, timestamp: u32, payload: &[u8]) -> Vec<u8> {
        let header = RtpHeader {
            ssrc: Ssrc(self.ssrc),
            timestamp: Timestamp(timestamp),
            sequence: SeqNo(self.sequence),
            payload_type,
            ..RtpHeader::default()
        };
        let mut bytes = vec![0; 12];
        header.emit(&[], &mut bytes).unwrap();
        bytes.extend_from_slice(payload);
        bytes
    }

    /// The next G.711 packet of 20 ms, from its address.
    pub(crate) fn speak(&mut self, sim: &mut Sim) {
        let address = self.address;
        self.speak_from(sim, address);
    }

    pub(crate) fn speak_from(&mut self, sim: &mut Sim, from: SockAddr) {
        let packet = self.packet(0, u32::from(self.sequence) * 160, &[0xd5; 160]);
        self.sequence = self.sequence.wrapping_add(1);
        sim.inject(self.handle, false, from, &packet);
    }
}

/// What control says of a party at this address.
pub(crate) fn spec(remote: SockAddr, peers: &[Handle]) -> TerminationSpec {
    let mut spec = TerminationSpec {
        context: ContextId(1),
        remote_rtp: remote,
        lease_ms: 600_000,
        relearn_silence_ms: 2_000,
        ..Default::default()
    };
    for (edge, peer) in spec.edges.iter_mut().zip(peers) {
        *edge = Edge { index: peer.index, generation: peer.generation };
    }
    spec.payload_types[0] =
        PayloadType { clock_rate: 8_000, number: 0, telephone_event: 0, codec: 1, present: 1 };
    spec.payload_types[1] =
        PayloadType { clock_rate: 8_000, number: 101, telephone_event: 1, codec: 0, present: 1 };
    spec
}

/// Two parties that talk to each other, changed by `adjust` before they are installed.
pub(crate) fn call_with(
    sim: &mut Sim,
    addresses: [&str; 2],
    mut adjust: impl FnMut(usize, &mut TerminationSpec),
) -> [Party; 2] {
    let addresses = addresses.map(addr);
    let ends = addresses.map(|a| sim.endpoint(a.ip().unwrap().is_ipv6()));
    for i in 0..2 {
        let mut spec = spec(addresses[i], &[ends[1 - i].0]);
        (spec.local_rtp, spec.local_rtcp) = (ends[i].1, ends[i].2);
        adjust(i, &mut spec);
        sim.put(ends[i].0, spec);
    }
    let installed = |event: &&Event| matches!(event, Event::Installed { .. });
    assert_eq!(sim.events.iter().filter(installed).count(), 2, "{:?}", sim.events);
    sim.events.clear();
    let party = |i: usize| Party {
        handle: ends[i].0,
        local: ends[i].1,
        address: addresses[i],
        ssrc: 100 + u32::try_from(i).unwrap(),
        sequence: 1_000,
    };
    [party(0), party(1)]
}

pub(crate) fn call(sim: &mut Sim) -> [Party; 2] {
    call_with(sim, ["192.0.2.1:5000", "198.51.100.2:6000"], |_, _| {})
}

/// How often each address was sent to.
pub(crate) fn by_address(sent: &[Sent]) -> HashMap<SockAddr, usize> {
    let mut counts = HashMap::new();
    for packet in sent {
        *counts.entry(packet.to).or_insert(0) += 1;
    }
    counts
}
