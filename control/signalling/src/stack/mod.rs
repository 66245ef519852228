//! The SIP stack: transactions (RFC 3261 §17, RFC 6026) and dialogs (§12), without sockets, clock
//! or threads.
//!
//! Octets and time go in by `handle_*`; what is to be sent, and what the transaction user has to
//! know, comes out of [`Stack::poll_output`]. After every call, poll until `None`, then ask
//! [`Stack::next_timeout`] when to call [`Stack::handle_timeout`].
//!
//! What the stack does by itself: it repeats requests, responses, and the 2xx to an INVITE until
//! its ACK comes; absorbs what it gets repeatedly, and answers repeated 2xx with the same ACK;
//! acknowledges non-2xx final responses; answers CANCEL, 100 Trying after 200 ms, and what is out
//! of order (481, 482, 491, 500, 503); repeats a provisional response each minute; answers a BYE
//! that crosses our own; ends the peer's pending requests when a BYE ends the dialog.
//!
//! What is left to the transaction user: to answer each [`Event::Request`]; to call
//! [`Stack::ack`] for each 2xx to an INVITE; to answer 487 after [`Event::Cancelled`]; to send a
//! BYE in a dialog that it does not want; Require and authentication.
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
//! callee.respond(now, incoming, Reply::new(200).header("Allow", "INVITE, ACK, BYE")).unwrap();
//! let Some(Output::Transmit { bytes, .. }) = callee.poll_output() else { panic!() };
//!
//! caller.handle_input(now, Flow::udp(alice, bob), &bytes);
//! let Some(Output::Event(Event::Response { tx: answered, response, .. })) = caller.poll_output()
//! else {
//!     panic!()
//! };
//! assert_eq!((answered, response.status()), (tx, Some(200)));
//! ```

mod config;
mod content;
mod counters;
mod dialog;
mod emit;
mod identity;
pub mod machine;
mod routing;
mod slab;
mod timers;
mod types;

pub use config::{Advertised, Limits, StackConfig, Timing};
pub use content::{DEFAULT_MAX_FORWARDS, Fields, NewRequest, Reply};
pub use counters::{MalformedCounts, MethodCounts, StackCounters, StatusCounts};
pub use dialog::{Dialog, DialogState, Role};
pub use identity::{shard_of, shard_of_branch};
pub use types::{
    ClientTx, DialogEnd, DialogId, Event, Flow, Output, ResponseFailure, ServerTx, StackError,
    Transport,
};

use crate::message::Message;
use crate::method::Method;
use core::time::Duration;
use tandem_wire::time::Instant;

/// Transactions and dialogs of one signalling thread.
#[derive(Debug)]
pub struct Stack {
    config: StackConfig,
    counters: StackCounters,
}

impl Stack {
    /// An empty stack; `seed` must be unpredictable outside of tests.
    #[must_use]
    pub fn new(config: StackConfig, seed: u64) -> Self {
        let _ = seed;
        Self { config, counters: StackCounters::default() }
    }

    /// One whole message that came over `flow`: a datagram, or what a framer cut from a stream.
    pub fn handle_input(&mut self, now: Instant, flow: Flow, bytes: &[u8]) {
        let _ = (now, flow, bytes);
    }

    /// Time went by: fires every timer that is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// The transport could not send on `flow`, or its connection is gone (RFC 3261 §8.1.3.1,
    /// §18.4).
    pub fn handle_transport_error(&mut self, now: Instant, flow: Flow) {
        let _ = (now, flow);
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }

    /// When [`Stack::handle_timeout`] must be called, `None` if nothing runs.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        None
    }

    /// Answers a request. A provisional response with a tag to an INVITE opens an early dialog, a
    /// 2xx confirms it; the dialog is returned. The 2xx is repeated until its ACK comes.
    ///
    /// # Errors
    /// When the transaction is over or already answered, the status does not fit, or there is no
    /// room for another dialog.
    pub fn respond(
        &mut self,
        now: Instant,
        tx: ServerTx,
        reply: Reply,
    ) -> Result<Option<DialogId>, StackError> {
        let _ = (now, tx, reply);
        Err(StackError::NoTransaction)
    }

    /// Sends a request outside of a dialog; an INVITE may open dialogs.
    ///
    /// # Errors
    /// When there is no room for another transaction, or the method is ACK or CANCEL.
    pub fn request(
        &mut self,
        now: Instant,
        flow: Flow,
        request: NewRequest,
    ) -> Result<ClientTx, StackError> {
        let _ = (now, flow, request);
        Err(StackError::NoTransaction)
    }

    /// Sends a request inside a dialog.
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
        let _ = (now, dialog, method, fields);
        Err(StackError::NoDialog)
    }

    /// Acknowledges the 2xx to our last INVITE of this dialog. The stack keeps the ACK and sends
    /// it again for each repetition of the 2xx.
    ///
    /// # Errors
    /// When the dialog is over, or no 2xx waits for an ACK.
    pub fn ack(
        &mut self,
        now: Instant,
        dialog: DialogId,
        fields: Fields,
    ) -> Result<(), StackError> {
        let _ = (now, dialog, fields);
        Err(StackError::NoDialog)
    }

    /// Cancels an INVITE. Before the first provisional response the CANCEL waits for it (RFC 3261
    /// §9.1). Then the final response is awaited as usual; it may still be a 2xx.
    ///
    /// # Errors
    /// When the transaction is over, has its final response, or is not an INVITE.
    pub fn cancel(&mut self, now: Instant, tx: ClientTx, fields: Fields) -> Result<(), StackError> {
        let _ = (now, tx, fields);
        Err(StackError::NoTransaction)
    }

    /// A dialog, `None` after its end.
    #[must_use]
    pub fn dialog(&self, dialog: DialogId) -> Option<&Dialog> {
        let _ = dialog;
        None
    }

    /// The dialog of a Call-ID, our tag and the peer's (Replaces, RFC 3891).
    #[must_use]
    pub fn find_dialog(
        &self,
        call_id: &str,
        local_tag: &str,
        remote_tag: &str,
    ) -> Option<DialogId> {
        let _ = (call_id, local_tag, remote_tag);
        None
    }

    /// Where the next requests of a dialog go: after the TU resolved [`Dialog::next_hop`], or the
    /// peer came back on another flow.
    ///
    /// # Errors
    /// When the dialog is over.
    pub fn set_dialog_flow(&mut self, dialog: DialogId, flow: Flow) -> Result<(), StackError> {
        let _ = (dialog, flow);
        Err(StackError::NoDialog)
    }

    /// Forgets a dialog without a BYE.
    pub fn drop_dialog(&mut self, now: Instant, dialog: DialogId) {
        let _ = (now, dialog);
    }

    /// How long to wait after a 491 before the re-INVITE is tried again (RFC 3261 §14.1): 2.1 to
    /// 4 s for the owner of the Call-ID, else 0 to 2 s, in units of 10 ms.
    pub fn glare_delay(&mut self, dialog: DialogId) -> Duration {
        let _ = dialog;
        Duration::ZERO
    }

    /// Whether a request went out from this stack before: one of its Vias, or its Call-ID, is of a
    /// live transaction of ours.
    #[must_use]
    pub fn has_looped(&self, flow: &Flow, request: &Message) -> bool {
        let _ = (flow, request);
        false
    }

    /// Counters, and how many transactions and dialogs are alive.
    #[must_use]
    pub fn counters(&self) -> StackCounters {
        let _ = &self.config;
        self.counters.clone()
    }
}

/// Max-Forwards of a request that goes on through us: one less than what came in, 70 if it had
/// none; `None` when it may not go on and is to be answered 483 (RFC 3261 §16.3, §16.6).
#[must_use]
pub fn forward_max_forwards(request: &Message) -> Option<u8> {
    match request.max_forwards() {
        None => Some(DEFAULT_MAX_FORWARDS),
        Some(hops) => hops.checked_sub(1),
    }
}
