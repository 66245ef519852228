//! The switch: events of the stack go to the registrar and to the calls, what they want sent comes
//! out. No socket, no clock: the same inputs give the same outputs.

use super::settings::Settings;
use super::world::World;
use crate::call::{self, Calls, Recovery};
use crate::config::Config;
use crate::guard::{Verdict, admission::Admission};
use crate::journal::{Entry, Journal, Recovered};
use crate::locate::{Locator, dns::Dns};
use crate::logging::Redacted;
use crate::media::{MediaConfig, MediaEvent, MediaPlane};
use crate::registrar::{self, Registrar, bindings::Change};
use crate::relay::Relays;
use crate::route::{Origin, RouteView};
use crate::snapshot::{ControlEvent, Query, Shared};
use crate::store::users::UserList;
use crate::trace::Direction;
use crate::trunk;
use core::time::Duration;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::sync::Arc;
use tandem_signalling::message::Message;
use tandem_signalling::method::Method;
use tandem_signalling::stack::{
    DialogEnd, DialogId, Event, Flow, NewRequest, Output, Reply, ServerTx, Stack,
};
use tandem_wire::time::Instant;

/// What a switch is made of.
#[derive(Debug)]
pub struct Parts {
    /// What the operator decided.
    pub settings: Settings,
    /// Which start of the machine this is, 0 if unknown.
    pub boot: u64,
    /// Randomness: the stack's seed, and the secret of nonces and marks.
    pub seed: [u8; 40],
    /// Now.
    pub now: Instant,
    /// Now, for people.
    pub wall: Timestamp,
    /// The journal.
    pub journal: Journal,
    /// What it knew of an earlier run.
    pub recovered: Recovered,
    /// The users.
    pub users: UserList,
    /// The media plane.
    pub media: MediaPlane,
    /// Who asks DNS.
    pub dns: Box<dyn Dns>,
    /// Where events go.
    pub shared: Arc<Shared>,
}

/// Stack, registrar and calls of one signalling thread.
#[derive(Debug)]
pub struct Switch {
    pub(super) world: World,
    pub(super) calls: Calls,
    pub(super) relays: Relays,
    pub(super) recovery: Recovery,
    /// The engine came or went since the figures were published.
    engine_changed: bool,
    /// Connections that their phones keep alive, and how often.
    kept_flows: Vec<(u64, Duration)>,
    /// Answers that no transaction sends.
    refusals: VecDeque<(Flow, Arc<[u8]>)>,
}

impl Switch {
    /// A switch with the registrations and the unfinished calls of an earlier run.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let (seed, secret) = parts.seed.split_at(8);
        let seed = seed.iter().fold(0, |value, octet| (value << 8) | u64::from(*octet));
        let secret: [u8; 32] = secret.try_into().unwrap_or_default();
        let stack = Stack::new(parts.settings.stack.clone(), seed);
        let mut registrar = Registrar::new(&parts.settings, parts.users, secret);
        for registration in parts.recovered.registrations {
            registrar.restore(parts.now, parts.wall, registration);
        }
        let (config, support) = (parts.settings.locator.clone(), parts.settings.support());
        let locator = Locator::new(config, support, parts.dns, seed);
        let mut world = World::new(
            (parts.now, parts.wall),
            (stack, parts.media, registrar, locator),
            (parts.journal, parts.shared),
            parts.settings,
            (parts.boot, secret),
        );
        let mut calls = Calls::new();
        let lost = calls.resume(&mut world, parts.recovered.alive);
        let recovery = Recovery::new(parts.now, lost);
        let mut switch = Self {
            world,
            calls,
            relays: Relays::new(),
            recovery,
            engine_changed: false,
            kept_flows: Vec::new(),
            refusals: VecDeque::new(),
        };
        switch.check_users();
        switch
    }

    /// Sets the time; every handler works at the time set last.
    pub fn set_time(&mut self, now: Instant, wall: Timestamp) {
        self.world.now = now;
        self.world.wall = wall;
    }

    /// A message came.
    pub fn handle_input(&mut self, flow: Flow, bytes: &[u8]) {
        let World { guard, registrar, now, wall, .. } = &mut self.world;
        match guard.check((*now, *wall), &flow, bytes, registrar) {
            Verdict::Pass => {}
            Verdict::Drop => return,
            Verdict::Answer(flow, bytes) => return self.refusals.push_back((flow, bytes)),
        }
        self.world.shared.trace().message(self.world.wall, Direction::In, &flow, bytes);
        if bytes.len() <= self.world.settings.max_message {
            self.world.stack.handle_input(self.world.now, flow, bytes);
        } else if let Some(refusal) = crate::net::refusal(bytes, 513) {
            self.refusals.push_back((flow, refusal.into()));
        }
    }

    /// A message could not be sent, or a connection is over.
    pub fn handle_transport_error(&mut self, flow: Flow) {
        self.world.stack.handle_transport_error(self.world.now, flow);
        self.world.registrar.connection_closed(&flow);
    }

    /// When [`Switch::handle_timeout`] is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        [
            self.world.stack.next_timeout(),
            self.world.registrar.next_timeout(),
            self.world.media.next_timeout(),
            self.world.locator.next_timeout(),
            self.world.trunks.next_timeout(),
            self.calls.next_timeout(),
            self.relays.next_timeout(),
            self.recovery.next_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Time went by.
    pub fn handle_timeout(&mut self) {
        let now = self.world.now;
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.world.stack.next_timeout()) {
            self.world.stack.handle_timeout(now);
        }
        if due(self.world.registrar.next_timeout()) {
            for gone in self.world.registrar.expire(now) {
                let (aor, contact) = (gone.aor, gone.contact);
                self.unregistered(aor, contact, true);
            }
        }
        for (flow, contact) in self.world.registrar.pings_due(now) {
            self.ping(flow, contact);
        }
        if due(self.world.locator.next_timeout()) {
            self.world.locator.handle_timeout(now);
        }
        if due(self.world.trunks.next_timeout()) {
            trunk::handle_timeout(&mut self.world);
        }
        if due(self.calls.next_timeout()) {
            self.calls.handle_timeout(&mut self.world);
        }
        if due(self.relays.next_timeout()) {
            self.relays.handle_timeout(&mut self.world);
        }
        if due(self.recovery.next_timeout()) {
            self.recovery.handle_timeout(&mut self.world);
        }
        if due(self.world.media.next_timeout()) {
            let events = self.world.media.tick(now);
            self.handle_media(events);
        }
    }

    /// Ends the registrations of users who are gone, if the users have changed: their phones must
    /// not be called again should the name be given to somebody else.
    pub fn check_users(&mut self) {
        let gone = self.world.registrar.drop_gone_users();
        if !gone.is_empty() {
            tracing::info!(contacts = gone.len(), "contacts of users who are gone are removed");
        }
        for it in gone {
            self.unregistered(it.aor, it.contact, false);
        }
    }

    /// Asks a contact for a sign of life, which keeps the way through its NAT open. What it
    /// answers does not matter.
    fn ping(&mut self, flow: Flow, contact: String) {
        let ours = self.world.settings.aor("ping");
        let request = NewRequest::new(Method::Options, contact).from(format!("<{ours}>"));
        if let Err(error) = self.world.stack.request(self.world.now, flow, request) {
            tracing::debug!(%error, "no ping could be sent");
        }
    }

    /// The engine has something to say.
    pub fn handle_engine(&mut self) {
        let events = self.world.media.handle_link(self.world.now);
        self.handle_media(events);
    }

    /// The next message to send, until `None`.
    pub fn poll_transmit(&mut self) -> Option<(Flow, Arc<[u8]>)> {
        let (flow, bytes) = self.next_transmit()?;
        self.world.shared.trace().message(self.world.wall, Direction::Out, &flow, &bytes);
        Some((flow, bytes))
    }

    fn next_transmit(&mut self) -> Option<(Flow, Arc<[u8]>)> {
        if let Some(refusal) = self.refusals.pop_front() {
            return Some(refusal);
        }
        loop {
            let Some(output) = self.world.stack.poll_output() else {
                let (ticket, found) = self.world.locator.poll(self.world.now)?;
                if self.world.trunks.waits_for(ticket) {
                    trunk::handle_located(&mut self.world, ticket, found);
                } else {
                    self.calls.handle_located(&mut self.world, ticket, found);
                }
                continue;
            };
            match output {
                Output::Transmit { flow, bytes } => return Some((flow, bytes)),
                Output::Event(event) => self.handle_event(event),
            }
        }
    }

    fn handle_event(&mut self, event: Event) {
        let (world, calls) = (&mut self.world, &mut self.calls);
        let relays = &mut self.relays;
        match event {
            Event::Request { tx, dialog: Some(dialog), request, .. } => {
                if !calls.handle_request(world, tx, dialog, &request)
                    && !relays.handle_in_dialog(world, tx, dialog, &request)
                {
                    let status = if request.method() == Method::Bye { 200 } else { 481 };
                    world.respond(tx, Reply::new(status));
                }
            }
            Event::Request { tx, dialog: None, request, flow } => {
                self.handle_request(tx, request, flow);
            }
            Event::Ack { dialog, request } => calls.handle_ack(world, dialog, &request),
            Event::Cancelled { tx, request } => calls.handle_cancelled(world, tx, &request),
            Event::Response { tx, dialog, response, .. }
                if trunk::handle_response(world, tx, &response)
                    || relays.handle_response(world, tx, dialog, &response) => {}
            Event::Response { tx, dialog, response, .. } => {
                if let Some(repeated) = world.repeat_in_dialog(tx, &response) {
                    return calls.replace_client(world, tx, repeated);
                }
                let answers = response.method() == Method::Invite
                    && response.status().is_some_and(|status| (200..300).contains(&status));
                if !calls.handle_response(world, tx, dialog, response)
                    && answers
                    && let Some(dialog) = dialog
                {
                    if calls.knows(dialog) {
                        // Of a request whose asker has gone meanwhile; the dialog has another user.
                        world.acknowledge(dialog);
                    } else {
                        world.hang_up(dialog);
                    }
                }
            }
            // RFC 3261 §8.1.3.1: as if 408, as if 503.
            Event::TimedOut { tx } => {
                if !trunk::handle_lost(world, tx, 408) && !relays.handle_no_response(world, tx, 408)
                {
                    calls.handle_no_response(world, tx, 408);
                }
            }
            Event::TransportFailed { tx } => {
                if !trunk::handle_lost(world, tx, 503) && !relays.handle_no_response(world, tx, 503)
                {
                    calls.handle_no_response(world, tx, 503);
                }
            }
            Event::RingingTooLong { tx } => calls.handle_ringing_too_long(world, tx),
            Event::ResponseFailed { tx, cause } => {
                tracing::debug!(?tx, ?cause, "a response did not arrive");
            }
            Event::AckTimeout { dialog } => calls.handle_ack_timeout(world, dialog),
            Event::PrackTimeout { tx } => calls.handle_prack_timeout(world, tx),
            Event::DialogEnded { dialog, cause } => self.handle_dialog_end(dialog, cause),
        }
    }

    fn handle_dialog_end(&mut self, dialog: DialogId, cause: DialogEnd) {
        self.world.trunks.unbind(dialog);
        if cause == DialogEnd::Unknown {
            self.calls.handle_dialog_lost(&mut self.world, dialog);
        }
    }

    /// A request outside of any dialog.
    fn handle_request(&mut self, tx: ServerTx, request: Message, flow: Flow) {
        self.world.registrar.take_note();
        self.dispatch(tx, request, flow);
        let World { guard, registrar, now, wall, .. } = &mut self.world;
        if let Some(note) = registrar.take_note() {
            guard.note((*now, *wall), &flow, note, registrar);
        }
    }

    fn dispatch(&mut self, tx: ServerTx, request: Message, flow: Flow) {
        let world = &mut self.world;
        match request.method() {
            Method::Invite => self.calls.handle_invite(world, tx, request, flow),
            Method::Register => self.handle_register(tx, &request, flow),
            Method::Options
            | Method::Message
            | Method::Info
            | Method::Publish
            | Method::Subscribe => {
                self.relays.handle_request(world, tx, request, flow);
            }
            Method::Bye | Method::Prack | Method::Update => {
                world.answer_once(tx, &Reply::new(481));
            }
            Method::Other(_) => {
                world.answer_once(tx, &Reply::new(501).header("Allow", call::headers::ALLOW));
            }
            _ => {
                world.answer_once(tx, &Reply::new(405).header("Allow", call::headers::ALLOW));
            }
        }
    }

    fn handle_register(&mut self, tx: ServerTx, request: &Message, flow: Flow) {
        let world = &mut self.world;
        let (reply, changes) =
            world.registrar.handle_register(world.now, world.wall, &world.settings, request, flow);
        let timer = world.settings.flow_timer;
        let told = registrar::outbound::announce(request, &reply, timer);
        if let (Some(timer), Some(_), true) = (timer, &told, flow.connection != 0) {
            self.kept_flows.push((flow.connection, timer));
        }
        let reply = told.unwrap_or(reply);
        for change in changes {
            match change {
                Change::Put(registration) => {
                    let (aor, contact) = (&registration.aor, &registration.contact);
                    let (aor, contact) = (Redacted(aor), Redacted(contact));
                    tracing::debug!(%aor, %contact, "registered");
                    if flow.connection != 0 {
                        let (aor, contact) = (&registration.aor, &registration.contact);
                        self.calls.reconnect(&mut self.world, aor, contact, flow);
                    }
                    self.world.journal.append(Entry::Registered(registration.clone()));
                    self.world.shared.tell(|| ControlEvent::Registered {
                        aor: registration.aor,
                        contact: registration.contact,
                        expires_at: registration.expires_at,
                    });
                }
                Change::Removed { aor, contact } => self.unregistered(aor, contact, false),
            }
        }
        self.world.refuse(tx, reply);
    }

    /// Connections on which a sign of life was agreed on since this was asked last, and how often.
    pub fn take_kept_flows(&mut self) -> Vec<(u64, Duration)> {
        core::mem::take(&mut self.kept_flows)
    }

    /// The name that the peer of a flow has to prove.
    #[must_use]
    pub fn peer_name(&self, flow: &Flow) -> Option<&Arc<str>> {
        self.world.names.get(flow.name)
    }

    fn unregistered(&self, aor: String, contact: String, expired: bool) {
        let (party, at) = (Redacted(&aor), Redacted(&contact));
        tracing::debug!(aor = %party, contact = %at, expired, "unregistered");
        let gone = Entry::Unregistered { aor: aor.clone(), contact: contact.clone() };
        self.world.journal.append(gone);
        self.world.shared.tell(|| ControlEvent::Unregistered { aor, contact, expired });
    }

    fn handle_media(&mut self, events: Vec<MediaEvent>) {
        for event in events {
            match event {
                MediaEvent::MediaTimeout { call, .. }
                | MediaEvent::Dtmf { call, .. }
                | MediaEvent::Latched { call, .. }
                | MediaEvent::Refused { call, .. }
                | MediaEvent::LeaseExpired { call, .. }
                | MediaEvent::Settled { call } => {
                    self.calls.handle_media(&mut self.world, call, &event);
                }
                MediaEvent::Found { .. } | MediaEvent::FoundEnded { .. } => {
                    self.recovery.handle_media(&mut self.world, event);
                }
                MediaEvent::EngineLost { reason } => self.engine(false, reason),
                MediaEvent::EngineFailed { reason } => {
                    tracing::error!(reason, "no engine");
                    self.engine(false, reason);
                }
                MediaEvent::EngineBack { info, reinstalled, outage } => {
                    self.engine(
                        true,
                        format!(
                            "engine {} ({}), {} workers, {reinstalled} terminations installed \
                             again, outage {} ms",
                            info.pid,
                            info.port,
                            info.workers,
                            outage.as_millis()
                        ),
                    );
                }
            }
        }
    }

    /// Whether the engine came or went since this was asked last.
    pub fn take_engine_changed(&mut self) -> bool {
        core::mem::take(&mut self.engine_changed)
    }

    fn engine(&mut self, attached: bool, text: String) {
        self.engine_changed = true;
        if attached {
            tracing::info!(attached, text, "engine");
        } else {
            tracing::warn!(attached, text, "engine");
        }
        self.world.shared.tell(|| ControlEvent::Engine { attached, text });
    }

    /// What the loop measures.
    pub const fn admission(&mut self) -> &mut Admission {
        self.world.guard.admission()
    }

    /// Answers a question of the API.
    pub fn answer(&mut self, query: Query) {
        let at = (self.world.now, self.world.wall);
        // Who asked may have gone meanwhile.
        match query {
            Query::Calls(reply) => drop(reply.send(self.calls.views(&self.world))),
            Query::Call(id, reply) => drop(reply.send(self.calls.view(&self.world, &id))),
            Query::Bans(reply) => drop(reply.send(self.world.guard.bans(at.0))),
            Query::Ban { source, length, reply } => {
                drop(reply.send(self.world.guard.ban_by_hand(at, source, length)));
            }
            Query::Forgive(source, reply) => {
                drop(reply.send(self.world.guard.forgive(at.0, source)));
            }
            Query::Trunks(reply) => drop(reply.send(self.world.trunks.views(self.world.now))),
            Query::Route { number, from, reply } => {
                drop(reply.send(self.explain_route(&number, from.as_deref())));
            }
            Query::Registrations(reply) => drop(reply.send(self.world.registrar.registrations())),
        }
    }

    /// Goes on with other settings. What hangs on sockets, ports and identities stays as it is:
    /// see [`reload`](crate::config::reload::reload).
    pub fn reconfigure(&mut self, config: &Config, media: MediaConfig) {
        let settings = Settings::new(config, &self.world.settings.local);
        self.world.stack.reconfigure(settings.stack.clone());
        self.world.registrar.reconfigure(&settings);
        self.world.media.reconfigure(media);
        self.world.locator.reconfigure(settings.locator.clone());
        self.world.guard.set_policy(self.world.now, settings.guard.clone());
        let random = self.world.draw();
        self.world.trunks.configure(self.world.now, &settings.routing, random);
        self.world.settings = settings;
    }

    /// Takes no new calls; those that are up go on.
    pub fn begin_drain(&mut self) {
        self.world.stopping = true;
        trunk::unregister(&mut self.world);
    }

    /// Whether no call is left.
    #[must_use]
    pub fn has_no_calls(&self) -> bool {
        self.calls.is_empty()
    }

    /// Where a call of `from`, a user or `trunk:NAME`, to a number would go now, and why.
    #[must_use]
    pub fn explain_route(&self, number: &str, from: Option<&str>) -> RouteView {
        let world = &self.world;
        let trunk = from.and_then(|from| from.strip_prefix("trunk:"));
        let origin = match trunk.and_then(|name| world.trunks.find(name)) {
            Some(trunk) => Origin::Trunk(trunk),
            None => Origin::User(from.unwrap_or_default()),
        };
        let dialled = tandem_signalling::uri::Uri::parse(number).ok();
        let dialled = dialled.as_ref().and_then(call::dialled);
        let dialled = dialled.unwrap_or_else(|| number.to_owned());
        // Among equals a call draws; what is shown is one of the possible orders.
        let random = world.wall.as_microsecond().unsigned_abs();
        let decision = world.trunks.decide(world.now, &world.registrar, &dialled, origin, random);
        world.trunks.router().explain(&decision, from)
    }

    /// Begins to stop: no new calls, all calls are ended.
    pub fn begin_stop(&mut self) {
        self.world.stopping = true;
        trunk::unregister(&mut self.world);
        self.calls.release_all(&mut self.world);
        self.relays.release_all(&mut self.world);
    }

    /// Whether everybody has answered to the end of the calls.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.calls.is_empty()
            && self.relays.is_empty()
            && self.world.stack.counters().dialogs == 0
            && !self.world.trunks.is_unregistering()
    }

    /// Ends the engine, unless it still relays calls of an earlier daemon.
    pub fn finish(&mut self) {
        self.world.media.shutdown(self.recovery.is_empty());
    }
}
