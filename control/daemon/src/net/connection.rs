//! One TCP connection: reads are framed, writes never wait for the peer.

use super::limits;
use core::time::Duration;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use tandem_signalling::build::MessageBuilder;
use tandem_signalling::framing::{Frame, Framer, PONG};
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
    /// Nothing was received for the idle time.
    Idle,
    /// A message was begun and not completed in time.
    SlowSender,
    /// The peer does not read what is sent to it.
    SlowReceiver,
    /// It did not stand in time.
    ConnectTimeout,
    /// What came cannot be framed (RFC 3261 §18.3).
    Framing,
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
            Self::Framing => "framing",
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
    /// A complete message was appended to the buffer.
    Message,
    /// Nothing more until the next input.
    Blocked,
    /// The connection is over.
    Closed(CloseReason),
}

/// One TCP connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) flow: Flow,
    pub(super) stream: TcpStream,
    framer: Framer,
    unsent: VecDeque<u8>,
    /// Not yet established (outgoing).
    pub(super) connecting: bool,
    /// Whether the poller reports when it can be written to.
    pub(super) watches_write: bool,
    last_input: Instant,
    /// When the message that is not complete yet began.
    partial_since: Option<Instant>,
    opened: Instant,
}

impl Connection {
    pub(super) fn new(flow: Flow, stream: TcpStream, connecting: bool, now: Instant) -> Self {
        Self {
            flow,
            stream,
            framer: Framer::new(),
            unsent: VecDeque::new(),
            connecting,
            watches_write: connecting,
            last_input: now,
            partial_since: None,
            opened: now,
        }
    }

    /// Takes one message out of what was received, reading at most `reads` chunks for it.
    pub(super) fn read(
        &mut self,
        now: Instant,
        reads: &mut usize,
        chunk: &mut [u8],
        message: &mut Vec<u8>,
    ) -> Read1 {
        loop {
            match self.framer.next_frame() {
                Ok(Some(Frame::Message(bytes))) => {
                    *message = bytes;
                    self.partial_since = None;
                    return Read1::Message;
                }
                Ok(Some(Frame::Ping)) => {
                    // RFC 5626 §4.4.1: a double CRLF is answered by a single one.
                    if self.write(PONG).is_err() {
                        return Read1::Closed(CloseReason::Error);
                    }
                    continue;
                }
                Ok(Some(Frame::Pong)) => continue,
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(cause = error.cause.key(), "a stream cannot be framed");
                    if let Some(answer) = error.answer() {
                        // What the peer does not take at once is lost with the connection.
                        let _ = self.write(&answer);
                    }
                    return Read1::Closed(CloseReason::Framing);
                }
            }
            if *reads == 0 {
                return Read1::Blocked;
            }
            *reads -= 1;
            match self.stream.read(chunk) {
                Ok(0) => return Read1::Closed(CloseReason::Peer),
                Ok(len) => {
                    self.last_input = now;
                    self.framer.push(&chunk[..len]);
                    self.partial_since.get_or_insert(now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.framer.pending() == 0 {
                        self.partial_since = None;
                    }
                    return Read1::Blocked;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Read1::Closed(CloseReason::Error),
            }
        }
    }

    /// Sends, keeping what the peer does not take now.
    ///
    /// # Errors
    /// [`CloseReason`] if the connection is broken or too much waits; it must be closed then.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), CloseReason> {
        let mut rest = bytes;
        if self.unsent.is_empty() && !self.connecting {
            rest = &bytes[self.write_some(bytes)?..];
        }
        if self.unsent.len() + rest.len() > limits::MAX_UNSENT {
            return Err(CloseReason::SlowReceiver);
        }
        self.unsent.extend(rest);
        Ok(())
    }

    /// Sends what waits, after the poller said that there is room (or that the connection stands).
    ///
    /// # Errors
    /// [`CloseReason`] if the connection is broken; it must be closed then.
    pub(super) fn handle_writable(&mut self) -> Result<(), CloseReason> {
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
                break;
            }
        }
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

    /// Whether something waits to be sent (or the connection to stand).
    pub(super) fn wants_write(&self) -> bool {
        self.connecting || !self.unsent.is_empty()
    }

    /// Whether it has to be closed by `now`.
    pub(super) fn overdue(&self, now: Instant, idle: Duration) -> Option<CloseReason> {
        if self.connecting && now.since(self.opened) > limits::CONNECT {
            Some(CloseReason::ConnectTimeout)
        } else if self.partial_since.is_some_and(|at| now.since(at) > limits::SLOW_SENDER) {
            Some(CloseReason::SlowSender)
        } else if now.since(self.last_input) > idle {
            Some(CloseReason::Idle)
        } else {
            None
        }
    }
}
