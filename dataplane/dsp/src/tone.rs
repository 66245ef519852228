//! Sine generator, Goertzel filter and frequency measurement.

use crate::level::{SILENCE_DBOV, mean_square, power_dbov};
use crate::{count, to_sample};
use core::f32::consts::{PI, TAU};

/// A sine generator with an integer phase: its frequency never drifts, however long it runs.
#[derive(Clone, Debug)]
pub struct Sine {
    phase: u32,
    step: u32,
    amplitude: f32,
}

impl Sine {
    /// A generator of `hz` at `rate_hz` samples per second with the given peak amplitude
    /// (0 to 32,767); frequencies beyond half of the rate fold back.
    #[must_use]
    pub fn new(hz: f64, rate_hz: u32, amplitude: f32) -> Self {
        let turns = (hz / f64::from(rate_hz.max(1))).rem_euclid(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 2^32 - 1"
        )]
        let step = (turns * 4_294_967_296.0) as u32;
        Self { phase: 0, step, amplitude }
    }

    /// The next sample.
    pub fn next_value(&mut self) -> f32 {
        // 2^32 of phase are one turn; the top 24 bits are all that f32 can hold.
        #[expect(clippy::cast_precision_loss, reason = "24 bits fit in f32")]
        let angle = (self.phase >> 8) as f32 / 16_777_216.0 * TAU;
        self.phase = self.phase.wrapping_add(self.step);
        angle.sin() * self.amplitude
    }

    /// Fills a block.
    pub fn fill(&mut self, samples: &mut [i16]) {
        for sample in samples {
            *sample = to_sample(self.next_value());
        }
    }
}

/// Peak amplitude of a sine at a level in dBov.
#[must_use]
pub fn amplitude(level_dbov: f32) -> f32 {
    let mean_square = 10f32.powf(level_dbov / 10.0) * 32_768.0 * 32_768.0;
    (2.0 * mean_square).sqrt().min(32_767.0)
}

/// A Goertzel filter: the power of one frequency in a block.
#[derive(Clone, Debug)]
pub struct Goertzel {
    coefficient: f32,
    s1: f32,
    s2: f32,
    samples: usize,
}

impl Goertzel {
    /// A filter for `hz` at `rate_hz` samples per second.
    #[must_use]
    pub fn new(hz: f32, rate_hz: f32) -> Self {
        Self { coefficient: 2.0 * (TAU * hz / rate_hz).cos(), s1: 0.0, s2: 0.0, samples: 0 }
    }

    /// Takes one sample.
    pub fn push(&mut self, sample: f32) {
        let s0 = self.coefficient.mul_add(self.s1, sample - self.s2);
        self.s2 = self.s1;
        self.s1 = s0;
        self.samples += 1;
    }

    /// Mean square of the sine of this frequency that the samples so far contain.
    #[must_use]
    pub fn power(&self) -> f32 {
        if self.samples == 0 {
            return 0.0;
        }
        let square =
            self.s1.mul_add(self.s1, self.s2 * self.s2) - self.coefficient * self.s1 * self.s2;
        2.0 * square.max(0.0) / (count(self.samples) * count(self.samples))
    }

    /// Forgets the samples.
    pub fn reset(&mut self) {
        self.s1 = 0.0;
        self.s2 = 0.0;
        self.samples = 0;
    }
}

/// A tone found in a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tone {
    /// Frequency, Hz.
    pub hz: f32,
    /// Level of the tone, dBov.
    pub level_dbov: f32,
    /// Share of the block's power that lies in the tone, 0 to 1; near 1 for a pure tone.
    pub purity: f32,
}

/// Lowest frequency that [`strongest`] looks at, Hz.
const SEARCH_FROM_HZ: f32 = 60.0;

/// The strongest tone in a block, by a search over Hann-windowed Goertzel filters.
///
/// Blocks of 800 samples and more at 8,000 Hz give the frequency within 1 Hz. `None` if the block
/// is shorter than 64 samples or silent.
#[must_use]
pub fn strongest(samples: &[i16], rate_hz: u32) -> Option<Tone> {
    let total = mean_square(samples).filter(|power| power_dbov(*power) > SILENCE_DBOV + 37.0)?;
    if samples.len() < 64 {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "sample rates are below 2^24")]
    let rate = rate_hz as f32;
    let windowed = hann(samples);
    let power_at = |hz: f32| windowed_power(&windowed, hz, rate);

    // The main lobe of a Hann window is four bins wide, so half a bin cannot step over a peak.
    let step = rate / count(samples.len()) / 2.0;
    let mut best = (SEARCH_FROM_HZ, 0.0);
    let mut hz = SEARCH_FROM_HZ;
    while hz < rate / 2.0 - step {
        let power = power_at(hz);
        if power > best.1 {
            best = (hz, power);
        }
        hz += step;
    }
    let (hz, power) = climb(best, step, power_at);
    let purity = (power / total).min(1.0);
    Some(Tone { hz, level_dbov: power_dbov(power), purity })
}

/// Refines a peak by bisection of its surroundings.
fn climb(start: (f32, f32), step: f32, power_at: impl Fn(f32) -> f32) -> (f32, f32) {
    let mut best = start;
    let mut width = step;
    while width > 0.02 {
        width /= 2.0;
        for hz in [best.0 - width, best.0 + width] {
            let power = power_at(hz);
            if power > best.1 {
                best = (hz, power);
            }
        }
    }
    best
}

/// The samples under a Hann window, scaled so that a sine keeps its Goertzel power.
fn hann(samples: &[i16]) -> Vec<f32> {
    let size = count(samples.len());
    let weight = |i: usize| {
        let half_turn = (PI * count(i) / size).sin();
        2.0 * half_turn * half_turn
    };
    samples.iter().enumerate().map(|(i, s)| f32::from(*s) * weight(i)).collect()
}

fn windowed_power(windowed: &[f32], hz: f32, rate_hz: f32) -> f32 {
    let mut filter = Goertzel::new(hz, rate_hz);
    windowed.iter().for_each(|sample| filter.push(*sample));
    filter.power()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_frequency_level_and_purity() {
        for (hz, level) in [(440.0f32, -10.0f32), (1000.0, -20.0), (3400.0, -40.0), (97.5, -6.5)] {
            let mut block = [0; 4000];
            Sine::new(f64::from(hz), 8000, amplitude(level)).fill(&mut block);
            let tone = strongest(&block, 8000).unwrap();
            assert!((tone.hz - hz).abs() < 0.5, "{tone:?} is not {hz}");
            assert!((tone.level_dbov - level).abs() < 0.1, "{tone:?} is not {level}");
            assert!(tone.purity > 0.98, "{tone:?}");
        }
    }

    #[test]
    fn noise_is_no_pure_tone_and_silence_none() {
        let mut state = 1u32;
        let noise: Vec<i16> = (0..4000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                i16::from_be_bytes([state.to_be_bytes()[0], state.to_be_bytes()[1]]) / 4
            })
            .collect();
        assert!(strongest(&noise, 8000).unwrap().purity < 0.1);
        assert_eq!(strongest(&[0; 4000], 8000), None);
        assert_eq!(strongest(&[9000; 10], 8000), None);
    }

    #[test]
    fn phase_goes_on_across_blocks() {
        let mut whole = [0; 320];
        Sine::new(333.3, 8000, 9000.0).fill(&mut whole);
        let mut generator = Sine::new(333.3, 8000, 9000.0);
        let (mut first, mut second) = ([0; 160], [0; 160]);
        generator.fill(&mut first);
        generator.fill(&mut second);
        assert_eq!(whole[..160], first);
        assert_eq!(whole[160..], second);
    }

    #[test]
    fn goertzel_tells_frequencies_apart() {
        let mut sine = Sine::new(770.0, 8000, 10_000.0);
        let (mut at, mut off) = (Goertzel::new(770.0, 8000.0), Goertzel::new(1209.0, 8000.0));
        for _ in 0..800 {
            let value = sine.next_value();
            at.push(value);
            off.push(value);
        }
        assert!((at.power() / 50_000_000.0 - 1.0).abs() < 0.01);
        assert!(off.power() < at.power() / 1000.0);
    }
}
