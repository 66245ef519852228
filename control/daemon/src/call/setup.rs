//! An INVITE becomes a call, or is refused.

use super::early::Early;
use super::fork::{self, Fork};
use super::headers;
use super::id::CallId;
use super::identity::{self, Privacy, Vouched};
use super::model::{Branch, Call, Caller, Cx, Times};
use super::peer::Peer;
use super::place::Place;
use super::refresh;
use super::release::After;
use super::resume::Kept;
use super::routing::{self, Way};
use super::transfer::Party;
use crate::config::types::Ring;
use crate::core::World;
use crate::journal::{CallSetup, Entry};
use crate::logging::Redacted;
use crate::media::LegProfile;
use crate::record::ReleasedBy;
use crate::registrar::Role;
use crate::registrar::bindings::Binding;
use crate::snapshot::ControlEvent;
use tandem_signalling::header::{Header, MediaType};
use tandem_signalling::message::Message;
use tandem_signalling::stack::{Flow, Reply, ServerTx};
use tandem_signalling::uri::{Scheme, Uri};

/// What was found out about an INVITE that is let in.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    /// Address of record of the caller.
    pub(crate) from: String,
    /// Address of record that is called.
    pub(crate) to: String,
    /// Whether the callee has an account here, or is somebody else's to know.
    pub(crate) known: bool,
    /// Whom to call, if the domain is not ours.
    pub(crate) foreign: Option<String>,
    /// The way on: one hop less than came in.
    pub(crate) max_forwards: u8,
    /// Our mark, so that a loop is seen.
    pub(crate) hop: String,
    /// Who vouches for who the caller is.
    pub(crate) vouched: Vouched,
    /// Where it goes beyond the contacts of a user.
    pub(crate) way: Way,
}

impl Admission {
    /// That of a call which an earlier daemon let in.
    pub(super) fn resumed(world: &World, from: &str, to: &str) -> Self {
        Self {
            from: from.to_owned(),
            to: to.to_owned(),
            known: true,
            foreign: None,
            max_forwards: world.settings.max_forwards,
            hop: world.hop_mark(to),
            vouched: Vouched::Nobody,
            way: Way::default(),
        }
    }
}

/// Checks what can be checked before there is a call.
pub(super) fn admit(
    world: &mut World,
    calls: usize,
    request: &Message,
    flow: &Flow,
) -> Result<Admission, Reply> {
    if world.stopping {
        return Err(Reply::new(503).header("Retry-After", "10"));
    }
    if calls >= world.settings.max_calls && !routing::is_emergency(world, request) {
        let warning = "399 tandem \"As many calls as call.max_calls allows\"";
        return Err(Reply::new(503).header("Retry-After", "10").header("Warning", warning));
    }
    check_extensions(request)?;
    let session = world.settings.session;
    session.accept(request).map_err(|_| refresh::too_short(session))?;
    check_body(request)?;
    admit_request(world, request, flow)
}

/// Checks what holds for every request that is to go on to somebody.
pub(crate) fn admit_request(
    world: &mut World,
    request: &Message,
    flow: &Flow,
) -> Result<Admission, Reply> {
    let max_forwards = check_hops(world, request)?;
    let trunk_in = world.trunks.identify(flow, request);
    let Callee { to, known, foreign, dialled } = callee(world, request, flow, trunk_in)?;
    // A call that came around has lost its credentials on the way: the loop is told before they
    // are asked for.
    let hop = check_loop(world, request, flow, &to)?;
    let (from, vouched) = match trunk_in {
        Some(trunk) => routing::caller_over(world, trunk, request, flow),
        None => caller(world, request, flow)?,
    };
    Privacy::of(request).check()?;
    let way = Way { trunk_in, ..Way::default() };
    let mut admission = Admission { from, to, known, foreign, max_forwards, hop, vouched, way };
    if !admission.known {
        let random = world.draw();
        routing::route(world, &dialled, random, &mut admission);
    }
    Ok(admission)
}

/// RFC 3261 §16.3 step 3.
fn check_hops(world: &World, request: &Message) -> Result<u8, Reply> {
    match request.max_forwards() {
        Some(hops) => hops.checked_sub(1).ok_or_else(|| Reply::new(483)),
        None => Ok(world.settings.max_forwards),
    }
}

/// RFC 3261 §8.2.2.3 and §16.3 step 5; Join names a dialog that only we see.
fn check_extensions(request: &Message) -> Result<(), Reply> {
    let unsupported = headers::unsupported_options(request);
    if unsupported.is_empty() {
        return Ok(());
    }
    Err(Reply::new(420).header("Unsupported", unsupported.join(", ")))
}

/// RFC 3261 §8.2.3: only session descriptions that Tandem can read.
fn check_body(request: &Message) -> Result<(), Reply> {
    let encoded = request
        .tokens(Header::ContentEncoding)
        .any(|encoding| !encoding.eq_ignore_ascii_case("identity"));
    if encoded {
        return Err(Reply::new(415).header("Accept-Encoding", "identity"));
    }
    if !request.body().is_empty() && !is_sdp(request) {
        return Err(Reply::new(415).header("Accept", headers::ACCEPT));
    }
    check_accept(request)
}

/// RFC 3261 §21.4.7: who takes no session description cannot be answered. Without Accept, SDP is
/// meant (§20.1).
fn check_accept(request: &Message) -> Result<(), Reply> {
    let takes = |value: &[u8]| {
        MediaType::parse(value).is_ok_and(|it| {
            it.is("application", "sdp") || it.is("application", "*") || it.is("*", "*")
        })
    };
    if request.has(Header::Accept) && !request.values(Header::Accept).any(takes) {
        return Err(Reply::new(406));
    }
    Ok(())
}

/// Whether the body is a session description.
pub(super) fn is_sdp(message: &Message) -> bool {
    !message.body().is_empty()
        && message.content_type().is_ok_and(|kind| kind.is("application", "sdp"))
}

/// Address of record of the caller, who proves it, and who vouches for it; nobody calls in another's
/// name (RFC 3261 §22.1 leaves that to us), but without a name who likes (RFC 3323 §4.1.1.3).
pub(super) fn caller(
    world: &mut World,
    request: &Message,
    flow: &Flow,
) -> Result<(String, Vouched), Reply> {
    let named = request.from().ok().and_then(|from| from.uri().user_decoded().map(String::from));
    let trusted = world.settings.trusts(flow);
    let vouched = if trusted { Vouched::Peer } else { Vouched::Nobody };
    if !world.settings.authenticate {
        return Ok((world.settings.aor(named.as_deref().unwrap_or("anonymous")), vouched));
    }
    let user = world.registrar.authenticate(world.now, request, flow.remote.ip(), Role::Proxy)?;
    if named.as_deref() == Some(&*user) || identity::is_anonymous(request) {
        let vouched = if trusted { Vouched::Peer } else { Vouched::Us };
        Ok((world.settings.aor(&user), vouched))
    } else {
        Err(Reply::new(403).reason("From is not the authenticated user"))
    }
}

/// Who is called.
struct Callee {
    to: String,
    known: bool,
    foreign: Option<String>,
    dialled: String,
}

/// Who is called: a user of ours, by the user part of the Request-URI, or somebody of another
/// domain if that is allowed.
fn callee(
    world: &World,
    request: &Message,
    flow: &Flow,
    trunk: Option<usize>,
) -> Result<Callee, Reply> {
    let uri = request.uri().map_err(|_| Reply::new(400).reason("Malformed Request-URI"))?;
    if !matches!(uri.scheme(), Scheme::Sip | Scheme::Tel) {
        // sips asks for TLS on every hop, which is not offered here.
        return Err(Reply::new(416));
    }
    // A trunk may name its own domain, and a telephone number has none.
    let anywhere = trunk.is_some() || uri.scheme() == Scheme::Tel;
    if !anywhere && !world.settings.is_own_host(&uri.host(), flow) {
        return foreign(world, &uri);
    }
    let Some(dialled) = routing::asked_for(world, trunk, request, &uri) else {
        return Err(Reply::new(484));
    };
    let (to, known) = routing::party_of(world, &dialled);
    Ok(Callee { to, known, foreign: None, dialled })
}

/// Whoever calls anywhere for anybody is abused, so that has to be allowed.
fn foreign(world: &World, uri: &Uri<'_>) -> Result<Callee, Reply> {
    if !world.settings.foreign_domains {
        let warning = "399 tandem \"Calls to other domains are off: call.foreign_domains\"";
        let reply = Reply::new(404).reason("Domain not served here");
        return Err(reply.header("Warning", warning));
    }
    let target = uri.as_request_uri().into_owned();
    Ok(Callee {
        to: uri.address_of_record(),
        known: true,
        foreign: Some(target),
        dialled: String::new(),
    })
}

/// Whom a transferred party may call, for the transferor answers for it.
pub(super) fn admit_transfer(
    world: &World,
    invite: &Message,
    party: &Party,
) -> Result<Admission, Reply> {
    let max_forwards = check_hops(world, invite)?;
    let Callee { to, known, foreign, dialled } = callee(world, invite, &party.flow, None)?;
    let hop = check_loop(world, invite, &party.flow, &to)?;
    let (from, vouched) = (party.aor.clone(), party.vouched);
    let way = Way::default();
    let mut admission = Admission { from, to, known, foreign, max_forwards, hop, vouched, way };
    if !admission.known {
        let random = world.wall.as_microsecond().unsigned_abs();
        routing::route(world, &dialled, random, &mut admission);
    }
    Ok(admission)
}

impl Admission {
    /// That of a call between two who are in calls already.
    pub(super) fn joined(world: &World, party: &Party, to: &str) -> Self {
        Self {
            from: party.aor.clone(),
            to: to.to_owned(),
            known: true,
            foreign: None,
            max_forwards: world.settings.max_forwards,
            hop: world.hop_mark(to),
            vouched: party.vouched,
            way: Way::default(),
        }
    }
}

/// The same call of the same party to the same address, come around again (RFC 3261 §16.3 step 4,
/// for an element that does not leave its Via).
fn check_loop(world: &World, request: &Message, flow: &Flow, to: &str) -> Result<String, Reply> {
    let hop = world.hop_mark(to);
    let (mut marks, mut seen) = (0, false);
    for mark in headers::hops(request) {
        marks += 1;
        seen |= mark == hop.as_bytes();
    }
    if seen || marks >= headers::MAX_HOPS || world.stack.has_looped(flow, request) {
        Err(Reply::new(482))
    } else {
        Ok(hop)
    }
}

/// The call of an INVITE that was let in.
pub(super) fn call(
    world: &World,
    id: CallId,
    tx: ServerTx,
    invite: Message,
    flow: Flow,
    admission: &Admission,
) -> Call {
    let (branches, q) = branches(world, admission);
    let peer = Peer::of(&invite);
    Call {
        id,
        from: admission.from.clone(),
        to: admission.to.clone(),
        offerless: !is_sdp(&invite),
        invite,
        caller: Caller { tx, dialog: None, flow, peer, vouched: admission.vouched },
        fork: Fork::new(&q),
        branches,
        winner: None,
        callee_ack_due: false,
        exchanges: Vec::new(),
        held: [false; 2],
        early: Early::default(),
        watches: Default::default(),
        said: Default::default(),
        heard: [None, None],
        transfer: None,
        referred_by: None,
        referred: false,
        join: None,
        times: Times {
            started_at: world.wall,
            ringing_at: None,
            answered_at: None,
            answered: None,
            lasted_before: core::time::Duration::ZERO,
        },
        group_until: None,
        rings_until: None,
        lasts_until: None,
        ended: false,
        closing: None,
        max_forwards: admission.max_forwards,
        hop: admission.hop.clone(),
        kept: Kept::default(),
        recovered: false,
        trunk_in: None,
        left_trunk: false,
        counted: Vec::new(),
        emergency: admission.way.emergency,
    }
}

/// Who is called at first, and with which priorities.
fn branches(world: &World, admission: &Admission) -> (Vec<Branch>, Vec<u16>) {
    if let Some(target) = &admission.foreign {
        return (vec![Branch::to_uri(target.clone())], vec![1000]);
    }
    if !admission.way.candidates.is_empty() {
        return routing::branches(world, &admission.way);
    }
    let contacts = world.registrar.contacts(&admission.to);
    let limit = world.settings.max_branches.min(fork::MAX_BRANCHES);
    let all_at_once = world.settings.ring == Ring::All;
    let priority = |b: &Binding| if all_at_once { 1000 } else { b.registration.q_milli };
    let chosen = contacts.iter().take(limit);
    (chosen.clone().map(branch).collect(), chosen.map(priority).collect())
}

/// The way to a contact that is registered.
pub(super) fn branch(binding: &Binding) -> Branch {
    let registration = &binding.registration;
    let place = Place::Flow(binding.flow);
    Branch::new(registration.contact.clone(), place, registration.path.clone())
}

impl Call {
    /// Journals the call and calls the first contacts.
    pub(super) fn start(&mut self, cx: &mut Cx<'_>, admission: &Admission) {
        cx.world.journal.append(Entry::CallSetup(CallSetup {
            id: self.id.to_string(),
            key: self.id.0,
            from: self.from.clone(),
            to: self.to.clone(),
            started_at: self.times.started_at,
        }));
        cx.world.shared.trace().leg(self.id, self.invite.call_id().unwrap_or_default());
        if cx.world.call_lines.allows(cx.world.now) {
            let (from, to) = (Redacted(&self.from), Redacted(&self.to));
            tracing::info!(call = %self.id, %from, %to, "call started");
        }
        cx.world.shared.tell(|| ControlEvent::CallStarted {
            call: self.id.to_string(),
            from: self.from.clone(),
            to: self.to.clone(),
        });
        if !admission.known {
            let told = cx.world.tells_who_exists(&self.caller.flow);
            let status = if told { 404 } else { 480 };
            return self.refuse(cx, Reply::new(status), "no such user");
        }
        if let Err((reply, text)) = self.enter_limits(cx, admission) {
            return self.refuse(cx, reply, text);
        }
        if self.branches.is_empty() {
            return self.refuse(cx, Reply::new(480), "not registered");
        }
        let profile = LegProfile { local: self.caller.flow.local.ip() };
        cx.world.media.prepare_leg(self.key(), 0, profile);
        self.rings_until = Some(cx.world.now + cx.world.settings.no_answer);
        self.drive(cx, fork::Event::Start, None);
    }

    /// Ends a call for a reason of our own before it was answered.
    pub(super) fn refuse(&mut self, cx: &mut Cx<'_>, reply: Reply, text: &str) {
        self.end(cx, reply.status(), text, ReleasedBy::Tandem);
        self.send(cx, After::Respond(self.caller.tx, reply));
        self.drive(cx, fork::Event::Abandon, None);
    }
}
