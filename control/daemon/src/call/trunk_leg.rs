//! Branches that go out over a trunk: who we are there, its challenges, its limit, and whether the
//! next one is tried.

use super::fork::{Event, State};
use super::identity;
use super::model::{Branch, Call, Cx};
use super::table::Role;
use crate::config::trunk::CallerId;
use crate::core::World;
use crate::route::{Candidate, Failover};
use crate::trunk::caller_id::{self, Party};
use crate::trunk::credentials::Attempts;
use tandem_signalling::header::Header;
use tandem_signalling::message::Message;
use tandem_signalling::name_addr::NameAddr;
use tandem_signalling::stack::{Flow, NewRequest, Reply};
use tandem_signalling::uri::Uri;
use tandem_wire::time::Instant;

/// What a branch over a trunk knows besides a branch to a contact.
#[derive(Debug)]
pub(super) struct TrunkLeg {
    /// Index of the trunk.
    pub(super) trunk: usize,
    /// Where its requests go.
    pub(super) peer: String,
    /// When the next trunk is tried if nothing has come.
    pub(super) answer_by: Option<Instant>,
    /// Credentials that went with the INVITE.
    pub(super) rows: Vec<(&'static str, String)>,
    failover: Failover,
    /// It counts among the trunk's calls.
    occupies: bool,
    attempts: Attempts,
    /// The INVITE without credentials, for an account that may be asked for them.
    request: Option<Box<NewRequest>>,
}

/// Who we are at a trunk.
pub(super) struct Outbound {
    /// Address of record of the caller there.
    pub(super) aor: String,
    /// Address that is called there.
    pub(super) to: String,
    /// Whether it may know who calls.
    pub(super) trusted: bool,
    /// Whether nobody else may.
    pub(super) anonymous: bool,
}

impl Branch {
    /// A branch over a trunk.
    pub(super) fn to_trunk(world: &World, candidate: &Candidate) -> Option<Self> {
        let spec = world.trunks.spec(candidate.trunk)?;
        let leg = TrunkLeg {
            trunk: candidate.trunk,
            peer: spec.peer.clone(),
            answer_by: None,
            rows: Vec::new(),
            failover: candidate.failover.clone(),
            occupies: false,
            attempts: Attempts::default(),
            request: None,
        };
        let route = world.trunks.service_route(candidate.trunk).to_vec();
        let branch = Self::to_uri(spec.target(&candidate.number));
        Some(Self { route, trunk: Some(Box::new(leg)), ..branch })
    }
}

/// A refusal because of a limit, with the cause that telephone networks know (RFC 6432).
pub(super) fn limited(status: u16, cause: u8, text: &str) -> Reply {
    let reply = Reply::new(status).header("Reason", format!("Q.850;cause={cause};text=\"{text}\""));
    if status == 503 { reply.header("Warning", format!("399 tandem \"{text}\"")) } else { reply }
}

impl Call {
    /// Takes a place among the calls of a branch's trunk.
    pub(super) fn enter_trunk(&mut self, cx: &mut Cx<'_>, branch: usize) -> Result<(), Reply> {
        let emergency = self.emergency;
        let now = cx.world.now;
        let Some(leg) = self.branches[branch].trunk.as_mut() else { return Ok(()) };
        if !cx.world.trunks.enter(leg.trunk, emergency, false) {
            return Err(limited(503, 34, "max_calls of the trunk is reached"));
        }
        leg.occupies = true;
        let within = cx.world.trunks.spec(leg.trunk).map(|spec| spec.answer_within);
        leg.answer_by = within.map(|within| now + within);
        Ok(())
    }

    /// Gives the place back.
    pub(super) fn leave_trunk(&mut self, cx: &mut Cx<'_>, branch: usize) {
        let Some(leg) = self.branches[branch].trunk.as_mut() else { return };
        leg.answer_by = None;
        if core::mem::take(&mut leg.occupies) {
            cx.world.trunks.leave(leg.trunk);
        }
    }

    /// Who we are at the trunk of a branch.
    pub(super) fn outbound(&self, world: &World, branch: usize) -> Option<Outbound> {
        let branch = &self.branches[branch];
        let spec = world.trunks.spec(branch.trunk.as_ref()?.trunk)?;
        let from = Uri::parse(&self.from).ok();
        let user = from.as_ref().and_then(Uri::user_decoded).unwrap_or_default();
        let ours = self.trunk_in.is_none();
        let numbers = if ours { world.registrar.numbers_of(&user) } else { Vec::new() };
        let preferred = self.invite.value(Header::PPreferredIdentity);
        let preferred = preferred.and_then(|value| NameAddr::parse(value).ok());
        let preferred = preferred.and_then(|it| it.uri().user_decoded().map(String::from));
        let party = Party { user: &user, numbers: &numbers, preferred: preferred.as_deref(), ours };
        let shown = caller_id::shown(spec, world.trunks.router().plan(), &party);
        let called = Uri::parse(&branch.target).ok();
        let called = called.as_ref().and_then(Uri::user_decoded).unwrap_or_default();
        Some(Outbound {
            aor: spec.aor(&shown),
            to: spec.aor(&called),
            trusted: spec.trusted,
            anonymous: spec.caller_id == CallerId::Anonymous,
        })
    }

    /// Sends an INVITE of a branch; to a trunk with the credentials that it asked for last.
    pub(super) fn send_invite(
        &mut self,
        cx: &mut Cx<'_>,
        branch: usize,
        flow: Flow,
        mut request: NewRequest,
    ) -> Result<(), Reply> {
        let (now, uri) = (cx.world.now, self.branches[branch].request_uri());
        if let Some(leg) = self.branches[branch].trunk.as_mut()
            && let Some(spec) = cx.world.trunks.spec(leg.trunk)
        {
            leg.answer_by = Some(now + spec.answer_within);
            leg.request = spec.has_account().then(|| Box::new(request.clone()));
            let cnonce = cx.world.draw();
            leg.rows = cx.world.trunks.authorize(leg.trunk, "INVITE", &uri, cnonce);
            for (name, value) in &leg.rows {
                request = request.header(name, value);
            }
        }
        let tx = cx.world.stack.request(now, flow, request).map_err(|error| {
            tracing::warn!(call = %self.id, %error, "a contact could not be called");
            Reply::new(error.status())
        })?;
        self.branches[branch].tx = Some(tx);
        if let Some(call_id) = cx.world.stack.call_id(tx) {
            cx.world.shared.trace().leg(self.id, &call_id);
        }
        cx.index.add_client(tx, cx.slot, Role::Branch(branch));
        Ok(())
    }

    /// Sends the INVITE of a branch again with credentials; false if the challenge is none that we
    /// can answer, or the call has no use for it any more.
    pub(super) fn answer_challenge(
        &mut self,
        cx: &mut Cx<'_>,
        branch: usize,
        challenge: &Message,
    ) -> bool {
        let open = matches!(self.fork.state(branch), Some(State::Calling | State::Ringing));
        if !open || self.ended || self.fork.decided() {
            return false;
        }
        let flow = self.branches[branch].place.flow().copied();
        let (Some(leg), Some(flow)) = (self.branches[branch].trunk.as_mut(), flow) else {
            return false;
        };
        let Some(request) = leg.request.take() else { return false };
        if !cx.world.trunks.challenged(leg.trunk, challenge, &mut leg.attempts) {
            return false;
        }
        let left = &mut self.branches[branch];
        if let Some(tx) = left.tx.take() {
            cx.index.remove_client(tx);
        }
        if let Some(dialog) = left.dialog.take() {
            cx.index.remove_dialog(dialog);
        }
        self.send_invite(cx, branch, flow, request.after(challenge)).is_ok()
    }

    /// What a failed branch means for the others: after a trunk, the next one is tried only if the
    /// list of causes says so, or if we ourselves had no way to it.
    pub(super) fn failure_event(&mut self, cx: &mut Cx<'_>, branch: usize, status: u16) -> Event {
        self.leave_trunk(cx, branch);
        let it = &self.branches[branch];
        let Some(leg) = &it.trunk else { return Event::Failure { branch, status } };
        let reason = it.failure.iter().flat_map(Message::reasons);
        let q850 = { reason }
            .find(|reason| reason.protocol.eq_ignore_ascii_case("Q.850"))
            .and_then(|reason| reason.cause);
        let ours = it.refusal.is_some() || matches!(status, 401 | 407);
        let goes_on = ours || leg.failover.goes_on(status, q850);
        let open = matches!(self.fork.state(branch), Some(State::Calling | State::Ringing));
        let trunk = leg.trunk;
        if open && !self.fork.decided() {
            if matches!(status, 408 | 503) && it.refusal.is_none() {
                let why = match (status, &it.failure) {
                    (503, Some(_)) => "it answered 503",
                    (503, None) => "it cannot be reached",
                    _ => "it did not answer",
                };
                cx.world.trunks.note_failure(cx.world.now, trunk, why);
            }
            if goes_on && self.fork.has_waiting() {
                cx.world.trunks.note_failover(trunk);
                tracing::info!(call = %self.id, status, "the next trunk is tried");
            }
        }
        Event::TrunkFailure { branch, status, goes_on }
    }

    /// Trunks that had their time to give a sign, and gave none: the next one is tried. Should one
    /// answer after all, it is cancelled, or released.
    pub(super) fn trunks_silent(&mut self, cx: &mut Cx<'_>, at: Instant) {
        for branch in 0..self.branches.len() {
            let Some(leg) = self.branches[branch].trunk.as_mut() else { continue };
            if leg.answer_by.take_if(|due| *due <= at).is_none() {
                continue;
            }
            let (trunk, goes_on) = (leg.trunk, leg.failover.goes_on(408, None));
            let tx = self.branches[branch].tx;
            let silent = !tx.is_some_and(|tx| cx.world.stack.has_response(tx));
            if self.fork.state(branch) != Some(State::Calling) || !silent || !goes_on {
                continue;
            }
            cx.world.trunks.note_failure(cx.world.now, trunk, "it did not answer");
            if self.fork.has_waiting() {
                cx.world.trunks.note_failover(trunk);
                tracing::info!(call = %self.id, status = 408, "the next trunk is tried");
            }
            self.hop_silent(cx, branch);
            self.drive(cx, Event::NoResponse { branch }, None);
        }
    }

    /// When a trunk has had its time.
    pub(super) fn next_silence(&self) -> Option<Instant> {
        self.branches.iter().filter_map(|it| it.trunk.as_ref()?.answer_by).min()
    }

    /// Whether a trunk is being called: it may ring as long as the call may.
    pub(super) fn calls_trunk(&self) -> bool {
        let called = |index: usize| self.fork.state(index) == Some(State::Calling);
        self.branches.iter().enumerate().any(|(index, it)| it.trunk.is_some() && called(index))
    }

    /// Notes that a trunk answered something, and what follows from that for its dialog.
    pub(super) fn trunk_alive(&self, cx: &mut Cx<'_>, branch: usize, status: u16) {
        let Some(leg) = &self.branches[branch].trunk else { return };
        match status {
            200..300 => cx.world.trunks.note_answer(leg.trunk),
            408 | 503 => {}
            _ => cx.world.trunks.note_alive(leg.trunk),
        }
    }
}

/// From, and the rows that make it anonymous, for a trunk that nobody shall be known to.
pub(super) fn anonymous(
    fields: &mut tandem_signalling::stack::Fields,
    invite: &Message,
    trusted: bool,
) -> String {
    if !trusted || !invite.has(Header::Privacy) {
        fields.push("Privacy", "id");
    }
    identity::ANONYMOUS.to_owned()
}
