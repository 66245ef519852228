//! What the operator decides about media.

use super::CodecPolicy;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use tandem_contract::limits;

/// How media is handled; the defaults fit a machine that speaks for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaConfig {
    /// Addresses to announce instead of bound ones (1:1 NAT of a cloud): bound, announced.
    pub advertised: Vec<(IpAddr, IpAddr)>,
    /// DSCP of what is sent to the parties, 0 to 63 (RFC 2474); 46 is EF (RFC 4594).
    pub dscp: u8,
    /// Silence of an unheld party after which it is reported, ms; 0 for never.
    pub media_timeout_ms: u32,
    /// Silence after which a continuing stream may come from a new address, ms; 0 for never.
    pub relearn_silence_ms: u32,
    /// Lease of a termination, ms; renewed at a third of it.
    pub lease_ms: u32,
    /// Accept media only from the address in the SDP (no symmetric RTP behind NAT).
    pub strict_source: bool,
    /// Which codecs pass.
    pub codecs: CodecPolicy,
    /// Whether media goes over the engine; else descriptions pass as they are, and the parties
    /// send to each other.
    pub relay: bool,
}

impl Default for MediaConfig {
    fn default() -> Self {
        Self {
            advertised: Vec::new(),
            dscp: 46,
            media_timeout_ms: limits::DEFAULT_MEDIA_TIMEOUT_MS,
            relearn_silence_ms: limits::DEFAULT_RELEARN_SILENCE_MS,
            lease_ms: limits::DEFAULT_LEASE_MS,
            strict_source: false,
            codecs: CodecPolicy::default(),
            relay: true,
        }
    }
}

/// How a party is reached; what [`super::MediaPlane::prepare_leg`] wants to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegProfile {
    /// Our own address on the signalling path to the party: it decides between IPv4 and IPv6, and
    /// it is announced for media where the engine is bound to an unspecified address.
    pub local: IpAddr,
}
