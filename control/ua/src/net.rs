//! SIP sockets: one UDP socket and one TCP listener on the same address, and the connections.

use crate::error::UaError;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tandem_signalling::framing::{Frame, Framer, PONG, is_keep_alive};
use tandem_signalling::stack::{Flow, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;

/// Largest datagram that is read.
const MAX_DATAGRAM: usize = 65_535;
/// How long a connection may take to be opened.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a probe waits for "port unreachable" of another machine.
const PROBE_TIMEOUT: Duration = Duration::from_millis(100);
/// As above, of this machine, which answers before the sending is over.
const LOOPBACK_TIMEOUT: Duration = Duration::from_millis(2);
/// Attempts to find a port that is free for both UDP and TCP.
const BIND_ATTEMPTS: u32 = 20;

/// What the sockets tell.
#[derive(Debug)]
pub(crate) enum Input {
    /// A complete message.
    Message(Flow, Vec<u8>),
    /// Nothing can be sent on this flow any more.
    Failed(Flow),
}

/// The sockets of one softphone.
#[derive(Debug)]
pub(crate) struct Net {
    local: SocketAddr,
    udp: Arc<UdpSocket>,
    inputs: mpsc::UnboundedSender<Input>,
    connections: HashMap<u64, Connection>,
    /// Connections that the other side opened.
    opened: mpsc::UnboundedReceiver<(u64, Connection)>,
}

/// A stream and the queue of what is to be written to it.
#[derive(Debug)]
struct Connection {
    remote: SocketAddr,
    queue: mpsc::UnboundedSender<Arc<[u8]>>,
}

/// Numbers connections from 1, over all softphones of the process.
static CONNECTIONS: AtomicU64 = AtomicU64::new(1);

impl Net {
    /// Binds both transports to `address`; with port 0 to a port that is free for both.
    ///
    /// # Errors
    /// The address is not local, or the port taken.
    pub(crate) async fn bind(
        address: SocketAddr,
        inputs: mpsc::UnboundedSender<Input>,
    ) -> Result<Self, UaError> {
        let (udp, tcp) = bind_both(address).await?;
        let failed = |source| UaError::Bind { address, source };
        let local = udp.local_addr().map_err(failed)?;
        let udp = Arc::new(udp);
        tokio::spawn(read_datagrams(Arc::clone(&udp), local, inputs.clone()));
        let (open, opened) = mpsc::unbounded_channel();
        tokio::spawn(accept(tcp, local, inputs.clone(), open));
        Ok(Self { local, udp, inputs, connections: HashMap::new(), opened })
    }

    /// The bound address.
    pub(crate) const fn local(&self) -> SocketAddr {
        self.local
    }

    /// Sends a message.
    pub(crate) async fn send(&mut self, flow: Flow, bytes: Arc<[u8]>) {
        match flow.transport {
            Transport::Udp => {
                if self.udp.send_to(&bytes, flow.remote).await.is_err() {
                    let _ = self.inputs.send(Input::Failed(flow));
                }
            }
            Transport::Tcp => self.send_on_stream(flow, bytes),
            // This phone has no sockets for them.
            Transport::Tls | Transport::Ws | Transport::Wss => {
                let _ = self.inputs.send(Input::Failed(flow));
            }
        }
    }

    fn send_on_stream(&mut self, flow: Flow, bytes: Arc<[u8]>) {
        while let Ok((number, connection)) = self.opened.try_recv() {
            self.connections.insert(number, connection);
        }
        self.connections.retain(|_, connection| !connection.queue.is_closed());
        let by_number = self.connections.get(&flow.connection);
        let by_address = || self.connections.values().find(|it| it.remote == flow.remote);
        if let Some(connection) = by_number.or_else(by_address) {
            if connection.queue.send(bytes).is_err() {
                let _ = self.inputs.send(Input::Failed(flow));
            }
            return;
        }
        let number = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        let (queue, written) = mpsc::unbounded_channel();
        let _ = queue.send(bytes);
        let (inputs, weak) = (self.inputs.clone(), queue.downgrade());
        let context = Context { local: self.local, number, inputs, queue: weak };
        self.connections.insert(number, Connection { remote: flow.remote, queue });
        tokio::spawn(connect(flow, context, written));
    }
}

/// Binds UDP, then TCP on the same port; another port is tried if one of both is taken.
async fn bind_both(address: SocketAddr) -> Result<(UdpSocket, TcpListener), UaError> {
    let mut attempt = 1;
    loop {
        let failed = |source| UaError::Bind { address, source };
        let udp = UdpSocket::bind(address).await.map_err(failed)?;
        let local = udp.local_addr().map_err(failed)?;
        match TcpListener::bind(local).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(source) if address.port() != 0 || attempt == BIND_ATTEMPTS => {
                return Err(UaError::Bind { address, source });
            }
            Err(_) => attempt += 1,
        }
    }
}

async fn read_datagrams(
    udp: Arc<UdpSocket>,
    local: SocketAddr,
    inputs: mpsc::UnboundedSender<Input>,
) {
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let received = tokio::select! {
            received = udp.recv_from(&mut buffer) => received,
            () = inputs.closed() => return,
        };
        // An error is an old ICMP message; the socket itself lives on.
        let Ok((len, remote)) = received else { continue };
        if is_keep_alive(&buffer[..len]) {
            continue;
        }
        let message = Input::Message(Flow::udp(local, remote), buffer[..len].to_vec());
        if inputs.send(message).is_err() {
            return;
        }
    }
}

/// What a connection's tasks need to know.
#[derive(Debug)]
struct Context {
    local: SocketAddr,
    number: u64,
    inputs: mpsc::UnboundedSender<Input>,
    /// Weak, so that the writer ends with the connection's owner.
    queue: mpsc::WeakUnboundedSender<Arc<[u8]>>,
}

async fn accept(
    listener: TcpListener,
    local: SocketAddr,
    inputs: mpsc::UnboundedSender<Input>,
    open: mpsc::UnboundedSender<(u64, Connection)>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = inputs.closed() => return,
        };
        let Ok((stream, remote)) = accepted else { continue };
        let number = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        let (queue, written) = mpsc::unbounded_channel();
        let context = Context { local, number, inputs: inputs.clone(), queue: queue.downgrade() };
        if open.send((number, Connection { remote, queue })).is_err() {
            return;
        }
        tokio::spawn(run_stream(stream, Flow::tcp(local, remote, number), context, written));
    }
}

/// Opens a connection and runs it.
async fn connect(flow: Flow, context: Context, written: mpsc::UnboundedReceiver<Arc<[u8]>>) {
    let opening = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(flow.remote));
    match opening.await {
        Ok(Ok(stream)) => {
            let flow = Flow::tcp(context.local, flow.remote, context.number);
            run_stream(stream, flow, context, written).await;
        }
        _ => {
            let _ = context.inputs.send(Input::Failed(flow));
        }
    }
}

/// Reads and writes until either fails.
async fn run_stream(
    stream: TcpStream,
    flow: Flow,
    context: Context,
    written: mpsc::UnboundedReceiver<Arc<[u8]>>,
) {
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    tokio::select! {
        () = write_stream(writer, written) => (),
        () = read_stream(reader, flow, &context) => (),
        () = context.inputs.closed() => return,
    }
    let _ = context.inputs.send(Input::Failed(flow));
}

async fn write_stream(mut writer: OwnedWriteHalf, mut queue: mpsc::UnboundedReceiver<Arc<[u8]>>) {
    while let Some(bytes) = queue.recv().await {
        if writer.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn read_stream(mut reader: OwnedReadHalf, flow: Flow, context: &Context) {
    let mut framer = Framer::new();
    let mut buffer = vec![0; 16_384];
    loop {
        match reader.read(&mut buffer).await {
            Ok(len) if len > 0 => framer.push(&buffer[..len]),
            _ => return,
        }
        loop {
            match framer.next_frame() {
                Ok(Some(Frame::Message(bytes))) => {
                    let _ = context.inputs.send(Input::Message(flow, bytes));
                }
                Ok(Some(Frame::Ping)) => {
                    if let Some(queue) = context.queue.upgrade() {
                        let _ = queue.send(PONG.into());
                    }
                }
                Ok(Some(Frame::Pong)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

/// Whether a UDP port certainly has no listener, by a keep-alive (RFC 5626 §3.5.1) from a
/// connected socket, which hears of ICMP "port unreachable" where the bound one does not.
pub(crate) async fn is_refused(remote: SocketAddr) -> bool {
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let Ok(socket) = UdpSocket::bind((any, 0)).await else { return false };
    if socket.connect(remote).await.is_err() || socket.send(b"\r\n\r\n").await.is_err() {
        return true;
    }
    let mut answer = [0; 16];
    let limit = if remote.ip().is_loopback() { LOOPBACK_TIMEOUT } else { PROBE_TIMEOUT };
    matches!(tokio::time::timeout(limit, socket.recv(&mut answer)).await, Ok(Err(_)))
}

/// The local address from which packets to `remote` leave.
pub(crate) async fn local_address_towards(remote: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await.ok()?;
    socket.connect(remote).await.ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// Resolves `HOST[:PORT]`, also `[IPv6]:PORT`; the default port is 5060.
///
/// # Errors
/// The name is unknown or the port no number.
pub(crate) async fn resolve(input: &str) -> Result<SocketAddr, UaError> {
    let unusable = |detail: String| UaError::Address { input: input.into(), detail };
    if let Ok(address) = input.parse::<SocketAddr>() {
        return Ok(address);
    }
    let bare = input.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, 5060));
    }
    let with_port = if input.contains(':') { input.into() } else { format!("{input}:5060") };
    let mut found =
        tokio::net::lookup_host(&with_port).await.map_err(|e| unusable(e.to_string()))?;
    found.next().ok_or_else(|| unusable("the name has no address".into()))
}
