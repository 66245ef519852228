//! Placing a call.

use super::{Call, Outcome, SDP, description, party};
use crate::args::CallArgs;
use crate::error::UaError;
use crate::phone::{Phone, unreachable_error};
use crate::pump::ALLOW;
use crate::report::{CallReport, EndedBy, Role};
use tandem_signalling::header::Header;
use tandem_signalling::message::Message;
use tandem_signalling::method::Method;
use tandem_signalling::stack::{ClientTx, Event, Fields, NewRequest};

/// Places a call and stays in it to its end.
pub async fn place(phone: &Phone, args: &CallArgs) -> Outcome {
    let uri = phone.target_uri(&args.target);
    let call = async {
        let flow = phone.flow_to(&uri).await?;
        Call::new(phone, &args.in_call, flow, Role::Caller).await
    };
    let mut call = match call.await {
        Ok(call) => call,
        Err(error) => return Outcome { report: CallReport::default(), error: Some(error) },
    };
    call.facts.remote = uri.clone();
    tracing::info!("calling {uri}");
    let error = match call.reach(&uri, args.ring_timeout).await {
        Ok(()) => call.talk().await.err(),
        Err(error) => Some(error),
    };
    call.finish(error, 1).await
}

impl Call {
    /// Sends the INVITE and waits for its end; with credentials if it must.
    async fn reach(&mut self, uri: &str, ring_timeout: std::time::Duration) -> Result<(), UaError> {
        let offer = self.local.offer(self.wanted);
        let invite = NewRequest::new(Method::Invite, uri)
            .from(format!("<{}>", self.phone.aor()))
            .to(format!("<{uri}>"))
            .header("Contact", self.phone.contact())
            .header("Allow", ALLOW)
            .body(SDP, offer);
        let give_up = self.now() + ring_timeout;
        let mut tx = self.phone.request(self.flow, invite.clone(), &self.events)?;
        let mut attempt = 0;
        // Why it was given up: what the CANCEL brings is still awaited.
        let mut cancelled: Option<UaError> = None;
        loop {
            let deadline = self.phone.clock().to_tokio(give_up);
            let event = tokio::select! {
                event = self.received.recv() => event.ok_or(UaError::Stopped)?,
                () = tokio::time::sleep_until(deadline), if cancelled.is_none() => {
                    let seconds = ring_timeout.as_secs();
                    cancelled = Some(self.give_up(tx, UaError::NobodyAnswered { seconds }));
                    continue;
                }
                () = self.phone.stopped(), if cancelled.is_none() => {
                    cancelled = Some(self.give_up(tx, UaError::Stopped));
                    continue;
                }
            };
            match event {
                Event::Response { response, tx: of, dialog, .. } if of == tx => {
                    let status = response.status().unwrap_or_default();
                    if status < 200 {
                        self.progress(&response);
                        continue;
                    }
                    let method = Method::Invite;
                    let challenge = self.phone.answer_challenge(&response, method, uri, attempt)?;
                    if let Some(answer) = challenge {
                        attempt += 1;
                        let next = invite.clone().after(&response);
                        let next = next.header(answer.header, answer.value);
                        tx = self.phone.request(self.flow, next, &self.events)?;
                        continue;
                    }
                    self.dialog = dialog;
                    return self.final_answer(&response, cancelled);
                }
                Event::TimedOut { tx: of } | Event::TransportFailed { tx: of } if of == tx => {
                    return Err(cancelled.unwrap_or_else(|| unreachable_error(&event, self.flow)));
                }
                Event::RingingTooLong { .. } if cancelled.is_none() => {
                    let seconds = ring_timeout.as_secs();
                    cancelled = Some(self.give_up(tx, UaError::NobodyAnswered { seconds }));
                }
                // Early dialogs of other forks end, and requests in them are not for us.
                _ => {}
            }
        }
    }

    /// Cancels.
    fn give_up(&self, tx: ClientTx, why: UaError) -> UaError {
        tracing::info!("giving up: {why}");
        let _ = self.phone.cancel(tx);
        why
    }

    /// A provisional response: ringing, perhaps with early media.
    fn progress(&mut self, response: &Message) {
        if response.status() == Some(100) {
            return;
        }
        self.note_ringing();
        if let Some(body) = description(response)
            && let Err(error) = self.take_answer(body)
        {
            tracing::warn!("early media: {error}");
        }
    }

    /// A final response that is no challenge.
    fn final_answer(
        &mut self,
        response: &Message,
        cancelled: Option<UaError>,
    ) -> Result<(), UaError> {
        let status = response.status().unwrap_or_default();
        self.facts.id = response.call_id().unwrap_or_default().into();
        self.facts.remote = party(response, Header::To);
        self.note_final(status, response.reason().unwrap_or_default());
        let Some(dialog) = self.dialog.filter(|_| status < 300) else {
            let reason = self.facts.reason.clone();
            return Err(cancelled.unwrap_or(UaError::Refused { method: "INVITE", status, reason }));
        };
        let _ = self.phone.ack(dialog, Fields::new());
        let taken = match (cancelled, description(response)) {
            // The 2xx crossed the CANCEL: accepted and ended at once (RFC 3261 §9.1).
            (Some(why), _) => Err(why),
            (None, Some(body)) => self.take_answer(body),
            // Some put the answer into a provisional response alone.
            (None, None) if self.remote.is_some() => Ok(()),
            (None, None) => Err(UaError::Media("the 200 has no session description".into())),
        };
        self.note_answered();
        if taken.is_err() {
            self.hang_up_silently(dialog);
            self.note_ended(EndedBy::Local);
        }
        taken
    }
}
