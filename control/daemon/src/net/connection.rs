//! One connection: what is read is unsealed and cut into messages, writes never wait for the peer.
//!
//! ```text
//! socket → TLS? → stream framing | WebSocket → message
//! ```

use super::limits;
use super::streams::Peer;
use super::tls::Session;
use super::websocket::WebSocket;
use core::time::Duration;
use rustls::pki_types::ServerName;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use tandem_signalling::build::MessageBuilder;
use tandem_signalling::framing::{Frame, Framer, PING, PONG};
use tandem_signalling::message::Message;
use tandem_signalling::method::Method;
use tandem_signalling::stack::Flow;
use tandem_wire::time::Instant;

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CloseReason {
    /// The peer closed it.
    Peer,
    /// The system reported an error.
    Error,
    /// Nothing was received for the idle time, or no keep-alive for the announced Flow-Timer.
    Idle,
    /// A message was begun and not completed in time.
    SlowSender,
    /// The peer does not read what is sent to it.
    SlowReceiver,
    /// It did not stand in time.
    ConnectTimeout,
    /// The peer did not end its TLS handshake or WebSocket upgrade in time.
    HandshakeTimeout,
    /// The peer connected and sent no message.
    NoMessage,
    /// Too many connections without a message, and this one waited longest.
    HalfOpen,
    /// Too much memory in messages that are not complete, and this one waited longest.
    Partial,
    /// The peer no longer answers to keep-alives.
    NoPong,
    /// What came cannot be framed (RFC 3261 §18.3).
    Framing,
    /// The peer does not keep to TLS, or its certificate is not the one it must be.
    Tls,
    /// The peer does not keep to WebSocket, or does not speak SIP over it.
    WebSocket,
}

impl CloseReason {
    /// The name in counters.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Error => "error",
            Self::Idle => "idle",
            Self::SlowSender => "slow_sender",
            Self::SlowReceiver => "slow_receiver",
            Self::ConnectTimeout => "connect_timeout",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::NoMessage => "no_message",
            Self::HalfOpen => "half_open",
            Self::Partial => "partial",
            Self::NoPong => "no_pong",
            Self::Framing => "framing",
            Self::Tls => "tls",
            Self::WebSocket => "websocket",
        }
    }
}

/// The answer to a request that is refused before a transaction sees it; none to ACK, to a
/// response, and to what cannot be read at all.
#[must_use]
pub fn refusal(request: &[u8], status: u16) -> Option<Vec<u8>> {
    let request = Message::parse(request).ok()?;
    if !request.is_request() || request.method() == Method::Ack {
        return None;
    }
    let answer = MessageBuilder::response_to(&request, status, "").finish().ok()?;
    Some(answer.bytes().to_vec())
}

/// What reading found.
#[derive(Debug)]
pub(super) enum Read1 {
    /// A complete message was put into the buffer.
    Message,
    /// Nothing more until the next input.
    Blocked,
    /// The connection is over.
    Closed(CloseReason),
}

/// Buffers that all connections share.
#[derive(Debug)]
pub(super) struct Scratch {
    /// What is read from a socket.
    pub(super) chunk: Vec<u8>,
    /// What TLS has unsealed.
    clear: Vec<u8>,
    /// What TLS or WebSocket want sent.
    wire: Vec<u8>,
}

impl Scratch {
    pub(super) fn new(chunk: usize) -> Self {
        Self { chunk: vec![0; chunk], clear: Vec::new(), wire: Vec::new() }
    }
}

/// How messages lie in the octets.
#[derive(Debug)]
enum Framing {
    Stream(Framer),
    Web(Box<WebSocket>),
}

impl Framing {
    fn push(&mut self, octets: &[u8]) {
        match self {
            Self::Stream(framer) => framer.push(octets),
            Self::Web(socket) => socket.push(octets),
        }
    }

    fn pending(&self) -> usize {
        match self {
            Self::Stream(framer) => framer.pending(),
            Self::Web(socket) => socket.pending(),
        }
    }
}

/// Keep-alives of ours on one connection.
#[derive(Clone, Copy, Debug, Default)]
struct Pings {
    /// Asked and not answered since.
    asked: Option<Instant>,
    /// The peer has answered one: it has to answer the next ones too.
    answers: bool,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) flow: Flow,
    pub(super) stream: TcpStream,
    tls: Option<Box<Session>>,
    framing: Framing,
    unsent: VecDeque<u8>,
    /// We opened it.
    pub(super) is_outgoing: bool,
    /// Not yet established (outgoing).
    pub(super) connecting: bool,
    /// Whether the poller reports when it can be written to.
    pub(super) watches_write: bool,
    /// A whole message came.
    pub(super) has_spoken: bool,
    /// Under which peers it is found.
    pub(super) peers: Vec<Peer>,
    /// Octets that were counted as part of messages that are not complete.
    pub(super) counted: usize,
    last_input: Instant,
    last_ping: Instant,
    pings: Pings,
    /// A keep-alive of the peer has to come within this time (RFC 5626 §4.4.1).
    pub(super) flow_timer: Option<Duration>,
    /// When the message that is not complete yet began.
    partial_since: Option<Instant>,
    /// When what waits for the peer began to wait.
    stalled_since: Option<Instant>,
    opened: Instant,
}

impl Connection {
    pub(super) fn new(
        flow: Flow,
        stream: TcpStream,
        tls: Option<Session>,
        is_outgoing: bool,
        now: Instant,
    ) -> Self {
        let framing = match flow.transport.is_websocket() {
            true => Framing::Web(Box::default()),
            false => Framing::Stream(Framer::new()),
        };
        Self {
            flow,
            stream,
            tls: tls.map(Box::new),
            framing,
            unsent: VecDeque::new(),
            is_outgoing,
            connecting: is_outgoing,
            watches_write: is_outgoing,
            has_spoken: false,
            peers: Vec::new(),
            counted: 0,
            last_input: now,
            last_ping: now,
            pings: Pings::default(),
            flow_timer: None,
            partial_since: None,
            stalled_since: None,
            opened: now,
        }
    }

    /// Octets of the message that is not complete.
    pub(super) fn pending(&self) -> usize {
        self.framing.pending()
    }

    /// Since when a message is not complete.
    pub(super) const fn partial_since(&self) -> Option<Instant> {
        self.partial_since
    }

    /// Takes one message out of what was received, reading at most `reads` chunks for it.
    pub(super) fn read(
        &mut self,
        now: Instant,
        reads: &mut usize,
        scratch: &mut Scratch,
        message: &mut Vec<u8>,
    ) -> Read1 {
        loop {
            match self.next_frame(now, scratch) {
                Ok(Some(Frame::Message(bytes))) => {
                    *message = bytes;
                    // What follows it in the buffer began now.
                    self.partial_since = (self.pending() > 0).then_some(now);
                    self.has_spoken = true;
                    return Read1::Message;
                }
                Ok(Some(Frame::Ping)) => {
                    // RFC 5626 §4.4.1: a double CRLF is answered by a single one.
                    if let Err(reason) = self.write(now, PONG, scratch) {
                        return Read1::Closed(reason);
                    }
                    continue;
                }
                Ok(Some(Frame::Pong)) => {
                    self.pings.answers |= self.pings.asked.take().is_some();
                    continue;
                }
                Ok(None) if self.pending() == 0 => self.partial_since = None,
                Ok(None) => _ = self.partial_since.get_or_insert(now),
                Err(reason) => return Read1::Closed(reason),
            }
            if *reads == 0 {
                return Read1::Blocked;
            }
            *reads -= 1;
            match self.stream.read(&mut scratch.chunk[..limits::READ_CHUNK]) {
                Ok(0) => return Read1::Closed(CloseReason::Peer),
                Ok(len) => {
                    self.last_input = now;
                    if let Err(reason) = self.receive(now, len, scratch) {
                        return Read1::Closed(reason);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Read1::Blocked,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Read1::Closed(CloseReason::Error),
            }
        }
    }

    /// Unseals what was read.
    fn receive(
        &mut self,
        now: Instant,
        len: usize,
        scratch: &mut Scratch,
    ) -> Result<(), CloseReason> {
        let Some(tls) = &mut self.tls else {
            self.framing.push(&scratch.chunk[..len]);
            return Ok(());
        };
        let Scratch { chunk, clear, wire } = scratch;
        clear.clear();
        wire.clear();
        let ended = tls.receive(&chunk[..len], clear, wire);
        self.framing.push(clear);
        // What the peer does not take at once of an alert is lost with the connection.
        let queued = self.queue(now, wire);
        if ended? && self.framing.pending() == 0 {
            return Err(CloseReason::Peer);
        }
        queued
    }

    fn next_frame(
        &mut self,
        now: Instant,
        scratch: &mut Scratch,
    ) -> Result<Option<Frame>, CloseReason> {
        match &mut self.framing {
            Framing::Stream(framer) => framer.next_frame().map_err(|error| {
                tracing::debug!(cause = error.cause.key(), "a stream cannot be framed");
                if let Some(answer) = error.answer() {
                    // What the peer does not take at once is lost with the connection.
                    let _ = self.write(now, &answer, scratch);
                }
                CloseReason::Framing
            }),
            Framing::Web(socket) => {
                let mut answers = Vec::new();
                let frame = socket.next_frame(&mut answers);
                let sent = self.seal(now, &answers, scratch);
                frame.and_then(|frame| sent.map(|()| frame))
            }
        }
    }

    /// Sends a message, keeping what the peer does not take now.
    ///
    /// # Errors
    /// [`CloseReason`] if the connection is broken or too much waits; it must be closed then.
    pub(super) fn write(
        &mut self,
        now: Instant,
        message: &[u8],
        scratch: &mut Scratch,
    ) -> Result<(), CloseReason> {
        match &mut self.framing {
            Framing::Stream(_) => self.seal(now, message, scratch),
            Framing::Web(socket) => {
                let mut framed = Vec::with_capacity(message.len() + 16);
                socket.wrap(message, &mut framed)?;
                self.seal(now, &framed, scratch)
            }
        }
    }

    fn seal(
        &mut self,
        now: Instant,
        octets: &[u8],
        scratch: &mut Scratch,
    ) -> Result<(), CloseReason> {
        if octets.is_empty() {
            return Ok(());
        }
        let Some(tls) = &mut self.tls else { return self.queue(now, octets) };
        scratch.wire.clear();
        let sealed = tls.send(octets, &mut scratch.wire);
        self.queue(now, &scratch.wire)?;
        sealed
    }

    /// Sends octets of the wire, or lets them wait.
    fn queue(&mut self, now: Instant, wire: &[u8]) -> Result<(), CloseReason> {
        let mut rest = wire;
        if self.unsent.is_empty() && !self.connecting {
            rest = &wire[self.write_some(wire)?..];
        }
        if self.unsent.len() + rest.len() > limits::MAX_UNSENT {
            return Err(CloseReason::SlowReceiver);
        }
        if !rest.is_empty() {
            self.stalled_since.get_or_insert(now);
            self.unsent.extend(rest);
        }
        Ok(())
    }

    /// Sends what waits, after the poller said that there is room (or that the connection stands).
    ///
    /// # Errors
    /// [`CloseReason`] if the connection is broken; it must be closed then.
    pub(super) fn handle_writable(&mut self, now: Instant) -> Result<(), CloseReason> {
        if self.connecting {
            if self.stream.take_error().map_or(true, |error| error.is_some())
                || self.stream.peer_addr().is_err()
            {
                return Err(CloseReason::Error);
            }
            self.connecting = false;
        }
        while !self.unsent.is_empty() {
            let mut unsent = core::mem::take(&mut self.unsent);
            let sent = self.write_some(unsent.as_slices().0);
            if let Ok(sent) = sent {
                unsent.drain(..sent);
            }
            self.unsent = unsent;
            if sent? == 0 {
                return Ok(());
            }
            self.stalled_since = Some(now);
        }
        self.stalled_since = None;
        self.unsent = VecDeque::new();
        Ok(())
    }

    fn write_some(&mut self, bytes: &[u8]) -> Result<usize, CloseReason> {
        let mut sent = 0;
        while sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(0) => return Err(CloseReason::Peer),
                Ok(len) => sent += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(CloseReason::Error),
            }
        }
        Ok(sent)
    }

    /// Begins the handshake of a connection that we open.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(super) fn begin(&mut self, now: Instant, scratch: &mut Scratch) -> Result<(), CloseReason> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        scratch.wire.clear();
        tls.flush(&mut scratch.wire);
        self.queue(now, &scratch.wire)
    }

    /// Tells a TLS peer that the connection ends; what it does not take at once is lost.
    pub(super) fn say_goodbye(&mut self) {
        if let Some(tls) = &mut self.tls
            && !self.connecting
            && self.unsent.is_empty()
        {
            let mut wire = Vec::new();
            tls.end(&mut wire);
            let _ = self.write_some(&wire);
        }
    }

    /// Whether something waits to be sent (or the connection to stand).
    pub(super) fn wants_write(&self) -> bool {
        self.connecting || !self.unsent.is_empty()
    }

    /// Whether TLS and WebSocket are not set up yet.
    fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
            || matches!(&self.framing, Framing::Web(socket) if !socket.is_open())
    }

    /// Whether the peer has proved by a certificate that it is `name`.
    pub(super) fn peer_is(&self, name: &ServerName<'_>) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.peer_is(name))
    }

    /// Whether the peer has a certificate that was checked.
    pub(super) fn has_certificate(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_certificate())
    }

    /// Sends the keep-alive that is due: a WebSocket ping (RFC 7118 §6) after `web` of silence, or
    /// a double CRLF on a connection that we opened (RFC 5626 §4.4.1).
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(super) fn keep_alive(
        &mut self,
        now: Instant,
        web: Option<Duration>,
        scratch: &mut Scratch,
    ) -> Result<(), CloseReason> {
        let every = match self.framing {
            Framing::Web(_) => web,
            Framing::Stream(_) => self.is_outgoing.then_some(limits::PING),
        };
        let since = self.last_input.max(self.last_ping);
        if self.is_handshaking()
            || self.connecting
            || every.is_none_or(|every| now.since(since) < every)
        {
            return Ok(());
        }
        self.last_ping = now;
        self.pings.asked = Some(now);
        match &mut self.framing {
            Framing::Stream(_) => self.seal(now, PING, scratch),
            Framing::Web(socket) => {
                let mut framed = Vec::new();
                socket.ping(&mut framed)?;
                self.seal(now, &framed, scratch)
            }
        }
    }

    /// Whether it has to be closed by `now`.
    pub(super) fn overdue(&self, now: Instant, idle: Duration) -> Option<CloseReason> {
        let passed = |at: Option<Instant>, limit| at.is_some_and(|at| now.since(at) > limit);
        let age = now.since(self.opened);
        let pong_due = self.pings.asked.filter(|asked| {
            // Anything that came since is a sign of life too.
            self.pings.answers && *asked > self.last_input
        });
        let silence = match self.flow_timer {
            Some(timer) => idle.min(timer + limits::FLOW_TIMER_GRACE),
            None => idle,
        };
        if self.is_outgoing && (self.connecting || self.is_handshaking()) {
            (age > limits::CONNECT).then_some(CloseReason::ConnectTimeout)
        } else if self.is_handshaking() {
            (age > limits::HANDSHAKE).then_some(CloseReason::HandshakeTimeout)
        } else if passed(self.partial_since, limits::SLOW_SENDER) {
            Some(CloseReason::SlowSender)
        } else if passed(self.stalled_since, limits::SLOW_RECEIVER) {
            Some(CloseReason::SlowReceiver)
        } else if passed(pong_due, limits::PONG) {
            Some(CloseReason::NoPong)
        } else if !self.is_outgoing && !self.has_spoken && age > limits::FIRST_MESSAGE {
            Some(CloseReason::NoMessage)
        } else if now.since(self.last_input) > silence {
            Some(CloseReason::Idle)
        } else {
            None
        }
    }
}
