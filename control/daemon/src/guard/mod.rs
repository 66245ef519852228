//! What keeps Tandem working under attack and under more calls than it can do.
//!
//! [`Guard::check`] looks at each message before it is read: is its sender banned, is it a scanner,
//! has the source had its share, is there more to do than can be done. What it refuses costs no
//! memory and no parsing. [`Guard::note`] is told what became of credentials.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`head`] | a first look at a message |
//! | [`admission`] | how many new calls are let in: by measured delay |
//! | [`rates`] | what each source has asked for |
//! | [`bans`] | who is not listened to, and for how long |
//! | [`refusal`] | 503, made from the octets of the request |
//! | [`source`] | an IPv4 address, or an IPv6 /64 |
//! | [`policy`] | what the operator decided |
//! | [`limits`] | the size of every table |
//!
//! **Nobody is shut out by a forged address.** The source of a datagram can be made up, so a ban
//! that it brings about must not be a weapon against whom it names:
//! - Wrong passwords count only with a nonce of ours that was sent to the very address that they
//!   come from, or over a connection: who forges an address does not get the challenge.
//! - What proves nothing (the name of a scanner in a datagram, requests for unknown users) bans for
//!   a short time that never grows, and such a ban leaves the door open for a challenge: REGISTER
//!   and INVITE are still asked for a password, and who knows one comes in. It silences what could
//!   only be a scan.
//! - No ban but the operator's touches the address and port that a contact is registered from.
//! - Trusted networks (`guard.trusted`, `sip.trusted`, the sources of trunks) are never banned, and
//!   no limit per source holds for them.
//!
//! Many phones may sit behind one address: offences are forgiven one by one, and a source that
//! contacts are registered from may owe ten times as many.

pub mod admission;
pub mod bans;
pub mod head;
pub mod limits;
pub mod policy;
pub mod rates;
pub mod refusal;
pub mod source;

#[cfg(test)]
mod tests;

pub use bans::{BanView, Reason};
pub use policy::Policy;
pub use source::Source;

use admission::{Admission, Rank};
use bans::Bans;
use core::time::Duration;
use head::{FirstLine, Rows};
use jiff::Timestamp;
use rates::{Rate, Rates};
use refusal::Refusals;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use tandem_signalling::stack::Flow;
use tandem_wire::time::Instant;

/// What is done with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is read.
    Pass,
    /// It is thrown away.
    Drop,
    /// This is the answer, and nothing is kept.
    Answer(Flow, Arc<[u8]>),
}

/// What became of the credentials of a request, or of their want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthNote {
    /// They were right.
    Accepted,
    /// They were wrong; whether they answer a challenge that was sent to where they come from.
    Wrong {
        /// Whether they do.
        answers_challenge: bool,
    },
    /// There were none, or old ones; whether the request names a user who exists.
    Challenged {
        /// Whether it does.
        known: bool,
    },
}

/// Who is registered where; the registrar knows.
pub trait Sites {
    /// Whether a contact is registered from this address and port.
    fn has_flow(&self, flow: &Flow) -> bool;
    /// Whether contacts are registered from this source.
    fn has_source(&self, source: Source) -> bool;
}

/// Why a source cannot be banned or forgiven.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BanError {
    /// It is trusted.
    #[error("{0} is trusted (guard.trusted, sip.trusted or a trunk): take it out there first")]
    Trusted(Source),
    /// It is not banned.
    #[error("{0} is not banned; `tandem bans list` shows who is")]
    NotBanned(Source),
}

/// What the guard counts, and how it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GuardStats {
    /// Bans in force.
    pub bans: u64,
    /// Bans since the start, by reason.
    pub banned: BTreeMap<String, u64>,
    /// Messages thrown away unread, by reason: `banned`, `scanner`, `source_rate`, `refused_ack`.
    pub dropped: BTreeMap<String, u64>,
    /// Requests answered with 503 unread, by reason: `source_rate`, `overload`.
    pub refused: BTreeMap<String, u64>,
    /// Thousandths of strangers' new requests that are let in.
    pub share_milli: u32,
    /// The longest that a message waited lately to be read, µs, at most.
    pub delay_us: u64,
    /// Percent of the time in which the signalling thread did not wait for messages.
    pub busy_percent: u32,
}

#[derive(Clone, Debug, Default)]
struct Counters {
    banned: [u64; Reason::ALL.len()],
    dropped_banned: u64,
    dropped_scanner: u64,
    dropped_rate: u64,
    dropped_acks: u64,
    refused_rate: u64,
    refused_overload: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Guard {
    policy: Policy,
    admission: Admission,
    rates: Rates,
    bans: Bans,
    refusals: Refusals,
    /// Answers to sources over their limit.
    answers: Rate,
    counters: Counters,
}

impl Guard {
    /// A guard that has seen nobody; `secret` is random.
    #[must_use]
    pub fn new(policy: Policy, secret: u64) -> Self {
        Self {
            admission: Admission::new(policy.max_delay),
            rates: Rates::new(limits::MAX_SOURCES),
            bans: Bans::new(policy.ban, policy.ban_max),
            refusals: Refusals::new(secret),
            answers: Rate::new(limits::MAX_REFUSALS_PER_S),
            counters: Counters::default(),
            policy,
        }
    }

    /// Another policy from now on; bans and accounts stay, except bans of who is trusted now.
    pub fn set_policy(&mut self, now: Instant, policy: Policy) {
        self.admission.set_limit(policy.max_delay);
        self.bans.set_lengths(policy.ban, policy.ban_max);
        self.policy = policy;
        for ban in self.bans.list(now) {
            if self.policy.trusts(ban.source.address()) {
                self.bans.remove(now, ban.source);
            }
        }
    }

    /// What the loop measures.
    pub const fn admission(&mut self) -> &mut Admission {
        &mut self.admission
    }

    /// Looks at a message before it is read.
    pub fn check(
        &mut self,
        (now, wall): (Instant, Timestamp),
        flow: &Flow,
        message: &[u8],
        sites: &impl Sites,
    ) -> Verdict {
        let source = Source::of(flow.remote.ip());
        let ban = match self.bans.get(now, source) {
            Some(ban) if ban.proven => {
                let exempt = ban.reason != Reason::Operator && sites.has_flow(flow);
                if !exempt {
                    ban.dropped += 1;
                    self.counters.dropped_banned += 1;
                    return Verdict::Drop;
                }
                None
            }
            other => other,
        };
        let FirstLine::Request { method, target } = head::first_line(message) else {
            return Verdict::Pass;
        };
        if matches!(method, b"ACK" | b"BYE" | b"CANCEL" | b"PRACK") {
            return self.check_ack(method, message);
        }
        let rows = Rows::of(message);
        let mut rank = head::rank(method, &rows);
        if rank == Rank::Always {
            return Verdict::Pass;
        }
        // A ban that is not proven leaves the door open for a challenge.
        if let Some(ban) = ban
            && !rows.credentials
            && !matches!(method, b"REGISTER" | b"INVITE")
            && !sites.has_flow(flow)
        {
            ban.dropped += 1;
            self.counters.dropped_banned += 1;
            return Verdict::Drop;
        }
        if self.policy.is_scanner(rows.user_agent) && !self.policy.trusts(flow.remote.ip()) {
            self.counters.dropped_scanner += 1;
            if !sites.has_flow(flow) {
                self.ban((now, wall), source, Reason::Scanner, is_proven(flow));
            }
            return Verdict::Drop;
        }
        if head::is_emergency(target, &self.policy.emergency) {
            return Verdict::Pass;
        }
        if self.is_over_rate(now, source, flow, sites) {
            return self.refuse_for_rate(now, flow, message);
        }
        if self.admission.is_overloaded() {
            if rank == Rank::Stranger
                && (sites.has_flow(flow) || self.policy.trusts(flow.remote.ip()))
            {
                rank = if method == b"REGISTER" { Rank::Begun } else { Rank::Known };
            }
            if !self.admission.admit(rank) {
                self.counters.refused_overload += 1;
                return self.answer(flow, message);
            }
        }
        Verdict::Pass
    }

    /// ACKs of our own refusals end here, so that refusing stays cheap.
    fn check_ack(&mut self, method: &[u8], message: &[u8]) -> Verdict {
        let refused = self.counters.refused_overload + self.counters.refused_rate > 0;
        if refused && method == b"ACK" && self.refusals.is_acknowledged_by(message) {
            self.counters.dropped_acks += 1;
            return Verdict::Drop;
        }
        Verdict::Pass
    }

    fn is_over_rate(
        &mut self,
        now: Instant,
        source: Source,
        flow: &Flow,
        sites: &impl Sites,
    ) -> bool {
        let (rate, burst) = (self.policy.source_rate, self.policy.source_burst);
        rate > 0
            && !self.rates.take_request(now, source, rate, burst)
            && !sites.has_flow(flow)
            && !self.policy.trusts(flow.remote.ip())
    }

    /// 503 as long as it costs little; then silence.
    fn refuse_for_rate(&mut self, now: Instant, flow: &Flow, message: &[u8]) -> Verdict {
        if self.answers.take(now) {
            self.counters.refused_rate += 1;
            return self.answer(flow, message);
        }
        self.counters.dropped_rate += 1;
        Verdict::Drop
    }

    /// 503 with a time that differs from one to the next, so that they do not all come back at
    /// once.
    fn answer(&mut self, flow: &Flow, message: &[u8]) -> Verdict {
        let refused = self.counters.refused_overload + self.counters.refused_rate;
        let least = self.policy.retry_after_s;
        let spread = u32::try_from(refused % u64::from(least + 1)).unwrap_or(0);
        match self.refusals.refuse(flow, message, least + spread) {
            Some((flow, bytes)) => Verdict::Answer(flow, bytes),
            None => Verdict::Drop,
        }
    }

    /// What became of the credentials of a request.
    pub fn note(
        &mut self,
        (now, wall): (Instant, Timestamp),
        flow: &Flow,
        note: AuthNote,
        sites: &impl Sites,
    ) {
        let (reason, factor, proven) = match note {
            AuthNote::Wrong { answers_challenge } => {
                let proven = answers_challenge || is_proven(flow);
                if !proven {
                    return;
                }
                (Reason::Passwords, 1, true)
            }
            AuthNote::Challenged { known: false } => {
                (Reason::Sweep, limits::SWEEP_FACTOR, is_proven(flow))
            }
            AuthNote::Accepted | AuthNote::Challenged { known: true } => return,
        };
        if self.policy.failures == 0 || self.policy.trusts(flow.remote.ip()) {
            return;
        }
        let source = Source::of(flow.remote.ip());
        let site = if sites.has_source(source) { limits::SITE_FACTOR } else { 1 };
        let allowed = self.policy.failures.saturating_mul(factor).saturating_mul(site);
        let every = self.policy.forgiven_every / factor;
        if self.rates.offend(now, source, every, allowed) {
            self.ban((now, wall), source, reason, proven);
        }
    }

    fn ban(&mut self, at: (Instant, Timestamp), source: Source, reason: Reason, proven: bool) {
        let Some(ban) = self.bans.add(at, source, reason, proven) else { return };
        self.counters.banned[reason as usize] += 1;
        let (until, count) = (ban.until, ban.count);
        tracing::warn!(%source, %reason, proven, %until, count, "banned");
    }

    /// Bans a source because the operator wants it; also where contacts are registered from.
    ///
    /// # Errors
    /// [`BanError::Trusted`].
    pub fn ban_by_hand(
        &mut self,
        at: (Instant, Timestamp),
        source: Source,
        length: Option<Duration>,
    ) -> Result<(), BanError> {
        if self.policy.trusts(source.address()) {
            return Err(BanError::Trusted(source));
        }
        let ban = self.bans.add_by_hand(at, source, length.unwrap_or(self.policy.ban_max));
        self.counters.banned[Reason::Operator as usize] += 1;
        tracing::warn!(%source, reason = %Reason::Operator, until = %ban.until, "banned");
        Ok(())
    }

    /// Ends a ban, and what would make the next one longer.
    ///
    /// # Errors
    /// [`BanError::NotBanned`].
    pub fn forgive(&mut self, now: Instant, source: Source) -> Result<(), BanError> {
        if !self.bans.remove(now, source) {
            return Err(BanError::NotBanned(source));
        }
        tracing::info!(%source, "no longer banned: the operator forgives");
        Ok(())
    }

    /// Bans in force, the latest first.
    #[must_use]
    pub fn bans(&self, now: Instant) -> Vec<BanView> {
        self.bans.list(now)
    }

    /// Whether a caller from this address is one of ours: a trunk, a trusted network.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.policy.trusts(address)
    }

    /// How it stands.
    #[must_use]
    pub fn stats(&self, now: Instant) -> GuardStats {
        let it = &self.counters;
        let map = |figures: &[(&str, u64)]| {
            figures.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
        };
        let load = self.admission.load();
        GuardStats {
            bans: self.bans.len(now) as u64,
            banned: Reason::ALL
                .iter()
                .map(|reason| (reason.key().to_owned(), it.banned[*reason as usize]))
                .collect(),
            dropped: map(&[
                ("banned", it.dropped_banned),
                ("scanner", it.dropped_scanner),
                ("source_rate", it.dropped_rate),
                ("refused_ack", it.dropped_acks),
            ]),
            refused: map(&[("source_rate", it.refused_rate), ("overload", it.refused_overload)]),
            share_milli: self.admission.share_milli(),
            delay_us: u64::try_from(load.delay.as_micros()).unwrap_or(u64::MAX),
            busy_percent: load.busy_percent,
        }
    }
}

/// Whether an address cannot be forged: a connection needs an answer from there.
const fn is_proven(flow: &Flow) -> bool {
    flow.transport.is_reliable()
}
