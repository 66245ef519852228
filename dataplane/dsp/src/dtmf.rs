//! DTMF digits: generation (ITU-T Q.23) and detection (ITU-T Q.24) at 8,000 samples per second.
//!
//! Detection works on blocks of 102 samples (12.75 ms): a digit needs two equal blocks in a row,
//! so tones of 40 ms are always found and clicks of 20 ms never are.

use crate::to_sample;
use crate::tone::{Goertzel, Sine, amplitude};

/// Sample rate of detection and generation, Hz.
pub const RATE_HZ: u32 = 8_000;
/// Low-group frequencies, Hz (ITU-T Q.23).
pub const ROWS_HZ: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
/// High-group frequencies, Hz (ITU-T Q.23).
pub const COLUMNS_HZ: [f32; 4] = [1209.0, 1336.0, 1477.0, 1633.0];

/// Digits by row and column.
const KEYS: [[char; 4]; 4] =
    [['1', '2', '3', 'A'], ['4', '5', '6', 'B'], ['7', '8', '9', 'C'], ['*', '0', '#', 'D']];
/// Samples of a detection block.
const BLOCK: usize = 102;
/// Lowest power of each of the two tones, mean square: about -42 dBov.
const MIN_POWER: f32 = 68_000.0;
/// The high group may be this much stronger than the low one (reverse: 2.5, ITU-T Q.24).
const TWIST: f32 = 6.3;
const REVERSE_TWIST: f32 = 2.5;
/// The strongest of a group is at least this much above the others of it.
const RELATIVE_PEAK: f32 = 6.3;
/// Share of the block's power that the two tones have together.
const MIN_SHARE: f32 = 0.75;

/// RFC 4733 event code of a digit: 0–9, `*` 10, `#` 11, A–D 12–15; `None` for anything else.
#[must_use]
pub fn event_code(digit: char) -> Option<u8> {
    Some(match digit.to_ascii_uppercase() {
        '0'..='9' => u8::try_from(digit).ok()? - b'0',
        '*' => 10,
        '#' => 11,
        letter @ 'A'..='D' => u8::try_from(letter).ok()? - b'A' + 12,
        _ => return None,
    })
}

/// Digit of an RFC 4733 event code.
#[must_use]
pub const fn digit(event_code: u8) -> Option<char> {
    Some(match event_code {
        0..=9 => (b'0' + event_code) as char,
        10 => '*',
        11 => '#',
        12..=15 => (b'A' + event_code - 12) as char,
        _ => return None,
    })
}

/// Generates the tone pair of a digit.
#[derive(Clone, Debug)]
pub struct Generator {
    row: Sine,
    column: Sine,
}

impl Generator {
    /// A generator for `digit` with each tone at `level_dbov`; `None` if it is no DTMF digit.
    #[must_use]
    pub fn new(digit: char, level_dbov: f32) -> Option<Self> {
        let digit = digit.to_ascii_uppercase();
        let (row, keys) = KEYS.iter().enumerate().find(|(_, keys)| keys.contains(&digit))?;
        let column = keys.iter().position(|key| *key == digit)?;
        // Half of full scale each, so that the sum never clips.
        let peak = amplitude(level_dbov).min(16_383.0);
        let sine = |hz: f32| Sine::new(f64::from(hz), RATE_HZ, peak);
        Some(Self { row: sine(ROWS_HZ[row]), column: sine(COLUMNS_HZ[column]) })
    }

    /// Fills a block.
    pub fn fill(&mut self, samples: &mut [i16]) {
        for sample in samples {
            *sample = to_sample(self.row.next_value() + self.column.next_value());
        }
    }
}

/// Finds digits in a stream of samples.
#[derive(Clone, Debug)]
pub struct Detector {
    rows: [Goertzel; 4],
    columns: [Goertzel; 4],
    energy: f32,
    filled: usize,
    last: Option<char>,
    current: Option<char>,
}

impl Default for Detector {
    fn default() -> Self {
        Self::new()
    }
}

impl Detector {
    /// A detector that has heard nothing.
    #[must_use]
    pub fn new() -> Self {
        let filter = |hz| Goertzel::new(hz, 8_000.0);
        Self {
            rows: ROWS_HZ.map(filter),
            columns: COLUMNS_HZ.map(filter),
            energy: 0.0,
            filled: 0,
            last: None,
            current: None,
        }
    }

    /// Takes samples and calls `found` once for each digit, at its beginning.
    pub fn push(&mut self, samples: &[i16], mut found: impl FnMut(char)) {
        for sample in samples {
            let value = f32::from(*sample);
            self.rows.iter_mut().chain(&mut self.columns).for_each(|filter| filter.push(value));
            self.energy = value.mul_add(value, self.energy);
            self.filled += 1;
            if self.filled == BLOCK
                && let Some(digit) = self.end_block()
            {
                found(digit);
            }
        }
    }

    /// Decides on a full block; a digit if one begins with it.
    fn end_block(&mut self) -> Option<char> {
        let hit = self.classify();
        self.rows.iter_mut().chain(&mut self.columns).for_each(Goertzel::reset);
        self.energy = 0.0;
        self.filled = 0;
        let confirmed = hit == self.last;
        self.last = hit;
        if !confirmed || hit == self.current {
            return None;
        }
        self.current = hit;
        hit
    }

    fn classify(&self) -> Option<char> {
        let (row, low) = peak(&self.rows)?;
        let (column, high) = peak(&self.columns)?;
        let twisted = high > low * TWIST || low > high * REVERSE_TWIST;
        let total = self.energy / 102.0;
        if twisted || low + high < MIN_SHARE * total {
            return None;
        }
        Some(KEYS[row][column])
    }
}

/// The filter that stands out of its group, and its power.
fn peak(group: &[Goertzel; 4]) -> Option<(usize, f32)> {
    let powers: [f32; 4] = core::array::from_fn(|i| group[i].power());
    let best = (0..4).max_by(|a, b| powers[*a].total_cmp(&powers[*b]))?;
    let clear = (0..4).all(|i| i == best || powers[best] > powers[i] * RELATIVE_PEAK);
    (clear && powers[best] >= MIN_POWER).then_some((best, powers[best]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "0123456789*#ABCD";

    fn dial(digits: &str, level_dbov: f32, tone_samples: usize) -> Vec<i16> {
        let mut samples = vec![0; 300];
        for digit in digits.chars() {
            let mut tone = vec![0; tone_samples];
            Generator::new(digit, level_dbov).unwrap().fill(&mut tone);
            samples.extend(tone);
            samples.extend([0; 400]);
        }
        samples
    }

    fn heard(samples: &[i16]) -> String {
        let mut digits = String::new();
        let mut detector = Detector::new();
        // Packet-sized pieces: the block size must not matter.
        samples.chunks(160).for_each(|block| detector.push(block, |digit| digits.push(digit)));
        digits
    }

    #[test]
    fn every_digit_is_heard_loud_and_soft() {
        for level in [-10.0, -20.0, -35.0] {
            assert_eq!(heard(&dial(ALL, level, 800)), ALL, "at {level} dBov");
        }
    }

    #[test]
    fn forty_ms_are_heard_and_twenty_not() {
        for offset in 0..BLOCK {
            let mut samples = vec![0; offset];
            samples.extend(dial("5", -15.0, 320));
            assert_eq!(heard(&samples), "5", "offset {offset}");
        }
        assert_eq!(heard(&dial("5", -15.0, 160)), "");
    }

    #[test]
    fn repeated_digits_count_each() {
        assert_eq!(heard(&dial("11199", -12.0, 480)), "11199");
    }

    #[test]
    fn survives_g711() {
        for law in [crate::g711::Law::Mu, crate::g711::Law::A] {
            let samples = dial(ALL, -12.0, 480);
            let mut codes = vec![0; samples.len()];
            law.encode(&samples, &mut codes);
            let mut decoded = vec![0; samples.len()];
            law.decode(&codes, &mut decoded);
            assert_eq!(heard(&decoded), ALL);
        }
    }

    #[test]
    fn speech_like_sounds_are_no_digits() {
        for hz in [300.0, 440.0, 697.0, 1000.0, 1209.0, 1336.0, 2000.0] {
            let mut tone = vec![0; 8000];
            Sine::new(hz, 8000, 12_000.0).fill(&mut tone);
            assert_eq!(heard(&tone), "", "{hz} Hz alone");
        }
        let mut strong = vec![0; 4000];
        let (mut a, mut b, mut c) = (
            Sine::new(770.0, 8000, 7000.0),
            Sine::new(1336.0, 8000, 7000.0),
            Sine::new(300.0, 8000, 9000.0),
        );
        strong
            .iter_mut()
            .for_each(|s| *s = to_sample(a.next_value() + b.next_value() + c.next_value()));
        assert_eq!(heard(&strong), "", "a digit under a stronger sound");
    }

    #[test]
    fn event_codes_are_those_of_rfc_4733() {
        for (code, key) in (0u8..).zip("0123456789*#ABCD".chars()) {
            assert_eq!(event_code(key), Some(code));
            assert_eq!(digit(code), Some(key));
        }
        assert_eq!(event_code('x'), None);
        assert_eq!(digit(16), None);
        assert_eq!(event_code('d'), Some(15));
    }
}
