//! The sockets against real peers, with a clock of the tests.

use super::tls::tests::{Authority, files};
use super::*;
use rustls::pki_types::ServerName;
use std::io::{Read, Write};
use std::net::TcpStream;
use tandem_hw::clock::Clock;

const OPTIONS: &str = "OPTIONS sip:tandem SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:7;branch=z9hG4bK1;alias\r\n\
    From: <sip:a@tandem>;tag=1\r\nTo: <sip:tandem>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\
    Max-Forwards: 70\r\nContent-Length: 4\r\n\r\nbody";

struct Host {
    net: Net,
    clock: Clock,
    /// How far the clock of the sockets is ahead.
    ahead: Duration,
    folder: tempfile::TempDir,
}

/// What the sockets said.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Message(Flow, Vec<u8>),
    Closed(Flow, CloseReason),
}

impl Host {
    fn new(listen: &[(Transport, &str)], change: impl FnOnce(&mut TlsFiles)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Authority::new().write(folder.path(), "sip.example.com");
        let mut files = files(folder.path());
        change(&mut files);
        let listen = listen.iter().map(|(kind, at)| (*kind, at.parse().unwrap())).collect();
        let options = NetOptions {
            listen,
            tls: Some(Arc::new(Tls::load(files).unwrap())),
            idle: Duration::from_secs(3_600),
            ping: Some(Duration::from_secs(30)),
            max_connections: 10_000,
        };
        let net = Net::open(options).unwrap();
        Self { net, clock: Clock::new(), ahead: Duration::ZERO, folder }
    }

    fn now(&self) -> Instant {
        self.clock.now() + self.ahead
    }

    fn address(&self, transport: Transport) -> SocketAddr {
        self.net.addresses().of(transport)[0]
    }

    /// Runs the sockets until they say something, for `ms` at most.
    fn say(&mut self, ms: u64) -> Option<Said> {
        let start = std::time::Instant::now();
        while start.elapsed() < Duration::from_millis(ms) {
            self.net.wait(Duration::from_millis(5)).unwrap();
            let now = self.now();
            match self.net.next_input(now) {
                Some(Input::Message { flow, bytes }) => {
                    return Some(Said::Message(flow, bytes.to_vec()));
                }
                Some(Input::Closed { flow, reason }) => return Some(Said::Closed(flow, reason)),
                _ => {}
            }
        }
        None
    }

    fn message(&mut self) -> (Flow, Vec<u8>) {
        match self.say(5_000) {
            Some(Said::Message(flow, bytes)) => (flow, bytes),
            other => panic!("no message but {other:?}"),
        }
    }

    fn closed(&mut self) -> CloseReason {
        match self.say(5_000) {
            Some(Said::Closed(_, reason)) => reason,
            other => panic!("nothing closed but {other:?}"),
        }
    }

    /// A client of the TLS port, which has our certificate too.
    fn client(&self, at: SocketAddr) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
        let config = self.net.tls.as_ref().unwrap().client.load_full();
        let name = ServerName::try_from("sip.example.com").unwrap();
        let session = rustls::ClientConnection::new(config, name).unwrap();
        let stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        rustls::StreamOwned::new(session, stream)
    }
}

/// Runs a peer beside the sockets.
fn beside<T: Send + 'static>(
    peer: impl FnOnce() -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    std::thread::spawn(peer)
}

#[test]
fn messages_come_and_go_over_tls_on_both_ip_versions() {
    let mut host =
        Host::new(&[(Transport::Tls, "127.0.0.1:0"), (Transport::Tls, "[::1]:0")], |_| {});
    for at in host.net.addresses().of(Transport::Tls).to_vec() {
        let mut client = host.client(at);
        let peer = beside(move || {
            client.write_all(b"\r\n\r\n").unwrap();
            let mut pong = [0; 2];
            client.read_exact(&mut pong).unwrap();
            client.write_all(OPTIONS.as_bytes()).unwrap();
            let mut answer = vec![0; 100_000];
            client.read_exact(&mut answer).unwrap();
            (pong, answer, client)
        });
        let (flow, bytes) = host.message();
        assert_eq!((flow.transport, flow.local), (Transport::Tls, at));
        assert_eq!(bytes, OPTIONS.as_bytes());
        let long = vec![b'x'; 100_000];
        host.net.send(host.now(), &flow, None, &long).unwrap();
        while !peer.is_finished() {
            host.say(20);
        }
        let (pong, answer, client) = peer.join().unwrap();
        assert_eq!((&pong, answer), (b"\r\n", long));
        drop(client);
        assert_eq!(host.closed(), CloseReason::Peer);
        assert_eq!(host.net.connections(), 0);
    }
}

#[test]
fn a_connection_that_we_open_proves_its_name() {
    let mut host = Host::new(&[(Transport::Tls, "127.0.0.1:0")], |_| {});
    let at = host.address(Transport::Tls);
    let flow = Flow::new(Transport::Tls, at, at, 0);
    let mut names = PeerNames::default();
    for (name, works) in [("sip.example.com", true), ("sip.example.org", false)] {
        let flow = Flow { name: names.number(name), ..flow };
        host.net.send(host.now(), &flow, names.get(flow.name), OPTIONS.as_bytes()).unwrap();
        if works {
            assert_eq!(host.message().1, OPTIONS.as_bytes());
            // The next one goes over the same connection.
            let before = host.net.connections();
            host.net.send(host.now(), &flow, names.get(flow.name), OPTIONS.as_bytes()).unwrap();
            assert_eq!(host.net.connections(), before);
            host.message();
        } else {
            let ends = [host.closed(), host.closed()];
            assert!(ends.contains(&CloseReason::Tls), "{ends:?}");
        }
    }
    // Without a name the certificate has to hold the address, as this one does.
    host.net.send(host.now(), &flow, None, OPTIONS.as_bytes()).unwrap();
    host.message();
    let forgotten = Flow { name: names.number("gone.example.com"), ..flow };
    let sent = host.net.send(host.now(), &forgotten, None, b"x");
    assert_eq!(sent, Err(SendError::NoName));
    let browser = Flow { transport: Transport::Wss, ..flow };
    assert_eq!(host.net.send(host.now(), &browser, None, b"x"), Err(SendError::NoConnection));
}

#[test]
fn who_has_proved_his_name_is_called_back_over_his_connection() {
    let mut host = Host::new(&[(Transport::Tls, "127.0.0.1:0")], |files| {
        files.client_ca.clone_from(&files.ca);
    });
    let mut client = host.client(host.address(Transport::Tls));
    let peer = beside(move || {
        client.write_all(OPTIONS.as_bytes()).unwrap();
        let mut answer = [0; 4];
        client.read_exact(&mut answer).unwrap();
        (answer, client)
    });
    let (flow, _) = host.message();
    // The port of its Via, where nobody listens.
    let back = Flow::new(Transport::Tls, flow.local, "127.0.0.1:7".parse().unwrap(), 0);
    host.net.send(host.now(), &back, None, b"BYE ").unwrap();
    assert_eq!(host.net.connections(), 1);
    while !peer.is_finished() {
        host.say(20);
    }
    assert_eq!(&peer.join().unwrap().0, b"BYE ");
}

#[test]
fn a_handshake_and_a_first_message_have_to_come_in_time() {
    let mut host = Host::new(
        &[
            (Transport::Tls, "127.0.0.1:0"),
            (Transport::Ws, "127.0.0.1:0"),
            (Transport::Tcp, "127.0.0.1:0"),
        ],
        |_| {},
    );
    for (transport, limit, reason) in [
        (Transport::Tls, limits::HANDSHAKE, CloseReason::HandshakeTimeout),
        (Transport::Ws, limits::HANDSHAKE, CloseReason::HandshakeTimeout),
        (Transport::Tcp, limits::FIRST_MESSAGE, CloseReason::NoMessage),
    ] {
        let stream = TcpStream::connect(host.address(transport)).unwrap();
        assert_eq!(host.say(30), None);
        assert_eq!(host.net.connections(), 1);
        host.ahead += limit - Duration::from_millis(500);
        assert_eq!(host.say(30), None);
        host.ahead += Duration::from_secs(2);
        assert_eq!(host.closed(), reason);
        drop(stream);
    }
    assert_eq!((host.net.unspoken, host.net.connections()), (0, 0));
}

#[test]
fn a_message_that_is_begun_has_to_be_ended_in_time() {
    let mut host = Host::new(&[(Transport::Tcp, "127.0.0.1:0")], |_| {});
    for begun in ["OPTIONS sip:without a line end", &OPTIONS[..OPTIONS.len() - 1]] {
        for before in ["", OPTIONS] {
            let mut stream = TcpStream::connect(host.address(Transport::Tcp)).unwrap();
            stream.write_all(format!("{before}{begun}").as_bytes()).unwrap();
            if !before.is_empty() {
                host.message();
            }
            assert_eq!(host.say(30), None);
            assert_eq!(host.net.partial, begun.len());
            // What trickles in does not begin anew.
            host.ahead += limits::SLOW_SENDER - Duration::from_secs(2);
            stream.write_all(b"x").unwrap();
            if begun.len() < 100 {
                assert_eq!(host.say(30), None);
                host.ahead += Duration::from_secs(4);
                assert_eq!(host.closed(), CloseReason::SlowSender);
            } else {
                host.message();
                drop(stream);
                assert_eq!(host.closed(), CloseReason::Peer);
            }
            assert_eq!((host.net.partial, host.net.connections()), (0, 0));
        }
    }
}

#[test]
fn a_flow_that_is_to_be_kept_alive_and_is_not_ends() {
    let mut host = Host::new(&[(Transport::Tcp, "127.0.0.1:0")], |_| {});
    let mut stream = TcpStream::connect(host.address(Transport::Tcp)).unwrap();
    stream.write_all(OPTIONS.as_bytes()).unwrap();
    let (flow, _) = host.message();
    host.net.expect_keep_alives(flow.connection, Duration::from_secs(120));
    for _ in 0..3 {
        host.ahead += Duration::from_secs(110);
        stream.write_all(b"\r\n\r\n").unwrap();
        assert_eq!(host.say(30), None);
    }
    host.ahead += Duration::from_secs(136);
    assert_eq!(host.closed(), CloseReason::Idle);
}

#[test]
fn we_keep_our_connections_alive_and_see_when_they_are_dead() {
    let mut host = Host::new(&[(Transport::Tcp, "127.0.0.1:0")], |_| {});
    let far = TcpListener::bind("127.0.0.1:0").unwrap();
    let flow = Flow::tcp(host.address(Transport::Tcp), far.local_addr().unwrap(), 0);
    host.net.send(host.now(), &flow, None, OPTIONS.as_bytes()).unwrap();
    let (mut stream, _) = far.accept().unwrap();
    assert_eq!(host.say(30), None);
    let mut got = vec![0; OPTIONS.len() + 4];
    host.ahead += limits::PING;
    assert_eq!(host.say(30), None);
    stream.read_exact(&mut got).unwrap();
    assert!(got.ends_with(b"body\r\n\r\n"));
    // A peer that never answers is left alone; one that has answered must go on to.
    host.ahead += limits::PONG * 2;
    assert_eq!(host.say(30), None);
    stream.write_all(b"\r\n").unwrap();
    assert_eq!(host.say(30), None);
    host.ahead += limits::PING + Duration::from_secs(1);
    assert_eq!(host.say(30), None);
    host.ahead += limits::PONG + Duration::from_secs(2);
    assert_eq!(host.closed(), CloseReason::NoPong);
}

#[test]
fn connections_without_a_message_make_room_for_new_ones() {
    let mut host = Host::new(&[(Transport::Tcp, "127.0.0.1:0")], |_| {});
    let at = host.address(Transport::Tcp);
    host.net.unspoken = limits::MAX_HALF_OPEN - 2;
    let mut kept: Vec<_> = (0..2).map(|_| TcpStream::connect(at).unwrap()).collect();
    assert_eq!(host.say(30), None);
    kept[0].write_all(OPTIONS.as_bytes()).unwrap();
    host.message();
    kept.push(TcpStream::connect(at).unwrap());
    assert_eq!(host.say(30), None);
    kept.push(TcpStream::connect(at).unwrap());
    // The first one has brought a message: the second one goes.
    let Some(Said::Closed(flow, CloseReason::HalfOpen)) = host.say(5_000) else { panic!() };
    assert_eq!(flow.remote, kept[1].local_addr().unwrap());
    assert_eq!(host.net.connections(), 3);
}

#[test]
fn memory_of_incomplete_messages_is_taken_back_from_the_oldest() {
    let mut host = Host::new(&[(Transport::Tcp, "127.0.0.1:0")], |_| {});
    let at = host.address(Transport::Tcp);
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.write_all(&OPTIONS.as_bytes()[..100]).unwrap();
        assert_eq!(host.say(30), None);
        streams.push(stream);
        host.ahead += Duration::from_secs(1);
    }
    assert_eq!(host.net.partial, 200);
    // As if others held the rest.
    host.net.partial += limits::MAX_PARTIAL / 8 * 7;
    let others = limits::MAX_PARTIAL / 8;
    host.net.partial += others;
    streams[1].write_all(b"x").unwrap();
    let Some(Said::Closed(flow, CloseReason::Partial)) = host.say(5_000) else { panic!() };
    assert_eq!(flow.remote, streams[0].local_addr().unwrap());
}

#[test]
fn without_descriptors_nothing_spins_and_later_all_are_accepted() {
    let mut host = Host::new(&[(Transport::Tcp, "127.0.0.1:0")], |_| {});
    let now = host.now();
    host.net.next_input(now);
    let error = io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
    host.net.pause_accepting(now, &error);
    let _waiting = TcpStream::connect(host.address(Transport::Tcp)).unwrap();
    host.net.wait(Duration::from_millis(50)).unwrap();
    assert!(host.net.ready.is_empty());
    host.ahead += limits::ACCEPT_PAUSE + limits::SWEEP;
    assert_eq!(host.say(50), None);
    assert_eq!(host.net.connections(), 1);
}

#[test]
fn a_udp_flow_is_kept_alive_by_stun() {
    let mut host = Host::new(&[(Transport::Udp, "127.0.0.1:0")], |_| {});
    let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
    let request = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    phone.send_to(&request, host.address(Transport::Udp)).unwrap();
    assert_eq!(host.say(50), None);
    let mut answer = [0; 100];
    let (len, _) = phone.recv_from(&mut answer).unwrap();
    assert_eq!((len, &answer[..2], host.net.counters().keepalives), (32, &[1, 1][..], 1));
}

#[test]
fn certificates_change_under_open_connections() {
    let mut host = Host::new(&[(Transport::Tls, "127.0.0.1:0")], |_| {});
    let mut client = host.client(host.address(Transport::Tls));
    let first = beside(move || {
        client.write_all(OPTIONS.as_bytes()).unwrap();
        client
    });
    host.message();
    let mut client = first.join().unwrap();
    Authority::new().write(host.folder.path(), "sip.example.com");
    host.net.tls.as_ref().unwrap().reload().unwrap();
    let mut second = host.client(host.address(Transport::Tls));
    let second = beside(move || {
        second.write_all(OPTIONS.as_bytes()).unwrap();
        client.write_all(OPTIONS.as_bytes()).unwrap();
        (second, client)
    });
    let flows = [host.message().0, host.message().0];
    assert_ne!(flows[0].connection, flows[1].connection);
    drop(second.join().unwrap());
}
