//! Static payload types of the audio/video profile (RFC 3551 §6, tables 4 and 5).

/// What a static payload type means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticPayload {
    /// Encoding name.
    pub encoding: &'static str,
    /// RTP clock rate, Hz.
    pub clock_rate: u32,
    /// Audio channels, 1 for video.
    pub channels: u8,
}

/// The static meaning of a payload type, `None` if it has none.
#[must_use]
pub const fn static_payload(payload_type: u8) -> Option<StaticPayload> {
    let (encoding, clock_rate, channels) = match payload_type {
        0 => ("PCMU", 8_000, 1),
        3 => ("GSM", 8_000, 1),
        4 => ("G723", 8_000, 1),
        5 => ("DVI4", 8_000, 1),
        6 => ("DVI4", 16_000, 1),
        7 => ("LPC", 8_000, 1),
        8 => ("PCMA", 8_000, 1),
        // G.722 samples at 16 kHz; its RTP clock is 8 kHz by mistake and for ever (§4.5.2).
        9 => ("G722", 8_000, 1),
        10 => ("L16", 44_100, 2),
        11 => ("L16", 44_100, 1),
        12 => ("QCELP", 8_000, 1),
        13 => ("CN", 8_000, 1),
        14 => ("MPA", 90_000, 1),
        15 => ("G728", 8_000, 1),
        16 => ("DVI4", 11_025, 1),
        17 => ("DVI4", 22_050, 1),
        18 => ("G729", 8_000, 1),
        25 => ("CelB", 90_000, 1),
        26 => ("JPEG", 90_000, 1),
        28 => ("nv", 90_000, 1),
        31 => ("H261", 90_000, 1),
        32 => ("MPV", 90_000, 1),
        33 => ("MP2T", 90_000, 1),
        34 => ("H263", 90_000, 1),
        _ => return None,
    };
    Some(StaticPayload { encoding, clock_rate, channels })
}

#[cfg(test)]
mod tests {
    use super::static_payload;

    #[test]
    fn numbers_that_phones_use() {
        let of = |pt| static_payload(pt).map(|p| (p.encoding, p.clock_rate));
        assert_eq!(of(0), Some(("PCMU", 8_000)));
        assert_eq!(of(8), Some(("PCMA", 8_000)));
        assert_eq!(of(9), Some(("G722", 8_000)));
        assert_eq!(of(18), Some(("G729", 8_000)));
        assert_eq!(of(96), None);
        assert_eq!(of(19), None);
    }
}
