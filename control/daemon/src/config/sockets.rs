//! Where SIP listens, and with which certificates.

use super::settings::{Config, Sip};
use super::types::SipTransport;
use crate::net::{NetOptions, Tls, TlsError, TlsFiles};
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tandem_signalling::stack::Transport;

/// An address to listen on whose port may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAt<const PORT: u16>(pub SocketAddr);

impl<const PORT: u16> FromStr for ListenAt<PORT> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.trim();
        let inner = bare.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(bare);
        if let Ok(ip) = inner.parse::<IpAddr>() {
            return Ok(Self(SocketAddr::new(ip, PORT)));
        }
        bare.parse().map(Self).map_err(|_| {
            format!("`{bare}` is not an address: use \"192.0.2.1\" (port {PORT}), \"192.0.2.1:{PORT}\" or \"[2001:db8::1]:{PORT}\"")
        })
    }
}

impl<const PORT: u16> fmt::Display for ListenAt<PORT> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl<const PORT: u16> Serialize for ListenAt<PORT> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const PORT: u16> Deserialize<'de> for ListenAt<PORT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Sip {
    /// Every address that SIP listens on, with its transport and the key that names it.
    #[must_use]
    pub fn sockets(&self) -> Vec<(Transport, SocketAddr, &'static str)> {
        let mut all = Vec::new();
        for (kind, transport) in
            [(SipTransport::Udp, Transport::Udp), (SipTransport::Tcp, Transport::Tcp)]
        {
            if self.transports.contains(&kind) {
                all.extend(self.listen.iter().map(|at| (transport, *at, "sip.listen")));
            }
        }
        all.extend(self.tls_listen.iter().map(|at| (Transport::Tls, at.0, "sip.tls_listen")));
        all.extend(self.ws_listen.iter().map(|at| (Transport::Ws, at.0, "sip.ws_listen")));
        all.extend(self.wss_listen.iter().map(|at| (Transport::Wss, at.0, "sip.wss_listen")));
        all
    }

    /// The files of certificates and keys.
    #[must_use]
    pub fn tls_files(&self) -> TlsFiles {
        let file = |name: &str| (!name.is_empty()).then(|| PathBuf::from(name));
        TlsFiles {
            certificate: file(&self.tls_certificate),
            key: file(&self.tls_key),
            client_ca: file(&self.tls_client_ca),
            client_required: self.tls_client_required,
            ca: file(&self.tls_ca),
            verify: self.tls_verify,
        }
    }

    /// What the sockets are opened with; reads the certificates.
    ///
    /// # Errors
    /// [`TlsError`] when a file cannot be used.
    pub fn net_options(&self) -> Result<NetOptions, TlsError> {
        Ok(NetOptions {
            listen: self.sockets().into_iter().map(|(kind, at, _)| (kind, at)).collect(),
            tls: Some(Arc::new(Tls::load(self.tls_files())?)),
            idle: Duration::from_secs(self.connection_idle_s.into()),
            ping: (self.ws_ping_s > 0).then(|| Duration::from_secs(self.ws_ping_s.into())),
            max_connections: usize::try_from(self.max_connections).unwrap_or(usize::MAX),
        })
    }
}

/// What makes no sense.
pub(super) fn check(config: &Config) -> Vec<(&'static str, String)> {
    let sip = &config.sip;
    let mut findings = Vec::new();
    let mut seen = HashSet::new();
    for (transport, address, key) in sip.sockets() {
        // Streams share the ports of the machine; datagrams have their own.
        if address.port() != 0 && !seen.insert((transport == Transport::Udp, address)) {
            findings.push((key, format!("{address} is there twice")));
        }
    }
    let files = sip.tls_files();
    let secure = match (sip.tls_listen.is_empty(), sip.wss_listen.is_empty()) {
        (false, _) => Some("sip.tls_listen"),
        (_, false) => Some("sip.wss_listen"),
        _ => None,
    };
    match (&files.certificate, &files.key, secure) {
        (None, None, Some(key)) => findings.push((
            key,
            "needs a certificate: set sip.tls_certificate and sip.tls_key to PEM files".into(),
        )),
        (Some(_), None, _) => findings.push(("sip.tls_key", "needed for the certificate".into())),
        (None, Some(_), _) => {
            findings.push(("sip.tls_certificate", "needed for the key of sip.tls_key".into()));
        }
        _ => {}
    }
    if files.client_ca.is_some() && sip.tls_listen.is_empty() {
        let sentence = "has no effect without sip.tls_listen".into();
        findings.push(("sip.tls_client_ca", sentence));
    }
    if !matches!(sip.udp_limit, 0 | 500..=65_000) {
        let sentence = format!("{} is out of range: 0, or 500 to 65000", sip.udp_limit);
        findings.push(("sip.udp_limit", sentence));
    }
    if sip.ws_ping_s > 3_600 {
        findings.push(("sip.ws_ping_s", format!("{} is out of range: 0 to 3600", sip.ws_ping_s)));
    }
    if !matches!(config.registrar.flow_timer_s, 0 | 10..=3_600) {
        let sentence =
            format!("{} is out of range: 0, or 10 to 3600", config.registrar.flow_timer_s);
        findings.push(("registrar.flow_timer_s", sentence));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_left_out_is_the_usual_one() {
        let at = |text: &str| text.parse::<ListenAt<5061>>().map(|it| it.to_string());
        assert_eq!(at("192.0.2.1").as_deref(), Ok("192.0.2.1:5061"));
        assert_eq!(at("192.0.2.1:5062").as_deref(), Ok("192.0.2.1:5062"));
        assert_eq!(at("2001:db8::1").as_deref(), Ok("[2001:db8::1]:5061"));
        assert_eq!(at("[2001:db8::1]").as_deref(), Ok("[2001:db8::1]:5061"));
        assert!(at("sip.example.com").unwrap_err().contains("`sip.example.com`"));
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        let said = |text: &str| {
            let found = Config::parse(&format!("[sip]\n{text}\n"));
            found.map_or_else(|problems| format!("{problems:?}"), |_| String::new())
        };
        assert!(
            said("tls_listen = [\"127.0.0.1\"]").contains("sip.tls_certificate and sip.tls_key")
        );
        assert!(said("tls_certificate = \"c.pem\"").contains("tls_key"));
        assert!(said("ws_listen = [\"127.0.0.1:5060\"]").contains("there twice"));
        assert_eq!(
            said(
                "listen = [\"127.0.0.1:8088\"]\ntransports = [\"udp\"]\nws_listen = [\"127.0.0.1\"]"
            ),
            ""
        );
        let both = "tls_certificate = \"c\"\ntls_key = \"k\"\nwss_listen = [\"[::1]:0\", \"::1\"]";
        assert_eq!(said(both), "");
        let sip = Config::parse(&format!("[sip]\n{both}\n")).unwrap().sip;
        assert_eq!(
            sip.sockets()[3],
            (Transport::Wss, "[::1]:8443".parse().unwrap(), "sip.wss_listen")
        );
    }
}
