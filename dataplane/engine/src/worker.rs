//! One core's loop: a turn is arrive, parse, lookup, transform, depart; then commands; then timers.

use crate::arrive::arrive;
use crate::burst::Burst;
use crate::clock::Clock;
use crate::depart::depart;
use crate::endpoints::{Provision, Request};
use crate::lookup::lookup;
use crate::outbox::Outbox;
use crate::parse::parse;
use crate::publish::Tables;
use crate::random::Random;
use crate::residence::Residence;
use crate::table::Table;
use crate::timers::Walk;
use crate::transform::{Doors, transform};
use core::time::Duration;
use tandem_contract::counters::WorkerCounters;
use tandem_contract::limits::{DEFAULT_ENDPOINTS_AHEAD, DEFAULT_TERMINATIONS};
use tandem_hw::port::Port;

/// What a worker is made with.
#[derive(Clone, Copy, Debug)]
pub struct WorkerConfig {
    /// Its number, as in handles.
    pub worker: u16,
    /// Entries of its tables.
    pub terminations: u32,
    /// Free endpoints that it keeps bound, per family.
    pub endpoints_ahead: u32,
    /// Whether it has an IPv4 address, and whether an IPv6 one.
    pub families: [bool; 2],
    /// Endpoints that the open-files limit allows it.
    pub endpoint_limit: u32,
    /// Seed of its random numbers.
    pub seed: u64,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            worker: 0,
            terminations: DEFAULT_TERMINATIONS,
            endpoints_ahead: DEFAULT_ENDPOINTS_AHEAD,
            families: [true, false],
            endpoint_limit: u32::MAX,
            seed: 1,
        }
    }
}

/// One core's share of the engine.
#[derive(Debug)]
pub struct Worker<P: Port, C: Clock> {
    pub(crate) port: P,
    pub(crate) clock: C,
    pub(crate) table: Table,
    pub(crate) burst: Burst,
    pub(crate) counters: WorkerCounters,
    pub(crate) residence: Residence,
    pub(crate) outbox: Outbox,
    pub(crate) provision: Provision,
    pub(crate) tables: Tables,
    pub(crate) walk: Walk,
    pub(crate) random: Random,
    /// Where an audit goes on.
    pub(crate) audit_at: Option<u32>,
}

impl<P: Port, C: Clock> Worker<P, C> {
    /// A worker without terminations. It allocates everything that it will need.
    #[must_use]
    pub fn new(port: P, clock: C, config: WorkerConfig, tables: Tables) -> Self {
        let terminations = config.terminations.min(port.slots() / 2);
        let provision = Provision::new(
            terminations,
            config.endpoints_ahead,
            config.families,
            config.endpoint_limit,
        );
        Self {
            port,
            clock,
            table: Table::new(config.worker, terminations),
            burst: Burst::default(),
            counters: WorkerCounters::default(),
            residence: Residence::new(),
            outbox: Outbox::default(),
            provision,
            tables,
            walk: Walk::default(),
            random: Random::new(config.seed ^ u64::from(config.worker)),
            audit_at: None,
        }
    }

    /// One turn. `true` if there may be more to do at once, `false` if the worker may sleep.
    pub fn turn(&mut self) -> bool {
        let now = self.clock.now();
        let busy = arrive(&mut self.port, now, &mut self.burst, &mut self.counters);
        if busy {
            parse(&self.port, &mut self.burst, &mut self.counters);
            lookup(&mut self.table, &mut self.burst, &mut self.outbox);
            while !self.burst.received.is_empty() {
                let (port, counters) = (&mut self.port, &mut self.counters);
                let mut doors = Doors { port, counters, outbox: &mut self.outbox };
                transform(&mut self.table, &mut self.burst, &mut doors);
                self.depart();
            }
            self.counters.busy_turns += 1;
        }
        let commands = self.drain_commands(now);
        let audit = self.audit_more();
        let timers = self.tick(now);
        self.depart();
        self.provision(now);
        self.announce_more();
        self.outbox.ring();
        self.counters.turns += 1;
        self.assert_conservation();
        busy || commands || audit || timers
    }

    fn depart(&mut self) {
        depart(
            &mut self.port,
            &self.clock,
            &mut self.burst.leaving,
            &mut self.counters,
            &mut self.residence,
        );
    }

    /// Every packet left by exactly one door.
    fn assert_conservation(&self) {
        let c = &self.counters;
        let doors = |list: &[u64]| list.iter().sum::<u64>();
        debug_assert_eq!(
            c.received,
            c.forwarded + doors(&c.absorbed) + doors(&c.punted) + doors(&c.dropped),
            "received = forwarded + absorbed + punted + dropped"
        );
        debug_assert_eq!(
            c.sent,
            c.forwarded + c.copies + c.originated,
            "sent = forwarded + copies + originated"
        );
    }

    /// Sleeps until a packet, the doorbell or the timeout, unless a command waits.
    pub fn wait(&mut self, timeout: Duration) {
        let idle = self.outbox.lane().is_none_or(crate::outbox::Lane::prepare_sleep);
        if idle {
            self.port.wait(timeout);
        }
        if let Some(lane) = self.outbox.lane() {
            lane.awake();
        }
    }

    /// The next wish to housekeeping.
    pub fn poll_request(&mut self) -> Option<Request> {
        self.provision.requests.pop_front()
    }

    /// Its figures so far; those of residence are a second old at most.
    #[must_use]
    pub const fn counters(&self) -> &WorkerCounters {
        &self.counters
    }

    /// Terminations that exist.
    #[must_use]
    pub fn terminations(&self) -> usize {
        self.table.alive.len()
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> &P {
        &self.port
    }

    /// Its port, to inject and to inspect.
    pub const fn port_mut(&mut self) -> &mut P {
        &mut self.port
    }

    /// Its clock.
    #[must_use]
    pub const fn clock(&self) -> &C {
        &self.clock
    }

    /// Publishes everything now, as before its end.
    pub fn publish_all(&mut self) {
        let now = self.clock.now();
        for at in 0..self.table.alive.len() {
            let place = self.table.alive[at] as usize;
            self.publish(now, place, true);
        }
        self.publish_worker_now(now);
    }
}
