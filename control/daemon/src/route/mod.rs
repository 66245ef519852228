//! Routing of numbers: how digits are read, which rule fits them, and whom to try in which order.
//! Pure: no clock, no state of trunks, and the random number is passed in.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`number`] | the number plan: dialled digits to E.164 and back |
//! | [`tree`] | prefixes, the longest match first |
//! | [`order`] | priorities, and weights among equals |
//! | [`failover`] | on which answers the next one is tried |
//! | [`decide`] | from a number and a caller to candidates |
//! | [`explain`] | the same, step by step, for people |

pub mod decide;
pub mod explain;
pub mod failover;
pub mod number;
pub mod order;
pub mod tree;

pub use decide::{Candidate, Decision, Directory, Origin, Outcome, Router, Rule, Standing, Target};
pub use explain::RouteView;
pub use failover::Failover;
pub use number::{Kind, Normalised, NumberFormat, NumberPlan};
