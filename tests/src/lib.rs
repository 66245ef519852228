//! What the tests share: network namespaces, child processes, captures, skipping.
//!
//! System tests run the real binaries with real clients on hosts that they make themselves. A
//! test that needs what the machine lacks says so by [`skip::skip`] and passes; the runner counts
//! and prints these.

pub mod appliance;
pub mod baresip;
pub mod certificates;
pub mod netns;
pub mod process;
pub mod rtp_stream;
pub mod skip;
pub mod stage;
pub mod tshark;
pub mod wav;
