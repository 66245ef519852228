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
    view.published_ns = mean(workers.iter().map(|worker| worker.published_ns));
    view
}

/// The mean of times; `None` without any.
fn mean(times: impl ExactSizeIterator<Item = u64>) -> Option<u64> {
    let count = u128::try_from(times.len()).ok()?;
    let sum: u128 = times.map(u128::from).sum();
    u64::try_from(sum.checked_div(count)?).ok()
}

fn add(view: &mut EngineView, worker: &WorkerCounters) {
    for reason in DropReason::ALL {
        let count = worker.dropped[*reason as usize];
        if count > 0 {
            let sum = view.dropped.entry(reason.key().to_owned()).or_default();
            *sum = sum.saturating_add(count);
        }
    }
    for (sum, count) in [
        (&mut view.received, worker.received),
        (&mut view.forwarded, worker.forwarded),
        (&mut view.absorbed, total(&worker.absorbed)),
        (&mut view.punted, total(&worker.punted)),
        (&mut view.sent, worker.sent),
        (&mut view.copies, worker.copies),
        (&mut view.originated, worker.originated),
        (&mut view.received_octets, worker.received_octets),
        (&mut view.sent_octets, worker.sent_octets),
        (&mut view.terminations, worker.terminations),
        (&mut view.endpoints_free, worker.endpoints_free),
        (&mut view.turns, worker.turns),
        (&mut view.busy_turns, worker.busy_turns),
        (&mut view.events_lost, worker.events_lost),
    ] {
        *sum = sum.saturating_add(count);
    }
    add_losses(&mut view.port_losses, &worker.port);
    let worst = &mut view.residence;
    *worst = Residence {
        p50_ns: worst.p50_ns.max(worker.residence_p50_ns),
        p99_ns: worst.p99_ns.max(worker.residence_p99_ns),
        p999_ns: worst.p999_ns.max(worker.residence_p999_ns),
        max_ns: worst.max_ns.max(worker.residence_max_ns),
    };
}

/// Sums what the engine says, whatever it says.
fn total(counts: &[u64]) -> u64 {
    counts.iter().copied().fold(0, u64::saturating_add)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_summed_and_their_time_is_the_mean() {
        let worker = |published_ns, received| WorkerCounters {
            published_ns,
            received,
            ..Default::default()
        };
        let view = engine_view(None, &[worker(u64::MAX, 1), worker(u64::MAX - 2, 2)], 0);
        assert_eq!((view.published_ns, view.received), (Some(u64::MAX - 1), 3));
        assert_eq!(engine_view(None, &[], 0).published_ns, None);
    }
}
