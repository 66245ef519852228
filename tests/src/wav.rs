//! Which tone a recording holds.

use std::path::Path;

/// Level of one frequency in a recording.
#[derive(Clone, Copy, Debug)]
pub struct Tone {
    /// Share of the recording's energy that lies at the frequency, 0 to 1.
    pub share: f64,
    /// Seconds of audio.
    pub seconds: f64,
}

/// Measures `frequency_hz` in a 16-bit mono WAV file by Goertzel's algorithm, over the blocks of
/// 50 ms that are not silent.
///
/// # Errors
/// A sentence when the file is no such WAV.
pub fn measure(path: &Path, frequency_hz: f64) -> Result<Tone, String> {
    let (rate, samples) = read(path)?;
    let block = (rate / 20) as usize;
    let (mut at_tone, mut total) = (0.0, 0.0);
    for chunk in samples.chunks_exact(block) {
        let energy: f64 = chunk.iter().map(|sample| sample * sample).sum();
        if energy / (block as f64) < 100.0 * 100.0 {
            continue;
        }
        total += energy;
        at_tone += goertzel(chunk, frequency_hz, f64::from(rate)) * 2.0 / block as f64;
    }
    let share = if total > 0.0 { at_tone / total } else { 0.0 };
    Ok(Tone { share, seconds: samples.len() as f64 / f64::from(rate) })
}

fn goertzel(samples: &[f64], frequency: f64, rate: f64) -> f64 {
    let coefficient = 2.0 * (2.0 * std::f64::consts::PI * frequency / rate).cos();
    let (mut s1, mut s2) = (0.0, 0.0);
    for sample in samples {
        (s1, s2) = (sample + coefficient * s1 - s2, s1);
    }
    s1 * s1 + s2 * s2 - coefficient * s1 * s2
}

fn read(path: &Path) -> Result<(u32, Vec<f64>), String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let find = |tag: &[u8]| bytes.windows(4).position(|window| window == tag);
    let (format, data) = find(b"fmt ").zip(find(b"data")).ok_or("no WAV chunks")?;
    let rate = bytes.get(format + 12..format + 16).ok_or("short WAV")?;
    let rate = u32::from_le_bytes([rate[0], rate[1], rate[2], rate[3]]);
    let samples = bytes.get(data + 8..).ok_or("short WAV")?.chunks_exact(2);
    Ok((rate, samples.map(|pair| f64::from(i16::from_le_bytes([pair[0], pair[1]]))).collect()))
}
