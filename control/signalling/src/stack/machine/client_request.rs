//! Non-INVITE client transaction: RFC 3261 §17.1.2, figure 6.

use super::Action::{Deliver, ReportTimeout, ReportTransportError, SendRequest, Start, Stop};
use super::{Reliability, Step, Timer, by};

/// State of a non-INVITE client transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The request was sent, nothing came back.
    Trying,
    /// A provisional response came; timer E now runs at T2.
    Proceeding,
    /// A final response came; its repetitions are absorbed.
    Completed,
    /// Over.
    Terminated,
}

/// Input of a non-INVITE client transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// 1xx.
    Provisional,
    /// 2xx to 6xx.
    Final,
    /// Timer E fired.
    TimerE,
    /// Timer F fired.
    TimerF,
    /// Timer K fired.
    TimerK,
    /// The transport could not send.
    TransportError,
}

impl State {
    /// Every state, for tables.
    pub const ALL: [Self; 4] = [Self::Trying, Self::Proceeding, Self::Completed, Self::Terminated];
}

impl Event {
    /// Every event, for tables.
    pub const ALL: [Self; 6] = [
        Self::Provisional,
        Self::Final,
        Self::TimerE,
        Self::TimerF,
        Self::TimerK,
        Self::TransportError,
    ];
}

/// How the transaction begins.
#[must_use]
pub const fn start(reliability: Reliability) -> Step<State> {
    let actions = by(
        reliability,
        &[SendRequest, Start(Timer::E), Start(Timer::F)],
        &[SendRequest, Start(Timer::F)],
    );
    Step::to(State::Trying, actions)
}

/// One event in one state.
#[must_use]
pub const fn step(state: State, event: Event, reliability: Reliability) -> Step<State> {
    match (state, event) {
        (State::Trying | State::Proceeding, Event::Provisional) => {
            Step::to(State::Proceeding, &[Deliver])
        }
        (State::Trying | State::Proceeding, Event::Final) => finish(reliability),
        (State::Trying | State::Proceeding, Event::TimerE) => {
            Step::to(state, &[SendRequest, Start(Timer::E)])
        }
        (State::Trying | State::Proceeding, Event::TimerF) => {
            Step::to(State::Terminated, &[ReportTimeout])
        }
        (State::Trying | State::Proceeding, Event::TransportError) => {
            Step::to(State::Terminated, &[ReportTransportError])
        }
        (State::Completed, Event::TimerK) => Step::to(State::Terminated, &[]),
        (State::Trying | State::Proceeding, Event::TimerK)
        | (State::Completed | State::Terminated, _) => Step::to(state, &[]),
    }
}

/// A final response. Timer K is zero on reliable transports.
const fn finish(reliability: Reliability) -> Step<State> {
    match reliability {
        Reliability::Unreliable => {
            Step::to(State::Completed, &[Stop(Timer::E), Stop(Timer::F), Start(Timer::K), Deliver])
        }
        Reliability::Reliable => Step::to(State::Terminated, &[Deliver]),
    }
}
