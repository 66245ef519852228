//! INVITE server transaction: RFC 3261 §17.2.1, figure 7, as RFC 6026 §7.1 and §8.7 correct it.

use super::Action::{
    DeliverAck, ReportTimeout, ReportTransportError, ResendResponse, SendResponse, Start, Stop,
};
use super::{Reliability, Step, Timer, by};

/// State of an INVITE server transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// No final response yet.
    Proceeding,
    /// A 3xx to 6xx was sent and waits for its ACK.
    Completed,
    /// The ACK came; its repetitions are absorbed.
    Confirmed,
    /// A 2xx was sent; repetitions of the INVITE are absorbed (RFC 6026).
    Accepted,
    /// Over.
    Terminated,
}

/// Input of an INVITE server transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The INVITE came again.
    Invite,
    /// An ACK that matches the transaction.
    Ack,
    /// The transaction user answers with 1xx.
    SendProvisional,
    /// The transaction user answers with 2xx.
    SendSuccess,
    /// The transaction user answers with 3xx to 6xx.
    SendFailure,
    /// Timer G fired.
    TimerG,
    /// Timer H fired.
    TimerH,
    /// Timer I fired.
    TimerI,
    /// Timer L fired.
    TimerL,
    /// A minute of ringing went by.
    Refresh,
    /// The transport could not send.
    TransportError,
}

impl State {
    /// Every state, for tables.
    pub const ALL: [Self; 5] =
        [Self::Proceeding, Self::Completed, Self::Confirmed, Self::Accepted, Self::Terminated];
}

impl Event {
    /// Every event, for tables.
    pub const ALL: [Self; 11] = [
        Self::Invite,
        Self::Ack,
        Self::SendProvisional,
        Self::SendSuccess,
        Self::SendFailure,
        Self::TimerG,
        Self::TimerH,
        Self::TimerI,
        Self::TimerL,
        Self::Refresh,
        Self::TransportError,
    ];
}

/// How the transaction begins; 100 Trying follows when its timer fires, unless the transaction
/// user answers sooner.
#[must_use]
pub const fn start() -> Step<State> {
    Step::to(State::Proceeding, &[Start(Timer::Trying)])
}

/// One event in one state.
#[must_use]
pub const fn step(state: State, event: Event, reliability: Reliability) -> Step<State> {
    match state {
        State::Proceeding => proceeding(event, reliability),
        State::Completed => completed(event, reliability),
        State::Confirmed => match event {
            Event::TimerI => Step::to(State::Terminated, &[]),
            _ => Step::to(State::Confirmed, &[]),
        },
        State::Accepted => accepted(event),
        State::Terminated => Step::to(State::Terminated, &[]),
    }
}

const fn proceeding(event: Event, reliability: Reliability) -> Step<State> {
    match event {
        Event::Invite | Event::Refresh => Step::to(State::Proceeding, &[ResendResponse]),
        Event::SendProvisional => {
            Step::to(State::Proceeding, &[Stop(Timer::Trying), SendResponse, Start(Timer::Refresh)])
        }
        Event::SendSuccess => Step::to(
            State::Accepted,
            &[Stop(Timer::Trying), Stop(Timer::Refresh), SendResponse, Start(Timer::L)],
        ),
        Event::SendFailure => Step::to(
            State::Completed,
            by(
                reliability,
                &[
                    Stop(Timer::Trying),
                    Stop(Timer::Refresh),
                    SendResponse,
                    Start(Timer::G),
                    Start(Timer::H),
                ],
                &[Stop(Timer::Trying), Stop(Timer::Refresh), SendResponse, Start(Timer::H)],
            ),
        ),
        // RFC 6026 §8.7: the state stays; the timers end it.
        Event::TransportError => Step::to(State::Proceeding, &[ReportTransportError]),
        Event::Ack | Event::TimerG | Event::TimerH | Event::TimerI | Event::TimerL => {
            Step::to(State::Proceeding, &[])
        }
    }
}

const fn completed(event: Event, reliability: Reliability) -> Step<State> {
    match event {
        Event::Invite => Step::to(State::Completed, &[ResendResponse]),
        Event::Ack => match reliability {
            Reliability::Unreliable => {
                Step::to(State::Confirmed, &[Stop(Timer::G), Stop(Timer::H), Start(Timer::I)])
            }
            Reliability::Reliable => Step::to(State::Terminated, &[Stop(Timer::H)]),
        },
        Event::TimerG => Step::to(State::Completed, &[ResendResponse, Start(Timer::G)]),
        Event::TimerH => Step::to(State::Terminated, &[ReportTimeout]),
        Event::TransportError => Step::to(State::Completed, &[ReportTransportError]),
        Event::SendProvisional
        | Event::SendSuccess
        | Event::SendFailure
        | Event::TimerI
        | Event::TimerL
        | Event::Refresh => Step::to(State::Completed, &[]),
    }
}

const fn accepted(event: Event) -> Step<State> {
    match event {
        Event::Ack => Step::to(State::Accepted, &[DeliverAck]),
        // The retransmissions of a 2xx are the core's (§13.3.1.4) and pass through here.
        Event::SendSuccess => Step::to(State::Accepted, &[SendResponse]),
        Event::TimerL => Step::to(State::Terminated, &[]),
        Event::TransportError => Step::to(State::Accepted, &[ReportTransportError]),
        Event::Invite
        | Event::SendProvisional
        | Event::SendFailure
        | Event::TimerG
        | Event::TimerH
        | Event::TimerI
        | Event::Refresh => Step::to(State::Accepted, &[]),
    }
}
