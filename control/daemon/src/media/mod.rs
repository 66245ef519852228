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
//! | [`error`] | refusals and their SIP status |
//! | [`event`] | what media tells the call |

pub mod config;
pub mod error;
pub mod event;

pub use config::{LegProfile, MediaConfig};
pub use error::MediaError;
pub use event::MediaEvent;

use crate::link::EngineLink;
use crate::record::LegReport;
use crate::snapshot::EngineView;
use std::os::fd::OwnedFd;
use tandem_signalling::sdp::SessionDescription;
use tandem_wire::time::Instant;

const NO_ENGINE: MediaError =
    MediaError::NoEndpoint { family: crate::link::Family::V4, hint: "no engine is attached" };

/// A call: 64 random bits that the call chooses, unique over restarts; it names the call's context
/// in the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallKey(pub u64);

/// The media of all calls of one signalling thread.
#[derive(Debug)]
pub struct MediaPlane {
    config: MediaConfig,
    link: Box<dyn EngineLink>,
}

impl MediaPlane {
    /// A media plane on a link (usually [`crate::link::local::LocalEngine`]).
    #[must_use]
    pub fn new(config: MediaConfig, link: Box<dyn EngineLink>) -> Self {
        Self { config, link }
    }

    /// Says how a leg is reached, before the first offer from or to it. Without it a leg gets the
    /// IP version of the party it is connected with.
    pub fn prepare_leg(&mut self, call: CallKey, leg: u8, profile: LegProfile) {
        let _ = (call, leg, profile);
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
        let _ = (now, call, from, to, SessionDescription::parse(sdp)?);
        Err(NO_ENGINE)
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
        let _ = (now, call, from, to, provisional, SessionDescription::parse(sdp)?);
        Err(NO_ENGINE)
    }

    /// The last offer between two legs was refused (488 or the like to a re-INVITE): what was
    /// agreed before holds on.
    pub fn reject(&mut self, now: Instant, call: CallKey, from: u8, to: u8) {
        let _ = (now, call, from, to);
    }

    /// A branch is over (cancelled, busy): its terminations end, its figures are kept for
    /// [`MediaPlane::release`].
    pub fn drop_leg(&mut self, now: Instant, call: CallKey, leg: u8) {
        let _ = (now, call, leg);
    }

    /// Ends the media of a call without waiting; [`MediaPlane::release`] later collects the final
    /// figures. Calling only `release` is fine too.
    pub fn stop(&mut self, now: Instant, call: CallKey) {
        let _ = (now, call);
    }

    /// Ends the media of a call and gives its final figures: one report per leg and media line
    /// that was agreed on or carried packets. Empty for an unknown call.
    pub fn release(&mut self, now: Instant, call: CallKey) -> Vec<LegReport> {
        self.stop(now, call);
        self.report(call)
    }

    /// The figures of a call so far; at most about a second old.
    #[must_use]
    pub fn report(&self, call: CallKey) -> Vec<LegReport> {
        let _ = call;
        Vec::new()
    }

    /// Name of a leg in reports: `caller`, `callee`, `callee#2`. The branch that answered is
    /// `callee`; until then the first one is.
    #[must_use]
    pub fn leg_name(&self, call: CallKey, leg: u8) -> String {
        let _ = call;
        match leg {
            0 => "caller".into(),
            1 => "callee".into(),
            n => format!("callee#{n}"),
        }
    }

    /// Whether a leg holds the call: it does not want to receive any stream (RFC 3264 §8.4).
    #[must_use]
    pub fn is_held(&self, call: CallKey, leg: u8) -> bool {
        let _ = (call, leg);
        false
    }

    /// Handles what the engine said. Call it when [`MediaPlane::wait_fd`] is readable and at
    /// [`MediaPlane::next_timeout`].
    pub fn handle_link(&mut self, now: Instant) -> Vec<MediaEvent> {
        self.link.handle(now);
        Vec::new()
    }

    /// Renews leases and supervises the engine. Call it at [`MediaPlane::next_timeout`].
    pub fn tick(&mut self, now: Instant) -> Vec<MediaEvent> {
        self.link.renew(now);
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
        let _ = (now, call);
    }

    /// The engine as API, metrics and screens show it.
    #[must_use]
    pub fn engine_view(&self) -> EngineView {
        EngineView::default()
    }

    /// Ends the engine if `stop` (its calls end), else leaves it running.
    pub fn shutdown(&mut self, stop: bool) {
        self.link.shutdown(stop);
    }
}
