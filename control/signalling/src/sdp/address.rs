//! Addresses: `o=` (RFC 8866 §5.2), `c=` (§5.7) and `a=rtcp` (RFC 3605).

use super::{SdpError, Section, SessionDescription};
use core::fmt;
use core::net::IpAddr;

/// A host as SDP writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// An address.
    Ip(IpAddr),
    /// A domain name.
    Name(&'a str),
}

impl Host<'_> {
    /// The address, `None` for a name.
    #[must_use]
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(*ip),
            Self::Name(_) => None,
        }
    }
}

/// A connection: `IN IP4 192.0.2.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection<'a> {
    /// Whether the address type is IP6.
    pub ipv6: bool,
    /// The host; of a multicast address without TTL and count.
    pub host: Host<'a>,
}

impl Connection<'_> {
    /// Whether nothing is to be sent there: `0.0.0.0` (RFC 3264 §8.4), its twin in IPv6, or a name
    /// below `.invalid` (RFC 6157 §5.1).
    #[must_use]
    pub fn is_hold(&self) -> bool {
        match self.host {
            Host::Ip(ip) => ip.is_unspecified(),
            Host::Name(name) => name.to_ascii_lowercase().ends_with(".invalid"),
        }
    }
}

/// An origin: `jdoe 3724394400 3724394405 IN IP4 198.51.100.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// User name, `-` for none.
    pub username: &'a str,
    /// Session id, digits.
    pub session_id: &'a str,
    /// Session version, digits.
    pub version: &'a str,
    /// The host that made it.
    pub host: Host<'a>,
}

/// `a=rtcp` (RFC 3605 §2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtcpAddress {
    /// RTCP port.
    pub port: u16,
    /// Address if it differs from that of RTP.
    pub ip: Option<IpAddr>,
}

/// `IP4` or `IP6` with the address.
struct Typed(IpAddr);

impl fmt::Display for Typed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IN IP{} {}", if self.0.is_ipv4() { 4 } else { 6 }, self.0)
    }
}

impl SessionDescription {
    /// The `o=` line.
    ///
    /// # Errors
    /// [`SdpError::Origin`] if it is missing or malformed.
    pub fn origin(&self) -> Result<Origin<'_>, SdpError> {
        let parse = || {
            let text = core::str::from_utf8(self.value(Section::Session, b'o')?).ok()?;
            let mut fields = text.split_ascii_whitespace();
            let [username, session_id, version] = [fields.next()?, fields.next()?, fields.next()?];
            let (_, host) = parse_typed(&mut fields)?;
            Some(Origin { username, session_id, version, host })
        };
        parse().ok_or(SdpError::Origin)
    }

    /// Replaces session id, version and address of the `o=` line; the user name stays.
    pub fn set_origin(&mut self, session_id: u64, version: u64, ip: IpAddr) {
        let username = match self.origin() {
            Ok(origin) => origin.username.to_owned(),
            Err(_) => "-".to_owned(),
        };
        let text = format!("{username} {session_id} {version} {}", Typed(ip));
        self.set_value(Section::Session, b'o', text);
    }

    /// The first `c=` line of just this section.
    ///
    /// # Errors
    /// [`SdpError::Connection`] if it is malformed.
    pub fn connection(&self, section: Section) -> Result<Option<Connection<'_>>, SdpError> {
        let Some(value) = self.value(section, b'c') else { return Ok(None) };
        let parse = || {
            let mut fields = core::str::from_utf8(value).ok()?.split_ascii_whitespace();
            let (ipv6, host) = parse_typed(&mut fields)?;
            Some(Connection { ipv6, host })
        };
        let line = || SdpError::Connection { line: self.line_number(section, b'c') };
        parse().map(Some).ok_or_else(line)
    }

    /// The connection that holds for a media line: its own, else the session's.
    ///
    /// # Errors
    /// [`SdpError::Connection`] if it is malformed, [`SdpError::NoConnection`] if there is none.
    pub fn media_connection(&self, media: usize) -> Result<Connection<'_>, SdpError> {
        match self.connection(Section::Media(media))? {
            Some(connection) => Ok(connection),
            None => self
                .connection(Section::Session)?
                .ok_or(SdpError::NoConnection { media: media + 1 }),
        }
    }

    /// Writes the `c=` line of a section (one only: several belong to multicast).
    pub fn set_connection(&mut self, section: Section, ip: IpAddr) {
        self.set_value(section, b'c', Typed(ip).to_string());
    }

    /// `a=rtcp` of a media line; `None` if it is missing or unreadable.
    #[must_use]
    pub fn rtcp(&self, media: usize) -> Option<RtcpAddress> {
        let value = self.attribute(Section::Media(media), "rtcp")?;
        let mut fields = core::str::from_utf8(value).ok()?.split_ascii_whitespace();
        let port = fields.next()?.parse().ok()?;
        let ip = parse_typed(&mut fields).and_then(|(_, host)| host.ip());
        Some(RtcpAddress { port, ip })
    }

    /// Writes `a=rtcp` of a media line.
    pub fn set_rtcp(&mut self, media: usize, rtcp: RtcpAddress) {
        let text = match rtcp.ip {
            Some(ip) => format!("{} {}", rtcp.port, Typed(ip)),
            None => rtcp.port.to_string(),
        };
        self.set_attribute(Section::Media(media), "rtcp", &text);
    }
}

/// Reads `IN IP4 host`, with or without the TTL and count of multicast.
fn parse_typed<'a>(fields: &mut impl Iterator<Item = &'a str>) -> Option<(bool, Host<'a>)> {
    if !fields.next()?.eq_ignore_ascii_case("IN") {
        return None;
    }
    let kind = fields.next()?;
    let ipv6 = kind.eq_ignore_ascii_case("IP6");
    if !ipv6 && !kind.eq_ignore_ascii_case("IP4") {
        return None;
    }
    let text = fields.next()?;
    let text = text.split('/').next().unwrap_or(text);
    match text.parse::<IpAddr>() {
        Ok(ip) if ip.is_ipv6() == ipv6 => Some((ipv6, Host::Ip(ip))),
        Ok(_) => None,
        Err(_) if is_name(text) => Some((ipv6, Host::Name(text))),
        Err(_) => None,
    }
}

fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    // A name that ends in a digit is a broken address (RFC 1123 §2.1).
    text.bytes().all(allowed) && text.bytes().last().is_some_and(|b| b.is_ascii_alphabetic())
}
