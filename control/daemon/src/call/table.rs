//! Where calls live, and how transactions and dialogs find them.

use super::id::CallId;
use super::model::{Call, Side};
use crate::locate::Ticket;
use std::collections::HashMap;
use tandem_signalling::stack::{ClientTx, DialogId, ServerTx};

/// The place of a call: an index, and its id as the generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    index: usize,
    pub(super) id: CallId,
}

/// What a request that went out was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The INVITE of a branch.
    Branch(usize),
    /// A request of one party that was passed to the other.
    Exchange,
    /// A refresh of a party's session.
    Refresh(Side),
    /// The re-INVITE of a party that came from another call.
    Join,
}

/// Finds calls by what the stack names.
#[derive(Debug, Default)]
pub(super) struct Index {
    clients: HashMap<ClientTx, (Slot, Role)>,
    servers: HashMap<ServerTx, Slot>,
    dialogs: HashMap<DialogId, Slot>,
    ids: HashMap<CallId, Slot>,
    tickets: HashMap<Ticket, (Slot, usize)>,
}

impl Index {
    /// Whether nothing leads to any call.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.clients.is_empty()
            && self.servers.is_empty()
            && self.dialogs.is_empty()
            && self.ids.is_empty()
            && self.tickets.is_empty()
    }

    pub(super) fn add_client(&mut self, tx: ClientTx, slot: Slot, role: Role) {
        self.clients.insert(tx, (slot, role));
    }

    pub(super) fn add_server(&mut self, tx: ServerTx, slot: Slot) {
        self.servers.insert(tx, slot);
    }

    pub(super) fn add_dialog(&mut self, dialog: DialogId, slot: Slot) {
        self.dialogs.insert(dialog, slot);
    }

    /// A branch waits for DNS.
    pub(super) fn add_ticket(&mut self, ticket: Ticket, slot: Slot, branch: usize) {
        self.tickets.insert(ticket, (slot, branch));
    }

    pub(super) fn remove_ticket(&mut self, ticket: Ticket) -> Option<(Slot, usize)> {
        self.tickets.remove(&ticket)
    }

    pub(super) fn client(&self, tx: ClientTx) -> Option<(Slot, Role)> {
        self.clients.get(&tx).copied()
    }

    pub(super) fn server(&self, tx: ServerTx) -> Option<Slot> {
        self.servers.get(&tx).copied()
    }

    pub(super) fn dialog(&self, dialog: DialogId) -> Option<Slot> {
        self.dialogs.get(&dialog).copied()
    }

    pub(super) fn by_id(&self, id: CallId) -> Option<Slot> {
        self.ids.get(&id).copied()
    }

    pub(super) fn remove_client(&mut self, tx: ClientTx) {
        self.clients.remove(&tx);
    }

    pub(super) fn remove_server(&mut self, tx: ServerTx) {
        self.servers.remove(&tx);
    }

    pub(super) fn remove_dialog(&mut self, dialog: DialogId) {
        self.dialogs.remove(&dialog);
    }
}

/// The calls. A call is taken out while it works, and put back after.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Vec<Option<Box<Call>>>,
    free: Vec<usize>,
    /// How to find them.
    pub(super) index: Index,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// A place for a new call, to be filled by [`Table::put`].
    pub(super) fn reserve(&mut self, id: CallId) -> Slot {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let slot = Slot { index, id };
        self.index.ids.insert(id, slot);
        slot
    }

    pub(super) fn take(&mut self, slot: Slot) -> Option<Box<Call>> {
        let place = self.slots.get_mut(slot.index)?;
        if place.as_ref()?.id != slot.id {
            return None;
        }
        place.take()
    }

    pub(super) fn put(&mut self, slot: Slot, call: Box<Call>) {
        if let Some(place) = self.slots.get_mut(slot.index) {
            *place = Some(call);
        }
    }

    /// Gives the place of a call free that was taken out, and forgets all that led to it.
    pub(super) fn release(&mut self, slot: Slot, call: &Call) {
        let index = &mut self.index;
        index.ids.remove(&slot.id);
        index.remove_server(call.caller.tx);
        if let Some(dialog) = call.caller.dialog {
            index.remove_dialog(dialog);
        }
        for branch in &call.branches {
            if let Some(tx) = branch.tx {
                index.remove_client(tx);
            }
            if let Some(dialog) = branch.dialog {
                index.remove_dialog(dialog);
            }
        }
        for exchange in &call.exchanges {
            index.remove_client(exchange.client);
            index.remove_server(exchange.server);
        }
        for (tx, _) in call.watches.iter().filter_map(|watch| watch.open) {
            index.remove_client(tx);
        }
        if let Some(tx) = call.join.as_ref().and_then(|join| join.open()) {
            index.remove_client(tx);
        }
        self.free.push(slot.index);
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Call> {
        self.slots.get(slot.index)?.as_deref().filter(|call| call.id == slot.id)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Call> {
        self.slots.iter().filter_map(Option::as_deref)
    }

    pub(super) fn slots(&self) -> Vec<Slot> {
        self.index.ids.values().copied().collect()
    }
}
