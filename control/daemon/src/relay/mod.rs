//! Requests outside of calls: MESSAGE, OPTIONS, INFO, PUBLISH and SUBSCRIBE to a user go to its
//! contacts.
//!
//! A message is for a person, so it goes to all contacts at once and the first 2xx counts; anything
//! else is for one phone: the contacts have it in the order of their q until one takes it. Who sends
//! proves who it is, as for a call, and the same loops are seen. Of one side's addresses, tags and
//! routes nothing is seen on the other.
//!
//! A SUBSCRIBE that is accepted opens a dialog on each side; what goes on in one is carried to the
//! other until it is over (`subscription`).

mod job;
mod subscription;

use crate::call::{self, Admission};
use crate::core::World;
use job::{Job, Outcome};
use std::collections::HashMap;
use subscription::Subscriptions;
use tandem_signalling::message::Message;
use tandem_signalling::method::Method;
use tandem_signalling::stack::{ClientTx, DialogId, Flow, Reply, ServerTx};
use tandem_wire::time::Instant;

/// The requests that are on their way.
#[derive(Debug, Default)]
pub struct Relays {
    jobs: HashMap<ServerTx, Job>,
    /// Whose a request is that went out.
    clients: HashMap<ClientTx, ServerTx>,
    /// Requests that were taken on since the start.
    taken: u64,
    subscriptions: Subscriptions,
    /// The dialog that the last answer opened.
    opened: Option<(ServerTx, DialogId)>,
}

impl Relays {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many are on their way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.clients.is_empty()
    }

    /// How many subscriptions are carried.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    /// A request inside a dialog; false if it is none of a subscription.
    pub fn handle_in_dialog(
        &mut self,
        world: &mut World,
        tx: ServerTx,
        dialog: DialogId,
        request: &Message,
    ) -> bool {
        if self.subscriptions.handle_request(world, tx, dialog, request) {
            return true;
        }
        // A NOTIFY may overtake the 2xx to its SUBSCRIBE (RFC 6665 §4.1.2.4).
        let subscribe = world.stack.subscribe_of(dialog);
        match subscribe.filter(|client| self.clients.contains_key(client)) {
            Some(client) => {
                self.subscriptions.keep_early(world, client, (tx, dialog, request.clone()));
                true
            }
            None => false,
        }
    }

    /// When [`Relays::handle_timeout`] is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.subscriptions.next_timeout()
    }

    /// Ends subscriptions that nobody has refreshed.
    pub fn handle_timeout(&mut self, world: &mut World) {
        self.subscriptions.handle_timeout(world);
    }

    /// Ends all subscriptions: the daemon stops.
    pub fn release_all(&mut self, world: &mut World) {
        self.subscriptions.release_all(world);
    }

    /// Requests that were taken on since the start.
    #[must_use]
    pub const fn taken(&self) -> u64 {
        self.taken
    }

    /// A request outside of any dialog.
    pub fn handle_request(
        &mut self,
        world: &mut World,
        tx: ServerTx,
        request: Message,
        flow: Flow,
    ) {
        if request.method() == Method::Options && !names_user(&request) {
            world.answer_once(tx, &call::capabilities());
            return;
        }
        match self.admit(world, &request, &flow) {
            Ok(admission) => self.begin(world, tx, request, &admission),
            Err(refusal) => world.refuse(tx, refusal),
        }
    }

    fn admit(&self, world: &mut World, request: &Message, flow: &Flow) -> Result<Admission, Reply> {
        if world.stopping {
            return Err(Reply::new(503).header("Retry-After", "10"));
        }
        if self.jobs.len() >= world.settings.max_relayed {
            let warning = "399 tandem \"As many requests as sip.max_relayed allows\"";
            return Err(Reply::new(503).header("Retry-After", "5").header("Warning", warning));
        }
        if request.method() == Method::Subscribe
            && self.subscriptions.len() >= world.settings.max_subscriptions
        {
            let warning = "399 tandem \"As many subscriptions as sip.max_subscriptions allows\"";
            return Err(Reply::new(503).header("Retry-After", "60").header("Warning", warning));
        }
        let admission = call::admit_request(world, request, flow)?;
        if admission.foreign.is_some() {
            return Err(Reply::new(404).reason("Only calls go to other domains"));
        }
        if !admission.known {
            return Err(Reply::new(if world.tells_who_exists(flow) { 404 } else { 480 }));
        }
        Ok(admission)
    }

    fn begin(&mut self, world: &mut World, tx: ServerTx, request: Message, admission: &Admission) {
        self.taken += 1;
        let mut job = Job::new(world, request, admission);
        let outcome = job.start(world);
        self.note(world, tx, job, outcome);
    }

    /// A response; false if none of these waits for it.
    pub fn handle_response(
        &mut self,
        world: &mut World,
        tx: ClientTx,
        dialog: Option<DialogId>,
        response: &Message,
    ) -> bool {
        let status = response.status().unwrap_or(500);
        if self.subscriptions.handle_response(world, tx, response) {
            return true;
        }
        if status < 200 {
            // RFC 4320 §4.1: a provisional response to these tells nobody anything.
            return self.clients.contains_key(&tx);
        }
        let server = self.clients.get(&tx).copied();
        let known = self.with(world, tx, |job, world| job.handle_response(world, tx, response));
        if known && response.method() == Method::Subscribe {
            self.subscribed(world, tx, server, dialog.filter(|_| status < 300), response);
        }
        known
    }

    /// A SUBSCRIBE has its final response: the dialogs of both sides belong together.
    fn subscribed(
        &mut self,
        world: &mut World,
        tx: ClientTx,
        server: Option<ServerTx>,
        notifier: Option<DialogId>,
        response: &Message,
    ) {
        let opened = self.opened.take().filter(|(of, _)| Some(*of) == server);
        match (opened, notifier) {
            (Some((_, subscriber)), Some(notifier)) => {
                let expires = response.expires();
                self.subscriptions.add(world, tx, (subscriber, notifier), expires);
            }
            (_, notifier) => {
                if let Some(notifier) = notifier {
                    world.stack.drop_dialog(world.now, notifier);
                }
                self.subscriptions.drop_early(world, tx);
            }
        }
    }

    /// A request was never answered, or could not be sent: as if `status` came. False if it was
    /// none of these.
    pub fn handle_no_response(&mut self, world: &mut World, tx: ClientTx, status: u16) -> bool {
        if self.subscriptions.handle_no_response(world, tx, status) {
            return true;
        }
        self.subscriptions.drop_early(world, tx);
        self.with(world, tx, |job, world| job.handle_failure(world, tx, status))
    }

    fn with(
        &mut self,
        world: &mut World,
        tx: ClientTx,
        work: impl FnOnce(&mut Job, &mut World) -> Outcome,
    ) -> bool {
        let Some(server) = self.clients.remove(&tx) else { return false };
        // Others may have been faster: then nobody waits for this one.
        if let Some(mut job) = self.jobs.remove(&server) {
            let outcome = work(&mut job, world);
            self.note(world, server, job, outcome);
        }
        true
    }

    fn note(&mut self, world: &mut World, server: ServerTx, job: Job, outcome: Outcome) {
        match outcome {
            Outcome::Waits => {
                self.clients.extend(job.open().map(|tx| (tx, server)));
                self.jobs.insert(server, job);
            }
            Outcome::Answer(reply) => {
                self.clients.extend(job.open().map(|tx| (tx, server)));
                self.opened = world.respond(server, reply).map(|dialog| (server, dialog));
            }
        }
    }
}

/// Whether the Request-URI means somebody, not this Tandem.
fn names_user(request: &Message) -> bool {
    request.uri().is_ok_and(|uri| uri.user().is_some())
}
