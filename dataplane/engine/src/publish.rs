//! The counters table: what control reads without asking.

use crate::clock::Clock;
use crate::table::CONFIRMED;
use crate::worker::Worker;
use core::time::Duration;
use tandem_contract::counters::{PortLosses, TerminationCounters, WorkerCounters};
use tandem_contract::measure::Measurement;
use tandem_hw::port::{Port, PortCounters};
use tandem_hw::table::TableWriter;
use tandem_wire::addr::SockAddr;
use tandem_wire::time::Instant;

/// A worker's own figures are published this often.
const WORKER_PERIOD: Duration = Duration::from_millis(250);

/// The two tables of a worker.
#[derive(Debug)]
pub struct Tables {
    /// One entry: the worker's own figures.
    pub worker: TableWriter<WorkerCounters>,
    /// One entry per index.
    pub terminations: TableWriter<TerminationCounters>,
}

impl<P: Port, C: Clock> Worker<P, C> {
    /// What a termination sends, as of now.
    pub(crate) fn measurement(&self, now: Instant, place: usize) -> Measurement {
        let (hot, cold) = (&self.table.hot[place], &self.table.cold[place]);
        let window = &self.table.windows[place];
        let mut m = hot.stream.snapshot(window, &cold.stream, now.as_nanos());
        m.rtcp_packets = cold.rtcp.received;
        m.dtmf_events = cold.dtmf.count;
        m.rtt_ns = cold.rtcp.rtt_ns;
        m
    }

    /// Publishes the figures of a termination.
    pub(crate) fn publish(&mut self, now: Instant, place: usize, alive: bool) {
        let rx = self.measurement(now, place);
        self.table.cold[place].published = now;
        let (hot, cold) = (&self.table.hot[place], &self.table.cold[place]);
        let confirmed = hot.flags & CONFIRMED != 0;
        let counters = TerminationCounters {
            handle: self.table.handle(place),
            alive: u32::from(alive),
            leg: cold.leg,
            stream: cold.media_line,
            reserved: Default::default(),
            context: cold.context,
            published_ns: now.as_nanos(),
            rx,
            tx_packets: hot.tx_packets,
            tx_octets: hot.tx_octets,
            tx_rtcp_packets: cold.rtcp.sent,
            own_rtcp_packets: cold.rtcp.own,
            dropped: cold.dropped,
            latched_rtp: if confirmed { hot.source } else { SockAddr::NONE },
            latched_rtcp: cold.rtcp_source,
        };
        self.tables.terminations.write(place, &counters);
    }

    /// Publishes the worker's figures when they are due.
    pub(crate) fn publish_worker(&mut self, now: Instant) {
        if now.as_nanos() < self.counters.published_ns + nanos(WORKER_PERIOD) {
            return;
        }
        self.publish_worker_now(now);
    }

    /// Publishes the worker's figures.
    pub(crate) fn publish_worker_now(&mut self, now: Instant) {
        let second = |ns: u64| ns / 1_000_000_000;
        if second(now.as_nanos()) != second(self.counters.published_ns) {
            self.residence.fill(&mut self.counters);
        }
        self.counters.published_ns = now.as_nanos();
        self.counters.terminations = self.table.alive.len() as u64;
        self.counters.endpoints_free = u64::from(self.provision.free());
        self.counters.events_lost = self.outbox.lost;
        self.counters.port = losses(&self.port.counters());
        self.tables.worker.write(0, &self.counters);
    }
}

fn losses(port: &PortCounters) -> PortLosses {
    PortLosses {
        overflowed: port.overflowed,
        starved: port.starved,
        receive_errors: port.receive_errors,
        dead_slots: port.dead_slots,
        stale: port.stale,
        send_failed: port.send_failed,
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
