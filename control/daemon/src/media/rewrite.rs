//! Rewriting a description so that media comes to us: addresses, ports, RTCP, and what only makes
//! sense between the two ends.

use std::net::{IpAddr, SocketAddr};
use tandem_signalling::sdp::{Direction, RtcpAddress, Section, SessionDescription};

/// What is announced for one media line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) rtp: SocketAddr,
    pub(super) rtcp_port: u16,
    /// Whether RTCP may share the port with RTP (an offer), or does (an answer).
    pub(super) mux: bool,
    /// The direction to write in place of the one that is there.
    pub(super) direction: Option<Direction>,
}

/// Whether the description is an offer or an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Offer,
    Answer,
}

/// Announces `lines` (`None`: rejected) and removes what we do not take part in: ICE candidates
/// (the reader falls back to `c=`/`m=`), DTLS fingerprints, bundles. `fallback` is announced where
/// no line is used.
pub(super) fn rewrite(
    sdp: &mut SessionDescription,
    role: Role,
    lines: &[Option<Announced>],
    fallback: IpAddr,
) {
    sdp.remove_ice();
    sdp.remove_dtls();
    sdp.remove_bundle();
    let session_ip = lines.iter().flatten().next().map_or(fallback, |line| line.rtp.ip());
    let has = |sdp: &SessionDescription, section| sdp.value(section, b'c').is_some();
    let session_has = has(sdp, Section::Session);
    if session_has {
        sdp.set_connection(Section::Session, session_ip);
    }
    for index in 0..sdp.media_count() {
        let section = Section::Media(index);
        match lines.get(index).copied().flatten() {
            Some(line) => {
                let ip = line.rtp.ip();
                if has(sdp, section) || !session_has || ip != session_ip {
                    sdp.set_connection(section, ip);
                }
                announce(sdp, role, index, line);
            }
            None => {
                if has(sdp, section) {
                    sdp.set_connection(section, session_ip);
                }
                sdp.set_port(index, 0);
                sdp.remove_attribute(section, "rtcp");
            }
        }
    }
}

fn announce(sdp: &mut SessionDescription, role: Role, index: usize, line: Announced) {
    let section = Section::Media(index);
    sdp.set_port(index, line.rtp.port());
    sdp.remove_attribute(section, "rtcp-mux-only");
    if line.mux {
        sdp.set_attribute(section, "rtcp-mux", "");
    } else {
        sdp.remove_attribute(section, "rtcp-mux");
    }
    let written = sdp.attribute(section, "rtcp").is_some();
    if line.mux && role == Role::Answer {
        // RFC 5761 §5.1.1: with multiplexing agreed there is no other RTCP port.
        sdp.remove_attribute(section, "rtcp");
    } else if written || line.rtcp_port != line.rtp.port().wrapping_add(1) {
        sdp.set_rtcp(index, RtcpAddress { port: line.rtcp_port, ip: None });
    }
    if let Some(direction) = line.direction {
        sdp.set_direction(index, direction);
    }
}
