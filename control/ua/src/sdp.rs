//! Offer and answer of one audio line (RFC 4566, RFC 3264).
//!
//! The softphone reads and writes session descriptions by itself, apart from the editor that the
//! daemon uses, so that a call between the two checks both.

use crate::error::UaError;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use tandem_dsp::g711::Law;

/// Payload type under which telephone events are offered.
pub const DTMF_PAYLOAD_TYPE: u8 = 101;

/// Direction of media as one side states it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    #[default]
    SendRecv,
    /// It sends only: the other side is on hold.
    SendOnly,
    /// It receives only.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// Attribute name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive]
            .into_iter()
            .find(|direction| direction.name() == name)
    }

    /// Whether who states it sends.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether who states it receives.
    #[must_use]
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    const fn of(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// The answer to an offered direction by who wants `own` (RFC 3264 §6.1).
    #[must_use]
    pub const fn answer_to(self, own: Self) -> Self {
        Self::of(own.sends() && self.receives(), own.receives() && self.sends())
    }
}

/// What the other side described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Where it wants RTP.
    pub rtp: SocketAddr,
    /// Where it wants RTCP.
    pub rtcp: SocketAddr,
    /// Whether it offers or accepts one port for both.
    pub rtcp_mux: bool,
    /// Codecs that the softphone speaks, in its order, with their payload types.
    pub codecs: Vec<(u8, Law)>,
    /// Payload type of telephone events.
    pub dtmf: Option<u8>,
    /// Its direction; an address of zeros counts as not receiving (RFC 3264 §8.4).
    pub direction: Direction,
    /// Packet duration that it wants, ms.
    pub ptime: Option<u16>,
    /// `m=` lines in order, for the answer; the audio line is at `audio_index`.
    media_lines: Vec<String>,
    audio_index: usize,
}

/// What both sides agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Codec.
    pub law: Law,
    /// Its payload type.
    pub payload_type: u8,
    /// Payload type of telephone events, if both do them.
    pub dtmf: Option<u8>,
    /// Whether RTCP goes on the RTP port.
    pub rtcp_mux: bool,
}

/// The own side of the description; `version` grows with each new one.
#[derive(Clone, Debug)]
pub struct Local {
    /// Address and port of RTP.
    pub rtp: SocketAddr,
    /// Port of RTCP.
    pub rtcp_port: u16,
    /// Codecs in order of preference.
    pub codecs: Vec<Law>,
    /// Packet duration, ms.
    pub ptime: u16,
    /// Whether one port for both is offered.
    pub rtcp_mux: bool,
    /// Session identifier.
    pub session_id: u32,
    /// Session version.
    pub version: u32,
}

/// Name of a codec in `a=rtpmap`.
#[must_use]
pub const fn codec_name(law: Law) -> &'static str {
    match law {
        Law::Mu => "PCMU",
        Law::A => "PCMA",
    }
}

impl Local {
    /// An offer.
    #[must_use]
    pub fn offer(&self, direction: Direction) -> String {
        let codecs: Vec<_> = self.codecs.iter().map(|law| (law.payload_type(), *law)).collect();
        let mut text = self.session_lines();
        text += &self.audio_lines(&codecs, Some(DTMF_PAYLOAD_TYPE), direction, self.rtcp_mux);
        text
    }

    /// An answer to `offer`: the agreed codec, all other media refused (RFC 3264 §6).
    #[must_use]
    pub fn answer(&self, offer: &Remote, agreed: &Agreed, direction: Direction) -> String {
        let mut text = self.session_lines();
        for (index, line) in offer.media_lines.iter().enumerate() {
            if index == offer.audio_index {
                let codecs = [(agreed.payload_type, agreed.law)];
                text += &self.audio_lines(&codecs, agreed.dtmf, direction, agreed.rtcp_mux);
            } else {
                text += &refused(line);
            }
        }
        text
    }

    fn session_lines(&self) -> String {
        let ip = self.rtp.ip();
        let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
        let Self { session_id, version, .. } = self;
        format!(
            "v=0\r\no=- {session_id} {version} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n"
        )
    }

    fn audio_lines(
        &self,
        codecs: &[(u8, Law)],
        dtmf: Option<u8>,
        direction: Direction,
        mux: bool,
    ) -> String {
        let mut text = format!("m=audio {} RTP/AVP", self.rtp.port());
        for payload_type in codecs.iter().map(|codec| codec.0).chain(dtmf) {
            let _ = write!(text, " {payload_type}");
        }
        text += "\r\n";
        for (payload_type, law) in codecs {
            let _ = write!(text, "a=rtpmap:{payload_type} {}/8000\r\n", codec_name(*law));
        }
        if let Some(dtmf) = dtmf {
            let _ = write!(text, "a=rtpmap:{dtmf} telephone-event/8000\r\na=fmtp:{dtmf} 0-15\r\n");
        }
        let _ = write!(text, "a=ptime:{}\r\na={}\r\n", self.ptime, direction.name());
        if self.rtcp_port != self.rtp.port() && self.rtcp_port != self.rtp.port() + 1 {
            let _ = write!(text, "a=rtcp:{}\r\n", self.rtcp_port);
        }
        if mux {
            text += "a=rtcp-mux\r\n";
        }
        text
    }
}

/// A media line with port 0.
fn refused(line: &str) -> String {
    let mut words = line.split_whitespace();
    let kind = words.next().unwrap_or("audio");
    let rest: Vec<&str> = words.skip(1).collect();
    format!("m={kind} 0 {}\r\n", rest.join(" "))
}

/// The codec that both know, by the order of `preferred`, which is the offer's in an answer.
///
/// # Errors
/// There is none in common.
pub fn agree(own: &[Law], remote: &Remote, own_mux: bool) -> Result<Agreed, UaError> {
    let chosen = remote.codecs.iter().find(|(_, law)| own.contains(law));
    let (payload_type, law) =
        *chosen.ok_or_else(|| UaError::Media("the other side speaks neither of ours".into()))?;
    let rtcp_mux = own_mux && remote.rtcp_mux;
    Ok(Agreed { law, payload_type, dtmf: remote.dtmf, rtcp_mux })
}

impl Remote {
    /// Reads a session description.
    ///
    /// # Errors
    /// It has no usable audio line, no address, or is no session description at all.
    pub fn parse(body: &[u8]) -> Result<Self, UaError> {
        let text = String::from_utf8_lossy(body);
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        if lines.first() != Some(&"v=0") {
            return Err(UaError::Media("the body is no session description".into()));
        }
        let media_lines: Vec<String> =
            lines.iter().filter_map(|line| line.strip_prefix("m=")).map(Into::into).collect();
        let audio_index = media_lines
            .iter()
            .position(|line| is_usable_audio(line))
            .ok_or_else(|| UaError::Media("there is no RTP/AVP audio line".into()))?;
        let mut sections = lines.split(|line| line.starts_with("m="));
        let session = sections.next().unwrap_or_default();
        let audio = sections.nth(audio_index).unwrap_or_default();
        let line = media_lines[audio_index].clone();
        Self::read(session, audio, &line, media_lines, audio_index)
    }

    fn read(
        session: &[&str],
        audio: &[&str],
        line: &str,
        media_lines: Vec<String>,
        audio_index: usize,
    ) -> Result<Self, UaError> {
        let missing = |what: &str| UaError::Media(format!("the description lacks {what}"));
        let ip = find(audio, "c=").or_else(|| find(session, "c=")).and_then(connection);
        let ip = ip.ok_or_else(|| missing("an address"))?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let port: u16 =
            words.get(1).and_then(|p| p.parse().ok()).ok_or_else(|| missing("a port"))?;
        let payload_types = words.get(3..).unwrap_or_default();
        let named: Vec<(u8, String)> =
            payload_types.iter().filter_map(|pt| named_codec(audio, pt.parse().ok()?)).collect();
        let codecs = named.iter().filter_map(|(pt, name)| Some((*pt, law(name)?))).collect();
        let dtmf = named.iter().find(|(_, name)| name == "TELEPHONE-EVENT/8000").map(|it| it.0);
        let direction = all(audio, "a=").chain(all(session, "a="));
        let direction = direction.into_iter().find_map(Direction::from_name).unwrap_or_default();
        let zero = ip.is_unspecified();
        let direction = Direction::of(direction.sends(), direction.receives() && !zero);
        Ok(Self {
            rtp: SocketAddr::new(ip, port),
            rtcp: rtcp_address(audio, ip, port),
            rtcp_mux: all(audio, "a=").any(|attribute| attribute == "rtcp-mux"),
            codecs,
            dtmf,
            direction,
            ptime: find(audio, "a=ptime:").and_then(|v| v.parse().ok()),
            media_lines,
            audio_index,
        })
    }
}

fn is_usable_audio(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    matches!(words[..], ["audio", port, "RTP/AVP" | "RTP/AVPF", ..] if port != "0")
}

fn all<'a>(lines: &'a [&'a str], prefix: &'a str) -> impl Iterator<Item = &'a str> {
    lines.iter().filter_map(move |line| line.strip_prefix(prefix))
}

fn find<'a>(lines: &'a [&'a str], prefix: &'a str) -> Option<&'a str> {
    all(lines, prefix).next()
}

/// Address of a `c=` value: `IN IP4 192.0.2.1`.
fn connection(value: &str) -> Option<IpAddr> {
    value.split_whitespace().nth(2)?.split('/').next()?.parse().ok()
}

/// Address of RTCP: `a=rtcp:PORT [IN IP4 ADDRESS]` (RFC 3605), else the port above.
fn rtcp_address(audio: &[&str], ip: IpAddr, rtp_port: u16) -> SocketAddr {
    let default = SocketAddr::new(ip, rtp_port.wrapping_add(1));
    let Some(value) = find(audio, "a=rtcp:") else { return default };
    let mut words = value.split_whitespace();
    let Some(port) = words.next().and_then(|p| p.parse().ok()) else { return default };
    let address = words.nth(2).and_then(|a| a.parse().ok()).unwrap_or(ip);
    SocketAddr::new(address, port)
}

/// Encoding name and clock rate of a payload type, upper case: from `a=rtpmap`, else the static
/// ones of RFC 3551.
fn named_codec(audio: &[&str], payload_type: u8) -> Option<(u8, String)> {
    let mapped = all(audio, "a=rtpmap:").find_map(|value| {
        let (number, name) = value.split_once(' ')?;
        (number.parse() == Ok(payload_type)).then(|| name.trim().to_ascii_uppercase())
    });
    let fallback = || match payload_type {
        0 => Some("PCMU/8000".to_owned()),
        8 => Some("PCMA/8000".to_owned()),
        _ => None,
    };
    Some((payload_type, mapped.or_else(fallback)?))
}

fn law(name: &str) -> Option<Law> {
    match name {
        "PCMU/8000" | "PCMU/8000/1" => Some(Law::Mu),
        "PCMA/8000" | "PCMA/8000/1" => Some(Law::A),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> Local {
        Local {
            rtp: "192.0.2.1:4000".parse().unwrap(),
            rtcp_port: 4001,
            codecs: vec![Law::A, Law::Mu],
            ptime: 20,
            rtcp_mux: false,
            session_id: 7,
            version: 1,
        }
    }

    #[test]
    fn an_offer_reads_as_it_was_meant() {
        let mut local = local();
        local.rtcp_mux = true;
        let remote = Remote::parse(local.offer(Direction::SendOnly).as_bytes()).unwrap();
        assert_eq!(remote.rtp, local.rtp);
        assert_eq!(remote.rtcp.port(), 4001);
        assert_eq!(remote.codecs, [(8, Law::A), (0, Law::Mu)]);
        assert_eq!(remote.dtmf, Some(101));
        assert_eq!((remote.direction, remote.rtcp_mux), (Direction::SendOnly, true));
        assert_eq!(remote.ptime, Some(20));
    }

    #[test]
    fn an_answer_keeps_the_payload_type_and_refuses_video() {
        let offer = "v=0\r\no=- 1 1 IN IP6 2001:db8::1\r\ns=-\r\nt=0 0\r\na=inactive\r\n\
            m=video 9000 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n\
            m=audio 9002 RTP/AVP 111 118 97\r\nc=IN IP6 2001:db8::1\r\na=rtpmap:111 opus/48000/2\r\n\
            a=rtpmap:118 pcmu/8000\r\na=rtpmap:97 telephone-event/8000\r\na=sendrecv\r\n\
            a=rtcp:9009 IN IP6 2001:db8::2\r\n";
        let remote = Remote::parse(offer.as_bytes()).unwrap();
        assert_eq!(remote.rtp, "[2001:db8::1]:9002".parse().unwrap());
        assert_eq!(remote.rtcp, "[2001:db8::2]:9009".parse().unwrap());
        assert_eq!(remote.direction, Direction::SendRecv);
        let agreed = agree(&[Law::A, Law::Mu], &remote, true).unwrap();
        assert_eq!((agreed.payload_type, agreed.law, agreed.dtmf), (118, Law::Mu, Some(97)));
        assert!(!agreed.rtcp_mux);
        let answer = local().answer(&remote, &agreed, Direction::SendRecv);
        assert!(
            answer.contains("m=video 0 RTP/AVP 96\r\nm=audio 4000 RTP/AVP 118 97\r\n"),
            "{answer}"
        );
    }

    #[test]
    fn hold_is_understood_in_both_spellings() {
        use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
        assert_eq!(SendOnly.answer_to(SendRecv), RecvOnly);
        assert_eq!(SendRecv.answer_to(SendOnly), SendOnly);
        assert_eq!(Inactive.answer_to(SendRecv), Inactive);
        assert_eq!(SendOnly.answer_to(SendOnly), Inactive);
        let old = local().offer(SendRecv).replace("192.0.2.1", "0.0.0.0");
        assert_eq!(Remote::parse(old.as_bytes()).unwrap().direction, SendOnly);
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        assert!(Remote::parse(b"").is_err());
        assert!(Remote::parse(b"hello").is_err());
        assert!(Remote::parse(b"v=0\r\nm=audio 4000 RTP/AVP 0\r\n").is_err());
        assert!(Remote::parse(b"v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio 4 RTP/SAVP 0\r\n").is_err());
        let opus =
            "v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\n";
        let remote = Remote::parse(opus.as_bytes()).unwrap();
        assert!(agree(&[Law::A], &remote, false).is_err());
    }
}
