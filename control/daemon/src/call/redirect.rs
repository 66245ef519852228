//! 3xx: a call follows whom it is pointed to, as far as policy lets the one who points call there.
//!
//! Followed are contacts that lead to users of ours, and to registered contacts of theirs. The rest
//! goes to the caller, who may know better. A call never rings the same place twice, follows
//! `call.max_redirects` redirections in a row, and has `call.max_branches` branches in all, so that
//! no loop outlasts that.

use super::fork::{self, Event, State};
use super::history::Step;
use super::model::{Branch, Call, Cx, leg_of};
use super::setup;
use crate::core::World;
use crate::registrar::bindings::Binding;
use std::cmp::Reverse;
use std::sync::Arc;
use tandem_signalling::header::Header;
use tandem_signalling::message::Message;
use tandem_signalling::name_addr::{Contact, NameAddr};
use tandem_signalling::stack::Flow;
use tandem_signalling::uri::{Scheme, Uri};

/// Where a branch was pointed to, and by which other one.
#[derive(Debug)]
pub(super) struct Redirect {
    /// The branch that answered with 3xx.
    from: usize,
    /// The Contact as it stood there.
    contact: String,
    /// What others are told of it.
    step: Step,
}

/// A Contact of a 3xx that can be followed.
struct Target {
    contact: String,
    q_milli: u16,
    /// Address of record.
    aor: String,
    branches: Vec<Branch>,
}

impl Call {
    /// The redirections that lead to a branch, oldest first.
    pub(super) fn steps(&self, branch: usize) -> Vec<&Step> {
        let redirect = |branch: usize| self.branches.get(branch)?.redirect.as_deref();
        let last = redirect(branch);
        let chain = std::iter::successors(last, |it| redirect(it.from));
        let mut steps: Vec<&Step> = chain.map(|it| &it.step).collect();
        steps.reverse();
        steps
    }

    /// Whether a Contact of a 3xx was called.
    pub(super) fn was_followed(&self, contact: &[u8]) -> bool {
        let followed = |redirect: &Redirect| redirect.contact.as_bytes() == contact;
        self.branches.iter().filter_map(|it| it.redirect.as_deref()).any(followed)
    }

    /// Follows the 3xx that a branch answered with; false if it names nobody who can be called.
    pub(super) fn follow(&mut self, cx: &mut Cx<'_>, branch: usize, status: u16) -> bool {
        let open = matches!(self.fork.state(branch), Some(State::Calling | State::Ringing));
        let rang = self.fork.state(branch) == Some(State::Ringing);
        // 380 names services, not places (RFC 3261 §21.3.5).
        if !open || self.fork.decided() || status == 380 {
            return false;
        }
        let steps = self.steps(branch).len();
        if steps >= cx.world.settings.max_redirects {
            tracing::info!(call = %self.id, "redirected more often than call.max_redirects allows");
            return false;
        }
        let Some(response) = self.branches[branch].failure.clone() else { return false };
        let (targets, all) = self.targets(cx.world, &response);
        if targets.is_empty() {
            return false;
        }
        let q = self.add_targets(branch, (status, rang), targets, &response);
        cx.world.media.drop_leg(cx.world.now, self.key(), leg_of(branch));
        let first = self.fork.add(&q);
        let status = (!all).then_some(status);
        self.drive(cx, Event::Redirected { branch, first, status }, None);
        true
    }

    /// The contacts that can be followed, the best first, and whether these are all.
    fn targets(&self, world: &World, response: &Message) -> (Vec<Target>, bool) {
        let limit = world.settings.max_branches.min(fork::MAX_BRANCHES);
        let mut room = limit.saturating_sub(self.branches.len());
        let mut contacts: Vec<_> = response
            .values(Header::Contact)
            .filter_map(|value| Some((value, Contact::parse(value).ok()?)))
            .filter_map(|(value, it)| Some((value, it.address()?, it.q().thousandths())))
            .collect();
        contacts.sort_by_key(|(_, _, q)| Reverse(*q));
        let named = contacts.len();
        let mut targets: Vec<Target> = Vec::new();
        for (value, address, q_milli) in contacts {
            let Some((aor, bindings)) = reach(world, &self.caller.flow, &address) else { continue };
            let is_new = |it: &&Binding| {
                let known = |branch: &Branch| branch.target == it.registration.contact;
                !self.branches.iter().any(known)
                    && !targets.iter().any(|target| target.branches.iter().any(known))
            };
            let new: Vec<_> =
                bindings.iter().filter(is_new).take(room).map(setup::branch).collect();
            if new.is_empty() {
                continue;
            }
            room -= new.len();
            let contact = String::from_utf8_lossy(value).into_owned();
            targets.push(Target { contact, q_milli, aor, branches: new });
        }
        let all = targets.len() == named;
        (targets, all)
    }

    /// Adds the branches; gives their priorities.
    fn add_targets(
        &mut self,
        from: usize,
        (status, rang): (u16, bool),
        targets: Vec<Target>,
        response: &Message,
    ) -> Vec<u16> {
        let text = |value: &[u8]| core::str::from_utf8(value).ok().map(str::to_owned);
        let diversion: Vec<_> =
            response.values(Header::Diversion).filter_map(text).take(MAX_DIVERSIONS).collect();
        let mut q = Vec::new();
        for (index, target) in targets.into_iter().enumerate() {
            let step = Step {
                to: target.aor,
                status,
                rang,
                ordinal: index + 1,
                diversion: diversion.clone(),
            };
            let redirect = Arc::new(Redirect { from, contact: target.contact, step });
            for mut branch in target.branches {
                branch.redirect = Some(Arc::clone(&redirect));
                self.branches.push(branch);
                q.push(target.q_milli);
            }
        }
        q
    }
}

/// Diversion values that are taken over from one 3xx.
const MAX_DIVERSIONS: usize = 8;

/// The address of record that a Contact stands for, and its registered contacts: all of a user of
/// ours, or the one that is named by its own address.
fn reach<'a>(
    world: &'a World,
    flow: &Flow,
    address: &NameAddr<'_>,
) -> Option<(String, &'a [Binding])> {
    let uri = address.uri();
    if uri.scheme() != Scheme::Sip {
        return None;
    }
    let aor = world.settings.aor(&uri.user_decoded()?);
    let bindings = world.registrar.contacts(&aor);
    if world.settings.is_own_host(&uri.host(), flow) {
        return Some((aor, bindings));
    }
    let named = |it: &Binding| Uri::parse(&it.registration.contact).is_ok_and(|own| own == uri);
    let at = bindings.iter().position(named)?;
    Some((aor, &bindings[at..=at]))
}
