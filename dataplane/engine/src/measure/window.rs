//! Which of the last sequence numbers came, as far back as a gap may reach.

use tandem_contract::limits::MAX_DROPOUT;

/// Words of the bitmap.
const WORDS: usize = 49;
/// Sequence numbers behind the highest that the bitmap tells about.
pub(super) const REACH: u64 = (WORDS as u64 - 1) * 64;

const _: () = assert!(REACH > MAX_DROPOUT as u64 + 1);

/// A bitmap over extended sequence numbers. The words of the highest number and of those up to
/// REACH below it are valid; bits above the highest number are clear.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    words: [u64; WORDS],
}

impl Default for Window {
    fn default() -> Self {
        Self { words: [0; WORDS] }
    }
}

impl Window {
    /// Everything up to and including `ext` counts as received.
    pub(super) fn restart(&mut self, ext: u64) {
        self.words.fill(u64::MAX);
        // All ones up to and with the bit of `ext`; shifting twice because 64 is out of range.
        *self.word_mut(ext) = !((u64::MAX << (ext % 64)) << 1);
    }

    #[inline]
    pub(super) fn set(&mut self, ext: u64) {
        *self.word_mut(ext) |= 1 << (ext % 64);
    }

    /// Sets a bit of the word at this [`place`].
    #[inline]
    pub(super) fn set_at(&mut self, place: u16, ext: u64) {
        if let Some(word) = self.words.get_mut(usize::from(place)) {
            *word |= 1 << (ext % 64);
        }
    }

    /// Where the word of a number is.
    pub(super) fn place_of(ext: u64) -> u16 {
        u16::try_from(place(ext / 64)).unwrap_or(0)
    }

    pub(super) fn clear(&mut self, ext: u64) {
        *self.word_mut(ext) &= !(1 << (ext % 64));
    }

    pub(super) fn is_set(&self, ext: u64) -> bool {
        self.word(ext / 64) >> (ext % 64) & 1 != 0
    }

    /// Begins a word: nothing of it came.
    pub(super) fn begin_word(&mut self, word: u64) {
        *self.word_mut(word * 64) = 0;
    }

    pub(super) fn word(&self, word: u64) -> u64 {
        self.words[place(word)]
    }

    #[inline]
    fn word_mut(&mut self, ext: u64) -> &mut u64 {
        &mut self.words[place(ext / 64)]
    }
}

#[inline]
fn place(word: u64) -> usize {
    // The remainder is far below any usize.
    usize::try_from(word % WORDS as u64).unwrap_or(0)
}
