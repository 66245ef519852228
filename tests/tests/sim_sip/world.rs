//! A virtual network of SIP stacks with a clock of its own: every run is a function of its seed.

use crate::party::{Do, Party};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tandem_signalling::stack::{Flow, Output, Transport};
use tandem_wire::time::Instant;

/// Numbers from a seed (SplitMix64).
#[derive(Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `low..=high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.next() % 100 < chance
    }
}

/// What the network does to datagrams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    pub(crate) loss_percent: u64,
    pub(crate) duplicate_percent: u64,
    pub(crate) delay_ms: (u64, u64),
    /// How many copies of one message may be lost, so that the next is sure to arrive.
    pub(crate) most_losses: u32,
}

impl Faults {
    pub(crate) const NONE: Self =
        Self { loss_percent: 0, duplicate_percent: 0, delay_ms: (5, 5), most_losses: 0 };
    pub(crate) const HARSH: Self =
        Self { loss_percent: 30, duplicate_percent: 15, delay_ms: (1, 400), most_losses: 2 };
    /// Nothing but loss: timeouts do happen.
    pub(crate) const HOPELESS: Self =
        Self { loss_percent: 70, duplicate_percent: 10, delay_ms: (1, 400), most_losses: u32::MAX };
}

struct Packet {
    to: usize,
    flow: Flow,
    bytes: Arc<[u8]>,
}

/// A choice of the scenario: drop this one?
pub(crate) type Censor = Box<dyn FnMut(&[u8]) -> bool>;

/// Parties and the network between them.
pub(crate) struct World {
    seed: u64,
    pub(crate) now: Instant,
    pub(crate) rng: Rng,
    pub(crate) parties: Vec<Party>,
    pub(crate) transport: Transport,
    pub(crate) faults: Faults,
    pub(crate) censor: Option<Censor>,
    /// Datagrams to this address go to each of these parties, as from a forking proxy.
    pub(crate) fork: Option<(SocketAddr, Vec<usize>)>,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    packets: HashMap<u64, Packet>,
    plans: HashMap<u64, (usize, Do)>,
    sequence: u64,
    losses: BTreeMap<(usize, Vec<u8>), u32>,
    last_arrival: HashMap<(SocketAddr, SocketAddr), Instant>,
    pub(crate) trace: Vec<String>,
}

pub(crate) fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, u8::try_from(number + 1).unwrap()], 5060))
}

impl World {
    pub(crate) fn new(seed: u64, transport: Transport, faults: Faults, parties: usize) -> Self {
        let mut rng = Rng::new(seed);
        let parties = (0..parties).map(|n| Party::new(address(n), rng.next())).collect();
        Self {
            seed,
            now: Instant::ZERO,
            rng,
            parties,
            transport,
            faults,
            censor: None,
            fork: None,
            queue: BinaryHeap::new(),
            packets: HashMap::new(),
            plans: HashMap::new(),
            sequence: 0,
            losses: BTreeMap::new(),
            last_arrival: HashMap::new(),
            trace: Vec::new(),
        }
    }

    /// Has a party do something after `delay_ms`.
    pub(crate) fn plan(&mut self, party: usize, delay_ms: u64, what: Do) {
        let at = self.now + Duration::from_millis(delay_ms);
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence)));
        self.plans.insert(self.sequence, (party, what));
    }

    /// Runs until `until`, or until nothing is left to happen.
    pub(crate) fn run_until(&mut self, until: Instant) {
        for _ in 0..200_000 {
            self.settle();
            let timer = self.parties.iter().filter_map(|party| party.stack.next_timeout()).min();
            let queued = self.queue.peek().map(|Reverse((at, _))| *at);
            let Some(next) = timer.into_iter().chain(queued).min().filter(|at| *at <= until) else {
                self.now = until.max(self.now);
                return;
            };
            self.now = next.max(self.now);
            if queued == Some(next) {
                self.take_one();
            } else {
                for party in &mut self.parties {
                    party.stack.handle_timeout(self.now);
                }
            }
        }
        panic!("the world does not come to rest");
    }

    pub(crate) fn run_for(&mut self, seconds: u64) {
        self.run_until(self.now + Duration::from_secs(seconds));
    }

    fn take_one(&mut self) {
        let Some(Reverse((_, number))) = self.queue.pop() else { return };
        if let Some(packet) = self.packets.remove(&number) {
            self.parties[packet.to].stack.handle_input(self.now, packet.flow, &packet.bytes);
        } else if let Some((party, what)) = self.plans.remove(&number) {
            let (now, flows) = (self.now, Flows(self.transport));
            self.parties[party].act(now, &flows, what);
        }
    }

    /// Moves what the stacks put out: messages to the network, events to the parties.
    fn settle(&mut self) {
        for number in 0..self.parties.len() {
            loop {
                while let Some(output) = self.parties[number].stack.poll_output() {
                    match output {
                        Output::Transmit { flow, bytes } => self.send(number, flow, &bytes),
                        Output::Event(event) => {
                            self.note(number, &format!("event {event:?}"));
                            let now = self.now;
                            self.parties[number].hear(now, &mut self.rng, event);
                        }
                    }
                }
                let wishes = core::mem::take(&mut self.parties[number].wishes);
                if wishes.is_empty() {
                    break;
                }
                for (delay_ms, what) in wishes {
                    self.plan(number, delay_ms, what);
                }
            }
        }
    }

    fn note(&mut self, number: usize, text: &str) {
        self.trace.push(format!("{:>8} {number} {text}", self.now.as_millis()));
    }

    fn send(&mut self, from: usize, flow: Flow, bytes: &Arc<[u8]>) {
        let start = bytes.split(|b| *b == b'\r').next().unwrap_or_default();
        self.note(from, &format!("-> {} {}", flow.remote, String::from_utf8_lossy(start)));
        let mut faults = self.faults;
        let receivers: Vec<usize> = match &self.fork {
            Some((address, parties)) if *address == flow.remote => {
                // Who forks repeats on each branch by itself.
                faults.loss_percent = 0;
                parties.clone()
            }
            _ => self.parties.iter().position(|it| it.address == flow.remote).into_iter().collect(),
        };
        for to in receivers {
            if self.censor.as_mut().is_some_and(|censor| censor(bytes)) {
                self.note(from, "   censored");
            } else if self.transport.is_reliable() {
                self.deliver_in_order(to, flow, bytes);
            } else {
                self.deliver_perhaps(faults, to, flow, bytes);
            }
        }
    }

    fn deliver_perhaps(&mut self, faults: Faults, to: usize, flow: Flow, bytes: &Arc<[u8]>) {
        if self.rng.percent(faults.loss_percent) {
            let lost = self.losses.entry((to, bytes.to_vec())).or_default();
            if *lost < faults.most_losses {
                *lost += 1;
                self.note(to, "   lost");
                return;
            }
        }
        let copies = if self.rng.percent(faults.duplicate_percent) { 2 } else { 1 };
        for _ in 0..copies {
            let delay = self.rng.between(faults.delay_ms.0, faults.delay_ms.1);
            let at = self.now + Duration::from_millis(delay);
            self.enqueue(at, to, flow, bytes);
        }
    }

    fn deliver_in_order(&mut self, to: usize, flow: Flow, bytes: &Arc<[u8]>) {
        let delay = self.rng.between(self.faults.delay_ms.0, self.faults.delay_ms.1);
        let wanted = self.now + Duration::from_millis(delay);
        let last = self.last_arrival.entry((flow.local, flow.remote)).or_insert(wanted);
        let at = wanted.max(*last);
        *last = at;
        self.enqueue(at, to, flow, bytes);
    }

    fn enqueue(&mut self, at: Instant, to: usize, flow: Flow, bytes: &Arc<[u8]>) {
        let local = self.parties[to].address;
        let flow = match self.transport {
            Transport::Udp => Flow::udp(local, flow.local),
            stream => Flow::new(stream, local, flow.local, 1),
        };
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence)));
        self.packets.insert(self.sequence, Packet { to, flow, bytes: Arc::clone(bytes) });
    }
}

/// A failed run tells how to see it again.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let last = self.trace.len().saturating_sub(80);
            eprintln!("{}", self.trace[last..].join("\n"));
            eprintln!("failed over {:?}; TANDEM_SEED={} runs it again", self.transport, self.seed);
        }
    }
}

/// How a party reaches an address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flows(Transport);

impl Flows {
    pub(crate) fn to(self, local: SocketAddr, remote: SocketAddr) -> Flow {
        match self.0 {
            Transport::Udp => Flow::udp(local, remote),
            stream => Flow::new(stream, local, remote, 0),
        }
    }
}
