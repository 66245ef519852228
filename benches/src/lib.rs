//! Micro-benchmarks of Tandem: what one piece costs, in nanoseconds and in instructions.
//!
//! Absolute times depend on the machine and are only printed. What is gated is an instruction
//! count, by the committed file `budgets.json`.

pub mod engine;
pub mod sip;
