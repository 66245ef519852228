//! WAV files: anything that PCM can be is read, 16-bit mono at 8,000 Hz is written.

use crate::error::UaError;
use std::path::Path;
use tandem_dsp::resample;

/// Sample rate of everything the softphone plays and records, Hz.
pub const RATE_HZ: u32 = 8_000;

/// Reads a WAV file as 16-bit mono samples at [`RATE_HZ`]: channels are averaged, other rates
/// converted.
///
/// # Errors
/// The file is missing, not a WAV file, or of a sample format that is not PCM or float.
pub fn load(path: &Path) -> Result<Vec<i16>, UaError> {
    let failed = |e: hound::Error| UaError::File { path: path.into(), detail: e.to_string() };
    let mut reader = hound::WavReader::open(path).map_err(failed)?;
    let spec = reader.spec();
    let samples: Vec<i16> = match spec.sample_format {
        hound::SampleFormat::Float => {
            let scaled = reader.samples::<f32>().map(|s| s.map(from_float));
            scaled.collect::<Result<_, _>>().map_err(failed)?
        }
        hound::SampleFormat::Int => {
            let bits = spec.bits_per_sample;
            let scaled = reader.samples::<i32>().map(|s| s.map(|s| to_16_bits(s, bits)));
            scaled.collect::<Result<_, _>>().map_err(failed)?
        }
    };
    let mono = mix_down(&samples, usize::from(spec.channels));
    Ok(resample::convert(&mono, spec.sample_rate, RATE_HZ))
}

/// Writes 16-bit mono samples at [`RATE_HZ`].
///
/// # Errors
/// The file cannot be created or written.
pub fn save(path: &Path, samples: &[i16]) -> Result<(), UaError> {
    let failed = |e: hound::Error| UaError::File { path: path.into(), detail: e.to_string() };
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: RATE_HZ,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).map_err(failed)?;
    for sample in samples {
        writer.write_sample(*sample).map_err(failed)?;
    }
    writer.finalize().map_err(failed)
}

fn from_float(sample: f32) -> i16 {
    #[expect(clippy::cast_possible_truncation, reason = "limited to the range of i16")]
    let value = (sample * 32_767.0).clamp(-32_768.0, 32_767.0) as i16;
    value
}

fn to_16_bits(sample: i32, bits: u16) -> i16 {
    let value = if bits >= 16 { sample >> (bits - 16).min(31) } else { sample << (16 - bits) };
    i16::try_from(value).unwrap_or(if value < 0 { i16::MIN } else { i16::MAX })
}

fn mix_down(samples: &[i16], channels: usize) -> Vec<i16> {
    if channels <= 1 {
        return samples.to_vec();
    }
    let mean = |frame: &[i16]| {
        let sum: i64 = frame.iter().map(|s| i64::from(*s)).sum();
        i16::try_from(sum / i64::try_from(channels).unwrap_or(1)).unwrap_or_default()
    };
    samples.chunks_exact(channels).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_dsp::tone::{Sine, strongest};

    #[test]
    fn what_is_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        save(&path, &[1, -2, i16::MAX, i16::MIN]).unwrap();
        assert_eq!(load(&path).unwrap(), [1, -2, i16::MAX, i16::MIN]);
    }

    #[test]
    fn stereo_of_another_rate_is_converted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.wav");
        let spec = hound::WavSpec {
            channels: 2,
            sample_rate: 48_000,
            bits_per_sample: 24,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(&path, spec).unwrap();
        let mut tone = Sine::new(700.0, 48_000, 9_000.0);
        let mut samples = vec![0; 24_000];
        tone.fill(&mut samples);
        for sample in samples {
            writer.write_sample(i32::from(sample) << 8).unwrap();
            writer.write_sample(i32::from(sample) << 8).unwrap();
        }
        writer.finalize().unwrap();
        let loaded = load(&path).unwrap();
        assert_eq!(loaded.len(), 4_000);
        let tone = strongest(&loaded[200..3_800], RATE_HZ).unwrap();
        assert!((tone.hz - 700.0).abs() < 0.5 && tone.purity > 0.99, "{tone:?}");
    }

    #[test]
    fn what_is_no_wav_file_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.wav");
        std::fs::write(&path, b"not a sound").unwrap();
        let text = load(&path).unwrap_err().to_string();
        assert!(text.contains("c.wav"), "{text}");
        assert!(load(&folder.path().join("missing.wav")).is_err());
    }
}
