//! Calls across a restart of the daemon: what the journal keeps of an answered call, and how the
//! next daemon goes on with it.
//!
//! A call is written when it is answered and whenever what is kept has changed, before the message
//! leaves that depends on it. Only confirmed dialogs are kept: a call that rang has lost its
//! transactions and ends with the daemon (see `recover`).

use super::Calls;
use super::fork::Fork;
use super::id::CallId;
use super::model::{Branch, Call, Cx, Side};
use super::peer::Peer;
use super::place::Place;
use super::session_timer::Session;
use super::setup::{self, Admission};
use crate::core::World;
use crate::journal::{AliveCall, CallAcknowledged, CallAnswered, Entry};
use crate::media::SavedMedia;
use core::time::Duration;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tandem_signalling::message::Message;
use tandem_signalling::stack::{CSEQ_AHEAD, DialogId, Flow, SavedDialog, ServerTx};
use tandem_signalling::uri::Uri;

/// First octet of what is kept: another one is of a version that this one cannot read.
const FORMAT: u8 = 1;

/// An answered call as the journal keeps it, in `MessagePack`. Its arrays know no names: new fields
/// go to the end, with `#[serde(default)]`, and an older daemon's calls can be read.
#[derive(Debug, Serialize, Deserialize)]
struct Saved<'a> {
    /// The boot of the machine that `answered_ns` belongs to.
    boot: u64,
    /// When it was answered, ns of the monotonic clock of that boot; negative if before it.
    answered_ns: i64,
    /// Caller and callee.
    parties: [SavedParty; 2],
    /// The branch that answered.
    winner: u8,
    /// The ACK of the callee's 2xx waits for the answer in the caller's ACK.
    callee_ack_due: bool,
    held: [bool; 2],
    media: Option<SavedMedia<'a>>,
    #[serde(default)]
    watches: [SavedWatch; 2],
}

/// The session timer of one side, and what a refresh needs.
#[derive(Debug, Default, Serialize, Deserialize)]
struct SavedWatch {
    session: Option<Session>,
    peer: Peer,
    /// The description that a re-INVITE repeats.
    #[serde(with = "serde_bytes")]
    said: Option<Box<[u8]>>,
}

/// One side of an answered call.
#[derive(Debug, Serialize, Deserialize)]
struct SavedParty {
    dialog: SavedDialog,
    /// The name that it has to prove, empty for none.
    name: String,
    /// Request-URI that it was called by, empty for the caller.
    target: String,
}

/// What the journal knows of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    revision: u64,
    dialogs: [Option<Mark>; 2],
}

/// What is looked at to see whether a dialog has to be written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    cseq: u32,
    flow: Flow,
}

impl Call {
    /// Journals what the next daemon needs to go on with the call.
    pub(super) fn save(&mut self, cx: &Cx<'_>) {
        let (Some(answered_at), false) = (self.times.answered_at, self.ended) else { return };
        let resume = self.saved(cx.world).as_ref().and_then(encode);
        self.kept.revision += 1;
        self.kept.dialogs = self.dialog_marks(cx.world);
        cx.world.journal.append(Entry::CallAnswered(CallAnswered {
            id: self.id.to_string(),
            ringing_at: self.times.ringing_at,
            answered_at,
            revision: self.kept.revision,
            resume,
        }));
    }

    /// Journals the call again if a party has moved, or if our sequence numbers come near the end
    /// of the gap that the next daemon leaves.
    pub(super) fn save_if_moved(&mut self, cx: &Cx<'_>) {
        let now = self.dialog_marks(cx.world);
        let moved = self.kept.dialogs.iter().zip(&now).any(|pair| match pair {
            (Some(before), Some(now)) => {
                before.flow != now.flow || now.cseq.abs_diff(before.cseq) >= CSEQ_AHEAD / 2
            }
            _ => false,
        });
        if moved {
            self.save(cx);
        }
    }

    /// Journals the call again if a refresh has changed a session.
    pub(super) fn save_session(&mut self, cx: &Cx<'_>) {
        if self.kept.revision > 0 {
            self.save(cx);
        }
    }

    /// Journals that nobody has to acknowledge the call any more.
    pub(super) fn save_acknowledged(&self, cx: &Cx<'_>) {
        if self.times.answered_at.is_some() && !self.ended {
            cx.world.journal.append_later(Entry::CallAcknowledged(CallAcknowledged {
                id: self.id.to_string(),
                revision: self.kept.revision,
            }));
        }
    }

    fn dialog_marks(&self, world: &World) -> [Option<Mark>; 2] {
        [Side::Caller, Side::Callee].map(|side| {
            let dialog = world.stack.dialog(self.dialog(side)?)?;
            Some(Mark { cseq: dialog.local_cseq(), flow: dialog.flow() })
        })
    }

    fn saved<'a>(&self, world: &'a World) -> Option<Saved<'a>> {
        let winner = self.winner?;
        let party = |side: Side| {
            let dialog = world.stack.save_dialog(self.dialog(side)?)?;
            let name = world.names.get(dialog.flow().name);
            let target = match side {
                Side::Caller => String::new(),
                Side::Callee => self.branches.get(winner)?.target.clone(),
            };
            Some(SavedParty {
                dialog,
                name: name.map_or_else(String::new, |it| (**it).into()),
                target,
            })
        };
        let lasted = i64::try_from(self.lasted(world.now)?.as_nanos()).ok()?;
        Some(Saved {
            boot: world.boot,
            answered_ns: i64::try_from(world.now.as_nanos()).ok()? - lasted,
            parties: [party(Side::Caller)?, party(Side::Callee)?],
            winner: u8::try_from(winner).ok()?,
            callee_ack_due: self.callee_ack_due,
            held: self.held,
            media: world.media.save(self.key()),
            watches: [Side::Caller, Side::Callee].map(|side| SavedWatch {
                session: self.watches[side.index()].session,
                peer: self.peer(side),
                said: self.said[side.index()].agreed.clone(),
            }),
        })
    }
}

fn encode(saved: &Saved<'_>) -> Option<Arc<[u8]>> {
    let mut octets = vec![FORMAT];
    rmp_serde::encode::write(&mut octets, saved).ok()?;
    Some(octets.into())
}

fn decode(octets: &[u8]) -> Option<Saved<'static>> {
    let (format, rest) = octets.split_first()?;
    if *format != FORMAT {
        return None;
    }
    rmp_serde::from_slice(rest).ok()
}

impl Calls {
    /// Takes over the calls of an earlier daemon, before the engine is attached; gives those back
    /// that it cannot go on with.
    pub fn resume(&mut self, world: &mut World, alive: Vec<AliveCall>) -> Vec<AliveCall> {
        let (mut lost, all) = (Vec::new(), alive.len());
        for kept in alive {
            match resumed(world, &kept) {
                Some(call) => self.take_over(world, call),
                None => lost.push(kept),
            }
        }
        if all > lost.len() {
            tracing::info!(calls = all - lost.len(), "calls are taken over");
        }
        lost
    }

    fn take_over(&mut self, world: &mut World, call: Call) {
        let slot = self.table.reserve(call.id);
        for dialog in [Side::Caller, Side::Callee].into_iter().filter_map(|it| call.dialog(it)) {
            self.table.index.add_dialog(dialog, slot);
        }
        if let Some(at) = call.next_timeout() {
            self.deadlines.insert((at, call.id));
        }
        for (side, aor) in [(Side::Caller, &call.from), (Side::Callee, &call.to)] {
            if call.flow_of(world, side).is_some_and(|flow| flow.transport.is_reliable()) {
                self.unconnected.entry(aor.clone()).or_default().push(call.id);
            }
        }
        self.table.put(slot, Box::new(call));
        // Another restart must leave out the sequence numbers that this one will use.
        self.with(world, slot, |call, cx| call.save(cx));
    }
}

impl Calls {
    /// A contact has registered over a connection: the parties of an earlier daemon's calls that
    /// are the same phone are reached over it from now on.
    pub fn reconnect(&mut self, world: &mut World, aor: &str, contact: &str, flow: Flow) {
        let Some(ids) = self.unconnected.remove(aor) else { return };
        let mut left = Vec::new();
        for id in ids {
            let Some(slot) = self.table.index.by_id(id) else { continue };
            let found = self.with(world, slot, |call, cx| {
                call.reconnect(cx, aor, contact, flow);
                call.is_unconnected(cx.world, aor)
            });
            left.extend(found.filter(|waits| *waits).map(|_| id));
        }
        if !left.is_empty() {
            self.unconnected.insert(aor.to_owned(), left);
        }
    }
}

impl Call {
    fn flow_of(&self, world: &World, side: Side) -> Option<Flow> {
        Some(world.stack.dialog(self.dialog(side)?)?.flow())
    }

    fn sides_of<'a>(&'a self, aor: &'a str) -> impl Iterator<Item = Side> + 'a {
        let sides = [(Side::Caller, &self.from), (Side::Callee, &self.to)];
        sides.into_iter().filter(move |(_, party)| *party == aor).map(|(side, _)| side)
    }

    fn is_unconnected(&self, world: &World, aor: &str) -> bool {
        let waits = |flow: Flow| flow.transport.is_reliable() && flow.connection == 0;
        self.sides_of(aor).any(|side| self.flow_of(world, side).is_some_and(waits))
    }

    fn reconnect(&mut self, cx: &mut Cx<'_>, aor: &str, contact: &str, flow: Flow) {
        let sides: Vec<Side> = self.sides_of(aor).collect();
        for side in sides {
            let Some(id) = self.dialog(side) else { continue };
            let Some(dialog) = cx.world.stack.dialog(id) else { continue };
            let waits = dialog.flow().connection == 0;
            if waits
                && dialog.flow().transport == flow.transport
                && is_same_phone(cx.world, aor, dialog.remote_target(), contact)
                && cx.world.stack.set_dialog_flow(id, flow).is_ok()
            {
                tracing::debug!(call = %self.id, "a party is connected again");
            }
        }
        self.save_if_moved(cx);
    }
}

/// Whether a contact is that of a dialog: the same URI, or the user's only phone on that host, which
/// may have another port on its new connection.
fn is_same_phone(world: &World, aor: &str, target: &str, contact: &str) -> bool {
    if target == contact {
        return true;
    }
    let same = match (Uri::parse(target), Uri::parse(contact)) {
        (Ok(one), Ok(other)) => one.host() == other.host(),
        _ => false,
    };
    same && world.registrar.contacts(aor).len() == 1
}

/// The call of an earlier daemon; `None` if it was not answered or what is kept cannot be used.
fn resumed(world: &mut World, kept: &AliveCall) -> Option<Call> {
    let answered = kept.answered.as_ref()?;
    let mut saved = decode(answered.resume.as_deref()?)?;
    let lasted = lasted(world, &saved, answered.answered_at);
    for party in &mut saved.parties {
        if kept.acknowledged {
            party.dialog.set_acknowledged();
        }
        party.dialog.set_peer_name(world.names.number(&party.name));
    }
    let answer_due = saved.callee_ack_due || saved.parties.iter().any(|it| it.dialog.owes_ack());
    let [caller, callee] = saved.parties;
    let invite = stand_in(&caller.dialog)?;
    let flow = caller.dialog.flow();
    let dialogs = restore(world, [caller.dialog, callee.dialog])?;
    if let Some(media) = saved.media {
        world.media.adopt(world.now, media, answer_due);
    }
    let admission = Admission::resumed(world, &kept.setup.from, &kept.setup.to);
    let id = CallId(kept.setup.key);
    let mut call = setup::call(world, id, ServerTx::NONE, invite, flow, &admission);
    let winner = usize::from(saved.winner);
    call.fork = Fork::won(winner);
    let over = || Branch::new(String::new(), Place::Flow(flow), Vec::new());
    call.branches = (0..winner).map(|_| over()).collect();
    let callee_flow = world.stack.dialog(dialogs[1]).map_or(flow, |dialog| dialog.flow());
    let mut branch = Branch::new(callee.target, Place::Flow(callee_flow), Vec::new());
    branch.dialog = Some(dialogs[1]);
    call.branches.push(branch);
    call.winner = Some(winner);
    call.offerless = saved.callee_ack_due;
    call.callee_ack_due = saved.callee_ack_due;
    call.caller.dialog = Some(dialogs[0]);
    call.held = saved.held;
    call.times.started_at = kept.setup.started_at;
    call.times.ringing_at = answered.ringing_at;
    call.times.answered_at = Some(answered.answered_at);
    call.times.answered = Some(world.now);
    call.times.lasted_before = lasted;
    call.lasts_until =
        world.settings.max_duration.map(|most| world.now + most.saturating_sub(lasted));
    call.kept.revision = answered.revision;
    for (side, watch) in [Side::Caller, Side::Callee].into_iter().zip(saved.watches) {
        call.said[side.index()].agreed = watch.said;
        call.set_peer(side, watch.peer);
        call.watches[side.index()].resume(world.now, world.settings.session, watch.session, id.0);
    }
    call.recovered = true;
    Some(call)
}

/// Both dialogs, or none.
fn restore(world: &mut World, saved: [SavedDialog; 2]) -> Option<[DialogId; 2]> {
    let [caller, callee] = saved;
    let caller = restore_one(world, caller)?;
    match restore_one(world, callee) {
        Some(callee) => Some([caller, callee]),
        None => {
            world.stack.drop_dialog(world.now, caller);
            None
        }
    }
}

fn restore_one(world: &mut World, saved: SavedDialog) -> Option<DialogId> {
    let restored = world.stack.restore_dialog(world.now, saved);
    restored
        .inspect_err(|error| tracing::warn!(%error, "a call of the last run cannot be taken over"))
        .ok()
}

/// For how long the call had been answered: by the monotonic clock, unless the machine has started
/// again since.
fn lasted(world: &World, saved: &Saved<'_>, answered_at: Timestamp) -> Duration {
    if saved.boot == world.boot && world.boot != 0 {
        let now = i64::try_from(world.now.as_nanos()).unwrap_or(i64::MAX);
        let ns = now.saturating_sub(saved.answered_ns);
        Duration::from_nanos(u64::try_from(ns).unwrap_or(0))
    } else {
        Duration::try_from(world.wall.duration_since(answered_at)).unwrap_or_default()
    }
}

/// What the INVITE of the caller would have been inside of its dialog: its rows of long ago are not
/// kept.
fn stand_in(dialog: &SavedDialog) -> Option<Message> {
    let mut text = format!(
        "INVITE {} SIP/2.0\r\nVia: SIP/2.0/{} {};branch=z9hG4bK\r\nMax-Forwards: 70\r\nFrom: ",
        dialog.remote_target(),
        dialog.flow().transport.via_name(),
        dialog.flow().remote
    )
    .into_bytes();
    text.extend_from_slice(dialog.remote_party());
    text.extend_from_slice(b"\r\nTo: ");
    text.extend_from_slice(dialog.local_party());
    text.extend_from_slice(b"\r\nCall-ID: ");
    text.extend_from_slice(dialog.call_id().as_bytes());
    text.extend_from_slice(b"\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n");
    Message::parse(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_version_wrote_is_left_alone() {
        assert!(decode(&[]).is_none());
        assert!(decode(&[FORMAT]).is_none());
        assert!(decode(&[FORMAT + 1, 0x97, 0, 0]).is_none());
        assert!(decode(&[FORMAT, 0x97, 0, 0]).is_none());
    }
}
