//! Calls between phones on real sockets: UDP to UDP, and UDP to TCP and back.

use super::sockets::{Running, running};
use super::{PASSWORD, media_port, sdp};
use crate::snapshot::CallState;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant as Deadline};
use tandem_hw::clock::Clock;
use tandem_signalling::digest::{ClientSession, Ha1, best_challenge};
use tandem_signalling::framing::{Frame, Framer};
use tandem_signalling::message::Message;
use tandem_signalling::method::Method;
use tandem_signalling::stack::{
    DialogId, Event, Fields, Flow, NewRequest, Output, Reply, ServerTx, Stack, StackConfig,
};

enum Link {
    Udp(UdpSocket),
    Tcp(TcpStream, Framer),
}

/// A phone of its own on a socket of its own.
struct Client {
    user: &'static str,
    link: Link,
    flow: Flow,
    stack: Stack,
    events: Vec<Event>,
}

impl Client {
    fn udp(user: &'static str, server: SocketAddr) -> Self {
        let socket = UdpSocket::bind((server.ip(), 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let flow = Flow::udp(socket.local_addr().unwrap(), server);
        Self::new(user, Link::Udp(socket), flow)
    }

    fn tcp(user: &'static str, server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_nonblocking(true).unwrap();
        let flow = Flow::tcp(stream.local_addr().unwrap(), server, 1);
        Self::new(user, Link::Tcp(stream, Framer::new()), flow)
    }

    fn new(user: &'static str, link: Link, flow: Flow) -> Self {
        let seed = flow.local.port().into();
        Self {
            user,
            link,
            flow,
            stack: Stack::new(StackConfig::default(), seed),
            events: Vec::new(),
        }
    }

    fn step(&mut self) {
        let now = Clock::new().now();
        let mut chunk = [0; 65_536];
        match &mut self.link {
            Link::Udp(socket) => {
                while let Ok((len, _)) = socket.recv_from(&mut chunk) {
                    self.stack.handle_input(now, self.flow, &chunk[..len]);
                }
            }
            Link::Tcp(stream, framer) => {
                while let Ok(len) = stream.read(&mut chunk) {
                    assert!(len > 0, "the server closed the connection");
                    framer.push(&chunk[..len]);
                    while let Some(frame) = framer.next_frame().unwrap() {
                        if let Frame::Message(bytes) = frame {
                            self.stack.handle_input(now, self.flow, &bytes);
                        }
                    }
                }
            }
        }
        self.stack.handle_timeout(now);
        while let Some(output) = self.stack.poll_output() {
            match output {
                Output::Transmit { flow, bytes } => match &mut self.link {
                    Link::Udp(socket) => drop(socket.send_to(&bytes, flow.remote).unwrap()),
                    Link::Tcp(stream, _) => stream.write_all(&bytes).unwrap(),
                },
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    /// Waits for what `pick` likes.
    fn wait<T>(&mut self, pick: impl Fn(&Event) -> Option<T>) -> T {
        let until = Deadline::now() + Duration::from_secs(10);
        loop {
            self.step();
            if let Some(at) = self.events.iter().position(|event| pick(event).is_some()) {
                return pick(&self.events.remove(at)).unwrap();
            }
            assert!(Deadline::now() < until, "{} waits in vain: {:?}", self.user, self.events);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn response(&mut self, status: u16) -> (Option<DialogId>, Message) {
        self.wait(|event| match event {
            Event::Response { dialog, response, .. } if response.status() == Some(status) => {
                Some((*dialog, response.clone()))
            }
            _ => None,
        })
    }

    fn request(&mut self, method: Method) -> (ServerTx, Message) {
        self.wait(|event| match event {
            Event::Request { tx, request, .. } if request.method() == method => {
                Some((*tx, request.clone()))
            }
            _ => None,
        })
    }

    /// Sends a request twice: without and with credentials.
    fn ask(&mut self, method: Method, uri: &str, to: &str, fields: &Fields, challenge: u16) {
        let base = |cseq| {
            NewRequest::new(method, uri)
                .from(format!("<sip:{}@tandem>", self.user))
                .to(format!("<sip:{to}@tandem>"))
                .call_id(format!("{method}-{}-{}", self.user, self.flow.local.port()))
                .from_tag("1")
                .cseq(cseq)
                .fields(fields.clone())
        };
        let (first, second) = (base(1), base(2));
        let now = Clock::new().now();
        self.stack.request(now, self.flow, first).unwrap();
        let (_, response) = self.response(challenge);
        let (header, asked) = best_challenge(&response).unwrap();
        let ha1 =
            Ha1::compute(asked.algorithm, self.user.as_bytes(), b"tandem", PASSWORD.as_bytes());
        let value =
            ClientSession::new(asked).authorization(self.user, &ha1, method.as_str(), uri, "c");
        let request = second.header(header.name(), value);
        self.stack.request(now, self.flow, request).unwrap();
        self.step();
    }

    fn register(&mut self) {
        let transport = if matches!(self.link, Link::Tcp(..)) { ";transport=tcp" } else { "" };
        let contact = format!("<sip:{}@{}{transport}>", self.user, self.flow.local);
        let fields = Fields::new().header("Contact", contact);
        self.ask(Method::Register, "sip:tandem", self.user, &fields, 401);
        self.response(200);
    }

    /// A session description with an address of the phone's IP version.
    fn sdp(&self, port: u16) -> Vec<u8> {
        if self.flow.local.is_ipv4() {
            return sdp(port);
        }
        String::from_utf8(sdp(port)).unwrap().replace("IP4 192.0.2.50", "IP6 2001:db8::50").into()
    }

    fn respond(&mut self, tx: ServerTx, reply: Reply) {
        self.stack.respond(Clock::new().now(), tx, reply).unwrap();
        self.step();
    }
}

/// A whole call, from INVITE to BYE.
fn call(running: &Running, caller: &mut Client, callee: &mut Client) {
    let fields = Fields::new().body("application/sdp", caller.sdp(4000));
    let uri = format!("sip:{}@tandem", callee.user);
    caller.ask(Method::Invite, &uri, callee.user, &fields, 407);
    let (tx, invite) = callee.request(Method::Invite);
    assert_ne!(media_port(&invite), 4000);
    callee.respond(tx, Reply::new(180));
    caller.response(180);
    let answer = callee.sdp(5000);
    callee.respond(tx, Reply::new(200).body("application/sdp", answer));
    let (dialog, ok) = caller.response(200);
    assert_ne!(media_port(&ok), 5000);
    let dialog = dialog.unwrap();
    caller.stack.ack(Clock::new().now(), dialog, Fields::new()).unwrap();
    caller.step();
    callee.wait(|event| matches!(event, Event::Ack { .. }).then_some(()));
    let views = running.calls();
    assert_eq!((views.len(), views[0].state), (1, CallState::Answered));
    let now = Clock::new().now();
    caller.stack.request_in_dialog(now, dialog, Method::Bye, Fields::new()).unwrap();
    caller.response(200);
    let (tx, _) = callee.request(Method::Bye);
    callee.respond(tx, Reply::new(200));
    assert!(running.calls().is_empty());
}

#[test]
fn udp_to_udp() {
    let running = running("\"127.0.0.1:0\"");
    let server = running.core.udp_addresses()[0];
    let (mut alice, mut bob) = (Client::udp("alice", server), Client::udp("bob", server));
    alice.register();
    bob.register();
    call(&running, &mut alice, &mut bob);
    call(&running, &mut bob, &mut alice);
}

#[test]
fn over_ipv6() {
    let running = running("\"[::1]:0\"");
    let server = running.core.udp_addresses()[0];
    let (mut alice, mut bob) = (Client::udp("alice", server), Client::udp("bob", server));
    bob.register();
    call(&running, &mut alice, &mut bob);
}

#[test]
fn udp_and_tcp_over_the_connection_of_the_register() {
    let running = running("\"127.0.0.1:0\"");
    let mut alice = Client::udp("alice", running.core.udp_addresses()[0]);
    let mut bob = Client::tcp("bob", running.core.tcp_addresses()[0]);
    alice.register();
    bob.register();
    call(&running, &mut alice, &mut bob);
    call(&running, &mut bob, &mut alice);
    // The connection is gone: the phone cannot be reached any more.
    drop(bob);
    std::thread::sleep(Duration::from_millis(50));
    let fields = Fields::new().body("application/sdp", sdp(4000));
    let mut carol = Client::udp("alice", running.core.udp_addresses()[0]);
    carol.ask(Method::Invite, "sip:bob@tandem", "bob", &fields, 407);
    carol.response(480);
}
