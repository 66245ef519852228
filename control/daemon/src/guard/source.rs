//! Whom a limit is about: an IPv4 address, or an IPv6 /64, of which one customer has them all.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// One IPv4 address, or the /64 of an IPv6 address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    /// The address, or the upper half of it.
    bits: u64,
    /// 4, 6, or 0 for nobody.
    version: u8,
}

impl Source {
    /// Whom an address belongs to; an IPv4 address that is written as IPv6 is IPv4.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(ip) => Self { bits: u32::from(ip).into(), version: 4 },
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, g, h, ..] = ip.octets();
                Self { bits: u64::from_be_bytes([a, b, c, d, e, f, g, h]), version: 6 }
            }
        }
    }

    /// The number that stands for it in a nonce.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.bits
    }

    /// Its first address.
    #[must_use]
    pub fn address(self) -> IpAddr {
        if self.version == 4 {
            Ipv4Addr::from(u32::try_from(self.bits).unwrap_or(0)).into()
        } else {
            Ipv6Addr::from(u128::from(self.bits) << 64).into()
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address())?;
        if self.version == 6 { f.write_str("/64") } else { Ok(()) }
    }
}

impl FromStr for Source {
    type Err = String;

    /// An address; an IPv6 one may have `/64` behind it.
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        match (address.parse(), length) {
            (Ok(address), None) => Ok(Self::of(address)),
            (Ok(address @ IpAddr::V6(_)), Some("64" | "128")) => Ok(Self::of(address)),
            (Ok(address @ IpAddr::V4(_)), Some("32")) => Ok(Self::of(address)),
            _ => Err(format!("`{text}` is neither an IPv4 address nor an IPv6 address or /64")),
        }
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    #[test]
    fn ipv6_counts_by_its_64_upper_bits() {
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::9"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_ne!(source("0.0.0.0"), source("::"));
    }

    #[test]
    fn sources_are_written_as_they_are_read() {
        for text in ["192.0.2.1", "2001:db8:1:2::/64"] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
        assert_eq!("2001:db8::5".parse::<Source>().unwrap().to_string(), "2001:db8::/64");
        for text in ["192.0.2.0/24", "2001:db8::/48", "host", ""] {
            assert!(text.parse::<Source>().is_err(), "{text}");
        }
    }
}
