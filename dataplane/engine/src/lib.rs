//! The packet engine: relays, measures and latches RTP, on cores of its own.
//!
//! A [`worker::Worker`] owns a port and its terminations and runs turns. It does no I/O but through
//! the port, reads time from the clock that it is given, and allocates nothing after its start, so
//! that a test can run it with a memory port and virtual time. What needs the system (binding,
//! threads, the link's socket) is in the binary.
//!
//! | file | what it does |
//! | --- | --- |
//! | `arrive`, `parse`, `lookup`, `transform`, `depart` | the rooms of a packet, in order |
//! | [`worker`] | the turn |
//! | `commands`, `timers`, `endpoints`, `publish` | what happens between bursts |
//! | `latch`, `rtcp`, `dtmf` | source learning, round trips and own reports, digits |
//! | [`measure`] | the measurement of a stream, also for receivers elsewhere |
//! | `table` | terminations by index, hot and cold |
//! | `outbox`, `burst`, `residence`, `random` | small parts |

mod arrive;
mod burst;
pub mod clock;
mod commands;
mod depart;
mod dtmf;
pub mod endpoints;
mod latch;
mod lookup;
pub mod measure;
mod outbox;
mod parse;
pub mod publish;
mod random;
mod residence;
mod rtcp;
mod table;
mod timers;
mod transform;
pub mod worker;

pub use outbox::Lane;
