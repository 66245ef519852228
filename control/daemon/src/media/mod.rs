//! What signalling agrees on becomes contexts in the engine.
//!
//! [`MediaPlane`] takes the session descriptions that the parties exchange, rewrites them so that
//! media comes to us, and keeps the engine's terminations as both sides agreed (RFC 3264). It
//! knows no SIP: *who* offers to whom is said by leg numbers, so an INVITE without an offer is the
//! same two calls with the legs swapped.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`config`] | what the operator decides |
//! | [`codecs`] | which codecs pass, and in which order |
//! | [`error`] | refusals and their SIP status |
//! | [`event`] | what media tells the call |
//! | `party` | what one side said of one media line |
//! | `call` | what was agreed, per leg and media line |
//! | `negotiate` | offer and answer, endpoints, who hears whom |
//! | `rewrite` | the description that is passed on |
//! | `install` | agreement to specifications of terminations |
//! | `saved` | what a call needs after a restart |
//! | `watch` | link events to media events, calls found after a restart |
//! | `report`, `view` | figures for people |
//!
//! # What is passed and what is not
//! Any codec that the operator lets pass, and any attribute, passes. Media over UDP passes: RTP/AVP(F) in the clear, RTP/SAVP(F)
//! with keys in the SDP (SDES, MIKEY) as the ends keyed it, T.38 and other datagrams as opaque
//! bytes. A line over TCP or SCTP is offered on as rejected (port 0). SRTP keyed by DTLS, and
//! RTP/SAVP to RTP/AVP, are refused with 488. ICE attributes and bundles are removed, so that
//! phones fall back to the addresses in `c=` and `m=`.

mod call;
pub mod codecs;
pub mod config;
pub mod error;
pub mod event;
mod install;
mod negotiate;
mod party;
mod report;
mod rewrite;
mod saved;
#[cfg(test)]
mod sequences;
#[cfg(test)]
mod tests;
mod view;
mod watch;

pub use codecs::CodecPolicy;
pub use config::{LegProfile, MediaConfig};
pub use error::MediaError;
pub use event::MediaEvent;
pub use saved::SavedMedia;

use crate::link::EngineLink;
use crate::record::LegReport;
use crate::snapshot::EngineView;
use call::Call;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tandem_contract::handle::{ContextId, Handle};
use tandem_wire::time::Instant;

/// A call: 64 random bits that the call chooses, unique over restarts; it names the call's context
/// in the engine.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct CallKey(pub u64);

/// The media of all calls of one signalling thread.
#[derive(Debug)]
pub struct MediaPlane {
    config: MediaConfig,
    link: Box<dyn EngineLink>,
    calls: HashMap<CallKey, Call>,
    /// Whose a termination is: call and leg.
    owners: HashMap<Handle, (CallKey, u8)>,
    /// Calls of an earlier control, until they end.
    found: HashMap<ContextId, Vec<watch::Found>>,
    /// Engines attached after the first.
    restarts: u64,
    attached: bool,
}

impl MediaPlane {
    /// A media plane on a link (usually [`crate::link::local::LocalEngine`]).
    #[must_use]
    pub fn new(config: MediaConfig, link: Box<dyn EngineLink>) -> Self {
        Self {
            config,
            link,
            calls: HashMap::new(),
            owners: HashMap::new(),
            found: HashMap::new(),
            restarts: 0,
            attached: false,
        }
    }

    /// Goes on with another configuration; terminations take it when they change the next time.
    pub fn reconfigure(&mut self, config: MediaConfig) {
        self.config = config;
    }

    /// Says how a leg is reached, before the first offer from or to it. Without it a leg gets the
    /// IP version of the party it is connected with.
    pub fn prepare_leg(&mut self, call: CallKey, leg: u8, profile: LegProfile) {
        if !self.config.relay {
            return;
        }
        let state = self.calls.entry(call).or_insert_with(|| Call::new(call));
        if let Some(leg) = state.leg_or_new(leg) {
            leg.profile = Some(profile);
        }
    }

    /// Takes an offer that leg `from` made and gives the offer to send to leg `to`.
    ///
    /// Leg 0 is the caller, 1 and up are branches. The first offer of a call takes endpoints on
    /// both sides; a later one (re-INVITE, UPDATE) changes them: streams added, removed, moved or
    /// held. Lines that are not understood, and their order, stay. Each offer is answered by
    /// [`MediaPlane::answer`] or given up by [`MediaPlane::reject`].
    ///
    /// # Errors
    /// [`MediaError`]; its [`MediaError::status`] is the SIP answer. The call stays as it was.
    pub fn offer(
        &mut self,
        now: Instant,
        call: CallKey,
        from: u8,
        to: u8,
        sdp: &[u8],
    ) -> Result<Vec<u8>, MediaError> {
        if !self.config.relay {
            return Ok(sdp.to_vec());
        }
        self.with(call, |media, state| media.handle_offer(now, state, (from, to), sdp))
    }

    /// Takes the answer of leg `from` to the last offer it got from leg `to`, connects the two in
    /// the engine, and gives the answer to send to leg `to`.
    ///
    /// `provisional` answers (183, early media) of several branches may come in any order and
    /// repeatedly: the offerer hears the branch that spoke last. The first final answer wins;
    /// later ones of other branches change nothing until the winner is dropped. An answer that
    /// repeats the one before changes nothing.
    ///
    /// # Errors
    /// [`MediaError`], as for [`MediaPlane::offer`].
    pub fn answer(
        &mut self,
        now: Instant,
        call: CallKey,
        from: u8,
        to: u8,
        sdp: &[u8],
        provisional: bool,
    ) -> Result<Vec<u8>, MediaError> {
        if !self.config.relay {
            return Ok(sdp.to_vec());
        }
        self.with(call, |media, state| {
            media.handle_answer(now, state, (from, to), sdp, provisional)
        })
    }

    /// Makes the last provisional answer of leg `from` final: a 200 without a body after a 183
    /// that carried the answer (RFC 3262 §5).
    pub fn confirm(&mut self, now: Instant, call: CallKey, from: u8, to: u8) {
        self.with(call, |media, state| media.handle_confirm(now, state, from, to));
    }

    /// The last offer between two legs was refused (488 or the like to a re-INVITE): what was
    /// agreed before holds on.
    pub fn reject(&mut self, now: Instant, call: CallKey, from: u8, to: u8) {
        self.with(call, |media, state| media.handle_reject(now, state, from, to));
    }

    /// A branch is over (cancelled, busy): its terminations end, its figures are kept for
    /// [`MediaPlane::release`].
    pub fn drop_leg(&mut self, now: Instant, call: CallKey, leg: u8) {
        self.with(call, |media, state| media.handle_drop(now, state, leg));
    }

    /// Ends the media of a call. [`MediaEvent::Settled`] follows, unless the call
    /// [is settled](MediaPlane::is_settled) already; then [`MediaPlane::release`] collects the
    /// final figures.
    pub fn stop(&mut self, now: Instant, call: CallKey) {
        self.with(call, |media, state| media.handle_stop(now, state));
    }

    /// Whether the engine has ended all that was closed of a call, so that its figures are final.
    #[must_use]
    pub fn is_settled(&self, call: CallKey) -> bool {
        self.calls.get(&call).is_none_or(|state| {
            let open = |closed: &call::Closed| {
                closed.figures.is_none() && self.owners.contains_key(&closed.handle)
            };
            !state.closed.iter().any(open)
        })
    }

    /// Ends the media of a call, forgets it and gives its figures: one report per leg and media
    /// line that was agreed on or carried packets. Empty for an unknown call.
    ///
    /// Figures of a call that is not [settled](MediaPlane::is_settled) are those that the engine
    /// published last, at most about a second old.
    pub fn release(&mut self, now: Instant, call: CallKey) -> Vec<LegReport> {
        if !self.calls.contains_key(&call) {
            return Vec::new();
        }
        self.stop(now, call);
        let Some(state) = self.calls.remove(&call) else { return Vec::new() };
        let mut reports = report::of_call(&state, |handle| self.link.counters(handle));
        // They are final: there is no rate to make of them.
        reports.iter_mut().for_each(|report| report.published_ns = None);
        for closed in &state.closed {
            self.owners.remove(&closed.handle);
            self.link.forget(closed.handle);
        }
        reports
    }

    /// The figures of a call so far; at most about a second old.
    #[must_use]
    pub fn report(&self, call: CallKey) -> Vec<LegReport> {
        self.calls.get(&call).map_or_else(Vec::new, |state| {
            report::of_call(state, |handle| self.link.counters(handle))
        })
    }

    /// Name of a leg in reports: `caller`, `callee`, `callee#2`. The branch that answered is
    /// `callee`; until then the first one is.
    #[must_use]
    pub fn leg_name(&self, call: CallKey, leg: u8) -> String {
        self.calls.get(&call).map_or_else(|| Call::new(call).leg_name(leg), |c| c.leg_name(leg))
    }

    /// Telephone-events (RFC 4733) that are offered to a leg are accepted in its place from now on:
    /// it gets digits by signalling. [`MediaEvent::Dtmf`] tells them; the packets go to the leg
    /// too, which does not know their payload type.
    pub fn take_digits_for(&mut self, call: CallKey, leg: u8) {
        let state = self.calls.entry(call).or_insert_with(|| Call::new(call));
        if let Some(leg) = state.leg_or_new(leg) {
            leg.digits_here = true;
        }
    }

    /// Whether a leg takes telephone-events itself.
    #[must_use]
    pub fn takes_digits(&self, call: CallKey, leg: u8) -> bool {
        let leg = self.calls.get(&call).and_then(|state| state.leg(leg));
        let streams = leg.into_iter().flat_map(|leg| leg.streams.iter().flatten());
        streams.filter_map(|stream| stream.party.as_ref()).any(|party| party.digits().is_some())
    }

    /// Whether a leg holds the call: it does not want to receive any stream (RFC 3264 §8.4).
    #[must_use]
    pub fn is_held(&self, call: CallKey, leg: u8) -> bool {
        let leg = self.calls.get(&call).and_then(|state| state.leg(leg));
        leg.is_some_and(|leg| negotiate::holds(&leg.streams))
    }

    /// Whether a party is silent on all media lines where it should send: each had its
    /// [`MediaEvent::MediaTimeout`], and nothing came since.
    #[must_use]
    pub fn is_silent(&self, call: CallKey, leg: u8) -> bool {
        let leg = self.calls.get(&call).and_then(|state| state.leg(leg));
        let streams = leg.into_iter().flat_map(|leg| leg.streams.iter().flatten());
        let mut timed = streams.filter(|stream| stream.is_timed()).peekable();
        timed.peek().is_some()
            && timed.all(|stream| {
                let counters = self.link.counters(stream.endpoint.handle);
                stream.silent_at == Some(counters.map_or(0, |counters| counters.rx.packets))
            })
    }

    /// Handles what the engine said. Call it when [`MediaPlane::wait_fd`] is readable and at
    /// [`MediaPlane::next_timeout`].
    pub fn handle_link(&mut self, now: Instant) -> Vec<MediaEvent> {
        self.link.handle(now);
        let mut events = Vec::new();
        while let Some(event) = self.link.poll_event() {
            self.handle_link_event(event, &mut events);
        }
        events
    }

    /// Renews leases and supervises the engine. Call it at [`MediaPlane::next_timeout`].
    pub fn tick(&mut self, now: Instant) -> Vec<MediaEvent> {
        self.handle_link(now)
    }

    /// When [`MediaPlane::tick`] is due at the latest.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.link.next_timeout()
    }

    /// A descriptor that is readable whenever [`MediaPlane::handle_link`] has something to do; it
    /// stays the same over restarts of the engine.
    ///
    /// # Errors
    /// The system's, if no further descriptor can be had.
    pub fn wait_fd(&self) -> std::io::Result<Option<OwnedFd>> {
        self.link.wait_fd()
    }

    /// Ends a call that [`MediaEvent::Found`] told, ahead of its lease.
    pub fn end_found(&mut self, now: Instant, call: CallKey) {
        for found in self.found.get(&ContextId(call.0)).into_iter().flatten() {
            self.link.subtract(now, found.handle);
        }
    }

    /// The figures so far of a call that [`MediaEvent::Found`] told; empty if there is none.
    #[must_use]
    pub fn report_found(&self, call: CallKey) -> Vec<LegReport> {
        self.found_reports(ContextId(call.0))
    }

    /// How long media outlives the control that asked for it.
    #[must_use]
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.config.lease_ms.into())
    }

    /// The engine as API, metrics and screens show it.
    #[must_use]
    pub fn engine_view(&self) -> EngineView {
        view::engine_view(self.link.info(), &self.link.worker_counters(), self.restarts)
    }

    /// Ends the engine if `stop` (its calls end), else leaves it running.
    pub fn shutdown(&mut self, stop: bool) {
        self.link.shutdown(stop);
    }

    /// Works on a call outside of the table, so that the call and the link can both change.
    fn with<T>(&mut self, key: CallKey, work: impl FnOnce(&mut Self, &mut Call) -> T) -> T {
        let mut call = self.calls.remove(&key).unwrap_or_else(|| Call::new(key));
        let result = work(self, &mut call);
        if !call.is_empty() {
            self.calls.insert(key, call);
        }
        result
    }
}
