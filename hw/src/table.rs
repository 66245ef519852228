//! Records that one process writes and others read without asking: a sequence lock per entry.
//!
//! Region (native byte order): magic, octets per entry, entries, reserved (u64 each), then per
//! entry a sequence number and its words. The number is odd while the writer is inside.
//!
//! A read costs no message and no wait of the writer's; the writer never waits for readers.
//!
//! The writer: number odd (relaxed), Release fence, words (relaxed), number even (Release). The
//! reader: number (Acquire), words (relaxed), Acquire fence, number again (relaxed). If the reader
//! sees a word of a later write, the fences make it see that write's odd number too (or a later
//! one), so the numbers differ and it tries again. No access is a data race, because every word is
//! an atomic; a hostile writer can produce nonsense in an entry and nothing else.

use crate::shm::Memory;
use crate::spsc::RegionError;
use crate::sync::{AtomicU64, Ordering};
use crate::words::{self, WORD, words_of};
use bytemuck::Pod;
use core::fmt;
use core::marker::PhantomData;
use core::sync::atomic::fence;
use rustix::fd::OwnedFd;
use std::io;

/// Entries that one table can have.
pub const MAX_ENTRIES: usize = 1 << 24;
/// Times that a reader tries before it gives up on an entry.
pub const READ_ATTEMPTS: usize = 1_000;

const MAGIC: u64 = 0x5444_4d54_424c_4531;
const HEADER: usize = 4 * WORD;

const fn stride<T>() -> usize {
    1 + words_of::<T>()
}

/// Octets that a table of `entries` entries takes.
#[must_use]
pub const fn region_len<T: Pod>(entries: usize) -> usize {
    HEADER + entries * stride::<T>() * WORD
}

#[derive(Clone, Debug)]
struct Region {
    memory: Memory,
    /// Offset of the first entry.
    start: usize,
    entries: usize,
}

impl Region {
    fn entry<T>(&self, index: usize) -> Option<(&AtomicU64, &[AtomicU64])> {
        if index >= self.entries {
            return None;
        }
        let len = stride::<T>() * WORD;
        self.memory.words(self.start + index * len, len)?.split_first()
    }

    fn checked<T: Pod>(
        memory: &Memory,
        offset: usize,
        entries: usize,
    ) -> Result<Self, RegionError> {
        if entries == 0 || entries > MAX_ENTRIES {
            return Err(RegionError::Capacity);
        }
        const { assert!(size_of::<T>() <= 1 << 16, "an entry is a small record") };
        memory.words(offset, region_len::<T>(entries)).ok_or(RegionError::Bounds)?;
        Ok(Self { memory: memory.clone(), start: offset + HEADER, entries })
    }
}

/// The end that writes; there is one.
pub struct TableWriter<T: Pod> {
    region: Region,
    _entries: PhantomData<fn(T)>,
}

impl<T: Pod> TableWriter<T> {
    /// Lays out a table of zeroed entries at `offset` (a multiple of 8).
    ///
    /// # Errors
    /// When the number of entries is not allowed or the table does not fit.
    pub fn create(memory: &Memory, offset: usize, entries: usize) -> Result<Self, RegionError> {
        let region = Region::checked::<T>(memory, offset, entries)?;
        let words = memory.words(offset, region_len::<T>(entries)).ok_or(RegionError::Bounds)?;
        for (word, value) in words.iter().zip([0, size_of::<T>() as u64, entries as u64, 0]) {
            word.store(value, Ordering::Relaxed);
        }
        for word in &words[HEADER / WORD..] {
            word.store(0, Ordering::Relaxed);
        }
        words[0].store(MAGIC, Ordering::Release);
        Ok(Self { region, _entries: PhantomData })
    }

    /// Publishes an entry; `false` if there is no such entry.
    pub fn write(&mut self, index: usize, value: &T) -> bool {
        let Some((number, words)) = self.region.entry::<T>(index) else { return false };
        let before = number.load(Ordering::Relaxed) & !1;
        number.store(before.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        words::store(words, value);
        number.store(before.wrapping_add(2), Ordering::Release);
        true
    }

    /// Entries.
    #[must_use]
    pub const fn entries(&self) -> usize {
        self.region.entries
    }
}

/// An end that reads; there may be many.
pub struct TableReader<T: Pod> {
    region: Region,
    _entries: PhantomData<fn() -> T>,
}

impl<T: Pod> Clone for TableReader<T> {
    fn clone(&self) -> Self {
        Self { region: self.region.clone(), _entries: PhantomData }
    }
}

impl<T: Pod> TableReader<T> {
    /// Opens the table at `offset`.
    ///
    /// # Errors
    /// When there is no table of such entries, or it does not fit into the memory.
    pub fn open(memory: &Memory, offset: usize) -> Result<Self, RegionError> {
        let header = memory.words(offset, HEADER).ok_or(RegionError::Bounds)?;
        let magic = header[0].load(Ordering::Acquire);
        if magic != MAGIC || header[1].load(Ordering::Relaxed) != size_of::<T>() as u64 {
            return Err(RegionError::Layout);
        }
        // One read: what is checked is what is used.
        let entries = header[2].load(Ordering::Relaxed);
        let entries = usize::try_from(entries).map_err(|_| RegionError::Capacity)?;
        Ok(Self { region: Region::checked::<T>(memory, offset, entries)?, _entries: PhantomData })
    }

    /// The latest published value of an entry; `None` if there is no such entry, or if the writer
    /// was inside at each of [`READ_ATTEMPTS`] attempts.
    #[must_use]
    pub fn read(&self, index: usize) -> Option<T> {
        let (number, words) = self.region.entry::<T>(index)?;
        for _ in 0..READ_ATTEMPTS {
            let before = number.load(Ordering::Acquire);
            if before & 1 == 0 {
                let value = words::load(words);
                fence(Ordering::Acquire);
                if number.load(Ordering::Relaxed) == before {
                    return Some(value);
                }
            }
            core::hint::spin_loop();
        }
        None
    }

    /// Entries.
    #[must_use]
    pub const fn entries(&self) -> usize {
        self.region.entries
    }
}

impl<T: Pod> fmt::Debug for TableWriter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TableWriter").field(&self.region).finish()
    }
}

impl<T: Pod> fmt::Debug for TableReader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TableReader").field(&self.region).finish()
    }
}

/// One memory with two tables: `summaries` entries of `A` (the worker's own figures), then
/// `entries` of `B` (one per termination).
///
/// # Errors
/// When the numbers are not allowed or the system refuses.
pub fn create_pair<A: Pod, B: Pod>(
    name: &str,
    summaries: usize,
    entries: usize,
) -> io::Result<(Memory, TableWriter<A>, TableWriter<B>)> {
    if summaries > MAX_ENTRIES || entries > MAX_ENTRIES {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, RegionError::Capacity));
    }
    let second = region_len::<A>(summaries);
    let memory = Memory::create(name, second + region_len::<B>(entries))?;
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
    let first = TableWriter::create(&memory, 0, summaries).map_err(invalid)?;
    let rest = TableWriter::create(&memory, second, entries).map_err(invalid)?;
    Ok((memory, first, rest))
}

/// Opens what [`create_pair`] made, from its descriptor.
///
/// # Errors
/// `InvalidData` when the memory holds something else, otherwise what the system says.
pub fn open_pair<A: Pod, B: Pod>(fd: OwnedFd) -> io::Result<(TableReader<A>, TableReader<B>)> {
    let memory = Memory::from_fd(fd, HEADER)?;
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let first = TableReader::<A>::open(&memory, 0).map_err(invalid)?;
    let second = region_len::<A>(first.entries());
    let rest = TableReader::open(&memory, second).map_err(invalid)?;
    Ok((first, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn a_value_is_read_as_written_and_bounds_hold() {
        let (memory, mut head, mut rest) = create_pair::<[u32; 3], u64>("t", 1, 4).unwrap();
        let fd = memory.fd().try_clone_to_owned().unwrap();
        let (read_head, read_rest) = open_pair::<[u32; 3], u64>(fd).unwrap();
        assert_eq!((read_head.entries(), read_rest.entries()), (1, 4));
        assert_eq!(read_rest.read(3), Some(0));
        assert!(head.write(0, &[1, 2, 3]) && rest.write(3, &9));
        assert!(!head.write(1, &[0; 3]) && !rest.write(4, &9));
        assert_eq!(read_head.read(0), Some([1, 2, 3]));
        assert_eq!(
            (read_rest.read(3), read_rest.read(2), read_rest.read(4)),
            (Some(9), Some(0), None)
        );
        assert!(TableReader::<[u32; 4]>::open(&memory, 0).is_err(), "another entry size");
    }

    #[test]
    fn a_number_of_entries_that_does_not_fit_is_refused() {
        let memory = Memory::create("t", region_len::<u64>(2)).unwrap();
        let _writer = TableWriter::<u64>::create(&memory, 0, 2).unwrap();
        for entries in [0, 3, u64::MAX, 1 << 62] {
            memory.words(16, 8).unwrap()[0].store(entries, Ordering::Relaxed);
            assert!(TableReader::<u64>::open(&memory, 0).is_err(), "{entries}");
        }
    }

    #[test]
    fn a_writer_that_died_inside_ends_the_read() {
        let memory = Memory::create("t", region_len::<u64>(1)).unwrap();
        let _writer = TableWriter::<u64>::create(&memory, 0, 1).unwrap();
        memory.words(HEADER, 8).unwrap()[0].store(7, Ordering::Relaxed);
        assert_eq!(TableReader::<u64>::open(&memory, 0).unwrap().read(0), None);
    }

    #[test]
    fn readers_never_see_a_torn_value() {
        let memory = Memory::create("t", region_len::<[u64; 24]>(1)).unwrap();
        let mut writer = TableWriter::<[u64; 24]>::create(&memory, 0, 1).unwrap();
        let stop = AtomicBool::new(false);
        let rounds = if cfg!(miri) { 100 } else { 200_000 };
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    let reader = TableReader::<[u64; 24]>::open(&memory, 0).unwrap();
                    let stop = &stop;
                    scope.spawn(move || {
                        let (mut reads, mut last) = (0_u64, 0);
                        while !stop.load(Ordering::Relaxed) || reads == 0 {
                            let Some(value) = reader.read(0) else { continue };
                            assert!(value.iter().all(|&word| word == value[0]), "{value:?}");
                            assert!(value[0] >= last, "time runs forward");
                            last = value[0];
                            reads += 1;
                        }
                        reads
                    })
                })
                .collect();
            for round in 1..=rounds {
                assert!(writer.write(0, &[round; 24]));
            }
            stop.store(true, Ordering::Relaxed);
            for reader in readers {
                assert!(reader.join().unwrap() > 0);
            }
        });
    }
}
