//! Where a branch is called: along the flow of a registration, or at a server that is looked for
//! (RFC 3263), one address after another until one of them answers (§4.3).

use super::fork::State;
use super::model::{Branch, Call, Cx, leg_of};
use crate::locate::{Hop, LocateError, Located, Ticket};
use core::time::Duration;
use std::collections::VecDeque;
use tandem_signalling::message::Message;
use tandem_signalling::name_addr::NameAddr;
use tandem_signalling::stack::{DialogId, Flow, Reply};
use tandem_signalling::uri::Uri;
use tandem_wire::time::Instant;

/// Where a branch is called.
#[derive(Debug)]
pub(super) enum Place {
    /// At a registered contact, along the flow that it registered on.
    Flow(Flow),
    /// In a dialog that another call has had so far: its party gets a re-INVITE.
    Dialog(DialogId, Flow),
    /// At a server that its first route or its target leads to.
    Uri(Box<Hops>),
}

impl Place {
    /// A server that is looked for when the branch has its turn.
    pub(super) fn uri() -> Self {
        Self::Uri(Box::default())
    }

    /// The way that the INVITE takes; `None` while it is looked for.
    pub(super) fn flow(&self) -> Option<&Flow> {
        match self {
            Self::Flow(flow) | Self::Dialog(_, flow) => Some(flow),
            Self::Uri(hops) => hops.current.as_ref().map(|(_, flow)| flow),
        }
    }

    /// When the next address is tried if nothing has come.
    pub(super) fn next_hop_at(&self) -> Option<Instant> {
        match self {
            Self::Flow(_) | Self::Dialog(..) => None,
            Self::Uri(hops) => hops.next_at,
        }
    }
}

/// The addresses of a server.
#[derive(Debug, Default)]
pub(super) struct Hops {
    /// DNS is asked.
    ticket: Option<Ticket>,
    /// Not tried yet, the best first.
    waiting: VecDeque<Hop>,
    /// The one that is tried.
    current: Option<(Hop, Flow)>,
    next_at: Option<Instant>,
}

impl Branch {
    /// A branch to a target that did not register here.
    pub(super) fn to_uri(target: String) -> Self {
        Self::new(target, Place::uri(), Vec::new())
    }

    fn hops(&mut self) -> Option<&mut Hops> {
        match &mut self.place {
            Place::Flow(_) | Place::Dialog(..) => None,
            Place::Uri(hops) => Some(hops),
        }
    }

    /// What leads to the server: the first route if there is one (RFC 3261 §8.1.2).
    fn next_uri(&self) -> String {
        let route = self.route.first().and_then(|it| NameAddr::parse(it.as_bytes()).ok());
        let peer = || self.trunk.as_ref().map_or(&self.target, |leg| &leg.peer).clone();
        route.map_or_else(peer, |it| it.uri().as_str().to_owned())
    }

    /// The target as it stands in a request line.
    pub(super) fn request_uri(&self) -> String {
        Uri::parse(&self.target)
            .map_or_else(|_| self.target.clone(), |uri| uri.as_request_uri().into_owned())
    }
}

impl Call {
    /// Calls a branch, or looks for its server first.
    pub(super) fn call_branch(&mut self, cx: &mut Cx<'_>, branch: usize) -> Result<(), Reply> {
        self.enter_trunk(cx, branch)?;
        match self.branches[branch].place {
            Place::Flow(flow) => return self.invite(cx, branch, flow, None),
            Place::Dialog(dialog, _) => return self.call_adopted(cx, branch, dialog),
            Place::Uri(_) => {}
        }
        let text = self.branches[branch].next_uri();
        let uri = Uri::parse(&text).map_err(|_| Reply::new(LocateError::Scheme.status()))?;
        match cx.world.locator.locate(cx.world.now, &uri) {
            Located::Ready(found) => self.try_hops(cx, branch, found),
            Located::Failed(error) => Err(self.not_found(error)),
            Located::Pending(ticket) => {
                cx.index.add_ticket(ticket, cx.slot, branch);
                if let Some(hops) = self.branches[branch].hops() {
                    hops.ticket = Some(ticket);
                }
                Ok(())
            }
        }
    }

    fn not_found(&self, error: LocateError) -> Reply {
        tracing::info!(call = %self.id, %error, "the server of a destination was not found");
        let reply = Reply::new(error.status()).header("Warning", format!("399 tandem \"{error}\""));
        if error.status() == 503 { reply.header("Retry-After", "5") } else { reply }
    }

    /// DNS has answered.
    pub(super) fn located(
        &mut self,
        cx: &mut Cx<'_>,
        branch: usize,
        found: Result<Vec<Hop>, LocateError>,
    ) {
        if let Some(hops) = self.branches[branch].hops() {
            hops.ticket = None;
        }
        let outcome = match found {
            Ok(found) => self.try_hops(cx, branch, found),
            Err(error) => Err(self.not_found(error)),
        };
        if let Err(reply) = outcome {
            let status = reply.status();
            self.branches[branch].refusal = Some(reply);
            let event = self.failure_event(cx, branch, status);
            self.drive(cx, event, None);
        }
    }

    /// Whether a branch waited for DNS, which it does no more.
    pub(super) fn stop_search(&mut self, cx: &mut Cx<'_>, branch: usize) -> bool {
        let ticket = self.branches[branch].hops().and_then(|hops| hops.ticket.take());
        if let Some(ticket) = ticket {
            cx.index.remove_ticket(ticket);
            cx.world.locator.cancel(ticket);
        }
        ticket.is_some()
    }

    fn try_hops(&mut self, cx: &mut Cx<'_>, branch: usize, found: Vec<Hop>) -> Result<(), Reply> {
        if let Some(hops) = self.branches[branch].hops() {
            hops.waiting = found.into();
        }
        self.next_hop(cx, branch).unwrap_or_else(|| Err(Reply::new(503)))
    }

    /// Sends the INVITE to the next address; `None` if there is none left.
    fn next_hop(&mut self, cx: &mut Cx<'_>, branch: usize) -> Option<Result<(), Reply>> {
        loop {
            let hop = self.branches[branch].hops()?.waiting.pop_front()?;
            let Some(flow) = cx.world.flow_to(&hop) else {
                tracing::debug!(call = %self.id, %hop, "no socket of ours leads to a server");
                continue;
            };
            let silence = cx.world.settings.next_hop;
            if let Some(hops) = self.branches[branch].hops() {
                hops.next_at = (!hops.waiting.is_empty()).then(|| cx.world.now + silence);
                hops.current = Some((hop, flow));
            }
            return Some(self.invite(cx, branch, flow, None));
        }
    }

    /// The server of a branch failed: a transport error or no answer (`status` 503, 408), or a 503
    /// of its own. Gives the status with which the branch has failed, or `None` if the next
    /// address is tried (RFC 3263 §4.3).
    ///
    /// The INVITE gets a new Call-ID: two addresses often are one server, to which the same one
    /// would be a merged request (RFC 3261 §8.2.2.2).
    pub(super) fn hop_failed(
        &mut self,
        cx: &mut Cx<'_>,
        branch: usize,
        status: u16,
    ) -> Option<u16> {
        let Some(hops) = self.branches[branch].hops() else { return Some(status) };
        hops.next_at = None;
        let waits = !hops.waiting.is_empty();
        if let Some((hop, _)) = &hops.current {
            let hop = hop.clone();
            let wish = self.branches[branch].failure.as_ref().and_then(Message::retry_after);
            let wish = wish.map(|it| Duration::from_secs(it.seconds.into())).unwrap_or_default();
            cx.world.locator.note_busy(cx.world.now, &hop, wish);
        }
        let open = self.fork.state(branch) == Some(State::Calling) && !self.fork.decided();
        if !waits || !open || self.ended {
            return Some(status);
        }
        self.leave_hop(cx, branch);
        match self.next_hop(cx, branch) {
            Some(Ok(())) => None,
            Some(Err(reply)) => {
                let status = reply.status();
                self.branches[branch].refusal = Some(reply);
                Some(status)
            }
            None => Some(status),
        }
    }

    /// Forgets the INVITE to the address that is tried.
    fn leave_hop(&mut self, cx: &mut Cx<'_>, branch: usize) {
        let left = &mut self.branches[branch];
        left.failure = None;
        left.early_answer = None;
        left.settled = false;
        if let Some(dialog) = left.dialog.take() {
            cx.index.remove_dialog(dialog);
        }
        if let Some(tx) = left.tx.take() {
            cx.index.remove_client(tx);
        }
        cx.world.media.drop_leg(cx.world.now, self.key(), leg_of(branch));
    }

    /// The address that is tried gave no sign, and no other one is.
    pub(super) fn hop_silent(&mut self, cx: &mut Cx<'_>, branch: usize) {
        if let Some(hops) = self.branches[branch].hops()
            && let Some((hop, _)) = &hops.current
        {
            cx.world.locator.note_failure(cx.world.now, hop);
        }
    }

    /// The server of a branch answered.
    pub(super) fn hop_answered(&mut self, cx: &mut Cx<'_>, branch: usize) {
        if let Some(hops) = self.branches[branch].hops() {
            hops.next_at = None;
            if let Some((hop, _)) = &hops.current {
                cx.world.locator.note_success(hop);
            }
        }
    }

    /// An address has had its time to give a sign; the next one is tried if it gave none. Should it
    /// answer after all, it is cancelled, or released.
    pub(super) fn hops_silent(&mut self, cx: &mut Cx<'_>, at: Instant) {
        for branch in 0..self.branches.len() {
            if self.branches[branch].place.next_hop_at().is_none_or(|due| due > at) {
                continue;
            }
            if let Some(hops) = self.branches[branch].hops() {
                hops.next_at = None;
            }
            let Some(tx) = self.branches[branch].tx else { continue };
            if cx.world.stack.has_response(tx) {
                self.hop_answered(cx, branch);
                continue;
            }
            cx.world.cancel(tx);
            if let Some(status) = self.hop_failed(cx, branch, 408) {
                self.branch_failed(cx, branch, status);
            }
        }
    }

    /// A branch got no response: its INVITE could not be sent (503) or was never answered (408).
    pub(super) fn branch_lost(&mut self, cx: &mut Cx<'_>, branch: usize, status: u16) {
        if let Some(status) = self.hop_failed(cx, branch, status) {
            self.branch_failed(cx, branch, status);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_route_leads_the_way() {
        let mut branch = Branch::to_uri("sip:bob@example.com".into());
        assert_eq!(branch.next_uri(), "sip:bob@example.com");
        branch.route = vec!["<sip:edge.example.net;lr>".into(), "<sip:core.example.net;lr>".into()];
        assert_eq!(branch.next_uri(), "sip:edge.example.net;lr");
        assert!(branch.place.flow().is_none() && branch.place.next_hop_at().is_none());
    }
}
