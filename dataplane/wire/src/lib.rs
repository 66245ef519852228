//! Byte formats of the packet path: link, network, RTP, RTCP, STUN.
//!
//! Every format file has the same shape: a view over bytes with getters, a value type, and
//! `parse`/`emit` between the two. Nothing here reads a clock or does I/O; errors are small `Copy`
//! enums.

pub mod addr;
pub mod time;
