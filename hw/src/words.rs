//! Copies of plain data in and out of memory that somebody else may write at the same time.
//!
//! Every word is a relaxed atomic, so a racing writer (or a hostile one in another process) gives
//! a torn value, never undefined behaviour. On the usual targets a relaxed access is a plain move.

use crate::sync::{AtomicU64, Ordering};
use bytemuck::Pod;

/// Octets of a word.
pub(crate) const WORD: usize = 8;

/// Words that a `T` takes.
pub(crate) const fn words_of<T>() -> usize {
    size_of::<T>().div_ceil(WORD)
}

/// Writes `value` to `words`, which has at least [`words_of::<T>`](words_of) entries.
#[inline]
pub(crate) fn store<T: Pod>(words: &[AtomicU64], value: &T) {
    debug_assert!(words.len() >= words_of::<T>());
    let bytes = bytemuck::bytes_of(value);
    let (whole, rest) = bytes.as_chunks::<WORD>();
    for (word, chunk) in words.iter().zip(whole) {
        word.store(u64::from_ne_bytes(*chunk), Ordering::Relaxed);
    }
    if let (false, Some(word)) = (rest.is_empty(), words.get(whole.len())) {
        let mut last = [0; WORD];
        last[..rest.len()].copy_from_slice(rest);
        word.store(u64::from_ne_bytes(last), Ordering::Relaxed);
    }
}

/// Reads a `T` from `words`, which has at least [`words_of::<T>`](words_of) entries.
#[inline]
pub(crate) fn load<T: Pod>(words: &[AtomicU64]) -> T {
    debug_assert!(words.len() >= words_of::<T>());
    let mut value = T::zeroed();
    let (whole, rest) = bytemuck::bytes_of_mut(&mut value).as_chunks_mut::<WORD>();
    let count = whole.len();
    for (word, chunk) in words.iter().zip(whole) {
        *chunk = word.load(Ordering::Relaxed).to_ne_bytes();
    }
    if let (false, Some(word)) = (rest.is_empty(), words.get(count)) {
        let last = word.load(Ordering::Relaxed).to_ne_bytes();
        let len = rest.len();
        rest.copy_from_slice(&last[..len]);
    }
    value
}

#[cfg(not(loom))]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_are_no_multiple_of_a_word_survive() {
        let words: Vec<AtomicU64> = (0..4).map(|_| AtomicU64::new(u64::MAX)).collect();
        store(&words, &[1u8, 2, 3]);
        assert_eq!(load::<[u8; 3]>(&words), [1, 2, 3]);
        store(&words, &[7u32, 8, 9]);
        assert_eq!(load::<[u32; 3]>(&words), [7, 8, 9]);
        store(&words, &[10u64, 11, 12, 13]);
        assert_eq!(load::<[u64; 4]>(&words), [10, 11, 12, 13]);
        store(&words, &0x55u8);
        assert_eq!(load::<[u8; 9]>(&words)[8], 11, "the words behind stay as they were");
    }
}
