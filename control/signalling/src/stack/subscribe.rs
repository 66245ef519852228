//! Dialogs that a SUBSCRIBE opens (RFC 6665 §4.4.1): by its 2xx, or by the NOTIFY that comes before
//! that. They know no INVITE and no BYE; whoever uses them ends them with
//! [`Stack::drop_dialog`](super::Stack::drop_dialog).

use super::Stack;
use super::dialog::{Dialog, DialogState, Parties, Role, contact_uri, record_route};
use super::routing;
use super::slab::Key;
use super::types::{ClientTx, DialogId, Flow, StackError};
use crate::header::Header;
use crate::message::Message;
use crate::method::Method;

impl Stack {
    /// The SUBSCRIBE of ours that a dialog belongs to, while its transaction is there.
    #[must_use]
    pub fn subscribe_of(&self, dialog: DialogId) -> Option<ClientTx> {
        let dialog = self.live_dialog(dialog.0)?;
        let print = self.loop_print(dialog.call_id(), dialog.local_tag());
        let key = *self.loop_index.get(&print)?;
        (self.clients.get(key)?.method == Method::Subscribe).then_some(ClientTx(key))
    }

    /// Our 2xx to a SUBSCRIBE opens its dialog.
    pub(super) fn accept_subscribe(
        &mut self,
        key: Key,
        request: &Message,
    ) -> Result<(), StackError> {
        self.open_dialog(key, request)?;
        let id = self.servers.get(key).and_then(|server| server.dialog);
        if let Some(dialog) = id.and_then(|id| self.dialogs.get_mut(id)) {
            dialog.state = DialogState::Confirmed;
            dialog.invite_in = None;
        }
        Ok(())
    }

    /// The dialog of a 2xx to our SUBSCRIBE; a NOTIFY may have opened it.
    pub(super) fn subscribed(&mut self, key: Key, response: &Message, flow: Flow) -> Option<Key> {
        let call_id = response.call_id()?;
        let print = self.dialog_print(call_id, response.from_tag()?, response.to_tag()?);
        if let Some(id) = self.dialog_index.get(&print) {
            return Some(*id);
        }
        let mut dialog = self.subscription(key, response.value(Header::To)?, flow)?;
        dialog.learn_from_response(response);
        self.add_dialog(dialog).ok()
    }

    /// A NOTIFY in no dialog that is known may open that of our SUBSCRIBE.
    pub(super) fn notified_first(&mut self, notify: &Message, flow: Flow) -> Option<Key> {
        if notify.method() != Method::Notify {
            return None;
        }
        let print = self.loop_print(notify.call_id()?, notify.to_tag()?);
        let key = *self.loop_index.get(&print)?;
        let client = self.clients.get(key)?;
        if client.method != Method::Subscribe || client.dialog.is_some() {
            return None;
        }
        let mut dialog = self.subscription(key, notify.value(Header::From)?, flow)?;
        dialog.remote_target = contact_uri(notify)?;
        dialog.route_set = record_route(notify);
        self.add_dialog(dialog).ok()
    }

    /// The dialog of our SUBSCRIBE with a notifier.
    fn subscription(&self, key: Key, remote_party: &[u8], flow: Flow) -> Option<Dialog> {
        let client = self.clients.get(key)?;
        let request = client.request()?;
        let behind_nat = !request.has(Header::Route)
            && request.uri().is_ok_and(|uri| routing::is_elsewhere(&uri.host(), &client.flow));
        let remote = crate::name_addr::NameAddr::parse(remote_party).ok()?;
        let (local_tag, remote_tag) = (request.from_tag()?, remote.tag()?);
        let call_id = request.call_id()?;
        let parties = Parties {
            role: Role::Uac,
            call_id: call_id.into(),
            local_tag: local_tag.into(),
            remote_tag: remote_tag.into(),
            local_party: request.value(Header::From)?.into(),
            remote_party: remote_party.into(),
            fingerprint: self.dialog_print(call_id, local_tag, remote_tag),
        };
        let mut dialog = Dialog::new(parties, flow);
        dialog.behind_nat = behind_nat;
        dialog.local_cseq = client.cseq;
        dialog.state = DialogState::Confirmed;
        dialog.remote_target = request.request_uri().unwrap_or("").to_owned();
        Some(dialog)
    }
}
