//! Export to a capture server such as Homer: HEP version 3, one UDP datagram per SIP message.
//!
//! Format: "HEP3", total length, then chunks of vendor (0), type, length, value, all big-endian
//! (HEPv3, revision 36, §3). A thread of its own sends; when it cannot keep up, copies are lost and
//! counted, and never a call.

use super::dialogue::Direction;
use jiff::Timestamp;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use tandem_signalling::stack::{Flow, Transport};

/// Copies that may wait for the exporter.
pub const BACKLOG: usize = 8_192;

const IP_FAMILY: u16 = 1;
const IP_PROTOCOL: u16 = 2;
const IPV4_SOURCE: u16 = 3;
const IPV4_DESTINATION: u16 = 4;
const IPV6_SOURCE: u16 = 5;
const IPV6_DESTINATION: u16 = 6;
const SOURCE_PORT: u16 = 7;
const DESTINATION_PORT: u16 = 8;
const SECONDS: u16 = 9;
const MICROSECONDS: u16 = 10;
const PROTOCOL: u16 = 11;
const CAPTURE_ID: u16 = 12;
const PASSWORD: u16 = 14;
const PAYLOAD: u16 = 15;

/// SIP in the chunk `PROTOCOL`.
const SIP: u8 = 1;

/// Which server gets copies, and as whom.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its address.
    pub server: SocketAddr,
    /// Our number there.
    pub capture_id: u32,
    /// What it asks for, empty for nothing.
    pub password: String,
}

/// What is exported. Clones share it.
#[derive(Clone, Debug)]
pub struct Exporter {
    target: Arc<Target>,
    queue: SyncSender<Vec<u8>>,
    lost: Arc<AtomicU64>,
}

impl Exporter {
    /// Starts the thread that sends.
    ///
    /// # Errors
    /// The system's, if there is no socket or no thread.
    pub fn start(target: Target) -> io::Result<Self> {
        let any: IpAddr = match target.server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0))?;
        let server = target.server;
        let (queue, waiting) = sync_channel(BACKLOG);
        let lost = Arc::new(AtomicU64::new(0));
        let counter = lost.clone();
        std::thread::Builder::new()
            .name("hep".into())
            .spawn(move || send_all(&socket, server, &waiting, &counter))?;
        Ok(Self { target: Arc::new(target), queue, lost })
    }

    /// Hands a copy over; never waits.
    pub(super) fn message(&self, at: Timestamp, direction: Direction, flow: &Flow, bytes: &[u8]) {
        let packet = packet(&self.target, at, direction, flow, bytes);
        if packet.is_none_or(|packet| self.queue.try_send(packet).is_err()) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Copies that were lost: too long, the queue full, or refused by the system.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Sends until nobody hands over any more. The socket is not connected: that a server was not there
/// (an ICMP message) must not cost the next copy.
fn send_all(socket: &UdpSocket, server: SocketAddr, waiting: &Receiver<Vec<u8>>, lost: &AtomicU64) {
    while let Ok(packet) = waiting.recv() {
        if socket.send_to(&packet, server).is_err() {
            lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn chunk(out: &mut Vec<u8>, kind: u16, value: &[u8]) -> Option<()> {
    let len = u16::try_from(6 + value.len()).ok()?;
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(value);
    Some(())
}

/// One packet; `None` if the message is too long for one.
fn packet(
    target: &Target,
    at: Timestamp,
    direction: Direction,
    flow: &Flow,
    bytes: &[u8],
) -> Option<Vec<u8>> {
    let (source, destination) = match direction {
        Direction::In => (flow.remote, flow.local),
        Direction::Out => (flow.local, flow.remote),
    };
    let mut out = Vec::with_capacity(bytes.len() + 160);
    out.extend_from_slice(b"HEP3\0\0");
    // Address families as in a socket's header of BSD, which HEP took over: 2 and 10.
    chunk(&mut out, IP_FAMILY, &[if source.is_ipv4() { 2 } else { 10 }])?;
    let protocol = if flow.transport == Transport::Udp { 17 } else { 6 };
    chunk(&mut out, IP_PROTOCOL, &[protocol])?;
    for (address, kinds) in
        [(source, (IPV4_SOURCE, IPV6_SOURCE)), (destination, (IPV4_DESTINATION, IPV6_DESTINATION))]
    {
        match address.ip() {
            IpAddr::V4(ip) => chunk(&mut out, kinds.0, &ip.octets())?,
            IpAddr::V6(ip) => chunk(&mut out, kinds.1, &ip.octets())?,
        }
    }
    chunk(&mut out, SOURCE_PORT, &source.port().to_be_bytes())?;
    chunk(&mut out, DESTINATION_PORT, &destination.port().to_be_bytes())?;
    let seconds = u32::try_from(at.as_second()).unwrap_or(0);
    let micros = u32::try_from(at.subsec_microsecond()).unwrap_or(0);
    chunk(&mut out, SECONDS, &seconds.to_be_bytes())?;
    chunk(&mut out, MICROSECONDS, &micros.to_be_bytes())?;
    chunk(&mut out, PROTOCOL, &[SIP])?;
    chunk(&mut out, CAPTURE_ID, &target.capture_id.to_be_bytes())?;
    if !target.password.is_empty() {
        chunk(&mut out, PASSWORD, target.password.as_bytes())?;
    }
    chunk(&mut out, PAYLOAD, bytes)?;
    let len = u16::try_from(out.len()).ok()?;
    out[4..6].copy_from_slice(&len.to_be_bytes());
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_what_the_format_says() {
        let flow = Flow::udp("192.0.2.1:5060".parse().unwrap(), "192.0.2.7:5070".parse().unwrap());
        let target = Target {
            server: "192.0.2.9:9060".parse().unwrap(),
            capture_id: 2001,
            password: "pw".into(),
        };
        let at = Timestamp::from_microsecond(1_700_000_000_123_456).unwrap();
        let packet = packet(&target, at, Direction::In, &flow, b"OPTIONS").unwrap();
        let expected: Vec<u8> = [
            &b"HEP3\0\x72"[..],
            &[0, 0, 0, 1, 0, 7, 2],
            &[0, 0, 0, 2, 0, 7, 17],
            &[0, 0, 0, 3, 0, 10, 192, 0, 2, 7],
            &[0, 0, 0, 4, 0, 10, 192, 0, 2, 1],
            &[0, 0, 0, 7, 0, 8, 0x13, 0xce],
            &[0, 0, 0, 8, 0, 8, 0x13, 0xc4],
            &[0, 0, 0, 9, 0, 10, 0x65, 0x53, 0xf1, 0x00],
            &[0, 0, 0, 10, 0, 10, 0x00, 0x01, 0xe2, 0x40],
            &[0, 0, 0, 11, 0, 7, 1],
            &[0, 0, 0, 12, 0, 10, 0, 0, 0x07, 0xd1],
            &[0, 0, 0, 14, 0, 8, b'p', b'w'],
            &[0, 0, 0, 15, 0, 13],
            b"OPTIONS",
        ]
        .concat();
        assert_eq!(packet, expected);
    }

    #[test]
    fn a_message_too_long_for_a_packet_is_counted() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let target =
            Target { server: server.local_addr().unwrap(), capture_id: 1, password: String::new() };
        let exporter = Exporter::start(target).unwrap();
        let flow = Flow::udp("[::1]:5060".parse().unwrap(), "[::1]:5070".parse().unwrap());
        exporter.message(Timestamp::UNIX_EPOCH, Direction::Out, &flow, &vec![0; 65_535]);
        assert_eq!(exporter.lost(), 1);
        exporter.message(Timestamp::UNIX_EPOCH, Direction::Out, &flow, b"BYE");
        server.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        let mut buffer = [0; 2_000];
        let len = server.recv(&mut buffer).unwrap();
        assert!(buffer[..len].ends_with(b"BYE") && buffer.starts_with(b"HEP3"));
        assert_eq!(buffer[12], 10, "IPv6");
    }
}
