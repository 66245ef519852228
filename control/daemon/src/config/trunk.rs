//! Types of the settings of trunks and routes.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// What stands in the place of a password that is printed.
pub const HIDDEN: &str = "(hidden)";

/// A password in the configuration; it prints as [`HIDDEN`].
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The password itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "Secret(none)" } else { "Secret(…)" })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.0.is_empty() { "" } else { HIDDEN })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == HIDDEN {
            return Err(D::Error::custom(
                "the password is the word that --print-config shows in its place: write the password itself",
            ));
        }
        Ok(Self(text))
    }
}

/// An address, or all that begin with the same bits: `192.0.2.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// One address.
    #[must_use]
    pub const fn host(address: IpAddr) -> Self {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        Self { address, bits }
    }

    /// The networks of this machine itself.
    #[must_use]
    pub fn loopback() -> Vec<Self> {
        vec![
            Self { address: Ipv4Addr::new(127, 0, 0, 0).into(), bits: 8 },
            Self::host(Ipv6Addr::LOCALHOST.into()),
        ]
    }

    /// Whether an address belongs to it; an IPv4 address in IPv6 form is an IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                (net.to_bits() ^ ip.to_bits()) & mask == 0
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                (net.to_bits() ^ ip.to_bits()) & mask == 0
            }
            _ => false,
        }
    }

    /// Whether it names every address there is.
    #[must_use]
    pub const fn is_everything(&self) -> bool {
        self.bits == 0
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad =
            || format!("`{text}` is no address or network: use \"192.0.2.7\" or \"192.0.2.0/24\"");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| bad())?;
        let whole = Self::host(address);
        match bits {
            None => Ok(whole),
            Some(bits) => {
                let bits: u8 = bits.trim().parse().map_err(|_| bad())?;
                if bits <= whole.bits { Ok(Self { address, bits }) } else { Err(bad()) }
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::host(self.address) {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.bits)
        }
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Which number a trunk shows for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallerId {
    /// The caller's own.
    Pass,
    /// That of the trunk.
    Replace,
    /// None.
    Anonymous,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_what_begins_like_them() {
        for (network, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.128/25", "192.0.2.200", "192.0.2.127"),
            ("2001:db8::/32", "2001:db8:1::1", "2001:db9::1"),
            ("192.0.2.0/24", "::ffff:192.0.2.9", "2001:db8::1"),
        ] {
            let it: Network = network.parse().unwrap();
            assert!(it.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!it.contains(outside.parse().unwrap()), "{network} {outside}");
            assert_eq!(it.to_string(), network);
        }
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("203.0.113.1".parse().unwrap()) && all.is_everything());
        for bad in ["", "x", "192.0.2.0/33", "192.0.2.0/x", "2001:db8::/129"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn passwords_are_never_shown() {
        #[derive(Debug, Serialize, Deserialize)]
        struct It {
            password: Secret,
        }
        let it: It = toml::from_str("password = \"s3cret\"").unwrap();
        assert_eq!(it.password.expose(), "s3cret");
        let shown = toml::to_string(&it).unwrap();
        assert!(!shown.contains("s3cret") && !format!("{it:?}").contains("s3cret"));
        assert!(toml::from_str::<It>(&shown).unwrap_err().to_string().contains("itself"));
    }
}
