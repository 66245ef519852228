//! The four transaction machines of RFC 3261 §17, with the states of RFC 6026, as pure functions;
//! and [`provisional`], the order of reliable provisional responses.
//!
//! Each machine is `step(state, event, reliability) -> Step`: no clock, no bytes, no table. The
//! stack turns events of the network, of the timers and of the transaction user into these
//! events, and carries out the [`Action`]s in the order in which they stand.

pub mod client_invite;
pub mod client_request;
pub mod provisional;
pub mod server_invite;
pub mod server_request;

/// A timer of RFC 3261 §17 and table 4, of RFC 6026, and those that Tandem adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timer {
    /// INVITE request retransmission, unreliable transports only.
    A,
    /// INVITE transaction timeout.
    B,
    /// The longest ringing without a new provisional response (§16.6, §16.8).
    C,
    /// Wait for retransmissions of a final non-2xx response to INVITE.
    D,
    /// Non-INVITE request retransmission, unreliable transports only.
    E,
    /// Non-INVITE transaction timeout.
    F,
    /// INVITE response retransmission, unreliable transports only.
    G,
    /// Wait for the ACK.
    H,
    /// Wait for retransmissions of the ACK.
    I,
    /// Wait for retransmissions of a non-INVITE request.
    J,
    /// Wait for retransmissions of the response to a non-INVITE request.
    K,
    /// Wait for retransmissions of an INVITE that was accepted (RFC 6026 §7.1).
    L,
    /// Wait for more 2xx responses to an INVITE (RFC 6026 §7.2).
    M,
    /// 200 ms without an answer of the transaction user: 100 Trying goes out (§17.2.1).
    Trying,
    /// A minute of ringing: the provisional response is repeated (§13.3.1.1).
    Refresh,
    /// 64*T1 after a CANCEL without a final response: the INVITE is given up (§9.1).
    Cancelled,
    /// Retransmission of a 2xx until its ACK (§13.3.1.4).
    Accept,
    /// 64*T1 without an ACK to a 2xx (§13.3.1.4).
    AcceptGiveUp,
    /// Retransmission of a reliable provisional response until its PRACK (RFC 3262 §3).
    Reliable,
    /// 64*T1 without a PRACK (RFC 3262 §3).
    ReliableGiveUp,
}

/// Whether the transport delivers every message once by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reliability {
    /// UDP: timers A, E and G repeat, timers D, I, J and K linger.
    Unreliable,
    /// TCP: those timers are zero or never start.
    Reliable,
}

/// What a machine asks for, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Send the request (again).
    SendRequest,
    /// Send the ACK of a non-2xx final response.
    SendAck,
    /// Send the response that the transaction user just gave, and keep it.
    SendResponse,
    /// Send the last response again, if there is one.
    ResendResponse,
    /// Give the response to the transaction user.
    Deliver,
    /// Give the ACK to the transaction user.
    DeliverAck,
    /// Start a timer, or start it anew.
    Start(Timer),
    /// Stop a timer if it runs.
    Stop(Timer),
    /// Tell the transaction user that nobody answered in time.
    ReportTimeout,
    /// Tell the transaction user that the transport failed.
    ReportTransportError,
}

/// The outcome of one event: the next state, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step<S: 'static> {
    /// State after the event.
    pub state: S,
    /// Actions in the order in which they must happen.
    pub actions: &'static [Action],
}

impl<S> Step<S> {
    /// A step to `state` with `actions`.
    const fn to(state: S, actions: &'static [Action]) -> Self {
        Self { state, actions }
    }
}

/// One of two action lists by reliability.
const fn by(
    reliability: Reliability,
    unreliable: &'static [Action],
    reliable: &'static [Action],
) -> &'static [Action] {
    match reliability {
        Reliability::Unreliable => unreliable,
        Reliability::Reliable => reliable,
    }
}
