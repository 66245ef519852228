//! An allocator that counts, for tests and benchmarks that assert "no allocation".
//!
//! ```
//! use tandem_hw::count_alloc::{CountingAllocator, allocations_on_this_thread};
//!
//! #[global_allocator]
//! static ALLOCATOR: CountingAllocator = CountingAllocator;
//!
//! let before = allocations_on_this_thread();
//! let boxed = std::hint::black_box(Box::new(1));
//! assert_eq!(allocations_on_this_thread() - before, 1);
//! # drop(boxed);
//! ```
//!
//! Invariant of the unsafe code: every call goes unchanged to the system's allocator; the counter
//! is a constant-initialised thread-local without a destructor, so counting allocates nothing.

use core::cell::Cell;
use std::alloc::{GlobalAlloc, Layout, System};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct CountingAllocator;

/// Allocations and reallocations that this thread has made; only counted when
/// [`CountingAllocator`] is the global allocator.
#[must_use]
pub fn allocations_on_this_thread() -> u64 {
    COUNT.with(Cell::get)
}

fn count() {
    COUNT.with(|count| count.set(count.get().wrapping_add(1)));
}

// SAFETY: every method passes its arguments unchanged to System, which upholds the contract.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller upholds the contract of alloc.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller upholds the contract of alloc_zeroed.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller upholds the contract of realloc.
        unsafe { System.realloc(ptr, layout, new_size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller upholds the contract of dealloc.
        unsafe { System.dealloc(ptr, layout) }
    }
}
