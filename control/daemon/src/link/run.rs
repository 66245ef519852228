//! The attached engine: install what is wanted, read events, renew leases, ask for endpoints.

use super::local::{INSTALL_LIMIT, LOOK_EVERY, LocalEngine, PROVISION_PAUSE, State};
use super::session::Phase;
use super::{Endpoint, Family, Installed, LinkEvent};
use std::time::Duration;
use tandem_contract::command::Command;
use tandem_contract::event::{EndCause, Event, Refusal};
use tandem_contract::handle::Handle;
use tandem_contract::limits::DEFAULT_ENDPOINTS_AHEAD;
use tandem_wire::time::Instant;

/// Sequence of every renewal: a refusal of one names what the engine does not hold.
const RENEWAL: u64 = 0;

/// Rounds of reading events before other work gets its turn.
const ROUNDS: usize = 4;

impl LocalEngine {
    /// A new session: asks what is there, states what shall be there.
    pub(super) fn begin(&mut self, now: Instant, new: bool) {
        self.install_deadline = now + INSTALL_LIMIT;
        self.renew_at = now + self.renewal();
        self.provision_at = None;
        self.look_at = now + LOOK_EVERY;
        let wanted: Vec<Handle> = self.desired.wanted().collect();
        let State::Up(session) = &mut self.state else { return };
        for worker in 0..u16::try_from(session.lanes.len()).unwrap_or(0) {
            session.start_audit(worker);
        }
        session.reinstalled = if new { wanted.len() } else { 0 };
        for handle in wanted {
            self.reinstall(handle);
        }
        if std::mem::take(&mut self.bare) {
            // Behind the commands above, so that no port of theirs is bound for something else.
            self.provision();
        }
        self.run(now);
    }

    fn reinstall(&mut self, handle: Handle) {
        let Some(spec) = self.desired.specification(handle) else { return };
        match self.send(handle.worker, Command::Put { handle, spec }) {
            Some(sequence) => {
                if let State::Up(session) = &mut self.state {
                    session.unanswered.insert(sequence);
                }
            }
            // The new engine has fewer workers.
            None => self.tell_ended(handle, spec.context, EndCause::LeaseExpired),
        }
    }

    pub(super) fn run(&mut self, now: Instant) {
        self.now = now;
        for _ in 0..ROUNDS {
            match self.read_events() {
                Ok(true) => {}
                Ok(false) => break,
                Err(reason) => return self.lose(now, &reason),
            }
        }
        if self.is_closed() {
            return self.lose(now, "the engine has ended");
        }
        if let Some(worker) = self.look(now) {
            return self.give_up(now, worker);
        }
        self.finish_installation(now);
        if now >= self.renew_at {
            self.renew(now);
        }
        if self.provision_at.is_some_and(|at| now >= at) {
            self.provision_at = None;
            self.provision();
        }
        self.flush();
    }

    /// Looks for signs of life when it is time; a worker that shows none.
    fn look(&mut self, now: Instant) -> Option<u16> {
        let State::Up(session) = &mut self.state else { return None };
        if now < self.look_at {
            return None;
        }
        self.look_at = now + LOOK_EVERY;
        session.hung_worker()
    }

    /// Reads what is there; `true` if more came while control was about to sleep.
    fn read_events(&mut self) -> Result<bool, String> {
        let State::Up(session) = &mut self.state else { return Ok(false) };
        let mut events = Vec::new();
        for lane in &mut session.lanes {
            let worker = lane.worker();
            let mut batch = Vec::new();
            let version = |kind| format!("it sent an unknown event ({kind})");
            lane.drain(&mut batch).map_err(version)?;
            events.extend(batch.into_iter().map(|event| (worker, event)));
        }
        for (worker, event) in events {
            self.handle_event(worker, event);
        }
        let State::Up(session) = &mut self.state else { return Ok(false) };
        let mut asleep = true;
        for lane in &mut session.lanes {
            asleep &= lane.sleep();
        }
        Ok(!asleep)
    }

    fn handle_event(&mut self, worker: u16, event: Event) {
        let State::Up(session) = &self.state else { return };
        if let Some(handle) = handle_of(&event).filter(|it| !session.owns(worker, *it)) {
            tracing::warn!(
                worker,
                ?handle,
                "the engine named a handle that its worker cannot have"
            );
            return;
        }
        match event {
            Event::EndpointReady { handle, rtp, rtcp } => {
                if !self.desired.is_known(handle) {
                    self.endpoints.add(Endpoint { handle, rtp, rtcp });
                }
            }
            Event::EndpointGone { handle } => self.endpoints.remove(handle),
            Event::AuditEnd => self.end_audit(worker),
            Event::Installed {
                handle,
                context,
                local_rtp,
                latched_rtp,
                latched_rtcp,
                sequence,
            } => {
                let State::Up(session) = &mut self.state else { return };
                let installed = Installed { handle, context, local_rtp, latched_rtp, latched_rtcp };
                if sequence != 0 {
                    session.unanswered.remove(&sequence);
                    session.installed(handle);
                } else {
                    session.audit_saw(handle);
                    if session.held_before(handle) {
                        session.found.push(installed);
                    }
                }
                for (source, rtcp) in [(latched_rtp, false), (latched_rtcp, true)] {
                    if source.is_some() {
                        self.desired.latched(handle, source, rtcp);
                    }
                }
            }
            Event::Refused { handle, sequence, refusal } => {
                self.handle_refusal(handle, sequence, refusal);
            }
            Event::Latched { handle, source, rtcp, moved } => {
                self.desired.latched(handle, source, rtcp);
                self.events.push_back(LinkEvent::Latched { handle, source, rtcp, moved });
            }
            Event::Dtmf { handle, code, duration_ms } => {
                self.events.push_back(LinkEvent::Dtmf { handle, code, duration_ms });
            }
            Event::MediaTimeout { handle, silent_ms } => {
                self.events.push_back(LinkEvent::MediaTimeout { handle, silent_ms });
            }
            Event::SsrcChanged { handle, old, new } => {
                self.events.push_back(LinkEvent::SsrcChanged { handle, old, new });
            }
            Event::Ended { handle, context, cause } => self.tell_ended(handle, context, cause),
        }
    }

    fn handle_refusal(&mut self, handle: Handle, sequence: u64, refusal: Refusal) {
        if let State::Up(session) = &mut self.state {
            session.unanswered.remove(&sequence);
        }
        let Some(context) = self.desired.context(handle) else { return };
        if sequence == RENEWAL {
            // It is wanted and the engine does not have it (yet): state it again.
            if self.desired.is_wanted(handle) {
                self.reinstall(handle);
            }
        } else if self.desired.ended(handle) {
            self.events.push_back(LinkEvent::Refused { handle, context, refusal });
        } else {
            // It was to end and is not there.
            self.tell_ended(handle, context, EndCause::Subtracted);
        }
    }

    /// The worker has shown all it holds: what is wanted and missing (its answer was lost, or its
    /// end was) is stated again, what should end and is missing has ended.
    fn end_audit(&mut self, worker: u16) {
        let State::Up(session) = &mut self.state else { return };
        let seen = session.end_audit(worker);
        if session.phase == Phase::Installing {
            return;
        }
        let missing: Vec<Handle> = self
            .desired
            .wanted()
            .filter(|handle| handle.worker == worker && !seen.contains(handle))
            .collect();
        for handle in missing {
            self.reinstall(handle);
        }
        let gone: Vec<Handle> = self
            .desired
            .ending()
            .filter(|handle| handle.worker == worker && !seen.contains(handle))
            .collect();
        for handle in gone {
            let context = self.desired.context(handle).unwrap_or_default();
            self.tell_ended(handle, context, EndCause::Subtracted);
        }
    }

    fn finish_installation(&mut self, now: Instant) {
        let State::Up(session) = &self.state else { return };
        let answered = session.unanswered.is_empty() && !session.is_auditing();
        if session.phase != Phase::Installing || !(answered || now >= self.install_deadline) {
            return;
        }
        if !answered {
            tracing::warn!(
                unanswered = session.unanswered.len(),
                "the engine has not confirmed everything in time"
            );
        }
        self.attached(now);
    }

    fn is_closed(&self) -> bool {
        let State::Up(session) = &self.state else { return false };
        match session.connection.recv(&mut [0; 64]) {
            // Nothing is said after the greeting; what comes is not for this version.
            Ok(Some(_)) => false,
            Ok(None) => true,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }

    pub(super) fn renewal(&self) -> Duration {
        Duration::from_millis(u64::from(self.desired.lease_ms() / 3).max(100))
    }

    fn renew(&mut self, now: Instant) {
        self.renew_at = now + self.renewal();
        let lease_ms = self.desired.lease_ms();
        let State::Up(session) = &mut self.state else { return };
        let workers: Vec<u16> = session.lanes.iter().map(|lane| lane.worker()).collect();
        for worker in session.lossy_workers() {
            tracing::warn!(worker, "events of the engine were lost; asking what it holds");
            session.start_audit(worker);
        }
        for worker in workers {
            for terminations in self.desired.renewals(worker) {
                self.send_as(worker, Command::Renew { terminations, lease_ms }, RENEWAL);
            }
        }
    }

    /// Asks for more endpoints when a pool runs low, and for a higher level when it is empty.
    pub(super) fn replenish(&mut self, worker: u16, family: Family) {
        let left = self.endpoints.left(worker, family);
        let ahead = self.ahead();
        let State::Up(session) = &mut self.state else { return };
        let Some(asked) = session.provision.get_mut(usize::from(worker)) else { return };
        if left == 0 {
            *asked = (*asked).max(ahead).saturating_mul(2).min(ahead.saturating_mul(16));
        }
        let low = usize::try_from(ahead / 4).unwrap_or(usize::MAX);
        if left <= low && self.provision_at.is_none() {
            self.provision();
            self.provision_at = Some(self.now + PROVISION_PAUSE);
        }
    }

    fn ahead(&self) -> u32 {
        match self.config.endpoints_ahead {
            0 => DEFAULT_ENDPOINTS_AHEAD,
            ahead => ahead,
        }
    }

    fn provision(&mut self) {
        let ahead = self.ahead();
        let State::Up(session) = &mut self.state else { return };
        let asked: Vec<u32> = session.provision.iter().map(|asked| (*asked).max(ahead)).collect();
        for (worker, endpoints) in (0..).zip(asked) {
            self.send(worker, Command::Provision { endpoints });
        }
        self.flush();
    }
}

fn handle_of(event: &Event) -> Option<Handle> {
    match event {
        Event::AuditEnd => None,
        Event::EndpointReady { handle, .. }
        | Event::EndpointGone { handle }
        | Event::Installed { handle, .. }
        | Event::Refused { handle, .. }
        | Event::Latched { handle, .. }
        | Event::Dtmf { handle, .. }
        | Event::MediaTimeout { handle, .. }
        | Event::SsrcChanged { handle, .. }
        | Event::Ended { handle, .. } => Some(*handle),
    }
}
