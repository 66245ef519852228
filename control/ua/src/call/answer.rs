//! Waiting for calls and answering them.

use super::{Call, Outcome, SDP, codec_names, description, party};
use crate::args::AnswerArgs;
use crate::error::UaError;
use crate::phone::Phone;
use crate::pump::ALLOW;
use crate::report::{CallReport, EndedBy, Role};
use std::time::Duration;
use tandem_signalling::header::Header;
use tandem_signalling::message::Message;
use tandem_signalling::stack::{Event, Flow, Reply, ServerTx};
use tokio::task::JoinSet;

/// Takes calls until as many as asked for are over; they may overlap.
///
/// # Errors
/// Nobody called in time, or the phone was stopped; calls that had ended are in `ended`.
pub async fn answer(
    phone: &Phone,
    args: &AnswerArgs,
    ended: &mut Vec<Outcome>,
) -> Result<(), UaError> {
    phone.set_accepting(true);
    let mut calls = JoinSet::new();
    let mut taken = 0;
    tracing::info!("waiting for calls at {}", phone.local());
    let result = loop {
        if taken == args.calls && calls.is_empty() {
            break Ok(());
        }
        tokio::select! {
            event = phone.next_call(), if taken < args.calls => {
                let Some(Event::Request { tx, request, flow, .. }) = event else { continue };
                taken += 1;
                if taken == args.calls {
                    phone.set_accepting(false);
                }
                let (phone, args) = (phone.clone(), args.clone());
                calls.spawn(async move { take(&phone, &args, tx, &request, flow, taken).await });
            }
            Some(outcome) = calls.join_next(), if !calls.is_empty() => {
                ended.extend(outcome.ok());
            }
            () = wait(args.wait), if calls.is_empty() => {
                let seconds = args.wait.unwrap_or_default().as_secs();
                break Err(UaError::NobodyCalled { seconds });
            }
            () = phone.stopped() => break Err(UaError::Stopped),
        }
    };
    phone.set_accepting(false);
    while let Some(outcome) = calls.join_next().await {
        ended.extend(outcome.ok());
    }
    result
}

async fn wait(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// Takes one call from its INVITE to its end.
async fn take(
    phone: &Phone,
    args: &AnswerArgs,
    tx: ServerTx,
    invite: &Message,
    flow: Flow,
    number: u32,
) -> Outcome {
    let mut call = match Call::new(phone, &args.in_call, flow, Role::Callee).await {
        Ok(call) => call,
        Err(error) => {
            let (events, _) = tokio::sync::mpsc::unbounded_channel();
            let _ = phone.respond(tx, Reply::new(500), &events);
            return Outcome { report: CallReport::default(), error: Some(error) };
        }
    };
    call.facts.id = invite.call_id().unwrap_or_default().into();
    call.facts.remote = party(invite, Header::From);
    tracing::info!("call from {}", call.facts.remote);
    let error = match call.ring(args, tx, invite).await {
        Ok(Some(answer_in_ack)) => call.talk_with(answer_in_ack).await.err(),
        Ok(None) => None,
        Err(error) => Some(error),
    };
    call.finish(error, number).await
}

impl Call {
    /// Rings and answers: `Some` of whether the ACK is to bring the answer to our offer, `None`
    /// if there is no call after that.
    async fn ring(
        &mut self,
        args: &AnswerArgs,
        tx: ServerTx,
        invite: &Message,
    ) -> Result<Option<bool>, UaError> {
        let ringing = Reply::new(180).header("Contact", self.phone.contact());
        let early = self.phone.respond(tx, ringing, &self.events);
        let Ok(early) = early else { return Ok(None) };
        self.dialog = early;
        self.note_ringing();
        if !self.wait_ringing(Duration::from_millis(args.ring_ms), tx).await? {
            return Ok(None);
        }
        if let Some(status) = args.reject {
            self.refuse(tx, Reply::new(status));
            return Ok(None);
        }
        self.accept(tx, invite)
    }

    /// Rings for a time; false if the caller gave up meanwhile.
    async fn wait_ringing(&mut self, time: Duration, tx: ServerTx) -> Result<bool, UaError> {
        let until = tokio::time::Instant::now() + time;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return Ok(true),
                () = self.phone.stopped() => {
                    self.refuse(tx, Reply::new(480));
                    return Err(UaError::Stopped);
                }
                event = self.received.recv() => match event {
                    Some(Event::Cancelled { .. }) => {
                        tracing::info!("the caller gave up");
                        self.refuse(tx, Reply::new(487));
                        return Ok(false);
                    }
                    Some(Event::DialogEnded { .. }) => return Ok(false),
                    Some(Event::Request { tx, .. }) => {
                        let reply = Reply::new(405).header("Allow", ALLOW);
                        let _ = self.phone.respond(tx, reply, &self.events);
                    }
                    Some(_) => {}
                    None => return Err(UaError::Stopped),
                },
            }
        }
    }

    fn refuse(&mut self, tx: ServerTx, reply: Reply) {
        let status = reply.status();
        self.note_final(status, tandem_signalling::build::reason_phrase(status));
        let _ = self.phone.respond(tx, reply, &self.events);
        tracing::info!("refused with {status}");
    }

    /// Sends the 200 and starts media.
    fn accept(&mut self, tx: ServerTx, invite: &Message) -> Result<Option<bool>, UaError> {
        let offer = description(invite);
        let body = match offer {
            Some(offer) => match self.answer_offer(offer) {
                Ok(answer) => answer,
                Err(error) => {
                    let ours = codec_names(&self.local.codecs);
                    let warning = format!("305 tandem-ua \"only {ours} over RTP/AVP\"");
                    self.refuse(tx, Reply::new(488).header("Warning", warning));
                    return Err(error);
                }
            },
            None => self.local.offer(self.wanted),
        };
        let reply = Reply::new(200)
            .header("Contact", self.phone.contact())
            .header("Allow", ALLOW)
            .body(SDP, body);
        match self.phone.respond(tx, reply, &self.events) {
            Ok(dialog) => self.dialog = dialog.or(self.dialog),
            Err(error) => {
                tracing::info!("the caller gave up as it was answered: {error}");
                self.note_ended(EndedBy::Remote);
                return Ok(None);
            }
        }
        self.note_final(200, "OK");
        self.note_answered();
        Ok(Some(offer.is_none()))
    }
}
