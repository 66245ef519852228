//! Fuzz target: any order of messages, broken ones too, of actions and of time on a SIP stack. It
//! must not panic, and once every request has its answer, every INVITE is cancelled and every
//! dialog dropped, the timers must leave nothing behind.
//!
//! `TANDEM_FUZZ_SECONDS` says for how long (default 1).

use std::time::Duration;
use tandem_signalling::build::MessageBuilder;
use tandem_signalling::header::Header;
use tandem_signalling::message::{Message, validate_request};
use tandem_signalling::method::Method;
use tandem_signalling::stack::{
    ClientTx, DialogId, Event, Fields, Flow, NewRequest, Output, Reply, ServerTx, Stack,
    StackConfig,
};
use tandem_wire::time::Instant;

fn budget() -> Duration {
    let seconds = std::env::var("TANDEM_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1))
}

const METHODS: [&str; 8] =
    ["INVITE", "ACK", "BYE", "CANCEL", "INFO", "UPDATE", "REGISTER", "OPTIONS"];
const STATUSES: [u16; 8] = [100, 180, 183, 200, 302, 407, 481, 603];

/// A stack, its transaction user, and a peer that says anything.
struct Play {
    stack: Stack,
    now: Instant,
    udp: bool,
    servers: Vec<ServerTx>,
    clients: Vec<ClientTx>,
    dialogs: Vec<DialogId>,
    /// Our last requests, for the peer to answer.
    requests: Vec<Message>,
}

impl Play {
    fn new(udp: bool) -> Self {
        Self {
            stack: Stack::new(StackConfig::default(), 1),
            now: Instant::ZERO,
            udp,
            servers: Vec::new(),
            clients: Vec::new(),
            dialogs: Vec::new(),
            requests: Vec::new(),
        }
    }

    fn flow(&self) -> Flow {
        let local = "192.0.2.1:5060".parse().expect("literal");
        let remote = "192.0.2.9:5060".parse().expect("literal");
        if self.udp { Flow::udp(local, remote) } else { Flow::tcp(local, remote, 1) }
    }

    /// One step, from four octets; `rest` is what a broken message is broken with.
    fn step(&mut self, octets: [u8; 4], rest: &[u8]) {
        let [what, a, b, c] = octets.map(usize::from);
        let now = self.now;
        match what % 9 {
            0 | 1 => self.peer_asks(a, b, c, None),
            2 => self.peer_asks(a, b, c, Some(rest)),
            3 | 4 => self.peer_answers(a, b, c),
            5 => {
                if let Some(tx) = pick(&self.servers, a) {
                    let reply = Reply::new(STATUSES[b % 8]);
                    if let Ok(Some(dialog)) = self.stack.respond(now, tx, reply) {
                        self.dialogs.push(dialog);
                    }
                }
            }
            6 => self.ask(a, b),
            7 => self.act(a, b),
            _ => self.pass(a * c),
        }
        self.settle();
    }

    fn peer_asks(&mut self, a: usize, b: usize, c: usize, broken: Option<&[u8]>) {
        let method = METHODS[a % 8];
        let dialog = pick(&self.dialogs, b / 8).and_then(|dialog| self.stack.dialog(dialog));
        let (call, to, from) = match dialog {
            Some(it) if !b.is_multiple_of(4) => (
                it.call_id().to_owned(),
                format!(";tag={}", it.local_tag()),
                it.remote_tag().to_owned(),
            ),
            _ => (format!("c{}", c % 3), String::new(), "peer".to_owned()),
        };
        let text = format!(
            "{method} sip:us@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK{}\r\n\
             From: <sip:p@x>;tag={from}\r\nTo: <sip:u@x>{to}\r\nCall-ID: {call}\r\n\
             CSeq: {} {method}\r\nContact: <sip:p@192.0.2.9>\r\nContent-Length: 0\r\n\r\n",
            c % 5,
            c / 16 + 1
        );
        let mut bytes = text.into_bytes();
        if let Some(rest) = broken {
            let at = b * bytes.len() / 256;
            bytes.splice(at..(at + c / 32).min(bytes.len()), rest.iter().copied());
        }
        self.stack.handle_input(self.now, self.flow(), &bytes);
    }

    fn peer_answers(&mut self, a: usize, b: usize, c: usize) {
        let Some(request) = self.requests.iter().rev().nth(a % 4) else { return };
        let mut response = MessageBuilder::response_to(request, STATUSES[b % 8], "");
        if request.to_tag().is_none() {
            response = response.to_tag(["one", "two", "three"][c % 3]);
        }
        if let Ok(response) = response.header(Header::Contact, "<sip:p@192.0.2.9>").finish() {
            self.stack.handle_input(self.now, self.flow(), response.bytes());
        }
    }

    fn ask(&mut self, a: usize, b: usize) {
        let method = Method::KNOWN[a % Method::KNOWN.len()];
        let sent = match pick(&self.dialogs, b).filter(|_| b > 64) {
            Some(dialog) => self.stack.request_in_dialog(self.now, dialog, method, Fields::new()),
            None => {
                let request = NewRequest::new(method, "sip:peer@192.0.2.9");
                self.stack.request(self.now, self.flow(), request)
            }
        };
        self.clients.extend(sent);
    }

    fn act(&mut self, a: usize, b: usize) {
        let now = self.now;
        match (a % 4, pick(&self.dialogs, b), pick(&self.clients, b)) {
            (0, Some(dialog), _) => {
                let _ = self.stack.ack(now, dialog, Fields::new());
            }
            (1, _, Some(tx)) => {
                let _ = self.stack.cancel(now, tx, Fields::new());
            }
            (2, Some(dialog), _) if b.is_multiple_of(4) => self.stack.drop_dialog(now, dialog),
            (3, _, _) if b.is_multiple_of(4) => self.stack.handle_transport_error(now, self.flow()),
            _ => {}
        }
    }

    fn pass(&mut self, ms: usize) {
        self.now = self.now + Duration::from_millis(ms as u64);
        self.stack.handle_timeout(self.now);
    }

    fn settle(&mut self) {
        while let Some(output) = self.stack.poll_output() {
            match output {
                // The answer to a broken request repeats what is broken in it.
                Output::Transmit { bytes, .. } if bytes.starts_with(b"SIP/2.0 ") => {}
                Output::Transmit { bytes, .. } => {
                    let message = Message::parse(&bytes).expect("our requests can be read");
                    assert!(validate_request(&message).is_ok());
                    if message.method() != Method::Ack {
                        self.requests.push(message);
                    }
                }
                Output::Event(Event::Request { tx, dialog, .. }) => {
                    self.servers.push(tx);
                    self.dialogs.extend(dialog);
                }
                Output::Event(Event::Response { dialog: Some(dialog), .. }) => {
                    self.dialogs.push(dialog);
                }
                Output::Event(Event::DialogEnded { dialog, .. }) => {
                    assert!(self.stack.dialog(dialog).is_none());
                }
                Output::Event(_) => {}
            }
        }
    }

    fn finish(mut self) {
        for tx in self.servers.clone() {
            let _ = self.stack.respond(self.now, tx, Reply::new(500));
        }
        for tx in self.clients.clone() {
            let _ = self.stack.cancel(self.now, tx, Fields::new());
        }
        let dialogs: Vec<_> = self.stack.dialogs().map(|(id, _)| id).collect();
        for dialog in dialogs {
            self.stack.drop_dialog(self.now, dialog);
        }
        self.settle();
        for _ in 0..100_000 {
            let Some(next) = self.stack.next_timeout() else { break };
            self.stack.handle_timeout(next);
            self.settle();
        }
        assert!(self.stack.is_idle(), "{:?}", self.stack.counters());
    }
}

fn pick<T: Copy>(list: &[T], number: usize) -> Option<T> {
    list.iter().rev().nth(number % list.len().clamp(1, 4)).copied()
}

fn check(bytes: &[u8]) {
    play(bytes);
}

/// Plays a game and says how many dialogs and answered requests it had.
fn play(bytes: &[u8]) -> (usize, usize) {
    let (udp, steps) = match bytes.split_first() {
        Some((first, rest)) => (first.is_multiple_of(2), rest),
        None => return (0, 0),
    };
    let mut play = Play::new(udp);
    let (chunks, _) = steps.as_chunks::<4>();
    for (place, octets) in chunks.iter().enumerate().take(200) {
        let rest = steps.get(place * 4 + 4..).unwrap_or_default();
        play.step(*octets, &rest[..rest.len().min(16)]);
    }
    let reached = (play.dialogs.len(), play.servers.len());
    play.finish();
    reached
}

#[test]
fn long_games_of_random_steps() {
    let (mut state, mut dialogs, mut requests) = (1_u64, 0, 0);
    for _ in 0..300 {
        let game: Vec<u8> = (0..801)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state.to_be_bytes()[0]
            })
            .collect();
        let reached = play(&game);
        dialogs += reached.0;
        requests += reached.1;
    }
    assert!(dialogs > 1_000 && requests > 1_000, "games get somewhere: {dialogs} {requests}");
}

#[test]
fn any_game() {
    bolero::check!().with_test_time(budget()).with_iterations(usize::MAX).for_each(check);
}
