//! The messages of one call, both legs, out of the blocks of the ring.

use super::ring::{Entry, entries};
use super::secret::shown;
use crate::call::id::CallId;
use jiff::Timestamp;
use memchr::memmem;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use tandem_signalling::message::Message;
use tandem_signalling::sdp::{Direction as MediaDirection, SessionDescription};
use tandem_signalling::stack::Flow;

/// Messages of one call that are told at most.
pub const MAX_MESSAGES: usize = 10_000;

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To Tandem.
    In,
    /// From Tandem.
    Out,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedMessage {
    /// When it came or went.
    pub at: Timestamp,
    /// Which way.
    pub direction: Direction,
    /// SIP transport: `udp`, `tcp`, `tls`, `ws`, `wss`.
    pub transport: String,
    /// Our address.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// Call-ID of its leg.
    pub call_id: String,
    /// `INVITE`, `180 Ringing`.
    pub summary: String,
    /// `1 INVITE`.
    pub cseq: String,
    /// Whether the same octets went the same way before.
    pub repeated: bool,
    /// One line per media line of its session description.
    pub media: Vec<String>,
    /// The message; what a password or a media key could be learnt from is hidden.
    pub text: String,
}

/// The messages of a call, in the order in which they came and went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedCall {
    /// Tandem's id of the call; `None` for what is no call.
    pub call: Option<String>,
    /// Call-IDs of its legs.
    pub call_ids: Vec<String>,
    /// The messages.
    pub messages: Vec<TracedMessage>,
    /// Whether there were more than are told.
    pub truncated: bool,
    /// The octets as they were, for captures.
    #[serde(skip)]
    pub(super) raw: Vec<(Timestamp, Direction, Flow, Vec<u8>)>,
}

/// Finds a call.
pub(super) fn find(blocks: &[Arc<Vec<u8>>], id: &str) -> Option<TracedCall> {
    let (call, call_ids) = legs(blocks, id);
    let mut traced = TracedCall {
        call: call.map(|it| it.to_string()),
        messages: Vec::new(),
        truncated: false,
        raw: Vec::new(),
        call_ids: Vec::new(),
    };
    let finders: Vec<_> = call_ids.iter().map(|it| memmem::Finder::new(it.as_bytes())).collect();
    let mut seen = HashSet::new();
    for entry in blocks.iter().flat_map(|block| entries(block)) {
        let Entry::Message { at, direction, flow, bytes } = entry else { continue };
        // Reading a message costs more than looking whether it can be one of them.
        if !finders.iter().any(|finder| finder.find(bytes).is_some()) {
            continue;
        }
        let Ok(message) = Message::parse(bytes) else { continue };
        let Some(call_id) = message.call_id().filter(|it| call_ids.contains(*it)) else { continue };
        if traced.messages.len() == MAX_MESSAGES {
            traced.truncated = true;
            break;
        }
        let repeated = !seen.insert((direction == Direction::In, flow, bytes));
        traced.messages.push(told(at, direction, &flow, &message, call_id, repeated, bytes));
        traced.raw.push((at, direction, flow, bytes.to_vec()));
    }
    traced.call_ids = call_ids.into_iter().collect();
    (!traced.messages.is_empty()).then_some(traced)
}

/// The call that is meant, and the Call-IDs of all its legs.
fn legs(blocks: &[Arc<Vec<u8>>], id: &str) -> (Option<CallId>, BTreeSet<String>) {
    let own = (id.len() == 16).then(|| id.parse::<CallId>().ok()).flatten();
    let mut call = None;
    for entry in blocks.iter().flat_map(|block| entries(block)) {
        if let Entry::Leg { call: of, call_id } = entry
            && (Some(of) == own || call_id == id)
        {
            call = Some(of);
        }
    }
    let mut call_ids = BTreeSet::new();
    for entry in blocks.iter().flat_map(|block| entries(block)) {
        if let Entry::Leg { call: of, call_id } = entry
            && Some(of) == call
        {
            call_ids.insert(call_id.to_owned());
        }
    }
    if call.is_none() && !id.is_empty() {
        call_ids.insert(id.to_owned());
    }
    (call, call_ids)
}

fn told(
    at: Timestamp,
    direction: Direction,
    flow: &Flow,
    message: &Message,
    call_id: &str,
    repeated: bool,
    bytes: &[u8],
) -> TracedMessage {
    let summary = match message.status() {
        Some(status) => {
            format!("{status} {}", message.reason().unwrap_or("")).trim_end().to_owned()
        }
        None => message.method().as_str().to_owned(),
    };
    let cseq = message
        .cseq()
        .map_or_else(|_| String::new(), |it| format!("{} {}", it.number, it.method.as_str()));
    TracedMessage {
        at,
        direction,
        transport: flow.transport.via_name().to_ascii_lowercase(),
        local: flow.local,
        remote: flow.remote,
        call_id: call_id.to_owned(),
        summary,
        cseq,
        repeated,
        media: media(message.body()),
        text: shown(bytes),
    }
}

/// One line per media line: `audio 192.0.2.1:4000 PCMA PCMU sendonly`.
fn media(body: &[u8]) -> Vec<String> {
    let Ok(description) = SessionDescription::parse(body) else { return Vec::new() };
    (0..description.media_count()).filter_map(|index| media_line(&description, index)).collect()
}

fn media_line(description: &SessionDescription, index: usize) -> Option<String> {
    let media = description.media(index)?;
    if media.port == 0 {
        return Some(format!("{} rejected", media.kind));
    }
    let host = description.media_connection(index).ok().and_then(|it| it.host.ip());
    let host = host.map_or_else(|| "?".to_owned(), |ip| ip.to_string());
    let codecs: Vec<String> = match media.payload_types().next() {
        Some(_) => media
            .payload_types()
            .map(|number| match description.rtpmap(index, number) {
                Some(map) => map.encoding.to_owned(),
                None => number.to_string(),
            })
            .collect(),
        None => vec![media.formats.to_owned()],
    };
    let direction = match description.direction(index) {
        MediaDirection::SendRecv => "sendrecv",
        MediaDirection::SendOnly => "sendonly",
        MediaDirection::RecvOnly => "recvonly",
        MediaDirection::Inactive => "inactive",
    };
    Some(format!("{} {host}:{} {} {direction}", media.kind, media.port, codecs.join(" ")))
}
