//! Byte formats of the packet path: link, network, RTP, RTCP, STUN.
//!
//! Every format file has the same shape: a view over bytes with getters, a value type, and
//! `parse`/`emit` between the two. Nothing here reads a clock or does I/O; errors are small `Copy`
//! enums.
//!
//! | file | format |
//! | --- | --- |
//! | [`addr`], [`time`] | socket addresses and instants as plain data |
//! | [`checksum`] | the Internet checksum (RFC 1071) |
//! | [`ethernet`] | Ethernet II with up to two VLAN tags |
//! | [`ipv4`], [`ipv6`], [`udp`] | network and transport headers |
//! | [`network`] | a whole frame around a UDP payload, in and out |
//! | [`demux`] | what the first octets say (RFC 7983, RFC 5761) |
//! | [`rtp`], [`telephone_event`] | media |
//! | [`rtcp`] | compound RTCP |
//! | [`stun`] | STUN framing |

pub mod addr;
mod bytes;
pub mod checksum;
pub mod demux;
pub mod ethernet;
pub mod ipv4;
pub mod ipv6;
pub mod network;
pub mod rtcp;
pub mod rtp;
pub mod stun;
pub mod telephone_event;
pub mod time;
pub mod udp;
