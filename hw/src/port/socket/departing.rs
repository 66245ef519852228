//! Packets on their way out: the message headers that sendmsg and sendmmsg read.
//!
//! Invariants of the unsafe code: a record's header points to its own `iov` and `name`, and
//! records lie in a boxed slice that never moves. The kernel may read a record, and the frame
//! named in it, from `fill` to `complete`; neither is touched in between.

use super::name::{NAME_LEN, Name};
use crate::frame::{FrameId, FramePool};
use crate::port::Departure;
use core::fmt;

/// One message to send.
pub(super) struct Record {
    header: libc::msghdr,
    iov: libc::iovec,
    name: Name,
    frame: Option<FrameId>,
    octets: u16,
    generation: u32,
}

/// A fixed number of records.
pub(super) struct Records {
    records: Box<[Record]>,
    free: Vec<u32>,
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Records({} of {} free)", self.free.len(), self.records.len())
    }
}

/// A message header without anything.
pub(super) const fn empty_header() -> libc::msghdr {
    // SAFETY: a msghdr is integers and pointers; all zero is valid and means "nothing".
    unsafe { core::mem::zeroed() }
}

impl Records {
    pub(super) fn new(count: u32) -> Self {
        let mut records: Box<[Record]> = (0..count)
            .map(|_| Record {
                header: empty_header(),
                iov: libc::iovec { iov_base: core::ptr::null_mut(), iov_len: 0 },
                name: Name::EMPTY,
                frame: None,
                octets: 0,
                generation: 0,
            })
            .collect();
        for record in &mut records {
            record.header.msg_iov = &raw mut record.iov;
            record.header.msg_iovlen = 1;
            record.header.msg_name = (&raw mut record.name).cast();
        }
        Self { records, free: (0..count).rev().collect() }
    }

    /// Records that the kernel has.
    pub(super) fn in_flight(&self) -> usize {
        self.records.len() - self.free.len()
    }

    /// Prepares a message; gives its index, its generation and its header, which stays valid until
    /// [`complete`](Self::complete). Gives the frame back if every record is in use.
    pub(super) fn fill(
        &mut self,
        pool: &FramePool,
        departure: Departure,
    ) -> Result<(u32, u32, *const libc::msghdr), FrameId> {
        let Some(index) = self.free.pop() else { return Err(departure.frame) };
        let record = &mut self.records[index as usize];
        let start = usize::from(departure.start);
        debug_assert!(departure.is_sound());
        // wrapping_add only because it needs no proof; is_sound() said that start lies inside.
        record.iov.iov_base = pool.address(&departure.frame).wrapping_add(start).cast();
        record.iov.iov_len = usize::from(departure.len);
        record.header.msg_namelen = record.name.set(departure.destination);
        record.octets = departure.len;
        record.frame = Some(departure.frame);
        record.generation = (record.generation + 1) & super::uring::GENERATION_MASK;
        Ok((index, record.generation, &raw const record.header))
    }

    /// The frame and the octets of a message that the kernel is done with; `None` if it did not
    /// have it.
    pub(super) fn complete(&mut self, index: u32, generation: u32) -> Option<(FrameId, u16)> {
        let record = self.records.get_mut(index as usize)?;
        if record.generation != generation {
            return None;
        }
        let frame = record.frame.take()?;
        self.free.push(index);
        Some((frame, record.octets))
    }
}

const _: () = assert!(NAME_LEN == 28);
