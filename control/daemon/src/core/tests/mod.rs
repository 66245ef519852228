//! Calls and registrations on a virtual clock: a switch, phones that are stacks of their own, and
//! a network between them that delivers at once.

mod attacks;
mod calls;
mod early;
mod failures;
mod fax;
mod forking;
mod identity;
mod in_call;
mod locating;
mod logs;
mod real;
mod redirect;
mod registrations;
mod relay;
mod restart;
mod rfc3665;
mod rfc5407;
mod sessions;
mod sockets;
mod subscription;
mod topology;
mod transfer;
mod trunks;

use super::{Parts, Settings, Switch};
use crate::config::Config;
use crate::journal::{Journal, Recovered};
use crate::link::fake::FakeLink;
use crate::locate::fake::FakeDns;
use crate::media::{MediaConfig, MediaPlane};
use crate::net::Addresses;
use crate::record::CallRecord;
use crate::snapshot::Shared;
use crate::store::sqlite::SqliteStore;
use crate::store::users::{User, UserList};
use crate::store::{RecordQuery, Store};
use core::time::Duration;
use jiff::Timestamp;
use std::net::SocketAddr;
use std::sync::Arc;
use tandem_signalling::digest::{ClientSession, Ha1, best_challenge};
use tandem_signalling::header::Header;
use tandem_signalling::message::Message;
use tandem_signalling::method::Method;
use tandem_signalling::stack::{
    ClientTx, DialogId, Event, Fields, Flow, NewRequest, Output, Reply, ServerTx, Stack,
    StackConfig,
};
use tandem_wire::time::Instant;

const SERVER: &str = "192.0.2.1:5060";
const PASSWORD: &str = "secret";

/// A session description of a phone.
fn sdp(port: u16) -> Vec<u8> {
    format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.50\r\ns=-\r\nc=IN IP4 192.0.2.50\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 8 0\r\na=rtpmap:8 PCMA/8000\r\na=sendrecv\r\n"
    )
    .into_bytes()
}

/// As [`sdp`], on hold.
fn held_sdp(port: u16) -> Vec<u8> {
    String::from_utf8(sdp(port)).unwrap().replace("sendrecv", "sendonly").into_bytes()
}

/// The port of the first media line.
fn media_port(message: &Message) -> u16 {
    let body = String::from_utf8_lossy(message.body()).into_owned();
    let line = body.lines().find(|line| line.starts_with("m=audio")).expect("a media line");
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

/// A phone: a stack of its own, and what it was told.
struct Phone {
    user: &'static str,
    /// Where it is seen.
    addr: SocketAddr,
    /// Its own address: another one behind a NAT.
    own: SocketAddr,
    stack: Stack,
    events: Vec<Event>,
    session: Option<(Header, ClientSession)>,
    /// Number of its connection, 0 for datagrams.
    connection: u64,
    /// Nothing reaches it, and nobody hears it.
    dark: bool,
}

impl Phone {
    fn flow(&self) -> Flow {
        Flow::udp(self.own, SERVER.parse().unwrap())
    }

    fn aor(&self) -> String {
        format!("<sip:{}@tandem>", self.user)
    }

    fn contact(&self) -> String {
        format!("<sip:{}@{}>", self.user, self.own)
    }

    fn take<T>(&mut self, pick: impl Fn(&Event) -> Option<T>) -> T {
        let found = self.events.iter().position(|event| pick(event).is_some());
        let Some(at) = found else {
            panic!("{} did not get it; it got {:#?}", self.user, self.events)
        };
        pick(&self.events.remove(at)).unwrap()
    }

    /// The next request of a method.
    fn request(&mut self, method: Method) -> (ServerTx, Option<DialogId>, Message) {
        self.take(|event| match event {
            Event::Request { tx, dialog, request, .. } if request.method() == method => {
                Some((*tx, *dialog, request.clone()))
            }
            _ => None,
        })
    }

    /// The next response of a status.
    fn response(&mut self, status: u16) -> (ClientTx, Option<DialogId>, Message) {
        self.take(|event| match event {
            Event::Response { tx, dialog, response, .. } if response.status() == Some(status) => {
                Some((*tx, *dialog, response.clone()))
            }
            _ => None,
        })
    }

    fn has_nothing(&self) -> bool {
        self.events.is_empty()
    }
}

/// Who plays which part.
const ALICE: usize = 0;
const BOB: usize = 1;
/// Bob's second phone.
const BOB2: usize = 2;
const CAROL: usize = 3;

struct Bench {
    now: Instant,
    switch: Switch,
    phones: Vec<Phone>,
    link: FakeLink,
    dns: FakeDns,
    store: Arc<SqliteStore>,
    journal: Journal,
    shared: Arc<Shared>,
    users: UserList,
    config: Config,
    folder: tempfile::TempDir,
    /// Datagrams that get lost: counts down per direction.
    lose: u32,
}

fn wall(now: Instant) -> Timestamp {
    let start: Timestamp = "2126-01-01T00:00:00Z".parse().unwrap();
    start + jiff::SignedDuration::from_millis(i64::try_from(now.as_millis()).unwrap())
}

impl Bench {
    fn new() -> Self {
        Self::with("")
    }

    fn with(config: &str) -> Self {
        let config = Config::parse(config).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let link = FakeLink::new();
        let now = Instant::from_millis(1_000_000);
        let users = UserList::of(users());
        let dns = FakeDns::new();
        let (switch, store, journal, shared) = build(&config, &folder, &link, &users, &dns, now, 1);
        let addr = |host| -> SocketAddr { format!("192.0.2.5{host}:5060").parse().unwrap() };
        let phones =
            [("alice", 1), ("bob", 2), ("bob", 3), ("carol", 4)].map(|(user, host)| Phone {
                user,
                addr: addr(host),
                own: addr(host),
                stack: Stack::new(StackConfig::default(), host),
                events: Vec::new(),
                session: None,
                connection: 0,
                dark: false,
            });
        let phones = phones.into();
        Self {
            now,
            switch,
            phones,
            link,
            dns,
            store,
            journal,
            shared,
            users,
            config,
            folder,
            lose: 0,
        }
    }

    /// The daemon is killed and started again: only journal, store and engine live on.
    fn restart(&mut self) {
        self.journal.close();
        let (switch, store, journal, shared) =
            build(&self.config, &self.folder, &self.link, &self.users, &self.dns, self.now, 2);
        (self.switch, self.store, self.journal, self.shared) = (switch, store, journal, shared);
    }

    /// Delivers until nobody has anything to say.
    fn pump(&mut self) {
        self.switch.set_time(self.now, wall(self.now));
        self.switch.check_users();
        let mut busy = true;
        while busy {
            busy = false;
            while let Some((flow, bytes)) = self.switch.poll_transmit() {
                busy = true;
                if self.lost() {
                    continue;
                }
                let at =
                    |it: &&mut Phone| it.addr == flow.remote && it.connection == flow.connection;
                let Some(phone) = self.phones.iter_mut().find(at) else {
                    self.switch.handle_transport_error(flow);
                    continue;
                };
                if !phone.dark {
                    phone.stack.handle_input(self.now, Flow::udp(phone.own, flow.local), &bytes);
                }
            }
            for index in 0..self.phones.len() {
                while let Some(output) = self.phones[index].stack.poll_output() {
                    busy = true;
                    match output {
                        Output::Transmit { flow, bytes } => {
                            if !self.lost() && !self.phones[index].dark {
                                let phone = &self.phones[index];
                                let from = match phone.connection {
                                    0 => Flow::udp(flow.remote, phone.addr),
                                    number => Flow::tcp(flow.remote, phone.addr, number),
                                };
                                self.switch.handle_input(from, &bytes);
                            }
                        }
                        Output::Event(event) => self.phones[index].events.push(event),
                    }
                }
            }
            // The engine tells the end of what was subtracted.
            if !busy && !self.link.state().events.is_empty() {
                busy = true;
                self.switch.handle_engine();
            }
        }
    }

    fn lost(&mut self) -> bool {
        self.lose = self.lose.saturating_sub(1);
        self.lose > 0
    }

    /// Lets time go by.
    fn advance(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.pump();
            let phones = self.phones.iter().map(|phone| phone.stack.next_timeout());
            let due = phones.chain([self.switch.next_timeout()]).flatten().min();
            let Some(due) = due.filter(|due| *due <= until) else { break };
            self.now = self.now.max(due);
            self.switch.set_time(self.now, wall(self.now));
            self.switch.handle_timeout();
            for phone in &mut self.phones {
                phone.stack.handle_timeout(self.now);
            }
        }
        self.now = until;
        self.pump();
    }

    /// Sends a request and answers its challenge; gives the transaction of the last try.
    fn send(&mut self, who: usize, request: NewRequest) -> ClientTx {
        let flow = self.phones[who].flow();
        let tx = self.phones[who].stack.request(self.now, flow, request).unwrap();
        self.pump();
        tx
    }

    /// Credentials for the challenge in `response`.
    fn credentials(
        &mut self,
        who: usize,
        response: &Message,
        method: &str,
        uri: &str,
    ) -> (&'static str, String) {
        let (header, challenge) = best_challenge(response).unwrap();
        let phone = &mut self.phones[who];
        let ha1 = Ha1::compute(
            challenge.algorithm,
            phone.user.as_bytes(),
            challenge.realm.as_bytes(),
            PASSWORD.as_bytes(),
        );
        let mut session = ClientSession::new(challenge);
        let value = session.authorization(phone.user, &ha1, method, uri, "cnonce");
        phone.session = Some((header, session));
        (header.name(), value)
    }

    fn register_request(&self, who: usize, call_id: &str, cseq: u32) -> NewRequest {
        let phone = &self.phones[who];
        NewRequest::new(Method::Register, "sip:tandem")
            .from(phone.aor())
            .to(phone.aor())
            .call_id(call_id)
            .cseq(cseq)
    }

    /// Registers a phone with the usual contact; gives the 200.
    fn register(&mut self, who: usize) -> Message {
        let contact = self.phones[who].contact();
        self.register_with(who, &[("Contact", &contact)], 200)
    }

    /// Registers with these rows and expects a status.
    fn register_with(&mut self, who: usize, rows: &[(&str, &str)], status: u16) -> Message {
        let call_id = format!("reg-{who}");
        let cseq = u32::try_from(self.now.as_millis() / 10 % 1_000_000).unwrap();
        self.now = self.now + Duration::from_millis(20);
        let add = |mut request: NewRequest| {
            for (name, value) in rows {
                request = request.header(name, value);
            }
            request
        };
        let request = add(self.register_request(who, &call_id, cseq));
        self.send(who, request);
        let (_, _, challenge) = self.phones[who].response(401);
        let (name, value) = self.credentials(who, &challenge, "REGISTER", "sip:tandem");
        let request = add(self.register_request(who, &call_id, cseq + 1)).header(name, value);
        self.send(who, request);
        self.phones[who].response(status).2
    }

    fn invite_request(&self, who: usize, to: &str) -> NewRequest {
        self.invite_uri_request(who, &format!("sip:{to}@tandem"))
    }

    fn invite_uri_request(&self, who: usize, uri: &str) -> NewRequest {
        NewRequest::new(Method::Invite, uri)
            .from(format!("\"Alice A.\" {}", self.phones[who].aor()))
            .to(format!("<{uri}>"))
            .header("X-Keep", "as it is; ü")
    }

    /// Sends an INVITE with credentials.
    fn invite_with(
        &mut self,
        who: usize,
        to: &str,
        edit: impl Fn(NewRequest) -> NewRequest,
    ) -> ClientTx {
        self.invite_uri(who, &format!("sip:{to}@tandem"), edit)
    }

    /// As [`Self::invite_with`], to any URI.
    fn invite_uri(
        &mut self,
        who: usize,
        uri: &str,
        edit: impl Fn(NewRequest) -> NewRequest,
    ) -> ClientTx {
        let call_id = format!("call-{who}-{}", self.now.as_nanos());
        let request = edit(self.invite_uri_request(who, uri))
            .call_id(call_id.clone())
            .from_tag("tag-of-alice")
            .cseq(1);
        self.send(who, request);
        let (_, _, challenge) = self.phones[who].response(407);
        let (name, value) = self.credentials(who, &challenge, "INVITE", uri);
        let request = edit(self.invite_uri_request(who, uri))
            .call_id(call_id)
            .from_tag("tag-of-alice")
            .cseq(2)
            .header(name, value);
        self.send(who, request)
    }

    /// Calls with an offer.
    fn invite(&mut self, who: usize, to: &str) -> ClientTx {
        self.invite_with(who, to, |request| request.body("application/sdp", sdp(4000)))
    }

    fn respond(&mut self, who: usize, tx: ServerTx, reply: Reply) -> Option<DialogId> {
        let dialog = self.phones[who].stack.respond(self.now, tx, reply).unwrap();
        self.pump();
        dialog
    }

    fn ack(&mut self, who: usize, dialog: DialogId, fields: Fields) {
        self.phones[who].stack.ack(self.now, dialog, fields).unwrap();
        self.pump();
    }

    fn in_dialog(
        &mut self,
        who: usize,
        dialog: DialogId,
        method: Method,
        fields: Fields,
    ) -> ClientTx {
        let stack = &mut self.phones[who].stack;
        let tx = stack.request_in_dialog(self.now, dialog, method, fields).unwrap();
        self.pump();
        tx
    }

    /// Alice and Bob talk; gives their dialogs.
    fn established(&mut self) -> (DialogId, DialogId) {
        self.register(BOB);
        self.invite(ALICE, "bob");
        let (tx, _, _) = self.phones[BOB].request(Method::Invite);
        self.respond(BOB, tx, Reply::new(180));
        self.phones[ALICE].response(180);
        let reply = Reply::new(200).body("application/sdp", sdp(5000));
        let bob = self.respond(BOB, tx, reply).unwrap();
        let (_, alice, _) = self.phones[ALICE].response(200);
        let alice = alice.unwrap();
        self.ack(ALICE, alice, Fields::new());
        self.phones[BOB].take(|event| matches!(event, Event::Ack { .. }).then_some(()));
        assert!(self.phones.iter().all(Phone::has_nothing));
        (alice, bob)
    }

    /// The records that are journalled, oldest first.
    fn records(&self) -> Vec<CallRecord> {
        self.journal.close();
        let page = self.store.records(&RecordQuery::default()).unwrap();
        page.records.into_iter().rev().collect()
    }

    fn only_record(&self) -> CallRecord {
        let mut records = self.records();
        assert_eq!(records.len(), 1, "{records:#?}");
        records.remove(0)
    }

    fn calls(&self) -> usize {
        self.switch.calls.len()
    }
}

/// Who may register.
fn users() -> Vec<User> {
    vec![
        User::with_password("alice", "tandem", PASSWORD),
        User::with_password("bob", "tandem", PASSWORD),
        User { ha1_sha256: None, ..User::with_password("carol", "tandem", PASSWORD) },
    ]
}

type Built = (Switch, Arc<SqliteStore>, Journal, Arc<Shared>);

fn build(
    config: &Config,
    folder: &tempfile::TempDir,
    link: &FakeLink,
    users: &UserList,
    dns: &FakeDns,
    now: Instant,
    seed: u8,
) -> Built {
    let store = Arc::new(SqliteStore::open(&folder.path().join("tandem.db")).unwrap());
    let (journal, recovered): (Journal, Recovered) =
        Journal::open(&folder.path().join("journal"), store.clone()).unwrap();
    let (shared, _) = Shared::new();
    let server = [SERVER.parse().unwrap()];
    let switch = Switch::new(Parts {
        settings: Settings::new(config, &Addresses::plain(&server, &server)),
        boot: 1,
        seed: [seed; 40],
        now,
        wall: wall(now),
        journal: journal.clone(),
        recovered,
        users: users.clone(),
        media: MediaPlane::new(MediaConfig::default(), Box::new(link.clone())),
        dns: Box::new(dns.clone()),
        shared: shared.clone(),
    });
    (switch, store, journal, shared)
}
