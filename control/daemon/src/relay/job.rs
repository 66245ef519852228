//! One request on its way to the contacts of its callee.

use crate::call::headers;
use crate::call::identity::Sender;
use crate::call::{Admission, history, rank, relayed_failure};
use crate::core::World;
use crate::registrar::bindings::Binding;
use tandem_signalling::header::Header;
use tandem_signalling::message::Message;
use tandem_signalling::method::Method;
use tandem_signalling::stack::{ClientTx, Fields, Flow, NewRequest, Reply};
use tandem_signalling::uri::Uri;

/// A contact that the request goes to.
#[derive(Debug)]
struct Target {
    uri: String,
    flow: Flow,
    route: Vec<String>,
}

/// What follows from an event.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A contact has yet to answer.
    Waits,
    /// This is the answer.
    Answer(Reply),
}

/// One request.
#[derive(Debug)]
pub(super) struct Job {
    request: Message,
    admission: Admission,
    /// Contacts that have not had it, the next one last.
    waiting: Vec<Target>,
    /// Requests without an answer.
    open: Vec<ClientTx>,
    /// The best failure so far.
    best: Option<Reply>,
}

impl Job {
    pub(super) fn new(world: &World, request: Message, admission: &Admission) -> Self {
        let contacts = world.registrar.contacts(&admission.to);
        let mut waiting: Vec<_> =
            contacts.iter().take(world.settings.max_branches).map(target).collect();
        waiting.reverse();
        Self { request, admission: admission.clone(), waiting, open: Vec::new(), best: None }
    }

    /// The requests without an answer.
    pub(super) fn open(&self) -> impl Iterator<Item = ClientTx> {
        self.open.iter().copied()
    }

    /// Sends it to the first contact, or to all.
    pub(super) fn start(&mut self, world: &mut World) -> Outcome {
        if self.waiting.is_empty() {
            return Outcome::Answer(Reply::new(480));
        }
        self.go_on(world)
    }

    /// Sends it to who is next, if nobody has yet to answer.
    fn go_on(&mut self, world: &mut World) -> Outcome {
        let to_all = self.request.method() == Method::Message;
        while self.open.is_empty() || to_all {
            let Some(target) = self.waiting.pop() else { break };
            match self.send(world, &target) {
                Ok(tx) => self.open.push(tx),
                Err(reply) => self.note(reply),
            }
        }
        if self.open.is_empty() {
            Outcome::Answer(self.best.take().unwrap_or_else(|| Reply::new(480)))
        } else {
            Outcome::Waits
        }
    }

    fn send(&self, world: &mut World, target: &Target) -> Result<ClientTx, Reply> {
        let request = &self.request;
        let sender = Sender::new(request, &self.admission.from, self.admission.vouched);
        let trusted = world.settings.trusts(&target.flow);
        let mut fields = sender.fields(trusted, world.settings.show_identity);
        let private = sender.privacy().hides_history() && !trusted;
        history::push(&mut fields, request, &self.admission.to, &[], private);
        headers::push_hops(&mut fields, request, &self.admission.hop);
        // Of the message itself, not of a dialog (RFC 3428 §8, RFC 3903 §4, RFC 6665 §4.1.2).
        for header in [Header::Expires, Header::AllowEvents] {
            if let Some(value) = request.value(header) {
                fields.push(header.name(), value);
            }
        }
        let fields = headers::with_body_of(fields, request);
        let uri = Uri::parse(&target.uri)
            .map_or_else(|_| target.uri.clone(), |uri| uri.as_request_uri().into_owned());
        let mut copy = NewRequest::new(request.method(), uri)
            .from(sender.from(trusted))
            .to(format!("<{}>", self.admission.to))
            .max_forwards(self.admission.max_forwards)
            .fields(fields);
        for route in &target.route {
            copy = copy.route(route.as_str());
        }
        world.stack.request(world.now, target.flow, copy).map_err(|error| {
            tracing::debug!(%error, "a request was not passed on");
            Reply::new(error.status())
        })
    }

    /// A final response.
    pub(super) fn handle_response(
        &mut self,
        world: &mut World,
        tx: ClientTx,
        response: &Message,
    ) -> Outcome {
        self.open.retain(|open| *open != tx);
        match response.status().unwrap_or(500) {
            status @ 200..300 => Outcome::Answer(answer(status, response)),
            status => {
                self.note(relayed_failure(response, |_| false));
                if status >= 600 {
                    // RFC 3261 §16.7 step 5: nobody else is asked.
                    self.waiting.clear();
                }
                self.go_on(world)
            }
        }
    }

    /// No response.
    pub(super) fn handle_failure(
        &mut self,
        world: &mut World,
        tx: ClientTx,
        status: u16,
    ) -> Outcome {
        self.open.retain(|open| *open != tx);
        // RFC 4320 §4.2: a 408 would come too late for whoever asked; nobody is there, that is all.
        self.note(Reply::new(if matches!(status, 408 | 503) { 480 } else { status }));
        self.go_on(world)
    }

    fn note(&mut self, reply: Reply) {
        if self.best.as_ref().is_none_or(|best| rank(reply.status()) < rank(best.status())) {
            self.best = Some(reply);
        }
    }
}

fn target(binding: &Binding) -> Target {
    Target {
        uri: binding.registration.contact.clone(),
        flow: binding.flow,
        route: binding.registration.path.clone(),
    }
}

/// A 2xx for who asked. A session description in the answer to OPTIONS tells what the phone could
/// do with media at its own address, where nobody is to send any.
fn answer(status: u16, response: &Message) -> Reply {
    let fields = if response.method() == Method::Options {
        headers::without_sdp(response)
    } else {
        headers::with_same_body(response)
    };
    let fields = [Header::Expires, Header::AllowEvents].iter().fold(fields, with_row(response));
    Reply::new(status).reason(response.reason().unwrap_or_default()).fields(fields)
}

/// Adds a row of `response` as it is.
fn with_row(response: &Message) -> impl Fn(Fields, &Header) -> Fields {
    |fields, header| match response.value(*header) {
        Some(value) => fields.header(header.name(), value),
        None => fields,
    }
}
