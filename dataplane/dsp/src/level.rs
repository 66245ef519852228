//! Audio level in dBov.

use crate::count;

/// Level that stands for digital silence, dBov: the lowest that RFC 6464 can express.
pub const SILENCE_DBOV: f32 = -127.0;

/// Level of a block of samples in dBov: root mean square against full scale, from
/// [`SILENCE_DBOV`] to 0.
#[must_use]
pub fn dbov(samples: &[i16]) -> f32 {
    mean_square(samples).map_or(SILENCE_DBOV, power_dbov)
}

/// Level as the header extension carries it: 0 (loudest) to 127 (silence), the level in -dBov
/// (RFC 6464 §3).
#[must_use]
pub fn audio_level(samples: &[i16]) -> u8 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 127")]
    let level = (-dbov(samples)).round().clamp(0.0, 127.0) as u8;
    level
}

/// A mean square of 16-bit samples in dBov.
#[must_use]
pub fn power_dbov(mean_square: f32) -> f32 {
    const FULL_SCALE: f32 = 32_768.0 * 32_768.0;
    if mean_square <= 0.0 {
        return SILENCE_DBOV;
    }
    (10.0 * (mean_square / FULL_SCALE).log10()).clamp(SILENCE_DBOV, 0.0)
}

/// Mean of the squares; `None` of nothing.
#[must_use]
pub fn mean_square(samples: &[i16]) -> Option<f32> {
    if samples.is_empty() {
        return None;
    }
    let sum: i64 = samples.iter().map(|s| i64::from(*s) * i64::from(*s)).sum();
    #[expect(clippy::cast_precision_loss, reason = "24 bits are enough for a level")]
    let sum = sum as f32;
    Some(sum / count(samples.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone::Sine;

    #[test]
    fn full_scale_square_wave_is_0_dbov_and_sine_3_below() {
        assert_eq!(audio_level(&[i16::MIN; 160]), 0);
        let mut block = [0; 800];
        Sine::new(1000.0, 8000, 32_767.0).fill(&mut block);
        assert!((dbov(&block) + 3.01).abs() < 0.05, "{}", dbov(&block));
        assert_eq!(audio_level(&block), 3);
    }

    #[test]
    fn silence_and_nothing_are_127() {
        assert_eq!(audio_level(&[0; 160]), 127);
        assert_eq!(audio_level(&[]), 127);
    }

    #[test]
    fn halving_takes_6_db() {
        let mut block = [0; 800];
        Sine::new(500.0, 8000, 8_000.0).fill(&mut block);
        let loud = dbov(&block);
        let soft = dbov(&block.map(|s| s / 2));
        assert!((loud - soft - 6.02).abs() < 0.05);
    }
}
