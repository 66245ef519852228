//! Calls as the API shows them.

use super::Calls;
use super::fork::State;
use super::id::CallId;
use super::model::{Call, leg_of};
use crate::core::World;
use crate::record::LegReport;
use crate::snapshot::{CallState, CallView, LegView};
use tandem_signalling::stack::{DialogId, Flow};

impl Calls {
    /// All calls that exist.
    #[must_use]
    pub fn views(&self, world: &World) -> Vec<CallView> {
        let mut views: Vec<CallView> = self.table.all().map(|call| call.view(world)).collect();
        views.sort_by(|a, b| a.id.cmp(&b.id));
        views
    }

    /// One call.
    #[must_use]
    pub fn view(&self, world: &World, id: &str) -> Option<CallView> {
        let id: CallId = id.parse().ok()?;
        Some(self.table.get(self.table.index.by_id(id)?)?.view(world))
    }
}

impl Call {
    fn state(&self) -> CallState {
        if self.ended {
            CallState::Ending
        } else if self.winner.is_some() {
            if self.held.contains(&true) { CallState::Held } else { CallState::Answered }
        } else if self.times.ringing_at.is_some() {
            CallState::Ringing
        } else {
            CallState::Trying
        }
    }

    fn view(&self, world: &World) -> CallView {
        let reports = world.media.report(self.key());
        let mut legs =
            vec![self.leg_view(world, 0, self.caller.dialog, Some(&self.caller.flow), &reports)];
        legs[0].state = self.state();
        for (index, branch) in self.branches.iter().enumerate() {
            let Some(state) = self.branch_state(index) else { continue };
            let leg = leg_of(index);
            let mut view = self.leg_view(world, leg, branch.dialog, branch.place.flow(), &reports);
            view.target = Some(branch.target.clone());
            view.state = state;
            legs.push(view);
        }
        let lasted = self.lasted(world.now).filter(|_| !self.ended);
        CallView {
            id: self.id.to_string(),
            from: self.from.clone(),
            to: self.to.clone(),
            state: self.state(),
            started_at: self.times.started_at,
            ringing_at: self.times.ringing_at,
            answered_at: self.times.answered_at,
            duration_ms: lasted.map(|it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX)),
            legs,
        }
    }

    /// The state of a branch that is still there.
    fn branch_state(&self, branch: usize) -> Option<CallState> {
        match self.fork.state(branch)? {
            State::Calling => Some(CallState::Trying),
            State::Ringing => Some(CallState::Ringing),
            State::Cancelling => Some(CallState::Ending),
            State::Answered => Some(self.state()),
            State::Waiting | State::Done => None,
        }
    }

    fn leg_view(
        &self,
        world: &World,
        leg: u8,
        dialog: Option<DialogId>,
        flow: Option<&Flow>,
        reports: &[LegReport],
    ) -> LegView {
        let name = world.media.leg_name(self.key(), leg);
        let call_id = match dialog.and_then(|dialog| world.stack.dialog(dialog)) {
            Some(dialog) => dialog.call_id().to_owned(),
            None if leg == 0 => self.invite.call_id().unwrap_or_default().to_owned(),
            None => String::new(),
        };
        LegView {
            media: reports.iter().filter(|it| it.leg == name).cloned().collect(),
            leg: name,
            call_id,
            transport: flow
                .map(|it| it.transport.via_name().to_ascii_lowercase())
                .unwrap_or_default(),
            remote: flow.map(|it| it.remote),
            target: None,
            state: CallState::Trying,
            rx_pps: None,
            tx_pps: None,
        }
    }
}
