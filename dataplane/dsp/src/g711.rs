//! G.711 μ-law and A-law, bit-exact to ITU-T G.711 as the software tool library of ITU-T G.191
//! computes it.
//!
//! A code word is sign, three bits of segment and four of position in it. μ-law works on 14-bit
//! and A-law on 13-bit magnitudes; both are scaled to 16 bits here, as everywhere in software.

/// Law of a G.711 stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// μ-law, static payload type 0 (PCMU).
    Mu,
    /// A-law, static payload type 8 (PCMA).
    A,
}

/// Code word that stands for silence in μ-law.
pub const MU_SILENCE: u8 = 0xff;
/// Code word that stands for the smallest positive value in A-law; there is no zero.
pub const A_SILENCE: u8 = 0xd5;

/// Bias that makes the μ-law segments powers of two, 14-bit scale.
const MU_BIAS: u16 = 33;
/// Largest biased magnitude, 14-bit scale.
const MU_CLIP: u16 = 0x1fff;

const MU_DECODED: [i16; 256] = decode_table(Law::Mu);
const A_DECODED: [i16; 256] = decode_table(Law::A);

const fn decode_table(law: Law) -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0u8;
    loop {
        table[code as usize] = match law {
            Law::Mu => mu_decode_slow(code),
            Law::A => a_decode_slow(code),
        };
        if code == u8::MAX {
            return table;
        }
        code += 1;
    }
}

const fn mu_decode_slow(code: u8) -> i16 {
    let inverted = !code;
    let segment = (inverted >> 4) & 7;
    let step = (inverted & 0x0f) as i16;
    // 33 + 2 * step lies in the middle of the step of segment 0, biased.
    let magnitude = (((step << 1) + 33) << segment) - 33;
    let scaled = magnitude << 2;
    if inverted & 0x80 == 0 { scaled } else { -scaled }
}

const fn a_decode_slow(code: u8) -> i16 {
    let word = code ^ 0x55;
    let segment = (word >> 4) & 7;
    let step = ((word & 0x0f) as i16) << 1;
    let magnitude = if segment == 0 { step + 1 } else { (step + 33) << (segment - 1) };
    let scaled = magnitude << 3;
    if word & 0x80 == 0 { -scaled } else { scaled }
}

/// Magnitude of a sample as the reference computes it: one's complement of negative values, so
/// that no value overflows.
#[expect(clippy::cast_sign_loss, reason = "the sign is taken off before the cast")]
const fn magnitude(sample: i16) -> u16 {
    (if sample < 0 { !sample } else { sample }) as u16
}

/// Position of the highest set bit counted from 0; `value` is not 0.
const fn top_bit(value: u16) -> u16 {
    #[expect(clippy::cast_possible_truncation, reason = "at most 15")]
    let bit = value.ilog2() as u16;
    bit
}

/// The low octet of a value.
const fn low(value: u16) -> u8 {
    value.to_be_bytes()[1]
}

/// Encodes one 16-bit sample to μ-law.
#[must_use]
pub const fn mu_encode(sample: i16) -> u8 {
    let biased = (magnitude(sample) >> 2) + MU_BIAS;
    let biased = if biased > MU_CLIP { MU_CLIP } else { biased };
    let segment = top_bit(biased) - 5;
    let step = (biased >> (segment + 1)) & 0x0f;
    let sign = if sample < 0 { 0x80 } else { 0 };
    !low(sign | (segment << 4) | step)
}

/// Decodes one μ-law code word to a 16-bit sample.
#[must_use]
pub const fn mu_decode(code: u8) -> i16 {
    MU_DECODED[code as usize]
}

/// Encodes one 16-bit sample to A-law.
#[must_use]
pub const fn a_encode(sample: i16) -> u8 {
    let linear = magnitude(sample) >> 4;
    let word = if linear < 16 {
        linear
    } else {
        let segment = top_bit(linear) - 3;
        (segment << 4) | ((linear >> (segment - 1)) & 0x0f)
    };
    let sign = if sample < 0 { 0 } else { 0x80 };
    low(sign | word) ^ 0x55
}

/// Decodes one A-law code word to a 16-bit sample.
#[must_use]
pub const fn a_decode(code: u8) -> i16 {
    A_DECODED[code as usize]
}

impl Law {
    /// Static RTP payload type (RFC 3551 §6).
    #[must_use]
    pub const fn payload_type(self) -> u8 {
        match self {
            Self::Mu => 0,
            Self::A => 8,
        }
    }

    /// Code word of silence.
    #[must_use]
    pub const fn silence(self) -> u8 {
        match self {
            Self::Mu => MU_SILENCE,
            Self::A => A_SILENCE,
        }
    }

    /// Encodes samples; writes as many octets as the shorter of both has elements.
    pub fn encode(self, samples: &[i16], codes: &mut [u8]) {
        let pairs = samples.iter().zip(codes);
        match self {
            Self::Mu => pairs.for_each(|(sample, code)| *code = mu_encode(*sample)),
            Self::A => pairs.for_each(|(sample, code)| *code = a_encode(*sample)),
        }
    }

    /// Decodes code words; writes as many samples as the shorter of both has elements.
    pub fn decode(self, codes: &[u8], samples: &mut [i16]) {
        let pairs = codes.iter().zip(samples);
        match self {
            Self::Mu => pairs.for_each(|(code, sample)| *sample = mu_decode(*code)),
            Self::A => pairs.for_each(|(code, sample)| *sample = a_decode(*code)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::dbov;

    /// Every 16-bit sample.
    fn all() -> impl Iterator<Item = i16> {
        i16::MIN..=i16::MAX
    }

    #[test]
    fn mu_law_decodes_to_table_2a() {
        // ITU-T G.711 table 2a: decoder output value y of the first code words of each segment,
        // 14-bit scale; character signals count down from 1111 1111.
        let first = [0, 33, 99, 231, 495, 1023, 2079, 4191];
        for (segment, value) in (0u8..).zip(first) {
            assert_eq!(mu_decode(0xff - 16 * segment), value * 4);
            assert_eq!(mu_decode(0x7f - 16 * segment), -value * 4);
        }
        assert_eq!(mu_decode(0x80), 8031 * 4);
        assert_eq!(mu_decode(0x00), -8031 * 4);
        assert_eq!(mu_decode(0xfe), 2 * 4);
    }

    #[test]
    fn a_law_decodes_to_table_1a() {
        // Table 1a, 13-bit scale; even bits are inverted on the line.
        let first = [1, 33, 66, 132, 264, 528, 1056, 2112];
        for (segment, value) in (0u8..).zip(first) {
            assert_eq!(a_decode((0x80 + 16 * segment) ^ 0x55), value * 8);
            assert_eq!(a_decode((16 * segment) ^ 0x55), -value * 8);
        }
        assert_eq!(a_decode(0xff ^ 0x55), 4032 * 8);
        assert_eq!(a_decode(0x7f ^ 0x55), -4032 * 8);
    }

    #[test]
    fn every_code_word_survives_decoding_and_encoding() {
        for code in 0..=u8::MAX {
            assert_eq!(a_encode(a_decode(code)), code);
            // μ-law has two zeros; a zero sample is the positive one.
            let expected = if code == 0x7f { 0xff } else { code };
            assert_eq!(mu_encode(mu_decode(code)), expected);
        }
    }

    #[test]
    fn encoders_are_monotonic() {
        for (law, encode, decode) in [
            (Law::Mu, mu_encode as fn(i16) -> u8, mu_decode as fn(u8) -> i16),
            (Law::A, a_encode, a_decode),
        ] {
            let mut last = i16::MIN;
            for sample in all() {
                let value = decode(encode(sample));
                assert!(value >= last, "{law:?} falls at {sample}");
                last = value;
            }
        }
    }

    #[test]
    fn quantisation_error_is_at_most_half_a_step() {
        for sample in all() {
            let size = u32::from(magnitude(sample));
            let error = |decoded: i16| i32::from(decoded).abs_diff(i32::from(sample));

            // Segments end at 31, 95, 223, ... 8159 of 14 bits, with steps of 2, 4, 8, ...
            let step = (0..8).map(|segment| 8 << segment).find(|step| size < step * 32 - 132);
            let decoded = mu_decode(mu_encode(sample));
            match step {
                // The two bits cut off and the one's complement add up to 3.
                Some(step) => assert!(error(decoded) <= step / 2 + 3, "{sample} as {decoded}"),
                None => assert_eq!(decoded.unsigned_abs(), 32_124),
            }
            // Segments end at 32, 64, 128, ... of 12 bits, with steps of 1, 1, 2, 4, ...
            let step = (0..6).map(|segment| 16 << segment).find(|step| size < step * 32);
            let decoded = a_decode(a_encode(sample));
            assert!(error(decoded) <= step.unwrap_or(1024) / 2, "{sample} as {decoded}");
        }
    }

    #[test]
    fn digital_milliwatt_has_the_published_level() {
        // ITU-T G.711 tables 5 and 6: these periodic sequences are a sine of 1 kHz at 0 dBm0,
        // which is 3.14 dB (A-law) and 3.17 dB (μ-law) below the largest sine, itself 3.01 dB
        // below 0 dBov.
        let a = [0x34, 0x21, 0x21, 0x34, 0xb4, 0xa1, 0xa1, 0xb4].map(a_decode);
        let mu = [0x1e, 0x0b, 0x0b, 0x1e, 0x9e, 0x8b, 0x8b, 0x9e].map(mu_decode);
        assert!((dbov(&a) + 6.15).abs() < 0.1, "{}", dbov(&a));
        assert!((dbov(&mu) + 6.18).abs() < 0.1, "{}", dbov(&mu));
    }

    #[test]
    fn known_samples() {
        assert_eq!([0i16, -1, i16::MAX, i16::MIN].map(mu_encode), [0xff, 0x7f, 0x80, 0x00]);
        assert_eq!([0i16, -1, i16::MAX, i16::MIN].map(a_encode), [0xd5, 0x55, 0xaa, 0x2a]);
        let mut codes = [0; 3];
        Law::A.encode(&[0, 0, 0], &mut codes);
        assert_eq!(codes, [A_SILENCE; 3]);
    }
}
