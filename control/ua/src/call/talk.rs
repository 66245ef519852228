//! What happens in an answered call: digits, hold and resume, requests of the other side, the end.

use super::{Call, SDP, description};
use crate::auth::Answer;
use crate::error::UaError;
use crate::pump::ALLOW;
use crate::report::EndedBy;
use crate::sdp::{Direction, Remote};
use std::time::Duration;
use tandem_signalling::message::Message;
use tandem_signalling::method::Method;
use tandem_signalling::stack::{ClientTx, DialogId, Event, Fields, Reply, ServerTx};
use tandem_wire::time::Instant;

/// How long the answer to a BYE is awaited.
const BYE_WAIT: Duration = Duration::from_secs(5);

/// Something that the plan of a call has in store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Digits,
    Hold,
    Resume,
    HangUp,
}

/// A re-INVITE on its way.
#[derive(Debug)]
struct Offer {
    tx: ClientTx,
    step: Step,
    /// Times that it was repeated with credentials.
    attempt: u32,
}

/// State of a conversation.
#[derive(Debug)]
struct Talk {
    /// What is still to come, the soonest last.
    steps: Vec<(Instant, Step)>,
    offer: Option<Offer>,
    /// The 200 to an INVITE without offer held ours; the ACK brings the answer.
    answer_in_ack: bool,
    over: bool,
}

impl Talk {
    fn add(&mut self, at: Instant, step: Step) {
        self.steps.push((at, step));
        self.steps.sort_by_key(|step| std::cmp::Reverse(step.0));
    }
}

impl Call {
    /// Follows the plan until either side ends the call.
    pub(super) async fn talk(&mut self) -> Result<(), UaError> {
        self.talk_with(false).await
    }

    /// As [`Self::talk`]; `answer_in_ack` says that the answer to our offer is still to come.
    pub(super) async fn talk_with(&mut self, answer_in_ack: bool) -> Result<(), UaError> {
        let Some(dialog) = self.dialog else { return Ok(()) };
        let mut talk = Talk { steps: Vec::new(), offer: None, answer_in_ack, over: false };
        self.plan_steps(&mut talk);
        while !talk.over {
            let due = talk.steps.last().copied();
            let deadline = due.map_or_else(|| self.now() + Duration::from_secs(3600), |due| due.0);
            tokio::select! {
                event = self.received.recv() => {
                    self.handle_event(&mut talk, dialog, event.ok_or(UaError::Stopped)?);
                }
                () = tokio::time::sleep_until(self.phone.clock().to_tokio(deadline)) => {
                    if due.is_some() {
                        talk.steps.pop();
                    }
                    if let Some((_, step)) = due {
                        self.take_step(&mut talk, dialog, step).await;
                    }
                }
                () = self.phone.stopped() => {
                    self.hang_up(dialog).await;
                    return Err(UaError::Stopped);
                }
            }
        }
        Ok(())
    }

    fn plan_steps(&self, talk: &mut Talk) {
        let from = self.answered.unwrap_or_else(|| self.now());
        let plan = &self.plan;
        if plan.dtmf.is_some() {
            talk.add(from + plan.dtmf_after, Step::Digits);
        }
        let timed = [
            (plan.hold_after, Step::Hold),
            (plan.resume_after, Step::Resume),
            (plan.seconds, Step::HangUp),
        ];
        for (after, step) in timed {
            if let Some(after) = after {
                talk.add(from + after, step);
            }
        }
    }

    async fn take_step(&mut self, talk: &mut Talk, dialog: DialogId, step: Step) {
        match step {
            Step::Digits => {
                if let (Some(digits), Some(media)) = (&self.plan.dtmf, &self.media) {
                    tracing::info!("sending digits {digits}");
                    media.session().push_digits(digits);
                }
            }
            Step::Hold | Step::Resume => self.offer_direction(talk, dialog, step, None),
            Step::HangUp => {
                self.hang_up(dialog).await;
                talk.over = true;
            }
        }
    }

    /// Sends the re-INVITE of a hold or resumption (RFC 3264 §8.4).
    fn offer_direction(
        &mut self,
        talk: &mut Talk,
        dialog: DialogId,
        step: Step,
        credentials: Option<(u32, Answer)>,
    ) {
        let before = self.wanted;
        self.wanted = if step == Step::Hold { Direction::SendOnly } else { Direction::SendRecv };
        let mut fields = Fields::new()
            .header("Contact", self.phone.contact())
            .header("Allow", ALLOW)
            .body(SDP, self.next_offer());
        let mut attempt = 0;
        if let Some((count, answer)) = credentials {
            attempt = count;
            fields.push(answer.header, answer.value);
        }
        match self.phone.request_in_dialog(dialog, Method::Invite, fields, &self.events) {
            Ok(tx) => talk.offer = Some(Offer { tx, step, attempt }),
            Err(error) => {
                // Another INVITE is in progress: once more after the time of a 491.
                tracing::debug!("{step:?} put off: {error}");
                self.wanted = before;
                talk.add(self.now() + self.phone.glare_delay(dialog), step);
            }
        }
    }

    fn handle_event(&mut self, talk: &mut Talk, dialog: DialogId, event: Event) {
        match event {
            Event::Request { tx, request, .. } => self.handle_request(talk, tx, &request),
            Event::Ack { request, .. } => self.handle_ack(talk, &request),
            Event::Response { tx, response, dialog: of, .. } => {
                let ours = talk.offer.as_ref().is_some_and(|offer| offer.tx == tx);
                if ours && response.status() >= Some(200) {
                    self.handle_offer_response(talk, dialog, &response);
                } else if let Some(other) = of.filter(|other| *other != dialog) {
                    self.refuse_fork(other, &response);
                }
            }
            Event::TimedOut { tx } | Event::TransportFailed { tx }
                if talk.offer.as_ref().is_some_and(|offer| offer.tx == tx) =>
            {
                tracing::warn!("the other side does not answer the re-INVITE");
                talk.offer = None;
            }
            Event::AckTimeout { .. } => {
                tracing::warn!("the 200 was never acknowledged");
                self.hang_up_silently(dialog);
                self.end(talk, EndedBy::Local);
            }
            Event::DialogEnded { dialog: of, .. } if of == dialog => {
                self.end(talk, EndedBy::Remote);
            }
            _ => {}
        }
    }

    fn end(&mut self, talk: &mut Talk, by: EndedBy) {
        self.note_ended(by);
        talk.over = true;
    }

    fn handle_request(&mut self, talk: &mut Talk, tx: ServerTx, request: &Message) {
        let reply = match request.method() {
            Method::Bye => {
                self.end(talk, EndedBy::Remote);
                Reply::new(200)
            }
            Method::Invite | Method::Update => self.answer_change(talk, request),
            Method::Options => Reply::new(200).header("Allow", ALLOW).header("Accept", SDP),
            Method::Info => Reply::new(200),
            _ => Reply::new(405).header("Allow", ALLOW),
        };
        if let Err(error) = self.phone.respond(tx, reply, &self.events) {
            tracing::debug!("an answer came too late: {error}");
        }
    }

    /// Answers a re-INVITE or UPDATE: hold, resume, or a refresh.
    fn answer_change(&mut self, talk: &mut Talk, request: &Message) -> Reply {
        let Some(body) = description(request) else {
            if request.method() == Method::Update {
                return Reply::new(200).header("Contact", self.phone.contact());
            }
            talk.answer_in_ack = true;
            let offer = self.next_offer();
            return Reply::new(200).header("Contact", self.phone.contact()).body(SDP, offer);
        };
        let held_before = self.remote.as_ref().is_some_and(|it| !it.direction.receives());
        match self.answer_offer(body) {
            Ok(answer) => {
                self.note_remote_hold(held_before);
                Reply::new(200).header("Contact", self.phone.contact()).body(SDP, answer)
            }
            Err(error) => {
                let text = error.to_string().replace('"', "'");
                Reply::new(488).header("Warning", format!("399 tandem-ua \"{text}\""))
            }
        }
    }

    fn note_remote_hold(&mut self, held_before: bool) {
        let held = self.remote.as_ref().is_some_and(|remote: &Remote| !remote.direction.receives());
        if held && !held_before {
            self.facts.holds_received += 1;
            tracing::info!("put on hold");
        } else if held_before && !held {
            self.facts.resumes += 1;
            tracing::info!("resumed by the other side");
        }
    }

    fn handle_ack(&mut self, talk: &mut Talk, request: &Message) {
        if !core::mem::take(&mut talk.answer_in_ack) {
            return;
        }
        match description(request).map(|body| self.take_answer(body)) {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::warn!("answer in the ACK: {error}"),
            None => tracing::warn!("the ACK lacks the answer to our offer"),
        }
    }

    /// The final response to a hold or resumption of ours.
    fn handle_offer_response(&mut self, talk: &mut Talk, dialog: DialogId, response: &Message) {
        let Some(Offer { step, attempt, .. }) = talk.offer.take() else { return };
        let status = response.status().unwrap_or_default();
        if let Some(answer) = self.credentials_for(dialog, response, attempt) {
            self.offer_direction(talk, dialog, step, Some((attempt + 1, answer)));
            return;
        }
        if status == 491 {
            talk.add(self.now() + self.phone.glare_delay(dialog), step);
            return;
        }
        if status >= 300 {
            tracing::warn!("{step:?} was refused: {status}");
            return;
        }
        let _ = self.phone.ack(dialog, Fields::new());
        if let Some(Err(error)) = description(response).map(|body| self.take_answer(body)) {
            tracing::warn!("answer to the re-INVITE: {error}");
        }
        if step == Step::Hold {
            self.facts.holds_sent += 1;
            tracing::info!("the other side is on hold");
        } else {
            self.facts.resumes += 1;
            tracing::info!("resumed");
        }
    }

    /// The row that answers a challenge to a re-INVITE, if there is one and a password.
    fn credentials_for(
        &self,
        dialog: DialogId,
        response: &Message,
        attempt: u32,
    ) -> Option<Answer> {
        let uri = self.phone.remote_target(dialog)?;
        self.phone.answer_challenge(response, Method::Invite, &uri, attempt).ok().flatten()
    }

    /// A second 2xx of a forked INVITE: acknowledged and ended (RFC 3261 §13.2.2.4).
    fn refuse_fork(&self, other: DialogId, response: &Message) {
        if response.method() == Method::Invite && matches!(response.status(), Some(200..=299)) {
            let _ = self.phone.ack(other, Fields::new());
            self.hang_up_silently(other);
        }
    }

    /// Sends a BYE and waits for its answer.
    async fn hang_up(&mut self, dialog: DialogId) {
        self.note_ended(EndedBy::Local);
        if let Some(media) = &self.media {
            media.session().set_sending(false);
        }
        if tokio::time::timeout(BYE_WAIT, self.bye(dialog)).await.is_err() {
            tracing::warn!("the BYE was not answered");
        }
    }

    /// Sends a BYE and waits for its final response; whatever it is, the dialog is over with it
    /// (RFC 3261 §15.1.1).
    async fn bye(&mut self, dialog: DialogId) {
        let sent = self.phone.request_in_dialog(dialog, Method::Bye, Fields::new(), &self.events);
        if let Ok(tx) = sent {
            self.final_response_to(tx).await;
        }
    }

    /// Waits until a request has its final response or none in time; what else comes is answered.
    async fn final_response_to(&mut self, tx: ClientTx) {
        while let Some(event) = self.received.recv().await {
            match event {
                Event::Response { tx: of, response, .. }
                    if of == tx && response.status() >= Some(200) =>
                {
                    return;
                }
                Event::TimedOut { tx: of } | Event::TransportFailed { tx: of } if of == tx => {
                    return;
                }
                Event::Request { tx, request, .. } => {
                    let status = if request.method() == Method::Bye { 200 } else { 481 };
                    let _ = self.phone.respond(tx, Reply::new(status), &self.events);
                }
                _ => {}
            }
        }
    }

    /// Sends a BYE whose answer nobody waits for.
    pub(super) fn hang_up_silently(&self, dialog: DialogId) {
        let _ = self.phone.request_in_dialog(dialog, Method::Bye, Fields::new(), &self.events);
    }
}
