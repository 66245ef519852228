//! Codecs, tones and levels: linear samples in, linear samples out.
//!
//! Everything here is a function of its arguments: no clock, no I/O, no allocation on the paths
//! that run per packet. Samples are 16-bit linear; levels are in dBov, where 0 dBov is the mean
//! square of a full-scale square wave (RFC 6464 §3).
//!
//! | file | what it does |
//! | --- | --- |
//! | [`g711`] | μ-law and A-law (ITU-T G.711) |
//! | [`tone`] | sine generator, Goertzel filter, frequency measurement |
//! | [`dtmf`] | DTMF digits: generation and detection (ITU-T Q.23, Q.24) |
//! | [`level`] | audio level in dBov (RFC 6464) |
//! | [`resample`] | conversion of the sample rate of whole recordings |

pub mod dtmf;
pub mod g711;
pub mod level;
pub mod resample;
pub mod tone;

/// Rounds and limits a value to a 16-bit sample.
pub(crate) fn to_sample(value: f32) -> i16 {
    let limited = value.round().clamp(f32::from(i16::MIN), f32::from(i16::MAX));
    #[expect(clippy::cast_possible_truncation, reason = "limited to the range of i16 above")]
    let sample = limited as i16;
    sample
}

/// A count as a float: exact up to 2^24, and counts here are samples of one window.
#[expect(clippy::cast_precision_loss, reason = "windows are far below 2^24 samples")]
pub(crate) fn count(n: usize) -> f32 {
    n as f32
}
