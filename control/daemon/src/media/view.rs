//! The engine as API, metrics and screens show it.

use crate::link::EngineInfo;
use crate::snapshot::{EngineView, PortLossesView, Residence};
use tandem_contract::counters::{PortLosses, WorkerCounters};
use tandem_contract::reason::DropReason;

/// Sums the workers of an engine.
pub(super) fn engine_view(
    info: Option<EngineInfo>,
    workers: &[WorkerCounters],
    restarts: u64,
) -> EngineView {
    let mut view = EngineView {
        attached: info.is_some(),
        restarts,
        workers: u32::try_from(workers.len()).unwrap_or(u32::MAX),
        ..EngineView::default()
    };
    if let Some(info) = info {
        view.port = Some(info.port.to_owned());
        view.pid = Some(info.pid);
        view.instance = Some(format!("{:016x}", info.instance));
        view.epoch = info.epoch;
        view.endpoint_limit = info.endpoint_limit;
    }
    for worker in workers {
        add(&mut view, worker);
    }
    view
}

fn add(view: &mut EngineView, worker: &WorkerCounters) {
    for reason in DropReason::ALL {
        let count = worker.dropped[*reason as usize];
        if count > 0 {
            *view.dropped.entry(reason.key().to_owned()).or_default() += count;
        }
    }
    view.received += worker.received;
    view.forwarded += worker.forwarded;
    view.absorbed += worker.absorbed.iter().sum::<u64>();
    view.punted += worker.punted.iter().sum::<u64>();
    view.sent += worker.sent;
    view.copies += worker.copies;
    view.originated += worker.originated;
    view.received_octets += worker.received_octets;
    view.sent_octets += worker.sent_octets;
    view.terminations += worker.terminations;
    view.endpoints_free += worker.endpoints_free;
    view.turns += worker.turns;
    view.busy_turns += worker.busy_turns;
    view.events_lost += worker.events_lost;
    add_losses(&mut view.port_losses, &worker.port);
    let worst = &mut view.residence;
    *worst = Residence {
        p50_ns: worst.p50_ns.max(worker.residence_p50_ns),
        p99_ns: worst.p99_ns.max(worker.residence_p99_ns),
        p999_ns: worst.p999_ns.max(worker.residence_p999_ns),
        max_ns: worst.max_ns.max(worker.residence_max_ns),
    };
}

fn add_losses(view: &mut PortLossesView, port: &PortLosses) {
    for (sum, count) in [
        (&mut view.overflowed, port.overflowed),
        (&mut view.starved, port.starved),
        (&mut view.receive_errors, port.receive_errors),
        (&mut view.dead_slots, port.dead_slots),
        (&mut view.stale, port.stale),
        (&mut view.send_failed, port.send_failed),
    ] {
        *sum = sum.saturating_add(count);
    }
}
