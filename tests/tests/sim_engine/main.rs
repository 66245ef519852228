//! Simulation of a worker: virtual time, memory port, seeded faults, control on the other end of a
//! real lane. Every scenario is named by what the engine does.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod control;
mod faults;
mod harness;
mod media;
mod rtcp;
mod sources;
