//! The signalling sockets: UDP and TCP, IPv4 and IPv6, on one thread, without waiting for any peer.
//!
//! [`Net::wait`] sleeps until something is ready, [`Net::next_input`] takes messages one by one, and
//! [`Net::send`] writes on the flow that the stack names. A TCP flow with connection 0 means "the
//! connection to this address, opened if there is none".

mod addresses;
mod bind;
mod connection;
pub mod limits;
pub mod names;

pub use addresses::{Addresses, reachable_ip};
pub use bind::NetError;
pub use connection::{CloseReason, refusal};
pub use names::PeerNames;

use addresses::named;
use connection::{Connection, Read1};
use core::mem::MaybeUninit;
use core::time::Duration;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::net::SocketType;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
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
}

/// Counters of the sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetCounters {
    /// Messages that the kernel's send buffer had no room for; retransmission covers them.
    pub udp_dropped: u64,
    /// Empty datagrams and CRLF keep-alives over UDP.
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
    listeners: Vec<(SocketAddr, TcpListener)>,
    connections: HashMap<u64, Connection>,
    by_remote: HashMap<SocketAddr, u64>,
    per_peer: HashMap<IpAddr, usize>,
    next_connection: u64,
    idle: Duration,
    max_connections: usize,
    ready: VecDeque<(Token, bool, usize)>,
    closed: VecDeque<(Flow, CloseReason)>,
    chunk: Vec<u8>,
    message: Vec<u8>,
    next_sweep: Instant,
    counters: NetCounters,
}

impl Net {
    /// Opens UDP sockets and TCP listeners; `idle` ends silent connections.
    ///
    /// # Errors
    /// [`NetError`] with the remedy, if one of them can't be opened.
    pub fn open(udp: &[SocketAddr], tcp: &[SocketAddr], idle: Duration) -> Result<Self, NetError> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io::Error::from)?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let wake = Waker(Arc::new(eventfd(0, flags).map_err(io::Error::from)?));
        let mut net = Self {
            epoll,
            wake,
            udp: Vec::new(),
            listeners: Vec::new(),
            connections: HashMap::new(),
            by_remote: HashMap::new(),
            per_peer: HashMap::new(),
            next_connection: 1,
            idle,
            max_connections: limits::MAX_CONNECTIONS,
            ready: VecDeque::new(),
            closed: VecDeque::new(),
            chunk: vec![0; limits::MAX_DATAGRAM.max(limits::READ_CHUNK)],
            message: Vec::with_capacity(limits::MAX_DATAGRAM),
            next_sweep: Instant::ZERO,
            counters: NetCounters::default(),
        };
        net.watch(&net.wake.0, Token::Wake, epoll::EventFlags::IN)?;
        for &address in udp {
            let socket = bind::udp(address)?;
            net.watch(&socket, Token::Udp(net.udp.len()), epoll::EventFlags::IN)?;
            net.udp.push((named(socket.local_addr()?), socket));
        }
        for &address in tcp {
            let listener = bind::tcp(address)?;
            net.watch(&listener, Token::Listener(net.listeners.len()), epoll::EventFlags::IN)?;
            net.listeners.push((named(listener.local_addr()?), listener));
        }
        Ok(net)
    }

    /// Allows fewer connections than [`limits::MAX_CONNECTIONS`].
    pub fn limit_connections(&mut self, limit: u32) {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.max_connections = limit.min(limits::MAX_CONNECTIONS);
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
        self.listeners.iter().for_each(|(at, _)| all.add(Transport::Tcp, *at));
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
            let Ok((len, remote)) = socket.recv_from(&mut self.chunk) else { return None };
            let bytes = &self.chunk[..len];
            if is_keep_alive(bytes) {
                self.counters.keepalives += 1;
                continue;
            }
            self.message.clear();
            self.message.extend_from_slice(bytes);
            return Some(Flow::udp(*local, remote));
        }
        None
    }

    fn accept(&mut self, index: usize, now: Instant) {
        for _ in 0..limits::READS_PER_TURN {
            let Some((_, listener)) = self.listeners.get(index) else { return };
            let Ok((stream, remote)) = listener.accept() else { return };
            let held = self.per_peer.get(&remote.ip()).copied().unwrap_or(0);
            if self.connections.len() >= self.max_connections
                || held >= limits::MAX_CONNECTIONS_PER_PEER
                || stream.set_nonblocking(true).is_err()
            {
                self.counters.connections_refused += 1;
                continue;
            }
            let local = self.listeners[index].0;
            self.add_connection(local, remote, stream, false, now);
        }
    }

    fn add_connection(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        stream: TcpStream,
        connecting: bool,
        now: Instant,
    ) -> Option<u64> {
        // Messages are small and wait for an answer: send them at once.
        let _ = stream.set_nodelay(true);
        let id = self.next_connection;
        let mut interest = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
        if connecting {
            interest |= epoll::EventFlags::OUT;
        }
        if self.watch(&stream, Token::Connection(id), interest).is_err() {
            self.counters.connections_refused += 1;
            return None;
        }
        self.next_connection += 1;
        let flow = Flow::tcp(local, remote, id);
        self.connections.insert(id, Connection::new(flow, stream, connecting, now));
        self.by_remote.insert(remote, id);
        *self.per_peer.entry(remote.ip()).or_default() += 1;
        Some(id)
    }

    fn serve_connection(
        &mut self,
        id: u64,
        writable: bool,
        reads: &mut usize,
        now: Instant,
    ) -> Option<Flow> {
        let connection = self.connections.get_mut(&id)?;
        if writable && let Err(reason) = connection.handle_writable() {
            self.close(id, reason);
            return None;
        }
        let connection = self.connections.get_mut(&id)?;
        let flow = connection.flow;
        let chunk = &mut self.chunk[..limits::READ_CHUNK];
        match connection.read(now, reads, chunk, &mut self.message) {
            Read1::Message => return Some(flow),
            Read1::Blocked => self.update_interest(id),
            Read1::Closed(reason) => self.close(id, reason),
        }
        None
    }

    fn update_interest(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let wants = connection.wants_write();
        if wants == connection.watches_write {
            return;
        }
        connection.watches_write = wants;
        let mut interest = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
        if wants {
            interest |= epoll::EventFlags::OUT;
        }
        let data = Token::Connection(id).encode();
        if epoll::modify(&self.epoll, &connection.stream, data, interest).is_err() {
            self.close(id, CloseReason::Error);
        }
    }

    fn close(&mut self, id: u64, reason: CloseReason) {
        let Some(connection) = self.connections.remove(&id) else { return };
        let remote = connection.flow.remote;
        if self.by_remote.get(&remote) == Some(&id) {
            self.by_remote.remove(&remote);
        }
        if let Some(count) = self.per_peer.get_mut(&remote.ip()) {
            *count -= 1;
            if *count == 0 {
                self.per_peer.remove(&remote.ip());
            }
        }
        *self.counters.closed.entry(reason.key()).or_default() += 1;
        self.closed.push_back((connection.flow, reason));
    }

    fn sweep(&mut self, now: Instant) {
        let overdue: Vec<(u64, CloseReason)> = self
            .connections
            .iter()
            .filter_map(|(id, connection)| Some((*id, connection.overdue(now, self.idle)?)))
            .collect();
        for (id, reason) in overdue {
            self.close(id, reason);
        }
    }

    /// Sends one message; never waits.
    ///
    /// # Errors
    /// [`SendError`]; the stack must be told that the flow failed.
    pub fn send(&mut self, now: Instant, flow: &Flow, bytes: &[u8]) -> Result<(), SendError> {
        match flow.transport {
            Transport::Udp => self.send_datagram(flow, bytes),
            Transport::Tcp => self.send_stream(now, flow, bytes),
            Transport::Tls | Transport::Ws | Transport::Wss => Err(SendError::NoSocket),
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

    fn send_stream(&mut self, now: Instant, flow: &Flow, bytes: &[u8]) -> Result<(), SendError> {
        let id = match flow.connection {
            0 => match self.by_remote.get(&flow.remote) {
                Some(id) => *id,
                None => self.connect(now, flow)?,
            },
            id => id,
        };
        let connection = self.connections.get_mut(&id).ok_or(SendError::NoConnection)?;
        match connection.write(bytes) {
            Ok(()) => {
                self.update_interest(id);
                Ok(())
            }
            Err(reason) => {
                self.close(id, reason);
                Err(SendError::NoConnection)
            }
        }
    }

    fn connect(&mut self, now: Instant, flow: &Flow) -> Result<u64, SendError> {
        if self.connections.len() >= self.max_connections {
            self.counters.connections_refused += 1;
            return Err(SendError::TooMany);
        }
        let fd = bind::socket(flow.remote, SocketType::STREAM).map_err(|_| SendError::TooMany)?;
        // From the address that phones know, with any port.
        let source = SocketAddr::new(flow.local.ip(), 0);
        if !flow.local.ip().is_unspecified() && source.is_ipv4() == flow.remote.is_ipv4() {
            rustix::net::bind(&fd, &source).map_err(|_| SendError::Refused)?;
        }
        match rustix::net::connect(&fd, &flow.remote) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(_) => return Err(SendError::Refused),
        }
        let stream = TcpStream::from(fd);
        self.add_connection(flow.local, flow.remote, stream, true, now).ok_or(SendError::TooMany)
    }
}
