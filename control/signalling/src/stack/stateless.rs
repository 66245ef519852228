//! Answers of which nothing is kept (RFC 3261 §8.2.7): to who has not proved anything yet, so that
//! no flood of requests fills the memory.

use super::content::Reply;
use super::slab::Key;
use super::types::{Flow, Output, StackError};
use super::{Stack, routing};
use crate::message::Message;

impl Stack {
    /// See [`Stack::refuse`].
    pub(super) fn refuse_key(&mut self, key: Key, reply: &Reply) -> Result<(), StackError> {
        let server = self.servers.get_mut(key).ok_or(StackError::NoTransaction)?;
        let request = server.request.take().ok_or(StackError::AlreadyFinal)?;
        let flow = server.source;
        self.reply_stateless(&flow, &request, reply);
        self.remove_server(key);
        Ok(())
    }

    /// A response of which nothing is kept; its To tag is the same each time (§8.2.7).
    pub(super) fn reply_stateless(&mut self, flow: &Flow, request: &Message, reply: &Reply) {
        let Ok(via) = request.answer_via() else { return };
        let tag = self.stateless_tag(request);
        let bytes = self.write_response(request, reply, Some(&tag), None);
        let flow = routing::response_flow(flow, &via);
        self.counters.responses_out.add(reply.status());
        self.output.push_back(Output::Transmit { flow, bytes });
    }

    /// Whether an ACK acknowledges an answer of which nothing was kept: it has its To tag.
    pub(super) fn acknowledges_stateless(&self, ack: &Message) -> bool {
        ack.to_tag().is_some_and(|tag| tag == self.stateless_tag(ack))
    }

    /// The To tag of stateless answers to a request, and of the ACK to them, which has the same
    /// branch and Call-ID (§17.1.1.3).
    fn stateless_tag(&self, request: &Message) -> String {
        let via = request.answer_via().ok();
        let branch = via.as_ref().and_then(|via| via.branch()).unwrap_or("");
        let call_id = request.call_id().unwrap_or("");
        let print = self.prints.of(&[b"stateless", branch.as_bytes(), call_id.as_bytes()]);
        self.random.tag_of(print)
    }
}
