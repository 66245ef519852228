//! What the softphone tells at the end, for people and as one JSON object.

use crate::audio::AudioReport;
use serde::Serialize;

/// Everything that was done; `--json` prints exactly this.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Whether everything that was asked for succeeded.
    pub ok: bool,
    /// What failed, as a sentence.
    pub error: Option<String>,
    /// The last registration, if one was asked for.
    pub registration: Option<RegistrationReport>,
    /// Answers to OPTIONS requests.
    pub options: Vec<OptionsReport>,
    /// Calls in the order of their end.
    pub calls: Vec<CallReport>,
}

/// A registration.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RegistrationReport {
    /// Address of record.
    pub aor: String,
    /// Contact that was registered.
    pub contact: String,
    /// Final SIP status.
    pub status: u16,
    /// Expiry that the registrar granted, s.
    pub expires_s: u32,
    /// From the first request to the final answer, ms.
    pub took_ms: u64,
    /// Refreshes that succeeded.
    pub refreshes: u32,
    /// Digest algorithm that was used, if the registrar asked for one.
    pub digest: Option<&'static str>,
}

/// Answer to one OPTIONS request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OptionsReport {
    /// Who was asked.
    pub target: String,
    /// SIP status.
    pub status: u16,
    /// Its reason phrase.
    pub reason: String,
    /// Round trip of the request, ms.
    pub took_ms: u64,
}

/// Which side of the call this softphone is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It placed the call.
    #[default]
    Caller,
    /// It was called.
    Callee,
}

/// Who ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EndedBy {
    /// This softphone.
    Local,
    /// The other side.
    Remote,
}

/// One call.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CallReport {
    /// SIP side of it.
    pub call: CallFacts,
    /// RTP statistics, null if no media was set up.
    pub rtp: Option<RtpReport>,
    /// What was heard, null if no media was set up.
    pub audio: Option<AudioReport>,
}

/// SIP side of a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CallFacts {
    /// Call-ID.
    pub id: String,
    /// Which side this is.
    pub role: Role,
    /// Own address of record.
    pub local: String,
    /// Address of record of the other side.
    pub remote: String,
    /// Final SIP status of the INVITE.
    pub status: u16,
    /// Its reason phrase.
    pub reason: String,
    /// Whether a 180 or 183 was seen or sent.
    pub ringing: bool,
    /// From INVITE to the first 180 or 183, ms.
    pub ring_delay_ms: Option<u64>,
    /// From INVITE to the 200, ms.
    pub setup_ms: Option<u64>,
    /// From the 200 to the end, ms.
    pub duration_ms: Option<u64>,
    /// Who ended it; null if it was never answered.
    pub ended_by: Option<EndedBy>,
    /// Times that this side put the other one on hold.
    pub holds_sent: u32,
    /// Times that the other side put this one on hold.
    pub holds_received: u32,
    /// Times that either side resumed.
    pub resumes: u32,
}

/// RTP statistics of a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RtpReport {
    /// Own address.
    pub local: String,
    /// Address that is sent to.
    pub remote: String,
    /// Codec name of the session description.
    pub codec: String,
    /// Whether RTP and RTCP share a port (RFC 5761).
    pub rtcp_mux: bool,
    /// RTP packets sent.
    pub tx_packets: u64,
    /// RTP payload octets sent.
    pub tx_octets: u64,
    /// RTP packets received, duplicates included.
    pub rx_packets: u64,
    /// RTP payload octets received.
    pub rx_octets: u64,
    /// Sequence numbers never seen.
    pub lost: u64,
    /// Packets that came late.
    pub reordered: u64,
    /// Packets that came twice.
    pub duplicated: u64,
    /// Packets from elsewhere or of an unknown payload type, not counted above.
    pub foreign: u64,
    /// Interarrival jitter at the end (RFC 3550 A.8), ms; null if nothing was received.
    pub jitter_ms: Option<f64>,
    /// Highest interarrival jitter, ms.
    pub jitter_max_ms: Option<f64>,
    /// Round trip by RTCP, ms; null without reports.
    pub rtt_ms: Option<f64>,
    /// Mean bit rate received, UDP payload, bit/s; null below one second of media.
    pub bitrate_bps: Option<u64>,
    /// Mean opinion score (ITU-T G.107); null if it cannot be known.
    pub mos: Option<f64>,
    /// R factor (ITU-T G.107).
    pub r_factor: Option<f64>,
    /// Loss that the other side reports of our packets.
    pub remote_lost: Option<i64>,
    /// Jitter that the other side reports of our packets, ms.
    pub remote_jitter_ms: Option<f64>,
    /// RTCP packets sent.
    pub rtcp_sent: u64,
    /// RTCP packets received.
    pub rtcp_received: u64,
    /// DTMF digits received as telephone events (RFC 4733).
    pub dtmf: String,
    /// DTMF digits sent.
    pub dtmf_sent: String,
}

impl Report {
    /// The report as text for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut lines = Vec::new();
        if let Some(registration) = &self.registration {
            lines.push(format!(
                "registered {} as {}: status {}, expires {} s, took {} ms",
                registration.contact,
                registration.aor,
                registration.status,
                registration.expires_s,
                registration.took_ms
            ));
        }
        for answer in &self.options {
            let OptionsReport { target, status, reason, took_ms } = answer;
            lines.push(format!("OPTIONS {target}: {status} {reason} after {took_ms} ms"));
        }
        self.calls.iter().for_each(|call| call.append_text(&mut lines));
        if let Some(error) = &self.error {
            lines.push(format!("error: {error}"));
        }
        lines.join("\n")
    }
}

/// A figure or a dash.
fn or_dash(value: Option<impl ToString>, unit: &str) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{}{unit}", value.to_string()))
}

impl CallReport {
    fn append_text(&self, lines: &mut Vec<String>) {
        let call = &self.call;
        lines.push(format!(
            "call {} with {}: {} {}, set up in {}, lasted {}",
            call.id,
            call.remote,
            call.status,
            call.reason,
            or_dash(call.setup_ms, " ms"),
            or_dash(call.duration_ms, " ms"),
        ));
        if let Some(rtp) = &self.rtp {
            lines.push(format!(
                "  RTP {} {}: sent {}, received {}, lost {}, reordered {}, duplicated {}",
                rtp.codec,
                rtp.remote,
                rtp.tx_packets,
                rtp.rx_packets,
                rtp.lost,
                rtp.reordered,
                rtp.duplicated
            ));
            lines.push(format!(
                "  jitter {}, round trip {}, {}, MOS {}",
                or_dash(rtp.jitter_ms, " ms"),
                or_dash(rtp.rtt_ms, " ms"),
                or_dash(rtp.bitrate_bps, " bit/s"),
                or_dash(rtp.mos, ""),
            ));
            if !rtp.dtmf.is_empty() {
                lines.push(format!("  DTMF received: {}", rtp.dtmf));
            }
        }
        if let Some(audio) = &self.audio {
            lines.push(format!("  heard {}", audio.to_text()));
        }
    }
}

impl AudioReport {
    /// One line for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let tone = match (self.tone_hz, self.tone_level_dbov) {
            (Some(hz), Some(level)) => {
                format!(
                    "a tone of {hz} Hz at {level} dBov in {:.0} % of it",
                    self.tone_share * 100.0
                )
            }
            _ => "no tone".into(),
        };
        let level = or_dash(self.level_dbov, " dBov");
        format!("{tone}; level {level} over {} s", self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_null() {
        let report = Report {
            calls: vec![CallReport { rtp: Some(RtpReport::default()), ..Default::default() }],
            ..Default::default()
        };
        let json = serde_json::to_value(&report).unwrap();
        assert!(json["calls"][0]["rtp"]["rtt_ms"].is_null());
        assert!(json["calls"][0]["call"]["setup_ms"].is_null());
        assert_eq!(json["calls"][0]["call"]["role"], "caller");
        assert!(report.to_text().contains("round trip -"));
    }
}
