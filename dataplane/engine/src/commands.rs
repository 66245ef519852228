//! What control wants: commands, drained a few per turn.
//!
//! All of them come from another process: indexes, generations and flags are checked. Every
//! command may come twice.

use crate::clock::Clock;
use crate::endpoints::State;
use crate::latch;
use crate::table::CONFIRMED;
use crate::worker::Worker;
use core::time::Duration;
use tandem_contract::command::{
    Command, Edge, FLAG_BLOCK, FLAG_HOLD, FLAG_NO_OWN_RTCP, FLAG_OPAQUE, FLAG_RELEARN,
    FLAG_RTCP_MUX, FLAG_SECURED, FLAG_STRICT, TerminationSpec,
};
use tandem_contract::event::{EndCause, Event, Refusal};
use tandem_contract::handle::Handle;
use tandem_contract::limits::RENEW_BATCH;
use tandem_hw::port::Port;
use tandem_wire::addr::SockAddr;
use tandem_wire::time::Instant;

/// Commands of one turn.
const COMMAND_BURST: usize = 32;
/// Indexes that an audit looks at in one turn.
const AUDIT_BURST: u32 = 1_024;

const ALL_FLAGS: u32 = FLAG_RTCP_MUX
    | FLAG_OPAQUE
    | FLAG_STRICT
    | FLAG_RELEARN
    | FLAG_SECURED
    | FLAG_HOLD
    | FLAG_NO_OWN_RTCP
    | FLAG_BLOCK;

impl<P: Port, C: Clock> Worker<P, C> {
    /// Acts on the commands that wait; whether there may be more.
    pub(crate) fn drain_commands(&mut self, now: Instant) -> bool {
        for _ in 0..COMMAND_BURST {
            if !self.provision.has_room() {
                return true;
            }
            let Some(slot) = self.outbox.lane().and_then(|lane| lane.commands.pop()) else {
                return false;
            };
            match Command::from_slot(&slot) {
                Ok((command, sequence)) => self.command(now, &command, sequence),
                Err(unknown) => {
                    tracing::error!(kind = unknown.0, "unknown command: another version")
                }
            }
        }
        true
    }

    fn command(&mut self, now: Instant, command: &Command, sequence: u64) {
        match command {
            Command::Put { handle, spec } => {
                if let Err(refusal) = self.put(now, *handle, spec, sequence) {
                    self.outbox.push(&Event::Refused { handle: *handle, sequence, refusal });
                }
            }
            Command::Subtract { handle } => {
                if let Err(refusal) = self.subtract(now, *handle) {
                    self.outbox.push(&Event::Refused { handle: *handle, sequence, refusal });
                }
            }
            Command::Renew { terminations, lease_ms } => {
                self.renew(now, terminations, *lease_ms, sequence);
            }
            Command::Audit => self.audit_at = Some(0),
            Command::Provision { endpoints } => {
                self.provision.target = (*endpoints).min(self.table.capacity());
            }
        }
    }

    fn index_of(&self, handle: Handle) -> Result<u32, Refusal> {
        if handle.engine != 0 || handle.worker != self.table.worker {
            return Err(Refusal::BadIndex);
        }
        if handle.index >= self.table.capacity() {
            return Err(Refusal::BadIndex);
        }
        if handle.generation == 0 {
            return Err(Refusal::StaleHandle);
        }
        Ok(handle.index)
    }

    fn put(
        &mut self,
        now: Instant,
        handle: Handle,
        spec: &TerminationSpec,
        sequence: u64,
    ) -> Result<(), Refusal> {
        let index = self.index_of(handle)?;
        let endpoint = self.table.cold[index as usize].endpoint;
        let bound = matches!(endpoint.state, State::Free | State::Used);
        let same = handle.generation == endpoint.generation;
        let here = !spec.local_rtp.is_some() || spec.local_rtp == endpoint.rtp;
        check(spec, if bound && here { endpoint.rtp } else { spec.local_rtp })?;
        match endpoint.state {
            State::Used if same => {
                self.modify(now, index, spec);
                self.answer(index, sequence);
                return Ok(());
            }
            State::Free if same && here => {
                self.free_no_more(index);
                self.table.cold[index as usize].endpoint.state = State::Used;
                self.install(now, index, spec, sequence);
                self.activate(now, index);
                return Ok(());
            }
            State::Awaited if same => {
                // The command before this one is answered as what it is: overtaken, not refused.
                let overtaken = self.table.cold[index as usize].pending_sequence;
                self.answer(index, overtaken);
                self.install(now, index, spec, sequence);
                return Ok(());
            }
            State::Used | State::Awaited => return Err(Refusal::StaleHandle),
            State::None | State::Ahead | State::Free => {}
        }
        // The endpoint of an earlier engine: this one binds exactly its addresses.
        if handle.generation < endpoint.generation {
            return Err(Refusal::StaleHandle);
        }
        if !spec.local_rtp.is_some() {
            return Err(Refusal::CannotBind);
        }
        match endpoint.state {
            State::Free => {
                self.give_up_free(index);
                self.close_sockets(index);
            }
            State::Ahead => self.free_no_more(index),
            _ => {}
        }
        self.table.cold[index as usize].endpoint.generation = handle.generation;
        self.install(now, index, spec, sequence);
        self.bind_exactly(index, spec.local_rtp, spec.local_rtcp);
        Ok(())
    }

    /// Writes down a new termination, which is not live yet.
    fn install(&mut self, now: Instant, index: u32, spec: &TerminationSpec, sequence: u64) {
        let place = index as usize;
        self.table.reset(place);
        if spec.latched_rtp.is_some() {
            self.table.hot[place].source = spec.latched_rtp;
            self.table.hot[place].flags |= CONFIRMED;
            self.table.cold[place].rtcp_source = spec.latched_rtcp;
        }
        self.table.compile(place, spec);
        let cold = &mut self.table.cold[place];
        cold.relearn_epoch = spec.relearn_epoch;
        cold.pending_sequence = sequence;
        cold.dscp = spec.dscp;
        cold.lease_end = now + Duration::from_millis(spec.lease_ms.into());
        if spec.resume_sequence != 0 || spec.resume_ssrc != 0 {
            let (ssrc, sequence) = (spec.resume_ssrc, spec.resume_sequence);
            let window = &mut self.table.windows[place];
            self.table.hot[place].stream.resume(window, &mut cold.stream, ssrc, sequence);
        }
    }

    /// Makes an installed termination live on its endpoint and tells control.
    pub(crate) fn activate(&mut self, now: Instant, index: u32) {
        let place = index as usize;
        self.table.give_life(place);
        let cold = &mut self.table.cold[place];
        cold.active_since = now;
        cold.published = Instant::ZERO;
        cold.rtcp.start(now);
        let (sequence, dscp) = (cold.pending_sequence, cold.dscp);
        if dscp != 0 {
            self.mark(index, dscp);
        }
        self.publish(now, place, true);
        self.answer(index, sequence);
    }

    fn mark(&mut self, index: u32, dscp: u8) {
        self.port.set_dscp(index * 2, dscp);
        self.port.set_dscp(index * 2 + 1, dscp);
    }

    fn modify(&mut self, now: Instant, index: u32, spec: &TerminationSpec) {
        let place = index as usize;
        let was_held = self.table.cold[place].flags & FLAG_HOLD != 0;
        let (hot, cold) = (&mut self.table.hot[place], &mut self.table.cold[place]);
        let moved = spec.flags & FLAG_RELEARN != 0 && spec.relearn_epoch != cold.relearn_epoch;
        let barred = spec.flags & FLAG_STRICT != 0 && hot.source != spec.remote_rtp;
        if moved || barred {
            latch::forget(hot, cold);
        }
        cold.relearn_epoch = spec.relearn_epoch;
        cold.lease_end = now + Duration::from_millis(spec.lease_ms.into());
        if was_held && spec.flags & FLAG_HOLD == 0 {
            cold.active_since = now;
        }
        let dscp = core::mem::replace(&mut cold.dscp, spec.dscp);
        self.table.compile(place, spec);
        if dscp != spec.dscp {
            self.mark(index, spec.dscp);
        }
    }

    fn answer(&mut self, index: u32, sequence: u64) {
        let event = self.installed(index as usize, sequence);
        self.outbox.push(&event);
    }

    fn installed(&self, place: usize, sequence: u64) -> Event {
        let (hot, cold) = (&self.table.hot[place], &self.table.cold[place]);
        let confirmed = hot.flags & CONFIRMED != 0;
        Event::Installed {
            handle: self.table.handle(place),
            context: cold.context,
            local_rtp: cold.endpoint.rtp,
            latched_rtp: if confirmed { hot.source } else { SockAddr::NONE },
            latched_rtcp: cold.rtcp_source,
            sequence,
        }
    }

    fn subtract(&mut self, now: Instant, handle: Handle) -> Result<(), Refusal> {
        let index = self.index_of(handle)?;
        let endpoint = self.table.cold[index as usize].endpoint;
        if endpoint.generation != handle.generation {
            return Err(Refusal::StaleHandle);
        }
        match endpoint.state {
            State::Used => self.end(now, index as usize, EndCause::Subtracted),
            // Given back unused.
            State::Free => {
                self.free_no_more(index);
                self.release(index);
            }
            State::Awaited => {
                let context = self.table.cold[index as usize].context;
                self.table.reset(index as usize);
                self.return_index(index);
                let cause = EndCause::Subtracted;
                self.outbox.push(&Event::Ended { handle, context, cause });
            }
            State::None | State::Ahead => return Err(Refusal::StaleHandle),
        }
        Ok(())
    }

    /// Ends a living termination: its last figures stay in the table, its endpoint goes.
    pub(crate) fn end(&mut self, now: Instant, place: usize, cause: EndCause) {
        let handle = self.table.handle(place);
        let context = self.table.cold[place].context;
        self.publish(now, place, false);
        self.table.take_life(place);
        self.release(handle.index);
        self.outbox.push(&Event::Ended { handle, context, cause });
    }

    fn renew(&mut self, now: Instant, names: &[Edge; RENEW_BATCH], lease_ms: u32, sequence: u64) {
        let lease_end = now + Duration::from_millis(lease_ms.into());
        for &Edge { index, generation } in names.iter().filter(|name| name.generation != 0) {
            match self.table.living(index, generation) {
                Some(place) => self.table.cold[place].lease_end = lease_end,
                None => {
                    let worker = self.table.worker;
                    let handle = Handle { engine: 0, worker, index, generation };
                    let refusal = Refusal::StaleHandle;
                    self.outbox.push(&Event::Refused { handle, sequence, refusal });
                }
            }
        }
    }

    /// Goes on with an audit; whether there is more to tell.
    pub(crate) fn audit_more(&mut self) -> bool {
        let Some(from) = self.audit_at else { return false };
        let end = from.saturating_add(AUDIT_BURST).min(self.table.capacity());
        for index in from..end {
            let place = index as usize;
            if self.table.hot[place].generation == 0 {
                continue;
            }
            let event = self.installed(place, 0);
            if !self.outbox.try_push(&event) {
                self.audit_at = Some(index);
                return false;
            }
        }
        self.audit_at = Some(end);
        if end == self.table.capacity() && self.outbox.try_push(&Event::AuditEnd) {
            self.audit_at = None;
        }
        end < self.table.capacity()
    }
}

/// Whether every field has a meaning. `local` is the endpoint that it is for.
fn check(spec: &TerminationSpec, local: SockAddr) -> Result<(), Refusal> {
    let family = |address: SockAddr| address.ip().map(|ip| ip.is_ipv6());
    let fits = |address: SockAddr| match (family(local), family(address)) {
        (Some(local), Some(remote)) => local == remote,
        _ => true,
    };
    let remotes = [spec.remote_rtp, spec.remote_rtcp, spec.latched_rtp, spec.latched_rtcp];
    let sound = spec.flags & !ALL_FLAGS == 0 && spec.dscp < 64 && remotes.into_iter().all(fits);
    if sound { Ok(()) } else { Err(Refusal::BadSpec) }
}
