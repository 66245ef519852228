//! Read and write positions of a ring with one producer and one consumer.
//!
//! Positions run freely (they never wrap in 500 years at a packet per nanosecond) and are masked
//! into places. Each end keeps its own position in private memory and publishes it with Release;
//! the other end's position is read with Acquire and checked: `0 <= tail - head <= capacity` or
//! it is ignored and the peer is marked as misbehaving. So whatever the other process writes, a
//! place is always below the capacity.
//!
//! Invariants: both cells stay valid as long as the cursor (its user holds their owner);
//! `tail - head <= capacity` for the values in private memory; capacity is a power of two.

use crate::sync::{AtomicU64, Ordering};
use core::ptr::NonNull;

/// Where the two published positions are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cells {
    /// Written by the producer.
    pub(crate) tail: NonNull<AtomicU64>,
    /// Written by the consumer.
    pub(crate) head: NonNull<AtomicU64>,
}

impl Cells {
    fn tail(&self) -> &AtomicU64 {
        // SAFETY: the pointer is valid and aligned as long as the cursor (module invariant), and
        // an atomic may be shared.
        unsafe { self.tail.as_ref() }
    }

    fn head(&self) -> &AtomicU64 {
        // SAFETY: as in tail().
        unsafe { self.head.as_ref() }
    }
}

/// The producer's side.
#[derive(Debug)]
pub(crate) struct Writer {
    cells: Cells,
    capacity: u64,
    tail: u64,
    /// The consumer's position when last looked at; a lower bound of where it is.
    head: u64,
    misbehaved: bool,
}

impl Writer {
    /// `capacity` is a power of two.
    pub(crate) fn new(cells: Cells, capacity: u64) -> Self {
        debug_assert!(capacity.is_power_of_two());
        let tail = cells.tail().load(Ordering::Relaxed);
        let mut writer = Self { cells, capacity, tail, head: tail, misbehaved: false };
        // What the consumer has not read yet; if that can't be, the ring counts as full.
        writer.head = tail.wrapping_sub(capacity);
        writer.look();
        writer
    }

    fn look(&mut self) {
        let head = self.cells.head().load(Ordering::Acquire);
        if self.tail.wrapping_sub(head) > self.capacity {
            self.misbehaved = true;
        } else {
            self.head = head;
        }
    }

    /// Free places, looking at the consumer's position if fewer than `wanted` are known.
    #[inline]
    pub(crate) fn free(&mut self, wanted: u64) -> u64 {
        if self.capacity - self.tail.wrapping_sub(self.head) < wanted {
            self.look();
        }
        self.capacity - self.tail.wrapping_sub(self.head)
    }

    /// The place `offset` behind the position; below the capacity.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "masked to the capacity, a usize")]
    pub(crate) const fn place(&self, offset: u64) -> usize {
        (self.tail.wrapping_add(offset) & (self.capacity - 1)) as usize
    }

    /// Hands `count` filled places to the consumer.
    #[inline]
    pub(crate) fn publish(&mut self, count: u64) {
        self.tail = self.tail.wrapping_add(count);
        self.cells.tail().store(self.tail, Ordering::Release);
    }

    pub(crate) const fn misbehaved(&self) -> bool {
        self.misbehaved
    }

    pub(crate) const fn capacity(&self) -> u64 {
        self.capacity
    }
}

/// The consumer's side.
#[derive(Debug)]
pub(crate) struct Reader {
    cells: Cells,
    capacity: u64,
    head: u64,
    /// The producer's position when last looked at; a lower bound of where it is.
    tail: u64,
    misbehaved: bool,
}

impl Reader {
    /// `capacity` is a power of two.
    pub(crate) fn new(cells: Cells, capacity: u64) -> Self {
        debug_assert!(capacity.is_power_of_two());
        let head = cells.head().load(Ordering::Relaxed);
        let mut reader = Self { cells, capacity, head, tail: head, misbehaved: false };
        reader.look();
        reader
    }

    fn look(&mut self) {
        let tail = self.cells.tail().load(Ordering::Acquire);
        if tail.wrapping_sub(self.head) > self.capacity {
            self.misbehaved = true;
        } else {
            self.tail = tail;
        }
    }

    /// Filled places, looking at the producer's position if fewer than `wanted` are known.
    #[inline]
    pub(crate) fn filled(&mut self, wanted: u64) -> u64 {
        if self.tail.wrapping_sub(self.head) < wanted {
            self.look();
        }
        self.tail.wrapping_sub(self.head)
    }

    /// The place `offset` behind the position; below the capacity.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "masked to the capacity, a usize")]
    pub(crate) const fn place(&self, offset: u64) -> usize {
        (self.head.wrapping_add(offset) & (self.capacity - 1)) as usize
    }

    /// Gives `count` places back to the producer.
    #[inline]
    pub(crate) fn release(&mut self, count: u64) {
        self.head = self.head.wrapping_add(count);
        self.cells.head().store(self.head, Ordering::Release);
    }

    pub(crate) const fn misbehaved(&self) -> bool {
        self.misbehaved
    }

    pub(crate) const fn capacity(&self) -> u64 {
        self.capacity
    }
}

#[cfg(not(loom))]
#[cfg(test)]
mod tests {
    use super::*;

    fn cells(tail: &AtomicU64, head: &AtomicU64) -> Cells {
        Cells { tail: NonNull::from(tail), head: NonNull::from(head) }
    }

    #[test]
    fn a_position_that_cannot_be_is_ignored() {
        let (tail, head) = (AtomicU64::new(0), AtomicU64::new(0));
        let mut writer = Writer::new(cells(&tail, &head), 4);
        assert_eq!(writer.free(4), 4);
        writer.publish(4);
        for lie in [5, 100, u64::MAX, u64::MAX - 1] {
            head.store(lie, Ordering::Relaxed);
            assert_eq!(writer.free(1), 0, "head {lie}");
            assert!(writer.misbehaved());
        }

        head.store(0, Ordering::Relaxed);
        let mut reader = Reader::new(cells(&tail, &head), 4);
        reader.release(4);
        for lie in [9, u64::MAX, 0, 3] {
            tail.store(lie, Ordering::Relaxed);
            assert_eq!(reader.filled(1), 0, "tail {lie}");
            assert!(reader.misbehaved());
        }
        assert!(reader.place(u64::MAX) < 4);
    }

    #[test]
    fn positions_may_pass_the_end_of_their_type() {
        let start = u64::MAX - 1;
        let (tail, head) = (AtomicU64::new(start), AtomicU64::new(start));
        let mut writer = Writer::new(cells(&tail, &head), 4);
        let mut reader = Reader::new(cells(&tail, &head), 4);
        for _ in 0..10 {
            assert_eq!(writer.free(4), 4);
            writer.publish(3);
            assert_eq!(reader.filled(4), 3);
            reader.release(3);
        }
        assert!(!writer.misbehaved() && !reader.misbehaved());
    }
}
