//! Events on their way to control.

use tandem_contract::command::CommandSlot;
use tandem_contract::event::{Event, EventSlot};
use tandem_hw::doorbell::Doorbell;
use tandem_hw::lane::EngineEnd;

/// The engine's end of a lane.
pub type Lane = EngineEnd<CommandSlot, EventSlot>;

/// The lane to control, if one is attached.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    lane: Option<(Lane, Doorbell)>,
    /// Events that found the ring full.
    pub lost: u64,
    unrung: bool,
}

impl Outbox {
    pub(crate) fn attach(&mut self, lane: Lane, bell: Doorbell) {
        self.lane = Some((lane, bell));
    }

    pub(crate) fn detach(&mut self) {
        self.lane = None;
    }

    pub(crate) fn lane(&mut self) -> Option<&mut Lane> {
        self.lane.as_mut().map(|(lane, _)| lane)
    }

    /// Tells control; without one nothing is lost, because the next one audits.
    pub(crate) fn push(&mut self, event: &Event) {
        if self.lane.is_some() && !self.try_push(event) {
            self.lost += 1;
        }
    }

    /// Tells control if there is room; `false` if not, for events that can wait.
    pub(crate) fn try_push(&mut self, event: &Event) -> bool {
        let Some((lane, _)) = &mut self.lane else { return false };
        let pushed = lane.events.push(&event.to_slot()).is_ok();
        self.unrung |= pushed;
        pushed
    }

    /// Wakes control if something was pushed and it sleeps.
    pub(crate) fn ring(&mut self) {
        if let (true, Some((lane, bell))) = (self.unrung, &self.lane) {
            lane.wake_peer(bell);
        }
        self.unrung = false;
    }
}
