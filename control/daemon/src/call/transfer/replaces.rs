//! INVITE with Replaces (RFC 3891): who calls takes the place of a party in a call of ours.

use super::super::id::CallId;
use super::super::model::Side;
use super::super::{Calls, setup};
use super::Join;
use crate::core::World;
use tandem_signalling::header::{Header, Replaces};
use tandem_signalling::message::Message;
use tandem_signalling::stack::{DialogId, DialogState, Flow, Reply, ServerTx};

/// The party that goes on in a new call.
#[derive(Clone, Debug)]
pub(in crate::call) struct Replaced {
    /// The call that is replaced.
    pub(super) call: CallId,
    /// Which party goes on.
    pub(super) side: Side,
    /// Its dialog.
    pub(super) dialog: DialogId,
    /// Its address of record.
    pub(super) aor: String,
    /// Where it is reached.
    pub(super) target: String,
    /// The way to it.
    pub(super) flow: Flow,
}

impl Calls {
    /// The far party of the dialog that a REFER names, `None` if that is not one of ours; then
    /// whoever gets the INVITE may know it.
    pub(super) fn replaced_by_refer(
        &self,
        world: &World,
        replaces: &Replaces<'_>,
        own: CallId,
    ) -> Result<Option<Replaced>, Reply> {
        match self.replaced(world, replaces) {
            Ok(replaced) if replaced.call == own => {
                Err(Reply::new(400).reason("Replaces names the call itself"))
            }
            Ok(replaced) => Ok(Some(replaced)),
            Err(refusal) if refusal.status() == 481 => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// The far party of the dialog that is to be replaced (RFC 3891 §3).
    fn replaced(&self, world: &World, replaces: &Replaces<'_>) -> Result<Replaced, Reply> {
        let unknown = || Reply::new(481);
        let named = world.stack.find_dialog(replaces.call_id, replaces.to_tag, replaces.from_tag);
        let named = named.ok_or_else(unknown)?;
        let dialog = world.stack.dialog(named).ok_or_else(unknown)?;
        let slot = self.table.index.dialog(named).ok_or_else(unknown)?;
        let call = self.table.get(slot).ok_or_else(unknown)?;
        if dialog.state() == DialogState::Terminating || call.ended {
            return Err(Reply::new(603));
        }
        // An early dialog that the other side began cannot be replaced, and one that we began has
        // no answer yet that somebody else could take over.
        if call.winner.is_none() {
            return Err(unknown());
        }
        let near = call.side_of(named).ok_or_else(unknown)?;
        if replaces.early_only {
            return Err(Reply::new(486));
        }
        if call.transfer.is_some() || call.join.is_some() || call.negotiates() {
            return Err(Reply::new(491));
        }
        let side = near.other();
        let far = call.dialog(side).ok_or_else(unknown)?;
        let known = world.stack.dialog(far).ok_or_else(unknown)?;
        Ok(Replaced {
            call: call.id,
            side,
            dialog: far,
            aor: call.aor(side).to_owned(),
            target: known.remote_target().to_owned(),
            flow: known.flow(),
        })
    }

    /// Whom an INVITE with Replaces is to be joined with, `None` if it has none.
    ///
    /// # Errors
    /// 400 for more than one, or Join beside it; 481, 486, 603 as RFC 3891 §3 says.
    pub(in crate::call) fn replaced_by_invite(
        &self,
        world: &World,
        request: &Message,
    ) -> Result<Option<Replaced>, Reply> {
        let count = request.rows().filter(|row| row.header == Header::Replaces).count();
        if count == 0 {
            return Ok(None);
        }
        if count > 1 || request.has(Header::Join) {
            return Err(Reply::new(400).reason("One Replaces, without Join"));
        }
        let malformed = |_| Reply::new(400).reason("Malformed Replaces");
        let replaces = request.replaces().map_err(malformed)?;
        replaces.map(|replaces| self.replaced(world, &replaces)).transpose()
    }

    /// An INVITE with Replaces that was let in.
    pub(in crate::call) fn begin_replacing(
        &mut self,
        world: &mut World,
        (tx, request, flow): (ServerTx, Message, Flow),
        mut admission: setup::Admission,
        replaced: &Replaced,
    ) {
        admission.to.clone_from(&replaced.aor);
        admission.known = true;
        let id = world.new_call_id(|id| self.table.index.by_id(id).is_some());
        let mut call = setup::call(world, id, tx, request, flow, &admission);
        call.join = Some(Box::new(Join::of_replaces()));
        call.adopt(replaced);
        let slot = self.table.reserve(id);
        self.table.put(slot, Box::new(call));
        self.table.index.add_server(tx, slot);
        self.totals.started += 1;
        self.with_id(world, replaced.call, |call, cx| {
            call.begin_transfer(cx, replaced.side.other(), id, "replaced", None);
        });
        self.with(world, slot, |call, cx| call.start(cx, &admission));
    }
}
