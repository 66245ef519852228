//! Server transactions: matches requests, and carries out what the machines ask for.

use super::client::next_interval;
use super::content::Reply;
use super::due::{Owner, TimerSet};
use super::emit::{self, ResponseHead};
use super::flows::{Link, OnFlow};
use super::machine::{Action, Reliability, Timer, server_invite, server_request};
use super::reliable::Reliable;
use super::slab::Key;
use super::types::{Event, Flow, Output, ResponseFailure, ServerTx};
use super::{Stack, reliability_of, routing};
use crate::message::{Message, Reject, stamp_received, validate_request};
use crate::method::Method;
use core::time::Duration;
use std::sync::Arc;
use tandem_wire::time::Instant;

/// Which machine, in which state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    Invite(server_invite::State),
    Request(server_request::State),
}

/// What happens to a server transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// The request came again.
    Again,
    Ack,
    Send(u16),
    Timer(Timer),
    TransportError,
}

impl Machine {
    const fn new(method: Method) -> Self {
        match method {
            Method::Invite => Self::Invite(server_invite::State::Proceeding),
            _ => Self::Request(server_request::State::Trying),
        }
    }

    const fn start(self) -> &'static [Action] {
        match self {
            Self::Invite(_) => server_invite::start().actions,
            Self::Request(_) => server_request::start().actions,
        }
    }

    fn step(&mut self, input: Input, reliability: Reliability) -> &'static [Action] {
        match self {
            Self::Invite(state) => {
                let Some(event) = invite_event(input) else { return &[] };
                let step = server_invite::step(*state, event, reliability);
                *state = step.state;
                step.actions
            }
            Self::Request(state) => {
                let Some(event) = request_event(input) else { return &[] };
                let step = server_request::step(*state, event, reliability);
                *state = step.state;
                step.actions
            }
        }
    }

    const fn is_terminated(self) -> bool {
        matches!(
            self,
            Self::Invite(server_invite::State::Terminated)
                | Self::Request(server_request::State::Terminated)
        )
    }
}

fn invite_event(input: Input) -> Option<server_invite::Event> {
    use server_invite::Event as E;
    Some(match input {
        Input::Again => E::Invite,
        Input::Ack => E::Ack,
        Input::Send(100..200) => E::SendProvisional,
        Input::Send(200..300) => E::SendSuccess,
        Input::Send(_) => E::SendFailure,
        Input::TransportError => E::TransportError,
        Input::Timer(Timer::G) => E::TimerG,
        Input::Timer(Timer::H) => E::TimerH,
        Input::Timer(Timer::I) => E::TimerI,
        Input::Timer(Timer::L) => E::TimerL,
        Input::Timer(Timer::Refresh) => E::Refresh,
        Input::Timer(_) => return None,
    })
}

fn request_event(input: Input) -> Option<server_request::Event> {
    use server_request::Event as E;
    Some(match input {
        Input::Again => E::Request,
        Input::Send(100..200) => E::SendProvisional,
        Input::Send(_) => E::SendFinal,
        Input::TransportError => E::TransportError,
        Input::Timer(Timer::J) => E::TimerJ,
        Input::Ack | Input::Timer(_) => return None,
    })
}

/// One server transaction.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) method: Method,
    machine: Machine,
    /// Where the responses go.
    pub(super) flow: Flow,
    /// Where the request came from.
    pub(super) source: Flow,
    /// Where responses go when the connection is gone.
    sent_by_port: u16,
    print: u128,
    merge_print: u128,
    /// The request, until its final response.
    pub(super) request: Option<Message>,
    pub(super) cseq: u32,
    /// The last response.
    response: Option<Arc<[u8]>>,
    /// Status of the last response, 0 before the first.
    pub(super) status: u16,
    /// Tag of To in our responses.
    pub(super) local_tag: Box<str>,
    /// The dialog that it came in, or opened.
    pub(super) dialog: Option<Key>,
    cancelled: bool,
    failure_reported: bool,
    interval: Duration,
    pub(super) timers: TimerSet,
    /// Its reliable provisional responses, once there is one.
    pub(super) reliable: Option<Box<Reliable>>,
    link: Link,
}

impl OnFlow for Server {
    fn flow(&self) -> &Flow {
        &self.flow
    }

    fn link(&mut self) -> &mut Link {
        &mut self.link
    }
}

/// How a request identifies its transaction (§17.2.3).
struct Identity {
    print: u128,
    /// An INVITE of the same identity, for ACK and CANCEL.
    invite_print: u128,
}

/// Name of the limit in messages.
const LIMIT: &str = "max_server_transactions";

/// After how many seconds a refused client may try again.
const RETRY_AFTER_FULL: &str = "5";

impl Stack {
    /// A request that came over `flow`.
    pub(super) fn handle_request(&mut self, now: Instant, flow: Flow, request: &Message) {
        self.counters.requests_in.add(request.method());
        if let Err(reject) = validate_request(request) {
            self.refuse_malformed(flow, request, &reject);
            return;
        }
        let request = stamp_received(request, flow.remote);
        let Some(identity) = self.identify(&request) else { return };
        match request.method() {
            Method::Ack => self.handle_ack(now, &identity, request),
            Method::Cancel => self.handle_cancel(flow, &identity, request),
            _ => match self.server_index.get(&identity.print) {
                Some(&key) => {
                    self.counters.retransmissions_in += 1;
                    self.server_input(now, key, Input::Again);
                    self.repeat_accept_after_end(key);
                }
                None => self.new_request(now, flow, &identity, request),
            },
        }
    }

    /// Answers a malformed request without keeping state, or not at all.
    fn refuse_malformed(&mut self, flow: Flow, request: &Message, reject: &Reject) {
        self.counters.malformed.add(reject.cause);
        let Some(status) = reject.status else { return };
        let mut reply = Reply::new(status).reason(reject.reason.clone());
        for (header, value) in &reject.headers {
            reply = reply.header(header.name(), value);
        }
        let request = stamp_received(request, flow.remote);
        self.reply_stateless(&flow, &request, &reply);
    }

    pub(super) fn write_response(
        &self,
        request: &Message,
        reply: &Reply,
        to_tag: Option<&str>,
        contact: Option<&str>,
    ) -> Arc<[u8]> {
        let opens_dialog = match request.method() {
            Method::Invite => (101..300).contains(&reply.status()),
            Method::Subscribe => (200..300).contains(&reply.status()),
            _ => false,
        };
        let head = ResponseHead {
            to_tag,
            contact,
            record_route: opens_dialog,
            product: &self.config.product,
        };
        emit::response(request, &head, reply).into()
    }

    /// Fingerprints of a request's transaction (§17.2.3): by branch, sent-by and method, or for
    /// clients of RFC 2543 by everything that they repeat.
    fn identify(&self, request: &Message) -> Option<Identity> {
        let via = request.top_via().ok()?;
        let method = request.method();
        let name = if method == Method::Ack { Method::Invite } else { method };
        let port = via.port_or_default().to_be_bytes();
        let sent_by = via.sent_by().to_ascii_lowercase();
        let print = |name: &Method| match via.unique_branch() {
            Some(branch) => {
                let branch = branch.to_ascii_lowercase();
                self.prints.of(&[
                    b"branch",
                    branch.as_bytes(),
                    sent_by.as_bytes(),
                    &port,
                    name.as_str().as_bytes(),
                ])
            }
            None => self.prints.of(&[
                b"rfc2543",
                request.request_uri().unwrap_or("").as_bytes(),
                request.from_tag().unwrap_or("").as_bytes(),
                request.call_id().unwrap_or("").as_bytes(),
                &request.cseq().map_or(0, |cseq| cseq.number).to_be_bytes(),
                via.branch().unwrap_or("").as_bytes(),
                sent_by.as_bytes(),
                name.as_str().as_bytes(),
            ]),
        };
        Some(Identity { print: print(&name), invite_print: print(&Method::Invite) })
    }

    fn handle_ack(&mut self, now: Instant, identity: &Identity, ack: Message) {
        let matched = self.server_index.get(&identity.invite_print).copied();
        let acks_failure = matched.and_then(|key| self.servers.get(key)).is_some_and(|server| {
            let same_tag = ack.to_tag().is_none_or(|tag| tag == &*server.local_tag);
            server.status >= 300 && same_tag
        });
        match matched {
            Some(key) if acks_failure => self.server_input(now, key, Input::Ack),
            None if self.acknowledges_stateless(&ack) => self.counters.stateless_acks += 1,
            // The ACK of a 2xx is a transaction of its own and belongs to the dialog.
            _ => self.ack_for_dialog(now, ack),
        }
    }

    fn handle_cancel(&mut self, flow: Flow, identity: &Identity, cancel: Message) {
        let found = self.server_index.get(&identity.invite_print).copied();
        let Some((key, server)) = found.and_then(|key| Some((key, self.servers.get_mut(key)?)))
        else {
            self.reply_stateless(&flow, &cancel, &Reply::new(481));
            return;
        };
        let tag = server.local_tag.clone();
        let is_news = server.status < 200 && !core::mem::replace(&mut server.cancelled, true);
        let Ok(via) = cancel.top_via() else { return };
        let to = routing::response_flow(&flow, &via);
        let bytes = self.write_response(&cancel, &Reply::new(200), Some(&tag), None);
        self.counters.responses_out.add(200);
        self.output.push_back(Output::Transmit { flow: to, bytes });
        if is_news {
            self.emit(Event::Cancelled { tx: ServerTx(key), request: cancel });
        } else {
            self.counters.retransmissions_in += 1;
        }
    }

    fn new_request(&mut self, now: Instant, flow: Flow, identity: &Identity, request: Message) {
        let Some(key) = self.add_server(flow, identity.print, &request) else {
            self.refuse_full(flow, &request);
            return;
        };
        let start = self.servers.get(key).map_or(&[][..], |server| server.machine.start());
        self.server_actions(now, key, start);
        match request.to_tag() {
            // §12.2.2; a registration may carry any tag, it is in no dialog.
            Some(_) if request.method() != Method::Register => {
                self.request_in_known_dialog(now, key, flow, request);
            }
            _ => self.request_outside_dialog(now, key, flow, request),
        }
    }

    fn refuse_full(&mut self, flow: Flow, request: &Message) {
        self.counters.refused_full += 1;
        let most = self.config.limits.max_server_transactions;
        let reply = Reply::new(503)
            .header("Retry-After", RETRY_AFTER_FULL)
            .header("Warning", format!("399 tandem \"limit {LIMIT} ({most}) reached\""));
        self.reply_stateless(&flow, request, &reply);
    }

    fn add_server(&mut self, source: Flow, print: u128, request: &Message) -> Option<Key> {
        if self.servers.is_full() {
            return None;
        }
        let via = request.top_via().ok()?;
        let flow = routing::response_flow(&source, &via);
        let local_tag = match request.to_tag() {
            Some(tag) => tag.into(),
            None => self.random.tag().into_boxed_str(),
        };
        let cseq = request.cseq().map_or(0, |cseq| cseq.number);
        let merge_print = self.merge_print(request);
        let key = self.servers.insert(Server {
            method: request.method(),
            machine: Machine::new(request.method()),
            flow,
            source,
            sent_by_port: via.port_or_default(),
            print,
            merge_print,
            request: Some(request.clone()),
            cseq,
            response: None,
            status: 0,
            local_tag,
            dialog: None,
            cancelled: false,
            failure_reported: false,
            interval: Duration::ZERO,
            timers: TimerSet::default(),
            reliable: None,
            link: Link::default(),
        })?;
        self.server_index.insert(print, key);
        self.server_flows.add(&mut self.servers, key);
        Some(key)
    }

    /// What two copies of one request have in common that came by two ways (§8.2.2.2).
    fn merge_print(&self, request: &Message) -> u128 {
        self.prints.of(&[
            b"merge",
            request.call_id().unwrap_or("").as_bytes(),
            request.from_tag().unwrap_or("").as_bytes(),
            &request.cseq().map_or(0, |cseq| cseq.number).to_be_bytes(),
            request.method().as_str().as_bytes(),
        ])
    }

    /// A request without To tag: a new one, or one that came by two ways (§8.2.2.2).
    fn request_outside_dialog(&mut self, now: Instant, key: Key, flow: Flow, request: Message) {
        let Some(server) = self.servers.get(key) else { return };
        let merge_print = server.merge_print;
        let other = self.merge_index.get(&merge_print).and_then(|other| self.servers.get(*other));
        // A client that repeats its CSeq with credentials is wrong but common.
        if other.is_some_and(|other| !matches!(other.status, 401 | 407)) {
            self.counters.merged += 1;
            self.reject(now, key, &Reply::new(482));
            return;
        }
        self.merge_index.insert(merge_print, key);
        self.emit(Event::Request { tx: ServerTx(key), dialog: None, request, flow });
    }

    /// Answers a request in place of the transaction user.
    pub(super) fn reject(&mut self, now: Instant, key: Key, reply: &Reply) {
        self.send_reply(now, key, reply, None);
    }

    /// Writes a response and gives it to the transaction.
    pub(super) fn send_reply(
        &mut self,
        now: Instant,
        key: Key,
        reply: &Reply,
        contact: Option<&str>,
    ) -> Option<Arc<[u8]>> {
        let server = self.servers.get(key)?;
        let request = server.request.as_ref()?;
        let tag = (reply.status() > 100).then_some(&*server.local_tag);
        let bytes = self.write_response(request, reply, tag, contact);
        let server = self.servers.get_mut(key)?;
        server.response = Some(Arc::clone(&bytes));
        server.status = reply.status();
        if reply.status() >= 200 {
            server.request = None;
        }
        self.server_input(now, key, Input::Send(reply.status()));
        Some(bytes)
    }

    /// An INVITE comes again that was accepted in a dialog which has ended since: its 2xx is no
    /// longer repeated by itself, but the peer's transaction still waits for it.
    fn repeat_accept_after_end(&mut self, key: Key) {
        let Some(server) = self.servers.get(key) else { return };
        let accepted = server.method == Method::Invite && server.status / 100 == 2;
        if accepted && server.dialog.is_some_and(|dialog| self.live_dialog(dialog).is_none()) {
            self.transmit_response(key, true);
        }
    }

    /// One event of a server transaction.
    pub(super) fn server_input(&mut self, now: Instant, key: Key, input: Input) {
        let Some(server) = self.servers.get_mut(key) else { return };
        if input == Input::Ack && server.status < 300 {
            return;
        }
        let actions = server.machine.step(input, reliability_of(&server.flow));
        self.server_actions(now, key, actions);
        if self.servers.get(key).is_some_and(|server| server.machine.is_terminated()) {
            self.remove_server(key);
        }
    }

    fn server_actions(&mut self, now: Instant, key: Key, actions: &'static [Action]) {
        for action in actions {
            match *action {
                Action::SendResponse => self.transmit_response(key, false),
                Action::ResendResponse => self.transmit_response(key, true),
                Action::Start(timer) => self.start_server_timer(now, key, timer),
                Action::Stop(timer) => {
                    if let Some(server) = self.servers.get_mut(key) {
                        server.timers.stop(&mut self.timers, timer);
                    }
                }
                Action::ReportTimeout => {
                    self.counters.timeouts += 1;
                    self.report_failure(key, ResponseFailure::NoAck);
                }
                Action::ReportTransportError => {
                    self.report_failure(key, ResponseFailure::Transport);
                }
                // ACKs of 2xx go to the dialog directly.
                Action::DeliverAck => {}
                Action::SendRequest | Action::SendAck | Action::Deliver => {
                    debug_assert!(false, "server machines do not ask for {action:?}");
                }
            }
        }
    }

    fn transmit_response(&mut self, key: Key, again: bool) {
        let Some(server) = self.servers.get(key) else { return };
        let Some(bytes) = &server.response else { return };
        if again {
            self.counters.retransmissions_out += 1;
        } else {
            self.counters.responses_out.add(server.status);
        }
        let output = Output::Transmit { flow: server.flow, bytes: Arc::clone(bytes) };
        self.output.push_back(output);
    }

    fn report_failure(&mut self, key: Key, cause: ResponseFailure) {
        let Some(server) = self.servers.get_mut(key) else { return };
        if core::mem::replace(&mut server.failure_reported, true) {
            return;
        }
        if cause == ResponseFailure::Transport {
            self.counters.transport_errors += 1;
        }
        self.emit(Event::ResponseFailed { tx: ServerTx(key), cause });
    }

    fn start_server_timer(&mut self, now: Instant, key: Key, timer: Timer) {
        let timing = self.config.timing;
        let Some(server) = self.servers.get_mut(key) else { return };
        let delay = match timer {
            Timer::G => {
                server.interval = next_interval(server.interval, timing.t1, timing.t2);
                server.interval
            }
            Timer::I => timing.t4,
            Timer::Trying => timing.trying,
            Timer::Refresh => timing.refresh,
            _ => timing.sixty_four_t1(),
        };
        server.timers.start(&mut self.timers, Owner::Server(key), timer, now + delay);
    }

    /// A timer of a server transaction fired.
    pub(super) fn server_timer(&mut self, now: Instant, key: Key, timer: Timer) {
        let Some(server) = self.servers.get_mut(key) else { return };
        server.timers.stop(&mut self.timers, timer);
        match timer {
            Timer::Trying => {
                self.reject(now, key, &Reply::new(100));
            }
            Timer::Refresh => {
                // A repeated 100 would tell the peer nothing (§13.3.1.1).
                if server.status > 100 {
                    self.server_input(now, key, Input::Timer(timer));
                }
                self.start_server_timer(now, key, Timer::Refresh);
            }
            Timer::Reliable | Timer::ReliableGiveUp => self.reliable_timer(now, key, timer),
            _ => self.server_input(now, key, Input::Timer(timer)),
        }
    }

    pub(super) fn remove_server(&mut self, key: Key) {
        self.server_flows.remove(&mut self.servers, key);
        let Some(mut server) = self.servers.remove(key) else { return };
        server.timers.stop_all(&mut self.timers);
        self.server_index.remove(&server.print);
        if self.merge_index.get(&server.merge_print) == Some(&key) {
            self.merge_index.remove(&server.merge_print);
        }
    }

    /// The transport failed for a response: first another connection is tried, to the port of
    /// sent-by (§18.2.2).
    pub(super) fn server_transport_error(&mut self, now: Instant, key: Key) {
        let Some(server) = self.servers.get(key) else { return };
        if server.flow.connection == 0 {
            self.server_input(now, key, Input::TransportError);
            return;
        }
        let fallback = routing::fallback_flow(&server.flow, server.sent_by_port);
        let answered = server.status >= 200;
        self.server_flows.remove(&mut self.servers, key);
        if let Some(server) = self.servers.get_mut(key) {
            server.flow = fallback;
        }
        self.server_flows.add(&mut self.servers, key);
        if answered {
            self.transmit_response(key, true);
        }
    }
}
