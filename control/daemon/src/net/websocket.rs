//! A WebSocket that carries SIP (RFC 6455, RFC 7118): octets in, messages and octets out.
//!
//! Frames are collected here and given whole to the library, so that what a peer has begun and not
//! ended is counted, and an idle connection holds no buffer.

use super::connection::CloseReason;
use super::limits;
use std::io::{self, Cursor, Read, Write};
use tandem_signalling::framing::{Frame, is_keep_alive};
use tandem_signalling::limits::MAX_MESSAGE_OCTETS;
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::http::HeaderValue;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Bytes, Error, Message};

/// The subprotocol (RFC 7118 §4.1).
const SUBPROTOCOL: &str = "sip";
/// What the library keeps to read into, octets.
const READ_BUFFER: usize = 512;
/// The answer to a request that asks for no WebSocket with SIP.
const REFUSAL: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\
    Content-Length: 53\r\nConnection: close\r\n\r\n\
    This port speaks SIP over WebSocket, subprotocol sip.";

/// The server's side of a WebSocket.
#[derive(Debug, Default)]
pub(super) struct WebSocket {
    /// What was received and is no whole upgrade or frame yet.
    input: Vec<u8>,
    /// What is before was read.
    start: usize,
    /// Octets of the fragments of a message that is not complete.
    fragments: usize,
    /// Since the upgrade.
    context: Option<Box<WebSocketContext>>,
}

/// The library's view of a stream: one frame to read, and what it writes.
struct Pipe<'a> {
    input: &'a [u8],
    output: &'a mut Vec<u8>,
}

impl Read for Pipe<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(into)
    }
}

impl Write for Pipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl WebSocket {
    /// Whether the upgrade is done.
    pub(super) const fn is_open(&self) -> bool {
        self.context.is_some()
    }

    /// Octets that wait for the rest of their message.
    pub(super) fn pending(&self) -> usize {
        self.input.len() - self.start + self.fragments
    }

    /// Adds what was read; then call [`Self::next_frame`] until it has no more.
    pub(super) fn push(&mut self, octets: &[u8]) {
        self.input.drain(..self.start);
        self.start = 0;
        self.input.extend_from_slice(octets);
    }

    /// The next message or keep-alive, `None` until more is pushed. What has to be sent by the way
    /// is appended to `out`, also when it fails.
    ///
    /// # Errors
    /// Why the connection is over.
    pub(super) fn next_frame(&mut self, out: &mut Vec<u8>) -> Result<Option<Frame>, CloseReason> {
        if self.context.is_none() {
            self.upgrade(out)?;
        }
        while let Some(context) = &mut self.context {
            let input = &self.input[self.start..];
            let Some(len) = whole_frame(input, &mut self.fragments)? else { break };
            let message = context.read(&mut Pipe { input: &input[..len], output: out });
            self.start += len;
            if let Some(frame) = handle(context, message, out)? {
                return Ok(Some(frame));
            }
        }
        if self.start == self.input.len() {
            (self.input, self.start) = (Vec::new(), 0);
        }
        Ok(None)
    }

    /// Reads the request for the WebSocket and answers it.
    fn upgrade(&mut self, out: &mut Vec<u8>) -> Result<(), CloseReason> {
        let is_whole = self.input.windows(4).any(|it| it == b"\r\n\r\n");
        if !is_whole && self.input.len() <= limits::MAX_UPGRADE {
            return Ok(());
        }
        let request = match Request::try_parse(&self.input) {
            Ok(Some((len, request))) if len <= limits::MAX_UPGRADE => {
                self.start = len;
                request
            }
            _ => {
                out.extend_from_slice(REFUSAL);
                return Err(CloseReason::WebSocket);
            }
        };
        let asked = request.headers().get_all("Sec-WebSocket-Protocol");
        let speaks_sip = asked
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|it| it.trim().eq_ignore_ascii_case(SUBPROTOCOL)));
        let answered = create_response(&request).ok().filter(|_| speaks_sip).and_then(|mut ok| {
            let name = HeaderValue::from_static(SUBPROTOCOL);
            ok.headers_mut().insert("Sec-WebSocket-Protocol", name);
            write_response(&mut *out, &ok).ok()
        });
        if answered.is_none() {
            out.extend_from_slice(REFUSAL);
            return Err(CloseReason::WebSocket);
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_frame_size(Some(MAX_MESSAGE_OCTETS))
            .max_message_size(Some(MAX_MESSAGE_OCTETS));
        self.context = Some(Box::new(WebSocketContext::new(Role::Server, Some(config))));
        Ok(())
    }

    /// Puts one message into a frame: of text, unless it is not UTF-8 (RFC 7118 §4.2).
    ///
    /// # Errors
    /// The connection is being closed.
    pub(super) fn wrap(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<(), CloseReason> {
        let message = match core::str::from_utf8(message) {
            Ok(text) => Message::text(text),
            Err(_) => Message::binary(Bytes::copy_from_slice(message)),
        };
        self.write(message, out)
    }

    /// Asks for a sign of life (RFC 7118 §6).
    ///
    /// # Errors
    /// As [`Self::wrap`].
    pub(super) fn ping(&mut self, out: &mut Vec<u8>) -> Result<(), CloseReason> {
        self.write(Message::Ping(Bytes::new()), out)
    }

    fn write(&mut self, message: Message, out: &mut Vec<u8>) -> Result<(), CloseReason> {
        let context = self.context.as_mut().ok_or(CloseReason::WebSocket)?;
        let mut pipe = Pipe { input: &[], output: out };
        let written = context.write(&mut pipe, message).and_then(|()| context.flush(&mut pipe));
        written.map_err(|_| CloseReason::WebSocket)
    }
}

/// Octets of the first frame, if all of it is there.
fn whole_frame(input: &[u8], fragments: &mut usize) -> Result<Option<usize>, CloseReason> {
    let mut cursor = Cursor::new(input);
    let parsed = FrameHeader::parse(&mut cursor).map_err(|_| CloseReason::WebSocket)?;
    let Some((header, payload)) = parsed else { return Ok(None) };
    let payload = usize::try_from(payload).unwrap_or(usize::MAX);
    if payload.saturating_add(*fragments) > MAX_MESSAGE_OCTETS {
        return Err(CloseReason::WebSocket);
    }
    let head = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
    let len = head.saturating_add(payload);
    if len > input.len() {
        return Ok(None);
    }
    if matches!(header.opcode, OpCode::Data(Data::Text | Data::Binary | Data::Continue)) {
        *fragments = if header.is_final { 0 } else { *fragments + payload };
    }
    Ok(Some(len))
}

/// What a frame means.
fn handle(
    context: &mut WebSocketContext,
    message: Result<Message, Error>,
    out: &mut Vec<u8>,
) -> Result<Option<Frame>, CloseReason> {
    let payload = match message {
        Ok(Message::Text(text)) => text.as_bytes().to_vec(),
        Ok(Message::Binary(octets)) => octets.to_vec(),
        Ok(Message::Pong(_)) => return Ok(Some(Frame::Pong)),
        Ok(Message::Ping(_) | Message::Frame(_)) => {
            // The answer waits in the library.
            let _ = context.flush(&mut Pipe { input: &[], output: out });
            return Ok(None);
        }
        Ok(Message::Close(_)) => {
            let _ = context.flush(&mut Pipe { input: &[], output: out });
            return Err(CloseReason::Peer);
        }
        // A fragment; the rest comes in frames to follow.
        Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        Err(Error::ConnectionClosed | Error::AlreadyClosed) => return Err(CloseReason::Peer),
        Err(_) => return Err(CloseReason::WebSocket),
    };
    // RFC 5626 §3.5.1 over a WebSocket: the line ends are a message of their own.
    Ok(Some(match is_keep_alive(&payload) {
        true if payload.starts_with(b"\r\n\r\n") => Frame::Ping,
        true => Frame::Pong,
        false => Frame::Message(payload),
    }))
}

#[cfg(test)]
mod tests;
