//! The signalling sockets: UDP, TCP, TLS, WebSocket and secure WebSocket, IPv4 and IPv6, on one
//! thread, without waiting for any peer.
//!
//! [`Net::wait`] sleeps until something is ready, [`Net::next_input`] takes messages one by one, and
//! [`Net::send`] writes on the flow that the stack names. A flow of a stream with connection 0 means
//! "the connection to this peer, opened if there is none".
//!
//! | file | what it holds |
//! | --- | --- |
//! | `bind` | sockets, and why they cannot be opened |
//! | `streams` | connections as a whole: accepted, opened, found again, given up |
//! | `connection` | one of them: its octets, its messages, its times |
//! | `tls` | a TLS session without a socket; certificates from files, read again when they change |
//! | `websocket` | a WebSocket without a socket |
//! | `stun` | bindings on the SIP port |
//! | [`names`] | the names that peers have to prove |
//! | [`limits`] | every limit |

mod addresses;
mod bind;
mod connection;
pub mod limits;
pub mod names;
mod streams;
mod stun;
mod tls;
mod websocket;

pub use addresses::{Addresses, reachable_ip};
pub use bind::NetError;
pub use connection::{CloseReason, refusal};
pub use names::PeerNames;
pub use tls::files::{Tls, TlsError, TlsFiles};
pub use tls::watch::TlsWatch;

use addresses::named;
use connection::{Connection, Scratch};
use core::mem::MaybeUninit;
use core::time::Duration;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use streams::Peer;
use tandem_signalling::framing::is_keep_alive;
use tandem_signalling::stack::{Flow, Transport};
use tandem_wire::time::Instant;

/// What the poller's 64 bits of a socket mean: kind in the upper octet, index or id below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Wake,
    External(u64),
    Udp(usize),
    Listener(usize),
    Connection(u64),
}

const TOKEN_SHIFT: u32 = 56;

impl Token {
    const fn encode(self) -> epoll::EventData {
        let (kind, low) = match self {
            Self::Wake => (0, 0),
            Self::External(token) => (1, token),
            Self::Udp(index) => (2, index as u64),
            Self::Listener(index) => (3, index as u64),
            Self::Connection(id) => (4, id),
        };
        epoll::EventData::new_u64((kind << TOKEN_SHIFT) | low)
    }

    fn decode(data: epoll::EventData) -> Self {
        let bits = data.u64();
        let low = bits & ((1 << TOKEN_SHIFT) - 1);
        let index = usize::try_from(low).unwrap_or(usize::MAX);
        match bits >> TOKEN_SHIFT {
            0 => Self::Wake,
            1 => Self::External(low),
            2 => Self::Udp(index),
            3 => Self::Listener(index),
            _ => Self::Connection(low),
        }
    }
}

/// What the sockets have for the loop.
#[derive(Debug)]
pub enum Input<'a> {
    /// A complete message.
    Message {
        /// Where it came from; an answer goes the same way.
        flow: Flow,
        /// The octets.
        bytes: &'a [u8],
    },
    /// A connection is over, or could not be made.
    Closed {
        /// Which.
        flow: Flow,
        /// Why.
        reason: CloseReason,
    },
    /// A watched file descriptor is ready.
    External(u64),
}

/// Why a message could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The connection is not there any more.
    NoConnection,
    /// There is no socket of that family or transport.
    NoSocket,
    /// The table of connections is full.
    TooMany,
    /// The system refused it (no route, message too long).
    Refused,
    /// There is no name that the peer's certificate could hold.
    NoName,
}

/// What the sockets are opened with.
#[derive(Clone, Debug)]
pub struct NetOptions {
    /// Where to listen.
    pub listen: Vec<(Transport, SocketAddr)>,
    /// Certificates, for secure transports both ways.
    pub tls: Option<Arc<Tls>>,
    /// A connection that is silent for this time is closed.
    pub idle: Duration,
    /// A WebSocket that is silent for this time is pinged; `None` for never.
    pub ping: Option<Duration>,
    /// Connections at the same time, at most [`limits::MAX_CONNECTIONS`].
    pub max_connections: usize,
}

/// Counters of the sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetCounters {
    /// Messages that the kernel's send buffer had no room for; retransmission covers them.
    pub udp_dropped: u64,
    /// Empty datagrams, CRLF keep-alives and STUN bindings over UDP.
    pub keepalives: u64,
    /// Connections refused because a table was full.
    pub connections_refused: u64,
    /// Ended connections by reason.
    pub closed: BTreeMap<&'static str, u64>,
}

/// Wakes the signalling thread out of [`Net::wait`] from another thread.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// Wakes it.
    pub fn wake(&self) {
        // Fails only if the counter is full, and then the thread wakes anyway.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}

impl std::task::Wake for Waker {
    fn wake(self: Arc<Self>) {
        Self::wake(&self);
    }
}

/// The sockets of the signalling thread.
#[derive(Debug)]
pub struct Net {
    epoll: OwnedFd,
    wake: Waker,
    udp: Vec<(SocketAddr, UdpSocket)>,
    listeners: Vec<(Transport, SocketAddr, TcpListener)>,
    /// When the want of descriptors was last said.
    said_exhausted: Option<Instant>,
    /// Until when nothing is accepted.
    accept_again: Option<Instant>,
    connections: HashMap<u64, Connection>,
    by_peer: HashMap<Peer, u64>,
    per_peer: HashMap<IpAddr, usize>,
    /// Accepted connections in their order, at least all that brought no message.
    half_open: VecDeque<u64>,
    /// How many of them brought no message.
    unspoken: usize,
    /// Octets of all messages that are not complete.
    partial: usize,
    next_connection: u64,
    options: NetOptions,
    tls: Option<Arc<Tls>>,
    max_connections: usize,
    ready: VecDeque<(Token, bool, usize)>,
    closed: VecDeque<(Flow, CloseReason)>,
    scratch: Scratch,
    message: Vec<u8>,
    next_sweep: Instant,
    counters: NetCounters,
    /// A socket had more to read than it may in one turn.
    left_unread: bool,
}

impl Net {
    /// Opens the sockets.
    ///
    /// # Errors
    /// [`NetError`] with the remedy, if one of them can't be opened.
    pub fn open(options: NetOptions) -> Result<Self, NetError> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io::Error::from)?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let wake = Waker(Arc::new(eventfd(0, flags).map_err(io::Error::from)?));
        let mut net = Self {
            epoll,
            wake,
            udp: Vec::new(),
            listeners: Vec::new(),
            said_exhausted: None,
            accept_again: None,
            connections: HashMap::new(),
            by_peer: HashMap::new(),
            per_peer: HashMap::new(),
            half_open: VecDeque::new(),
            unspoken: 0,
            partial: 0,
            next_connection: 1,
            tls: options.tls.clone(),
            max_connections: options.max_connections.min(limits::MAX_CONNECTIONS),
            ready: VecDeque::new(),
            closed: VecDeque::new(),
            scratch: Scratch::new(limits::MAX_DATAGRAM.max(limits::READ_CHUNK)),
            message: Vec::with_capacity(limits::MAX_DATAGRAM),
            next_sweep: Instant::ZERO,
            counters: NetCounters::default(),
            options,
            left_unread: false,
        };
        net.watch(&net.wake.0, Token::Wake, epoll::EventFlags::IN)?;
        for (transport, address) in net.options.listen.clone() {
            if transport == Transport::Udp {
                let socket = bind::udp(address)?;
                net.watch(&socket, Token::Udp(net.udp.len()), epoll::EventFlags::IN)?;
                net.udp.push((named(socket.local_addr()?), socket));
            } else {
                let listener = bind::stream(transport.via_name(), address)?;
                net.watch(&listener, Token::Listener(net.listeners.len()), epoll::EventFlags::IN)?;
                net.listeners.push((transport, named(listener.local_addr()?), listener));
            }
        }
        Ok(net)
    }

    fn watch(
        &self,
        fd: impl AsFd,
        token: Token,
        interest: epoll::EventFlags,
    ) -> Result<(), io::Error> {
        Ok(epoll::add(&self.epoll, fd, token.encode(), interest)?)
    }

    /// Reports `fd` as [`Input::External`] whenever it is readable, until the reader drains it.
    ///
    /// # Errors
    /// What the system says.
    pub fn watch_external(&self, fd: impl AsFd, token: u64) -> io::Result<()> {
        self.watch(fd, Token::External(token), epoll::EventFlags::IN)
    }

    /// Wakes this thread from others.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.wake.clone()
    }

    /// The addresses of all sockets; one that is bound to all addresses goes by the one of the
    /// default route.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        let mut all = Addresses::default();
        self.udp.iter().for_each(|(at, _)| all.add(Transport::Udp, *at));
        self.listeners.iter().for_each(|(transport, at, _)| all.add(*transport, *at));
        all
    }

    /// Connections that exist.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// What was counted.
    #[must_use]
    pub const fn counters(&self) -> &NetCounters {
        &self.counters
    }

    /// Sleeps until a socket is ready, somebody wakes, or the time is over.
    ///
    /// # Errors
    /// What the system says; an interruption by a signal is not an error.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let mut room = [MaybeUninit::<epoll::Event>::uninit(); limits::EVENTS_PER_WAIT];
        match epoll::wait(&self.epoll, &mut room[..], Some(&timeout)) {
            Ok((events, _)) => {
                for &mut epoll::Event { flags, data } in events {
                    let writable = flags.intersects(epoll::EventFlags::OUT);
                    let token = Token::decode(data);
                    self.ready.push_back((token, writable, limits::READS_PER_TURN));
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// The next thing that the ready sockets have; `None` when it is time to wait again.
    pub fn next_input(&mut self, now: Instant) -> Option<Input<'_>> {
        if now >= self.next_sweep {
            self.next_sweep = now + limits::SWEEP;
            self.sweep(now);
            self.resume_accepting(now);
        }
        loop {
            if let Some((flow, reason)) = self.closed.pop_front() {
                return Some(Input::Closed { flow, reason });
            }
            let (token, writable, mut reads) = self.ready.pop_front()?;
            let found = match token {
                Token::Wake => {
                    let mut count = [0; 8];
                    let _ = rustix::io::read(&*self.wake.0, &mut count);
                    None
                }
                Token::External(token) => return Some(Input::External(token)),
                Token::Udp(index) => self.read_datagram(index, &mut reads),
                Token::Listener(index) => {
                    self.accept(index, now);
                    None
                }
                Token::Connection(id) => self.serve_connection(id, writable, &mut reads, now),
            };
            if let Some(flow) = found {
                // Its messages stay in order: the same socket goes on.
                self.ready.push_front((token, false, reads));
                return Some(Input::Message { flow, bytes: &self.message });
            }
        }
    }

    fn read_datagram(&mut self, index: usize, reads: &mut usize) -> Option<Flow> {
        let (local, socket) = self.udp.get(index)?;
        while *reads > 0 {
            *reads -= 1;
            let Ok((len, remote)) = socket.recv_from(&mut self.scratch.chunk) else {
                return None;
            };
            let bytes = &self.scratch.chunk[..len];
            if stun::is_stun(bytes) {
                self.counters.keepalives += 1;
                if let Some(answer) = stun::answer(bytes, remote) {
                    // One that is lost is asked for again.
                    let _ = socket.send_to(&answer, remote);
                }
                continue;
            }
            if is_keep_alive(bytes) {
                self.counters.keepalives += 1;
                continue;
            }
            self.message.clear();
            self.message.extend_from_slice(bytes);
            return Some(Flow::udp(*local, remote));
        }
        self.left_unread = true;
        None
    }

    /// Whether a socket had more than its turn since this was asked last.
    pub const fn take_left_unread(&mut self) -> bool {
        core::mem::replace(&mut self.left_unread, false)
    }

    /// Sends one message; never waits. `name` is the one of [`Flow::name`], which the peer has to
    /// prove if a secure connection is opened to it.
    ///
    /// # Errors
    /// [`SendError`]; the stack must be told that the flow failed.
    pub fn send(
        &mut self,
        now: Instant,
        flow: &Flow,
        name: Option<&Arc<str>>,
        bytes: &[u8],
    ) -> Result<(), SendError> {
        match flow.transport {
            Transport::Udp => self.send_datagram(flow, bytes),
            _ => self.send_stream(now, flow, name, bytes),
        }
    }

    fn send_datagram(&mut self, flow: &Flow, bytes: &[u8]) -> Result<(), SendError> {
        let socket = self
            .udp
            .iter()
            .find(|(local, _)| *local == flow.local)
            .or_else(|| self.udp.iter().find(|(l, _)| l.is_ipv4() == flow.remote.is_ipv4()));
        let (_, socket) = socket.ok_or(SendError::NoSocket)?;
        match socket.send_to(bytes, flow.remote) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.counters.udp_dropped += 1;
                Ok(())
            }
            Err(_) => Err(SendError::Refused),
        }
    }
}

#[cfg(test)]
mod tests;
