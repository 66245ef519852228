//! Client transactions: carries out what their machines ask for.

use super::content::{Fields, MAX_CSEQ, NewRequest};
use super::due::{Owner, TimerSet};
use super::emit::{self, RequestHead};
use super::flows::{Link, OnFlow};
use super::identity::parse_branch;
use super::large::Datagram;
use super::machine::{Action, Reliability, Timer, client_invite, client_request};
use super::slab::Key;
use super::types::{ClientTx, Event, Flow, Output, StackError, Transport};
use super::{Stack, reliability_of};
use crate::header::Header;
use crate::message::{Message, validate_response};
use crate::method::Method;
use core::time::Duration;
use std::sync::Arc;
use tandem_wire::time::Instant;

/// Which machine, in which state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    Invite(client_invite::State),
    Request(client_request::State),
}

/// What happens to a client transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Response(u16),
    Timer(Timer),
    TransportError,
}

impl Machine {
    pub(super) const fn new(method: Method) -> Self {
        match method {
            Method::Invite => Self::Invite(client_invite::State::Calling),
            _ => Self::Request(client_request::State::Trying),
        }
    }

    fn start(self, reliability: Reliability) -> &'static [Action] {
        match self {
            Self::Invite(_) => client_invite::start(reliability).actions,
            Self::Request(_) => client_request::start(reliability).actions,
        }
    }

    fn step(&mut self, input: Input, reliability: Reliability) -> &'static [Action] {
        match self {
            Self::Invite(state) => {
                let Some(event) = invite_event(input) else { return &[] };
                let step = client_invite::step(*state, event, reliability);
                *state = step.state;
                step.actions
            }
            Self::Request(state) => {
                let Some(event) = request_event(input) else { return &[] };
                let step = client_request::step(*state, event, reliability);
                *state = step.state;
                step.actions
            }
        }
    }

    pub(super) const fn is_terminated(self) -> bool {
        matches!(
            self,
            Self::Invite(client_invite::State::Terminated)
                | Self::Request(client_request::State::Terminated)
        )
    }

    /// Whether any response came.
    pub(super) const fn has_response(self) -> bool {
        !matches!(
            self,
            Self::Invite(client_invite::State::Calling)
                | Self::Request(client_request::State::Trying)
        )
    }

    /// Whether a final response came.
    const fn is_completed(self) -> bool {
        matches!(
            self,
            Self::Invite(client_invite::State::Completed)
                | Self::Request(client_request::State::Completed)
        )
    }
}

fn invite_event(input: Input) -> Option<client_invite::Event> {
    use client_invite::Event as E;
    Some(match input {
        Input::Response(100..200) => E::Provisional,
        Input::Response(200..300) => E::Success,
        Input::Response(_) => E::Failure,
        Input::TransportError => E::TransportError,
        Input::Timer(Timer::A) => E::TimerA,
        Input::Timer(Timer::B) => E::TimerB,
        Input::Timer(Timer::D) => E::TimerD,
        Input::Timer(Timer::M) => E::TimerM,
        Input::Timer(Timer::Cancelled) => E::CancelTimeout,
        Input::Timer(_) => return None,
    })
}

fn request_event(input: Input) -> Option<client_request::Event> {
    use client_request::Event as E;
    Some(match input {
        Input::Response(100..200) => E::Provisional,
        Input::Response(_) => E::Final,
        Input::TransportError => E::TransportError,
        Input::Timer(Timer::E) => E::TimerE,
        Input::Timer(Timer::F) => E::TimerF,
        Input::Timer(Timer::K) => E::TimerK,
        Input::Timer(_) => return None,
    })
}

/// Whether and how an INVITE is being cancelled.
#[derive(Debug)]
enum Cancel {
    No,
    /// As soon as a provisional response comes.
    Wanted(Fields),
    /// On its way, as a transaction of its own.
    Sent(Key),
}

/// One client transaction.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) method: Method,
    pub(super) machine: Machine,
    pub(super) flow: Flow,
    pub(super) cseq: u32,
    branch: Box<str>,
    pub(super) request: Arc<[u8]>,
    /// What it would be over UDP, if it goes over TCP for its size.
    pub(super) datagram: Option<Box<Datagram>>,
    /// The ACK of a non-2xx final response.
    ack: Option<Arc<[u8]>>,
    pub(super) interval: Duration,
    pub(super) timers: TimerSet,
    link: Link,
    sent: bool,
    cancel: Cancel,
    /// A CANCEL: its responses are nobody's business.
    internal: bool,
    /// Index of an INVITE outside of a dialog by Call-ID and From tag.
    loop_print: Option<u128>,
    /// The dialog in which the request was sent.
    pub(super) dialog: Option<Key>,
    /// The dialogs that responses to this INVITE opened.
    pub(super) forks: Vec<Key>,
}

impl OnFlow for Client {
    fn flow(&self) -> &Flow {
        &self.flow
    }

    fn link(&mut self) -> &mut Link {
        &mut self.link
    }
}

impl Client {
    /// The request, read again.
    pub(super) fn request(&self) -> Option<Message> {
        Message::parse(&self.request).ok()
    }
}

/// Name of the limit in messages.
const LIMIT: &str = "max_client_transactions";

impl Stack {
    /// The branch that the next client transaction will have.
    pub(super) fn next_branch(&mut self) -> Result<String, StackError> {
        let key = self.clients.next_key().ok_or(StackError::LimitReached(LIMIT))?;
        Ok(self.random.branch(key.to_bits()))
    }

    /// Makes a client transaction, not started yet.
    pub(super) fn add_client(
        &mut self,
        method: Method,
        flow: Flow,
        cseq: u32,
        branch: String,
        request: Vec<u8>,
    ) -> Result<Key, StackError> {
        let client = Client {
            method,
            machine: Machine::new(method),
            flow,
            cseq,
            branch: branch.into(),
            request: request.into(),
            datagram: None,
            ack: None,
            interval: Duration::ZERO,
            timers: TimerSet::default(),
            link: Link::default(),
            sent: false,
            cancel: Cancel::No,
            internal: false,
            loop_print: None,
            dialog: None,
            forks: Vec::new(),
        };
        let key = self.clients.insert(client).ok_or(StackError::LimitReached(LIMIT))?;
        self.client_flows.add(&mut self.clients, key);
        Ok(key)
    }

    /// See [`Stack::request`].
    pub(super) fn send_request(
        &mut self,
        now: Instant,
        flow: Flow,
        new: &NewRequest,
    ) -> Result<ClientTx, StackError> {
        if matches!(new.method, Method::Ack | Method::Cancel) {
            return Err(StackError::WrongMethod);
        }
        if new.method == Method::Invite {
            self.check_room_for_dialog()?;
        }
        let from_tag = new.from_tag.clone().unwrap_or_else(|| self.random.tag());
        let call_id = new.call_id.clone().unwrap_or_else(|| self.random.call_id());
        let cseq = new.cseq.unwrap_or_else(|| self.first_cseq()) & MAX_CSEQ;
        let opens_dialog = matches!(new.method, Method::Invite | Method::Subscribe);
        let contact = opens_dialog.then(|| self.contact(&flow));
        let sent_by = self.config.sent_by(&flow);
        let from = emit::with_tag(new.from.as_bytes(), Some(&from_tag));
        let branch = self.next_branch()?;
        let head = RequestHead {
            method: new.method,
            uri: &new.uri,
            flow: &flow,
            sent_by: &sent_by,
            branch: &branch,
            max_forwards: new.max_forwards,
            route: &new.route,
            from: &from,
            to: new.to.as_bytes(),
            call_id: &call_id,
            cseq,
            contact: contact.as_deref(),
            product: &self.config.product,
            alias: self.config.offers_alias(&flow),
        };
        let bytes = emit::request(&head, &new.fields);
        let key = self.add_client(new.method, flow, cseq, branch, bytes)?;
        if opens_dialog {
            let print = self.loop_print(&call_id, &from_tag);
            self.loop_index.insert(print, key);
            if let Some(client) = self.clients.get_mut(key) {
                client.loop_print = Some(print);
            }
        }
        self.start_client(now, key);
        Ok(ClientTx(key))
    }

    /// A sequence number to begin with.
    pub(super) fn first_cseq(&mut self) -> u32 {
        u32::try_from(self.random.below(1 << 16)).unwrap_or(0) + 1
    }

    /// Default Contact on `flow`.
    pub(super) fn contact(&self, flow: &Flow) -> String {
        let sent_by = self.config.sent_by(flow);
        match flow.transport {
            Transport::Udp => format!("<sip:{sent_by}>"),
            other => format!("<sip:{sent_by};transport={}>", other.uri_param()),
        }
    }

    /// The URI by which a user of ours is reached on `flow`, as for a Contact that is registered
    /// elsewhere.
    #[must_use]
    pub fn contact_uri(&self, flow: &Flow, user: &str) -> String {
        let contact = self.contact(flow);
        let uri = contact.trim_start_matches("<sip:").trim_end_matches('>');
        format!("sip:{user}@{uri}")
    }

    /// Sends the request for the first time and starts its timers.
    pub(super) fn start_client(&mut self, now: Instant, key: Key) {
        self.avoid_large_datagram(now, key);
        self.run_client(now, key);
    }

    /// As [`Self::start_client`], over the transport that was chosen.
    pub(super) fn run_client(&mut self, now: Instant, key: Key) {
        let Some(client) = self.clients.get(key) else { return };
        let actions = client.machine.start(reliability_of(&client.flow));
        self.client_actions(now, key, actions, None);
    }

    /// A response that came over `flow`.
    pub(super) fn handle_response(&mut self, now: Instant, flow: Flow, response: &Message) {
        if let Err(error) = validate_response(response) {
            self.counters.malformed.add(error);
            return;
        }
        let status = response.status().unwrap_or(0);
        self.counters.responses_in.add(status);
        let Some(key) = self.match_response(response) else {
            self.stray_response(response);
            return;
        };
        if self.clients.get(key).is_some_and(|client| client.machine.is_completed()) {
            self.counters.retransmissions_in += 1;
        }
        self.client_input(now, key, Input::Response(status), Some((response, flow)));
    }

    /// The transaction of a response (§17.1.3): by branch, sent-by and method of CSeq.
    fn match_response(&self, response: &Message) -> Option<Key> {
        let via = response.top_via().ok()?;
        let branch = via.branch()?;
        let (shard, bits) = parse_branch(branch)?;
        let key = Key::from_bits(bits);
        let client = self.clients.get(key).filter(|_| shard == self.config.shard)?;
        let cseq = response.cseq().ok()?;
        let known = client.branch.eq_ignore_ascii_case(branch)
            && client.cseq == cseq.number
            && self.config.is_own_sent_by(&client.flow, via.host(), via.port());
        if !known {
            return None;
        }
        match (&client.cancel, cseq.method) {
            (_, method) if method == client.method => Some(key),
            (Cancel::Sent(cancel), Method::Cancel) => Some(*cancel),
            _ => None,
        }
    }

    /// A response to nothing: dropped, unless it is the 2xx of an INVITE whose transaction is over
    /// while its dialog lives; that one still wants its ACK (§13.2.2.4).
    fn stray_response(&mut self, response: &Message) {
        let is_success = response.status().is_some_and(|status| status / 100 == 2);
        if is_success && response.method() == Method::Invite && self.repeat_ack_of(response) {
            self.counters.retransmissions_in += 1;
        } else {
            self.counters.stray_responses += 1;
        }
    }

    /// One event of a client transaction.
    pub(super) fn client_input(
        &mut self,
        now: Instant,
        key: Key,
        input: Input,
        response: Option<(&Message, Flow)>,
    ) {
        if input == Input::TransportError && self.fall_back_to_datagram(now, key) {
            return;
        }
        let Some(client) = self.clients.get_mut(key) else { return };
        let actions = client.machine.step(input, reliability_of(&client.flow));
        self.client_actions(now, key, actions, response);
        if matches!(input, Input::Response(100..200)) {
            self.send_wanted_cancel(now, key);
        }
        if self.clients.get(key).is_some_and(|client| client.machine.is_terminated()) {
            self.remove_client(now, key);
        }
    }

    fn client_actions(
        &mut self,
        now: Instant,
        key: Key,
        actions: &'static [Action],
        response: Option<(&Message, Flow)>,
    ) {
        for action in actions {
            match *action {
                Action::SendRequest => self.transmit_request(key),
                Action::SendAck => self.transmit_ack(key, response.map(|(message, _)| message)),
                Action::Start(timer) => self.start_client_timer(now, key, timer),
                Action::Stop(timer) => {
                    if let Some(client) = self.clients.get_mut(key) {
                        client.timers.stop(&mut self.timers, timer);
                    }
                }
                Action::Deliver => {
                    if let Some((message, flow)) = response {
                        // A dialog stays where the peer is known to be.
                        let datagram = self.clients.get(key).and_then(|it| it.datagram.as_ref());
                        let flow = datagram.map_or(flow, |it| it.flow);
                        self.deliver(now, key, message, flow);
                    }
                }
                Action::ReportTimeout => {
                    self.counters.timeouts += 1;
                    self.fail_client(now, key, Event::TimedOut { tx: ClientTx(key) });
                }
                Action::ReportTransportError => {
                    self.counters.transport_errors += 1;
                    self.fail_client(now, key, Event::TransportFailed { tx: ClientTx(key) });
                }
                Action::SendResponse | Action::ResendResponse | Action::DeliverAck => {
                    debug_assert!(false, "client machines do not ask for {action:?}");
                }
            }
        }
    }

    fn transmit_request(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.sent {
            self.counters.retransmissions_out += 1;
        } else {
            self.counters.requests_out.add(client.method);
            client.sent = true;
        }
        let output = Output::Transmit { flow: client.flow, bytes: Arc::clone(&client.request) };
        self.output.push_back(output);
    }

    /// The ACK of a non-2xx final response, made once (§17.1.1.3).
    fn transmit_ack(&mut self, key: Key, response: Option<&Message>) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.ack.is_some() {
            self.counters.retransmissions_out += 1;
        } else {
            let (Some(request), Some(response)) = (client.request(), response) else { return };
            let to = response.value(Header::To);
            let bytes = emit::derived_request(&request, Method::Ack, to, &Fields::new());
            client.ack = Some(bytes.into());
            self.counters.requests_out.add(Method::Ack);
        }
        if let Some(bytes) = &client.ack {
            let output = Output::Transmit { flow: client.flow, bytes: Arc::clone(bytes) };
            self.output.push_back(output);
        }
    }

    fn start_client_timer(&mut self, now: Instant, key: Key, timer: Timer) {
        let timing = self.config.timing;
        let Some(client) = self.clients.get_mut(key) else { return };
        let delay = match timer {
            Timer::A => {
                client.interval = next_interval(client.interval, timing.t1, Duration::MAX);
                client.interval
            }
            Timer::E => {
                let proceeding = Machine::Request(client_request::State::Proceeding);
                client.interval = if client.machine == proceeding {
                    timing.t2
                } else {
                    next_interval(client.interval, timing.t1, timing.t2)
                };
                client.interval
            }
            Timer::C => timing.timer_c,
            Timer::D => timing.timer_d,
            Timer::K => timing.t4,
            _ => timing.sixty_four_t1(),
        };
        client.timers.start(&mut self.timers, Owner::Client(key), timer, now + delay);
    }

    /// A timer of a client transaction fired.
    pub(super) fn client_timer(&mut self, now: Instant, key: Key, timer: Timer) {
        let Some(client) = self.clients.get_mut(key) else { return };
        client.timers.stop(&mut self.timers, timer);
        if timer == Timer::C {
            self.emit(Event::RingingTooLong { tx: ClientTx(key) });
        } else {
            self.client_input(now, key, Input::Timer(timer), None);
        }
    }

    /// Tells the transaction user, and the dialogs, that a request failed without a response.
    fn fail_client(&mut self, now: Instant, key: Key, event: Event) {
        let Some(client) = self.clients.get(key) else { return };
        if client.internal {
            return;
        }
        self.emit(event);
        self.request_failed(now, key);
    }

    fn remove_client(&mut self, now: Instant, key: Key) {
        self.client_flows.remove(&mut self.clients, key);
        let Some(mut client) = self.clients.remove(key) else { return };
        client.timers.stop_all(&mut self.timers);
        // The same Call-ID and tag may by now belong to the attempt with credentials.
        if let Some(print) = client.loop_print
            && self.loop_index.get(&print) == Some(&key)
        {
            self.loop_index.remove(&print);
        }
        if let Cancel::Sent(cancel) = client.cancel {
            self.remove_client(now, cancel);
        }
        if client.method == Method::Invite {
            self.invite_is_over(now, &client);
        }
    }

    /// Takes back a request that was never started.
    pub(super) fn discard_client(&mut self, now: Instant, key: Key) {
        self.remove_client(now, key);
    }

    /// See [`Stack::cancel`].
    pub(super) fn cancel_invite(
        &mut self,
        now: Instant,
        key: Key,
        fields: Fields,
    ) -> Result<(), StackError> {
        let client = self.clients.get_mut(key).ok_or(StackError::NoTransaction)?;
        match client.machine {
            Machine::Request(_) => Err(StackError::WrongMethod),
            Machine::Invite(client_invite::State::Calling) => {
                client.cancel = Cancel::Wanted(fields);
                Ok(())
            }
            Machine::Invite(client_invite::State::Proceeding) => {
                if !matches!(client.cancel, Cancel::Sent(_)) {
                    client.cancel = Cancel::Wanted(fields);
                    self.send_wanted_cancel(now, key);
                }
                Ok(())
            }
            Machine::Invite(_) => Err(StackError::AlreadyFinal),
        }
    }

    /// Sends the CANCEL that waited for a provisional response.
    fn send_wanted_cancel(&mut self, now: Instant, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let proceeding = Machine::Invite(client_invite::State::Proceeding);
        if client.machine != proceeding || !matches!(client.cancel, Cancel::Wanted(_)) {
            return;
        }
        let Cancel::Wanted(fields) = core::mem::replace(&mut client.cancel, Cancel::No) else {
            return;
        };
        let Some(request) = client.request() else { return };
        let (flow, cseq) = (client.flow, client.cseq);
        let bytes = emit::derived_request(&request, Method::Cancel, None, &fields);
        // Without room for the CANCEL the INVITE is still given up after 64*T1.
        if let Ok(cancel) = self.add_client(Method::Cancel, flow, cseq, String::new(), bytes) {
            if let Some(entry) = self.clients.get_mut(cancel) {
                entry.internal = true;
            }
            if let Some(client) = self.clients.get_mut(key) {
                client.cancel = Cancel::Sent(cancel);
            }
            self.start_client(now, cancel);
        }
        self.start_client_timer(now, key, Timer::Cancelled);
    }

    /// Whether a client transaction is one of the stack's own.
    pub(super) fn is_internal(&self, key: Key) -> bool {
        self.clients.get(key).is_some_and(|client| client.internal)
    }
}

/// The next interval of a repetition: T1, then twice the last, at most `most`.
pub(super) fn next_interval(last: Duration, t1: Duration, most: Duration) -> Duration {
    if last.is_zero() { t1.min(most) } else { last.saturating_mul(2).min(most) }
}
