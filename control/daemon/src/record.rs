//! What is kept of a call and of a registration: plain records, as the API, the journal and the
//! store see them.
//!
//! What could not be known is `None` (`null` in JSON), never a guess.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Who ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReleasedBy {
    /// The party that called.
    Caller,
    /// The party that was called.
    Callee,
    /// Tandem itself: a timeout, a limit, a restart.
    Tandem,
}

impl ReleasedBy {
    /// The name in JSON and in the store.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Callee => "callee",
            Self::Tandem => "tandem",
        }
    }
}

/// Why a call ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cause {
    /// The final SIP status of the INVITE: 200 for a call that was answered and hung up, 486 for
    /// busy, 487 for one that the caller gave up.
    pub sip_status: u16,
    /// A short sentence for people: `hung up`, `busy`, `no answer`, `media timeout`.
    pub text: String,
    /// Who ended it.
    pub by: ReleasedBy,
}

/// The record of one call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallRecord {
    /// Tandem's id of the call, unique over restarts.
    pub id: String,
    /// Address of record of the caller, `sip:alice@tandem`.
    pub from: String,
    /// Address of record that was called.
    pub to: String,
    /// When the INVITE came.
    pub started_at: Timestamp,
    /// When the first phone rang (first 180 or 183).
    pub ringing_at: Option<Timestamp>,
    /// When it was answered (2xx).
    pub answered_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Timestamp,
    /// INVITE to ringing, or to the answer if nothing rang, ms.
    pub setup_ms: Option<u64>,
    /// Ringing to answer, or to the end of an unanswered call, ms.
    pub ring_ms: Option<u64>,
    /// Answer to end, ms; `None` if it was never answered.
    pub duration_ms: Option<u64>,
    /// Why it ended.
    pub cause: Cause,
    /// Whether the record was made after a restart, out of the journal and the engine's counters.
    #[serde(default)]
    pub recovered: bool,
    /// Address of record of who transferred the caller to the callee (REFER).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub referred_by: Option<String>,
    /// What was measured, one entry per leg and media line that carried media.
    pub legs: Vec<LegReport>,
}

impl CallRecord {
    /// Fills `setup_ms`, `ring_ms` and `duration_ms` out of the times.
    pub fn fill_durations(&mut self) {
        let between =
            |from: Timestamp, to: Timestamp| u64::try_from((to - from).total_ms()).unwrap_or(0);
        self.setup_ms = self.ringing_at.or(self.answered_at).map(|at| between(self.started_at, at));
        self.ring_ms =
            self.ringing_at.map(|at| between(at, self.answered_at.unwrap_or(self.ended_at)));
        self.duration_ms = self.answered_at.map(|at| between(at, self.ended_at));
    }
}

/// Milliseconds of a span between two time stamps.
trait TotalMs {
    fn total_ms(&self) -> i64;
}

impl TotalMs for jiff::Span {
    fn total_ms(&self) -> i64 {
        self.total(jiff::Unit::Millisecond).map_or(0, |ms| {
            #[expect(clippy::cast_possible_truncation, reason = "a call lasts less than 2^63 ms")]
            let whole = ms as i64;
            whole
        })
    }
}

/// What was measured of one leg: `rx` is what the party sent to Tandem, `tx` what Tandem sent to
/// it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LegReport {
    /// `caller`, `callee`, or `callee#2` for a further branch that had media.
    pub leg: String,
    /// Media type of the SDP line: `audio`, `video`, `image`.
    pub media: String,
    /// Codec of what was received, by its name in SDP (`PCMA/8000`).
    pub codec: Option<String>,
    /// RTP payload type received last.
    pub payload_type: Option<u8>,
    /// RTP packets received.
    pub rx_packets: u64,
    /// RTP payload octets received.
    pub rx_octets: u64,
    /// RTP packets sent to the party.
    pub tx_packets: u64,
    /// UDP payload octets sent to the party.
    pub tx_octets: u64,
    /// Packets that never came (duplicates do not hide them).
    pub lost: u64,
    /// Packets expected by sequence numbers (RFC 3550 A.3).
    pub expected: u64,
    /// Packets that came after a later one.
    pub reordered: u64,
    /// Packets that came twice.
    pub duplicated: u64,
    /// Restarts of the sequence (RFC 3550 A.1).
    pub restarts: u64,
    /// Packets of the party that the engine dropped.
    pub dropped: u64,
    /// RTCP packets received.
    pub rtcp_packets: u64,
    /// Changes of the SSRC.
    pub ssrc_changes: u64,
    /// SSRC received last.
    pub ssrc: Option<u32>,
    /// Telephone events received (RFC 4733).
    pub dtmf_events: u64,
    /// Interarrival jitter (RFC 3550 A.8), ms.
    pub jitter_ms: Option<f64>,
    /// Highest jitter, ms.
    pub jitter_max_ms: Option<f64>,
    /// Round trip by RTCP, ms.
    pub rtt_ms: Option<f64>,
    /// Bit rate of the received UDP payload, last full second, bit/s.
    pub bitrate_bps: Option<u64>,
    /// Highest bit rate of a second, bit/s.
    pub bitrate_peak_bps: Option<u64>,
    /// Share of packets lost within bursts (RFC 3611 §4.7.2), 0 to 1.
    pub burst_density: Option<f64>,
    /// Mean duration of a burst, ms.
    pub burst_duration_ms: Option<f64>,
    /// Share of packets lost within gaps, 0 to 1.
    pub gap_density: Option<f64>,
    /// Mean duration of a gap, ms.
    pub gap_duration_ms: Option<f64>,
    /// Transmission rating factor (ITU-T G.107), 0 to 100.
    pub r_factor: Option<f64>,
    /// Mean opinion score, 1 to 4.5.
    pub mos: Option<f64>,
    /// Histogram of interarrival times: bucket `i` counts those below 2^i × 0.25 ms, the last one
    /// has no upper bound.
    pub interarrival: Vec<u32>,
    /// The confirmed media address of the party.
    pub remote: Option<SocketAddr>,
    /// When the engine published these figures, its clock, ns: rates are differences of totals over
    /// differences of this. Only of media that exists now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_ns: Option<u64>,
}

/// A contact that a phone registered (RFC 3261 §10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Address of record, `sip:alice@tandem`.
    pub aor: String,
    /// Contact URI as the phone wrote it, without header parameters.
    pub contact: String,
    /// Transport it came over: `udp`, `tcp`.
    pub transport: String,
    /// Source address of the REGISTER: where requests go (behind a NAT it differs from the
    /// contact).
    pub received: Option<SocketAddr>,
    /// Tandem's own address that it came to.
    pub local: Option<SocketAddr>,
    /// Path header values, in order (RFC 3327).
    pub path: Vec<String>,
    /// Priority, 0 to 1000 (RFC 3261 `q` times 1000).
    pub q_milli: u16,
    /// When it was registered or refreshed.
    pub registered_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Call-ID of the REGISTER.
    pub call_id: String,
    /// `CSeq` of the REGISTER.
    pub cseq: u32,
    /// `+sip.instance` of the contact (RFC 5626).
    pub instance: Option<String>,
    /// `reg-id` of the contact (RFC 5626 §4.2).
    #[serde(default)]
    pub reg_id: Option<u32>,
    /// User-Agent header.
    pub user_agent: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> CallRecord {
        CallRecord {
            id: "1".into(),
            from: "sip:alice@tandem".into(),
            to: "sip:bob@tandem".into(),
            started_at: "2026-01-02T03:04:05Z".parse().unwrap(),
            ringing_at: Some("2026-01-02T03:04:05.250Z".parse().unwrap()),
            answered_at: Some("2026-01-02T03:04:08.250Z".parse().unwrap()),
            ended_at: "2026-01-02T03:05:08.251Z".parse().unwrap(),
            setup_ms: None,
            ring_ms: None,
            duration_ms: None,
            cause: Cause { sip_status: 200, text: "hung up".into(), by: ReleasedBy::Callee },
            recovered: false,
            referred_by: None,
            legs: vec![LegReport { leg: "caller".into(), ..LegReport::default() }],
        }
    }

    #[test]
    fn durations_come_from_the_times() {
        let mut call = record();
        call.fill_durations();
        assert_eq!(
            (call.setup_ms, call.ring_ms, call.duration_ms),
            (Some(250), Some(3000), Some(60_001))
        );
        call.answered_at = None;
        call.fill_durations();
        assert_eq!((call.ring_ms, call.duration_ms), (Some(63_001), None));
        call.ringing_at = None;
        call.fill_durations();
        assert_eq!((call.setup_ms, call.ring_ms, call.duration_ms), (None, None, None));
    }

    #[test]
    fn clocks_that_go_back_give_zero() {
        let mut call = record();
        call.ended_at = call.started_at;
        call.fill_durations();
        assert_eq!(call.duration_ms, Some(0));
    }

    #[test]
    fn unknown_figures_are_null() {
        let json = serde_json::to_value(record()).unwrap();
        assert!(json["legs"][0]["mos"].is_null());
        assert!(json["legs"][0]["rtt_ms"].is_null());
        assert_eq!(json["cause"]["by"], "callee");
        assert_eq!(serde_json::from_value::<CallRecord>(json).unwrap(), record());
    }
}
