//! Dialogs (RFC 3261 §12).

use super::due::TimerSet;
use super::routing;
use super::types::{ClientTx, DialogId, Flow, ServerTx};
use crate::header::Header;
use crate::message::Message;
use crate::uri::Uri;
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;

/// Which side of the first INVITE we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// We sent it: From and Call-ID are ours.
    Uac,
    /// We got it.
    Uas,
}

/// State of a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DialogState {
    /// Made by a provisional response.
    Early,
    /// Made or confirmed by a 2xx.
    Confirmed,
    /// Our BYE is on its way.
    Terminating,
}

/// A peer-to-peer relation between us and another user agent.
#[derive(Debug)]
pub struct Dialog {
    pub(super) role: Role,
    pub(super) state: DialogState,
    pub(super) call_id: Box<str>,
    pub(super) local_tag: Box<str>,
    pub(super) remote_tag: Box<str>,
    /// From of our requests, tag included.
    pub(super) local_party: Box<[u8]>,
    /// To of our requests, tag included.
    pub(super) remote_party: Box<[u8]>,
    pub(super) remote_target: String,
    pub(super) route_set: Vec<String>,
    pub(super) local_cseq: u32,
    pub(super) remote_cseq: Option<u32>,
    pub(super) flow: Flow,
    /// The peer's own address is not the one it is seen at, so that its Contact leads nowhere and
    /// only its flow leads to it. Found out once, when the dialog is opened.
    pub(super) behind_nat: bool,

    /// Index under which the dialog is found.
    pub(super) fingerprint: u128,
    /// The dialog is over and only here to answer repeated 2xx.
    pub(super) ended: bool,
    /// INVITE client transactions alive that opened this dialog or were sent in it: as long may a
    /// 2xx be repeated.
    pub(super) uses: u32,
    /// Our INVITE without a final response, or with a 2xx that is not acknowledged.
    pub(super) invite_out: Option<ClientTx>,
    /// The peer's INVITE without a final response.
    pub(super) invite_in: Option<ServerTx>,
    /// CSeq number of a 2xx that the transaction user has yet to acknowledge.
    pub(super) ack_due: Option<u32>,
    /// The ACKs of 2xx that may still be repeated, and the last one; each is sent again for its own
    /// 2xx (§13.2.2.4), also when a later INVITE is over before an earlier 2xx stops coming.
    pub(super) acks: Vec<SentAck>,
    /// Our 2xx that waits for its ACK (§13.3.1.4).
    pub(super) accept: Option<Accept>,
    pub(super) timers: TimerSet,
    /// A BYE that waits until the 2xx is acknowledged (§15).
    pub(super) bye_waiting: Option<ClientTx>,
    /// Requests of the peer in this dialog without a final response.
    pub(super) pending: Vec<ServerTx>,
    /// Sequence number of our last request when another stack saved the dialog; that stack may
    /// have sent further ones.
    pub(super) saved_cseq: Option<u32>,
    /// The peer's INVITE that we answered with a reliable provisional response.
    pub(super) reliable_tx: Option<ServerTx>,
    /// CSeq number of our INVITE and RSeq of the last reliable provisional response to it.
    pub(super) rseq_seen: Option<(u32, u32)>,
    /// RSeq and CSeq number of reliable provisional responses that wait for our PRACK.
    pub(super) pracks_due: VecDeque<(u32, u32)>,
}

/// Who a dialog is with, and how it is found.
#[derive(Debug)]
pub(super) struct Parties {
    pub(super) role: Role,
    pub(super) call_id: Box<str>,
    pub(super) local_tag: Box<str>,
    pub(super) remote_tag: Box<str>,
    pub(super) local_party: Box<[u8]>,
    pub(super) remote_party: Box<[u8]>,
    pub(super) fingerprint: u128,
}

/// An ACK that was sent.
#[derive(Debug)]
pub(super) struct SentAck {
    pub(super) cseq: u32,
    pub(super) flow: Flow,
    pub(super) bytes: Arc<[u8]>,
}

/// A 2xx that is repeated until its ACK comes.
#[derive(Debug)]
pub(super) struct Accept {
    pub(super) cseq: u32,
    pub(super) tx: ServerTx,
    pub(super) flow: Flow,
    pub(super) bytes: Arc<[u8]>,
    pub(super) interval: Duration,
    /// It answers the INVITE that opened the dialog.
    pub(super) is_first: bool,
    /// The INVITE held the offer, so that the ACK brings nothing that a re-INVITE must wait for.
    pub(super) offer_was_in_invite: bool,
}

impl Dialog {
    /// An early dialog without route, target and sequence numbers.
    pub(super) fn new(parties: Parties, flow: Flow) -> Self {
        Self {
            role: parties.role,
            state: DialogState::Early,
            call_id: parties.call_id,
            local_tag: parties.local_tag,
            remote_tag: parties.remote_tag,
            local_party: parties.local_party,
            remote_party: parties.remote_party,
            remote_target: String::new(),
            route_set: Vec::new(),
            local_cseq: 0,
            remote_cseq: None,
            flow,
            behind_nat: false,
            fingerprint: parties.fingerprint,
            ended: false,
            uses: 0,
            invite_out: None,
            invite_in: None,
            ack_due: None,
            acks: Vec::new(),
            accept: None,
            timers: TimerSet::default(),
            bye_waiting: None,
            pending: Vec::new(),
            saved_cseq: None,
            reliable_tx: None,
            rseq_seen: None,
            pracks_due: VecDeque::new(),
        }
    }

    /// Which side of the first INVITE we are.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Early, confirmed or terminating.
    #[must_use]
    pub const fn state(&self) -> DialogState {
        self.state
    }

    /// Call-ID.
    #[must_use]
    pub fn call_id(&self) -> &str {
        &self.call_id
    }

    /// Our tag.
    #[must_use]
    pub fn local_tag(&self) -> &str {
        &self.local_tag
    }

    /// The peer's tag, empty if it sent none (RFC 2543).
    #[must_use]
    pub fn remote_tag(&self) -> &str {
        &self.remote_tag
    }

    /// Our address as in From of our requests, with tag.
    #[must_use]
    pub fn local_party(&self) -> &[u8] {
        &self.local_party
    }

    /// The peer's address as in To of our requests, with tag.
    #[must_use]
    pub fn remote_party(&self) -> &[u8] {
        &self.remote_party
    }

    /// URI of the peer's Contact.
    #[must_use]
    pub fn remote_target(&self) -> &str {
        &self.remote_target
    }

    /// Route values of our requests, in order.
    #[must_use]
    pub fn route_set(&self) -> &[String] {
        &self.route_set
    }

    /// Sequence number of our last request.
    #[must_use]
    pub const fn local_cseq(&self) -> u32 {
        self.local_cseq
    }

    /// Sequence number of the peer's last request, `None` before its first.
    #[must_use]
    pub const fn remote_cseq(&self) -> Option<u32> {
        self.remote_cseq
    }

    /// The peer's own flow: where its last message came from, or what
    /// [`Stack::set_dialog_flow`](super::Stack::set_dialog_flow) said.
    #[must_use]
    pub const fn flow(&self) -> Flow {
        self.flow
    }

    /// Whether an INVITE of either side is not over yet, its ACK included.
    #[must_use]
    pub const fn invite_in_progress(&self) -> bool {
        self.invite_out.is_some()
            || self.invite_in.is_some()
            || self.ack_due.is_some()
            || self.accept.is_some()
    }

    /// Whether the transaction user has yet to acknowledge a 2xx.
    #[must_use]
    pub const fn owes_ack(&self) -> bool {
        self.ack_due.is_some()
    }

    /// The Request-URI of our next request: the remote target, or a strict router before it.
    #[must_use]
    pub fn request_uri(&self) -> String {
        self.request_path().0
    }

    /// The URI that the next request is sent to: the first route, else the remote target.
    #[must_use]
    pub fn next_hop(&self) -> &str {
        let target = self.remote_target.as_str();
        self.route_set.first().and_then(|route| route_uri(route)).map_or(target, |uri| uri.as_str())
    }

    /// The flow of our next request: the peer's own one through a NAT, unless a proxy says the
    /// way, else as [`routing::request_flow`] finds.
    pub(super) fn request_flow(&self) -> Flow {
        if self.behind_nat && self.route_set.is_empty() {
            self.flow
        } else {
            routing::request_flow(&self.flow, self.next_hop())
        }
    }

    /// Request-URI and Route values (§12.2.1.1): a strict router (no `lr`) becomes the Request-URI
    /// and the remote target the last route.
    pub(super) fn request_path(&self) -> (String, Vec<String>) {
        let strict =
            self.route_set.first().and_then(|route| route_uri(route)).filter(|uri| !uri.is_loose());
        match strict {
            None => (self.remote_target.clone(), self.route_set.clone()),
            Some(first) => {
                let mut route = self.route_set[1..].to_vec();
                route.push(format!("<{}>", self.remote_target));
                (first.as_request_uri().into_owned(), route)
            }
        }
    }

    /// Takes the remote target from the Contact of a target refresh request or its 2xx.
    pub(super) fn refresh_target(&mut self, message: &Message) {
        if let Some(target) = contact_uri(message) {
            self.remote_target = target;
        }
    }

    /// Takes route set and remote target from a response to our INVITE (§12.1.2, §13.2.2.4).
    pub(super) fn learn_from_response(&mut self, response: &Message) {
        self.route_set = record_route(response);
        self.route_set.reverse();
        self.refresh_target(response);
    }
}

/// URI of a Route value such as `<sip:proxy;lr>`.
fn route_uri(route: &str) -> Option<Uri<'_>> {
    let start = route.find('<')? + 1;
    let end = start + route.get(start..)?.find('>')?;
    Uri::parse(route.get(start..end)?).ok()
}

/// URI of the first Contact.
pub(super) fn contact_uri(message: &Message) -> Option<String> {
    let value = message.values(Header::Contact).next()?;
    let address = crate::name_addr::NameAddr::parse(value).ok()?;
    Some(address.uri().as_str().to_owned())
}

/// Record-Route values in order; those that are not text are left out.
pub(super) fn record_route(message: &Message) -> Vec<String> {
    message
        .values(Header::RecordRoute)
        .filter_map(|value| core::str::from_utf8(value).ok())
        .map(str::to_owned)
        .collect()
}

/// A reference for tables and logs.
impl From<DialogId> for u64 {
    fn from(id: DialogId) -> Self {
        id.0.to_bits()
    }
}
