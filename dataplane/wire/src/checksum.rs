//! The Internet checksum (RFC 1071) and the pseudo-headers of UDP (RFC 768, RFC 8200 §8.1).

use core::net::{Ipv4Addr, Ipv6Addr};

/// A running one's complement sum over 16-bit words.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checksum {
    sum: u64,
}

impl Checksum {
    /// An empty sum.
    #[must_use]
    pub const fn new() -> Self {
        Self { sum: 0 }
    }

    /// Adds octets; an odd last octet is padded with zero, so only the last piece may be odd.
    #[must_use]
    pub fn feed(mut self, bytes: &[u8]) -> Self {
        let mut words = bytes.chunks_exact(2);
        for word in &mut words {
            self.sum += u64::from(u16::from_be_bytes([word[0], word[1]]));
        }
        if let [last] = words.remainder() {
            self.sum += u64::from(*last) << 8;
        }
        self
    }

    /// Adds one word.
    #[must_use]
    pub fn feed_u16(mut self, word: u16) -> Self {
        self.sum += u64::from(word);
        self
    }

    /// Adds the IPv4 pseudo-header of a UDP datagram (RFC 768).
    #[must_use]
    pub fn feed_pseudo_v4(self, source: Ipv4Addr, destination: Ipv4Addr, udp_len: u16) -> Self {
        self.feed(&source.octets()).feed(&destination.octets()).feed_u16(17).feed_u16(udp_len)
    }

    /// Adds the IPv6 pseudo-header of a UDP datagram (RFC 8200 §8.1).
    #[must_use]
    pub fn feed_pseudo_v6(self, source: Ipv6Addr, destination: Ipv6Addr, udp_len: u16) -> Self {
        self.feed(&source.octets()).feed(&destination.octets()).feed_u16(17).feed_u16(udp_len)
    }

    /// The checksum to write; 0 when summing over data that holds a right checksum.
    #[must_use]
    pub fn finish(self) -> u16 {
        let mut sum = self.sum;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn example_of_rfc_1071_section_3() {
        // 0001 f203 f4f5 f6f7 sums to 2ddf0, folded ddf2.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Checksum::new().feed(&bytes).finish(), !0xddf2);
    }

    #[test]
    fn odd_length_is_padded_with_zero() {
        assert_eq!(
            Checksum::new().feed(&[1, 2, 3]).finish(),
            Checksum::new().feed(&[1, 2, 3, 0]).finish()
        );
    }
}
