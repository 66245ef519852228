//! Transfers: REFER (RFC 3515), Replaces (RFC 3891).
//!
//! A transfer never bends a call: the one that the two parties had ends with its record, and those
//! who talk from now on have a new one. Tandem does itself what REFER asks for, on behalf of the
//! party that is transferred, so a phone needs to know nothing of it.
//!
//! | who asks | what happens |
//! | --- | --- |
//! | REFER to somebody | a new call to that address, under the transferor's policy; when it is answered, the transferred party gets a re-INVITE with the new media |
//! | REFER with Replaces of a call of ours | the far parties of both calls are joined by re-INVITEs, the near ones are released |
//! | REFER with Replaces of a call elsewhere | as to somebody, and the INVITE carries the Replaces |
//! | INVITE with Replaces | the far party of the named call is joined with who calls, the near one is released |
//!
//! Calls do not know each other: what one has to tell another one is a [`Note`], which [`Calls`]
//! delivers.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `order` | what a REFER asks for |
//! | `refer` | the call in which it came, and its NOTIFYs |
//! | `join` | the new call |
//! | `replaces` | INVITE with Replaces |

mod join;
mod order;
mod refer;
mod replaces;

pub(super) use join::Join;
pub(super) use order::Party;
pub(super) use refer::{Transfer, send_notify};

use replaces::Replaced;

use super::id::CallId;
use super::model::{Call, Side};
use super::{Calls, setup};
use crate::core::World;
use order::Order;
use tandem_signalling::message::Message;
use tandem_signalling::stack::{DialogId, Flow, Reply, ServerTx};

/// What one call has to tell another one.
#[derive(Debug)]
pub(super) enum Note {
    /// A party asks for a transfer.
    Refer {
        /// The call.
        call: CallId,
        /// The transferor.
        by: Side,
        /// Its request.
        tx: ServerTx,
        /// Its request.
        request: Box<Message>,
    },
    /// The new call has got so far.
    Progress {
        /// The call whose party asked for it.
        call: CallId,
        /// A provisional status.
        status: u16,
    },
    /// The new call was answered: its parties are handed over to it.
    Answered {
        /// The new call.
        call: CallId,
    },
    /// The new call was not answered.
    Failed {
        /// The call whose party asked for it.
        call: CallId,
        /// Why.
        status: u16,
    },
    /// The new call took a party and lost it.
    Lost {
        /// The call that it was in.
        call: CallId,
        /// The party.
        side: Side,
    },
    /// Nobody wants the new call any more.
    Abandoned {
        /// The new call.
        call: CallId,
    },
    /// The transferor hung up: the other party waits in the new call.
    Left {
        /// The new call.
        call: CallId,
        /// The call that it was in.
        from: CallId,
        /// The party's dialog.
        dialog: DialogId,
    },
}

/// A party that is handed over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handed {
    dialog: DialogId,
    flow: Flow,
}

impl Calls {
    /// Delivers what calls have to tell each other.
    pub(super) fn deliver_notes(&mut self, world: &mut World) {
        while let Some(note) = self.notes.pop_front() {
            match note {
                Note::Refer { call, by, tx, request } => {
                    if let Err(refusal) = self.refer(world, call, by, tx, &request) {
                        world.respond(tx, refusal);
                    }
                }
                Note::Progress { call, status } => {
                    self.with_id(world, call, |call, cx| call.notify(cx, status, false));
                }
                Note::Answered { call } => self.hand_over(world, call),
                Note::Failed { call, status } => {
                    self.with_id(world, call, |call, cx| call.transfer_failed(cx, status));
                }
                Note::Lost { call, side } => {
                    self.with_id(world, call, |call, cx| call.give_up(cx, side));
                }
                Note::Abandoned { call } => {
                    self.with_id(world, call, Call::abandon_join);
                }
                Note::Left { call, from, dialog } => {
                    let taken = self.with_id(world, call, |c, cx| c.take_left(cx, from, dialog));
                    if taken != Some(true) {
                        world.hang_up(dialog);
                    }
                }
            }
        }
    }

    fn with_id<T>(
        &mut self,
        world: &mut World,
        id: CallId,
        work: impl FnOnce(&mut Call, &mut super::Cx<'_>) -> T,
    ) -> Option<T> {
        let slot = self.table.index.by_id(id)?;
        self.with(world, slot, work)
    }

    /// Carries out a REFER, or says why not.
    fn refer(
        &mut self,
        world: &mut World,
        id: CallId,
        by: Side,
        tx: ServerTx,
        request: &Message,
    ) -> Result<(), Reply> {
        let order = Order::read(request)?;
        if self.len() >= world.settings.max_calls || world.stopping {
            return Err(Reply::new(503).header("Retry-After", "10"));
        }
        let gone = || Reply::new(481);
        let call = self.table.index.by_id(id).and_then(|slot| self.table.get(slot));
        let call = call.ok_or_else(gone)?;
        let party = call.transferee(world, by.other()).ok_or_else(gone)?;
        let target = match order.replaces()? {
            Some(replaces) => self.replaced_by_refer(world, &replaces, id)?,
            None => None,
        };
        let referrer = call.aor(by).to_owned();
        let called = target.as_ref().map_or_else(|| order.target.clone(), |it| it.aor.clone());
        let new = world.new_call_id(|id| self.table.index.by_id(id).is_some());
        let invite = order::invite(request, &party, &called, new, &referrer)
            .ok_or_else(|| Reply::new(400).reason("Refer-To cannot be called"))?;
        let admission = match &target {
            Some(target) => setup::Admission::joined(world, &party, &target.aor),
            None => setup::admit_transfer(world, &invite, &party)?,
        };
        let mut child = setup::call(world, new, tx, invite, party.flow, &admission);
        let replaces = order.replaces.filter(|_| target.is_none());
        child.join = Some(Box::new(Join::of_refer(id, by.other(), replaces)));
        child.referred_by = Some(referrer.into());
        if let Some(target) = &target {
            child.adopt(target);
        }
        let mut accepted = Reply::new(202);
        if !order.notify {
            // RFC 4488 §4: no subscription is made.
            accepted = accepted.header("Refer-Sub", "false");
        }
        world.respond(tx, accepted);
        let slot = self.table.reserve(new);
        self.table.put(slot, Box::new(child));
        self.totals.started += 1;
        let notify = order.notify.then_some(order.id);
        let why = "transferred";
        self.with_id(world, id, |call, cx| call.begin_transfer(cx, by, new, why, notify));
        if let Some(target) = target {
            self.with_id(world, target.call, |call, cx| {
                call.begin_transfer(cx, target.side.other(), new, why, None);
            });
        }
        self.with(world, slot, |call, cx| call.start(cx, &admission));
        Ok(())
    }

    /// Hands the parties of the calls that are replaced over to the new one.
    fn hand_over(&mut self, world: &mut World, id: CallId) {
        let parties = self.with_id(world, id, |call, _| call.join.as_ref().map(|it| it.parties()));
        let Some([from, target]) = parties.flatten() else { return };
        if let Some((call, side)) = target {
            self.with_id(world, call, |call, cx| call.give_up(cx, side));
        }
        let Some((call, side)) = from else {
            self.with_id(world, id, |call, _| call.join = None);
            return;
        };
        let party = self.with_id(world, call, |call, cx| call.give_up(cx, side)).flatten();
        self.with_id(world, id, |call, cx| call.take_over(cx, party));
    }
}
