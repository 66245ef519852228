//! The stack on its sockets, and the way of each event to the call it belongs to.

use crate::clock::Clock;
use crate::net::{Input, Net};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tandem_signalling::method::Method;
use tandem_signalling::stack::{
    ClientTx, DialogId, Event, Fields, Flow, Output, Reply, ServerTx, Stack,
};
use tandem_wire::time::Instant;
use tokio::sync::{Notify, mpsc};

/// Methods that the softphone answers.
pub(crate) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE";

/// Where the events of a call or transaction go.
pub(crate) type Events = mpsc::UnboundedSender<Event>;

/// A message to be sent, and where to.
type Transmit = (Flow, Arc<[u8]>);

/// The stack and who waits for what.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) stack: Stack,
    pub(crate) clients: HashMap<ClientTx, Events>,
    pub(crate) servers: HashMap<ServerTx, Events>,
    pub(crate) dialogs: HashMap<DialogId, Events>,
    incoming: Events,
    pub(crate) accepting: bool,
}

/// Moves bytes and time between sockets and stack.
#[derive(Debug)]
pub(crate) struct Pump {
    pub(crate) core: Arc<Mutex<Core>>,
    pub(crate) net: Net,
    pub(crate) clock: Clock,
    pub(crate) wake: Arc<Notify>,
}

impl Pump {
    /// Runs until the sockets are gone.
    pub(crate) async fn run(mut self, mut received: mpsc::UnboundedReceiver<Input>) {
        loop {
            let (transmits, deadline) = self.drain();
            for (flow, bytes) in transmits {
                trace("sent to", &flow, &bytes);
                self.net.send(flow, bytes).await;
            }
            let far = self.clock.now() + std::time::Duration::from_secs(3600);
            let wait = tokio::time::sleep_until(self.clock.to_tokio(deadline.unwrap_or(far)));
            tokio::select! {
                input = received.recv() => match input {
                    Some(input) => self.take(input),
                    None => return,
                },
                () = self.wake.notified() => {}
                () = wait => {
                    let now = self.clock.now();
                    self.lock().stack.handle_timeout(now);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, input: Input) {
        let now = self.clock.now();
        match input {
            Input::Message(flow, bytes) => {
                trace("received from", &flow, &bytes);
                self.lock().stack.handle_input(now, flow, &bytes);
            }
            Input::Failed(flow) => self.lock().stack.handle_transport_error(now, flow),
        }
    }

    /// Gives events to those who wait, and returns what is to be sent and the next deadline.
    fn drain(&self) -> (Vec<Transmit>, Option<Instant>) {
        let mut transmits = Vec::new();
        let mut core = self.lock();
        while let Some(output) = core.stack.poll_output() {
            match output {
                Output::Transmit { flow, bytes } => transmits.push((flow, bytes)),
                Output::Event(event) => {
                    let now = self.clock.now();
                    if let Err(event) = core.route(event) {
                        core.answer_unclaimed(now, *event);
                    }
                }
            }
        }
        (transmits, core.stack.next_timeout())
    }
}

/// Shows a message to whoever asked for it.
fn trace(direction: &str, flow: &Flow, bytes: &[u8]) {
    let Flow { transport, remote, .. } = flow;
    let text = String::from_utf8_lossy(bytes);
    tracing::debug!("{direction} {} {remote}\n{text}", transport.via_name());
}

impl Core {
    /// A stack that nobody uses yet; INVITEs that are taken go to `incoming`.
    pub(crate) fn new(stack: Stack, incoming: Events) -> Self {
        Self {
            stack,
            clients: HashMap::new(),
            servers: HashMap::new(),
            dialogs: HashMap::new(),
            incoming,
            accepting: false,
        }
    }

    /// Gives an event to who waits for it; gives it back if nobody does.
    fn route(&mut self, event: Event) -> Result<(), Box<Event>> {
        let events = match &event {
            Event::Request { dialog: Some(dialog), .. }
            | Event::Ack { dialog, .. }
            | Event::AckTimeout { dialog } => self.dialogs.get(dialog).cloned(),
            Event::DialogEnded { dialog, .. } => self.dialogs.remove(dialog),
            Event::Request { dialog: None, request, .. } => {
                let takes = self.accepting && request.method() == Method::Invite;
                takes.then(|| self.incoming.clone())
            }
            Event::Cancelled { tx, .. }
            | Event::ResponseFailed { tx, .. }
            | Event::PrackTimeout { tx } => self.servers.get(tx).cloned(),
            Event::Response { tx, dialog, response, .. } => {
                let over = response.status() >= Some(200) && response.method() != Method::Invite;
                let events =
                    if over { self.clients.remove(tx) } else { self.clients.get(tx).cloned() };
                if let (Some(dialog), Some(events)) = (dialog, &events) {
                    self.dialogs.entry(*dialog).or_insert_with(|| events.clone());
                }
                events
            }
            Event::TimedOut { tx } | Event::TransportFailed { tx } => self.clients.remove(tx),
            Event::RingingTooLong { tx } => self.clients.get(tx).cloned(),
        };
        match events {
            Some(events) => events.send(event).map_err(|unsent| Box::new(unsent.0)),
            None => Err(Box::new(event)),
        }
    }

    /// What the phone does by itself: it answers OPTIONS, refuses what it does not do, and ends
    /// calls that nobody has any more. Errors mean that the transaction is already over.
    fn answer_unclaimed(&mut self, now: Instant, event: Event) {
        match event {
            Event::Request { tx, dialog, request, .. } => {
                let reply = match request.method() {
                    Method::Options => {
                        Reply::new(200).header("Allow", ALLOW).header("Accept", "application/sdp")
                    }
                    Method::Invite if dialog.is_none() => Reply::new(480),
                    Method::Bye => Reply::new(200),
                    _ if dialog.is_some() => Reply::new(481),
                    _ => Reply::new(405).header("Allow", ALLOW),
                };
                let _ = self.stack.respond(now, tx, reply);
            }
            Event::Cancelled { tx, .. } => {
                let _ = self.stack.respond(now, tx, Reply::new(487));
            }
            Event::Response { dialog: Some(dialog), response, .. }
                if response.method() == Method::Invite
                    && matches!(response.status(), Some(200..=299)) =>
            {
                let _ = self.stack.ack(now, dialog, Fields::new());
                let _ = self.stack.request_in_dialog(now, dialog, Method::Bye, Fields::new());
            }
            Event::AckTimeout { dialog } => {
                let _ = self.stack.request_in_dialog(now, dialog, Method::Bye, Fields::new());
            }
            _ => {}
        }
    }
}
