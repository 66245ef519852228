//! Payload types and their clock rates.

use super::{NO_TYPE, PayloadTypes, StreamCold, StreamHot};
use tandem_contract::quality::Codec;

/// Comfort noise (RFC 3389) and its number before that RFC.
const COMFORT_NOISE: [u8; 2] = [13, 19];

/// Clock rate of a payload type whose meaning is fixed (RFC 3551 §6), 0 for the others.
const fn static_clock_rate(payload_type: u8) -> u32 {
    match payload_type {
        0 | 3..=5 | 7..=9 | 12 | 13 | 15 | 18 | 19 => 8_000,
        6 => 16_000,
        10 | 11 => 44_100,
        16 => 11_025,
        17 => 22_050,
        14 | 25 | 26 | 28 | 31..=34 => 90_000,
        _ => 0,
    }
}

const fn static_codec(payload_type: u8) -> Codec {
    match payload_type {
        0 | 8 => Codec::G711,
        4 => Codec::G7231,
        18 => Codec::G729A,
        _ => Codec::Unknown,
    }
}

impl StreamHot {
    /// A payload type other than the current one; whether it is a telephone event, which has no
    /// media time of its own (RFC 4733 §2.2.1).
    #[cold]
    pub(super) fn other_type(
        &mut self,
        cold: &mut StreamCold,
        types: &PayloadTypes,
        payload_type: u8,
    ) -> bool {
        let known = types.iter().find(|t| t.present != 0 && t.number == payload_type);
        if known.is_some_and(|t| t.telephone_event != 0) {
            return true;
        }
        // Pauses of a codec do not change the codec.
        if COMFORT_NOISE.contains(&payload_type) && self.media_type != NO_TYPE {
            return false;
        }
        let (clock_rate, codec) = match known {
            Some(t) => (t.clock_rate, t.codec),
            None => (static_clock_rate(payload_type), static_codec(payload_type).number()),
        };
        (self.media_type, self.plain_type) = (payload_type, NO_TYPE);
        cold.codec = codec;
        if clock_rate != cold.clock_rate {
            // Time stamps of two rates do not compare (RFC 7160 §4).
            cold.clock_rate = clock_rate;
            self.forget_transit();
            self.unit_q12 = unit_q12(clock_rate);
            self.packet_units = 0;
        }
        false
    }
}

/// Nanoseconds per clock unit, times 4,096; 0 for rates below 1 kHz, which no payload has.
fn unit_q12(clock_rate: u32) -> u32 {
    match clock_rate {
        0..1_000 => 0,
        rate => u32::try_from((1_000_000_000u64 << 12) / u64::from(rate)).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g722_has_the_clock_rate_of_its_mistake() {
        // RFC 3551 §4.5.2: 8,000 although it samples at 16,000 Hz.
        assert_eq!(static_clock_rate(9), 8_000);
        assert_eq!(static_clock_rate(101), 0);
    }

    #[test]
    fn fixed_point_units_are_exact_to_a_nanosecond_in_a_second() {
        for rate in [8_000u32, 16_000, 44_100, 48_000, 90_000] {
            let second = (u64::from(rate) * u64::from(unit_q12(rate))) >> 12;
            assert!(1_000_000_000 - second <= 23, "{rate}: {second}");
        }
    }
}
