//! INVITE client transaction: RFC 3261 §17.1.1, figure 5, as RFC 6026 §7.2 corrects it.

use super::Action::{
    Deliver, ReportTimeout, ReportTransportError, SendAck, SendRequest, Start, Stop,
};
use super::{Reliability, Step, Timer, by};

/// State of an INVITE client transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The INVITE was sent, nothing came back.
    Calling,
    /// A provisional response came.
    Proceeding,
    /// A final non-2xx response came and was acknowledged.
    Completed,
    /// A 2xx came; more of them may come, of this branch and of others (RFC 6026).
    Accepted,
    /// Over.
    Terminated,
}

/// Input of an INVITE client transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// 1xx.
    Provisional,
    /// 2xx.
    Success,
    /// 3xx to 6xx.
    Failure,
    /// Timer A fired.
    TimerA,
    /// Timer B fired.
    TimerB,
    /// Timer D fired.
    TimerD,
    /// Timer M fired.
    TimerM,
    /// 64*T1 went by after a CANCEL (§9.1).
    CancelTimeout,
    /// The transport could not send.
    TransportError,
}

impl State {
    /// Every state, for tables.
    pub const ALL: [Self; 5] =
        [Self::Calling, Self::Proceeding, Self::Completed, Self::Accepted, Self::Terminated];
}

impl Event {
    /// Every event, for tables.
    pub const ALL: [Self; 9] = [
        Self::Provisional,
        Self::Success,
        Self::Failure,
        Self::TimerA,
        Self::TimerB,
        Self::TimerD,
        Self::TimerM,
        Self::CancelTimeout,
        Self::TransportError,
    ];
}

/// How the transaction begins.
#[must_use]
pub const fn start(reliability: Reliability) -> Step<State> {
    let actions = by(
        reliability,
        &[SendRequest, Start(Timer::A), Start(Timer::B)],
        &[SendRequest, Start(Timer::B)],
    );
    Step::to(State::Calling, actions)
}

/// One event in one state.
#[must_use]
pub const fn step(state: State, event: Event, reliability: Reliability) -> Step<State> {
    match state {
        State::Calling => calling(event, reliability),
        State::Proceeding => proceeding(event, reliability),
        State::Completed => completed(event),
        State::Accepted => accepted(event),
        State::Terminated => Step::to(State::Terminated, &[]),
    }
}

const fn calling(event: Event, reliability: Reliability) -> Step<State> {
    match event {
        Event::Provisional => {
            Step::to(State::Proceeding, &[Stop(Timer::A), Stop(Timer::B), Start(Timer::C), Deliver])
        }
        Event::Success => {
            Step::to(State::Accepted, &[Stop(Timer::A), Stop(Timer::B), Start(Timer::M), Deliver])
        }
        Event::Failure => failure(reliability),
        Event::TimerA => Step::to(State::Calling, &[SendRequest, Start(Timer::A)]),
        Event::TimerB => Step::to(State::Terminated, &[ReportTimeout]),
        Event::TransportError => Step::to(State::Terminated, &[ReportTransportError]),
        Event::TimerD | Event::TimerM | Event::CancelTimeout => Step::to(State::Calling, &[]),
    }
}

const fn proceeding(event: Event, reliability: Reliability) -> Step<State> {
    match event {
        Event::Provisional => Step::to(State::Proceeding, &[Start(Timer::C), Deliver]),
        Event::Success => Step::to(
            State::Accepted,
            &[Stop(Timer::C), Stop(Timer::Cancelled), Start(Timer::M), Deliver],
        ),
        Event::Failure => failure(reliability),
        // §9.1: no final response within 64*T1 of the CANCEL; the client gives up.
        Event::CancelTimeout => Step::to(State::Terminated, &[ReportTimeout]),
        // Nothing is sent in this state, and the response may still come on another connection.
        Event::TransportError | Event::TimerA | Event::TimerB | Event::TimerD | Event::TimerM => {
            Step::to(State::Proceeding, &[])
        }
    }
}

/// A 3xx to 6xx in Calling or Proceeding. Timer D is zero on reliable transports.
const fn failure(reliability: Reliability) -> Step<State> {
    match reliability {
        Reliability::Unreliable => Step::to(
            State::Completed,
            &[
                Stop(Timer::A),
                Stop(Timer::B),
                Stop(Timer::C),
                Stop(Timer::Cancelled),
                SendAck,
                Start(Timer::D),
                Deliver,
            ],
        ),
        Reliability::Reliable => Step::to(State::Terminated, &[SendAck, Deliver]),
    }
}

const fn completed(event: Event) -> Step<State> {
    match event {
        Event::Failure => Step::to(State::Completed, &[SendAck]),
        Event::TimerD => Step::to(State::Terminated, &[]),
        Event::TransportError => Step::to(State::Terminated, &[ReportTransportError]),
        Event::Provisional
        | Event::Success
        | Event::TimerA
        | Event::TimerB
        | Event::TimerM
        | Event::CancelTimeout => Step::to(State::Completed, &[]),
    }
}

const fn accepted(event: Event) -> Step<State> {
    match event {
        Event::Success => Step::to(State::Accepted, &[Deliver]),
        Event::TimerM => Step::to(State::Terminated, &[]),
        Event::Provisional
        | Event::Failure
        | Event::TimerA
        | Event::TimerB
        | Event::TimerD
        | Event::CancelTimeout
        | Event::TransportError => Step::to(State::Accepted, &[]),
    }
}
