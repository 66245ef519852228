//! Shared memory: a sealed memfd, mapped by both processes.
//!
//! Invariants of the unsafe code: the mapping is `len` octets of a file that is sealed against
//! shrinking (checked before mapping), so no access can raise SIGBUS, whatever the other process
//! does. Its contents change under our hands, so it is only ever seen as atomics.

use crate::mapping::Mapping;
use crate::sync::AtomicU64;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, SealFlags};
use std::io;
use std::sync::Arc;

/// Largest shared memory, octets.
pub const MAX_LEN: usize = 1 << 32;

#[derive(Debug)]
struct Inner {
    mapping: Mapping,
    fd: OwnedFd,
}

/// Memory that another process can map too; clones share it.
#[derive(Clone, Debug)]
pub struct Memory(Arc<Inner>);

impl Memory {
    /// Makes zeroed memory of `len` octets (rounded up to whole words) whose size is fixed.
    ///
    /// `name` only shows in `/proc`.
    ///
    /// # Errors
    /// When `len` is 0 or above [`MAX_LEN`], or when the system refuses.
    pub fn create(name: &str, len: usize) -> io::Result<Self> {
        let len = len.next_multiple_of(size_of::<u64>());
        if len == 0 || len > MAX_LEN {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create(name, flags)?;
        rustix::fs::ftruncate(&fd, len as u64)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let mapping = Mapping::shared(&fd, len)?;
        Ok(Self(Arc::new(Inner { mapping, fd })))
    }

    /// Maps memory that another process made, at least `min_len` octets of it.
    ///
    /// # Errors
    /// `InvalidData` when it is smaller, above [`MAX_LEN`], or not sealed against shrinking;
    /// otherwise what the system says.
    pub fn from_fd(fd: OwnedFd, min_len: usize) -> io::Result<Self> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let seals = rustix::fs::fcntl_get_seals(&fd)
            .map_err(|_| invalid("the descriptor is no shared memory"))?;
        if !seals.contains(SealFlags::SHRINK) {
            return Err(invalid("the shared memory is not sealed against shrinking"));
        }
        // The size is read after the seal was seen: it can only have grown since.
        let size = usize::try_from(rustix::fs::fstat(&fd)?.st_size)
            .map_err(|_| invalid("the shared memory has no size"))?;
        if size < min_len || size > MAX_LEN {
            return Err(invalid("the shared memory has another size than agreed"));
        }
        let mapping = Mapping::shared(&fd, size)?;
        Ok(Self(Arc::new(Inner { mapping, fd })))
    }

    /// The descriptor to hand to the other process.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }

    /// Octets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.mapping.len()
    }

    /// Never: memory of no octets can't be made.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `len` octets at `offset` as words; `None` if they are not inside, or not aligned.
    #[must_use]
    pub(crate) fn words(&self, offset: usize, len: usize) -> Option<&[AtomicU64]> {
        let end = offset.checked_add(len)?;
        if end > self.len() || !offset.is_multiple_of(size_of::<u64>()) {
            return None;
        }
        // SAFETY: the range lies in the mapping, which lives as long as &self and starts on a
        // page, so it is aligned; the file can't shrink; atomics allow any other access.
        Some(unsafe {
            core::slice::from_raw_parts(
                self.0.mapping.base().add(offset).cast::<AtomicU64>().as_ptr(),
                len / size_of::<u64>(),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn both_mappings_show_the_same_octets() {
        let memory = Memory::create("test", 4_000).unwrap();
        let other = Memory::from_fd(memory.fd().try_clone_to_owned().unwrap(), 4_000).unwrap();
        memory.words(3_992, 8).unwrap()[0].store(0x1234, Ordering::Relaxed);
        assert_eq!(other.words(3_992, 8).unwrap()[0].load(Ordering::Relaxed), 0x1234);
        assert!(memory.words(3_996, 4).is_none(), "not aligned");
        assert!(memory.words(4_000, 8).is_none(), "outside");
        assert!(memory.words(usize::MAX - 7, 8).is_none(), "overflow");
    }

    #[test]
    fn the_size_is_fixed_and_checked() {
        let memory = Memory::create("test", 4_096).unwrap();
        assert!(rustix::fs::ftruncate(memory.fd(), 0).is_err());
        assert!(rustix::fs::ftruncate(memory.fd(), 8_192).is_err());
        let dup = || memory.fd().try_clone_to_owned().unwrap();
        let error = Memory::from_fd(dup(), 4_097).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);

        let loose = rustix::fs::memfd_create("loose", MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&loose, 4_096).unwrap();
        let error = Memory::from_fd(loose, 4_096).unwrap_err();
        assert!(error.to_string().contains("not sealed"), "{error}");

        let (pipe, _) = rustix::pipe::pipe().unwrap();
        assert!(Memory::from_fd(pipe, 1).is_err());
        assert!(Memory::create("none", 0).is_err());
    }
}
