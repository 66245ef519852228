//! Link events become media events, and calls that an earlier control left are told and counted
//! out.

use super::call::Call;
use super::event::digit;
use super::{CallKey, MediaEvent, MediaPlane, report};
use crate::link::{Installed, LinkEvent};
use crate::record::LegReport;
use tandem_contract::counters::TerminationCounters;
use tandem_contract::event::{EndCause, Refusal};
use tandem_contract::handle::{ContextId, Handle};
use tandem_wire::time::Instant;

/// A termination of a call that an earlier control left in the engine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) handle: Handle,
    /// Its last figures, once it has ended.
    figures: Option<TerminationCounters>,
    ended: bool,
}

impl MediaPlane {
    pub(super) fn handle_link_event(&mut self, event: LinkEvent, out: &mut Vec<MediaEvent>) {
        match event {
            LinkEvent::Attached { info, reinstalled, found, outage } => {
                self.restarts += u64::from(self.attached);
                let first = !std::mem::replace(&mut self.attached, true);
                if first {
                    self.read_closed();
                }
                out.push(MediaEvent::EngineBack { info, reinstalled, outage });
                let remains = if first { self.link.remains() } else { Vec::new() };
                self.tell_found(&found, &remains, out);
            }
            LinkEvent::Lost { reason } => out.push(MediaEvent::EngineLost { reason }),
            LinkEvent::Failed(error) => {
                out.push(MediaEvent::EngineFailed { reason: error.to_string() });
            }
            LinkEvent::Ended { handle, context, cause } => {
                self.handle_ended(handle, context, cause, out);
            }
            LinkEvent::Refused { handle, refusal, .. } => {
                if let Some((call, leg)) = self.owners.remove(&handle) {
                    out.push(MediaEvent::Refused { call, leg, reason: sentence(refusal) });
                }
            }
            LinkEvent::Latched { handle, source, rtcp, moved } => {
                let owner = self.call_key_of(handle).filter(|_| !rtcp);
                if let (Some((call, leg)), Some(source)) = (owner, source.to_std()) {
                    out.push(MediaEvent::Latched { call, leg, source, moved });
                }
            }
            LinkEvent::Dtmf { handle, code, duration_ms } => {
                if let (Some((call, leg)), Some(digit)) = (self.call_key_of(handle), digit(code)) {
                    out.push(MediaEvent::Dtmf { call, leg, digit, duration_ms });
                }
            }
            LinkEvent::MediaTimeout { handle, silent_ms } => {
                if let Some((call, leg)) = self.call_key_of(handle) {
                    let stream = self.stream_of(call, leg, handle);
                    self.note_silence(call, leg, handle);
                    out.push(MediaEvent::MediaTimeout { call, leg, stream, silent_ms });
                }
            }
            // The record counts it; nobody waits for it.
            LinkEvent::SsrcChanged { .. } => {}
        }
    }

    pub(super) fn handle_stop(&mut self, now: Instant, call: &mut Call) {
        call.offers.clear();
        let ids: Vec<u8> = call.legs.iter().map(|leg| leg.id).collect();
        for id in ids {
            let count = call.leg(id).map_or(0, |leg| leg.streams.len());
            for index in 0..count {
                self.close(now, call, id, index);
            }
        }
    }

    fn note_silence(&mut self, call: CallKey, leg: u8, handle: Handle) {
        let packets = self.link.counters(handle).map_or(0, |counters| counters.rx.packets);
        let leg = self.calls.get_mut(&call).and_then(|call| call.leg_mut(leg));
        let mut streams = leg.into_iter().flat_map(|leg| leg.streams.iter_mut().flatten());
        if let Some(stream) = streams.find(|stream| stream.endpoint.handle == handle) {
            stream.silent_at = Some(packets);
        }
    }

    fn stream_of(&self, call: CallKey, leg: u8, handle: Handle) -> u8 {
        let leg = self.calls.get(&call).and_then(|call| call.leg(leg));
        let index = leg.and_then(|leg| {
            leg.streams.iter().position(|stream| {
                stream.as_ref().is_some_and(|stream| stream.endpoint.handle == handle)
            })
        });
        index.and_then(|index| u8::try_from(index).ok()).unwrap_or(0)
    }

    fn handle_ended(
        &mut self,
        handle: Handle,
        context: ContextId,
        cause: EndCause,
        out: &mut Vec<MediaEvent>,
    ) {
        let figures = self.link.counters(handle);
        if let Some((key, leg)) = self.owners.remove(&handle) {
            let last = figures.unwrap_or_default();
            let state = self.calls.get_mut(&key);
            let closed = state.is_some_and(|state| state.close_books(handle, last));
            if !closed && cause == EndCause::LeaseExpired {
                out.push(MediaEvent::LeaseExpired { call: key, leg });
            }
            if closed || figures.is_some() {
                self.link.forget(handle);
            }
            let is_open = self.calls.get(&key).is_some_and(Call::is_open);
            if closed && !is_open && self.is_settled(key) {
                out.push(MediaEvent::Settled { call: key });
            }
        } else if let Some(found) = self.found.get_mut(&context) {
            for entry in found.iter_mut().filter(|entry| entry.handle == handle) {
                (entry.figures, entry.ended) = (figures, true);
            }
            self.count_out(context, out);
        }
    }

    /// Tells the end of a found call when all of it has ended.
    fn count_out(&mut self, context: ContextId, out: &mut Vec<MediaEvent>) {
        if self.found.get(&context).is_none_or(|found| !found.iter().all(|entry| entry.ended)) {
            return;
        }
        let legs = self.found_reports(context);
        for entry in self.found.remove(&context).into_iter().flatten() {
            self.link.forget(entry.handle);
        }
        out.push(MediaEvent::FoundEnded { call: CallKey(context.0), legs });
    }

    /// Tells what an earlier control left: what lives on, with what of it `remains` in the tables,
    /// and calls of which only that remains.
    fn tell_found(
        &mut self,
        found: &[Installed],
        remains: &[TerminationCounters],
        out: &mut Vec<MediaEvent>,
    ) {
        let mut fresh = Vec::new();
        for installed in found {
            let entries = self.found.entry(installed.context).or_default();
            if entries.iter().all(|entry| entry.handle != installed.handle) {
                // It may have ended while the engine still told what else it holds.
                let figures = self.link.counters(installed.handle).filter(|it| it.alive == 0);
                let ended = figures.is_some();
                entries.push(Found { handle: installed.handle, figures, ended });
                if !fresh.contains(&installed.context) {
                    fresh.push(installed.context);
                }
            }
        }
        let mut over = Vec::new();
        for last in remains.iter().filter(|last| !self.owners.contains_key(&last.handle)) {
            let entries = self.found.entry(last.context).or_default();
            if entries.is_empty() {
                over.push(last.context);
            }
            if entries.iter().all(|entry| entry.handle != last.handle) {
                entries.push(Found { handle: last.handle, figures: Some(*last), ended: true });
            }
        }
        for context in over {
            self.count_out(context, out);
        }
        for context in fresh {
            let legs = self.found_reports(context);
            out.push(MediaEvent::Found { call: CallKey(context.0), legs });
            self.count_out(context, out);
        }
    }

    pub(super) fn found_reports(&self, context: ContextId) -> Vec<LegReport> {
        let mut figures: Vec<TerminationCounters> = self
            .found
            .get(&context)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.figures.or_else(|| self.link.counters(entry.handle)))
            .collect();
        figures.sort_by_key(|figures| (figures.leg, figures.stream));
        figures.iter().map(report::of_found).collect()
    }
}

const fn sentence(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::StaleHandle => "its port had been given up before",
        Refusal::BadIndex => "the engine's table is smaller than expected",
        Refusal::CannotBind => "its port is taken by another program",
        Refusal::BadSpec => "the engine does not know a part of its specification",
    }
}
