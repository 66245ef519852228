//! Types of settings that are more than a number or a text.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use tandem_signalling::sdp::RtpMap;

/// A SIP transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SipTransport {
    /// Datagrams.
    Udp,
    /// Streams.
    Tcp,
}

/// A digest algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// RFC 8760.
    #[serde(rename = "SHA-256")]
    Sha256,
    /// RFC 2617.
    #[serde(rename = "MD5")]
    Md5,
}

impl Algorithm {
    /// Its name in a challenge.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA-256",
            Self::Md5 => "MD5",
        }
    }
}

/// How the contacts of a user ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ring {
    /// All at once.
    All,
    /// One after another, the highest `q` first.
    ByPriority,
}

/// What drives the media sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortKind {
    /// io_uring where it is allowed, else mmsg.
    Auto,
    /// io_uring or an error.
    IoUring,
    /// recvmmsg and sendmmsg.
    Mmsg,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Whether media goes over this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Relay {
    /// All of it.
    Always,
    /// None: the parties send it to each other.
    Never,
}

/// An address that others see instead of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// Ours; `None` for all of the same IP version.
    pub bound: Option<IpAddr>,
    /// Theirs.
    pub announced: IpAddr,
}

impl Advertised {
    /// What others see instead of `ours`, if anything is set for it.
    #[must_use]
    pub fn of(list: &[Self], ours: IpAddr) -> Option<IpAddr> {
        list.iter()
            .find(|entry| entry.bound == Some(ours))
            .or_else(|| {
                list.iter().find(|entry| {
                    entry.bound.is_none() && entry.announced.is_ipv4() == ours.is_ipv4()
                })
            })
            .map(|entry| entry.announced)
    }
}

impl FromStr for Advertised {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = |text: &str| {
            text.trim()
                .parse::<IpAddr>()
                .map_err(|_| format!("`{}` is not an IP address", text.trim()))
        };
        let (bound, announced) = match text.split_once('=') {
            Some((bound, announced)) => (Some(address(bound)?), address(announced)?),
            None => (None, address(text)?),
        };
        if bound.is_some_and(|bound| bound.is_ipv4() != announced.is_ipv4()) {
            return Err(format!("`{text}` mixes IPv4 and IPv6"));
        }
        Ok(Self { bound, announced })
    }
}

impl fmt::Display for Advertised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bound {
            Some(bound) => write!(f, "{bound}={}", self.announced),
            None => write!(f, "{}", self.announced),
        }
    }
}

impl Serialize for Advertised {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Advertised {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A codec as `a=rtpmap` names it: `PCMA`, `opus/48000/2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodecName {
    /// Encoding name, in any case.
    pub encoding: String,
    /// RTP clock rate, Hz; any if it is not given.
    pub clock_rate: Option<u32>,
    /// Channels; any if they are not given.
    pub channels: Option<u8>,
}

impl CodecName {
    /// Whether a payload type is of this codec.
    #[must_use]
    pub fn is(&self, map: &RtpMap<'_>) -> bool {
        self.encoding.eq_ignore_ascii_case(map.encoding)
            && self.clock_rate.is_none_or(|it| it == map.clock_rate)
            && self.channels.is_none_or(|it| it == map.channels)
    }
}

impl FromStr for CodecName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no codec: \"PCMA\", \"opus\" or \"L16/44100/2\"");
        let mut parts = text.split('/');
        let encoding = parts.next().unwrap_or_default();
        let good = |it: u8| it.is_ascii_alphanumeric() || b"-_.+".contains(&it);
        if encoding.is_empty() || !encoding.bytes().all(good) {
            return Err(wrong());
        }
        let clock_rate = parts.next().map(str::parse).transpose().map_err(|_| wrong())?;
        let channels = parts.next().map(str::parse).transpose().map_err(|_| wrong())?;
        match parts.next() {
            None => Ok(Self { encoding: encoding.to_owned(), clock_rate, channels }),
            Some(_) => Err(wrong()),
        }
    }
}

impl fmt::Display for CodecName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.encoding)?;
        if let Some(rate) = self.clock_rate {
            write!(f, "/{rate}")?;
        }
        self.channels.map_or(Ok(()), |channels| write!(f, "/{channels}"))
    }
}

impl Serialize for CodecName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CodecName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A DNS server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnsServer(pub SocketAddr);

impl FromStr for DnsServer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let with_port = text.parse::<SocketAddr>();
        let address = with_port.or_else(|_| text.parse().map(|ip: IpAddr| (ip, 53).into()));
        address.map(Self).map_err(|_| {
            format!("`{text}` is no address of a DNS server: \"192.0.2.53\" or \"[::1]:5353\"")
        })
    }
}

impl fmt::Display for DnsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.port() == 53 { write!(f, "{}", self.0.ip()) } else { write!(f, "{}", self.0) }
    }
}

impl Serialize for DnsServer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DnsServer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_ours_comes_before_its_family() {
        let list: Vec<Advertised> = ["203.0.113.1", "10.0.0.5=203.0.113.2", "2001:db8::1"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let of = |ours: &str| Advertised::of(&list, ours.parse().unwrap()).unwrap().to_string();
        assert_eq!(of("10.0.0.5"), "203.0.113.2");
        assert_eq!(of("10.0.0.6"), "203.0.113.1");
        assert_eq!(of("::1"), "2001:db8::1");
        assert_eq!(Advertised::of(&list[..2], "::1".parse().unwrap()), None);
        assert_eq!(list[1].to_string(), "10.0.0.5=203.0.113.2");
    }

    #[test]
    fn codecs_have_a_name_and_perhaps_a_rate() {
        for text in ["PCMA", "opus/48000/2", "L16/44100", "telephone-event"] {
            assert_eq!(text.parse::<CodecName>().unwrap().to_string(), text);
        }
        for text in ["", "/8000", "PCM A", "PCMA/fast", "a/1/2/3"] {
            assert!(text.parse::<CodecName>().unwrap_err().contains("no codec"), "{text}");
        }
        let map = RtpMap { payload_type: 8, encoding: "PCMA", clock_rate: 8_000, channels: 1 };
        let is = |text: &str| text.parse::<CodecName>().unwrap().is(&map);
        assert!(is("pcma") && is("PCMA/8000") && is("PCMA/8000/1"));
        assert!(!is("PCMU") && !is("PCMA/16000") && !is("PCMA/8000/2"));
    }

    #[test]
    fn dns_servers_have_a_port_or_the_usual_one() {
        for (text, address) in [
            ("192.0.2.53", "192.0.2.53:53"),
            ("192.0.2.53:5353", "192.0.2.53:5353"),
            ("2001:db8::53", "[2001:db8::53]:53"),
            ("[2001:db8::53]:5353", "[2001:db8::53]:5353"),
        ] {
            let server: DnsServer = text.parse().unwrap();
            assert_eq!(server.0, address.parse().unwrap());
            assert_eq!(server.to_string(), text);
        }
        assert!("ns.example.com".parse::<DnsServer>().unwrap_err().contains("`ns.example.com`"));
    }

    #[test]
    fn nonsense_is_named() {
        assert!("x".parse::<Advertised>().unwrap_err().contains("`x`"));
        assert!("::1=1.2.3.4".parse::<Advertised>().unwrap_err().contains("mixes"));
    }
}
