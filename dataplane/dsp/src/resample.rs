//! Conversion of the sample rate of whole recordings, by a windowed sinc.

use crate::{count, to_sample};
use core::f32::consts::PI;

/// Zero crossings of the sinc on each side of a sample.
const CROSSINGS: f32 = 16.0;

/// Converts a recording from one sample rate to another, any ratio; empty if a rate is 0.
///
/// Frequencies that the lower of both rates cannot carry are filtered out.
#[must_use]
pub fn convert(samples: &[i16], from_hz: u32, to_hz: u32) -> Vec<i16> {
    if from_hz == 0 || to_hz == 0 {
        return Vec::new();
    }
    if from_hz == to_hz {
        return samples.to_vec();
    }
    let length = samples.len() as u64 * u64::from(to_hz) / u64::from(from_hz);
    (0..length).map(|i| to_sample(at(samples, i, from_hz, to_hz))).collect()
}

/// The value at output sample `index`.
fn at(samples: &[i16], index: u64, from_hz: u32, to_hz: u32) -> f32 {
    // Position in the input as a whole and a fraction, so that long recordings stay exact.
    let scaled = index * u64::from(from_hz);
    let whole = usize::try_from(scaled / u64::from(to_hz)).unwrap_or(usize::MAX);
    #[expect(clippy::cast_precision_loss, reason = "sample rates are below 2^24")]
    let (rest, to, from) = ((scaled % u64::from(to_hz)) as f32, to_hz as f32, from_hz as f32);
    let fraction = rest / to;
    let cutoff = (to / from).min(1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small, positive")]
    let reach = (CROSSINGS / cutoff).ceil() as usize;
    let first = whole.saturating_sub(reach);
    let last = (whole + reach + 1).min(samples.len());
    samples.get(first..last).unwrap_or_default().iter().enumerate().fold(0.0, |sum, (i, sample)| {
        let distance = relative(first + i, whole) - fraction;
        f32::from(*sample).mul_add(cutoff * kernel(distance * cutoff), sum)
    })
}

/// `a - b` of two close indices, exact wherever they lie.
fn relative(a: usize, b: usize) -> f32 {
    if a >= b { count(a - b) } else { -count(b - a) }
}

/// Sinc under a Hann window.
fn kernel(x: f32) -> f32 {
    if x.abs() >= CROSSINGS {
        return 0.0;
    }
    let window = (PI * x / CROSSINGS / 2.0).cos();
    let sinc = if x.abs() < 1e-6 { 1.0 } else { (PI * x).sin() / (PI * x) };
    sinc * window * window
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone::{Sine, strongest};

    #[test]
    fn a_tone_keeps_pitch_and_level() {
        for from in [8_000, 16_000, 44_100, 48_000] {
            let mut samples = vec![0; from as usize];
            Sine::new(1000.0, from, 10_000.0).fill(&mut samples);
            let converted = convert(&samples, from, 8000);
            assert_eq!(converted.len(), 8000);
            let tone = strongest(&converted[1000..5000], 8000).unwrap();
            assert!((tone.hz - 1000.0).abs() < 0.5 && tone.purity > 0.99, "{from}: {tone:?}");
            assert!((tone.level_dbov + 13.3).abs() < 0.2, "{from}: {tone:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_filtered_out() {
        let mut samples = vec![0; 48_000];
        Sine::new(6000.0, 48_000, 10_000.0).fill(&mut samples);
        let converted = convert(&samples, 48_000, 8000);
        assert!(crate::level::dbov(&converted[500..7500]) < -60.0);
    }

    #[test]
    fn odd_rates_do_not_fail() {
        assert!(convert(&[1, 2, 3], 0, 8000).is_empty());
        assert!(convert(&[], 44_100, 8000).is_empty());
        assert_eq!(convert(&[5, 6], 8000, 8000), [5, 6]);
        assert_eq!(convert(&[0; 10], 8000, 48_000).len(), 60);
    }
}
