//! What is played into a call, and what is heard of it.

use crate::wav;
use serde::Serialize;
use std::path::PathBuf;
use tandem_dsp::dtmf::Detector;
use tandem_dsp::level;
use tandem_dsp::tone::{self, Sine};

/// Longest recording kept; what comes later is not recorded, samples (one hour).
const MAX_RECORDING: usize = 3_600 * 8_000;
/// What is kept of a call that is not recorded, for the analysis at its end, samples.
const KEPT: usize = 4 * 8_000;
/// A jump of the time stamps beyond this starts a new anchor instead of a long silence, samples.
const MAX_GAP: usize = 10 * 8_000;
/// Samples of one block of the analysis (200 ms).
const ANALYSIS_BLOCK: usize = 1_600;
/// Blocks that the analysis looks at, spread evenly over the recording.
const ANALYSIS_BLOCKS: usize = 24;
/// A block counts as a tone from this purity on; G.711 alone leaves 0.99 and more.
const TONE_PURITY: f32 = 0.8;

/// What to play.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Play {
    /// Silence.
    #[default]
    Silence,
    /// A sine of this frequency, Hz.
    Tone(f64),
    /// A WAV file, over and over.
    File(PathBuf),
}

/// Produces the samples to send.
#[derive(Debug)]
pub enum Source {
    /// Silence.
    Silence,
    /// A sine.
    Tone(Sine),
    /// Samples, over and over, and the position in them.
    Samples(Vec<i16>, usize),
}

impl Source {
    /// Level of generated tones, dBov.
    pub const TONE_DBOV: f32 = -15.0;

    /// Opens a source.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open(play: &Play) -> Result<Self, crate::error::UaError> {
        Ok(match play {
            Play::Silence => Self::Silence,
            Play::Tone(hz) => {
                Self::Tone(Sine::new(*hz, wav::RATE_HZ, tone::amplitude(Self::TONE_DBOV)))
            }
            Play::File(path) => Self::Samples(wav::load(path)?, 0),
        })
    }

    /// Fills a block with what comes next.
    pub fn fill(&mut self, block: &mut [i16]) {
        match self {
            Self::Tone(sine) => sine.fill(block),
            Self::Samples(samples, position) if !samples.is_empty() => {
                for sample in block {
                    *sample = samples[*position];
                    *position = (*position + 1) % samples.len();
                }
            }
            Self::Silence | Self::Samples(..) => block.fill(0),
        }
    }
}

/// The received audio, put in place by its RTP time stamps: gaps are silence, late packets land
/// where they belong.
#[derive(Debug)]
pub struct Recorder {
    /// Time stamp and position of the newest anchor.
    anchor: Option<(u32, usize)>,
    /// Position of `samples[0]`; only grows when nothing is recorded.
    base: usize,
    samples: Vec<i16>,
    whole: bool,
}

impl Recorder {
    /// A recorder that keeps everything (`whole`, up to an hour) or the last seconds.
    #[must_use]
    pub const fn new(whole: bool) -> Self {
        Self { anchor: None, base: 0, samples: Vec::new(), whole }
    }

    /// Starts over at the end of what is there: the sender changed.
    pub const fn restart(&mut self) {
        self.anchor = None;
    }

    /// Puts decoded samples at their time stamp (8,000 Hz units).
    pub fn place(&mut self, timestamp: u32, block: &[i16]) {
        let offset = self.offset(timestamp).unwrap_or_else(|| {
            let end = self.samples.len();
            self.anchor = Some((timestamp, self.base + end));
            end.cast_signed()
        });
        // What is older than all that is kept is too late.
        let Ok(from) = usize::try_from(offset) else { return };
        let until = from + block.len();
        if self.whole && until > MAX_RECORDING {
            return;
        }
        if self.samples.len() < until {
            self.samples.resize(until, 0);
        }
        self.samples[from..until].copy_from_slice(block);
        if !self.whole && self.samples.len() > 2 * KEPT {
            let surplus = self.samples.len() - KEPT;
            self.samples.drain(..surplus);
            self.base += surplus;
        }
    }

    /// Where a time stamp lies in `samples`, negative before its beginning; `None` without an
    /// anchor, or too far from what is there to belong to it.
    fn offset(&self, timestamp: u32) -> Option<isize> {
        let (origin, at) = self.anchor?;
        let distance = isize::try_from(timestamp.wrapping_sub(origin).cast_signed()).ok()?;
        let offset = at.cast_signed() - self.base.cast_signed() + distance;
        let limit = MAX_GAP.cast_signed();
        (-limit..=self.samples.len().cast_signed() + limit).contains(&offset).then_some(offset)
    }

    /// What was kept.
    #[must_use]
    pub fn samples(&self) -> &[i16] {
        &self.samples
    }
}

/// What was heard.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AudioReport {
    /// Frequency of the tone that most of the audio consists of, Hz; null if there is none.
    pub tone_hz: Option<f64>,
    /// Its level, dBov.
    pub tone_level_dbov: Option<f64>,
    /// Share of the analysed blocks that contain this tone, 0 to 1.
    pub tone_share: f64,
    /// Level of everything, dBov; null without audio.
    pub level_dbov: Option<f64>,
    /// Seconds of audio analysed or recorded.
    pub seconds: f64,
    /// DTMF digits heard as tones in the audio.
    pub dtmf_inband: String,
}

/// Rounds to the given number of decimals, for reports.
#[must_use]
pub fn rounded(value: f64, decimals: i32) -> f64 {
    let scale = 10f64.powi(decimals);
    (value * scale).round() / scale
}

/// Analyses received audio: level, tone, DTMF in the band.
#[must_use]
pub fn analyse(samples: &[i16]) -> AudioReport {
    let mut dtmf_inband = String::new();
    Detector::new().push(samples, |digit| dtmf_inband.push(digit));
    let blocks: Vec<&[i16]> = samples.chunks_exact(ANALYSIS_BLOCK).collect();
    let stride = blocks.len().div_ceil(ANALYSIS_BLOCKS).max(1);
    let looked_at = blocks.iter().step_by(stride);
    let total = looked_at.len();
    let mut tones: Vec<tone::Tone> = looked_at
        .filter_map(|block| tone::strongest(block, wav::RATE_HZ))
        .filter(|tone| tone.purity >= TONE_PURITY)
        .collect();
    tones.sort_by(|a, b| a.hz.total_cmp(&b.hz));
    let median = tones.get(tones.len() / 2).copied();
    let same = median.map_or(0, |m| tones.iter().filter(|t| (t.hz - m.hz).abs() < 5.0).count());
    AudioReport {
        tone_hz: median.map(|tone| rounded(f64::from(tone.hz), 1)),
        tone_level_dbov: median.map(|tone| rounded(f64::from(tone.level_dbov), 1)),
        tone_share: rounded(ratio(same, total), 2),
        level_dbov: (!samples.is_empty()).then(|| rounded(f64::from(level::dbov(samples)), 1)),
        seconds: rounded(ratio(samples.len(), 8_000), 2),
        dtmf_inband,
    }
}

/// `part / whole`, 0 of nothing.
fn ratio(part: usize, whole: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of samples and blocks")]
    let (part, whole) = (part as f64, whole as f64);
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone_of(hz: f64, length: usize) -> Vec<i16> {
        let mut samples = vec![0; length];
        Source::open(&Play::Tone(hz)).unwrap().fill(&mut samples);
        samples
    }

    #[test]
    fn a_tone_is_found_among_silence() {
        let mut samples = vec![0; 8_000];
        samples.extend(tone_of(440.0, 24_000));
        let report = analyse(&samples);
        assert!((report.tone_hz.unwrap() - 440.0).abs() < 1.0, "{report:?}");
        assert!((report.tone_level_dbov.unwrap() + 15.0).abs() < 0.3, "{report:?}");
        assert!((report.tone_share - 0.75).abs() < 0.01, "{report:?}");
    }

    #[test]
    fn silence_has_no_tone() {
        let report = analyse(&[0; 16_000]);
        assert_eq!((report.tone_hz, report.tone_share), (None, 0.0));
        assert_eq!(analyse(&[]).level_dbov, None);
    }

    #[test]
    fn packets_land_by_time_stamp() {
        let mut recorder = Recorder::new(true);
        let start = u32::MAX - 100;
        recorder.place(start, &[1; 160]);
        recorder.place(start.wrapping_add(480), &[4; 160]);
        recorder.place(start.wrapping_add(160), &[2; 160]);
        assert_eq!(recorder.samples().len(), 640);
        assert_eq!([159, 160, 320, 480].map(|i| recorder.samples()[i]), [1, 2, 0, 4]);
        // Before the beginning: dropped.
        recorder.place(start.wrapping_sub(160), &[9; 160]);
        recorder.restart();
        recorder.place(77, &[5; 160]);
        assert_eq!(recorder.samples()[640..], [5; 160]);
    }

    #[test]
    fn a_wild_time_stamp_does_not_make_hours_of_silence() {
        let mut recorder = Recorder::new(true);
        recorder.place(0, &[1; 160]);
        recorder.place(1 << 30, &[2; 160]);
        assert_eq!(recorder.samples().len(), 320);
    }

    #[test]
    fn without_a_recording_only_the_end_is_kept() {
        let mut recorder = Recorder::new(false);
        for packet in 0..4_000u32 {
            recorder.place(packet * 160, &[i16::try_from(packet).unwrap(); 160]);
        }
        assert!(recorder.samples().len() <= 2 * KEPT);
        assert_eq!(recorder.samples().last(), Some(&3_999));
        // Nine seconds late.
        recorder.place(3_999 * 160 - 72_000, &[7; 160]);
        assert!(!recorder.samples().contains(&7));
    }

    #[test]
    fn files_repeat() {
        let mut source = Source::Samples(vec![1, 2, 3], 0);
        let mut block = [0; 7];
        source.fill(&mut block);
        assert_eq!(block, [1, 2, 3, 1, 2, 3, 1]);
    }
}
