//! Whom a request is for, and whether it came over a trunk.

use super::dialled::dialled;
use super::fork::MAX_BRANCHES;
use super::identity::{self, Vouched};
use super::model::{Branch, Call, Cx};
use super::setup::Admission;
use super::trunk_leg::limited;
use crate::core::World;
use crate::route::{Candidate, Origin, Outcome};
use std::collections::HashMap;
use tandem_signalling::header::Header;
use tandem_signalling::message::Message;
use tandem_signalling::name_addr::NameAddr;
use tandem_signalling::stack::{Flow, Reply};
use tandem_signalling::uri::Uri;

/// Where a call goes beyond the contacts of a user.
#[derive(Clone, Debug, Default)]
pub(crate) struct Way {
    /// The trunk that it came over.
    pub(crate) trunk_in: Option<usize>,
    /// The trunks that are tried, in order.
    pub(crate) candidates: Vec<Candidate>,
    /// Every trunk that could take it is excluded now.
    pub(crate) no_trunk: bool,
    /// No limit may stop it.
    pub(crate) emergency: bool,
}

/// Calls of each user.
#[derive(Debug, Default)]
pub struct Usage(HashMap<String, usize>);

impl Usage {
    fn of(&self, user: &str) -> usize {
        self.0.get(user).copied().unwrap_or_default()
    }

    fn enter(&mut self, user: &str) {
        *self.0.entry(user.to_owned()).or_default() += 1;
    }

    fn leave(&mut self, user: &str) {
        if let Some(count) = self.0.get_mut(user) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(user);
            }
        }
    }
}

/// Whether a request asks for an emergency number of ours.
pub(crate) fn is_emergency(world: &World, request: &Message) -> bool {
    let uri = request.uri().ok();
    let user = uri.as_ref().and_then(dialled);
    user.is_some_and(|user| world.trunks.router().plan().is_emergency(&user))
}

/// What a request asks for: of a trunk that calls the line that we registered there, it is what
/// stands in P-Called-Party-ID (RFC 7315 §4.2), else in To, else our main number there.
pub(super) fn asked_for(
    world: &World,
    trunk: Option<usize>,
    request: &Message,
    uri: &Uri<'_>,
) -> Option<String> {
    let user = dialled(uri);
    let Some(trunk) = trunk else { return user };
    let is_line = user.as_deref().is_some_and(|user| world.trunks.is_line(trunk, user));
    if !is_line {
        return user;
    }
    let of = |address: NameAddr<'_>| dialled(&address.uri());
    let is_number = |user: &String| world.trunks.router().plan().normalise(user).is_some();
    let called = request
        .value_named("P-Called-Party-ID")
        .and_then(|value| NameAddr::parse(value).ok())
        .and_then(of)
        .filter(is_number);
    let to = || request.to().ok().and_then(of).filter(is_number);
    let main = || world.trunks.spec(trunk).map(|spec| spec.number.clone());
    let name = || world.trunks.spec(trunk).map(|spec| spec.username.clone());
    let filled = |text: &String| !text.is_empty();
    called.or_else(to).or_else(|| main().filter(filled)).or_else(|| name().filter(filled))
}

/// The address of record that stands for what was dialled, and whether it is a user of ours.
pub(super) fn party_of(world: &World, dialled: &str) -> (String, bool) {
    if world.registrar.knows(dialled) {
        return (world.settings.aor(dialled), true);
    }
    let Some(normalised) = world.trunks.router().plan().normalise(dialled) else {
        return (world.settings.aor(dialled), false);
    };
    match crate::route::Directory::owner_of(&world.registrar, &normalised.number) {
        Some(owner) => (world.settings.aor(&owner), true),
        None => (world.settings.aor(&normalised.number), false),
    }
}

/// The caller of a request that came over a trunk: a number that can be called back, or an address
/// there, which nobody takes for one of ours.
pub(super) fn caller_over(
    world: &World,
    trunk: usize,
    request: &Message,
    flow: &Flow,
) -> (String, Vouched) {
    let Some(spec) = world.trunks.spec(trunk) else {
        return (world.settings.aor("anonymous"), Vouched::Nobody);
    };
    let trusted = spec.trusted || world.settings.trusts(flow);
    let vouched = if trusted { Vouched::Peer } else { Vouched::Nobody };
    let asserted = request.value(Header::PAssertedIdentity).filter(|_| trusted);
    let asserted = asserted.and_then(|value| NameAddr::parse(value).ok());
    let anonymous = identity::is_anonymous(request);
    let from = request.from().ok().filter(|_| !anonymous);
    let user = asserted.or(from).and_then(|address| dialled(&address.uri()));
    let Some(user) = user else { return (world.settings.aor("anonymous"), vouched) };
    match world.trunks.router().plan().normalise(&user) {
        Some(number) => (world.settings.aor(&number.number), vouched),
        None => (spec.aor(&user), vouched),
    }
}

/// Where a call goes that is not for a user by name or number.
pub(super) fn route(world: &World, dialled: &str, random: u64, admission: &mut Admission) {
    let from = admission.from.clone();
    let caller = Uri::parse(&from).ok();
    let caller = caller.as_ref().and_then(Uri::user_decoded).unwrap_or_default();
    let origin = match admission.way.trunk_in {
        Some(trunk) => Origin::Trunk(trunk),
        None => Origin::User(&caller),
    };
    let decision = world.trunks.decide(world.now, &world.registrar, dialled, origin, random);
    admission.way.emergency = decision.is_emergency();
    match decision.outcome {
        Outcome::User { name, .. } => {
            admission.known = world.registrar.knows(&name);
            admission.to = world.settings.aor(&name);
        }
        Outcome::Trunks(candidates) => {
            admission.known = true;
            admission.way.candidates = candidates;
        }
        Outcome::Nobody => {}
        Outcome::NoTrunk => {
            admission.known = true;
            admission.way.no_trunk = true;
        }
    }
}

/// The branches over trunks, one after the other.
pub(super) fn branches(world: &World, way: &Way) -> (Vec<Branch>, Vec<u16>) {
    let limit = world.settings.max_branches.min(MAX_BRANCHES);
    let chosen = way.candidates.iter().take(limit);
    let branches: Vec<Branch> =
        chosen.filter_map(|candidate| Branch::to_trunk(world, candidate)).collect();
    let q = (0..branches.len()).map(|at| u16::try_from(1_000 - at).unwrap_or(0)).collect();
    (branches, q)
}

impl Call {
    /// Takes places among the calls of the users and of the trunk that it came over.
    ///
    /// # Errors
    /// The refusal and its cause in words, if that is one too many.
    pub(super) fn enter_limits(
        &mut self,
        cx: &mut Cx<'_>,
        admission: &Admission,
    ) -> Result<(), (Reply, &'static str)> {
        let way = &admission.way;
        if way.no_trunk {
            let text = "no trunk can take the call";
            return Err((limited(503, 34, text), text));
        }
        if let Some(trunk) = way.trunk_in {
            if !cx.world.trunks.enter(trunk, way.emergency, true) {
                let text = "max_calls of the trunk is reached";
                return Err((limited(503, 34, text), text));
            }
            self.trunk_in = Some(trunk);
        }
        let max = cx.world.settings.max_calls_per_user;
        let text = "call.max_calls_per_user is reached";
        let is_full =
            |world: &World, aor: &str| max > 0 && !way.emergency && world.usage.of(aor) >= max;
        if way.trunk_in.is_none() {
            if is_full(cx.world, &self.from) {
                return Err((limited(503, 34, text), text));
            }
            cx.world.usage.enter(&self.from);
            self.counted.push(self.from.clone());
        }
        if way.candidates.is_empty() && admission.foreign.is_none() {
            if is_full(cx.world, &self.to) {
                return Err((limited(486, 17, text), text));
            }
            cx.world.usage.enter(&self.to);
            self.counted.push(self.to.clone());
        }
        Ok(())
    }

    /// Gives all places back.
    pub(super) fn leave_limits(&mut self, cx: &mut Cx<'_>) {
        for user in self.counted.drain(..) {
            cx.world.usage.leave(&user);
        }
        if let Some(trunk) = self.trunk_in.filter(|_| !self.left_trunk) {
            cx.world.trunks.leave(trunk);
            self.left_trunk = true;
        }
        for branch in 0..self.branches.len() {
            self.leave_trunk(cx, branch);
        }
    }
}
