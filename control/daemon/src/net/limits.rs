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
/// A peer that takes nothing of what waits for it is given up after this time.
pub const SLOW_RECEIVER: Duration = Duration::from_secs(30);
/// Connections at the same time, both ways.
pub const MAX_CONNECTIONS: usize = 16_384;
/// Connections from one address at the same time.
pub const MAX_CONNECTIONS_PER_PEER: usize = 1_024;
/// Connections that were accepted and have not brought a whole message yet; beyond it the one that
/// waits longest is closed.
pub const MAX_HALF_OPEN: usize = 2_048;
/// An accepted connection must have ended its TLS handshake and its WebSocket upgrade within this
/// time.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// An accepted connection must have brought its first whole message within this time.
pub const FIRST_MESSAGE: Duration = Duration::from_secs(30);
/// A peer that has begun a message must have sent all of it within this time.
pub const SLOW_SENDER: Duration = Duration::from_secs(20);
/// Octets of messages that are not complete, over all connections; beyond it the connections whose
/// message is the oldest are closed.
pub const MAX_PARTIAL: usize = 64 * 1024 * 1024;
/// Octets of a WebSocket upgrade request.
pub const MAX_UPGRADE: usize = 8 * 1024;
/// An outgoing connection, its TLS handshake included, must stand within this time: two repetitions
/// of a lost SYN, and far below timer B, so that the next server or UDP still has its chance.
pub const CONNECT: Duration = Duration::from_secs(4);
/// After a refusal for want of file descriptors or memory, connections are accepted again after
/// this time.
pub const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// How often the want of descriptors is said.
pub const SAY_EXHAUSTED: Duration = Duration::from_secs(60);
/// How often idle and slow connections are looked for.
pub const SWEEP: Duration = Duration::from_secs(1);
/// A connection that we opened is kept alive by a double CRLF after this time (RFC 5626 §4.4.1:
/// between 80 % and 100 % of 120 s).
pub const PING: Duration = Duration::from_secs(110);
/// The answer to a keep-alive of ours must come within this time (RFC 5626 §4.4.1), from a peer
/// that has answered one before.
pub const PONG: Duration = Duration::from_secs(10);
/// Time beyond the announced Flow-Timer after which a flow without keep-alive is given up.
pub const FLOW_TIMER_GRACE: Duration = Duration::from_secs(15);
/// TCP keep-alive: first probe after this silence. Finds peers that are gone without a word.
pub const PROBE_AFTER: Duration = Duration::from_secs(120);
/// TCP keep-alive: time between probes.
pub const PROBE_EVERY: Duration = Duration::from_secs(15);
/// TCP keep-alive: probes without answer until the connection is closed.
pub const PROBES: u32 = 4;
/// Kernel buffer asked for on a UDP socket, octets; the kernel may give less.
pub const UDP_BUFFER: usize = 4 * 1024 * 1024;
