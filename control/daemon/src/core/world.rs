//! What every call works with: time, stack, media, registrar, journal, settings.

use super::settings::Settings;
use crate::call::Usage;
use crate::call::id::CallId;
use crate::guard::Guard;
use crate::journal::Journal;
use crate::locate::{Hop, Locator};
use crate::logging::LineBound;
use crate::media::MediaPlane;
use crate::net::PeerNames;
use crate::registrar::Registrar;
use crate::snapshot::Shared;
use crate::trunk::Trunks;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tandem_signalling::method::Method;
use tandem_signalling::stack::{ClientTx, DialogId, Fields, Flow, Reply, ServerTx, Stack};
use tandem_wire::time::Instant;

/// What every call works with; the signalling thread owns it.
#[derive(Debug)]
pub struct World {
    /// Now, for timers.
    pub now: Instant,
    /// Now, for people.
    pub wall: Timestamp,
    /// Transactions and dialogs.
    pub stack: Stack,
    /// Media of all calls.
    pub media: MediaPlane,
    /// Users and their contacts.
    pub registrar: Registrar,
    /// Where requests go that no registration leads.
    pub locator: Locator,
    /// Calls of each user.
    pub usage: Usage,
    /// Other switches and providers, and the rules that lead to them.
    pub trunks: Trunks,
    /// What must survive.
    pub journal: Journal,
    /// What keeps attackers and too many calls out.
    pub guard: Guard,
    /// Who listens.
    pub shared: Arc<Shared>,
    /// What the operator decided.
    pub settings: Settings,
    /// Names of hops, as their certificates must hold them.
    pub names: PeerNames,
    /// Which start of the machine this is: the monotonic clock counts from there. 0 if unknown.
    pub boot: u64,
    /// No new calls: the daemon stops.
    pub stopping: bool,
    /// How many lines calls may log.
    pub call_lines: LineBound,
    secret: [u8; 32],
    drawn: u64,
    /// Numbers that were drawn.
    draws: u64,
}

impl World {
    pub(super) fn new(
        (now, wall): (Instant, Timestamp),
        (stack, media, registrar, locator): (Stack, MediaPlane, Registrar, Locator),
        (journal, shared): (Journal, Arc<Shared>),
        settings: Settings,
        (boot, secret): (u64, [u8; 32]),
    ) -> Self {
        let call_lines = LineBound::new(settings.call_lines_per_s);
        let mut world = Self {
            now,
            wall,
            stack,
            media,
            registrar,
            locator,
            trunks: Trunks::default(),
            usage: Usage::default(),
            journal,
            guard: Guard::new(settings.guard.clone(), keyed(&secret, b"guard", b"")),
            shared,
            settings,
            names: PeerNames::default(),
            boot,
            stopping: false,
            call_lines,
            secret,
            drawn: 0,
            draws: 0,
        };
        let random = world.draw();
        world.trunks = Trunks::new(now, &world.settings.routing, random);
        world
    }

    /// A number that nobody can foresee.
    pub fn draw(&mut self) -> u64 {
        self.draws += 1;
        keyed(&self.secret, b"draw", &self.draws.to_be_bytes())
    }

    /// Answers a request; gives the dialog that the answer opened or confirmed. What the stack
    /// refuses came too late (the peer gave up) and is only logged.
    pub fn respond(&mut self, tx: ServerTx, reply: Reply) -> Option<DialogId> {
        let status = reply.status();
        match self.stack.respond(self.now, tx, reply) {
            Ok(dialog) => dialog,
            Err(error) => {
                tracing::debug!(?tx, status, %error, "a response was not sent");
                None
            }
        }
    }

    /// The flow for a new request to a hop; `None` if we have no socket that leads there.
    pub fn flow_to(&mut self, hop: &Hop) -> Option<Flow> {
        let flow = self.settings.local.flow_to(hop.transport, hop.remote)?;
        let name = hop.name.as_deref().filter(|_| hop.transport.is_secure());
        Some(Flow { name: self.names.number(name.unwrap_or("")), ..flow })
    }

    /// Whether a caller who was let in may know which users exist: he proved who he is, or is
    /// trusted.
    #[must_use]
    pub fn tells_who_exists(&self, flow: &Flow) -> bool {
        self.settings.authenticate || self.guard.trusts(flow.remote.ip())
    }

    /// Answers a request outside of any dialog, finally. If its sender has not proved who he is,
    /// nothing of it is kept: nobody fills the memory before he was let in.
    pub fn refuse(&mut self, tx: ServerTx, reply: Reply) {
        if self.registrar.has_accepted() {
            self.respond(tx, reply);
        } else {
            self.answer_once(tx, &reply);
        }
    }

    /// Answers a request outside of any dialog, finally, and keeps nothing of it.
    pub fn answer_once(&mut self, tx: ServerTx, reply: &Reply) {
        if let Err(error) = self.stack.refuse(tx, reply) {
            tracing::debug!(?tx, status = reply.status(), %error, "a response was not sent");
        }
    }

    /// Cancels an INVITE that went out.
    pub fn cancel(&mut self, tx: ClientTx) {
        self.cancel_with(tx, Fields::new());
    }

    /// As [`World::cancel`], with these rows.
    pub fn cancel_with(&mut self, tx: ClientTx, fields: Fields) {
        if let Err(error) = self.stack.cancel(self.now, tx, fields) {
            tracing::debug!(?tx, %error, "a request was not cancelled");
        }
    }

    /// Acknowledges a 2xx that changes nothing any more.
    pub fn acknowledge(&mut self, dialog: DialogId) {
        if let Err(error) = self.stack.ack(self.now, dialog, Fields::new()) {
            tracing::debug!(%error, "a late answer was not acknowledged");
        }
    }

    /// Acknowledges and ends a dialog that nobody wants: a 2xx that came when its call was over.
    pub fn hang_up(&mut self, dialog: DialogId) {
        // A dialog that was acknowledged before needs no second one.
        let _ = self.ack(dialog, Fields::new());
        let bye = self.request_in_dialog(dialog, Method::Bye, Fields::new());
        if bye.is_err() {
            self.stack.drop_dialog(self.now, dialog);
        }
    }

    /// The id of a new call; `taken` tells whether one exists.
    pub fn new_call_id(&mut self, taken: impl Fn(CallId) -> bool) -> CallId {
        loop {
            self.drawn += 1;
            let id =
                CallId::new(self.wall, keyed(&self.secret, b"call", &self.drawn.to_be_bytes()));
            if !taken(id) {
                return id;
            }
        }
    }

    /// Our mark on a call to an address of record: another Tandem, or another address, has
    /// another one, and it tells nothing to who reads it.
    #[must_use]
    pub fn hop_mark(&self, to: &str) -> String {
        format!("{:016x}", keyed(&self.secret, b"hop", to.as_bytes()))
    }
}

/// A number that only who has the secret can make.
fn keyed(secret: &[u8; 32], purpose: &[u8], what: &[u8]) -> u64 {
    let mut hash = Sha256::new();
    hash.update(secret);
    hash.update(purpose);
    hash.update(what);
    hash.finalize()[..8].iter().fold(0, |value, octet| (value << 8) | u64::from(*octet))
}
