//! Non-INVITE server transaction: RFC 3261 §17.2.2, figure 8.

use super::Action::{ReportTransportError, ResendResponse, SendResponse, Start};
use super::{Reliability, Step, Timer};

/// State of a non-INVITE server transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The request was given to the transaction user, nothing went out.
    Trying,
    /// A provisional response went out.
    Proceeding,
    /// A final response went out and is repeated for repetitions of the request.
    Completed,
    /// Over.
    Terminated,
}

/// Input of a non-INVITE server transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The request came again.
    Request,
    /// The transaction user answers with 1xx.
    SendProvisional,
    /// The transaction user answers with 2xx to 6xx.
    SendFinal,
    /// Timer J fired.
    TimerJ,
    /// The transport could not send.
    TransportError,
}

impl State {
    /// Every state, for tables.
    pub const ALL: [Self; 4] = [Self::Trying, Self::Proceeding, Self::Completed, Self::Terminated];
}

impl Event {
    /// Every event, for tables.
    pub const ALL: [Self; 5] =
        [Self::Request, Self::SendProvisional, Self::SendFinal, Self::TimerJ, Self::TransportError];
}

/// How the transaction begins.
#[must_use]
pub const fn start() -> Step<State> {
    Step::to(State::Trying, &[])
}

/// One event in one state.
#[must_use]
pub const fn step(state: State, event: Event, reliability: Reliability) -> Step<State> {
    match (state, event) {
        (State::Proceeding | State::Completed, Event::Request) => {
            Step::to(state, &[ResendResponse])
        }
        (State::Trying | State::Proceeding, Event::SendProvisional) => {
            Step::to(State::Proceeding, &[SendResponse])
        }
        (State::Trying | State::Proceeding, Event::SendFinal) => match reliability {
            Reliability::Unreliable => Step::to(State::Completed, &[SendResponse, Start(Timer::J)]),
            // Timer J is zero.
            Reliability::Reliable => Step::to(State::Terminated, &[SendResponse]),
        },
        (State::Completed, Event::TimerJ) => Step::to(State::Terminated, &[]),
        (State::Proceeding | State::Completed, Event::TransportError) => {
            Step::to(State::Terminated, &[ReportTransportError])
        }
        (State::Trying, Event::Request | Event::TimerJ | Event::TransportError)
        | (State::Proceeding, Event::TimerJ)
        | (State::Completed, Event::SendProvisional | Event::SendFinal)
        | (State::Terminated, _) => Step::to(state, &[]),
    }
}
