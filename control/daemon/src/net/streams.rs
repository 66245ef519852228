//! Connections: who is accepted, who is connected to, and who is given up.

use super::connection::{CloseReason, Connection, Read1};
use super::tls::{Session, server_name};
use super::{Net, SendError, Token, bind, limits};
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::SocketType;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use tandem_signalling::message::Message;
use tandem_signalling::stack::{Flow, PeerName, Transport};
use tandem_signalling::uri::Host;
use tandem_wire::time::Instant;

/// Whom a connection leads to: a request to the same one uses it. A name has to be proved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Peer {
    pub(super) transport: Transport,
    pub(super) remote: SocketAddr,
    pub(super) name: Option<Arc<str>>,
}

impl Net {
    pub(super) fn accept(&mut self, index: usize, now: Instant) {
        for _ in 0..limits::READS_PER_TURN {
            let Some((_, _, listener)) = self.listeners.get(index) else { return };
            let (stream, remote) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) => {
                    if is_exhausted(&error) {
                        self.pause_accepting(now, &error);
                    }
                    return;
                }
            };
            let held = self.per_peer.get(&remote.ip()).copied().unwrap_or(0);
            if self.connections.len() >= self.max_connections
                || held >= limits::MAX_CONNECTIONS_PER_PEER
                || stream.set_nonblocking(true).is_err()
            {
                self.counters.connections_refused += 1;
                continue;
            }
            self.accepted(index, remote, stream, now);
        }
    }

    fn accepted(&mut self, index: usize, remote: SocketAddr, stream: TcpStream, now: Instant) {
        let (transport, local, _) = self.listeners[index];
        let tls = match (transport, &self.tls) {
            (Transport::Tls, Some(tls)) => tls.server.load_full(),
            (Transport::Wss, Some(tls)) => tls.web.load_full(),
            _ => None,
        };
        let session = tls.and_then(|config| Session::server(config).ok());
        if transport.is_secure() && session.is_none() {
            self.counters.connections_refused += 1;
            return;
        }
        let flow = Flow::new(transport, local, remote, self.next_connection);
        let connection = Connection::new(flow, stream, session, false, now);
        // Over TLS only who has proved his name may be called back over his connection (RFC 5923).
        let peer = (transport == Transport::Tcp).then_some(Peer { transport, remote, name: None });
        let Some(id) = self.add_connection(connection, peer) else { return };
        self.half_open.push_back(id);
        self.unspoken += 1;
        self.limit_half_open();
    }

    /// Makes room for new connections at the cost of the one that waits longest.
    fn limit_half_open(&mut self) {
        while self.unspoken > limits::MAX_HALF_OPEN {
            let Some(id) = self.half_open.pop_front() else { return };
            if self.connections.get(&id).is_some_and(|it| !it.has_spoken) {
                self.close(id, CloseReason::HalfOpen);
            }
        }
    }

    /// Accepts nothing for a while: what waits at the listeners would wake this thread at once,
    /// again and again.
    pub(super) fn pause_accepting(&mut self, now: Instant, error: &io::Error) {
        if self.said_exhausted.is_none_or(|at| now.since(at) > limits::SAY_EXHAUSTED) {
            self.said_exhausted = Some(now);
            tracing::warn!(
                %error,
                open = self.connections.len(),
                "no connection can be accepted: raise the open-files limit (ulimit -n, LimitNOFILE), \
                 or lower sip.max_connections"
            );
        }
        self.accept_again = Some(now + limits::ACCEPT_PAUSE);
        self.watch_listeners(epoll::EventFlags::empty());
    }

    /// Accepts again when the pause is over.
    pub(super) fn resume_accepting(&mut self, now: Instant) {
        if self.accept_again.is_some_and(|at| at <= now) {
            self.accept_again = None;
            self.watch_listeners(epoll::EventFlags::IN);
        }
    }

    fn watch_listeners(&self, interest: epoll::EventFlags) {
        for (index, (_, _, listener)) in self.listeners.iter().enumerate() {
            let data = Token::Listener(index).encode();
            // Fails only for what is not watched.
            let _ = epoll::modify(&self.epoll, listener, data, interest);
        }
    }

    fn add_connection(&mut self, connection: Connection, peer: Option<Peer>) -> Option<u64> {
        let flow = connection.flow;
        let id = flow.connection;
        let mut interest = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
        if connection.watches_write {
            interest |= epoll::EventFlags::OUT;
        }
        if self.watch(&connection.stream, Token::Connection(id), interest).is_err() {
            self.counters.connections_refused += 1;
            return None;
        }
        self.next_connection += 1;
        self.connections.insert(id, connection);
        if let Some(peer) = peer {
            self.lead(peer, id);
        }
        *self.per_peer.entry(flow.remote.ip()).or_default() += 1;
        Some(id)
    }

    /// Requests to a peer go over a connection from now on.
    fn lead(&mut self, peer: Peer, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.peers.push(peer.clone());
            self.by_peer.insert(peer, id);
        }
    }

    pub(super) fn serve_connection(
        &mut self,
        id: u64,
        writable: bool,
        reads: &mut usize,
        now: Instant,
    ) -> Option<Flow> {
        let connection = self.connections.get_mut(&id)?;
        if writable && let Err(reason) = connection.handle_writable(now) {
            self.close(id, reason);
            return None;
        }
        let connection = self.connections.get_mut(&id)?;
        let (flow, was_silent) = (connection.flow, !connection.has_spoken);
        let found = connection.read(now, reads, &mut self.scratch, &mut self.message);
        let pending = connection.pending();
        self.partial =
            self.partial + pending - core::mem::replace(&mut connection.counted, pending);
        match found {
            Read1::Message => {
                if was_silent && !connection.is_outgoing {
                    self.unspoken -= 1;
                    self.learn_alias(id);
                }
                return Some(flow);
            }
            Read1::Blocked => {
                self.left_unread |= *reads == 0;
                self.update_interest(id);
                self.limit_partial();
            }
            Read1::Closed(reason) => self.close(id, reason),
        }
        None
    }

    /// RFC 5923 §8.1: a peer that proved its name and asks for it in its first request (`alias`) is
    /// called back over the connection that it opened, at the port where it listens.
    fn learn_alias(&mut self, id: u64) {
        let Some(connection) = self.connections.get(&id) else { return };
        let flow = connection.flow;
        if flow.transport != Transport::Tls || !connection.has_certificate() {
            return;
        }
        let Ok(request) = Message::parse(&self.message) else { return };
        let Some(via) = request.top_via().ok().filter(|via| via.params().has("alias")) else {
            return;
        };
        let name: Option<Arc<str>> = match via.host() {
            Host::Name(name) => Some(name.to_ascii_lowercase().into()),
            Host::Ip(ip) if ip == flow.remote.ip() => None,
            Host::Ip(_) => return,
        };
        let proved = server_name(name.as_deref(), flow.remote.ip());
        if proved.is_some_and(|name| connection.peer_is(&name)) {
            let remote = SocketAddr::new(flow.remote.ip(), via.port_or_default());
            self.lead(Peer { transport: Transport::Tls, remote, name }, id);
        }
    }

    /// Takes back memory from those who have not ended their message for the longest time.
    fn limit_partial(&mut self) {
        if self.partial <= limits::MAX_PARTIAL {
            return;
        }
        let began = |(id, it): (&u64, &Connection)| Some((it.partial_since()?, *id, it.pending()));
        let mut partial: Vec<_> = self.connections.iter().filter_map(began).collect();
        partial.sort_unstable();
        // Some room beyond what is needed, so that this is not done for each octet.
        let enough = limits::MAX_PARTIAL / 8 * 7;
        for (_, id, _) in partial {
            if self.partial <= enough {
                return;
            }
            self.close(id, CloseReason::Partial);
        }
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

    pub(super) fn close(&mut self, id: u64, reason: CloseReason) {
        let Some(mut connection) = self.connections.remove(&id) else { return };
        for peer in &connection.peers {
            if self.by_peer.get(peer) == Some(&id) {
                self.by_peer.remove(peer);
            }
        }
        let remote = connection.flow.remote;
        if let Some(count) = self.per_peer.get_mut(&remote.ip()) {
            *count -= 1;
            if *count == 0 {
                self.per_peer.remove(&remote.ip());
            }
        }
        if !connection.is_outgoing && !connection.has_spoken {
            self.unspoken -= 1;
        }
        self.partial -= connection.counted;
        if !matches!(reason, CloseReason::Peer | CloseReason::Error | CloseReason::Tls) {
            connection.say_goodbye();
        }
        *self.counters.closed.entry(reason.key()).or_default() += 1;
        self.closed.push_back((connection.flow, reason));
    }

    /// Once a second: ends what is overdue, and keeps alive what is silent.
    pub(super) fn sweep(&mut self, now: Instant) {
        let overdue: Vec<(u64, CloseReason)> = self
            .connections
            .iter()
            .filter_map(|(id, connection)| Some((*id, connection.overdue(now, self.options.idle)?)))
            .collect();
        for (id, reason) in overdue {
            self.close(id, reason);
        }
        let has_spoken = |id: &u64| self.connections.get(id).is_none_or(|it| it.has_spoken);
        while self.half_open.front().is_some_and(has_spoken) {
            self.half_open.pop_front();
        }
        let mut broken = Vec::new();
        let mut waiting = Vec::new();
        for (id, connection) in &mut self.connections {
            if let Err(reason) = connection.keep_alive(now, self.options.ping, &mut self.scratch) {
                broken.push((*id, reason));
            } else if connection.wants_write() != connection.watches_write {
                waiting.push(*id);
            }
        }
        broken.into_iter().for_each(|(id, reason)| self.close(id, reason));
        waiting.into_iter().for_each(|id| self.update_interest(id));
    }

    /// From now on keep-alives of the peer are expected at least this often (RFC 5626 §4.4.1, its
    /// `Flow-Timer`); a flow that is silent for longer is closed.
    pub fn expect_keep_alives(&mut self, connection: u64, every: core::time::Duration) {
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.flow_timer = Some(every);
        }
    }

    pub(super) fn send_stream(
        &mut self,
        now: Instant,
        flow: &Flow,
        name: Option<&Arc<str>>,
        bytes: &[u8],
    ) -> Result<(), SendError> {
        let id = match flow.connection {
            0 => {
                if flow.transport.is_secure() && flow.name != PeerName::NONE && name.is_none() {
                    return Err(SendError::NoName);
                }
                let (transport, remote) = (flow.transport, flow.remote);
                let peer = Peer { transport, remote, name: name.cloned() };
                match self.by_peer.get(&peer) {
                    Some(id) => *id,
                    None => self.connect(now, flow, peer)?,
                }
            }
            id => id,
        };
        let connection = self.connections.get_mut(&id).ok_or(SendError::NoConnection)?;
        match connection.write(now, bytes, &mut self.scratch) {
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

    fn connect(&mut self, now: Instant, flow: &Flow, peer: Peer) -> Result<u64, SendError> {
        if self.connections.len() >= self.max_connections {
            self.counters.connections_refused += 1;
            return Err(SendError::TooMany);
        }
        let session = match flow.transport {
            Transport::Tcp => None,
            Transport::Tls => {
                let name = server_name(peer.name.as_deref(), flow.remote.ip());
                let name = name.ok_or(SendError::NoName)?;
                let tls = self.tls.as_ref().ok_or(SendError::NoSocket)?;
                let session = Session::client(tls.client.load_full(), name);
                Some(session.map_err(|_| SendError::NoName)?)
            }
            // RFC 7118 §5: the connection is the browser's to open.
            Transport::Udp | Transport::Ws | Transport::Wss => return Err(SendError::NoConnection),
        };
        let fd = bind::socket(flow.remote, SocketType::STREAM).map_err(|_| SendError::TooMany)?;
        bind::prepare_stream(&fd);
        // From the address that phones know, with any port.
        let source = SocketAddr::new(flow.local.ip(), 0);
        if !flow.local.ip().is_unspecified() && source.is_ipv4() == flow.remote.is_ipv4() {
            rustix::net::bind(&fd, &source).map_err(|_| SendError::Refused)?;
        }
        match rustix::net::connect(&fd, &flow.remote) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(_) => return Err(SendError::Refused),
        }
        let flow = Flow { connection: self.next_connection, ..*flow };
        let stream = TcpStream::from(fd);
        let mut connection = Connection::new(flow, stream, session, true, now);
        // Only a connection that takes nothing yet can refuse, and it takes this.
        let _ = connection.begin(now, &mut self.scratch);
        self.add_connection(connection, Some(peer)).ok_or(SendError::TooMany)
    }
}

/// Whether the system has no descriptor or memory left for another connection.
fn is_exhausted(error: &io::Error) -> bool {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    exhausted.iter().any(|it| error.raw_os_error() == Some(it.raw_os_error()))
}
