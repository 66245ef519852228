//! Frames that wait in the kernel for packets: a provided-buffer ring of io_uring.
//!
//! Invariants of the unsafe code:
//! - `ring` is a page-aligned mapping of `entries` 16-octet entries that stays registered with the
//!   kernel, and mapped, as long as this value lives.
//! - Buffer id `b` is with the kernel exactly while `frames[b]` is `Some`; the kernel may write to
//!   that frame then, and nobody else accesses it. There are `entries` ids, so the ring can't
//!   overflow.
//! - An id that the kernel returns is looked up and must be with the kernel; otherwise it is
//!   ignored.

use crate::frame::FrameId;
use crate::mapping::Mapping;
use core::sync::atomic::{AtomicU16, Ordering};
use io_uring::types::BufRingEntry;
use std::io;

#[derive(Debug)]
pub(super) struct Provided {
    ring: Mapping,
    entries: u16,
    /// Entries ever written; the kernel sees it at the next [`publish`](Self::publish).
    tail: u16,
    frames: Box<[Option<FrameId>]>,
    free: Vec<u16>,
}

impl Provided {
    /// `entries` is a power of two up to 32,768.
    pub(super) fn new(entries: u16) -> io::Result<Self> {
        if !entries.is_power_of_two() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let ring = Mapping::anonymous(usize::from(entries) * size_of::<BufRingEntry>())?;
        Ok(Self {
            ring,
            entries,
            tail: 0,
            frames: (0..entries).map(|_| None).collect(),
            free: (0..entries).rev().collect(),
        })
    }

    /// What the kernel is told at registration.
    pub(super) fn address(&self) -> u64 {
        self.ring.base().as_ptr() as u64
    }

    pub(super) const fn entries(&self) -> u16 {
        self.entries
    }

    /// Frames that the kernel has.
    pub(super) fn posted(&self) -> usize {
        self.frames.len() - self.free.len()
    }

    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Gives a frame to the kernel, which will write up to `len` octets at `address` in it; gives
    /// it back if the ring has no room.
    pub(super) fn give(
        &mut self,
        frame: FrameId,
        address: *mut u8,
        len: u32,
    ) -> Result<(), FrameId> {
        let Some(id) = self.free.pop() else { return Err(frame) };
        let place = usize::from(self.tail & (self.entries - 1));
        let entry = self.ring.base().as_ptr().cast::<BufRingEntry>();
        // SAFETY: place < entries, so the entry lies in the mapping, which is zeroed at first and
        // aligned. The kernel reads an entry only after the tail was published behind it, and the
        // setters leave the tail alone, which overlays the unused field of the first entry.
        let entry = unsafe { &mut *entry.add(place) };
        entry.set_addr(address as u64);
        entry.set_len(len);
        entry.set_bid(id);
        self.frames[usize::from(id)] = Some(frame);
        self.tail = self.tail.wrapping_add(1);
        Ok(())
    }

    /// Makes what was given visible to the kernel.
    pub(super) fn publish(&self) {
        let base = self.ring.base().as_ptr().cast::<BufRingEntry>();
        // SAFETY: base is the first entry of the ring; the tail in it is a u16 that the kernel
        // only reads, aligned, and inside the mapping.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(base).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    /// Takes back the frame of a buffer that the kernel says it has filled; `None` if the kernel
    /// did not have that buffer.
    pub(super) fn take(&mut self, id: u16) -> Option<FrameId> {
        let frame = self.frames.get_mut(usize::from(id))?.take()?;
        self.free.push(id);
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::FramePool;

    #[test]
    fn an_id_comes_back_once() {
        let mut pool = FramePool::new(5).unwrap();
        let mut provided = Provided::new(4).unwrap();
        for _ in 0..4 {
            let frame = pool.alloc().unwrap();
            let address = pool.address(&frame);
            provided.give(frame, address, 2_048).unwrap();
        }
        provided.publish();
        assert_eq!((provided.posted(), provided.has_room()), (4, false));
        let frame = pool.alloc().unwrap();
        let address = pool.address(&frame);
        pool.free(provided.give(frame, address, 2_048).unwrap_err());
        assert!(provided.take(4).is_none(), "no such buffer");
        pool.free(provided.take(2).unwrap());
        assert!(provided.take(2).is_none(), "not with the kernel");
        assert_eq!((provided.posted(), pool.available()), (3, 2));
    }

    #[test]
    fn entries_are_laid_out_as_the_kernel_reads_them() {
        let mut pool = FramePool::new(2).unwrap();
        let mut provided = Provided::new(2).unwrap();
        let frame = pool.alloc().unwrap();
        let address = pool.address(&frame);
        provided.give(frame, address, 1_900).unwrap();
        provided.publish();
        let mut octets = [0_u8; 16];
        // SAFETY: the first entry has 16 octets, and no kernel has this ring.
        unsafe { provided.ring.base().as_ptr().copy_to(octets.as_mut_ptr(), 16) };
        assert_eq!(octets[..8], (address as u64).to_ne_bytes());
        assert_eq!(octets[8..12], 1_900_u32.to_ne_bytes());
        assert_eq!(octets[12..14], 0_u16.to_ne_bytes());
        assert_eq!(octets[14..], 1_u16.to_ne_bytes(), "the tail");
    }
}
