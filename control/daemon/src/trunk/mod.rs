//! Trunks: other switches and providers, how they stand, and what they are owed.
//!
//! [`Trunks`] holds their state and decides with it; it sends nothing itself. `drive` sends what is
//! due: registrations, signs of life, requests with credentials.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`spec`] | trunks and routes out of the configuration |
//! | [`credentials`] | challenges and the nonces that answer them |
//! | [`registration`] | when to register, and when again: pure |
//! | [`caller_id`] | which number is shown: pure |
//! | `standing` | whether a trunk can take a call |
//! | `drive` | what is due is sent, and what comes back taken in |
//! | [`view`] | trunks as others see them |

pub mod caller_id;
pub mod credentials;
mod drive;
pub mod registration;
pub mod spec;
mod standing;
pub mod view;

pub(crate) use drive::{handle_located, handle_lost, handle_response, handle_timeout, unregister};
pub use spec::{Routing, TrunkSpec};
pub use view::{TrunkCounters, TrunkState, TrunkView};

use crate::locate::{Hop, Ticket};
use crate::route::Router;
use crate::route::decide::{Decision, Directory, Origin, Standing, TrunkHead};
use core::time::Duration;
use credentials::{Attempts, Credentials};
use registration::Registration;
use standing::Health;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use tandem_signalling::message::Message;
use tandem_signalling::method::Method;
use tandem_signalling::stack::{ClientTx, DialogId, Fields, Flow};
use tandem_wire::time::Instant;

/// Addresses that are learned of one trunk at most.
const MAX_LEARNED: usize = 16;
/// The first requests to all trunks are spread over this time for each of them.
const SPREAD_PER_TRUNK: Duration = Duration::from_millis(50);

/// What a request to a trunk was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Registers, or refreshes that.
    Register,
    /// Takes the registration back.
    Unregister,
    /// Asks for a sign of life.
    Options,
}

/// A request of ours to a trunk, outside of calls.
#[derive(Debug)]
struct Ask {
    trunk: usize,
    purpose: Purpose,
    hop: Hop,
    flow: Flow,
    attempts: Attempts,
}

/// A request in a dialog with a trunk that may have to be repeated with credentials.
#[derive(Debug)]
pub(crate) struct InDialog {
    trunk: usize,
    dialog: DialogId,
    method: Method,
    fields: Fields,
    attempts: Attempts,
}

/// The dialog of a call over a trunk.
#[derive(Debug)]
struct Bound {
    trunk: usize,
    /// Credentials of the INVITE, which its ACK repeats (RFC 3261 §22.1).
    rows: Vec<(&'static str, String)>,
}

#[derive(Debug)]
struct Entry {
    spec: Arc<TrunkSpec>,
    /// It is not configured any more; its calls go on.
    gone: bool,
    registration: Option<Registration>,
    credentials: Credentials,
    /// Addresses that answered as this trunk.
    learned: Vec<IpAddr>,
    health: Health,
    calls: u32,
    counters: TrunkCounters,
    /// The state that was told last.
    told: Option<TrunkState>,
}

/// All trunks and the rules that lead to them.
#[derive(Debug, Default)]
pub struct Trunks {
    /// Never shortened: calls hold indices.
    entries: Vec<Entry>,
    router: Router,
    asks: HashMap<ClientTx, Ask>,
    tickets: HashMap<Ticket, (usize, Purpose)>,
    in_dialog: HashMap<ClientTx, InDialog>,
    dialogs: HashMap<DialogId, Bound>,
}

impl Trunks {
    /// Trunks as configured; `random` spreads their first requests.
    #[must_use]
    pub fn new(now: Instant, routing: &Routing, random: u64) -> Self {
        let mut trunks = Self::default();
        trunks.configure(now, routing, random);
        trunks
    }

    /// Takes a new configuration over: trunks that did not change keep their registration, and calls
    /// over trunks that are gone go on.
    pub fn configure(&mut self, now: Instant, routing: &Routing, random: u64) {
        for entry in &mut self.entries {
            entry.gone = !routing.trunks.contains(&entry.spec);
        }
        let spread = SPREAD_PER_TRUNK * u32::try_from(routing.trunks.len()).unwrap_or(u32::MAX);
        for (place, spec) in routing.trunks.iter().enumerate() {
            if self.entries.iter().any(|entry| !entry.gone && entry.spec == *spec) {
                continue;
            }
            let random = random.rotate_left(u32::try_from(place % 64).unwrap_or(0));
            let registration =
                spec.register.then(|| Registration::new(now, spec.expires_s, spread, random));
            self.entries.push(Entry {
                spec: Arc::clone(spec),
                gone: false,
                registration,
                credentials: Credentials::default(),
                learned: Vec::new(),
                health: Health::new(now, spec.options, spread, random),
                calls: 0,
                counters: TrunkCounters::default(),
                told: None,
            });
        }
        let heads = self.entries.iter().map(|entry| TrunkHead::from(&*entry.spec)).collect();
        let rules = routing.rules(|name| self.index_of(name));
        self.router = Router::new(routing.plan.clone(), heads, rules);
    }

    fn index_of(&self, name: &str) -> Option<usize> {
        self.entries.iter().position(|entry| !entry.gone && entry.spec.name == name)
    }

    /// The rules.
    #[must_use]
    pub const fn router(&self) -> &Router {
        &self.router
    }

    /// What the operator said of a trunk.
    #[must_use]
    pub fn spec(&self, trunk: usize) -> Option<&Arc<TrunkSpec>> {
        self.entries.get(trunk).map(|entry| &entry.spec)
    }

    /// The trunk of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        self.index_of(name)
    }

    /// Way of requests outside of dialogs to a provider (RFC 3608).
    #[must_use]
    pub fn service_route(&self, trunk: usize) -> &[String] {
        let registration = self.entries.get(trunk).and_then(|it| it.registration.as_ref());
        registration.map_or(&[], |it| it.service_route.as_slice())
    }

    /// Where a call goes.
    #[must_use]
    pub fn decide(
        &self,
        now: Instant,
        directory: &dyn Directory,
        dialled: &str,
        origin: Origin<'_>,
        random: u64,
    ) -> Decision {
        let standing = |trunk: usize, emergency: bool| match self.entries.get(trunk) {
            Some(entry) => entry.standing(now, emergency),
            None => Standing::Out("it is not configured any more".to_owned()),
        };
        self.router.decide(directory, dialled, origin, &standing, random)
    }

    /// The trunk that a request comes from: by the line that we registered, which nobody else knows,
    /// or by its address.
    #[must_use]
    pub fn identify(&self, flow: &Flow, request: &Message) -> Option<usize> {
        let known = || self.entries.iter().enumerate().filter(|(_, entry)| !entry.gone);
        let user = request.uri().ok().and_then(|uri| uri.user().map(str::to_owned));
        let of_line = |entry: &Entry| {
            entry.spec.register && user.as_deref() == Some(entry.spec.line.as_str())
        };
        let by_line = known().find(|(_, entry)| of_line(entry));
        by_line.or_else(|| known().find(|(_, entry)| entry.is_at(flow.remote.ip()))).map(|it| it.0)
    }

    /// Whether the user part of a request from a trunk is the line that we registered there, which
    /// tells nothing of who is called.
    #[must_use]
    pub fn is_line(&self, trunk: usize, user: &str) -> bool {
        self.entries.get(trunk).is_some_and(|entry| entry.spec.line == user)
    }

    /// A call goes over a trunk, or comes from it; false if that is one too many. An emergency call
    /// never is.
    pub(crate) fn enter(&mut self, trunk: usize, emergency: bool, incoming: bool) -> bool {
        let Some(entry) = self.entries.get_mut(trunk) else { return false };
        if !emergency && entry.is_full() {
            entry.counters.limited += 1;
            return false;
        }
        entry.calls += 1;
        let count = match incoming {
            true => &mut entry.counters.calls_in,
            false => &mut entry.counters.calls_out,
        };
        *count += 1;
        true
    }

    /// The call is over.
    pub(crate) fn leave(&mut self, trunk: usize) {
        if let Some(entry) = self.entries.get_mut(trunk) {
            entry.calls = entry.calls.saturating_sub(1);
        }
    }

    /// Counts an answered call.
    pub(crate) fn note_answer(&mut self, trunk: usize) {
        if let Some(entry) = self.entries.get_mut(trunk) {
            entry.counters.answered_out += 1;
            entry.health.answered();
        }
    }

    /// A call went on to the next trunk.
    pub(crate) fn note_failover(&mut self, trunk: usize) {
        if let Some(entry) = self.entries.get_mut(trunk) {
            entry.counters.failed_over += 1;
        }
    }

    /// A trunk gave no answer, or said that it cannot serve: it comes last for a while.
    pub(crate) fn note_failure(&mut self, now: Instant, trunk: usize, why: &str) {
        if let Some(entry) = self.entries.get_mut(trunk) {
            entry.health.failed(now, why);
        }
    }

    /// A trunk gave a sign of life.
    pub(crate) fn note_alive(&mut self, trunk: usize) {
        if let Some(entry) = self.entries.get_mut(trunk) {
            entry.health.answered();
        }
    }

    /// A 401 or 407 to a request that went to a trunk: whether to send it again.
    pub(crate) fn challenged(
        &mut self,
        trunk: usize,
        response: &Message,
        attempts: &mut Attempts,
    ) -> bool {
        let Some(entry) = self.entries.get_mut(trunk) else { return false };
        let again = entry.credentials.challenged(entry.spec.account(), response, attempts);
        if !again {
            entry.counters.credentials_refused += 1;
            let trunk = &entry.spec.name;
            tracing::warn!(
                trunk,
                status = response.status(),
                "a trunk refuses our credentials: see username, auth_username and password of its [[trunk]]"
            );
        }
        again
    }

    /// The rows that prove who we are at a trunk, as far as it has asked before.
    pub(crate) fn authorize(
        &mut self,
        trunk: usize,
        method: &str,
        uri: &str,
        cnonce: u64,
    ) -> Vec<(&'static str, String)> {
        let Some(entry) = self.entries.get_mut(trunk) else { return Vec::new() };
        entry.credentials.authorize(entry.spec.account(), method, uri, cnonce)
    }

    /// A dialog is one with a trunk; `rows` are the credentials of its INVITE.
    pub(crate) fn bind(&mut self, dialog: DialogId, trunk: usize, rows: &[(&'static str, String)]) {
        let has_account = self.spec(trunk).is_some_and(|spec| spec.has_account());
        if has_account && !self.dialogs.contains_key(&dialog) {
            self.dialogs.insert(dialog, Bound { trunk, rows: rows.to_vec() });
        }
    }

    /// A dialog is over.
    pub(crate) fn unbind(&mut self, dialog: DialogId) {
        self.dialogs.remove(&dialog);
    }

    /// The trunk of a dialog with somebody at `remote`: as it was bound, else by the address, as
    /// after a restart.
    fn trunk_of(&self, dialog: DialogId, remote: IpAddr) -> Option<usize> {
        if let Some(bound) = self.dialogs.get(&dialog) {
            return Some(bound.trunk);
        }
        self.entries.iter().position(|it| !it.gone && it.spec.has_account() && it.is_at(remote))
    }

    /// Calls over each trunk and how it stands.
    #[must_use]
    pub fn views(&self, now: Instant) -> Vec<TrunkView> {
        self.entries.iter().filter(|entry| !entry.gone).map(|entry| entry.view(now)).collect()
    }

    /// When something is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let known = self.entries.iter().filter(|entry| !entry.gone);
        known.filter_map(Entry::next_timeout).min()
    }

    /// Whether a trunk waits for this look-up.
    #[must_use]
    pub fn waits_for(&self, ticket: Ticket) -> bool {
        self.tickets.contains_key(&ticket)
    }

    /// Whether a trunk has yet to answer that it knows us no more.
    #[must_use]
    pub fn is_unregistering(&self) -> bool {
        self.asks.values().any(|ask| ask.purpose == Purpose::Unregister)
    }

    /// Whether nothing is left of any request or dialog.
    #[cfg(test)]
    pub(crate) fn is_clean(&self) -> bool {
        self.in_dialog.is_empty()
            && self.dialogs.is_empty()
            && self.entries.iter().all(|entry| entry.calls == 0)
    }
}

impl Entry {
    /// Whether requests from an address are of this trunk.
    fn is_at(&self, address: IpAddr) -> bool {
        if !self.spec.sources.is_empty() {
            return self.spec.sources.iter().any(|network| network.contains(address));
        }
        let address = address.to_canonical();
        self.spec.peer_ip == Some(address) || self.learned.contains(&address)
    }

    fn learn(&mut self, address: IpAddr) {
        let address = address.to_canonical();
        if !self.learned.contains(&address) {
            if self.learned.len() >= MAX_LEARNED {
                self.learned.remove(0);
            }
            self.learned.push(address);
        }
    }
}
