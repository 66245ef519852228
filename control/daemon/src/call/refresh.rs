//! Whether both parties are still there: session timers (RFC 4028) with those that keep them, else
//! OPTIONS inside the dialog. A party that does not answer, or does not know its dialog, ends the
//! call; so does a session that nobody refreshed in time.

use super::headers;
use super::model::{Call, Cx, Side};
use super::ringing::SDP;
use super::session_timer::{Policy, Refresher, Session, TIMER};
use super::table::Role;
use core::time::Duration;
use tandem_signalling::header::Header;
use tandem_signalling::message::Message;
use tandem_signalling::method::Method;
use tandem_signalling::stack::{ClientTx, Fields, Reply};
use tandem_wire::time::Instant;

/// How long before its end a session counts as not refreshed at the most (RFC 4028 §10).
const MOST_BEFORE_END: Duration = Duration::from_secs(32);

/// How long a refresh waits that something else is in the way of.
const IN_THE_WAY: Duration = Duration::from_secs(2);

/// The watch over one party.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// What was agreed; `None` if the party keeps no timers.
    pub(super) session: Option<Session>,
    /// The Min-SE of a 422, s.
    least_s: u32,
    /// When we refresh, or ask for a sign of life.
    due: Option<Instant>,
    /// When the session is over.
    ends: Option<Instant>,
    /// The refresh that is under way.
    pub(super) open: Option<(ClientTx, Method)>,
}

impl Watch {
    /// When it looks at the time again.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        [self.due, self.ends].into_iter().flatten().min()
    }

    /// A session begins, or was refreshed.
    pub(super) fn start(&mut self, now: Instant, policy: Policy, session: Option<Session>) {
        self.session = session;
        let Some(Session { interval_s, refresher }) = session else {
            let probe = (policy.expires_s > 0).then(|| seconds(policy.expires_s) / 2);
            (self.due, self.ends) = (probe.map(|probe| now + probe), None);
            return;
        };
        let interval = seconds(interval_s);
        (self.due, self.ends) = match refresher {
            // RFC 4028 §10: at half of the interval.
            Refresher::Us => (Some(now + interval / 2), Some(now + interval)),
            // §10: the party that does not refresh hangs up a little before the end.
            Refresher::Peer => {
                (None, Some(now + interval.saturating_sub(MOST_BEFORE_END.min(interval / 3))))
            }
        };
    }
}

impl Watch {
    /// A session of an earlier daemon goes on. When it was refreshed last is not known: it is done
    /// soon, at different times for different calls.
    pub(super) fn resume(
        &mut self,
        now: Instant,
        policy: Policy,
        session: Option<Session>,
        draw: u64,
    ) {
        self.start(now, policy, session);
        if let (Some(Session { interval_s, .. }), Some(due)) = (session, &mut self.due) {
            let within_ms = u64::from(interval_s) * 1_000 / 4;
            *due = now + Duration::from_millis(draw % within_ms.max(1));
        }
    }
}

fn seconds(s: u32) -> Duration {
    Duration::from_secs(s.into())
}

impl Side {
    const fn name(self) -> &'static str {
        match self {
            Self::Caller => "the caller",
            Self::Callee => "the callee",
        }
    }
}

impl Call {
    /// What becomes of a party's session if its request is accepted.
    pub(super) fn session_of(
        &self,
        cx: &Cx<'_>,
        request: &Message,
    ) -> Result<Option<Session>, Reply> {
        let policy = cx.world.settings.session;
        policy.accept(request).map_err(|_| too_short(policy))
    }

    /// Watches over a party from now on.
    pub(super) fn start_session(&mut self, cx: &Cx<'_>, side: Side, session: Option<Session>) {
        let watch = &mut self.watches[side.index()];
        let changed = watch.session != session;
        watch.start(cx.world.now, cx.world.settings.session, session);
        if changed {
            self.save_session(cx);
        }
    }

    /// A 2xx for a party that asked for something that refreshes its session.
    pub(super) fn accept_session(
        &mut self,
        cx: &Cx<'_>,
        side: Side,
        session: Option<Session>,
        fields: &mut Fields,
    ) {
        fields.push("Supported", TIMER);
        if let Some(session) = session {
            session.tell(fields);
        }
        self.start_session(cx, side, session);
    }

    /// Adds what is asked of a party's session to a request for it.
    pub(super) fn ask_session(&self, cx: &Cx<'_>, side: Side, fields: &mut Fields) {
        let watch = &self.watches[side.index()];
        fields.push("Supported", TIMER);
        cx.world.settings.session.ask(fields, watch.session, watch.least_s);
    }

    /// Whether a refresh of ours offers a session description.
    pub(super) fn is_refreshing_with_offer(&self) -> bool {
        self.watches.iter().any(|it| it.open.is_some_and(|(_, method)| method == Method::Invite))
    }

    /// Refreshes what is due, and ends the call if a session is over.
    pub(super) fn handle_watches(&mut self, cx: &mut Cx<'_>, at: Instant) {
        for side in [Side::Caller, Side::Callee] {
            let watch = &mut self.watches[side.index()];
            let is_due = watch.due.take_if(|due| *due <= at).is_some();
            if watch.ends.take_if(|ends| *ends <= at).is_some() {
                let ours = watch.session.is_some_and(|it| it.refresher == Refresher::Us);
                let what = if ours { "answer a session refresh" } else { "refresh the session" };
                return self.hang_up_for(cx, 408, &format!("{} does not {what}", side.name()));
            }
            if is_due {
                self.refresh(cx, side);
            }
        }
    }

    fn refresh(&mut self, cx: &mut Cx<'_>, side: Side) {
        let Some(dialog) = self.dialog(side) else { return };
        let watch = &self.watches[side.index()];
        let said = self.said[side.index()].agreed.as_deref();
        // RFC 4028 §7.4: UPDATE if the party takes it, since a re-INVITE would need an offer.
        let method = match watch.session {
            Some(_) if self.peer(side).update == Some(true) => Method::Update,
            Some(_) if said.is_some() => Method::Invite,
            _ => Method::Options,
        };
        if watch.open.is_some()
            || method == Method::Invite && (self.negotiates() || self.callee_ack_due)
        {
            return self.refresh_after(cx, side, IN_THE_WAY);
        }
        let mut fields = Fields::new();
        if method != Method::Options {
            fields.push("Allow", headers::ALLOW);
            self.ask_session(cx, side, &mut fields);
        }
        if let Some(said) = said.filter(|_| method == Method::Invite) {
            fields = fields.body(SDP, said);
        }
        match cx.request_in_dialog(dialog, method, fields, Role::Refresh(side)) {
            Ok(tx) => self.watches[side.index()].open = Some((tx, method)),
            Err(error) => {
                tracing::debug!(call = %self.id, %error, "a session was not refreshed yet");
                self.refresh_after(cx, side, IN_THE_WAY);
            }
        }
    }

    fn refresh_after(&mut self, cx: &Cx<'_>, side: Side, delay: Duration) {
        self.watches[side.index()].due = Some(cx.world.now + delay);
    }

    /// The response to a refresh.
    pub(super) fn refresh_response(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        tx: ClientTx,
        response: &Message,
    ) {
        let status = response.status().unwrap_or(500);
        if status < 200 {
            return;
        }
        let Some((_, method)) = self.watches[side.index()].open.take_if(|(open, _)| *open == tx)
        else {
            return;
        };
        cx.index.remove_client(tx);
        if self.ended {
            return;
        }
        self.learn(side, response);
        match status {
            200..300 if method != Method::Options => {
                if let Some(dialog) = self.dialog(side).filter(|_| method == Method::Invite) {
                    cx.ack(dialog, Fields::new());
                }
                self.start_session(cx, side, Policy::agreed(response));
            }
            408 | 481 => self.refresh_failed(cx, side, tx, status),
            // Whatever else is said to OPTIONS, somebody is there who knows the dialog.
            _ if method == Method::Options => {
                let session = self.watches[side.index()].session;
                self.start_session(cx, side, session);
            }
            422 => self.raise_interval(cx, side, response),
            491 => {
                // RFC 3261 §14.1.
                if let Some(dialog) = self.dialog(side) {
                    let delay = cx.world.stack.glare_delay(dialog);
                    self.refresh_after(cx, side, delay);
                }
            }
            _ => {
                // RFC 5057: the dialog lives on; there is time for more tries.
                let told = response.retry_after().map(|it| seconds(it.seconds));
                let quarter = self.quarter(side);
                self.refresh_after(cx, side, told.unwrap_or(quarter).min(quarter));
            }
        }
    }

    /// A quarter of the interval.
    fn quarter(&self, side: Side) -> Duration {
        let session = self.watches[side.index()].session;
        (session.map_or(IN_THE_WAY, |it| seconds(it.interval_s)) / 4).max(Duration::from_secs(1))
    }

    /// RFC 4028 §7.4: the next try asks for what the 422 names.
    fn raise_interval(&mut self, cx: &mut Cx<'_>, side: Side, response: &Message) {
        let least = response.number(Header::MinSe).unwrap_or(0);
        let watch = &mut self.watches[side.index()];
        match &mut watch.session {
            Some(session) if least > session.interval_s => {
                session.interval_s = least;
                watch.least_s = least;
                self.refresh(cx, side);
            }
            _ => {
                let quarter = self.quarter(side);
                self.refresh_after(cx, side, quarter);
            }
        }
    }

    /// The refresh was not answered, or the party does not know the dialog.
    pub(super) fn refresh_failed(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        tx: ClientTx,
        status: u16,
    ) {
        self.watches[side.index()].open.take_if(|(open, _)| *open == tx);
        cx.index.remove_client(tx);
        let what = if status == 481 { "know the call" } else { "answer" };
        self.hang_up_for(cx, status, &format!("{} does not {what} any more", side.name()));
    }
}

/// RFC 4028 §9: what is asked for is below our least.
pub(super) fn too_short(policy: Policy) -> Reply {
    Reply::new(422).header("Min-SE", policy.min_se_s.to_string())
}
