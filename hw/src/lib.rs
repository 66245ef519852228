//! The machine: packet buffers, rings, ports, clock, cores. The only crate with unsafe code.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`frame`] | packet buffers in one mapping, and their move-only names |
//! | [`port`] | the trait of everything that receives and sends packets, and its kinds |
//! | [`spsc`], [`handover`] | rings between two threads or two processes |
//! | [`table`] | records that one process writes and another reads without asking |
//! | [`lane`] | the two rings and the sleep flags of one worker's link to control |
//! | [`shm`], [`doorbell`], [`seqpacket`] | what the link is made of |
//! | [`clock`], [`cores`], [`limits`], [`bind`] | the host |
//! | [`count_alloc`] | an allocator that counts, for tests and benchmarks |
//!
//! Values that the kernel or the other process wrote are checked wherever they are read; none is
//! used as an index before. See `README.md` for the invariants that the unsafe code rests on.

#[cfg(not(loom))]
pub mod bind;
#[cfg(not(loom))]
pub mod clock;
#[cfg(not(loom))]
pub mod cores;
#[cfg(not(loom))]
pub mod count_alloc;
mod cursor;
#[cfg(not(loom))]
pub mod doorbell;
#[cfg(not(loom))]
pub mod frame;
pub mod handover;
#[cfg(not(loom))]
pub mod lane;
#[cfg(not(loom))]
pub mod limits;
#[cfg(not(loom))]
mod mapping;
#[cfg(not(loom))]
pub mod port;
#[cfg(not(loom))]
pub mod seqpacket;
#[cfg(not(loom))]
pub mod shm;
#[cfg(not(loom))]
pub mod splitmix;
pub mod spsc;
mod sync;
#[cfg(not(loom))]
pub mod table;
mod words;
