//! What control and engine say to each other: plain data, limits and reasons.
//!
//! Control states what should exist ([`command`]), the engine says what happened ([`event`]) and
//! keeps a table of counters that control reads without asking ([`counters`]). All of it lies in
//! shared memory, so every type that crosses is plain data of a fixed layout, and whoever reads
//! checks: a value written by the other process is never trusted, least of all as an index.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`limits`] | every limit, with its name, default and remedy |
//! | [`handle`] | names of terminations and contexts |
//! | [`command`] | control to engine |
//! | [`event`] | engine to control |
//! | [`measure`] | the measurement record of one received stream |
//! | [`counters`] | the counters table and the counters of a worker |
//! | [`quality`] | R factor and MOS out of a measurement (ITU-T G.107) |
//! | [`reason`] | the doors: why a packet was absorbed, punted or dropped |
//! | [`hello`] | what the engine says first on the link |

pub mod command;
pub mod counters;
pub mod event;
pub mod handle;
pub mod hello;
pub mod limits;
pub mod measure;
pub mod quality;
pub mod reason;
