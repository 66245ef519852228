//! Requests outside of calls: MESSAGE, OPTIONS, INFO and PUBLISH to a user go to its contacts.
//!
//! A message is for a person, so it goes to all contacts at once and the first 2xx counts; anything
//! else is for one phone: the contacts have it in the order of their q until one takes it. Who sends
//! proves who it is, as for a call, and the same loops are seen. Of one side's addresses, tags and
//! routes nothing is seen on the other.

mod job;

use crate::call::{self, Admission};
use crate::core::World;
use job::{Job, Outcome};
use std::collections::HashMap;
use tandem_signalling::message::Message;
use tandem_signalling::method::Method;
use tandem_signalling::stack::{ClientTx, Flow, Reply, ServerTx};

/// The requests that are on their way.
#[derive(Debug, Default)]
pub struct Relays {
    jobs: HashMap<ServerTx, Job>,
    /// Whose a request is that went out.
    clients: HashMap<ClientTx, ServerTx>,
    /// Requests that were taken on since the start.
    taken: u64,
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
    pub fn handle_response(&mut self, world: &mut World, tx: ClientTx, response: &Message) -> bool {
        let status = response.status().unwrap_or(500);
        if status < 200 {
            // RFC 4320 §4.1: a provisional response to these tells nobody anything.
            return self.clients.contains_key(&tx);
        }
        self.with(world, tx, |job, world| job.handle_response(world, tx, response))
    }

    /// A request was never answered, or could not be sent: as if `status` came. False if it was
    /// none of these.
    pub fn handle_no_response(&mut self, world: &mut World, tx: ClientTx, status: u16) -> bool {
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
                world.respond(server, reply);
            }
        }
    }
}

/// Whether the Request-URI means somebody, not this Tandem.
fn names_user(request: &Message) -> bool {
    request.uri().is_ok_and(|uri| uri.user().is_some())
}
