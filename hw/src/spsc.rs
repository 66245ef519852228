//! A ring of plain data between one producer and one consumer, in shared memory or on the heap.
//!
//! Region in shared memory (all of it in native byte order, 128-octet aligned):
//!
//! ```text
//!   0  magic, octets per entry, capacity, reserved      (u64 each, written once)
//! 128  tail: entries ever pushed                        (u64, producer)
//! 256  head: entries ever popped                        (u64, consumer)
//! 384  entries, each rounded up to whole u64 words
//! ```
//!
//! Invariants of the unsafe code:
//! - `words` points to `capacity * stride` atomics that live as long as the owner in the same
//!   value (a heap ring, or a mapping whose length was checked against the region).
//! - Entries are copied word by word with relaxed atomics, ordered by the positions (`cursor`),
//!   so even two producers on one region (a misuse, or a hostile process) only garble entries.
//!
//! JUSTIFICATION: two processes exchange entries without a system call: 16 ns for 128 octets
//! pushed and popped, against 700 ns over a Unix socket (`examples/figures`, one core of a virtual
//! machine).

use crate::cursor::{Cells, Reader, Writer};
#[cfg(not(loom))]
use crate::shm::Memory;
use crate::sync::{Arc, AtomicU64, OwnLine};
use crate::words::{self, words_of};
use bytemuck::Pod;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;

/// Largest capacity of a ring, entries.
pub const MAX_CAPACITY: usize = 1 << 24;

#[cfg(not(loom))]
const MAGIC: u64 = 0x5444_4d52_494e_4731;
#[cfg(not(loom))]
const TAIL: usize = 128;
#[cfg(not(loom))]
const HEAD: usize = 256;
#[cfg(not(loom))]
const ENTRIES: usize = 384;
/// Alignment of a region in its memory, octets.
pub const REGION_ALIGN: usize = 128;

/// The ring has no free place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ring is full")
    }
}

impl std::error::Error for Full {}

/// Why a ring could not be made or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionError {
    /// The capacity is no power of two from 1 to [`MAX_CAPACITY`].
    Capacity,
    /// The region does not fit into the memory, or is not aligned to [`REGION_ALIGN`].
    Bounds,
    /// There is no such ring: another magic number, entry size or version.
    Layout,
}

impl fmt::Display for RegionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Capacity => "the capacity is not a power of two within the limit",
            Self::Bounds => "the region does not fit into the memory",
            Self::Layout => "the memory holds something else or another version",
        })
    }
}

impl std::error::Error for RegionError {}

#[derive(Debug)]
struct HeapRing {
    tail: OwnLine<AtomicU64>,
    head: OwnLine<AtomicU64>,
    words: Box<[AtomicU64]>,
}

/// Keeps what the pointers point to alive.
#[derive(Clone, Debug)]
enum Owner {
    Heap {
        _ring: Arc<HeapRing>,
    },
    #[cfg(not(loom))]
    Shared {
        _memory: Memory,
    },
}

#[derive(Clone, Debug)]
struct Ring {
    cells: Cells,
    words: NonNull<AtomicU64>,
    stride: usize,
    capacity: usize,
    _owner: Owner,
}

// SAFETY: the pointers lead to atomics in memory that `_owner` (Send and Sync itself) keeps alive.
unsafe impl Send for Ring {}

impl Ring {
    fn heap<T: Pod>(capacity: usize) -> Result<Self, RegionError> {
        check_capacity(capacity)?;
        let stride = words_of::<T>();
        let words = (0..capacity * stride).map(|_| AtomicU64::new(0)).collect();
        let ring = Arc::new(HeapRing {
            tail: OwnLine(AtomicU64::new(0)),
            head: OwnLine(AtomicU64::new(0)),
            words,
        });
        let cells = Cells { tail: NonNull::from(&ring.tail.0), head: NonNull::from(&ring.head.0) };
        let first = NonNull::from(&*ring.words).cast();
        Ok(Self { cells, words: first, stride, capacity, _owner: Owner::Heap { _ring: ring } })
    }

    /// The words of the entry at `place`.
    #[inline]
    fn entry(&self, place: usize) -> &[AtomicU64] {
        assert!(place < self.capacity, "positions are masked to the capacity");
        // SAFETY: place < capacity, and words points to capacity * stride atomics that the owner
        // keeps alive (module invariant).
        unsafe {
            core::slice::from_raw_parts(self.words.as_ptr().add(place * self.stride), self.stride)
        }
    }
}

const fn check_capacity(capacity: usize) -> Result<(), RegionError> {
    if capacity.is_power_of_two() && capacity <= MAX_CAPACITY {
        Ok(())
    } else {
        Err(RegionError::Capacity)
    }
}

/// A ring on the heap, for two threads of one process. The capacity is a power of two.
///
/// # Errors
/// When the capacity is no power of two or above [`MAX_CAPACITY`].
pub fn heap<T: Pod>(capacity: usize) -> Result<(Producer<T>, Consumer<T>), RegionError> {
    let ring = Ring::heap::<T>(capacity)?;
    Ok((Producer::new(ring.clone()), Consumer::new(ring)))
}

/// The end that pushes.
pub struct Producer<T: Pod> {
    ring: Ring,
    cursor: Writer,
    _entries: PhantomData<fn(T)>,
}

// SAFETY: the ring is Send, the cursor's pointers are the ring's, and a T is plain data.
unsafe impl<T: Pod> Send for Producer<T> {}

impl<T: Pod> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("cursor", &self.cursor).finish_non_exhaustive()
    }
}

impl<T: Pod> Producer<T> {
    fn new(ring: Ring) -> Self {
        let cursor = Writer::new(ring.cells, ring.capacity as u64);
        Self { ring, cursor, _entries: PhantomData }
    }

    /// Pushes one entry.
    ///
    /// # Errors
    /// When there is no free place; nothing was pushed then.
    #[inline]
    pub fn push(&mut self, value: &T) -> Result<(), Full> {
        if self.cursor.free(1) == 0 {
            return Err(Full);
        }
        words::store(self.ring.entry(self.cursor.place(0)), value);
        self.cursor.publish(1);
        Ok(())
    }

    /// Pushes entries from the front of `values` as long as there is room, all of them visible at
    /// once; returns how many.
    pub fn push_slice(&mut self, values: &[T]) -> usize {
        let free = self.cursor.free(values.len() as u64);
        let mut count = 0;
        for value in values {
            if count == free {
                break;
            }
            words::store(self.ring.entry(self.cursor.place(count)), value);
            count += 1;
        }
        if count > 0 {
            self.cursor.publish(count);
        }
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    /// Entries that the consumer has not taken yet.
    pub fn len(&mut self) -> usize {
        let capacity = self.cursor.capacity();
        usize::try_from(capacity - self.cursor.free(capacity)).unwrap_or(usize::MAX)
    }

    /// Whether the consumer has taken everything.
    pub fn is_empty(&mut self) -> bool {
        self.len() == 0
    }

    /// Places in all.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.ring.capacity
    }

    /// Whether the consumer once published a position that can't be.
    #[must_use]
    pub const fn peer_misbehaved(&self) -> bool {
        self.cursor.misbehaved()
    }
}

/// The end that pops.
pub struct Consumer<T: Pod> {
    ring: Ring,
    cursor: Reader,
    _entries: PhantomData<fn() -> T>,
}

// SAFETY: as for the producer.
unsafe impl<T: Pod> Send for Consumer<T> {}

impl<T: Pod> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("cursor", &self.cursor).finish_non_exhaustive()
    }
}

impl<T: Pod> Consumer<T> {
    fn new(ring: Ring) -> Self {
        let cursor = Reader::new(ring.cells, ring.capacity as u64);
        Self { ring, cursor, _entries: PhantomData }
    }

    /// Takes the oldest entry. Its fields are the other side's: check them.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.cursor.filled(1) == 0 {
            return None;
        }
        let value = words::load(self.ring.entry(self.cursor.place(0)));
        self.cursor.release(1);
        Some(value)
    }

    /// Takes up to `out.len()` entries to the front of `out`; returns how many.
    pub fn pop_slice(&mut self, out: &mut [T]) -> usize {
        let filled = self.cursor.filled(out.len() as u64);
        let mut count = 0;
        for value in out {
            if count == filled {
                break;
            }
            *value = words::load(self.ring.entry(self.cursor.place(count)));
            count += 1;
        }
        if count > 0 {
            self.cursor.release(count);
        }
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    /// Entries that are there.
    pub fn len(&mut self) -> usize {
        let capacity = self.cursor.capacity();
        usize::try_from(self.cursor.filled(capacity)).unwrap_or(usize::MAX)
    }

    /// Whether nothing is there.
    pub fn is_empty(&mut self) -> bool {
        self.cursor.filled(1) == 0
    }

    /// Places in all.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.ring.capacity
    }

    /// Whether the producer once published a position that can't be.
    #[must_use]
    pub const fn peer_misbehaved(&self) -> bool {
        self.cursor.misbehaved()
    }
}

#[cfg(not(loom))]
mod shared {
    use super::{
        AtomicU64, Cells, Consumer, ENTRIES, HEAD, MAGIC, MAX_CAPACITY, Memory, Owner, Pod,
        Producer, REGION_ALIGN, RegionError, Ring, TAIL, check_capacity, words_of,
    };
    use crate::sync::Ordering;
    use crate::words::WORD;

    /// Octets that a ring takes in shared memory, a multiple of [`REGION_ALIGN`].
    #[must_use]
    pub const fn region_len<T: Pod>(capacity: usize) -> usize {
        (ENTRIES + capacity * words_of::<T>() * WORD).next_multiple_of(REGION_ALIGN)
    }

    /// Lays out an empty ring at `offset`; whatever was there is lost.
    ///
    /// # Errors
    /// When the capacity is not allowed or the region does not fit.
    pub fn format<T: Pod>(
        memory: &Memory,
        offset: usize,
        capacity: usize,
    ) -> Result<(), RegionError> {
        check_capacity(capacity)?;
        let header = memory.words(offset, ENTRIES).ok_or(RegionError::Bounds)?;
        attach_checked::<T>(memory, offset, capacity)?;
        for (word, value) in header.iter().zip([MAGIC, size_of::<T>() as u64, capacity as u64, 0]) {
            word.store(value, Ordering::Relaxed);
        }
        header[TAIL / WORD].store(0, Ordering::Relaxed);
        header[HEAD / WORD].store(0, Ordering::Release);
        Ok(())
    }

    fn attach<T: Pod>(memory: &Memory, offset: usize) -> Result<Ring, RegionError> {
        let header = memory.words(offset, ENTRIES).ok_or(RegionError::Bounds)?;
        let field = |index: usize| header[index].load(Ordering::Relaxed);
        if field(0) != MAGIC || field(1) != size_of::<T>() as u64 {
            return Err(RegionError::Layout);
        }
        // One read: what is checked is what is used, whatever the other process does meanwhile.
        let capacity = usize::try_from(field(2)).map_err(|_| RegionError::Capacity)?;
        attach_checked::<T>(memory, offset, capacity)
    }

    fn attach_checked<T: Pod>(
        memory: &Memory,
        offset: usize,
        capacity: usize,
    ) -> Result<Ring, RegionError> {
        check_capacity(capacity)?;
        const { assert!(size_of::<T>() <= 1 << 16, "an entry is a small record") };
        if !offset.is_multiple_of(REGION_ALIGN) {
            return Err(RegionError::Bounds);
        }
        let words = memory.words(offset, region_len::<T>(capacity)).ok_or(RegionError::Bounds)?;
        let pointer = |index: usize| core::ptr::NonNull::from(&words[index..]).cast::<AtomicU64>();
        Ok(Ring {
            cells: Cells { tail: pointer(TAIL / WORD), head: pointer(HEAD / WORD) },
            words: pointer(ENTRIES / WORD),
            stride: words_of::<T>(),
            capacity,
            _owner: Owner::Shared { _memory: memory.clone() },
        })
    }

    impl<T: Pod> Producer<T> {
        /// The producing end of the ring at `offset`; one end per ring and process.
        ///
        /// # Errors
        /// When there is no ring of such entries, or it does not fit into the memory.
        pub fn attach(memory: &Memory, offset: usize) -> Result<Self, RegionError> {
            Ok(Self::new(attach::<T>(memory, offset)?))
        }
    }

    impl<T: Pod> Consumer<T> {
        /// The consuming end of the ring at `offset`; one end per ring and process.
        ///
        /// # Errors
        /// When there is no ring of such entries, or it does not fit into the memory.
        pub fn attach(memory: &Memory, offset: usize) -> Result<Self, RegionError> {
            Ok(Self::new(attach::<T>(memory, offset)?))
        }
    }

    const _: () = assert!(MAX_CAPACITY.is_power_of_two());
}
#[cfg(not(loom))]
pub use shared::{format, region_len};

#[cfg(not(loom))]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Ordering;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    type Entry = [u32; 3];

    fn shared(capacity: usize) -> (Memory, Producer<Entry>, Consumer<Entry>) {
        let memory = Memory::create("ring", 128 + region_len::<Entry>(capacity)).unwrap();
        format::<Entry>(&memory, 128, capacity).unwrap();
        let producer = Producer::attach(&memory, 128).unwrap();
        let consumer = Consumer::attach(&memory, 128).unwrap();
        (memory, producer, consumer)
    }

    fn entry(number: u32) -> Entry {
        [number, !number, number.rotate_left(7)]
    }

    /// What a test does to a ring.
    #[derive(Clone, Debug)]
    enum Step {
        Push,
        PushSlice(usize),
        Pop,
        PopSlice(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            Just(Step::Push),
            (0..7_usize).prop_map(Step::PushSlice),
            Just(Step::Pop),
            (0..7_usize).prop_map(Step::PopSlice),
        ];
        proptest::collection::vec(step, 0..200)
    }

    /// Does the same to the ring and to a queue, and compares.
    fn compare(producer: &mut Producer<Entry>, consumer: &mut Consumer<Entry>, steps: &[Step]) {
        let capacity = producer.capacity();
        let mut oracle = VecDeque::new();
        let mut next = 0..;
        let mut fresh = move || entry(next.next().unwrap());
        for step in steps {
            match *step {
                Step::Push => {
                    let value = fresh();
                    let room = oracle.len() < capacity;
                    assert_eq!(producer.push(&value).is_ok(), room);
                    if room {
                        oracle.push_back(value);
                    }
                }
                Step::PushSlice(count) => {
                    let values: Vec<_> = (0..count).map(|_| fresh()).collect();
                    let pushed = producer.push_slice(&values);
                    assert_eq!(pushed, count.min(capacity - oracle.len()));
                    oracle.extend(&values[..pushed]);
                }
                Step::Pop => assert_eq!(consumer.pop(), oracle.pop_front()),
                Step::PopSlice(count) => {
                    let mut out = vec![[0; 3]; count];
                    let popped = consumer.pop_slice(&mut out);
                    assert_eq!(popped, count.min(oracle.len()));
                    assert!(oracle.drain(..popped).eq(out[..popped].iter().copied()));
                }
            }
            assert_eq!((producer.len(), consumer.len()), (oracle.len(), oracle.len()));
            assert_eq!(consumer.is_empty(), oracle.is_empty());
        }
        assert!(!producer.peer_misbehaved() && !consumer.peer_misbehaved());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 256 }))]

        #[test]
        fn a_heap_ring_is_a_bounded_queue(steps in steps(), bits in 0..4) {
            let (mut producer, mut consumer) = heap(1_usize << bits).unwrap();
            compare(&mut producer, &mut consumer, &steps);
        }

        #[test]
        #[cfg_attr(miri, ignore = "miri has no memfd")]
        fn a_shared_ring_is_a_bounded_queue(steps in steps(), bits in 0..4) {
            let (_memory, mut producer, mut consumer) = shared(1_usize << bits);
            compare(&mut producer, &mut consumer, &steps);
        }
    }

    #[test]
    fn entries_cross_threads_whole_and_in_order() {
        let count = if cfg!(miri) { 300 } else { 300_000 };
        let (mut producer, mut consumer) = heap::<Entry>(64).unwrap();
        let thread = std::thread::spawn(move || {
            for number in 0..count {
                while producer.push(&entry(number)).is_err() {
                    std::thread::yield_now();
                }
            }
        });
        let (mut next, mut out) = (0, [[0; 3]; 16]);
        while next < count {
            let popped = consumer.pop_slice(&mut out);
            for value in &out[..popped] {
                assert_eq!(*value, entry(next));
                next += 1;
            }
            if popped == 0 {
                std::thread::yield_now();
            }
        }
        thread.join().unwrap();
    }

    #[test]
    #[cfg_attr(miri, ignore = "miri has no memfd")]
    fn a_hostile_peer_can_neither_crash_nor_overfill() {
        let (memory, mut producer, mut consumer) = shared(4);
        let [tail, head] = [TAIL, HEAD].map(|at| &memory.words(128 + at, 8).unwrap()[0]);
        for number in 0..4 {
            producer.push(&entry(number)).unwrap();
        }
        for lie in [5, 1 << 40, u64::MAX] {
            head.store(lie, Ordering::Relaxed);
            assert_eq!(producer.push(&entry(9)), Err(Full));
            assert!(producer.peer_misbehaved());
            tail.store(lie, Ordering::Relaxed);
            assert_eq!(consumer.len(), 0);
            assert_eq!(consumer.pop(), None);
            assert!(consumer.peer_misbehaved());
        }
        // Once it tells the truth again, the ring goes on.
        tail.store(4, Ordering::Relaxed);
        assert_eq!(consumer.pop(), Some(entry(0)));
        assert_eq!(producer.push(&entry(4)), Ok(()));
    }

    #[test]
    #[cfg_attr(miri, ignore = "miri has no memfd")]
    fn regions_are_checked() {
        let (memory, ..) = shared(4);
        assert_eq!(Producer::<[u32; 4]>::attach(&memory, 128).err(), Some(RegionError::Layout));
        assert_eq!(Producer::<Entry>::attach(&memory, 0).err(), Some(RegionError::Layout));
        assert_eq!(Producer::<Entry>::attach(&memory, 1 << 20).err(), Some(RegionError::Bounds));
        assert_eq!(format::<Entry>(&memory, 128, 16), Err(RegionError::Bounds));
        assert_eq!(format::<Entry>(&memory, 128, 3), Err(RegionError::Capacity));
        assert_eq!(format::<Entry>(&memory, 8, 1), Err(RegionError::Bounds), "not aligned");
        let capacity = &memory.words(128 + 16, 8).unwrap()[0];
        for lie in [0, 3, 16, 1 << 40, u64::MAX] {
            capacity.store(lie, Ordering::Relaxed);
            assert!(Consumer::<Entry>::attach(&memory, 128).is_err(), "{lie}");
        }
        assert_eq!(heap::<Entry>(0).err(), Some(RegionError::Capacity));
    }
}

#[cfg(loom)]
#[cfg(test)]
mod loom_tests {
    use super::*;
    use loom::thread;

    #[test]
    fn entries_arrive_whole_and_in_order() {
        loom::model(|| {
            let (mut producer, mut consumer) = heap::<[u64; 2]>(2).unwrap();
            let thread = thread::spawn(move || {
                for number in 1..=3 {
                    while producer.push(&[number; 2]).is_err() {
                        thread::yield_now();
                    }
                }
            });
            for number in 1..=3 {
                let value = loop {
                    match consumer.pop() {
                        Some(value) => break value,
                        None => thread::yield_now(),
                    }
                };
                assert_eq!(value, [number; 2]);
            }
            assert_eq!(consumer.pop(), None);
            thread.join().unwrap();
        });
    }

    #[test]
    fn batches_become_visible_at_once() {
        loom::model(|| {
            let (mut producer, mut consumer) = heap::<u64>(2).unwrap();
            let thread = thread::spawn(move || {
                assert_eq!(producer.push_slice(&[1, 2, 3]), 2);
                producer
            });
            let mut out = [0; 2];
            let popped = consumer.pop_slice(&mut out);
            assert!(popped == 0 || (popped, out) == (2, [1, 2]), "{popped} {out:?}");
            let mut producer = thread.join().unwrap();
            assert_eq!(producer.len(), 2 - popped);
        });
    }
}
