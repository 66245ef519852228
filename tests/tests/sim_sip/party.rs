//! A user agent of the simulation: what it does is planned by the scenario, how it answers is
//! fixed.

use crate::world::{Flows, Rng};
use std::net::SocketAddr;
use tandem_signalling::message::Message;
use tandem_signalling::method::Method;
use tandem_signalling::stack::{
    ClientTx, DialogEnd, DialogId, Event, Fields, NewRequest, Reply, ServerTx, Stack, StackConfig,
    StackError,
};
use tandem_wire::time::Instant;

const SDP: &str = "application/sdp";

/// Something that a party does.
#[derive(Clone, Debug)]
pub(crate) enum Do {
    Call(SocketAddr),
    /// Answers the INVITE that came in.
    Respond(u16),
    Cancel,
    HangUp,
    /// Offers a session of this name in the dialog.
    Reinvite(String),
    Info,
}

/// How a party treats calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Habits {
    /// Responses to an INVITE, each with a delay in ms.
    pub(crate) responses: Vec<(u64, u16)>,
    /// Hangs up so many ms after the call is up.
    pub(crate) hang_up_after_ms: Option<u64>,
    /// Offers a new session so many ms after the call is up.
    pub(crate) reinvite_after_ms: Option<u64>,
    /// Sends its provisional responses reliably (RFC 3262).
    pub(crate) reliable: bool,
    /// Does not want the call any more: hangs up as soon as it is answered.
    pub(crate) regrets: bool,
}

/// What a party lived through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) invites: u32,
    /// Final response to our INVITE.
    pub(crate) status: Option<u16>,
    pub(crate) answered: u32,
    pub(crate) acknowledged: u32,
    pub(crate) cancelled: u32,
    pub(crate) timed_out: u32,
    pub(crate) ack_timeouts: u32,
    pub(crate) prack_timeouts: u32,
    pub(crate) pracks_in: u32,
    /// Provisional responses to our INVITE, in order.
    pub(crate) provisional: Vec<u16>,
    pub(crate) response_failures: u32,
    pub(crate) byes_in: u32,
    pub(crate) reinvites_in: u32,
    pub(crate) reinvites_done: u32,
    pub(crate) glares: u32,
    pub(crate) infos_in: u32,
    pub(crate) info_status: Option<u16>,
    pub(crate) ends: Vec<DialogEnd>,
}

/// A user agent.
pub(crate) struct Party {
    pub(crate) address: SocketAddr,
    pub(crate) stack: Stack,
    pub(crate) habits: Habits,
    pub(crate) seen: Seen,
    /// The session that both ends agreed on last, by the name in its offer.
    pub(crate) session: Option<String>,
    /// Dialogs that are not over, in the order in which they came up.
    pub(crate) dialogs: Vec<DialogId>,
    /// What it plans to do, with a delay in ms.
    pub(crate) wishes: Vec<(u64, Do)>,
    invite: Option<ClientTx>,
    incoming: Option<ServerTx>,
    reinvite: Option<(ClientTx, String)>,
    info: Option<ClientTx>,
}

impl Party {
    pub(crate) fn new(address: SocketAddr, seed: u64) -> Self {
        Self {
            address,
            stack: Stack::new(StackConfig::default(), seed),
            habits: Habits::default(),
            seen: Seen::default(),
            session: None,
            dialogs: Vec::new(),
            wishes: Vec::new(),
            invite: None,
            incoming: None,
            reinvite: None,
            info: None,
        }
    }

    pub(crate) fn act(&mut self, now: Instant, flows: &Flows, what: Do) {
        match what {
            Do::Call(to) => {
                let request = NewRequest::new(Method::Invite, format!("sip:callee@{to}"))
                    .from(format!("<sip:caller@{}>", self.address))
                    .body(SDP, "first");
                let flow = flows.to(self.address, to);
                self.invite = Some(self.stack.request(now, flow, request).unwrap());
            }
            Do::Respond(status) => self.respond(now, status),
            Do::Cancel => {
                let Some(tx) = self.invite else { return };
                self.habits.regrets = true;
                // Too late: the call is up already.
                if self.stack.cancel(now, tx, Fields::new()).is_err() {
                    self.hang_up(now);
                }
            }
            Do::HangUp => self.hang_up(now),
            Do::Reinvite(session) => self.offer(now, session),
            Do::Info => {
                let Some(dialog) = self.dialogs.first() else { return };
                let sent = self.stack.request_in_dialog(now, *dialog, Method::Info, Fields::new());
                self.info = sent.ok();
            }
        }
    }

    fn respond(&mut self, now: Instant, status: u16) {
        let Some(tx) = self.incoming else { return };
        let mut reply = Reply::new(status).reliable(self.habits.reliable && status < 200);
        if (180..300).contains(&status) {
            reply = reply.body(SDP, "first");
        }
        match self.stack.respond(now, tx, reply) {
            Ok(Some(dialog)) if !self.dialogs.contains(&dialog) => self.dialogs.push(dialog),
            Ok(_) => {}
            // Cancelled or hung up meanwhile.
            Err(StackError::AlreadyFinal | StackError::NoTransaction) => return,
            Err(error) => panic!("respond {status}: {error}"),
        }
        if (200..300).contains(&status) {
            self.session = Some("first".to_owned());
        }
    }

    fn hang_up(&mut self, now: Instant) {
        for dialog in self.dialogs.clone() {
            match self.stack.request_in_dialog(now, dialog, Method::Bye, Fields::new()) {
                // The state is wrong when the other BYE was faster.
                Ok(_) | Err(StackError::WrongDialogState | StackError::NoDialog) => {}
                Err(error) => panic!("BYE: {error}"),
            }
        }
    }

    fn offer(&mut self, now: Instant, session: String) {
        let Some(dialog) = self.dialogs.first().copied() else { return };
        let fields = Fields::new().body(SDP, session.as_bytes());
        match self.stack.request_in_dialog(now, dialog, Method::Invite, fields) {
            Ok(tx) => self.reinvite = Some((tx, session)),
            Err(StackError::InviteInProgress) => self.wishes.push((500, Do::Reinvite(session))),
            Err(StackError::WrongDialogState | StackError::NoDialog) => {}
            Err(error) => panic!("re-INVITE: {error}"),
        }
    }

    /// An event of the stack.
    pub(crate) fn hear(&mut self, now: Instant, rng: &mut Rng, event: Event) {
        match event {
            Event::Request { tx, dialog, request, .. } => {
                self.hear_request(now, tx, dialog, &request)
            }
            Event::Ack { dialog, .. } => {
                assert!(self.dialogs.contains(&dialog), "ACK of an unknown dialog");
                self.seen.acknowledged += 1;
                if self.seen.acknowledged == 1 {
                    self.call_is_up();
                }
            }
            Event::Cancelled { tx, .. } => {
                self.seen.cancelled += 1;
                assert!(self.seen.cancelled == 1, "one CANCEL is reported once");
                let _ = self.stack.respond(now, tx, Reply::new(487));
            }
            Event::Response { tx, dialog, response, .. } => {
                self.hear_response(now, rng, tx, dialog, &response);
            }
            Event::TimedOut { tx } | Event::TransportFailed { tx } => {
                self.seen.timed_out += 1;
                if self.invite == Some(tx) {
                    self.invite = None;
                }
            }
            Event::RingingTooLong { tx } => {
                self.stack.cancel(now, tx, Fields::new()).unwrap();
            }
            Event::ResponseFailed { .. } => self.seen.response_failures += 1,
            Event::AckTimeout { dialog } => {
                self.seen.ack_timeouts += 1;
                self.stack.request_in_dialog(now, dialog, Method::Bye, Fields::new()).unwrap();
            }
            Event::PrackTimeout { tx } => {
                self.seen.prack_timeouts += 1;
                self.stack.respond(now, tx, Reply::new(504)).unwrap();
            }
            Event::DialogEnded { dialog, cause } => {
                let place = self.dialogs.iter().position(|it| *it == dialog);
                // A dialog of which no event was seen yet cannot end.
                self.dialogs.remove(place.expect("an ending dialog is known, and ends once"));
                self.seen.ends.push(cause);
            }
        }
    }

    fn hear_request(
        &mut self,
        now: Instant,
        tx: ServerTx,
        dialog: Option<DialogId>,
        request: &Message,
    ) {
        match (request.method(), dialog) {
            (Method::Invite, None) => {
                self.seen.invites += 1;
                self.incoming = Some(tx);
                for (delay, status) in self.habits.responses.clone() {
                    self.wishes.push((delay, Do::Respond(status)));
                }
            }
            (Method::Invite, Some(_)) => {
                self.seen.reinvites_in += 1;
                let offer = String::from_utf8(request.body().to_vec()).unwrap();
                self.stack.respond(now, tx, Reply::new(200).body(SDP, offer.as_bytes())).unwrap();
                self.session = Some(offer);
            }
            (method, _) => {
                self.seen.byes_in += u32::from(method == Method::Bye);
                self.seen.infos_in += u32::from(method == Method::Info);
                self.seen.pracks_in += u32::from(method == Method::Prack);
                self.stack.respond(now, tx, Reply::new(200)).unwrap();
            }
        }
    }

    fn hear_response(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        tx: ClientTx,
        dialog: Option<DialogId>,
        response: &Message,
    ) {
        let status = response.status().unwrap();
        if let Some(dialog) = dialog.filter(|dialog| !self.dialogs.contains(dialog)) {
            assert!(self.stack.dialog(dialog).is_some());
            self.dialogs.push(dialog);
        }
        if self.invite == Some(tx) && status < 200 {
            self.provisional(now, dialog, status);
        }
        if self.info == Some(tx) && status >= 200 {
            self.info = None;
            self.seen.info_status = Some(status);
        }
        if let Some((_, session)) = self.reinvite.take_if(|(it, _)| *it == tx && status >= 200) {
            self.reinvite_answered(now, rng, dialog, session, status, response);
        } else if self.invite == Some(tx) && status >= 200 {
            self.invite_answered(now, dialog, status);
        }
    }

    fn provisional(&mut self, now: Instant, dialog: Option<DialogId>, status: u16) {
        self.seen.provisional.push(status);
        let due =
            |dialog: &DialogId| self.stack.dialog(*dialog).is_some_and(|it| it.is_prack_due());
        if let Some(dialog) = dialog.filter(due) {
            self.stack.request_in_dialog(now, dialog, Method::Prack, Fields::new()).unwrap();
        }
    }

    fn invite_answered(&mut self, now: Instant, dialog: Option<DialogId>, status: u16) {
        self.seen.status.get_or_insert(status);
        let Some(dialog) = dialog.filter(|_| status < 300) else { return };
        self.stack.ack(now, dialog, Fields::new()).unwrap();
        self.seen.answered += 1;
        // The second fork is one too many.
        if self.habits.regrets || self.seen.answered > 1 {
            self.stack.request_in_dialog(now, dialog, Method::Bye, Fields::new()).unwrap();
        } else {
            self.session = Some("first".to_owned());
            self.call_is_up();
        }
    }

    fn reinvite_answered(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        dialog: Option<DialogId>,
        session: String,
        status: u16,
        response: &Message,
    ) {
        match (status, dialog) {
            (200..300, Some(dialog)) => {
                assert_eq!(response.body(), session.as_bytes());
                self.stack.ack(now, dialog, Fields::new()).unwrap();
                self.session = Some(session);
                self.seen.reinvites_done += 1;
            }
            (491, Some(dialog)) => {
                self.seen.glares += 1;
                let delay = self.stack.glare_delay(dialog);
                self.wishes.push((delay.as_millis().try_into().unwrap(), Do::Reinvite(session)));
            }
            (500, Some(_)) => self.wishes.push((rng.between(0, 10_000), Do::Reinvite(session))),
            // The dialog is gone or going.
            _ => {}
        }
    }

    fn call_is_up(&mut self) {
        if let Some(delay) = self.habits.hang_up_after_ms {
            self.wishes.push((delay, Do::HangUp));
        }
        if let Some(delay) = self.habits.reinvite_after_ms {
            self.wishes.push((delay, Do::Reinvite(format!("by {}", self.address))));
        }
    }
}
