//! What the engine says first on the link, beside the descriptors of the shared memory.
//!
//! Link: a `SOCK_SEQPACKET` Unix socket. The engine sends one [`Hello`] with these descriptors:
//! for each worker, in order: lane memory, table memory, doorbell towards the worker, doorbell
//! towards control (eventfds). One control at a time: a second one gets a `Hello` with
//! `status` [`STATUS_BUSY`] and no descriptors. A lane is fresh for each control; a table lives as
//! long as the engine.

use bytemuck::{Pod, Zeroable};

/// Version of everything in this crate that crosses processes; raise it with any layout change.
pub const VERSION: u32 = 2;
/// `Hello::magic`.
pub const MAGIC: u32 = 0x5444_4d31;
/// `Hello::status`: attached.
pub const STATUS_OK: u32 = 0;
/// `Hello::status`: another control is attached.
pub const STATUS_BUSY: u32 = 1;

/// `Hello::port`: which port kind the engine drives.
pub const PORT_SOCKET_URING: u32 = 1;
/// `Hello::port`: sockets driven by recvmmsg/sendmmsg.
pub const PORT_SOCKET_MMSG: u32 = 2;

/// First message of the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Hello {
    /// [`MAGIC`].
    pub magic: u32,
    /// [`VERSION`].
    pub version: u32,
    /// `STATUS_*`.
    pub status: u32,
    /// Workers of this engine.
    pub workers: u32,
    /// Random number of this engine process: a new one means that the old engine is gone.
    pub instance: u64,
    /// Counts the attaches to this engine process.
    pub epoch: u64,
    /// Process id of the engine.
    pub pid: u32,
    /// Process id of the attached control if `status` is [`STATUS_BUSY`].
    pub control_pid: u32,
    /// `PORT_*`.
    pub port: u32,
    /// Terminations per worker (entries of each table).
    pub terminations: u32,
    /// Entries of each command ring.
    pub command_ring: u32,
    /// Entries of each event ring.
    pub event_ring: u32,
    /// Endpoints per worker that the open-files limit allows.
    pub endpoint_limit: u32,
    /// Zero.
    pub reserved: u32,
}
