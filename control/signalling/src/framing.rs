//! Cutting a byte stream into messages (RFC 3261 §7.5, §18.3) and keep-alives (RFC 5626 §3.5.1).
//!
//! ```
//! use tandem_signalling::framing::{Frame, Framer};
//! let mut framer = Framer::new();
//! framer.push(b"\r\n\r\nBYE sip:a@b SIP/2.0\r\nl: 2\r\n\r\nhi");
//! assert_eq!(framer.next_frame()?, Some(Frame::Pong));
//! assert_eq!(framer.next_frame()?, Some(Frame::Ping));
//! let Some(Frame::Message(octets)) = framer.next_frame()? else { unreachable!() };
//! assert!(octets.ends_with(b"hi"));
//! assert_eq!(framer.next_frame()?, None);
//! # Ok::<(), tandem_signalling::framing::FrameError>(())
//! ```

use thiserror::Error;

use crate::build::MessageBuilder;
use crate::error::{Limit, Malformed, ParseError};
use crate::header::Header;
use crate::limits::{MAX_HEADER_OCTETS, MAX_MESSAGE_OCTETS};
use crate::message::Message;
use crate::method::Method;
use crate::text;

/// What asks the peer of a stream for a [`PONG`] (RFC 5626 §3.5.1).
pub const PING: &[u8] = b"\r\n\r\n";

/// What answers a [`Frame::Ping`].
pub const PONG: &[u8] = b"\r\n";

/// Whether a datagram is a keep-alive and no message: nothing, line ends, or a few NULs as some
/// phones send them.
#[must_use]
pub fn is_keep_alive(datagram: &[u8]) -> bool {
    datagram.len() <= 16 && datagram.iter().all(|it| matches!(it, b'\r' | b'\n' | 0))
}

/// One thing cut from the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The octets of one message.
    Message(Vec<u8>),
    /// A second line end right after [`Frame::Pong`]: the peer asks for [`PONG`].
    Ping,
    /// A line end between messages: the answer to our ping, or nothing.
    Pong,
}

/// Why the stream cannot be read on; nothing that follows can be trusted, so close it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{cause}")]
pub struct FrameError {
    /// The reason, to be counted.
    pub cause: ParseError,
    /// Start line and headers of the offending message, when they were complete.
    head: Option<Vec<u8>>,
}

impl FrameError {
    /// The answer to send before the close (RFC 3261 §18.3), when the offending message is a request
    /// that can be answered. Its To tag is the same each time (§8.2.7).
    #[must_use]
    pub fn answer(&self) -> Option<Vec<u8>> {
        let request = Message::parse(self.head.as_deref()?).ok()?;
        if request.is_response() || request.method() == Method::Ack || request.answer_via().is_err()
        {
            return None;
        }
        let reason = match self.cause {
            ParseError::Malformed(it) => it.sentence(),
            ParseError::Unsupported(_) | ParseError::LimitReached(_) => "",
        };
        let mut tag = 0xcbf2_9ce4_8422_2325_u64;
        for octet in request.value(Header::CallId).unwrap_or_default() {
            tag = (tag ^ u64::from(*octet)).wrapping_mul(0x100_0000_01b3);
        }
        let answer = MessageBuilder::response_to(&request, self.cause.status(), reason)
            .to_tag(&format!("{tag:016x}"))
            .finish();
        answer.ok().map(|it| it.bytes().to_vec())
    }
}

/// Collects octets in any fragmentation and gives out whole messages.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    /// What is before was given out.
    start: usize,
    /// What is between `start` and here holds no end of headers.
    scanned: usize,
    /// Octets of the message at `start`, once its headers are complete.
    message_len: Option<usize>,
    /// The last frame was a line end that could be the first half of a ping.
    half_ping: bool,
    broken: Option<FrameError>,
}

impl Framer {
    /// A framer for a new connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what was read; then call [`Self::next_frame`] until it has no more.
    pub fn push(&mut self, octets: &[u8]) {
        if self.broken.is_some() {
            return;
        }
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
        }
        self.buffer.extend_from_slice(octets);
    }

    /// Octets that wait for the rest of their message.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// The next message or keep-alive, `None` until more is pushed.
    ///
    /// # Errors
    /// A message without Content-Length or with a broken one, or over a limit. The error stays.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let frame = self.advance();
        if matches!(frame, Ok(None)) && self.pending() == 0 {
            // A connection that is silent holds no memory.
            (self.buffer, self.start, self.scanned) = (Vec::new(), 0, 0);
        }
        frame.inspect_err(|error| {
            self.broken = Some(error.clone());
            self.buffer = Vec::new();
            self.start = 0;
        })
    }

    fn advance(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.message_len.is_none() {
            if let Some(len) = line_end_len(&self.buffer[self.start..]) {
                self.start += len;
                self.scanned = self.start;
                let frame = if self.half_ping { Frame::Ping } else { Frame::Pong };
                self.half_ping = !self.half_ping;
                return Ok(Some(frame));
            }
            if self.buffer[self.start..] == *b"\r" {
                return Ok(None);
            }
            self.message_len = self.find_message()?;
        }
        let Some(len) = self.message_len.filter(|len| *len <= self.pending()) else {
            return Ok(None);
        };
        let message = self.buffer[self.start..self.start + len].to_vec();
        self.start += len;
        self.scanned = self.start;
        self.message_len = None;
        self.half_ping = false;
        Ok(Some(Frame::Message(message)))
    }

    fn find_message(&mut self) -> Result<Option<usize>, FrameError> {
        let Some(head_end) = self.find_head_end() else {
            if self.pending() > MAX_HEADER_OCTETS {
                return Err(FrameError { cause: Limit::HeaderOctets.into(), head: None });
            }
            return Ok(None);
        };
        let head = &self.buffer[self.start..head_end];
        let fail = |cause: ParseError| FrameError { cause, head: Some(head.to_vec()) };
        if head.len() > MAX_HEADER_OCTETS {
            return Err(FrameError { cause: Limit::HeaderOctets.into(), head: None });
        }
        let body_len = content_length(head).map_err(|it| fail(it.into()))?;
        let len = head.len().saturating_add(body_len);
        if len > MAX_MESSAGE_OCTETS {
            return Err(fail(Limit::MessageOctets.into()));
        }
        Ok(Some(len))
    }

    /// Behind the empty line that ends the headers.
    fn find_head_end(&mut self) -> Option<usize> {
        while let Some(at) = memchr::memchr(b'\n', &self.buffer[self.scanned..]) {
            let after = self.scanned + at + 1;
            let rest = &self.buffer[after..];
            if let Some(len) = line_end_len(rest) {
                return Some(after + len);
            }
            if rest.is_empty() || rest == b"\r" {
                // The line end stays unscanned: what follows it is not known yet.
                self.scanned = after - 1;
                return None;
            }
            self.scanned = after;
        }
        self.scanned = self.buffer.len();
        None
    }
}

fn line_end_len(octets: &[u8]) -> Option<usize> {
    match octets {
        [b'\r', b'\n', ..] => Some(2),
        [b'\n', ..] => Some(1),
        _ => None,
    }
}

/// The one Content-Length, in its long or compact form, folded or not.
fn content_length(head: &[u8]) -> Result<usize, Malformed> {
    let mut found: Option<u32> = None;
    let mut rest = head;
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let line = rest;
        rest = &rest[end + 1..];
        if !matches!(line[0], b'c' | b'C' | b'l' | b'L') {
            continue;
        }
        let Some(colon) = memchr::memchr(b':', &line[..end]) else { continue };
        if Header::from_name(text::trim(&line[..colon])) != Header::ContentLength {
            continue;
        }
        let mut value_end = end;
        while line.get(value_end + 1).is_some_and(|it| text::is_space(*it)) {
            value_end += 1 + memchr::memchr(b'\n', &line[value_end + 1..]).unwrap_or(0);
        }
        let value = unfolded(&line[colon + 1..value_end]);
        let value = text::number(value).ok_or(Malformed::ContentLength)?;
        if found.is_some_and(|it| it != value) {
            return Err(Malformed::ContentLength);
        }
        found = Some(value);
    }
    let value = found.ok_or(Malformed::MissingContentLength)?;
    usize::try_from(value).map_err(|_| Malformed::ContentLength)
}

/// Without blanks and folds at both ends: exactly what the parser passes over, or the two would not
/// agree on where a message ends. A carriage return counts only before its line feed.
fn unfolded(value: &[u8]) -> &[u8] {
    let mut value = value.strip_suffix(b"\r").unwrap_or(value);
    while let Some(rest) = strip_leading(value) {
        value = rest;
    }
    while let Some(rest) = strip_trailing(value) {
        value = rest;
    }
    value
}

fn strip_leading(value: &[u8]) -> Option<&[u8]> {
    match value {
        [b'\r', b'\n', rest @ ..] | [b'\n', rest @ ..] => Some(rest),
        [first, rest @ ..] if text::is_space(*first) => Some(rest),
        _ => None,
    }
}

fn strip_trailing(value: &[u8]) -> Option<&[u8]> {
    match value {
        [rest @ .., b'\r', b'\n'] | [rest @ .., b'\n'] => Some(rest),
        [rest @ .., last] if text::is_space(*last) => Some(rest),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"\r\n\r\nOPTIONS sip:a@b SIP/2.0\r\nVia: x\r\nContent-Length :\r\n 5\r\n\r\n\r\n\r\nx\
        \r\nSIP/2.0 200 OK\nl:0\n\nBYE sip:a@b SIP/2.0\r\nContent-Type: a/b\r\nL: 2\r\n\r\nhi\r\n\r\n\r\n";

    fn all(framer: &mut Framer, out: &mut Vec<Frame>) {
        while let Some(frame) = framer.next_frame().unwrap() {
            out.push(frame);
        }
    }

    #[test]
    fn any_fragmentation_gives_the_same_frames() {
        let mut whole = Vec::new();
        let mut framer = Framer::new();
        framer.push(STREAM);
        all(&mut framer, &mut whole);
        let messages: Vec<_> = whole
            .iter()
            .filter_map(|it| if let Frame::Message(it) = it { Some(&it[..]) } else { None })
            .collect();
        assert_eq!(messages.len(), 3);
        assert!(messages[0].ends_with(b" 5\r\n\r\n\r\n\r\nx"));
        assert_eq!(messages[1], b"SIP/2.0 200 OK\nl:0\n\n");
        assert!(messages[2].ends_with(b"\r\n\r\nhi"));
        assert_eq!(whole[..2], [Frame::Pong, Frame::Ping]);
        assert_eq!(whole[whole.len() - 3..], [Frame::Pong, Frame::Ping, Frame::Pong]);
        for size in 1..STREAM.len() {
            let mut framer = Framer::new();
            let mut out = Vec::new();
            for chunk in STREAM.chunks(size) {
                framer.push(chunk);
                all(&mut framer, &mut out);
            }
            assert_eq!(out, whole, "chunks of {size}");
            assert_eq!(framer.pending(), 0);
        }
    }

    fn error(stream: &[u8]) -> FrameError {
        let mut framer = Framer::new();
        framer.push(stream);
        let error = framer.next_frame().unwrap_err();
        framer.push(b"OPTIONS sip:a@b SIP/2.0\r\nl: 0\r\n\r\n");
        assert_eq!(framer.next_frame().unwrap_err(), error);
        error
    }

    #[test]
    fn a_stream_needs_its_content_length() {
        let head = b"OPTIONS sip:a@b SIP/2.0\r\nCall-ID: x\r\n\r\n";
        let it = error(head);
        assert_eq!(it.cause, Malformed::MissingContentLength.into());
        assert_eq!(it.head.as_deref(), Some(&head[..]));
        assert_eq!(error(b"A b:c SIP/2.0\r\nl: -1\r\n\r\n").cause, Malformed::ContentLength.into());
        assert_eq!(
            error(b"A b:c SIP/2.0\r\nl: 1\r\nl: 2\r\n\r\n").cause,
            Malformed::ContentLength.into()
        );
    }

    #[test]
    fn a_request_is_answered_before_the_close() {
        let rows = "Via: SIP/2.0/TCP h;branch=z9hG4bK1\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:b>\r\n\
                    Call-ID: x\r\nCSeq: 1 OPTIONS\r\n";
        let answer = error(format!("OPTIONS sip:b SIP/2.0\r\n{rows}\r\n").as_bytes()).answer();
        let answer = Message::parse(&answer.unwrap()).unwrap();
        assert_eq!(answer.status(), Some(400));
        assert_eq!(answer.reason(), Some("Missing Content-Length on a stream"));
        assert_eq!(answer.to_tag(), Some("af63f54c86021707"));
        let large = format!("OPTIONS sip:b SIP/2.0\r\n{rows}l: 65535\r\n\r\n");
        assert!(error(large.as_bytes()).answer().unwrap().starts_with(b"SIP/2.0 513 Message Too"));
        let ack = format!("ACK sip:b SIP/2.0\r\n{}\r\n", rows.replace("OPTIONS", "ACK"));
        assert_eq!(error(ack.as_bytes()).answer(), None);
        let response = format!("SIP/2.0 200 OK\r\n{rows}\r\n");
        assert_eq!(error(response.as_bytes()).answer(), None);
        assert_eq!(error(b"nonsense\r\n\r\n").answer(), None);
    }

    #[test]
    fn limits_hold() {
        assert_eq!(error(&[b'x'; MAX_HEADER_OCTETS + 1]).cause, Limit::HeaderOctets.into());
        assert_eq!(error(b"A b:c SIP/2.0\r\nl: 65535\r\n\r\n").cause, Limit::MessageOctets.into());
        assert_eq!(
            error(b"A b:c SIP/2.0\r\nl: 99999999999\r\n\r\n").cause,
            Malformed::ContentLength.into()
        );
    }

    #[test]
    fn keep_alives_of_datagrams() {
        assert!(is_keep_alive(b"") && is_keep_alive(b"\r\n\r\n") && is_keep_alive(b"\0\0\0\0"));
        assert!(!is_keep_alive(b"\r\nX") && !is_keep_alive(&[b'\r'; 17]));
    }

    #[test]
    fn a_length_with_other_white_space_breaks_the_stream_as_it_breaks_the_message() {
        for octets in [
            &b"OPTIONS sip:a@b SIP/2.0\r\nl: 0\x0c\r\n\r\n"[..],
            b"OPTIONS sip:a@b SIP/2.0\r\nl:\x0b0\r\n\r\n",
        ] {
            let mut framer = Framer::new();
            framer.push(octets);
            let error = framer.next_frame().unwrap_err();
            assert_eq!(error.cause, Malformed::ContentLength.into());
        }
    }

    /// Every value of up to six octets out of those that matter: framer and parser have to agree.
    #[test]
    fn framer_and_parser_agree_on_every_short_length() {
        const ALPHABET: &[u8] = b"01 \t\r\n";
        for len in 0..=6 {
            for number in 0..ALPHABET.len().pow(len) {
                let mut rest = number;
                let mut stream = b"OPTIONS sip:a@b SIP/2.0\r\nl:".to_vec();
                for _ in 0..len {
                    stream.push(ALPHABET[rest % ALPHABET.len()]);
                    rest /= ALPHABET.len();
                }
                stream.extend_from_slice(b"\r\nx: y\r\n\r\nbody of 16 octets");
                let mut framer = Framer::new();
                framer.push(&stream);
                let Ok(Some(Frame::Message(octets))) = framer.next_frame() else { continue };
                let Ok(message) = Message::parse(&octets) else { continue };
                let defects = [Malformed::BodyShort.into(), Malformed::ContentLength.into()];
                let shown = String::from_utf8_lossy(&octets);
                assert!(!message.defect().is_some_and(|it| defects.contains(&it)), "{shown:?}");
                assert_eq!(message.bytes().len(), octets.len(), "{shown:?}");
            }
        }
    }
}
