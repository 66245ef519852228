//! Calls: a back-to-back user agent between a caller and the contacts of whom it calls.
//!
//! Each party has a dialog of its own with Tandem; nothing of one leg's Call-ID, tags, addresses
//! or routes is seen on the other. [`Calls`] finds the call that an event of the stack is about
//! and lets it work; a call speaks to the stack, to the media plane, to the journal and to nobody
//! else.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`fork`] | which branch rings when, who wins, which failure counts: pure |
//! | [`headers`] | what goes from one leg to the other |
//! | [`identity`] | who calls, and who may know |
//! | [`history`] | where a call was meant to go before |
//! | [`id`] | ids of calls |
//! | `model` | the data of a call |
//! | `table` | where calls live and how they are found |
//! | `setup` | an INVITE becomes a call, or is refused |
//! | `ringing` | branches, their responses, the answer |
//! | `redirect` | 3xx are followed |
//! | `transfer` | REFER and Replaces: parties go from one call to another |
//! | `dialled` | what a Request-URI asks for |
//! | `dialog` | requests inside an answered call |
//! | `negotiate` | re-INVITE and UPDATE |
//! | `place` | where a branch is called: a flow, or the addresses of a server |
//! | `digits` | telephone-events for a party that takes INFO alone |
//! | `early` | 100rel, PRACK and UPDATE before the answer |
//! | `glare` | one offer at a time |
//! | `session_timer`, `refresh` | whether both parties are still there |
//! | `peer` | what a party said that it can do |
//! | `routing` | whom a request is for, and the limits that it meets |
//! | `trunk_leg` | branches over a trunk |
//! | `release` | how a call ends, and its record |
//! | `resume` | answered calls of a daemon that was killed are taken over |
//! | `recover` | its other calls get their records |
//! | `view` | calls as the API shows them |

mod dialled;
mod dialog;
mod digits;
mod early;
pub mod fork;
mod glare;
pub mod headers;
pub mod history;
pub mod id;
pub mod identity;
mod model;
mod negotiate;
mod peer;
mod place;
mod recover;
mod redirect;
mod refresh;
mod release;
mod resume;
mod ringing;
mod routing;
pub mod session_timer;
mod setup;
mod table;
mod transfer;
mod trunk_leg;
mod view;

pub use dialled::dialled;
pub(crate) use dialog::capabilities;
pub(crate) use fork::rank;
pub use recover::Recovery;
pub(crate) use ringing::relayed_failure;
pub use routing::Usage;
pub(crate) use setup::{Admission, admit_request};

use crate::core::World;
use crate::locate::{Hop, LocateError, Ticket};
use crate::media::{CallKey, MediaEvent};
use core::time::Duration;
use id::CallId;
use model::{Call, Cx};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use table::{Role, Slot, Table};
use tandem_signalling::message::Message;
use tandem_signalling::stack::{ClientTx, DialogId, Flow, Reply, ServerTx};
use tandem_wire::time::Instant;
use transfer::Note;

/// How often the log says that calls are refused.
const REFUSAL_TOLD_EVERY: Duration = Duration::from_secs(30);

/// What was counted of calls since the daemon began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Calls that were accepted for processing.
    pub started: u64,
    /// Calls that were answered.
    pub answered: u64,
    /// Calls that a limit refused.
    pub refused: u64,
    /// Ended calls by final SIP status.
    pub ended: BTreeMap<u16, u64>,
}

/// All calls of the signalling thread.
#[derive(Debug, Default)]
pub struct Calls {
    table: Table,
    /// When each call looks at the time again: one entry for each, none for a call that waits for
    /// nothing.
    deadlines: BTreeSet<(Instant, CallId)>,
    totals: Totals,
    /// Calls of an earlier daemon with a party that was on a connection, by its address of record.
    unconnected: HashMap<String, Vec<CallId>>,
    /// What calls have to tell each other.
    notes: VecDeque<Note>,
    /// When the log last said that calls are refused.
    refusal_told: Option<Instant>,
}

impl Calls {
    /// No calls.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many exist.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether nothing is left of any call.
    #[cfg(test)]
    pub(crate) fn is_clean(&self) -> bool {
        self.is_empty() && self.table.index.is_empty() && self.deadlines.is_empty()
    }

    /// What was counted.
    #[must_use]
    pub const fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Calls that ring, and calls that are answered.
    #[must_use]
    pub fn gauges(&self) -> (u64, u64) {
        self.table.all().filter(|call| !call.ended).fold((0, 0), |(ringing, answered), call| {
            if call.winner.is_some() { (ringing, answered + 1) } else { (ringing + 1, answered) }
        })
    }

    /// Lets a call work, and forgets it when nothing is left to do.
    fn with<T>(
        &mut self,
        world: &mut World,
        slot: Slot,
        work: impl FnOnce(&mut Call, &mut Cx<'_>) -> T,
    ) -> Option<T> {
        let mut call = self.table.take(slot)?;
        let before = call.next_timeout();
        let index = &mut self.table.index;
        let (totals, notes) = (&mut self.totals, &mut self.notes);
        let mut cx = Cx { world, index, totals, notes, slot };
        let outcome = work(&mut call, &mut cx);
        let after = call.next_timeout();
        if before != after {
            if let Some(at) = before {
                self.deadlines.remove(&(at, slot.id));
            }
            if let Some(at) = after {
                self.deadlines.insert((at, slot.id));
            }
        }
        if call.is_over() {
            self.table.release(slot, &call);
        } else {
            self.table.put(slot, call);
        }
        self.deliver_notes(world);
        Some(outcome)
    }

    /// A request outside of any dialog that begins a call.
    pub fn handle_invite(&mut self, world: &mut World, tx: ServerTx, request: Message, flow: Flow) {
        let admitted = setup::admit(world, self.len(), &request, &flow);
        let admitted = admitted
            .and_then(|admission| Ok((admission, self.replaced_by_invite(world, &request)?)));
        match admitted {
            Ok((admission, None)) => self.begin(world, tx, request, flow, admission),
            Ok((admission, Some(replaced))) => {
                self.begin_replacing(world, (tx, request, flow), admission, &replaced);
            }
            Err(refusal) => {
                if refusal.status() == 503 {
                    self.refused(world);
                }
                world.refuse(tx, refusal);
            }
        }
    }

    /// Counts a call that a limit refused, and says so in the log from time to time.
    fn refused(&mut self, world: &World) {
        self.totals.refused += 1;
        let told = self.refusal_told.is_some_and(|at| world.now.since(at) < REFUSAL_TOLD_EVERY);
        if told || world.stopping {
            return;
        }
        self.refusal_told = Some(world.now);
        tracing::warn!(
            max_calls = world.settings.max_calls,
            refused = self.totals.refused,
            "calls are refused with 503: call.max_calls is reached; set it higher if the machine \
             can carry more"
        );
    }

    fn begin(
        &mut self,
        world: &mut World,
        tx: ServerTx,
        request: Message,
        flow: Flow,
        admission: setup::Admission,
    ) {
        let id = world.new_call_id(|id| self.table.index.by_id(id).is_some());
        let call = setup::call(world, id, tx, request, flow, &admission);
        let slot = self.table.reserve(id);
        self.table.put(slot, Box::new(call));
        self.table.index.add_server(tx, slot);
        self.totals.started += 1;
        self.with(world, slot, |call, cx| call.start(cx, &admission));
    }

    /// A request inside a dialog; false if no call knows it.
    pub fn handle_request(
        &mut self,
        world: &mut World,
        tx: ServerTx,
        dialog: DialogId,
        request: &Message,
    ) -> bool {
        let Some(slot) = self.table.index.dialog(dialog) else { return false };
        let work = |call: &mut Call, cx: &mut Cx<'_>| {
            call.handle_request(cx, tx, dialog, request);
            call.save_if_moved(cx);
        };
        self.with(world, slot, work).is_some()
    }

    /// Whether a call has this dialog.
    #[must_use]
    pub fn knows(&self, dialog: DialogId) -> bool {
        self.table.index.dialog(dialog).is_some()
    }

    /// The ACK of a 2xx.
    pub fn handle_ack(&mut self, world: &mut World, dialog: DialogId, request: &Message) {
        if let Some(slot) = self.table.index.dialog(dialog) {
            self.with(world, slot, |call, cx| call.handle_ack(cx, dialog, request));
        }
    }

    /// A party gave its INVITE up.
    pub fn handle_cancelled(&mut self, world: &mut World, tx: ServerTx, cancel: &Message) {
        match self.table.index.server(tx) {
            Some(slot) => {
                self.with(world, slot, |call, cx| call.handle_cancelled(cx, tx, cancel));
            }
            None => {
                world.respond(tx, Reply::new(487));
            }
        }
    }

    /// A response; false if no call waits for it.
    pub fn handle_response(
        &mut self,
        world: &mut World,
        tx: ClientTx,
        dialog: Option<DialogId>,
        response: Message,
    ) -> bool {
        let Some((slot, role)) = self.table.index.client(tx) else {
            return false;
        };
        let known = self.with(world, slot, |call, cx| match role {
            Role::Branch(branch) => call.branch_response(cx, branch, dialog, response),
            Role::Exchange => call.exchange_response(cx, tx, &response),
            Role::Refresh(side) => call.refresh_response(cx, side, tx, &response),
            Role::Join => call.join_response(cx, tx, &response),
        });
        known.is_some()
    }

    /// A request was sent again, with credentials: another transaction stands for it.
    pub fn replace_client(&mut self, world: &mut World, old: ClientTx, new: ClientTx) {
        let Some((slot, role)) = self.table.index.client(old) else { return };
        self.with(world, slot, |call, cx| {
            cx.index.remove_client(old);
            cx.index.add_client(new, cx.slot, role);
            call.replace_client(old, new);
        });
    }

    /// A request was never answered, or could not be sent: as if `status` came.
    pub fn handle_no_response(&mut self, world: &mut World, tx: ClientTx, status: u16) {
        let Some((slot, role)) = self.table.index.client(tx) else { return };
        self.with(world, slot, |call, cx| match role {
            Role::Branch(branch) => call.branch_lost(cx, branch, status),
            Role::Exchange => call.exchange_failed(cx, tx, status),
            Role::Refresh(side) => call.refresh_failed(cx, side, tx, status),
            Role::Join => call.join_failed(cx, tx),
        });
    }

    /// DNS has answered; false if no call waits for it.
    pub fn handle_located(
        &mut self,
        world: &mut World,
        ticket: Ticket,
        found: Result<Vec<Hop>, LocateError>,
    ) -> bool {
        let Some((slot, branch)) = self.table.index.remove_ticket(ticket) else { return false };
        self.with(world, slot, |call, cx| call.located(cx, branch, found)).is_some()
    }

    /// A branch or a re-INVITE rings for too long (timer C).
    pub fn handle_ringing_too_long(&mut self, world: &mut World, tx: ClientTx) {
        let Some((slot, role)) = self.table.index.client(tx) else { return };
        self.with(world, slot, |call, cx| match role {
            Role::Branch(_) => call.drive(cx, fork::Event::NoAnswer, None),
            Role::Exchange | Role::Refresh(_) | Role::Join => cx.world.cancel(tx),
        });
    }

    /// A 2xx was never acknowledged.
    pub fn handle_ack_timeout(&mut self, world: &mut World, dialog: DialogId) {
        match self.table.index.dialog(dialog) {
            Some(slot) => {
                self.with(world, slot, |call, cx| call.handle_ack_timeout(cx, dialog));
            }
            None => world.stack.drop_dialog(world.now, dialog),
        }
    }

    /// A reliable provisional response was never acknowledged.
    pub fn handle_prack_timeout(&mut self, world: &mut World, tx: ServerTx) {
        match self.table.index.server(tx) {
            Some(slot) => {
                self.with(world, slot, |call, cx| call.handle_prack_timeout(cx, tx));
            }
            None => {
                world.respond(tx, Reply::new(504));
            }
        }
    }

    /// A dialog is over without our doing: the party does not know it any more.
    pub fn handle_dialog_lost(&mut self, world: &mut World, dialog: DialogId) {
        if let Some(slot) = self.table.index.dialog(dialog) {
            self.with(world, slot, |call, cx| call.handle_dialog_lost(cx, dialog));
        }
    }

    /// What the engine told about a call.
    pub fn handle_media(&mut self, world: &mut World, key: CallKey, event: &MediaEvent) {
        if let Some(slot) = self.table.index.by_id(CallId(key.0)) {
            self.with(world, slot, |call, cx| call.handle_media(cx, event));
        }
    }

    /// When [`Calls::handle_timeout`] is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Lets calls whose time has come work.
    pub fn handle_timeout(&mut self, world: &mut World) {
        while let Some((at, id)) =
            self.deadlines.first().copied().filter(|(at, _)| *at <= world.now)
        {
            match self.table.index.by_id(id) {
                Some(slot) => {
                    self.with(world, slot, |call, cx| call.handle_timer(cx, at));
                }
                None => {
                    self.deadlines.pop_first();
                }
            }
        }
    }

    /// Ends all calls: the daemon stops.
    pub fn release_all(&mut self, world: &mut World) {
        for slot in self.table.slots() {
            self.with(world, slot, |call, cx| call.shut_down(cx));
        }
    }
}
