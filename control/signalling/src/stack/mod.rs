//! The SIP stack: transactions (RFC 3261 §17, RFC 6026) and dialogs (§12), without sockets, clock
//! or threads.
//!
//! Octets and time go in by `handle_*`; what is to be sent, and what the transaction user has to
//! know, comes out of [`Stack::poll_output`]. After every call, poll until `None`, then ask
//! [`Stack::next_timeout`] when to call [`Stack::handle_timeout`].
//!
//! What the stack does by itself: it repeats requests, responses, and the 2xx to an INVITE until
//! its ACK comes; absorbs what it gets repeatedly, and answers repeated 2xx with the same ACK;
//! acknowledges non-2xx final responses; repeats reliable provisional responses until their PRACK,
//! and passes those of the peer once and in order; answers CANCEL, 100 Trying after 200 ms, and what is out
//! of order (481, 482, 491, 500, 503); repeats a provisional response each minute; answers a BYE
//! that crosses our own; ends the peer's pending requests when a BYE ends the dialog.
//!
//! What is left to the transaction user: to answer each [`Event::Request`]; to call
//! [`Stack::ack`] for each 2xx to an INVITE; to send a PRACK for each response that asks for one
//! ([`Dialog::is_prack_due`]); to answer 487 after [`Event::Cancelled`]; to send a BYE in a dialog
//! that it does not want; Require and authentication.
//!
//! ```
//! use std::net::SocketAddr;
//! use tandem_signalling::method::Method;
//! use tandem_signalling::stack::{Event, Flow, NewRequest, Output, Reply, Stack, StackConfig};
//! use tandem_wire::time::Instant;
//!
//! let (alice, bob): (SocketAddr, SocketAddr) =
//!     ("192.0.2.1:5060".parse().unwrap(), "192.0.2.2:5060".parse().unwrap());
//! let mut caller = Stack::new(StackConfig::default(), 1);
//! let mut callee = Stack::new(StackConfig::default(), 2);
//! let now = Instant::ZERO;
//!
//! let request = NewRequest::new(Method::Options, "sip:bob@192.0.2.2");
//! let tx = caller.request(now, Flow::udp(alice, bob), request).unwrap();
//! let Some(Output::Transmit { bytes, .. }) = caller.poll_output() else { panic!() };
//!
//! callee.handle_input(now, Flow::udp(bob, alice), &bytes);
//! let Some(Output::Event(Event::Request { tx: incoming, .. })) = callee.poll_output() else {
//!     panic!()
//! };
//! let reply = Reply::new(200).header("Allow", "INVITE, ACK, BYE");
//! callee.respond(now, incoming, reply).unwrap();
//! let Some(Output::Transmit { bytes, .. }) = callee.poll_output() else { panic!() };
//!
//! caller.handle_input(now, Flow::udp(alice, bob), &bytes);
//! let Some(Output::Event(Event::Response { tx: answered, response, .. })) = caller.poll_output()
//! else {
//!     panic!()
//! };
//! assert_eq!((answered, response.status()), (tx, Some(200)));
//! ```

mod client;
mod config;
mod content;
mod counters;
mod dialog;
mod due;
mod emit;
mod flows;
mod identity;
mod large;
pub mod machine;
mod reliable;
mod resume;
mod routing;
mod server;
mod slab;
mod stateless;
mod subscribe;
mod timers;
mod types;
mod uac;
mod uas;

pub use config::{Advertised, Limits, StackConfig, Timing, UDP_LIMIT};
pub use content::{DEFAULT_MAX_FORWARDS, Fields, NewRequest, Reply};
pub use counters::{MalformedCounts, MethodCounts, StackCounters, StatusCounts};
pub use dialog::{Dialog, DialogState, Role};
pub use identity::{shard_of, shard_of_branch};
pub use resume::{CSEQ_AHEAD, SavedDialog};
pub use types::{
    ClientTx, DialogEnd, DialogId, Event, Flow, Output, PeerName, ResponseFailure, ServerTx,
    StackError, Transport,
};

use crate::message::Message;
use crate::method::Method;
use client::Client;
use core::time::Duration;
use due::{Due, Owner};
use flows::FlowIndex;
use identity::{Fingerprinter, Generator, PrintIndex};
use machine::Reliability;
use server::Server;
use slab::{Key, Slab};
use std::collections::VecDeque;
use tandem_wire::time::Instant;
use timers::Timers;

/// Transactions and dialogs of one signalling thread.
#[derive(Debug)]
pub struct Stack {
    config: StackConfig,
    random: Generator,
    prints: Fingerprinter,
    clients: Slab<Client>,
    servers: Slab<Server>,
    dialogs: Slab<Dialog>,
    /// Server transactions by branch, sent-by and method.
    server_index: PrintIndex<Key>,
    /// Requests outside of dialogs by what two copies of them have in common.
    merge_index: PrintIndex<Key>,
    /// Our INVITEs outside of dialogs by Call-ID and From tag.
    loop_index: PrintIndex<Key>,
    /// Dialogs that are not over by Call-ID and tags.
    dialog_index: PrintIndex<Key>,
    client_flows: FlowIndex,
    server_flows: FlowIndex,
    timers: Timers<Due>,
    /// Peers that took no TCP.
    refused: large::Refused,
    output: VecDeque<Output>,
    counters: StackCounters,
}

impl Stack {
    /// An empty stack; `seed` must be unpredictable outside of tests.
    #[must_use]
    pub fn new(config: StackConfig, seed: u64) -> Self {
        let mut random = Generator::new(seed, config.shard);
        let prints = Fingerprinter::new([random.next_u64(), random.next_u64()]);
        let limits = config.limits;
        Self {
            config,
            random,
            prints,
            clients: Slab::new(limits.max_client_transactions),
            servers: Slab::new(limits.max_server_transactions),
            // Bounded by `max_dialogs` and, once they are over, by the client transactions.
            dialogs: Slab::new(u32::MAX),
            server_index: PrintIndex::default(),
            merge_index: PrintIndex::default(),
            loop_index: PrintIndex::default(),
            dialog_index: PrintIndex::default(),
            client_flows: FlowIndex::default(),
            server_flows: FlowIndex::default(),
            timers: Timers::new(),
            refused: large::Refused::default(),
            output: VecDeque::new(),
            counters: StackCounters::default(),
        }
    }

    /// Goes on with other timers, limits and names; transactions that run keep the timers that they
    /// have started, and the shard stays.
    pub fn reconfigure(&mut self, config: StackConfig) {
        self.clients.set_limit(config.limits.max_client_transactions);
        self.servers.set_limit(config.limits.max_server_transactions);
        self.config = StackConfig { shard: self.config.shard, ..config };
    }

    /// One whole message that came over `flow`: a datagram, or what a
    /// [`Framer`](crate::framing::Framer) cut from a stream.
    pub fn handle_input(&mut self, now: Instant, flow: Flow, bytes: &[u8]) {
        if bytes.iter().all(|octet| matches!(octet, b'\r' | b'\n' | b' ' | 0)) {
            self.counters.keepalives_in += 1;
            return;
        }
        match Message::parse(bytes) {
            Err(error) => self.counters.malformed.add(error),
            Ok(message) if message.is_request() => self.handle_request(now, flow, &message),
            Ok(message) => self.handle_response(now, flow, &message),
        }
    }

    /// Time went by: fires every timer that is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(due) = self.timers.pop_due(now) {
            match due.owner {
                Owner::Client(key) => self.client_timer(now, key, due.timer),
                Owner::Server(key) => self.server_timer(now, key, due.timer),
                Owner::Dialog(key) => self.dialog_timer(now, key, due.timer),
            }
        }
    }

    /// The transport could not send on `flow`, or its connection is gone (RFC 3261 §8.1.3.1,
    /// §18.4). Requests that wait on it fail with [`Event::TransportFailed`]; responses are tried
    /// on a new connection (`connection` 0), and when that fails too, with
    /// [`Event::ResponseFailed`].
    pub fn handle_transport_error(&mut self, now: Instant, flow: Flow) {
        let mut clients = self.client_flows.on(&mut self.clients, &flow);
        if flow.connection != 0 {
            // Requests that asked for any connection to this peer may have used this one.
            let any = Flow { connection: 0, ..flow };
            clients.extend(self.client_flows.on(&mut self.clients, &any));
        }
        for key in clients {
            self.client_input(now, key, client::Input::TransportError, None);
        }
        for key in self.server_flows.on(&mut self.servers, &flow) {
            self.server_transport_error(now, key);
        }
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// When [`Stack::handle_timeout`] must be called, `None` if nothing runs.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Answers a request. A provisional response with a tag to an INVITE opens an early dialog, a
    /// 2xx confirms it; the dialog is returned. The 2xx is repeated until its ACK comes.
    ///
    /// A [reliable](Reply::reliable) provisional response is repeated until its PRACK comes, which
    /// is an [`Event::Request`] to answer; what is given meanwhile goes out in its order after it
    /// (RFC 3262 §3), a failure at once.
    ///
    /// # Errors
    /// When the transaction is over or already answered (also by the stack itself, with 487 after a
    /// BYE), the status does not fit, or there is no room for another dialog.
    pub fn respond(
        &mut self,
        now: Instant,
        tx: ServerTx,
        reply: Reply,
    ) -> Result<Option<DialogId>, StackError> {
        self.answer(now, tx.0, &reply)
    }

    /// Answers a request outside of any dialog and keeps nothing of it (RFC 3261 §8.2.7): for who
    /// has not proved who he is. A repetition of the request comes as a new one. With 300 or
    /// above, or anything final to a request that is no INVITE.
    ///
    /// # Errors
    /// When the transaction is over or already answered, or the status does not fit.
    pub fn refuse(&mut self, tx: ServerTx, reply: &Reply) -> Result<(), StackError> {
        let invite = self.servers.get(tx.0).is_some_and(|server| server.method == Method::Invite);
        let least = if invite { 300 } else { 200 };
        if !(least..700).contains(&reply.status()) {
            return Err(StackError::BadStatus(reply.status()));
        }
        self.refuse_key(tx.0, reply)
    }

    /// Sends a request outside of a dialog; an INVITE may open dialogs.
    ///
    /// # Errors
    /// When there is no room for another transaction or dialog, or the method is ACK or CANCEL.
    pub fn request(
        &mut self,
        now: Instant,
        flow: Flow,
        request: NewRequest,
    ) -> Result<ClientTx, StackError> {
        self.send_request(now, flow, &request)
    }

    /// Sends a request inside a dialog. A PRACK acknowledges the oldest reliable provisional
    /// response that waits for one; the stack writes its RAck.
    ///
    /// A BYE of the callee that comes before the ACK of its 2xx waits for it (RFC 3261 §15); a BYE
    /// of the caller before [`Stack::ack`] sends an empty ACK first.
    ///
    /// # Errors
    /// When the dialog is over or its state does not allow the request, above all when an INVITE
    /// is in progress and this is another.
    pub fn request_in_dialog(
        &mut self,
        now: Instant,
        dialog: DialogId,
        method: Method,
        fields: Fields,
    ) -> Result<ClientTx, StackError> {
        self.send_in_dialog(now, dialog.0, method, &fields)
    }

    /// Acknowledges the 2xx to our last INVITE of this dialog. The stack keeps the ACK and sends
    /// it again for each repetition of the 2xx.
    ///
    /// # Errors
    /// When the dialog is over, or no 2xx waits for an ACK.
    pub fn ack(
        &mut self,
        _now: Instant,
        dialog: DialogId,
        fields: Fields,
    ) -> Result<(), StackError> {
        self.send_ack(dialog.0, &fields)
    }

    /// Cancels an INVITE. Before the first provisional response the CANCEL waits for it (RFC 3261
    /// §9.1). Then the final response is awaited as usual; it may still be a 2xx.
    ///
    /// # Errors
    /// When the transaction is over, has its final response, or is not an INVITE.
    pub fn cancel(&mut self, now: Instant, tx: ClientTx, fields: Fields) -> Result<(), StackError> {
        self.cancel_invite(now, tx.0, fields)
    }

    /// Whether anything came back for a request, a 100 too; false if the transaction is over.
    #[must_use]
    pub fn has_response(&self, tx: ClientTx) -> bool {
        self.clients.get(tx.0).is_some_and(|client| client.machine.has_response())
    }

    /// A dialog, `None` after its end.
    #[must_use]
    pub fn dialog(&self, dialog: DialogId) -> Option<&Dialog> {
        self.live_dialog(dialog.0)
    }

    /// Call-ID of a request that went out and whose transaction is not over.
    #[must_use]
    pub fn call_id(&self, tx: ClientTx) -> Option<String> {
        self.clients.get(tx.0)?.request()?.call_id().map(str::to_owned)
    }

    /// The dialog of this Call-ID and these tags, `None` after its end.
    #[must_use]
    pub fn find_dialog(
        &self,
        call_id: &str,
        local_tag: &str,
        remote_tag: &str,
    ) -> Option<DialogId> {
        let print = self.dialog_print(call_id, local_tag, remote_tag);
        let id = *self.dialog_index.get(&print)?;
        self.live_dialog(id).map(|_| DialogId(id))
    }

    /// Every dialog that is not over.
    pub fn dialogs(&self) -> impl Iterator<Item = (DialogId, &Dialog)> {
        self.dialogs
            .iter()
            .filter(|(_, dialog)| !dialog.ended)
            .map(|(key, dialog)| (DialogId(key), dialog))
    }

    /// Where the next requests of a dialog go, unless [`Dialog::next_hop`] is an address that can
    /// be reached: after that name was resolved, or the peer came back on another flow.
    ///
    /// # Errors
    /// When the dialog is over.
    pub fn set_dialog_flow(&mut self, dialog: DialogId, flow: Flow) -> Result<(), StackError> {
        let dialog = self.dialogs.get_mut(dialog.0).filter(|dialog| !dialog.ended);
        dialog.ok_or(StackError::NoDialog)?.flow = flow;
        Ok(())
    }

    /// Forgets a dialog without a BYE.
    pub fn drop_dialog(&mut self, now: Instant, dialog: DialogId) {
        self.end_dialog(now, dialog.0, DialogEnd::Dropped);
    }

    /// How long to wait after a 491 before the re-INVITE is tried again (RFC 3261 §14.1): 2.1 to
    /// 4 s for the owner of the Call-ID, else 0 to 2 s, in units of 10 ms.
    pub fn glare_delay(&mut self, dialog: DialogId) -> Duration {
        let owner = self.live_dialog(dialog.0).is_some_and(|dialog| dialog.role() == Role::Uac);
        let ticks = if owner { 210 + self.random.below(191) } else { self.random.below(201) };
        Duration::from_millis(ticks * 10)
    }

    /// How long a peer is told to wait that made an offer before the last one was answered: 0 to
    /// 10 s, drawn anew each time (RFC 3261 §14.2, RFC 3311 §5.2).
    pub fn retry_delay(&mut self) -> Duration {
        Duration::from_secs(self.random.below(11))
    }

    /// Whether a request that came over `flow` is one of ours that came back: it has a Via of this
    /// socket (RFC 3261 §16.3), or Call-ID and From tag of an INVITE of ours that is alive. With
    /// another Request-URI it may be a spiral, which is no error (§6); the caller can tell.
    #[must_use]
    pub fn has_looped(&self, flow: &Flow, request: &Message) -> bool {
        let call_id = request.call_id().unwrap_or("");
        let from_tag = request.from_tag().unwrap_or("");
        let print = self.loop_print(call_id, from_tag);
        let own_via = |via: crate::via::Via<'_>| {
            self.config.is_own_sent_by(flow, via.host(), via.port())
                && via.branch().and_then(shard_of_branch).is_some()
        };
        self.loop_index.contains_key(&print) || request.vias().flatten().any(own_via)
    }

    /// Counters, and how many transactions, dialogs and timers are alive.
    #[must_use]
    pub fn counters(&self) -> StackCounters {
        StackCounters {
            client_transactions: self.clients.len(),
            server_transactions: self.servers.len(),
            timers: self.timers.len(),
            ..self.counters.clone()
        }
    }

    /// Whether nothing is alive: no transaction, no dialog, no timer.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.clients.len() == 0
            && self.servers.len() == 0
            && self.dialogs.len() == 0
            && self.timers.len() == 0
            && self.server_index.is_empty()
            && self.merge_index.is_empty()
            && self.loop_index.is_empty()
            && self.dialog_index.is_empty()
            && self.client_flows.is_empty()
            && self.server_flows.is_empty()
    }

    fn emit(&mut self, event: Event) {
        self.output.push_back(Output::Event(event));
    }

    fn loop_print(&self, call_id: &str, from_tag: &str) -> u128 {
        self.prints.of(&[b"loop", call_id.as_bytes(), from_tag.as_bytes()])
    }
}

/// What timers A, D, E, G, I, J and K depend on.
const fn reliability_of(flow: &Flow) -> Reliability {
    if flow.transport.is_reliable() { Reliability::Reliable } else { Reliability::Unreliable }
}

#[cfg(test)]
mod tests;
