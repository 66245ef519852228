//! Every limit of the signalling sockets, in one file.

use core::time::Duration;

/// Largest datagram that is read, octets; UDP carries no more.
pub const MAX_DATAGRAM: usize = 65_535;
/// Octets read from a connection at once.
pub const READ_CHUNK: usize = 16 * 1024;
/// Datagrams or chunks read from one socket before the next one has its turn.
pub const READS_PER_TURN: usize = 32;
/// Ready sockets that one wait reports.
pub const EVENTS_PER_WAIT: usize = 64;
/// Octets that wait for a slow receiver before its connection is closed.
pub const MAX_UNSENT: usize = 256 * 1024;
/// Connections at the same time, both ways.
pub const MAX_CONNECTIONS: usize = 16_384;
/// Connections from one address at the same time.
pub const MAX_CONNECTIONS_PER_PEER: usize = 1_024;
/// A peer that has begun a message must have sent all of it within this time.
pub const SLOW_SENDER: Duration = Duration::from_secs(20);
/// An outgoing connection must stand within this time (below timer B, so that the next contact
/// still has its chance).
pub const CONNECT: Duration = Duration::from_secs(8);
/// How often idle and slow connections are looked for.
pub const SWEEP: Duration = Duration::from_secs(1);
/// Kernel buffer asked for on a UDP socket, octets; the kernel may give less.
pub const UDP_BUFFER: usize = 4 * 1024 * 1024;
