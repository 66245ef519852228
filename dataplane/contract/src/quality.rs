//! R factor and MOS out of a measurement, by the E-model (ITU-T G.107, 06/2015).
//!
//! All parameters that a network cannot measure have the defaults of G.107 table 1. What is
//! measured goes in: packet loss and its burstiness, and for conversational quality the delay.
//! Codecs without a published impairment factor (Opus, and wideband codecs, whose scale is that of
//! G.107.1) have no figure here: the answer is `None`, never a guess.

use crate::measure::{Measurement, RTT_UNKNOWN};

/// Codecs whose impairment factors are published (ITU-T G.113 Appendix I, table I.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    /// No figure is known: no MOS.
    #[default]
    Unknown = 0,
    /// G.711 μ-law or A-law in a receiver that conceals losses (G.711 Appendix I), as every
    /// telephone of today does.
    G711 = 1,
    /// G.711 in a receiver that plays silence for a lost packet.
    G711WithoutConcealment = 2,
    /// G.729 Annex A with voice activity detection.
    G729A = 3,
    /// G.723.1 at 6.3 kbit/s with voice activity detection.
    G7231 = 4,
    /// GSM enhanced full rate.
    GsmEfr = 5,
}

impl Codec {
    /// The codec of a number in shared memory; an unknown number is [`Codec::Unknown`].
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        match number {
            1 => Self::G711,
            2 => Self::G711WithoutConcealment,
            3 => Self::G729A,
            4 => Self::G7231,
            5 => Self::GsmEfr,
            _ => Self::Unknown,
        }
    }

    /// The number that stands for the codec in shared memory.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The codec of an encoding name in SDP (RFC 3551, RFC 8866 §6.6), whatever its case.
    #[must_use]
    pub fn from_encoding(name: &str) -> Self {
        const NAMES: [(&str, Codec); 5] = [
            ("PCMU", Codec::G711),
            ("PCMA", Codec::G711),
            ("G729", Codec::G729A),
            ("G723", Codec::G7231),
            ("GSM-EFR", Codec::GsmEfr),
        ];
        let known = NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        known.map_or(Self::Unknown, |(_, codec)| *codec)
    }

    /// Equipment impairment factor and packet-loss robustness factor.
    const fn impairment(self) -> Option<(f64, f64)> {
        match self {
            Self::Unknown => None,
            Self::G711 => Some((0.0, 25.1)),
            Self::G711WithoutConcealment => Some((0.0, 4.3)),
            Self::G729A => Some((11.0, 19.0)),
            Self::G7231 => Some((15.0, 16.1)),
            Self::GsmEfr => Some((5.0, 10.0)),
        }
    }
}

/// What a figure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Listening quality: delay is not known and not counted.
    Listening,
    /// Conversational quality: delay is counted.
    Conversational,
}

/// Quality of one direction of one leg.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// What the figures are about.
    pub kind: Kind,
    /// Transmission rating factor, at most 93.2 with default parameters.
    pub r_factor: f64,
    /// Mean opinion score, 1 to 4.5.
    pub mos: f64,
}

/// Conversational quality if the round trip is known, else listening quality; `None` for an
/// unknown codec or before the first packet.
#[must_use]
pub fn quality(measurement: &Measurement) -> Option<Quality> {
    let (kind, delay_ms) = match one_way_delay_ms(measurement) {
        Some(delay_ms) => (Kind::Conversational, delay_ms),
        None => (Kind::Listening, 0.0),
    };
    rate(measurement, kind, delay_ms)
}

/// Listening quality, whether a round trip is known or not.
#[must_use]
pub fn listening_quality(measurement: &Measurement) -> Option<Quality> {
    rate(measurement, Kind::Listening, 0.0)
}

fn rate(measurement: &Measurement, kind: Kind, delay_ms: f64) -> Option<Quality> {
    if measurement.expected == 0 {
        return None;
    }
    let codec = Codec::from_number(measurement.codec);
    let loss = ratio(measurement.lost, measurement.expected);
    let r_factor = r_factor(codec, loss, burst_ratio(measurement), delay_ms)?;
    Some(Quality { kind, r_factor, mos: mos(r_factor) })
}

/// Mouth-to-ear delay of a leg, ms: half the round trip, one packet of packetisation, and a jitter
/// buffer of twice the jitter.
fn one_way_delay_ms(measurement: &Measurement) -> Option<f64> {
    if measurement.rtt_ns == RTT_UNKNOWN {
        return None;
    }
    let packet_ms = match measurement.clock_rate {
        0 => 0.0,
        rate => f64::from(measurement.packet_units) * 1e3 / f64::from(rate),
    };
    let ms = |ns: u64| to_f64(ns) / 1e6;
    Some(ms(measurement.rtt_ns) / 2.0 + packet_ms + 2.0 * ms(measurement.jitter_ns))
}

/// Burst ratio (G.107 §7.2): the mean length of a run of losses over what random loss of the same
/// rate would give. 1 is random; less than 1 is counted as 1.
#[must_use]
pub fn burst_ratio(measurement: &Measurement) -> f64 {
    let lost = measurement.burst_lost.saturating_add(measurement.gap_lost);
    if measurement.loss_runs == 0 || measurement.expected == 0 {
        return 1.0;
    }
    let mean_run = to_f64(lost) / to_f64(measurement.loss_runs);
    (mean_run * (1.0 - ratio(lost, measurement.expected))).max(1.0)
}

/// The transmission rating factor for a codec, a loss ratio (0 to 1), its burst ratio and a one-way
/// delay in ms; `None` for an unknown codec.
#[must_use]
pub fn r_factor(codec: Codec, loss: f64, burst_ratio: f64, delay_ms: f64) -> Option<f64> {
    let (ie, bpl) = codec.impairment()?;
    let ppl = (loss * 100.0).clamp(0.0, 100.0);
    let ie_eff = ie + (95.0 - ie) * ppl / (ppl / burst_ratio.max(1.0) + bpl);
    let basic = Basic::new();
    Some(basic.ro - basic.simultaneous(delay_ms) - basic.delay(delay_ms) - ie_eff)
}

/// MOS of a transmission rating factor (G.107 Annex B).
#[must_use]
pub fn mos(r: f64) -> f64 {
    if r <= 0.0 {
        1.0
    } else if r >= 100.0 {
        4.5
    } else {
        // Just above 0 the polynomial dips below the scale.
        (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).max(1.0)
    }
}

// Defaults of G.107 (06/2015) table 1.
const SLR: f64 = 8.0;
const RLR: f64 = 2.0;
const OLR: f64 = SLR + RLR;
const STMR: f64 = 15.0;
const LSTR: f64 = 18.0;
const DS: f64 = 3.0;
const TELR: f64 = 65.0;
const WEPL: f64 = 110.0;
const QDU: f64 = 1.0;
const NC: f64 = -70.0;
const NFOR: f64 = -64.0;
const PS: f64 = 35.0;
const PR: f64 = 35.0;
/// Minimum perceivable delay, ms (default class of table 1).
const MT: f64 = 100.0;
/// Delay sensitivity (default class of table 1).
const ST: f64 = 1.0;

/// The basic signal-to-noise ratio (G.107 §7.2) and the noise that it comes from.
struct Basic {
    no: f64,
    ro: f64,
}

impl Basic {
    fn new() -> Self {
        let nos = PS - SLR - DS - 100.0 + 0.004 * (PS - OLR - DS - 14.0).powi(2);
        let pre = PR + 10.0 * (1.0 + 10f64.powf((10.0 - LSTR) / 10.0)).log10();
        let nor = RLR - 121.0 + pre + 0.008 * (pre - 35.0).powi(2);
        let nfo = NFOR + RLR;
        let power = |db: f64| 10f64.powf(db / 10.0);
        let no = 10.0 * (power(NC) + power(nos) + power(nor) + power(nfo)).log10();
        Self { no, ro: 15.0 - 1.5 * (SLR + no) }
    }

    /// Simultaneous impairment factor Is (G.107 §7.3): loudness, sidetone, quantising.
    fn simultaneous(&self, delay_ms: f64) -> f64 {
        let xolr = OLR + 0.2 * (64.0 + self.no - RLR);
        let iolr = 20.0 * ((1.0 + (xolr / 8.0).powi(8)).powf(0.125) - xolr / 8.0);
        let echo = (-delay_ms / 4.0).exp() * 10f64.powf(-TELR / 10.0);
        let stmro = -10.0 * (10f64.powf(-STMR / 10.0) + echo).log10();
        let ist = 12.0 * (1.0 + ((stmro - 13.0) / 6.0).powi(8)).powf(1.0 / 8.0)
            - 28.0 * (1.0 + ((stmro + 1.0) / 19.4).powi(35)).powf(1.0 / 35.0)
            - 13.0 * (1.0 + ((stmro - 3.0) / 33.0).powi(13)).powf(1.0 / 13.0)
            + 29.0;
        let q = 37.0 - 15.0 * QDU.log10();
        let g = 1.07 + 0.258 * q + 0.0602 * q * q;
        let y = (self.ro - 100.0) / 15.0 + 46.0 / 8.4 - g / 9.0;
        let z = 46.0 / 30.0 - g / 40.0;
        let iq = 15.0 * (1.0 + 10f64.powf(y) + 10f64.powf(z)).log10();
        iolr + ist + iq
    }

    /// Delay impairment factor Id (G.107 §7.4): talker echo, listener echo, absolute delay.
    fn delay(&self, delay_ms: f64) -> f64 {
        let t = delay_ms;
        let terv = TELR - 40.0 * ((1.0 + t / 10.0) / (1.0 + t / 150.0)).log10()
            + 6.0 * (-0.3 * t * t).exp();
        let half = (-1.5 * (self.no - RLR) - (80.0 + 2.5 * (terv - 14.0))) / 2.0;
        let talker = (half + (half * half + 100.0).sqrt() - 1.0) * (1.0 - (-t).exp());
        let rle = 10.5 * (WEPL + 7.0) * (2.0 * t + 1.0).powf(-0.25);
        let half = (self.ro - rle) / 2.0;
        let listener = half + (half * half + 169.0).sqrt();
        talker + listener + absolute_delay(t)
    }
}

fn absolute_delay(ta: f64) -> f64 {
    if ta <= MT {
        return 0.0;
    }
    let x = (ta / MT).log2();
    let power = 6.0 * ST;
    let term = |x: f64| (1.0 + x.powf(power)).powf(1.0 / power);
    25.0 * (term(x) - 3.0 * term(x / 3.0) + 2.0)
}

fn ratio(part: u64, whole: u64) -> f64 {
    to_f64(part) / to_f64(whole).max(1.0)
}

/// Counters beyond 2^53 would lose their last digits, which no quality figure shows.
fn to_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64, tolerance: f64) -> bool {
        (a - b).abs() <= tolerance
    }

    fn measured(codec: Codec, expected: u64, lost: u64) -> Measurement {
        Measurement {
            expected,
            lost,
            gap_lost: lost,
            loss_runs: lost,
            packets: expected - lost,
            codec: u32::from(codec.number()),
            rtt_ns: RTT_UNKNOWN,
            ..Default::default()
        }
    }

    #[test]
    fn defaults_give_the_published_rating() {
        // G.107 §7.7: R = 93.2 with all parameters at their defaults.
        let r = r_factor(Codec::G711, 0.0, 1.0, 0.0).unwrap();
        assert!(close(r, 93.2, 0.05), "{r}");
        assert!(close(mos(93.2), 4.41, 0.005), "{}", mos(93.2));
    }

    #[test]
    fn mos_follows_table_b_1() {
        // G.107 table B.1: limits of the user satisfaction categories.
        for (r, expected) in [(90.0, 4.34), (80.0, 4.03), (70.0, 3.60), (60.0, 3.10), (50.0, 2.58)]
        {
            assert!(close(mos(r), expected, 0.01), "R {r}: {}", mos(r));
        }
        assert!(close(mos(-5.0), 1.0, 0.0) && close(mos(120.0), 4.5, 0.0));
        assert!((0..100).all(|r| mos(f64::from(r)) >= 1.0));
    }

    #[test]
    fn g729a_starts_eleven_lower() {
        let g711 = r_factor(Codec::G711, 0.0, 1.0, 0.0).unwrap();
        let g729 = r_factor(Codec::G729A, 0.0, 1.0, 0.0).unwrap();
        assert!(close(g711 - g729, 11.0, 1e-9));
    }

    #[test]
    fn loss_follows_the_formula_of_7_5() {
        // Ie-eff of G.711 without concealment at 5 % random loss: 95 * 5 / (5 + 4.3) = 51.08.
        let clean = r_factor(Codec::G711WithoutConcealment, 0.0, 1.0, 0.0).unwrap();
        let lossy = r_factor(Codec::G711WithoutConcealment, 0.05, 1.0, 0.0).unwrap();
        assert!(close(clean - lossy, 51.075, 0.01));
        // Twice as bursty: 95 * 5 / (2.5 + 4.3) = 69.85.
        let bursty = r_factor(Codec::G711WithoutConcealment, 0.05, 2.0, 0.0).unwrap();
        assert!(close(clean - bursty, 69.853, 0.01));
    }

    #[test]
    fn delay_hurts_as_published() {
        // G.107 with echo at TELR 65 dB: hardly anything at 100 ms, much at 400 ms.
        let at = |ms| r_factor(Codec::G711, 0.0, 1.0, ms).unwrap();
        assert!(at(0.0) - at(50.0) < 3.0, "{}", at(50.0));
        assert!(at(150.0) > at(250.0) && at(250.0) > at(400.0));
        assert!(close(absolute_delay(200.0), 3.0, 0.4), "{}", absolute_delay(200.0));
        assert!(close(absolute_delay(100.0), 0.0, 0.0));
    }

    #[test]
    fn unknown_is_none() {
        assert_eq!(quality(&measured(Codec::Unknown, 100, 0)), None);
        assert_eq!(quality(&measured(Codec::G711, 0, 0)), None);
        assert_eq!(Codec::from_number(99), Codec::Unknown);
        assert_eq!(Codec::from_encoding("opus"), Codec::Unknown);
        assert_eq!(Codec::from_encoding("pcma"), Codec::G711);
    }

    #[test]
    fn a_round_trip_makes_it_conversational() {
        let mut m = measured(Codec::G711, 1_000, 10);
        let listening = quality(&m).unwrap();
        assert_eq!(listening.kind, Kind::Listening);
        m.rtt_ns = 300_000_000;
        let conversational = quality(&m).unwrap();
        assert_eq!(conversational.kind, Kind::Conversational);
        assert!(conversational.mos < listening.mos);
        assert_eq!(listening_quality(&m), Some(listening));
    }

    #[test]
    fn nonsense_gives_some_figure_and_no_panic() {
        let most = Measurement {
            expected: 1,
            burst_lost: u64::MAX,
            gap_lost: u64::MAX,
            loss_runs: 1,
            ..measured(Codec::G711, 1, 0)
        };
        assert!(quality(&most).is_some_and(|quality| (1.0..=4.5).contains(&quality.mos)));
    }

    #[test]
    fn burst_ratio_compares_with_random_loss() {
        let mut m = measured(Codec::G711, 1_000, 100);
        assert!(close(burst_ratio(&m), 1.0, 0.0), "100 single losses are not bursty");
        m.loss_runs = 20;
        // Runs of 5 on average; random loss of 10 % would give 1 / 0.9.
        assert!(close(burst_ratio(&m), 4.5, 1e-9));
    }
}
