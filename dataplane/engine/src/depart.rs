//! The last room: sends what transform handed on, in one call of the port.
//!
//! Uses: `Leaving`. Sets: the counters of what was sent, residence times. Doors: forward; drop
//! (`send_failed`) for what the port did not take. Budget: 40 instructions per packet, the port's
//! own included on the memory port.

use crate::burst::Leaving;
use crate::clock::Clock;
use crate::residence::Residence;
use tandem_contract::counters::WorkerCounters;
use tandem_contract::reason::DropReason;
use tandem_hw::port::Port;

/// Sends the departures and empties them.
#[inline(never)]
pub(crate) fn depart<P: Port, C: Clock>(
    port: &mut P,
    clock: &C,
    leaving: &mut Leaving,
    counters: &mut WorkerCounters,
    residence: &mut Residence,
) {
    if leaving.departures.is_empty() {
        return;
    }
    let outcome = port.send_burst(&mut leaving.departures);
    counters.sent += u64::from(outcome.sent);
    counters.sent_octets += outcome.sent_octets;
    settle(leaving, outcome.failed, counters);
    let done = clock.now().as_nanos();
    for handed in leaving.take_groups() {
        residence.record(done.saturating_sub(handed.arrival_ns), handed.count);
    }
}

/// Gives every departure its door. The port tells how many it refused, not which: forwarded ones
/// are taken first, so that a refusal always shows as a drop.
#[inline]
fn settle(leaving: &mut Leaving, failed: u32, counters: &mut WorkerCounters) {
    let forwards = failed.min(leaving.forwarded);
    let copies = (failed - forwards).min(leaving.copies);
    let own = (failed - forwards - copies).min(leaving.originated);
    counters.forwarded += u64::from(leaving.forwarded - forwards);
    counters.copies += u64::from(leaving.copies - copies);
    counters.originated += u64::from(leaving.originated - own);
    if failed > 0 {
        counters.dropped[DropReason::SendFailed as usize] += u64::from(forwards);
        counters.unsent += u64::from(copies + own);
    }
    (leaving.forwarded, leaving.copies, leaving.originated) = (0, 0, 0);
}
