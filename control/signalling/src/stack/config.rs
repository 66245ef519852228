//! What a stack is told at its start: timing, limits, and how it names itself.

use super::types::{Flow, Transport};
use crate::uri::Host;
use core::net::SocketAddr;
use core::time::Duration;

/// Largest request that goes over UDP when the MTU of the path is not known, octets (RFC 3261
/// §18.1.1).
pub const UDP_LIMIT: usize = 1_300;

/// Settings of one [`Stack`](super::Stack).
#[derive(Clone, Debug)]
pub struct StackConfig {
    /// Number of the signalling thread, encoded in every Call-ID, tag and branch it generates.
    pub shard: u16,
    /// Timer values.
    pub timing: Timing,
    /// Limits.
    pub limits: Limits,
    /// Names under which local addresses are known outside (1:1 NAT, DNS names). A local address
    /// that is not listed goes by itself.
    pub advertised: Vec<Advertised>,
    /// Value of User-Agent in requests and Server in responses; none when empty.
    pub product: String,
    /// Requests over UDP above this size, octets, go over TCP (RFC 3261 §18.1.1); 0 for never.
    pub udp_limit: usize,
    /// Our TCP addresses, for such requests.
    pub tcp: Vec<SocketAddr>,
    /// Whether we prove by a certificate who we are when we connect over TLS, so that the peer may
    /// use the connection too (RFC 5923 §8.1).
    pub has_certificate: bool,
}

impl Default for StackConfig {
    fn default() -> Self {
        Self {
            shard: 0,
            timing: Timing::default(),
            limits: Limits::default(),
            advertised: Vec::new(),
            product: "Tandem".to_owned(),
            udp_limit: UDP_LIMIT,
            tcp: Vec::new(),
            has_certificate: false,
        }
    }
}

/// The outside name of a local address.
#[derive(Clone, Debug)]
pub struct Advertised {
    /// Transport of the local socket.
    pub transport: Transport,
    /// Address of the local socket, as in [`Flow::local`].
    pub local: SocketAddr,
    /// Host in Via and Contact: an address (IPv6 in brackets) or a DNS name.
    pub host: String,
    /// Port in Via and Contact.
    pub port: u16,
}

impl StackConfig {
    /// `host:port` for Via and Contact on `flow`.
    pub(crate) fn sent_by(&self, flow: &Flow) -> String {
        match self.advertised_for(flow) {
            Some(name) => format!("{}:{}", name.host, name.port),
            None => flow.local.to_string(),
        }
    }

    /// Whether requests on `flow` ask for `alias`.
    pub(crate) fn offers_alias(&self, flow: &Flow) -> bool {
        self.has_certificate && flow.transport == Transport::Tls
    }

    fn advertised_for(&self, flow: &Flow) -> Option<&Advertised> {
        self.advertised
            .iter()
            .find(|name| name.transport == flow.transport && name.local == flow.local)
    }

    /// Whether `host` and `port` of a Via are ours on `flow`.
    pub(crate) fn is_own_sent_by(&self, flow: &Flow, host: Host<'_>, port: Option<u16>) -> bool {
        let port = port.unwrap_or(flow.transport.default_port());
        match self.advertised_for(flow) {
            Some(name) => {
                let same_host = match host {
                    Host::Name(host) => name.host.eq_ignore_ascii_case(host),
                    Host::Ip(ip) => bare(&name.host).parse() == Ok(ip),
                };
                name.port == port && same_host
            }
            None => flow.local.port() == port && host == Host::Ip(flow.local.ip()),
        }
    }
}

/// An IPv6 address without its brackets.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Timer values of RFC 3261 (table 4), RFC 6026 and Tandem's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Round-trip estimate, 500 ms.
    pub t1: Duration,
    /// Longest interval between retransmissions of non-INVITE requests and INVITE responses, 4 s.
    pub t2: Duration,
    /// Longest life of a message in the network, 5 s.
    pub t4: Duration,
    /// Timer C: the longest ringing without a new provisional response, above 3 min.
    pub timer_c: Duration,
    /// Timer D on unreliable transports, at least 32 s.
    pub timer_d: Duration,
    /// When 100 Trying goes out by itself, 200 ms.
    pub trying: Duration,
    /// How often a provisional response is repeated while ringing, 1 min.
    pub refresh: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            timer_c: Duration::from_secs(181),
            timer_d: Duration::from_secs(32),
            trying: Duration::from_millis(200),
            refresh: Duration::from_secs(60),
        }
    }
}

impl Timing {
    /// 64*T1: timers B, F, H, J, L and M, and the wait for the ACK of a 2xx.
    #[must_use]
    pub fn sixty_four_t1(&self) -> Duration {
        self.t1 * 64
    }
}

/// Limits of one stack. Beyond them requests of peers get 503, and our own
/// [`LimitReached`](super::StackError::LimitReached).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Client transactions alive.
    pub max_client_transactions: u32,
    /// Server transactions alive.
    pub max_server_transactions: u32,
    /// Dialogs alive, early ones included.
    pub max_dialogs: u32,
    /// Dialogs that the responses to one forked INVITE may open.
    pub max_forks: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_client_transactions: 200_000,
            max_server_transactions: 200_000,
            max_dialogs: 100_000,
            max_forks: 32,
        }
    }
}
