//! What the load generator is doing.

use super::text::{self, Dialog, Ends};
use crate::sip::contender::PASSWORD;
use crate::sip::generator::Done;
use std::collections::{HashMap, VecDeque};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};
use tandem_signalling::digest::{ClientSession, Ha1, best_challenge};
use tandem_signalling::message::Message;

/// How long the socket is waited for; then it is time to look at the clock.
const TICK: Duration = Duration::from_millis(1);
/// A request that was not answered is sent again after this time (timer E begins here too).
const AGAIN: Duration = Duration::from_millis(500);
/// So often at most.
const TRIES: u32 = 8;
/// Requests that wait for an answer at the same time.
const WINDOW: usize = 2_000;
/// Registrations that wait at the same time: there is no rate for them.
const REGISTERING: usize = 64;

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Register { first: u64, count: u64 },
    Call { user: u64, count: u64, rate: u64, hold: bool },
    Release { rate: u64 },
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Open {
    /// What is sent again.
    bytes: Vec<u8>,
    begun: Instant,
    tries: u32,
    /// Distinguishes it from what the same call sent before.
    cseq: u32,
}

/// Call or registration, and its number.
type Key = (char, u64);

/// The generator.
#[derive(Debug)]
pub(super) struct Worker {
    socket: UdpSocket,
    ends: Ends,
    open: HashMap<Key, Open>,
    /// When to look at which request again, in the order of time.
    again: VecDeque<(Instant, Key, u32)>,
    held: Vec<(u64, Dialog)>,
    next_call: u64,
    hold: bool,
    done: Done,
    buffer: Vec<u8>,
}

fn told(error: std::io::Error) -> String {
    format!("the load generator: {error}")
}

impl Worker {
    pub(super) fn new(local: SocketAddr, server: SocketAddr) -> Result<Self, String> {
        let socket = UdpSocket::bind(local).map_err(told)?;
        socket.set_read_timeout(Some(TICK)).map_err(told)?;
        Ok(Self {
            socket,
            ends: Ends { local, server, salt: std::process::id() },
            open: HashMap::new(),
            again: VecDeque::new(),
            held: Vec::new(),
            next_call: 1,
            hold: false,
            done: Done::default(),
            buffer: vec![0; 65_535],
        })
    }

    /// Does one task to its end.
    pub(super) fn run(&mut self, task: Task) -> Result<Done, String> {
        self.done = Done::default();
        let (count, rate) = match task {
            Task::Register { count, .. } => (count, u64::MAX),
            Task::Call { count, rate, .. } => (count, rate.max(1)),
            Task::Release { rate } => (self.held.len() as u64, rate.max(1)),
        };
        let window = if rate == u64::MAX { REGISTERING } else { WINDOW };
        let (start, mut begun) = (Instant::now(), 0);
        while self.done.completed + self.done.failed < count {
            let due = start.elapsed().as_secs_f64() * rate as f64;
            while begun < count && begun as f64 <= due && self.open.len() < window {
                self.begin(task, begun)?;
                begun += 1;
            }
            self.receive()?;
            self.send_again()?;
        }
        Ok(std::mem::take(&mut self.done))
    }

    fn begin(&mut self, task: Task, index: u64) -> Result<(), String> {
        match task {
            Task::Register { first, .. } => {
                let user = first + index;
                let bytes = self.ends.register(user, 1, None);
                self.request(('r', user), bytes, 1)
            }
            Task::Call { user, hold, .. } => {
                self.hold = hold;
                let call = self.next_call;
                self.next_call += 1;
                let bytes = self.ends.invite(call, user);
                self.request(('c', call), bytes, 1)
            }
            Task::Release { .. } => match self.held.pop() {
                Some((call, dialog)) => self.hang_up(call, &dialog),
                None => Ok(()),
            },
        }
    }

    fn request(&mut self, key: Key, text: String, cseq: u32) -> Result<(), String> {
        let (begun, bytes) = (Instant::now(), text.into_bytes());
        self.send(&bytes)?;
        self.again.push_back((begun + AGAIN, key, cseq));
        self.open.insert(key, Open { bytes, begun, tries: 1, cseq });
        Ok(())
    }

    fn hang_up(&mut self, call: u64, dialog: &Dialog) -> Result<(), String> {
        let bytes = self.ends.in_dialog(call, dialog, "BYE");
        self.request(('c', call), bytes, 2)
    }

    fn send(&self, bytes: &[u8]) -> Result<(), String> {
        self.socket.send_to(bytes, self.ends.server).map(|_| ()).map_err(told)
    }

    /// Takes one message, if one comes in time.
    fn receive(&mut self) -> Result<(), String> {
        let Ok((length, _)) = self.socket.recv_from(&mut self.buffer) else { return Ok(()) };
        let Ok(message) = Message::parse(&self.buffer[..length]) else { return Ok(()) };
        match message.status() {
            None if message.method().as_str() == "ACK" => Ok(()),
            None => self.send(self.ends.ok(&message).as_bytes()),
            Some(100..200) => Ok(()),
            Some(status) => self.response(&message, status),
        }
    }

    fn response(&mut self, response: &Message, status: u16) -> Result<(), String> {
        let Some(key) = text::number(response) else { return Ok(()) };
        let cseq = response.cseq().map_or(0, |cseq| cseq.number);
        if self.open.get(&key).is_none_or(|open| open.cseq != cseq) {
            return Ok(());
        }
        let Some(open) = self.open.remove(&key) else { return Ok(()) };
        match (key, status) {
            (('r', user), 401) if cseq == 1 => return self.authenticate(user, response),
            (('c', call), 200) if cseq == 1 => return self.answered(call, response, &open),
            (_, 200) => self.done.completed += 1,
            _ => self.done.failed += 1,
        }
        Ok(())
    }

    fn answered(&mut self, call: u64, response: &Message, open: &Open) -> Result<(), String> {
        let delay_ns = u64::try_from(open.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.done.delays_ns.push(delay_ns);
        let Some(dialog) = Dialog::of(response) else {
            self.done.failed += 1;
            return Ok(());
        };
        let ack = self.ends.in_dialog(call, &dialog, "ACK");
        self.send(ack.as_bytes())?;
        if self.hold {
            self.held.push((call, dialog));
            self.done.completed += 1;
            return Ok(());
        }
        self.hang_up(call, &dialog)
    }

    fn authenticate(&mut self, user: u64, response: &Message) -> Result<(), String> {
        let Ok((_, challenge)) = best_challenge(response) else {
            self.done.failed += 1;
            return Ok(());
        };
        let (name, realm) = (format!("u{user}"), challenge.realm.as_bytes());
        let ha1 = Ha1::compute(challenge.algorithm, name.as_bytes(), realm, PASSWORD.as_bytes());
        let cnonce = format!("{:08x}", user ^ u64::from(self.ends.salt));
        let uri = self.ends.registrar();
        let value =
            ClientSession::new(challenge).authorization(&name, &ha1, "REGISTER", &uri, &cnonce);
        let bytes = self.ends.register(user, 2, Some(&value));
        self.request(('r', user), bytes, 2)
    }

    /// Sends again what was not answered in time.
    fn send_again(&mut self) -> Result<(), String> {
        let now = Instant::now();
        while let Some((_, key, cseq)) = self.again.front().copied().filter(|it| it.0 <= now) {
            self.again.pop_front();
            let Some(open) = self.open.get_mut(&key).filter(|open| open.cseq == cseq) else {
                continue;
            };
            if open.tries >= TRIES {
                self.open.remove(&key);
                self.done.failed += 1;
                continue;
            }
            open.tries += 1;
            self.done.retransmissions += 1;
            self.again.push_back((now + AGAIN, key, cseq));
            let bytes = std::mem::take(&mut open.bytes);
            self.send(&bytes)?;
            if let Some(open) = self.open.get_mut(&key) {
                open.bytes = bytes;
            }
        }
        Ok(())
    }
}
