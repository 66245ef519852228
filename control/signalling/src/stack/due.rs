//! Which timers an entry of the stack has running.

use super::machine::Timer;
use super::slab::Key;
use super::timers::{TimerId, Timers};
use tandem_wire::time::Instant;

/// Whose timer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Client(Key),
    Server(Key),
    Dialog(Key),
}

/// What a timer says when it fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) owner: Owner,
    pub(super) timer: Timer,
}

/// As many timers as any state of a machine has running at once.
const MOST: usize = 4;

/// The running timers of one entry, at most one of each kind.
#[derive(Debug, Default)]
pub(super) struct TimerSet {
    running: [Option<(Timer, TimerId)>; MOST],
}

impl TimerSet {
    /// Starts a timer, or starts it anew.
    pub(super) fn start(
        &mut self,
        timers: &mut Timers<Due>,
        owner: Owner,
        timer: Timer,
        deadline: Instant,
    ) {
        self.stop(timers, timer);
        let free = self.running.iter_mut().find(|place| place.is_none());
        debug_assert!(free.is_some(), "no state has more than {MOST} timers");
        if let Some(place) = free {
            *place = Some((timer, timers.start(deadline, Due { owner, timer })));
        }
    }

    /// Stops a timer if it runs.
    pub(super) fn stop(&mut self, timers: &mut Timers<Due>, timer: Timer) {
        for place in &mut self.running {
            if let Some((_, id)) = place.take_if(|(kind, _)| *kind == timer) {
                timers.stop(id);
            }
        }
    }

    /// Stops every timer.
    pub(super) fn stop_all(&mut self, timers: &mut Timers<Due>) {
        for place in &mut self.running {
            if let Some((_, id)) = place.take() {
                timers.stop(id);
            }
        }
    }
}
