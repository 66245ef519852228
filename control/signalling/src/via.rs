//! Via (RFC 3261 §20.42, RFC 3581).

use core::net::{IpAddr, SocketAddr};

use crate::error::Malformed;
use crate::stack::Transport;
use crate::text::{self, Params, trim};
use crate::uri::{Host, split_host_port};

/// The prefix of a branch made by who keeps to RFC 3261 (§8.1.1.7).
pub const MAGIC_COOKIE: &str = "z9hG4bK";

/// One value of Via.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    transport: &'a str,
    sent_by: &'a str,
    host: Host<'a>,
    port: Option<u16>,
    params: Params<'a>,
}

impl<'a> Via<'a> {
    /// Reads `SIP/2.0/TRANSPORT host:port;params`; white space around the slashes and the colon is
    /// allowed.
    ///
    /// # Errors
    /// Malformed when a part is missing or the port does not fit.
    pub fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        let value = trim(value);
        let (name, rest) = until(value, b'/')?;
        let (version, rest) = until(rest, b'/')?;
        let rest = text::trim_start(rest);
        let end = rest.iter().position(|it| text::is_space(*it)).ok_or(Malformed::Via)?;
        let (transport, rest) = rest.split_at(end);
        // The version is not looked at, so that a request of another one gets its 505.
        if !name.eq_ignore_ascii_case(b"SIP")
            || !text::is_token(version)
            || !text::is_token(transport)
        {
            return Err(Malformed::Via);
        }
        let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
        let (sent_by, params) = rest.split_at(end);
        let params = Params::parse(params).map_err(|_| Malformed::Via)?;
        let ttl = params.get_bytes("ttl").map(text::number);
        if ttl.is_some_and(|it| it.is_none_or(|it| it > 255)) {
            return Err(Malformed::Via);
        }
        let sent_by = text::utf8(trim(sent_by)).ok_or(Malformed::Via)?;
        let (host, port) = split_host_port(sent_by).map_err(|_| Malformed::Via)?;
        let transport = text::utf8(transport).ok_or(Malformed::Via)?;
        Ok(Self { transport, sent_by, host, port, params })
    }

    /// As [`Self::parse`], but parameters that are broken are left out: enough to send an answer.
    ///
    /// # Errors
    /// Malformed when transport or sent-by cannot be read.
    pub fn parse_for_answer(value: &'a [u8]) -> Result<Self, Malformed> {
        Self::parse(value).or_else(|error| {
            let end = memchr::memchr(b';', value).ok_or(error)?;
            Self::parse(&value[..end])
        })
    }

    /// The transport, as in `UDP`.
    #[must_use]
    pub const fn transport(&self) -> &'a str {
        self.transport
    }

    /// Host and port as they were sent.
    #[must_use]
    pub const fn sent_by(&self) -> &'a str {
        self.sent_by
    }

    /// The host of sent-by.
    #[must_use]
    pub const fn host(&self) -> Host<'a> {
        self.host
    }

    /// The port of sent-by, when it has one.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// The port of sent-by, or the default one of its transport (RFC 3261 §18.2.2).
    #[must_use]
    pub fn port_or_default(&self) -> u16 {
        self.port.unwrap_or_else(|| match Transport::from_name(self.transport) {
            Some(transport) => transport.default_port(),
            None if self.is_transport("TLS-SCTP") => 5061,
            None => 5060,
        })
    }

    /// All parameters.
    #[must_use]
    pub const fn params(&self) -> Params<'a> {
        self.params
    }

    /// The branch.
    #[must_use]
    pub fn branch(&self) -> Option<&'a str> {
        self.params.get("branch").filter(|it| !it.is_empty())
    }

    /// The branch, when it begins with [`MAGIC_COOKIE`] and has something after it: only then does
    /// it identify a transaction by itself (RFC 3261 §17.2.3).
    #[must_use]
    pub fn unique_branch(&self) -> Option<&'a str> {
        let cookie = MAGIC_COOKIE.as_bytes();
        self.branch().filter(|it| {
            it.len() > cookie.len() && it.as_bytes()[..cookie.len()].eq_ignore_ascii_case(cookie)
        })
    }

    /// The address from which the request came, as its receiver wrote it.
    #[must_use]
    pub fn received(&self) -> Option<IpAddr> {
        let text = self.params.get("received")?;
        text.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// Whether `rport` is there (`Some`), and its value once the receiver has filled it in.
    #[must_use]
    pub fn rport(&self) -> Option<Option<u16>> {
        let value = self.params.get_bytes("rport")?;
        Some(text::number(value).and_then(|it| u16::try_from(it).ok()))
    }

    /// The multicast or forced address.
    #[must_use]
    pub fn maddr(&self) -> Option<&'a str> {
        self.params.get("maddr").filter(|it| !it.is_empty())
    }

    /// The time to live of a multicast.
    #[must_use]
    pub fn ttl(&self) -> Option<u8> {
        self.params.get_bytes("ttl").and_then(text::number).and_then(|it| u8::try_from(it).ok())
    }

    /// Whether the transport is this one, in any case.
    #[must_use]
    pub fn is_transport(&self, name: &str) -> bool {
        self.transport.eq_ignore_ascii_case(name)
    }

    /// Where a response goes that cannot use the connection of its request (RFC 3261 §18.2.2,
    /// RFC 3581 §4): `maddr` is for the caller to look at first; `None` when sent-by is a name that
    /// has to be resolved.
    #[must_use]
    pub fn response_address(&self) -> Option<SocketAddr> {
        let ip = self.received().or(match self.host {
            Host::Name(_) => None,
            Host::Ip(ip) => Some(ip),
        })?;
        let port = self.rport().flatten().unwrap_or_else(|| self.port_or_default());
        Some(SocketAddr::new(ip, port))
    }
}

fn until(octets: &[u8], separator: u8) -> Result<(&[u8], &[u8]), Malformed> {
    let at = memchr::memchr(separator, octets).ok_or(Malformed::Via)?;
    Ok((trim(&octets[..at]), &octets[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts() {
        let via = Via::parse(
            b"SIP / 2.0 / UDP  first.example.com : 4000;ttl=16 ;maddr=224.2.0.1 ;branch=z9hG4bKa7c6a8dlze.1;rport",
        )
        .unwrap();
        assert_eq!(via.transport(), "UDP");
        assert_eq!(via.host(), Host::Name("first.example.com"));
        assert_eq!(via.port(), Some(4000));
        assert_eq!(via.ttl(), Some(16));
        assert_eq!(via.maddr(), Some("224.2.0.1"));
        assert_eq!(via.branch(), Some("z9hG4bKa7c6a8dlze.1"));
        assert_eq!(via.rport(), Some(None));
        assert_eq!(via.response_address(), None);
    }

    #[test]
    fn a_response_goes_where_received_and_rport_say() {
        let via = Via::parse(
            b"SIP/2.0/UDP 10.1.1.1:4540;received=192.0.2.1;rport=9988;branch=z9hG4bKkjshdyff",
        )
        .unwrap();
        assert_eq!(via.response_address(), Some("192.0.2.1:9988".parse().unwrap()));
        let via = Via::parse(b"SIP/2.0/TLS [2001:db8::1];branch=z9hG4bKx").unwrap();
        assert_eq!(via.response_address(), Some("[2001:db8::1]:5061".parse().unwrap()));
        let via = Via::parse(b"SIP/2.0/UDP h;received=[2001:db8::2]").unwrap();
        assert_eq!(via.response_address(), Some("[2001:db8::2]:5060".parse().unwrap()));
    }

    #[test]
    fn a_bare_cookie_is_not_unique() {
        let via = Via::parse(b"SIP/2.0/UDP h;branch=z9hG4bK").unwrap();
        assert_eq!((via.branch(), via.unique_branch()), (Some("z9hG4bK"), None));
    }

    #[test]
    fn broken_parameters_do_not_keep_an_answer_back() {
        let via = Via::parse_for_answer(b"SIP/2.0/UDP 192.0.2.15;;").unwrap();
        assert_eq!((via.sent_by(), via.branch()), ("192.0.2.15", None));
        let via = Via::parse_for_answer(b"SIP/2.0/UDP h;branch=z1").unwrap();
        assert_eq!(via.branch(), Some("z1"));
        assert!(Via::parse_for_answer(b"SIP/2.0;x").is_err());
    }

    #[test]
    fn broken_values_are_refused() {
        for bad in [
            &b""[..],
            b"SIP/2.0/UDP",
            b"SIP/2.0 192.0.2.1",
            b"SIP/2.0/UDP 192.0.2.15;;,;,,",
            b"SIP/2.0/UDP host:99999",
            b"SIP/2.0/UDP host5;ttl=256",
            b"SIP/2.0/U P host",
            b"SIP/2.0/UDP ;branch=1",
        ] {
            assert_eq!(Via::parse(bad), Err(Malformed::Via), "{}", bad.escape_ascii());
        }
    }
}
