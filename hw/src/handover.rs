//! A ring on the heap that moves values of any kind (sockets, lanes) between two threads.
//!
//! Invariants of the unsafe code: a place from head to tail holds a value, every other place none.
//! The producer writes a place that the cursor calls free, then publishes it (Release); the
//! consumer reads it after seeing that (Acquire), moves the value out, then releases it. Each end
//! exists once (neither is Clone), and the last of them to go drops what is left.

use crate::cursor::{Cells, Reader, Writer};
use crate::spsc::RegionError;
use crate::sync::{Arc, AtomicU64, Ordering, OwnLine, UnsafeCell, fence};
use core::fmt;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

struct Shared<T> {
    tail: OwnLine<AtomicU64>,
    head: OwnLine<AtomicU64>,
    places: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

// SAFETY: the ends access a place by turns, ordered by the positions (module invariant), and
// values move from one thread to the other: T must be Send, no more.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above; whichever thread drops it drops the remaining values.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Shared<T> {
    fn cells(&self) -> Cells {
        Cells { tail: NonNull::from(&self.tail.0), head: NonNull::from(&self.head.0) }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let mut position = self.head.0.load(Ordering::Relaxed);
        let tail = self.tail.0.load(Ordering::Relaxed);
        let mask = self.places.len() as u64 - 1;
        while position != tail {
            let place = usize::try_from(position & mask).unwrap_or(0);
            // SAFETY: both ends are gone, and places from head to tail hold values.
            self.places[place].with_mut(|value| unsafe { (*value).assume_init_drop() });
            position = position.wrapping_add(1);
        }
    }
}

/// The end that gives.
pub struct Giver<T: Send> {
    cursor: Writer,
    shared: Arc<Shared<T>>,
}

/// The end that takes.
pub struct Taker<T: Send> {
    cursor: Reader,
    shared: Arc<Shared<T>>,
}

// SAFETY: the cursor's pointers lead into `shared`, which is Send and Sync for T: Send.
unsafe impl<T: Send> Send for Giver<T> {}
// SAFETY: as for the giver.
unsafe impl<T: Send> Send for Taker<T> {}

/// A ring of `capacity` places, a power of two.
///
/// # Errors
/// When the capacity is no power of two or above [`MAX_CAPACITY`](crate::spsc::MAX_CAPACITY).
pub fn channel<T: Send>(capacity: usize) -> Result<(Giver<T>, Taker<T>), RegionError> {
    if !capacity.is_power_of_two() || capacity > crate::spsc::MAX_CAPACITY {
        return Err(RegionError::Capacity);
    }
    let shared = Arc::new(Shared {
        tail: OwnLine(AtomicU64::new(0)),
        head: OwnLine(AtomicU64::new(0)),
        places: (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
    });
    let giver =
        Giver { cursor: Writer::new(shared.cells(), capacity as u64), shared: shared.clone() };
    let taker = Taker { cursor: Reader::new(shared.cells(), capacity as u64), shared };
    Ok((giver, taker))
}

/// Whether the other end is gone; what it did before is visible then.
fn is_alone<T>(shared: &Arc<Shared<T>>) -> bool {
    let alone = Arc::strong_count(shared) == 1;
    fence(Ordering::Acquire);
    alone
}

impl<T: Send> Giver<T> {
    /// Hands a value over.
    ///
    /// # Errors
    /// Gives the value back when there is no room.
    pub fn give(&mut self, value: T) -> Result<(), T> {
        if self.cursor.free(1) == 0 {
            return Err(value);
        }
        let place = &self.shared.places[self.cursor.place(0)];
        // SAFETY: the place is free, so it holds no value and the taker does not touch it.
        place.with_mut(|to| unsafe { (*to).write(value) });
        self.cursor.publish(1);
        Ok(())
    }

    /// Whether the taker is gone.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        is_alone(&self.shared)
    }
}

impl<T: Send> Taker<T> {
    /// Takes the oldest value.
    pub fn take(&mut self) -> Option<T> {
        if self.cursor.filled(1) == 0 {
            return None;
        }
        let place = &self.shared.places[self.cursor.place(0)];
        // SAFETY: the place is filled and this end has not released it: it holds a value, which
        // moves out here once.
        let value = place.with_mut(|from| unsafe { (*from).assume_init_read() });
        self.cursor.release(1);
        Some(value)
    }

    /// Whether nothing is there.
    pub fn is_empty(&mut self) -> bool {
        self.cursor.filled(1) == 0
    }

    /// Whether the giver is gone; values may still be there.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        is_alone(&self.shared)
    }
}

impl<T: Send> fmt::Debug for Giver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Giver").field("cursor", &self.cursor).finish_non_exhaustive()
    }
}

impl<T: Send> fmt::Debug for Taker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taker").field("cursor", &self.cursor).finish_non_exhaustive()
    }
}

#[cfg(not(loom))]
#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    struct Counted(Arc<AtomicUsize>, u32);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn every_value_is_taken_or_dropped_once() {
        let drops = Arc::new(AtomicUsize::new(0));
        let (mut giver, mut taker) = channel(4).unwrap();
        for round in 0..10 {
            assert!(giver.give(Counted(drops.clone(), round)).is_ok());
            assert_eq!(taker.take().map(|value| value.1), Some(round));
        }
        assert_eq!(drops.load(Ordering::Relaxed), 10);
        for _ in 0..4 {
            assert!(giver.give(Counted(drops.clone(), 0)).is_ok());
        }
        assert!(giver.give(Counted(drops.clone(), 0)).is_err());
        assert_eq!(drops.load(Ordering::Relaxed), 11, "the refused one came back");
        assert!(!taker.is_abandoned());
        drop(giver);
        assert!(taker.is_abandoned());
        assert!(taker.take().is_some());
        drop(taker);
        assert_eq!(drops.load(Ordering::Relaxed), 15);
    }

    #[test]
    fn boxes_cross_threads_in_order() {
        let count = if cfg!(miri) { 200 } else { 50_000 };
        let (mut giver, mut taker) = channel::<Box<u64>>(16).unwrap();
        let thread = std::thread::spawn(move || {
            for value in 0..count {
                let mut value = Box::new(value);
                while let Err(back) = giver.give(value) {
                    value = back;
                    std::thread::yield_now();
                }
            }
        });
        for expected in 0..count {
            let value = loop {
                match taker.take() {
                    Some(value) => break value,
                    None => std::thread::yield_now(),
                }
            };
            assert_eq!(*value, expected);
        }
        thread.join().unwrap();
    }

    #[test]
    fn odd_capacities_are_refused() {
        assert_eq!(channel::<u8>(3).err(), Some(RegionError::Capacity));
        assert_eq!(channel::<u8>(0).err(), Some(RegionError::Capacity));
    }
}

#[cfg(loom)]
#[cfg(test)]
mod loom_tests {
    use super::*;
    use loom::thread;

    #[test]
    fn values_move_once_and_nothing_races() {
        loom::model(|| {
            let (mut giver, mut taker) = channel::<Box<u32>>(2).unwrap();
            let thread = thread::spawn(move || {
                for value in 0..3 {
                    let mut value = Box::new(value);
                    while let Err(back) = giver.give(value) {
                        value = back;
                        thread::yield_now();
                    }
                }
            });
            for expected in 0..2 {
                let value = loop {
                    match taker.take() {
                        Some(value) => break value,
                        None => thread::yield_now(),
                    }
                };
                assert_eq!(*value, expected);
            }
            thread.join().unwrap();
            assert!(taker.is_abandoned());
            // The third is dropped with the ring; loom reports what leaks.
        });
    }
}
