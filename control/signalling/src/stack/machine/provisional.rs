//! Reliable provisional responses of one INVITE: RFC 3262 §3, the side that sends them.
//!
//! One of them is on its way at a time; what follows it waits for its PRACK and for the answer to
//! that. A failure overtakes all of them, a 2xx only those without a session description.

use super::Timer;

/// State of the reliable provisional responses of an INVITE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// None is on its way.
    #[default]
    Idle,
    /// One without a session description waits for its PRACK.
    Plain,
    /// One with a session description waits for its PRACK.
    Session,
    /// The PRACK came and is not answered yet.
    Acknowledged,
    /// A final response was sent before the PRACK came.
    Overtaken,
}

/// What happens to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The transaction user sends another one.
    Send,
    /// The same, with a session description.
    SendSession,
    /// The transaction user accepts the INVITE.
    SendSuccess,
    /// The transaction user refuses the INVITE.
    SendFailure,
    /// A PRACK for the one that is on its way.
    Prack,
    /// The PRACK was answered.
    PrackAnswered,
    /// The interval is over.
    TimerRepeat,
    /// 64*T1 without a PRACK.
    TimerGiveUp,
}

/// What is to be done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send what the transaction user gave.
    Send,
    /// Keep it until the PRACK is answered.
    Hold,
    /// Send the one that is on its way again.
    Repeat,
    /// The PRACK goes to the transaction user.
    Accept,
    /// The PRACK acknowledges nothing (481).
    Refuse,
    /// Send what was held back first.
    Release,
    /// Forget what was held back.
    DropHeld,
    /// Tell the transaction user that nobody acknowledged.
    Report,
    /// Start a timer.
    Start(Timer),
    /// Stop a timer.
    Stop(Timer),
}

/// The next state, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// State after the event.
    pub state: State,
    /// Actions in the order in which they must happen.
    pub actions: &'static [Action],
}

impl State {
    /// Every state, for tables.
    pub const ALL: [Self; 5] =
        [Self::Idle, Self::Plain, Self::Session, Self::Acknowledged, Self::Overtaken];
}

impl Event {
    /// Every event, for tables.
    pub const ALL: [Self; 8] = [
        Self::Send,
        Self::SendSession,
        Self::SendSuccess,
        Self::SendFailure,
        Self::Prack,
        Self::PrackAnswered,
        Self::TimerRepeat,
        Self::TimerGiveUp,
    ];
}

const fn to(state: State, actions: &'static [Action]) -> Step {
    Step { state, actions }
}

const BEGIN: &[Action] =
    &[Action::Send, Action::Start(Timer::Reliable), Action::Start(Timer::ReliableGiveUp)];
const OVERTAKE: &[Action] = &[
    Action::Stop(Timer::Reliable),
    Action::Stop(Timer::ReliableGiveUp),
    Action::DropHeld,
    Action::Send,
];

/// One event in one state.
#[must_use]
pub const fn step(state: State, event: Event) -> Step {
    match state {
        State::Idle => match event {
            Event::Send => to(State::Plain, BEGIN),
            Event::SendSession => to(State::Session, BEGIN),
            Event::SendSuccess | Event::SendFailure => to(State::Idle, &[Action::Send]),
            Event::Prack => to(State::Idle, &[Action::Refuse]),
            Event::PrackAnswered | Event::TimerRepeat | Event::TimerGiveUp => to(State::Idle, &[]),
        },
        State::Plain => match event {
            Event::SendSuccess => to(State::Overtaken, OVERTAKE),
            _ => unacknowledged(State::Plain, event),
        },
        State::Session => match event {
            // §3: a 2xx must wait for the PRACK of a session description.
            Event::SendSuccess => to(State::Session, &[Action::Hold]),
            _ => unacknowledged(State::Session, event),
        },
        State::Acknowledged => match event {
            Event::Send | Event::SendSession | Event::SendSuccess => {
                to(State::Acknowledged, &[Action::Hold])
            }
            Event::SendFailure => to(State::Idle, &[Action::DropHeld, Action::Send]),
            Event::Prack => to(State::Acknowledged, &[Action::Refuse]),
            Event::PrackAnswered => to(State::Idle, &[Action::Release]),
            Event::TimerRepeat | Event::TimerGiveUp => to(State::Acknowledged, &[]),
        },
        State::Overtaken => match event {
            // §3: it must still be ready for the PRACK.
            Event::Prack => to(State::Idle, &[Action::Accept]),
            _ => to(State::Overtaken, &[]),
        },
    }
}

const fn unacknowledged(state: State, event: Event) -> Step {
    match event {
        Event::Send | Event::SendSession | Event::SendSuccess => to(state, &[Action::Hold]),
        Event::SendFailure => to(State::Overtaken, OVERTAKE),
        Event::Prack => to(
            State::Acknowledged,
            &[Action::Stop(Timer::Reliable), Action::Stop(Timer::ReliableGiveUp), Action::Accept],
        ),
        Event::TimerRepeat => to(state, &[Action::Repeat, Action::Start(Timer::Reliable)]),
        Event::TimerGiveUp => {
            to(State::Idle, &[Action::Stop(Timer::Reliable), Action::DropHeld, Action::Report])
        }
        Event::PrackAnswered => to(state, &[]),
    }
}
