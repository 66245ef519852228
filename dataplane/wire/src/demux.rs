//! What the first octets of a datagram say (RFC 7983 §7, RFC 5761 §4).

/// The protocol of a datagram on a media port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// RTP or SRTP.
    Rtp,
    /// RTCP or SRTCP.
    Rtcp,
    /// STUN.
    Stun,
    /// DTLS.
    Dtls,
    /// Nothing that belongs on a media port.
    Unknown,
}

/// Tells RTP, RTCP, STUN and DTLS apart by the first octet, and RTCP by the second one: packet
/// types 192 to 223 (RFC 5761 §4; RTP payload types 64 to 95 are not used with a marker bit).
#[inline]
#[must_use]
pub fn classify(bytes: &[u8]) -> Class {
    match bytes {
        [128..=191, 192..=223, ..] => Class::Rtcp,
        [128..=191, ..] => Class::Rtp,
        [0..=3, ..] => Class::Stun,
        [20..=63, ..] => Class::Dtls,
        _ => Class::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_rfc_7983() {
        for (first, second, class) in [
            (0u8, 1u8, Class::Stun),
            (3, 0, Class::Stun),
            (4, 0, Class::Unknown),
            (16, 0, Class::Unknown),
            (20, 0, Class::Dtls),
            (63, 0, Class::Dtls),
            (64, 0, Class::Unknown),
            (127, 0, Class::Unknown),
            (128, 0, Class::Rtp),
            (191, 191, Class::Rtp),
            (128, 192, Class::Rtcp),
            (129, 200, Class::Rtcp),
            (191, 223, Class::Rtcp),
            (128, 224, Class::Rtp),
            (192, 200, Class::Unknown),
            (255, 0, Class::Unknown),
        ] {
            assert_eq!(classify(&[first, second]), class, "{first} {second}");
        }
        assert_eq!(classify(&[]), Class::Unknown);
    }
}
