//! SIP, SIPS and tel URIs (RFC 3261 §19.1, RFC 3966), borrowed from the message they are in.

mod build;
mod compare;
mod escape;

use core::fmt;
use core::net::{IpAddr, Ipv6Addr};
use std::borrow::Cow;
use std::hash::{Hash, Hasher};

use crate::error::Malformed;
use crate::limits::MAX_URI_PAIRS;
use crate::text;
use escape::{eq_unescaped, escaped_end, is_escaped_text, part};

pub use build::UriBuilder;
pub use escape::{escape_header_into, escape_user_into, unescape};

/// The scheme of a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:`
    Tel,
    /// Any other; [`Uri::as_str`] has its text.
    Other,
}

/// A host: a name, or an address (an IPv6 reference without its brackets).
#[derive(Clone, Copy, Debug, Eq)]
pub enum Host<'a> {
    /// A domain name, as it was sent.
    Name(&'a str),
    /// An address literal.
    Ip(IpAddr),
}

impl PartialEq for Host<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(a), Self::Name(b)) => a.eq_ignore_ascii_case(b),
            (Self::Ip(a), Self::Ip(b)) => a == b,
            _ => false,
        }
    }
}

impl Hash for Host<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Name(name) => name.bytes().for_each(|it| state.write_u8(it.to_ascii_lowercase())),
            Self::Ip(ip) => ip.hash(state),
        }
    }
}

impl Host<'_> {
    /// The address, when it is a literal.
    #[must_use]
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Name(_) => None,
            Self::Ip(ip) => Some(*ip),
        }
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

/// Reads `host[:port]` (RFC 3261 §25.1); white space around the colon is allowed.
///
/// # Errors
/// Malformed when the host is neither a name nor an address or the port does not fit.
pub(crate) fn split_host_port(text: &str) -> Result<(Host<'_>, Option<u16>), Malformed> {
    let (host, rest) = if let Some(inner) = text.strip_prefix('[') {
        let (inside, rest) = inner.split_once(']').ok_or(Malformed::Uri)?;
        let ip: Ipv6Addr = inside.parse().map_err(|_| Malformed::Uri)?;
        (Host::Ip(IpAddr::V6(ip)), rest)
    } else {
        let end = memchr::memchr(b':', text.as_bytes()).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        (host_name(name.trim_end_matches([' ', '\t']))?, rest)
    };
    let rest = rest.trim_matches([' ', '\t']);
    if rest.is_empty() {
        return Ok((host, None));
    }
    let digits = rest.strip_prefix(':').ok_or(Malformed::Uri)?;
    let port = text::number(text::trim(digits.as_bytes())).and_then(|it| u16::try_from(it).ok());
    Ok((host, Some(port.filter(|it| *it != 0).ok_or(Malformed::Uri)?)))
}

fn host_name(name: &str) -> Result<Host<'_>, Malformed> {
    if name.is_empty() || name.bytes().any(|it| part::OF[usize::from(it)] & part::HOST == 0) {
        return Err(Malformed::Uri);
    }
    // Only what ends in a digit can be an address, which is cheaper to see than to try.
    if !name.ends_with(|it: char| it.is_ascii_digit()) {
        return Ok(Host::Name(name));
    }
    match name.parse() {
        Ok(ip) => Ok(Host::Ip(IpAddr::V4(ip))),
        Err(_) => Ok(Host::Name(name)),
    }
}

/// A URI that was checked and is read in place.
///
/// `==` is the comparison of RFC 3261 §19.1.4, not of the text.
#[derive(Clone, Copy)]
pub struct Uri<'a> {
    raw: &'a str,
    scheme: Scheme,
    user: Option<&'a str>,
    password: Option<&'a str>,
    host: Host<'a>,
    port: Option<u16>,
    params: &'a str,
    headers: &'a str,
}

impl<'a> Uri<'a> {
    /// Reads a URI without angle brackets.
    ///
    /// # Errors
    /// Malformed when it does not keep to the grammar of its scheme; of schemes other than `sip`,
    /// `sips` and `tel` only the octets are looked at.
    pub fn parse(raw: &'a str) -> Result<Self, Malformed> {
        let colon = memchr::memchr(b':', raw.as_bytes()).ok_or(Malformed::Uri)?;
        let (scheme, rest) = (&raw[..colon], &raw[colon + 1..]);
        if scheme.eq_ignore_ascii_case("sip") {
            Self::parse_sip(raw, Scheme::Sip, rest)
        } else if scheme.eq_ignore_ascii_case("sips") {
            Self::parse_sip(raw, Scheme::Sips, rest)
        } else if scheme.eq_ignore_ascii_case("tel") {
            Self::parse_tel(raw, rest)
        } else {
            Self::parse_other(raw, scheme, rest)
        }
    }

    /// As [`Self::parse`], from octets that have to be ASCII.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_bytes(raw: &'a [u8]) -> Result<Self, Malformed> {
        Self::parse(text::utf8(raw).ok_or(Malformed::Uri)?)
    }

    fn parse_other(raw: &'a str, scheme: &str, rest: &str) -> Result<Self, Malformed> {
        let good = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'+' | b'-' | b'.');
        let bad = |it: u8| it <= b' ' || it >= 127 || matches!(it, b'<' | b'>' | b'"');
        let is_scheme =
            scheme.starts_with(|it: char| it.is_ascii_alphabetic()) && scheme.bytes().all(good);
        if !is_scheme || rest.is_empty() || rest.bytes().any(bad) {
            return Err(Malformed::Uri);
        }
        Ok(Self::opaque(raw, Scheme::Other, None, ""))
    }

    fn opaque(raw: &'a str, scheme: Scheme, user: Option<&'a str>, params: &'a str) -> Self {
        let host = Host::Name("");
        Self { raw, scheme, user, password: None, host, port: None, params, headers: "" }
    }

    fn parse_sip(raw: &'a str, scheme: Scheme, rest: &'a str) -> Result<Self, Malformed> {
        // An at sign is in no other part, so the first one ends the user, whatever that holds.
        let (userinfo, rest) = match split_at_octet(rest, b'@') {
            Some((userinfo, rest)) => (Some(userinfo), rest),
            None => (None, rest),
        };
        let (user, password) = match userinfo {
            None => (None, None),
            Some(it) => match split_at_octet(it, b':') {
                Some((user, password)) => (Some(user), Some(password)),
                None => (Some(it), None),
            },
        };
        if user.is_some_and(|it| it.is_empty() || !is_escaped_text(it, part::USER)) {
            return Err(Malformed::Uri);
        }
        if password.is_some_and(|it| !is_escaped_text(it, part::PASSWORD)) {
            return Err(Malformed::Uri);
        }
        let (rest, headers) = split_at_octet(rest, b'?').unwrap_or((rest, ""));
        let params_at = memchr::memchr(b';', rest.as_bytes()).unwrap_or(rest.len());
        let (host_port, params) = rest.split_at(params_at);
        if host_port.bytes().any(text::is_space) {
            return Err(Malformed::Uri);
        }
        let (host, port) = split_host_port(host_port)?;
        check_params(params)?;
        check_pairs(headers, b'&', part::HEADER, false)?;
        Ok(Self { raw, scheme, user, password, host, port, params, headers })
    }

    fn parse_tel(raw: &'a str, rest: &'a str) -> Result<Self, Malformed> {
        let params_at = rest.find(';').unwrap_or(rest.len());
        let (number, params) = rest.split_at(params_at);
        let digits = number.strip_prefix('+').unwrap_or(number);
        let good = |it: u8| {
            it.is_ascii_hexdigit() || matches!(it, b'*' | b'#' | b'-' | b'.' | b'(' | b')')
        };
        if digits.is_empty() || !digits.bytes().all(good) {
            return Err(Malformed::Uri);
        }
        check_params(params)?;
        Ok(Self::opaque(raw, Scheme::Tel, Some(number), params))
    }

    /// The text as it was sent.
    #[must_use]
    pub const fn as_str(&self) -> &'a str {
        self.raw
    }

    /// The scheme.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether it is a `sip` or `sips` URI.
    #[must_use]
    pub const fn is_sip(&self) -> bool {
        matches!(self.scheme, Scheme::Sip | Scheme::Sips)
    }

    /// The user with its escapes, as it was sent; of a `tel` URI the number.
    #[must_use]
    pub const fn user(&self) -> Option<&'a str> {
        self.user
    }

    /// The user with its escapes resolved; octets that are not UTF-8 become U+FFFD.
    #[must_use]
    pub fn user_decoded(&self) -> Option<Cow<'a, str>> {
        self.user.map(|it| match unescape(it) {
            Cow::Borrowed(octets) => String::from_utf8_lossy(octets),
            Cow::Owned(octets) => Cow::Owned(String::from_utf8_lossy(&octets).into_owned()),
        })
    }

    /// The password, which nobody should put there (RFC 3261 §19.1.1).
    #[must_use]
    pub const fn password(&self) -> Option<&'a str> {
        self.password
    }

    /// The host; an empty name for schemes that have none.
    #[must_use]
    pub const fn host(&self) -> Host<'a> {
        self.host
    }

    /// The port, when it has one.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// The port, or 5061 for `sips` and 5060 for `sip`.
    #[must_use]
    pub fn port_or_default(&self) -> u16 {
        self.port.unwrap_or(if self.scheme == Scheme::Sips { 5061 } else { 5060 })
    }

    /// The parameters in order; `None` for a flag.
    pub fn params(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> + use<'a> {
        pairs(self.params.strip_prefix(';').unwrap_or(self.params), ';')
    }

    /// The value of a parameter, empty for a flag; names are compared without escapes and case.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params()
            .find(|(it, _)| eq_unescaped(it, name, true))
            .map(|(_, value)| value.unwrap_or(""))
    }

    /// Whether a route through this URI is loose (RFC 3261 §16.12).
    #[must_use]
    pub fn is_loose(&self) -> bool {
        self.param("lr").is_some()
    }

    /// The headers in order, with their escapes.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> + use<'a> {
        pairs(self.headers, '&')
    }

    /// The headers as they were sent, without the question mark; empty when there are none.
    #[must_use]
    pub const fn headers_str(&self) -> &'a str {
        self.headers
    }

    /// The URI without its headers and without the parameter `method`: what may become a Request-URI
    /// (RFC 3261 §19.1.1, table 1).
    #[must_use]
    pub fn as_request_uri(&self) -> Cow<'a, str> {
        // The user may hold question marks too; the headers are what the text ends with.
        let cut = if self.headers.is_empty() { 0 } else { self.headers.len() + 1 };
        let raw = &self.raw[..self.raw.len() - cut];
        if !self.is_sip() || self.param("method").is_none() {
            return Cow::Borrowed(raw);
        }
        let mut out = raw[..raw.len() - self.params.len()].to_owned();
        for (name, value) in self.params().filter(|(name, _)| !eq_unescaped(name, "method", true)) {
            out.push(';');
            out.push_str(name);
            if let Some(value) = value {
                out.push('=');
                out.push_str(value);
            }
        }
        Cow::Owned(out)
    }

    /// `scheme:user@host:port` without password, parameters and headers: the address of record
    /// (RFC 3261 §10.3), scheme and host in lower case, unneeded escapes of the user resolved.
    #[must_use]
    pub fn address_of_record(&self) -> String {
        match self.scheme {
            Scheme::Tel => format!("tel:{}", self.user.unwrap_or("")),
            Scheme::Other => self.raw.to_owned(),
            Scheme::Sip | Scheme::Sips => {
                let mut builder =
                    UriBuilder::new(self.scheme, self.user_decoded().as_deref(), self.host);
                if let Some(port) = self.port {
                    builder = builder.port(port);
                }
                builder.finish()
            }
        }
    }
}

impl fmt::Display for Uri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.raw)
    }
}

impl fmt::Debug for Uri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Numbers and addresses of persons stay out of logs; `Display` writes them when asked to.
        write!(f, "Uri({:?} at {:?})", self.scheme, self.host)
    }
}

fn pairs(text: &str, separator: char) -> impl Iterator<Item = (&str, Option<&str>)> {
    let parts = (!text.is_empty()).then(|| text.split(separator));
    parts.into_iter().flatten().map(|it| match it.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (it, None),
    })
}

/// Checks what is empty or begins with a semicolon.
fn check_params(text: &str) -> Result<(), Malformed> {
    match text.strip_prefix(';') {
        Some("") => Err(Malformed::Uri),
        Some(pairs) => check_pairs(pairs, b';', part::PARAM, true),
        None => Ok(()),
    }
}

fn check_pairs(text: &str, separator: u8, part: u8, flags: bool) -> Result<(), Malformed> {
    let octets = text.as_bytes();
    let mut at = 0;
    for _ in 0..MAX_URI_PAIRS {
        if octets.is_empty() {
            return Ok(());
        }
        let name_end = escaped_end(octets, at, part);
        let mut end = name_end;
        if octets.get(name_end) == Some(&b'=') {
            end = escaped_end(octets, name_end + 1, part);
        } else if !flags {
            return Err(Malformed::Uri);
        }
        if name_end == at {
            return Err(Malformed::Uri);
        }
        match octets.get(end) {
            None => return Ok(()),
            Some(it) if *it == separator => at = end + 1,
            Some(_) => return Err(Malformed::Uri),
        }
    }
    Err(Malformed::Uri)
}

fn split_at_octet(text: &str, octet: u8) -> Option<(&str, &str)> {
    let at = memchr::memchr(octet, text.as_bytes())?;
    Some((&text[..at], &text[at + 1..]))
}

#[cfg(test)]
mod tests;
