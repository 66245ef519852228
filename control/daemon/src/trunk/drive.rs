//! What is due at trunks is sent, and what comes back taken in.

use super::credentials::{Attempts, with_rows};
use super::registration::Next;
use super::view::TrunkState;
use super::{Ask, InDialog, Purpose};
use crate::core::World;
use crate::locate::{Hop, LocateError, Located, Ticket};
use crate::snapshot::ControlEvent;
use std::sync::Arc;
use tandem_signalling::message::Message;
use tandem_signalling::method::Method;
use tandem_signalling::stack::{ClientTx, DialogId, Fields, Flow, NewRequest, StackError};
use tandem_signalling::uri::Uri;

/// Registers and asks for signs of life where that is due.
pub(crate) fn handle_timeout(world: &mut World) {
    let now = world.now;
    for trunk in 0..world.trunks.entries.len() {
        let entry = &mut world.trunks.entries[trunk];
        if entry.gone {
            continue;
        }
        let due = |at: Option<tandem_wire::time::Instant>| at.is_some_and(|at| at <= now);
        let registers = due(entry.registration.as_ref().and_then(|it| it.next_timeout()));
        let asks = due(entry.health.options_due());
        if registers {
            if let Some(registration) = &mut entry.registration {
                registration.begin();
            }
            begin(world, trunk, Purpose::Register);
        }
        if asks {
            world.trunks.entries[trunk].health.begin_options();
            begin(world, trunk, Purpose::Options);
        }
        tell(world, trunk);
    }
}

/// Takes all registrations back: nobody shall call a Tandem that is gone.
pub(crate) fn unregister(world: &mut World) {
    for trunk in 0..world.trunks.entries.len() {
        let now = world.now;
        let entry = &mut world.trunks.entries[trunk];
        let Some(registration) = &mut entry.registration else { continue };
        if registration.is_registered(now) {
            registration.forget();
            begin(world, trunk, Purpose::Unregister);
        }
    }
}

/// Looks for the server that a request goes to.
fn begin(world: &mut World, trunk: usize, purpose: Purpose) {
    let Some(spec) = world.trunks.spec(trunk).map(Arc::clone) else { return };
    let target = if purpose == Purpose::Options { &spec.peer } else { &spec.registrar };
    let located = match Uri::parse(target) {
        Ok(uri) => world.locator.locate(world.now, &uri),
        Err(_) => Located::Failed(LocateError::Scheme),
    };
    match located {
        Located::Ready(hops) => ask(world, trunk, purpose, hops),
        Located::Pending(ticket) => {
            world.trunks.tickets.insert(ticket, (trunk, purpose));
        }
        Located::Failed(error) => lost(world, trunk, purpose, &error.to_string()),
    }
}

/// DNS has answered.
pub(crate) fn handle_located(
    world: &mut World,
    ticket: Ticket,
    found: Result<Vec<Hop>, LocateError>,
) {
    let Some((trunk, purpose)) = world.trunks.tickets.remove(&ticket) else { return };
    match found {
        Ok(hops) => ask(world, trunk, purpose, hops),
        Err(error) => lost(world, trunk, purpose, &error.to_string()),
    }
}

/// Sends a request to the first of these addresses that we have a socket for. One that does not
/// answer is tried last the next time.
fn ask(world: &mut World, trunk: usize, purpose: Purpose, hops: Vec<Hop>) {
    let way = hops.into_iter().find_map(|hop| Some((world.flow_to(&hop)?, hop)));
    let Some((flow, hop)) = way else {
        return lost(world, trunk, purpose, "no socket of ours leads there");
    };
    if let Some(entry) = world.trunks.entries.get_mut(trunk) {
        // Calls may come as soon as it has us registered.
        entry.learn(hop.remote.ip());
    }
    send(world, Ask { trunk, purpose, hop, flow, attempts: Attempts::default() });
}

fn send(world: &mut World, ask: Ask) {
    let Some(request) = request(world, &ask) else { return };
    match world.stack.request(world.now, ask.flow, request) {
        Ok(tx) => {
            world.trunks.asks.insert(tx, ask);
        }
        Err(error) => lost(world, ask.trunk, ask.purpose, &error.to_string()),
    }
}

/// The URI that we register: a user part that only the provider learns, on the flow to it.
fn contact(world: &World, trunk: usize, flow: &Flow) -> String {
    let line = world.trunks.spec(trunk).map_or("", |spec| spec.line.as_str());
    world.stack.contact_uri(flow, line)
}

fn request(world: &mut World, ask: &Ask) -> Option<NewRequest> {
    let spec = Arc::clone(world.trunks.spec(ask.trunk)?);
    let cnonce = world.draw();
    let us = match spec.username.as_str() {
        "" => format!("<{}>", world.settings.aor("tandem")),
        name => format!("<{}>", spec.aor(name)),
    };
    if ask.purpose == Purpose::Options {
        return Some(NewRequest::new(Method::Options, &spec.peer).from(us));
    }
    let uri = Uri::parse(&spec.registrar).ok()?;
    // RFC 3261 §10.2: no user part; the transport has had its effect.
    let to = format!(
        "sip:{}",
        if spec.domain.is_empty() { uri.host().to_string() } else { spec.domain.clone() }
    );
    let contact = contact(world, ask.trunk, &ask.flow);
    let rows = world.trunks.authorize(ask.trunk, "REGISTER", &to, cnonce);
    let registration = world.trunks.entries.get(ask.trunk)?.registration.as_ref()?;
    let expires = if ask.purpose == Purpose::Unregister { 0 } else { registration.expires_s() };
    let fields = Fields::new()
        .header("Contact", format!("<{contact}>;expires={expires}"))
        .header("Expires", expires.to_string())
        .header("Supported", "path");
    let request = NewRequest::new(Method::Register, to)
        .from(us.clone())
        .to(us)
        .fields(with_rows(fields, &rows));
    Some(match &registration.last {
        Some(last) => request.after(last),
        None => request,
    })
}

/// A response; false if it is not for a trunk alone.
pub(crate) fn handle_response(world: &mut World, tx: ClientTx, response: &Message) -> bool {
    let status = response.status().unwrap_or(500);
    if let Some(ask) = world.trunks.asks.get(&tx) {
        if status < 200 {
            return true;
        }
        let trunk = ask.trunk;
        let Some(ask) = world.trunks.asks.remove(&tx) else { return true };
        if status == 503 {
            world.locator.note_failure(world.now, &ask.hop);
        } else {
            world.locator.note_success(&ask.hop);
        }
        answered(world, ask, response);
        tell(world, trunk);
        return true;
    }
    false
}

fn answered(world: &mut World, mut ask: Ask, response: &Message) {
    let (now, status, trunk) = (world.now, response.status().unwrap_or(500), ask.trunk);
    if ask.purpose == Purpose::Options {
        // Whoever answers is there, whatever it says of OPTIONS, unless it says that it is not.
        if let Some(entry) = world.trunks.entries.get_mut(trunk) {
            entry.health.options_done(now, !matches!(status, 408 | 503));
        }
        return;
    }
    if matches!(status, 401 | 407) && world.trunks.challenged(trunk, response, &mut ask.attempts) {
        if let Some(it) = world.trunks.entries[trunk].registration.as_mut() {
            it.last = Some(response.clone());
        }
        return send(world, ask);
    }
    let (contact, random) = (contact(world, trunk, &ask.flow), world.draw());
    let unregisters = ask.purpose == Purpose::Unregister;
    let Some(entry) = world.trunks.entries.get_mut(trunk) else { return };
    let Some(registration) = entry.registration.as_mut().filter(|_| !unregisters) else { return };
    let next = registration.response(now, response, &contact, random);
    if registration.is_registered(now) {
        entry.health.answered();
    }
    if next == Next::Again {
        send(world, ask);
    }
}

/// A request was not answered, or could not be sent; false if it is not of a trunk alone.
pub(crate) fn handle_lost(world: &mut World, tx: ClientTx, status: u16) -> bool {
    world.trunks.in_dialog.remove(&tx);
    let Some(ask) = world.trunks.asks.remove(&tx) else { return false };
    world.locator.note_failure(world.now, &ask.hop);
    let why = if status == 408 { "no answer" } else { "it cannot be reached" };
    lost(world, ask.trunk, ask.purpose, why);
    true
}

fn lost(world: &mut World, trunk: usize, purpose: Purpose, why: &str) {
    let (now, random) = (world.now, world.draw());
    let Some(entry) = world.trunks.entries.get_mut(trunk) else { return };
    match purpose {
        Purpose::Options => entry.health.options_done(now, false),
        Purpose::Register => {
            if let Some(registration) = &mut entry.registration {
                registration.no_answer(now, why, random);
            }
        }
        Purpose::Unregister => {}
    }
    tell(world, trunk);
}

/// Tells that a trunk's state has changed.
fn tell(world: &mut World, trunk: usize) {
    let now = world.now;
    let Some(entry) = world.trunks.entries.get_mut(trunk) else { return };
    let (state, why) = entry.state(now);
    let first = entry.told.is_none();
    if entry.told == Some(state) {
        return;
    }
    entry.told = Some(state);
    // That nothing has been tried yet is no news.
    if first && (state == TrunkState::Up || why.ends_with("yet")) {
        return;
    }
    let name = entry.spec.name.clone();
    if state == TrunkState::Up {
        tracing::info!(trunk = name, "a trunk is up");
    } else {
        tracing::warn!(
            trunk = name,
            state = state.key(),
            why,
            "a trunk cannot be used as it should"
        );
    }
    world.shared.tell(|| ControlEvent::Trunk { trunk: name, state, why });
}

impl World {
    /// Sends a request in a dialog; to a trunk with the credentials that it asked for last.
    ///
    /// # Errors
    /// As [`Stack::request_in_dialog`](tandem_signalling::stack::Stack::request_in_dialog).
    pub fn request_in_dialog(
        &mut self,
        dialog: DialogId,
        method: Method,
        fields: Fields,
    ) -> Result<ClientTx, StackError> {
        self.send_in_dialog(dialog, method, fields, Attempts::default())
    }

    fn send_in_dialog(
        &mut self,
        dialog: DialogId,
        method: Method,
        fields: Fields,
        attempts: Attempts,
    ) -> Result<ClientTx, StackError> {
        let with = self.stack.dialog(dialog).map(|it| (it.flow().remote.ip(), it.request_uri()));
        let with = with.and_then(|(remote, uri)| {
            self.trunks.trunk_of(dialog, remote).map(|trunk| (trunk, uri))
        });
        let Some((trunk, uri)) = with else {
            return self.stack.request_in_dialog(self.now, dialog, method, fields);
        };
        let cnonce = self.draw();
        let rows = self.trunks.authorize(trunk, method.as_str(), &uri, cnonce);
        let sent = with_rows(fields.clone(), &rows);
        let tx = self.stack.request_in_dialog(self.now, dialog, method, sent)?;
        self.trunks.in_dialog.insert(tx, InDialog { trunk, dialog, method, fields, attempts });
        Ok(tx)
    }

    /// Acknowledges a 2xx, with the credentials of its INVITE (RFC 3261 §22.1).
    ///
    /// # Errors
    /// As [`Stack::ack`](tandem_signalling::stack::Stack::ack).
    pub fn ack(&mut self, dialog: DialogId, fields: Fields) -> Result<(), StackError> {
        let fields = match self.trunks.dialogs.get(&dialog) {
            Some(bound) => with_rows(fields, &bound.rows),
            None => fields,
        };
        self.stack.ack(self.now, dialog, fields)
    }

    /// A final response to a request in a dialog: sends it again if it is a challenge of a trunk
    /// that we can answer, and gives the transaction that stands for it now.
    pub fn repeat_in_dialog(&mut self, tx: ClientTx, response: &Message) -> Option<ClientTx> {
        let status = response.status().filter(|status| *status >= 200)?;
        let mut it = self.trunks.in_dialog.remove(&tx)?;
        if !matches!(status, 401 | 407) {
            return None;
        }
        if !self.trunks.challenged(it.trunk, response, &mut it.attempts) {
            return None;
        }
        self.send_in_dialog(it.dialog, it.method, it.fields, it.attempts).ok()
    }
}
