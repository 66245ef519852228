//! The first room: a burst from the port.
//!
//! Uses: the port, one clock reading. Sets: `Burst::received`. Doors: none, all go on to parse.
//! Budget: 20 instructions per packet, the port's own included on the memory port.

use crate::burst::Burst;
use tandem_contract::counters::WorkerCounters;
use tandem_hw::port::Port;
use tandem_wire::time::Instant;

/// Receives up to a burst; whether there was a packet.
#[inline(never)]
pub(crate) fn arrive<P: Port>(
    port: &mut P,
    now: Instant,
    burst: &mut Burst,
    counters: &mut WorkerCounters,
) -> bool {
    port.receive_burst(now, &mut burst.received);
    counters.received += burst.received.len() as u64;
    !burst.received.is_empty()
}
