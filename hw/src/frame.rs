//! Packet buffers: equal frames in one mapping, named by move-only ids.
//!
//! Invariants of the unsafe code:
//! - A frame's octets are accessed by whoever owns its [`FrameId`] (through the pool), or by the
//!   kernel while a port holds the id for it; never by both. Ids are neither copied nor made
//!   outside of this module, and the pool makes each once.
//! - `index < count` holds for every id of this pool, so `index * FRAME_SIZE` lies in the mapping.
//!   An id of another pool fails that check, because its tag differs (tags repeat after 4,096
//!   pools in one process).
//!
//! JUSTIFICATION: the kernel writes into these buffers asynchronously (provided buffers of
//! io_uring), which no safe container can express.

use crate::mapping::Mapping;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};
use std::io;

/// Octets of one packet buffer, headroom and tailroom included.
pub const FRAME_SIZE: usize = 2_048;
/// Octets kept free before a payload (link and network headers).
pub const HEADROOM: usize = 128;
/// Octets kept free behind a payload (authentication tags).
pub const TAILROOM: usize = 64;
/// Largest payload that a port receives whole, octets.
pub const MAX_PAYLOAD: usize = FRAME_SIZE - HEADROOM - TAILROOM;
/// Frames that one pool can have.
pub const MAX_FRAMES: u32 = INDEX_MASK;

const INDEX_BITS: u32 = 20;
const INDEX_MASK: u32 = (1 << INDEX_BITS) - 1;

/// Name of one frame.
///
/// It can't be copied, so every frame leaves by exactly one door: sent, or freed. Dropping the
/// name without either loses the frame for the life of its pool.
#[must_use = "a frame that is neither sent nor freed is lost"]
#[derive(PartialEq, Eq)]
pub struct FrameId(u32);

impl fmt::Debug for FrameId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameId({})", self.0 & INDEX_MASK)
    }
}

/// The frames of one port, on one worker.
#[derive(Debug)]
pub struct FramePool {
    mapping: Mapping,
    tag: u32,
    count: u32,
    free: Vec<u32>,
}

static NEXT_TAG: AtomicU32 = AtomicU32::new(0);

impl FramePool {
    /// A pool of `count` frames, all free and all in memory.
    ///
    /// # Errors
    /// When `count` is 0 or above [`MAX_FRAMES`], or when the memory is not there.
    pub fn new(count: u32) -> io::Result<Self> {
        if count == 0 || count > MAX_FRAMES {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mapping = Mapping::anonymous(count as usize * FRAME_SIZE)?;
        let tag = NEXT_TAG.fetch_add(1, Ordering::Relaxed) << INDEX_BITS;
        // Popped from the end: the lowest frames circulate first and stay in the cache.
        let free = (0..count).rev().map(|index| tag | index).collect();
        Ok(Self { mapping, tag, count, free })
    }

    /// Frames in all.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.count as usize
    }

    /// Frames that are free.
    #[must_use]
    pub const fn available(&self) -> usize {
        self.free.len()
    }

    /// Takes a frame; its contents are those of its last use.
    #[inline]
    pub fn alloc(&mut self) -> Option<FrameId> {
        self.free.pop().map(FrameId)
    }

    /// Gives a frame back.
    #[inline]
    pub fn free(&mut self, frame: FrameId) {
        self.check(&frame);
        self.free.push(frame.0);
    }

    /// Takes a frame and copies `len` octets at `start` of `frame` to the same place in it.
    ///
    /// # Panics
    /// When the range does not lie in a frame.
    #[inline]
    pub fn copy(&mut self, frame: &FrameId, start: u16, len: u16) -> Option<FrameId> {
        let range = range(start, len);
        assert!(range.end <= FRAME_SIZE, "range outside of the frame");
        let twin = self.alloc()?;
        let (from, to) = (self.address(frame), self.address(&twin));
        // SAFETY: both ids are of this pool (checked by address()), they differ because twin was
        // just taken from the free list, and the range lies in a frame.
        unsafe {
            core::ptr::copy_nonoverlapping(from.add(range.start), to.add(range.start), range.len());
        }
        Some(twin)
    }

    /// All octets of a frame.
    ///
    /// # Panics
    /// When the frame is of another pool.
    #[inline]
    #[must_use]
    pub fn bytes(&self, frame: &FrameId) -> &[u8] {
        // SAFETY: address() gives FRAME_SIZE octets inside the mapping, initialised (zeroed by
        // the kernel at first); whoever owns the id is the only one to access them, and &self
        // keeps bytes_mut() out.
        unsafe { core::slice::from_raw_parts(self.address(frame), FRAME_SIZE) }
    }

    /// All octets of a frame, to write.
    ///
    /// # Panics
    /// When the frame is of another pool.
    #[inline]
    #[must_use]
    pub fn bytes_mut(&mut self, frame: &FrameId) -> &mut [u8] {
        // SAFETY: as in bytes(); &mut self keeps every other access through the pool out.
        unsafe { core::slice::from_raw_parts_mut(self.address(frame), FRAME_SIZE) }
    }

    /// `len` octets at `start`.
    ///
    /// # Panics
    /// When the range does not lie in a frame, or the frame is of another pool.
    #[inline]
    #[must_use]
    pub fn payload(&self, frame: &FrameId, start: u16, len: u16) -> &[u8] {
        &self.bytes(frame)[range(start, len)]
    }

    /// Address of a frame's first octet.
    #[inline]
    pub(crate) fn address(&self, frame: &FrameId) -> *mut u8 {
        let index = self.check(frame) as usize;
        // SAFETY: index < count, so the offset lies in the mapping of count * FRAME_SIZE octets.
        unsafe { self.mapping.base().as_ptr().add(index * FRAME_SIZE) }
    }

    #[inline]
    fn check(&self, frame: &FrameId) -> u32 {
        let index = frame.0.wrapping_sub(self.tag);
        assert!(index < self.count, "frame of another pool");
        index
    }
}

fn range(start: u16, len: u16) -> core::ops::Range<usize> {
    usize::from(start)..usize::from(start) + usize::from(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_is_given_once_and_comes_back() {
        let mut pool = FramePool::new(3).unwrap();
        let frames: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
        assert_eq!(frames.len(), 3);
        assert!(pool.alloc().is_none());
        for (fill, frame) in (1u8..).zip(&frames) {
            pool.bytes_mut(frame).fill(fill);
        }
        for (fill, frame) in (1u8..).zip(&frames) {
            assert!(pool.bytes(frame).iter().all(|&octet| octet == fill));
        }
        frames.into_iter().for_each(|frame| pool.free(frame));
        assert_eq!(pool.available(), pool.capacity());
    }

    #[test]
    fn a_copy_holds_the_range_at_the_same_place() {
        let mut pool = FramePool::new(2).unwrap();
        let frame = pool.alloc().unwrap();
        pool.bytes_mut(&frame)[128..132].copy_from_slice(b"RTP!");
        let twin = pool.copy(&frame, 128, 4).unwrap();
        assert_eq!(pool.payload(&twin, 128, 4), b"RTP!");
        pool.bytes_mut(&frame)[128] = b'X';
        assert_eq!(pool.payload(&twin, 128, 4), b"RTP!");
        assert!(pool.copy(&frame, 128, 4).is_none(), "the pool is empty");
    }

    #[test]
    #[should_panic(expected = "frame of another pool")]
    fn a_frame_of_another_pool_is_refused() {
        let mut one = FramePool::new(1).unwrap();
        let two = FramePool::new(1).unwrap();
        let frame = one.alloc().unwrap();
        let _ = two.bytes(&frame);
    }

    #[test]
    fn sizes_out_of_range_are_refused() {
        assert!(FramePool::new(0).is_err());
        assert!(FramePool::new(MAX_FRAMES + 1).is_err());
    }
}
