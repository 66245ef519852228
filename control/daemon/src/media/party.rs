//! What one party said of one media line: where it wants media, what it sends, how it is keyed.

use super::error::{
    MediaError, WARN_ADDRESS_FORMAT, WARN_MEDIA_FORMAT, WARN_MEDIA_TYPE, WARN_MISCELLANEOUS,
    WARN_TRANSPORT,
};
use super::saved;
use crate::link::Family;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use tandem_contract::command::PayloadType;
use tandem_contract::quality::Codec;
use tandem_signalling::sdp::{Direction, Host, Section, SessionDescription};
use tandem_wire::addr::SockAddr;

/// Longest media type and encoding name that reports show, characters.
const MAX_WORD: usize = 32;

/// How a media line travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Carriage {
    /// RTP without keys, or with keys offered beside (`a=crypto` on RTP/AVP).
    Plain,
    /// SRTP by a secure profile whose keys the two ends exchange in SDP (RFC 4568, RFC 3830).
    Secure,
    /// Datagrams that are not RTP: T.38 over UDPTL and the like.
    Opaque,
}

/// Why a media line cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// Its party rejected or removed it: port 0.
    Rejected,
    /// Keys by a DTLS handshake.
    Dtls,
    /// A secure profile without any key.
    Keyless,
    /// TCP, SCTP or a transport that is not known.
    Transport,
    /// None of its codecs is allowed.
    Codecs,
}

impl Unusable {
    /// The refusal if no other media line can be used.
    pub(super) fn refusal(self) -> MediaError {
        let (warning, text) = match self {
            Self::Rejected => (WARN_MEDIA_TYPE, "no media line is left"),
            Self::Dtls => {
                (WARN_TRANSPORT, "SRTP keyed by DTLS is not supported; use RTP/AVP or SDES keys")
            }
            Self::Keyless => (WARN_MISCELLANEOUS, "RTP/SAVP without keys in the SDP (a=crypto)"),
            Self::Codecs => (
                WARN_MEDIA_FORMAT,
                "no codec of it is allowed by media.codecs and media.codecs_refused",
            ),
            Self::Transport => (WARN_TRANSPORT, "only media over UDP is supported"),
        };
        MediaError::Unsupported { warning, text: text.into() }
    }
}

/// A codec by its payload type, for reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Named {
    pub(super) payload_type: u8,
    /// `PCMA/8000`, `opus/48000/2`.
    pub(super) name: String,
}

/// What a party said of one media line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Party {
    /// `audio`, `video`, `image`, …
    pub(super) kind: String,
    pub(super) carriage: Carriage,
    /// Whether it gave `a=crypto`.
    pub(super) keys: bool,
    /// IP version of its connection.
    pub(super) family: Family,
    /// Where it wants RTP; none if it gave a name, or holds by address.
    #[serde(with = "saved::sock_addr")]
    pub(super) rtp: SockAddr,
    /// Where it wants RTCP if it said so.
    #[serde(with = "saved::sock_addr")]
    pub(super) rtcp: SockAddr,
    pub(super) mux: bool,
    /// Hold by address counts as not receiving.
    pub(super) direction: Direction,
    /// Whether it holds by address (RFC 3264 §8.4), so that the direction must be written.
    pub(super) held_by_address: bool,
    #[serde(with = "saved::payload_types")]
    pub(super) payload_types: Vec<PayloadType>,
    pub(super) names: Vec<Named>,
}

impl Party {
    /// Reads a media line.
    ///
    /// # Errors
    /// The outer one if the description is malformed; the inner one if the line cannot be used.
    pub(super) fn read(
        sdp: &SessionDescription,
        index: usize,
    ) -> Result<Result<Self, Unusable>, MediaError> {
        let Some(line) = sdp.media(index) else { return Ok(Err(Unusable::Rejected)) };
        if line.port == 0 {
            return Ok(Err(Unusable::Rejected));
        }
        let carriage = match carriage(sdp, index, line.proto) {
            Ok(carriage) => carriage,
            Err(unusable) => return Ok(Err(unusable)),
        };
        let connection = sdp.media_connection(index)?;
        let held = connection.is_hold();
        let rtp = match connection.host {
            Host::Ip(ip) if ip.is_multicast() => return Err(multicast()),
            Host::Ip(ip) if !held => SocketAddr::new(ip, line.port).into(),
            _ => SockAddr::NONE,
        };
        let said = sdp.direction(index);
        let names = sdp.rtpmaps(index).map(|map| named(&map)).collect();
        Ok(Ok(Self {
            kind: shortened(line.kind),
            carriage,
            keys: sdp.attribute(Section::Media(index), "crypto").is_some(),
            family: if connection.ipv6 { Family::V6 } else { Family::V4 },
            rtp,
            rtcp: rtcp_of(sdp, index, rtp),
            mux: sdp.rtcp_mux(index),
            direction: Direction::new(said.sends(), said.receives() && !held),
            held_by_address: held,
            payload_types: payload_types(sdp, index),
            names,
        }))
    }
}

impl Party {
    /// Its payload type of telephone-events.
    pub(super) fn digits(&self) -> Option<&PayloadType> {
        self.payload_types.iter().find(|it| it.telephone_event == 1)
    }
}

fn multicast() -> MediaError {
    MediaError::Unsupported {
        warning: WARN_ADDRESS_FORMAT,
        text: "multicast media is not supported".into(),
    }
}

fn carriage(sdp: &SessionDescription, index: usize, proto: &str) -> Result<Carriage, Unusable> {
    let proto = proto.to_ascii_uppercase();
    let mut parts = proto.split('/');
    match (parts.next().unwrap_or_default(), parts.next().unwrap_or_default()) {
        _ if proto.contains("TLS") => Err(Unusable::Dtls),
        ("RTP", "AVP" | "AVPF") => Ok(Carriage::Plain),
        ("RTP", "SAVP" | "SAVPF") => {
            let key_mgmt = || sdp.inherited_attribute(index, "key-mgmt").is_some();
            if sdp.cryptos(index).next().is_some() || key_mgmt() {
                Ok(Carriage::Secure)
            } else if sdp.fingerprint(index).is_some() {
                Err(Unusable::Dtls)
            } else {
                Err(Unusable::Keyless)
            }
        }
        ("UDPTL" | "UDP", _) => Ok(Carriage::Opaque),
        _ => Err(Unusable::Transport),
    }
}

/// `a=rtcp`, with the address of RTP if it names only a port (RFC 3605 §2.1).
fn rtcp_of(sdp: &SessionDescription, index: usize, rtp: SockAddr) -> SockAddr {
    match sdp.rtcp(index) {
        Some(rtcp) if rtcp.port != 0 => match rtcp.ip {
            Some(ip) if !ip.is_unspecified() && !ip.is_multicast() => {
                SocketAddr::new(ip, rtcp.port).into()
            }
            _ if rtp.is_some() => rtp.with_port(rtcp.port),
            _ => SockAddr::NONE,
        },
        _ => SockAddr::NONE,
    }
}

fn payload_types(sdp: &SessionDescription, index: usize) -> Vec<PayloadType> {
    sdp.rtpmaps(index)
        .map(|map| PayloadType {
            clock_rate: map.clock_rate,
            number: map.payload_type,
            telephone_event: u8::from(map.encoding.eq_ignore_ascii_case("telephone-event")),
            codec: Codec::from_encoding(map.encoding).number(),
            present: 1,
        })
        .collect()
}

/// A word of a party for a record, which nobody can make larger than records may be.
fn shortened(word: &str) -> String {
    word.chars().take(MAX_WORD).collect()
}

fn named(map: &tandem_signalling::sdp::RtpMap<'_>) -> Named {
    let encoding = shortened(map.encoding);
    let name = match map.channels {
        1 => format!("{encoding}/{}", map.clock_rate),
        channels => format!("{encoding}/{}/{channels}", map.clock_rate),
    };
    Named { payload_type: map.payload_type, name }
}
