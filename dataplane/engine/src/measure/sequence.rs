//! Extended sequence numbers: loss, disorder, restarts (RFC 3550 A.1, A.3).
//!
//! Beyond A.1, a late packet is told from a duplicate by the bitmap, as far back as a gap may
//! reach. A segment is a stretch of one SSRC without a restart; its expected packets are the
//! numbers from its base to the highest.

use super::window::REACH;
use super::{Burst, EXT_BASE, MAX_STEP, Packet, StreamCold, StreamHot, Window};

/// A number at most this far behind may come twice without being the first sign of a restart
/// (RFC 3550 A.1 MAX_MISORDER).
const MAX_MISORDER: u64 = 100;
/// How far below the first packet's number another may begin the segment instead.
const MAX_UNDERTAKE: u64 = 64;
/// `StreamCold::jump_next` for none.
pub(super) const NO_JUMP: u32 = u32::MAX;

/// The number on the wire.
#[inline]
pub(super) const fn low(ext: u64) -> u16 {
    (ext & 0xffff) as u16
}

impl StreamHot {
    /// Begins the segment of a new SSRC; whether another one was there before.
    #[cold]
    pub(super) fn begin_source(
        &mut self,
        window: &mut Window,
        cold: &mut StreamCold,
        packet: &Packet<'_>,
    ) -> bool {
        let changed = self.ext != 0;
        if changed {
            self.end_segment(window, cold);
            cold.ssrc_changes += 1;
        }
        self.ssrc = packet.header.ssrc.0;
        self.begin_segment(window, cold, packet.header.sequence.0);
        changed
    }

    /// Takes over a stream that an earlier engine measured up to the extended number `sequence`.
    /// Nobody knows what that engine still relayed after its last figures, so the numbers up to
    /// the next packet count as a restart and not as loss.
    pub fn resume(&mut self, window: &mut Window, cold: &mut StreamCold, ssrc: u32, sequence: u32) {
        self.ssrc = ssrc;
        self.ext = EXT_BASE + u64::from(sequence);
        self.begin_at(window, cold);
    }

    /// The packet with this number shall be the next in sequence and the first of a segment.
    fn begin_segment(&mut self, window: &mut Window, cold: &mut StreamCold, sequence: u16) {
        self.ext = EXT_BASE + u64::from(sequence) - 1;
        self.begin_at(window, cold);
    }

    fn begin_at(&mut self, window: &mut Window, cold: &mut StreamCold) {
        window.restart(self.ext);
        cold.base = self.ext + 1;
        cold.settled_word = cold.base / 64;
        cold.jump_next = NO_JUMP;
        self.forget_transit();
    }

    fn end_segment(&self, window: &Window, cold: &mut StreamCold) {
        cold.expected_before += self.segment_expected(cold);
        self.settle_all(window, cold.settled_word, &mut cold.burst);
    }

    pub(super) const fn segment_expected(&self, cold: &StreamCold) -> u64 {
        (self.ext + 1).saturating_sub(cold.base)
    }

    /// After `ext` moved into a new word: begins it, and settles the words that are too far back
    /// to change.
    #[cold]
    pub(super) fn enter_words(&self, window: &mut Window, cold: &mut StreamCold) {
        self.enter_words_from(window, cold, self.ext / 64);
    }

    fn enter_words_from(&self, window: &mut Window, cold: &mut StreamCold, first: u64) {
        for word in first..=self.ext / 64 {
            window.begin_word(word);
            while cold.settled_word + 2 <= word {
                lose_clear_bits(&mut cold.burst, cold.settled_word, window.word(cold.settled_word));
                cold.settled_word += 1;
            }
        }
    }

    /// Counts the words that are not settled yet and closes the last run.
    pub(super) fn settle_all(&self, window: &Window, from: u64, burst: &mut Burst) {
        for word in from..=self.ext / 64 {
            let mut bits = window.word(word);
            if word == self.ext / 64 {
                bits |= (u64::MAX << (self.ext % 64)) << 1;
            }
            lose_clear_bits(burst, word, bits);
        }
        burst.close();
    }

    /// A packet that is not the next in sequence; `false` if it is off the track (a stray).
    #[cold]
    pub(super) fn disorder(
        &mut self,
        window: &mut Window,
        cold: &mut StreamCold,
        sequence: u16,
        step: u16,
    ) -> bool {
        if (2..=MAX_STEP).contains(&step) {
            let mut step = u64::from(step);
            if self.ext < cold.base {
                // The first packet since the stream was taken over.
                self.ext += step - 1;
                self.begin_at(window, cold);
                cold.restarts += 1;
                step = 1;
            }
            let entered = self.ext / 64 + 1;
            self.ext += step;
            self.enter_words_from(window, cold, entered);
            window.set(self.ext);
            return true;
        }
        let behind = u64::from(0u16.wrapping_sub(step));
        let ext = self.ext - behind.min(self.ext);
        if behind <= u64::from(MAX_STEP).min(REACH) && ext >= cold.base {
            return self.late(window, cold, ext, sequence);
        }
        if ext < cold.base && behind <= MAX_UNDERTAKE && self.ext >= cold.base {
            (ext + 1..cold.base).for_each(|skipped| window.clear(skipped));
            window.set(ext);
            cold.base = ext;
            cold.settled_word = ext / 64;
            cold.reordered += 1;
            return true;
        }
        cold.strays += 1;
        self.jump(window, cold, sequence, true)
    }

    /// A number behind the highest that the bitmap tells about.
    fn late(
        &mut self,
        window: &mut Window,
        cold: &mut StreamCold,
        ext: u64,
        sequence: u16,
    ) -> bool {
        if !window.is_set(ext) {
            window.set(ext);
            cold.reordered += 1;
            return true;
        }
        cold.duplicated += 1;
        if self.ext - ext <= MAX_MISORDER {
            return true;
        }
        self.jump(window, cold, sequence, false)
    }

    /// RFC 3550 A.1: two consecutive packets far off the sequence mean that the sender restarted.
    /// `stray` says what this one was counted as, a stray or a duplicate; both are taken back.
    fn jump(
        &mut self,
        window: &mut Window,
        cold: &mut StreamCold,
        sequence: u16,
        stray: bool,
    ) -> bool {
        if u32::from(sequence) != cold.jump_next {
            cold.jump_next = u32::from(sequence.wrapping_add(1));
            cold.jump_stray = stray;
            return false;
        }
        // This packet and the one before it are the first two of the new segment.
        let strays = u64::from(stray) + u64::from(cold.jump_stray);
        cold.strays -= strays;
        cold.duplicated -= 2 - strays;
        self.end_segment(window, cold);
        cold.restarts += 1;
        self.begin_segment(window, cold, sequence.wrapping_sub(1));
        self.ext += 2;
        self.enter_words_from(window, cold, (self.ext - 2) / 64 + 1);
        window.set(self.ext - 1);
        window.set(self.ext);
        true
    }
}

fn lose_clear_bits(burst: &mut Burst, word: u64, bits: u64) {
    let mut lost = !bits;
    while lost != 0 {
        burst.lose(word * 64 + u64::from(lost.trailing_zeros()));
        lost &= lost - 1;
    }
}
