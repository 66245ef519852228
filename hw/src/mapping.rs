//! A range of mapped memory that is unmapped when dropped.
//!
//! Invariants: `base` is the page-aligned start of a mapping of exactly `len` octets that this
//! value alone owns and that stays mapped, readable and writable until it is dropped. Nothing is
//! known about its contents: others (kernel, another process) may write it at any time, so this
//! module hands out pointers only.

use core::ptr::NonNull;
use rustix::fd::AsFd;
use rustix::mm::{MapFlags, ProtFlags};
use std::io;

/// See the module.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping belongs to the process, not to the thread that made it; the value only holds
// its address, and access goes through pointers whose users keep their own rules.
unsafe impl Send for Mapping {}
// SAFETY: as above; no method mutates the value.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Private zeroed memory, present from the start so that no access faults later.
    pub(crate) fn anonymous(len: usize) -> io::Result<Self> {
        if len == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: no address is asked for, so no existing mapping is replaced.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                core::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::POPULATE,
            )?
        };
        Self::new(base, len)
    }

    /// The first `len` octets of a file, shared with whoever else maps it.
    pub(crate) fn shared(fd: impl AsFd, len: usize) -> io::Result<Self> {
        if len == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: no address is asked for, so no existing mapping is replaced.
        let base = unsafe {
            rustix::mm::mmap(
                core::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                fd,
                0,
            )?
        };
        Self::new(base, len)
    }

    fn new(base: *mut core::ffi::c_void, len: usize) -> io::Result<Self> {
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, len })
    }

    /// Start of the mapping; valid for [`len`](Self::len) octets.
    #[inline]
    pub(crate) const fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Octets.
    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: base and len are those that mmap gave, and nobody else unmaps them. Users of
        // the pointers keep the mapping alive (they own it or an Arc of it).
        // Unmapping an existing range fails only for lack of kernel memory; nothing to do then.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
    }
}
