//! Media lines (RFC 8866 §5.14) and the attributes that describe RTP (§6.6 to §6.15).

use super::{Section, SessionDescription, limits, static_payload};
use core::ops::Range;

/// Where the fields of an `m=` line are.
#[derive(Clone, Debug)]
pub(super) struct MediaHeader {
    /// Index of the line.
    pub(super) line: usize,
    kind: Range<usize>,
    port: u16,
    port_count: u16,
    proto: Range<usize>,
    formats: Range<usize>,
}

impl MediaHeader {
    /// Reads `audio 49170/2 RTP/AVP 0 8`; `None` if a field is missing or broken.
    pub(super) fn parse(line: usize, value: &[u8]) -> Option<Self> {
        let text = core::str::from_utf8(value).ok()?;
        let mut at = 0;
        let mut field = || {
            let start = at + text[at..].find(|c| c != ' ')?;
            let end = text[start..].find(' ').map_or(text.len(), |len| start + len);
            at = end;
            Some(start..end)
        };
        let (kind, ports, proto) = (field()?, field()?, field()?);
        let formats = field().map_or(text.len()..text.len(), |first| first.start..text.len());
        let ports = &text[ports];
        let (port, count) = ports.split_once('/').unwrap_or((ports, "1"));
        let (port, port_count) = (port.parse().ok()?, count.parse().ok()?);
        Some(Self { line, kind, port, port_count, proto, formats })
    }
}

/// An `m=` line as readers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaLine<'a> {
    /// `audio`, `video`, `image`, …
    pub kind: &'a str,
    /// Port, 0 for a rejected or removed stream (RFC 3264 §6).
    pub port: u16,
    /// Number of ports, 1 unless written (`49170/2`).
    pub port_count: u16,
    /// `RTP/AVP`, `RTP/SAVP`, `udptl`, …
    pub proto: &'a str,
    /// Formats as written: payload types for RTP, separated by blanks.
    pub formats: &'a str,
}

impl<'a> MediaLine<'a> {
    /// The formats that are payload types, 0 to 127.
    pub fn payload_types(&self) -> impl Iterator<Item = u8> + use<'a> {
        self.formats.split_ascii_whitespace().filter_map(|f| f.parse().ok()).filter(|&pt| pt < 128)
    }
}

/// Direction of a stream as its party sees it (RFC 8866 §6.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Direction {
    /// It sends and receives.
    #[default]
    SendRecv,
    /// It only sends.
    SendOnly,
    /// It only receives.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    const ALL: [Self; 4] = [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive];

    /// From what a party does.
    #[must_use]
    pub const fn new(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// Whether the party sends.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the party receives.
    #[must_use]
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// What is left of it for an answer to an offer of direction `offered` (RFC 3264 §6.1): who is
    /// not heard does not send, and nobody hears who does not send.
    #[must_use]
    pub const fn answer_to(self, offered: Self) -> Self {
        Self::new(self.sends() && offered.receives(), self.receives() && offered.sends())
    }

    /// Its attribute.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }
}

/// `a=rtpmap`, or what RFC 3551 says of a static payload type without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpMap<'a> {
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// Encoding name: `PCMA`, `opus`, `telephone-event`.
    pub encoding: &'a str,
    /// RTP clock rate, Hz.
    pub clock_rate: u32,
    /// Audio channels, 1 unless written.
    pub channels: u8,
}

impl SessionDescription {
    /// A media line; `None` beyond the last.
    #[must_use]
    pub fn media(&self, index: usize) -> Option<MediaLine<'_>> {
        let header = self.header(index)?;
        let text = core::str::from_utf8(self.header_value(header)).ok()?;
        Some(MediaLine {
            kind: &text[header.kind.clone()],
            port: header.port,
            port_count: header.port_count,
            proto: &text[header.proto.clone()],
            formats: &text[header.formats.clone()],
        })
    }

    /// Replaces the port of a media line; a port count goes (one port pair is all there is).
    pub fn set_port(&mut self, media: usize, port: u16) {
        let Some(line) = self.media(media) else { return };
        let gap = if line.formats.is_empty() { "" } else { " " };
        let text = format!("{} {port} {}{gap}{}", line.kind, line.proto, line.formats);
        if (port, 1) != (line.port, line.port_count) {
            self.set_media_text(media, text.into_bytes());
        }
    }

    /// Replaces the formats of a media line, and removes the `a=rtpmap`, `a=fmtp` and `a=rtcp-fb` of
    /// those that go. Nothing happens if none is left: the grammar wants one.
    pub fn set_formats(&mut self, media: usize, formats: &[&str]) {
        let Some(line) = self.media(media) else { return };
        if formats.is_empty() || line.formats.split_ascii_whitespace().eq(formats.iter().copied()) {
            return;
        }
        let count =
            if line.port_count == 1 { String::new() } else { format!("/{}", line.port_count) };
        let (kind, port, proto) = (line.kind, line.port, line.proto);
        let text = format!("{kind} {port}{count} {proto} {}", formats.join(" "));
        let gone: Vec<String> = line
            .formats
            .split_ascii_whitespace()
            .filter(|it| !formats.contains(it))
            .map(str::to_owned)
            .collect();
        self.set_media_text(media, text.into_bytes());
        self.remove_lines(Section::Media(media), |line| {
            let Some((b"rtpmap" | b"fmtp" | b"rtcp-fb", value)) = line.attribute() else {
                return false;
            };
            let format = value.split(|b| *b == b' ').find(|it| !it.is_empty());
            format.is_some_and(|format| gone.iter().any(|it| it.as_bytes() == format))
        });
    }

    /// Appends media lines of streams that do not exist (port 0) until there are `count`: a session
    /// never gets fewer lines (RFC 3264 §8).
    pub fn pad_media(&mut self, count: usize) {
        while self.media_count() < count.min(limits::MAX_MEDIA) {
            self.push_media(b"audio 0 RTP/AVP 0");
        }
    }

    /// Direction of a media line: its own attribute, else the session's, else `sendrecv`.
    #[must_use]
    pub fn direction(&self, media: usize) -> Direction {
        let of = |section| {
            self.lines(section).find_map(|line| {
                let (name, _) = line.attribute()?;
                Direction::ALL.into_iter().find(|d| d.name().as_bytes() == name)
            })
        };
        of(Section::Media(media)).or_else(|| of(Section::Session)).unwrap_or_default()
    }

    /// Writes the direction of a media line, in place of the one it has.
    pub fn set_direction(&mut self, media: usize, direction: Direction) {
        let is_direction = |name: &[u8]| Direction::ALL.iter().any(|d| d.name().as_bytes() == name);
        self.place_attribute(Section::Media(media), is_direction, direction.name());
    }

    /// Whether RTP and RTCP may share the port (RFC 5761 §5.1.1, RFC 8858).
    #[must_use]
    pub fn rtcp_mux(&self, media: usize) -> bool {
        ["rtcp-mux", "rtcp-mux-only"]
            .iter()
            .any(|name| self.attribute(Section::Media(media), name).is_some())
    }

    /// What a payload type of a media line means: its `a=rtpmap`, else RFC 3551's table.
    #[must_use]
    pub fn rtpmap(&self, media: usize, payload_type: u8) -> Option<RtpMap<'_>> {
        let written = self
            .attributes(Section::Media(media), "rtpmap")
            .filter_map(parse_rtpmap)
            .find(|map| map.payload_type == payload_type);
        written.or_else(|| {
            static_payload(payload_type).map(|known| RtpMap {
                payload_type,
                encoding: known.encoding,
                clock_rate: known.clock_rate,
                channels: known.channels,
            })
        })
    }

    /// What the payload types of a media line mean, in its order of preference; those that cannot
    /// be known are left out.
    pub fn rtpmaps(&self, media: usize) -> impl Iterator<Item = RtpMap<'_>> {
        let types = self.media(media).into_iter().flat_map(|line| line.payload_types());
        types.filter_map(move |payload_type| self.rtpmap(media, payload_type))
    }

    /// Parameters of a payload type (`a=fmtp`).
    #[must_use]
    pub fn fmtp(&self, media: usize, payload_type: u8) -> Option<&[u8]> {
        self.attributes(Section::Media(media), "fmtp").find_map(|value| {
            let blank = memchr::memchr(b' ', value)?;
            (parse_number(&value[..blank]) == Some(u32::from(payload_type)))
                .then(|| value[blank + 1..].trim_ascii())
        })
    }

    /// Packet duration that the party wants to receive (`a=ptime`), ms.
    #[must_use]
    pub fn ptime_ms(&self, media: usize) -> Option<u32> {
        parse_number(self.attribute(Section::Media(media), "ptime")?)
    }
}

/// Reads `96 opus/48000/2`.
fn parse_rtpmap(value: &[u8]) -> Option<RtpMap<'_>> {
    let (number, map) = core::str::from_utf8(value).ok()?.trim().split_once(' ')?;
    let payload_type = number.parse().ok().filter(|&number: &u8| number < 128)?;
    let mut fields = map.trim().split('/');
    let encoding = fields.next().filter(|name| !name.is_empty())?;
    let clock_rate = fields.next()?.parse().ok().filter(|&rate| rate != 0)?;
    let channels = fields.next().map_or(Some(1), |text| text.parse().ok())?;
    Some(RtpMap { payload_type, encoding, clock_rate, channels })
}

fn parse_number(text: &[u8]) -> Option<u32> {
    core::str::from_utf8(text).ok()?.trim().parse().ok()
}
