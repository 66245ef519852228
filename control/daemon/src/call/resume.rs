//! What the journal keeps of an answered call's dialogs, so that its parties get a BYE when the
//! daemon that knew them was killed.

use crate::core::World;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use tandem_signalling::method::Method;
use tandem_signalling::name_addr::NameAddr;
use tandem_signalling::stack::{DialogId, Flow, NewRequest, Transport};

/// Requests of ours that a dialog may have seen after its answer was journalled.
const CSEQ_AHEAD: u32 = 10_000;

/// One dialog of an answered call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Leg {
    call_id: String,
    /// Our From, without tag.
    from: String,
    from_tag: String,
    /// Their To, with tag.
    to: String,
    target: String,
    route: Vec<String>,
    cseq: u32,
    transport: String,
    local: SocketAddr,
    remote: SocketAddr,
}

impl Leg {
    /// The dialog as it is now; `None` once it is over.
    pub(super) fn of(world: &World, dialog: DialogId) -> Option<Self> {
        let dialog = world.stack.dialog(dialog)?;
        let from = NameAddr::parse(dialog.local_party()).ok()?.without_params();
        let flow = dialog.flow();
        Some(Self {
            call_id: dialog.call_id().to_owned(),
            from: String::from_utf8_lossy(&from).into_owned(),
            from_tag: dialog.local_tag().to_owned(),
            to: String::from_utf8_lossy(dialog.remote_party()).into_owned(),
            target: dialog.remote_target().to_owned(),
            route: dialog.route_set().to_vec(),
            cseq: dialog.local_cseq(),
            transport: flow.transport.via_name().to_owned(),
            local: flow.local,
            remote: flow.remote,
        })
    }

    /// Sends the BYE that the earlier daemon can't send any more. What the party answers does not
    /// matter: it may have hung up meanwhile.
    fn end(self, world: &mut World) {
        let Some(transport) = Transport::from_name(&self.transport) else { return };
        let flow = Flow::new(transport, self.local, self.remote, 0);
        let mut bye = NewRequest::new(Method::Bye, self.target)
            .from(self.from)
            .from_tag(self.from_tag)
            .to(self.to)
            .call_id(self.call_id)
            .cseq(self.cseq.saturating_add(CSEQ_AHEAD))
            .header("Reason", "SIP;cause=503;text=\"tandem restarted\"");
        for route in self.route {
            bye = bye.route(route);
        }
        if let Err(error) = world.stack.request(world.now, flow, bye) {
            tracing::debug!(%error, "a party of an earlier call gets no BYE");
        }
    }
}

/// The legs of a call, for the journal.
pub(super) fn legs(world: &World, dialogs: &[Option<DialogId>]) -> Option<serde_json::Value> {
    let legs: Vec<Leg> =
        dialogs.iter().flatten().filter_map(|dialog| Leg::of(world, *dialog)).collect();
    serde_json::to_value(legs).ok()
}

/// Ends the legs that an earlier daemon left.
pub(super) fn end(world: &mut World, legs: serde_json::Value) {
    // Another version may have written it: then its parties hear nothing, and hang up.
    for leg in serde_json::from_value::<Vec<Leg>>(legs).unwrap_or_default() {
        leg.end(world);
    }
}
